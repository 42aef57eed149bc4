//! RFC 3261 §7 — messages of this crate as messages of rsip, and back, as far as rsip can hold them.
//!
//! rsip knows no compact names, no folding, no method beyond its list and no URI but SIP ones; what it would lose or change
//! is refused, never bent; the reason phrase alone is left to it.

use crate::{Message, Name, ParseError};
use bytes::Bytes;

/// Why rsip cannot hold a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unrepresentable {
    /// Octets beyond UTF-8 in the start line or the headers.
    #[error("rsip holds text only")]
    NotText,
    /// rsip does not parse it.
    #[error("rsip does not read it: {0}")]
    Unread(String),
    /// rsip parses it, but would write something else.
    #[error("rsip would change it to: {0}")]
    Changed(String),
}

/// The message as rsip holds it: names in full, foldings undone, the reason phrase rsip's own, everything else as it is.
pub fn to_rsip(message: &Message) -> Result<rsip::SipMessage, Unrepresentable> {
    let head = head(message)?;
    let mut converted = rsip::SipMessage::try_from(head.as_str())
        .map_err(|error| Unrepresentable::Unread(error.to_string()))?;
    let written = converted.to_string();
    if !same(&written, &head) || !same_target(message, &converted) {
        return Err(Unrepresentable::Changed(written));
    }
    *converted.body_mut() = message.headers().body().to_vec();
    Ok(converted)
}

/// The message that rsip writes, with the body as it is.
pub fn from_rsip(message: &rsip::SipMessage) -> Result<Message, ParseError> {
    let mut head = message.clone();
    head.body_mut().clear();
    let mut octets = head.to_string().into_bytes();
    octets.extend_from_slice(message.body());
    Message::parse_datagram(Bytes::from(octets))
}

/// Equal but for the case of header names and the reason phrase, which has no meaning and which rsip replaces.
fn same(written: &str, head: &str) -> bool {
    let name_end = |line: &str| line.find(':').unwrap_or(0);
    let (mut left, mut right) = (written.split("\r\n"), head.split("\r\n"));
    let (first, wanted) = (left.next().unwrap_or(""), right.next().unwrap_or(""));
    let starts =
        if wanted.starts_with("SIP/") { first.get(..12) == wanted.get(..12) } else { first == wanted };
    starts
        && left.clone().count() == right.clone().count()
        && left.zip(right).all(|(left, right)| {
            let name = name_end(right);
            name == name_end(left)
                && left[..name].eq_ignore_ascii_case(&right[..name])
                && left[name..] == right[name..]
        })
}

/// Whether rsip sees the parts of a Request-URI where they are.
fn same_target(message: &Message, converted: &rsip::SipMessage) -> bool {
    match (message, converted) {
        (Message::Request(ours), rsip::SipMessage::Request(theirs)) => {
            let (ours, theirs) = (ours.uri(), &theirs.uri);
            ours.user() == theirs.user()
                && ours.host() == theirs.host().to_string()
                && ours.port() == theirs.port().map(|port| *port.value())
        }
        (Message::Response(_), rsip::SipMessage::Response(_)) => true,
        _ => false,
    }
}

fn head(message: &Message) -> Result<String, Unrepresentable> {
    let mut head = match message {
        Message::Request(request) => format!("{} {} SIP/2.0\r\n", request.method(), request.uri_text()),
        Message::Response(response) => format!("SIP/2.0 {} {}\r\n", response.status(), response.reason()),
    };
    let octets = message.as_bytes();
    let body = message.headers().body().len();
    if std::str::from_utf8(&octets[..octets.len() - body]).is_err() {
        return Err(Unrepresentable::NotText);
    }
    for (name, value) in message.headers().all() {
        let name = match Name::of(name.as_bytes()) {
            Some(known) => known.as_str(),
            None => name,
        };
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    Ok(head)
}
