//! Users who call each other and the world, in virtual time: random runs, and what must hold in all of them.
//!
//! `ROLLCALL_SIMULATIONS` sets the number of runs, `ROLLCALL_SEED` repeats one. A failure is shrunk to the acts it needs, and
//! printed with its story.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods)]
#![allow(clippy::wildcard_enum_match_arm)]

mod acts;
mod assertions;
mod call;
mod model;
mod network;
mod regressions;
mod scenario;
mod server;
mod talk;
mod ue;

use model::World;
use scenario::{Act, Scenario};
use scscf::cx::DeregistrationReason;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use talk::Phase;
use ue::{Alarm, Deed};

const RUNS: u64 = 1500;

thread_local! {
    static WHY: RefCell<String> = RefCell::default();
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// What a run came to.
#[derive(Default)]
struct Sum {
    answered: usize,
    registered: usize,
    released: usize,
    messages: u64,
}

fn play(world: &mut World) -> Sum {
    let last = world.scenario.acts.last().map_or(0, |(at, _)| *at);
    world.run(last + 700_000);
    // Sessions are refreshed for ever, and lapse: a moment when none is, or does.
    let is_busy = |user: &model::Served| {
        !user.open.is_empty() || user.user.view().sessions.iter().any(|session| session.state == "releasing")
    };
    for _ in 0..200 {
        if world.users.iter().any(is_busy) {
            let now = world.network.now;
            world.run(now + 700);
        }
    }
    assertions::settled(world);
    // Everybody hangs up.
    for proxy in &mut world.proxies {
        proxy.alive = true;
    }
    let both = world.network.dice.chance(50);
    for phone in 0..world.phones.len() {
        world.phones[phone].alive = true;
        for leg in 0..world.phones[phone].legs.len() {
            let after = if world.phones[phone].legs[leg].caller || both { 1 } else { 40_000 };
            let alarm = Alarm::Deed { leg, deed: Deed::HangUp };
            world.phones[phone].set(after, alarm, &mut world.network);
        }
    }
    let now = world.network.now;
    world.run(now + 500_000);
    let hung_up = |world: &World| {
        world.phones.iter().all(|phone| {
            phone.legs.iter().all(|leg| leg.talks.iter().all(|talk| talk.phase != Phase::Confirmed))
        })
    };
    assert!(hung_up(world));
    world.run(now + 7_500_000);
    for user in 0..world.users.len() {
        acts::act(
            world,
            Act::Terminate { user, reason: DeregistrationReason::RemoveScscf, impus: Vec::new() },
        );
    }
    world.run(now + 7_900_000);
    assertions::empty(world);
    Sum {
        answered: world.ledger.answered,
        registered: world.ledger.registered,
        released: world.ledger.released,
        messages: world.network.sent,
    }
}

/// Plays a scenario; what was wrong, and its story.
fn attempt(scenario: Scenario, told: bool) -> Result<Sum, (String, Vec<String>)> {
    let mut world = World::new(scenario);
    world.story = told.then(Vec::new);
    let outcome = catch_unwind(AssertUnwindSafe(|| play(&mut world)));
    outcome.map_err(|_| (WHY.take(), world.story.take().unwrap_or_default()))
}

/// Leaves out acts as long as it still fails.
fn shrunk(mut scenario: Scenario) -> Scenario {
    let mut at = 0;
    while at < scenario.acts.len() {
        let mut smaller = scenario.clone();
        smaller.acts.remove(at);
        if attempt(smaller.clone(), false).is_err() {
            scenario = smaller;
        } else {
            at += 1;
        }
    }
    scenario
}

/// A failure is told once, with all that belongs to it.
fn listen() {
    set_hook(Box::new(|panic| WHY.set(panic.to_string())));
}

fn run(scenario: Scenario) -> Sum {
    listen();
    match attempt(scenario.clone(), false) {
        Ok(sum) => sum,
        Err((first, _)) => {
            let seed = scenario.seed;
            let small = shrunk(scenario);
            let (why, story) = attempt(small.clone(), true).err().unwrap_or_default();
            eprintln!("ROLLCALL_SEED={seed} fails; as small as it gets:\n{small:#?}");
            for line in story {
                eprintln!("  {line}");
            }
            eprintln!("ROLLCALL_SEED={seed}: {why}\nat first: {first}");
            panic!("see above");
        }
    }
}

fn runs(first: u64) {
    if let Some(seed) = number("ROLLCALL_SEED") {
        if seed % 2 == first % 2 {
            run(Scenario::drawn(seed));
        }
        return;
    }
    let mut sum = Sum::default();
    let runs = number("ROLLCALL_SIMULATIONS").unwrap_or(RUNS);
    for seed in (first..=runs).step_by(2) {
        let one = run(Scenario::drawn(seed));
        sum.answered += one.answered;
        sum.registered += one.registered;
        sum.released += one.released;
        sum.messages += one.messages;
    }
    let Sum { answered, registered, released, messages } = sum;
    eprintln!(
        "{registered} registrations, {answered} calls answered, {released} ends released, {messages} messages"
    );
    let runs = runs as usize / 2;
    assert!(answered > runs / 2 && registered > runs && released > runs / 10, "the simulation gets nowhere");
}

#[test]
fn what_must_hold_holds() {
    runs(1);
}

#[test]
fn what_must_hold_holds_in_other_runs() {
    runs(2);
}
