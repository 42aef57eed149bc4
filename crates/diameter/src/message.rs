//! RFC 6733 §3 — the Diameter header and the message as a value.

use crate::{
    Identity,
    avp::{Avp, AvpError, Avps, Writer, smallest},
    codes::{self, Code, avp, result},
};
use bytes::Bytes;

/// Octets of the header.
pub const HEADER: usize = 20;
/// The largest message that is sent or taken, in octets. It leaves room for user data beyond the limit of
/// [`crate::user_data::LIMIT`], which is refused by itself and does not cost the connection.
pub const LIMIT: usize = 1 << 21;

/// R: the message is a request.
pub const REQUEST: u8 = 0x80;
/// P: the message may be proxied.
pub const PROXIABLE: u8 = 0x40;
/// E: the answer is a protocol error.
pub const ERROR: u8 = 0x20;
/// T: the request may be a duplicate.
pub const RETRANSMITTED: u8 = 0x10;

/// A Diameter message. Its AVPs stay encoded; cloning it copies no octets.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Command flags.
    pub flags: u8,
    /// Command code, 24 bits.
    pub command: u32,
    /// Application-Id.
    pub application: u32,
    /// Hop-by-Hop identifier; the peer sets it when it sends a request.
    pub hop_by_hop: u32,
    /// End-to-End identifier; 0 in a request means that the sender is still to choose one.
    pub end_to_end: u32,
    avps: Bytes,
}

/// Why octets are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than a header, or the length in the header is another.
    #[error("message length and header disagree")]
    Length,
    /// Not version 1.
    #[error("version {} is not supported", .0.version)]
    Version(BadHeader),
    /// The chain of AVPs cannot be walked.
    #[error("{1}")]
    Avp(BadHeader, AvpError),
}

/// The header of a message whose rest cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadHeader {
    version: u8,
    message: Message,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("flags", &self.flags)
            .field("command", &self.command)
            .field("application", &self.application)
            .field("hop_by_hop", &self.hop_by_hop)
            .field("end_to_end", &self.end_to_end)
            .field("avps", &self.avps().collect::<Vec<_>>())
            .finish()
    }
}

impl DecodeError {
    /// The answer that tells the peer, if the octets were a request whose header could be read.
    pub fn answer(&self, from: &Identity) -> Option<Message> {
        match self {
            Self::Length => None,
            Self::Version(bad) => bad.message.refusal(result::UNSUPPORTED_VERSION, &[], from),
            Self::Avp(bad, error) => {
                let code = Code {
                    code: error.code,
                    vendor: error.vendor,
                    mandatory: codes::is_known(error.code, error.vendor),
                };
                bad.message.refusal(result::INVALID_AVP_LENGTH, &smallest(code), from)
            }
        }
    }
}

impl Message {
    /// Exactly one message; every top-level AVP is checked, grouped ones when they are read.
    pub fn decode(octets: Bytes) -> Result<Self, DecodeError> {
        let Some((head, _)) = octets.split_first_chunk::<HEADER>() else {
            return Err(DecodeError::Length);
        };
        let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        if (word(0) & 0x00ff_ffff) as usize != octets.len() {
            return Err(DecodeError::Length);
        }
        let mut message = Self {
            flags: head[4],
            command: word(4) & 0x00ff_ffff,
            application: word(8),
            hop_by_hop: word(12),
            end_to_end: word(16),
            avps: Bytes::new(),
        };
        let version = head[0];
        if version != 1 {
            return Err(DecodeError::Version(BadHeader { version, message }));
        }
        let avps = octets.slice(HEADER..);
        let broken = Avps::new(&avps).find_map(Result::err);
        // What could be read before the broken AVP still serves the answer, Session-Id above all.
        message.avps = avps;
        match broken {
            Some(error) => Err(DecodeError::Avp(BadHeader { version, message }, error)),
            None => Ok(message),
        }
    }

    /// The octets for the wire.
    pub fn encode(&self) -> Bytes {
        let mut octets = Vec::with_capacity(self.length());
        octets.extend_from_slice(&(0x0100_0000 | (self.length() as u32 & 0x00ff_ffff)).to_be_bytes());
        octets.extend_from_slice(&(u32::from(self.flags) << 24 | (self.command & 0x00ff_ffff)).to_be_bytes());
        octets.extend_from_slice(&self.application.to_be_bytes());
        octets.extend_from_slice(&self.hop_by_hop.to_be_bytes());
        octets.extend_from_slice(&self.end_to_end.to_be_bytes());
        octets.extend_from_slice(&self.avps);
        octets.into()
    }

    /// Octets of the encoded message.
    pub fn length(&self) -> usize {
        HEADER + self.avps.len()
    }

    /// A request with the AVPs that `fill` writes.
    pub fn request(command: u32, application: u32, flags: u8, fill: impl FnOnce(&mut Writer)) -> Self {
        let mut writer = Writer::new();
        fill(&mut writer);
        let flags = REQUEST | flags;
        Self { flags, command, application, hop_by_hop: 0, end_to_end: 0, avps: writer.finish().into() }
    }

    /// An answer to this request: its identifiers, its Session-Id and Proxy-Infos, and what `fill` writes between.
    pub fn answer(&self, flags: u8, fill: impl FnOnce(&mut Writer)) -> Self {
        let mut writer = Writer::new();
        if let Some(session) = self.find(avp::SESSION_ID) {
            writer.copy(&session);
        }
        fill(&mut writer);
        for proxy in self.avps().filter(|avp| avp.is(avp::PROXY_INFO)) {
            writer.copy(&proxy);
        }
        let flags = (self.flags & PROXIABLE) | flags;
        Self { flags, avps: writer.finish().into(), ..*self }
    }

    /// A refusal of this request with a base Result-Code and, unless empty, a Failed-AVP; `None` for an answer.
    pub fn refusal(&self, code: u32, failed: &[u8], from: &Identity) -> Option<Self> {
        let error = if (3000..4000).contains(&code) { ERROR } else { 0 };
        self.is_request().then(|| {
            self.answer(error, |writer| {
                writer
                    .unsigned32(avp::RESULT_CODE, code)
                    .text(avp::ORIGIN_HOST, &from.origin_host)
                    .text(avp::ORIGIN_REALM, &from.origin_realm);
                if !failed.is_empty() {
                    writer.octets(avp::FAILED_AVP, failed);
                }
            })
        })
    }

    /// The same message with other AVPs: `keep` decides which stay, `fill` writes what follows them.
    #[must_use]
    pub fn rewritten(&self, keep: impl Fn(&Avp<'_>) -> bool, fill: impl FnOnce(&mut Writer)) -> Self {
        let mut writer = Writer::new();
        for avp in self.avps().filter(keep) {
            writer.copy(&avp);
        }
        fill(&mut writer);
        Self { avps: writer.finish().into(), ..*self }
    }

    /// Whether the R flag is set.
    pub const fn is_request(&self) -> bool {
        self.flags & REQUEST != 0
    }

    /// Its AVPs in order; ends at one that cannot be read, which a decoded message does not have.
    pub fn avps(&self) -> impl Iterator<Item = Avp<'_>> {
        Avps::new(&self.avps).map_while(Result::ok)
    }

    /// The first AVP that `code` names.
    pub fn find(&self, code: Code) -> Option<Avp<'_>> {
        self.avps().find(|avp| avp.is(code))
    }

    /// The text of the first AVP that `code` names, if it is UTF-8.
    pub fn text(&self, code: Code) -> Option<&str> {
        self.find(code)?.text().ok()
    }

    /// The number of the first AVP that `code` names, if it is one.
    pub fn unsigned32(&self, code: Code) -> Option<u32> {
        self.find(code)?.unsigned32().ok()
    }

    /// The first AVP outside our dictionary with its M flag set.
    pub fn unknown_mandatory(&self) -> Option<Avp<'_>> {
        self.avps().find(|avp| avp.is_mandatory() && !codes::is_known(avp.code, avp.vendor))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn request() -> Message {
        Message::request(303, 16_777_216, PROXIABLE, |w| {
            w.text(avp::SESSION_ID, "s;1;2").text(avp::USER_NAME, "alice@home");
        })
    }

    #[test]
    fn header_is_laid_out_as_written() {
        let mut message = request();
        message.hop_by_hop = 0x0102_0304;
        message.end_to_end = 0x0506_0708;
        let octets = message.encode();
        assert_eq!(octets[..20], [1, 0, 0, 56, 0xc0, 0, 1, 0x2f, 1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(Message::decode(octets).unwrap(), message);
    }

    #[test]
    fn answer_keeps_identifiers_session_and_proxy_infos() {
        let mut message = request().rewritten(
            |_| true,
            |w| {
                w.grouped(avp::PROXY_INFO, |w| {
                    w.text(avp::PROXY_HOST, "dra").octets(avp::PROXY_STATE, b"x");
                });
            },
        );
        message.hop_by_hop = 7;
        message.end_to_end = 9;
        let answer = message.answer(0, |w| {
            w.unsigned32(avp::RESULT_CODE, 2001);
        });
        assert_eq!((answer.flags, answer.hop_by_hop, answer.end_to_end), (PROXIABLE, 7, 9));
        let codes: Vec<_> = answer.avps().map(|a| a.code).collect();
        assert_eq!(codes, [263, 268, 284]);
        assert_eq!(answer.find(avp::PROXY_INFO), message.find(avp::PROXY_INFO));
    }

    #[test]
    fn invalid_length_is_answered_5014_with_the_offender() {
        let mut octets = request().encode().to_vec();
        let at = octets.len() - 12 - 8 + 7;
        octets[at] = 0xff;
        let us = Identity::new("scscf", "home");
        let error = Message::decode(octets.into()).unwrap_err();
        let answer = error.answer(&us).unwrap();
        assert_eq!(answer.unsigned32(avp::RESULT_CODE), Some(5014));
        assert_eq!(answer.text(avp::SESSION_ID), Some("s;1;2"));
        let failed = answer.find(avp::FAILED_AVP).unwrap();
        assert!(failed.grouped().find(avp::USER_NAME).unwrap().is_some());
    }

    #[test]
    fn other_versions_are_answered_5011_and_answers_are_not_answered() {
        let us = Identity::new("scscf", "home");
        let mut octets = request().encode().to_vec();
        octets[0] = 2;
        let answer = Message::decode(octets.clone().into()).unwrap_err().answer(&us).unwrap();
        assert_eq!(answer.unsigned32(avp::RESULT_CODE), Some(5011));
        octets[4] = 0;
        assert_eq!(Message::decode(octets.into()).unwrap_err().answer(&us), None);
    }

    #[test]
    fn protocol_errors_carry_the_e_flag_and_others_do_not() {
        let us = Identity::new("scscf", "home");
        assert_eq!(request().refusal(3001, &[], &us).unwrap().flags, PROXIABLE | ERROR);
        assert_eq!(request().refusal(5012, &[], &us).unwrap().flags, PROXIABLE);
    }
}
