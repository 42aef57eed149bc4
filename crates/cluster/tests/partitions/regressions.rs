//! Runs that once went wrong, as small as they got; each with many dice, for the order of what happens at once.

use crate::scenario::{Act, Durability, Scenario};
use crate::{Sum, run};

fn play(durability: Durability, acts: &[(u64, Act)], change: impl Fn(&mut Scenario)) {
    for seed in 1..=150 {
        let mut scenario = Scenario::plain(seed, durability);
        scenario.acts = acts.to_vec();
        change(&mut scenario);
        run(scenario, &mut Sum::default());
    }
}

/// The primary is lost after `at`; the nodes of `mask` stay with it for `time`.
fn split(at: u64, down: u64, mask: u64, time: u64) -> (u64, Act) {
    (at, Act::Failover { group: 0, down, split: Some((mask, time)) })
}

/// An old primary lets a node that is alone with it take everything; the others have gone on with the new one meanwhile.
#[test]
fn who_took_shards_on_the_wrong_side_of_a_split_does_not_keep_them() {
    play(Durability::Wait1, &[split(4_451, 1_744, 0b010, 2_962)], |scenario| {
        scenario.shards = 14;
        scenario.replication = 30;
    });
}

/// It takes shards at the old primary, and again at the new one, with the same epoch as before: a late save passes.
#[test]
fn no_token_is_handed_out_again_after_a_store_fell_back() {
    let acts = [
        split(5_000, 1_800, 0b001, 5_459),
        (6_100, Act::Kill { node: 0, heard: true }),
        (6_200, Act::Start { node: 0 }),
        (10_440, Act::Pause { node: 0, time: 30 }),
        (10_470, Act::Start { node: 0 }),
    ];
    play(Durability::Async, &acts, |scenario| {
        (scenario.nodes, scenario.late, scenario.pace) = (1, 60, 30);
    });
}

/// A beat on the way while shards are taken brings an older table; when the store falls back just then, no newer one follows.
#[test]
fn a_table_that_is_older_than_what_was_taken_is_asked_for_again() {
    let acts = [
        (5_035, Act::Join),
        (6_700, Act::Failover { group: 0, down: 600, split: None }),
        (7_000, Act::Failover { group: 1, down: 1_000, split: None }),
    ];
    play(Durability::Async, &acts, |scenario| {
        (scenario.groups, scenario.shards) = (2, 6);
        (scenario.link_delay, scenario.store_delay, scenario.replication) = (40, 60, 300);
        scenario.pace = 300;
    });
}

/// A node reads at the old primary that a deadline was acted on; at the new one it was not.
#[test]
fn deadlines_are_read_anew_when_the_store_fell_back() {
    let acts = [
        split(4_282, 1_336, 0b001, 1_237),
        (5_237, Act::Kill { node: 0, heard: true }),
        (5_436, Act::Start { node: 0 }),
    ];
    play(Durability::Async, &acts, |scenario| (scenario.nodes, scenario.replication) = (1, 300));
}

/// What a node reads at the old primary is lost, and the node goes on as if it were not.
#[test]
fn what_was_read_before_the_store_fell_back_is_written_again() {
    let acts = [split(6_916, 1_985, 0b101, 1_187), (6_979, Act::Kill { node: 1, heard: true })];
    play(Durability::Wait1, &acts, |scenario| scenario.replication = 300);
}

/// While there is no replica nothing is acknowledged, but written all the same.
#[test]
fn a_deadline_that_was_written_without_an_answer_is_acted_on() {
    let acts = [(5_000, Act::Failover { group: 0, down: 200, split: None })];
    play(Durability::Wait1, &acts, |scenario| scenario.pace = 40);
}
