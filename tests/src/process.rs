//! Processes under test.

use crate::{eventually, http};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The binary under test: `ROLLCALL_BIN`, or built now.
///
/// # Panics
/// If it cannot be built.
pub fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY
        .get_or_init(|| {
            if let Some(path) = std::env::var_os("ROLLCALL_BIN") {
                return PathBuf::from(path);
            }
            let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            let status = Command::new(env!("CARGO"))
                .args(["build", "--quiet", "--release", "--bin", "rollcall"])
                .current_dir(&root)
                .status();
            assert!(status.is_ok_and(|status| status.success()), "the binary under test does not build");
            let target =
                std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
            target.join("release/rollcall")
        })
        .clone()
}

/// A port of 127.0.0.1 that was free for UDP and TCP a moment ago.
///
/// # Panics
/// If none is found.
pub fn free_port() -> u16 {
    for _ in 0..100 {
        let Ok(tcp) = TcpListener::bind("127.0.0.1:0") else { continue };
        let Ok(address) = tcp.local_addr() else { continue };
        if UdpSocket::bind(address).is_ok() {
            return address.port();
        }
    }
    panic!("no free port on 127.0.0.1");
}

/// A child process that ends with its owner, and whose output is kept.
#[derive(Debug)]
pub struct Process {
    child: Child,
    output: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts the binary under test.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(binary());
        command.args(arguments).envs(environment.iter().copied());
        Self::run(command)
    }

    /// Starts any program.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let program = command.get_program().to_owned();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let output = Arc::new(Mutex::new(Vec::new()));
        let mut readers = Vec::new();
        for stream in [
            child.stdout.take().map(|stream| Box::new(stream) as Box<dyn std::io::Read + Send>),
            child.stderr.take().map(|stream| Box::new(stream) as Box<dyn std::io::Read + Send>),
        ]
        .into_iter()
        .flatten()
        {
            let output = Arc::clone(&output);
            readers.push(std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if let Ok(mut output) = output.lock() {
                        output.push(line);
                    }
                }
            }));
        }
        Self { child, output, readers }
    }

    /// Process identifier.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lines written so far, both streams.
    pub fn output(&self) -> Vec<String> {
        self.output.lock().map(|output| output.clone()).unwrap_or_default()
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it ends by itself, and its output was read to the end; the exit code.
    pub fn ends(&mut self, within: Duration) -> Option<i32> {
        let status = eventually(within, || self.child.try_wait().ok().flatten())?;
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        Some(status.code().unwrap_or(-1))
    }

    /// Asks it to end (SIGTERM) and waits; the exit code, or `None` if it had to be killed.
    pub fn terminate(&mut self, within: Duration) -> Option<i32> {
        // Who has ended left its number to others.
        if self.running() {
            self.signal("TERM");
        }
        let code = self.ends(within);
        if code.is_none() {
            self.kill();
        }
        code
    }

    /// Ends it at once (SIGKILL), and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let _ = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
    }

    /// Stops it where it stands (SIGSTOP), and waits until it does: the signal reaches one thread, which has to run to stop the
    /// others.
    ///
    /// # Panics
    /// If it still moves after 10 s.
    pub fn freeze(&self) {
        self.signal("STOP");
        let stands = eventually(Duration::from_secs(10), || self.stands_still().then_some(()));
        assert!(stands.is_some(), "process {} does not stop", self.child.id());
    }

    fn stands_still(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten();
        threads.flatten().all(|thread| {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
        })
    }

    /// Processor time used so far, in seconds, and resident memory, in octets.
    pub fn usage(&self) -> (f64, u64) {
        let pid = self.child.id();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        let pages = statm.split_whitespace().nth(1).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        ((ticks(11) + ticks(12)) as f64 / 100.0, pages * 4096)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.running() {
            self.terminate(Duration::from_secs(3));
        }
        if std::thread::panicking() {
            for line in self.output() {
                eprintln!("[{}] {line}", self.child.id());
            }
        }
    }
}

/// `rollcall lab`: one node and its HSS.
#[derive(Debug)]
pub struct Lab {
    /// The process.
    pub process: Process,
    /// SIP, UDP and TCP.
    pub sip: SocketAddr,
    /// `http://…` of the node.
    pub api: String,
    /// `http://…` of the HSS.
    pub hss: String,
    /// How long it took to become ready.
    pub ready_after: Duration,
    ports: [u16; 4],
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Lab {
    /// Starts a lab with further arguments and environment, and waits until it is ready.
    ///
    /// # Panics
    /// If it is not ready within 20 s.
    pub fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        for _ in 0..5 {
            if let Some(lab) = Self::try_start(arguments, environment) {
                return lab;
            }
        }
        panic!("no free ports for a lab in five tries");
    }

    /// `None` if one of its ports was taken between the look and the start.
    fn try_start(arguments: &[&str], environment: &[(&str, &str)]) -> Option<Self> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let environment: Vec<_> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self::start_at([(); 4].map(|()| free_port()), owned(arguments), environment)
    }

    /// Ends it at once (SIGKILL) and starts it again at the same ports, with the same arguments.
    ///
    /// # Panics
    /// If it is not ready within 20 s.
    pub fn dies_and_starts_again(&mut self) {
        self.process.kill();
        let again = Self::start_at(self.ports, self.arguments.clone(), self.environment.clone());
        *self = again.unwrap_or_else(|| panic!("somebody took the ports of the lab"));
    }

    fn start_at(ports: [u16; 4], arguments: Vec<String>, environment: Vec<(String, String)>) -> Option<Self> {
        let begun = Instant::now();
        let texts: Vec<String> = ports.iter().map(u16::to_string).collect();
        let flags = ["--sip-port", "--http-port", "--hss-http-port", "--diameter-port"];
        let mut all = vec!["lab"];
        all.extend(flags.iter().zip(&texts).flat_map(|(flag, port)| [*flag, port.as_str()]));
        all.extend(arguments.iter().map(String::as_str));
        let variables: Vec<_> =
            environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut process = Process::start(&all, &variables);
        let api = format!("http://127.0.0.1:{}", ports[1]);
        let ready = eventually(Duration::from_secs(20), || {
            if !process.running() {
                return Some(false);
            }
            matches!(http::get(&format!("{api}/readyz")), Ok((200, _))).then_some(true)
        });
        if ready == Some(false) {
            let output = process.output();
            assert!(output.iter().any(|line| line.contains("in use")), "the lab ended: {output:?}");
            return None;
        }
        assert!(ready.is_some(), "the lab is not ready: {:?}", process.output());
        Some(Self {
            process,
            sip: SocketAddr::from(([127, 0, 0, 1], ports[0])),
            hss: format!("http://127.0.0.1:{}", ports[2]),
            ready_after: begun.elapsed(),
            api,
            ports,
            arguments,
            environment,
        })
    }

    /// `GET /v1/users/{impi}` of a user of the lab's domain.
    pub fn user(&self, name: &str) -> (u16, Value) {
        http::get(&format!("{}/v1/users/{name}@{}", self.api, crate::DOMAIN)).unwrap_or((0, Value::Null))
    }

    /// `GET /subscribers/{impi}` of the HSS.
    pub fn subscriber(&self, name: &str) -> Value {
        http::get(&format!("{}/subscribers/{name}@{}", self.hss, crate::DOMAIN))
            .map_or(Value::Null, |(_, body)| body)
    }

    /// The value of a metric without labels.
    ///
    /// # Panics
    /// If there is no such metric.
    pub fn metric(&self, name: &str) -> u64 {
        let text = http::get(&format!("{}/metrics", self.api)).map(|(_, body)| body);
        let text = text.ok().and_then(|body| body.as_str().map(str::to_owned)).unwrap_or_default();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.and_then(|value| value.parse::<f64>().ok());
        value.unwrap_or_else(|| panic!("no metric {name} in {text}")) as u64
    }
}
