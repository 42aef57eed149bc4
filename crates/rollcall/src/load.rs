//! Many UEs, and what they measured.

use crate::cli::{self, CallHabits, LoadCommand, LoadPlan, MixShares};
use crate::timeline::Timeline;
use crate::{signals, ue};
use anyhow::ensure;
use indicatif::{ProgressBar, ProgressStyle};
use lab::load::{Habits, Plan, Progress, Report, Shares};
use std::io::{self, Write};
use std::time::Duration;

pub(crate) fn run(command: LoadCommand) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bar = bar();
    let mut timeline = Timeline::create(command.plan().timeline.as_deref())?;
    let progress = |at: &Progress| {
        show(&bar, at);
        timeline.write(at);
    };
    let (report, json) = runtime.block_on(async {
        anyhow::Ok(match command {
            LoadCommand::Register(args) => {
                let plan = Plan { subscribe: args.subscribe, ..plan(&args.plan)? };
                (lab::load::register(plan, progress, signals::end()).await?, args.plan.json)
            }
            LoadCommand::Reregister(args) => {
                let plan = Plan { subscribe: args.subscribe, ..plan(&args.plan)? };
                (lab::load::reregister(plan, progress, signals::end()).await?, args.plan.json)
            }
            LoadCommand::Call(args) => {
                let (plan, habits) = (plan(&args.plan)?, habits(&args.habits));
                (lab::load::call(plan, habits, progress, signals::end()).await?, args.plan.json)
            }
            LoadCommand::Mixed(args) => {
                let (plan, habits, shares) = (plan(&args.plan)?, habits(&args.habits), shares(&args.shares));
                let report = lab::load::mixed(plan, habits, shares, progress, signals::end()).await?;
                (report, args.plan.json)
            }
        })
    })?;
    bar.finish_and_clear();
    timeline.finish()?;
    print(&report, json)?;
    let total = &report.total;
    ensure!(total.succeeded > 0, "nothing succeeded");
    ensure!(total.failed == 0, "{} of {} failed", total.failed, total.started);
    if let Some(kept) = &report.subscriptions {
        ensure!(kept.failed == 0, "{} of {} subscriptions failed", kept.failed, kept.asked);
    }
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
        proxies: args.proxy.iter().map(|one| cli::resolve(one)).collect::<Result<_, _>>()?,
        entry: args.entry,
        domain: args.domain.clone(),
        first: args.first,
        users: args.users,
        rate: args.rate,
        duration: args.duration.map(Duration::from_secs),
        credentials: ue::credentials(&args.usim),
        expires: args.expires,
        sockets: usize::from(args.sockets),
        registration_rate: args.registration_rate,
        subscribe: false,
    })
}

fn habits(args: &CallHabits) -> Habits {
    Habits {
        hold: Duration::from_secs_f64(args.hold),
        ring: Duration::from_millis(args.ring),
        reject: args.reject,
        cancel: args.cancel,
        callee_ends: args.callee_ends,
    }
}

fn shares(args: &MixShares) -> Shares {
    Shares {
        register: args.register,
        reregister: args.reregister,
        call: args.call,
        message: args.message,
        subscribe: args.subscribe,
    }
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
        bar.set_length(at.planned);
        bar.set_position(at.succeeded);
        bar.set_message(format!("registering everybody first: {} of {}", at.succeeded, at.planned));
        return;
    }
    bar.set_length(at.planned);
    bar.set_position(at.succeeded + at.failed);
    bar.set_message(format!(
        "{} started, {} done, {} failed, {} in flight, {} retransmissions, {} made anew",
        at.started, at.succeeded, at.failed, at.in_flight, at.retransmissions, at.retried
    ));
}
