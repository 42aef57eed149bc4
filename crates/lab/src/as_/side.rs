//! RFC 3261 §12 — one side of a dialog that an application server has with somebody.

use crate::wire::{Origin, Text, call_id, tag, text};

/// One side of a dialog.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) call_id: String,
    /// Name and address of the server's side, without tag.
    local: String,
    pub(super) tag: String,
    remote: String,
    pub(super) remote_tag: String,
    pub(super) cseq: u32,
    target: String,
    routes: Vec<String>,
    /// Where the other side's messages came from.
    pub(super) origin: Option<Origin>,
}

impl Side {
    /// Towards whom a request came from.
    pub(super) fn called(request: &Text, origin: Origin) -> Self {
        Self {
            call_id: request.value("Call-ID").to_owned(),
            local: text::untagged(request.value("To")),
            tag: tag(),
            remote: text::untagged(request.value("From")),
            remote_tag: request.tag("From").to_owned(),
            cseq: 0,
            target: text::uri(request.value("Contact")).to_owned(),
            routes: request.elements("Record-Route").map(str::to_owned).collect(),
            origin: Some(origin),
        }
    }

    /// Towards whom a new request goes.
    pub(super) fn calling(local: &str, remote: &str, target: &str, routes: Vec<String>) -> Self {
        Self {
            call_id: call_id(),
            local: text::untagged(local),
            tag: tag(),
            remote: text::untagged(remote),
            remote_tag: String::new(),
            cseq: 0,
            target: target.to_owned(),
            routes,
            origin: None,
        }
    }

    /// Takes in a response that makes or confirms the dialog.
    pub(super) fn answered(&mut self, response: &Text) {
        response.tag("To").clone_into(&mut self.remote_tag);
        self.routes = response.elements("Record-Route").map(str::to_owned).collect();
        self.routes.reverse();
        self.refresh_target(response);
    }

    /// Takes the other side's Contact from a message that may change it.
    pub(super) fn refresh_target(&mut self, message: &Text) {
        if message.has("Contact") {
            text::uri(message.value("Contact")).clone_into(&mut self.target);
        }
    }

    /// The next request of the server's to the other side.
    pub(super) fn next(&mut self, method: &str) -> Text {
        self.cseq += 1;
        self.request(method, self.cseq)
    }

    /// The ACK to the 2xx of that INVITE.
    pub(super) fn ack(&self, cseq: u32) -> Text {
        self.request("ACK", cseq)
    }

    fn request(&self, method: &str, cseq: u32) -> Text {
        let mut request = Text::request(method, &self.target);
        request.push("Max-Forwards", "70");
        for route in &self.routes {
            request.push("Route", route);
        }
        request.push("From", format!("{};tag={}", self.local, self.tag));
        let to = match self.remote_tag.as_str() {
            "" => self.remote.clone(),
            tag => format!("{};tag={tag}", self.remote),
        };
        request.push("To", to);
        request.push("Call-ID", self.call_id.clone());
        request.push("CSeq", format!("{cseq} {method}"));
        request
    }

    /// What others call this side: Call-ID and tag of the server's side.
    pub(super) fn name(&self) -> (String, String) {
        (self.call_id.clone(), self.tag.clone())
    }
}
