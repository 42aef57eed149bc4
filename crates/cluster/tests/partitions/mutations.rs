//! Rules that are broken on purpose: runs must go wrong, or nothing would notice if the rules were.

use crate::scenario::{Durability, Mutation, Scenario};
use crate::{attempt, listen};

/// The first run that goes wrong, and why.
fn caught(mutation: Mutation, drawn: impl Fn(u64) -> Scenario) -> String {
    listen();
    let outcome = (1..=3_000).find_map(|seed| {
        let (why, _) = attempt(Scenario { mutation: Some(mutation), ..drawn(seed) }, false).err()?;
        Some(format!("seed {seed}: {why}"))
    });
    let why = outcome.unwrap_or_else(|| panic!("nobody notices {mutation:?}"));
    eprintln!("{mutation:?} is noticed with {why}");
    why
}

fn wait1(seed: u64) -> Scenario {
    Scenario::drawn(seed, Durability::Wait1)
}

fn asynchronous(seed: u64) -> Scenario {
    Scenario::drawn(seed, Durability::Async)
}

#[test]
fn a_store_that_compares_epochs_alone_is_noticed() {
    assert!(caught(Mutation::EpochAlone, asynchronous).contains("who is not the owner"));
}

#[test]
fn a_node_that_serves_after_its_lease_is_noticed() {
    assert!(caught(Mutation::ServesAfterLease, wait1).contains("another's than of him who tells of it"));
}

#[test]
fn clocks_that_lose_more_time_than_the_margin_are_noticed() {
    assert!(caught(Mutation::SlowClocks, wait1).contains("another's than of him who tells of it"));
}

#[test]
fn a_store_that_lets_anybody_take_at_once_after_a_failure_is_noticed() {
    assert!(caught(Mutation::NoGrace, asynchronous).contains("another's than of him who tells of it"));
}

#[test]
fn a_store_that_does_not_wait_for_its_replica_is_noticed() {
    assert!(caught(Mutation::AcknowledgesEarly, wait1).contains("was told"));
}

#[test]
fn a_store_that_forgets_the_version_of_what_it_erased_is_noticed() {
    // What a late save of before brings back acts on its deadline, or is told.
    caught(Mutation::ForgetsErased, wait1);
}

#[test]
fn a_node_that_restores_nothing_is_noticed() {
    assert!(caught(Mutation::RestoresNothing, Scenario::of_failovers).contains("was told"));
}
