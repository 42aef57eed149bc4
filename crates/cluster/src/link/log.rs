//! The words of a session that were said and not yet acknowledged.

use crate::frame::{MAX_WORD, encode_word, word_length};
use bytes::{Buf, BytesMut};
use std::collections::VecDeque;

/// As many octets may be on a connection unacknowledged; a longer word goes alone. What writes the connection has room for it.
const WINDOW: usize = 1 << 20;

/// How much may wait for an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Words.
    pub words: usize,
    /// Octets, as they are on the wire.
    pub octets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { words: 65_536, octets: 16 << 20 }
    }
}

/// The word was not taken: as much waits as may, or the session is over, or the word is longer than [`MAX_WORD`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no more words can wait for this node")]
pub struct Full;

/// The other acknowledges what was never said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NeverSaid;

/// Words as they go on the wire, one behind the other, so that any number of them is sent with one copy.
#[derive(Debug, Default)]
pub(super) struct Log {
    octets: BytesMut,
    lengths: VecDeque<u32>,
    /// Number of the last word that was acknowledged.
    acknowledged: u64,
    /// Of the words kept, those that the present connection was given.
    sent: usize,
    sent_octets: usize,
}

impl Log {
    pub(super) fn len(&self) -> usize {
        self.lengths.len()
    }

    pub(super) fn octets(&self) -> usize {
        self.octets.len()
    }

    fn last(&self) -> u64 {
        self.acknowledged + self.lengths.len() as u64
    }

    /// Keeps a word, with the number of the last word received.
    pub(super) fn push(&mut self, word: &[u8], ack: u64, limits: &Limits) -> Result<(), Full> {
        let length = word_length(word.len());
        if word.len() > MAX_WORD
            || self.lengths.len() >= limits.words
            || self.octets.len() + length > limits.octets
        {
            return Err(Full);
        }
        let Ok(kept) = u32::try_from(length) else { return Err(Full) };
        let number = self.last() + 1;
        encode_word(&mut self.octets, number, ack, word);
        self.lengths.push_back(kept);
        Ok(())
    }

    /// Forgets all words up to this number.
    pub(super) fn acknowledge(&mut self, number: u64) -> Result<(), NeverSaid> {
        if number > self.last() {
            return Err(NeverSaid);
        }
        let mut octets = 0;
        while self.acknowledged < number {
            octets += self.lengths.pop_front().map_or(0, |length| length as usize);
            self.acknowledged += 1;
            self.sent = self.sent.saturating_sub(1);
        }
        self.octets.advance(octets);
        self.sent_octets = self.sent_octets.saturating_sub(octets);
        if self.octets.is_empty() && self.octets.capacity() > WINDOW {
            self.octets = BytesMut::new();
        }
        Ok(())
    }

    /// A new connection has been given nothing yet.
    pub(super) fn rewind(&mut self) {
        self.sent = 0;
        self.sent_octets = 0;
    }

    /// Words that the present connection was not given yet.
    pub(super) fn unsent(&self) -> usize {
        self.lengths.len() - self.sent
    }

    /// What the connection can be given now: so many words, and their octets.
    pub(super) fn send(&mut self) -> (u64, &[u8]) {
        let (before, start) = (self.sent, self.sent_octets);
        for length in self.lengths.range(self.sent..) {
            let length = *length as usize;
            if self.sent_octets > 0 && self.sent_octets + length > WINDOW {
                break;
            }
            self.sent_octets += length;
            self.sent += 1;
        }
        ((self.sent - before) as u64, &self.octets[start..self.sent_octets])
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::frame::{Frame, Framer};

    fn numbers(octets: &[u8]) -> Vec<u64> {
        let mut framer = Framer::default();
        framer.trust();
        framer.push(octets);
        std::iter::from_fn(|| framer.next().unwrap())
            .map(|frame| {
                let Frame::Word { number, .. } = frame else { panic!("{frame:?}") };
                number
            })
            .collect()
    }

    #[test]
    fn words_are_kept_until_acknowledged_and_sent_again_on_the_next_connection() {
        let mut log = Log::default();
        for word in [b"one", b"two"] {
            log.push(word, 0, &Limits::default()).unwrap();
        }
        assert_eq!(numbers(log.send().1), [1, 2]);
        assert_eq!(log.send(), (0, &b""[..]));
        log.push(b"three", 0, &Limits::default()).unwrap();
        assert_eq!(log.acknowledge(1), Ok(()));
        assert_eq!(numbers(log.send().1), [3]);
        log.rewind();
        assert_eq!(numbers(log.send().1), [2, 3]);
        assert_eq!(log.acknowledge(1), Ok(()), "an old acknowledgement changes nothing");
        assert_eq!(log.acknowledge(4), Err(NeverSaid));
        assert_eq!(log.acknowledge(3), Ok(()));
        assert_eq!((log.len(), log.octets()), (0, 0));
    }

    #[test]
    fn too_many_words_and_too_many_octets_are_declined_and_lose_nothing() {
        let mut log = Log::default();
        let limits = Limits { words: 2, octets: 100 };
        log.push(b"one", 0, &limits).unwrap();
        assert_eq!(log.push(&[0; 60], 0, &limits), Err(Full));
        log.push(b"two", 0, &limits).unwrap();
        assert_eq!(log.push(b"", 0, &limits), Err(Full));
        assert_eq!(numbers(log.send().1), [1, 2]);
        assert_eq!(Log::default().push(&vec![0; MAX_WORD + 1], 0, &Limits::default()), Err(Full));
    }

    #[test]
    fn a_connection_is_given_no_more_than_its_window_and_a_longer_word_alone() {
        let mut log = Log::default();
        let limits = Limits::default();
        for _ in 0..5 {
            log.push(&[0; 300 << 10], 0, &limits).unwrap();
        }
        log.push(&vec![0; MAX_WORD], 0, &limits).unwrap();
        assert_eq!(numbers(log.send().1), [1, 2, 3]);
        log.acknowledge(1).unwrap();
        assert_eq!(numbers(log.send().1), [4]);
        log.acknowledge(4).unwrap();
        assert_eq!(numbers(log.send().1), [5]);
        assert!(log.send().0 == 0 && log.unsent() == 1);
        log.acknowledge(5).unwrap();
        assert_eq!(numbers(log.send().1), [6]);
    }
}
