//! A Redis of the test's own, and Sentinels that watch one: real servers on free ports, with files of their own.

mod protocol;

use crate::{Process, eventually, free_port};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// A Redis server that keeps an append-only file. It ends, and its files go, with its owner.
#[derive(Debug)]
pub struct Redis {
    process: Option<Process>,
    /// Where it listens.
    pub address: SocketAddr,
    folder: PathBuf,
    arguments: Vec<String>,
}

impl Redis {
    /// Starts one.
    ///
    /// # Panics
    /// If none answers within 10 s.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts one with further arguments, as they stand on the command line.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn with(arguments: &[&str]) -> Self {
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("rollcall-redis-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut redis = Self {
            process: None,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            folder,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        };
        redis.start_again();
        redis
    }

    /// A replica of this one.
    ///
    /// # Panics
    /// If it has not caught up within 10 s.
    pub fn replica(&self) -> Self {
        let port = self.address.port().to_string();
        let replica = Self::with(&["--replicaof", "127.0.0.1", &port]);
        let linked = eventually(STARTS_WITHIN, || {
            replica.info("replication").contains("master_link_status:up").then_some(())
        });
        assert!(linked.is_some(), "the replica does not catch up: {}", replica.info("replication"));
        replica
    }

    /// As a node's configuration names it.
    pub fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// Ends it at once (SIGKILL); what it wrote to its file stays.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Stops its process where it stands (SIGSTOP): it is connected, and silent.
    pub fn freeze(&self) {
        if let Some(process) = &self.process {
            process.freeze();
        }
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        if let Some(process) = &self.process {
            process.signal(name);
        }
    }

    /// Starts it, on the same port with the same files.
    ///
    /// # Panics
    /// If it does not answer within 10 s.
    pub fn start_again(&mut self) {
        self.kill();
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &self.address.port().to_string(), "--bind", "127.0.0.1"])
            .args(["--dir", &self.folder.display().to_string()])
            .args(["--appendonly", "yes", "--save", "", "--repl-diskless-sync-delay", "0"])
            .args(&self.arguments);
        let process = self.process.insert(Process::run(command));
        let answers = eventually(STARTS_WITHIN, || protocol::ask(self.address, &["PING"]).ok());
        assert_eq!(answers.as_deref(), Some("PONG"), "{:?}", process.output());
    }

    /// Sends a command; its answer as text, the elements of lists one a line.
    ///
    /// # Errors
    /// If the server does not answer within 5 s, or answers with an error.
    pub fn ask(&self, words: &[&str]) -> anyhow::Result<String> {
        protocol::ask(self.address, words)
    }

    /// A section of INFO, or nothing.
    pub fn info(&self, section: &str) -> String {
        self.ask(&["INFO", section]).unwrap_or_default()
    }

    /// Its snapshots fail from now on, and as long as they do it takes no change.
    ///
    /// # Panics
    /// If that cannot be had within 10 s.
    pub fn break_disk(&self) {
        let blocked = std::fs::create_dir_all(self.snapshot());
        blocked.unwrap_or_else(|error| panic!("{}: {error}", self.snapshot().display()));
        self.tell(&["CONFIG", "SET", "save", "3600 1"]);
        self.snapshots("err");
    }

    /// They succeed again.
    ///
    /// # Panics
    /// As [`Self::break_disk`].
    pub fn mend_disk(&self) {
        let _ = std::fs::remove_dir(self.snapshot());
        self.snapshots("ok");
    }

    fn snapshot(&self) -> PathBuf {
        self.folder.join("dump.rdb")
    }

    fn snapshots(&self, result: &str) {
        let wanted = format!("rdb_last_bgsave_status:{result}");
        let came = eventually(STARTS_WITHIN, || {
            let _ = self.ask(&["BGSAVE"]);
            self.info("persistence").contains(&wanted).then_some(())
        });
        assert!(came.is_some(), "{}", self.info("persistence"));
    }

    /// Sends a command that must succeed.
    ///
    /// # Panics
    /// If it does not.
    pub fn tell(&self, words: &[&str]) {
        self.ask(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
    }

    /// Forgets everything, as an operator's slip would.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn flush(&self) {
        self.ask(&["FLUSHALL"]).unwrap_or_else(|error| panic!("FLUSHALL: {error}"));
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Sentinels that watch one primary under the name `rollcall`, and agree by majority.
#[derive(Debug)]
pub struct Sentinels {
    processes: Vec<Process>,
    /// Where they listen.
    pub addresses: Vec<SocketAddr>,
    folder: PathBuf,
}

impl Sentinels {
    /// Starts three that take a primary for dead after `patience` of silence.
    ///
    /// # Panics
    /// If they do not see one another and `replicas` of the primary's within 20 s.
    pub fn watch(primary: &Redis, replicas: usize, patience: Duration) -> Self {
        let folder =
            std::env::temp_dir().join(format!("rollcall-sentinel-{}-{}", std::process::id(), free_port()));
        let (mut processes, mut addresses) = (Vec::new(), Vec::new());
        for number in 0..3 {
            let port = free_port();
            let own = folder.join(number.to_string());
            let file = own.join("sentinel.conf");
            let config = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor rollcall 127.0.0.1 {} 2\n\
                 sentinel down-after-milliseconds rollcall {}\nsentinel failover-timeout rollcall 4000\n",
                own.display(),
                primary.address.port(),
                patience.as_millis()
            );
            let written = std::fs::create_dir_all(&own).and_then(|()| std::fs::write(&file, config));
            written.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let mut command = Command::new("redis-sentinel");
            command.arg(&file);
            processes.push(Process::run(command));
            addresses.push(SocketAddr::from(([127, 0, 0, 1], port)));
        }
        let sentinels = Self { processes, addresses, folder };
        let agreed = eventually(Duration::from_secs(20), || {
            let views = sentinels.addresses.iter().map(|address| {
                protocol::ask(*address, &["SENTINEL", "MASTER", "rollcall"]).unwrap_or_default()
            });
            let seen = |view: &str, name: &str| {
                let mut lines = view.lines().skip_while(|line| *line != name).skip(1);
                lines.next().and_then(|count| count.parse::<usize>().ok()).unwrap_or(0)
            };
            let all: Vec<String> = views.collect();
            let complete = |view: &String| {
                seen(view, "num-other-sentinels") == 2 && seen(view, "num-slaves") >= replicas
            };
            all.iter().all(complete).then_some(())
        });
        assert!(agreed.is_some(), "the Sentinels do not find one another: {:?}", sentinels.processes);
        sentinels
    }

    /// As a node's configuration names what they watch.
    pub fn url(&self) -> String {
        let all: Vec<String> = self.addresses.iter().map(SocketAddr::to_string).collect();
        format!("redis+sentinel://{}/rollcall", all.join(","))
    }

    /// The primary as they see it now.
    pub fn primary(&self) -> Option<SocketAddr> {
        let answer =
            protocol::ask(*self.addresses.first()?, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "rollcall"]);
        let answer = answer.ok()?;
        let (host, port) = answer.split_once('\n')?;
        format!("{host}:{port}").parse().ok()
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        self.processes.iter_mut().for_each(Process::kill);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
