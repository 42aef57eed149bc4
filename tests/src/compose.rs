//! The containers of `docker/compose.yaml`, as a project with a name, images and volumes of its own.

use crate::{eventually, have, process};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Seconds that any one command of the engine may take.
const PATIENCE: &str = "60";

/// Containers that go with their owner.
#[derive(Debug)]
pub struct Compose {
    project: String,
    file: PathBuf,
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// Standard output of a command that must end with 0.
    ///
    /// # Panics
    /// If it did not.
    pub fn good(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |octets: Vec<u8>| String::from_utf8_lossy(&octets).into_owned();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// Whether containers can be started here. Where end-to-end tests are required, it is a failure if not; elsewhere, and where
/// `ROLLCALL_DOCKER=none` says that no engine can run, it is said aloud.
pub fn can_compose() -> bool {
    if std::env::var("ROLLCALL_DOCKER").as_deref() == Ok("none") {
        eprintln!("SKIPPED: no Docker engine can run here (ROLLCALL_DOCKER=none)");
        return false;
    }
    if !have("docker") || !have("docker-compose") {
        return false;
    }
    let said = docker(&["info", "--format", "{{.ServerVersion}}"]);
    if said.code != 0 {
        assert!(
            std::env::var("ROLLCALL_E2E").as_deref() != Ok("required"),
            "no Docker engine answers, and end-to-end tests are required here: {}",
            said.err
        );
        eprintln!("SKIPPED: no Docker engine answers");
    }
    said.code == 0
}

/// `docker ...`, bounded in time.
pub fn docker(arguments: &[&str]) -> Said {
    bounded(Command::new("timeout").args([PATIENCE, "docker"]).args(arguments))
}

fn bounded(command: &mut Command) -> Said {
    match command.stdin(Stdio::null()).output() {
        Ok(output) => output.into(),
        Err(error) => panic!("{command:?}: {error}"),
    }
}

impl Compose {
    /// Makes the images of the program under test; nothing runs yet.
    ///
    /// # Panics
    /// If they cannot be made.
    pub fn build() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker");
        let compose = Self {
            project: format!("rollcall-e2e-{}", std::process::id()),
            file: folder.join("compose.yaml"),
        };
        let mut command = Command::new("timeout");
        command.arg("120").arg(folder.join("build.sh"));
        command.env("ROLLCALL_BIN", process::binary()).env("ROLLCALL_TAG", &compose.project);
        bounded(&mut command).good();
        compose
    }

    /// `docker-compose ...` in the project.
    pub fn compose(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new("timeout");
        command.args([PATIENCE, "docker-compose", "-p", &self.project, "-f"]).arg(&self.file).args(arguments);
        // Ports of the host are whichever are free.
        command.env("ROLLCALL_TAG", &self.project).env_remove("COMPOSE_FILE").envs([
            ("ROLLCALL_HTTP_PORTS", "127.0.0.1:"),
            ("ROLLCALL_HSS_PORT", "127.0.0.1:"),
            ("ROLLCALL_TOKEN", "token-of-the-test"),
            ("ROLLCALL_SUBSCRIBERS", "3000"),
        ]);
        bounded(&mut command)
    }

    /// Starts what does not run, with so many nodes; those above are stopped.
    ///
    /// # Panics
    /// If the engine does not.
    pub fn up(&self, nodes: usize) {
        self.compose(&["up", "-d", "--no-build", "--scale", &format!("scscf={nodes}")]).good();
    }

    /// The running containers of a service, in order.
    ///
    /// # Panics
    /// If the engine does not tell.
    pub fn containers(&self, service: &str) -> Vec<Container> {
        let project = format!("label=com.docker.compose.project={}", self.project);
        let service = format!("label=com.docker.compose.service={service}");
        let filters = ["ps", "--filter", &project, "--filter", &service, "--format", "{{.Names}}"];
        let mut names: Vec<String> = docker(&filters).good().lines().map(str::to_owned).collect();
        names.sort();
        names.into_iter().map(Container::named).collect()
    }

    /// Runs `rollcall ...` in a further container, which goes with the others.
    ///
    /// # Panics
    /// If it does not start.
    pub fn run(&self, name: &str, arguments: &[&str]) -> Container {
        let name = format!("{}-{name}", self.project);
        self.compose(&[&["run", "-d", "--name", &name, "rollcall"], arguments].concat()).good();
        Container::named(name)
    }
}

/// A container of the project.
#[derive(Clone, Debug)]
pub struct Container {
    /// By which the engine knows it.
    pub name: String,
    /// Its host name, which is the name of a node.
    pub id: String,
}

impl Container {
    fn named(name: String) -> Self {
        let id = docker(&["inspect", "--format", "{{.Config.Hostname}}", &name]).good().trim().to_owned();
        Self { name, id }
    }

    /// `rollcall ...` inside.
    pub fn inside(&self, arguments: &[&str]) -> Said {
        docker(&[&["exec", &self.name, "rollcall"], arguments].concat())
    }

    /// What a node shows by `rollcall ... --json`.
    ///
    /// # Errors
    /// What the command said, if it failed.
    pub fn view(&self, arguments: &[&str]) -> Result<Value, String> {
        let said = self.inside(&[arguments, &["--json"]].concat());
        if said.code != 0 {
            return Err(said.err);
        }
        serde_json::from_str(&said.out).map_err(|error| format!("{error}: {}", said.out))
    }

    /// Address in the network of the project.
    ///
    /// # Panics
    /// If it has none.
    pub fn address(&self) -> String {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let address = docker(&["inspect", "--format", format, &self.name]).good().trim().to_owned();
        assert!(!address.is_empty(), "{} has no address", self.name);
        address
    }

    /// All that it wrote.
    pub fn log(&self) -> String {
        let said = docker(&["logs", &self.name]);
        said.out + &said.err
    }

    /// Waits until its log has that text.
    pub fn says(&self, text: &str, within: Duration) -> bool {
        eventually(within, || self.log().contains(text).then_some(())).is_some()
    }

    /// Ends it on the spot (SIGKILL).
    ///
    /// # Panics
    /// If the engine does not.
    pub fn kill(&self) {
        docker(&["kill", &self.name]).good();
    }

    /// Starts it again.
    ///
    /// # Panics
    /// If the engine does not.
    pub fn start(&self) {
        docker(&["start", &self.name]).good();
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.compose(&["logs", "--no-color", "--tail", "40"]);
            eprintln!("{}{}", said.out, said.err);
        }
        // What `docker-compose run` made is not part of the composition.
        let project = format!("label=com.docker.compose.project={}", self.project);
        let containers = docker(&["ps", "-aq", "--filter", &project]).out;
        let containers: Vec<&str> = containers.split_whitespace().collect();
        if !containers.is_empty() {
            docker(&[&["rm", "--force", "--volumes"], &containers[..]].concat());
        }
        self.compose(&["down", "--volumes", "--remove-orphans"]);
        docker(&[
            "image",
            "rm",
            &format!("rollcall:{}", self.project),
            &format!("rollcall-redis:{}", self.project),
        ]);
    }
}
