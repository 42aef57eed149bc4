//! One node of a cluster: its process, its configuration, and the wires it reaches others through.

use super::{Settings, said};
use crate::{Cut, DOMAIN, Process, Wire, free_port, http};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One node.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub id: String,
    /// Where it takes SIP, over UDP and TCP.
    pub sip: SocketAddr,
    /// `http://…`
    pub api: String,
    link: SocketAddr,
    to_store: Vec<Wire>,
    to_link: Option<Wire>,
    file: PathBuf,
    process: Option<Process>,
    frozen: bool,
    /// Cut off, or told to end.
    away: bool,
}

impl Node {
    pub(super) fn new(id: &str, sip: SocketAddr, settings: &Settings) -> Self {
        let link = SocketAddr::new(sip.ip(), free_port());
        let to_store = |url: &String| {
            let rest = url.strip_prefix("redis://").and_then(|rest| rest.strip_suffix("/0"));
            let address = rest.and_then(|rest| rest.parse().ok());
            Wire::to(address.unwrap_or_else(|| panic!("no wire to {url}")))
        };
        Self {
            id: id.to_owned(),
            sip,
            api: format!("http://{}:{}", sip.ip(), free_port()),
            link,
            to_store: if settings.wires { settings.store.iter().map(to_store).collect() } else { Vec::new() },
            to_link: settings.wires.then(|| Wire::to(link)),
            file: PathBuf::new(),
            process: None,
            frozen: false,
            away: false,
        }
    }

    /// Writes its configuration.
    pub(super) fn configure(&mut self, folder: &Path, hss: SocketAddr, settings: &Settings) {
        let Self { id, sip, link, .. } = self;
        let text = |value: &str| format!("\"{value}\"");
        let urls: Vec<String> = if self.to_store.is_empty() {
            settings.store.iter().map(|url| text(url)).collect()
        } else {
            self.to_store.iter().map(|wire| text(&format!("redis://{}/0", wire.address))).collect()
        };
        let advertise = self.to_link.as_ref().map_or(*link, |wire| wire.address);
        let mut sections: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut set = |section, line: String| sections.entry(section).or_default().push(line);
        set("node", format!("id = \"{id}\""));
        set("node", format!("domain = \"{DOMAIN}\""));
        set("node", format!("name = \"sip:scscf.{DOMAIN}:{}\"", sip.port()));
        set("sip", format!("listen = [\"udp:{sip}\", \"tcp:{sip}\"]"));
        set("http", format!("listen = \"{}\"", self.api.trim_start_matches("http://")));
        set("store", "kind = \"redis\"".into());
        set("store", format!("urls = [{}]", urls.join(", ")));
        set("cluster", format!("listen = \"{link}\""));
        set("cluster", format!("advertise = \"{advertise}\""));
        set("cx", format!("peers = [\"tcp:{hss}\"]"));
        set("routes", format!("\"{DOMAIN}\" = [\"udp:{sip}\"]"));
        set("routes", format!("\"*.{DOMAIN}\" = [\"udp:{sip}\"]"));
        set("reauthentication", "min_period = 1".into());
        for (section, line) in &settings.keys {
            let key = |line: &str| line.split('=').next().unwrap_or("").trim().to_owned();
            let lines = sections.entry(section).or_default();
            lines.retain(|known| key(known) != key(line));
            lines.push(line.clone());
        }
        let mut config = String::new();
        for (section, lines) in sections {
            let _ = write!(config, "[{section}]\n{}\n", lines.join("\n"));
        }
        self.file = folder.join(format!("{}.toml", self.id));
        std::fs::write(&self.file, config).unwrap_or_else(|error| panic!("{}: {error}", self.file.display()));
    }

    pub(super) fn start(&mut self) {
        self.process = Some(Process::start(&["node", "--config", &self.file.to_string_lossy()], &[]));
        (self.frozen, self.away) = (false, false);
        self.to_link.iter().for_each(Wire::open);
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Where a process is gone nobody listens.
            self.to_link.iter().for_each(Wire::close);
            process.kill();
        }
    }

    pub(super) fn freeze(&mut self) {
        if let Some(process) = &self.process {
            process.freeze();
        }
        self.frozen = true;
    }

    pub(super) fn thaw(&mut self) {
        self.signal("CONT");
        self.frozen = false;
    }

    pub(super) fn begin_to_terminate(&mut self) {
        self.signal("TERM");
        self.away = true;
    }

    pub(super) fn ends(&mut self, within: Duration) -> Option<i32> {
        self.process.as_mut().and_then(|process| process.ends(within))
    }

    pub(super) fn is_away(&mut self, away: bool) {
        self.away = away;
    }

    pub(super) fn terminate(&mut self, within: Duration) -> Option<i32> {
        self.process.take().and_then(|mut process| process.terminate(within))
    }

    pub(super) fn signal(&self, name: &str) {
        if let Some(process) = &self.process {
            process.signal(name);
        }
    }

    pub(super) fn has_ended(&mut self) -> bool {
        self.process.as_mut().is_none_or(|process| !process.running())
    }

    pub(super) fn lives(&self) -> bool {
        self.process.is_some() && !self.frozen && !self.away
    }

    /// Lines it has written so far.
    pub fn output(&self) -> Vec<String> {
        said(self.process.as_ref())
    }

    /// Processor time used so far, in seconds, and resident memory, in octets.
    pub fn usage(&self) -> (f64, u64) {
        self.process.as_ref().map(Process::usage).unwrap_or_default()
    }

    /// Whether `/readyz` says so.
    pub fn is_ready(&self) -> bool {
        matches!(http::get(&format!("{}/readyz", self.api)), Ok((200, _)))
    }

    /// The owner of each shard in order, as this node says; empty where there is none, and no entries if it does not answer.
    pub fn owners(&self) -> Vec<String> {
        let Ok((200, view)) = http::get(&format!("{}/v1/cluster", self.api)) else { return Vec::new() };
        let shards = view["shards"].as_array().cloned().unwrap_or_default();
        let mut found: Vec<(u64, String)> = shards
            .iter()
            .map(|shard| {
                let owner = shard["owner"].as_str().unwrap_or("").to_owned();
                (shard["id"].as_u64().unwrap_or(u64::MAX), owner)
            })
            .collect();
        found.sort();
        found.into_iter().map(|(_, owner)| owner).collect()
    }

    /// Cuts its way to the store.
    ///
    /// # Panics
    /// If the cluster has no wires.
    pub fn cut_from_store(&self, how: Cut) {
        assert!(!self.to_store.is_empty(), "this cluster has no wires");
        self.to_store.iter().for_each(|wire| wire.cut(how));
    }

    /// Cuts what other nodes send to it, and what `others` get from it.
    ///
    /// # Panics
    /// If the cluster has no wires.
    pub fn cut_links(&self, others: &[&Self], how: Cut) {
        let wire = |node: &Self| node.to_link.as_ref().map(|wire| wire.address);
        assert!(wire(self).is_some(), "this cluster has no wires");
        if let Some(own) = &self.to_link {
            own.cut(how);
        }
        for other in others.iter().filter_map(|other| other.to_link.as_ref()) {
            other.cut_for(&self.id, how);
        }
    }

    /// Mends all its wires.
    pub fn mend(&self) {
        self.to_store.iter().chain(&self.to_link).for_each(Wire::mend);
    }

    /// The value of a metric without labels; 0 if there is none.
    pub fn metric(&self, name: &str) -> f64 {
        let text = http::get(&format!("{}/metrics", self.api)).map(|(_, body)| body);
        let text = text.ok().and_then(|body| body.as_str().map(str::to_owned)).unwrap_or_default();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or(0.0)
    }
}
