//! Questions and answers: the contract between the HTTP interface and whoever runs the users.

use scscf::view::View;
use scscf::{Impi, Span, Timestamp, Told};
use serde::Serialize;
use serde_json::value::RawValue;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What an operator asks.
#[derive(Clone, Debug)]
pub enum Ask {
    /// A page of users.
    Users(Filter),
    /// One user.
    User(Impi),
    /// Ask a user to re-authenticate.
    Reauthenticate {
        /// Whom.
        impi: Impi,
        /// How long it has; the policy's period if absent.
        period: Option<Span>,
        /// Why.
        reason: Option<Box<str>>,
    },
    /// End a registration.
    Deregister {
        /// Whose.
        impi: Impi,
        /// Why.
        reason: Box<str>,
    },
    /// Follow one user.
    Watch(Impi),
    /// Nodes and shards.
    Cluster,
    /// Move a node's shards away.
    Drain(Box<str>),
    /// Whether the node can serve.
    Ready,
}

/// Which users to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Registration state, as text of the view.
    pub state: Option<Box<str>>,
    /// How many at most.
    pub limit: usize,
    /// Continue after this cursor.
    pub cursor: Option<Box<str>>,
    /// Part of the private or a public identity.
    pub q: Option<Box<str>>,
}

/// What the node answers.
#[derive(Debug)]
pub enum Answer {
    /// A page of users.
    Users(Page),
    /// One user.
    User(Shown),
    /// How a wish was taken.
    Told(Told),
    /// The view now, and observations from now on.
    Watching {
        /// The user as it is, with its history.
        view: Shown,
        /// What happens next; closed when the watcher is too slow, the user moves or the node stops.
        observations: mpsc::Receiver<Seen>,
    },
    /// Nodes and shards.
    Cluster(ClusterView),
    /// Readiness: what is missing, empty when ready.
    Ready(Vec<String>),
    /// It will be done.
    Accepted,
    /// Nothing is known of it.
    NotFound,
    /// The filter cannot be used.
    Refused(String),
    /// Not now.
    Unavailable(String),
}

/// A user to be shown.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Shown {
    /// One of this node's.
    Here(Box<UserView>),
    /// One of another node's, as that wrote it: a [`UserView`].
    There(Box<RawValue>),
}

/// A step of a user who is watched.
#[derive(Clone, Debug)]
pub enum Seen {
    /// Of one of this node's.
    Here(Arc<Observation>),
    /// Of one of another node's, as that wrote it with [`Observation::to_json`].
    There(Box<str>),
}

/// A page of users.
#[derive(Clone, Debug, Serialize)]
pub struct Page {
    /// In the order of the cursor.
    pub users: Vec<Row>,
    /// Cursor of the next page.
    pub next: Option<String>,
}

/// One line of the list of users.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Private user identity.
    pub impi: String,
    /// `not_registered`, `registered` or `unregistered_services`.
    pub state: &'static str,
    /// Shard.
    pub shard: u16,
    /// Node that owns it.
    pub node: String,
    /// Number of contact bindings.
    pub bindings: usize,
    /// Number of reg-event subscriptions.
    pub subscriptions: usize,
    /// Number of sessions.
    pub sessions: usize,
    /// Phase of a pending re-authentication.
    pub reauthentication: Option<&'static str>,
}

/// A user as an operator sees it.
#[derive(Clone, Debug, Serialize)]
pub struct UserView {
    /// The user's own words.
    #[serde(flatten)]
    pub view: View,
    /// Shard.
    pub shard: u16,
    /// Node that owns it.
    pub node: String,
    /// The last observations, newest last.
    pub recent: Vec<Arc<Observation>>,
}

/// One step of a user, as a watcher sees it. Holds no secret.
#[derive(Clone, Debug, Serialize)]
pub struct Observation {
    /// When.
    #[serde(serialize_with = "rfc3339")]
    pub at: Timestamp,
    /// What happened, as `REGISTER`, `CxAnswer MAA`, `Deadline`.
    pub cause: String,
    /// What came of it, in one line.
    pub summary: String,
    /// The refusal, if it refused.
    pub refused: Option<Refused>,
    /// What it asked of the world, one line each.
    pub effects: Vec<String>,
    /// The user after the step; absent in history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view: Option<Box<View>>,
}

impl Observation {
    /// As watchers read it: with the user's place.
    pub fn to_json(&self, shard: u16, node: &str) -> String {
        #[derive(Serialize)]
        struct Told<'a> {
            at: String,
            cause: &'a str,
            summary: &'a str,
            refused: &'a Option<Refused>,
            effects: &'a [String],
            view: Option<Placed<'a>>,
        }
        #[derive(Serialize)]
        struct Placed<'a> {
            #[serde(flatten)]
            view: &'a View,
            shard: u16,
            node: &'a str,
        }
        let Self { at, cause, summary, refused, effects, view } = self;
        let view = view.as_deref().map(|view| Placed { view, shard, node });
        let told = Told { at: at.rfc3339(), cause, summary, refused, effects, view };
        serde_json::to_string(&told).unwrap_or_default()
    }
}

/// A refusal and its clause.
#[derive(Clone, Debug, Serialize)]
pub struct Refused {
    /// SIP status.
    pub status: u16,
    /// Clause.
    pub clause: &'static str,
    /// Reason.
    pub why: String,
}

/// Nodes and shards.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterView {
    /// Nodes.
    pub nodes: Vec<NodeView>,
    /// Shards.
    pub shards: Vec<ShardView>,
}

/// One node.
#[derive(Clone, Debug, Serialize)]
pub struct NodeView {
    /// Its `[node] id`.
    pub id: String,
    /// Where other nodes reach it.
    pub address: String,
    /// `serving` or `draining`.
    pub state: &'static str,
    /// Number of shards it owns.
    pub shards: usize,
    /// Number of users in them.
    pub users: usize,
}

/// One shard.
#[derive(Clone, Debug, Serialize)]
pub struct ShardView {
    /// Number.
    pub id: u16,
    /// Node that owns it.
    pub owner: String,
    /// Epoch of its lease.
    pub epoch: u64,
}

/// An answer that is on its way.
pub type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Whoever runs the users.
pub trait Node: Send + Sync + 'static {
    /// Answers a question; never fails, never hangs.
    fn ask(&self, ask: Ask) -> Answering;

    /// The metrics in Prometheus text format.
    fn metrics(&self) -> String;
}

fn rfc3339<S: serde::Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&at.rfc3339())
}
