//! A node that loses a shard for a while knows nothing of what it knew before.
#![allow(clippy::unwrap_used)]

mod scene;

use scene::{DOMAIN, Scene, eventually, phone, scene_on};
use scscf::{Impi, Impu, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use store::{Beat, Claim, Claimed, Error, Fence, Filter, Leases, Loaded, Member, Memory, Page, Pending};
use store::{ShardId, Store, Write};

const SOON: Duration = Duration::from_secs(10);

/// A store in memory whose readers may have to wait, and which a node may be cut off from.
#[derive(Default)]
struct Remote {
    memory: Memory,
    /// Milliseconds from reading a record to having it.
    way: AtomicU64,
    cut_off: AtomicBool,
}

impl Store for Remote {
    fn leases(&self) -> &dyn Leases {
        self
    }

    fn load(&self, shard: ShardId, impi: &Impi) -> Pending<Result<Option<Loaded>, Error>> {
        let Pending::Ready(read) = self.memory.load(shard, impi) else { panic!("memory reads at once") };
        let way = Duration::from_millis(self.way.load(Ordering::SeqCst));
        Pending::Later(Box::pin(async move {
            tokio::time::sleep(way).await;
            read
        }))
    }

    fn save(&self, shard: ShardId, fence: &Fence, write: Write<'_>) -> Pending<Result<(), Error>> {
        self.memory.save(shard, fence, write)
    }

    fn erase(&self, shard: ShardId, fence: &Fence, impi: &Impi) -> Pending<Result<(), Error>> {
        self.memory.erase(shard, fence, impi)
    }

    fn holders(&self, impu: &Impu) -> Pending<Result<Vec<Impi>, Error>> {
        self.memory.holders(impu)
    }

    fn deadlines(&self, shard: ShardId) -> Pending<Result<Vec<(Timestamp, Impi)>, Error>> {
        self.memory.deadlines(shard)
    }

    fn list(&self, filter: &Filter, after: Option<&Impi>, limit: usize) -> Pending<Result<Page, Error>> {
        self.memory.list(filter, after, limit)
    }

    fn ready(&self) -> Pending<Result<(), Error>> {
        self.memory.ready()
    }
}

impl Leases for Remote {
    fn groups(&self) -> u16 {
        self.memory.leases().groups()
    }

    fn group_of(&self, shard: ShardId) -> u16 {
        self.memory.leases().group_of(shard)
    }

    fn beat(
        &self,
        group: u16,
        member: &Member,
        ttl: u64,
        known: Option<u64>,
    ) -> Pending<Result<Beat, Error>> {
        if self.cut_off.load(Ordering::SeqCst) {
            return Pending::Ready(Err(Error::Unavailable("cut off".into())));
        }
        self.memory.leases().beat(group, member, ttl, known)
    }

    fn take(&self, group: u16, by: &Member, claims: &[Claim]) -> Pending<Result<Vec<Claimed>, Error>> {
        self.memory.leases().take(group, by, claims)
    }

    fn release(&self, group: u16, shards: &[(ShardId, Fence)]) -> Pending<Result<(), Error>> {
        self.memory.leases().release(group, shards)
    }

    fn leave(&self, group: u16, member: &Member) -> Pending<Result<(), Error>> {
        self.memory.leases().leave(group, member)
    }

    fn secret(&self, fresh: [u8; 32]) -> Pending<Result<[u8; 32], Error>> {
        self.memory.leases().secret(fresh)
    }

    fn restore(&self, group: u16, shards: &[(ShardId, Fence)]) -> Pending<Result<(), Error>> {
        self.memory.leases().restore(group, shards)
    }
}

fn now<T>(asked: Pending<Result<T, Error>>) -> T {
    let Pending::Ready(answer) = asked else { panic!("memory answers at once") };
    answer.unwrap()
}

fn member_of(store: &Arc<Remote>, lease: &str) -> Scene {
    scene_on(
        store.clone(),
        &[
            ("ROLLCALL__NODE__ID", "n1"),
            ("ROLLCALL__NODE__PASSIVATE_AFTER", "1"),
            ("ROLLCALL__STORE__KIND", "redis"),
            ("ROLLCALL__CLUSTER__LISTEN", "127.0.0.1:0"),
            ("ROLLCALL__CLUSTER__LEASE", lease),
        ],
    )
}

#[test]
fn while_a_lease_is_in_doubt_requests_wait_as_long_as_it_may_be_a_hiccup() {
    let store = Arc::new(Remote::default());
    let scene = member_of(&store, "4000");
    let mut alice = phone(&scene, "alice");
    for is_hiccup in [true, false] {
        store.cut_off.store(true, Ordering::SeqCst);
        // A fifth of it is kept for clocks that differ.
        std::thread::sleep(Duration::from_millis(3_400));
        let text = alice.register("nonce=\"\",response=\"\"", 600);
        let asked = Instant::now();
        alice.send(&text);
        if is_hiccup {
            std::thread::sleep(Duration::from_millis(100));
            store.cut_off.store(false, Ordering::SeqCst);
        }
        let answer = alice.take();
        let wanted = if is_hiccup { "SIP/2.0 401" } else { "SIP/2.0 503" };
        assert!(answer.starts_with(wanted), "{answer}");
        assert!(is_hiccup || answer.contains("Retry-After: "), "{answer}");
        assert!(asked.elapsed() < Duration::from_millis(1_500), "{:?}", asked.elapsed());
    }
    // It has been away for long: nobody waits any more.
    let text = alice.register("nonce=\"\",response=\"\"", 600);
    std::thread::sleep(Duration::from_millis(500));
    let asked = Instant::now();
    alice.send(&text);
    let answer = alice.take();
    assert!(answer.starts_with("SIP/2.0 503"), "{answer}");
    assert!(asked.elapsed() < Duration::from_millis(200), "{:?}", asked.elapsed());
}

#[test]
fn a_record_that_was_read_before_another_node_had_the_shard_is_not_used() {
    let store = Arc::new(Remote::default());
    let scene = member_of(&store, "1000");
    let impi = Impi::new(&format!("alice@{DOMAIN}")).unwrap();
    let shard = ShardId::of(impi.as_str());
    let mut alice = phone(&scene, "alice");
    alice.register_fully();
    let gone = eventually(SOON, || (scene.metric("rollcall_users_passivated_total") == 1).then_some(()));
    assert!(gone.is_some(), "she is not left alone");
    assert_eq!(scene.user("alice")["state"], "registered");

    // Her record is on its way when the node loses its lease.
    store.way.store(5_000, Ordering::SeqCst);
    let text = alice.register("nonce=\"\",response=\"\"", 600);
    alice.send(&text);
    std::thread::sleep(Duration::from_millis(100));
    store.way.store(0, Ordering::SeqCst);
    store.cut_off.store(true, Ordering::SeqCst);
    let other = Member {
        node: "n2".into(),
        incarnation: 1,
        link: "".into(),
        sip: "".into(),
        draining: true,
        users: 0,
    };
    let taken = eventually(SOON, || {
        let leases = store.memory.leases();
        now(leases.beat(0, &other, 60_000, None));
        now(leases.take(0, &other, &[Claim::new(shard)])).remove(0).ok()
    });
    let fence = taken.expect("the other node has the shard");
    now(store.memory.erase(shard, &fence, &impi));
    store.cut_off.store(false, Ordering::SeqCst);
    let known = eventually(SOON, || {
        let view: serde_json::Value = serde_json::from_str(&scene.get("/v1/cluster").1).unwrap();
        let shards = view["shards"].as_array()?.clone();
        shards.iter().any(|shard| shard["owner"] == "n2").then_some(())
    });
    assert!(known.is_some(), "the node does not see the other: {}", scene.get("/v1/cluster").1);
    now(store.memory.leases().release(0, &[(shard, fence)]));
    now(store.memory.leases().leave(0, &other));

    // The shard comes back, and then the record of before.
    let answer = alice.take();
    assert!(answer.starts_with("SIP/2.0 401"), "{answer}");
    assert_ne!(scene.user("alice")["state"], "registered", "{}", scene.user("alice"));
}
