//! A telephone's calls: INVITE, what stands after its answer, and requests within it.

use super::{Phone, Sent, Text};
use std::fmt::Write;

const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 49170 RTP/AVP 8\r\n";

/// One side of a call that was answered.
#[derive(Clone, Debug)]
pub struct Leg {
    /// Call-ID.
    pub call_id: String,
    local: String,
    remote: String,
    target: String,
    routes: Vec<String>,
    cseq: u32,
}

fn uri(value: &str) -> String {
    let inside = value.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map_or_else(|| value.split(';').next().unwrap_or(""), |(uri, _)| uri).to_owned()
}

fn record_routes(text: &Text) -> Vec<String> {
    let values = text.headers("Record-Route").join(",");
    values.split(',').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
}

impl Leg {
    /// The caller's, from the 200 (OK).
    pub fn of_caller(ok: &Text) -> Self {
        let mut routes = record_routes(ok);
        routes.reverse();
        Self {
            call_id: ok.header("Call-ID").to_owned(),
            local: ok.header("From").to_owned(),
            remote: ok.header("To").to_owned(),
            target: uri(ok.header("Contact")),
            routes,
            cseq: 1,
        }
    }

    /// The callee's, from the INVITE that [`Phone::reply`] answered.
    pub fn of_callee(invite: &Text) -> Self {
        Self {
            call_id: invite.header("Call-ID").to_owned(),
            local: format!("{};tag=called", invite.header("To")),
            remote: invite.header("From").to_owned(),
            target: uri(invite.header("Contact")),
            routes: record_routes(invite),
            cseq: 0,
        }
    }
}

impl Phone {
    /// Calls a user of the home domain by way of `route`, its Service-Route.
    pub fn invite(&mut self, user: &str, route: &str) -> Sent {
        let lines = format!("Contact: <{}>\r\nContent-Type: application/sdp\r\n", self.contact());
        self.request("INVITE", &format!("sip:{user}@{}", crate::DOMAIN), route, &lines, SDP)
    }

    /// Answers an INVITE with 200 (OK); the callee's side.
    pub fn pick_up(&self, invite: &Text) -> Leg {
        self.reply(invite, 200, &format!("Contact: <{}>\r\n", self.contact()));
        Leg::of_callee(invite)
    }

    /// Acknowledges the 200 (OK) to an INVITE; the caller's side.
    pub fn acknowledge(&mut self, ok: &Text) -> Leg {
        let leg = Leg::of_caller(ok);
        let text = self.write_within(&leg, "ACK", leg.cseq, "");
        self.turn();
        self.send_raw(text.as_bytes());
        leg
    }

    /// Acknowledges a refusal of an INVITE, at the node that sent it.
    pub fn acknowledge_refusal(&mut self, invite: &Sent, refusal: &Text) {
        let via = invite.text.lines().find(|line| line.starts_with("Via:")).unwrap_or("").trim_end();
        let start = invite.text.lines().next().unwrap_or("").replacen("INVITE", "ACK", 1);
        let text = format!(
            "{start}\r\n{via}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} ACK\r\n\
             Content-Length: 0\r\n\r\n",
            refusal.header("From"),
            refusal.header("To"),
            invite.call_id,
            invite.cseq
        );
        self.send_back(refusal, &text);
    }

    /// Sends a request within a call, and does not wait.
    pub fn within(&mut self, leg: &mut Leg, method: &str, lines: &str) -> Sent {
        leg.cseq += 1;
        let text = self.write_within(leg, method, leg.cseq, lines);
        let sent = Sent { call_id: leg.call_id.clone(), method: method.to_owned(), cseq: leg.cseq, text };
        self.turn();
        self.send(&sent);
        sent
    }

    fn write_within(&mut self, leg: &Leg, method: &str, cseq: u32, lines: &str) -> String {
        let mut text = format!("{method} {} SIP/2.0\r\n{}Max-Forwards: 70\r\n", leg.target, self.via());
        if !leg.routes.is_empty() {
            let _ = write!(text, "Route: {}\r\n", leg.routes.join(", "));
        }
        let _ = write!(
            text,
            "From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n{lines}Content-Length: 0\r\n\r\n",
            leg.local, leg.remote, leg.call_id
        );
        text
    }
}
