//! RFC 3261 §8.2 — what the network asks of a UE, and who answers it: a call, a subscription, or the UE itself.

use super::{Happening, Inner, Then, call::Input, message::Incoming};
use crate::wire::{Arrived, Key, Repeated, Text, phrase, tag, text};
use rsip::Method;
use std::sync::Arc;

/// What a UE can do, as Allow says it.
pub(super) const ALLOW: &str =
    "INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, INFO, OPTIONS, MESSAGE, NOTIFY, REFER";

/// A request that waits for its answer.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) key: Key,
    pub(super) request: Incoming,
}

impl Inner {
    pub(super) fn arrived(self: &Arc<Self>, arrived: Arrived) {
        match arrived {
            Arrived::Request { key, text, .. } => match Incoming::read(&text) {
                Ok(request) => self.asked(Asked { key, request }),
                Err(why) => self.not_understood(&key, &text, &why),
            },
            Arrived::Ack { text, .. } => {
                if let Ok(ack) = Incoming::read(&text) {
                    self.legs.within(&ack, Input::Ack);
                }
            }
            Arrived::Cancelled { of, text } => {
                if let Ok(cancel) = Incoming::read(&text) {
                    self.legs.cancelled(&of, &cancel);
                }
            }
            Arrived::Unacknowledged { of } => self.legs.unacknowledged(&of),
            Arrived::Unreadable(why) => self.tell(Happening::Unreadable { why: why.to_string() }),
        }
    }

    /// rsip knows no methods but those it lists.
    fn not_understood(&self, key: &Key, text: &Text, why: &rsip::Error) {
        self.tell(Happening::Unreadable { why: why.to_string() });
        let known = Method::all().iter().any(|method| method.to_string() == text.method());
        let status = if known { 400 } else { 501 };
        let response = text.response(status, phrase(status), "unread");
        self.wire.respond(key, response.octets(), Repeated::Here);
    }

    fn asked(self: &Arc<Self>, asked: Asked) {
        let request = &asked.request;
        let Some(method) = request.method() else { return };
        let within = !request.tag("To").is_empty();
        if method == Method::Notify {
            return self.notify(&asked);
        }
        if within {
            let nobodys = self.legs.within(&asked.request.clone(), |_| Input::Asked(asked));
            if let Some(Input::Asked(asked)) = nobodys {
                self.answer(&asked, 481);
            }
            return;
        }
        match method {
            Method::Refer => self.refer(&asked),
            Method::Invite => self.invited(asked),
            Method::Message | Method::Options | Method::Info => self.standalone(&asked, method),
            Method::Bye | Method::PRack | Method::Update | Method::Cancel => self.answer(&asked, 481),
            Method::Ack | Method::Notify | Method::Publish | Method::Register | Method::Subscribe => {
                self.answer(&asked, 501);
            }
        }
    }

    /// Says a status code and what always goes with it.
    pub(super) fn answer(&self, asked: &Asked, status: u16) {
        let tag = tag();
        let mut reply = asked.request.response(status, &tag);
        if status == 200 || status == 202 {
            reply = reply.header("Contact", format!("<{}>", self.contact()));
        }
        if asked.request.method() == Some(Method::Options) || matches!(status, 405 | 501) {
            reply = reply.header("Allow", ALLOW).header("Supported", "100rel, timer");
            reply = reply.header("Accept", "application/sdp, application/reginfo+xml, text/plain");
        }
        self.wire.respond(&asked.key, reply.octets(), Repeated::Here);
    }

    fn notify(&self, asked: &Asked) {
        let (status, notification) = self.notified(&asked.request);
        self.answer(asked, status);
        let Some(notification) = notification else { return };
        self.tell(Happening::Notified(notification.clone()));
        self.concluded(&notification);
    }

    fn refer(&self, asked: &Asked) {
        let registers = asked.request.value("Refer-To").to_ascii_uppercase().contains("METHOD=REGISTER");
        if registers {
            self.heed("REFER", None);
        }
        self.answer(asked, if registers { 202 } else { 603 });
    }

    fn standalone(&self, asked: &Asked, method: Method) {
        let request = &asked.request;
        let status = match self.policy().map(|policy| policy.how.then) {
            Some(Then::Reject(status)) if method == Method::Message => status,
            _ => 200,
        };
        self.answer(asked, status);
        let asserted = request.value("P-Asserted-Identity");
        let from = if asserted.is_empty() { request.value("From") } else { asserted };
        self.tell(Happening::Messaged {
            method: method.to_string(),
            from: text::uri(&from).to_owned(),
            text: String::from_utf8_lossy(request.body()).into_owned(),
            status,
        });
    }
}
