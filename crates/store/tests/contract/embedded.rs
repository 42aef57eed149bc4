//! The embedded kind through the death of its process.

use crate::server::directory;
use scscf::Impi;
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use store::{Claim, Embedded, Error, Member, ShardId, Store, Write, contract};

/// Directories that go when the test ends.
#[derive(Default)]
pub(crate) struct Directories(RefCell<Vec<PathBuf>>);

impl Directories {
    pub(crate) fn fresh(&self) -> PathBuf {
        let directory = directory();
        self.0.borrow_mut().push(directory.clone());
        directory
    }

    /// One on a disk, where an fsync costs what it costs.
    pub(crate) fn on_disk(&self) -> PathBuf {
        let fresh = self.fresh();
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(fresh.file_name().unwrap());
        self.0.borrow_mut().push(directory.clone());
        directory
    }
}

impl Drop for Directories {
    fn drop(&mut self) {
        for directory in self.0.borrow().iter() {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

const USERS: usize = 8;
const WHERE: &str = "ROLLCALL_STORE_TEST_DIRECTORY";

fn name(number: usize) -> String {
    format!("user{number}@a")
}

async fn own(store: &impl Store, incarnation: u64, name: &str) -> store::Fence {
    let me =
        Member { node: "n1".into(), incarnation, link: "".into(), sip: "".into(), draining: false, users: 0 };
    store.leases().beat(0, &me, 60_000, None).wait().await.unwrap();
    let claim = Claim::new(ShardId::of(name));
    store.leases().take(0, &me, &[claim]).wait().await.unwrap().remove(0).unwrap()
}

async fn version(store: &impl Store, name: &str) -> u64 {
    let loaded = store.load(ShardId::of(name), &Impi::new(name).unwrap()).wait().await.unwrap();
    loaded.map_or(0, |loaded| loaded.version)
}

#[tokio::test]
#[ignore = "the process that another test kills"]
async fn writes_until_it_is_killed() {
    let Some(directory) = std::env::var_os(WHERE) else { return };
    let store = Embedded::open(Path::new(&directory)).unwrap();
    let mut fences = Vec::new();
    let mut versions = Vec::new();
    for number in 0..USERS {
        fences.push(own(&store, 1, &name(number)).await);
        versions.push(version(&store, &name(number)).await);
    }
    loop {
        let mut asked = Vec::new();
        for number in 0..USERS {
            let name = name(number);
            let user = contract::user(&name, &[&format!("sip:{name}"), "sip:shared@a"], 5_000);
            let write = Write { user: &user, version: versions[number] + 1, write_id: 1 };
            asked.push(store.save(ShardId::of(&name), &fences[number], write));
        }
        for (number, asked) in asked.into_iter().enumerate() {
            asked.wait().await.unwrap();
            versions[number] += 1;
            println!("\nacknowledged {number} {}", versions[number]);
        }
        std::io::stdout().flush().unwrap();
    }
}

fn child(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "embedded::writes_until_it_is_killed", "--ignored", "--nocapture"])
        .env(WHERE, directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_outlives_a_killed_process() {
    let directories = Directories::default();
    let directory = directories.fresh();
    let mut acknowledged = [0; USERS];
    for round in 0..3 {
        let mut child = child(&directory);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut told = 0;
        for line in lines {
            let Some(line) = line.strip_prefix("acknowledged ") else { continue };
            let (number, version) = line.split_once(' ').unwrap();
            acknowledged[number.parse::<usize>().unwrap()] = version.parse().unwrap();
            told += 1;
            if told == 40 {
                let busy = Embedded::open(&directory).map(|_| ());
                assert!(
                    matches!(&busy, Err(Error::Settings(why)) if why.contains("another process")),
                    "{busy:?}"
                );
            }
            if told == 100 + 37 * round {
                // What it still says is read to the end: it was acknowledged before the kill.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(told >= 100, "the child said {told} lines");
        let store = Embedded::open(&directory).unwrap();
        for (number, acknowledged) in acknowledged.iter().enumerate() {
            let version = version(&store, &name(number)).await;
            assert!(version >= *acknowledged, "{acknowledged} acknowledged, {version} kept");
            assert!(version <= acknowledged + 1, "{acknowledged} acknowledged, {version} kept");
        }
        let shared = scscf::Impu::parse("sip:shared@a").unwrap();
        assert_eq!(store.holders(&shared).wait().await.unwrap().len(), USERS);
    }
}

/// So much a file may grow to in the process below, octets.
const ROOM: u64 = 6 << 20;

#[tokio::test]
#[ignore = "the process for which another test makes the disk small"]
async fn writes_until_the_disk_is_full_and_after() {
    let Some(directory) = std::env::var_os(WHERE) else { return };
    let store = Embedded::open(Path::new(&directory)).unwrap();
    let me = Member {
        node: "n1".into(),
        incarnation: 1,
        link: "".into(),
        sip: "".into(),
        draining: false,
        users: 0,
    };
    store.leases().beat(0, &me, 60_000, None).wait().await.unwrap();
    let claims: Vec<Claim> = ShardId::all().map(Claim::new).collect();
    let fences = store.leases().take(0, &me, &claims).wait().await.unwrap();
    let save = async |first: usize| {
        let names: Vec<String> = (first..first + 200).map(name).collect();
        let mut asked = Vec::new();
        for name in &names {
            let (user, shard) = (contract::user(name, &[&format!("sip:{name}")], 5_000), ShardId::of(name));
            let fence = fences[usize::from(shard.number())].as_ref().unwrap();
            asked.push(store.save(shard, fence, Write { user: &user, version: 1, write_id: 1 }));
        }
        let mut outcome = Ok(());
        for asked in asked {
            outcome = outcome.and(asked.wait().await);
        }
        outcome
    };
    let mut users = 0;
    for _ in 0..3 {
        let refused = loop {
            match save(users).await {
                Ok(()) => users += 200,
                Err(refused) => break refused,
            }
            assert!(users < 100_000, "the disk does not fill");
        };
        assert!(matches!(refused, Error::Unavailable(_)), "{refused}");
        for number in 0..users {
            assert_eq!(version(&store, &name(number)).await, 1, "what is there can be read");
        }
    }
    assert!(users >= 200, "{users} users");
    let process = std::process::id().to_string();
    let lifted = Command::new("prlimit").args(["--pid", &process, "--fsize=unlimited:"]).status();
    assert!(lifted.unwrap().success());
    assert_eq!(save(users).await, Ok(()), "there is room again");
    assert_eq!(store.ready().wait().await, Ok(()));
    for number in [0, users - 1, users, users + 199] {
        assert_eq!(version(&store, &name(number)).await, 1);
    }
}

#[tokio::test]
async fn a_disk_that_was_full_is_used_again() {
    let directories = Directories::default();
    let directory = directories.fresh();
    // Root writes everywhere: a limit of file size stands for a full disk.
    let limited = format!("trap '' XFSZ; ulimit -S -f {}; exec \"$0\" \"$@\"", ROOM / 512);
    let run = Command::new("sh")
        .args(["-c", &limited])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "embedded::writes_until_the_disk_is_full_and_after", "--ignored", "--nocapture"])
        .env(WHERE, &directory)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
async fn a_file_that_is_none_is_named() {
    let directories = Directories::default();
    let directory = directories.fresh();
    std::fs::write(directory.join("rollcall.redb"), "not a file of this kind, though a file it is").unwrap();
    let Err(Error::Settings(why)) = Embedded::open(&directory).map(|_| ()) else { panic!("it was opened") };
    assert!(why.contains("rollcall.redb"), "{why}");
    let Err(Error::Settings(why)) = Embedded::open(&directory.join("rollcall.redb")).map(|_| ()) else {
        panic!("it was opened")
    };
    assert!(why.contains("rollcall.redb"), "{why}");
}

#[tokio::test]
async fn the_secret_and_users_outlive_the_process_and_owners_do_not() {
    let directories = Directories::default();
    let directory = directories.fresh();
    let user = contract::user("a@a", &["sip:a@a"], 5_000);
    let write = Write { user: &user, version: 1, write_id: 1 };
    let first = Embedded::open(&directory).unwrap();
    let old = own(&first, 1, "a@a").await;
    first.leases().secret([3; 32]).wait().await.unwrap();
    let asked = first.save(ShardId::of("a@a"), &old, write);
    drop(first);
    assert_eq!(asked.wait().await, Ok(()), "what was asked before the end is done");
    let second = Embedded::open(&directory).unwrap();
    assert_eq!(second.leases().secret([4; 32]).wait().await, Ok([3; 32]));
    assert_eq!(version(&second, "a@a").await, 1);
    let later = Write { version: 2, ..write };
    assert_eq!(second.save(ShardId::of("a@a"), &old, later).wait().await, Err(Error::Fenced));
    let new = own(&second, 2, "a@a").await;
    assert_eq!(second.save(ShardId::of("a@a"), &new, later).wait().await, Ok(()));
}
