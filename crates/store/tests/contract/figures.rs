//! Figures for docs/benchmarks.md: `cargo test --release -p store --test contract figures -- --ignored --nocapture`.

use crate::embedded::Directories;
use crate::server::Server;
use std::rc::Rc;
use std::time::{Duration, Instant};
use store::{
    Claim, Durability, Embedded, Fence, Filter, Member, Redis, RedisSettings, ShardId, Store, Write, contract,
};

const USERS: usize = 1_000;

async fn own_all(store: &impl Store) -> Vec<Fence> {
    let me = Member {
        node: "n1".into(),
        incarnation: 1,
        link: "".into(),
        sip: "".into(),
        draining: false,
        users: 0,
    };
    let leases = store.leases();
    leases.beat(0, &me, 600_000, None).wait().await.unwrap();
    let claims: Vec<Claim> = ShardId::all().map(Claim::new).collect();
    let taken = leases.take(0, &me, &claims).wait().await.unwrap();
    taken.into_iter().collect::<Result<_, _>>().unwrap()
}

/// Saves for a while with so many in flight.
async fn saves(store: Rc<impl Store + 'static>, in_flight: usize, what: &str) {
    let fences = Rc::new(own_all(&*store).await);
    let until = Instant::now() + Duration::from_secs(3);
    let started = Instant::now();
    let mut writers = Vec::new();
    for writer in 0..in_flight {
        let (store, fences) = (Rc::clone(&store), Rc::clone(&fences));
        writers.push(tokio::task::spawn_local(async move {
            let mut latencies = Vec::new();
            let users: Vec<_> = (0..USERS / in_flight.min(USERS))
                .map(|number| {
                    let name = format!("user{writer}-{number}@ims.mnc001.mcc001.3gppnetwork.org");
                    let impus = [format!("sip:{name}"), format!("tel:+1555{writer:03}{number:04}")];
                    let user = contract::user(&name, &[&impus[0], &impus[1]], 5_000);
                    (ShardId::of(&name), user)
                })
                .collect();
            for version in 1.. {
                for (shard, user) in &users {
                    let asked = Instant::now();
                    if asked >= until {
                        return latencies;
                    }
                    let write = Write { user, version, write_id: version };
                    let fence = &fences[usize::from(shard.number())];
                    store.save(*shard, fence, write).wait().await.unwrap();
                    latencies.push(asked.elapsed());
                }
            }
            latencies
        }));
    }
    let mut latencies = Vec::new();
    for writer in writers {
        latencies.extend(writer.await.unwrap());
    }
    let rate = latencies.len() as f64 / started.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let at = |share: f64| latencies[(latencies.len() as f64 * share) as usize];
    println!("| {what} | {in_flight} | {rate:.0} | {:.0?} | {:.0?} |", at(0.5), at(0.99));
}

#[tokio::test]
#[ignore = "figures, half a minute"]
async fn saves_in_a_second() {
    let Some(server) = Server::start(&["--auto-aof-rewrite-percentage", "0"]) else { return };
    let directories = Directories::default();
    tokio::task::LocalSet::new()
        .run_until(async {
            println!("| kind | in flight | saves/s | p50 | p99 |\n|---|---|---|---|---|");
            for durability in [Durability::Async, Durability::Wait1] {
                let _replica =
                    (durability == Durability::Wait1).then(|| Server::replica_of(&server).unwrap());
                if durability == Durability::Wait1 {
                    server.wait_for_replicas(1).await;
                }
                for in_flight in [1, 16, 128] {
                    server.ask(&["FLUSHALL"]).await;
                    let settings = RedisSettings { urls: vec![server.url()], durability };
                    let store = Rc::new(Redis::open(&settings).await.unwrap());
                    saves(store, in_flight, &format!("Redis, {durability:?}")).await;
                }
            }
            for in_flight in [1, 16, 128] {
                let store = Rc::new(Embedded::open(&directories.on_disk()).unwrap());
                saves(store, in_flight, "embedded").await;
            }
        })
        .await;
}

#[tokio::test]
#[ignore = "figures, half a minute"]
async fn octets_of_a_registered_user_and_reading_many() {
    const MANY: usize = 100_000;
    let Some(server) = Server::start(&[]) else { return };
    let store = Redis::open(&RedisSettings { urls: vec![server.url()], durability: Durability::Async })
        .await
        .unwrap();
    let fences = own_all(&store).await;
    let used = async || {
        let info: String = server.ask_for(&["INFO", "memory"]).await;
        info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().parse::<usize>().unwrap()
    };
    let before = used().await;
    let mut waiting = Vec::new();
    for number in 0..MANY {
        let name = format!("user{number:06}@ims.mnc001.mcc001.3gppnetwork.org");
        let impus = [format!("sip:{name}"), format!("tel:+1555{number:07}")];
        let user = contract::user(&name, &[&impus[0], &impus[1]], 1_000_000 + number as u64);
        let shard = ShardId::of(&name);
        let write = Write { user: &user, version: 1, write_id: 1 };
        waiting.push(store.save(shard, &fences[usize::from(shard.number())], write));
        if waiting.len() == 256 {
            for asked in waiting.drain(..) {
                asked.wait().await.unwrap();
            }
        }
    }
    for asked in waiting {
        asked.wait().await.unwrap();
    }
    let record: usize = {
        let name = "user000000@ims.mnc001.mcc001.3gppnetwork.org";
        server.ask_for(&["STRLEN", &format!("{{{}}}:r:{name}", ShardId::of(name))]).await
    };
    println!("{} octets a user in Redis, {record} of them its record", (used().await - before) / MANY);

    let text = Filter { state: None, text: Some("user09999".into()) };
    for (what, filter, limit, pages) in [
        ("first page of 100", Filter::default(), 100, 1),
        ("all pages of 1,000", Filter::default(), 1_000, usize::MAX),
        ("10 users by their text", text, 100, usize::MAX),
    ] {
        let started = Instant::now();
        let (mut after, mut found) = (None, 0);
        for _ in 0..pages {
            let page = store.list(&filter, after.as_ref(), limit).wait().await.unwrap();
            found += page.users.len();
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        println!("{what}, {found} users: {:.1?}", started.elapsed());
    }
    let started = Instant::now();
    let asked: Vec<_> = ShardId::all().map(|shard| store.deadlines(shard)).collect();
    let mut count = 0;
    for asked in asked {
        count += asked.wait().await.unwrap().len();
    }
    println!("deadlines of all shards, {count}: {:.1?}", started.elapsed());
}
