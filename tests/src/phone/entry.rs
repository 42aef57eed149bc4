//! Where a telephone's requests enter the network: a node of several, another for each request, and yet another when none answers.

use super::{Phone, Sent, Text};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);

impl Sent {
    /// Whether that is a final response to it.
    pub fn is_answered_by(&self, text: &Text) -> bool {
        text.status() >= 200 && self.is_heard_by(text)
    }

    fn is_heard_by(&self, text: &Text) -> bool {
        text.status() > 0
            && text.header("Call-ID") == self.call_id
            && text.header("CSeq") == format!("{} {}", self.cseq, self.method)
    }
}

impl Phone {
    /// Sends all that follows to this node alone.
    pub fn enters_at(&mut self, entry: SocketAddr) {
        self.enters_among(&[entry]);
    }

    /// Sends what follows to these nodes, each request to the next.
    ///
    /// # Panics
    /// If there are none.
    pub fn enters_among(&mut self, entries: &[SocketAddr]) {
        assert!(!entries.is_empty(), "a telephone needs somebody to talk to");
        self.entries = entries.to_vec();
        self.entry = 0;
    }

    /// Goes on to the next node.
    pub fn turn(&mut self) {
        self.entry = (self.entry + 1) % self.entries.len();
    }

    /// Sends a request, for the first time or again, to the node that is its turn.
    pub fn send(&self, sent: &Sent) {
        self.send_raw(sent.text.as_bytes());
    }

    /// Sends a request until a final response comes, to the next node and, as RFC 3261 §17.1.2.2 has it sent again, to the one
    /// after that; no more once a provisional response to INVITE has come.
    pub fn exchange_within(&mut self, sent: &Sent, within: Duration) -> Option<Text> {
        self.turn();
        self.send(sent);
        self.persist(sent, within)
    }

    /// The same for a request that was sent once already.
    pub fn persist(&mut self, sent: &Sent, within: Duration) -> Option<Text> {
        let end = Instant::now() + within;
        let mut interval = T1;
        let mut proceeds = false;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let patience = if proceeds { left } else { interval.min(left) };
            let heard = self.wait(patience, |text| sent.is_heard_by(text));
            match heard {
                Some(text) if text.status() >= 200 => return Some(text),
                Some(_) => proceeds = proceeds || sent.method == "INVITE",
                None if proceeds => return None,
                None => {
                    self.turn();
                    self.send(sent);
                    interval = (interval * 2).min(T2);
                }
            }
        }
    }

    /// The final response to a request.
    ///
    /// # Panics
    /// If there is none in time: 16 s.
    pub(super) fn exchange(&mut self, sent: &Sent) -> Text {
        self.exchange_within(sent, Duration::from_secs(16))
            .unwrap_or_else(|| panic!("no answer to:\n{}", sent.text))
    }

    /// Has `attempt` made again, after the time that the network asks for, while it is answered 503 or 500 with Retry-After; the
    /// last answer, and how often it was made again.
    pub fn insist(&mut self, within: Duration, mut attempt: impl FnMut(&mut Self) -> Text) -> (Text, u32) {
        let end = Instant::now() + within;
        let mut again = 0;
        loop {
            let answer = attempt(self);
            let after =
                answer.header("Retry-After").split([' ', ';', '(']).next().and_then(|s| s.parse().ok());
            let wait = after.filter(|_| matches!(answer.status(), 500 | 503)).map(Duration::from_secs);
            match wait {
                Some(wait) if Instant::now() + wait < end => std::thread::sleep(wait),
                _ => return (answer, again),
            }
            again += 1;
        }
    }
}
