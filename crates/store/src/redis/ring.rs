//! What was written lately, so that a Redis that lost it can be told again.
//!
//! **Invariant: for each user there is the last change that Redis acknowledged to this process, or that somebody read, as long as this
//! process owns the shard without a break.** What Redis has of such a user after a failure is that, or an earlier state of the same
//! history. A change of unknown outcome stands beside it until a look at the record tells.

use super::change::{Change, What};
use super::doubts::Doubts;
use cluster::{Fence, ShardId};
use scscf::Impi;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// So long a change is kept, measured while Redis is known to live.
const KEPT: Duration = Duration::from_secs(10);
/// So many octets are kept at most, those of the last changes.
const OCTETS: usize = 64 << 20;
/// So many changes are remembered at most, those included that were overtaken.
const CHANGES: usize = 200_000;

/// The last changes of one group.
#[derive(Default)]
pub(super) struct Ring {
    shards: BTreeMap<ShardId, BTreeMap<Impi, Kept>>,
    /// When which change was made; those that were overtaken meanwhile are passed over.
    order: VecDeque<(Instant, u64, ShardId, Impi)>,
    octets: usize,
    last: u64,
    /// Redis lives in another run since this: what it may have lost is kept until there was time to tell it.
    another_run: Option<Instant>,
    pub(super) doubts: Doubts,
}

/// What this process wrote last of a user.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LastWord {
    Saved(Box<[u8]>),
    Erased,
}

/// How a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Redis has it; an erasure says which version it ended, if there was a record.
    Acknowledged { erased: Option<u64> },
    /// It may have been carried out.
    Unknown,
}

/// The last changes of a user.
#[derive(Default)]
struct Kept {
    certain: Option<Entry>,
    /// One that came after it, if it was carried out.
    doubtful: Option<Entry>,
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

/// Up to where a record is of a former life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FormerLife {
    /// Its last version.
    pub(super) end: u64,
    /// The write that is of the present life all the same.
    pub(super) but: Option<u64>,
}

impl Ring {
    /// Redis was asked for `change`.
    pub(super) fn note(&mut self, change: &Arc<Change>, fence: &Arc<Fence>, outcome: Outcome, now: Instant) {
        self.last += 1;
        let entry =
            Entry { change: Arc::clone(change), fence: Arc::clone(fence), erased: None, number: self.last };
        let kept = self.shards.entry(change.shard).or_default().entry(change.impi.clone()).or_default();
        self.octets += change.size();
        match outcome {
            Outcome::Acknowledged { erased } => self.octets -= kept.certain(entry, erased),
            Outcome::Unknown => {
                self.octets -= kept.doubtful.replace(entry).map_or(0, |before| before.change.size());
                self.doubts.arise(change.shard);
            }
        }
        self.order.push_back((now, self.last, change.shard, change.impi.clone()));
        self.shed(None);
    }

    /// A lease that was asked for `then` was renewed: what Redis had some time before, it has still, unless this is another run.
    pub(super) fn lived(&mut self, then: Instant, is_another_run: bool) {
        if is_another_run {
            self.another_run = Some(then);
        }
        if self.another_run.is_none_or(|since| then.duration_since(since) > KEPT) {
            self.shed(Some(then));
        }
    }

    fn shed(&mut self, lived: Option<Instant>) {
        while let Some((at, ..)) = self.order.front()
            && (lived.is_some_and(|lived| lived.duration_since(*at) > KEPT)
                || self.octets > OCTETS
                || self.order.len() > CHANGES)
            && let Some((_, number, shard, impi)) = self.order.pop_front()
        {
            let Some(users) = self.shards.get_mut(&shard) else { continue };
            if let Some(kept) = users.get_mut(&impi) {
                self.octets -= kept.shed(number);
                if kept.certain.is_none() && kept.doubtful.is_none() {
                    users.remove(&impi);
                }
            }
            if users.is_empty() {
                self.shards.remove(&shard);
            }
        }
    }

    /// The changes of a shard.
    pub(super) fn of(&self, shard: ShardId) -> Vec<Entry> {
        let users = self.shards.get(&shard).into_iter().flat_map(BTreeMap::values);
        users.filter_map(|kept| kept.certain.clone()).collect()
    }

    /// What became last of a user of whom Redis has `stored`, if Redis has lost that.
    pub(super) fn last_word(&self, shard: ShardId, impi: &Impi, stored: Option<u64>) -> Option<LastWord> {
        let entry = self.shards.get(&shard)?.get(impi)?.certain.as_ref()?;
        let is_of_a_former_life = stored.is_some_and(|stored| entry.erased.is_some_and(|end| stored <= end));
        match &entry.change.what {
            What::Save { version, record, .. } => {
                let is_lost = is_of_a_former_life || stored.is_none_or(|stored| stored < *version);
                is_lost.then(|| LastWord::Saved(record.clone()))
            }
            What::Erase => is_of_a_former_life.then_some(LastWord::Erased),
        }
    }

    /// The number of the last change that there is.
    pub(super) fn number(&self) -> u64 {
        self.last
    }

    /// Somebody looked at a record whose version and write id are `stored`, when the outcome of every change up to `number` was
    /// certain: so is now whether this user's was carried out.
    pub(super) fn looked(&mut self, shard: ShardId, impi: &Impi, stored: Option<(u64, u64)>, number: u64) {
        let Some(kept) = self.shards.get_mut(&shard).and_then(|users| users.get_mut(impi)) else { return };
        let Some(doubtful) = kept.doubtful.take_if(|doubtful| doubtful.number <= number) else { return };
        let was_carried_out = match &doubtful.change.what {
            What::Save { version, write_id, .. } => stored == Some((*version, *write_id)),
            What::Erase => stored.is_none(),
        };
        if was_carried_out {
            self.octets -= kept.certain(doubtful, None);
        } else {
            self.octets -= doubtful.change.size();
        }
    }

    /// Which records of a user are of a former life, for a save under `fence`; nothing while it is not certain what there is.
    pub(super) fn former_life(&self, shard: ShardId, impi: &Impi, fence: &Fence) -> Option<FormerLife> {
        let kept = self.shards.get(&shard)?.get(impi)?;
        let entry = kept.certain.as_ref().filter(|_| kept.doubtful.is_none())?;
        let is_owner_still = entry.fence.node == fence.node
            && entry.fence.incarnation == fence.incarnation
            && fence.epoch <= entry.fence.epoch + 1;
        let but = match &entry.change.what {
            What::Save { write_id, .. } => Some(*write_id),
            What::Erase => None,
        };
        entry.erased.filter(|_| is_owner_still).map(|end| FormerLife { end, but })
    }

    /// Redis has `entry`, or something later, under `fence`.
    pub(super) fn restored(&mut self, entry: &Entry, fence: &Arc<Fence>) {
        let users = self.shards.get_mut(&entry.change.shard);
        let kept = users.and_then(|users| users.get_mut(&entry.change.impi));
        if let Some(kept) = kept.and_then(|kept| kept.certain.as_mut())
            && kept.number == entry.number
        {
            kept.fence = Arc::clone(fence);
        }
    }

    /// Somebody else owned the shard, or will: what this process wrote is no more the last word.
    pub(super) fn forget(&mut self, shard: ShardId) {
        if let Some(users) = self.shards.remove(&shard) {
            self.octets -=
                users.values().flat_map(Kept::entries).map(|entry| entry.change.size()).sum::<usize>();
        }
    }

    /// Forgets a shard unless its last changes were made under `fence`.
    pub(super) fn owned(&mut self, shard: ShardId, fence: &Fence) {
        let users = self.shards.get(&shard).into_iter().flat_map(BTreeMap::values);
        if users.flat_map(Kept::entries).any(|entry| *entry.fence != *fence) {
            self.forget(shard);
        }
    }

    /// The last changes of all shards.
    pub(super) fn all(&self) -> impl Iterator<Item = &Entry> {
        self.shards.values().flat_map(BTreeMap::values).filter_map(|kept| kept.certain.as_ref())
    }
}

impl Kept {
    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.certain.iter().chain(&self.doubtful)
    }

    /// `entry` is the last change; returns the octets of those before it.
    fn certain(&mut self, entry: Entry, erased: Option<u64>) -> usize {
        let before = [self.certain.take(), self.doubtful.take()];
        let erased = match &entry.change.what {
            What::Save { .. } => before[0].as_ref().and_then(|before| before.erased),
            What::Erase => {
                let known = before.iter().flatten().map(|before| before.version().max(before.erased));
                // If nothing is known: whatever it was, Redis had it no more when it was asked a second time.
                known.max().flatten().max(erased).or(Some(u64::MAX))
            }
        };
        self.certain = Some(Entry { erased, ..entry });
        before.iter().flatten().map(|before| before.change.size()).sum()
    }

    /// Change `number` has been kept long enough; returns its octets, 0 if it was overtaken.
    fn shed(&mut self, number: u64) -> usize {
        let shed = [&mut self.certain, &mut self.doubtful]
            .map(|entry| entry.take_if(|entry| entry.number == number));
        shed.iter().flatten().map(|entry| entry.change.size()).sum()
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
mod tests;
