//! Redis for a test: on a free port of the loopback, in a directory of its own, ended with the test.

use redis::{FromRedisValue, cmd};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// One redis-server, or one redis-sentinel.
pub(crate) struct Server {
    program: &'static str,
    arguments: Vec<String>,
    pub(crate) port: u16,
    directory: PathBuf,
    child: Child,
}

const WITHIN: Duration = Duration::from_secs(20);

impl Server {
    /// Starts one with an append-only file; `None`, said aloud, where redis-server is not installed.
    ///
    /// # Panics
    /// If it does not start, or is missing where `ROLLCALL_E2E=required`.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        if !is_there("redis-server") {
            return None;
        }
        let directory = directory();
        let arguments: Vec<String> = ["--appendonly", "yes", "--save", "", "--repl-diskless-sync-delay", "0"]
            .iter()
            .chain(arguments)
            .map(ToString::to_string)
            .collect();
        let port = free_port();
        let child = spawn("redis-server", &arguments, port, &directory);
        let server = Self { program: "redis-server", arguments, port, directory, child };
        server.wait_until_it_answers();
        Some(server)
    }

    /// Starts a replica of `primary`.
    pub(crate) fn replica_of(primary: &Self) -> Option<Self> {
        Self::start(&["--replicaof", &format!("127.0.0.1 {}", primary.port)])
    }

    /// Starts a Sentinel that watches `primary` as `rollcall` and decides alone; `None`, said aloud, where it is not installed.
    pub(crate) fn sentinel(primary: &Self) -> Option<Self> {
        if !is_there("redis-sentinel") {
            return None;
        }
        let (directory, port) = (directory(), free_port());
        let file = directory.join("sentinel.conf");
        let lines = [
            format!("sentinel monitor rollcall 127.0.0.1 {} 1", primary.port),
            "sentinel down-after-milliseconds rollcall 1000".into(),
            "sentinel failover-timeout rollcall 3000".into(),
        ];
        std::fs::write(&file, lines.join("\n")).unwrap();
        let program = "redis-sentinel";
        let child = Command::new(program)
            .arg(&file)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--logfile", "log", "--dir"])
            .arg(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { program, arguments: Vec::new(), port, directory, child };
        server.wait_until_it_answers();
        Some(server)
    }

    /// Waits until a Sentinel knows so many replicas.
    pub(crate) async fn wait_until_it_knows(&self, replicas: usize) {
        let until = Instant::now() + WITHIN;
        loop {
            let known: Vec<redis::Value> = self.ask_for(&["SENTINEL", "REPLICAS", "rollcall"]).await;
            if known.len() >= replicas {
                return;
            }
            assert!(Instant::now() < until, "the Sentinel knows {} replicas", known.len());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Its URL, with its password if it has one.
    pub(crate) fn url(&self) -> String {
        let password = self.arguments.iter().skip_while(|argument| *argument != "--requirepass").nth(1);
        let user = password.map_or_else(String::new, |password| format!(":{password}@"));
        format!("redis://{user}127.0.0.1:{}", self.port)
    }

    /// Its URL without password.
    pub(crate) fn plain_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again where it was.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(self.program, &self.arguments, self.port, &self.directory);
        self.wait_until_it_answers();
    }

    /// Stops it and lets it go on, with STOP and CONT.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Leaves it nowhere to write its data.
    pub(crate) fn break_directory(&self) {
        std::fs::remove_dir_all(&self.directory).unwrap();
    }

    /// Sends it a command and panics if it is refused.
    pub(crate) async fn ask(&self, words: &[&str]) -> redis::Value {
        self.ask_for(words).await
    }

    /// As [`Self::ask`], for an answer of some type.
    pub(crate) async fn ask_for<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_ask(words).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// As [`Self::ask`], and does not mind a refusal.
    pub(crate) async fn try_ask<T: FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut question = cmd(words[0]);
        question.arg(&words[1..]);
        question.query_async(&mut connection).await
    }

    /// Waits until this many replicas confirm what it writes: in the second after they joined they say nothing now and then.
    pub(crate) async fn wait_for_replicas(&self, count: i64) {
        let until = Instant::now() + WITHIN;
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut confirmed = 0;
        while confirmed < 5 {
            cmd("SET").arg("pulse").arg("").exec_async(&mut connection).await.unwrap();
            let wait: i64 = cmd("WAIT").arg(count).arg(100).query_async(&mut connection).await.unwrap();
            confirmed = if wait >= count { confirmed + 1 } else { 0 };
            assert!(Instant::now() < until, "{wait} of {count} replicas follow");
        }
    }

    fn wait_until_it_answers(&self) {
        let until = Instant::now() + WITHIN;
        loop {
            let client = redis::Client::open(self.url()).unwrap();
            let answer = client.get_connection().and_then(|mut connection| cmd("PING").exec(&mut connection));
            let Err(error) = answer else { return };
            let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            assert!(Instant::now() < until, "{} does not answer: {error}\n{log}", self.program);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            println!("{} at {}:\n{log}", self.program, self.port);
        }
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Whether a program is installed.
fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok() {
        return true;
    }
    assert!(std::env::var("ROLLCALL_E2E").as_deref() != Ok("required"), "{program} is not installed");
    println!("SKIPPED: {program} is not installed");
    false
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

pub(crate) fn directory() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("rollcall-redis-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    // What is tested here is the process that ends, not the disk that is slow.
    let memory = PathBuf::from("/dev/shm");
    let directory = if memory.is_dir() { memory } else { std::env::temp_dir() }.join(name);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

fn spawn(program: &str, arguments: &[String], port: u16, directory: &PathBuf) -> Child {
    Command::new(program)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"])
        .arg(directory)
        .args(["--logfile", "log", "--daemonize", "no"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
