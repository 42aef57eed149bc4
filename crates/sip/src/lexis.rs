//! RFC 3261 §25.1 — the basic rules of the grammar.

use std::borrow::Cow;

const TOKEN: u8 = 1;
const WORD: u8 = 2;
const UNRESERVED: u8 = 4;
const USER: u8 = 8;
const PARAM: u8 = 16;
const HOST: u8 = 32;

const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut c = 0;
    while c < 128 {
        let b = c as u8;
        if b.is_ascii_alphanumeric() {
            table[c] = TOKEN | WORD | UNRESERVED | USER | PARAM | HOST;
        }
        c += 1;
    }
    add(&mut table, b"-.!%*_+`'~", TOKEN);
    add(&mut table, b"-.!%*_+`'~()<>:\\\"/[]?{}", WORD);
    add(&mut table, b"-_.!~*'()", UNRESERVED | USER | PARAM);
    add(&mut table, b"&=+$,;?/", USER);
    add(&mut table, b"[]/:&+$", PARAM);
    // `_` is no host name character, but names of containers carry it.
    add(&mut table, b"-._", HOST);
    table
}

const fn add(table: &mut [u8; 256], octets: &[u8], class: u8) {
    let mut i = 0;
    while i < octets.len() {
        table[octets[i] as usize] |= class;
        i += 1;
    }
}

static CLASSES: [u8; 256] = classes();

pub(crate) fn is_token_octet(b: u8) -> bool {
    CLASSES[b as usize] & TOKEN != 0
}

pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&b| is_token_octet(b))
}

pub(crate) fn is_word(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&b| CLASSES[b as usize] & WORD != 0)
}

pub(crate) fn is_unreserved(b: u8) -> bool {
    CLASSES[b as usize] & UNRESERVED != 0
}

pub(crate) fn is_user_octet(b: u8) -> bool {
    CLASSES[b as usize] & USER != 0
}

pub(crate) fn is_param_octet(b: u8) -> bool {
    CLASSES[b as usize] & PARAM != 0
}

pub(crate) fn is_host_octet(b: u8) -> bool {
    CLASSES[b as usize] & HOST != 0
}

pub(crate) fn is_blank(b: u8) -> bool {
    b == b' ' || b == b'\t'
}

/// Whether every octet is of the class, or a well-formed escape.
pub(crate) fn escaped_all(text: &[u8], class: impl Fn(u8) -> bool) -> bool {
    let mut i = 0;
    while i < text.len() {
        if text[i] == b'%' {
            let hex = |at: usize| text.get(at).is_some_and(u8::is_ascii_hexdigit);
            if !hex(i + 1) || !hex(i + 2) {
                return false;
            }
            i += 3;
        } else if class(text[i]) {
            i += 1;
        } else {
            return false;
        }
    }
    true
}

/// Drops blanks and line breaks at both ends.
pub(crate) fn trim(text: &str) -> &str {
    let octets = text.as_bytes();
    let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
    let Some(from) = octets.iter().position(|b| !blank(b)) else { return "" };
    let to = octets.iter().rposition(|b| !blank(b)).map_or(from, |last| last + 1);
    &text[from..to]
}

/// A folded value on one line: each line break with the blanks around it becomes one space.
pub(crate) fn unfold(value: &str) -> Cow<'_, str> {
    if memchr::memchr2(b'\r', b'\n', value.as_bytes()).is_none() {
        return Cow::Borrowed(value);
    }
    let mut out = String::with_capacity(value.len());
    for part in value.split(['\r', '\n']) {
        let part = part.trim_matches([' ', '\t']);
        if part.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(part);
    }
    Cow::Owned(out)
}

/// Where a quoted string that opens at `open` ends: the offset behind its closing quote.
pub(crate) fn quoted_end(text: &[u8], open: usize) -> Option<usize> {
    let mut i = open + 1;
    loop {
        i += memchr::memchr2(b'"', b'\\', text.get(i..)?)?;
        if text[i] == b'"' {
            return Some(i + 1);
        }
        i += 2;
    }
}

/// The offset of the first top-level `separator` from `from` on: not inside a quoted string, nor inside `<>`.
pub(crate) fn find_separator(text: &[u8], from: usize, separator: u8) -> Option<usize> {
    let mut i = from;
    let mut next = i + memchr::memchr(separator, text.get(i..)?)?;
    // Most separators have nothing quoted before them.
    while let Some(open) = memchr::memchr2(b'"', b'<', &text[i..next]) {
        let open = i + open;
        i = match text[open] {
            b'"' => quoted_end(text, open)?,
            _ => open + memchr::memchr(b'>', &text[open..])? + 1,
        };
        if next < i {
            next = i + memchr::memchr(separator, text.get(i..)?)?;
        }
    }
    Some(next)
}

/// The comma-separated elements of one value, trimmed, empty ones included.
pub(crate) fn elements(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let comma = memchr::memchr(b',', text.as_bytes());
        match comma.and_then(|_| find_separator(text.as_bytes(), 0, b',')) {
            Some(comma) => {
                rest = Some(&text[comma + 1..]);
                Some(trim(&text[..comma]))
            }
            None => {
                rest = None;
                Some(trim(text))
            }
        }
    })
}

/// How many elements `elements` would find.
pub(crate) fn count_elements(text: &[u8]) -> usize {
    if memchr::memchr(b',', text).is_none() {
        return 1;
    }
    let mut count = 1;
    let mut from = 0;
    while let Some(comma) = find_separator(text, from, b',') {
        count += 1;
        from = comma + 1;
    }
    count
}

/// Unescapes the inside of a quoted string.
pub(crate) fn unescape(inside: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', inside.as_bytes()).is_none() {
        return Cow::Borrowed(inside);
    }
    let mut out = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    Cow::Owned(out)
}

/// Writes `text` as a quoted string.
pub(crate) fn write_quoted(out: &mut impl std::fmt::Write, text: &str) -> std::fmt::Result {
    out.write_str("\"")?;
    let mut rest = text;
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest.as_bytes()) {
        out.write_str(&rest[..at])?;
        out.write_str("\\")?;
        out.write_str(&rest[at..=at])?;
        rest = &rest[at + 1..];
    }
    out.write_str(rest)?;
    out.write_str("\"")
}

/// A whole number of decimal digits and nothing else.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    text.iter().try_fold(0u64, |n, &d| n.checked_mul(10)?.checked_add(u64::from(d - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_inside_quotes_and_brackets_do_not_split() {
        let found: Vec<_> = elements(r#""a, \"b" <sip:c,d@e>;x="1,2" , <sip:f>,,g"#).collect();
        assert_eq!(found, [r#""a, \"b" <sip:c,d@e>;x="1,2""#, "<sip:f>", "", "g"]);
    }

    #[test]
    fn an_unbalanced_quote_swallows_the_rest() {
        assert_eq!(elements("a, \"b, c").collect::<Vec<_>>(), ["a", "\"b, c"]);
    }

    #[test]
    fn folding_becomes_one_space() {
        assert_eq!(unfold("a\r\n \t b\r\n  c"), "a b c");
        assert_eq!(unfold("plain  text"), "plain  text");
    }

    #[test]
    fn numbers_are_digits_only() {
        assert_eq!(decimal(b"0068"), Some(68));
        assert_eq!(decimal(b"+1"), None);
        assert_eq!(decimal(b"36893488147419103232"), None);
    }
}
