//! SIPp, a SIP client that nobody here wrote.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const STATISTICS: &str = "statistics.csv";
const ERRORS: &str = "errors.log";
/// SIPp ends by itself when its time is over; it is killed when it does not.
const GRACE: Duration = Duration::from_secs(5);

/// One run of SIPp.
#[derive(Debug)]
pub struct Sipp {
    scenario: PathBuf,
    target: SocketAddr,
    arguments: Vec<String>,
    lines: Vec<String>,
}

/// What SIPp counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Successful calls.
    pub successful: u64,
    /// Failed calls.
    pub failed: u64,
    /// Retransmissions.
    pub retransmissions: u64,
}

impl Sipp {
    /// Runs `scenario` of `tests/sipp` against `target`.
    pub fn new(scenario: &str, target: SocketAddr) -> Self {
        let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("sipp").join(scenario);
        Self { scenario, target, arguments: Vec::new(), lines: Vec::new() }
    }

    /// Further arguments.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// One line of the injection file a call; fields separated by semicolons.
    #[must_use]
    pub fn lines(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.lines.extend(lines);
        self
    }

    /// Runs to the end, one call a line, at `rate` calls a second.
    ///
    /// # Errors
    /// If SIPp cannot be run, counts nothing, or a call failed.
    pub fn run(self, rate: u32, within: Duration) -> anyhow::Result<Counted> {
        self.start(rate, within)?.finish()
    }

    /// Starts, one call a line, at `rate` calls a second.
    ///
    /// # Errors
    /// If SIPp cannot be run.
    pub fn start(self, rate: u32, within: Duration) -> anyhow::Result<Running> {
        let folder =
            std::env::temp_dir().join(format!("rollcall-sipp-{}-{}", std::process::id(), crate::free_port()));
        std::fs::create_dir_all(&folder)?;
        let injection = folder.join("users.csv");
        std::fs::write(&injection, format!("SEQUENTIAL\n{}\n", self.lines.join("\n")))?;
        let child = Command::new("sipp")
            .arg(self.target.to_string())
            .args(["-sf", &self.scenario.display().to_string(), "-inf", &injection.display().to_string()])
            .args([
                "-i",
                "127.0.0.1",
                "-p",
                &crate::free_port().to_string(),
                "-m",
                &self.lines.len().to_string(),
                "-r",
                &rate.to_string(),
            ])
            .args([
                "-trace_stat",
                "-stf",
                &folder.join(STATISTICS).display().to_string(),
                "-fd",
                "1",
                "-nostdin",
            ])
            .args(["-trace_err", "-error_file", &folder.join(ERRORS).display().to_string()])
            .args(["-timeout", &format!("{}s", within.as_secs()), "-timeout_error"])
            .args(&self.arguments)
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Running { child, folder, until: Instant::now() + within + GRACE })
    }
}

/// A run of SIPp that has not been waited for; ends with its owner.
#[derive(Debug)]
pub struct Running {
    child: Child,
    folder: PathBuf,
    until: Instant,
}

impl Running {
    /// Waits for the end.
    ///
    /// # Errors
    /// If SIPp counts nothing, a call failed, or it does not end.
    pub fn finish(mut self) -> anyhow::Result<Counted> {
        let left = self.until.saturating_duration_since(Instant::now());
        let ended = crate::eventually(left, || self.child.try_wait().transpose());
        let Some(status) = ended.transpose()? else { anyhow::bail!("sipp does not end") };
        let text = std::fs::read_to_string(self.folder.join(STATISTICS))?;
        let mut rows = text.lines().map(|line| line.split(';').collect::<Vec<_>>());
        let header = rows.next().unwrap_or_default();
        let last = rows.next_back().unwrap_or_default();
        let count = |name: &str| {
            let at = header.iter().position(|column| *column == name)?;
            last.get(at)?.parse::<u64>().ok()
        };
        let counted = Counted {
            successful: count("SuccessfulCall(C)").unwrap_or(0),
            failed: count("FailedCall(C)").unwrap_or(u64::MAX),
            retransmissions: count("Retransmissions(C)").unwrap_or(0),
        };
        if counted.failed > 0 || !status.success() {
            let errors = std::fs::read_to_string(self.folder.join(ERRORS)).unwrap_or_default();
            let errors: String = errors.chars().take(4000).collect();
            anyhow::bail!("sipp: {:?}, {counted:?}\n{errors}", status.code());
        }
        Ok(counted)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}
