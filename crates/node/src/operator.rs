//! The operator's questions, answered on the node's thread.

use crate::abroad::raw;
use crate::actor::link::Slot;
use crate::actor::membership::Place;
use crate::actor::parcel::Parcel;
use crate::actor::user;
use crate::shell::Shell;
use crate::telemetry::Telemetry;
use crate::word::{Show, Wish, Word};
use admin::{Answer, Answering, Ask, ClusterView, NodeView, Page, Row, ShardView, Shown, UserView};
use ahash::AHashMap;
use cluster::{Member, Whose};
use scscf::user::Phase;
use scscf::view::{RegistrationState, View};
use scscf::{AskTx, Impi, Impu, Span, Told, User};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use store::ShardId;
use tokio::sync::{mpsc, oneshot};

/// Operators that wait to be told how a user took their wish.
#[derive(Default)]
pub(crate) struct Operators {
    waiting: RefCell<AHashMap<AskTx, oneshot::Sender<Told>>>,
    next: Cell<u64>,
}

impl Operators {
    fn open(&self) -> (AskTx, oneshot::Receiver<Told>) {
        let (sender, receiver) = oneshot::channel();
        self.next.set(self.next.get() + 1);
        let ask = AskTx(self.next.get());
        self.waiting.borrow_mut().insert(ask, sender);
        (ask, receiver)
    }

    pub(crate) fn tell(&self, ask: AskTx, told: Told) {
        if let Some(operator) = self.waiting.borrow_mut().remove(&ask) {
            // The operator may have hung up.
            let _ = operator.send(told);
        }
    }

    pub(crate) fn forget(&self, ask: AskTx) {
        self.waiting.borrow_mut().remove(&ask);
    }
}

/// A question and where its answer goes.
pub(crate) type Question = (Ask, oneshot::Sender<Answer>);

/// What the HTTP threads hold of the node.
pub(crate) struct Window {
    pub(crate) questions: mpsc::Sender<Question>,
    pub(crate) telemetry: Telemetry,
}

/// How long a question may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often is looked for a user who is between two nodes.
const LOOK: Duration = Duration::from_millis(100);
/// Users on a page unless the operator wants fewer.
const PAGE: usize = 1000;

impl admin::Node for Window {
    fn ask(&self, ask: Ask) -> Answering {
        let (sender, receiver) = oneshot::channel();
        let sent = self.questions.try_send((ask, sender));
        Box::pin(async move {
            if sent.is_err() {
                return Answer::Unavailable("too many questions at once, or the node stops".into());
            }
            match tokio::time::timeout(PATIENCE, receiver).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) | Err(_) => Answer::Unavailable("the node does not answer".into()),
            }
        })
    }

    fn metrics(&self) -> String {
        self.telemetry.text()
    }
}

impl Shell {
    pub(crate) async fn take_questions(self: Rc<Self>, mut questions: mpsc::Receiver<Question>) {
        while let Some((ask, to)) = questions.recv().await {
            let shell = Rc::clone(&self);
            tokio::task::spawn_local(async move {
                // Whoever asked may have gone.
                let _ = to.send(shell.answer(ask).await);
            });
        }
    }

    async fn answer(self: &Rc<Self>, ask: Ask) -> Answer {
        match ask {
            Ask::Users(filter) => self.page(filter).await,
            Ask::User(impi) => self.user(impi).await,
            Ask::Reauthenticate { impi, period, reason } => {
                let period = period.map(Span::millis);
                self.wish(&impi, Wish::Reauthenticate { period, reason }).await
            }
            Ask::Deregister { impi, reason } => self.wish(&impi, Wish::Deregister { reason }).await,
            Ask::Watch(impi) => self.watch(&impi).await,
            Ask::Cluster => Answer::Cluster(self.cluster()),
            Ask::Drain(node) => self.drain_node(&node),
            Ask::Ready => Answer::Ready(self.missing().await),
        }
    }

    /// Follows a user, wherever it is; waits a while for one who is between two nodes.
    async fn watch(self: &Rc<Self>, impi: &Impi) -> Answer {
        let until = self.clock.tick() + self.config.cluster.hold;
        loop {
            let watching = match self.abroad(impi) {
                Some(slot) => self.watch_abroad(slot, impi.clone()).await,
                None => self.watch_here(impi).await,
            };
            match watching {
                Some(answer) => return answer,
                None if self.clock.tick() < until => tokio::time::sleep(LOOK).await,
                None => return Answer::Unavailable("the node of this user does not answer".into()),
            }
        }
    }

    /// Follows a user of this node; `None` if it is another's.
    pub(crate) async fn watch_here(self: &Rc<Self>, impi: &Impi) -> Option<Answer> {
        let is_here = match self.place(ShardId::of(impi.as_str())) {
            Place::Mine | Place::Suspended | Place::Leaving => self.loans.lender(impi).is_none(),
            Place::At(_) | Place::Nowhere => self.loans.owner(impi).is_some(),
        };
        if !is_here {
            return None;
        }
        let Some(observations) = self.recorder.watch(impi) else {
            return Some(Answer::Unavailable("too many watch this user".into()));
        };
        Some(match self.view_here(impi).await {
            Ok(view) => {
                let view = view.unwrap_or_else(|| User::new(impi.clone()).view());
                Answer::Watching { view: Shown::Here(Box::new(self.shown(impi, view))), observations }
            }
            Err(error) => Answer::Unavailable(error.to_string()),
        })
    }

    async fn user(self: &Rc<Self>, impi: Impi) -> Answer {
        if let Some(slot) = self.abroad(&impi) {
            return match self.ask_to_show(slot, Show::User(impi)).await {
                Some(Some(json)) => match raw(json) {
                    Some(view) => Answer::User(Shown::There(view)),
                    None => Answer::Unavailable("the node of this user does not make sense".into()),
                },
                Some(None) => Answer::NotFound,
                None => Answer::Unavailable("the node of this user does not answer".into()),
            };
        }
        match self.view_here(&impi).await {
            Ok(Some(view)) => Answer::User(Shown::Here(Box::new(self.shown(&impi, view)))),
            Ok(None) => Answer::NotFound,
            Err(error) => Answer::Unavailable(error.to_string()),
        }
    }

    /// The node where a user is, if it is another.
    fn abroad(&self, impi: &Impi) -> Option<Slot> {
        if self.loans.owner(impi).is_some() {
            return None;
        }
        match self.place(ShardId::of(impi.as_str())) {
            Place::At(slot) => Some(slot),
            Place::Mine | Place::Suspended | Place::Leaving | Place::Nowhere => self.loans.lender(impi),
        }
    }

    fn drain_node(self: &Rc<Self>, node: &str) -> Answer {
        if node == self.config.node.id {
            self.drain();
            return Answer::Accepted;
        }
        let slot = {
            let ownership = self.membership.ownership.borrow();
            let Some(member) = ownership.members().iter().find(|member| *member.node == *node) else {
                return Answer::NotFound;
            };
            self.links.slot(&member.node, member.incarnation)
        };
        match slot.is_some_and(|slot| self.say(slot, &Word::Drain)) {
            true => Answer::Accepted,
            false => Answer::Unavailable(format!("{node} cannot be reached from here")),
        }
    }

    /// A user of this node as it is, or any user as last saved.
    pub(crate) async fn view_here(self: &Rc<Self>, impi: &Impi) -> Result<Option<View>, store::Error> {
        if let Some((addr, _)) = self.shards.here(impi) {
            let (sender, receiver) = oneshot::channel();
            if addr.try_send(user::Show(sender)).is_ok()
                && let Ok(view) = receiver.await
            {
                return Ok(Some(view));
            }
        }
        let loaded = self.store.load(ShardId::of(impi.as_str()), impi).wait().await?;
        Ok(loaded.map(|loaded| loaded.user.view()))
    }

    pub(crate) fn shown(&self, impi: &Impi, view: View) -> UserView {
        UserView {
            view,
            shard: ShardId::of(impi.as_str()).number(),
            node: self.config.node.id.clone(),
            recent: self.recorder.history(impi),
        }
    }

    async fn wish(self: &Rc<Self>, impi: &Impi, wish: Wish) -> Answer {
        let (ask, told) = self.operators.open();
        self.bring(impi, Parcel::Wish { ask, wish });
        match tokio::time::timeout(PATIENCE, told).await {
            Ok(Ok(Told::NotRegistered)) => Answer::NotFound,
            Ok(Ok(told)) => Answer::Told(told),
            Ok(Err(_)) | Err(_) => {
                self.operators.forget(ask);
                Answer::Unavailable("the user cannot be reached now".into())
            }
        }
    }

    async fn page(self: &Rc<Self>, filter: admin::Filter) -> Answer {
        let state = match filter.state.as_deref() {
            None | Some("") => None,
            Some("registered") => Some(RegistrationState::Registered),
            Some("not_registered") => Some(RegistrationState::NotRegistered),
            Some("unregistered_services") => Some(RegistrationState::UnregisteredServices),
            Some(other) => {
                return Answer::Refused(format!(
                    "state = {other:?}: expected registered, not_registered or unregistered_services"
                ));
            }
        };
        let after = match filter.cursor.as_deref() {
            None | Some("") => None,
            Some(cursor) => match Impi::new(cursor) {
                Some(impi) => Some(impi),
                None => {
                    return Answer::Refused(format!("cursor = {cursor:?}: expected the cursor of a page"));
                }
            },
        };
        let limit = if filter.limit == 0 { PAGE } else { filter.limit.min(PAGE) };
        let text = filter.q.filter(|text| !text.is_empty());
        // A whole public identity leads to its holders; anything else is looked for in private identities.
        if let Some(impu) = text.as_deref().and_then(Impu::parse) {
            return self.holders(&impu, state, limit).await;
        }
        let page = self.store.list(&store::Filter { state, text }, after.as_ref(), limit).wait().await;
        match page {
            Ok(page) => {
                let mut users = Vec::with_capacity(page.users.len());
                for listed in page.users {
                    let mut row = self.row(&listed.impi);
                    row.state = state_text(listed.summary.state);
                    row.bindings = listed.summary.bindings;
                    row.subscriptions = listed.summary.subscriptions;
                    row.sessions = listed.summary.sessions;
                    if listed.summary.reauthentication
                        && let Ok(Some(view)) = self.view_here(&listed.impi).await
                    {
                        row.reauthentication = view.reauthentication.map(|pending| phase_text(pending.phase));
                    }
                    users.push(row);
                }
                Answer::Users(Page { users, next: page.next.map(|impi| impi.as_str().to_owned()) })
            }
            Err(error) => Answer::Unavailable(error.to_string()),
        }
    }

    async fn holders(self: &Rc<Self>, impu: &Impu, state: Option<RegistrationState>, limit: usize) -> Answer {
        let found = match self.store.holders(impu).wait().await {
            Ok(found) => found,
            Err(error) => return Answer::Unavailable(error.to_string()),
        };
        let mut users = Vec::new();
        for impi in found.iter().take(limit) {
            match self.view_here(impi).await {
                Ok(Some(view)) if state.is_none_or(|state| state == view.state) => {
                    let mut row = self.row(impi);
                    row.state = state_text(view.state);
                    row.bindings = view.bindings.len();
                    row.subscriptions = view.subscriptions.len();
                    row.sessions = view.sessions.len();
                    row.reauthentication = view.reauthentication.map(|pending| phase_text(pending.phase));
                    users.push(row);
                }
                Ok(_) => {}
                Err(error) => return Answer::Unavailable(error.to_string()),
            }
        }
        Answer::Users(Page { users, next: None })
    }

    fn row(&self, impi: &Impi) -> Row {
        Row {
            impi: impi.as_str().to_owned(),
            state: "",
            shard: ShardId::of(impi.as_str()).number(),
            node: self.owner_of(ShardId::of(impi.as_str())),
            bindings: 0,
            subscriptions: 0,
            sessions: 0,
            reauthentication: None,
        }
    }

    /// Name of the node that owns a shard; empty if none does.
    fn owner_of(&self, shard: ShardId) -> String {
        let ownership = self.membership.ownership.borrow();
        match ownership.whose(shard, self.clock.tick()) {
            Whose::Mine(_) | Whose::Suspended(_) | Whose::Leaving(_) => self.config.node.id.clone(),
            Whose::Theirs(member) => member.node.clone().into(),
            Whose::Nobody => String::new(),
        }
    }

    fn cluster(&self) -> ClusterView {
        let ownership = self.membership.ownership.borrow();
        let mut counts: AHashMap<Box<str>, usize> = AHashMap::new();
        let mut shards: Vec<ShardView> = ShardId::all()
            .map(|shard| ShardView { id: shard.number(), owner: self.owner_of(shard), epoch: 0 })
            .collect();
        for (shard, fence) in ownership.owners() {
            shards[usize::from(shard.number())].epoch = fence.epoch;
        }
        for shard in shards.iter().filter(|shard| !shard.owner.is_empty()) {
            *counts.entry(shard.owner.as_str().into()).or_default() += 1;
        }
        let users = usize::try_from(self.telemetry.users.get()).unwrap_or(0);
        let node = |member: &Member| NodeView {
            id: member.node.clone().into(),
            address: member.sip.clone().into(),
            state: if member.draining { "draining" } else { "serving" },
            shards: counts.get(&member.node).copied().unwrap_or(0),
            users: match member.node == ownership.me().node {
                true => users,
                false => usize::try_from(member.users).unwrap_or(usize::MAX),
            },
        };
        let others = ownership.members().iter().filter(|member| member.node != ownership.me().node);
        let mut nodes: Vec<NodeView> = others.chain([ownership.me()]).map(node).collect();
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        ClusterView { nodes, shards }
    }

    /// What keeps the node from serving; nothing when it is ready.
    pub(crate) async fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if self.draining.get() || self.membership.ownership.borrow().me().draining {
            missing.push("the node is draining".into());
        }
        let without = ShardId::all().filter(|shard| self.place(*shard) == Place::Nowhere).count();
        if without > 0 {
            missing.push(format!("{without} shards have no owner that can be reached"));
        }
        if self.cx.open() == 0 {
            missing.push("no Diameter peer is open".into());
        }
        if let Err(error) = self.store.ready().wait().await {
            missing.push(error.to_string());
        }
        missing
    }
}

const fn state_text(state: RegistrationState) -> &'static str {
    match state {
        RegistrationState::NotRegistered => "not_registered",
        RegistrationState::Registered => "registered",
        RegistrationState::UnregisteredServices => "unregistered_services",
    }
}

const fn phase_text(phase: Phase) -> &'static str {
    match phase {
        Phase::Notifying => "notifying",
        Phase::Awaiting => "awaiting",
        Phase::Challenged => "challenged",
    }
}
