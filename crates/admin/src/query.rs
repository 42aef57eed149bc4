//! Query strings and path segments, read strictly.

use crate::ask::Filter;
use crate::problem::Problem;
use actix_web::http::StatusCode;
use scscf::Impi;

/// Users of one page when nobody says how many.
pub(crate) const DEFAULT_LIMIT: usize = 100;
/// Users of one page at most.
pub(crate) const HIGHEST_LIMIT: usize = 1000;
/// Registration states that can be asked for.
pub(crate) const STATES: [&str; 3] = ["not_registered", "registered", "unregistered_services"];
const LONGEST: usize = 512;

/// The query of `GET /v1/users`.
pub(crate) fn filter(query: &str) -> Result<Filter, Problem> {
    let mut filter = Filter { limit: DEFAULT_LIMIT, ..Filter::default() };
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name, true).unwrap_or_else(|| name.to_owned());
        let Some(value) = decode(value, true) else {
            return Err(bad(&name, value, "UTF-8, percent-encoded"));
        };
        if seen.contains(&name) {
            return Err(bad(&name, &value, "to be given once"));
        }
        match name.as_str() {
            "state" if STATES.contains(&value.as_str()) => filter.state = Some(value.into()),
            "state" => return Err(bad("state", &value, &format!("one of {}", STATES.join(", ")))),
            "limit" => match value.parse::<usize>() {
                Ok(limit @ 1..=HIGHEST_LIMIT) => filter.limit = limit,
                _ => return Err(bad("limit", &value, "a whole number from 1 to 1000")),
            },
            "cursor" if value.is_empty() || value.len() > LONGEST => {
                return Err(bad("cursor", &value, "the value of \"next\" of the page before"));
            }
            "cursor" => filter.cursor = Some(value.into()),
            "q" if value.len() > LONGEST => return Err(bad("q", &value, "at most 512 octets")),
            "q" => filter.q = (!value.is_empty()).then(|| value.into()),
            _ => return Err(bad(&name, &value, "one of state, limit, cursor, q")),
        }
        seen.push(name);
    }
    Ok(filter)
}

/// Refuses a query where none is understood.
pub(crate) fn none(query: &str) -> Result<(), Problem> {
    match query.split('&').find(|pair| !pair.is_empty()) {
        None => Ok(()),
        Some(pair) => {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Err(bad(name, value, "no query parameter here"))
        }
    }
}

/// The private user identity in the third segment of a path such as `/v1/users/{impi}/watch`.
pub(crate) fn impi(path: &str) -> Result<Impi, Problem> {
    let segment = path.split('/').nth(3).unwrap_or("");
    decode(segment, false).as_deref().and_then(Impi::new).ok_or_else(|| {
        bad("impi", segment, "a private user identity, as user@realm, percent-encoded, of at most 255 octets")
    })
}

/// A plain name in the third segment of a path.
pub(crate) fn name(path: &str, parameter: &str) -> Result<Box<str>, Problem> {
    let segment = path.split('/').nth(3).unwrap_or("");
    decode(segment, false)
        .filter(|name| !name.is_empty() && name.len() <= LONGEST && !name.chars().any(char::is_control))
        .map(Into::into)
        .ok_or_else(|| bad(parameter, segment, "a name, percent-encoded"))
}

fn bad(name: &str, value: &str, expected: &str) -> Problem {
    Problem::parameter(StatusCode::BAD_REQUEST, name, value, expected)
}

/// Undoes percent-encoding; `None` if an escape is broken or the result is not UTF-8.
fn decode(text: &str, plus_is_blank: bool) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                octets.push(hex(*high)? << 4 | hex(*low)?);
                rest = tail;
            }
            (b'%', _) => return None,
            (b'+', _) if plus_is_blank => octets.push(b' '),
            (octet, _) => octets.push(*octet),
        }
    }
    String::from_utf8(octets).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_filter_is_read() {
        let read = filter("state=registered&limit=7&cursor=a%2Fb&q=ali+ce%2b").unwrap();
        let expected = Filter {
            state: Some("registered".into()),
            limit: 7,
            cursor: Some("a/b".into()),
            q: Some("ali ce+".into()),
        };
        assert_eq!(read, expected);
        assert_eq!(filter("").unwrap().limit, DEFAULT_LIMIT);
        assert_eq!(filter("state=registered&q=").unwrap().q, None);
    }

    #[test]
    fn a_bad_filter_is_named() {
        for (query, name) in [
            ("limit=-1", "limit"),
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=", "limit"),
            ("limit=99999999999999999999999", "limit"),
            ("state=happy", "state"),
            ("cursor=", "cursor"),
            ("q=%ff", "q"),
            ("q=%2", "q"),
            ("limit=1&limit=2", "limit"),
            ("Limit=1", "Limit"),
        ] {
            let problem = filter(query).unwrap_err().to_string();
            assert!(problem.contains(&format!("{name} = ")), "{query}: {problem}");
            assert!(problem.contains("expected"), "{query}: {problem}");
        }
    }

    #[test]
    fn an_identity_in_a_path_is_percent_decoded_once() {
        assert_eq!(impi("/v1/users/alice@a.b").unwrap().as_str(), "alice@a.b");
        assert_eq!(impi("/v1/users/alice%40a.b/watch").unwrap().as_str(), "alice@a.b");
        assert_eq!(impi("/v1/users/a%2Fb%2525+c@d").unwrap().as_str(), "a/b%25+c@d");
        for path in ["/v1/users/%ff", "/v1/users/%20", "/v1/users//watch", "/v1/users/%4", "/v1/users/a%22b"]
        {
            assert!(impi(path).is_err(), "{path}");
        }
    }
}
