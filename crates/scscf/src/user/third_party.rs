//! TS 24.229 §5.4.1.7 — application servers hear of registrations: third-party REGISTER.
//!
//! Procedures note what servers are to hear. At the end of every step `settle_servers` holds what each server was told last
//! against the bindings that exist, and sends what is missing: whatever removes the bindings of a set, its servers hear of it.
//! One REGISTER at a time to a server; what happens until its fate is known is told by the next one.

mod criteria;
mod request;

use super::register::Register;
use super::{Cause, ImplicitRegistrationSet, Step, User};
use crate::event::AsId;
use crate::profile::{ApplicationServer, DefaultHandling};
use crate::{Effect, Impu, Purpose, Reply, Span, Timestamp};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sip::{Name, Response};

/// A REGISTER without any fate after so long is given up. Longer than Timer F, so this only matters when its fate was lost
/// together with the node that sent it.
const GIVEN_UP_AFTER: Span = Span::seconds(180);
/// Longest header value that is kept for the REGISTERs to come, in octets.
const LONGEST_NOTE: usize = 256;

/// What the application servers of one service profile have been told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThirdParty {
    /// Of whom: the first identity of the service profile that is distinct and not barred.
    pub impu: Impu,
    /// What is passed on of the UE's last REGISTER.
    #[serde(default)]
    pub notes: Notes,
    /// The binding that this REGISTER made, which tells one registration from another.
    pub registration: u64,
    /// The REGISTER itself and the answer to it, while a server that wants them may yet have to hear of them.
    #[serde(default)]
    pub messages: Option<Box<Messages>>,
    /// Another private identity has contacts bound to the same public one, and tells the servers itself.
    #[serde(default)]
    pub shared: bool,
    /// The servers.
    pub servers: Vec<ServerRegistration>,
}

/// Header values of the UE's REGISTER that its third-party REGISTERs repeat.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notes {
    /// icid-value of P-Charging-Vector.
    pub icid: Option<Box<str>>,
    /// P-Access-Network-Info.
    pub access_network: Option<Box<str>>,
    /// P-Visited-Network-ID.
    pub visited_network: Option<Box<str>>,
    /// P-Charging-Function-Addresses.
    pub charging: Option<Box<str>>,
}

/// A REGISTER of the UE and the 200 (OK) to it, octet for octet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Messages {
    /// The REGISTER.
    pub request: Bytes,
    /// The answer.
    pub response: Bytes,
    /// It ended the last binding.
    pub ends: bool,
}

/// What one application server has been told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerRegistration {
    /// Identifier; Call-ID and From tag are made of it.
    pub id: AsId,
    /// The server as the filter criterion has it.
    pub server: ApplicationServer,
    /// CSeq of the last REGISTER; 0 before the first.
    pub cseq: u32,
    /// What the last REGISTER said.
    pub said: Said,
    /// When it was sent, while its fate is not known.
    pub in_flight: Option<Timestamp>,
    /// A REGISTER is to be sent.
    pub due: bool,
    /// A filter criterion asks that the end is told.
    pub hears_end: bool,
    /// No filter criterion asks for it any more.
    pub unwanted: bool,
    /// Until when the server takes the user for registered.
    pub expires_at: Timestamp,
    /// Final status of the last REGISTER; 0 when none came.
    pub status: Option<u16>,
}

/// What a server was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// Nothing: it wants to hear of the end only.
    Nothing,
    /// That the user is registered.
    Registered,
    /// That the registration has ended.
    Ended,
}

/// What a server is to hear next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Nothing,
    Register,
    End,
    Forget,
}

impl User {
    /// Sends what servers have not been told yet, and forgets those to whom nothing is left to be said.
    pub(crate) fn settle_servers(&mut self, step: &mut Step<'_>) {
        if self.registration.third_party.is_empty() {
            return;
        }
        let mut groups = std::mem::take(&mut self.registration.third_party);
        for group in &mut groups {
            let set = self.registration.set_of(&group.impu);
            let until = set.and_then(ImplicitRegistrationSet::bound_until);
            group.settle(until, step);
        }
        groups.retain(|group| !group.servers.is_empty());
        self.registration.third_party = groups;
    }

    /// What became of a third-party REGISTER.
    pub(crate) fn server_answered(&mut self, id: AsId, reply: &Reply, step: &mut Step<'_>) {
        let mut servers = self.registration.third_party.iter_mut();
        let Some((impu, server)) = servers.find_map(|group| {
            let server = group.servers.iter_mut().find(|server| server.id == id)?;
            Some((&group.impu, server))
        }) else {
            return step.say("answer to a third-party REGISTER of a server that has been forgotten");
        };
        let status = match reply {
            Reply::Response(response) if response.cseq().number != server.cseq => {
                return step.say("answer to an earlier third-party REGISTER");
            }
            Reply::Response(response) if !response.status().is_final() => return,
            Reply::Response(response) => response.status().code(),
            Reply::Timeout | Reply::Unsendable => 0,
        };
        if server.in_flight.take().is_none() {
            return step.say("answer to no third-party REGISTER in flight");
        }
        server.status = Some(status);
        step.changed();
        step.say(format!("third-party REGISTER to {} answered {status}", server.server.server_name));
        // Only where the server was told of a registration: the end of one ends nothing more.
        let terminates = has_failed(status)
            && server.said == Said::Registered
            && !server.unwanted
            && server.server.default_handling == DefaultHandling::SessionTerminated;
        if terminates {
            let impu = impu.clone();
            let concerned = |set: &ImplicitRegistrationSet| {
                set.profile.identity(&impu).is_some() && set.bound_until().is_some()
            };
            if self.registration.sets.iter().any(concerned) {
                self.end_bindings(Cause::ApplicationServerFailed, concerned, step);
            }
        }
    }

    /// The user ended its last binding itself: servers that ask for it get to see how.
    pub(crate) fn servers_see_the_end(&mut self, register: &Register, response: &Response) {
        let Some(set) = self.registration.set_of(&register.impu) else { return };
        if set.bound_until().is_some() {
            return;
        }
        let profile = set.profile.clone();
        for group in &mut self.registration.third_party {
            if profile.identity(&group.impu).is_some() {
                group.notes = Notes { charging: group.notes.charging.take(), ..Notes::of(register) };
                group.keep(register, response, true);
            }
        }
    }

    /// Before the sets that are no longer bound are forgotten: whose identities are bound by somebody else.
    pub(crate) fn servers_are_shared(&mut self) {
        let registration = &mut self.registration;
        for group in &mut registration.third_party {
            let bound = registration
                .sets
                .iter()
                .any(|set| set.bound_until().is_some() && set.profile.identity(&group.impu).is_some());
            let mut others = registration.siblings.values().flatten();
            if !bound {
                group.shared = others.any(|contact| contact.impus.contains(&group.impu));
            }
        }
    }

    /// A new owner: what was in flight may never have left, so it is sent again, with a higher CSeq.
    pub(crate) fn servers_in_doubt(&mut self) {
        for server in self.registration.third_party.iter_mut().flat_map(|group| &mut group.servers) {
            if server.in_flight.take().is_some() {
                match server.said {
                    Said::Nothing => {}
                    Said::Registered => server.due = true,
                    Said::Ended => server.said = Said::Registered,
                }
            }
        }
    }

    /// The next moment a REGISTER is given up.
    pub(crate) fn servers_deadline(&self) -> Option<Timestamp> {
        let servers = self.registration.third_party.iter().flat_map(|group| &group.servers);
        servers.filter_map(|server| server.in_flight).min().map(|sent| sent + GIVEN_UP_AFTER)
    }

    /// Gives up REGISTERs whose fate was lost: nobody knows whether the server failed.
    pub(crate) fn servers_due(&mut self, step: &mut Step<'_>) {
        for server in self.registration.third_party.iter_mut().flat_map(|group| &mut group.servers) {
            if server.in_flight.is_some_and(|sent| sent + GIVEN_UP_AFTER <= step.now()) {
                server.in_flight = None;
                server.status = Some(0);
                step.changed();
            }
        }
    }
}

impl ThirdParty {
    fn new(impu: Impu) -> Self {
        Self {
            impu,
            notes: Notes::default(),
            registration: 0,
            messages: None,
            shared: false,
            servers: Vec::new(),
        }
    }

    /// `until` is when the last binding ends, if there is one.
    fn settle(&mut self, until: Option<Timestamp>, step: &mut Step<'_>) {
        let mut servers = std::mem::take(&mut self.servers);
        servers.retain_mut(|server| {
            let (said, expires_at) = match server.next(until.is_some(), self.shared) {
                Next::Nothing => return true,
                Next::Register => (Said::Registered, until.unwrap_or(step.now())),
                Next::End => (Said::Ended, step.now()),
                Next::Forget => {
                    step.changed();
                    return false;
                }
            };
            server.said = said;
            server.expires_at = expires_at;
            server.due = false;
            server.cseq = server.cseq.saturating_add(1);
            step.changed();
            let Some(request) = self.request(server, step) else { return false };
            server.in_flight = Some(step.now());
            step.effect(Effect::Send { purpose: Purpose::ThirdPartyRegister(server.id), request });
            true
        });
        let idle = |server: &ServerRegistration| server.in_flight.is_none() && !server.due;
        if self.messages.is_some() && servers.iter().all(idle) {
            self.messages = None;
            step.changed();
        }
        self.servers = servers;
    }

    /// Keeps the messages where a server asks to see them.
    fn keep(&mut self, register: &Register, response: &Response, ends: bool) {
        let asks = |server: &ServerRegistration| {
            server.server.include_register_request || server.server.include_register_response
        };
        self.messages = self.servers.iter().any(asks).then(|| {
            Box::new(Messages {
                request: register.request.as_bytes().clone(),
                response: response.as_bytes().clone(),
                ends,
            })
        });
    }
}

impl ServerRegistration {
    fn next(&self, bound: bool, shared: bool) -> Next {
        if self.in_flight.is_some() {
            return Next::Nothing;
        }
        match self.said {
            _ if bound && !self.unwanted && self.due => Next::Register,
            _ if bound && !self.unwanted => Next::Nothing,
            Said::Ended => Next::Forget,
            // It never heard of a registration that goes on.
            Said::Nothing if bound => Next::Forget,
            Said::Nothing | Said::Registered if self.hears_end && !shared => Next::End,
            Said::Nothing | Said::Registered => Next::Forget,
        }
    }
}

impl ImplicitRegistrationSet {
    /// When the last of its bindings ends, emergency ones apart.
    fn bound_until(&self) -> Option<Timestamp> {
        let ordinary = self.bindings.iter().filter(|binding| !binding.emergency);
        ordinary.map(|binding| binding.expires_at).max()
    }
}

impl Notes {
    fn of(register: &Register) -> Self {
        let kept = |text: &str| (text.len() <= LONGEST_NOTE).then(|| text.into());
        let access = register.request.get(Name::PAccessNetworkInfo).filter(|_| register.trusted);
        Self {
            icid: register.charging_vector().and_then(|vector| kept(&vector.icid_value)),
            access_network: access.and_then(|access| kept(&access)),
            visited_network: register.visited_network().and_then(|network| kept(&network)),
            charging: None,
        }
    }
}

/// No answer, no answer in time, one that the server cannot give, or a wish for credentials that we do not have.
const fn has_failed(status: u16) -> bool {
    matches!(status, 0 | 401 | 407 | 408 | 500..=599)
}
