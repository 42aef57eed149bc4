//! Where users outlive their actors: the trait, its kinds (memory, a file, Redis), one contract for all.
//!
//! Nothing outside this crate knows how a record is written. Every write carries the [`Fence`] of the shard's owner; a
//! write by anyone else fails with [`Error::Fenced`], and since acting follows saving, a deposed owner cannot speak.

#[cfg(any(test, feature = "contract"))]
pub mod contract;
mod embedded;
mod head;
mod memory;
mod packed;
mod page;
mod pending;
mod record;
mod redis;
mod settings;

pub use embedded::Embedded;
pub use memory::Memory;
pub use page::{Filter, Listed, Page};
pub use pending::Pending;
pub use record::SCHEMA;
pub use redis::Redis;
pub use settings::{Durability, RedisSettings, Settings, open};

pub use cluster::{Beat, Claim, Claimed, Fence, Member, ShardId};
use scscf::{Impi, Impu, Timestamp, User};

/// A kind of store.
pub trait Store: Send + Sync {
    /// Who may write: nodes, their leases, the shards they own.
    fn leases(&self) -> &dyn Leases;

    /// Reads a user.
    fn load(&self, shard: ShardId, impi: &Impi) -> Pending<Result<Option<Loaded>, Error>>;

    /// Writes a user, its deadline and its directory entries in one step.
    ///
    /// Writing the same version with the same write id again does nothing and succeeds, so a write whose answer was lost
    /// can be repeated; another write of it, or of an earlier one, fails with [`Error::Outdated`].
    fn save(&self, shard: ShardId, fence: &Fence, write: Write<'_>) -> Pending<Result<(), Error>>;

    /// Forgets a user, its deadline and its directory entries; succeeds if there is none.
    fn erase(&self, shard: ShardId, fence: &Fence, impi: &Impi) -> Pending<Result<(), Error>>;

    /// The private user identities registered under a public one, in order.
    fn holders(&self, impu: &Impu) -> Pending<Result<Vec<Impi>, Error>>;

    /// When the users of a shard act by themselves, in no order.
    fn deadlines(&self, shard: ShardId) -> Pending<Result<Vec<(Timestamp, Impi)>, Error>>;

    /// Up to `limit` users that pass `filter` and come after `after` in the order of shard and identity.
    fn list(&self, filter: &Filter, after: Option<&Impi>, limit: usize) -> Pending<Result<Page, Error>>;

    /// Whether it answers.
    fn ready(&self) -> Pending<Result<(), Error>>;
}

/// Who may write. The rules are those of [`cluster::Registry`], whatever the kind of store.
pub trait Leases: Send + Sync {
    /// How many groups it has: parts that fail and lose by themselves. At least one.
    fn groups(&self) -> u16;

    /// The group that keeps a shard.
    fn group_of(&self, shard: ShardId) -> u16;

    /// Renews the lease of a node in a group for `ttl` milliseconds, and tells who is there and who owns what;
    /// owners only if they changed since version `known`.
    fn beat(&self, group: u16, member: &Member, ttl: u64, known: Option<u64>)
    -> Pending<Result<Beat, Error>>;

    /// Makes a node whose lease stands the owner of shards of a group, as far as it may have them
    /// ([`cluster::Registry::take`] says when); answers in the order of the claims.
    fn take(&self, group: u16, by: &Member, claims: &[Claim]) -> Pending<Result<Vec<Claimed>, Error>>;

    /// Gives shards of a group back, of those that are still owned so.
    fn release(&self, group: u16, shards: &[(ShardId, Fence)]) -> Pending<Result<(), Error>>;

    /// Ends the lease of a node in a group.
    fn leave(&self, group: u16, member: &Member) -> Pending<Result<(), Error>>;

    /// The secret that seals the cluster's tokens: the one that is kept here, else `fresh`, which is kept from now on.
    fn secret(&self, fresh: [u8; 32]) -> Pending<Result<[u8; 32], Error>>;

    /// Writes again, under `fence`, what was written lately to shards of a group that may have lost it: of each user the last
    /// write of this process, unless the store has that version or a later one.
    fn restore(&self, group: u16, shards: &[(ShardId, Fence)]) -> Pending<Result<(), Error>>;
}

/// One write of a user.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// The user as it is now.
    pub user: &'a User,
    /// One more than the version that was written last; 1 for the first.
    pub version: u64,
    /// Tells a repetition of this write from another write of the same version.
    pub write_id: u64,
}

/// A user read from its record.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The user.
    pub user: User,
    /// Version of the record.
    pub version: u64,
}

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The shard has another owner: stop, and say nothing.
    #[error("the shard has another owner")]
    Fenced,
    /// The record has a later version, or another write has this one: what the caller knows of the user is outdated.
    #[error("the record is another than the one that was read")]
    Outdated,
    /// It does not answer; whether a write happened is unknown.
    #[error("the store is unavailable: {0}")]
    Unavailable(Box<str>),
    /// It cannot be used as it was set up.
    #[error("the store cannot be opened: {0}")]
    Settings(Box<str>),
    /// The record cannot be read.
    #[error("the record is corrupt: {0}")]
    Corrupt(Box<str>),
}
