//! TS 29.228 annex F — the regular expressions of service point triggers: POSIX extended ones, searched for, not matched
//! whole. Most are plain words, which need no automaton.

use regex::bytes::{Regex, RegexBuilder};
use std::borrow::Cow;

/// Longest expression that is taken, in octets.
const LONGEST: usize = 1024;
/// Most memory that one compiled expression may take, in octets; its search may take as much again.
const LARGEST: usize = 64 * 1024;
/// Deepest nesting that is taken.
const DEEPEST: u32 = 32;

/// A compiled expression.
#[derive(Debug)]
pub(super) enum Pattern {
    /// Text that must occur, at the ends where it is anchored.
    Words { text: Box<[u8]>, at_start: bool, at_end: bool, any_case: bool },
    /// Anything else.
    Expression(Box<Regex>),
}

impl Pattern {
    /// Compiles; what is wrong with it, in one line.
    pub(super) fn new(pattern: &str, any_case: bool) -> Result<Self, Box<str>> {
        if pattern.len() > LONGEST {
            return Err(format!("it is longer than {LONGEST} octets").into());
        }
        if let Some((text, at_start, at_end)) = words(pattern) {
            return Ok(Self::Words { text: text.into(), at_start, at_end, any_case });
        }
        RegexBuilder::new(&posix(pattern))
            .case_insensitive(any_case)
            // Octets are enough where the expression has no other letters, and cost a tenth.
            .unicode(!pattern.is_ascii())
            .dot_matches_new_line(true)
            .size_limit(LARGEST)
            .dfa_size_limit(LARGEST)
            .nest_limit(DEEPEST)
            .build()
            .map(|regex| Self::Expression(Box::new(regex)))
            .map_err(|error| reason(&error))
    }

    /// Whether `text` has it.
    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        match self {
            Self::Words { text: words, at_start, at_end, any_case } => {
                occurs(words, text, *at_start, *at_end, *any_case)
            }
            Self::Expression(regex) => regex.is_match(text),
        }
    }
}

fn occurs(words: &[u8], text: &[u8], at_start: bool, at_end: bool, any_case: bool) -> bool {
    let same = |part: &[u8]| if any_case { part.eq_ignore_ascii_case(words) } else { part == words };
    match (at_start, at_end) {
        (true, true) => same(text),
        (true, false) => text.get(..words.len()).is_some_and(same),
        (false, true) => text.len().checked_sub(words.len()).is_some_and(|from| same(&text[from..])),
        (false, false) if words.is_empty() => true,
        (false, false) if any_case => text.windows(words.len()).any(same),
        (false, false) => memchr::memmem::find(text, words).is_some(),
    }
}

/// The expression as plain text with anchors, if it is no more than that; `.*` at an end says nothing in a search.
fn words(pattern: &str) -> Option<(Vec<u8>, bool, bool)> {
    let mut rest = pattern;
    let mut at_start = false;
    if let Some(anchored) = rest.strip_prefix('^') {
        (rest, at_start) = (anchored, true);
    }
    while let Some(open) = rest.strip_prefix(".*") {
        (rest, at_start) = (open, false);
    }
    let mut text = Vec::with_capacity(rest.len());
    let mut octets = rest.as_bytes();
    while let [octet, behind @ ..] = octets {
        octets = behind;
        match octet {
            b'\\' => {
                let (escaped, behind) = octets.split_first()?;
                if !escaped.is_ascii_punctuation() || matches!(escaped, b'<' | b'>') {
                    return None;
                }
                text.push(*escaped);
                octets = behind;
            }
            b'$' => return octets.is_empty().then_some((text, at_start, true)),
            b'.' => return matches!(octets, b"*" | b"*$").then_some((text, at_start, false)),
            b'*' | b'+' | b'?' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'|' | b'^' => return None,
            _ => text.push(*octet),
        }
        // What repeats is not plain.
        if matches!(octets.first(), Some(b'*' | b'+' | b'?' | b'{')) {
            return None;
        }
    }
    Some((text, at_start, false))
}

/// The same expression in the letters of the crate: within brackets POSIX knows neither `[` nor `&&`, `--`, `~~`, and a brace
/// that begins no count stands for itself. A backslash escapes within brackets too, as everybody writes it.
fn posix(pattern: &str) -> Cow<'_, str> {
    if !pattern.contains(['[', '{']) {
        return Cow::Borrowed(pattern);
    }
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut letters = pattern.chars().peekable();
    // Letters since the bracket that is open; a `]` that comes first is one of them.
    let mut inside: Option<usize> = None;
    while let Some(letter) = letters.next() {
        let next = letters.peek().copied();
        match (letter, inside) {
            ('\\', _) => {
                out.push('\\');
                out.extend(letters.next());
                inside = inside.map(|count| count + 1);
                continue;
            }
            ('[', None) => {
                inside = Some(0);
                out.push('[');
                if next == Some('^') {
                    out.extend(letters.next());
                }
                continue;
            }
            (']', Some(0)) => out.push_str("\\]"),
            (']', Some(_)) => {
                inside = None;
                out.push(']');
                continue;
            }
            ('[', Some(_)) if next == Some(':') => {
                out.push('[');
                // Up to the end of the class name.
                for inner in letters.by_ref() {
                    out.push(inner);
                    if inner == ']' {
                        break;
                    }
                }
            }
            ('[', Some(_)) => out.push_str("\\["),
            ('&' | '~', Some(_)) | ('{', None)
                if letter != '{' || !next.is_some_and(|c| c.is_ascii_digit()) =>
            {
                out.push('\\');
                out.push(letter);
            }
            ('-', Some(_)) if next == Some('-') => out.push_str("\\-"),
            _ => out.push(letter),
        }
        inside = inside.map(|count| count + 1);
    }
    Cow::Owned(out)
}

/// The last line: those before it point into the expression.
fn reason(error: &regex::Error) -> Box<str> {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or("").trim();
    last.strip_prefix("error: ").unwrap_or(last).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern, false).unwrap().is_in(text.as_bytes())
    }

    #[test]
    fn plain_words_need_no_automaton() {
        for (pattern, yes, no) in [
            ("mmtel", "urn-mmtel;x", "mmte"),
            ("^INVITE$", "INVITE", "INVITEX"),
            ("^sip:", "sip:a", "xsip:a"),
            ("net$", "home1.net", "home1.net:5060"),
            (".*ims\\.icsi\\.mmtel.*", "3gpp-service.ims.icsi.mmtel", "imsXicsi.mmtel"),
            ("^.*audio.*$", "m=audio 1", "m=video"),
            ("^a.*$", "abc", "bac"),
            ("^.*c$", "abc", "cab"),
        ] {
            assert!(matches!(Pattern::new(pattern, false).unwrap(), Pattern::Words { .. }), "{pattern}");
            assert!(found(pattern, yes) && !found(pattern, no), "{pattern}");
        }
        for everything in ["", ".*", "^", "$", "^.*$"] {
            assert!(found(everything, "") && found(everything, "x"), "{everything}");
        }
    }

    #[test]
    fn the_rest_is_posix() {
        for (pattern, yes, no) in [
            ("^(sip|tel):", "tel:+1", "urn:x"),
            ("[[:digit:]]{3}", "a123", "a12"),
            ("[[]", "[2001::]", "2001"),
            ("[]x]", "]", "y"),
            ("[^]x]", "y", "]"),
            ("[&&a]", "&", "b"),
            ("[a~~b]", "~", "c"),
            ("^[\\.]$", ".", "a"),
            ("a{2}", "aa", "a"),
            ("{x}", "{x}", "x"),
            ("a.c", "a\nc", "ac"),
            ("ab*c", "ac", "ab"),
            ("\\+g\\.3gpp\\.(smsip|nw-init)", ";+g.3gpp.smsip", ";g-3gpp.smsip"),
            ("\u{e9}[\u{e8}\u{ea}]", "\u{e9}\u{e8}", "\u{e8}\u{e9}"),
        ] {
            assert!(found(pattern, yes) && !found(pattern, no), "{pattern}");
        }
    }

    #[test]
    fn what_is_malformed_or_costs_too_much_is_refused() {
        for pattern in ["(", "[", "a{2,1}", "*", "(((a{99}){99}){99})", &"a?".repeat(513), &"(".repeat(60)] {
            let why = Pattern::new(pattern, false).unwrap_err();
            assert!(!why.is_empty() && !why.contains('\n'), "{pattern}: {why}");
        }
    }

    proptest! {
        /// The short cut for plain words finds what the automaton finds.
        #[test]
        fn words_are_an_expression(pattern in "\\^?(\\.\\*)?([ab]|\\\\\\.|\\.){0,4}(\\.\\*)?\\$?", text in "[abA.]{0,6}", any_case: bool) {
            let fast = Pattern::new(&pattern, any_case).unwrap();
            let slow = RegexBuilder::new(&pattern).case_insensitive(any_case).unicode(false).build().unwrap();
            prop_assert_eq!(fast.is_in(text.as_bytes()), slow.is_match(text.as_bytes()));
        }

        /// Nothing an HSS writes makes it panic.
        #[test]
        fn any_text_is_taken_or_refused(pattern in "[\\[\\](){}^$.*+?|\\\\a-c0-2&~:,-]{0,24}", text in ".{0,24}") {
            if let Ok(pattern) = Pattern::new(&pattern, false) {
                let _ = pattern.is_in(text.as_bytes());
            }
        }
    }
}
