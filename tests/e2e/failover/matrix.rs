//! Every moment with every fault, as often as wanted, and a table of how long users waited.

use super::fault::Fault;
use super::stage::{Chance, Played, Stage};
use crate::town::{SOON, Town, town_with};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Plays one moment: what is there before the stroke, the stroke, and the promise.
pub(super) type Play = fn(&mut Stage<'_>) -> Played;

/// A frozen node stands still for so long: longer than its lease, and where runs are repeated as long as it takes to forget it.
const BRIEFLY: Duration = Duration::from_millis(3_500);
const LONG: Duration = Duration::from_secs(10);

/// What the environment asks for.
struct Wanted {
    /// `ROLLCALL_FAILOVER_RUNS`; one without.
    runs: usize,
    /// `ROLLCALL_FAILOVER_SEED`; another each time without.
    seed: u64,
    /// `ROLLCALL_FAILOVER_FAULTS`, with commas; all without.
    faults: Vec<Fault>,
}

impl Wanted {
    fn read() -> Self {
        let text = |name: &str| std::env::var(name).ok();
        let number = |name: &str| text(name).map(|text| text.parse::<u64>().expect("a number"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let chosen = text("ROLLCALL_FAILOVER_FAULTS");
        let is_chosen = |fault: &Fault| {
            chosen.as_ref().is_none_or(|names| names.split(',').any(|name| name == format!("{fault:?}")))
        };
        Self {
            runs: number("ROLLCALL_FAILOVER_RUNS").map_or(1, |runs| runs as usize),
            seed: number("ROLLCALL_FAILOVER_SEED").unwrap_or(now),
            faults: Fault::ALL.into_iter().filter(is_chosen).collect(),
        }
    }
}

/// A cluster with people enough for so many runs with each fault.
fn a_town(runs: usize) -> Option<Town> {
    town_with(3, |settings| {
        settings.wires = true;
        settings.generate = 200 + 150 * runs as u32;
        settings.keys = vec![("registration", "min_expires = 1".to_owned())];
    })
}

fn quantile(sorted: &[Duration], of: usize) -> f64 {
    let at = (sorted.len() * of).div_ceil(100).max(1) - 1;
    sorted.get(at).map_or(0.0, Duration::as_secs_f64)
}

/// Plays a moment with each fault. What the network asks for, by Retry-After, is given `grace` beyond the time of a takeover.
pub(super) fn every_fault(moment: &str, grace: Duration, play: Play) {
    let Wanted { runs, seed, faults } = Wanted::read();
    let pause = if runs > 1 { LONG } else { BRIEFLY };
    let mut table = format!(
        "{:<28}{:<10}{:>6}{:>8}{:>8}{:>8}{:>8}   seconds; seed {seed}\n",
        "moment", "fault", "runs", "p50", "p99", "max", "failed"
    );
    let mut failed_at_all = 0;
    let (mut town, mut taken) = (None, BTreeSet::new());
    for fault in faults {
        let (mut times, mut failed) = (Vec::new(), 0);
        for run in 0..runs {
            if town.is_none() {
                (town, taken) = (a_town(runs), BTreeSet::new());
            }
            let Some(here) = &mut town else { return };
            let chance = Chance(seed ^ ((fault as u64) << 32) ^ run as u64);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let mut stage = Stage::set(here, fault, chance, &mut taken);
                let played = play(&mut stage);
                let limit = fault.patience() + grace;
                assert!(played.took < limit, "it took {:?}", played.took);
                stage.ends(played, pause)
            }));
            if let Ok(took) = outcome {
                times.push(took);
                continue;
            }
            failed += 1;
            eprintln!("{moment}, {fault:?}, run {run} of seed {seed} fails: {}", here.cluster.state());
            here.cluster.tell();
            // Nobody knows how it stands; the next run has another.
            town = None;
        }
        times.sort();
        let [p50, p99, most] = [50, 99, 100].map(|of| quantile(&times, of));
        let fault = format!("{fault:?}");
        let _ = writeln!(table, "{moment:<28}{fault:<10}{runs:>6}{p50:>8.2}{p99:>8.2}{most:>8.2}{failed:>8}");
        failed_at_all += failed;
    }
    eprintln!("{table}");
    assert_eq!(failed_at_all, 0, "{table}");
}

/// Whoever is told to come again later does.
pub(super) const COMES_AGAIN: Duration = SOON;
