//! Redis fails in every way it has; what was acknowledged stays, what was not is refused soon and in words.

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
        let claim = Claim { shard: ShardId::of(name), gone: None, held };
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

fn unavailable<T: std::fmt::Debug>(answer: Result<T, Error>) -> String {
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
        assert!(started.elapsed() < Duration::from_secs(2), "a refusal comes soon");
        let started = Instant::now();
        let why = unavailable(node.save(&fence, "a@a", acknowledged + 1).await);
        assert!(
            started.elapsed() < Duration::from_millis(300),
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
        assert!(started.elapsed() < Duration::from_secs(1));
        assert!(why.contains("password") && why.contains(&server.port.to_string()), "{why}");
        assert!(!why.contains("wrong-one"), "{why}");
    }
    let url = format!("redis://:right-one@127.0.0.1:{}", server.port);
    Redis::open(&settings(url, Durability::Async)).await.unwrap();
}
