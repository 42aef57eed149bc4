//! Several nodes around one Redis and one HSS: started, watched, killed, frozen, cut off and started again by name.

mod node;
mod shard;

pub use node::Node;
pub use shard::shard_of;

use crate::{Cut, DOMAIN, Hss, Process, eventually, free_port, http};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A cluster is complete within so long of its start.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How a cluster is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many nodes start with it: `n1`, `n2` and so on.
    pub nodes: u8,
    /// Redis, one a group.
    pub store: Vec<String>,
    /// Generated subscribers.
    pub generate: u32,
    /// Whether nodes reach the store, and one another, through wires that can be cut.
    pub wires: bool,
    /// Further keys, as `("session", "key = value")`.
    pub keys: Vec<(&'static str, String)>,
}

impl Settings {
    /// Three nodes and a hundred generated subscribers around that store.
    pub fn around(store: &str) -> Self {
        Self { nodes: 3, store: vec![store.to_owned()], generate: 100, wires: false, keys: Vec::new() }
    }
}

/// Nodes, and the HSS that serves them.
#[derive(Debug)]
pub struct Cluster {
    /// Its HSS.
    pub hss: Hss,
    nodes: BTreeMap<String, Node>,
    settings: Settings,
    /// SIP's, the same on every node's own address.
    port: u16,
    folder: PathBuf,
}

impl Cluster {
    /// Starts it, and waits until every node serves its share of the shards.
    ///
    /// # Panics
    /// If that takes longer than 30 s.
    pub fn start(settings: Settings) -> Self {
        for _ in 0..5 {
            if let Some(cluster) = Self::try_start(settings.clone()) {
                return cluster;
            }
        }
        panic!("no free ports for a cluster in five tries");
    }

    fn try_start(settings: Settings) -> Option<Self> {
        let port = free_on_all(settings.nodes)?;
        let folder = std::env::temp_dir().join(format!("rollcall-cluster-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let hss = Hss::start(settings.generate, &folder);
        let first = settings.nodes;
        let mut cluster = Self { hss, nodes: BTreeMap::new(), settings, port, folder };
        for _ in 0..first {
            cluster.add();
        }
        let begun = Instant::now();
        while !cluster.is_balanced() {
            for node in cluster.nodes.values_mut() {
                if node.has_ended() {
                    let output = node.output();
                    assert!(output.iter().any(|line| line.contains("in use")), "{}: {output:?}", node.id);
                    return None;
                }
            }
            assert!(begun.elapsed() < READY_WITHIN, "the cluster is not complete: {}", cluster.state());
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(cluster)
    }

    /// Adds a node and starts it; its name. It is not waited for.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn add(&mut self) -> String {
        let number = self.nodes.len() as u8 + 1;
        let id = format!("n{number}");
        let mut node = Node::new(&id, SocketAddr::new(address_of(number), self.port), &self.settings);
        node.configure(&self.folder, self.hss.diameter, &self.settings);
        node.start();
        self.nodes.insert(id.clone(), node);
        id
    }

    /// A node.
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn node(&self, id: &str) -> &Node {
        self.nodes.get(id).unwrap_or_else(|| panic!("no node {id}"))
    }

    fn node_mut(&mut self, id: &str) -> &mut Node {
        self.nodes.get_mut(id).unwrap_or_else(|| panic!("no node {id}"))
    }

    /// Names of all nodes, in order.
    pub fn ids(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    /// Names of the nodes whose process runs, and is neither frozen nor cut off nor about to end.
    pub fn living(&self) -> Vec<String> {
        self.nodes.values().filter(|node| node.lives()).map(|node| node.id.clone()).collect()
    }

    /// Where the nodes take SIP, in order of their names.
    pub fn entries(&self) -> Vec<SocketAddr> {
        self.nodes.values().map(|node| node.sip).collect()
    }

    /// Where the first so many nodes take SIP, whether they are there yet or not.
    pub fn entries_of_first(&self, count: u8) -> Vec<SocketAddr> {
        (1..=count).map(|number| SocketAddr::new(address_of(number), self.port)).collect()
    }

    /// The entries of all nodes but one.
    pub fn entries_but(&self, id: &str) -> Vec<SocketAddr> {
        self.nodes.values().filter(|node| node.id != id).map(|node| node.sip).collect()
    }

    /// Ends a node at once (SIGKILL); when.
    pub fn kill(&mut self, id: &str) -> Instant {
        self.node_mut(id).kill();
        Instant::now()
    }

    /// Stops a node's process where it stands (SIGSTOP).
    pub fn freeze(&mut self, id: &str) {
        self.node_mut(id).freeze();
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&mut self, id: &str) {
        self.node_mut(id).thaw();
    }

    /// Asks a node to end (SIGTERM) and waits; its exit code, or `None` if it had to be killed.
    pub fn terminate(&mut self, id: &str, within: Duration) -> Option<i32> {
        self.node_mut(id).terminate(within)
    }

    /// Asks a node to end (SIGTERM), and does not wait.
    pub fn begin_to_terminate(&mut self, id: &str) {
        self.node_mut(id).begin_to_terminate();
    }

    /// Waits until a node that was asked to has ended; its exit code.
    pub fn ends(&mut self, id: &str, within: Duration) -> Option<i32> {
        self.node_mut(id).ends(within)
    }

    /// Cuts a node from the store and from all other nodes. Its process lives, and takes SIP and HTTP as before.
    ///
    /// # Panics
    /// If the cluster has no wires.
    pub fn cut_off(&mut self, id: &str, how: Cut) {
        let others: Vec<&Node> = self.nodes.values().filter(|node| node.id != id).collect();
        self.node(id).cut_from_store(how);
        self.node(id).cut_links(&others, how);
        self.node_mut(id).is_away(true);
    }

    /// Mends every wire; who was cut off is among the others again.
    pub fn mend(&mut self, id: &str) {
        self.nodes.values().for_each(Node::mend);
        self.node_mut(id).is_away(false);
    }

    /// Starts a node again that has ended, with the configuration it had. It is not waited for.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_again(&mut self, id: &str) {
        let node = self.node_mut(id);
        node.kill();
        node.start();
    }

    /// Whether every living node serves, and all of them say that each shard is a living node's, the same one.
    pub fn is_complete(&self) -> bool {
        let living = self.living();
        let mut owners: Option<Vec<String>> = None;
        living.iter().all(|id| {
            let node = self.node(id);
            if !node.is_ready() {
                return false;
            }
            let found = node.owners();
            let complete =
                found.len() == usize::from(shard::COUNT) && found.iter().all(|owner| living.contains(owner));
            let same = owners.as_ref().is_none_or(|owners| *owners == found);
            owners = Some(found);
            complete && same
        })
    }

    /// Waits until it is complete.
    ///
    /// # Panics
    /// If that takes longer than `within`.
    pub fn settles(&self, within: Duration) {
        let complete = eventually(within, || self.is_complete().then_some(()));
        assert!(complete.is_some(), "the cluster is not complete: {}", self.state());
    }

    /// Waits until it is complete, and every living node owns its share.
    ///
    /// # Panics
    /// If that takes longer than `within`.
    pub fn balances(&self, within: Duration) {
        let balanced = eventually(within, || self.is_balanced().then_some(()));
        assert!(balanced.is_some(), "the cluster is not in balance: {}", self.state());
    }

    /// Whether it is complete, every living node owns its share, and nothing changes hands.
    fn is_balanced(&self) -> bool {
        let living = self.living();
        let least = usize::from(shard::COUNT) * 7 / (10 * living.len().max(1));
        let Some(first) = living.first().map(|id| self.node(id)) else { return false };
        let owners = first.owners();
        let all = living.iter().all(|id| owners.iter().filter(|owner| *owner == id).count() >= least);
        all && self.is_complete() && {
            std::thread::sleep(Duration::from_millis(200));
            first.owners() == owners
        }
    }

    /// Whether nothing will change hands: every living node has its share exactly.
    pub fn is_at_rest(&self) -> bool {
        let living = self.living();
        let Some(first) = living.first().map(|id| self.node(id)) else { return false };
        let (owners, share) = (first.owners(), usize::from(shard::COUNT) / living.len());
        living.iter().all(|id| {
            let own = owners.iter().filter(|owner| *owner == id).count();
            own == share || own == share + 1
        })
    }

    /// How many shards are a node's, as that node says.
    pub fn shards_of(&self, id: &str) -> usize {
        self.node(id).owners().iter().filter(|owner| *owner == id).count()
    }

    /// The node that owns a user's shard, as the first living node says.
    ///
    /// # Panics
    /// If nobody owns it.
    pub fn owner(&self, name: &str) -> String {
        let shard = usize::from(shard_of(&format!("{name}@{DOMAIN}")));
        let found = eventually(Duration::from_secs(10), || {
            let living = self.living();
            let owner = self.node(living.first()?).owners().get(shard).cloned()?;
            (!owner.is_empty()).then_some(owner)
        });
        found.unwrap_or_else(|| panic!("nobody owns {name}: {}", self.state()))
    }

    /// Generated subscribers whose shards are a node's, as the first living node says, in order.
    ///
    /// # Panics
    /// If no node lives.
    pub fn users_of(&self, id: &str) -> Vec<String> {
        let living = self.living();
        let owners = self.node(living.first().expect("a living node")).owners();
        let names = (1..=self.settings.generate).map(|number| format!("user{number:06}"));
        let own = |name: &String| {
            owners.get(usize::from(shard_of(&format!("{name}@{DOMAIN}")))).is_some_and(|owner| owner == id)
        };
        names.filter(own).collect()
    }

    /// A living node other than these.
    ///
    /// # Panics
    /// If there is none.
    pub fn other(&self, ids: &[&str]) -> String {
        let found = self.living().into_iter().find(|id| !ids.contains(&id.as_str()));
        found.unwrap_or_else(|| panic!("no node but {ids:?}"))
    }

    /// `GET /v1/users/{impi}` at the first living node.
    pub fn user(&self, name: &str) -> (u16, Value) {
        self.living().first().map_or((0, Value::Null), |id| self.user_at(id, name))
    }

    /// `GET /v1/users/{impi}` at a node.
    pub fn user_at(&self, id: &str, name: &str) -> (u16, Value) {
        let url = format!("{}/v1/users/{name}@{DOMAIN}", self.node(id).api);
        http::get(&url).unwrap_or((0, Value::Null))
    }

    /// `POST /v1/users/{impi}/{what}` at a node.
    ///
    /// # Panics
    /// If the node does not answer.
    pub fn command(&self, id: &str, name: &str, what: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}/v1/users/{name}@{DOMAIN}/{what}", self.node(id).api);
        http::post(&url, body).unwrap_or_else(|error| panic!("{what} at {id}: {error}"))
    }

    /// Who lives and owns what, for messages of tests.
    pub fn state(&self) -> String {
        let mut text = String::new();
        for node in self.nodes.values() {
            let owners = node.owners();
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            for owner in &owners {
                *counts.entry(owner).or_default() += 1;
            }
            let said = http::get(&format!("{}/readyz", node.api)).map_or(Value::Null, |(_, body)| body);
            text.push_str(&format!("\n{}: lives {}, owners {counts:?}, {said}", node.id, node.lives()));
        }
        text
    }
}

impl Cluster {
    /// Prints the last lines that each node has written.
    pub fn tell(&self) {
        for node in self.nodes.values() {
            let output = node.output();
            eprintln!("== {}", node.id);
            output[output.len().saturating_sub(200)..].iter().for_each(|line| eprintln!("{line}"));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let show = std::thread::panicking();
        for node in self.nodes.values_mut() {
            if show {
                eprintln!("== {}", node.id);
            }
            node.kill();
        }
        self.hss.process.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Addresses of nodes: 127.0.0.11 and on.
fn address_of(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 10 + number))
}

/// A port that is free for UDP and TCP on the addresses of so many nodes, and of two more that may come.
fn free_on_all(nodes: u8) -> Option<u16> {
    (0..100).map(|_| free_port()).find(|port| {
        (1..=nodes + 2).all(|number| {
            let address = SocketAddr::new(address_of(number), *port);
            UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok()
        })
    })
}

/// The output of a process that ended badly, where its owner is told of it.
pub(crate) fn said(process: Option<&Process>) -> Vec<String> {
    process.map(Process::output).unwrap_or_default()
}
