//! A connection to the primary of a group that mends itself for ever, and says quickly when it is broken.

use super::connect::{Connected, connect, load_library};
use super::fail::{self, Connection};
use super::place::Place;
use crate::Error;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;

/// Whoever wants something of a line that broke a moment ago waits so long for it; later they hear at once that it is broken.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// Between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// So many questions are on a line at once; others wait their turn.
const ASKED: usize = 256;
/// So many wait their turn.
const WAITING: usize = 16_384;

/// One line.
pub(super) struct Line {
    state: watch::Receiver<State>,
    broken: mpsc::Sender<(u64, Box<str>)>,
    turns: Semaphore,
    places: Semaphore,
}

#[derive(Clone)]
enum State {
    Up { number: u64, connection: MultiplexedConnection },
    Down { since: Instant, why: Error },
}

/// A connection of a line, for one use.
pub(super) struct Use {
    number: u64,
    pub(super) connection: MultiplexedConnection,
}

impl Line {
    /// Begins to connect, and goes on doing so until it is dropped.
    pub(super) fn new(place: Arc<Place>, answer_within: Duration) -> Self {
        let why = Error::Unavailable(format!("{place}: not connected yet").into());
        let (tell, state) = watch::channel(State::Down { since: Instant::now(), why });
        let (broken, breaks) = mpsc::channel(64);
        tokio::spawn(mend(place, answer_within, tell, breaks));
        Self { state, broken, turns: Semaphore::new(ASKED), places: Semaphore::new(WAITING) }
    }

    /// Waits until it is connected, or until trying again cannot help, or no longer than `within`.
    pub(super) async fn first(&self, within: Duration) -> Result<(), Error> {
        let mut state = self.state.clone();
        let known = state.wait_for(|state| match state {
            State::Up { .. } | State::Down { why: Error::Settings(_), .. } => true,
            State::Down { .. } => false,
        });
        // Either way the state tells what is so.
        let _ = tokio::time::timeout(within, known).await;
        match &*self.state.borrow() {
            State::Up { .. } => Ok(()),
            State::Down { why, .. } => Err(why.clone()),
        }
    }

    /// A connection, if there is one or will be in a moment.
    pub(super) async fn up(&self) -> Result<Use, Error> {
        let mut state = self.state.clone();
        loop {
            let since = match &*state.borrow_and_update() {
                State::Up { number, connection } => {
                    return Ok(Use { number: *number, connection: connection.clone() });
                }
                State::Down { since, why } if since.elapsed() >= PATIENCE => {
                    return Err(unavailable(why));
                }
                State::Down { since, .. } => *since,
            };
            // Either way another look tells what is so.
            let _ = tokio::time::timeout_at(since + PATIENCE, state.changed()).await;
        }
    }

    /// The connection of `used` is of no use any more; returns when nobody gets it any more.
    pub(super) async fn broke(&self, used: &Use, why: &RedisError) {
        // A full queue holds this word already.
        let _ = self.broken.try_send((used.number, fail::words(why)));
        let mut state = self.state.clone();
        let other =
            state.wait_for(|state| !matches!(state, State::Up { number, .. } if *number == used.number));
        // It is only slow to wait in vain.
        let _ = tokio::time::timeout(PATIENCE, other).await;
    }

    /// Asks a question that may be asked twice.
    pub(super) async fn ask(&self, question: Cmd) -> Result<Value, Error> {
        let mut questions = Pipeline::with_capacity(1);
        questions.add_command(question);
        self.ask_all(questions).await?.pop().ok_or_else(fail::unreadable)
    }

    /// Asks several questions that may be asked twice; the first refusal is the answer.
    pub(super) async fn ask_all(&self, mut questions: Pipeline) -> Result<Vec<Value>, Error> {
        questions.ignore_errors();
        let full = || Error::Unavailable("too many questions to Redis at once".into());
        let _place = self.places.try_acquire().map_err(|_| full())?;
        let turn = tokio::time::timeout(PATIENCE, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(full()) };
        let until = Instant::now() + PATIENCE;
        loop {
            let mut used = self.up().await?;
            let answered: Result<Vec<Result<Value, RedisError>>, _> =
                questions.query_async(&mut used.connection).await;
            let failure = match answered.and_then(|answers| answers.into_iter().collect()) {
                Ok(answers) => return Ok(answers),
                Err(failure) => failure,
            };
            match fail::connection(&failure) {
                Connection::Good => return Err(fail::error(&failure)),
                Connection::Spent => self.broke(&used, &failure).await,
                Connection::WithoutFunctions => {
                    if let Err(failure) = load_library(&mut used.connection).await {
                        return Err(fail::error(&failure));
                    }
                }
            }
            if failure.is_timeout() || Instant::now() >= until {
                return Err(fail::error(&failure));
            }
        }
    }
}

fn unavailable(why: &Error) -> Error {
    match why {
        Error::Settings(why) => Error::Unavailable(why.clone()),
        why => why.clone(),
    }
}

async fn mend(
    place: Arc<Place>,
    answer_within: Duration,
    tell: watch::Sender<State>,
    mut breaks: mpsc::Receiver<(u64, Box<str>)>,
) {
    let (mut number, mut pause, mut former) = (0, PAUSES.0, None);
    let mut since = Instant::now();
    loop {
        let connected = tokio::select! {
            connected = connect(&place, answer_within, former.as_ref()) => connected,
            () = tell.closed() => return,
        };
        let Connected { connection, known_as } = match connected {
            Ok(connected) => connected,
            Err(why) => {
                tell.send_replace(State::Down { since, why });
                tokio::time::sleep(pause).await;
                pause = (2 * pause).min(PAUSES.1);
                continue;
            }
        };
        number += 1;
        pause = PAUSES.0;
        former = Some(known_as);
        tell.send_replace(State::Up { number, connection });
        let why = loop {
            let broken = tokio::select! {
                broken = breaks.recv() => broken,
                () = tell.closed() => return,
            };
            match broken {
                Some((broken, why)) if broken == number => break why,
                // Of a connection before this one.
                Some(_) => {}
                None => return,
            }
        };
        since = Instant::now();
        let why = Error::Unavailable(format!("{place}: {why}").into());
        tell.send_replace(State::Down { since, why });
    }
}
