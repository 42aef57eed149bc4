//! RFC 3261 §16.7 — answers to what a former owner of the user forwarded.
//!
//! Its relays died with it, and their senders were told that they failed, or ask again. What the far ends say all the same ends
//! here: who rings is cancelled, who answers is acknowledged and released, who took a BYE has ended the session.

use crate::event::{RelayId, SessionId};
use crate::token::TokenKind;
use crate::user::{Party, Session, Step, User};
use crate::{Effect, Impu};
use sip::proxy::BranchId;
use sip::{Method, Name, NameAddr, Response, Status};

impl User {
    pub(super) fn former_answered(
        &mut self,
        id: RelayId,
        branch: BranchId,
        response: &Response,
        step: &mut Step<'_>,
    ) {
        let status = response.status();
        let asks_again = [Status::UNAUTHORIZED, Status::PROXY_AUTHENTICATION_REQUIRED].contains(&status);
        let method = response.cseq().method;
        if method == Method::Invite && status.is_provisional() {
            step.effect(Effect::Cancel { relay: id, branch, reason: None });
        } else if method == Method::Invite && status.is_success() {
            self.former_accepted(response, step);
        } else if method == Method::Bye && status.is_final() && !asks_again {
            let held = self.sessions.iter().find(|session| session.has(response));
            if let Some(id) = held.map(|session| session.id) {
                self.session_over(id, "BYE", step);
            }
        }
    }

    /// A far end answered an INVITE: one in a session that is kept, or one that nobody knows of any more.
    fn former_accepted(&mut self, response: &Response, step: &mut Step<'_>) {
        let cseq = response.cseq().number;
        if let Some(session) = self.sessions.iter().find(|session| session.has(response)) {
            let (speaker, other) = match session.caller.address.tag() == response.from_tag() {
                true => (&session.caller, &session.callee),
                false => (&session.callee, &session.caller),
            };
            let ack = other.dialog(speaker, &session.call_id).ack(cseq).finish();
            return step.effect(Effect::Pass { request: ack });
        }
        let Some(mut session) = self.former_session(response, step) else { return };
        let ack = session.callee.dialog(&session.caller, &session.call_id).ack(cseq).finish();
        step.effect(Effect::Pass { request: ack });
        // What the former owner saw of the dialog is not known.
        session.resumed();
        self.release_unknown(session, step);
    }

    /// As much of a session as an answer tells.
    fn former_session(&self, response: &Response, step: &mut Step<'_>) -> Option<Session> {
        let recorded = response.addresses(Name::RecordRoute).ok()?;
        let own = |address: &NameAddr| match step.policy.tokens.open(address.uri.user()?)? {
            (TokenKind::RecordRoute, owner, key) if owner == self.impi => Some(key),
            _ => None,
        };
        let (at, key) = recorded.iter().enumerate().find_map(|(at, address)| Some((at, own(address)?)))?;
        let now = step.now();
        Some(Session {
            id: SessionId(step.mint()),
            key,
            originating: false,
            served: Impu::of(&response.to().uri),
            binding: None,
            call_id: response.call_id().into(),
            caller: Party {
                address: response.from(),
                target: response.from().uri,
                routes: Vec::new(),
                cseq: response.cseq().number,
            },
            callee: Party {
                address: response.to(),
                target: crate::user::session::contact(response)?,
                routes: recorded[..at].iter().rev().map(|address| address.to_string().into()).collect(),
                cseq: 0,
            },
            since: now,
            timer: None,
            release: None,
            ack_until: None,
        })
    }
}
