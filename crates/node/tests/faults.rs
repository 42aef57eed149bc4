//! Crashes, stores that fail or are slow: what harms one user harms no other, and every request has its answer.
#![allow(clippy::unwrap_used)]

mod scene;

use scene::{DOMAIN, RES, Scene, eventually, phone, scene_on};
use scscf::{Impi, Impu, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use store::{Error, Fence, Filter, Leases, Loaded, Memory, Page, Pending, ShardId, Store, Write};

/// What a [`Faulty`] store does with writes of `alice`.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Panic,
    Unavailable,
    Fenced,
    Slow,
}

/// A store in memory that can be told to fail; everything it does takes a moment.
struct Faulty {
    memory: Memory,
    fault: AtomicU8,
}

impl Faulty {
    fn new() -> Arc<Self> {
        Arc::new(Self { memory: Memory::new(), fault: AtomicU8::new(0) })
    }

    fn set(&self, fault: Fault) {
        self.fault.store(fault as u8, Ordering::SeqCst);
    }

    fn fault(&self, impi: &Impi) -> Fault {
        if !impi.as_str().starts_with("alice") {
            return Fault::None;
        }
        match self.fault.load(Ordering::SeqCst) {
            1 => Fault::Panic,
            2 => Fault::Unavailable,
            3 => Fault::Fenced,
            4 => Fault::Slow,
            _ => Fault::None,
        }
    }
}

fn later<T: Send + 'static>(pending: Pending<T>, delay: Duration) -> Pending<T> {
    let Pending::Ready(answer) = pending else { return pending };
    Pending::Later(Box::pin(async move {
        tokio::time::sleep(delay).await;
        answer
    }))
}

const MOMENT: Duration = Duration::from_millis(1);

impl Store for Faulty {
    fn leases(&self) -> &dyn Leases {
        self.memory.leases()
    }

    fn load(&self, shard: ShardId, impi: &Impi) -> Pending<Result<Option<Loaded>, Error>> {
        later(self.memory.load(shard, impi), MOMENT)
    }

    fn save(&self, shard: ShardId, fence: &Fence, write: Write<'_>) -> Pending<Result<(), Error>> {
        match self.fault(write.user.impi()) {
            Fault::None => later(self.memory.save(shard, fence, write), MOMENT),
            Fault::Panic => panic!("a bug, on purpose"),
            Fault::Unavailable => Pending::Ready(Err(Error::Unavailable("on purpose".into()))),
            Fault::Fenced => Pending::Ready(Err(Error::Fenced)),
            Fault::Slow => later(self.memory.save(shard, fence, write), Duration::from_millis(300)),
        }
    }

    fn erase(&self, shard: ShardId, fence: &Fence, impi: &Impi) -> Pending<Result<(), Error>> {
        later(self.memory.erase(shard, fence, impi), MOMENT)
    }

    fn holders(&self, impu: &Impu) -> Pending<Result<Vec<Impi>, Error>> {
        later(self.memory.holders(impu), MOMENT)
    }

    fn deadlines(&self, shard: ShardId) -> Pending<Result<Vec<(Timestamp, Impi)>, Error>> {
        self.memory.deadlines(shard)
    }

    fn list(&self, filter: &Filter, after: Option<&Impi>, limit: usize) -> Pending<Result<Page, Error>> {
        later(self.memory.list(filter, after, limit), MOMENT)
    }

    fn ready(&self) -> Pending<Result<(), Error>> {
        self.memory.ready()
    }
}

fn faulty(overrides: &[(&str, &str)]) -> (Arc<Faulty>, Scene) {
    let store = Faulty::new();
    let scene = scene_on(store.clone(), overrides);
    (store, scene)
}

#[test]
fn a_crash_ends_one_actor_which_is_replaced_from_its_record() {
    let (store, scene) = faulty(&[]);
    let mut alice = phone(&scene, "alice");
    alice.register_fully();
    store.set(Fault::Panic);
    let text = alice.register("nonce=\"\",response=\"\"", 600);
    alice.send(&text);
    let answer = alice.take();
    assert!(answer.starts_with("SIP/2.0 500"), "{answer}");
    phone(&scene, "bob").register_fully();
    assert_eq!(scene.metric("rollcall_crashes_total"), 1);
    assert_eq!(scene.metric("rollcall_unanswered_total"), 1);
    store.set(Fault::None);
    assert_eq!(scene.user("alice")["state"], "registered", "the record was not touched");
    alice.register_fully();
}

#[test]
fn who_crashes_again_and_again_is_left_alone_for_a_while() {
    let (store, scene) = faulty(&[("ROLLCALL__LIMITS__CRASHES", "2")]);
    store.set(Fault::Panic);
    let mut alice = phone(&scene, "alice");
    let mut answers = Vec::new();
    for _ in 0..4 {
        let text = alice.register("nonce=\"\",response=\"\"", 600);
        alice.send(&text);
        answers.push(alice.take()[8..11].to_owned());
    }
    assert_eq!(answers, ["500", "500", "503", "503"]);
    phone(&scene, "bob").register_fully();
}

#[test]
fn nothing_is_said_that_could_not_be_saved() {
    for fault in [Fault::Unavailable, Fault::Fenced] {
        let (store, scene) = faulty(&[]);
        let mut alice = phone(&scene, "alice");
        let nonce = alice.challenge();
        store.set(fault);
        let answer = alice.answer_with(&nonce, &RES, 600);
        assert!(answer.starts_with("SIP/2.0 503") && answer.contains("Retry-After: "), "{answer}");
        store.set(Fault::None);
        assert_ne!(scene.user("alice")["state"], "registered");
        assert!(scene.metric("rollcall_store_failures_total") >= 1);
        let again = scene.metric("rollcall_saves_again_total");
        assert_eq!(
            again > 0,
            matches!(fault, Fault::Unavailable),
            "another owner's record is not tried again"
        );
        let answer = alice.answer_with(&nonce, &RES, 600);
        assert!(answer.starts_with("SIP/2.0 200"), "the challenge still stands: {answer}");
    }
}

#[test]
fn what_the_hss_answered_is_saved_as_soon_as_the_store_is_back() {
    let (store, scene) = faulty(&[]);
    let mut alice = phone(&scene, "alice");
    let nonce = alice.challenge();
    store.set(Fault::Unavailable);
    let back = std::thread::spawn({
        let store = Arc::clone(&store);
        move || {
            std::thread::sleep(Duration::from_millis(700));
            store.set(Fault::None);
        }
    });
    let answer = alice.answer_with(&nonce, &RES, 600);
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    back.join().unwrap();
    assert_eq!(scene.user("alice")["state"], "registered");
    assert_eq!(scene.metric("rollcall_registered_users"), 1);
}

#[test]
fn what_could_not_be_saved_is_counted_nowhere() {
    let (store, scene) = faulty(&[]);
    let mut alice = phone(&scene, "alice");
    let nonce = alice.challenge();
    store.set(Fault::Fenced);
    let answer = alice.answer_with(&nonce, &RES, 600);
    assert!(answer.starts_with("SIP/2.0 503"), "{answer}");
    assert_eq!(scene.metric("rollcall_registered_users"), 0);
    let recent = scene.user("alice")["recent"].to_string();
    assert!(!recent.contains("200 OK to REGISTER"), "{recent}");
}

#[test]
fn a_full_mailbox_means_503_and_every_request_has_one_answer() {
    let (store, scene) = faulty(&[("ROLLCALL__LIMITS__MAILBOX", "4")]);
    store.set(Fault::Slow);
    let mut alice = phone(&scene, "alice");
    for _ in 0..40 {
        let text = alice.register("nonce=\"\",response=\"\"", 600);
        alice.send(&text);
    }
    let mut unavailable = 0;
    let mut branches = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let answer = alice.take();
        unavailable += u32::from(answer.starts_with("SIP/2.0 503"));
        let branch = answer.split("branch=").nth(1).unwrap().split(';').next().unwrap().to_owned();
        assert!(branches.insert(branch), "answered twice: {answer}");
    }
    assert!(unavailable > 0);
    assert_eq!(scene.metric("rollcall_mailbox_full_total"), u64::from(unavailable));
    let idle =
        eventually(Duration::from_secs(3), || (scene.metric("rollcall_sip_unanswered") == 0).then_some(()));
    assert!(idle.is_some());
    phone(&scene, "bob").register_fully();
}

#[test]
fn a_watcher_sees_each_step_as_it_happens() {
    use std::io::{BufRead, BufReader, Write};
    let (_, scene) = faulty(&[]);
    let mut stream = std::net::TcpStream::connect(scene.http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(stream, "GET /v1/users/alice@{DOMAIN}/watch HTTP/1.1\r\nHost: {}\r\n\r\n", scene.http).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("event: view")));
    phone(&scene, "alice").register_fully();
    let registered = lines.find(|line| line.contains("\"cause\":\"SAA\"")).unwrap();
    assert!(registered.contains("\"state\":\"registered\""), "{registered}");
    assert!(registered.contains("200 OK to REGISTER"), "{registered}");
}
