//! An application server between two scripted peers.

use super::{Peer, cseq, header};
use lab::as_::{ApplicationServer, Behaviour, Config, Listen, Timers};
use std::net::SocketAddr;

/// An S-CSCF on both sides of the server: what it sends to it, and what comes back.
pub(crate) struct Stage {
    pub(crate) server: ApplicationServer,
    pub(crate) at: SocketAddr,
    pub(crate) scscf: Peer,
    /// The next Route.
    pub(crate) onward: Peer,
}

impl Stage {
    pub(crate) async fn with(behaviour: impl Into<Behaviour>) -> Self {
        let (scscf, onward) = (Peer::new().await, Peer::new().await);
        let config = Config {
            behaviour: behaviour.into(),
            timers: Timers::fast(),
            s_cscf: Some(scscf.address),
            ..Config::new(Listen::udp("127.0.0.1:0".parse().unwrap()))
        };
        let server = ApplicationServer::start(config).await.unwrap();
        let at = server.addresses()[0].address;
        Self { server, at, scscf, onward }
    }

    /// What an S-CSCF sends to an application server.
    pub(crate) fn request(&self, method: &str, uri: &str, further: &str, body: &str) -> String {
        format!(
            "{method} {uri} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 68\r\nRoute: <sip:{};lr>, <sip:odi1@{};lr;orig>\r\n\
             Record-Route: <sip:scscf@{};lr>\r\nFrom: \"A\" <sip:alice@x.example>;tag=a1\r\nTo: <{uri}>\r\nCall-ID: c1\r\nCSeq: 7 {method}\r\n\
             Contact: <sip:alice@{}>\r\nP-Served-User: <sip:alice@x.example>;sescase=orig;regstate=reg\r\n\
             P-Asserted-Identity: <sip:alice@x.example>\r\n{further}Content-Length: {}\r\n\r\n{body}",
            self.scscf.via(method),
            self.at,
            self.onward.address,
            self.scscf.address,
            self.scscf.address,
            body.len()
        )
    }

    pub(crate) async fn invite(&self, further: &str) -> String {
        let invite = self.request("INVITE", "sip:bob@x.example", further, "v=0\r\n");
        self.scscf.send(&invite, self.at).await;
        invite
    }

    /// What the server says to the S-CSCF, which begins so.
    pub(crate) async fn hears(&self, start: &str) -> String {
        self.scscf.until(start).await.0
    }

    pub(crate) fn contact(&self) -> String {
        format!("Contact: <sip:bob@{}>\r\n", self.onward.address)
    }
}

/// The ACK to a response, as its request's sender has it; `branch` is that of the INVITE unless given.
pub(crate) fn ack(invite: &str, response: &str, target: &str, via: &str, routes: &str, body: &str) -> String {
    format!(
        "ACK {target} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 68\r\n{routes}From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} ACK\r\n\
         Content-Length: {}\r\n\r\n{body}",
        header(invite, "From"),
        header(response, "To"),
        header(invite, "Call-ID"),
        cseq(invite),
        body.len()
    )
}
