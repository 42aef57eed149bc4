//! RFC 6733 §3 — messages out of a stream, by the 24-bit length of their header.

use crate::message::{HEADER, LIMIT};
use bytes::{Bytes, BytesMut};
use std::fmt;

/// Cuts a stream into messages.
#[derive(Default)]
pub struct Framer {
    buffer: BytesMut,
    broken: bool,
}

/// Why a stream cannot be cut any further; its connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The first octet is not version 1.
    #[error("version {0} is not Diameter")]
    Version(u8),
    /// The length is smaller than a header or no multiple of four.
    #[error("message length {0} is invalid")]
    Length(usize),
    /// The length is beyond the limit.
    #[error("message of {0} octets exceeds the limit")]
    TooLong(usize),
}

impl fmt::Debug for Framer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Framer({} octets)", self.buffer.len())
    }
}

impl Framer {
    /// With nothing received yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what was received; ignored after an error.
    pub fn push(&mut self, octets: &[u8]) {
        if !self.broken {
            self.buffer.extend_from_slice(octets);
        }
    }

    /// The next complete message, the error that ends the stream (once), or nothing yet.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Result<Bytes, FrameError>> {
        let head = self.buffer.first_chunk::<4>()?;
        let length = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
        let error = if head[0] != 1 {
            Some(FrameError::Version(head[0]))
        } else if length > LIMIT {
            Some(FrameError::TooLong(length))
        } else if length < HEADER || !length.is_multiple_of(4) {
            Some(FrameError::Length(length))
        } else {
            None
        };
        if let Some(error) = error {
            self.broken = true;
            self.buffer = BytesMut::new();
            return Some(Err(error));
        }
        (self.buffer.len() >= length).then(|| Ok(self.buffer.split_to(length).freeze()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn frame(length: u32) -> Vec<u8> {
        let mut octets = (0x0100_0000 | length).to_be_bytes().to_vec();
        octets.resize(length.min(64) as usize, 7);
        octets
    }

    #[test]
    fn messages_come_out_however_the_stream_is_cut() {
        let stream = [frame(20), frame(24), frame(32)].concat();
        for size in 1..stream.len() {
            let mut framer = Framer::new();
            let mut lengths = Vec::new();
            for piece in stream.chunks(size) {
                framer.push(piece);
                while let Some(message) = framer.next() {
                    lengths.push(message.unwrap().len());
                }
            }
            assert_eq!(lengths, [20, 24, 32]);
        }
    }

    #[test]
    fn what_cannot_be_framed_ends_the_stream() {
        for (octets, error) in [
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), FrameError::Version(b'G')),
            (frame(16), FrameError::Length(16)),
            (frame(21), FrameError::Length(21)),
            (frame(LIMIT as u32 + 4), FrameError::TooLong(LIMIT + 4)),
        ] {
            let mut framer = Framer::new();
            framer.push(&octets);
            assert_eq!(framer.next(), Some(Err(error)));
            framer.push(&frame(20));
            assert_eq!(framer.next(), None);
        }
    }
}
