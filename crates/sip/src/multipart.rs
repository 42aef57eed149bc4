//! RFC 2046 §5.1 — bodies of several parts, as SIP carries them (RFC 5621).

use crate::{Headers, Malformed, Name, Params, fingerprint::Fingerprint, lexis};
use memchr::memmem;
use std::borrow::Cow;

/// How deep parts of parts are looked into.
const DEPTH: usize = 4;

/// The parts of a multipart body, in order.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    delimiter: Vec<u8>,
    /// What follows the line of the last delimiter; `None` behind the closing one.
    rest: Option<&'a [u8]>,
}

/// One part of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    head: &'a [u8],
    /// Its octets.
    pub body: &'a [u8],
}

impl<'a> Parts<'a> {
    /// The parts of `body`, whose Content-Type is `content_type`. What stands before the first delimiter and behind the
    /// closing one is skipped; a missing closing one is forgiven.
    ///
    /// # Errors
    /// The type is no multipart type, or has no boundary.
    pub fn of(content_type: &str, body: &'a [u8]) -> Result<Self, Malformed> {
        let error = |why| Malformed { header: Name::ContentType, why };
        let end = content_type.find(';').unwrap_or(content_type.len());
        if !is_multipart(&content_type[..end]) {
            return Err(error("not a multipart type"));
        }
        let params = Params::parse(&content_type[end..]).map_err(|malformed| error(malformed.0))?;
        let boundary = lexis::unescape(params.get("boundary").unwrap_or(""));
        if boundary.is_empty() || boundary.len() > 70 {
            return Err(error("a multipart type has a boundary of 1 to 70 characters"));
        }
        let delimiter = [b"--", boundary.as_bytes()].concat();
        let rest = next_delimiter(&delimiter, body).and_then(|found| found.after);
        Ok(Self { delimiter, rest })
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let text = self.rest?;
        let (part, rest) = match next_delimiter(&self.delimiter, text) {
            Some(found) => (&text[..found.before], found.after),
            None => (text, None),
        };
        self.rest = rest;
        Some(Part::split(part))
    }
}

impl<'a> Part<'a> {
    fn split(text: &'a [u8]) -> Self {
        let mut at = 0;
        loop {
            let line = &text[at..];
            let Some(newline) = memchr::memchr(b'\n', line) else { return Self { head: text, body: &[] } };
            if line[..newline].trim_ascii().is_empty() {
                return Self { head: &text[..at], body: &line[newline + 1..] };
            }
            at += newline + 1;
        }
    }

    /// The value of one of its own headers, by its name in any case.
    pub fn header(&self, name: &str) -> Option<Cow<'a, str>> {
        let mut lines = self.head.split_inclusive(|&b| b == b'\n').peekable();
        let mut at = 0;
        while let Some(line) = lines.next() {
            let from = at;
            at += line.len();
            while let Some(folded) = lines.next_if(|next| next.first().is_some_and(|&b| lexis::is_blank(b))) {
                at += folded.len();
            }
            let text = str::from_utf8(&self.head[from..at]).ok()?;
            if let Some((known, value)) = text.split_once(':')
                && lexis::trim(known).eq_ignore_ascii_case(name)
            {
                return Some(lexis::unfold(lexis::trim(value)));
            }
        }
        None
    }

    /// Its Content-Type; without one it is plain text.
    pub fn content_type(&self) -> Cow<'a, str> {
        self.header("Content-Type").unwrap_or(Cow::Borrowed("text/plain"))
    }
}

impl Headers {
    /// The parts of a multipart body.
    ///
    /// # Errors
    /// The body has no multipart type, or no boundary.
    pub fn parts(&self) -> Result<Parts<'_>, Malformed> {
        Parts::of(&self.get(Name::ContentType).unwrap_or_default(), self.body())
    }

    /// The body, or the first part of it, that is of a type such as `application/sdp`.
    pub fn body_of(&self, media_type: &str) -> Option<&[u8]> {
        find(&self.get(Name::ContentType)?, self.body(), media_type, DEPTH)
    }
}

fn find<'a>(content_type: &str, body: &'a [u8], wanted: &str, depth: usize) -> Option<&'a [u8]> {
    let media_type = lexis::trim(content_type.split(';').next().unwrap_or(content_type));
    if media_type.eq_ignore_ascii_case(wanted) {
        return Some(body);
    }
    if depth == 0 || !is_multipart(media_type) {
        return None;
    }
    Parts::of(content_type, body)
        .ok()?
        .find_map(|part| find(&part.content_type(), part.body, wanted, depth - 1))
}

fn is_multipart(media_type: &str) -> bool {
    const PREFIX: &str = "multipart/";
    lexis::trim(media_type).get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

struct Found<'a> {
    /// Where the part before it ends, its line break not counted.
    before: usize,
    /// What follows its line; `None` if it is the closing one.
    after: Option<&'a [u8]>,
}

fn next_delimiter<'a>(delimiter: &[u8], text: &'a [u8]) -> Option<Found<'a>> {
    memmem::find_iter(text, delimiter).find_map(|at| {
        let before = match &text[..at] {
            [] => 0,
            [.., b'\r', b'\n'] => at - 2,
            [.., b'\n'] => at - 1,
            _ => return None,
        };
        let rest = &text[at + delimiter.len()..];
        if rest.starts_with(b"--") {
            return Some(Found { before, after: None });
        }
        let newline = memchr::memchr(b'\n', rest)?;
        let blank = rest[..newline].trim_ascii().is_empty();
        blank.then(|| Found { before, after: Some(&rest[newline + 1..]) })
    })
}

/// Writes a `multipart/mixed` body.
#[derive(Clone, Debug, Default)]
pub struct Mixed {
    parts: Vec<(Box<str>, Vec<u8>)>,
}

impl Mixed {
    /// Without parts.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one part more.
    #[must_use]
    pub fn part(mut self, content_type: &str, body: &[u8]) -> Self {
        self.parts.push((content_type.into(), body.to_vec()));
        self
    }

    /// Content-Type and body. The boundary occurs in no part, and is the same for the same parts.
    pub fn finish(self) -> (String, Vec<u8>) {
        let boundary = self.boundary();
        let mut body = Vec::with_capacity(self.parts.iter().map(|(_, octets)| octets.len() + 128).sum());
        for (content_type, octets) in &self.parts {
            body.extend_from_slice(
                format!("--{boundary}\r\nContent-Type: {content_type}\r\n\r\n").as_bytes(),
            );
            body.extend_from_slice(octets);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        (format!("multipart/mixed;boundary={boundary}"), body)
    }

    fn boundary(&self) -> String {
        let taken = |boundary: &String| {
            self.parts.iter().any(|(_, octets)| memmem::find(octets, boundary.as_bytes()).is_some())
        };
        let mut hash = Fingerprint::new();
        for (content_type, octets) in &self.parts {
            hash.field(content_type.as_bytes());
            hash.field(octets);
        }
        // Whoever wants to be in the way would have to write the hash of what it is written in.
        let first = hash.finish();
        let mut boundaries = (0u64..).map(|next| format!("part-{:016x}", first.wrapping_add(next)));
        // The parts are finite: some number is in none of them.
        boundaries.find(|boundary| !taken(boundary)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Method, Request, Uri};

    const BODY: &[u8] = b"a preamble\r\n--b1\r\nContent-Type: application/sdp\r\nX: a\r\n b\r\n\r\nv=0\r\n--b1x\r\n\r\n\
        --b1 \t\r\n\r\nno headers\r\n--b1\r\nCONTENT-type : text/xml;charset=utf-8\r\n\r\n<x/>\r\n--b1--\r\nepilogue";

    fn bodies(content_type: &str, body: &[u8]) -> Vec<(String, String)> {
        Parts::of(content_type, body)
            .unwrap()
            .map(|part| (part.content_type().into_owned(), String::from_utf8(part.body.to_vec()).unwrap()))
            .collect()
    }

    fn pair(content_type: &str, body: &str) -> (String, String) {
        (content_type.to_owned(), body.to_owned())
    }

    #[test]
    fn reads_parts() {
        let want = [
            pair("application/sdp", "v=0\r\n--b1x\r\n"),
            pair("text/plain", "no headers"),
            pair("text/xml;charset=utf-8", "<x/>"),
        ];
        assert_eq!(bodies("Multipart/Mixed ; boundary=b1", BODY), want);
        assert_eq!(bodies("multipart/related;boundary=\"b1\";type=x", BODY), want);
        let first = Parts::of("multipart/mixed;boundary=b1", BODY).unwrap().next().unwrap();
        assert_eq!(first.header("x").unwrap(), "a b");
        assert_eq!(first.header("y"), None);
    }

    #[test]
    fn is_kind_to_line_feeds_and_a_missing_end() {
        let text = b"--b\nContent-Type: a/b\n\none\n--b\n\ntwo\n";
        assert_eq!(
            bodies("multipart/mixed;boundary=b", text),
            [pair("a/b", "one"), pair("text/plain", "two\n")]
        );
        assert_eq!(bodies("multipart/mixed;boundary=b", b"no delimiter"), []);
        assert_eq!(bodies("multipart/mixed;boundary=b", b"--b--\r\n--b\r\n\r\nbehind the end"), []);
        assert_eq!(bodies("multipart/mixed;boundary=b", b"--b\r\nX: y"), [pair("text/plain", "")]);
    }

    #[test]
    fn refusals() {
        let long = format!("multipart/mixed;boundary={}", "x".repeat(71));
        for content_type in
            ["", "application/sdp", "multipart/mixed", "multipart/mixed;boundary=\"\"", "multipart", &long]
        {
            assert_eq!(Parts::of(content_type, b"").unwrap_err().header, Name::ContentType, "{content_type}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let parts: [&[u8]; 4] =
            [b"REGISTER sip:x SIP/2.0\r\n\r\n", b"--part-0\r\n--part-", b"", b"\xff\x00\n"];
        let mixed = parts.iter().fold(Mixed::new(), |mixed, part| mixed.part("message/sip", part));
        let (content_type, body) = mixed.clone().finish();
        assert!(content_type.starts_with("multipart/mixed;boundary=part-"), "{content_type}");
        let read: Vec<_> = Parts::of(&content_type, &body).unwrap().map(|part| part.body).collect();
        assert_eq!(read, parts);
        assert_eq!(mixed.finish(), (content_type, body), "a function of the parts");
    }

    #[test]
    fn sdp_is_found_where_it_is() {
        let invite = |content_type: &str, body: &[u8]| {
            Request::build(Method::Invite, &Uri::parse("sip:a").unwrap()).body(content_type, body).finish()
        };
        assert_eq!(invite("Application/SDP; x=y", b"v=0").body_of("application/sdp"), Some(&b"v=0"[..]));
        assert_eq!(invite("text/plain", b"v=0").body_of("application/sdp"), None);
        let (kind, inner) = Mixed::new().part("text/plain", b"hi").part("application/sdp", b"v=0").finish();
        let (outer_kind, outer) =
            Mixed::new().part("application/pidf+xml", b"<x/>").part(&kind, &inner).finish();
        let nested = invite(&outer_kind, &outer);
        assert_eq!(nested.body_of("application/sdp"), Some(&b"v=0"[..]));
        assert_eq!(nested.parts().unwrap().count(), 2);
        let (mut kind, mut deep) = (kind, inner);
        for _ in 0..5 {
            (kind, deep) = Mixed::new().part(&kind, &deep).finish();
        }
        assert_eq!(invite(&kind, &deep).body_of("application/sdp"), None, "deeper than anybody nests");
        let bare = Request::build(Method::Invite, &Uri::parse("sip:a").unwrap()).finish();
        assert_eq!(bare.body_of("application/sdp"), None);
    }
}
