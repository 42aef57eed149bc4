//! Shards in which a record may be what it is only for a moment: a write of unknown outcome may still come, or no replica has it yet.

use cluster::ShardId;
use std::collections::BTreeMap;

/// The shards of one group in which nothing is read before what Redis has is settled.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    shards: BTreeMap<ShardId, u64>,
    last: u64,
}

impl Doubts {
    /// There is doubt about a shard from now on.
    pub(super) fn arise(&mut self, shard: ShardId) {
        self.last += 1;
        self.shards.insert(shard, self.last);
    }

    /// The doubt about a shard, if there is any.
    pub(super) fn about(&self, shard: ShardId) -> Option<u64> {
        self.shards.get(&shard).copied()
    }

    /// What gave rise to `doubt` is settled; what came later is not.
    pub(super) fn settle(&mut self, shard: ShardId, doubt: u64) {
        if self.about(shard) == Some(doubt) {
            self.shards.remove(&shard);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_came_later_is_not_settled() {
        let (mut doubts, shard) = (Doubts::default(), ShardId::new(3).unwrap());
        assert_eq!(doubts.about(shard), None);
        doubts.arise(shard);
        let first = doubts.about(shard).unwrap();
        doubts.arise(shard);
        doubts.settle(shard, first);
        let second = doubts.about(shard).unwrap();
        assert_ne!(first, second);
        doubts.settle(shard, second);
        assert_eq!(doubts.about(shard), None);
    }
}
