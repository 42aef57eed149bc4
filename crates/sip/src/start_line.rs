//! RFC 3261 §7.1, §7.2 — request lines and status lines.

use crate::{
    Method, Status,
    headers::Start,
    lexis, limits,
    parse::{Fault, bad, line_end, too_large},
    uri,
};

/// Whether the octets can only be a response.
pub(crate) fn is_status_line(bytes: &[u8]) -> bool {
    bytes.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"SIP/"))
}

/// The start line, and where the headers begin.
pub(crate) fn scan(bytes: &[u8]) -> Result<(Start, usize), Fault> {
    let end = line_end(bytes, 0)?;
    let line = &bytes[..end];
    let start = if is_status_line(line) { status_line(line)? } else { request_line(line)? };
    Ok((start, end + 2))
}

fn status_line(line: &[u8]) -> Result<Start, Fault> {
    version(line.get(..7).unwrap_or(line))?;
    let code = match line.get(7..11) {
        Some([b' ', code @ ..]) => lexis::decimal(code),
        _ => None,
    };
    let ends = matches!(line.get(11), None | Some(b' '));
    let status = code.and_then(|code| Status::new(code as u16)).filter(|_| ends);
    let status = status.ok_or(bad("a status line has a code from 100 to 699"))?;
    let reason = 12.min(line.len()) as u32;
    Ok(Start::Response { status, reason: (reason, line.len() as u32) })
}

fn request_line(line: &[u8]) -> Result<Start, Fault> {
    let malformed = bad("a request line is method, URI and version with one space between");
    let first = memchr::memchr(b' ', line).ok_or(malformed)?;
    let second = first + 1 + memchr::memchr(b' ', &line[first + 1..]).ok_or(malformed)?;
    let (method, uri, protocol) = (&line[..first], &line[first + 1..second], &line[second + 1..]);
    if !lexis::is_token(method) {
        return Err(bad("the method is no token"));
    }
    version(protocol)?;
    if uri.len() > limits::URI {
        return Err(too_large("the Request-URI is too long"));
    }
    let text = std::str::from_utf8(uri).map_err(|_| bad("the Request-URI is not UTF-8"))?;
    let spans = uri::scan(text).map_err(|e| bad(e.0))?;
    if spans.has_headers(text) {
        return Err(bad("a Request-URI has no headers"));
    }
    let method = std::str::from_utf8(method).map_err(|_| bad("the method is no token"))?;
    let uri = (first as u32 + 1, second as u32);
    Ok(Start::Request { method: Method::of_token(method), uri })
}

fn version(text: &[u8]) -> Result<(), Fault> {
    if text.eq_ignore_ascii_case(b"SIP/2.0") {
        return Ok(());
    }
    let other = text.get(..4).is_some_and(|p| p.eq_ignore_ascii_case(b"SIP/"))
        && text.get(4..).is_some_and(|rest| {
            let mut parts = rest.split(|&b| b == b'.');
            let mut number = || parts.next().is_some_and(|part| lexis::decimal(part).is_some());
            number() && number() && parts.next().is_none()
        });
    if other {
        Err(Fault { why: "the version is not SIP/2.0", status: Status::VERSION_NOT_SUPPORTED })
    } else {
        Err(bad("the line names no SIP version"))
    }
}
