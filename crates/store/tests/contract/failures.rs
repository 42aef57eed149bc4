//! Redis fails in every way it has; what was acknowledged stays, what was not is refused soon and in words.

use crate::proxy::Proxy;
use crate::server::Server;
use std::time::{Duration, Instant};
use store::{Claim, Durability, Error, Fence, Member, Redis, RedisSettings, ShardId, Store, Write, contract};

/// A node with a store of its own.
pub(crate) struct Node {
    pub(crate) store: Redis,
    pub(crate) me: Member,
}

pub(crate) fn settings(url: String, durability: Durability) -> RedisSettings {
    RedisSettings { urls: vec![url], durability }
}

impl Node {
    pub(crate) async fn open(name: &str, url: String, durability: Durability) -> Self {
        let store = Redis::open(&settings(url, durability)).await.unwrap();
        let me = Member {
            node: name.into(),
            incarnation: 7,
            link: "".into(),
            sip: "".into(),
            draining: false,
            users: 0,
        };
        Self { store, me }
    }

    pub(crate) async fn beat(&self) -> Result<store::Beat, Error> {
        self.store.leases().beat(0, &self.me, 60_000, None).wait().await
    }

    pub(crate) async fn take(&self, name: &str, held: Option<Fence>) -> Result<Fence, Option<Fence>> {
        let claim = Claim { held, ..Claim::new(ShardId::of(name)) };
        self.store.leases().take(0, &self.me, &[claim]).wait().await.unwrap().remove(0)
    }

    pub(crate) async fn own(&self, name: &str) -> Fence {
        self.beat().await.unwrap();
        self.take(name, None).await.unwrap()
    }

    /// Saves a user that expires at a time that tells the version.
    pub(crate) async fn save(&self, fence: &Fence, name: &str, version: u64) -> Result<(), Error> {
        let user = contract::user(name, &[&format!("sip:{name}")], 1_000_000 + version);
        let write = Write { user: &user, version, write_id: 1_000 + version };
        self.store.save(ShardId::of(name), fence, write).wait().await
    }

    pub(crate) async fn version(&self, name: &str) -> Option<u64> {
        let impi = scscf::Impi::new(name).unwrap();
        self.store.load(ShardId::of(name), &impi).wait().await.unwrap().map(|loaded| loaded.version)
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        while let Err(error) = self.store.ready().wait().await {
            assert!(Instant::now() < until, "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(crate) fn unavailable<T: std::fmt::Debug>(answer: Result<T, Error>) -> String {
    match answer {
        Err(Error::Unavailable(why)) => why.into(),
        other => panic!("{other:?} in place of unavailable"),
    }
}

#[tokio::test]
async fn what_was_acknowledged_outlives_a_killed_redis() {
    let Some(mut server) = Server::start(&["--appendfsync", "everysec"]) else { return };
    let node = Node::open("n1", server.url(), Durability::Async).await;
    let fence = node.own("a@a").await;
    let mut acknowledged = 0;
    for round in 0..3 {
        for _ in 0..50 {
            node.save(&fence, "a@a", acknowledged + 1).await.unwrap();
            acknowledged += 1;
        }
        server.kill();
        let started = Instant::now();
        let why = unavailable(node.save(&fence, "a@a", acknowledged + 1).await);
        println!("{:?} {why}", started.elapsed());
        assert!(started.elapsed() < Duration::from_secs(3), "a refusal comes soon");
        let started = Instant::now();
        let why = unavailable(node.save(&fence, "a@a", acknowledged + 1).await);
        assert!(
            started.elapsed() < Duration::from_millis(700),
            "and later ones at once: {:?} {why}",
            started.elapsed()
        );
        server.start_again();
        node.ready().await;
        assert_eq!(node.version("a@a").await, Some(acknowledged), "round {round}");
    }
    node.save(&fence, "a@a", acknowledged + 1).await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_said_at_once_and_not_shown() {
    let Some(server) = Server::start(&["--requirepass", "right-one"]) else { return };
    for url in [format!("redis://:wrong-one@127.0.0.1:{}", server.port), server.plain_url()] {
        let started = Instant::now();
        let Err(Error::Settings(why)) = Redis::open(&settings(url, Durability::Async)).await else {
            panic!("it was opened")
        };
        assert!(started.elapsed() < Duration::from_secs(4), "it is not tried again");
        assert!(why.contains("password") && why.contains(&server.port.to_string()), "{why}");
        assert!(!why.contains("wrong-one"), "{why}");
    }
    let url = format!("redis://:right-one@127.0.0.1:{}", server.port);
    Redis::open(&settings(url, Durability::Async)).await.unwrap();
}

#[tokio::test]
async fn a_redis_that_is_silent_or_absent_is_named_without_its_password() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let started = Instant::now();
    let opened = Redis::open(&settings(format!("redis://:hidden@127.0.0.1:{port}"), Durability::Async)).await;
    let why = unavailable(opened);
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    assert!(why.contains(&port.to_string()) && !why.contains("hidden"), "{why}");
}

#[tokio::test]
async fn groups_in_another_order_are_refused() {
    let Some(first) = Server::start(&[]) else { return };
    let second = Server::start(&[]).unwrap();
    let open =
        async |urls: Vec<String>| Redis::open(&RedisSettings { urls, durability: Durability::Async }).await;
    open(vec![first.url(), second.url()]).await.unwrap();
    open(vec![first.url(), second.url()]).await.unwrap();
    for urls in [vec![second.url(), first.url()], vec![first.url()]] {
        let Err(Error::Settings(why)) = open(urls).await else { panic!("it was opened") };
        assert!(why.contains("of 2"), "{why}");
    }
}

#[tokio::test]
async fn a_refusal_of_redis_is_told_in_words_and_ends_with_its_cause() {
    let Some(server) = Server::start(&[]) else { return };
    let node = Node::open("n1", server.url(), Durability::Async).await;
    let fence = node.own("a@a").await;
    node.save(&fence, "a@a", 1).await.unwrap();
    let cases = [
        (["min-replicas-to-write", "1", "0"], "too few replicas"),
        (["maxmemory", "1", "0"], "memory"),
        (["replicaof", "127.0.0.1 1", "no one"], "replica"),
    ];
    let mut version = 1;
    for ([name, value, usual], word) in cases {
        let set = async |value: &str| {
            if name == "replicaof" {
                let (host, port) = value.split_once(' ').unwrap();
                server.ask(&["REPLICAOF", host, port]).await;
            } else {
                server.ask(&["CONFIG", "SET", name, value]).await;
            }
        };
        set(value).await;
        let why = unavailable(node.save(&fence, "a@a", version + 1).await);
        assert!(why.contains(word), "{name}: {why}");
        assert!(unavailable(node.store.ready().wait().await).contains(word), "{name}: it is not ready");
        if name != "replicaof" {
            server.ask(&["CLIENT", "KILL", "TYPE", "normal"]).await;
            assert_eq!(node.version("a@a").await, Some(version), "{name}: what is there can be read");
        }
        set(usual).await;
        node.ready().await;
        version += 1;
        node.save(&fence, "a@a", version).await.unwrap();
    }
    assert_eq!(node.version("a@a").await, Some(version));
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_is_told_in_words() {
    // Root writes everywhere: a limit of file size stands for a full disk.
    let Some(server) = Server::start(&["--appendfsync", "always"]) else { return };
    let node = Node::open("n1", server.url(), Durability::Async).await;
    let fence = node.own("a@a").await;
    node.save(&fence, "a@a", 1).await.unwrap();
    server.ask(&["CONFIG", "SET", "appendonly", "no"]).await;
    server.ask(&["CONFIG", "SET", "save", "3600 1"]).await;
    server.break_directory();
    let _: Result<redis::Value, _> = server.try_ask(&["BGSAVE"]).await;
    let until = Instant::now() + Duration::from_secs(10);
    let why = loop {
        match node.save(&fence, "a@a", 1).await {
            Ok(()) => tokio::time::sleep(Duration::from_millis(20)).await,
            refused => break unavailable(refused),
        }
        assert!(Instant::now() < until, "a failed snapshot stops nothing");
    };
    assert!(why.contains("disk"), "{why}");
}

#[tokio::test]
async fn functions_that_redis_lost_are_given_again() {
    let Some(server) = Server::start(&[]) else { return };
    let node = Node::open("n1", server.url(), Durability::Async).await;
    let fence = node.own("a@a").await;
    for version in 1..4 {
        server.ask(&["FUNCTION", "FLUSH"]).await;
        node.save(&fence, "a@a", version).await.unwrap();
        server.ask(&["FUNCTION", "FLUSH"]).await;
        node.beat().await.unwrap();
    }
}

#[tokio::test]
async fn connections_that_are_cut_cost_nothing() {
    let Some(server) = Server::start(&[]) else { return };
    let node = Node::open("n1", server.url(), Durability::Async).await;
    let fence = node.own("a@a").await;
    for version in 1..20 {
        server.ask(&["CLIENT", "KILL", "TYPE", "normal"]).await;
        node.save(&fence, "a@a", version).await.unwrap();
        server.ask(&["CLIENT", "KILL", "TYPE", "normal"]).await;
        assert_eq!(node.version("a@a").await, Some(version));
    }
}

/// A write whose outcome was unknown must not be carried out once its connection was given up, though the network had kept it.
#[tokio::test]
async fn a_write_that_timed_out_is_not_carried_out_later() {
    let Some(server) = Server::start(&[]) else { return };
    let proxy = Proxy::to(server.port).await;
    let node = Node::open("n1", format!("redis://127.0.0.1:{}", proxy.port), Durability::Async).await;
    let fence = node.own("a@a").await;
    node.save(&fence, "a@a", 1).await.unwrap();
    proxy.hold();
    unavailable(node.save(&fence, "a@a", 2).await);
    node.ready().await;
    let impi = scscf::Impi::new("a@a").unwrap();
    assert_eq!(node.store.erase(ShardId::of("a@a"), &fence, &impi).wait().await, Ok(()));
    proxy.let_go();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(node.version("a@a").await, None, "an erasure is the end of it");
    }
}

#[tokio::test]
async fn what_waits_is_bounded_and_refused_beyond() {
    let Some(server) = Server::start(&[]) else { return };
    let node = Node::open("n1", server.url(), Durability::Async).await;
    let fence = node.own("a@a").await;
    server.signal("STOP");
    let user = contract::user("a@a", &[], 1);
    let write = Write { user: &user, version: 1, write_id: 1 };
    let asked: Vec<_> = (0..20_000).map(|_| node.store.save(ShardId::of("a@a"), &fence, write)).collect();
    let started = Instant::now();
    let mut refused = 0;
    for asked in asked {
        refused += usize::from(unavailable(asked.wait().await).contains("too many"));
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!((10_000..13_000).contains(&refused), "{refused} were refused");
    server.signal("CONT");
}

#[tokio::test]
async fn without_a_replica_nothing_counts_where_one_is_wanted() {
    let Some(server) = Server::start(&[]) else { return };
    let node = Node::open("n1", server.url(), Durability::Wait1).await;
    let fence = node.own("a@a").await;
    for _ in 0..3 {
        let why = unavailable(node.save(&fence, "a@a", 1).await);
        assert!(why.contains("replica"), "{why}");
    }
    unavailable(node.store.ready().wait().await);
    let replica = Server::replica_of(&server).unwrap();
    server.wait_for_replicas(1).await;
    node.save(&fence, "a@a", 1).await.unwrap();
    // A repeated write writes nothing, and counts no sooner than the first.
    replica.signal("STOP");
    server.ask(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    unavailable(node.save(&fence, "a@a", 2).await);
    unavailable(node.save(&fence, "a@a", 2).await);
    replica.signal("CONT");
    server.wait_for_replicas(1).await;
    assert_eq!(node.save(&fence, "a@a", 2).await, Ok(()));
}

/// The rights that docs/operations.md names are enough.
#[tokio::test]
async fn a_user_of_redis_with_the_rights_that_are_documented_will_do() {
    let Some(server) = Server::start(&[]) else { return };
    let operations = include_str!("../../../../docs/operations.md");
    let rights = operations.split("A user with ACLs needs `").nth(1).unwrap().split('`').next().unwrap();
    let mut words = vec!["ACL", "SETUSER", "node", "on", ">secret", "~*", "&*", "-@all"];
    let rights: Vec<String> = rights.split(' ').map(|right| format!("+{}", right.to_lowercase())).collect();
    words.extend(rights.iter().map(|right| &**right));
    server.ask(&words).await;
    let url = format!("redis://node:secret@127.0.0.1:{}/1", server.port);
    let node = Node::open("n1", url, Durability::Async).await;
    let fence = node.own("a@a").await;
    for version in 1..3 {
        node.save(&fence, "a@a", version).await.unwrap();
    }
    assert_eq!(node.version("a@a").await, Some(2));
    let (shard, impi) = (ShardId::of("a@a"), scscf::Impi::new("a@a").unwrap());
    assert_eq!(node.store.deadlines(shard).wait().await.unwrap().len(), 1);
    assert_eq!(node.store.list(&store::Filter::default(), None, 5).wait().await.unwrap().users.len(), 1);
    assert_eq!(
        node.store.holders(&scscf::Impu::parse("sip:a@a").unwrap()).wait().await.unwrap(),
        std::slice::from_ref(&impi)
    );
    node.store.leases().secret([1; 32]).wait().await.unwrap();
    node.store.leases().restore(0, &[(shard, fence.clone())]).wait().await.unwrap();
    node.store.erase(shard, &fence, &impi).wait().await.unwrap();
    node.store.leases().release(0, &[(shard, fence)]).wait().await.unwrap();
    node.store.leases().leave(0, &node.me).wait().await.unwrap();
    node.store.ready().wait().await.unwrap();
    assert_eq!(node.version("a@a").await, None);
}
