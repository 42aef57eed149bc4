//! The thread that writes the file and keeps leases: everything happens there in the order in which it was asked.
//!
//! What waits together is one transaction and one fsync. **Invariant: nobody is answered before what was asked earlier is on disk.**

use super::file::File;
use super::tables::{Change, FILE, Tables};
use crate::{Beat, Claim, Claimed, Error, Fence, Member, ShardId};
use cluster::Registry;
use redb::Database;
use scscf::Impi;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};

/// What is asked of it.
pub(super) enum Job {
    Change {
        shard: ShardId,
        fence: Fence,
        impi: Impi,
        change: Change,
        done: oneshot::Sender<Result<(), Error>>,
    },
    Secret {
        fresh: [u8; 32],
        done: oneshot::Sender<Result<[u8; 32], Error>>,
    },
    Beat {
        member: Member,
        ttl: u64,
        known: Option<u64>,
        done: oneshot::Sender<Result<Beat, Error>>,
    },
    Take {
        node: Box<str>,
        incarnation: u64,
        claims: Vec<Claim>,
        done: oneshot::Sender<Result<Vec<Claimed>, Error>>,
    },
    Release {
        shards: Vec<(ShardId, Fence)>,
        done: oneshot::Sender<Result<(), Error>>,
    },
    Leave {
        node: Box<str>,
        incarnation: u64,
        done: oneshot::Sender<Result<(), Error>>,
    },
    /// Whoever asks wants to know that it answers and could write.
    Ping {
        done: oneshot::Sender<Result<(), Error>>,
    },
}

/// So many changes are one transaction at most.
const TOGETHER: usize = 256;

/// An answer that is ready to go once the transaction is on disk; it goes out as the failure otherwise.
type Reply = Box<dyn FnOnce(Result<(), &Error>)>;

pub(super) struct Writer {
    pub(super) file: Arc<File>,
    pub(super) jobs: mpsc::Receiver<Job>,
    /// One process has the file at a time, so leases and owners need not outlive it.
    pub(super) registry: Registry,
    pub(super) since: Instant,
}

impl Writer {
    /// Works until nobody can ask any more.
    pub(super) fn run(mut self) {
        while let Some(first) = self.jobs.blocking_recv() {
            let mut together = vec![first];
            while together.len() < TOGETHER
                && let Ok(next) = self.jobs.try_recv()
            {
                together.push(next);
            }
            let mut replies = Vec::with_capacity(together.len());
            let file = Arc::clone(&self.file);
            let outcome = file.with(|database| self.carry_out(database, together, &mut replies));
            file.mend();
            let outcome = outcome.map_err(|error| Error::Unavailable(format!("the file: {error}").into()));
            for reply in replies {
                reply(outcome.as_ref().copied());
            }
        }
    }

    fn carry_out(
        &mut self,
        database: Result<&Database, redb::Error>,
        jobs: Vec<Job>,
        replies: &mut Vec<Reply>,
    ) -> Result<(), redb::Error> {
        let writes = jobs.iter().any(|job| matches!(job, Job::Change { .. } | Job::Secret { .. }));
        let mut jobs = jobs.into_iter();
        if !writes {
            if jobs.as_slice().iter().any(|job| matches!(job, Job::Ping { .. })) {
                // What could not be opened cannot be begun with.
                let begun = database.and_then(|database| Ok(database.begin_write()?.abort()?));
                jobs.for_each(|job| self.lease(job, replies));
                return begun;
            }
            jobs.for_each(|job| self.lease(job, replies));
            return Ok(());
        }
        let begun = database.and_then(|database| Ok(database.begin_write()?));
        // Whoever is left over after a failure hears of it too.
        let failed = |jobs: std::vec::IntoIter<Job>, replies: &mut Vec<Reply>| {
            jobs.for_each(|job| replies.push(refusal(job)))
        };
        let mut transaction = match begun {
            Ok(transaction) => transaction,
            Err(error) => {
                failed(jobs, replies);
                return Err(error);
            }
        };
        // After a crash the file can be used at once, however large it is.
        transaction.set_quick_repair(true);
        let outcome = self.write(&transaction, &mut jobs, replies);
        failed(jobs, replies);
        outcome?;
        transaction.commit()?;
        Ok(())
    }

    fn write(
        &mut self,
        transaction: &redb::WriteTransaction,
        jobs: &mut std::vec::IntoIter<Job>,
        replies: &mut Vec<Reply>,
    ) -> Result<(), redb::Error> {
        let mut tables = Tables::open(transaction)?;
        for job in jobs {
            match job {
                Job::Change { shard, fence, impi, change, done } => {
                    if !self.registry.may_write(shard, &fence) {
                        replies.push(reply(done, Err(Error::Fenced)));
                        continue;
                    }
                    let applied = tables.apply(shard, &impi, &change);
                    let answer = applied.as_ref().map_or(Ok(()), Clone::clone);
                    replies.push(reply(done, answer));
                    // What failed is told by the reply; a failure of the file ends the transaction.
                    let _ = applied?;
                }
                Job::Secret { fresh, done } => {
                    let kept = secret(transaction, &fresh);
                    replies.push(reply(done, kept.as_ref().map_or(Ok(fresh), Clone::clone)));
                    let _ = kept?;
                }
                job @ (Job::Beat { .. }
                | Job::Take { .. }
                | Job::Release { .. }
                | Job::Leave { .. }
                | Job::Ping { .. }) => self.lease(job, replies),
            }
        }
        Ok(())
    }

    fn lease(&mut self, job: Job, replies: &mut Vec<Reply>) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        replies.push(match job {
            Job::Beat { member, ttl, known, done } => {
                reply(done, Ok(self.registry.beat(&member, ttl, known, now)))
            }
            Job::Take { node, incarnation, claims, done } => {
                reply(done, Ok(self.registry.take(&node, incarnation, &claims, now)))
            }
            Job::Release { shards, done } => {
                self.registry.release(&shards);
                reply(done, Ok(()))
            }
            Job::Leave { node, incarnation, done } => {
                self.registry.leave(&node, incarnation);
                reply(done, Ok(()))
            }
            job @ (Job::Ping { .. } | Job::Change { .. } | Job::Secret { .. }) => refusal(job),
        });
    }
}

/// The secret of the file, which is `fresh` if it had none.
fn secret(
    transaction: &redb::WriteTransaction,
    fresh: &[u8; 32],
) -> Result<Result<[u8; 32], Error>, redb::Error> {
    use redb::ReadableTable;
    let mut file = transaction.open_table(FILE)?;
    let kept = file.get("secret")?.map(|kept| kept.value().to_vec());
    let Some(kept) = kept else {
        file.insert("secret", &fresh[..])?;
        return Ok(Ok(*fresh));
    };
    Ok(kept.try_into().map_err(|_| Error::Corrupt("the secret in the file has not 32 octets".into())))
}

fn reply<T: 'static>(done: oneshot::Sender<Result<T, Error>>, answer: Result<T, Error>) -> Reply {
    Box::new(move |outcome| {
        // Whoever asked may have gone.
        let _ = done.send(outcome.map_err(Clone::clone).and(answer));
    })
}

/// The reply to a job that was not done: it goes out as the failure that kept it from being done.
fn refusal(job: Job) -> Reply {
    let never = || Error::Unavailable("the file could not be written".into());
    match job {
        Job::Ping { done } => reply(done, Ok(())),
        Job::Change { done, .. } | Job::Release { done, .. } | Job::Leave { done, .. } => {
            reply(done, Err(never()))
        }
        Job::Secret { done, .. } => reply(done, Err(never())),
        Job::Beat { done, .. } => reply(done, Err(never())),
        Job::Take { done, .. } => reply(done, Err(never())),
    }
}
