//! An HSS and a node as processes of their own, each with a configuration file.

use crate::{DOMAIN, Process, eventually, free_port, http};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A node and its HSS.
#[derive(Debug)]
pub struct Network {
    /// The node.
    pub node: Process,
    /// The HSS.
    pub hss: Process,
    /// SIP of the node.
    pub sip: SocketAddr,
    /// `http://…` of the node.
    pub api: String,
    folder: PathBuf,
}

impl Network {
    /// Starts both, with subscribers `user000001` to `user{generate}`, and waits until the node serves.
    ///
    /// # Panics
    /// If they do not within 20 s.
    pub fn start(generate: u32) -> Self {
        for _ in 0..5 {
            if let Some(network) = Self::try_start(generate) {
                return network;
            }
        }
        panic!("no free ports for a node and an HSS in five tries");
    }

    /// `None` if one of its ports was taken between the look and the start.
    fn try_start(generate: u32) -> Option<Self> {
        let [sip, api, diameter, web] = [(); 4].map(|()| free_port());
        let folder = std::env::temp_dir().join(format!("rollcall-network-{}-{sip}", std::process::id()));
        let start = |name: &str, config: String| {
            let file = folder.join(format!("{name}.toml"));
            let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, config));
            written.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            Process::start(&[name, "--config", &file.to_string_lossy()], &[])
        };
        let hss = start(
            "hss",
            format!(
                "[hss]\ndomain = \"{DOMAIN}\"\ndiameter_listen = \"127.0.0.1:{diameter}\"\n\
                 http_listen = \"127.0.0.1:{web}\"\ngenerate = {generate}\n"
            ),
        );
        let mut node = start(
            "node",
            format!(
                "[node]\ndomain = \"{DOMAIN}\"\nname = \"sip:scscf.{DOMAIN}:{sip}\"\n\
                 [sip]\nlisten = [\"udp:127.0.0.1:{sip}\", \"tcp:127.0.0.1:{sip}\"]\n\
                 [http]\nlisten = \"127.0.0.1:{api}\"\n[cx]\npeers = [\"tcp:127.0.0.1:{diameter}\"]\n\
                 [routes]\n\"{DOMAIN}\" = [\"udp:127.0.0.1:{sip}\"]\n\"*.{DOMAIN}\" = [\"udp:127.0.0.1:{sip}\"]\n"
            ),
        );
        let api = format!("http://127.0.0.1:{api}");
        let ready = eventually(Duration::from_secs(20), || {
            if !node.running() {
                return Some(false);
            }
            matches!(http::get(&format!("{api}/readyz")), Ok((200, _))).then_some(true)
        });
        if ready == Some(false) {
            let output = node.output();
            assert!(output.iter().any(|line| line.contains("in use")), "the node ended: {output:?}");
            return None;
        }
        assert!(ready.is_some(), "the node is not ready: {:?} {:?}", node.output(), hss.output());
        Some(Self { node, hss, sip: SocketAddr::from(([127, 0, 0, 1], sip)), api, folder })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
