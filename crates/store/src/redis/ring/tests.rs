#![allow(clippy::unwrap_used)]

use super::*;
use crate::Write;
use crate::contract::{self, user};

const NAME: &str = "a@a";

fn fence(epoch: u64) -> Arc<Fence> {
    Arc::new(Fence { epoch, node: "n".into(), incarnation: 1 })
}

fn save_as(version: u64, write_id: u64) -> Arc<Change> {
    let user = user(NAME, &["sip:a@a"], 5);
    let write = Write { user: &user, version, write_id };
    Arc::new(Change::save(ShardId::of(NAME), &fence(1), write).unwrap())
}

fn save(version: u64) -> Arc<Change> {
    save_as(version, version)
}

fn erase() -> Arc<Change> {
    Arc::new(Change::erase(ShardId::of(NAME), &Impi::new(NAME).unwrap()))
}

/// A ring, and what happens to one user.
struct Test {
    ring: Ring,
    start: Instant,
    shard: ShardId,
    impi: Impi,
}

impl Test {
    fn new() -> Self {
        let (shard, impi) = (ShardId::of(NAME), Impi::new(NAME).unwrap());
        Self { ring: Ring::default(), start: Instant::now(), shard, impi }
    }

    fn acknowledged(&mut self, change: &Arc<Change>, erased: Option<u64>) {
        self.ring.note(change, &fence(1), Outcome::Acknowledged { erased }, self.start);
    }

    fn unknown(&mut self, change: &Arc<Change>) {
        self.ring.note(change, &fence(1), Outcome::Unknown, self.start);
    }

    fn kept(&self) -> Vec<(Option<u64>, Option<u64>)> {
        self.ring.of(self.shard).iter().map(|entry| (entry.version(), entry.erased)).collect()
    }

    fn last_word(&self, stored: Option<u64>) -> Option<LastWord> {
        self.ring.last_word(self.shard, &self.impi, stored)
    }

    fn looked(&mut self, stored: Option<(u64, u64)>) {
        self.ring.looked(self.shard, &self.impi, stored, self.ring.number());
    }

    fn is_empty(&self) -> bool {
        self.ring.octets == 0 && self.ring.order.is_empty() && self.ring.shards.is_empty()
    }
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn the_last_change_of_a_user_is_kept_for_ten_seconds() {
    let mut test = Test::new();
    test.acknowledged(&save(1), None);
    test.start += seconds(8);
    test.acknowledged(&save(2), None);
    test.ring.lived(test.start + seconds(10), false);
    assert_eq!(test.kept(), [(Some(2), None)]);
    test.ring.lived(test.start + seconds(11), false);
    assert_eq!(test.kept(), []);
    assert!(test.is_empty());
}

#[test]
fn nothing_ages_while_redis_is_away() {
    let mut test = Test::new();
    test.acknowledged(&save(1), None);
    let back = test.start + seconds(60);
    test.ring.lived(back, true);
    assert_eq!(test.kept().len(), 1, "it may be what the other run lacks");
    // Meanwhile others are written: they prove nothing about what was written before.
    test.start = back;
    let other = contract::user("b@a", &[], 5);
    let write = Write { user: &other, version: 1, write_id: 1 };
    test.acknowledged(&Arc::new(Change::save(ShardId::of("b@a"), &fence(1), write).unwrap()), None);
    test.ring.lived(back + seconds(10), false);
    assert_eq!(test.kept().len(), 1, "there is time to tell it");
    test.ring.lived(back + seconds(11), false);
    assert!(test.is_empty());
}

#[test]
fn an_erasure_ends_every_version_that_went_before() {
    let mut test = Test::new();
    test.acknowledged(&save(5), None);
    // It was asked a second time, and found nothing.
    test.acknowledged(&erase(), None);
    assert_eq!(test.kept(), [(None, Some(5))]);
    test.acknowledged(&save(1), None);
    assert_eq!(test.kept(), [(Some(1), Some(5))], "a second life remembers where the first ended");
    test.acknowledged(&erase(), Some(1));
    assert_eq!(test.kept(), [(None, Some(5))]);
    test.unknown(&save(7));
    test.acknowledged(&erase(), None);
    assert_eq!(test.kept(), [(None, Some(7))], "a version that may have been written is ended too");
    let mut test = Test::new();
    test.acknowledged(&erase(), None);
    assert_eq!(test.kept(), [(None, Some(u64::MAX))], "whatever it was, it is gone");
}

fn saved(word: Option<LastWord>) -> bool {
    matches!(word, Some(LastWord::Saved(_)))
}

#[test]
fn what_redis_lost_is_read_from_the_ring() {
    let mut test = Test::new();
    assert_eq!(test.last_word(None), None, "nothing is known");
    test.acknowledged(&save(2), None);
    assert!(saved(test.last_word(None)));
    assert!(saved(test.last_word(Some(1))));
    assert_eq!(test.last_word(Some(2)), None, "Redis has it");
    assert_eq!(test.last_word(Some(3)), None, "Redis has what came later");
    test.acknowledged(&erase(), Some(2));
    assert_eq!(test.last_word(Some(2)), Some(LastWord::Erased));
    assert_eq!(test.last_word(None), None);
    test.acknowledged(&save(1), None);
    assert!(saved(test.last_word(Some(2))), "a record of its former life");
}

#[test]
fn a_change_of_unknown_outcome_counts_once_its_record_was_seen() {
    let mut test = Test::new();
    test.acknowledged(&save(5), None);
    test.unknown(&save_as(6, 66));
    assert_eq!(test.kept(), [(Some(5), None)]);
    assert!(test.ring.doubts.about(test.shard).is_some());
    test.ring.looked(test.shard, &test.impi, Some((5, 5)), 1);
    test.looked(Some((6, 66)));
    assert_eq!(test.kept(), [(Some(6), None)]);
    test.unknown(&save_as(7, 77));
    test.looked(Some((7, 70)));
    test.looked(Some((7, 77)));
    assert_eq!(test.kept(), [(Some(6), None)], "another write has this version");
    test.unknown(&erase());
    test.looked(Some((6, 66)));
    assert_eq!(test.kept(), [(Some(6), None)]);
    test.unknown(&erase());
    test.looked(None);
    assert_eq!(test.kept(), [(None, Some(6))]);
    test.unknown(&save_as(1, 11));
    test.looked(Some((1, 11)));
    assert_eq!(test.kept(), [(Some(1), Some(6))]);
    test.ring.lived(test.start + seconds(11), false);
    assert!(test.is_empty());
}

#[test]
fn lives_are_told_apart_by_whoever_owned_the_shard_all_the_time() {
    let mut test = Test::new();
    let life = |test: &Test, fence: &Fence| test.ring.former_life(test.shard, &test.impi, fence);
    test.acknowledged(&save(5), None);
    assert_eq!(life(&test, &fence(1)), None);
    test.acknowledged(&erase(), Some(5));
    assert_eq!(life(&test, &fence(1)), Some(FormerLife { end: 5, but: None }));
    test.unknown(&save_as(1, 11));
    assert_eq!(life(&test, &fence(1)), None, "it may be of either");
    test.looked(Some((1, 11)));
    assert_eq!(life(&test, &fence(2)), Some(FormerLife { end: 5, but: Some(11) }));
    assert_eq!(life(&test, &fence(3)), None);
}

#[test]
fn what_was_written_before_another_owner_is_forgotten() {
    let mut test = Test::new();
    test.acknowledged(&save(1), None);
    test.ring.owned(test.shard, &fence(1));
    assert_eq!(test.kept().len(), 1);
    let entry = test.ring.of(test.shard).remove(0);
    test.ring.restored(&entry, &fence(2));
    test.ring.owned(test.shard, &fence(2));
    assert_eq!(test.kept().len(), 1);
    test.unknown(&save(2));
    test.ring.owned(test.shard, &fence(4));
    assert_eq!((test.kept().len(), test.ring.octets), (0, 0));
}

#[test]
fn the_ring_is_bounded() {
    let mut test = Test::new();
    let record = vec![0; OCTETS / 4].into_boxed_slice();
    for number in 0..20 {
        let impi = Impi::new(&format!("user{number}@a")).unwrap();
        let what = What::Save {
            version: 1,
            write_id: 1,
            record: record.clone(),
            deadline: "inf".into(),
            impus: Box::new([]),
        };
        let change = Arc::new(Change { shard: ShardId::of(impi.as_str()), impi, what });
        if number % 2 == 0 {
            test.acknowledged(&change, None)
        } else {
            test.unknown(&change)
        }
        assert!(test.ring.octets <= OCTETS);
    }
    assert_eq!(test.ring.order.len(), 3, "those of the last changes");
}
