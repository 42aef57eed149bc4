//! The S-CSCF as its shell runs it, one place for each user, with an HSS: steps, effects, owners that die.

use crate::assertions::Ledger;
use crate::network::{Dice, FRONT, Item, Network, Stack, owner, trusted};
use crate::scenario::{Act, Scenario, UserSetup};
use crate::server::Proxy;
use crate::ue::{Complaint, Phone, res};
use scscf::cx::{self, AuthItem, AuthenticationVector, Demand, Secret, ServerAssignmentType};
use scscf::profile::{
    ApplicationServer, Condition, IdentityType, InitialFilterCriteria, PublicIdentity, ServicePointTrigger,
    ServiceProfile, Subscription, TriggerPoint,
};
use scscf::{
    Effect, Event, Impi, Impu, Located, Moment, Outcome, Policy, Purpose, RelayId, Reply, Save, Seed,
    ServerTx, SharedContact, Source, Timestamp, User, locate,
};
use sip::proxy::BranchId;
use sip::transaction::{ClientId, Output, ServerId};
use sip::{Message, Method, Name, Response, Status};
use std::collections::BTreeMap;
use std::net::SocketAddr;

pub(crate) const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Why a request of a user was sent.
#[derive(Clone, Copy)]
struct Sent {
    purpose: Purpose,
    tx: Option<ServerTx>,
}

/// One user, the transactions its owner keeps for it, and what they are for.
pub(crate) struct Served {
    pub(crate) impi: Impi,
    pub(crate) user: User,
    pub(crate) stack: Stack,
    pub(crate) profile: Option<Subscription>,
    /// Counts its owners.
    pub(crate) owner: u32,
    pub(crate) deadline: Option<Timestamp>,
    /// How late it will be woken.
    late: u64,
    /// Requests without final response.
    pub(crate) open: BTreeMap<ServerTx, sip::Request>,
    sent: BTreeMap<ClientId, Sent>,
    accepted: BTreeMap<ClientId, Sent>,
}

pub(crate) struct World {
    pub(crate) network: Network,
    pub(crate) scenario: Scenario,
    pub(crate) policy: Policy,
    pub(crate) users: Vec<Served>,
    pub(crate) phones: Vec<Phone>,
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) ledger: Ledger,
    /// Written only when somebody will read it.
    pub(crate) story: Option<Vec<String>>,
    pub(crate) hss_fails: u64,
    front: Stack,
    chance: Dice,
    vectors: u64,
}

/// A place with transactions.
#[derive(Clone, Copy, Debug)]
enum Place {
    Front,
    User(usize),
    Phone(usize),
    Proxy(usize),
}

pub(crate) fn identity(text: &str) -> PublicIdentity {
    PublicIdentity {
        impu: Impu::parse(text).unwrap(),
        text: text.into(),
        barred: false,
        kind: IdentityType::PublicUserIdentity,
        wildcard: None,
        display_name: None,
        alias_group: None,
    }
}

/// What the HSS holds of a user.
pub(crate) fn profile(setup: &UserSetup) -> Subscription {
    let criteria: Vec<_> = setup
        .criteria
        .iter()
        .enumerate()
        .map(|(at, criterion)| InitialFilterCriteria {
            priority: at as u32 * 10,
            trigger: criterion.case.map(|case| TriggerPoint {
                cnf: true,
                spts: vec![ServicePointTrigger {
                    negated: false,
                    groups: vec![0],
                    condition: Condition::SessionCase(case),
                    registration_types: Vec::new(),
                }],
            }),
            application_server: ApplicationServer {
                server_name: format!("sip:as{}.home1.net", criterion.server).into(),
                default_handling: criterion.handling,
                service_info: None,
                include_register_request: false,
                include_register_response: false,
            },
            profile_part: None,
        })
        .collect();
    Subscription {
        private_id: format!("{}@home1.net", setup.name).into(),
        profiles: vec![ServiceProfile {
            identities: vec![identity(&setup.identity(false))],
            media_profile: None,
            service_ids: Vec::new(),
            criteria: criteria.into(),
            shared_criteria: Vec::new(),
        }],
    }
}

/// The same for the identity of its second UE, which is an implicit registration set of its own.
fn second_profile(setup: &UserSetup) -> Subscription {
    let mut profile = profile(setup);
    profile.profiles[0].identities = vec![identity(&setup.identity(true))];
    profile
}

impl World {
    pub(crate) fn new(scenario: Scenario) -> Self {
        let seed = scenario.seed;
        let users = scenario.users.iter().enumerate().map(|(number, setup)| {
            let impi = Impi::new(&format!("{}@home1.net", setup.name)).unwrap();
            Served {
                user: User::new(impi.clone()),
                impi,
                stack: Stack::new(owner(number), seed ^ (number as u64) << 16 ^ 0xabcd),
                profile: setup.known.then(|| profile(setup)),
                owner: 0,
                deadline: None,
                late: 0,
                open: BTreeMap::new(),
                sent: BTreeMap::new(),
                accepted: BTreeMap::new(),
            }
        });
        let mut world = Self {
            network: Network::new(seed, scenario.weather),
            policy: scenario.policy(),
            users: users.collect(),
            phones: scenario.phones(),
            proxies: scenario.proxies(),
            ledger: Ledger::new(&scenario),
            story: None,
            hss_fails: scenario.hss_fails,
            front: Stack::new(FRONT, seed ^ 0x1111),
            chance: Dice::new(seed ^ 0x5555),
            vectors: 0,
            scenario,
        };
        for (number, (at, _)) in world.scenario.acts.clone().into_iter().enumerate() {
            world.network.later(at, Item::Act(number));
        }
        world
    }

    pub(crate) fn time(&self) -> Timestamp {
        Timestamp::from_millis(START.millis() + self.network.now)
    }

    pub(crate) fn tell(&mut self, line: impl FnOnce() -> String) {
        let now = self.network.now;
        if let Some(story) = &mut self.story {
            story.push(format!("{now:>9} ms  {}", line()));
        }
    }

    /// Lets time pass until nothing is left to do, or until then.
    pub(crate) fn run(&mut self, until: u64) {
        while let Some((at, place)) = self.next().filter(|(at, _)| *at <= until) {
            self.network.now = at.max(self.network.now);
            match place {
                Some(due) => self.due(due),
                None => self.happens(),
            }
            self.look();
        }
        self.network.now = self.network.now.max(until);
    }

    /// What comes next; `None`: something of the network.
    fn next(&mut self) -> Option<(u64, Option<Due>)> {
        let mut first: Option<(u64, Option<Due>)> = self.network.next().map(|at| (at, None));
        let mut earlier = |at: Option<u64>, due: Due| {
            if let Some(at) = at
                && first.as_ref().is_none_or(|(known, _)| at < *known)
            {
                first = Some((at, Some(due)));
            }
        };
        for (number, user) in self.users.iter().enumerate() {
            let deadline = user.deadline.map(|at| at.millis().saturating_sub(START.millis()) + user.late);
            earlier(deadline, Due::Deadline(number));
            earlier(user.stack.next_deadline(), Due::Timer(Place::User(number)));
        }
        earlier(self.front.next_deadline(), Due::Timer(Place::Front));
        for (number, phone) in self.phones.iter().enumerate() {
            earlier(phone.stack.next_deadline(), Due::Timer(Place::Phone(number)));
        }
        for (number, proxy) in self.proxies.iter().enumerate() {
            earlier(proxy.stack.next_deadline(), Due::Timer(Place::Proxy(number)));
        }
        first
    }

    fn due(&mut self, due: Due) {
        let now = self.network.now;
        match due {
            Due::Deadline(user) => {
                self.tell(|| format!("deadline of user {user}"));
                self.step(user, Event::Deadline);
            }
            Due::Timer(Place::Front) => {
                self.front.expire(now);
                self.front_says();
            }
            Due::Timer(Place::User(user)) => {
                self.users[user].stack.expire(now);
                self.user_says(user);
            }
            Due::Timer(Place::Phone(phone)) => {
                self.phones[phone].expire(&mut self.network);
                self.phone_did(phone);
            }
            Due::Timer(Place::Proxy(proxy)) => self.proxies[proxy].expire(&mut self.network),
        }
    }

    fn happens(&mut self) {
        match self.network.pop() {
            Some(Item::Datagram { from, to, octets }) => self.deliver(from, to, octets),
            Some(Item::CxAnswer { user, owner, to, answer }) if self.users[user].owner == owner => {
                self.step(user, Event::CxAnswer { to, answer });
            }
            // Its owner is gone.
            Some(Item::CxAnswer { .. }) => {}
            Some(Item::Alarm { phone, alarm }) => {
                self.phones[phone].ring(alarm, &mut self.network);
                self.phone_did(phone);
            }
            Some(Item::Sibling { user, impi, contacts }) => {
                self.step(user, Event::Sibling { impi, contacts });
            }
            Some(Item::Act(number)) => {
                let act = self.scenario.acts[number].1.clone();
                self.tell(|| format!("--- {act:?}"));
                self.act(act);
            }
            None => {}
        }
    }

    fn deliver(&mut self, from: SocketAddr, to: SocketAddr, octets: bytes::Bytes) {
        let message = Message::parse_datagram(octets).unwrap();
        if self.story.is_some() {
            let line = described(&message);
            self.tell(|| format!("{} > {}: {line}", from.ip(), to.ip()));
        }
        if to == FRONT {
            return self.deliver_to_front(from, message);
        }
        if let Some(user) = self.users.iter().position(|user| user.stack.address == to) {
            self.users[user].stack.receive(message, from, self.network.now);
            return self.user_says(user);
        }
        if let Some(phone) = self.phones.iter().position(|phone| phone.stack.address == to) {
            self.phones[phone].receive(message, from, &mut self.network);
            return self.phone_did(phone);
        }
        if let Some(proxy) = self.proxies.iter().position(|proxy| proxy.stack.address == to) {
            self.proxies[proxy].receive(message, from, &mut self.network);
        }
    }

    /// Requests to the S-CSCF go to the user they concern.
    fn deliver_to_front(&mut self, from: SocketAddr, message: Message) {
        let located = match &message {
            Message::Request(request) => locate(request, &self.policy),
            Message::Response(_) => Ok(Located::Ourselves),
        };
        let user = match located {
            Ok(Located::User(impi)) => self.user_of(&impi),
            Ok(Located::Identity(impu, number)) => {
                let known = |wanted: &Impu| {
                    self.users.iter().position(|user| user.user.impus().any(|held| held == wanted))
                };
                let namesake = impu.as_str().split_once(':').and_then(|(_, rest)| Impi::new(rest));
                known(&impu)
                    .or_else(|| number.as_ref().and_then(known))
                    .or_else(|| namesake.and_then(|impi| self.user_of(&impi)))
            }
            Ok(Located::Ourselves) | Err(_) => None,
        };
        match user {
            Some(user) => {
                self.users[user].stack.receive(message, from, self.network.now);
                self.user_says(user);
            }
            None => {
                self.front.receive(message, from, self.network.now);
                self.front_says();
            }
        }
    }

    fn user_of(&self, impi: &Impi) -> Option<usize> {
        self.users.iter().position(|user| user.impi == *impi)
    }

    fn front_says(&mut self) {
        for output in self.front.said(&mut self.network) {
            if let Output::Request { id, request, .. } = output {
                let response = request.respond(Status::NOT_FOUND, "front").finish();
                let _ = self.front.respond(id, response, self.network.now);
            }
        }
        self.front.said(&mut self.network);
    }

    /// What the transactions of a user say becomes events.
    fn user_says(&mut self, user: usize) {
        loop {
            let said = self.users[user].stack.said(&mut self.network);
            if said.is_empty() {
                return;
            }
            for output in said {
                self.user_said(user, output);
            }
        }
    }

    fn user_said(&mut self, user: usize, output: Output) {
        match output {
            Output::Request { id, request, flow } => {
                let source = Source { address: flow.remote.ip(), trusted: trusted(flow.remote) };
                self.users[user].open.insert(ServerTx(id.0), request.clone());
                self.step(user, Event::Request { tx: ServerTx(id.0), request, source });
            }
            Output::Ack { request, flow } => {
                if let Ok(Located::User(_)) = locate(&request, &self.policy) {
                    let source = Source { address: flow.remote.ip(), trusted: trusted(flow.remote) };
                    self.step(user, Event::Ack { request, source });
                }
            }
            Output::Cancel { of: Some(of), request, .. } => {
                let reason = request.get(Name::Reason).map(|reason| reason.into());
                if self.users[user].open.contains_key(&ServerTx(of.0)) {
                    self.step(user, Event::Cancel { of: ServerTx(of.0), reason });
                    self.ledger.cancelled(user, ServerTx(of.0));
                }
            }
            Output::Response { id, response } => self.responded(user, id, response),
            Output::TimedOut { id } => self.replied(user, id, Reply::Timeout),
            Output::TransportFailed { id } => self.replied(user, id, Reply::Unsendable),
            Output::Cancel { of: None, .. } | Output::StrayResponse(_) | Output::Transmit { .. } => {}
        }
    }

    fn responded(&mut self, user: usize, id: ClientId, response: Response) {
        let status = response.status();
        let served = &mut self.users[user];
        if status.is_success() && response.cseq().method == Method::Invite {
            if let Some(sent) = served.sent.remove(&id) {
                served.accepted.insert(id, sent);
                return self.reply(user, sent.purpose, Reply::Response(response));
            }
            let Some(sent) = served.accepted.get(&id).copied() else { return };
            let tx = sent.tx.map_or(u64::MAX, |tx| tx.0);
            let again = served.stack.again(ServerId(tx), &response, self.network.now);
            if again.is_err() {
                self.reply(user, sent.purpose, Reply::Response(response));
            }
        } else if status.is_final() {
            self.replied(user, id, Reply::Response(response));
        } else if status != Status::TRYING
            && let Some(sent) = served.sent.get(&id).copied()
            && matches!(sent.purpose, Purpose::Relay(..))
        {
            self.reply(user, sent.purpose, Reply::Response(response));
        }
    }

    fn replied(&mut self, user: usize, id: ClientId, reply: Reply) {
        if let Some(sent) = self.users[user].sent.remove(&id) {
            self.reply(user, sent.purpose, reply);
        }
    }

    fn reply(&mut self, user: usize, to: Purpose, reply: Reply) {
        let over = match &reply {
            Reply::Response(response) => response.status().is_final(),
            Reply::Timeout | Reply::Unsendable => true,
        };
        self.step(user, Event::Reply { to, reply });
        if let Purpose::Relay(relay, branch) = to
            && over
        {
            self.ledger.heard(user, relay, branch);
        }
    }

    /// One event of one user, and what it asks of the world.
    pub(crate) fn step(&mut self, user: usize, event: Event) {
        let now = self.time();
        let seed = u128::from(self.chance.roll()) << 64 | u128::from(self.chance.roll()) << 20;
        let moment = Moment { now, seed: Seed(seed) };
        let before =
            self.chance.chance(self.scenario.audited).then(|| (self.users[user].user.clone(), event.clone()));
        let is_deadline = matches!(event, Event::Deadline);
        let ends_all = match &event {
            _ if !self.users[user].user.is_registered() => false,
            Event::Deregister { .. } => true,
            Event::CxDemand { demand: Demand::RegistrationTermination(rtr), .. } => rtr.impus.is_empty(),
            _ => false,
        };
        let outcome = self.users[user].user.step(event, moment, &self.policy);
        let summary = &outcome.summary;
        if let Some(story) = &mut self.story {
            story.push(format!("{:>9} ms      user {user}: {summary}", self.network.now));
        }
        let served = &self.users[user];
        crate::assertions::of_a_step(&served.user, &outcome, now, is_deadline);
        if let Some((before, event)) = before {
            crate::assertions::of_an_audit(before, event, moment, &served.user, &outcome, &self.policy);
        }
        self.ledger.bounded(&served.user, &self.policy);
        if ends_all && !served.user.is_registered() {
            self.ledger.ended.push((user, now));
        }
        if outcome.save == Save::Erase {
            let answered =
                outcome.effects.iter().filter(|effect| matches!(effect, Effect::Respond { .. })).count();
            assert!(served.open.len() <= answered, "erased, and owes answers: {:?}", served.open);
            self.users[user].user = User::new(self.users[user].impi.clone());
        }
        self.users[user].deadline = self.users[user].user.next_deadline();
        self.users[user].late = self.chance.below(self.scenario.drowsy + 1);
        if outcome.save != Save::Unchanged {
            self.bindings_may_have_changed(user);
        }
        self.perform(user, outcome);
    }

    fn perform(&mut self, user: usize, outcome: Outcome) {
        for effect in outcome.effects {
            match effect {
                Effect::Respond { tx, response } => self.respond(user, tx, response),
                Effect::Send { purpose, request } => {
                    let id = self.users[user].stack.send(request, None, self.network.now);
                    self.users[user].sent.insert(id, Sent { purpose, tx: None });
                }
                Effect::Relay { relay, branch, request, tx, mark } => {
                    let awaited = self.users[user].open.contains_key(&tx);
                    self.ledger.relayed(user, relay, branch, tx, &request, awaited);
                    let id = self.users[user].stack.send(request, Some(mark), self.network.now);
                    let purpose = Purpose::Relay(relay, branch);
                    self.users[user].sent.insert(id, Sent { purpose, tx: Some(tx) });
                }
                Effect::Cancel { relay, branch, reason } => {
                    self.cancel(user, relay, branch, reason.as_deref())
                }
                Effect::Pass { request } => self.users[user].stack.send_ack(&request),
                Effect::CxRequest { purpose, request } => {
                    let answer = self.hss(user, &request);
                    let owner = self.users[user].owner;
                    let after = self.network.dice.between(1, 30);
                    self.network.later(after, Item::CxAnswer { user, owner, to: purpose, answer });
                }
                Effect::TellSiblings { impus, contacts, also } => {
                    self.tell_siblings(user, &impus, &contacts, &also)
                }
                Effect::CxAnswer { .. } | Effect::Tell { .. } => {}
            }
        }
        self.user_says(user);
    }

    /// Whoever holds one of these identities too hears of it soon.
    fn tell_siblings(&mut self, user: usize, impus: &[Impu], contacts: &[SharedContact], also: &[Impi]) {
        let impi = self.users[user].impi.clone();
        let holds = |other: &Served| {
            also.contains(&other.impi) || other.user.impus().any(|impu| impus.contains(impu))
        };
        let others = (0..self.users.len()).filter(|other| *other != user && holds(&self.users[*other]));
        for other in others.collect::<Vec<_>>() {
            let told = Item::Sibling { user: other, impi: impi.clone(), contacts: contacts.to_vec() };
            self.network.later(5, told);
        }
    }

    fn respond(&mut self, user: usize, tx: ServerTx, response: Response) {
        self.ledger.responded(user, tx, &response, self.users[user].open.get(&tx));
        if response.status().is_final() {
            self.users[user].open.remove(&tx);
        }
        let late = self.users[user].stack.respond(ServerId(tx.0), response, self.network.now).is_err();
        let abandoned = self.users[user].stack.table.stats().abandoned;
        assert!(!late || abandoned > 0, "an answer to a transaction that is over");
    }

    fn cancel(&mut self, user: usize, relay: RelayId, branch: BranchId, reason: Option<&str>) {
        self.ledger.cancels(user, relay, branch);
        let purpose = Purpose::Relay(relay, branch);
        let served = &mut self.users[user];
        let found = served.sent.iter().find(|(_, sent)| sent.purpose == purpose).map(|(id, _)| *id);
        if let Some(id) = found {
            served.stack.cancel(id, reason, self.network.now);
        }
    }

    /// The answer of the HSS.
    fn hss(&mut self, user: usize, request: &cx::Request) -> cx::Answer {
        let fails = self.network.dice.chance(self.hss_fails);
        match request {
            cx::Request::MultimediaAuth(_) => {
                self.vectors += 1;
                let mut rand = [7; 16];
                rand[..8].copy_from_slice(&self.vectors.to_be_bytes());
                let vector = AuthenticationVector {
                    rand,
                    autn: [9; 16],
                    xres: Secret::new(&res(&rand)),
                    ck: Secret::new(&[1; 16]),
                    ik: Secret::new(&[2; 16]),
                };
                let answer = cx::MultimediaAuthAnswer { hss: None, items: vec![AuthItem::Aka(vector)] };
                cx::Answer::MultimediaAuth(if fails { Err(cx::Failure::Unreachable) } else { Ok(answer) })
            }
            cx::Request::ServerAssignment(request) => {
                let assigns = matches!(
                    request.assignment,
                    ServerAssignmentType::Registration
                        | ServerAssignmentType::ReRegistration
                        | ServerAssignmentType::UnregisteredUser
                );
                let second = request.impus.iter().any(|impu| impu.contains(".b@"));
                let second = second.then(|| second_profile(&self.scenario.users[user]));
                let profile =
                    self.users[user].profile.as_ref().map(|first| second.unwrap_or_else(|| first.clone()));
                let answer = match (&profile, fails) {
                    (_, true) => Err(cx::Failure::Unreachable),
                    (None, _) => Err(cx::Failure::Refused(cx::ResultCode::USER_UNKNOWN)),
                    (Some(profile), _) => Ok(cx::ServerAssignmentAnswer {
                        hss: None,
                        user_data: assigns.then(|| Ok(profile.clone())),
                        charging: None,
                        associated_identities: match self.scenario.is_shared() {
                            true => [0, 2].map(|user| self.users[user].impi.clone()).to_vec(),
                            false => Vec::new(),
                        },
                        server_name_not_stored: false,
                    }),
                };
                cx::Answer::ServerAssignment(answer)
            }
        }
    }

    /// Another owner takes over. The former one leaves in order, with an answer to everything it owes, or takes all its
    /// transactions with it.
    pub(crate) fn take_over(&mut self, user: usize, in_order: bool) {
        self.ledger.take_over();
        let served = &mut self.users[user];
        let record = rmp_serde::to_vec_named(&served.user).unwrap();
        served.user = rmp_serde::from_slice(&record).unwrap();
        let owed = std::mem::take(&mut served.open);
        if in_order {
            for (tx, request) in owed {
                let response = request.respond(Status::SERVER_INTERNAL_ERROR, "gone").finish();
                let _ = served.stack.respond(ServerId(tx.0), response, self.network.now);
            }
        } else {
            served.owner += 1;
            let seed = u64::from(served.owner) << 40 ^ self.network.now ^ user as u64;
            served.stack = Stack::new(owner(user), seed);
            served.sent.clear();
            served.accepted.clear();
        }
        self.ledger.forget(user);
        self.user_says(user);
        self.step(user, Event::Resumed);
    }

    /// What telephones heard, and what they complain about.
    pub(crate) fn phone_did(&mut self, phone: usize) {
        loop {
            let complaints = std::mem::take(&mut self.phones[phone].complaints);
            for complaint in complaints {
                match complaint {
                    Complaint::Always(why) => panic!("{why}"),
                    Complaint::InFairWeather(why) => assert!(!self.ledger.is_fair(), "{why}"),
                }
            }
            let notices = std::mem::take(&mut self.phones[phone].notices);
            if notices.is_empty() {
                return;
            }
            for notice in notices {
                crate::assertions::judge(self, phone, &notice);
                crate::assertions::judge_early(self, phone, &notice);
                self.noticed(phone, notice);
            }
        }
    }

    fn bindings_may_have_changed(&mut self, user: usize) {
        let view = self.users[user].user.view();
        let bound: BTreeMap<String, Timestamp> =
            view.bindings.into_iter().map(|binding| (binding.contact, binding.registered_at)).collect();
        self.ledger.bindings(user, bound, self.network.now);
    }
}

/// What is due.
#[derive(Clone, Copy, Debug)]
enum Due {
    Deadline(usize),
    Timer(Place),
}

fn described(message: &Message) -> String {
    let headers = message.headers();
    let first = match message {
        Message::Request(request) => format!("{} {}", request.method(), request.uri_text()),
        Message::Response(response) => format!("{} to {}", response.status().code(), headers.cseq().method),
    };
    let short = |tag: Option<&str>| tag.unwrap_or("-").chars().take(8).collect::<String>();
    let routes: Vec<String> = headers
        .values(Name::Route)
        .map(|route| {
            route.chars().take(14).collect::<String>() + ".." + route.rsplit('@').next().unwrap_or("")
        })
        .collect();
    format!(
        "{first} [{} {} {}>{}] {}",
        headers.call_id(),
        headers.cseq_number(),
        short(headers.from_tag()),
        short(headers.to_tag()),
        routes.join(" ")
    )
}

impl World {
    /// Does what the scenario says.
    fn act(&mut self, act: Act) {
        crate::acts::act(self, act);
    }

    fn noticed(&mut self, phone: usize, notice: crate::ue::Notice) {
        crate::acts::noticed(self, phone, &notice);
    }

    fn look(&mut self) {
        crate::assertions::look(self);
    }
}
