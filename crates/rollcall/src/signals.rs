//! Signals that end a command or wake it.

use tokio::signal::unix::{SignalKind, signal};

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// INT or TERM.
    End,
    /// HUP.
    Reread,
}

/// Runs `turn` on each HUP, and returns on INT or TERM, or when `over` says so; it is asked every 200 ms.
pub(crate) fn wait(mut turn: impl FnMut(), over: impl Fn() -> bool) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut watch = Watch::new()?;
        loop {
            match tokio::time::timeout(std::time::Duration::from_millis(200), watch.next()).await {
                Ok(Came::End) => return Ok(()),
                Ok(Came::Reread) => turn(),
                Err(_) if over() => anyhow::bail!("it ended by itself; the log says why"),
                Err(_) => {}
            }
        }
    })
}

/// Completes on INT or TERM.
pub(crate) async fn end() {
    let Ok(mut watch) = Watch::new() else { return std::future::pending().await };
    while watch.next().await != Came::End {}
}

struct Watch {
    int: tokio::signal::unix::Signal,
    term: tokio::signal::unix::Signal,
    hup: tokio::signal::unix::Signal,
}

impl Watch {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            int: signal(SignalKind::interrupt())?,
            term: signal(SignalKind::terminate())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Came {
        tokio::select! {
            _ = self.int.recv() => Came::End,
            _ = self.term.recv() => Came::End,
            _ = self.hup.recv() => Came::Reread,
        }
    }
}
