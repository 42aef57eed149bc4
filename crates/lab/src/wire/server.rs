//! RFC 3261 §17.2, RFC 6026 §7.1 — server transactions as values: what came again is answered again, a final response to
//! INVITE is repeated until its ACK.

use super::{Timers, client::Out, socket::Origin, text::Text};
use std::time::Duration;
use tokio::time::Instant;

/// How long a request may stay unanswered.
const OPEN: Duration = Duration::from_secs(600);

/// Names a server transaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(String);

impl Key {
    /// RFC 3261 §17.2.3: branch, sent-by and method; an ACK or a CANCEL belongs to its INVITE.
    pub(super) fn of(request: &Text, method: &str) -> Self {
        let via = request.via();
        let sent_by = via.split(';').next().unwrap_or("").split_whitespace().last().unwrap_or("");
        let branch = request.branch();
        if branch.starts_with("z9hG4bK") {
            return Self(format!("{branch} {sent_by} {method}"));
        }
        let (number, call_id, from) = (request.cseq().0, request.value("Call-ID"), request.tag("From"));
        Self(format!("{via} {call_id} {from} {number} {method}"))
    }
}

/// Who repeats a 2xx to INVITE until its ACK comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeated {
    /// We do: it is our own.
    Here,
    /// Whoever made it.
    Elsewhere,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No final response yet.
    Open,
    /// A final response was sent; one other than 2xx to INVITE waits for its ACK.
    Completed,
    /// The ACK came.
    Confirmed,
    /// An INVITE answered with 2xx.
    Accepted,
}

/// A request of others and what was said to it.
pub(super) struct Server {
    pub(super) origin: Origin,
    invite: bool,
    /// Call-ID and CSeq.
    pub(super) call: (String, u32),
    state: State,
    last: Option<Vec<u8>>,
    resend: Option<(Instant, Duration)>,
    ends: Instant,
    /// To tag of a 2xx whose ACK has not come yet.
    unacknowledged: Option<String>,
}

/// What became of a server transaction whose time came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Not,
    Quietly,
    /// The ACK to a 2xx never came.
    Unacknowledged,
}

impl Server {
    pub(super) fn new(request: &Text, origin: Origin, now: Instant) -> Self {
        Self {
            origin,
            invite: request.method() == "INVITE",
            call: (request.value("Call-ID").to_owned(), request.cseq().0),
            state: State::Open,
            last: None,
            resend: None,
            ends: now + OPEN,
            unacknowledged: None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether its 2xx waits for the ACK.
    pub(super) fn is_waiting(&self) -> bool {
        self.unacknowledged.is_some()
    }

    /// When it is to be looked at again.
    pub(super) fn due(&self) -> Instant {
        self.resend.map_or(self.ends, |(at, _)| at.min(self.ends))
    }

    /// To tag of what was said last.
    pub(super) fn tag(&self) -> Option<String> {
        let last = Text::read(self.last.as_ref()?).ok()?;
        Some(last.tag("To").to_owned()).filter(|tag| !tag.is_empty())
    }

    /// The request came again.
    pub(super) fn again(&self, out: &mut Vec<Out>) {
        // RFC 6026 §7.1: once it is accepted, the INVITE is absorbed and the 2xx repeated by the clock.
        if let (Some(octets), true) = (&self.last, self.state != State::Accepted) {
            out.push(Out { to: self.origin.clone(), octets: octets.clone() });
        }
    }

    /// Says something to it.
    pub(super) fn respond(
        &mut self,
        response: &Text,
        octets: Vec<u8>,
        repeated: Repeated,
        now: Instant,
        timers: &Timers,
        out: &mut Vec<Out>,
    ) {
        let status = response.status();
        let (final_, success) = (status >= 200, status / 100 == 2);
        match self.state {
            State::Open => {}
            State::Accepted if success => {}
            State::Completed | State::Confirmed | State::Accepted => return,
        }
        if final_ {
            self.ends = now + timers.longest();
            self.state = if self.invite && success { State::Accepted } else { State::Completed };
            let ours = self.state == State::Accepted && repeated == Repeated::Here;
            if ours {
                self.unacknowledged = Some(response.tag("To").to_owned());
            }
            let refused = self.invite && !success && !self.origin.is_reliable();
            self.resend = (ours || refused).then(|| (now + timers.t1, timers.t1));
        }
        self.last = Some(octets.clone());
        out.push(Out { to: self.origin.clone(), octets });
    }

    /// An ACK under its own branch came; whether it was for a refusal, and so is nobody else's business.
    pub(super) fn acknowledged(&mut self, now: Instant, timers: &Timers) -> bool {
        if self.state == State::Completed {
            (self.state, self.resend) = (State::Confirmed, None);
            self.ends = now + timers.t4;
        }
        self.state == State::Confirmed
    }

    /// An ACK came that may be for its 2xx.
    pub(super) fn accepted(&mut self, ack: &Text) {
        let same = self.call.0 == ack.value("Call-ID") && self.call.1 == ack.cseq().0;
        if same && self.unacknowledged.as_ref().is_some_and(|tag| *tag == ack.tag("To")) {
            (self.unacknowledged, self.resend) = (None, None);
        }
    }

    /// Its time has come.
    pub(super) fn expire(&mut self, now: Instant, timers: &Timers, out: &mut Vec<Out>) -> Ended {
        if self.ends <= now {
            return if self.unacknowledged.is_some() { Ended::Unacknowledged } else { Ended::Quietly };
        }
        if let (Some((at, interval)), Some(octets)) = (self.resend, &self.last)
            && at <= now
        {
            let longer = (interval * 2).min(timers.t2);
            self.resend = Some((now + longer, longer));
            out.push(Out { to: self.origin.clone(), octets: octets.clone() });
        }
        Ended::Not
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn request(method: &str) -> Text {
        let text = format!(
            "{method} sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP a:5;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=1\r\n\
             To: <sip:b@x>\r\nCall-ID: c\r\nCSeq: 5 {method}\r\n\r\n"
        );
        Text::read(text.as_bytes()).unwrap()
    }

    fn udp() -> Origin {
        Origin::Udp("127.0.0.1:9".parse().unwrap())
    }

    struct Stage {
        request: Text,
        server: Server,
        now: Instant,
        timers: Timers,
        out: Vec<Out>,
    }

    impl Stage {
        fn new(method: &str) -> Self {
            let (request, now) = (request(method), Instant::now());
            let server = Server::new(&request, udp(), now);
            Self { request, server, now, timers: Timers::default(), out: Vec::new() }
        }

        fn respond(&mut self, status: u16, repeated: Repeated) {
            let response = self.request.response(status, "R", "t");
            self.server.respond(
                &response,
                response.octets(),
                repeated,
                self.now,
                &self.timers,
                &mut self.out,
            );
        }

        /// Lets `span` pass; how it ended.
        fn pass(&mut self, span: Duration) -> Ended {
            let until = self.now + span;
            while self.server.due() <= until {
                self.now = self.server.due();
                let ended = self.server.expire(self.now, &self.timers, &mut self.out);
                if ended != Ended::Not {
                    return ended;
                }
            }
            self.now = until;
            Ended::Not
        }
    }

    #[test]
    fn what_comes_again_is_answered_again() {
        let mut stage = Stage::new("BYE");
        stage.server.again(&mut stage.out);
        assert!(stage.out.is_empty());
        stage.respond(200, Repeated::Here);
        stage.server.again(&mut stage.out);
        stage.respond(500, Repeated::Here);
        assert_eq!(stage.out.len(), 2, "one answer, once more, and no second one");
        assert_eq!(stage.pass(Duration::from_secs(40)), Ended::Quietly);
        assert_eq!(stage.out.len(), 2);
    }

    #[test]
    fn a_refusal_is_repeated_until_its_ack() {
        let mut stage = Stage::new("INVITE");
        stage.respond(486, Repeated::Here);
        stage.pass(Duration::from_secs(4));
        assert_eq!(stage.out.len(), 4, "at once, and after 0.5, 1.5 and 3.5 s");
        assert!(stage.server.acknowledged(stage.now, &stage.timers));
        assert_eq!(stage.pass(Duration::from_secs(10)), Ended::Quietly);
        assert_eq!(stage.out.len(), 4);
    }

    #[test]
    fn a_2xx_of_ours_is_repeated_until_its_ack_and_missed_without() {
        let mut stage = Stage::new("INVITE");
        stage.respond(200, Repeated::Here);
        assert_eq!(stage.pass(Duration::from_secs(40)), Ended::Unacknowledged);
        assert_eq!(stage.out.len(), 11);
        let mut stage = Stage::new("INVITE");
        stage.respond(200, Repeated::Here);
        let mut ack = request("ACK");
        stage.server.accepted(&ack);
        stage.pass(Duration::from_secs(1));
        assert_eq!(stage.out.len(), 2, "an ACK of another dialog ends nothing");
        ack.set("To", "<sip:b@x>;tag=t");
        stage.server.accepted(&ack);
        assert!(!stage.server.acknowledged(stage.now, &stage.timers), "it goes on to who waits for it");
        assert_eq!(stage.pass(Duration::from_secs(40)), Ended::Quietly);
        assert_eq!(stage.out.len(), 2);
    }

    #[test]
    fn a_2xx_passed_on_is_not_repeated_here() {
        let mut stage = Stage::new("INVITE");
        for _ in 0..2 {
            stage.respond(200, Repeated::Elsewhere);
        }
        assert_eq!(stage.pass(Duration::from_secs(40)), Ended::Quietly);
        assert_eq!(stage.out.len(), 2);
    }

    #[test]
    fn a_key_is_branch_sender_and_method() {
        let (invite, ack) = (request("INVITE"), request("ACK"));
        assert_eq!(Key::of(&invite, "INVITE"), Key::of(&ack, "INVITE"));
        assert_ne!(Key::of(&invite, "INVITE"), Key::of(&invite, "CANCEL"));
        let mut old = request("INVITE");
        old.set("Via", "SIP/2.0/UDP a:5;branch=1");
        let mut other = old.clone();
        other.set("Call-ID", "d");
        assert_ne!(Key::of(&old, "INVITE"), Key::of(&other, "INVITE"));
    }
}
