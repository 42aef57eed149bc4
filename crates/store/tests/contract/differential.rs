//! Random sequences: every kind answers what memory answers, whose leases and owners are `cluster::Registry`.

use crate::embedded::Directories;
use crate::kinds::fresh;
use crate::server::Server;
use scscf::{Impi, Impu, Timestamp, User};
use std::collections::BTreeMap;
use store::{
    Claim, Claimed, Durability, Embedded, Error, Fence, Filter, Listed, Loaded, Member, Memory, ShardId,
    Store, Write, contract,
};

const NAMES: [&str; 6] = ["a@a", "b@a", "c@a", "d@a", "e@a", "f@a"];
const IMPUS: [&str; 5] = ["sip:one@a", "sip:two@a", "sip:three@a", "tel:+15550001", "sip:five@a"];
const NODES: [&str; 3] = ["n", "x:n", "n2"];
const STEPS: usize = 400;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % below as u64).unwrap()
    }

    fn one_of<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.throw(of.len())]
    }

    fn maybe<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty() && self.throw(2) == 0).then(|| self.one_of(of).clone())
    }
}

/// One thing to do.
#[derive(Clone, Debug)]
enum Step {
    Beat(Member, bool),
    Take(Member, Vec<Claim>),
    Release(Vec<(ShardId, Fence)>),
    Leave(Member),
    Save {
        name: &'static str,
        fence: Fence,
        impus: Vec<&'static str>,
        expires: u64,
        version: u64,
        write_id: u64,
    },
    Erase(&'static str, Fence),
    Look,
}

/// What came of it.
#[derive(Debug, PartialEq)]
enum Seen {
    Beaten {
        members: Vec<Member>,
        owners: Option<Vec<(ShardId, Fence)>>,
        changes: u64,
    },
    Taken(Vec<Claimed>),
    Done(Result<(), Error>),
    State {
        loaded: Vec<Option<Loaded>>,
        holders: Vec<Vec<Impi>>,
        deadlines: Vec<(Timestamp, Impi)>,
        listed: Vec<Listed>,
    },
}

/// A store and the versions of its owners that were seen first and last, by group.
struct Side<S> {
    store: S,
    versions: BTreeMap<u16, (u64, u64)>,
}

impl<S: Store> Side<S> {
    fn new(store: S) -> Self {
        Self { store, versions: BTreeMap::new() }
    }

    fn by_group<T: Clone>(&self, of: &[T], shard: impl Fn(&T) -> ShardId) -> Vec<(u16, Vec<T>)> {
        let leases = self.store.leases();
        let its = |group| of.iter().filter(|one| leases.group_of(shard(one)) == group).cloned().collect();
        (0..leases.groups()).map(|group| (group, its(group))).collect()
    }

    async fn carry_out(&mut self, step: &Step) -> Seen {
        let leases = self.store.leases();
        match step {
            Step::Beat(member, knows) => {
                let (mut owners, mut members, mut changes) = (Some(Vec::new()), Vec::new(), 0);
                for group in 0..leases.groups() {
                    let known = self.versions.get(&group).filter(|_| *knows).map(|(_, last)| *last);
                    let beat = leases.beat(group, member, 60_000, known).wait().await.unwrap();
                    let versions = self.versions.entry(group).or_insert((beat.version, beat.version));
                    assert_eq!(known != Some(beat.version), beat.owners.is_some());
                    versions.1 = beat.version;
                    changes += beat.version - versions.0;
                    members = beat.members;
                    match (&mut owners, beat.owners) {
                        (Some(all), Some(some)) => all.extend(some),
                        (owners, _) => *owners = None,
                    }
                }
                // With several groups some may have changed and others not.
                let owners = owners.filter(|_| !knows || leases.groups() == 1);
                let owners = owners.map(|mut owners| {
                    owners.sort_unstable_by_key(|(shard, _)| *shard);
                    owners
                });
                Seen::Beaten { members, owners, changes }
            }
            Step::Take(member, claims) => {
                let mut taken = Vec::new();
                for (group, claims) in self.by_group(claims, |claim| claim.shard) {
                    let answers = leases.take(group, member, &claims).wait().await.unwrap();
                    taken.extend(claims.into_iter().map(|claim| claim.shard).zip(answers));
                }
                // One claim a shard: see how they are made.
                taken.sort_by_key(|(shard, _)| *shard);
                Seen::Taken(taken.into_iter().map(|(_, claimed)| claimed).collect())
            }
            Step::Release(shards) => {
                for (group, shards) in self.by_group(shards, |(shard, _)| *shard) {
                    leases.release(group, &shards).wait().await.unwrap();
                }
                Seen::Done(Ok(()))
            }
            Step::Leave(member) => {
                for group in 0..leases.groups() {
                    leases.leave(group, member).wait().await.unwrap();
                }
                Seen::Done(Ok(()))
            }
            Step::Save { name, fence, impus, expires, version, write_id } => {
                let user = contract::user(name, impus, *expires);
                let write = Write { user: &user, version: *version, write_id: *write_id };
                Seen::Done(self.store.save(ShardId::of(name), fence, write).wait().await)
            }
            Step::Erase(name, fence) => {
                let impi = Impi::new(name).unwrap();
                Seen::Done(self.store.erase(ShardId::of(name), fence, &impi).wait().await)
            }
            Step::Look => self.look().await,
        }
    }

    async fn look(&self) -> Seen {
        let (mut loaded, mut holders, mut deadlines) = (Vec::new(), Vec::new(), Vec::new());
        for name in NAMES {
            let (shard, impi) = (ShardId::of(name), Impi::new(name).unwrap());
            loaded.push(self.store.load(shard, &impi).wait().await.unwrap());
            deadlines.extend(self.store.deadlines(shard).wait().await.unwrap());
        }
        for impu in IMPUS {
            holders.push(self.store.holders(&Impu::parse(impu).unwrap()).wait().await.unwrap());
        }
        deadlines.sort_unstable();
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.list(&Filter::default(), after.as_ref(), 4).wait().await.unwrap();
            listed.extend(page.users);
            after = page.next;
            if after.is_none() {
                return Seen::State { loaded, holders, deadlines, listed };
            }
        }
    }
}

/// Makes steps that often mean something: tokens and versions are those that were seen.
struct Maker {
    dice: Dice,
    fences: BTreeMap<ShardId, Vec<Fence>>,
    versions: BTreeMap<&'static str, u64>,
    write_id: u64,
}

impl Maker {
    fn member(&mut self) -> Member {
        let (node, incarnation) = (*self.dice.one_of(&NODES), 1 + self.dice.throw(2) as u64);
        Member { node: node.into(), incarnation, link: "".into(), sip: "".into(), draining: false, users: 3 }
    }

    fn fence(&mut self, shard: ShardId) -> Fence {
        let seen = self.fences.entry(shard).or_default();
        match seen.last() {
            Some(last) if self.dice.throw(8) > 0 => last.clone(),
            Some(_) => self.dice.one_of(seen).clone(),
            None => Fence { epoch: 1, node: "n".into(), incarnation: 1 },
        }
    }

    fn step(&mut self) -> Step {
        let name = *self.dice.one_of(&NAMES);
        let shard = ShardId::of(name);
        match self.dice.throw(16) {
            0 => Step::Beat(self.member(), self.dice.throw(2) == 0),
            1 | 2 => {
                let mut claims: Vec<Claim> = Vec::new();
                for _ in 0..=self.dice.throw(3) {
                    let name = NAMES[self.dice.throw(NAMES.len())];
                    let shard = ShardId::of(name);
                    let seen = self.fences.get(&shard).cloned().unwrap_or_default();
                    if claims.iter().all(|claim| claim.shard != shard) {
                        claims.push(Claim {
                            shard,
                            gone: self.dice.maybe(&seen),
                            held: self.dice.maybe(&seen),
                            above: self.dice.throw(4) as u64,
                        });
                    }
                }
                Step::Take(self.member(), claims)
            }
            3 if self.dice.throw(3) == 0 => Step::Release(vec![(shard, self.fence(shard))]),
            3 => Step::Leave(self.member()),
            4 => Step::Erase(name, self.fence(shard)),
            5 => Step::Look,
            _ => {
                let next = self.versions.get(name).copied().unwrap_or(0) + 1;
                let version = if self.dice.throw(6) > 0 { next } else { 1 + self.dice.throw(6) as u64 };
                // Now and then a write is the repetition of another.
                self.write_id += u64::from(self.dice.throw(6) > 0);
                let impus = IMPUS.into_iter().filter(|_| self.dice.throw(3) == 0).collect();
                let expires = 1 + self.dice.throw(5) as u64;
                Step::Save {
                    name,
                    fence: self.fence(shard),
                    impus,
                    expires,
                    version,
                    write_id: self.write_id,
                }
            }
        }
    }

    fn learn(&mut self, step: &Step, seen: &Seen) {
        match (step, seen) {
            (Step::Take(_, claims), Seen::Taken(taken)) => {
                let mut shards: Vec<ShardId> = claims.iter().map(|claim| claim.shard).collect();
                shards.sort_unstable();
                for (shard, fence) in shards.into_iter().zip(taken) {
                    self.fences.entry(shard).or_default().extend(fence.clone().ok());
                }
            }
            (Step::Save { name, version, .. }, Seen::Done(Ok(()))) => {
                self.versions.insert(name, *version);
            }
            (Step::Erase(name, _), Seen::Done(Ok(()))) => {
                self.versions.remove(name);
            }
            _ => {}
        }
    }
}

/// Both answer the same to the same steps; returns how many saves were carried out and refused.
async fn agree(store: impl Store, seed: u64) -> (usize, usize) {
    let (mut model, mut kind) = (Side::new(Memory::new()), Side::new(store));
    let dice = Dice(seed);
    let mut maker = Maker { dice, fences: BTreeMap::new(), versions: BTreeMap::new(), write_id: 0 };
    let (mut done, mut refused, mut past) = (0, 0, Vec::new());
    for _ in 0..STEPS {
        let step = maker.step();
        let mut expected = model.carry_out(&step).await;
        let seen = kind.carry_out(&step).await;
        if let (Seen::Beaten { owners, .. }, Step::Beat(_, true)) = (&mut expected, &step)
            && kind.store.leases().groups() > 1
        {
            *owners = None;
        }
        past.push(step.clone());
        assert_eq!(seen, expected, "seed {seed}, after {past:#?}");
        if matches!(step, Step::Save { .. }) {
            let count = if seen == Seen::Done(Ok(())) { &mut done } else { &mut refused };
            *count += 1;
        }
        maker.learn(&step, &seen);
    }
    (done, refused)
}

#[tokio::test]
async fn redis_answers_as_memory_does() {
    let Some(server) = Server::start(&[]) else { return };
    let (mut done, mut refused) = (0, 0);
    for seed in 0..10 {
        let counts = agree(fresh(&[&server], Durability::Async).await, seed).await;
        (done, refused) = (done + counts.0, refused + counts.1);
    }
    assert!(done > 200 && refused > 200, "{done} carried out, {refused} refused");
}

#[tokio::test]
async fn embedded_answers_as_memory_does() {
    let directories = Directories::default();
    for seed in 200..206 {
        agree(Embedded::open(&directories.fresh()).unwrap(), seed).await;
    }
}

#[tokio::test]
async fn two_groups_of_redis_answer_as_memory_does() {
    let Some(first) = Server::start(&[]) else { return };
    let second = Server::start(&[]).unwrap();
    for seed in 100..106 {
        agree(fresh(&[&first, &second], Durability::Async).await, seed).await;
    }
}

/// The names are of both groups, else the test above says less than it seems to.
#[test]
fn the_names_are_in_two_groups() {
    let parts: Vec<u16> = NAMES.iter().map(|name| ShardId::of(name).number() % 2).collect();
    assert!(parts.contains(&0) && parts.contains(&1));
    let user: User = contract::user("a@a", &IMPUS, 1);
    assert_eq!(user.impus().count(), IMPUS.len());
}
