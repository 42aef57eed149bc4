//! What is done in a run, act by act, and how people react to what their telephones say.

use crate::model::{World, profile};
use crate::network::{Network, server};
use crate::scenario::{Act, Plan, Reaction};
use crate::ue::{Alarm, Deed, Manner, Notice, Phone};
use scscf::cx::{Demand, PushProfile, ReAuth, RegistrationTermination};
use scscf::{CxTx, Event, Span, Trigger};
use sip::{Name, Uri};

/// Nobody lets it ring longer: milliseconds.
const PATIENCE: u64 = 230_000;

pub(crate) fn act(world: &mut World, act: Act) {
    match act {
        Act::Attach { phone, expires } => register(world, phone, expires, false),
        Act::Refresh { phone, expires } => register(world, phone, expires, true),
        Act::Deregister { phone } => register(world, phone, 0, true),
        Act::Move { phone } => {
            let moved = &mut world.phones[phone];
            if moved.line.as_ref().is_none_or(|line| line.params.contains("reg-id")) {
                // A flow stays the same whatever address it is for.
                return;
            }
            let n = moved.fresh();
            moved.moved = true;
            moved.contact = Uri::parse(&format!("sip:{}.{n}@{}", moved.name, moved.stack.address)).unwrap();
            register(world, phone, 3600, false);
        }
        Act::Manner { phone, manner } => {
            if let Some(line) = &mut world.phones[phone].line {
                line.manner = manner;
            }
        }
        Act::Call { call, from, to, plan } => {
            let phone = &mut world.phones[from];
            let routes = phone.preloaded();
            if !phone.alive || (phone.line.is_some() && routes.len() < 2) {
                return;
            }
            let cancels = plan.cancels;
            world.ledger.plans.insert(call, plan);
            let leg = phone.call(call, &to, &routes, &[], &mut world.network);
            give_up_later(world, from, leg, cancels);
        }
        Act::CallFor { call, from, user, to, plan } => {
            let served = world.scenario.users[user].identity(false);
            let served = format!("<{served}>;sescase=orig;regstate=reg");
            let routes = ["<sip:scscf.home1.net;lr;orig>".to_owned()];
            let cancels = plan.cancels;
            world.ledger.plans.insert(call, plan);
            let phone = &mut world.phones[from];
            if !phone.alive {
                return;
            }
            let leg = phone.call(call, &to, &routes, &[(Name::PServedUser, served)], &mut world.network);
            give_up_later(world, from, leg, cancels);
        }
        Act::Message { from, to, method } => {
            let phone = &mut world.phones[from];
            if phone.alive && (phone.line.is_none() || phone.preloaded().len() == 2) {
                phone.ask_outside(method, &to, &mut world.network);
            }
        }
        Act::Reauthenticate { user, by_hss, period } => {
            let impi = world.users[user].impi.clone();
            let event = match by_hss {
                true => Event::CxDemand { tx: CxTx(1), demand: Demand::ReAuth(ReAuth { impi }) },
                false => Event::Reauthenticate {
                    by: Trigger::Operator,
                    period: Some(Span::seconds(period)),
                    reason: None,
                    ask: None,
                },
            };
            world.step(user, event);
        }
        Act::OperatorDeregisters { user } => {
            world.step(user, Event::Deregister { reason: "enough".into(), ask: None });
        }
        Act::Terminate { user, reason, impus } => {
            let impi = world.users[user].impi.clone();
            let demand = Demand::RegistrationTermination(RegistrationTermination {
                impi,
                associated_identities: Vec::new(),
                impus: impus.iter().map(|impu| impu.as_str().into()).collect(),
                reason,
                reason_info: None,
            });
            world.step(user, Event::CxDemand { tx: CxTx(1), demand });
        }
        Act::Push { user } => {
            // What the HSS holds now: the other user's criteria.
            let other = (user + 1) % world.scenario.users.len();
            world.scenario.users[user].criteria = world.scenario.users[other].criteria.clone();
            let pushed = profile(&world.scenario.users[user]);
            if world.users[user].profile.is_some() {
                world.users[user].profile = Some(pushed.clone());
            }
            let impi = world.users[user].impi.clone();
            let demand = Demand::PushProfile(PushProfile {
                impi,
                user_data: Some(Ok(pushed)),
                charging: None,
                auth_data: None,
            });
            world.step(user, Event::CxDemand { tx: CxTx(1), demand });
        }
        Act::TakeOver { user, in_order } => world.take_over(user, in_order),
        Act::KillServer { server } => set_server(world, server, false),
        Act::ReviveServer { server } => set_server(world, server, true),
        Act::KillPhone { phone } => {
            world.phones[phone].alive = false;
            world.phones[phone].has_died = true;
        }
        Act::RevivePhone { phone } => world.phones[phone].alive = true,
        Act::Attack { user, answer, near, expires } => attack(world, user, answer, near, expires),
    }
}

fn give_up_later(world: &mut World, phone: usize, leg: usize, after: Option<u64>) {
    if let Some(after) = after {
        let alarm = Alarm::Deed { leg, deed: Deed::Cancel };
        world.phones[phone].set(after, alarm, &mut world.network);
    }
    world.phone_did(phone);
}

fn register(world: &mut World, phone: usize, expires: u32, protected: bool) {
    let ue = &mut world.phones[phone];
    let Some(line) = &mut ue.line else { return };
    line.expires = expires;
    line.protected = protected;
    if ue.alive {
        ue.register(None, &mut world.network);
        world.phone_did(phone);
    }
}

fn set_server(world: &mut World, number: usize, alive: bool) {
    let place = server(number);
    for proxy in world.proxies.iter_mut().filter(|proxy| proxy.stack.address == place) {
        proxy.alive = alive;
    }
    for phone in world.phones.iter_mut().filter(|phone| phone.stack.address == place) {
        phone.alive = alive;
        phone.has_died |= !alive;
    }
}

/// Somebody without security association, as close to the victim as an outsider can get.
fn attack(world: &mut World, user: usize, answer: Option<Manner>, near: bool, expires: u32) {
    let victim = world.scenario.first_ue(user);
    let attacker = world.scenario.attacker();
    let name = world.scenario.users[user].name;
    let known = world.phones[victim].line.as_ref().unwrap();
    let (call_id, cseq, nonce) = (known.call_id.clone(), known.cseq, known.nonce.clone());
    let line = world.phones[attacker].line.as_mut().unwrap();
    line.impi = format!("{name}@home1.net");
    line.impu = format!("sip:{name}@home1.net");
    line.expires = expires;
    line.nonce = nonce;
    if near {
        line.call_id = call_id;
        line.cseq = cseq + 1;
    }
    world.phones[attacker].register(answer, &mut world.network);
    world.phone_did(attacker);
}

/// What a person does when the telephone says something.
pub(crate) fn noticed(world: &mut World, phone: usize, notice: &Notice) {
    let held = &mut world.phones[phone];
    match notice {
        Notice::Incoming { leg } if held.answers => {
            return held.set(50, Alarm::Deed { leg: *leg, deed: Deed::Answer }, &mut world.network);
        }
        Notice::Incoming { .. } if held.serves => return held.mirror(notice, &mut world.network),
        Notice::Progress { leg, .. }
        | Notice::Answered { leg, .. }
        | Notice::Failed { leg, .. }
        | Notice::Cancelled { leg }
        | Notice::Ended { leg, .. }
            if held.legs[*leg].peer.is_some() =>
        {
            return held.mirror(notice, &mut world.network);
        }
        _ => {}
    }
    match *notice {
        Notice::Incoming { leg } => {
            let call = held.legs[leg].call;
            let Some(reaction) = world.ledger.reaction(call) else { return };
            held.set(PATIENCE, Alarm::Patience { leg }, &mut world.network);
            react(held, leg, reaction, &world.ledger.plans[&call], &mut world.network);
        }
        Notice::Answered { leg, .. } => {
            let call = held.legs[leg].call;
            let Some(plan) = world.ledger.plans.get(&call) else { return };
            for (after, by_caller, deed) in &plan.deeds {
                if *by_caller {
                    held.set(*after, Alarm::Deed { leg, deed: *deed }, &mut world.network);
                }
            }
            if let Some(after) = plan.hangs_up {
                held.set(after, Alarm::Deed { leg, deed: Deed::HangUp }, &mut world.network);
            }
            world.ledger.answered += 1;
        }
        Notice::AskedToRegister => {
            if let Some(line) = &mut held.line
                && line.manner != Manner::Silent
            {
                line.protected = true;
                held.register(None, &mut world.network);
            }
        }
        Notice::Registered => world.ledger.registered += 1,
        Notice::Progress { .. }
        | Notice::Failed { .. }
        | Notice::Cancelled { .. }
        | Notice::Ended { .. }
        | Notice::Refused => {}
    }
}

fn react(phone: &Phone, leg: usize, reaction: Reaction, plan: &Plan, network: &mut Network) {
    let ring = if reaction.reliably { Deed::Progress } else { Deed::Ring };
    if let Some(after) = reaction.rings {
        phone.set(after, Alarm::Deed { leg, deed: ring }, network);
    }
    let Some((after, deed)) = reaction.ends else { return };
    phone.set(after, Alarm::Deed { leg, deed }, network);
    if deed != Deed::Answer {
        return;
    }
    if let Some(more) = reaction.hangs_up {
        phone.set(after + more, Alarm::Deed { leg, deed: Deed::HangUp }, network);
    }
    for (more, by_caller, deed) in &plan.deeds {
        if !by_caller {
            phone.set(after + more, Alarm::Deed { leg, deed: *deed }, network);
        }
    }
}
