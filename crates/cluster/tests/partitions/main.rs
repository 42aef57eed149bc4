//! A whole cluster in virtual time: nodes, the store, the wires between them, clients; and all that can fail. Random runs, and
//! what must hold in all of them.
//!
//! `ROLLCALL_SIMULATIONS` sets the number of runs, `ROLLCALL_SEED` repeats one. A failure is shrunk to the acts it needs, and
//! printed with its story.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods)]
#![allow(clippy::wildcard_enum_match_arm)]

mod assertions;
mod mutations;
mod process;
mod regressions;
mod scenario;
mod shell;
mod store;
mod world;

use scenario::{Durability, Scenario};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use world::World;

const RUNS: u64 = 1_000;

thread_local! {
    static WHY: RefCell<String> = RefCell::default();
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// What runs came to.
#[derive(Default)]
struct Sum {
    changes: usize,
    reads: usize,
    deadlines: usize,
    takeovers: usize,
    restored: usize,
    most_late: u64,
    events: u64,
}

/// Plays a scenario; what was wrong, and its story.
fn attempt(scenario: Scenario, told: bool) -> Result<Sum, (String, Vec<String>)> {
    let mut world = World::new(scenario, told);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    let ledger = &world.ledger;
    let sum = Sum {
        changes: ledger.changes,
        reads: ledger.reads,
        deadlines: ledger.deadlines,
        takeovers: ledger.takeovers,
        restored: ledger.restored,
        most_late: ledger.most_late,
        events: world.events,
    };
    outcome.map(|()| sum).map_err(|_| (WHY.take(), world.story.take().unwrap_or_default()))
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

fn run(scenario: Scenario, sum: &mut Sum) {
    listen();
    match attempt(scenario.clone(), false) {
        Ok(one) => {
            sum.changes += one.changes;
            sum.reads += one.reads;
            sum.deadlines += one.deadlines;
            sum.takeovers += one.takeovers;
            sum.restored += one.restored;
            sum.most_late = sum.most_late.max(one.most_late);
            sum.events += one.events;
        }
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

fn runs(drawn: impl Fn(u64) -> Scenario) -> Sum {
    let mut sum = Sum::default();
    let count = number("ROLLCALL_SIMULATIONS").unwrap_or(RUNS);
    let seeds = number("ROLLCALL_SEED").map_or(1..=count, |seed| seed..=seed);
    for seed in seeds {
        run(drawn(seed), &mut sum);
    }
    let Sum { changes, reads, deadlines, takeovers, restored, most_late, events } = sum;
    eprintln!(
        "{changes} changes, {reads} reads, {deadlines} deadlines at most {most_late} ms late, {takeovers} takeovers, \
         {restored} records restored, {events} events"
    );
    if number("ROLLCALL_SEED").is_none() {
        let runs = count as usize;
        assert!(
            changes > 30 * runs && reads > 10 * runs && deadlines > 4 * runs,
            "the simulation gets nowhere"
        );
    }
    sum
}

#[test]
fn nothing_that_the_replica_has_is_lost() {
    let sum = runs(|seed| Scenario::drawn(seed, Durability::Wait1));
    assert!(number("ROLLCALL_SEED").is_some() || sum.takeovers > 0);
}

#[test]
fn a_store_that_loses_its_last_writes_loses_nothing_else() {
    let sum = runs(|seed| Scenario::drawn(seed, Durability::Async));
    assert!(number("ROLLCALL_SEED").is_some() || sum.takeovers > 0);
}

#[test]
fn nodes_that_stay_give_a_store_back_what_it_lost() {
    let sum = runs(Scenario::of_failovers);
    assert!(number("ROLLCALL_SEED").is_some() || sum.restored > 0);
}
