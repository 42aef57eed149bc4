//! What operators see of users of other nodes: asked there, and shown here as it was said.

use crate::actor::link::Slot;
use crate::shell::Shell;
use crate::word::{Show, Word};
use admin::{Answer, Seen, Shown};
use ahash::AHashMap;
use scscf::Impi;
use serde_json::value::RawValue;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use store::ShardId;
use tokio::sync::{mpsc, oneshot};

/// Takes what another node shows, as JSON.
type Showing = oneshot::Sender<Option<Box<str>>>;

/// Questions to other nodes, and watches of their users.
#[derive(Default)]
pub(crate) struct Shows {
    asked: RefCell<AHashMap<u64, (Slot, Showing)>>,
    watched: RefCell<AHashMap<u64, (Slot, mpsc::Sender<Seen>)>>,
    /// Watches that other nodes have of users here.
    shown: RefCell<AHashMap<(Slot, u64), Rc<tokio::sync::Notify>>>,
    next: Cell<u64>,
}

/// How long another node may take, within what an operator waits.
const PATIENCE: Duration = Duration::from_secs(3);
/// Observations that may wait for a watcher here.
const BACKLOG: usize = 256;
/// Watches of other nodes at once.
const WATCHES: usize = 1_000;

impl Shell {
    /// A user of another node's; `None` if that does not answer.
    pub(crate) async fn ask_to_show(self: &Rc<Self>, slot: Slot, show: Show) -> Option<Option<Box<str>>> {
        let (number, answer) = self.ask_peer(slot, show)?;
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        self.shows.asked.borrow_mut().remove(&number);
        answer.ok()?.ok()
    }

    fn ask_peer(&self, slot: Slot, show: Show) -> Option<(u64, oneshot::Receiver<Option<Box<str>>>)> {
        let number = self.shows.next.get() + 1;
        self.shows.next.set(number);
        let (sender, receiver) = oneshot::channel();
        self.shows.asked.borrow_mut().insert(number, (slot, sender));
        if self.say(slot, &Word::Show { number, show }) {
            return Some((number, receiver));
        }
        self.shows.asked.borrow_mut().remove(&number);
        None
    }

    /// Follows a user of another node's; `None` if that does not answer, or has the user no more.
    pub(crate) async fn watch_abroad(self: &Rc<Self>, slot: Slot, impi: Impi) -> Option<Answer> {
        let (number, answer) = self.ask_peer(slot, Show::Watch(impi))?;
        let (sender, observations) = mpsc::channel(BACKLOG);
        self.shows.watched.borrow_mut().insert(number, (slot, sender));
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        self.shows.asked.borrow_mut().remove(&number);
        match answer.ok().and_then(Result::ok).flatten().and_then(raw) {
            Some(view) => Some(Answer::Watching { view: Shown::There(view), observations }),
            None => {
                self.shows.watched.borrow_mut().remove(&number);
                None
            }
        }
    }

    /// Another node wants to see a user of ours.
    pub(crate) fn show_abroad(self: &Rc<Self>, from: Slot, number: u64, show: Show) {
        let shell = Rc::clone(self);
        tokio::task::spawn_local(async move {
            match show {
                Show::User(impi) => {
                    let json = shell.user_as_json(impi).await;
                    shell.say(from, &Word::Shown { number, json });
                }
                Show::Watch(impi) => {
                    let gone = Rc::new(tokio::sync::Notify::new());
                    shell.shows.shown.borrow_mut().insert((from, number), Rc::clone(&gone));
                    shell.show_on(from, number, &impi, &gone).await;
                    shell.shows.shown.borrow_mut().remove(&(from, number));
                }
            }
        });
    }

    /// A user of ours, be it here or at a node that has it on loan to us.
    async fn user_as_json(self: &Rc<Self>, impi: Impi) -> Option<Box<str>> {
        if let Some(lender) = self.loans.lender(&impi) {
            return self.ask_to_show(lender, Show::User(impi)).await.flatten();
        }
        let view = self.view_here(&impi).await.ok().flatten()?;
        serde_json::to_string(&self.shown(&impi, view)).ok().map(Into::into)
    }

    async fn show_on(self: &Rc<Self>, from: Slot, number: u64, impi: &Impi, gone: &tokio::sync::Notify) {
        let is_full = self.shows.shown.borrow().len() > WATCHES;
        let watching = match self.loans.lender(impi) {
            _ if is_full => None,
            Some(lender) => self.watch_abroad(lender, impi.clone()).await,
            None => self.watch_here(impi).await,
        };
        let Some(Answer::Watching { view, mut observations }) = watching else {
            self.say(from, &Word::Shown { number, json: None });
            return;
        };
        let json = serde_json::to_string(&view).ok().map(Into::into);
        self.say(from, &Word::Shown { number, json });
        let shard = ShardId::of(impi.as_str()).number();
        loop {
            let seen = tokio::select! {
                seen = observations.recv() => seen,
                () = gone.notified() => None,
            };
            let json = match seen {
                Some(Seen::Here(observation)) => {
                    Some(observation.to_json(shard, &self.config.node.id).into())
                }
                Some(Seen::There(json)) => Some(json),
                None => None,
            };
            let is_over = json.is_none();
            if !self.say(from, &Word::Observed { number, json }) || is_over {
                return;
            }
        }
    }

    /// Another node shows what was asked for.
    pub(crate) fn shown_abroad(&self, from: Slot, number: u64, json: Option<Box<str>>) {
        let asked = self.shows.asked.borrow_mut().remove(&number);
        if let Some((slot, operator)) = asked
            && slot == from
        {
            // The operator may have hung up.
            let _ = operator.send(json);
        }
    }

    /// Another node tells of a step of a user who is watched here.
    pub(crate) fn observed_abroad(&self, from: Slot, number: u64, json: Option<Box<str>>) {
        let mut watched = self.shows.watched.borrow_mut();
        let goes_on = match (watched.get(&number), json) {
            (Some((slot, watcher)), Some(json)) if *slot == from => {
                watcher.try_send(Seen::There(json)).is_ok()
            }
            (Some(_), _) => false,
            (None, json) => {
                if json.is_some() {
                    self.say(from, &Word::Unwatch { number });
                }
                return;
            }
        };
        if !goes_on {
            watched.remove(&number);
            self.say(from, &Word::Unwatch { number });
        }
    }

    /// Nobody at another node watches any more.
    pub(crate) fn unwatch_abroad(&self, from: Slot, number: u64) {
        if let Some(gone) = self.shows.shown.borrow().get(&(from, number)) {
            gone.notify_one();
        }
    }

    /// A node has ended: whoever watched its users asks again, and what it watched is not shown any more.
    pub(crate) fn peer_shows_no_more(&self, slot: Slot) {
        self.shows.asked.borrow_mut().retain(|_, (of, _)| *of != slot);
        self.shows.watched.borrow_mut().retain(|_, (of, _)| *of != slot);
        for ((of, _), gone) in &*self.shows.shown.borrow() {
            if *of == slot {
                gone.notify_one();
            }
        }
    }

    /// Lets go of watchers that hung up.
    pub(crate) fn forget_watchers(&self) {
        self.shows.watched.borrow_mut().retain(|number, (slot, watcher)| {
            let goes_on = !watcher.is_closed();
            if !goes_on {
                self.say(*slot, &Word::Unwatch { number: *number });
            }
            goes_on
        });
    }
}

/// What another node wrote, if it is JSON.
pub(crate) fn raw(json: Box<str>) -> Option<Box<RawValue>> {
    RawValue::from_string(json.into()).ok()
}
