//! Random events in virtual time against a simple model, with what must always hold.
//!
//! `ROLLCALL_SIMULATIONS` sets the number of runs, `ROLLCALL_SEED` repeats one run. A failure prints its seed and its story.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods)]

mod assertions;
mod reference;
mod servers;
mod transition;
#[path = "../world/mod.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use transition::Simulation;

const RUNS: u64 = 300;
const EVENTS: usize = 100;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn run(seed: u64) {
    let mut simulation = Simulation::new(seed);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        for _ in 0..EVENTS {
            simulation.happen();
        }
        simulation.end();
    }));
    if let Err(panic) = outcome {
        eprintln!("the simulation with ROLLCALL_SEED={seed} failed after:");
        for line in &simulation.story {
            eprintln!("  {line}");
        }
        resume_unwind(panic);
    }
}

#[test]
fn what_must_hold_holds() {
    match number("ROLLCALL_SEED") {
        Some(seed) => run(seed),
        None => {
            (0..number("ROLLCALL_SIMULATIONS").unwrap_or(RUNS)).for_each(|run_number| run(1 + run_number))
        }
    }
}

#[test]
fn a_simulation_gets_somewhere() {
    let (mut registered, mut notified, mut deregistered, mut told) = (0, 0, 0, 0);
    for seed in 1..40 {
        let mut simulation = Simulation::new(seed);
        for _ in 0..EVENTS {
            simulation.happen();
        }
        registered += simulation.registered;
        notified += simulation.world.heard.len();
        deregistered += simulation.deregistered;
        told += simulation.servers.ended();
    }
    assert!(registered > 40 && notified > 40 && deregistered > 10, "{registered} {notified} {deregistered}");
    assert!(told > 20, "{told}");
}

#[test]
fn a_counted_minute_that_is_over_wakes_nobody() {
    let mut world = world::World::new();
    world.prompt = false;
    let register = world.build_register(&mut world::Ue::one(), world::Proof::None, false);
    world.arrive(register, true);
    // The HSS is slow; the minute that counts challenges ends meanwhile.
    world.pass(scscf::Span::seconds(90));
    assert_eq!(world.user.next_deadline(), None);
}

#[test]
fn a_challenge_that_outlived_its_assignment_ends_with_the_takeover() {
    let mut world = world::World::new();
    let mut ue = world::Ue::one();
    world.register(&mut ue, world::Proof::None, false);
    world.prompt = false;
    let answer = world.build_register(&mut ue, world::Proof::Right, true);
    world.arrive(answer, true);
    world.pass(scscf::Span::seconds(300));
    world.fail_over();
    assert_eq!(world.user.view().authentication.challenges_outstanding, 0);
    assert!(world.erased);
}
