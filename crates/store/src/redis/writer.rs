//! The one who writes to a group: changes that wait together travel together, and wait together for a replica.

use super::change::{Change, Terms, What};
use super::connect::load_library;
use super::fail::{self, Connection};
use super::line::{Line, PATIENCE, Use};
use super::ring::{Entry, Outcome, Ring};
use super::schema;
use crate::{Durability, Error, Fence, ShardId};
use redis::{Cmd, Pipeline, RedisError, Value, cmd};
use scscf::{Impi, Impu};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// What is to be written, and to whom the answer goes.
pub(super) enum Job {
    Change {
        change: Arc<Change>,
        fence: Arc<Fence>,
        terms: Terms,
        done: oneshot::Sender<Result<Done, Error>>,
    },
    Directory {
        enter: Vec<Entrant>,
        quit: Vec<Entrant>,
        done: oneshot::Sender<Result<Done, Error>>,
    },
    /// Whoever asks wants to know whether it can be written.
    Pulse {
        done: oneshot::Sender<Result<Done, Error>>,
    },
    /// Whoever asks wants to know that what Redis has now stays: nothing of before is under way any more, and with `wait1` a replica has
    /// it too.
    Settle {
        done: oneshot::Sender<Result<Done, Error>>,
    },
    Restore {
        shards: Vec<(ShardId, Arc<Fence>)>,
        done: oneshot::Sender<Result<(), Error>>,
    },
}

/// Somebody and a public identity of theirs, as the owner of their shard in some epoch says.
#[derive(Clone)]
pub(super) struct Entrant {
    pub(super) impi: Impi,
    pub(super) impu: Impu,
    pub(super) epoch: u64,
}

/// What came of a change.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// It is so now.
    Written,
    /// It was there, and is no more.
    Erased(u64),
    /// The shard has another owner.
    Fenced,
    /// There is a later version, or another write has this one.
    Late,
    /// Nothing yet: the record has other identities. Empty if there is none.
    Other(Vec<u8>),
}

/// So many changes travel together at most. While they are under way their successors are made: with more in one batch this process and
/// Redis would take turns.
pub(super) const TOGETHER: usize = 64;
/// So long a replica may take to confirm: one that has just joined may say nothing until it reports for the first time, which every
/// replica does each second.
pub(super) const CONFIRM_WITHIN: Duration = Duration::from_millis(1_000);
/// So long once it did not confirm in time, so that those who wait behind hear of it soon,
const CONFIRM_AGAIN_WITHIN: Duration = Duration::from_millis(100);
/// until so much later, when it may take its time again: it may be slow without being away.
const DOUBTED_FOR: Duration = Duration::from_millis(1_000);
/// So long Redis may take to answer everything that travels together. An answer that takes longer ends the connection: a fork for a
/// snapshot or a rewrite of some gigabytes stays below, and callers hear of trouble while their clients still wait.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_millis(1_000);

pub(super) struct Writer {
    pub(super) number: u16,
    pub(super) groups: u16,
    pub(super) line: Line,
    pub(super) durability: Durability,
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) ring: Arc<Mutex<Ring>>,
    /// When a replica that had time did not confirm, unless it did since.
    pub(super) unconfirmed: Option<Instant>,
}

/// Why nothing was answered.
struct Failure {
    error: Error,
    /// Some of it may have been carried out.
    was_sent: bool,
}

/// The answers to commands that travelled together, and whether a replica has what they changed.
struct Answers {
    each: Vec<Result<Value, RedisError>>,
    confirmed: bool,
}

impl Writer {
    /// Writes until nobody wants anything written any more.
    pub(super) async fn run(mut self) {
        let mut waiting = Vec::with_capacity(TOGETHER);
        while self.jobs.recv_many(&mut waiting, TOGETHER).await > 0 {
            let mut together = Vec::with_capacity(waiting.len());
            for job in waiting.drain(..) {
                match job {
                    Job::Restore { shards, done } => {
                        self.carry_out(std::mem::take(&mut together)).await;
                        // Whoever asked may have gone.
                        let _ = done.send(self.restore(shards).await);
                    }
                    job => together.push(job),
                }
            }
            self.carry_out(together).await;
        }
    }

    async fn carry_out(&mut self, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let calls = jobs.iter().flat_map(|job| self.calls(job)).collect();
        let answers = self.send(calls).await;
        let mut answers = answers.map(|answers| (answers.each.into_iter(), answers.confirmed));
        let now = Instant::now();
        for job in jobs {
            let mut answer = || match &mut answers {
                Err(failure) => (Err(failure.error.clone()), failure.was_sent),
                Ok((each, confirmed)) => {
                    let answer = each.next();
                    let was_carried_out = matches!(answer, Some(Ok(_)));
                    (done(answer, *confirmed), was_carried_out)
                }
            };
            let (answer, done) = match job {
                Job::Change { change, fence, done, .. } => {
                    let (answer, may_be_so) = answer();
                    self.note(&change, &fence, &answer, may_be_so, now);
                    (answer, done)
                }
                Job::Directory { enter, quit, done } => {
                    let each: Vec<_> = enter.iter().chain(&quit).map(|_| answer().0).collect();
                    (each.into_iter().collect::<Result<Vec<_>, _>>().map(|_| Done::Written), done)
                }
                Job::Pulse { done } | Job::Settle { done } => (answer().0, done),
                Job::Restore { .. } => continue,
            };
            // Whoever asked may have gone.
            let _ = done.send(answer);
        }
    }

    fn note(
        &self,
        change: &Arc<Change>,
        fence: &Arc<Fence>,
        answer: &Result<Done, Error>,
        may_be_so: bool,
        now: Instant,
    ) {
        let outcome = match answer {
            Ok(Done::Written) => Outcome::Acknowledged { erased: None },
            Ok(Done::Erased(version)) => Outcome::Acknowledged { erased: Some(*version) },
            Err(_) if may_be_so => Outcome::Unknown,
            Ok(Done::Fenced | Done::Late | Done::Other(_)) | Err(_) => return,
        };
        self.ring().note(change, fence, outcome, now);
    }

    fn ring(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_local(&self, impu: &Impu) -> bool {
        schema::home(impu).number() % self.groups == self.number
    }

    fn calls(&self, job: &Job) -> Vec<Cmd> {
        match job {
            Job::Change { change, fence, terms, .. } => {
                let life = self.ring().former_life(change.shard, &change.impi, fence);
                let life = life.filter(|_| matches!(change.what, What::Save { .. }));
                let terms = Terms {
                    bound: life.map(|life| life.end),
                    but: life.and_then(|life| life.but),
                    ..terms.clone()
                };
                vec![change.call(&fence.to_string(), &terms, |impu| self.is_local(impu))]
            }
            Job::Directory { enter, quit, .. } => {
                let call = |name: &str, Entrant { impi, impu, epoch }: &Entrant| {
                    let mut call = cmd("FCALL");
                    call.arg(schema::function(name)).arg(1).arg(schema::holders(impu));
                    call.arg(impi.as_str()).arg(*epoch);
                    call
                };
                let enter = enter.iter().map(|entrant| call("enter", entrant));
                enter.chain(quit.iter().map(|entrant| call("quit", entrant))).collect()
            }
            Job::Pulse { .. } => {
                let mut set = cmd("SET");
                set.arg(schema::PULSE).arg("").arg("PX").arg(60_000);
                vec![set]
            }
            Job::Settle { .. } => vec![pulse()],
            Job::Restore { .. } => Vec::new(),
        }
    }

    /// Sends commands that may be sent twice, and does so if the connection breaks.
    async fn send(&mut self, calls: Vec<Cmd>) -> Result<Answers, Failure> {
        let within = self.confirm_within();
        let mut pipeline = Pipeline::with_capacity(calls.len() + 2);
        pipeline.ignore_errors();
        for call in calls {
            pipeline.add_command(call);
        }
        if self.durability == Durability::Wait1 {
            // WAIT looks at the last write of this connection: a repeated change writes nothing, so something else does.
            pipeline.add_command(pulse());
            pipeline.cmd("WAIT").arg(1).arg(within.as_millis().to_string());
        }
        let until = Instant::now() + PATIENCE;
        let mut was_sent = false;
        loop {
            let used = self.line.up().await;
            let mut used = used.map_err(|error| Failure { error, was_sent })?;
            was_sent = true;
            let answered = pipeline.query_async(&mut used.connection).await;
            let late = Instant::now() >= until;
            let each: Vec<Result<Value, RedisError>> = match answered {
                Ok(each) => each,
                Err(failure) => {
                    self.line.broke(&used, &failure).await;
                    if late || failure.is_timeout() {
                        return Err(Failure { error: fail::error(&failure), was_sent });
                    }
                    continue;
                }
            };
            if !late && self.mended(&mut used, &each).await {
                continue;
            }
            return Ok(self.confirmed(each, within));
        }
    }

    /// Whether an answer says that all may succeed if it is sent again.
    async fn mended(&self, used: &mut Use, each: &[Result<Value, RedisError>]) -> bool {
        let failures = each.iter().filter_map(|answer| answer.as_ref().err());
        for failure in failures {
            match fail::connection(failure) {
                Connection::Good => {}
                Connection::Spent => {
                    self.line.broke(used, failure).await;
                    return true;
                }
                Connection::WithoutFunctions => return load_library(&mut used.connection).await.is_ok(),
            }
        }
        false
    }

    fn confirm_within(&self) -> Duration {
        match self.unconfirmed {
            Some(since) if since.elapsed() < DOUBTED_FOR => CONFIRM_AGAIN_WITHIN,
            Some(_) | None => CONFIRM_WITHIN,
        }
    }

    fn confirmed(&mut self, mut each: Vec<Result<Value, RedisError>>, within: Duration) -> Answers {
        let confirmed = match self.durability {
            Durability::Async => true,
            Durability::Wait1 => {
                let (replicas, pulse) = (each.pop(), each.pop());
                let confirmed = matches!((pulse, replicas), (Some(Ok(_)), Some(Ok(Value::Int(1..)))));
                if confirmed {
                    self.unconfirmed = None;
                } else if within == CONFIRM_WITHIN {
                    self.unconfirmed = Some(Instant::now());
                }
                confirmed
            }
        };
        Answers { each, confirmed }
    }

    /// Sends again what was written to these shards lately. Nothing is written in between, so what is sent is the last word.
    async fn restore(&mut self, shards: Vec<(ShardId, Arc<Fence>)>) -> Result<(), Error> {
        let mut lately = Vec::new();
        for (shard, fence) in shards {
            let entries = self.ring().of(shard);
            lately.extend(entries.into_iter().map(|entry| (entry, Arc::clone(&fence))));
        }
        let mut outcome = Ok(());
        for some in lately.chunks(TOGETHER) {
            let first = some
                .iter()
                .map(|(entry, fence)| (entry, fence, Terms { bound: entry.erased, ..Terms::default() }));
            let others = self.restore_some(first.collect(), &mut outcome).await?;
            let second = others.into_iter().filter_map(|(entry, fence, former)| {
                match entry.change.replacing(&former, entry.erased) {
                    Ok(terms) => Some((entry, fence, terms)),
                    Err(error) => {
                        outcome = Err(error);
                        None
                    }
                }
            });
            let second = second.collect();
            self.restore_some(second, &mut outcome).await?;
        }
        outcome
    }

    /// Answers those whose records have other identities.
    async fn restore_some<'a>(
        &mut self,
        some: Vec<(&'a Entry, &'a Arc<Fence>, Terms)>,
        outcome: &mut Result<(), Error>,
    ) -> Result<Vec<(&'a Entry, &'a Arc<Fence>, Vec<u8>)>, Error> {
        if some.is_empty() {
            return Ok(Vec::new());
        }
        let calls = some.iter().map(|(entry, fence, terms)| {
            entry.change.call(&fence.to_string(), terms, |impu| self.is_local(impu))
        });
        let calls = calls.collect();
        let sent = self.send(calls).await;
        let Answers { each, confirmed } = sent.map_err(|failure| failure.error)?;
        let mut others = Vec::new();
        for ((entry, fence, _), answer) in some.into_iter().zip(each) {
            match done(Some(answer), confirmed) {
                Ok(Done::Written | Done::Erased(_) | Done::Late) => self.ring().restored(entry, fence),
                Ok(Done::Other(former)) => others.push((entry, fence, former)),
                Ok(Done::Fenced) => {
                    self.ring().forget(entry.change.shard);
                    *outcome = Err(Error::Fenced);
                }
                Err(error) => *outcome = Err(error),
            }
        }
        Ok(others)
    }
}

/// A write of no consequence, which a full Redis does as well.
fn pulse() -> Cmd {
    let mut pulse = cmd("FCALL");
    pulse.arg(schema::function("pulse")).arg(1).arg(schema::PULSE);
    pulse
}

fn done(answer: Option<Result<Value, RedisError>>, confirmed: bool) -> Result<Done, Error> {
    let answer = answer.ok_or_else(fail::unreadable)?.map_err(|failure| fail::error(&failure))?;
    let unconfirmed = || Err(Error::Unavailable("no replica of Redis confirmed in time".into()));
    match answer {
        Value::Int(1) => Ok(Done::Fenced),
        Value::Int(2) => Ok(Done::Late),
        Value::BulkString(former) => Ok(Done::Other(former)),
        Value::Int(0) | Value::Okay | Value::Array(_) if !confirmed => unconfirmed(),
        Value::Int(0) | Value::Okay => Ok(Done::Written),
        Value::Array(erased) => match &erased[..] {
            [Value::BulkString(version)] => {
                let version = std::str::from_utf8(version).ok().map(|hex| u64::from_str_radix(hex, 16));
                version.and_then(Result::ok).map(Done::Erased).ok_or_else(fail::unreadable)
            }
            _ => Err(fail::unreadable()),
        },
        _ => Err(fail::unreadable()),
    }
}
