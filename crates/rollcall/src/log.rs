//! The log on stderr.

use std::io::IsTerminal;
use tracing_subscriber::{EnvFilter, Registry, layer::SubscriberExt, reload, util::SubscriberInitExt};

/// Changes the filter while the process runs.
pub(crate) struct Log(reload::Handle<EnvFilter, Registry>);

/// Starts the log with a filter, as `info` or `node=debug`.
///
/// # Errors
/// If the filter cannot be read.
pub(crate) fn start(filter: &str) -> anyhow::Result<Log> {
    let (filter, handle) = reload::Layer::new(read(filter)?);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry().with(filter).with(lines).try_init()?;
    Ok(Log(handle))
}

impl Log {
    pub(crate) fn filter(&self, filter: &str) -> anyhow::Result<()> {
        Ok(self.0.reload(read(filter)?)?)
    }
}

pub(crate) fn read(filter: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(filter).map_err(|_| {
        anyhow::anyhow!("observe.log = {filter:?}: expected a filter as \"info\" or \"node=debug\"")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_and_others_named() {
        assert!(read("info").is_ok() && read("warn,node=debug").is_ok());
        let refused = read("node=loud").map(|_| ()).map_err(|error| error.to_string());
        assert_eq!(
            refused,
            Err("observe.log = \"node=loud\": expected a filter as \"info\" or \"node=debug\"".into())
        );
    }
}
