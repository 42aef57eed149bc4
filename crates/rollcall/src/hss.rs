//! The lab HSS alone.

use crate::port::{self, Over};
use crate::{cli, log, signals};
use anyhow::{Context, anyhow};
use lab::hss::{Config, Hss};
use std::io::{self, Write};

pub(crate) fn run(args: &cli::Hss) -> anyhow::Result<()> {
    if args.print_config {
        writeln!(io::stdout(), "{}", Config::describe().trim_end())?;
        return Ok(());
    }
    let Some(path) = &args.config else { return Err(anyhow!("--config FILE is missing")) };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("--config {}: expected a TOML file with a section [hss]", path.display()))?;
    let config = Config::read(&text, std::env::vars()).with_context(|| path.display().to_string())?;
    port::check("hss.diameter_listen", config.diameter_listen, Over::Tcp)?;
    port::check("hss.http_listen", config.http_listen, Over::Tcp)?;
    log::start("info")?;
    let hss = Hss::start(config)?;
    writeln!(
        io::stdout(),
        "HSS: diameter tcp {}, http://{}/subscribers; Ctrl-C ends it",
        hss.diameter_addr,
        hss.http_addr
    )?;
    let ended = signals::wait(|| tracing::warn!("the HSS does not read its configuration again"), || false);
    hss.stop();
    ended
}
