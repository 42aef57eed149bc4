//! Sentinel makes a replica the primary: where a save waits for a replica, nothing that was acknowledged is lost.

use crate::failures::Node;
use crate::server::Server;
use std::rc::Rc;
use std::time::{Duration, Instant};
use store::{Durability, Error};

const USERS: usize = 24;

#[tokio::test]
async fn a_failover_loses_nothing_that_was_acknowledged() {
    let Some(mut primary) = Server::start(&[]) else { return };
    let replicas = [Server::replica_of(&primary).unwrap(), Server::replica_of(&primary).unwrap()];
    let Some(sentinel) = Server::sentinel(&primary) else { return };
    primary.wait_for_replicas(2).await;
    sentinel.wait_until_it_knows(2).await;
    let url = format!("redis+sentinel://127.0.0.1:1,127.0.0.1:{}/rollcall", sentinel.port);
    let node = Rc::new(Node::open("n1", url, Durability::Wait1).await);
    let local = tokio::task::LocalSet::new();
    let (before, gap) = local
        .run_until(async {
            let stop = Rc::new(std::cell::Cell::new(false));
            let mut writers = Vec::new();
            for number in 0..USERS {
                let (node, stop) = (Rc::clone(&node), Rc::clone(&stop));
                writers.push(tokio::task::spawn_local(async move {
                    let name = format!("user{number}@a");
                    let fence = node.own(&name).await;
                    let (mut version, mut gap, mut last) = (0, Duration::ZERO, Instant::now());
                    while !stop.get() {
                        match node.save(&fence, &name, version + 1).await {
                            Ok(()) => {
                                version += 1;
                                gap = gap.max(last.elapsed());
                                last = Instant::now();
                            }
                            Err(Error::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
                            // The owner's token was lost with the primary: a take is not waited for.
                            Err(error) => panic!("{name}: {error}"),
                        }
                        assert!(
                            last.elapsed() < Duration::from_secs(30),
                            "{name}: no save succeeds any more"
                        );
                    }
                    (name, version, gap)
                }));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            primary.kill();
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            node.ready().await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            stop.set(true);
            let mut all = Vec::new();
            let mut gap = Duration::ZERO;
            for writer in writers {
                let (name, version, its) = writer.await.unwrap();
                gap = gap.max(its);
                all.push((name, version));
            }
            (all, gap)
        })
        .await;
    println!(
        "no save succeeded for {gap:?}; {} were acknowledged",
        before.iter().map(|(_, all)| all).sum::<u64>()
    );
    for (name, acknowledged) in before {
        let version = node.version(&name).await.unwrap_or(0);
        assert!(version >= acknowledged, "{name}: {acknowledged} acknowledged, {version} kept");
        assert!(version <= acknowledged + 1, "{name}: {version} kept, and only {acknowledged} acknowledged");
    }
    drop(replicas);
}
