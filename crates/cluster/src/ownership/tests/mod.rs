//! Nodes and groups of a store that answer at once, unless they are told to be silent.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

use super::*;
use crate::Registry;

const TIMING: Timing = Timing { ttl: 2_000, beat: 500, margin: 400, settle: 1_000 };
const ALL: usize = ShardId::COUNT as usize;

struct Town {
    now: u64,
    groups: Vec<Registry>,
    /// Groups that answer nobody.
    silent: Vec<u16>,
    nodes: Vec<Resident>,
}

struct Resident {
    machine: Ownership,
    alive: bool,
    cut_off: bool,
    /// Whether its users end when they are asked to.
    prompt: bool,
    said: Vec<Output>,
    beats: usize,
}

fn member(node: &str, incarnation: u64) -> Member {
    Member { node: node.into(), incarnation, link: "".into(), sip: "".into(), draining: false, users: 0 }
}

fn shard(number: u16) -> ShardId {
    ShardId::new(number).unwrap()
}

impl Town {
    fn new(groups: u16) -> Self {
        let registries = (0..groups).map(|_| Registry::default()).collect();
        Self { now: 10_000, groups: registries, silent: Vec::new(), nodes: Vec::new() }
    }

    /// One group and nodes of these names that have found their shards.
    fn of(names: &[&str]) -> Self {
        let mut town = Self::new(1);
        for name in names {
            town.join(name, 1);
        }
        town.pass(4_000);
        town
    }

    fn join(&mut self, name: &str, incarnation: u64) -> usize {
        let groups = self.groups.len() as u16;
        let group_of = ShardId::all().map(|shard| shard.number() * groups / ShardId::COUNT).collect();
        let machine = Ownership::new(member(name, incarnation), group_of, TIMING, self.now);
        self.nodes.push(Resident {
            machine,
            alive: true,
            cut_off: false,
            prompt: true,
            said: Vec::new(),
            beats: 0,
        });
        self.tell(self.nodes.len() - 1, Input::Time);
        self.nodes.len() - 1
    }

    fn pass(&mut self, time: u64) {
        let end = self.now + time;
        while self.now < end {
            self.now += 10;
            for node in 0..self.nodes.len() {
                if self.nodes[node].alive && self.nodes[node].machine.next_deadline() <= self.now {
                    self.tell(node, Input::Time);
                }
            }
        }
    }

    fn tell(&mut self, node: usize, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut out = Vec::new();
            self.nodes[node].machine.step(input, self.now, &mut out);
            for output in out {
                inputs.extend(self.perform(node, &output));
                self.nodes[node].said.push(output);
            }
        }
    }

    fn perform(&mut self, node: usize, output: &Output) -> Option<Input> {
        let now = self.now;
        let Resident { machine, cut_off, prompt, beats, .. } = &mut self.nodes[node];
        let me = machine.me().clone();
        let answers = |group: &u16| !*cut_off && !self.silent.contains(group);
        match output {
            Output::Beat { group, member, known } => {
                *beats += 1;
                let registry = &mut self.groups[usize::from(*group)];
                let beat = answers(group).then(|| registry.beat(member, TIMING.ttl, *known, now));
                Some(Input::Beaten { group: *group, sent: now, beat })
            }
            Output::Take { group, claims } if answers(group) => {
                let registry = &mut self.groups[usize::from(*group)];
                let answers = registry.take(&me.node, me.incarnation, claims, now);
                let taken = claims.iter().map(|claim| claim.shard).zip(answers).collect();
                Some(Input::Taken { group: *group, taken })
            }
            Output::Take { group, .. } => Some(Input::NotTaken { group: *group }),
            Output::Release { group, shards } => {
                let done = answers(group);
                if done {
                    self.groups[usize::from(*group)].release(shards);
                }
                Some(Input::Released { group: *group, done })
            }
            Output::HandOver { shard, fence, .. } => {
                prompt.then(|| Input::Quiet { shard: *shard, fence: fence.clone() })
            }
            Output::Begin { .. }
            | Output::End { .. }
            | Output::Restored { .. }
            | Output::Members(_)
            | Output::Drained
            | Output::Replaced => None,
        }
    }

    fn kill(&mut self, node: usize) {
        self.nodes[node].alive = false;
    }

    fn whose(&self, node: usize, number: u16) -> Whose<'_> {
        self.nodes[node].machine.whose(shard(number), self.now)
    }

    fn owned(&self, node: usize) -> usize {
        let mine =
            |shard: &ShardId| matches!(self.nodes[node].machine.whose(*shard, self.now), Whose::Mine(_));
        if self.nodes[node].alive { ShardId::all().filter(mine).count() } else { 0 }
    }

    fn suspended(&self, node: usize) -> usize {
        let suspended =
            |shard: &ShardId| matches!(self.nodes[node].machine.whose(*shard, self.now), Whose::Suspended(_));
        ShardId::all().filter(suspended).count()
    }

    /// What a node said of some kind since this was asked last.
    fn count(&mut self, node: usize, is: impl Fn(&Output) -> bool) -> usize {
        std::mem::take(&mut self.nodes[node].said).iter().filter(|said| is(said)).count()
    }

    fn restart(&mut self, group: usize) {
        self.groups[group].restarted(TIMING.ttl, self.now);
    }

    /// Forgets everything but its run.
    fn flush(&mut self, group: usize, runs: u64) {
        self.groups[group] = Registry::default();
        for _ in 0..runs {
            self.restart(group);
        }
    }
}

fn is_end(output: &Output) -> bool {
    matches!(output, Output::End { .. })
}

fn is_begin(output: &Output) -> bool {
    matches!(output, Output::Begin { .. })
}

fn restored(output: &Output) -> usize {
    if let Output::Restored { shards, .. } = output { shards.len() } else { 0 }
}

#[test]
fn a_lone_node_takes_everything_at_once() {
    let mut town = Town::new(1);
    let node = town.join("a", 1);
    assert_eq!(town.owned(node), ALL);
    assert_eq!(town.count(node, is_begin), ALL);
}

#[test]
fn nothing_is_served_after_the_lease_could_have_lapsed() {
    let mut town = Town::of(&["a"]);
    town.nodes[0].cut_off = true;
    let sent = town.now;
    town.pass(TIMING.ttl - TIMING.margin - TIMING.beat - 20);
    assert_eq!(town.owned(0), ALL, "since {sent}");
    town.pass(TIMING.beat + 20);
    assert_eq!((town.owned(0), town.suspended(0)), (0, ALL));
    town.nodes[0].cut_off = false;
    town.pass(TIMING.beat);
    assert_eq!((town.owned(0), town.count(0, is_end)), (ALL, 0), "nobody took them meanwhile");
}

#[test]
fn a_lease_counts_from_when_it_was_asked_for() {
    let mut machine = Ownership::new(member("a", 1), vec![0; ALL], TIMING, 0);
    let mut registry = Registry::default();
    let mut out = Vec::new();
    machine.step(Input::Time, 0, &mut out);
    let beat = Some(registry.beat(&member("a", 1), TIMING.ttl, None, 900));
    machine.step(Input::Beaten { group: 0, sent: 100, beat }, 1_500, &mut out);
    let fence = Fence { epoch: 1, node: "a".into(), incarnation: 1 };
    machine.step(Input::Taken { group: 0, taken: vec![(shard(7), Ok(fence.clone()))] }, 1_600, &mut out);
    assert_eq!(machine.whose(shard(7), 1_699), Whose::Mine(&fence));
    assert_eq!(machine.whose(shard(7), 1_700), Whose::Suspended(&fence));
}

#[test]
fn a_node_that_comes_gets_its_share_when_it_stays_and_a_few_at_a_time() {
    let mut town = Town::of(&["a"]);
    town.nodes[0].prompt = false;
    let other = town.join("b", 1);
    town.pass(TIMING.settle);
    assert_eq!((town.owned(0), town.owned(other)), (ALL, 0), "it might go at once");
    town.count(0, |_| true);
    town.pass(1_000);
    let handed: Vec<(ShardId, Fence)> = town.nodes[0]
        .said
        .iter()
        .filter_map(|said| match said {
            Output::HandOver { shard, fence, to } if **to == *"b" => Some((*shard, fence.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(handed.len(), 64);
    assert!(matches!(town.whose(0, handed[0].0.number()), Whose::Leaving(_)));
    town.nodes[0].prompt = true;
    for (shard, fence) in handed {
        town.tell(0, Input::Quiet { shard, fence });
        town.tell(other, Input::Changed);
    }
    town.pass(2_000);
    assert_eq!((town.owned(0), town.owned(other)), (ALL / 2, ALL / 2));
    assert!((0..ShardId::COUNT).all(|number| {
        matches!(town.whose(0, number), Whose::Mine(_))
            || matches!(town.whose(0, number), Whose::Theirs(member) if *member.node == *"b")
    }));
}

#[test]
fn whoever_is_known_to_be_gone_is_replaced_at_once() {
    let mut town = Town::of(&["a", "b", "c"]);
    let before = town.owned(0) + town.owned(1);
    assert!(before < ALL);
    town.kill(2);
    for heir in [0, 1] {
        town.count(heir, |_| true);
        town.tell(heir, Input::Gone { node: "c".into(), incarnation: 1 });
        let links = |said: &Output| matches!(said, Output::Members(members) if members.len() == 2);
        assert_eq!(town.count(heir, links), 1);
    }
    assert_eq!(town.owned(0) + town.owned(1), ALL);
    town.pass(3_000);
    assert_eq!(town.owned(0), ALL / 2);
}

#[test]
fn whoever_is_silent_is_replaced_when_its_lease_has_lapsed() {
    let mut town = Town::of(&["a", "b"]);
    town.kill(1);
    town.pass(TIMING.ttl - TIMING.beat - 20);
    assert_eq!(town.owned(0), ALL / 2);
    town.pass(2 * TIMING.beat + 40);
    assert_eq!(town.owned(0), ALL);
}

#[test]
fn whoever_lives_though_it_was_said_to_be_gone_gets_shards_again() {
    let mut town = Town::of(&["a", "b"]);
    town.tell(0, Input::Gone { node: "b".into(), incarnation: 1 });
    assert_eq!(town.owned(0), ALL);
    town.pass(TIMING.beat);
    assert_eq!((town.owned(1), town.count(1, is_end)), (0, ALL / 2));
    town.pass(8_000);
    assert_eq!((town.owned(0), town.owned(1)), (ALL / 2, ALL / 2));
}

#[test]
fn a_node_that_drains_gives_everything_away_and_says_so() {
    let mut town = Town::of(&["a", "b"]);
    town.tell(0, Input::Drain);
    assert!(!town.nodes[0].machine.is_drained());
    town.pass(1_500);
    assert!(town.nodes[0].machine.is_drained());
    assert_eq!((town.owned(0), town.owned(1)), (0, ALL));
    assert_eq!(town.count(0, |said| *said == Output::Drained), 1);
}

#[test]
fn a_shard_that_is_pinned_moves_on_only_when_it_is_not_any_more() {
    let mut town = Town::of(&["a", "b"]);
    let pinned =
        ShardId::all().find(|shard| matches!(town.whose(0, shard.number()), Whose::Mine(_))).unwrap();
    town.tell(0, Input::Pinned { shard: pinned, is_pinned: true });
    town.tell(0, Input::Drain);
    town.pass(1_500);
    assert_eq!((town.owned(0), town.owned(1)), (1, ALL - 1));
    assert!(matches!(town.whose(0, pinned.number()), Whose::Mine(_)));
    assert!(!town.nodes[0].machine.is_drained());
    town.tell(0, Input::Pinned { shard: pinned, is_pinned: false });
    town.tell(1, Input::Changed);
    town.pass(50);
    assert_eq!((town.owned(0), town.owned(1)), (0, ALL));
    assert!(town.nodes[0].machine.is_drained());
}

#[test]
fn a_node_that_drains_alone_goes_on_until_another_comes() {
    let mut town = Town::of(&["a"]);
    town.tell(0, Input::Drain);
    town.pass(5_000);
    assert_eq!((town.owned(0), town.count(0, |said| *said == Output::Drained)), (ALL, 0));
    let other = town.join("b", 1);
    town.pass(3_000);
    assert_eq!((town.owned(other), town.count(0, |said| *said == Output::Drained)), (ALL, 1));
}

#[test]
fn a_store_that_lost_its_memory_is_told_again() {
    let mut town = Town::of(&["a", "b"]);
    town.count(0, |_| true);
    town.flush(0, 1);
    town.pass(TIMING.beat);
    for node in [0, 1] {
        assert_eq!(town.owned(node), ALL / 2);
        let told: usize = town.nodes[node].said.iter().map(restored).sum();
        assert_eq!((told, town.count(node, is_end)), (ALL / 2, 0));
    }
    let Whose::Mine(fence) =
        town.whose(0, (0..1024).find(|n| matches!(town.whose(0, *n), Whose::Mine(_))).unwrap())
    else {
        panic!("not ours")
    };
    assert_eq!(fence.epoch, 2, "above what was held");
}

#[test]
fn a_store_that_lost_only_the_last_writes_is_told_them() {
    let mut town = Town::of(&["a"]);
    town.restart(0);
    town.count(0, |_| true);
    town.pass(TIMING.beat + 30);
    let told: usize = town.nodes[0].said.iter().map(restored).sum();
    assert_eq!((told, town.count(0, is_end), town.owned(0)), (ALL, 0, ALL));
}

#[test]
fn nobody_takes_all_when_the_store_comes_back_after_a_long_silence() {
    let mut town = Town::of(&["a", "b", "c"]);
    for node in 0..3 {
        town.count(node, |_| true);
    }
    town.silent = vec![0];
    town.pass(5_000);
    town.silent.clear();
    town.pass(3_000);
    for node in 0..3 {
        assert_eq!(town.count(node, |said| is_end(said) || is_begin(said)), 0, "all come back at once");
    }
    assert_eq!((0..3).map(|node| town.owned(node)).sum::<usize>(), ALL);
}

#[test]
fn what_was_given_back_is_given_back_again_when_the_store_forgot_it() {
    let mut town = Town::of(&["a"]);
    let before = town.groups[0].clone();
    town.tell(0, Input::Drain);
    let other = town.join("b", 1);
    town.pass(3_000);
    assert_eq!(town.owned(other), ALL);
    town.kill(other);
    town.count(0, |_| true);
    town.nodes[0].machine.me.draining = false;
    town.groups[0] = before;
    town.restart(0);
    town.pass(TIMING.beat + 30);
    assert_eq!(town.count(0, is_begin), 0, "whoever had it since may still serve it");
    town.pass(2 * TIMING.ttl);
    let Whose::Mine(fence) = town.whose(0, 7) else { panic!("not ours") };
    assert_eq!(fence.epoch, 3, "above what the other had");
}

#[test]
fn what_another_took_after_a_failure_of_the_store_ends_here() {
    let mut town = Town::of(&["a"]);
    town.nodes[0].cut_off = true;
    town.flush(0, 1);
    town.now += TIMING.ttl + 10;
    let other = town.join("b", 1);
    assert_eq!(town.owned(other), ALL);
    let version = town.groups[0].beat(&member("b", 1), TIMING.ttl, None, town.now).version;
    assert_eq!(version, ALL as u64, "the same as before the failure");
    town.count(0, |_| true);
    town.nodes[0].cut_off = false;
    town.pass(TIMING.beat);
    assert_eq!((town.owned(0), town.count(0, is_end)), (0, ALL));
}

#[test]
fn a_later_run_of_our_node_ends_this_one() {
    let mut town = Town::of(&["a"]);
    let later = town.join("a", 2);
    assert_eq!(town.owned(later), ALL);
    town.count(0, |_| true);
    town.pass(TIMING.beat);
    let beats = town.nodes[0].beats;
    let said = std::mem::take(&mut town.nodes[0].said);
    assert_eq!(said.iter().filter(|said| is_end(said)).count(), ALL);
    assert_eq!(said.last(), Some(&Output::Replaced));
    assert!(matches!(town.whose(0, 7), Whose::Nobody));
    town.pass(5_000);
    assert_eq!((town.nodes[0].beats, town.owned(later)), (beats, ALL));
}

#[test]
fn a_run_that_seems_the_earlier_waits_for_a_dead_one_but_not_for_a_live_one() {
    let mut town = Town::of(&["a"]);
    town.nodes[0].machine = Ownership::new(member("a", 9), vec![0; ALL], TIMING, town.now);
    town.tell(0, Input::Time);
    town.kill(0);
    let again = town.join("a", 5);
    town.pass(TIMING.ttl + TIMING.beat);
    assert_eq!(town.owned(again), ALL);
    let third = town.join("a", 3);
    town.pass(TIMING.ttl);
    assert_eq!(town.count(third, |said| *said == Output::Replaced), 0);
    town.pass(2 * TIMING.ttl);
    assert_eq!(town.count(third, |said| *said == Output::Replaced), 1);
    assert_eq!(town.owned(again), ALL);
}

#[test]
fn a_refused_save_and_a_word_of_another_node_lead_to_a_look_at_the_table() {
    let mut town = Town::of(&["a"]);
    let Whose::Mine(fence) = town.whose(0, 7) else { panic!("not ours") };
    let fence = fence.clone();
    let before = town.nodes[0].beats;
    town.now += 30;
    town.tell(0, Input::Fenced { shard: shard(7), fence: fence.clone() });
    assert_eq!(town.nodes[0].beats, before + 1);
    assert_eq!(town.owned(0), ALL, "it was the version");
    for _ in 0..50 {
        town.tell(0, Input::Changed);
    }
    town.pass(20);
    assert_eq!(town.nodes[0].beats, before + 2, "not more often than every 20 ms");
    town.now += 30;
    town.tell(0, Input::Fenced { shard: shard(7), fence: Fence { epoch: 0, ..fence } });
    assert_eq!(town.nodes[0].beats, before + 2, "an old fence is no news");
}

#[test]
fn a_group_that_fails_takes_no_other_with_it() {
    let mut town = Town::new(4);
    town.join("a", 1);
    town.join("b", 1);
    town.pass(4_000);
    assert_eq!(town.owned(0), ALL / 2);
    town.silent = vec![1];
    town.pass(3_000);
    assert_eq!(town.owned(0), ALL * 3 / 8);
    town.kill(1);
    town.pass(3_000);
    assert_eq!((town.owned(0), town.suspended(0)), (ALL * 3 / 4, ALL / 8));
    town.silent.clear();
    town.pass(3_000);
    assert_eq!(town.owned(0), ALL);
}

#[test]
fn what_a_slow_beat_says_of_a_shard_taken_meanwhile_is_old() {
    let mut machine = Ownership::new(member("a", 1), vec![0; ALL], TIMING, 0);
    let mut registry = Registry::default();
    let mut out = Vec::new();
    machine.step(Input::Time, 0, &mut out);
    let beat = Some(registry.beat(&member("a", 1), TIMING.ttl, None, 0));
    machine.step(Input::Beaten { group: 0, sent: 0, beat }, 1, &mut out);
    let claims = out.iter().find_map(|said| match said {
        Output::Take { claims, .. } => Some(claims.clone()),
        _ => None,
    });
    let claims = claims.unwrap();
    machine.step(Input::Time, 500, &mut out);
    let old = registry.beat(&member("a", 1), TIMING.ttl, None, 500);
    let answers = registry.take("a", 1, &claims, 501);
    let taken = claims.iter().map(|claim| claim.shard).zip(answers).collect();
    machine.step(Input::Taken { group: 0, taken }, 502, &mut out);
    out.clear();
    machine.step(Input::Beaten { group: 0, sent: 500, beat: Some(old) }, 503, &mut out);
    assert!(!out.iter().any(is_end));
    assert!(matches!(machine.whose(claims[0].shard, 503), Whose::Mine(_)));
}

#[test]
fn a_slow_beat_of_a_store_that_fell_back_meanwhile_is_followed_by_another_look() {
    let mut machine = Ownership::new(member("a", 1), vec![0; 8], TIMING, 0);
    let mut registry = Registry::default();
    let mut out = Vec::new();
    registry.beat(&member("b", 1), 60_000, None, 0);
    registry.take("b", 1, &[Claim::new(shard(7))], 0).remove(0).unwrap();
    machine.step(Input::Time, 0, &mut out);
    let beat = Some(registry.beat(&member("a", 1), TIMING.ttl, None, 0));
    machine.step(Input::Beaten { group: 0, sent: 0, beat }, 1, &mut out);
    machine.step(Input::Time, 500, &mut out);
    let mut fallen = registry.clone();
    fallen.restarted(TIMING.ttl, 501);
    let slow = fallen.beat(&member("a", 1), TIMING.ttl, None, 502);
    let fence = Fence { epoch: 2, node: "a".into(), incarnation: 1 };
    machine.step(Input::Taken { group: 0, taken: vec![(shard(7), Ok(fence))] }, 503, &mut out);
    machine.step(Input::Beaten { group: 0, sent: 500, beat: Some(slow) }, 504, &mut out);
    out.clear();
    machine.step(Input::Time, machine.next_deadline(), &mut out);
    let asks = |said: &Output| matches!(said, Output::Beat { known: None, .. });
    assert!(out.iter().any(asks), "the whole table: {out:?}");
    let beat = Some(fallen.beat(&member("a", 1), TIMING.ttl, None, 520));
    machine.step(Input::Beaten { group: 0, sent: 520, beat }, 521, &mut out);
    assert!(out.iter().any(is_end));
    assert!(matches!(machine.whose(shard(7), 521), Whose::Theirs(member) if *member.node == *"b"));
}
