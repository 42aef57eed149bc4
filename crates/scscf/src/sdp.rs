//! RFC 8866 §5, RFC 2046 §5.1 — session descriptions in the body of a message, alone or as parts of a multipart body.

use sip::Headers;
use smallvec::SmallVec;

/// Deepest nesting of multipart bodies that is read.
const DEEPEST: usize = 3;
/// Most parts of a message that are read.
const MOST_PARTS: usize = 32;

/// The session descriptions that a message carries, in order.
pub fn bodies(headers: &Headers) -> impl Iterator<Item = &[u8]> {
    let mut found = SmallVec::<[&[u8]; 1]>::new();
    if let Some(content_type) = headers.content_type() {
        collect(content_type, headers.body(), DEEPEST, &mut { MOST_PARTS }, &mut found);
    }
    found.into_iter()
}

/// The lines of a session description: the letter, and what follows the equals sign. Lines of another form are left out.
pub fn lines(body: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    body.split(|octet| *octet == b'\n').filter_map(|line| match line.strip_suffix(b"\r").unwrap_or(line) {
        [letter, b'=', value @ ..] => Some((*letter, value)),
        _ => None,
    })
}

fn collect<'a>(
    content_type: &str,
    body: &'a [u8],
    depth: usize,
    left: &mut usize,
    found: &mut SmallVec<[&'a [u8]; 1]>,
) {
    let (media, params) = content_type.split_once(';').unwrap_or((content_type, ""));
    let media = media.trim();
    if media.eq_ignore_ascii_case("application/sdp") {
        found.push(body);
    } else if depth > 0
        && media.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/"))
        && let Some(boundary) = boundary(params)
    {
        for part in parts(body, boundary) {
            if *left == 0 {
                return;
            }
            *left -= 1;
            let (content_type, content) = opened(part);
            collect(content_type, content, depth - 1, left, found);
        }
    }
}

fn boundary(params: &str) -> Option<&str> {
    let (_, value) = params
        .split(';')
        .filter_map(|param| param.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"))?;
    let value = value.trim();
    let bare = value.strip_prefix('"').and_then(|open| open.strip_suffix('"')).unwrap_or(value);
    (!bare.is_empty() && bare.len() <= 70).then_some(bare)
}

/// What stands between the lines that begin with `--` and the boundary.
fn parts<'a>(body: &'a [u8], boundary: &str) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = after_delimiter(body, boundary, true).map(|(_, behind)| behind);
    std::iter::from_fn(move || {
        let (part, behind) = after_delimiter(rest?, boundary, false)?;
        rest = (!behind.starts_with(b"--")).then_some(behind);
        // The rest of the delimiter line is blank.
        let begin = part.iter().position(|octet| *octet == b'\n').map_or(part.len(), |at| at + 1);
        Some(&part[begin..])
    })
}

/// Splits at the next delimiter: what is before it, its line break apart, and what is behind it.
fn after_delimiter<'a>(body: &'a [u8], boundary: &str, first: bool) -> Option<(&'a [u8], &'a [u8])> {
    let is =
        |at: usize| body[at..].strip_prefix(b"--").and_then(|open| open.strip_prefix(boundary.as_bytes()));
    if first && let Some(behind) = is(0) {
        return Some((&body[..0], behind));
    }
    let breaks = memchr::memchr_iter(b'\n', body);
    breaks.filter_map(|at| Some((at, is(at + 1)?))).next().map(|(at, behind)| {
        let before = &body[..at];
        (before.strip_suffix(b"\r").unwrap_or(before), behind)
    })
}

/// Content-Type and content of one part; without a Content-Type it is plain text (RFC 2046 §5.1).
fn opened(part: &[u8]) -> (&str, &[u8]) {
    let mut content_type = "text/plain";
    let mut rest = part;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (line, behind) = rest.split_at(end);
        rest = behind;
        let line = line.trim_ascii_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once(':'))
            && (name.trim().eq_ignore_ascii_case("Content-Type") || name.trim().eq_ignore_ascii_case("c"))
        {
            content_type = value.trim();
        }
    }
    (content_type, rest)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use sip::{Message, Request};

    fn request(content_type: &str, body: &str) -> Request {
        let length = body.len();
        let text = format!(
            "INVITE sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\n\
             Call-ID: 1\r\nCSeq: 1 INVITE\r\nc: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        match Message::parse_datagram(Bytes::from(text)).unwrap() {
            Message::Request(request) => request,
            Message::Response(_) => panic!("a request"),
        }
    }

    fn texts(request: &Request) -> Vec<&str> {
        bodies(request).map(|body| std::str::from_utf8(body).unwrap()).collect()
    }

    #[test]
    fn a_description_alone() {
        let request =
            request("Application/SDP; charset=utf-8", "v=0\r\nm=audio 1 RTP/AVP 0\r\nnoise\r\na=x\n");
        let lines: Vec<_> = bodies(&request).flat_map(lines).collect();
        assert_eq!(lines, [(b'v', &b"0"[..]), (b'm', b"audio 1 RTP/AVP 0"), (b'a', b"x")]);
        assert_eq!(texts(&self::request("application/resource-lists+xml", "v=0")), [""; 0]);
    }

    #[test]
    fn descriptions_among_other_parts() {
        let inner = "--in\r\nContent-Type: application/sdp\r\n\r\nv=2\r\n--in--\r\n";
        let body = format!(
            "preamble\r\n--b 1\r\nContent-Type: application/sdp\r\nContent-Disposition: session\r\n\r\nv=1\r\n\
             --b 1  \r\n\r\nplain text\r\n--b 1\r\nC: multipart/alternative;boundary=in\r\n\r\n{inner}\r\n--b 1--\r\nv=9"
        );
        assert_eq!(texts(&request("multipart/mixed;boundary=\"b 1\"", &body)), ["v=1", "v=2"]);
    }

    #[test]
    fn what_is_cut_short_or_nested_too_deep_is_left_out() {
        for body in [
            "",
            "--b",
            "--b\r\n",
            "--b\r\nContent-Type: application/sdp",
            "--b\r\nContent-Type: application/sdp\r\n\r\nv=1",
        ] {
            assert_eq!(texts(&request("multipart/mixed;boundary=b", body)), [""; 0], "{body}");
        }
        assert_eq!(texts(&request("multipart/mixed", "--b\r\n\r\n--b--")), [""; 0]);
        let mut body = "Content-Type: application/sdp\r\n\r\nv=1".to_owned();
        for level in 0..8 {
            body = format!(
                "Content-Type: multipart/mixed;boundary=b{level}\r\n\r\n--b{level}\r\n{body}\r\n--b{level}--"
            );
        }
        let (head, nested) = body.split_once("\r\n\r\n").unwrap();
        assert_eq!(texts(&request(head.trim_start_matches("Content-Type: "), nested)), [""; 0]);
        let many = "--b\r\nContent-Type: application/sdp\r\n\r\nv=1\r\n".repeat(100) + "--b--";
        assert_eq!(texts(&request("multipart/mixed;boundary=b", &many)).len(), MOST_PARTS);
    }
}
