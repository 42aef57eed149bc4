//! What is in the file: its tables, and what a change does to them.

use crate::head::{self, Head};
use crate::{Error, Write};
use cluster::{Fence, ShardId};
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use scscf::{Impi, Impu};

/// A record by shard and private identity.
pub(super) const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
/// Milliseconds by shard and private identity, of users who have a deadline.
pub(super) const DEADLINES: TableDefinition<'_, &[u8], u64> = TableDefinition::new("deadlines");
/// Public identity, a zero octet, private identity.
pub(super) const DIRECTORY: TableDefinition<'_, &[u8], ()> = TableDefinition::new("directory");
/// What the whole file has once.
pub(super) const FILE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("file");

/// The layout of the tables, in [`FILE`] as `layout`.
pub(super) const LAYOUT: &[u8] = b"1";

/// What becomes of a user.
pub(super) enum Change {
    Save { version: u64, write_id: u64, record: Box<[u8]>, deadline: Option<u64>, impus: Box<[Impu]> },
    Erase,
}

impl Change {
    pub(super) fn save(write: Write<'_>, fence: &Fence) -> Result<Self, Error> {
        let head::Written { record, impus } = head::write(write, fence)?;
        let deadline = write.user.wakes_at().map(|at| at.millis());
        Ok(Self::Save { version: write.version, write_id: write.write_id, record, deadline, impus })
    }
}

/// The key of a user.
pub(super) fn key(shard: ShardId, impi: &Impi) -> Vec<u8> {
    let mut key = Vec::with_capacity(2 + impi.as_str().len());
    key.extend_from_slice(&shard.number().to_be_bytes());
    key.extend_from_slice(impi.as_str().as_bytes());
    key
}

/// The user of a key.
pub(super) fn user(key: &[u8]) -> Result<(ShardId, Impi), Error> {
    let corrupt = || Error::Corrupt("a key of the file names no user".into());
    let (shard, impi) = key.split_first_chunk::<2>().ok_or_else(corrupt)?;
    let shard = ShardId::new(u16::from_be_bytes(*shard)).ok_or_else(corrupt)?;
    let impi = std::str::from_utf8(impi).ok().and_then(Impi::new).ok_or_else(corrupt)?;
    Ok((shard, impi))
}

/// Where the holders of a public identity begin.
pub(super) fn holders(impu: &Impu) -> Vec<u8> {
    let mut key = impu.as_str().as_bytes().to_vec();
    key.push(0);
    key
}

fn entry(impu: &Impu, impi: &Impi) -> Vec<u8> {
    let mut key = holders(impu);
    key.extend_from_slice(impi.as_str().as_bytes());
    key
}

/// The tables of one transaction.
pub(super) struct Tables<'a> {
    records: Table<'a, &'static [u8], &'static [u8]>,
    deadlines: Table<'a, &'static [u8], u64>,
    directory: Table<'a, &'static [u8], ()>,
}

impl<'a> Tables<'a> {
    pub(super) fn open(transaction: &'a WriteTransaction) -> Result<Self, redb::TableError> {
        Ok(Self {
            records: transaction.open_table(RECORDS)?,
            deadlines: transaction.open_table(DEADLINES)?,
            directory: transaction.open_table(DIRECTORY)?,
        })
    }

    /// Carries out a change by an owner; the inner result is the answer to whoever asked.
    pub(super) fn apply(
        &mut self,
        shard: ShardId,
        impi: &Impi,
        change: &Change,
    ) -> Result<Result<(), Error>, redb::StorageError> {
        let key = key(shard, impi);
        let former = self.records.get(&*key)?.map(|record| record.value().to_vec());
        let former = match former.as_deref().map(|record| (Head::read(record), record)) {
            None => None,
            Some((Ok(head), record)) => Some((head, record)),
            Some((Err(error), _)) => return Ok(Err(error)),
        };
        let (identities, impus): (u64, &[Impu]) = match change {
            Change::Save { version, write_id, record, impus, .. } => {
                if let Some((head, _)) = &former
                    && head.version >= *version
                {
                    let repeated = head.version == *version && head.write_id == *write_id;
                    return Ok(if repeated { Ok(()) } else { Err(Error::Outdated) });
                }
                match Head::read(record) {
                    Ok(head) => (head.identities, impus),
                    Err(error) => return Ok(Err(error)),
                }
            }
            Change::Erase => (0, &[]),
        };
        if former.as_ref().map_or(0, |(head, _)| head.identities) != identities {
            if let Some((head, record)) = &former
                && head.identities != 0
            {
                let user = match head::read(record) {
                    Ok((_, user)) => user,
                    Err(error) => return Ok(Err(error)),
                };
                for impu in user.impus().filter(|impu| impus.binary_search(impu).is_err()) {
                    self.directory.remove(&*entry(impu, impi))?;
                }
            }
            for impu in impus {
                self.directory.insert(&*entry(impu, impi), ())?;
            }
        }
        match change {
            Change::Save { record, deadline, .. } => {
                self.records.insert(&*key, &**record)?;
                match deadline {
                    Some(at) => drop(self.deadlines.insert(&*key, at)?),
                    None => drop(self.deadlines.remove(&*key)?),
                }
            }
            Change::Erase => {
                self.records.remove(&*key)?;
                self.deadlines.remove(&*key)?;
            }
        }
        Ok(Ok(()))
    }
}
