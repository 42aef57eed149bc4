//! The operator's questions, answered on the node's thread.

use crate::actor::duties::Owed;
use crate::actor::user::Show;
use crate::shell::Shell;
use crate::telemetry::Telemetry;
use admin::{Answer, Answering, Ask, ClusterView, NodeView, Page, Row, ShardView, UserView};
use ahash::AHashMap;
use scscf::user::Phase;
use scscf::view::{RegistrationState, View};
use scscf::{AskTx, Event, Impi, Impu, Told, Trigger, User};
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
            Ask::User(impi) => match self.view(&impi).await {
                Ok(Some(view)) => Answer::User(Box::new(self.shown(&impi, view))),
                Ok(None) => Answer::NotFound,
                Err(error) => Answer::Unavailable(error.to_string()),
            },
            Ask::Reauthenticate { impi, period, reason } => {
                self.wish(&impi, |ask| Event::Reauthenticate { by: Trigger::Operator, period, reason, ask })
                    .await
            }
            Ask::Deregister { impi, reason } => {
                self.wish(&impi, |ask| Event::Deregister { reason, ask }).await
            }
            Ask::Watch(impi) => {
                let Some(observations) = self.recorder.watch(&impi) else {
                    return Answer::Unavailable("too many watch this user".into());
                };
                let view = match self.view(&impi).await {
                    Ok(view) => view.unwrap_or_else(|| User::new(impi.clone()).view()),
                    Err(error) => return Answer::Unavailable(error.to_string()),
                };
                Answer::Watching { view: Box::new(self.shown(&impi, view)), observations }
            }
            Ask::Cluster => Answer::Cluster(self.cluster()),
            Ask::Drain(node) if *node == *self.config.node.id => {
                self.draining.set(true);
                Answer::Accepted
            }
            Ask::Drain(_) => Answer::NotFound,
            Ask::Ready => Answer::Ready(self.missing().await),
        }
    }

    /// The user as it is, wherever it is.
    async fn view(self: &Rc<Self>, impi: &Impi) -> Result<Option<View>, store::Error> {
        if let Some((addr, _)) = self.shards.here(impi) {
            let (sender, receiver) = oneshot::channel();
            if addr.try_send(Show(sender)).is_ok()
                && let Ok(view) = receiver.await
            {
                return Ok(Some(view));
            }
        }
        let loaded = self.store.load(ShardId::of(impi.as_str()), impi).wait().await?;
        Ok(loaded.map(|loaded| loaded.user.view()))
    }

    fn shown(&self, impi: &Impi, view: View) -> UserView {
        UserView {
            view,
            shard: ShardId::of(impi.as_str()).number(),
            node: self.config.node.id.clone(),
            recent: self.recorder.history(impi),
        }
    }

    async fn wish(self: &Rc<Self>, impi: &Impi, event: impl FnOnce(Option<AskTx>) -> Event) -> Answer {
        let (ask, told) = self.operators.open();
        self.deliver(impi, event(Some(ask)), Some(Owed::Ask(ask)));
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
                        && let Ok(Some(view)) = self.view(&listed.impi).await
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
            match self.view(impi).await {
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
            node: self.config.node.id.clone(),
            bindings: 0,
            subscriptions: 0,
            sessions: 0,
            reauthentication: None,
        }
    }

    fn cluster(&self) -> ClusterView {
        let id = &self.config.node.id;
        let sip = self.transport.addresses();
        let node = NodeView {
            id: id.clone(),
            address: sip.first().map_or_else(String::new, |(_, address)| address.to_string()),
            state: if self.draining.get() { "draining" } else { "serving" },
            shards: usize::from(ShardId::COUNT),
            users: usize::try_from(self.telemetry.users.get()).unwrap_or(0),
        };
        let shards = ShardId::all()
            .map(|shard| ShardView { id: shard.number(), owner: id.clone(), epoch: self.fence.epoch })
            .collect();
        ClusterView { nodes: vec![node], shards }
    }

    /// What keeps the node from serving; nothing when it is ready.
    pub(crate) async fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if self.draining.get() {
            missing.push("the node is draining".into());
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
