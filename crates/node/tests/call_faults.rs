//! Calls of users whose store is slow or fails: no phone rings for nobody, and whoever cancels is heard.
#![allow(clippy::unwrap_used)]

mod scene;

use scene::{DOMAIN, Phone, Scene, phone, scene_on};
use scscf::{Impi, Impu, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use store::{Error, Fence, Filter, Leases, Loaded, Memory, Page, Pending, ShardId, Store, Write};

/// A store in memory that takes its time to read, and may fail to write what is Alice's.
struct Slow {
    memory: Memory,
    loads: AtomicU64,
    finds: AtomicU64,
    fails: AtomicBool,
}

impl Slow {
    fn new() -> Arc<Self> {
        let memory = Memory::new();
        Arc::new(Self {
            memory,
            loads: AtomicU64::default(),
            finds: AtomicU64::default(),
            fails: AtomicBool::default(),
        })
    }
}

fn later<T: Send + 'static>(pending: Pending<T>, millis: u64) -> Pending<T> {
    let Pending::Ready(answer) = pending else { return pending };
    Pending::Later(Box::pin(async move {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        answer
    }))
}

impl Store for Slow {
    fn leases(&self) -> &dyn Leases {
        self.memory.leases()
    }

    fn load(&self, shard: ShardId, impi: &Impi) -> Pending<Result<Option<Loaded>, Error>> {
        later(self.memory.load(shard, impi), self.loads.load(Ordering::SeqCst))
    }

    fn save(&self, shard: ShardId, fence: &Fence, write: Write<'_>) -> Pending<Result<(), Error>> {
        if self.fails.load(Ordering::SeqCst) && write.user.impi().as_str().starts_with("alice") {
            return Pending::Ready(Err(Error::Unavailable("on purpose".into())));
        }
        self.memory.save(shard, fence, write)
    }

    fn erase(&self, shard: ShardId, fence: &Fence, impi: &Impi) -> Pending<Result<(), Error>> {
        self.memory.erase(shard, fence, impi)
    }

    fn holders(&self, impu: &Impu) -> Pending<Result<Vec<Impi>, Error>> {
        later(self.memory.holders(impu), self.finds.load(Ordering::SeqCst))
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

fn invite(from: &Phone, route: &str, method: &str) -> String {
    let (name, port) = (&from.name, from.socket.local_addr().unwrap().port());
    format!(
        "{method} sip:bob@{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKcf;rport\r\n\
         Max-Forwards: 70\r\n{route}From: <sip:{name}@{DOMAIN}>;tag=f\r\nTo: <sip:bob@{DOMAIN}>\r\nCall-ID: cf\r\n\
         CSeq: 1 {method}\r\nContact: <sip:{name}@127.0.0.1:{port}>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// What a caller hears who gives up while the store is at work: the answer to the CANCEL, and that to the INVITE.
fn gives_up(scene: &Scene) -> Vec<String> {
    let carol = phone(scene, "carol");
    carol.socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    carol.send(&invite(&carol, "", "INVITE"));
    std::thread::sleep(Duration::from_millis(100));
    carol.send(&invite(&carol, "", "CANCEL"));
    let mut heard = vec![carol.take(), carol.take()];
    heard.sort();
    heard.into_iter().map(|text| text[8..11].to_owned()).collect()
}

#[test]
fn a_cancel_is_heard_while_the_user_is_loaded() {
    let store = Slow::new();
    let scene = scene_on(store.clone(), &[]);
    scene.hss.silent.store(true, Ordering::SeqCst);
    store.loads.store(400, Ordering::SeqCst);
    assert_eq!(gives_up(&scene), ["200", "487"]);
}

#[test]
fn a_cancel_is_heard_while_the_user_is_sought() {
    let store = Slow::new();
    let scene = scene_on(store.clone(), &[]);
    store.finds.store(400, Ordering::SeqCst);
    assert_eq!(gives_up(&scene), ["200", "487"]);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(scene.hss.requests.load(Ordering::SeqCst), 0, "nobody was asked for bob's profile");
}

#[test]
fn what_a_user_sent_is_cancelled_when_its_record_cannot_be_saved() {
    let store = Slow::new();
    let scene = scene_on(store.clone(), &[]);
    let mut alice = phone(&scene, "alice");
    let ok = alice.register_fully();
    let mut bob = phone(&scene, "bob");
    bob.register_fully();
    let route = ok.lines().find(|line| line.starts_with("Service-Route: ")).unwrap();
    alice.send(&invite(&alice, &format!("{}\r\n", route.replace("Service-Route", "Route")), "INVITE"));
    let asked = bob.take();
    assert!(asked.starts_with("INVITE "), "{asked}");
    let lines = |name: &str| -> String {
        asked.lines().filter(|line| line.starts_with(name)).map(|line| format!("{line}\r\n")).collect()
    };
    let mut ringing = "SIP/2.0 180 Ringing\r\n".to_owned();
    for name in ["Via:", "Record-Route:", "From:", "To:", "Call-ID:", "CSeq:"] {
        ringing.push_str(
            &lines(name).replace("To: <sip:bob@ims.example.org>", "To: <sip:bob@ims.example.org>;tag=b"),
        );
    }
    bob.send(&format!("{ringing}Contact: <sip:bob@127.0.0.1>\r\nContent-Length: 0\r\n\r\n"));
    std::thread::sleep(Duration::from_millis(100));
    store.fails.store(true, Ordering::SeqCst);
    let again = alice.register("nonce=\"\",response=\"\"", 600);
    alice.send(&again);
    let heard = [alice.take(), alice.take()];
    assert!(heard.iter().all(|text| text.starts_with("SIP/2.0 503")), "{heard:?}");
    let cancel = bob.take();
    assert!(cancel.starts_with("CANCEL "), "{cancel}");
}
