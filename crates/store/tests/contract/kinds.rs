//! One suite, every kind.

use crate::embedded::Directories;
use crate::server::Server;
use store::{Durability, Embedded, Memory, Redis, RedisSettings, contract};

#[tokio::test]
async fn memory_keeps_the_contract() {
    contract::check(async || Memory::new()).await;
}

#[tokio::test]
async fn embedded_keeps_the_contract() {
    let directories = Directories::default();
    contract::check(async || Embedded::open(&directories.fresh()).unwrap()).await;
}

#[tokio::test]
async fn redis_keeps_the_contract() {
    let Some(server) = Server::start(&[]) else { return };
    contract::check(async || fresh(&[&server], Durability::Async).await).await;
}

#[tokio::test]
async fn redis_with_a_replica_keeps_the_contract() {
    let Some(server) = Server::start(&[]) else { return };
    let _replica = Server::replica_of(&server).unwrap();
    server.wait_for_replicas(1).await;
    contract::check(async || fresh(&[&server], Durability::Wait1).await).await;
}

#[tokio::test]
async fn two_groups_of_redis_keep_the_contract() {
    let Some(first) = Server::start(&[]) else { return };
    let second = Server::start(&[]).unwrap();
    contract::check(async || fresh(&[&first, &second], Durability::Async).await).await;
}

/// An empty store on these servers.
pub(crate) async fn fresh(servers: &[&Server], durability: Durability) -> Redis {
    for server in servers {
        server.ask(&["FLUSHALL"]).await;
    }
    let urls = servers.iter().map(|server| server.url()).collect();
    Redis::open(&RedisSettings { urls, durability }).await.unwrap()
}
