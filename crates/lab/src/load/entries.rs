//! Where requests enter the network, of several nodes: any for each request, or one for each user until it does not answer.

use std::{net::SocketAddr, str::FromStr};

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

/// The nodes, and which of them is whose.
#[derive(Debug)]
pub(super) struct Entries {
    nodes: Vec<SocketAddr>,
    how: Entry,
    /// Of each user, the node it keeps to.
    kept: Vec<u16>,
    chance: u64,
}

impl Entries {
    /// At least one node is there, as the plan sees to.
    pub(super) fn new(nodes: Vec<SocketAddr>, how: Entry, users: usize, chance: u32) -> Self {
        let kept = (0..users).map(|user| (user % nodes.len().max(1)) as u16).collect();
        Self { nodes, how, kept, chance: u64::from(chance) }
    }

    /// The node to which the next request of a user goes, by its number.
    pub(super) fn choose(&mut self, user: u32) -> u16 {
        match self.how {
            Entry::Random => self.draw(self.nodes.len()) as u16,
            Entry::Sticky => self.kept[user as usize],
        }
    }

    /// Where a request goes again that was not answered by `former`: to another node, if there is one.
    pub(super) fn elsewhere(&mut self, user: u32, former: u16) -> u16 {
        let (all, former) = (self.nodes.len(), usize::from(former));
        let next = match self.how {
            _ if all == 1 => former,
            Entry::Random => (former + 1 + self.draw(all - 1)) % all,
            Entry::Sticky => (former + 1) % all,
        };
        self.kept[user as usize] = next as u16;
        next as u16
    }

    pub(super) fn address(&self, node: u16) -> SocketAddr {
        self.nodes[usize::from(node)]
    }

    /// Which of several it is.
    pub(super) fn of_several(&self, address: SocketAddr) -> Option<u16> {
        let at = self.nodes.iter().position(|node| *node == address)?;
        (self.nodes.len() > 1).then_some(at as u16)
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
        Entries::new((0..nodes).map(|node| ([127, 0, 0, 1], 5060 + node).into()).collect(), how, 6, 7)
    }

    #[test]
    fn any_node_comes_up_and_another_one_after_silence() {
        let mut entries = entries(3, Entry::Random);
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..300 {
            let node = entries.choose(0);
            *seen.entry(node).or_insert(0) += 1;
            assert_ne!(entries.elsewhere(0, node), node);
        }
        assert!(seen.len() == 3 && seen.values().all(|count| *count > 60), "{seen:?}");
    }

    #[test]
    fn a_user_keeps_its_node_until_that_is_silent() {
        let mut entries = entries(3, Entry::Sticky);
        let first = entries.choose(4);
        assert_eq!(first, 1);
        assert_eq!(entries.choose(4), first);
        let second = entries.elsewhere(4, first);
        assert_eq!((second, entries.choose(4)), (2, second));
        assert_eq!(entries.choose(1), 1, "others keep theirs");
        assert_eq!(entries.of_several(entries.address(2)), Some(2));
    }

    #[test]
    fn one_node_alone_is_always_the_one() {
        let mut entries = entries(1, Entry::Random);
        let only = entries.choose(3);
        assert_eq!(entries.elsewhere(3, only), only);
        assert_eq!(entries.of_several(entries.address(only)), None);
    }
}
