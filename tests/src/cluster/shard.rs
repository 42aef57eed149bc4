//! Which shard a user is in, written down once more: what a store holds must be found by every release.

/// How many shards there are.
pub(super) const COUNT: u16 = 1024;

/// The shard of a private user identity: FNV-1a of its octets, through the finalizer of SplitMix64, modulo 1024.
pub fn shard_of(impi: &str) -> u16 {
    let fnv = impi.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) % u64::from(COUNT)) as u16
}

#[cfg(test)]
mod tests {
    #[test]
    fn users_are_where_they_always_were() {
        for (name, shard) in [("alice", 854), ("bob", 900), ("user000001", 66)] {
            assert_eq!(super::shard_of(&format!("{name}@{}", crate::DOMAIN)), shard, "{name}");
        }
    }
}
