//! Where users outlive their actors: the trait, its in-memory kind, one contract for all kinds.
//!
//! Nothing outside this crate knows how a record is written. Every write carries the [`Fence`] of the shard's owner; a
//! write by anyone else fails with [`Error::Fenced`], and since acting follows saving, a deposed owner cannot speak.

pub mod contract;
mod memory;
mod page;
mod pending;
mod record;

pub use memory::Memory;
pub use page::{Filter, Listed, Page};
pub use pending::Pending;
pub use record::SCHEMA;

pub use cluster::{Fence, ShardId};
use scscf::{Impi, Impu, Timestamp, User};

/// A kind of store.
pub trait Store: Send + Sync {
    /// Makes `fence` the owner of a shard, in place of whoever was.
    fn take(&self, shard: ShardId, fence: &Fence) -> Pending<Result<(), Error>>;

    /// Reads a user.
    fn load(&self, shard: ShardId, impi: &Impi) -> Pending<Result<Option<Loaded>, Error>>;

    /// Writes a user, its deadline and its directory entries in one step.
    ///
    /// Writing the same version with the same write id again does nothing and succeeds, so a write whose answer was lost
    /// can be repeated.
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
    /// The shard has another owner, or another write took this version: stop, and say nothing.
    #[error("the shard has another owner")]
    Fenced,
    /// It does not answer; whether a write happened is unknown.
    #[error("the store is unavailable: {0}")]
    Unavailable(Box<str>),
    /// The record cannot be read.
    #[error("the record is corrupt: {0}")]
    Corrupt(Box<str>),
}
