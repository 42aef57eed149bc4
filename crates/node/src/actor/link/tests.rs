#![allow(clippy::unwrap_used)]

use super::*;
use std::time::Instant;
use tokio::task::{JoinHandle, LocalSet};

const SECRET: [u8; 32] = [7; 32];

#[derive(Default)]
struct Hearer {
    heard: RefCell<Vec<(Slot, Bytes)>>,
    ups: Cell<usize>,
    gone: RefCell<Vec<Slot>>,
    severed: RefCell<Vec<Slot>>,
    heard_some: Notify,
    /// Says every word back.
    echo: RefCell<Option<Rc<Links>>>,
}

impl Ears for Hearer {
    fn took(&self, from: Slot, word: Bytes) {
        if let Some(links) = &*self.echo.borrow() {
            links.say(from, &word).unwrap();
        }
        self.heard.borrow_mut().push((from, word));
        self.heard_some.notify_one();
    }

    fn up(&self, _: Slot) {
        self.ups.set(self.ups.get() + 1);
    }

    fn gone(&self, slot: Slot) {
        self.gone.borrow_mut().push(slot);
    }

    fn severed(&self, slot: Slot) {
        self.severed.borrow_mut().push(slot);
    }
}

impl Hearer {
    fn words(&self) -> Vec<String> {
        self.heard.borrow().iter().map(|(_, word)| String::from_utf8_lossy(word).into_owned()).collect()
    }
}

fn local() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn me(node: &str, incarnation: u64) -> Me {
    Me { node: node.into(), incarnation, domain: "home.example".into(), secret: SECRET, versions: VERSIONS }
}

fn start(me: Me) -> (Rc<Links>, Rc<Hearer>) {
    let links = Links::bind_as(Some(local()), me, Clock::start()).unwrap();
    let hearer = Rc::new(Hearer::default());
    let ears: Rc<dyn Ears> = hearer.clone();
    links.start(Rc::downgrade(&ears));
    (links, hearer)
}

fn member(node: &str, incarnation: u64, link: impl ToString) -> Member {
    Member {
        node: node.into(),
        incarnation,
        link: link.to_string().into(),
        sip: "".into(),
        draining: false,
        users: 0,
    }
}

fn of(links: &Links) -> Member {
    let mesh = links.mesh.borrow();
    let me = mesh.me();
    member(&me.node, me.incarnation, links.local_addr().unwrap())
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn complains(links: &Links, why: &str) -> bool {
    links.complaints.borrow().keys().any(|(_, said)| said.contains(why))
}

/// A node in a thread of its own, which ends without a word when this is dropped.
struct Process {
    address: SocketAddr,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Process {
    fn start(node: &'static str, incarnation: u64) -> Self {
        let (say, hear) = std::sync::mpsc::channel();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            LocalSet::new().block_on(&runtime, async {
                let (links, hearer) = start(me(node, incarnation));
                *hearer.echo.borrow_mut() = Some(Rc::clone(&links));
                say.send(links.local_addr().unwrap()).unwrap();
                let _ = ended.await;
                // Cut off from the hearer, which would hold the links.
                hearer.echo.borrow_mut().take();
            });
        });
        Self { address: hear.recv().unwrap(), end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Passes connections on, and cuts them on demand.
struct Proxy {
    address: SocketAddr,
    passing: Rc<RefCell<Vec<JoinHandle<()>>>>,
}

impl Proxy {
    async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(local()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let passing: Rc<RefCell<Vec<JoinHandle<()>>>> = Rc::default();
        let tasks = Rc::clone(&passing);
        tokio::task::spawn_local(async move {
            while let Ok((mut one, _)) = listener.accept().await {
                let task = tokio::task::spawn_local(async move {
                    if let Ok(mut other) = TcpStream::connect(target).await {
                        let _ = tokio::io::copy_bidirectional(&mut one, &mut other).await;
                    }
                });
                tasks.borrow_mut().push(task);
            }
        });
        Self { address, passing }
    }

    fn cut(&self) -> usize {
        let tasks = std::mem::take(&mut *self.passing.borrow_mut());
        tasks.iter().for_each(JoinHandle::abort);
        tasks.len()
    }
}

#[tokio::test(flavor = "current_thread")]
async fn two_nodes_exchange_words_both_ways_over_one_connection() {
    let test = async {
        let ((a, a_hears), (b, b_hears)) = (start(me("a", 1)), start(me("b", 2)));
        a.keep(&[of(&a), of(&b)]);
        b.keep(&[of(&a), of(&b)]);
        assert_eq!(a.slot("a", 1), None, "a node has no link to itself");
        let (to_b, to_a) = (a.slot("b", 2).unwrap(), b.slot("a", 1).unwrap());
        a.say(to_b, b"before they are connected").unwrap();
        until("both are linked", || a.is_up(to_b) && b.is_up(to_a)).await;
        b.say(to_a, b"and afterwards").unwrap();
        let long = vec![b'x'; cluster::MAX_WORD];
        a.say(to_b, &long).unwrap();
        a.say(to_b, b"behind a long one").unwrap();
        assert_eq!(a.say(to_b, &[&long[..], b"x"].concat()), Err(Full), "a word too long");
        until("all was heard", || b_hears.heard.borrow().len() == 3 && a_hears.heard.borrow().len() == 1)
            .await;
        assert_eq!(a_hears.words(), ["and afterwards"]);
        assert_eq!(b_hears.words()[0], "before they are connected");
        assert_eq!(b_hears.heard.borrow()[1], (to_a, Bytes::from(long)));
        assert_eq!(b_hears.words()[2], "behind a long one");
        assert_eq!(a.peer(to_b), Some(("b".into(), 2)));
        // Both dialled at once; one connection is left and stays.
        until("one is left", || a.lines.borrow().len() == 1 && b.lines.borrow().len() == 1).await;
        let ups = (a_hears.ups.get(), b_hears.ups.get());
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!((a.lines.borrow().len(), b.lines.borrow().len()), (1, 1));
        assert_eq!((a_hears.ups.get(), b_hears.ups.get()), ups);
        let counters = a.counters().remove(0).1;
        assert_eq!((counters.queued, counters.queued_octets), (0, 0), "all is acknowledged");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_cut_connection_loses_no_word_and_doubles_none() {
    let test = async {
        let ((a, a_hears), (b, b_hears)) = (start(me("a", 1)), start(me("b", 2)));
        let proxy = Proxy::to(b.local_addr().unwrap()).await;
        // b does not dial, so that all passes the proxy.
        a.keep(&[member("b", 2, proxy.address)]);
        *b_hears.echo.borrow_mut() = Some(Rc::clone(&b));
        let to_b = a.slot("b", 2).unwrap();
        let mut cuts = 0;
        for number in 0..3_000_u32 {
            a.say(to_b, &number.to_be_bytes()).unwrap();
            if number % 10 == 0 {
                tokio::task::yield_now().await;
            }
            if number % 500 == 250 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                cuts += proxy.cut();
            }
        }
        until("all was heard and said back", || a_hears.heard.borrow().len() >= 3_000).await;
        for hearer in [&a_hears, &b_hears] {
            let heard: Vec<u32> = hearer
                .heard
                .borrow()
                .iter()
                .map(|(_, word)| u32::from_be_bytes((&word[..]).try_into().unwrap()))
                .collect();
            assert_eq!(heard, (0..3_000).collect::<Vec<_>>());
            assert!(hearer.gone.borrow().is_empty() && hearer.severed.borrow().is_empty());
        }
        assert!(cuts >= 3, "{cuts} connections were cut");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_process_that_ended_is_gone_within_300_ms_and_the_next_run_is_another() {
    let test = async {
        let (a, hears) = start(me("a", 1));
        let first = Process::start("b", 2);
        a.keep(&[member("b", 2, first.address)]);
        let slot = a.slot("b", 2).unwrap();
        until("the link", || a.is_up(slot)).await;
        a.say(slot, b"hello").unwrap();
        until("the word comes back", || hears.heard.borrow().len() == 1).await;
        let ended = Instant::now();
        drop(first);
        until("it is gone", || *hears.gone.borrow() == [slot]).await;
        assert!(ended.elapsed() < Duration::from_millis(300), "{:?}", ended.elapsed());
        assert_eq!((a.say(slot, b"too late"), a.slot("b", 2)), (Err(Full), None));
        let second = Process::start("b", 3);
        a.keep(&[member("b", 3, second.address)]);
        let next = a.slot("b", 3).unwrap();
        assert_ne!(next, slot);
        until("the next link", || a.is_up(next)).await;
        assert_eq!(a.peer(slot), Some(("b".into(), 2)), "who it was is still known");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_node_that_says_goodbye_is_gone_and_all_it_said_before_is_heard() {
    let test = async {
        let ((a, a_hears), (b, b_hears)) = (start(me("a", 1)), start(me("b", 2)));
        a.keep(&[of(&b)]);
        b.keep(&[of(&a)]);
        let to_a = b.slot("a", 1).unwrap();
        until("the link", || b.is_up(to_a)).await;
        for _ in 0..20 {
            b.say(to_a, &vec![b'x'; 500_000]).unwrap();
        }
        let began = Instant::now();
        b.close().await;
        until("it is gone", || a_hears.gone.borrow().len() == 1).await;
        assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
        assert_eq!(a_hears.heard.borrow().len(), 20);
        assert_eq!(b.say(to_a, b"too late"), Err(Full));
        assert!(b_hears.gone.borrow().is_empty());
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(flavor = "current_thread")]
async fn who_does_not_know_the_secret_is_refused_and_both_say_so() {
    let test = async {
        let (a, a_hears) = start(me("a", 1));
        let (b, b_hears) = start(Me { secret: [8; 32], ..me("b", 2) });
        a.keep(&[of(&b)]);
        let why = "do not have the same cluster secret";
        until("both complain", || complains(&a, why) && complains(&b, why)).await;
        assert_eq!((a_hears.ups.get(), b_hears.ups.get()), (0, 0));
        assert_eq!(b.slot("a", 1), None, "a stranger gets no session");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(flavor = "current_thread")]
async fn another_cluster_and_another_age_are_refused_with_words() {
    let test = async {
        let (a, _) = start(me("a", 1));
        let (b, _) = start(Me { domain: "other.example".into(), ..me("b", 2) });
        let (c, _) = start(Me { versions: (2, 3), ..me("c", 3) });
        a.keep(&[of(&b), of(&c)]);
        let domains = "b is of the cluster of other.example, a of that of home.example";
        let versions = "c speaks link versions 2 to 3, a speaks 1 to 1";
        until("the listener complains", || complains(&b, domains) && complains(&c, versions)).await;
        until("the dialler complains", || complains(&a, domains) && complains(&a, versions)).await;
    };
    LocalSet::new().run_until(test).await;
}

#[test]
fn a_name_that_no_hello_can_hold_is_refused_at_the_start() {
    let error = Links::bind_as(None, me(&"x".repeat(256), 1), Clock::start()).err().unwrap();
    assert!(error.to_string().ends_with("expected 1 to 255 octets"), "{error}");
}

#[tokio::test(flavor = "current_thread")]
async fn whoever_speaks_another_language_is_hung_up_on() {
    let test = async {
        let (a, _) = start(me("a", 1));
        let mut stranger = TcpStream::connect(a.local_addr().unwrap()).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stranger, b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let closed = tokio::io::AsyncReadExt::read_to_end(&mut stranger, &mut answer);
        let closed = tokio::time::timeout(Duration::from_secs(5), closed).await.unwrap();
        assert!(closed.is_err() || answer.is_empty());
        assert!(complains(&a, "a frame of 1195725856 octets"));
    };
    LocalSet::new().run_until(test).await;
}

/// Words a second and processor time a word, both ends together: `docs/benchmarks.md`, "Links".
#[tokio::test(flavor = "current_thread")]
#[ignore = "a measurement"]
async fn speed() {
    fn processor() -> f64 {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    }
    let test = async {
        let (a, hears) = start(me("a", 1));
        let other = Process::start("b", 2);
        a.keep(&[member("b", 2, other.address)]);
        let slot = a.slot("b", 2).unwrap();
        until("the link", || a.is_up(slot)).await;
        let word = vec![b'x'; 1_000];
        for burst in [1, 10, 100, 1_000] {
            hears.heard.borrow_mut().clear();
            let (began, used) = (Instant::now(), processor());
            let mut said = 0;
            while began.elapsed() < Duration::from_secs(3) {
                for _ in 0..burst {
                    a.say(slot, &word).unwrap();
                }
                said += burst;
                while hears.heard.borrow().len() < said {
                    hears.heard_some.notified().await;
                }
            }
            let seconds = began.elapsed().as_secs_f64();
            // Each word was said back.
            let words = 2.0 * said as f64;
            let each = (processor() - used) / words * 1e6;
            eprintln!("{burst} at a time: {:.0} words/s, {each:.2} us of processor a word", words / seconds);
        }
    };
    LocalSet::new().run_until(test).await;
}
