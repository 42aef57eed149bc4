//! RFC 3261 §12 — one side of a dialog.

use super::super::message::{Dialogue, Draft, Incoming};
use crate::wire::{call_id, tag, text};
use rsip::Method;

/// A dialog, from early on.
#[derive(Clone, Debug)]
pub(super) struct Dialog {
    pub(super) call_id: String,
    /// Name and address of this side, without tag.
    pub(super) local: String,
    pub(super) local_tag: String,
    /// Name and address of the far side, without tag.
    pub(super) remote: String,
    pub(super) remote_tag: String,
    /// CSeq of the last request of this side.
    pub(super) cseq: u32,
    /// The highest CSeq of the far side.
    pub(super) remote_cseq: Option<u32>,
    pub(super) target: String,
    pub(super) routes: Vec<String>,
    /// RSeq of the last reliable response acknowledged.
    pub(super) rseq: Option<u32>,
}

impl Dialog {
    /// The one that an INVITE begins; `routes` is the way of the INVITE itself.
    pub(super) fn calling(local: String, to: &str, routes: Vec<String>) -> Self {
        Self {
            call_id: call_id(),
            local,
            local_tag: tag(),
            remote: format!("<{to}>"),
            remote_tag: String::new(),
            cseq: 0,
            remote_cseq: None,
            target: to.to_owned(),
            routes,
            rseq: None,
        }
    }

    /// The one that an INVITE begins for whom it is for.
    pub(super) fn called(invite: &Incoming) -> Self {
        let (from, to) = (invite.value("From"), invite.value("To"));
        Self {
            call_id: invite.value("Call-ID"),
            local: text::untagged(&to),
            local_tag: tag(),
            remote: text::untagged(&from),
            remote_tag: invite.tag("From"),
            cseq: 0,
            remote_cseq: Some(invite.cseq()),
            target: text::uri(&invite.value("Contact")).to_owned(),
            routes: invite.elements("Record-Route"),
            rseq: None,
        }
    }

    /// The same, as a response to its INVITE makes it. `own` is the Record-Route of this side, to be left out.
    pub(super) fn answered(&self, response: &Incoming, own: &str) -> Self {
        let mut routes = response.elements("Record-Route");
        routes.reverse();
        // The first is the P-CSCF of this side, which is this very program.
        if routes.first().is_some_and(|route| text::uri(route) == own) {
            routes.remove(0);
        }
        let mut dialog = Self { remote_tag: response.tag("To"), routes, ..self.clone() };
        dialog.refresh_target(response);
        dialog
    }

    /// Takes the far side's Contact from a request or response that may change it.
    pub(super) fn refresh_target(&mut self, message: &Incoming) {
        let contact = message.value("Contact");
        if !contact.is_empty() {
            text::uri(&contact).clone_into(&mut self.target);
        }
    }

    /// The next request of this side.
    pub(super) fn next(&mut self, method: Method) -> Draft {
        self.cseq += 1;
        self.request(method, self.cseq)
    }

    /// The ACK to the 2xx of that INVITE.
    pub(super) fn ack(&self, cseq: u32) -> Draft {
        self.request(Method::Ack, cseq)
    }

    fn request(&self, method: Method, cseq: u32) -> Draft {
        let to = match self.remote_tag.as_str() {
            "" => self.remote.clone(),
            tag => format!("{};tag={tag}", self.remote),
        };
        let from = format!("{};tag={}", self.local, self.local_tag);
        Draft::new(method, &self.target, Dialogue { from, to, call_id: &self.call_id, cseq })
            .each("Route", &self.routes)
    }
}
