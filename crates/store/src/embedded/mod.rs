//! The kind for one node with nothing installed: a file that outlives the process, and is never half written.
//!
//! **Invariant: what was acknowledged is on disk.** A thread of its own writes; reading is done where it is asked for, in the
//! pages that are in memory. One process has the file at a time.

mod file;
mod tables;
mod writer;

use crate::head::{self, Head};
use crate::{
    Beat, Claim, Claimed, Error, Fence, Filter, Leases, Listed, Loaded, Member, Page, Pending, ShardId,
    Store, Write,
};
use file::File;
use redb::{Database, DatabaseError, ReadableDatabase};
use scscf::{Impi, Impu, Timestamp};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;
use tables::{Change, DEADLINES, DIRECTORY, FILE, LAYOUT, RECORDS};
use tokio::sync::{mpsc, oneshot};
use writer::{Job, Writer};

/// Users in a file.
pub struct Embedded {
    file: Arc<File>,
    /// `None` once it is being dropped.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// So many jobs wait for their turn; others are refused.
const WAITING: usize = 8_192;
/// So many users are looked at for one page; a list that filters much has short pages instead of long calls.
const EXAMINED: usize = 20_000;

impl Embedded {
    /// Opens the file in `directory`, which is made if it is missing, and starts the thread that writes it.
    ///
    /// # Errors
    /// [`Error::Settings`], which names the file, if it cannot be made or written, is no such file, or another process has it.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let path = directory.join("rollcall.redb");
        let refused =
            |why: &dyn std::fmt::Display| Error::Settings(format!("{}: {why}", path.display()).into());
        std::fs::create_dir_all(directory).map_err(|error| refused(&error))?;
        let file = File::open(path.clone()).map_err(|error| {
            if matches!(error, DatabaseError::DatabaseAlreadyOpen) {
                return refused(&"another process has it open, and one node uses it at a time");
            }
            refused(&error)
        })?;
        let layout = file.with(|database| {
            let database = database?;
            prepare(database)?;
            read_file(database, "layout")
        });
        let layout = layout.map_err(|error| refused(&error))?;
        if layout.as_deref() != Some(LAYOUT) {
            return Err(refused(&"it was written by a release of another layout"));
        }
        let file = Arc::new(file);
        let (jobs, todo) = mpsc::channel(WAITING);
        let writer = Writer {
            file: Arc::clone(&file),
            jobs: todo,
            registry: Default::default(),
            since: Instant::now(),
        };
        let thread = std::thread::Builder::new().name("store".into()).spawn(|| writer.run());
        let thread = Some(thread.map_err(|error| refused(&error))?);
        Ok(Self { file, jobs: Some(jobs), thread })
    }

    fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Job,
    ) -> Pending<Result<T, Error>> {
        let (done, answer) = oneshot::channel();
        if self.jobs.as_ref().is_none_or(|jobs| jobs.try_send(job(done)).is_err()) {
            return Pending::Ready(Err(Error::Unavailable(
                "too many writes are waiting for the disk".into(),
            )));
        }
        Pending::Later(Box::pin(async move {
            answer.await.unwrap_or_else(|_| Err(Error::Unavailable("the store is closed".into())))
        }))
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&redb::ReadTransaction) -> Result<Result<T, Error>, redb::Error>,
    ) -> Result<T, Error> {
        let read = self.file.with(|database| read(&database?.begin_read()?));
        read.unwrap_or_else(|error| Err(Error::Unavailable(format!("the file: {error}").into())))
    }

    fn page(&self, filter: &Filter, after: Option<&Impi>, limit: usize) -> Result<Page, Error> {
        let first = after.map(|after| tables::key(ShardId::of(after.as_str()), after));
        self.read(|transaction| {
            let records = transaction.open_table(RECORDS)?;
            let (mut page, mut examined) = (Page::default(), 0);
            for record in records.range::<&[u8]>(first.as_deref().unwrap_or(&[])..)? {
                let (key, record) = record?;
                if Some(key.value()) == first.as_deref() {
                    continue;
                }
                let (user, head) = (tables::user(key.value()), Head::read(record.value()));
                let ((shard, impi), head) = match (user, head) {
                    (Ok(user), Ok(head)) => (user, head),
                    (Err(error), _) | (_, Err(error)) => return Ok(Err(error)),
                };
                examined += 1;
                if filter.passes(&impi, head.summary.state) {
                    if page.users.len() == limit {
                        page.next = page.users.last().map(|user| user.impi.clone());
                        break;
                    }
                    page.users.push(Listed { impi, shard, summary: head.summary });
                } else if examined >= EXAMINED {
                    page.next = Some(impi);
                    break;
                }
            }
            Ok(Ok(page))
        })
    }
}

/// Makes what a new file lacks.
fn prepare(database: &Database) -> Result<(), redb::Error> {
    if read_file(database, "layout").is_ok_and(|layout| layout.is_some()) {
        return Ok(());
    }
    let transaction = database.begin_write()?;
    tables::Tables::open(&transaction)?;
    transaction.open_table(FILE)?.insert("layout", LAYOUT)?;
    transaction.commit()?;
    Ok(())
}

fn read_file(database: &Database, name: &str) -> Result<Option<Vec<u8>>, redb::Error> {
    let file = database.begin_read()?.open_table(FILE)?;
    Ok(file.get(name)?.map(|value| value.value().to_vec()))
}

impl Drop for Embedded {
    /// Waits for what was asked before: whoever opens the file next finds it.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has closed the file as well.
            let _ = thread.join();
        }
    }
}

impl Store for Embedded {
    fn leases(&self) -> &dyn Leases {
        self
    }

    fn load(&self, shard: ShardId, impi: &Impi) -> Pending<Result<Option<Loaded>, Error>> {
        Pending::Ready(self.read(|transaction| {
            let records = transaction.open_table(RECORDS)?;
            let Some(record) = records.get(&*tables::key(shard, impi))? else { return Ok(Ok(None)) };
            let read = head::read(record.value());
            Ok(read.map(|(head, user)| Some(Loaded { user, version: head.version })))
        }))
    }

    fn save(&self, shard: ShardId, fence: &Fence, write: Write<'_>) -> Pending<Result<(), Error>> {
        let (impi, fence) = (write.user.impi().clone(), fence.clone());
        match Change::save(write, &fence) {
            Ok(change) => self.ask(|done| Job::Change { shard, fence, impi, change, done }),
            Err(error) => Pending::Ready(Err(error)),
        }
    }

    fn erase(&self, shard: ShardId, fence: &Fence, impi: &Impi) -> Pending<Result<(), Error>> {
        let (impi, fence) = (impi.clone(), fence.clone());
        self.ask(|done| Job::Change { shard, fence, impi, change: Change::Erase, done })
    }

    fn holders(&self, impu: &Impu) -> Pending<Result<Vec<Impi>, Error>> {
        Pending::Ready(self.read(|transaction| {
            let directory = transaction.open_table(DIRECTORY)?;
            let first = tables::holders(impu);
            let mut holders = Vec::new();
            for entry in directory.range::<&[u8]>(&*first..)? {
                let (key, _) = entry?;
                let Some(impi) = key.value().strip_prefix(&*first) else { break };
                match std::str::from_utf8(impi).ok().and_then(Impi::new) {
                    Some(impi) => holders.push(impi),
                    None => return Ok(Err(Error::Corrupt("an entry of the directory names no user".into()))),
                }
            }
            Ok(Ok(holders))
        }))
    }

    fn deadlines(&self, shard: ShardId) -> Pending<Result<Vec<(Timestamp, Impi)>, Error>> {
        let (first, last) = (shard.number().to_be_bytes(), (shard.number() + 1).to_be_bytes());
        Pending::Ready(self.read(|transaction| {
            let table = transaction.open_table(DEADLINES)?;
            let mut deadlines = Vec::new();
            for deadline in table.range::<&[u8]>(&first[..]..&last[..])? {
                let (key, at) = deadline?;
                match tables::user(key.value()) {
                    Ok((_, impi)) => deadlines.push((Timestamp::from_millis(at.value()), impi)),
                    Err(error) => return Ok(Err(error)),
                }
            }
            Ok(Ok(deadlines))
        }))
    }

    fn list(&self, filter: &Filter, after: Option<&Impi>, limit: usize) -> Pending<Result<Page, Error>> {
        Pending::Ready(self.page(filter, after, limit))
    }

    fn ready(&self) -> Pending<Result<(), Error>> {
        self.ask(|done| Job::Ping { done })
    }
}

impl Leases for Embedded {
    fn groups(&self) -> u16 {
        1
    }

    fn group_of(&self, _: ShardId) -> u16 {
        0
    }

    fn beat(&self, _: u16, member: &Member, ttl: u64, known: Option<u64>) -> Pending<Result<Beat, Error>> {
        let member = member.clone();
        self.ask(|done| Job::Beat { member, ttl, known, done })
    }

    fn take(&self, _: u16, by: &Member, claims: &[Claim]) -> Pending<Result<Vec<Claimed>, Error>> {
        let (node, incarnation, claims) = (by.node.clone(), by.incarnation, claims.to_vec());
        self.ask(|done| Job::Take { node, incarnation, claims, done })
    }

    fn release(&self, _: u16, shards: &[(ShardId, Fence)]) -> Pending<Result<(), Error>> {
        let shards = shards.to_vec();
        self.ask(|done| Job::Release { shards, done })
    }

    fn leave(&self, _: u16, member: &Member) -> Pending<Result<(), Error>> {
        let (node, incarnation) = (member.node.clone(), member.incarnation);
        self.ask(|done| Job::Leave { node, incarnation, done })
    }

    fn secret(&self, fresh: [u8; 32]) -> Pending<Result<[u8; 32], Error>> {
        self.ask(|done| Job::Secret { fresh, done })
    }

    /// What was acknowledged is on disk.
    fn restore(&self, _: u16, _: &[(ShardId, Fence)]) -> Pending<Result<(), Error>> {
        Pending::Ready(Ok(()))
    }
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Embedded(..)")
    }
}
