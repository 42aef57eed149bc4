//! Requests of a telephone outside any dialog, and its answers to those that come.

use super::{Phone, Text};
use std::fmt::Write;
use std::time::Duration;

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Call-ID.
    pub call_id: String,
    /// Method.
    pub method: String,
    /// CSeq.
    pub cseq: u32,
    /// The whole request.
    pub text: String,
}

impl Phone {
    /// Sends a request outside any dialog with these further header lines, by way of `route` unless that is empty.
    pub fn request(&mut self, method: &str, uri: &str, route: &str, lines: &str, body: &str) -> Sent {
        let via = self.via();
        let (port, serial, domain, name) = (self.port(), self.serial, crate::DOMAIN, self.name.clone());
        let call_id = format!("out{serial}-{port}@phone.invalid");
        let route = if route.is_empty() { String::new() } else { format!("Route: {route}\r\n") };
        let text = format!(
            "{method} {uri} SIP/2.0\r\n{via}Max-Forwards: 70\r\n{route}From: <sip:{name}@{domain}>;tag=o{serial}x{port}\r\n\
             To: <{uri}>\r\nCall-ID: {call_id}\r\nCSeq: 1 {method}\r\nP-Asserted-Identity: <sip:{name}@{domain}>\r\n\
             {lines}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let sent = Sent { call_id, method: method.to_owned(), cseq: 1, text };
        self.turn();
        self.send(&sent);
        sent
    }

    /// The final response to it.
    ///
    /// # Panics
    /// If none comes.
    pub fn outcome(&mut self, sent: &Sent) -> Text {
        self.wait(Duration::from_secs(10), |text| sent.is_answered_by(text))
            .unwrap_or_else(|| panic!("no answer to {sent:?}"))
    }

    /// The next request of that method.
    ///
    /// # Panics
    /// If none comes.
    pub fn asked(&mut self, method: &str) -> Text {
        let asked = self.wait(Duration::from_secs(10), |text| text.method() == method);
        asked.unwrap_or_else(|| panic!("no {method} comes"))
    }

    /// Answers a request as the one it is for, with these further header lines.
    pub fn reply(&self, request: &Text, status: u16, lines: &str) {
        let mut text = format!("SIP/2.0 {status} Whatever\r\n");
        for name in ["Via", "Record-Route"] {
            for value in request.headers(name) {
                let _ = write!(text, "{name}: {value}\r\n");
            }
        }
        let tag = if request.header("To").contains(";tag=") { "" } else { ";tag=called" };
        for (name, tag) in [("From", ""), ("To", tag), ("Call-ID", ""), ("CSeq", "")] {
            let _ = write!(text, "{name}: {}{tag}\r\n", request.header(name));
        }
        let _ = write!(text, "{lines}Content-Length: 0\r\n\r\n");
        self.send_back(request, &text);
    }
}
