//! RFC 3263 §4.3 — the places a request may go to, in the order in which they are tried.

use sip::Transport as Kind;
use std::net::SocketAddr;
use std::rc::Rc;

/// Places kept for one name, and tried for one request.
pub(crate) const MOST: usize = 8;

/// One place that a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) transport: Kind,
    pub(crate) address: SocketAddr,
    pub(crate) rank: Rank,
    /// Share among the records of one rank.
    pub(crate) weight: u16,
    /// Addresses of one record stay together.
    pub(crate) record: u8,
}

/// The lower goes first: by target, then by service, then by the priority of SRV.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank(pub(crate) u8, pub(crate) u8, pub(crate) u16);

/// What a URI says beside its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Only places of this transport, if there are any.
    pub(crate) transport: Option<Kind>,
    /// Whatever the place says, it is meant with these.
    pub(crate) forced: Option<(Kind, u16)>,
}

/// Where a request goes now, and where next.
#[derive(Clone, Debug)]
pub(crate) struct Candidates {
    list: List,
    order: Order,
}

#[derive(Clone, Debug)]
enum List {
    One(Kind, SocketAddr),
    Places(Rc<[Place]>, Option<(Kind, u16)>),
}

impl Candidates {
    pub(crate) fn one(transport: Kind, address: SocketAddr) -> Self {
        Self { list: List::One(transport, address), order: Order { first: 0, left: 1 } }
    }

    /// Draws an order; `None` if there is no place.
    pub(crate) fn drawn(
        places: &Rc<[Place]>,
        wish: Wish,
        chance: u64,
        is_dead: impl Fn(Kind, SocketAddr) -> bool,
    ) -> Option<Self> {
        let wanted = mask(places, |place| wish.transport.is_none_or(|kind| kind == place.transport));
        let eligible = if wanted == 0 { mask(places, |_| true) } else { wanted };
        let dead = mask(places, |place| {
            let (transport, address) = meant(place, wish.forced);
            is_dead(transport, address)
        });
        let order = draw(places, eligible, chance).last(dead);
        (order.left > 0).then(|| Self { list: List::Places(Rc::clone(places), wish.forced), order })
    }

    pub(crate) fn current(&self) -> (Kind, SocketAddr) {
        match &self.list {
            List::One(transport, address) => (*transport, *address),
            List::Places(places, forced) => meant(&places[self.order.first()], *forced),
        }
    }

    pub(crate) fn is_last(&self) -> bool {
        self.order.left <= 1
    }

    /// Goes on to the next place, if there is one.
    pub(crate) fn advance(&mut self) -> bool {
        let more = !self.is_last();
        if more {
            self.order.pop();
        }
        more
    }

    /// Whether the current place was found by a name, which may lead elsewhere as well.
    pub(crate) fn is_named(&self) -> bool {
        matches!(self.list, List::Places(..))
    }
}

fn meant(place: &Place, forced: Option<(Kind, u16)>) -> (Kind, SocketAddr) {
    match forced {
        Some((transport, port)) => (transport, SocketAddr::new(place.address.ip(), port)),
        None => (place.transport, place.address),
    }
}

/// One bit for each of the first [`MOST`] places that `which` holds for.
fn mask(places: &[Place], which: impl Fn(&Place) -> bool) -> u8 {
    let numbered = (0u8..).zip(places.iter().take(MOST));
    numbered.filter(|(_, place)| which(place)).fold(0, |mask, (at, _)| mask | 1 << at)
}

/// Up to [`MOST`] indices, four bits each, the first lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Order {
    first: u32,
    left: u8,
}

impl Order {
    fn first(self) -> usize {
        (self.first & 0xf) as usize
    }

    fn pop(&mut self) -> usize {
        let first = self.first();
        self.first >>= 4;
        self.left -= 1;
        first
    }

    fn push(&mut self, index: usize) {
        self.first |= (index as u32 & 0xf) << (4 * u32::from(self.left));
        self.left += 1;
    }

    /// The same, but those in the mask last.
    fn last(self, mask: u8) -> Self {
        if mask == 0 {
            return self;
        }
        let mut sorted = Self::default();
        for of_mask in [false, true] {
            let mut rest = self;
            while rest.left > 0 {
                let index = rest.pop();
                if (mask & 1 << index != 0) == of_mask {
                    sorted.push(index);
                }
            }
        }
        sorted
    }
}

/// By rank; among records of one rank by chance in proportion to their weights.
fn draw(places: &[Place], mut left: u8, mut chance: u64) -> Order {
    let mut order = Order::default();
    while let Some(rank) = chosen(places, left).map(|(_, place)| place.rank).min() {
        let group = left & mask(places, |place| place.rank == rank);
        let record = pick(places, group, &mut chance);
        for (index, _) in chosen(places, group).filter(|(_, place)| place.record == record) {
            order.push(index);
            left &= !(1 << index);
        }
    }
    order
}

fn chosen(places: &[Place], mask: u8) -> impl Iterator<Item = (usize, &Place)> + Clone {
    places.iter().take(MOST).enumerate().filter(move |(index, _)| mask & 1 << index != 0)
}

/// RFC 2782: records without weight first, a number from zero to the sum, and the first record whose running sum reaches it.
fn pick(places: &[Place], group: u8, chance: &mut u64) -> u8 {
    let mut known = None;
    // The addresses of a record stand side by side, and only the first of them counts.
    let records = chosen(places, group)
        .map(|(_, place)| place)
        .filter(move |place| known.replace(place.record) != Some(place.record));
    let total: u32 = records.clone().map(|place| u32::from(place.weight)).sum();
    let mark = u64::from(total) + 1;
    *chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let mark = (*chance >> 33) % mark;
    let mut sum = 0;
    let light = records.clone().filter(|place| place.weight == 0);
    for place in light.chain(records.filter(|place| place.weight > 0)) {
        sum += u64::from(place.weight);
        if sum >= mark {
            return place.record;
        }
    }
    0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn place(last: u8, rank: (u8, u16), weight: u16, record: u8) -> Place {
        let transport = if rank.0 == 0 { Kind::Udp } else { Kind::Tcp };
        let address = SocketAddr::from(([192, 0, 2, last], 5060));
        Place { transport, address, rank: Rank(0, rank.0, rank.1), weight, record }
    }

    fn all(mut candidates: Candidates) -> Vec<u8> {
        let mut found = Vec::new();
        loop {
            let SocketAddr::V4(address) = candidates.current().1 else { panic!("{candidates:?}") };
            found.push(address.ip().octets()[3]);
            if !candidates.advance() {
                return found;
            }
        }
    }

    fn drawn(places: &[Place], chance: u64) -> Vec<u8> {
        all(Candidates::drawn(&places.into(), Wish::default(), chance, |_, _| false).unwrap())
    }

    #[test]
    fn services_then_priorities_decide_before_weights() {
        let places = [
            place(1, (0, 10), 1, 0),
            place(2, (0, 20), 60_000, 1),
            place(3, (1, 5), 9, 2),
            place(4, (1, 0), 9, 3),
        ];
        for chance in 0..100 {
            assert_eq!(drawn(&places, chance), [1, 2, 4, 3]);
        }
    }

    #[test]
    fn weights_share_the_first_place_in_proportion() {
        let places = [place(1, (0, 1), 1, 0), place(2, (0, 1), 3, 1), place(3, (0, 1), 0, 2)];
        let mut first = [0u32; 4];
        for chance in 0..10_000u64 {
            let order = drawn(&places, chance.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            assert_eq!(order.len(), 3);
            first[usize::from(order[0])] += 1;
        }
        // Of the marks 0 to 4 one falls to the record without weight, one to the light, three to the heavy one.
        assert!((1_700..2_300).contains(&first[3]), "{first:?}");
        assert!((1_700..2_300).contains(&first[1]), "{first:?}");
        assert!((5_600..6_400).contains(&first[2]), "{first:?}");
    }

    #[test]
    fn equals_without_weight_keep_their_order_and_addresses_of_one_record_stay_together() {
        let plain = [place(1, (0, 0), 0, 0), place(2, (0, 0), 0, 1), place(3, (0, 0), 0, 2)];
        assert_eq!(drawn(&plain, 77), [1, 2, 3]);
        let pairs =
            [place(1, (0, 0), 1, 0), place(2, (0, 0), 1, 0), place(3, (0, 0), 1, 1), place(4, (0, 0), 1, 1)];
        let orders: std::collections::BTreeSet<_> = (0..200).map(|chance| drawn(&pairs, chance)).collect();
        assert_eq!(orders, [vec![1, 2, 3, 4], vec![3, 4, 1, 2]].into());
    }

    #[test]
    fn the_dead_are_tried_last_and_not_forgotten() {
        let places: Rc<[Place]> =
            [place(1, (0, 1), 0, 0), place(2, (0, 2), 0, 1), place(3, (1, 1), 0, 2)].into();
        let dead = |_, address: SocketAddr| address.ip().to_string() == "192.0.2.1";
        let order = |dead: &dyn Fn(Kind, SocketAddr) -> bool| {
            all(Candidates::drawn(&places, Wish::default(), 0, dead).unwrap())
        };
        assert_eq!(order(&dead), [2, 3, 1]);
        assert_eq!(order(&|_, _| true), [1, 2, 3]);
    }

    #[test]
    fn a_uri_that_names_its_transport_gets_it_if_there_is_one() {
        let places: Rc<[Place]> = [place(1, (0, 1), 0, 0), place(2, (1, 1), 0, 1)].into();
        let order = |transport| {
            let wish = Wish { transport, forced: None };
            all(Candidates::drawn(&places, wish, 0, |_, _| false).unwrap())
        };
        assert_eq!(order(Some(Kind::Tcp)), [2]);
        assert_eq!(order(Some(Kind::Udp)), [1]);
        let only: Rc<[Place]> = [place(1, (0, 1), 0, 0)].into();
        let wish = Wish { transport: Some(Kind::Tcp), forced: None };
        assert_eq!(all(Candidates::drawn(&only, wish, 0, |_, _| false).unwrap()), [1]);
        let wish = Wish { transport: None, forced: Some((Kind::Tcp, 5070)) };
        let forced = Candidates::drawn(&only, wish, 0, |_, _| false).unwrap();
        assert_eq!(forced.current(), (Kind::Tcp, "192.0.2.1:5070".parse().unwrap()));
    }

    #[test]
    fn there_is_no_way_to_nowhere_and_never_more_than_the_cap() {
        assert!(Candidates::drawn(&Rc::from([]), Wish::default(), 0, |_, _| false).is_none());
        let many: Vec<Place> = (0..20).map(|n| place(n, (0, 0), 5, n)).collect();
        let mut order = drawn(&many, 3);
        order.sort_unstable();
        assert_eq!(order, (0..8).collect::<Vec<u8>>());
        let mut one = Candidates::one(Kind::Udp, "192.0.2.1:5060".parse().unwrap());
        assert!(one.is_last() && !one.advance() && !one.is_named());
    }
}
