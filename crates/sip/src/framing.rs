//! RFC 3261 §18.3 — cutting a stream into messages by Content-Length; RFC 5626 §3.5.1 — keep-alives.

use crate::{Name, ParseError, limits, parse, refusal};
use bytes::{Buf, Bytes, BytesMut};

/// Collects octets of one stream and gives back messages. After [`Frame::Refused`] the stream cannot be trusted: it gives
/// nothing more, and the connection is to be closed.
#[derive(Default)]
pub struct Framer {
    buffer: BytesMut,
    /// How far the end of the headers has been looked for.
    searched: usize,
    /// Length of the message at the front once its headers are there.
    length: Option<usize>,
    refused: bool,
}

/// What a stream held.
#[derive(Debug)]
pub enum Frame {
    /// One message, for [`crate::Message::parse_frame`].
    Message(Bytes),
    /// A double CRLF between messages: answer with one CRLF.
    KeepAlive,
    /// Answer if there is something to answer with, then close.
    Refused(ParseError),
}

impl Framer {
    /// Of a fresh stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes octets in.
    pub fn push(&mut self, octets: &[u8]) {
        if !self.refused {
            self.buffer.extend_from_slice(octets);
        }
    }

    /// Octets held that are no whole message yet.
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// The next message, if it is whole.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Frame> {
        if self.refused {
            return None;
        }
        if self.length.is_none() {
            if let Some(frame) = self.between()? {
                return Some(frame);
            }
            match self.head() {
                Ok(length) => self.length = Some(length?),
                Err(fault) => return Some(self.refuse(fault)),
            }
        }
        let length = self.length.filter(|&length| self.buffer.len() >= length)?;
        self.length = None;
        self.searched = 0;
        Some(Frame::Message(self.buffer.split_to(length).freeze()))
    }

    /// Line breaks between messages. The outer `None` waits for more octets.
    fn between(&mut self) -> Option<Option<Frame>> {
        loop {
            match &self.buffer[..] {
                [b'\r', b'\n', b'\r', b'\n', ..] => {
                    self.buffer.advance(4);
                    return Some(Some(Frame::KeepAlive));
                }
                [] | [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => return None,
                [b'\r', b'\n', ..] => self.buffer.advance(2),
                _ => return Some(None),
            }
        }
    }

    /// The length of the message at the front, as soon as its headers are whole.
    fn head(&mut self) -> Result<Option<usize>, parse::Fault> {
        let from = self.searched.saturating_sub(3);
        let Some(found) = memchr::memmem::find(&self.buffer[from..], b"\r\n\r\n") else {
            self.searched = self.buffer.len();
            return if self.buffer.len() > limits::HEAD { Err(refusal::TOO_LARGE) } else { Ok(None) };
        };
        let body = from + found + 4;
        if body > limits::HEAD {
            return Err(refusal::TOO_LARGE);
        }
        let length = body + content_length(&self.buffer[..body])?;
        if length > limits::STREAM_MESSAGE {
            return Err(refusal::TOO_LARGE);
        }
        Ok(Some(length))
    }

    fn refuse(&mut self, fault: parse::Fault) -> Frame {
        self.refused = true;
        let held = std::mem::take(&mut self.buffer).freeze();
        Frame::Refused(refusal::refuse(&held, fault))
    }
}

/// The one value of Content-Length in a header section that ends with an empty line.
fn content_length(head: &[u8]) -> Result<usize, parse::Fault> {
    let mut found = None;
    let mut from = 0;
    while from < head.len() {
        let mut end = memchr::memchr(b'\n', &head[from..]).map_or(head.len(), |at| from + at + 1);
        while head.get(end).is_some_and(|&b| crate::lexis::is_blank(b)) {
            end = memchr::memchr(b'\n', &head[end..]).map_or(head.len(), |at| end + at + 1);
        }
        let line = &head[from..end];
        from = end;
        if !matches!(line.first(), Some(b'l' | b'L' | b'c' | b'C')) {
            continue;
        }
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        if Name::of(line[..colon].trim_ascii()) != Some(Name::ContentLength) {
            continue;
        }
        let length = parse::content_length(line[colon + 1..].trim_ascii())?;
        if found.is_some_and(|known| known != length) {
            return Err(parse::Fault {
                why: "Content-Length has two values",
                status: crate::Status::BAD_REQUEST,
            });
        }
        found = Some(length);
    }
    found.ok_or(parse::Fault { why: "Content-Length is missing", status: crate::Status::BAD_REQUEST })
}
