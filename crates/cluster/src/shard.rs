//! Users are sharded by a hash that never changes: a record written by one release is found by the next.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One of [`ShardId::COUNT`] shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct ShardId(u16);

impl ShardId {
    /// How many there are. Part of the layout of every store: it is never changed.
    pub const COUNT: u16 = 1024;

    /// The shard of this number, if there is one.
    pub const fn new(number: u16) -> Option<Self> {
        if number < Self::COUNT { Some(Self(number)) } else { None }
    }

    /// The shard that holds `key`: FNV-1a over its octets, finished by SplitMix64 so that every bit counts.
    pub const fn of(key: &str) -> Self {
        let octets = key.as_bytes();
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let mut at = 0;
        while at < octets.len() {
            hash = (hash ^ octets[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
            at += 1;
        }
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(((hash ^ (hash >> 31)) % Self::COUNT as u64) as u16)
    }

    /// Its number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// All of them in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{:04}", self.0)
    }
}

impl From<ShardId> for u16 {
    fn from(shard: ShardId) -> Self {
        shard.0
    }
}

impl TryFrom<u16> for ShardId {
    type Error = &'static str;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        Self::new(number).ok_or("no such shard")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_same_for_ever() {
        for (key, shard) in FIXED {
            assert_eq!(ShardId::of(key).number(), shard, "{key}");
        }
    }

    const FIXED: [(&str, u16); 4] = [
        ("", 155),
        ("alice@ims.mnc001.mcc001.3gppnetwork.org", 854),
        ("bob@ims.mnc001.mcc001.3gppnetwork.org", 900),
        ("user000001@ims.mnc001.mcc001.3gppnetwork.org", 66),
    ];

    #[test]
    fn consecutive_names_spread_over_all_shards() {
        let mut counts = vec![0u32; usize::from(ShardId::COUNT)];
        for number in 0..100_000 {
            let shard = ShardId::of(&format!("user{number:06}@ims.mnc001.mcc001.3gppnetwork.org"));
            counts[usize::from(shard.number())] += 1;
        }
        let (least, most) = (counts.iter().min().copied(), counts.iter().max().copied());
        assert!(least > Some(58) && most < Some(140), "98 expected, {least:?} to {most:?} found");
        let mean = 100_000.0 / f64::from(ShardId::COUNT);
        let chi: f64 = counts.iter().map(|&count| (f64::from(count) - mean).powi(2) / mean).sum();
        assert!((850.0..1200.0).contains(&chi), "chi-square {chi} of 1023 degrees of freedom");
    }

    #[test]
    fn numbers_outside_are_no_shards() {
        assert_eq!(ShardId::new(1023).map(ShardId::number), Some(1023));
        assert_eq!(ShardId::new(1024), None);
        assert_eq!(ShardId::all().count(), 1024);
        assert_eq!(ShardId::new(42).map(|shard| shard.to_string()).as_deref(), Some("s0042"));
    }
}
