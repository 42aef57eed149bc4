//! What two nodes say to each other, cut out of a stream: a length of four octets, a kind of one, a body.
//!
//! **Invariant: no octets from outside make this panic, and no stream makes it hold more than its limit.**

use crate::link::Hello;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The longest word, in octets.
pub const MAX_WORD: usize = 2 << 20;
/// The longest frame without its length, in octets.
const MAX_FRAME: usize = 1 + NUMBERS + MAX_WORD;
/// The longest frame that is taken from whoever has not proved yet that he belongs to the cluster.
const MAX_GREETING: usize = 4 << 10;
/// Number and acknowledgement before a word.
const NUMBERS: usize = 16;
const LENGTH: usize = 4;
/// A word up to this size is copied out, so that whoever keeps it for long does not keep its neighbours too.
const COPIED: usize = 8 << 10;

const HELLO: u8 = 1;
const ACCEPT: u8 = 2;
const REFUSE: u8 = 3;
const WORD: u8 = 4;
const ACK: u8 = 5;
const PING: u8 = 6;
const PONG: u8 = 7;
const GOODBYE: u8 = 8;

/// One thing said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Who speaks, the first frame of either side.
    Hello(Hello),
    /// The other's Hello is fine; the proof that this side knows the secret.
    Accept([u8; 32]),
    /// The other's Hello is not fine, and why.
    Refuse(Box<str>),
    /// A word: its number, the number of the last word received, and octets that nobody here understands.
    Word {
        /// Rises by one from word to word of a session, from 1.
        number: u64,
        /// The last word that was received.
        ack: u64,
        /// What is said.
        payload: Bytes,
    },
    /// All words up to this number were received.
    Ack(u64),
    /// Is anybody there?
    Ping,
    /// Yes.
    Pong,
    /// The process ends.
    Goodbye,
}

/// Why a stream cannot be cut any further; its connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// The length is beyond the limit.
    #[error("a frame of {length} octets, at most {limit} are taken")]
    TooLong {
        /// As the frame says.
        length: usize,
        /// As much is taken now.
        limit: usize,
    },
    /// A frame without a kind.
    #[error("an empty frame")]
    Empty,
    /// Nothing that this version knows.
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    /// The body is not what its kind says.
    #[error("a malformed frame of kind {0}")]
    Malformed(u8),
}

impl Frame {
    /// Appends it to `out`.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Hello(hello) => {
                let body = hello.encode();
                head(out, HELLO, body.len());
                out.put_slice(&body);
            }
            Self::Accept(proof) => {
                head(out, ACCEPT, proof.len());
                out.put_slice(proof);
            }
            Self::Refuse(why) => {
                let why = &why.as_bytes()[..why.floor_char_boundary(MAX_GREETING / 2)];
                head(out, REFUSE, why.len());
                out.put_slice(why);
            }
            Self::Word { number, ack, payload } => encode_word(out, *number, *ack, payload),
            Self::Ack(number) => {
                head(out, ACK, 8);
                out.put_u64(*number);
            }
            Self::Ping => head(out, PING, 0),
            Self::Pong => head(out, PONG, 0),
            Self::Goodbye => head(out, GOODBYE, 0),
        }
    }

    /// Alone, as it goes on the wire.
    pub(crate) fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.encode(&mut out);
        out.freeze()
    }

    fn decode(kind: u8, mut body: BytesMut) -> Result<Self, FrameError> {
        let malformed = FrameError::Malformed(kind);
        match kind {
            HELLO => Hello::decode(&body).map(Self::Hello).ok_or(malformed),
            ACCEPT => body.as_ref().try_into().map(Self::Accept).map_err(|_| malformed),
            REFUSE => std::str::from_utf8(&body).map(|why| Self::Refuse(why.into())).map_err(|_| malformed),
            WORD => {
                let number = body.try_get_u64().map_err(|_| malformed)?;
                let ack = body.try_get_u64().map_err(|_| malformed)?;
                let payload =
                    if body.len() <= COPIED { Bytes::copy_from_slice(&body) } else { body.freeze() };
                Ok(Self::Word { number, ack, payload })
            }
            ACK => match body.as_ref().try_into() {
                Ok(number) => Ok(Self::Ack(u64::from_be_bytes(number))),
                Err(_) => Err(malformed),
            },
            PING | PONG | GOODBYE if !body.is_empty() => Err(malformed),
            PING => Ok(Self::Ping),
            PONG => Ok(Self::Pong),
            GOODBYE => Ok(Self::Goodbye),
            _ => Err(FrameError::Kind(kind)),
        }
    }
}

/// Appends a word without owning it.
pub(crate) fn encode_word(out: &mut BytesMut, number: u64, ack: u64, payload: &[u8]) {
    head(out, WORD, NUMBERS + payload.len());
    out.put_u64(number);
    out.put_u64(ack);
    out.put_slice(payload);
}

/// Octets of a word on the wire.
pub(crate) const fn word_length(payload: usize) -> usize {
    LENGTH + 1 + NUMBERS + payload
}

fn head(out: &mut BytesMut, kind: u8, body: usize) {
    out.reserve(LENGTH + 1 + body);
    out.put_u32(u32::try_from(1 + body).unwrap_or(u32::MAX));
    out.put_u8(kind);
}

/// Cuts a stream into frames.
#[derive(Debug)]
pub(crate) struct Framer {
    buffer: BytesMut,
    limit: usize,
    broken: bool,
}

impl Default for Framer {
    fn default() -> Self {
        Self { buffer: BytesMut::new(), limit: MAX_GREETING, broken: false }
    }
}

impl Framer {
    /// Takes what was received; ignored after an error.
    pub(crate) fn push(&mut self, octets: &[u8]) {
        if !self.broken {
            self.buffer.extend_from_slice(octets);
        }
    }

    /// From now on frames may be as long as the longest word needs.
    pub(crate) fn trust(&mut self) {
        self.limit = MAX_FRAME;
    }

    /// The next complete frame, if there is one. After an error there is none.
    ///
    /// # Errors
    /// The stream is no stream of frames; nothing more can be made of it.
    #[allow(clippy::should_implement_trait)]
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let frame = self.cut();
        if frame.is_err() {
            self.broken = true;
            self.buffer = BytesMut::new();
        }
        frame
    }

    fn cut(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(head) = self.buffer.first_chunk::<LENGTH>() else { return Ok(None) };
        let length = u32::from_be_bytes(*head) as usize;
        if length > self.limit {
            return Err(FrameError::TooLong { length, limit: self.limit });
        }
        if length == 0 {
            return Err(FrameError::Empty);
        }
        if self.buffer.len() < LENGTH + length {
            self.buffer.reserve(LENGTH + length - self.buffer.len());
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(LENGTH + length);
        frame.advance(LENGTH);
        let kind = frame.get_u8();
        Frame::decode(kind, frame).map(Some)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::link::hello::tests::hello;
    use proptest::prelude::*;

    fn every_kind() -> Vec<Frame> {
        vec![
            Frame::Hello(hello("n1", 7)),
            Frame::Accept([7; 32]),
            Frame::Refuse("no such domain".into()),
            Frame::Word { number: 1, ack: 0, payload: Bytes::from_static(b"a word") },
            Frame::Word { number: 2, ack: 9, payload: vec![b'x'; 100_000].into() },
            Frame::Ack(u64::MAX),
            Frame::Ping,
            Frame::Pong,
            Frame::Goodbye,
        ]
    }

    fn wire(frames: &[Frame]) -> BytesMut {
        let mut out = BytesMut::new();
        frames.iter().for_each(|frame| frame.encode(&mut out));
        out
    }

    fn drain(framer: &mut Framer) -> Result<Vec<Frame>, FrameError> {
        std::iter::from_fn(|| framer.next().transpose()).collect()
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_the_stream_is_cut() {
        let wire = wire(&every_kind());
        for step in [1, 3, 7, 1_000, wire.len()] {
            let mut framer = Framer::default();
            framer.trust();
            let mut found = Vec::new();
            for piece in wire.chunks(step) {
                framer.push(piece);
                found.extend(drain(&mut framer).unwrap());
            }
            assert_eq!(found, every_kind());
            assert!(framer.buffer.is_empty());
        }
    }

    #[test]
    fn a_stranger_cannot_have_much_kept_for_him() {
        let word = Frame::Word { number: 1, ack: 0, payload: vec![0; 5_000].into() };
        let mut framer = Framer::default();
        framer.push(&wire(&[Frame::Ping, word.clone()]));
        assert_eq!(framer.next(), Ok(Some(Frame::Ping)));
        let mut trusting = Framer { buffer: framer.buffer.clone(), ..Framer::default() };
        trusting.trust();
        assert_eq!(trusting.next(), Ok(Some(word)));
        assert_eq!(framer.next(), Err(FrameError::TooLong { length: 5_017, limit: 4_096 }));
        framer.push(&[0; 100]);
        assert_eq!((framer.next(), framer.buffer.len()), (Ok(None), 0), "a broken stream is not kept");
    }

    #[test]
    fn what_is_no_frame_is_a_typed_error() {
        let error = |octets: &[u8]| {
            let mut framer = Framer::default();
            framer.push(octets);
            framer.next().unwrap_err()
        };
        assert_eq!(
            error(b"GET / HTTP/1.1\r\n"),
            FrameError::TooLong { length: 0x4745_5420, limit: MAX_GREETING }
        );
        assert_eq!(error(&[0, 0, 0, 0]), FrameError::Empty);
        assert_eq!(error(&[0, 0, 0, 1, 99]), FrameError::Kind(99));
        assert_eq!(error(&[0, 0, 0, 2, PING, 0]), FrameError::Malformed(PING));
        assert_eq!(error(&[0, 0, 0, 9, WORD, 0, 0, 0, 0, 0, 0, 0, 1]), FrameError::Malformed(WORD));
        assert_eq!(error(&[0, 0, 0, 2, HELLO, 0]), FrameError::Malformed(HELLO));
        assert_eq!(error(&[0, 0, 0, 2, REFUSE, 0xff]), FrameError::Malformed(REFUSE));
    }

    #[test]
    fn a_reason_too_long_for_a_stranger_is_cut_at_a_character() {
        let why = "ü".repeat(4_000);
        let mut framer = Framer::default();
        framer.push(&Frame::Refuse(why.as_str().into()).to_bytes());
        let Ok(Some(Frame::Refuse(short))) = framer.next() else { panic!("no reason") };
        assert!(why.starts_with(&*short) && short.len() > 2_000);
    }

    proptest! {
        #[test]
        fn no_garbage_makes_it_panic(octets in prop::collection::vec(any::<u8>(), 0..200), trusted: bool) {
            let mut framer = Framer::default();
            if trusted {
                framer.trust();
            }
            framer.push(&octets);
            let _ = drain(&mut framer);
        }

        #[test]
        fn no_mutation_of_a_stream_makes_it_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            end in any::<prop::sample::Index>(),
        ) {
            let mut frames = every_kind();
            frames.retain(|frame| !matches!(frame, Frame::Word { number: 2, .. }));
            let mut wire = wire(&frames);
            wire.truncate(end.index(wire.len() + 1));
            for (place, octet) in changes {
                if !wire.is_empty() {
                    let place = place.index(wire.len());
                    wire[place] = octet;
                }
            }
            let mut framer = Framer::default();
            for piece in wire.chunks(5) {
                framer.push(piece);
                if drain(&mut framer).is_err() {
                    break;
                }
            }
        }
    }
}
