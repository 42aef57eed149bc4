//! Too much is asked of Redis, or it has no room: leases stand, and what makes room is done.

use crate::failures::{Node, unavailable};
use crate::proxy::Proxy;
use crate::server::Server;
use scscf::Impi;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use store::{Claim, Durability, ShardId, Store};

#[tokio::test]
async fn a_full_redis_renews_leases_and_erases() {
    let Some(server) = Server::start(&[]) else { return };
    let node = Node::open("n1", server.url(), Durability::Async).await;
    node.beat().await.unwrap();
    let (last, rest): (Vec<_>, Vec<_>) = ShardId::all().partition(|shard| *shard == ShardId::of("late@a"));
    let claims: Vec<Claim> = rest.into_iter().map(Claim::new).collect();
    let taken = node.store.leases().take(0, &node.me, &claims).wait().await.unwrap();
    let mut fences: std::collections::BTreeMap<ShardId, _> =
        claims.iter().zip(taken).map(|(claim, taken)| (claim.shard, taken.unwrap())).collect();
    let names: Vec<String> = (0..2_000)
        .map(|number| format!("user{number}@a"))
        .filter(|name| ShardId::of(name) != last[0])
        .collect();
    for name in &names {
        node.save(&fences[&ShardId::of(name)], name, 1).await.unwrap();
    }
    let info: String = server.ask_for(&["INFO", "memory"]).await;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    let room = used.trim().parse::<u64>().unwrap() - 300_000;
    server.ask(&["CONFIG", "SET", "maxmemory", &room.to_string()]).await;

    assert!(unavailable(node.save(&fences[&ShardId::of(&names[0])], &names[0], 2).await).contains("memory"));
    node.beat().await.unwrap();
    fences.insert(last[0], node.take("late@a", None).await.unwrap());
    assert!(unavailable(node.save(&fences[&last[0]], "late@a", 1).await).contains("memory"));
    for name in &names[1..] {
        let impi = Impi::new(name).unwrap();
        node.store.erase(ShardId::of(name), &fences[&ShardId::of(name)], &impi).wait().await.unwrap();
    }
    node.save(&fences[&last[0]], "late@a", 1).await.unwrap();
    node.save(&fences[&ShardId::of(&names[0])], &names[0], 2).await.unwrap();
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    // Whoever starts while Redis is full finds what there is.
    let other = Node::open("n2", server.url(), Durability::Async).await;
    other.beat().await.unwrap();
    node.store.leases().release(0, &[(last[0], fences[&last[0]].clone())]).wait().await.unwrap();
    other.take("late@a", None).await.unwrap();
    node.store.leases().leave(0, &node.me).wait().await.unwrap();
}

/// What a full Redis erases counts under `wait1` once a replica has it, and no sooner.
#[tokio::test]
async fn a_full_redis_with_a_replica_erases() {
    let Some(server) = Server::start(&[]) else { return };
    let replica = Server::replica_of(&server).unwrap();
    server.wait_for_replicas(1).await;
    let node = Node::open("n1", server.url(), Durability::Wait1).await;
    let fence = node.own("a@a").await;
    node.save(&fence, "a@a", 1).await.unwrap();
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let impi = Impi::new("a@a").unwrap();
    let erase = async || node.store.erase(ShardId::of("a@a"), &fence, &impi).wait().await;
    replica.signal("STOP");
    unavailable(erase().await);
    server.ask(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    unavailable(erase().await);
    replica.signal("CONT");
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while let Err(error) = erase().await {
        assert!(std::time::Instant::now() < until, "{error}");
    }
}

#[tokio::test]
async fn a_lease_is_renewed_before_thousands_of_questions() {
    let Some(server) = Server::start(&[]) else { return };
    let proxy = Proxy::to(server.port).await;
    let node = Node::open("n1", format!("redis://127.0.0.1:{}", proxy.port), Durability::Async).await;
    let fence = node.own("a@a").await;
    node.save(&fence, "a@a", 1).await.unwrap();
    proxy.hold();
    let (shard, impi) = (ShardId::of("a@a"), Impi::new("a@a").unwrap());
    let answered = Arc::new(AtomicUsize::new(0));
    let asked = 17_000;
    for _ in 0..asked {
        let (load, answered) = (node.store.load(shard, &impi), Arc::clone(&answered));
        tokio::spawn(async move {
            if load.wait().await.is_ok() {
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    proxy.let_go();
    node.beat().await.unwrap();
    let before = answered.load(Ordering::Relaxed);
    assert!(before < asked / 4, "{before} questions were answered before");
}
