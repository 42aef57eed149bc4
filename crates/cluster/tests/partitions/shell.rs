//! What a process does around its machine: it obeys it, routes requests, and runs users.

use crate::process::{Actor, Call, Entered, Hold, Job, Kind, Process, Request};
use crate::scenario::Mutation;
use crate::store::{Answer, Op, Record, Ticket};
use crate::world::{Event, Frame, World};
use cluster::{Fence, Input, Output, ShardId, Whose};
use std::collections::VecDeque;
use std::rc::Rc;

/// A request waits so long at the node where it entered for an owner, and for its answer.
const HELD: u64 = 1_500;
const PATIENCE: u64 = 6_000;
/// What was written is remembered so long.
const RING: u64 = 10_000;

pub(crate) fn tell(world: &mut World, number: usize, input: Input) {
    let out = world.processes[number].step(input, world.now);
    for output in out {
        if !matches!(output, Output::Beat { .. }) {
            world.note(|| format!("process {number}: {output:?}"));
        }
        perform(world, number, output);
    }
    let process = &mut world.processes[number];
    let next = process.next_deadline();
    if next < process.armed {
        process.armed = next;
        world.at(next, Event::Wake(number));
    }
}

fn perform(world: &mut World, number: usize, output: Output) {
    let process = &mut world.processes[number];
    let member = process.machine.me().clone();
    match output {
        Output::Beat { group, member, known } => {
            let call = Call::Beat { group, sent: process.clock(world.now) };
            world.call(number, group.into(), Op::Beat { member, known }, call, 400);
        }
        Output::Take { group, claims } => {
            let call = Call::Take { group, shards: claims.iter().map(|claim| claim.shard).collect() };
            world.call(number, group.into(), Op::Take { member, claims }, call, 600);
        }
        Output::Release { group, shards } => {
            world.call(number, group.into(), Op::Release { shards }, Call::Release { group }, 600);
        }
        Output::Begin { shard, fence } => {
            let hold = Hold { fence, is_leaving: false, actors: Default::default(), due: Default::default() };
            let before = process.holds.insert(shard, hold);
            assert!(before.is_none(), "{shard} began twice");
            read_deadlines(world, number, shard);
        }
        Output::HandOver { shard, .. } => {
            let Some(hold) = process.holds.get_mut(&shard) else { panic!("{shard} is not here") };
            hold.is_leaving = true;
            let jobs: Vec<Job> = hold.actors.values_mut().flat_map(|actor| actor.queue.drain(..)).collect();
            send_back(world, number, shard, jobs);
            leave_if_quiet(world, number, shard);
        }
        Output::End { shard, .. } => end(world, number, shard),
        Output::Restored { shards, .. } => {
            for (shard, fence) in shards {
                restore(world, number, shard, fence);
            }
        }
        Output::Members(_) => {}
        Output::Drained => {
            world.processes[number].is_drained = true;
            let latest = world.now + 3_000;
            world.after(20, Event::Exit { process: number, latest });
        }
        Output::Replaced => panic!("no two runs of a node are alive at once"),
    }
}

fn group_of(world: &World, shard: ShardId) -> usize {
    world.number_of_group(shard)
}

fn read_deadlines(world: &mut World, number: usize, shard: ShardId) {
    let group = group_of(world, shard);
    world.call(number, group, Op::Deadlines { shard }, Call::Deadlines { shard }, 500);
}

fn end(world: &mut World, number: usize, shard: ShardId) {
    let Some(hold) = world.processes[number].holds.remove(&shard) else { return };
    let jobs = hold.actors.into_values().flat_map(jobs_of).collect();
    forget_recent(world, number, shard);
    send_back(world, number, shard, jobs);
}

fn jobs_of(actor: Actor) -> VecDeque<Job> {
    let mut jobs = actor.queue;
    jobs.extend(actor.saving.map(|(_, job)| job));
    jobs
}

fn forget_recent(world: &mut World, number: usize, shard: ShardId) {
    let rules = world.rules;
    world.processes[number].recent.retain(|user, _| rules.shard_of(*user) != shard);
}

fn restore(world: &mut World, number: usize, shard: ShardId, fence: Fence) {
    let rules = world.rules;
    let process = &mut world.processes[number];
    let Some(hold) = process.holds.get_mut(&shard) else { panic!("{shard} is not here") };
    hold.fence = fence.clone();
    // What the store has fallen back to may have deadlines that were acted on by others.
    read_deadlines(world, number, shard);
    let process = &mut world.processes[number];
    if rules.mutation == Some(Mutation::RestoresNothing) {
        return;
    }
    let now = world.now;
    process.recent.retain(|_, (at, _)| *at + RING > now);
    let again: Vec<(usize, Record)> = process
        .recent
        .iter()
        .filter(|(user, _)| rules.shard_of(**user) == shard)
        .map(|(user, (_, record))| (*user, record.clone()))
        .collect();
    for (user, record) in again {
        send_again(world, number, Op::Save { user, shard, fence: fence.clone(), record });
    }
}

fn send_again(world: &mut World, number: usize, op: Op) {
    let Op::Save { shard, .. } = &op else { return };
    world.ledger.restored += 1;
    let group = group_of(world, *shard);
    world.call(number, group, op.clone(), Call::Restore { op, tries: 0 }, 500);
}

pub(crate) fn quiet(world: &mut World, number: usize, shard: ShardId, fence: Fence) {
    let held = world.processes[number].holds.get(&shard);
    if held.is_some_and(|hold| hold.fence == fence && hold.is_leaving) {
        end(world, number, shard);
        tell(world, number, Input::Quiet { shard, fence });
    }
}

fn leave_if_quiet(world: &mut World, number: usize, shard: ShardId) {
    if let Some(hold) = world.processes[number].holds.get(&shard)
        && hold.is_leaving
        && hold.actors.values().all(|actor| actor.saving.is_none())
    {
        let fence = hold.fence.clone();
        world.after(1, Event::Quiet { process: number, shard, fence });
    }
}

/// The store answered a call, or did not.
pub(crate) fn answered(world: &mut World, ticket: Ticket, answer: Option<Answer>) {
    let number = ticket.process;
    let Some(call) = world.processes[number].calls.remove(&ticket.call) else { return };
    if !matches!((&call, &answer), (Call::Beat { .. }, Some(_))) {
        world.note(|| format!("process {number}: {call:?} is answered {answer:?}"));
    }
    match (call, answer) {
        (Call::Beat { group, sent }, answer) => {
            let beat =
                answer.and_then(|answer| if let Answer::Beat(beat) = answer { Some(beat) } else { None });
            tell(world, number, Input::Beaten { group, sent, beat });
        }
        (Call::Take { group, shards }, Some(Answer::Taken(taken))) => {
            let got = taken.iter().any(Result::is_ok);
            let taken = shards.into_iter().zip(taken).collect();
            tell(world, number, Input::Taken { group, taken });
            if got {
                world.say_changed(number);
            }
        }
        (Call::Take { group, .. }, _) => tell(world, number, Input::NotTaken { group }),
        (Call::Release { group }, answer) => {
            let done = answer.is_some();
            tell(world, number, Input::Released { group, done });
            if done {
                world.say_changed(number);
            }
        }
        (Call::Leave, _) => {}
        (Call::Load { shard, user, .. }, Some(Answer::Loaded(record))) => {
            loaded(world, number, shard, user, ticket.call, record);
        }
        (Call::Load { shard, user, tries }, _) => {
            let actor = actor(&mut world.processes[number], shard, user);
            if actor.is_none_or(|actor| actor.loading != Some(ticket.call)) {
                return;
            }
            if tries < 2 {
                load(world, number, shard, user, tries + 1);
            } else {
                drop_actor(world, number, shard, user, false);
            }
        }
        (Call::Save { shard, user, op, tries }, answer) => {
            saved(world, number, shard, user, op, tries, answer);
        }
        (Call::Restore { op, tries }, None) if tries < 3 => {
            let Op::Save { shard, fence, .. } = &op else { return };
            let held = world.processes[number].holds.get(shard);
            if held.is_some_and(|hold| hold.fence == *fence) {
                let group = group_of(world, *shard);
                world.call(number, group, op.clone(), Call::Restore { op, tries: tries + 1 }, 500);
            }
        }
        (Call::Restore { .. }, _) => {}
        (Call::Deadlines { shard }, Some(Answer::Deadlines(deadlines))) => {
            for (user, due) in deadlines {
                let Some(hold) = world.processes[number].holds.get(&shard) else { return };
                match hold.actors.get(&user).filter(|actor| actor.is_loaded) {
                    None => arm(world, number, shard, user, Some(due), due),
                    Some(Actor { record: Some(record), .. }) if record.deadline != Some(due) => {
                        let (fence, record) = (hold.fence.clone(), record.clone());
                        send_again(world, number, Op::Save { user, shard, fence, record });
                    }
                    Some(_) => {}
                }
            }
        }
        (Call::Deadlines { shard }, _) => {
            if world.processes[number].holds.contains_key(&shard) {
                read_deadlines(world, number, shard);
            }
        }
    }
}

fn actor(process: &mut Process, shard: ShardId, user: usize) -> Option<&mut Actor> {
    process.holds.get_mut(&shard)?.actors.get_mut(&user)
}

fn load(world: &mut World, number: usize, shard: ShardId, user: usize, tries: u8) {
    let group = group_of(world, shard);
    let call = world.call(number, group, Op::Load { user }, Call::Load { shard, user, tries }, 500);
    if let Some(actor) = actor(&mut world.processes[number], shard, user) {
        actor.loading = Some(call);
    }
}

fn loaded(world: &mut World, number: usize, shard: ShardId, user: usize, call: u64, record: Option<Record>) {
    let process = &mut world.processes[number];
    let version = |record: &Option<Record>| record.as_ref().map_or(0, |record| record.version);
    let recent = process.recent.get(&user).map(|(_, record)| record.clone());
    let Some(actor) = actor(process, shard, user).filter(|actor| actor.loading == Some(call)) else { return };
    let forgets = world.rules.mutation == Some(Mutation::RestoresNothing);
    // The store may have lost what was written here lately, and not been told again yet.
    actor.record = if version(&recent) > version(&record) && !forgets { recent } else { record };
    actor.is_loaded = true;
    let due = actor.record.as_ref().and_then(|record| record.deadline);
    if let Some(due) = due {
        arm(world, number, shard, user, Some(due), due);
    }
    pump(world, number, shard, user);
}

fn arm(world: &mut World, number: usize, shard: ShardId, user: usize, due: Option<u64>, at: u64) {
    let Some(hold) = world.processes[number].holds.get_mut(&shard) else { return };
    match due {
        Some(due) => {
            hold.due.insert(user, due);
            world.at(at, Event::Due { process: number, shard, user, due });
        }
        None => {
            hold.due.remove(&user);
        }
    }
}

pub(crate) fn due(world: &mut World, number: usize, shard: ShardId, user: usize, due: u64) {
    if let Some(hold) = world.processes[number].holds.get_mut(&shard)
        && hold.due.get(&user) == Some(&due)
    {
        hold.due.remove(&user);
        give(world, number, shard, user, Job::Deadline { user, due });
    }
}

fn give(world: &mut World, number: usize, shard: ShardId, user: usize, job: Job) {
    let Some(hold) = world.processes[number].holds.get_mut(&shard) else { return };
    hold.actors.entry(user).or_default().queue.push_back(job);
    pump(world, number, shard, user);
}

/// Whether this process may speak for a shard.
fn may_serve(world: &World, number: usize, shard: ShardId) -> bool {
    let process = &world.processes[number];
    match process.machine.whose(shard, process.clock(world.now)) {
        Whose::Mine(_) => true,
        Whose::Suspended(_) => world.rules.mutation == Some(Mutation::ServesAfterLease),
        Whose::Leaving(_) | Whose::Theirs(_) | Whose::Nobody => false,
    }
}

/// A user does what it has to do, one after the other.
fn pump(world: &mut World, number: usize, shard: ShardId, user: usize) {
    loop {
        let serves = may_serve(world, number, shard);
        let Some(hold) = world.processes[number].holds.get_mut(&shard) else { return };
        let Some(actor) = hold.actors.get_mut(&user) else { return };
        if actor.saving.is_some() {
            return;
        }
        if !actor.is_loaded {
            if actor.loading.is_none() {
                load(world, number, shard, user, 0);
            }
            return;
        }
        let Some(job) = actor.queue.pop_front() else { break };
        if !serves {
            send_back(world, number, shard, vec![job]);
            continue;
        }
        let before = actor.record.clone();
        let (id, kind) = match job {
            Job::Request { request, .. } => (request.attempt, request.kind),
            Job::Deadline { due, .. } => {
                if before.as_ref().and_then(|record| record.deadline) != Some(due) {
                    continue;
                }
                world.expiries += 1;
                (u32::MAX - world.expiries, Kind::Write)
            }
        };
        if kind == Kind::Read {
            world.ledger.read(user, before.as_ref(), shard, number);
            answer(world, number, job, true);
            continue;
        }
        let mut past = before.as_ref().map(|record| record.past.to_vec()).unwrap_or_default();
        past.push(id);
        let again = kind == Kind::Write && !matches!(job, Job::Deadline { .. }) && world.dice.chance(50);
        let record = Record {
            version: before.map_or(0, |record| record.version) + 1,
            write_id: world.dice.next(),
            is_erased: kind == Kind::Erase,
            deadline: again.then(|| world.now + world.dice.between(300, 5_000)),
            past: Rc::new(past),
        };
        save(world, number, shard, user, record, job);
    }
    // Some users are put away at once.
    if world.dice.chance(20)
        && let Some(hold) = world.processes[number].holds.get_mut(&shard)
        && hold.actors.get(&user).is_some_and(Actor::is_idle)
    {
        hold.actors.remove(&user);
    }
}

fn save(world: &mut World, number: usize, shard: ShardId, user: usize, record: Record, job: Job) {
    let Some(hold) = world.processes[number].holds.get_mut(&shard) else { return };
    let fence = hold.fence.clone();
    if let Some(actor) = hold.actors.get_mut(&user) {
        actor.saving = Some((record.clone(), job));
    }
    let op = Op::Save { user, shard, fence, record };
    let group = group_of(world, shard);
    world.call(number, group, op.clone(), Call::Save { shard, user, op, tries: 0 }, 500);
}

fn saved(
    world: &mut World,
    number: usize,
    shard: ShardId,
    user: usize,
    op: Op,
    tries: u8,
    answered: Option<Answer>,
) {
    let Op::Save { fence, record, .. } = &op else { return };
    let process = &mut world.processes[number];
    let Some(hold) = process.holds.get_mut(&shard) else { return };
    let holds = hold.fence.clone();
    let Some(actor) = hold.actors.get_mut(&user) else { return };
    let Some((_, job)) = actor.saving.take_if(|(saving, _)| saving.write_id == record.write_id) else {
        return;
    };
    match answered {
        Some(Answer::Done) => {
            actor.record = Some(record.clone());
            process.recent.insert(user, (world.now, record.clone()));
            arm(world, number, shard, user, record.deadline, record.deadline.unwrap_or(0));
            world.ledger.change(user, record, fence);
            if let Job::Deadline { due, .. } = job {
                world.ledger.acted(due, world.now);
            }
            answer(world, number, job, true);
            pump(world, number, shard, user);
        }
        Some(_) => {
            let fence = fence.clone();
            actor.queue.push_front(job);
            drop_actor(world, number, shard, user, true);
            tell(world, number, Input::Fenced { shard, fence });
        }
        None if tries == 0 => {
            actor.saving = Some((record.clone(), job));
            let op = Op::Save { user, shard, fence: holds, record: record.clone() };
            let group = group_of(world, shard);
            world.call(number, group, op.clone(), Call::Save { shard, user, op, tries: 1 }, 500);
        }
        None => {
            actor.queue.push_front(job);
            drop_actor(world, number, shard, user, false);
            // It may have been saved all the same, with another deadline: it is looked at in a moment.
            let look = world.now + 1_000;
            arm(world, number, shard, user, Some(look), look);
        }
    }
    leave_if_quiet(world, number, shard);
}

/// What it knows may not be so: it ends. Its requests are delivered again, or declined.
fn drop_actor(world: &mut World, number: usize, shard: ShardId, user: usize, again: bool) {
    let Some(hold) = world.processes[number].holds.get_mut(&shard) else { return };
    let Some(actor) = hold.actors.remove(&user) else { return };
    let jobs: Vec<Job> = jobs_of(actor).into();
    if again {
        send_back(world, number, shard, jobs);
        return;
    }
    for job in jobs {
        match job {
            Job::Request { .. } => answer(world, number, job, false),
            Job::Deadline { .. } => send_back(world, number, shard, vec![job]),
        }
    }
}

/// To whoever gave them.
fn send_back(world: &mut World, number: usize, shard: ShardId, jobs: Vec<Job>) {
    for job in jobs {
        match job {
            Job::Request { request, entry } if entry == number => again(world, number, request.attempt),
            Job::Request { request, entry } => world.send(number, entry, Frame::Again(request.attempt)),
            Job::Deadline { user, due } => {
                let held = world.processes[number].holds.get(&shard);
                if held.is_some_and(|hold| !hold.due.contains_key(&user)) {
                    let at = world.now + 200;
                    arm(world, number, shard, user, Some(due), at);
                }
            }
        }
    }
}

fn answer(world: &mut World, number: usize, job: Job, done: bool) {
    match job {
        Job::Request { request, entry } if entry == number => conclude(world, number, request.attempt, done),
        Job::Request { request, entry } => {
            world.send(number, entry, Frame::Answer { attempt: request.attempt, done });
        }
        Job::Deadline { .. } => {}
    }
}

// Where requests enter.

pub(crate) fn enter(world: &mut World, attempt: u32) {
    let entered = &mut world.attempts[attempt as usize];
    let number = world.current[entered.node];
    entered.process = Some(number);
    let order = world.orders[entered.order];
    let request = Request { attempt, user: order.user, kind: order.kind };
    let until = world.now + HELD;
    world.processes[number].entered.insert(attempt, Entered { request, at: None, until });
    route(world, number, attempt);
}

/// Whoever has the request now, it shall be the owner.
pub(crate) fn route(world: &mut World, number: usize, attempt: u32) {
    let process = &world.processes[number];
    let Some(entered) = process.entered.get(&attempt).copied() else { return };
    let Entered { request, at, until } = entered;
    let shard = world.rules.shard_of(request.user);
    let owner = match process.machine.whose(shard, process.clock(world.now)) {
        Whose::Mine(_) => Some(number),
        Whose::Theirs(member) => {
            let is_owner = |process: &Process| {
                process.machine.me().holds(&Fence {
                    epoch: 0,
                    node: member.node.clone(),
                    incarnation: member.incarnation,
                })
            };
            world.processes.iter().position(is_owner)
        }
        Whose::Suspended(_) if world.rules.mutation == Some(Mutation::ServesAfterLease) => Some(number),
        Whose::Suspended(_) | Whose::Leaving(_) | Whose::Nobody => None,
    };
    let limit = if at.is_some() && at == owner { until + PATIENCE - HELD } else { until };
    if world.now >= limit {
        conclude(world, number, attempt, false);
        return;
    }
    world.after(60, Event::Look { process: number, attempt });
    if owner == at {
        return;
    }
    if let Some(entered) = world.processes[number].entered.get_mut(&attempt) {
        entered.at = owner;
    }
    match owner {
        Some(owner) if owner == number => {
            give(world, number, shard, request.user, Job::Request { request, entry: number })
        }
        Some(owner) => world.send(number, owner, Frame::Request(request)),
        None => {}
    }
}

fn again(world: &mut World, number: usize, attempt: u32) {
    if let Some(entered) = world.processes[number].entered.get_mut(&attempt) {
        entered.at = None;
    }
}

fn conclude(world: &mut World, number: usize, attempt: u32, done: bool) {
    if world.processes[number].entered.remove(&attempt).is_some() {
        let delay = world.dice.between(1, 5);
        world.after(delay, Event::Told { attempt, done });
    }
}

pub(crate) fn framed(world: &mut World, from: usize, to: usize, frame: Frame) {
    match frame {
        Frame::Request(request) => {
            let shard = world.rules.shard_of(request.user);
            let job = Job::Request { request, entry: from };
            if may_serve(world, to, shard) {
                give(world, to, shard, request.user, job);
            } else {
                send_back(world, to, shard, vec![job]);
            }
        }
        Frame::Again(attempt) => again(world, to, attempt),
        Frame::Answer { attempt, done } => conclude(world, to, attempt, done),
        Frame::Changed => tell(world, to, Input::Changed),
    }
}
