//! TS 24.229 §5.4.1, §5.4.2 — what an operator is shown of a user.

use super::{Said, User};
use crate::cx::Scheme;
use crate::view::{
    Authentication, Binding, Identity, LastNotify, Notified, Reauthentication, RegistrationState, Release,
    Session, Subscription, ThirdParty, ToldSide, View,
};

impl User {
    /// The user as an operator sees it. Holds no secret.
    pub fn view(&self) -> View {
        let sets = || self.registration.sets.iter();
        let state = |bound: bool| match bound {
            true => RegistrationState::Registered,
            false => RegistrationState::UnregisteredServices,
        };
        View {
            impi: self.impi.as_str().into(),
            state: match sets().next() {
                None => RegistrationState::NotRegistered,
                Some(_) => state(sets().any(|set| !set.bindings.is_empty())),
            },
            identities: sets()
                .flat_map(|set| {
                    let default = set.profile.default_identity().map(|identity| &identity.impu);
                    let bound = !set.bindings.is_empty();
                    set.profile.identities().map(move |identity| Identity {
                        impu: identity.impu.as_str().into(),
                        state: match identity.barred {
                            true => RegistrationState::NotRegistered,
                            false => state(bound),
                        },
                        barred: identity.barred,
                        default: default == Some(&identity.impu),
                    })
                })
                .collect(),
            bindings: sets()
                .flat_map(|set| &set.bindings)
                .map(|binding| Binding {
                    contact: binding.uri.as_str().into(),
                    path: binding.path.iter().map(|hop| hop.as_ref().into()).collect(),
                    expires_at: binding.expires_at,
                    registered_at: binding.registered_at,
                    instance_id: binding.instance_id.as_deref().map(Into::into),
                    reg_id: binding.reg_id,
                    call_id: binding.call_id.as_ref().into(),
                    cseq: binding.cseq,
                })
                .collect(),
            subscriptions: self
                .subscriptions
                .iter()
                .map(|(id, subscription)| Subscription {
                    id: format!("{:016x}", id.0),
                    event: subscription.kind.token(),
                    subscriber: subscription.subscriber_uri.as_ref().into(),
                    kind: subscription.subscriber,
                    expires_at: subscription.expires_at,
                    version: subscription.version.checked_sub(1),
                    last_notify: subscription.last_notify.map(|(at, status)| LastNotify { at, status }),
                })
                .collect(),
            sessions: self.early_shown().chain(self.sessions.iter().map(confirmed)).collect(),
            releases: self.receipts.iter().map(release).collect(),
            third_party: self
                .registration
                .third_party
                .iter()
                .flat_map(|group| group.servers.iter().map(move |server| (&group.impu, server)))
                .map(|(impu, server)| ThirdParty {
                    application_server: server.server.server_name.as_ref().into(),
                    impu: impu.as_str().into(),
                    state: server.said,
                    expires_at: (server.said == Said::Registered).then_some(server.expires_at),
                    status: server.status.filter(|_| server.in_flight.is_none()),
                })
                .collect(),
            authentication: Authentication {
                scheme: self.authentication.scheme.map(|scheme| match scheme {
                    Scheme::AkaV1Md5 | Scheme::AkaV2Sha256 => "aka",
                    Scheme::SipDigest => "digest",
                    Scheme::NassBundled => "nass_bundled",
                    Scheme::EarlyImsSecurity => "early_ims",
                    Scheme::Unknown => "unknown",
                }),
                last_success_at: self.authentication.last_success,
                challenges_outstanding: self.authentication.challenges.len(),
                wrong_answers: self.authentication.wrong_answers,
                resyncs: self.authentication.resyncs,
            },
            reauthentication: self.authentication.reauthentication.as_ref().map(|pending| Reauthentication {
                by: pending.by.clone(),
                reason: pending.reason.as_deref().map(Into::into),
                since: pending.since,
                deadline: pending.deadline,
                phase: pending.phase,
                notified: pending
                    .notified
                    .iter()
                    .map(|(id, status)| Notified { subscription: format!("{:016x}", id.0), status: *status })
                    .collect(),
            }),
            next_deadline: self.next_deadline(),
        }
    }

    fn early_shown(&self) -> impl Iterator<Item = Session> {
        self.early().map(|(relay, initial)| Session {
            id: format!("{:016x}", relay.id.0),
            role: role(!initial.is_terminating()),
            state: "early",
            peer: peer(
                !initial.is_terminating(),
                relay.request.from().uri.as_str(),
                relay.request.uri_text(),
            ),
            since: relay.since,
            expires_at: None,
        })
    }
}

fn confirmed(session: &super::Session) -> Session {
    let peer_side = if session.originating { &session.callee } else { &session.caller };
    Session {
        id: format!("{:016x}", session.id.0),
        role: role(session.originating),
        state: if session.release.is_some() { "releasing" } else { "confirmed" },
        peer: peer_side.address.uri.as_str().into(),
        since: session.since,
        expires_at: session.timer.map(|(_, ends)| ends),
    }
}

const fn role(originating: bool) -> &'static str {
    if originating { "originating" } else { "terminating" }
}

fn peer(originating: bool, caller: &str, called: &str) -> String {
    if originating { called.into() } else { caller.into() }
}

fn release(receipt: &super::Receipt) -> Release {
    let told = receipt.told.iter().map(|line| ToldSide {
        side: line.side,
        what: line.what,
        at: line.at,
        status: line.status,
        answered_at: line.answered_at,
    });
    Release {
        session: format!("{:016x}", receipt.session),
        cause: receipt.cause,
        at: receipt.at,
        told: told.collect(),
    }
}
