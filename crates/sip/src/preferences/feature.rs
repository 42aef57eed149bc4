//! RFC 3840 §5, §9 — feature tags and their values.

use crate::{Params, lexis};

/// The tags that stand without a plus sign.
const BASE: &[&str] = &[
    "actor",
    "application",
    "audio",
    "automata",
    "class",
    "control",
    "data",
    "description",
    "duplex",
    "events",
    "extensions",
    "isfocus",
    "language",
    "methods",
    "mobility",
    "priority",
    "schemes",
    "text",
    "type",
    "video",
];

/// A feature tag and the set of its values: those a contact has, or those that are wanted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Feature {
    /// In lower case, base tags without plus sign.
    tag: Box<str>,
    any_of: Vec<Value>,
    /// Besides `any_of`, everything that is none of these, unless there are none of these.
    none_of: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    /// In lower case, escapes undone; `true` and `false` among them.
    Token(Box<str>),
    /// Of the case it has.
    Text(Box<str>),
    /// From and to, both included.
    Range(f64, f64),
}

/// Whether a parameter of Contact, Accept-Contact or Reject-Contact is a feature.
pub(super) fn is_tag(name: &str) -> bool {
    name.starts_with('+') || BASE.iter().any(|base| base.eq_ignore_ascii_case(name))
}

impl Feature {
    /// The features among the parameters of a Contact; one whose value nobody understands is as good as absent.
    pub(super) fn of_contact(params: &Params) -> impl Iterator<Item = Self> {
        params.iter().filter(|(name, _)| is_tag(name)).filter_map(|(name, value)| Self::parse(name, value))
    }

    pub(super) fn of_token(tag: &str, token: &str) -> Self {
        Self { tag: tag.into(), any_of: vec![Value::token(token)], none_of: Vec::new() }
    }

    /// Reads a parameter as it is written; `None` if its value is no list of feature values.
    pub(super) fn parse(name: &str, value: Option<&str>) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        let base = lower.strip_prefix("+sip.").filter(|base| BASE.contains(base));
        let mut feature =
            Self { tag: base.unwrap_or(&lower).into(), any_of: Vec::new(), none_of: Vec::new() };
        let Some(value) = value else {
            feature.any_of.push(Value::token("true"));
            return Some(feature);
        };
        let inside = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        for element in Elements(&lexis::unescape(inside)) {
            let (negated, text) = match element.strip_prefix('!') {
                Some(text) => (true, lexis::trim(text)),
                None => (false, element),
            };
            match (Value::parse(text)?, negated) {
                (value, false) => feature.any_of.push(value),
                // Of the two truth values the one that is not the other is known.
                (Value::Token(token), true) if &*token == "true" => {
                    feature.any_of.push(Value::token("false"))
                }
                (Value::Token(token), true) if &*token == "false" => {
                    feature.any_of.push(Value::token("true"))
                }
                (value, true) => feature.none_of.push(value),
            }
        }
        Some(feature)
    }

    pub(super) fn tag(&self) -> &str {
        &self.tag
    }

    /// Whether there is a value that both sets hold.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.any_of.iter().any(|value| other.holds(value))
            || other.any_of.iter().any(|value| self.holds(value))
            || !self.none_of.is_empty() && !other.none_of.is_empty()
    }

    fn holds(&self, value: &Value) -> bool {
        self.any_of.iter().any(|known| known.overlaps(value))
            || !self.none_of.is_empty() && !self.none_of.iter().any(|excluded| excluded.covers(value))
    }
}

impl Value {
    fn token(text: &str) -> Self {
        Self::Token(unescaped(text).to_ascii_lowercase().into())
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some(relation) = text.strip_prefix('#') {
            return range(relation).map(|(from, to)| Self::Range(from, to));
        }
        if let Some(inside) = text.strip_prefix('<') {
            return inside.strip_suffix('>').map(|inside| Self::Text(inside.into()));
        }
        (!text.is_empty()).then(|| Self::token(text))
    }

    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Range(from, to), Self::Range(start, end)) => from <= end && start <= to,
            _ => self == other,
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Range(from, to), Self::Range(start, end)) => from <= start && end <= to,
            _ => self == other,
        }
    }
}

fn range(relation: &str) -> Option<(f64, f64)> {
    let relation = lexis::trim(relation);
    if let Some(least) = relation.strip_prefix(">=") {
        return Some((number(least)?, f64::INFINITY));
    }
    if let Some(most) = relation.strip_prefix("<=") {
        return Some((f64::NEG_INFINITY, number(most)?));
    }
    match relation.split_once(':') {
        Some((from, to)) => Some((number(from)?, number(to)?)),
        None => number(relation.strip_prefix('=').unwrap_or(relation)).map(|number| (number, number)),
    }
}

fn number(text: &str) -> Option<f64> {
    let text = lexis::trim(text);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let plain = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if plain { text.parse().ok() } else { None }
}

/// Undoes percent escapes, with which URNs become tokens.
fn unescaped(token: &str) -> String {
    let mut out = Vec::with_capacity(token.len());
    let mut rest = token.as_bytes();
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|&b| char::from(b).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                rest = &tail[2..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| token.to_owned())
}

/// The elements of a list; a comma between `<` at the start of one and the next `>` does not separate.
struct Elements<'a>(&'a str);

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            let text = self.0.trim_start_matches([' ', '\t', ',']);
            if text.is_empty() {
                return None;
            }
            let quoted = text.strip_prefix('!').unwrap_or(text).starts_with('<');
            let from = if quoted { text.find('>').unwrap_or(0) } else { 0 };
            let end = text[from..].find(',').map_or(text.len(), |comma| from + comma);
            self.0 = &text[end..];
            let element = lexis::trim(&text[..end]);
            if !element.is_empty() {
                return Some(element);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn meet(wanted: &str, known: &str) -> bool {
        let feature = |text: &str| {
            let value = format!("\"{text}\"");
            Feature::parse("+f", Some(&value)).unwrap()
        };
        let (wanted, known) = (feature(wanted), feature(known));
        assert_eq!(wanted.meets(&known), known.meets(&wanted), "either way round");
        wanted.meets(&known)
    }

    #[test]
    fn sets_of_values_meet_or_not() {
        for (wanted, known) in [
            ("INVITE", "invite,BYE"),
            ("a,b", "c , b"),
            ("!a", "b"),
            ("!a", "!b"),
            ("!a,!b", "c"),
            ("a,!b", "c"),
            ("a,!a", "a"),
            ("<Hello, World>", "x,<Hello, World>"),
            ("!<Hello>", "<hello>"),
            ("#4", "#=4.0"),
            ("#>=5", "#<=5"),
            ("#1:3", "#-2:+1.5,#9"),
            ("!#1:3", "#2:4"),
            ("TRUE", "true"),
            ("!FALSE", "TRUE"),
            ("!TRUE", "FALSE"),
            ("urn%3Aurn-7%3A3gpp-service.ims.icsi.mmtel", "urn:urn-7:3gpp-service.ims.icsi.MMTEL"),
        ] {
            assert!(meet(wanted, known), "{wanted} / {known}");
        }
        for (wanted, known) in [
            ("MESSAGE", "INVITE,BYE"),
            ("!a", "a"),
            ("!a,!b", "b"),
            ("<Hello>", "<hello>"),
            ("<a>", "a"),
            ("4", "#4"),
            ("#4", "#5:7"),
            ("#>=5", "#<=4.9"),
            ("!#1:3", "#2"),
            ("!TRUE", "TRUE"),
            ("TRUE", "FALSE"),
            ("!TRUE", "!FALSE"),
        ] {
            assert!(!meet(wanted, known), "{wanted} / {known}");
        }
    }

    #[test]
    fn tags_have_one_form() {
        let tag = |name: &str| Feature::parse(name, None).unwrap().tag().to_owned();
        assert_eq!((tag("Audio"), tag("+sip.audio")), ("audio".to_owned(), "audio".to_owned()));
        assert_eq!(tag("+SIP.Instance"), "+sip.instance");
        assert!(is_tag("video") && is_tag("+g.3gpp.smsip") && !is_tag("q") && !is_tag("expires"));
    }

    #[test]
    fn values_nobody_understands() {
        for value in ["#", "#x", "#1:", "#>=", "#1e5", "#.5", "<open", "\"!\"", "\"a,!,b\""] {
            assert!(Feature::parse("+f", Some(value)).is_none(), "{value}");
        }
        let params = Params::parse(";q=0.5;audio;+x=\"#no\";methods=\"INVITE\";expires=3").unwrap();
        let tags: Vec<_> = Feature::of_contact(&params).map(|feature| feature.tag().to_owned()).collect();
        assert_eq!(tags, ["audio", "methods"]);
    }
}
