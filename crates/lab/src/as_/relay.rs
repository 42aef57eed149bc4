//! RFC 3261 §16 — what goes through: a stateful proxy with one branch.

use super::{
    server::{Job, MOST, Server},
    way::Hop,
};
use crate::wire::{Heard, Key, Origin, Repeated, Text};
use std::sync::Arc;

/// Methods that may make a dialog, and so are asked to come by again.
const DIALOGS: [&str; 4] = ["INVITE", "SUBSCRIBE", "REFER", "NOTIFY"];

impl Server {
    /// Sends a request on.
    pub(super) fn relay(&mut self, key: Key, mut request: Text, origin: &Origin) {
        let tag = "relayed";
        let Some(left) = hops_left(&request) else {
            return self.say(&key, &self.response(&request, 483, tag));
        };
        if self.under_way.len() >= MOST {
            return self.say(&key, &self.response(&request, 503, tag));
        }
        let hop = self.way.next(&request, Some(origin));
        if matches!(hop, Hop::Here) {
            return self.say(&key, &self.response(&request, 404, tag));
        }
        let job = Job::Relay { key: key.clone(), request: Arc::new(request.clone()) };
        request.set("Max-Forwards", left.to_string());
        if self.record_route && DIALOGS.contains(&request.method()) {
            request.prepend("Record-Route", format!("<{};lr>", self.way.own(Some(origin))));
        }
        if let Some(branch) = self.send(request, hop, job) {
            self.under_way.insert(key, branch);
        }
    }

    pub(super) fn relay_heard(&mut self, key: &Key, request: &Text, heard: Heard) {
        let mut response = match heard {
            Heard::Provisional(response) | Heard::Final(response) => response,
            // RFC 4320 §4.1: nobody waits for a 408 to anything else.
            Heard::Timeout if request.method() != "INVITE" => {
                self.under_way.remove(key);
                return;
            }
            Heard::Timeout => return self.relay_failed(key, request, 408),
            Heard::Unreachable(_) => return self.relay_failed(key, request, 503),
        };
        if response.status() == 100 {
            return;
        }
        if response.status() >= 200 {
            self.under_way.remove(key);
        }
        response.take_first("Via");
        self.way.wire.respond(key, response.octets(), Repeated::Elsewhere);
    }

    fn relay_failed(&mut self, key: &Key, request: &Text, status: u16) {
        self.under_way.remove(key);
        self.say(key, &self.response(request, status, "relayed"));
    }

    /// RFC 3261 §16.11: an ACK to a 2xx goes through without a transaction.
    pub(super) fn relay_ack(&self, mut ack: Text, origin: &Origin) {
        if let Some(left) = hops_left(&ack) {
            ack.set("Max-Forwards", left.to_string());
            self.acknowledge(ack, Some(origin));
        }
    }
}

/// What Max-Forwards is to be; `None` if it was zero.
pub(super) fn hops_left(request: &Text) -> Option<u32> {
    request.value("Max-Forwards").parse::<u32>().unwrap_or(71).checked_sub(1)
}
