//! Who should own which shard: rendezvous hashing with equal room for all. Every node finds the same answer by itself.
//!
//! Each pair of shard and node has a score that never changes. The pairs are looked at from the highest score down, and a
//! shard goes to a node as long as that has room. Nobody gets more than one shard above anybody else.

use crate::ShardId;

/// For each of `shards`, in their order, which of `nodes` should own it; nothing if there are no nodes.
///
/// The order of `nodes` does not matter, and neither does that of `shards`.
pub fn place(shards: &[ShardId], nodes: &[&str]) -> Vec<usize> {
    if nodes.is_empty() {
        return Vec::new();
    }
    let seeds: Vec<u64> = nodes.iter().map(|node| fnv(node)).collect();
    let mut pairs: Vec<(u64, usize, usize)> = Vec::with_capacity(shards.len() * nodes.len());
    for (place, shard) in shards.iter().enumerate() {
        pairs.extend(seeds.iter().enumerate().map(|(node, seed)| (score(*seed, *shard), place, node)));
    }
    pairs.sort_unstable_by(|one, other| {
        let key = |pair: &(u64, usize, usize)| (pair.0, shards[pair.1], nodes[pair.2]);
        key(other).cmp(&key(one))
    });
    let room = shards.len() / nodes.len();
    let mut larger = shards.len() % nodes.len();
    let mut counts = vec![0; nodes.len()];
    let mut placed = vec![None; shards.len()];
    for (_, place, node) in pairs {
        if placed[place].is_some() || counts[node] > room || (counts[node] == room && larger == 0) {
            continue;
        }
        if counts[node] == room {
            larger -= 1;
        }
        counts[node] += 1;
        placed[place] = Some(node);
    }
    placed.into_iter().flatten().collect()
}

/// FNV-1a.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// SplitMix64 of both.
fn score(seed: u64, shard: ShardId) -> u64 {
    mixed(seed ^ mixed(u64::from(shard.number())))
}

fn mixed(number: u64) -> u64 {
    let hash = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn placed<'a>(nodes: &[&'a str]) -> Vec<&'a str> {
        let shards: Vec<ShardId> = ShardId::all().collect();
        place(&shards, nodes).into_iter().map(|node| nodes[node]).collect()
    }

    fn counts<'a>(placed: &[&'a str]) -> BTreeMap<&'a str, usize> {
        let mut counts = BTreeMap::new();
        for node in placed {
            *counts.entry(*node).or_default() += 1;
        }
        counts
    }

    fn moved(before: &[&str], after: &[&str]) -> usize {
        before.iter().zip(after).filter(|(before, after)| before != after).count()
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("scscf-{number}")).collect()
    }

    #[test]
    fn the_places_are_the_same_for_ever() {
        let placed = placed(&["n1", "n2", "n3"]);
        assert_eq!(placed[..12], FIRST);
        let all = placed.join(" ");
        assert_eq!(fnv(&all), ALL);
    }

    const FIRST: [&str; 12] = ["n3", "n3", "n3", "n3", "n3", "n1", "n1", "n3", "n2", "n1", "n3", "n2"];
    const ALL: u64 = 12_026_371_621_944_249_348;

    #[test]
    fn neither_the_order_of_nodes_nor_that_of_shards_matters() {
        let nodes = ["n1", "n2", "n3", "n4", "n5"];
        let one = placed(&nodes);
        assert_eq!(one, placed(&["n4", "n2", "n5", "n1", "n3"]));
        let backwards: Vec<ShardId> = ShardId::all().collect::<Vec<_>>().into_iter().rev().collect();
        let other: Vec<&str> = place(&backwards, &nodes).into_iter().rev().map(|node| nodes[node]).collect();
        assert_eq!(one, other);
    }

    #[test]
    fn no_node_has_more_than_one_shard_above_another() {
        for count in 1..=40 {
            let names = names(count);
            let nodes: Vec<&str> = names.iter().map(String::as_str).collect();
            let counts = counts(&placed(&nodes));
            assert_eq!(counts.len(), count);
            let (least, most) = (counts.values().min(), counts.values().max());
            assert!(least.zip(most).is_some_and(|(least, most)| most - least <= 1), "{counts:?}");
        }
    }

    #[test]
    fn a_node_that_comes_or_goes_moves_little_more_than_its_share() {
        for count in 1..=12 {
            let names = names(count + 1);
            let nodes: Vec<&str> = names.iter().map(String::as_str).collect();
            let all = placed(&nodes);
            for gone in 0..nodes.len() {
                let mut fewer = nodes.clone();
                fewer.remove(gone);
                let moved = moved(&placed(&fewer), &all) as f64;
                let share = f64::from(ShardId::COUNT) / nodes.len() as f64;
                assert!(moved < 1.4 * share, "{count} + 1: {moved} moved, {share} needed");
            }
        }
        assert_eq!(
            moved(&placed(&["n1", "n2", "n3"]), &placed(&["n1", "n2", "n3", "n4"])),
            260,
            "256 needed"
        );
    }

    #[test]
    fn few_shards_and_many_nodes_find_each_other() {
        let shards: Vec<ShardId> = ShardId::all().take(2).collect();
        let placed = place(&shards, &["a", "b", "c"]);
        assert_eq!(placed.len(), 2);
        assert_ne!(placed[0], placed[1]);
        assert_eq!(place(&shards, &[]), Vec::<usize>::new());
        assert_eq!(place(&[], &["a"]), Vec::<usize>::new());
    }
}
