//! Where requests enter the network, of several nodes: any for each request, or one for each user until it does not answer.
//! What a silent node was sent goes to another (RFC 3263 §4.3), and others are preferred to it for a while.

use std::{collections::BTreeMap, net::SocketAddr, str::FromStr, time::Duration};
use tokio::time::Instant;

/// How a node is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Entry {
    /// Any, for each request.
    #[default]
    Random,
    /// One for each user, until it does not answer.
    Sticky,
}

impl FromStr for Entry {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "random" => Ok(Self::Random),
            "sticky" => Ok(Self::Sticky),
            _ => Err("expected random or sticky"),
        }
    }
}

/// How long a node is set aside that was silent.
const ASIDE: Duration = Duration::from_secs(5);

/// The nodes, and which of them is whose.
#[derive(Debug)]
pub(super) struct Entries {
    nodes: Vec<Node>,
    how: Entry,
    /// Of each user, the node it keeps to.
    kept: Vec<u16>,
    chance: u64,
}

#[derive(Debug)]
struct Node {
    address: SocketAddr,
    heard: Option<Instant>,
    /// Until when others are preferred to it.
    aside: Option<Instant>,
    /// How often it fell silent.
    silences: u64,
}

impl Node {
    fn is_aside(&self, now: Instant) -> bool {
        self.aside.is_some_and(|until| until > now)
    }
}

impl Entries {
    /// At least one node is there, as the plan sees to.
    pub(super) fn new(nodes: &[SocketAddr], how: Entry, users: usize, chance: u32) -> Self {
        let kept = (0..users).map(|user| (user % nodes.len().max(1)) as u16).collect();
        let node = |address: &SocketAddr| Node { address: *address, heard: None, aside: None, silences: 0 };
        Self { nodes: nodes.iter().map(node).collect(), how, kept, chance: u64::from(chance) }
    }

    /// The node to which the next request of a user goes, by its number: one that is not set aside, if there is any.
    pub(super) fn choose(&mut self, user: u32, now: Instant) -> u16 {
        let wanted = match self.how {
            Entry::Random => self.draw(self.nodes.len()),
            Entry::Sticky => usize::from(self.kept[user as usize]),
        };
        let chosen = if self.nodes[wanted].is_aside(now) { self.other(wanted, now) } else { wanted };
        self.settle(user, chosen, now)
    }

    /// Where a request goes again that was not answered by `former`: to another node, if there is one.
    pub(super) fn elsewhere(&mut self, user: u32, former: u16, now: Instant) -> u16 {
        let next = self.other(usize::from(former), now);
        self.settle(user, next, now)
    }

    /// RFC 3263 §4.3 — a request that left at `since` was not answered by a node. If nothing else came from there either, the
    /// node is set aside for a while.
    pub(super) fn unanswered(&mut self, node: u16, since: Instant, now: Instant) {
        let alone = self.nodes.len() == 1;
        let node = &mut self.nodes[usize::from(node)];
        if !alone && !node.is_aside(now) && node.heard.is_none_or(|at| at < since) {
            node.aside = Some(now + ASIDE);
            node.silences += 1;
        }
    }

    /// Something came from there.
    pub(super) fn heard(&mut self, address: SocketAddr, now: Instant) {
        if let Some(node) = self.nodes.iter_mut().find(|node| node.address == address) {
            node.heard = Some(now);
            node.aside = None;
        }
    }

    pub(super) fn address(&self, node: u16) -> SocketAddr {
        self.nodes[usize::from(node)].address
    }

    /// Which of several it is.
    pub(super) fn of_several(&self, address: SocketAddr) -> Option<u16> {
        let at = self.nodes.iter().position(|node| node.address == address)?;
        (self.nodes.len() > 1).then_some(at as u16)
    }

    /// How often each fell silent, of those that did.
    pub(super) fn silences(&self) -> BTreeMap<String, u64> {
        let silent = self.nodes.iter().filter(|node| node.silences > 0);
        silent.map(|node| (node.address.to_string(), node.silences)).collect()
    }

    /// Another node than `former`, if there is one; if one is not set aside, such a one.
    fn other(&mut self, former: usize, now: Instant) -> usize {
        let all = self.nodes.len();
        let others = (1..all).map(|ahead| (former + ahead) % all);
        let mut able: Vec<usize> = others.clone().filter(|node| !self.nodes[*node].is_aside(now)).collect();
        if able.is_empty() {
            able = others.collect();
        }
        match (able.len(), self.how) {
            (0, _) => former,
            (_, Entry::Sticky) => able[0],
            (count, Entry::Random) => able[self.draw(count)],
        }
    }

    /// A user's request goes there. Whoever tries a node again that was set aside does so alone, until it is heard of.
    fn settle(&mut self, user: u32, node: usize, now: Instant) -> u16 {
        if let Some(aside) = &mut self.nodes[node].aside {
            *aside = (*aside).max(now + ASIDE);
        }
        self.kept[user as usize] = node as u16;
        node as u16
    }

    /// A number below `all`, by SplitMix64.
    fn draw(&mut self, all: usize) -> usize {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.chance ^ (self.chance >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed >> 32) as usize) % all.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(nodes: u16, how: Entry) -> Entries {
        let nodes: Vec<SocketAddr> = (0..nodes).map(|node| ([127, 0, 0, 1], 5060 + node).into()).collect();
        Entries::new(&nodes, how, 6, 7)
    }

    #[test]
    fn any_node_comes_up_and_another_one_after_silence() {
        let (mut entries, now) = (entries(3, Entry::Random), Instant::now());
        let mut seen = BTreeMap::new();
        for _ in 0..300 {
            let node = entries.choose(0, now);
            *seen.entry(node).or_insert(0) += 1;
            assert_ne!(entries.elsewhere(0, node, now), node);
        }
        assert!(seen.len() == 3 && seen.values().all(|count| *count > 60), "{seen:?}");
    }

    #[test]
    fn a_user_keeps_its_node_until_that_is_silent() {
        let (mut entries, now) = (entries(3, Entry::Sticky), Instant::now());
        let first = entries.choose(4, now);
        assert_eq!(first, 1);
        assert_eq!(entries.choose(4, now), first);
        let second = entries.elsewhere(4, first, now);
        assert_eq!((second, entries.choose(4, now)), (2, second));
        assert_eq!(entries.choose(1, now), 1, "others keep theirs");
        assert_eq!(entries.of_several(entries.address(2)), Some(2));
    }

    #[test]
    fn one_node_alone_is_always_the_one() {
        let (mut entries, now) = (entries(1, Entry::Random), Instant::now());
        let only = entries.choose(3, now);
        entries.unanswered(only, now, now);
        assert_eq!(entries.elsewhere(3, only, now), only);
        assert_eq!((entries.choose(3, now), entries.silences().len()), (only, 0));
        assert_eq!(entries.of_several(entries.address(only)), None);
    }

    #[test]
    fn a_silent_node_is_set_aside_and_tried_again_by_one() {
        for how in [Entry::Random, Entry::Sticky] {
            let (mut entries, begun) = (entries(3, how), Instant::now());
            let silent = entries.address(1);
            let later = begun + Duration::from_millis(500);
            entries.heard(silent, later);
            entries.unanswered(1, begun, later);
            assert!(entries.silences().is_empty(), "one answer is late, and the node lives");
            entries.unanswered(1, later + ASIDE / 10, later + ASIDE / 5);
            entries.unanswered(1, later + ASIDE / 10, later + ASIDE / 4);
            assert_eq!(entries.silences(), BTreeMap::from([(silent.to_string(), 1)]));
            let tried = |entries: &mut Entries, now| {
                (0..60).filter(|turn| entries.choose(turn % 6, now) == 1).count()
            };
            assert_eq!(tried(&mut entries, later + ASIDE / 2), 0, "{how:?}");
            entries.kept.fill(1);
            assert_eq!(tried(&mut entries, later + 2 * ASIDE), 1, "{how:?}");
            entries.kept.fill(1);
            entries.heard(silent, later + 2 * ASIDE);
            assert!(tried(&mut entries, later + 2 * ASIDE) > 9, "{how:?}");
        }
    }

    #[test]
    fn when_all_are_silent_all_are_tried() {
        let (mut entries, now) = (entries(2, Entry::Random), Instant::now());
        (0..2).for_each(|node| entries.unanswered(node, now, now));
        let chosen: std::collections::BTreeSet<u16> = (0..40).map(|_| entries.choose(0, now)).collect();
        assert_eq!(chosen.len(), 2);
    }
}
