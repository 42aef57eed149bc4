//! Redis comes back with less than it had: former holders come first, and write again what it lacks.

use crate::failures::Node;
use crate::server::Server;
use scscf::{Impi, Impu};
use std::time::{Duration, Instant};
use store::{Durability, Error, Fence, Redis, RedisSettings, ShardId, Store, contract};

/// A primary and a replica that stopped following: what is written from now on only the primary has.
async fn with_a_stale_replica() -> Option<(Server, Server)> {
    let primary = Server::start(&[])?;
    let replica = Server::replica_of(&primary).unwrap();
    primary.wait_for_replicas(1).await;
    Some((primary, replica))
}

async fn promote(replica: &Server, mut primary: Server) {
    primary.kill();
    replica.ask(&["CONFIG", "SET", "port", &primary.port.to_string()]).await;
}

async fn holders(node: &Node, impu: &str) -> Vec<String> {
    let holders = node.store.holders(&Impu::parse(impu).unwrap()).wait().await.unwrap();
    holders.iter().map(ToString::to_string).collect()
}

/// The name of the function library.
pub(crate) async fn library(server: &Server) -> String {
    let listed: redis::Value = server.ask(&["FUNCTION", "LIST"]).await;
    let text = format!("{listed:?}");
    let at = text.find("rollcall_v").unwrap();
    text[at..].chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

async fn erase(node: &Node, fence: &Fence, name: &str) {
    let impi = Impi::new(name).unwrap();
    assert_eq!(node.store.erase(ShardId::of(name), fence, &impi).wait().await, Ok(()));
}

#[tokio::test]
async fn what_a_promoted_replica_lacks_is_written_again_and_what_was_erased_stays_so() {
    let Some((primary, replica)) = with_a_stale_replica().await else { return };
    let url = primary.url();
    let node = Node::open("n1", url.clone(), Durability::Async).await;
    let names = ["changed@a", "new@a", "erased@a", "reborn@a", "kept@a", "later@a"];
    let mut fences = Vec::new();
    for name in names {
        fences.push(node.own(name).await);
    }
    let fence = |name: &str| fences[names.iter().position(|known| *known == name).unwrap()].clone();
    for (name, versions) in
        [("changed@a", 3), ("erased@a", 5), ("reborn@a", 5), ("kept@a", 1), ("later@a", 2)]
    {
        for version in 1..=versions {
            node.save(&fence(name), name, version).await.unwrap();
        }
    }
    primary.wait_for_replicas(1).await;
    replica.ask(&["REPLICAOF", "NO", "ONE"]).await;
    let before = node.beat().await.unwrap();

    node.save(&fence("changed@a"), "changed@a", 4).await.unwrap();
    node.save(&fence("new@a"), "new@a", 1).await.unwrap();
    erase(&node, &fence("erased@a"), "erased@a").await;
    erase(&node, &fence("reborn@a"), "reborn@a").await;
    node.save(&fence("reborn@a"), "reborn@a", 1).await.unwrap();
    let moved = contract::user("kept@a", &["sip:moved@a"], 7_000);
    let write = store::Write { user: &moved, version: 2, write_id: 2 };
    node.store.save(ShardId::of("kept@a"), &fence("kept@a"), write).wait().await.unwrap();
    promote(&replica, primary).await;
    node.ready().await;

    let witness = Node::open("n9", url, Durability::Async).await;
    assert_eq!(witness.version("changed@a").await, Some(3), "the last write is lost");
    assert_eq!(witness.version("erased@a").await, Some(5), "and so is the erasure");
    assert_eq!(node.version("changed@a").await, Some(4), "but whoever wrote it still knows");
    assert_eq!(node.version("erased@a").await, None);
    assert_eq!(node.version("reborn@a").await, Some(1));
    let after = node.beat().await.unwrap();
    assert_ne!(before.run, after.run, "whoever renews a lease hears of it");
    let mut again = Vec::new();
    for name in names {
        let taken = node.take(name, Some(fence(name))).await.unwrap();
        again.push((ShardId::of(name), taken));
    }
    // One user goes on before anything is restored.
    let later = again[5].1.clone();
    node.save(&later, "later@a", 3).await.unwrap();
    for _ in 0..2 {
        assert_eq!(node.store.leases().restore(0, &again).wait().await, Ok(()));
        assert_eq!(node.version("changed@a").await, Some(4));
        assert_eq!(node.version("new@a").await, Some(1));
        assert_eq!(node.version("erased@a").await, None, "who was erased is erased again");
        assert_eq!(node.version("reborn@a").await, Some(1), "a second life is not the first");
        assert_eq!(node.version("kept@a").await, Some(2));
        assert_eq!(node.version("later@a").await, Some(3));
        assert_eq!(holders(&node, "sip:new@a").await, ["new@a"]);
        assert_eq!(holders(&node, "sip:moved@a").await, ["kept@a"]);
        assert!(holders(&node, "sip:kept@a").await.is_empty(), "and the directory knows");
        assert!(holders(&node, "sip:erased@a").await.is_empty());
    }
    let reborn = again[3].1.clone();
    node.save(&reborn, "reborn@a", 2).await.unwrap();
}

/// The ring is as old as the last proof that Redis lived: while it is away nothing in it ages.
#[tokio::test]
async fn what_a_replica_lacks_that_is_promoted_late_is_written_again() {
    let Some((mut primary, replica)) = with_a_stale_replica().await else { return };
    let url = primary.url();
    let node = Node::open("n1", url.clone(), Durability::Async).await;
    let fence = node.own("a@a").await;
    node.save(&fence, "a@a", 1).await.unwrap();
    primary.wait_for_replicas(1).await;
    replica.ask(&["REPLICAOF", "NO", "ONE"]).await;
    node.beat().await.unwrap();
    node.save(&fence, "a@a", 2).await.unwrap();
    primary.kill();
    tokio::time::sleep(Duration::from_secs(11)).await;
    promote(&replica, primary).await;
    node.ready().await;
    node.beat().await.unwrap();
    assert_eq!(node.version("a@a").await, Some(2), "whoever wrote it still knows");
    let again = node.take("a@a", Some(fence)).await.unwrap();
    node.store.leases().restore(0, &[(ShardId::of("a@a"), again)]).wait().await.unwrap();
    let witness = Node::open("n9", url, Durability::Async).await;
    assert_eq!(witness.version("a@a").await, Some(2));
}

/// A user that was erased comes back while Redis has a record of its former life again.
#[tokio::test]
async fn who_was_erased_comes_back_before_the_erasure_is_sent_again() {
    let Some((primary, replica)) = with_a_stale_replica().await else { return };
    let node = Node::open("n1", primary.url(), Durability::Async).await;
    let fence = node.own("a@a").await;
    for version in 1..=5 {
        node.save(&fence, "a@a", version).await.unwrap();
    }
    primary.wait_for_replicas(1).await;
    replica.ask(&["REPLICAOF", "NO", "ONE"]).await;
    erase(&node, &fence, "a@a").await;
    promote(&replica, primary).await;
    node.ready().await;
    node.beat().await.unwrap();
    let again = node.take("a@a", Some(fence)).await.unwrap();
    assert_eq!(node.version("a@a").await, None);
    for version in 1..=3 {
        assert_eq!(node.save(&again, "a@a", version).await, Ok(()), "{version}");
        assert_eq!(node.version("a@a").await, Some(version));
    }
    node.store.leases().restore(0, &[(ShardId::of("a@a"), again)]).wait().await.unwrap();
    assert_eq!(node.version("a@a").await, Some(3));
}

#[tokio::test]
async fn a_replica_that_joins_is_no_other_run() {
    let Some(server) = Server::start(&[]) else { return };
    let node = Node::open("n1", server.url(), Durability::Async).await;
    let before = node.beat().await.unwrap();
    let _replica = Server::replica_of(&server).unwrap();
    server.wait_for_replicas(1).await;
    assert_eq!(node.beat().await.unwrap().run, before.run);
    node.take("a@a", None).await.unwrap();
}

/// A primary that was a replica in between may have lost what came last, though its process went on and nobody asked the other.
#[tokio::test]
async fn a_primary_that_followed_another_is_another_run() {
    let Some(server) = Server::start(&[]) else { return };
    let node = Node::open("n1", server.url(), Durability::Async).await;
    let before = node.beat().await.unwrap();
    let other = Server::replica_of(&server).unwrap();
    server.wait_for_replicas(1).await;
    other.ask(&["REPLICAOF", "NO", "ONE"]).await;
    server.ask(&["REPLICAOF", "127.0.0.1", &other.port.to_string()]).await;
    other.wait_for_replicas(1).await;
    server.ask(&["REPLICAOF", "NO", "ONE"]).await;
    node.ready().await;
    assert_ne!(node.beat().await.unwrap().run, before.run);
}

/// The secret and the layout are the cluster's, and a Redis that lost everything hears them from whoever lives.
#[tokio::test]
async fn what_is_the_clusters_is_told_to_a_redis_that_lost_it() {
    let Some(server) = Server::start(&[]) else { return };
    let node = Node::open("n1", server.url(), Durability::Async).await;
    node.beat().await.unwrap();
    assert_eq!(node.store.leases().secret([1; 32]).wait().await, Ok([1; 32]));
    server.ask(&["FLUSHALL"]).await;
    node.beat().await.unwrap();
    let urls = vec![server.url(), server.url()];
    let Err(Error::Settings(_)) = Redis::open(&RedisSettings { urls, durability: Durability::Async }).await
    else {
        panic!("it was opened with another layout")
    };
    let other = Node::open("n2", server.url(), Durability::Async).await;
    assert_eq!(other.store.leases().secret([2; 32]).wait().await, Ok([1; 32]));
}

#[tokio::test]
async fn what_others_wrote_meanwhile_is_not_undone() {
    let Some((primary, replica)) = with_a_stale_replica().await else { return };
    let (node, other) = (
        Node::open("n1", primary.url(), Durability::Async).await,
        Node::open("n2", primary.url(), Durability::Async).await,
    );
    let first = node.own("a@a").await;
    node.save(&first, "a@a", 1).await.unwrap();
    // The other believes that this process has ended.
    other.beat().await.unwrap();
    let claim = store::Claim { gone: Some(first), ..store::Claim::new(ShardId::of("a@a")) };
    let second = other.store.leases().take(0, &other.me, &[claim]).wait().await.unwrap().remove(0).unwrap();
    erase(&other, &second, "a@a").await;
    other.store.leases().release(0, &[(ShardId::of("a@a"), second)]).wait().await.unwrap();
    let third = node.take("a@a", None).await.unwrap();
    primary.wait_for_replicas(1).await;
    replica.ask(&["REPLICAOF", "NO", "ONE"]).await;
    promote(&replica, primary).await;
    node.ready().await;
    node.beat().await.unwrap();
    let again = (ShardId::of("a@a"), node.take("a@a", Some(third)).await.unwrap());
    node.store.leases().restore(0, &[again]).wait().await.unwrap();
    assert_eq!(node.version("a@a").await, None, "this process had written before another owned the shard");
}

#[tokio::test]
async fn after_everything_was_lost_former_holders_come_first() {
    let Some(server) = Server::start(&[]) else { return };
    let node = Node::open("n1", server.url(), Durability::Async).await;
    let other = Node::open("n2", server.url(), Durability::Async).await;
    let fence = node.own("a@a").await;
    node.save(&fence, "a@a", 1).await.unwrap();
    let lease = |node: &Node| node.store.leases().beat(0, &node.me, 2_000, None);
    let before = lease(&other).wait().await.unwrap();
    server.ask(&["FLUSHALL"]).await;
    let started = Instant::now();
    assert_ne!(lease(&other).wait().await.unwrap().run, before.run);
    assert_eq!(other.take("a@a", None).await, Err(None), "for one lease's time");
    lease(&node).wait().await.unwrap();
    let again = node.take("a@a", Some(fence.clone())).await.unwrap();
    assert_eq!(again.epoch, 2, "above what was held");
    node.store.leases().restore(0, &[(ShardId::of("a@a"), again.clone())]).wait().await.unwrap();
    assert_eq!(node.version("a@a").await, Some(1));
    assert_eq!(node.save(&fence, "a@a", 2).await, Err(Error::Fenced));
    node.save(&again, "a@a", 2).await.unwrap();
    // What nobody held is free after that time.
    while other.take("b@a", None).await.is_err() {
        lease(&other).wait().await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(started.elapsed() > Duration::from_millis(1_900), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_restart_keeps_owners_and_lets_former_holders_come_first() {
    let Some(mut server) = Server::start(&[]) else { return };
    let node = Node::open("n1", server.url(), Durability::Async).await;
    let other = Node::open("n2", server.url(), Durability::Async).await;
    let fence = node.own("a@a").await;
    let before = other.beat().await.unwrap();
    // A claim may be the first that a new run hears.
    server.kill();
    server.start_again();
    node.ready().await;
    other.ready().await;
    assert_eq!(other.take("b@a", None).await, Err(None), "nobody held it, and somebody may say so");
    let after = other.beat().await.unwrap();
    assert_ne!(after.run, before.run);
    assert!(after.version > before.version, "no version of before is known");
    let owners = after.owners.unwrap();
    assert!(owners.contains(&(ShardId::of("a@a"), fence.clone())), "{owners:?}");
    assert_eq!(
        node.take("a@a", Some(fence.clone())).await,
        Ok(fence.clone()),
        "its owner is still its owner"
    );
    node.save(&fence, "a@a", 1).await.unwrap();
}

/// Nobody else can have written meanwhile; if somebody did all the same, what is later stays.
#[tokio::test]
async fn an_erasure_that_is_sent_again_leaves_later_versions() {
    let Some(server) = Server::start(&[]) else { return };
    let node = Node::open("n1", server.url(), Durability::Async).await;
    let fence = node.own("a@a").await;
    node.save(&fence, "a@a", 7).await.unwrap();
    let shard = ShardId::of("a@a");
    let keys = ["own", "r:a@a", "due"].map(|name| format!("{{{shard}}}:{name}"));
    let head: String = server.ask_for(&["GETRANGE", &keys[1], "33", "48"]).await;
    let library = library(&server).await;
    let (function, token) = (format!("{library}_erase"), fence.to_string());
    let erase = async |bound: &str| {
        let words = ["FCALL", &function, "3", &keys[0], &keys[1], &keys[2], &token, "a@a", bound, &head];
        server.ask(&words).await
    };
    assert_eq!(erase("0000000000000006").await, redis::Value::Int(2));
    assert_eq!(node.version("a@a").await, Some(7));
    assert!(matches!(erase("0000000000000007").await, redis::Value::Array(_)));
    let witness = Node::open("n9", server.url(), Durability::Async).await;
    assert_eq!(witness.version("a@a").await, None);
}
