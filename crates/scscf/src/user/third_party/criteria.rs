//! TS 24.229 §5.4.1.7 — which application servers are to hear of a registration: the filter criteria that match REGISTER.

use super::{Notes, Said, ServerRegistration, ThirdParty};
use crate::event::AsId;
use crate::ifc::{Chain, Invocation, RegistrationType, SessionCase};
use crate::profile::{ApplicationServer, ServiceProfile};
use crate::user::register::{Register, Wanted};
use crate::user::{ContactBinding, ImplicitRegistrationSet, Registration, Step, User, ok};
use crate::{Impu, Policy, Timestamp};
use sip::{Method, Name, Request, Response};

/// A server that criteria ask for, under one service profile.
struct Asked<'a> {
    impu: &'a Impu,
    server: &'a ApplicationServer,
    now: bool,
    at_the_end: bool,
}

impl User {
    /// A REGISTER was accepted and answered: every server whose criteria match it is to hear of it.
    pub(crate) fn servers_hear(
        &mut self,
        register: &Register,
        response: &Response,
        kind: RegistrationType,
        step: &mut Step<'_>,
    ) {
        if register.is_emergency() {
            return;
        }
        let notes = Notes::of(register);
        self.ask_criteria(&register.impu, &register.request, kind, &notes, true, step);
        let cseq = register.request.cseq().number;
        let Registration { sets, third_party, .. } = &mut self.registration;
        let Some(set) = sets.iter().find(|set| set.profile.identity(&register.impu).is_some()) else {
            return;
        };
        let made = |binding: &&ContactBinding| {
            binding.cseq == cseq && *binding.call_id == *register.request.call_id() && !binding.emergency
        };
        let binding = set.bindings.iter().find(made).map_or(0, |binding| binding.id);
        for group in third_party.iter_mut().filter(|group| set.profile.identity(&group.impu).is_some()) {
            group.registration = binding;
            group.keep(register, response, false);
        }
    }

    /// The HSS changed the profile of the set of `impu`: servers that are new hear of the registration, as the binding remembers
    /// it.
    pub(crate) fn servers_of_changed_profile(&mut self, impu: &Impu, step: &mut Step<'_>) {
        let Some(set) = self.registration.set_of(impu) else { return };
        let Some(binding) = set.bindings.iter().rfind(|binding| !binding.emergency) else { return };
        let notes = Notes {
            icid: binding.icid.clone(),
            visited_network: binding.visited_network.clone(),
            ..Notes::default()
        };
        let (id, request) = (binding.id, binding.remembered(step.policy, step.now()));
        self.ask_criteria(impu, &request, RegistrationType::Initial, &notes, false, step);
        for group in self.registration.third_party.iter_mut().filter(|group| group.registration == 0) {
            group.registration = id;
        }
    }

    /// Notes for each server of the set of `impu` what it is to hear. Those that know of the registration hear of it again if it is
    /// `renewed`.
    fn ask_criteria(
        &mut self,
        impu: &Impu,
        request: &Request,
        kind: RegistrationType,
        notes: &Notes,
        renewed: bool,
        step: &mut Step<'_>,
    ) {
        let Registration { sets, third_party: groups, .. } = &mut self.registration;
        let Some(set) = sets.iter().find(|set| set.profile.identity(impu).is_some()) else { return };
        let chains: Vec<(&Impu, Chain)> = set
            .profile
            .profiles
            .iter()
            .filter_map(|profile| Some((profile.told_of()?, step.policy.chain(profile))))
            .filter(|(_, chain)| !chain.is_empty())
            .collect();
        let (asked, over) = asked(&chains, request, kind, step.policy.registration.max_application_servers);
        let charging = ok::charging_functions(set).map(Into::into);
        for group in groups.iter_mut().filter(|group| set.profile.identity(&group.impu).is_some()) {
            group
                .review(&asked, chains.iter().find(|(impu, _)| **impu == group.impu).map(|(_, chain)| chain));
            if renewed {
                group.notes = Notes { charging: Clone::clone(&charging), ..notes.clone() };
                group.shared = false;
            }
        }
        for asked in &asked {
            let index = groups.iter().position(|group| group.impu == *asked.impu).unwrap_or_else(|| {
                let mut group = ThirdParty::new(asked.impu.clone());
                group.notes = Notes { charging: Clone::clone(&charging), ..notes.clone() };
                groups.push(group);
                groups.len() - 1
            });
            let Some(group) = groups.get_mut(index) else { continue };
            let known =
                group.servers.iter_mut().find(|known| known.server.server_name == asked.server.server_name);
            match known {
                Some(known) => known.hear(asked, renewed),
                None => group.servers.push(ServerRegistration::new(AsId(step.mint()), asked)),
            }
            step.changed();
        }
        if over {
            step.say("registered; the profile names more application servers than may hear of it");
        }
    }
}

/// The servers that the chains ask for, each once, and whether there were more than `most`.
fn asked<'a>(
    chains: &'a [(&'a Impu, Chain)],
    request: &Request,
    kind: RegistrationType,
    most: usize,
) -> (Vec<Asked<'a>>, bool) {
    let mut found: Vec<Asked<'a>> = Vec::new();
    let mut over = false;
    for (impu, chain) in chains {
        for (kind, at_the_end) in [(kind, false), (RegistrationType::Deregistration, true)] {
            let invocation = Invocation {
                request,
                case: SessionCase::Originating,
                registered: true,
                registration_type: Some(kind),
            };
            for criterion in chain.matching(&invocation) {
                let server = &criterion.application_server;
                let room = found.len() < most;
                match found.iter_mut().find(|known| known.server.server_name == server.server_name) {
                    // Under another profile of the set it hears once all the same.
                    Some(known) if known.impu != *impu => {}
                    Some(known) => {
                        known.now |= !at_the_end;
                        known.at_the_end |= at_the_end;
                    }
                    None if room => {
                        found.push(Asked { impu, server, now: !at_the_end, at_the_end });
                    }
                    None => over = true,
                }
            }
        }
    }
    (found, over)
}

impl ThirdParty {
    /// Which of its servers no criterion asks for any more. One that does not match now may match the next REGISTER.
    fn review(&mut self, asked: &[Asked<'_>], chain: Option<&Chain>) {
        const ANY: [RegistrationType; 3] =
            [RegistrationType::Initial, RegistrationType::Reregistration, RegistrationType::Deregistration];
        for server in &mut self.servers {
            let name = &server.server.server_name;
            let is_asked = asked.iter().any(|it| it.server.server_name == *name && *it.impu == self.impu);
            let may = |chain: &Chain| {
                chain.may_match_register(&ANY).any(|it| it.application_server.server_name == *name)
            };
            server.unwanted = !is_asked && !chain.is_some_and(may);
        }
    }
}

impl ServerRegistration {
    fn new(id: AsId, asked: &Asked<'_>) -> Self {
        Self {
            id,
            server: asked.server.clone(),
            cseq: 0,
            said: Said::Nothing,
            in_flight: None,
            due: asked.now,
            hears_end: asked.at_the_end,
            unwanted: false,
            expires_at: Timestamp::default(),
            status: None,
        }
    }

    fn hear(&mut self, asked: &Asked<'_>, renewed: bool) {
        if self.server != *asked.server {
            self.server = asked.server.clone();
        }
        self.hears_end = asked.at_the_end;
        self.due |= asked.now && (renewed || self.said != Said::Registered);
        if self.said == Said::Ended && !self.due {
            // What it heard is about the registration before.
            self.said = Said::Nothing;
        }
    }
}

impl ServiceProfile {
    /// The identity that application servers of this profile are told of.
    fn told_of(&self) -> Option<&Impu> {
        let mut identities = self.identities.iter();
        identities.find(|identity| !identity.barred && identity.is_distinct()).map(|identity| &identity.impu)
    }
}

impl ImplicitRegistrationSet {
    /// Whether a REGISTER for these contacts renews what is there, or begins something new.
    pub(crate) fn registration_type(&self, contacts: &[Wanted]) -> RegistrationType {
        let known = |wanted: &Wanted| wanted.expires > 0 && self.binding_of(wanted).is_some();
        match contacts.iter().any(known) {
            true => RegistrationType::Reregistration,
            false => RegistrationType::Initial,
        }
    }
}

impl ContactBinding {
    /// The REGISTER that made it, as far as it is remembered.
    fn remembered(&self, policy: &Policy, now: Timestamp) -> Request {
        let registrar = sip::Uri::parse(&format!("sip:{}", policy.domain));
        let mut request =
            Request::build(Method::Register, &registrar.unwrap_or_else(|_| policy.name.clone()))
                .header(Name::From, format_args!("<{}>", self.impu))
                .header(Name::To, format_args!("<{}>", self.impu))
                .header(Name::CallId, &self.call_id)
                .header(Name::CSeq, format_args!("{} REGISTER", self.cseq))
                .header(Name::Contact, self.contact_header())
                .header(Name::Expires, self.expires_at.seconds_after(now));
        for path in &self.path {
            request = request.header(Name::Path, path);
        }
        if let Some(network) = &self.visited_network {
            request = request.header(Name::PVisitedNetworkId, network);
        }
        request.finish()
    }
}
