//! RFC 3261 §8.2, §16.3 — the answer to a request that does not parse, made of what can be read.

use crate::{Name, parse::Fault};
use crate::{ParseError, Response, Status, header::address, lexis, limits, raw::Raw, start_line};
use bytes::Bytes;

/// Turns a fault into an error; a request that can be answered gets its answer, a response or an ACK none.
pub(crate) fn refuse(bytes: &Bytes, fault: Fault) -> ParseError {
    let response = answer(bytes, fault);
    ParseError {
        why: fault.why,
        status: response.as_ref().map(|_| fault.status),
        response: response.map(Box::new),
    }
}

fn answer(bytes: &[u8], fault: Fault) -> Option<Response> {
    if start_line::is_status_line(bytes) || bytes.starts_with(b"ACK ") {
        return None;
    }
    let mut lines = Lines(&bytes[..bytes.len().min(limits::HEAD)]);
    let request_line = lines.next()?;
    let versioned = request_line.windows(5).any(|w| w.eq_ignore_ascii_case(b" SIP/"));
    let method = request_line.split(|&b| b == b' ').next()?;
    if !versioned || !lexis::is_token(method) {
        return None;
    }
    let mut raw = Raw::response(fault.status, fault.status.reason(), 1024);
    let mut via = false;
    let mut once = [(Name::From, None), (Name::To, None), (Name::CallId, None), (Name::CSeq, None)];
    let mut vias = 0;
    for line in lines {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let value = line[colon + 1..].trim_ascii();
        match Name::of(line[..colon].trim_ascii()) {
            Some(Name::Via) if vias < limits::VIAS && value.len() <= limits::LINE => {
                raw.octets(Name::Via, value);
                via = true;
                vias += 1;
            }
            Some(name) => {
                if let Some((_, slot)) =
                    once.iter_mut().find(|(known, slot)| *known == name && slot.is_none())
                {
                    *slot = Some(value);
                }
            }
            None => {}
        }
    }
    if !via {
        return None;
    }
    for (name, value) in once {
        let Some(value) = value.filter(|value| value.len() <= limits::LINE) else { continue };
        raw.octets(name, value);
        if name == Name::To && needs_tag(value) {
            raw.extend_last(format_args!(";tag={:016x}", stateless_tag(bytes)));
        }
    }
    // The reason, for whoever wrote the sender; it holds no octet of the message.
    raw.octets(Name::Warning, format!("399 rollcall \"{}\"", fault.why).as_bytes());
    raw.finish_reading().ok().map(Response)
}

fn needs_tag(to: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(to) else { return false };
    let text = lexis::unfold(lexis::trim(text));
    address::scan(&text).is_ok_and(|spans| !text[spans.params()..].to_ascii_lowercase().contains("tag"))
}

/// The same tag for every retransmission (RFC 3261 §8.2.7): FNV-1a over the octets.
fn stateless_tag(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// Header lines with their foldings, read without any demand; ends at the empty line.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.starts_with(b"\r\n") || self.0.starts_with(b"\n") {
            return None;
        }
        let mut from = 0;
        loop {
            let rest = self.0.get(from..)?;
            let Some(newline) = memchr::memchr(b'\n', rest) else {
                self.0 = &[];
                return None;
            };
            let end = from + newline;
            if self.0.get(end + 1).is_some_and(|&b| lexis::is_blank(b)) {
                from = end + 1;
                continue;
            }
            let line = self.0[..end].trim_ascii_end();
            self.0 = &self.0[end + 1..];
            return Some(line);
        }
    }
}

/// The status that a request deserves when it is too large to be read whole.
pub(crate) const TOO_LARGE: Fault =
    Fault { why: "the message is too large", status: Status::MESSAGE_TOO_LARGE };
