//! What was written lately, so that a Redis that lost it can be told again.
//!
//! **Invariant: for each user there is the last change that Redis acknowledged to this process, as long as this process owns the
//! shard without a break.** What Redis has of such a user after a failure is that, or an earlier state of the same history.

use super::change::{Change, What};
use cluster::{Fence, ShardId};
use scscf::{Impi, Impu};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// So long a change is kept.
const KEPT: Duration = Duration::from_secs(10);
/// So many octets are kept at most, those of the last changes.
const OCTETS: usize = 64 << 20;
/// So many changes are remembered at most, those included that were overtaken.
const CHANGES: usize = 200_000;

/// The last changes of one group.
#[derive(Default)]
pub(super) struct Ring {
    shards: BTreeMap<ShardId, BTreeMap<Impi, Entry>>,
    /// When which change was made; those that were overtaken meanwhile are passed over.
    order: VecDeque<(Instant, u64, ShardId, Impi)>,
    octets: usize,
    last: u64,
}

/// What this process wrote last of a user.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LastWord {
    Saved(Box<[u8]>),
    Erased,
}

/// The last change of a user.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) change: Arc<Change>,
    pub(super) fence: Arc<Fence>,
    /// The last version that an erasure ended.
    pub(super) erased: Option<u64>,
    number: u64,
}

impl Ring {
    /// Redis acknowledged `change`; an erasure says which version it ended, if there was a record.
    pub(super) fn note(
        &mut self,
        change: &Arc<Change>,
        fence: &Arc<Fence>,
        erased: Option<u64>,
        now: Instant,
    ) {
        self.last += 1;
        let shard = self.shards.entry(change.shard).or_default();
        let before = shard.get(&change.impi);
        let ended = match (&change.what, before) {
            (What::Save { .. }, before) => before.and_then(|before| before.erased),
            (What::Erase, Some(before)) => erased.max(before.version()).max(before.erased),
            // Whatever it was: Redis had it no more when it was asked a second time.
            (What::Erase, None) => erased.or(Some(u64::MAX)),
        };
        self.octets += change.size();
        self.octets -= before.map_or(0, |before| before.change.size());
        let entry =
            Entry { change: Arc::clone(change), fence: Arc::clone(fence), erased: ended, number: self.last };
        shard.insert(change.impi.clone(), entry);
        self.order.push_back((now, self.last, change.shard, change.impi.clone()));
        self.shed(now);
    }

    fn shed(&mut self, now: Instant) {
        while let Some((at, ..)) = self.order.front()
            && (now.duration_since(*at) > KEPT || self.octets > OCTETS || self.order.len() > CHANGES)
            && let Some((_, number, shard, impi)) = self.order.pop_front()
        {
            let Some(users) = self.shards.get_mut(&shard) else { continue };
            if users.get(&impi).is_some_and(|entry| entry.number == number)
                && let Some(entry) = users.remove(&impi)
            {
                self.octets -= entry.change.size();
            }
            if users.is_empty() {
                self.shards.remove(&shard);
            }
        }
    }

    /// The changes of a shard.
    pub(super) fn of(&mut self, shard: ShardId, now: Instant) -> Vec<Entry> {
        self.shed(now);
        self.shards.get(&shard).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// What became last of a user of whom Redis has `stored`, if Redis has lost that.
    pub(super) fn last_word(
        &mut self,
        shard: ShardId,
        impi: &Impi,
        stored: Option<u64>,
        now: Instant,
    ) -> Option<LastWord> {
        self.shed(now);
        let entry = self.shards.get(&shard)?.get(impi)?;
        let is_of_a_former_life = stored.is_some_and(|stored| entry.erased.is_some_and(|end| stored <= end));
        match &entry.change.what {
            What::Save { version, record, .. } => {
                let is_lost = is_of_a_former_life || stored.is_none_or(|stored| stored < *version);
                is_lost.then(|| LastWord::Saved(record.clone()))
            }
            What::Erase => is_of_a_former_life.then_some(LastWord::Erased),
        }
    }

    /// Redis has `entry`, or something later, under `fence`.
    pub(super) fn restored(&mut self, entry: &Entry, fence: &Arc<Fence>) {
        let users = self.shards.get_mut(&entry.change.shard);
        if let Some(kept) = users.and_then(|users| users.get_mut(&entry.change.impi))
            && kept.number == entry.number
        {
            kept.fence = Arc::clone(fence);
        }
    }

    /// Somebody else owned the shard, or will: what this process wrote is no more the last word.
    pub(super) fn forget(&mut self, shard: ShardId) {
        if let Some(users) = self.shards.remove(&shard) {
            self.octets -= users.values().map(|entry| entry.change.size()).sum::<usize>();
        }
    }

    /// Forgets a shard unless its last changes were made under `fence`.
    pub(super) fn owned(&mut self, shard: ShardId, fence: &Fence) {
        let users = self.shards.get(&shard).into_iter().flat_map(BTreeMap::values);
        if users.into_iter().any(|entry| *entry.fence != *fence) {
            self.forget(shard);
        }
    }

    /// Who was lately saved under which public identities.
    pub(super) fn identities(&self) -> impl Iterator<Item = (&Impi, &[Impu])> {
        let entries = self.shards.values().flat_map(BTreeMap::iter);
        entries.map(|(impi, entry)| (impi, entry.change.impus()))
    }
}

impl Entry {
    fn version(&self) -> Option<u64> {
        match &self.change.what {
            What::Save { version, .. } => Some(*version),
            What::Erase => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Write;
    use crate::contract::user;

    const NAME: &str = "a@a";

    fn fence(epoch: u64) -> Arc<Fence> {
        Arc::new(Fence { epoch, node: "n".into(), incarnation: 1 })
    }

    fn save(version: u64) -> Arc<Change> {
        let user = user(NAME, &["sip:a@a"], 5);
        let write = Write { user: &user, version, write_id: version };
        Arc::new(Change::save(ShardId::of(NAME), &fence(1), write).unwrap())
    }

    fn erase() -> Arc<Change> {
        Arc::new(Change::erase(ShardId::of(NAME), &Impi::new(NAME).unwrap()))
    }

    fn kept(ring: &mut Ring, now: Instant) -> Vec<(Option<u64>, Option<u64>)> {
        let kept = ring.of(ShardId::of(NAME), now);
        kept.iter().map(|entry| (entry.version(), entry.erased)).collect()
    }

    #[test]
    fn the_last_change_of_a_user_is_kept_for_ten_seconds() {
        let (mut ring, start) = (Ring::default(), Instant::now());
        ring.note(&save(1), &fence(1), None, start);
        ring.note(&save(2), &fence(1), None, start + Duration::from_secs(8));
        assert_eq!(kept(&mut ring, start + Duration::from_secs(18)), [(Some(2), None)]);
        assert_eq!(kept(&mut ring, start + Duration::from_secs(19)), []);
        assert_eq!((ring.octets, ring.order.len(), ring.shards.len()), (0, 0, 0));
    }

    #[test]
    fn an_erasure_ends_every_version_that_went_before() {
        let (mut ring, now) = (Ring::default(), Instant::now());
        ring.note(&save(5), &fence(1), None, now);
        // It was asked a second time, and found nothing.
        ring.note(&erase(), &fence(1), None, now);
        assert_eq!(kept(&mut ring, now), [(None, Some(5))]);
        ring.note(&save(1), &fence(1), None, now);
        assert_eq!(
            kept(&mut ring, now),
            [(Some(1), Some(5))],
            "a second life remembers where the first ended"
        );
        ring.note(&erase(), &fence(1), Some(1), now);
        assert_eq!(kept(&mut ring, now), [(None, Some(5))]);
        let mut ring = Ring::default();
        ring.note(&erase(), &fence(1), None, now);
        assert_eq!(kept(&mut ring, now), [(None, Some(u64::MAX))], "whatever it was, it is gone");
    }

    #[test]
    fn what_redis_lost_is_read_from_the_ring() {
        let (mut ring, now, shard, impi) =
            (Ring::default(), Instant::now(), ShardId::of(NAME), Impi::new(NAME).unwrap());
        assert_eq!(ring.last_word(shard, &impi, None, now), None, "nothing is known");
        ring.note(&save(2), &fence(1), None, now);
        let saved = |word: Option<LastWord>| matches!(word, Some(LastWord::Saved(_)));
        assert!(saved(ring.last_word(shard, &impi, None, now)));
        assert!(saved(ring.last_word(shard, &impi, Some(1), now)));
        assert_eq!(ring.last_word(shard, &impi, Some(2), now), None, "Redis has it");
        assert_eq!(ring.last_word(shard, &impi, Some(3), now), None, "Redis has what came later");
        ring.note(&erase(), &fence(1), Some(2), now);
        assert_eq!(ring.last_word(shard, &impi, Some(2), now), Some(LastWord::Erased));
        assert_eq!(ring.last_word(shard, &impi, None, now), None);
        ring.note(&save(1), &fence(1), None, now);
        assert!(saved(ring.last_word(shard, &impi, Some(2), now)), "a record of its former life");
    }

    #[test]
    fn what_was_written_before_another_owner_is_forgotten() {
        let (mut ring, now, shard) = (Ring::default(), Instant::now(), ShardId::of(NAME));
        ring.note(&save(1), &fence(1), None, now);
        ring.owned(shard, &fence(1));
        assert_eq!(kept(&mut ring, now).len(), 1);
        let entry = ring.of(shard, now).remove(0);
        ring.restored(&entry, &fence(2));
        ring.owned(shard, &fence(2));
        assert_eq!(kept(&mut ring, now).len(), 1);
        ring.owned(shard, &fence(4));
        assert_eq!((kept(&mut ring, now).len(), ring.octets), (0, 0));
    }

    #[test]
    fn the_ring_is_bounded() {
        let (mut ring, now) = (Ring::default(), Instant::now());
        let record = vec![0; OCTETS / 4].into_boxed_slice();
        for number in 0..20 {
            let impi = Impi::new(&format!("user{number}@a")).unwrap();
            let what = What::Save {
                version: 1,
                record: record.clone(),
                deadline: "inf".into(),
                impus: Box::new([]),
            };
            let change = Change { shard: ShardId::of(impi.as_str()), impi, what };
            ring.note(&Arc::new(change), &fence(1), None, now);
            assert!(ring.octets <= OCTETS);
        }
        assert_eq!(ring.order.len(), 3, "those of the last changes");
    }
}
