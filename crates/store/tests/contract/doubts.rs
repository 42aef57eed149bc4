//! Writes of unknown outcome: nobody acts on one before it is certain, and what somebody acted on stays.

use crate::failures::{Node, unavailable};
use crate::proxy::Proxy;
use crate::server::Server;
use scscf::Impi;
use std::time::{Duration, Instant};
use store::{Claim, Durability, Error, Loaded, ShardId, Store, Write, contract};

async fn load(node: &Node, name: &str) -> Result<Option<Loaded>, Error> {
    node.store.load(ShardId::of(name), &Impi::new(name).unwrap()).wait().await
}

/// What succeeds in a moment.
async fn soon<T>(mut what: impl AsyncFnMut() -> Result<T, Error>) -> T {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        match what().await {
            Ok(done) => return done,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
    }
}

#[tokio::test]
async fn what_no_replica_confirmed_is_not_read() {
    let Some(server) = Server::start(&[]) else { return };
    let replica = Server::replica_of(&server).unwrap();
    server.wait_for_replicas(1).await;
    let node = Node::open("n1", server.url(), Durability::Wait1).await;
    let other = Node::open("n2", server.url(), Durability::Wait1).await;
    let fence = node.own("a@a").await;
    other.beat().await.unwrap();
    assert_eq!(load(&node, "a@a").await, Ok(None));
    replica.signal("STOP");
    unavailable(node.save(&fence, "a@a", 1).await);
    unavailable(load(&node, "a@a").await);
    // Nor does the next owner act on it.
    let claim = Claim { gone: Some(fence), ..Claim::new(ShardId::of("a@a")) };
    other.store.leases().take(0, &other.me, &[claim]).wait().await.unwrap().remove(0).unwrap();
    unavailable(load(&other, "a@a").await);
    replica.signal("CONT");
    for node in [&node, &other] {
        let loaded = soon(async || load(node, "a@a").await).await;
        assert_eq!(loaded.map(|loaded| loaded.version), Some(1));
    }
    // Once it is confirmed nobody waits any more.
    replica.signal("STOP");
    let started = Instant::now();
    load(&other, "a@a").await.unwrap();
    assert!(started.elapsed() < Duration::from_millis(90), "{:?}", started.elapsed());
}

/// A write whose answer was lost is read and acted on: from then on it is as good as acknowledged.
#[tokio::test]
async fn what_was_read_is_written_again_though_its_answer_was_lost() {
    let Some(mut server) = Server::start(&[]) else { return };
    let proxy = Proxy::to(server.port).await;
    let node = Node::open("n1", format!("redis://127.0.0.1:{}", proxy.port), Durability::Async).await;
    let fence = node.own("a@a").await;
    node.save(&fence, "a@a", 1).await.unwrap();
    proxy.mute();
    unavailable(node.save(&fence, "a@a", 2).await);
    node.ready().await;
    soon(async || node.beat().await).await;
    assert_eq!(node.version("a@a").await, Some(2));
    server.ask(&["FLUSHALL"]).await;
    node.beat().await.unwrap();
    let again = node.take("a@a", Some(fence)).await.unwrap();
    assert_eq!(node.version("a@a").await, Some(2));
    node.store.leases().restore(0, &[(ShardId::of("a@a"), again)]).wait().await.unwrap();
    let witness = Node::open("n9", server.url(), Durability::Async).await;
    assert_eq!(witness.version("a@a").await, Some(2));
    server.kill();
}

/// The first save of a second life is carried out and its answer lost: it is not taken for a record of the first life.
#[tokio::test]
async fn a_second_life_is_not_taken_for_the_first() {
    let Some(server) = Server::start(&[]) else { return };
    let proxy = Proxy::to(server.port).await;
    let node = Node::open("n1", format!("redis://127.0.0.1:{}", proxy.port), Durability::Async).await;
    let fence = node.own("a@a").await;
    for version in 1..=5 {
        node.save(&fence, "a@a", version).await.unwrap();
    }
    let impi = Impi::new("a@a").unwrap();
    node.store.erase(ShardId::of("a@a"), &fence, &impi).wait().await.unwrap();
    proxy.mute();
    unavailable(node.save(&fence, "a@a", 1).await);
    node.ready().await;
    assert_eq!(node.version("a@a").await, Some(1));
    node.save(&fence, "a@a", 2).await.unwrap();
    assert_eq!(node.version("a@a").await, Some(2));
}

/// An erasure whose answer was lost was carried out: the user begins anew.
#[tokio::test]
async fn an_erasure_of_unknown_outcome_is_settled_by_the_next_look() {
    let Some(server) = Server::start(&[]) else { return };
    let proxy = Proxy::to(server.port).await;
    let node = Node::open("n1", format!("redis://127.0.0.1:{}", proxy.port), Durability::Async).await;
    let fence = node.own("a@a").await;
    // One without identities is erased at once, without a look at its record.
    let user = contract::user("a@a", &[], 0);
    let write = Write { user: &user, version: 3, write_id: 3 };
    node.store.save(ShardId::of("a@a"), &fence, write).wait().await.unwrap();
    let impi = Impi::new("a@a").unwrap();
    proxy.mute();
    unavailable(node.store.erase(ShardId::of("a@a"), &fence, &impi).wait().await);
    node.ready().await;
    assert_eq!(node.version("a@a").await, None);
    node.save(&fence, "a@a", 1).await.unwrap();
    assert_eq!(node.version("a@a").await, Some(1));
    // One that never arrived has not happened.
    proxy.hold();
    unavailable(node.store.erase(ShardId::of("a@a"), &fence, &impi).wait().await);
    node.ready().await;
    assert_eq!(node.version("a@a").await, Some(1));
}

#[tokio::test]
async fn a_replica_that_was_slow_once_counts_again() {
    let Some(server) = Server::start(&[]) else { return };
    let proxy = Proxy::to(server.port).await;
    let _replica = Server::start(&["--replicaof", &format!("127.0.0.1 {}", proxy.port)]).unwrap();
    server.wait_for_replicas(1).await;
    let node = Node::open("n1", server.url(), Durability::Wait1).await;
    let fence = node.own("a@a").await;
    node.save(&fence, "a@a", 1).await.unwrap();
    proxy.delay(Duration::from_millis(1_500));
    unavailable(node.save(&fence, "a@a", 2).await);
    // From now on it confirms everything, after a third of a second.
    proxy.delay(Duration::from_millis(300));
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    for version in 2..6 {
        soon(async || node.save(&fence, "a@a", version).await).await;
    }
}
