//! RFC 3261 §17.1, §9.1, RFC 6026 §7.2 — client transactions as values: what to send, when to send it again, what to tell.

use super::{Timers, socket::Origin, text::Text};
use std::time::Duration;
use tokio::time::Instant;

/// How long an INVITE may stay unanswered once it is proceeding.
const PROCEEDING: Duration = Duration::from_secs(600);

/// What comes of a request.
#[derive(Clone, Debug)]
pub(crate) enum Heard {
    /// A provisional response.
    Provisional(Text),
    /// A final one; several to an INVITE that is accepted.
    Final(Text),
    /// None in time.
    Timeout,
    /// It could not be sent.
    Unreachable(String),
}

/// Who is told.
pub(crate) type ReplyTo = Box<dyn FnMut(Heard) + Send>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Sent, nothing heard.
    Calling,
    Proceeding,
    /// An INVITE that was refused; its ACK.
    Completed(Vec<u8>),
    /// An INVITE that was accepted.
    Accepted,
    Over,
}

/// A request of ours and what became of it.
pub(super) struct Client {
    request: Text,
    octets: Vec<u8>,
    pub(super) to: Origin,
    tell: ReplyTo,
    state: State,
    resend: Option<(Instant, Duration)>,
    ends: Instant,
    cancel: Option<Vec<u8>>,
}

/// Octets, and where they go.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) to: Origin,
    pub(super) octets: Vec<u8>,
}

impl Client {
    pub(super) fn new(request: Text, octets: Vec<u8>, to: Origin, tell: ReplyTo) -> Self {
        let now = Instant::now();
        Self { request, octets, to, tell, state: State::Calling, resend: None, ends: now, cancel: None }
    }

    /// Sends it for the first time.
    pub(super) fn start(&mut self, now: Instant, timers: &Timers) -> Out {
        self.resend = (!self.to.is_reliable()).then(|| (now + timers.t1, timers.t1));
        self.ends = now + timers.longest();
        Out { to: self.to.clone(), octets: self.octets.clone() }
    }

    /// Its branch and method.
    pub(super) fn own(&self) -> (String, String) {
        (self.request.branch().to_owned(), self.request.method().to_owned())
    }

    fn is_invite(&self) -> bool {
        self.request.method() == "INVITE"
    }

    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// When it is to be looked at again.
    pub(super) fn due(&self) -> Instant {
        self.resend.map_or(self.ends, |(at, _)| at.min(self.ends))
    }

    /// A response to it came.
    pub(super) fn answered(&mut self, response: Text, now: Instant, timers: &Timers, out: &mut Vec<Out>) {
        let status = response.status();
        let invite = self.is_invite();
        match &self.state {
            State::Calling | State::Proceeding if status < 200 => {
                self.state = State::Proceeding;
                if invite {
                    self.resend = None;
                    self.ends = now + PROCEEDING;
                    if let Some(cancel) = self.cancel.take() {
                        self.ends = now + timers.longest();
                        out.push(Out { to: self.to.clone(), octets: cancel });
                    }
                } else {
                    // RFC 3261 §17.1.2.2: once it is proceeding, it is repeated every T2.
                    self.resend = self.resend.map(|(at, _)| (at, timers.t2));
                }
                (self.tell)(Heard::Provisional(response));
            }
            State::Calling | State::Proceeding if !invite => {
                self.state = State::Over;
                (self.tell)(Heard::Final(response));
            }
            State::Calling | State::Proceeding | State::Accepted if status / 100 == 2 => {
                if self.state != State::Accepted {
                    (self.state, self.resend) = (State::Accepted, None);
                    self.ends = now + timers.longest();
                }
                (self.tell)(Heard::Final(response));
            }
            State::Calling | State::Proceeding => {
                let ack = self.followed_by("ACK", response.value("To")).octets();
                out.push(Out { to: self.to.clone(), octets: ack.clone() });
                (self.state, self.resend) = (State::Completed(ack), None);
                self.ends = now + timers.longest();
                (self.tell)(Heard::Final(response));
            }
            State::Completed(ack) if status >= 300 => {
                out.push(Out { to: self.to.clone(), octets: ack.clone() });
            }
            State::Completed(_) | State::Accepted | State::Over => {}
        }
    }

    /// ACK or CANCEL of it, which goes the same way under the same branch.
    fn followed_by(&self, method: &str, to: &str) -> Text {
        let mut next = Text::request(method, self.request.uri());
        next.push("Via", self.request.via());
        for route in self.request.values("Route") {
            next.push("Route", route);
        }
        next.push("Max-Forwards", "70");
        next.push("From", self.request.value("From"));
        next.push("To", to);
        next.push("Call-ID", self.request.value("Call-ID"));
        next.push("CSeq", format!("{} {method}", self.request.cseq().0));
        next
    }

    /// The CANCEL to send now, if the time for it has come; otherwise it follows the first provisional response.
    pub(super) fn cancelled(
        &mut self,
        further: &[(String, String)],
        now: Instant,
        timers: &Timers,
    ) -> Option<Text> {
        if !self.is_invite() || self.cancel.is_some() {
            return None;
        }
        let mut cancel = self.followed_by("CANCEL", self.request.value("To"));
        for (name, value) in further {
            cancel.push(name, value.clone());
        }
        match self.state {
            State::Calling => {
                self.cancel = Some(cancel.octets());
                None
            }
            State::Proceeding => {
                self.ends = now + timers.longest();
                Some(cancel)
            }
            State::Completed(_) | State::Accepted | State::Over => None,
        }
    }

    /// It could not be sent.
    pub(super) fn lost(&mut self, why: &str) {
        if matches!(self.state, State::Calling | State::Proceeding) {
            self.state = State::Over;
            (self.tell)(Heard::Unreachable(why.to_owned()));
        }
    }

    /// Its time has come: sends it again, or ends it.
    pub(super) fn expire(&mut self, now: Instant, timers: &Timers, out: &mut Vec<Out>) {
        if self.ends <= now {
            if matches!(self.state, State::Calling | State::Proceeding) {
                (self.tell)(Heard::Timeout);
            }
            self.state = State::Over;
        } else if let Some((at, interval)) = self.resend.filter(|(at, _)| *at <= now) {
            let longer = if self.is_invite() { interval * 2 } else { (interval * 2).min(timers.t2) };
            self.resend = Some((at.max(now) + longer, longer));
            out.push(Out { to: self.to.clone(), octets: self.octets.clone() });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::{Arc, Mutex};

    type Told = Arc<Mutex<Vec<String>>>;

    fn client(method: &str) -> (Client, Told) {
        let text = format!(
            "{method} sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nRoute: <sip:s;lr>\r\nFrom: <sip:a@x>;tag=1\r\n\
             To: <sip:b@x>\r\nCall-ID: c\r\nCSeq: 5 {method}\r\n\r\n"
        );
        let request = Text::read(text.as_bytes()).unwrap();
        let told = Told::default();
        let telling = Arc::clone(&told);
        let tell = Box::new(move |heard: Heard| {
            telling.lock().unwrap().push(match heard {
                Heard::Provisional(text) | Heard::Final(text) => text.status().to_string(),
                Heard::Timeout => "timeout".into(),
                Heard::Unreachable(why) => why,
            });
        });
        let to = Origin::Udp("127.0.0.1:9".parse().unwrap());
        (Client::new(request, text.into_bytes(), to, tell), told)
    }

    fn response(client: &Client, status: u16) -> Text {
        let octets = client.request.response(status, "R", "t").octets();
        Text::read(&octets).unwrap()
    }

    /// How often it was sent within `span`, and when it ended, in milliseconds.
    fn sendings(client: &mut Client, begun: Instant, span: Duration, timers: &Timers) -> (Vec<u128>, bool) {
        let mut at = Vec::new();
        while !client.is_over() && client.due() <= begun + span {
            let now = client.due();
            let mut out = Vec::new();
            client.expire(now, timers, &mut out);
            at.extend(out.iter().map(|_| (now - begun).as_millis()));
        }
        (at, client.is_over())
    }

    #[test]
    fn timers_a_and_b() {
        let (mut client, told) = client("INVITE");
        let (now, timers) = (Instant::now(), Timers::default());
        client.start(now, &timers);
        let (at, over) = sendings(&mut client, now, Duration::from_secs(40), &timers);
        assert_eq!(at, [500, 1500, 3500, 7500, 15_500, 31_500]);
        assert!(over);
        assert_eq!(*told.lock().unwrap(), ["timeout"]);
    }

    #[test]
    fn timers_e_and_f() {
        let (mut client, _) = client("BYE");
        let (now, timers) = (Instant::now(), Timers::default());
        client.start(now, &timers);
        let (at, over) = sendings(&mut client, now, Duration::from_secs(40), &timers);
        assert_eq!(at, [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
        assert!(over);
    }

    #[test]
    fn over_a_stream_it_is_sent_once() {
        let (mut client, told) = client("INVITE");
        let (connection, _queue) = tokio::sync::mpsc::channel(1);
        client.to = Origin::Tcp("127.0.0.1:9".parse().unwrap(), connection);
        let (now, timers) = (Instant::now(), Timers::default());
        client.start(now, &timers);
        let (at, over) = sendings(&mut client, now, Duration::from_secs(40), &timers);
        assert_eq!((at.len(), over), (0, true));
        assert_eq!(*told.lock().unwrap(), ["timeout"]);
    }

    #[test]
    fn a_refusal_is_acknowledged_each_time() {
        let (mut client, told) = client("INVITE");
        let (now, timers) = (Instant::now(), Timers::default());
        client.start(now, &timers);
        let mut out = Vec::new();
        for status in [180, 486, 486] {
            client.answered(response(&client, status), now, &timers, &mut out);
        }
        assert_eq!(out.len(), 2);
        let ack = Text::read(&out[0].octets).unwrap();
        assert_eq!((ack.method(), ack.branch(), ack.cseq()), ("ACK", "z9hG4bK1", (5, "ACK")));
        assert_eq!((ack.value("To"), ack.value("Route")), ("<sip:b@x>;tag=t", "<sip:s;lr>"));
        assert_eq!(*told.lock().unwrap(), ["180", "486"]);
    }

    #[test]
    fn every_2xx_is_told_and_none_acknowledged_here() {
        let (mut client, told) = client("INVITE");
        let (now, timers) = (Instant::now(), Timers::default());
        client.start(now, &timers);
        let mut out = Vec::new();
        for status in [200, 200, 180] {
            client.answered(response(&client, status), now, &timers, &mut out);
        }
        assert!(out.is_empty());
        assert_eq!(*told.lock().unwrap(), ["200", "200"]);
        client.expire(now + timers.longest(), &timers, &mut out);
        assert!(client.is_over());
    }

    #[test]
    fn a_cancel_waits_for_the_first_provisional_response() {
        let (mut client, _) = client("INVITE");
        let (now, timers) = (Instant::now(), Timers::default());
        client.start(now, &timers);
        let reason = [("Reason".to_owned(), "SIP;cause=480".to_owned())];
        assert!(client.cancelled(&reason, now, &timers).is_none());
        let mut out = Vec::new();
        client.answered(response(&client, 100), now, &timers, &mut out);
        let cancel = Text::read(&out[0].octets).unwrap();
        assert_eq!(
            (cancel.method(), cancel.cseq(), cancel.value("To")),
            ("CANCEL", (5, "CANCEL"), "<sip:b@x>")
        );
        assert_eq!((cancel.branch(), cancel.value("Reason")), ("z9hG4bK1", "SIP;cause=480"));
        assert_eq!(client.due(), now + timers.longest(), "an INVITE that nobody ends is given up");
    }
}
