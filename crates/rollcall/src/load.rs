//! Many UEs, and what they measured.

use crate::cli::{self, LoadCommand, LoadPlan};
use crate::{signals, ue};
use anyhow::ensure;
use indicatif::{ProgressBar, ProgressStyle};
use lab::load::{Plan, Progress, Report};
use std::io::{self, Write};
use std::time::Duration;

pub(crate) fn run(command: LoadCommand) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (args, report) = match command {
        LoadCommand::Register(args) => {
            let (plan, bar) = (plan(&args)?, bar());
            let report = runtime.block_on(lab::load::register(plan, |at| show(&bar, at), signals::end()))?;
            bar.finish_and_clear();
            (args, report)
        }
        LoadCommand::Reregister(args) => {
            let (plan, bar) = (plan(&args)?, bar());
            let report =
                runtime.block_on(lab::load::reregister(plan, |at| show(&bar, at), signals::end()))?;
            bar.finish_and_clear();
            (args, report)
        }
    };
    print(&report, args.json)?;
    ensure!(report.succeeded > 0, "nothing succeeded");
    ensure!(report.failed == 0, "{} of {} failed", report.failed, report.started);
    Ok(())
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(report)?)?;
    } else {
        writeln!(out, "{report}")?;
    }
    Ok(())
}

fn plan(args: &LoadPlan) -> anyhow::Result<Plan> {
    Ok(Plan {
        proxy: cli::resolve(&args.proxy)?,
        domain: args.domain.clone(),
        first: args.first,
        users: args.users,
        rate: args.rate,
        duration: args.duration.map(Duration::from_secs),
        credentials: ue::credentials(&args.usim),
        expires: args.expires,
        sockets: usize::from(args.sockets),
    })
}

/// Drawn on stderr, and only in a terminal.
fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

fn show(bar: &ProgressBar, at: &Progress) {
    if at.preparing {
        bar.set_message("registering everybody first");
        return;
    }
    bar.set_length(at.planned);
    bar.set_position(at.succeeded + at.failed);
    bar.set_message(format!(
        "{} started, {} done, {} failed, {} in flight, {} retransmissions",
        at.started, at.succeeded, at.failed, at.in_flight, at.retransmissions
    ));
}
