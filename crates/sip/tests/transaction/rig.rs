//! A table with a clock of its own, and outputs as words.

use bytes::Bytes;
use sip::transaction::{ClientId, Flow, Gone, Limits, Output, ServerId, Table, Tick, Timers, ViaTemplate};
use sip::{Message, Request, Response, Status, Transport};

pub(crate) const VIA: &str = "SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKone";

pub(crate) fn udp() -> Flow {
    Flow {
        transport: Transport::Udp,
        local: "127.0.0.1:5060".parse().unwrap(),
        remote: "192.0.2.1:5070".parse().unwrap(),
        connection: 0,
    }
}

pub(crate) fn tcp() -> Flow {
    Flow { transport: Transport::Tcp, remote: "192.0.2.1:40000".parse().unwrap(), connection: 7, ..udp() }
}

pub(crate) fn text(method: &str, via: &str) -> String {
    format!(
        "{method} sip:home.net SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\nFrom: <sip:a@home.net>;tag=f\r\n\
         To: <sip:a@home.net>\r\nCall-ID: c1\r\nCSeq: 7 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

pub(crate) fn parse(text: &str) -> Message {
    Message::parse_datagram(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

pub(crate) fn request(method: &str) -> Request {
    let without_via = text(method, VIA);
    let Message::Request(request) = parse(&without_via) else { panic!("a request") };
    let mut edit = request.edit();
    edit.remove(sip::Name::Via);
    edit.finish()
}

pub(crate) fn status(code: u16) -> Status {
    Status::new(code).unwrap()
}

/// One word per output.
pub(crate) fn show(output: &Output) -> String {
    match output {
        Output::Transmit { bytes, .. } => {
            let line = String::from_utf8_lossy(bytes).into_owned();
            let mut words = line.split(' ');
            let first = words.next().unwrap();
            format!("> {}", if first == "SIP/2.0" { words.next().unwrap() } else { first })
        }
        Output::Request { request, .. } => format!("request {}", request.method()),
        Output::Ack { .. } => "ack".into(),
        Output::Cancel { of, .. } => format!("cancel {}", if of.is_some() { "invite" } else { "nothing" }),
        Output::Response { id, response } => format!("{}: {}", id.0, response.status()),
        Output::TimedOut { id } => format!("{}: timed out", id.0),
        Output::TransportFailed { id } => format!("{}: failed", id.0),
        Output::StrayResponse(response) => format!("stray {}", response.status()),
    }
}

pub(crate) struct Rig {
    pub(crate) table: Table,
    pub(crate) now: u64,
    /// The last new request for the user.
    pub(crate) asked: Option<(ServerId, Request)>,
    /// Octets of the last transmission, and where they went.
    pub(crate) sent: Option<(Flow, Bytes)>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(Timers::default(), Limits::default())
    }

    pub(crate) fn with(timers: Timers, limits: Limits) -> Self {
        Self { table: Table::new(timers, limits, [1, 2]), now: 0, asked: None, sent: None }
    }

    fn heard(&mut self, out: Vec<Output>) -> Vec<String> {
        for output in &out {
            match output {
                Output::Request { id, request, .. } => self.asked = Some((*id, request.clone())),
                Output::Transmit { flow, bytes } => self.sent = Some((*flow, bytes.clone())),
                _ => {}
            }
        }
        out.iter().map(show).collect()
    }

    pub(crate) fn receive_on(&mut self, flow: Flow, text: &str) -> Vec<String> {
        let mut out = Vec::new();
        self.table.receive(parse(text), flow, Tick(self.now), &mut out);
        self.heard(out)
    }

    pub(crate) fn receive(&mut self, method: &str) -> Vec<String> {
        self.receive_on(udp(), &text(method, VIA))
    }

    pub(crate) fn answer(&self, code: u16) -> Response {
        self.asked.as_ref().unwrap().1.respond(status(code), "t").finish()
    }

    pub(crate) fn respond(&mut self, code: u16) -> Result<Vec<String>, Gone> {
        let (id, response) = (self.asked.as_ref().unwrap().0, self.answer(code));
        let mut out = Vec::new();
        self.table.respond(id, response, Tick(self.now), &mut out)?;
        Ok(self.heard(out))
    }

    pub(crate) fn send_on(&mut self, flow: Flow, id: u64, method: &str) -> Vec<String> {
        let mut out = Vec::new();
        let via = ViaTemplate { rport: true, ..ViaTemplate::new("scscf.home.net:5060") };
        self.table.send(ClientId(id), request(method), flow, &via, Tick(self.now), &mut out);
        self.heard(out)
    }

    pub(crate) fn send(&mut self, id: u64, method: &str) -> Vec<String> {
        self.send_on(udp(), id, method)
    }

    /// The request last transmitted.
    pub(crate) fn sent_request(&self) -> Request {
        let Message::Request(request) = Message::parse_datagram(self.sent.clone().unwrap().1).unwrap() else {
            panic!("a request was sent last")
        };
        request
    }

    /// A response of the peer to `request`.
    pub(crate) fn reply(&mut self, request: &Request, code: u16) -> Vec<String> {
        let response = request.respond(status(code), "peer").finish();
        self.receive_on(udp(), str::from_utf8(response.as_bytes()).unwrap())
    }

    pub(crate) fn cancel(&mut self, invite: u64, id: u64) -> Result<Vec<String>, Gone> {
        self.cancel_because(invite, id, None)
    }

    pub(crate) fn cancel_because(
        &mut self,
        invite: u64,
        id: u64,
        reason: Option<&str>,
    ) -> Result<Vec<String>, Gone> {
        let mut out = Vec::new();
        self.table.cancel(ClientId(invite), ClientId(id), reason, Tick(self.now), &mut out)?;
        Ok(self.heard(out))
    }

    /// A 2xx came in again from further down.
    pub(crate) fn again(&mut self, code: u16, to_tag: &str) -> Result<Vec<String>, Gone> {
        let (id, request) = self.asked.clone().unwrap();
        let repeated = request.respond(status(code), to_tag).finish();
        let mut out = Vec::new();
        self.table.again(id, &repeated, Tick(self.now), &mut out)?;
        Ok(self.heard(out))
    }

    pub(crate) fn flow_failed(&mut self, flow: &Flow) -> Vec<String> {
        let mut out = Vec::new();
        self.table.flow_failed(flow, &mut out);
        self.heard(out)
    }

    /// Lets every timer up to `until` fire at its own time.
    pub(crate) fn run(&mut self, until: u64) -> Vec<(u64, String)> {
        let mut seen = Vec::new();
        while let Some(Tick(at)) = self.table.next_deadline().filter(|&Tick(at)| at <= until) {
            self.now = self.now.max(at);
            let mut out = Vec::new();
            self.table.expire(Tick(self.now), &mut out);
            seen.extend(self.heard(out).into_iter().map(|word| (self.now, word)));
        }
        self.now = until;
        seen
    }

    /// Everything is over, and nothing is waited for.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.table.is_empty() && self.table.unanswered() == 0 && self.table.next_deadline().is_none()
    }
}

/// `(time, word)` pairs, for comparison.
pub(crate) fn at(pairs: &[(u64, &str)]) -> Vec<(u64, String)> {
    pairs.iter().map(|&(time, word)| (time, word.to_owned())).collect()
}
