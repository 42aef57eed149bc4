//! What must hold: of every step, of every effect, between the two ends of every call, and when all is quiet.

use crate::call::Leg;
use crate::model::World;
use crate::scenario::{Act, Plan, Reaction, Scenario};
use crate::server::Trade;
use crate::talk::{Phase, Talk};
use crate::ue::{Notice, Phone, Rudeness};
use scscf::cx::DeregistrationReason;
use scscf::user::Session;
use scscf::view::View;
use scscf::{Effect, Event, Moment, Outcome, Policy, RelayId, Save, ServerTx, Timestamp, User};
use sip::proxy::BranchId;
use sip::{Method, Request, Response};
use std::collections::{BTreeMap, BTreeSet};

/// Whoever lost its contact is out of its calls by then, where the network is quick and loses nothing.
const SOON: u64 = 1_000;

#[derive(Default)]
struct Branch {
    invite: bool,
    cancelled: bool,
    over: bool,
}

#[derive(Default)]
struct Answers {
    finals: Vec<(u16, String)>,
    cancelled: bool,
}

/// What is remembered of a run.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) plans: BTreeMap<u32, Plan>,
    pub(crate) answered: usize,
    pub(crate) registered: usize,
    pub(crate) released: usize,
    /// When the network ended all registrations of a user.
    pub(crate) ended: Vec<(usize, Timestamp)>,
    fair: bool,
    taken_over: bool,
    gentle: bool,
    rung: BTreeMap<u32, usize>,
    branches: BTreeMap<(usize, RelayId, BranchId), Branch>,
    answers: BTreeMap<(usize, ServerTx), Answers>,
    bound: BTreeMap<(usize, String), Timestamp>,
    /// When contacts were unbound.
    removed: BTreeMap<String, Vec<u64>>,
    looked_at: u64,
}

impl Ledger {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self { fair: scenario.is_fair(), gentle: scenario.is_gentle(), ..Self::default() }
    }

    /// Nothing is lost or late, and nobody dies.
    pub(crate) fn is_fair(&self) -> bool {
        self.fair
    }

    pub(crate) fn reaction(&mut self, call: u32) -> Option<Reaction> {
        let rung = self.rung.entry(call).or_default();
        *rung += 1;
        let reactions = &self.plans.get(&call)?.reactions;
        Some(reactions[(*rung - 1) % reactions.len()])
    }

    /// An effect forwards a request.
    pub(crate) fn relayed(
        &mut self,
        user: usize,
        relay: RelayId,
        branch: BranchId,
        tx: ServerTx,
        request: &Request,
        awaited: bool,
    ) {
        assert!(awaited, "{request:?} is forwarded for somebody who has an answer");
        let cancelled = self.answers.get(&(user, tx)).is_some_and(|answers| answers.cancelled);
        assert!(!cancelled, "{request:?} is forwarded for somebody who cancelled it");
        let invite = *request.method() == Method::Invite;
        let known = self.branches.insert((user, relay, branch), Branch { invite, ..Branch::default() });
        assert!(known.is_none(), "a branch is opened twice");
    }

    /// The user has taken the final response of a branch.
    pub(crate) fn heard(&mut self, user: usize, relay: RelayId, branch: BranchId) {
        if let Some(known) = self.branches.get_mut(&(user, relay, branch)) {
            known.over = true;
        }
    }

    pub(crate) fn cancels(&mut self, user: usize, relay: RelayId, branch: BranchId) {
        let Some(known) = self.branches.get_mut(&(user, relay, branch)) else { return };
        assert!(known.invite, "only an INVITE is cancelled");
        assert!(!known.cancelled, "cancelled twice");
        assert!(!known.over, "cancelled after its final response");
        known.cancelled = true;
    }

    pub(crate) fn cancelled(&mut self, user: usize, tx: ServerTx) {
        self.answers.entry((user, tx)).or_default().cancelled = true;
    }

    /// Exactly one final response; further ones are 2xx of other far ends.
    pub(crate) fn responded(
        &mut self,
        user: usize,
        tx: ServerTx,
        response: &Response,
        owed: Option<&Request>,
    ) {
        let answers = self.answers.entry((user, tx)).or_default();
        let tag = response.to_tag().unwrap_or("").to_owned();
        let status = response.status();
        match owed {
            Some(request) => {
                assert_eq!(response.cseq(), request.cseq(), "{response:?} answers another request");
                assert_eq!(response.call_id(), request.call_id(), "{response:?} answers another request");
                let vias = |headers: &sip::Headers| {
                    headers.values(sip::Name::Via).map(String::from).collect::<Vec<_>>()
                };
                assert_eq!(vias(response), vias(request), "{response:?} goes another way back");
            }
            None => {
                let forked = response.cseq().method == Method::Invite
                    && status.is_success()
                    && answers
                        .finals
                        .iter()
                        .all(|(before, other)| (200..300).contains(before) && *other != tag);
                assert!(forked && !answers.finals.is_empty(), "{response:?} is owed to nobody");
            }
        }
        if status.is_final() {
            answers.finals.push((status.code(), tag));
        }
    }

    pub(crate) fn bounded(&self, user: &User, policy: &Policy) {
        let summary = user.summary();
        assert!(summary.bindings <= policy.registration.max_contacts);
        assert!(summary.sessions <= policy.session.max_sessions.max(8) * 2, "{} sessions", summary.sessions);
    }

    pub(crate) fn take_over(&mut self) {
        self.fair = false;
        self.taken_over = true;
    }

    pub(crate) fn forget(&mut self, user: usize) {
        self.branches.retain(|(of, _, _), _| *of != user);
        self.answers.retain(|(of, _), _| *of != user);
    }

    /// The contacts bound now; notes those that came or went.
    pub(crate) fn bindings(&mut self, user: usize, bound: BTreeMap<String, Timestamp>, now: u64) {
        let before: Vec<_> = self
            .bound
            .iter()
            .filter(|((of, _), _)| *of == user)
            .map(|(key, at)| (key.1.clone(), *at))
            .collect();
        for (contact, at) in before {
            if bound.get(&contact) != Some(&at) {
                self.removed.entry(contact).or_default().push(now);
            }
        }
        self.bound.retain(|(of, _), _| *of != user);
        self.bound.extend(bound.into_iter().map(|(contact, at)| ((user, contact), at)));
    }

    /// Since when a contact has not been bound; `None`: it is.
    fn unbound_since(&self, contact: &str) -> Option<u64> {
        if self.bound.keys().any(|(_, known)| known == contact) {
            return None;
        }
        Some(self.removed.get(contact).and_then(|times| times.last()).copied().unwrap_or(0))
    }

    fn was_removed_since(&self, contact: &str, since: u64) -> bool {
        self.removed.get(contact).is_some_and(|times| times.iter().any(|at| *at >= since))
    }
}

/// What is true of every step.
pub(crate) fn of_a_step(user: &User, outcome: &Outcome, now: Timestamp, is_deadline: bool) {
    if let Some(deadline) = user.next_deadline().filter(|_| outcome.save != Save::Erase) {
        assert!(deadline >= now, "a deadline in the past: {}", outcome.summary);
        assert!(deadline > now || !is_deadline, "a deadline that is not met: {}", outcome.summary);
    }
}

fn record(user: &User) -> Vec<u8> {
    rmp_serde::to_vec_named(user).unwrap()
}

/// What is looked at in some steps only, for it takes time.
pub(crate) fn of_an_audit(
    before: User,
    event: Event,
    moment: Moment,
    user: &User,
    outcome: &Outcome,
    policy: &Policy,
) {
    let record = record(user);
    let reloaded: User = rmp_serde::from_slice(&record).unwrap();
    assert_eq!(self::record(&reloaded), record, "what is written reads back");
    match outcome.save {
        Save::Unchanged => {
            // What only limits rates, and what dies with its owner, need not be saved.
            let seen = |user: &User| {
                let mut view = View { next_deadline: None, releases: Vec::new(), ..user.view() };
                view.sessions.retain(|session| session.state != "early");
                view
            };
            assert_eq!(seen(&before), seen(user), "unchanged: {}", outcome.summary);
        }
        Save::Snapshot => {}
        Save::Erase => {
            let view = user.view();
            assert!(view.bindings.is_empty() && view.subscriptions.is_empty() && view.sessions.is_empty());
        }
    }
    let mut twin = before;
    let again = twin.step(event, moment, policy);
    assert_eq!(self::record(&twin), record, "the same moment, the same user");
    assert_eq!(octets(&again), octets(outcome), "the same moment, the same bytes");
}

fn octets(outcome: &Outcome) -> Vec<String> {
    let bytes = |effect: &Effect| match effect {
        Effect::Respond { tx, response } => format!("{tx:?} {:?}", response.as_bytes()),
        Effect::Send { purpose, request } => format!("{purpose:?} {:?}", request.as_bytes()),
        Effect::Relay { relay, branch, request, mark, .. } => {
            format!("{relay:?} {branch:?} {mark} {:?}", request.as_bytes())
        }
        Effect::Pass { request } => format!("{:?}", request.as_bytes()),
        Effect::CxRequest { .. }
        | Effect::CxAnswer { .. }
        | Effect::Tell { .. }
        | Effect::TellSiblings { .. }
        | Effect::Cancel { .. } => format!("{effect:?}"),
    };
    outcome.effects.iter().map(bytes).collect()
}

/// One end of a dialog.
struct End<'a> {
    phone: &'a Phone,
    leg: &'a Leg,
    talk: &'a Talk,
}

fn ends(world: &World) -> impl Iterator<Item = End<'_>> {
    world.phones.iter().flat_map(|phone| {
        phone.legs.iter().flat_map(move |leg| leg.talks.iter().map(move |talk| End { phone, leg, talk }))
    })
}

/// How many users the S-CSCF serves in a call, as caller or callee: for each it ends the call.
fn roles(world: &World, call: u32) -> u32 {
    let mut roles = BTreeSet::new();
    for phone in &world.phones {
        let legs = phone.legs.iter().filter(|leg| leg.call == call);
        roles.extend(phone.line.iter().flat_map(|line| legs.clone().map(|leg| (&line.impi, leg.caller))));
    }
    u32::try_from(roles.len().max(1)).unwrap()
}

/// When the first telephone took part in a call.
fn began(world: &World, call: u32) -> u64 {
    let legs = world.phones.iter().flat_map(|phone| &phone.legs).filter(|leg| leg.call == call);
    legs.map(|leg| leg.began).min().unwrap_or(0)
}

/// Whether a contact was unbound during a call, or has expired, which its own user may have slept through so far.
fn was_lost(world: &World, contact: &str, call: u32) -> bool {
    let views = world.users.iter().flat_map(|user| user.user.view().bindings);
    let mut expired = views.filter(|binding| binding.expires_at <= world.time());
    world.ledger.was_removed_since(contact, began(world, call))
        || expired.any(|binding| binding.contact == contact)
}

/// The S-CSCF sent BYE to this end: one of the two lost its contact, or the caller never had this answer.
pub(crate) fn judge(world: &mut World, phone: usize, notice: &Notice) {
    let Notice::Ended { leg, talk } = notice else { return };
    let ended = &world.phones[phone].legs[*leg];
    let held = &ended.talks[*talk];
    if !held.byed_by_us || held.bye_sent {
        return;
    }
    let call = ended.call;
    let name = held.name.clone();
    world.ledger.released += 1;
    let lost = ends(world).any(|end| {
        let concerned = end.leg.call == call && (end.talk.name == name || end.leg.caller);
        let contact = end.leg.contact.as_str();
        concerned && end.phone.line.is_some() && was_lost(world, contact, call)
    });
    let heard = |end: &End<'_>| end.leg.caller && end.leg.call == call && end.talk.name == name;
    let too_late = !ends(world).any(|end| heard(&end) && end.talk.was_confirmed)
        || world.phones.iter().flat_map(|phone| &phone.legs).any(|leg| leg.call == call && leg.unwanted);
    let served = world
        .phones
        .iter()
        .any(|phone| phone.serves && phone.legs.iter().any(|leg| leg.call == call && leg.peer.is_none()));
    let of_a_ue =
        ends(world).any(|end| end.leg.call == call && end.talk.name == name && end.phone.line.is_some());
    // Nobody's contact carries it: it ends with the registration of whoever it is served for.
    let diverted = world.scenario.trades.contains(&Trade::Divert);
    let by_user = served || !of_a_ue || diverted;
    assert!(
        lost || too_late || by_user || !world.ledger.fair,
        "{}: the S-CSCF ended call {call}, and nobody lost a contact",
        world.phones[phone].name
    );
}

/// The S-CSCF ended a call that was being set up: somebody lost a contact.
pub(crate) fn judge_early(world: &World, phone: usize, notice: &Notice) {
    let (Notice::Failed { leg, .. } | Notice::Cancelled { leg }) = notice else { return };
    let ended = &world.phones[phone].legs[*leg];
    if !ended.released || !world.ledger.fair {
        return;
    }
    let legs = || {
        world
            .phones
            .iter()
            .filter(|phone| phone.line.is_some())
            .flat_map(|phone| &phone.legs)
            .filter(|leg| leg.call == ended.call)
    };
    let lost = legs().any(|leg| was_lost(world, leg.contact.as_str(), leg.call));
    // It never came as far as a UE.
    let unseen = !legs().any(|leg| !leg.caller) && !world.ledger.removed.is_empty();
    let served =
        world.phones.iter().any(|phone| phone.serves && phone.legs.iter().any(|leg| leg.call == ended.call));
    assert!(
        lost || unseen || served,
        "{}: the S-CSCF ended call {} early, and nobody lost a contact",
        world.phones[phone].name,
        ended.call
    );
}

/// What must hold at any time.
pub(crate) fn look(world: &mut World) {
    let now = world.network.now;
    let most = u32::from(world.policy.session.release_attempts);
    if !world.ledger.taken_over {
        for end in ends(world) {
            let (byes, roles) = (end.talk.our_byes, roles(world, end.leg.call));
            assert!(byes <= most * roles, "{}: {byes} BYEs", end.phone.name);
        }
    }
    if now < world.ledger.looked_at + 100 {
        return;
    }
    world.ledger.looked_at = now;
    if world.ledger.gentle {
        answered_by_nobody(world);
    }
    if !world.ledger.fair {
        return;
    }
    for phone in world.phones.iter().filter(|phone| phone.line.is_some()) {
        for leg in &phone.legs {
            let standing = leg.talks.iter().any(|talk| talk.phase == Phase::Confirmed);
            if (!leg.pending || leg.unwanted) && !standing {
                continue;
            }
            let since = world.ledger.unbound_since(leg.contact.as_str());
            let late = since.is_some_and(|since| now > since.max(leg.began) + SOON);
            assert!(
                !late,
                "{} is in call {} although its contact is gone since {since:?}",
                phone.name, leg.call
            );
        }
    }
    pairs(world, SOON);
    ended(world);
}

/// A user whose registrations the network ended is in no session that it was in then.
fn ended(world: &mut World) {
    let now = world.time();
    let soon = scscf::Span::from_millis(SOON);
    let due: Vec<_> = world.ledger.ended.iter().filter(|(_, at)| now > *at + soon).copied().collect();
    world.ledger.ended.retain(|(_, at)| now <= *at + soon);
    for (user, at) in due.into_iter().filter(|_| !world.scenario.is_shared()) {
        for session in sessions(&world.users[user].user) {
            assert!(session.since >= at, "a session outlives the registration: {session:?}");
        }
    }
}

/// Nobody is in a call for long whose caller has been told that it failed.
fn answered_by_nobody(world: &World) {
    let now = world.network.now;
    for end in ends(world).filter(|end| !end.leg.caller && end.talk.phase == Phase::Confirmed) {
        let legs = || {
            world
                .phones
                .iter()
                .flat_map(|phone| &phone.legs)
                .filter(|leg| leg.call == end.leg.call && leg.caller)
        };
        let heard =
            legs().any(|leg| leg.talks.iter().any(|talk| talk.name == end.talk.name && talk.was_confirmed));
        let told = legs().filter_map(|leg| leg.over_at).max();
        let late =
            told.is_some_and(|at| now > at.max(end.talk.since) + SOON) && legs().all(|leg| !leg.pending);
        assert!(heard || !late, "{} is in call {}, and nobody listens", end.phone.name, end.leg.call);
    }
}

/// Calls of telephones and B2BUAs that died, of which nobody can tell the others, and of those who refuse a BYE or let the
/// session lapse.
fn broken(world: &World) -> BTreeSet<u32> {
    let is_broken = |phone: &&Phone| {
        phone.has_died || matches!(phone.rudeness, Rudeness::RefusesBye | Rudeness::NeverRefreshes)
    };
    world.phones.iter().filter(is_broken).flat_map(|phone| &phone.legs).map(|leg| leg.call).collect()
}

/// When one end of a call has hung up, the other end has too.
fn pairs(world: &World, within: u64) {
    let now = world.network.now;
    let mut over: BTreeMap<(u32, &str), u64> = BTreeMap::new();
    let broken = broken(world);
    for end in ends(world).filter(|end| end.talk.was_confirmed && !broken.contains(&end.leg.call)) {
        if let Some(at) = end.talk.over_at {
            let first = over.entry((end.leg.call, &end.talk.name)).or_insert(at);
            *first = at.min(*first);
        }
    }
    for end in ends(world).filter(|end| end.talk.phase == Phase::Confirmed && !broken.contains(&end.leg.call))
    {
        if let Some(&at) = over.get(&(end.leg.call, end.talk.name.as_str())) {
            assert!(
                now <= at + within,
                "{} is still in call {}, which the other end left at {at}",
                end.phone.name,
                end.leg.call
            );
        }
    }
}

fn sessions(user: &User) -> Vec<Session> {
    let value = serde_json::to_value(user).unwrap();
    value["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|session| serde_json::from_value(session.clone()).unwrap())
        .collect()
}

/// All transactions are over, and nobody has done anything for long.
pub(crate) fn settled(world: &World) {
    for user in &world.users {
        assert!(user.open.is_empty(), "{} never got an answer", user.open.values().next().unwrap().method());
    }
    for phone in world.phones.iter().filter(|phone| !phone.has_died) {
        for leg in &phone.legs {
            assert!(!leg.pending, "{} still waits in call {}", phone.name, leg.call);
        }
    }
    pairs(world, 0);
    beliefs(world);
    if world.ledger.fair {
        let heard = |end: &End<'_>| {
            ends(world).any(|other| {
                other.leg.caller
                    && other.leg.call == end.leg.call
                    && other.talk.name == end.talk.name
                    && other.talk.was_confirmed
            })
        };
        for end in ends(world).filter(|end| !end.leg.caller && end.talk.was_confirmed) {
            // A BYE may overtake the ACK of the caller, which then has nowhere to go.
            let brief = end.talk.over_at.is_some_and(|at| at < end.talk.since + SOON);
            assert!(
                end.talk.acknowledged || (brief && (heard(&end) || !world.scenario.trades.is_empty())),
                "{} never got the ACK of call {}",
                end.phone.name,
                end.leg.call
            );
        }
    }
    if !world.ledger.taken_over {
        for release in world.users.iter().flat_map(|user| user.user.view().releases) {
            let open = release
                .told
                .iter()
                .find(|told| matches!(told.what, "BYE" | "CANCEL") && told.status.is_none());
            assert!(open.is_none(), "nobody knows what became of {open:?}");
        }
    }
    let standing: BTreeSet<_> = ends(world)
        .filter(|end| end.talk.phase == Phase::Confirmed || !end.phone.alive)
        .map(|end| {
            ids(end.talk.dialog.call_id.as_ref(), end.talk.dialog.local_tag(), end.talk.dialog.remote_tag())
        })
        .collect();
    let mut kept = BTreeSet::new();
    for user in &world.users {
        for session in sessions(&user.user) {
            let (caller, callee) = (session.caller.address.tag(), session.callee.address.tag());
            let ids = ids(&session.call_id, caller.unwrap_or(""), callee.unwrap_or(""));
            assert!(session.timer.is_none_or(|(_, ends)| ends > world.time()), "it lapsed: {session:?}");
            assert!(session.release.is_none(), "a release that never ends: {session:?}");
            assert!(standing.contains(&ids), "a session that nobody is in: {session:?}");
            kept.insert(ids);
        }
    }
    for end in ends(world).filter(|end| end.talk.phase == Phase::Confirmed && end.phone.line.is_some()) {
        let dialog = &end.talk.dialog;
        let ids = ids(&dialog.call_id, dialog.local_tag(), dialog.remote_tag());
        let refused = broken(world).contains(&end.leg.call);
        assert!(
            kept.contains(&ids) || refused,
            "{} is in call {}, of which nothing is known",
            end.phone.name,
            end.leg.call
        );
    }
}

/// Application servers take those for registered who are.
fn beliefs(world: &World) {
    let told = |act: &Act| match act {
        Act::Push { .. } | Act::KillServer { .. } => false,
        Act::Terminate { reason, .. } => *reason != DeregistrationReason::NewServerAssigned,
        _ => true,
    };
    if !world.scenario.acts.iter().all(|(_, act)| told(act)) {
        return;
    }
    for (number, setup) in world.scenario.users.iter().enumerate() {
        let bound = world.users[number].user.is_registered();
        if setup.second_set || world.scenario.is_shared() {
            continue;
        }
        let user = setup.identity(false);
        for criterion in &setup.criteria {
            let place = crate::network::server(criterion.server);
            let proxies =
                world.proxies.iter().filter(|proxy| proxy.stack.address == place).map(|proxy| &proxy.beliefs);
            let phones =
                world.phones.iter().filter(|phone| phone.stack.address == place).map(|phone| &phone.beliefs);
            for beliefs in proxies.chain(phones) {
                let believes = beliefs.until.get(&user).is_some_and(|until| *until > world.network.now);
                let asked = criterion.case.is_none();
                assert!(!believes || bound, "as{} takes {user} for registered", criterion.server);
                assert!(believes || !bound || !asked, "as{} never heard of {user}", criterion.server);
            }
        }
    }
}

fn ids(call_id: &str, one: &str, other: &str) -> (String, String, String) {
    let (one, other) = if one < other { (one, other) } else { (other, one) };
    (call_id.to_owned(), one.to_owned(), other.to_owned())
}

/// Everybody has hung up, and all registrations are over.
pub(crate) fn empty(world: &World) {
    for user in &world.users {
        let view = user.user.view();
        assert!(
            view.sessions.is_empty(),
            "{}: a session outlives everything: {:?}",
            user.impi,
            view.sessions
        );
        assert!(view.bindings.is_empty() && view.subscriptions.is_empty(), "{view:?}");
        assert_eq!(view.next_deadline, None, "nothing to wait for: {view:?}");
        assert!(user.user == User::new(user.impi.clone()), "{}: something is left: {:?}", user.impi, view);
        assert!(user.stack.table.is_empty());
    }
}
