//! Several nodes of one cluster over one store, and phones that call through them.

use super::{DOMAIN, Phone, RES, Scene, eventually, phone, scene_on};
use cluster::place;
use std::sync::Arc;
use std::time::Duration;
use store::{Memory, ShardId};

pub const SOON: Duration = Duration::from_secs(15);

pub struct Cluster {
    pub nodes: Vec<Scene>,
}

pub fn member(store: &Arc<Memory>, id: &str) -> Scene {
    scene_on(
        store.clone(),
        &[
            ("ROLLCALL__NODE__ID", id),
            ("ROLLCALL__STORE__KIND", "redis"),
            ("ROLLCALL__CLUSTER__LISTEN", "127.0.0.1:0"),
            ("ROLLCALL__REAUTHENTICATION__MIN_PERIOD", "1"),
        ],
    )
}

pub fn cluster(count: usize) -> (Arc<Memory>, Cluster) {
    let store = Arc::new(Memory::new());
    let nodes = (1..=count).map(|number| member(&store, &format!("n{number}"))).collect();
    let cluster = Cluster { nodes };
    cluster.settles(count);
    (store, cluster)
}

pub fn view(scene: &Scene) -> serde_json::Value {
    serde_json::from_str(&scene.get("/v1/cluster").1).unwrap_or_default()
}

impl Cluster {
    /// Every node sees `count` nodes with even shares of all shards.
    pub fn settles(&self, count: usize) {
        let most = 1024 / count + 1024 / count / 10;
        for scene in &self.nodes {
            let even = eventually(SOON, || {
                let view = view(scene);
                let nodes = view["nodes"].as_array()?;
                let shares: Vec<usize> =
                    nodes.iter().map(|node| node["shards"].as_u64().unwrap_or(0) as usize).collect();
                let is_even = shares.len() == count
                    && shares.iter().sum::<usize>() == 1024
                    && shares.iter().all(|share| *share <= most);
                is_even.then_some(())
            });
            assert!(even.is_some(), "{}", view(scene)["nodes"]);
        }
    }

    /// The node of this name.
    pub fn node(&self, id: &str) -> &Scene {
        &self.nodes[id.trim_start_matches('n').parse::<usize>().unwrap() - 1]
    }

    /// Has a node give all its shards away, and waits until it has.
    pub fn drain(&self, id: &str) {
        assert_eq!(self.node(id).post(&format!("/v1/nodes/{id}/drain"), "").0, 202);
        for scene in self.nodes.iter() {
            let moved = eventually(SOON, || {
                let view = view(scene);
                let owners = view["shards"].as_array()?;
                owners.iter().all(|shard| shard["owner"] != id && shard["owner"] != "").then_some(())
            });
            assert!(moved.is_some(), "{}", view(scene)["nodes"]);
        }
    }

    /// A registered user of this name.
    pub fn registered(&self, name: &str) -> Phone {
        let mut phone = phone(&self.nodes[0], name);
        register_anywhere(&mut phone, self, 0);
        phone
    }

    /// A node that does not own this user, and the one that does.
    pub fn away_and_home(&self, name: &str) -> (&Scene, &Scene) {
        let user = self.nodes[0].user(name);
        let owner = user["node"].as_str().unwrap_or_else(|| panic!("{user}")).to_owned();
        let at = owner.trim_start_matches('n').parse::<usize>().unwrap() - 1;
        (&self.nodes[(at + 1) % self.nodes.len()], &self.nodes[at])
    }
}

/// Registers with each request at another node.
pub fn register_anywhere(phone: &mut Phone, cluster: &Cluster, first: usize) {
    let at = |number: usize| cluster.nodes[(first + number) % cluster.nodes.len()].sip;
    phone.to = at(0);
    let nonce = phone.challenge();
    phone.to = at(1);
    let answer = phone.answer_with(&nonce, &RES, 600);
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
}

/// The next message but 100; what is said next goes to whoever sent it.
pub fn hear(phone: &mut Phone, what: &str) -> String {
    let mut buffer = [0; 65536];
    loop {
        let (length, from) =
            phone.socket.recv_from(&mut buffer).unwrap_or_else(|error| panic!("{what}: {error}"));
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if !text.starts_with("SIP/2.0 100") {
            phone.to = from;
            return text;
        }
    }
}

/// A response to a request as it was received.
pub fn reply(request: &str, status: &str, lines: &str) -> String {
    let copied = request.lines().filter(|line| {
        ["via:", "from:", "call-id:", "cseq:", "record-route:"]
            .iter()
            .any(|name| line.to_ascii_lowercase().starts_with(name))
    });
    let to = request.lines().find(|line| line.starts_with("To:")).unwrap();
    let copied: String = copied.map(|line| format!("{line}\r\n")).collect();
    format!("SIP/2.0 {status}\r\n{copied}{to};tag=callee\r\n{lines}Content-Length: 0\r\n\r\n")
}

/// The first name of its kind whose shard is where it shall be; `wanted` is told how to ask which of some nodes owns it.
pub fn name_where(kind: &str, wanted: impl Fn(&dyn Fn(&[&str]) -> String) -> bool) -> String {
    let shards: Vec<ShardId> = ShardId::all().collect();
    let names = (0..).map(|number| format!("{kind}{number}"));
    let fits = |name: &String| {
        let shard = ShardId::of(&format!("{name}@{DOMAIN}"));
        wanted(&|nodes| nodes[place(&shards, nodes)[usize::from(shard.number())]].to_owned())
    };
    names.take(10_000).find(fits).expect("some name fits")
}

/// A call that rings.
pub struct Call {
    pub alice: Phone,
    pub bob: Phone,
    /// As the caller sent it.
    pub invite: String,
    /// As it reached the callee.
    pub rung: String,
}

impl Call {
    /// An INVITE of someone unknown by the node `by`, for a callee who is registered and rings.
    pub fn ring(by: &Scene, mut bob: Phone, id: &str) -> Self {
        let alice = phone(by, "alice");
        let invite = invite(&alice, &bob.name, id);
        alice.send(&invite);
        let rung = hear(&mut bob, "the INVITE");
        assert!(rung.starts_with("INVITE "), "{rung}");
        let mut call = Self { alice, bob, invite, rung };
        call.says("180 Ringing");
        call.is_told("180");
        call
    }

    /// The callee answers so.
    pub fn says(&self, status: &str) {
        let port = self.bob.socket.local_addr().unwrap().port();
        let contact = format!("Contact: <sip:{}@127.0.0.1:{port}>\r\n", self.bob.name);
        self.bob.send(&reply(&self.rung, status, &contact));
    }

    /// The caller hears a response that begins so.
    pub fn is_told(&mut self, status: &str) {
        let heard = hear(&mut self.alice, status);
        assert!(heard.starts_with(&format!("SIP/2.0 {status}")), "{heard}");
    }
}

/// The INVITE of a phone to a user.
pub fn invite(caller: &Phone, callee: &str, id: &str) -> String {
    let port = caller.socket.local_addr().unwrap().port();
    format!(
        "INVITE sip:{callee}@{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{id};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:alice@{DOMAIN}>;tag=caller\r\nTo: <sip:{callee}@{DOMAIN}>\r\n\
         Call-ID: {id}\r\nCSeq: 1 INVITE\r\nContact: <sip:alice@127.0.0.1:{port}>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// The CANCEL of an INVITE.
pub fn cancel(invite: &str) -> String {
    let kept = |line: &&str| !line.starts_with("Contact:");
    let lines: Vec<&str> = invite.lines().filter(kept).collect();
    lines.join("\r\n").replacen("INVITE ", "CANCEL ", 1).replace("CSeq: 1 INVITE", "CSeq: 1 CANCEL")
        + "\r\n\r\n"
}
