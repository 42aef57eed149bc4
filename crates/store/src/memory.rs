//! The kind that forgets with its process: for one node that may lose everything, and for tests.

use crate::record::{self, Header};
use crate::{Error, Filter, Leases, Listed, Loaded, Page, Pending, Store, Write};
use ahash::RandomState;
use cluster::{Beat, Claim, Claimed, Fence, Member, Registry, ShardId};
use scscf::user::Summary;
use scscf::{Impi, Impu, Timestamp, User};
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Instant;

/// Users in memory, in the same octets as anywhere else.
pub struct Memory {
    registry: Mutex<Registry>,
    secret: OnceLock<[u8; 32]>,
    since: Instant,
    shards: Box<[Mutex<Shard>]>,
    directory: Box<[Mutex<Directory>]>,
    hashing: RandomState,
}

#[derive(Default)]
struct Shard {
    records: BTreeMap<Impi, Record>,
}

struct Record {
    octets: Box<[u8]>,
    version: u64,
    write_id: u64,
    deadline: Option<Timestamp>,
    summary: Summary,
    /// Hash of the public identities, so that a save that does not change them leaves the directory alone.
    identities: u64,
}

type Directory = HashMap<Impu, Vec<Impi>, RandomState>;

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// Empty, every shard without owner.
    pub fn new() -> Self {
        let hashing = RandomState::new();
        Self {
            registry: Mutex::default(),
            secret: OnceLock::new(),
            since: Instant::now(),
            shards: ShardId::all().map(|_| Mutex::default()).collect(),
            directory: (0..DIRECTORIES).map(|_| Mutex::new(HashMap::with_hasher(hashing.clone()))).collect(),
            hashing,
        }
    }

    fn shard(&self, shard: ShardId) -> MutexGuard<'_, Shard> {
        unpoisoned(&self.shards[usize::from(shard.number())])
    }

    fn owned(&self, shard: ShardId, fence: &Fence) -> Result<MutexGuard<'_, Shard>, Error> {
        let may_write = unpoisoned(&self.registry).may_write(shard, fence);
        if may_write { Ok(self.shard(shard)) } else { Err(Error::Fenced) }
    }

    /// Milliseconds on the clock of its leases.
    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn directory(&self, impu: &Impu) -> MutexGuard<'_, Directory> {
        unpoisoned(&self.directory[self.hashing.hash_one(impu) as usize % DIRECTORIES])
    }

    fn enter(&self, impi: &Impi, impus: &[Impu]) {
        for impu in impus {
            let mut directory = self.directory(impu);
            let holders = directory.entry(impu.clone()).or_insert_with(|| Vec::with_capacity(1));
            if let Err(at) = holders.binary_search(impi) {
                holders.insert(at, impi.clone());
            }
        }
    }

    fn leave<'a>(&self, impi: &Impi, impus: impl Iterator<Item = &'a Impu>) {
        for impu in impus {
            let mut directory = self.directory(impu);
            if let Some(holders) = directory.get_mut(impu) {
                holders.retain(|holder| holder != impi);
                if holders.is_empty() {
                    directory.remove(impu);
                }
            }
        }
    }

    fn write(&self, shard: ShardId, fence: &Fence, write: Write<'_>) -> Result<(), Error> {
        let Write { user, version, write_id } = write;
        let mut shard = self.owned(shard, fence)?;
        let known = shard.records.get_mut(user.impi());
        if let Some(known) = &known
            && known.version >= version
        {
            let repeated = known.version == version && known.write_id == write_id;
            return if repeated { Ok(()) } else { Err(Error::Outdated) };
        }
        let mut impus: Vec<Impu> = user.impus().cloned().collect();
        impus.sort_unstable();
        impus.dedup();
        let record = Record {
            octets: record::encode(user, &Header { version, write_id }, fence)?,
            version,
            write_id,
            deadline: user.wakes_at(),
            summary: user.summary(),
            identities: self.hashing.hash_one(&impus),
        };
        let Some(known) = known else {
            self.enter(user.impi(), &impus);
            shard.records.insert(user.impi().clone(), record);
            return Ok(());
        };
        if known.identities != record.identities {
            if known.identities != self.hashing.hash_one(Vec::<Impu>::new()) {
                let before = record::decode(&known.octets)?;
                self.leave(user.impi(), before.impus().filter(|impu| impus.binary_search(impu).is_err()));
            }
            self.enter(user.impi(), &impus);
        }
        *known = record;
        Ok(())
    }

    fn remove(&self, shard: ShardId, fence: &Fence, impi: &Impi) -> Result<(), Error> {
        let mut shard = self.owned(shard, fence)?;
        if let Some(record) = shard.records.remove(impi) {
            self.leave(impi, record::decode(&record.octets)?.impus());
        }
        Ok(())
    }

    fn page(&self, filter: &Filter, after: Option<&Impi>, limit: usize) -> Page {
        let mut page = Page::default();
        let first = after.map(|impi| ShardId::of(impi.as_str()));
        for id in ShardId::all().filter(|id| first.is_none_or(|first| *id >= first)) {
            let shard = self.shard(id);
            let after = after.filter(|_| first == Some(id));
            for (impi, record) in &shard.records {
                if after.is_some_and(|after| impi <= after) || !filter.passes(impi, record.summary.state) {
                    continue;
                }
                if page.users.len() == limit {
                    page.next = page.users.last().map(|user| user.impi.clone());
                    return page;
                }
                page.users.push(Listed { impi: impi.clone(), shard: id, summary: record.summary });
            }
        }
        page
    }
}

/// The directory is cut into so many parts, each with its lock.
const DIRECTORIES: usize = 64;

/// A writer that panicked has not left anything half done: records are replaced whole.
fn unpoisoned<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Store for Memory {
    fn leases(&self) -> &dyn Leases {
        self
    }

    fn load(&self, shard: ShardId, impi: &Impi) -> Pending<Result<Option<Loaded>, Error>> {
        let shard = self.shard(shard);
        let loaded = shard.records.get(impi).map(|record| {
            let user: User = record::decode(&record.octets)?;
            Ok(Loaded { user, version: record.version })
        });
        Pending::Ready(loaded.transpose())
    }

    fn save(&self, shard: ShardId, fence: &Fence, write: Write<'_>) -> Pending<Result<(), Error>> {
        Pending::Ready(self.write(shard, fence, write))
    }

    fn erase(&self, shard: ShardId, fence: &Fence, impi: &Impi) -> Pending<Result<(), Error>> {
        Pending::Ready(self.remove(shard, fence, impi))
    }

    fn holders(&self, impu: &Impu) -> Pending<Result<Vec<Impi>, Error>> {
        Pending::Ready(Ok(self.directory(impu).get(impu).cloned().unwrap_or_default()))
    }

    fn deadlines(&self, shard: ShardId) -> Pending<Result<Vec<(Timestamp, Impi)>, Error>> {
        let shard = self.shard(shard);
        let deadlines =
            shard.records.iter().filter_map(|(impi, record)| Some((record.deadline?, impi.clone())));
        Pending::Ready(Ok(deadlines.collect()))
    }

    fn list(&self, filter: &Filter, after: Option<&Impi>, limit: usize) -> Pending<Result<Page, Error>> {
        Pending::Ready(Ok(self.page(filter, after, limit)))
    }

    fn ready(&self) -> Pending<Result<(), Error>> {
        Pending::Ready(Ok(()))
    }
}

impl Leases for Memory {
    fn groups(&self) -> u16 {
        1
    }

    fn group_of(&self, _: ShardId) -> u16 {
        0
    }

    fn beat(&self, _: u16, member: &Member, ttl: u64, known: Option<u64>) -> Pending<Result<Beat, Error>> {
        Pending::Ready(Ok(unpoisoned(&self.registry).beat(member, ttl, known, self.now())))
    }

    fn take(&self, _: u16, by: &Member, claims: &[Claim]) -> Pending<Result<Vec<Claimed>, Error>> {
        let taken = unpoisoned(&self.registry).take(&by.node, by.incarnation, claims, self.now());
        Pending::Ready(Ok(taken))
    }

    fn release(&self, _: u16, shards: &[(ShardId, Fence)]) -> Pending<Result<(), Error>> {
        unpoisoned(&self.registry).release(shards);
        Pending::Ready(Ok(()))
    }

    fn leave(&self, _: u16, member: &Member) -> Pending<Result<(), Error>> {
        unpoisoned(&self.registry).leave(&member.node, member.incarnation);
        Pending::Ready(Ok(()))
    }

    fn secret(&self, fresh: [u8; 32]) -> Pending<Result<[u8; 32], Error>> {
        Pending::Ready(Ok(*self.secret.get_or_init(|| fresh)))
    }

    /// Memory loses nothing but itself.
    fn restore(&self, _: u16, _: &[(ShardId, Fence)]) -> Pending<Result<(), Error>> {
        Pending::Ready(Ok(()))
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Memory(..)")
    }
}
