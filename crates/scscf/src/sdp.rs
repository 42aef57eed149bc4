//! RFC 8866 §5, RFC 2046 §5.1 — session descriptions in the body of a message, alone or as parts of a multipart body.

use sip::Headers;
use sip::multipart::Parts;
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
pub fn lines(body: &[u8]) -> impl Iterator<Item = (u8, &[u8])> + Clone {
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
    let media = content_type.split(';').next().unwrap_or(content_type).trim();
    if media.eq_ignore_ascii_case("application/sdp") {
        found.push(body);
    } else if depth > 0
        && let Ok(parts) = Parts::of(content_type, body)
    {
        for part in parts {
            if *left == 0 {
                return;
            }
            *left -= 1;
            collect(&part.content_type(), part.body, depth - 1, left, found);
        }
    }
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
             --b 1  \r\n\r\nplain text\r\n--b 1\r\nContent-Type: multipart/alternative;boundary=in\r\n\r\n{inner}\r\n--b 1--\r\nv=9"
        );
        assert_eq!(texts(&request("multipart/mixed;boundary=\"b 1\"", &body)), ["v=1", "v=2"]);
    }

    #[test]
    fn what_is_cut_short_or_nested_too_deep_is_left_out() {
        for body in ["", "--b", "--b\r\n", "--b\r\nContent-Type: application/sdp"] {
            assert!(texts(&request("multipart/mixed;boundary=b", body)).concat().is_empty(), "{body}");
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
