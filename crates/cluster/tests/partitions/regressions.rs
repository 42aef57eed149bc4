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

/// A deadline was acted on at the old primary so long ago that nobody remembers; at the new one it was not.
#[test]
fn deadlines_are_read_anew_when_the_store_fell_back() {
    play(Durability::Async, &[split(4_500, 1_336, 0b001, 16_000)], |scenario| {
        (scenario.nodes, scenario.replication, scenario.pace) = (1, 300, 300);
    });
}
