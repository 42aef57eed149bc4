//! The lab HSS as a process of its own.

use crate::{DOMAIN, Process, eventually, free_port, http};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// A lab HSS.
#[derive(Debug)]
pub struct Hss {
    /// The process.
    pub process: Process,
    /// Where it takes Diameter connections.
    pub diameter: SocketAddr,
    /// `http://…`
    pub api: String,
}

impl Hss {
    /// Starts one with subscribers `user000001` to `user{generate}`, its configuration in `folder`.
    ///
    /// # Panics
    /// If it does not answer within 10 s.
    pub fn start(generate: u32, folder: &Path) -> Self {
        for _ in 0..5 {
            let [diameter, web] = [(); 2].map(|()| free_port());
            let config = format!(
                "[hss]\ndomain = \"{DOMAIN}\"\ndiameter_listen = \"127.0.0.1:{diameter}\"\n\
                 http_listen = \"127.0.0.1:{web}\"\ngenerate = {generate}\n"
            );
            let file = folder.join("hss.toml");
            std::fs::write(&file, config).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let mut process = Process::start(&["hss", "--config", &file.to_string_lossy()], &[]);
            let api = format!("http://127.0.0.1:{web}");
            let up = eventually(Duration::from_secs(10), || {
                let answers = matches!(http::get(&format!("{api}/healthz")), Ok((200, _)));
                (answers || !process.running()).then_some(answers)
            });
            if up == Some(true) {
                return Self { process, diameter: SocketAddr::from(([127, 0, 0, 1], diameter)), api };
            }
            let output = process.output();
            assert!(output.iter().any(|line| line.contains("in use")), "the HSS does not start: {output:?}");
        }
        panic!("no free ports for an HSS in five tries");
    }

    /// `GET /subscribers/{impi}` of a user of the lab's domain.
    pub fn subscriber(&self, name: &str) -> Value {
        let url = format!("{}/subscribers/{name}@{DOMAIN}", self.api);
        http::get(&url).map_or(Value::Null, |(_, body)| body)
    }

    /// Commands something about a subscriber: `reauthenticate`, `terminate` or `push`; status and answer.
    ///
    /// # Panics
    /// If the HSS does not answer.
    pub fn command(&self, name: &str, what: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}/subscribers/{name}@{DOMAIN}/{what}", self.api);
        http::post(&url, body).unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// Delays every answer from now on.
    pub fn delay(&self, by: Duration) {
        self.faults(&json!({ "delay_ms": by.as_millis() as u64 }));
    }

    /// Sets faults, as `POST /faults` takes them.
    ///
    /// # Panics
    /// If the HSS refuses.
    pub fn faults(&self, faults: &Value) {
        let answer = http::post(&format!("{}/faults", self.api), faults);
        assert!(matches!(answer, Ok((200, _))), "{answer:?}");
    }

    /// How many operations of that name the HSS remembers of a subscriber, of its last few.
    pub fn operations(&self, name: &str, operation: &str) -> usize {
        let subscriber = self.subscriber(name);
        let all = subscriber["last_cx"].as_array().cloned().unwrap_or_default();
        all.iter().filter(|one| one["operation"].as_str().is_some_and(|it| it.starts_with(operation))).count()
    }
}
