//! RFC 6733 §5.3 to RFC 6733 §5.6 — what a message from the peer does to the connection.

use super::{Closed, Output, Peer, State, Why};
use crate::{
    Message, Tick,
    avp::smallest,
    base::{self, DisconnectCause},
    chance,
    codes::{application, avp, command, result},
    message::ERROR,
};

impl Peer {
    pub(super) fn received(&mut self, message: Message, now: Tick, out: &mut Vec<Output>) {
        match (self.state, message.is_request(), message.command) {
            (State::WaitAnswer, false, command::CAPABILITIES_EXCHANGE) => {
                self.capabilities_answered(&message, now, out)
            }
            (State::WaitRequest, true, command::CAPABILITIES_EXCHANGE) => {
                self.capabilities_asked(&message, now, out)
            }
            (State::WaitAnswer | State::WaitRequest, ..) => self.close(Closed::NotEstablished, out),
            (State::Open | State::Suspect, ..) => {
                self.alive(now);
                self.exchanged(message, now, out);
            }
            (State::Closing, ..) => self.exchanged(message, now, out),
            (State::Closed, ..) => {}
        }
    }

    fn capabilities_asked(&mut self, cer: &Message, now: Tick, out: &mut Vec<Output>) {
        let missing =
            [avp::ORIGIN_HOST, avp::ORIGIN_REALM].into_iter().find(|code| cer.text(*code).is_none());
        if let Some(missing) = missing {
            let answer = cer.refusal(result::MISSING_AVP, &smallest(missing), &self.identity);
            out.extend(answer.map(|m| Output::Transmit(m.encode())));
            self.close(Closed::NotEstablished, out);
        } else if base::has_common_application(cer) {
            let answer = base::capabilities_answer(cer, result::SUCCESS, &self.identity);
            out.push(Output::Transmit(answer.encode()));
            self.open(cer, now, out);
        } else {
            let answer = base::capabilities_answer(cer, result::NO_COMMON_APPLICATION, &self.identity);
            out.push(Output::Transmit(answer.encode()));
            self.close(Closed::NoCommonApplication, out);
        }
    }

    fn capabilities_answered(&mut self, cea: &Message, now: Tick, out: &mut Vec<Output>) {
        match cea.unsigned32(avp::RESULT_CODE) {
            Some(result::SUCCESS | result::LIMITED_SUCCESS) if cea.text(avp::ORIGIN_HOST).is_some() => {
                if base::has_common_application(cea) {
                    self.open(cea, now, out);
                } else {
                    self.close(Closed::NoCommonApplication, out);
                }
            }
            Some(result::NO_COMMON_APPLICATION) => self.close(Closed::NoCommonApplication, out),
            _ => self.close(Closed::NotEstablished, out),
        }
    }

    fn open(&mut self, capabilities: &Message, now: Tick, out: &mut Vec<Output>) {
        let text = |code| Box::<str>::from(capabilities.text(code).unwrap_or_default());
        let (host, realm) = (text(avp::ORIGIN_HOST), text(avp::ORIGIN_REALM));
        self.remote = Some((host.clone(), realm.clone()));
        self.state = State::Open;
        self.alive(now);
        out.push(Output::Open { host, realm });
    }

    fn exchanged(&mut self, message: Message, now: Tick, out: &mut Vec<Output>) {
        if !message.is_request() {
            self.answered(message, out);
            return;
        }
        match (message.application, message.command) {
            (application::BASE, command::DEVICE_WATCHDOG) => {
                out.push(Output::Transmit(base::watchdog_answer(&message, &self.identity).encode()));
            }
            (application::BASE, command::DISCONNECT_PEER) => {
                let cause = message
                    .unsigned32(avp::DISCONNECT_CAUSE)
                    .map_or(DisconnectCause::Rebooting, DisconnectCause::of);
                out.push(Output::Transmit(base::disconnect_answer(&message, &self.identity).encode()));
                // Both may ask at once: then each awaits the DPA to its own.
                if self.leaving.is_none() {
                    self.leave(cause, now, out);
                }
            }
            _ => match self.refuse(&message) {
                Some(refusal) => out.push(Output::Transmit(refusal.encode())),
                None => out.push(Output::Request(message)),
            },
        }
    }

    /// RFC 6733 §6.1.4, RFC 6733 §7.1.3, RFC 6733 §7.1.5: what no application should have to look at.
    fn refuse(&self, message: &Message) -> Option<Message> {
        let refusal = |code, failed: &[u8]| message.refusal(code, failed, &self.identity);
        let served = self.config.serves.contains(&message.command);
        match message.application {
            _ if message.flags & ERROR != 0 => return refusal(result::INVALID_HDR_BITS, &[]),
            application::CX if served => {}
            application::BASE if served && message.command == command::RE_AUTH => {}
            application::CX | application::BASE => return refusal(result::COMMAND_UNSUPPORTED, &[]),
            _ => return refusal(result::APPLICATION_UNSUPPORTED, &[]),
        }
        message.unknown_mandatory().and_then(|avp| refusal(result::AVP_UNSUPPORTED, avp.raw()))
    }

    fn answered(&mut self, message: Message, out: &mut Vec<Output>) {
        match message.command {
            command::DEVICE_WATCHDOG => {}
            command::DISCONNECT_PEER if self.leaving == Some(Closed::Ours) => self.close(Closed::Ours, out),
            _ => {
                // An answer that nobody awaits is dropped: it came too late, or twice.
                if let Some((token, deadline)) = self.pending.remove(&message.hop_by_hop) {
                    self.deadlines.remove(&(deadline, message.hop_by_hop));
                    out.push(Output::Answer { token, message });
                }
            }
        }
    }

    /// The peer disconnects: no answer will come any more, and the transport is the peer's to close.
    fn leave(&mut self, cause: DisconnectCause, now: Tick, out: &mut Vec<Output>) {
        self.state = State::Closing;
        self.leaving = Some(Closed::Theirs(cause));
        self.patience = now.after(self.config.disconnect_ms.into());
        self.fail_pending(out);
    }

    pub(super) fn close(&mut self, reason: Closed, out: &mut Vec<Output>) {
        if self.state != State::Closed {
            self.state = State::Closed;
            self.fail_pending(out);
            out.push(Output::Close { reason });
        }
    }

    fn fail_pending(&mut self, out: &mut Vec<Output>) {
        for (_, hop_by_hop) in std::mem::take(&mut self.deadlines) {
            if let Some((token, _)) = self.pending.remove(&hop_by_hop) {
                out.push(Output::Failed { token, why: Why::Disconnected });
            }
        }
    }

    /// RFC 3539 §3.4.1: whatever the peer says shows that it lives.
    fn alive(&mut self, now: Tick) {
        self.state = State::Open;
        self.watchdog_pending = false;
        self.patience = self.watchdog_due(now);
    }

    pub(super) fn send_watchdog(&mut self, now: Tick, out: &mut Vec<Output>) {
        self.watchdog_pending = true;
        self.patience = self.watchdog_due(now);
        let dwr = base::watchdog_request(&self.identity);
        self.transmit_own(dwr, out);
    }

    fn watchdog_due(&mut self, now: Tick) -> Tick {
        let jitter = u64::from(self.config.watchdog_jitter_ms);
        let draw = self.draw() % (2 * jitter + 1);
        now.after((u64::from(self.config.watchdog_ms) + draw).saturating_sub(jitter))
    }

    pub(super) fn transmit_own(&mut self, mut message: Message, out: &mut Vec<Output>) {
        self.stamp(&mut message);
        out.push(Output::Transmit(message.encode()));
    }

    pub(super) fn stamp(&mut self, message: &mut Message) {
        // An identifier still in use after a wrap of 2^32 is skipped.
        while self.pending.contains_key(&self.next_hop_by_hop) {
            self.next_hop_by_hop = self.next_hop_by_hop.wrapping_add(1);
        }
        message.hop_by_hop = self.next_hop_by_hop;
        self.next_hop_by_hop = self.next_hop_by_hop.wrapping_add(1);
        if message.end_to_end == 0 {
            message.end_to_end = self.next_end_to_end.max(1);
            self.next_end_to_end = self.next_end_to_end.wrapping_add(1);
        }
    }

    pub(super) fn draw(&mut self) -> u64 {
        chance::next(&mut self.chance)
    }
}
