//! One S-CSCF node.

use crate::{cli, log, signals};
use anyhow::{Context, anyhow};
use node::{Config, Node};
use std::io::{self, Write};
use std::path::Path;

pub(crate) fn run(args: &cli::Node) -> anyhow::Result<()> {
    if args.print_config {
        writeln!(io::stdout(), "{}", Config::print().trim_end())?;
        return Ok(());
    }
    let Some(path) = &args.config else { return Err(anyhow!("--config FILE is missing")) };
    let config = load(path)?;
    if args.check {
        writeln!(io::stdout(), "{}: good", path.display())?;
        return Ok(());
    }
    let log = log::start(&config.observe.log)?;
    let named = config.clone().named();
    let id = named.node.id.clone();
    let running = Node::start(named)?;
    let sip: Vec<String> = running
        .sip_addrs
        .iter()
        .map(|(transport, address)| format!("{transport:?} {address}").to_lowercase())
        .collect();
    tracing::info!(node = id, sip = sip.join(", "), http = %running.http_addr, "running");
    let mut known = config;
    let ended = signals::wait(|| reread(path, &mut known, &log), || !running.is_running());
    tracing::info!("ending");
    running.stop_and_wait();
    ended
}

/// Reads and checks the whole configuration.
fn load(path: &Path) -> anyhow::Result<Config> {
    let config = Config::load(path).with_context(|| path.display().to_string())?;
    log::read(&config.observe.log)?;
    config.check_files()?;
    Ok(config)
}

/// Takes over what can change while the node runs, and says what cannot.
fn reread(path: &Path, known: &mut Config, log: &log::Log) {
    let new = match load(path) {
        Ok(new) => new,
        Err(error) => return tracing::error!("nothing changes: {error:#}"),
    };
    if new.observe.log != known.observe.log {
        match log.filter(&new.observe.log) {
            Ok(()) => tracing::info!(log = new.observe.log, "observe.log changes"),
            Err(error) => tracing::error!("{error:#}"),
        }
    }
    known.observe.log.clone_from(&new.observe.log);
    let changed = unchangeable(known, &new);
    if changed.is_empty() {
        tracing::info!("the configuration was read again");
    } else {
        tracing::warn!(
            "the configuration was read again; these sections wait for a restart: {}",
            changed.join(", ")
        );
    }
}

fn unchangeable(known: &Config, new: &Config) -> Vec<&'static str> {
    [
        ("[node]", known.node != new.node),
        ("[sip]", known.sip != new.sip),
        ("[http]", known.http != new.http),
        ("[store]", known.store != new.store),
        ("[cluster]", known.cluster != new.cluster),
        ("[cx]", known.cx != new.cx),
        ("[registration]", known.registration != new.registration),
        ("[authentication]", known.authentication != new.authentication),
        ("[reg_event]", known.reg_event != new.reg_event),
        ("[reauthentication]", known.reauthentication != new.reauthentication),
        ("[limits]", known.limits != new.limits),
        ("[session]", known.session != new.session),
        ("[observe]", known.observe != new.observe),
        ("[routes]", known.routes != new.routes),
    ]
    .into_iter()
    .filter(|(_, differs)| *differs)
    .map(|(section, _)| section)
    .collect()
}
