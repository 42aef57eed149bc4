//! The kind for any number of nodes: Redis keeps records, deadlines, directory, leases and owners.
//!
//! Each group is a Redis of its own, with replicas or without. To each there are three connections: one for questions, one for leases,
//! which wait for no question, and one for whatever must be in order and durable. **Invariant: a change is carried out in one function call, which first
//! compares the owner's whole token.** With several groups the directory entries of a user may be in other groups than its record:
//! they are entered before it and quit after it, so that an entry may be too many, never too few, and readers look twice.
#![allow(clippy::wildcard_enum_match_arm, reason = "answers of a server are an open set")]

mod change;
mod connect;
mod doubts;
mod facts;
mod fail;
mod leases;
mod line;
mod list;
mod place;
mod ring;
mod schema;
mod writer;

use crate::head::{self, Head};
use crate::settings::{Durability, RedisSettings};
use crate::{Error, Fence, Filter, Leases, Loaded, Page, Pending, ShardId, Store, Write};
use change::{Change, Terms};
use facts::Facts;
use line::Line;
use place::Place;
use redis::{Value, cmd};
use ring::{LastWord, Ring};
use scscf::{Impi, Impu, Timestamp};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use writer::{ANSWER_WITHIN, Done, Entrant, Job, Writer};

/// Users in Redis.
pub struct Redis {
    groups: Arc<[Arc<Group>]>,
}

/// One Redis.
struct Group {
    number: u16,
    place: Arc<Place>,
    /// For questions.
    line: Line,
    /// For leases.
    leases: Line,
    durability: Durability,
    facts: Facts,
    jobs: mpsc::Sender<Job>,
    ring: Arc<Mutex<Ring>>,
    /// The run that this process saw last.
    run: Mutex<Box<str>>,
    /// Of the lease that was renewed last, milliseconds.
    ttl: AtomicU64,
}

/// So many changes wait for their turn; others are refused.
const WAITING: usize = 8_192;
/// So long Redis may take to answer for the first time.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// So often a change is begun anew because somebody changed the identities in between.
const ATTEMPTS: usize = 3;

impl Redis {
    /// Connects to every group, and checks that it is the group that it was before.
    ///
    /// # Errors
    /// [`Error::Settings`] for a URL that is none, a wrong password, a Redis older than 7, groups in another order or number than
    /// before; [`Error::Unavailable`] if one does not answer within five seconds.
    pub async fn open(settings: &RedisSettings) -> Result<Self, Error> {
        if settings.urls.is_empty() {
            return Err(Error::Settings("at least one URL of Redis is needed".into()));
        }
        let places: Vec<Arc<Place>> =
            settings.urls.iter().map(|url| Place::parse(url).map(Arc::new)).collect::<Result<_, _>>()?;
        let count = u16::try_from(places.len()).ok().filter(|count| *count <= ShardId::COUNT);
        let count = count.ok_or_else(|| Error::Settings("more groups of Redis than shards".into()))?;
        let groups: Arc<[Arc<Group>]> = (0..count)
            .zip(places)
            .map(|(number, place)| Arc::new(Group::new(number, count, place, settings.durability)))
            .collect();
        for group in groups.iter() {
            group.line.first(OPEN_WITHIN).await?;
            group.leases.first(OPEN_WITHIN).await?;
            group.check_layout().await?;
        }
        Ok(Self { groups })
    }

    /// The place of a shard's group among all.
    fn number(&self, shard: ShardId) -> usize {
        usize::from(shard.number()) % self.groups.len()
    }

    /// Does something with a group that takes a while.
    fn later<T, F>(&self, number: usize, work: impl FnOnce(Arc<Group>) -> F) -> Pending<Result<T, Error>>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        Pending::Later(Box::pin(work(Arc::clone(&self.groups[number]))))
    }

    /// Carries out a change, whose directory entries may be everywhere.
    fn change(&self, change: Change, fence: &Fence) -> Pending<Result<(), Error>> {
        let (change, fence) = (Arc::new(change), Arc::new(fence.clone()));
        // With several groups entries go first, and whether there are any is not known yet.
        let terms = Terms { hold: self.groups.len() > 1, ..Terms::default() };
        let first = self.groups[self.number(change.shard)].submit_change(&change, &fence, terms);
        let groups = Arc::clone(&self.groups);
        Pending::Later(Box::pin(async move {
            let mut answer = answer(first).await?;
            let mut quits = Vec::new();
            for _ in 0..ATTEMPTS {
                match answer {
                    Done::Written | Done::Erased(_) => {
                        spread(&groups, &change, &fence, &[], &quits).await.ok();
                        return Ok(());
                    }
                    Done::Fenced => return Err(Error::Fenced),
                    Done::Late => return Err(Error::Outdated),
                    Done::Other(former) => {
                        let terms = change.replacing(&former, None)?;
                        spread(&groups, &change, &fence, change.impus(), &[]).await?;
                        quits.clone_from(&terms.quits);
                        let group = &groups[usize::from(change.shard.number()) % groups.len()];
                        answer = self::answer(group.submit_change(&change, &fence, terms)).await?;
                    }
                }
            }
            Err(Error::Unavailable("the public identities of the user change all the time".into()))
        }))
    }
}

type Answer = Result<oneshot::Receiver<Result<Done, Error>>, Error>;

async fn answer(answer: Answer) -> Result<Done, Error> {
    answer?.await.unwrap_or_else(|_| Err(Error::Unavailable("the store is closed".into())))
}

/// Enters a user into the directories of the groups that do not keep its record, or has it quit them.
async fn spread(
    groups: &[Arc<Group>],
    change: &Change,
    fence: &Fence,
    enter: &[Impu],
    quit: &[Impu],
) -> Result<(), Error> {
    let home = usize::from(change.shard.number()) % groups.len();
    let mut answers = Vec::new();
    for group in groups.iter().filter(|group| usize::from(group.number) != home) {
        let of_group = |impus: &[Impu]| -> Vec<_> {
            let its = |impu: &&Impu| schema::home(impu).number() % group_count(groups) == group.number;
            let entrant =
                |impu: &Impu| Entrant { impi: change.impi.clone(), impu: impu.clone(), epoch: fence.epoch };
            impus.iter().filter(its).map(entrant).collect()
        };
        let (enter, quit) = (of_group(enter), of_group(quit));
        if !enter.is_empty() || !quit.is_empty() {
            answers.push(group.submit(|done| Job::Directory { enter, quit, done }));
        }
    }
    for each in answers {
        answer(each).await?;
    }
    Ok(())
}

fn group_count(groups: &[Arc<Group>]) -> u16 {
    u16::try_from(groups.len()).unwrap_or(u16::MAX)
}

impl Group {
    fn new(number: u16, groups: u16, place: Arc<Place>, durability: Durability) -> Self {
        let (jobs, todo) = mpsc::channel(WAITING);
        let ring = Arc::default();
        let answer_within = match durability {
            Durability::Async => ANSWER_WITHIN,
            Durability::Wait1 => ANSWER_WITHIN + writer::CONFIRM_WITHIN,
        };
        let line = Line::new(Arc::clone(&place), answer_within);
        let writer = Writer {
            number,
            groups,
            line,
            durability,
            jobs: todo,
            ring: Arc::clone(&ring),
            unconfirmed: None,
        };
        tokio::spawn(writer.run());
        let line = || Line::new(Arc::clone(&place), ANSWER_WITHIN);
        let (line, leases) = (line(), line());
        let (run, ttl) = (Mutex::default(), AtomicU64::new(2_000));
        let facts = Facts::new(number, groups);
        Self { number, place, line, leases, durability, facts, jobs, ring, run, ttl }
    }

    fn submit(&self, job: impl FnOnce(oneshot::Sender<Result<Done, Error>>) -> Job) -> Answer {
        let (done, answer) = oneshot::channel();
        self.enqueue(job(done)).map(|()| answer)
    }

    fn submit_change(&self, change: &Arc<Change>, fence: &Arc<Fence>, terms: Terms) -> Answer {
        let (change, fence) = (Arc::clone(change), Arc::clone(fence));
        self.submit(|done| Job::Change { change, fence, terms, done })
    }

    fn enqueue(&self, job: Job) -> Result<(), Error> {
        self.jobs
            .try_send(job)
            .map_err(|_| Error::Unavailable("too many writes are waiting for Redis".into()))
    }

    /// Waits until what Redis has of a shard stays; returns the number of the last change whose outcome is certain.
    async fn settled(&self, shard: ShardId) -> Result<u64, Error> {
        let (doubt, number) = {
            let ring = self.ring();
            (ring.doubts.about(shard), ring.number())
        };
        if let Some(doubt) = doubt {
            answer(self.submit(|done| Job::Settle { done })).await?;
            self.ring().doubts.settle(shard, doubt);
        }
        Ok(number)
    }

    fn named(&self, why: &str) -> Box<str> {
        let place = self.place.to_string();
        if why.starts_with(&place) { why.into() } else { format!("{place}: {why}").into() }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn octets(value: Value) -> Result<Option<Vec<u8>>, Error> {
    match value {
        Value::BulkString(octets) => Ok(Some(octets)),
        Value::Nil => Ok(None),
        _ => Err(fail::unreadable()),
    }
}

fn array(value: Value) -> Result<Vec<Value>, Error> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(fail::unreadable()),
    }
}

fn text(value: Value) -> Result<String, Error> {
    match value {
        Value::BulkString(octets) => String::from_utf8(octets).map_err(|_| fail::unreadable()),
        Value::SimpleString(text) => Ok(text),
        Value::Nil => Ok(String::new()),
        _ => Err(fail::unreadable()),
    }
}

fn impi(text: &str) -> Result<Impi, Error> {
    Impi::new(text).ok_or_else(|| Error::Corrupt("a private identity in Redis is none".into()))
}

fn get(key: String) -> redis::Cmd {
    let mut get = cmd("GET");
    get.arg(key);
    get
}

impl Store for Redis {
    fn leases(&self) -> &dyn Leases {
        self
    }

    fn load(&self, shard: ShardId, impi: &Impi) -> Pending<Result<Option<Loaded>, Error>> {
        let impi = impi.clone();
        self.later(self.number(shard), move |group| async move {
            let number = group.settled(shard).await?;
            let found = octets(group.line.ask(get(schema::record(shard, &impi))).await?)?;
            let head = found.as_deref().map(Head::read).transpose()?;
            // What this process wrote is not undone by a Redis that lost it and has not been told again yet.
            let last_word = {
                let mut ring = group.ring();
                ring.looked(shard, &impi, head.map(|head| (head.version, head.write_id)), number);
                ring.last_word(shard, &impi, head.map(|head| head.version))
            };
            let found = match last_word {
                Some(LastWord::Saved(record)) => Some(record.into_vec()),
                Some(LastWord::Erased) => None,
                None => found,
            };
            let Some(record) = found else { return Ok(None) };
            let (head, user) = head::read(&record)?;
            Ok(Some(Loaded { user, version: head.version }))
        })
    }

    fn save(&self, shard: ShardId, fence: &Fence, write: Write<'_>) -> Pending<Result<(), Error>> {
        match Change::save(shard, fence, write) {
            Ok(change) => self.change(change, fence),
            Err(error) => Pending::Ready(Err(error)),
        }
    }

    fn erase(&self, shard: ShardId, fence: &Fence, impi: &Impi) -> Pending<Result<(), Error>> {
        self.change(Change::erase(shard, impi), fence)
    }

    fn holders(&self, impu: &Impu) -> Pending<Result<Vec<Impi>, Error>> {
        let (impu, groups) = (impu.clone(), Arc::clone(&self.groups));
        Pending::Later(Box::pin(async move { holders(&groups, &impu).await }))
    }

    fn deadlines(&self, shard: ShardId) -> Pending<Result<Vec<(Timestamp, Impi)>, Error>> {
        let mut question = cmd("ZRANGEBYSCORE");
        question.arg(schema::due(shard)).arg("-inf").arg("(inf").arg("WITHSCORES");
        self.later(self.number(shard), |group| async move {
            let answer = array(group.line.ask(question).await?)?;
            let mut answer = answer.into_iter();
            let mut deadlines = Vec::with_capacity(answer.len() / 2);
            while let (Some(member), Some(score)) = (answer.next(), answer.next()) {
                let at: f64 = text(score)?.parse().map_err(|_| fail::unreadable())?;
                // Deadlines are whole and not negative; those after the year 200,000 may be rounded.
                deadlines.push((Timestamp::from_millis(at as u64), impi(&text(member)?)?));
            }
            Ok(deadlines)
        })
    }

    fn list(&self, filter: &Filter, after: Option<&Impi>, limit: usize) -> Pending<Result<Page, Error>> {
        let (filter, after, groups) = (filter.clone(), after.cloned(), Arc::clone(&self.groups));
        Pending::Later(Box::pin(async move { list::page(&groups, &filter, after.as_ref(), limit).await }))
    }

    fn ready(&self) -> Pending<Result<(), Error>> {
        let asked: Vec<Answer> =
            self.groups.iter().map(|group| group.submit(|done| Job::Pulse { done })).collect();
        let groups = Arc::clone(&self.groups);
        Pending::Later(Box::pin(async move {
            for (group, asked) in groups.iter().zip(asked) {
                let reads = group.line.ask(cmd("PING"));
                match (answer(asked).await, reads.await) {
                    (Ok(_), Ok(_)) => {}
                    (Err(Error::Unavailable(why)), _) | (_, Err(Error::Unavailable(why))) => {
                        return Err(Error::Unavailable(group.named(&why)));
                    }
                    (Err(error), _) | (_, Err(error)) => return Err(error),
                }
            }
            Ok(())
        }))
    }
}

/// Who holds a public identity. With several groups an entry may be too many: the records have the last word.
async fn holders(groups: &[Arc<Group>], impu: &Impu) -> Result<Vec<Impi>, Error> {
    let of = |shard: ShardId| &groups[usize::from(shard.number()) % groups.len()];
    let entry = text(of(schema::home(impu)).line.ask(get(schema::holders(impu))).await?)?;
    let name = |line: &str| impi(line.split(' ').next().unwrap_or(line));
    let mut holders = entry.lines().map(name).collect::<Result<Vec<_>, _>>()?;
    holders.sort_unstable();
    if groups.len() > 1 {
        let mut true_ones = Vec::with_capacity(holders.len());
        for holder in holders {
            let shard = ShardId::of(holder.as_str());
            let record = octets(of(shard).line.ask(get(schema::record(shard, &holder))).await?)?;
            if let Some(record) = record
                && head::read(&record)?.1.impus().any(|held| held == impu)
            {
                true_ones.push(holder);
            }
        }
        return Ok(true_ones);
    }
    Ok(holders)
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let places: Vec<_> = self.groups.iter().map(|group| group.place.to_string()).collect();
        f.debug_tuple("Redis").field(&places).finish()
    }
}
