//! What is counted while a run is measured.

use super::{
    Progress,
    report::{Count, Latency, Stage, Stages},
};
use hdrhistogram::Histogram;
use std::{collections::BTreeMap, time::Duration};

/// How many causes are told apart.
const CAUSES: usize = 64;

/// Counts by cause. Causes come from the network: a flood of different ones must not grow the table for ever.
#[derive(Debug, Default)]
pub(super) struct Causes(pub(super) BTreeMap<String, u64>);

impl Causes {
    pub(super) fn count(&mut self, cause: &str) {
        let known = self.0.len() < CAUSES || self.0.contains_key(cause);
        let cause = if known { cause } else { "other" };
        match self.0.get_mut(cause) {
            Some(count) => *count += 1,
            None => {
                self.0.insert(cause.to_owned(), 1);
            }
        }
    }
}

/// Collects latencies.
#[derive(Debug)]
struct Recorder(Option<Histogram<u64>>);

impl Recorder {
    fn new() -> Self {
        // It grows as needed: a latency beyond Timer F counts like any other. Three digits are always possible.
        Self(Histogram::new(3).ok())
    }

    fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        if let Some(histogram) = &mut self.0 {
            let _ = histogram.record(micros.max(1));
        }
    }

    fn latency(&self) -> Latency {
        let Some(histogram) = self.0.as_ref().filter(|histogram| !histogram.is_empty()) else {
            return Latency::default();
        };
        Latency {
            count: histogram.len(),
            min_us: histogram.min(),
            mean_us: histogram.mean(),
            p50_us: histogram.value_at_quantile(0.50),
            p95_us: histogram.value_at_quantile(0.95),
            p99_us: histogram.value_at_quantile(0.99),
            max_us: histogram.max(),
        }
    }
}

/// The counts of one kind of procedure.
#[derive(Debug)]
pub(super) struct Tally {
    stages: &'static [Stage],
    recorders: Vec<Recorder>,
    count: Count,
    failures: Causes,
    in_time: u64,
    reached: u64,
    /// Whether anything counts yet.
    pub(super) measuring: bool,
    /// Whether others are still being started.
    pub(super) starting: bool,
}

impl Tally {
    pub(super) fn new(stages: &'static [Stage]) -> Self {
        Self {
            stages,
            recorders: stages.iter().map(|_| Recorder::new()).collect(),
            count: Count::default(),
            failures: Causes::default(),
            in_time: 0,
            reached: 0,
            measuring: false,
            starting: false,
        }
    }

    pub(super) fn started(&mut self) {
        self.count.started += u64::from(self.measuring);
    }

    /// Records a latency of the stage at that position.
    pub(super) fn record(&mut self, stage: usize, latency: Duration) {
        if self.measuring {
            self.recorders[stage].record(latency);
        }
    }

    /// Something was reached that counts for the rate.
    pub(super) fn reached(&mut self) {
        self.in_time += u64::from(self.measuring && self.starting);
        self.reached += u64::from(self.measuring);
    }

    pub(super) fn succeeded(&mut self, course: Option<&'static str>) {
        if self.measuring {
            self.count.succeeded += 1;
            if let Some(course) = course {
                *self.count.courses.entry(course).or_default() += 1;
            }
        }
    }

    /// Causes of failures are kept before the measurement too: they say why it cannot begin.
    pub(super) fn failed(&mut self, cause: &str) {
        self.count.failed += u64::from(self.measuring);
        self.failures.count(cause);
    }

    /// Failed for want of an answer.
    pub(super) fn unanswered(&mut self, cause: &str) {
        self.count.unanswered += u64::from(self.measuring);
        self.failed(cause);
    }

    pub(super) fn sent_again(&mut self) {
        self.count.retransmissions += u64::from(self.measuring);
    }

    /// A request is made anew because the network asked for patience.
    pub(super) fn retried(&mut self) {
        self.count.retried += u64::from(self.measuring);
    }

    /// Begins the measurement; the causes of failures before it.
    pub(super) fn measure(&mut self) -> Causes {
        self.measuring = true;
        self.starting = true;
        std::mem::take(&mut self.failures)
    }

    /// Adds what happened so far.
    pub(super) fn add_to(&self, progress: &mut Progress) {
        let Count { started, succeeded, failed, retransmissions, retried, .. } = self.count;
        progress.started += started;
        progress.reached += self.reached;
        progress.succeeded += succeeded;
        progress.failed += failed;
        progress.retransmissions += retransmissions;
        progress.retried += retried;
    }

    /// The counts of a run in which things were started for so long.
    pub(super) fn count(self, started_for: Duration) -> Count {
        let latencies = self.stages.iter().copied().zip(self.recorders.iter().map(Recorder::latency));
        Count {
            rate_achieved: self.in_time as f64 / started_for.as_secs_f64().max(1e-3),
            failures: self.failures.0,
            stages: Stages(latencies.collect()),
            ..self.count
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGES: &[Stage] = &[Stage { name: "all", label: "all" }];

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut tally = Tally::new(STAGES);
        tally.record(0, Duration::from_secs(9));
        tally.measure();
        for millis in 1..=1000 {
            tally.record(0, Duration::from_millis(millis));
        }
        let latency = tally.count(Duration::ZERO).stages.get("all");
        assert_eq!((latency.count, latency.min_us), (1000, 1000), "what came before does not count");
        let near = |value: u64, expected: u64| value.abs_diff(expected) <= expected / 500;
        assert!(near(latency.p50_us, 500_000) && near(latency.p99_us, 990_000), "{latency:?}");
        assert!(near(latency.max_us, 1_000_000), "{latency:?}");
        assert_eq!(Tally::new(STAGES).count(Duration::ZERO).stages.get("all"), Latency::default());
    }

    #[test]
    fn only_what_is_reached_while_starting_makes_the_rate() {
        let mut tally = Tally::new(STAGES);
        tally.reached();
        tally.measure();
        tally.reached();
        tally.reached();
        tally.starting = false;
        tally.reached();
        assert!((tally.count(Duration::from_secs(4)).rate_achieved - 0.5).abs() < 1e-9);
    }

    #[test]
    fn causes_do_not_grow_without_end() {
        let mut causes = Causes::default();
        for number in 0..1000 {
            causes.count(&format!("{number} X"));
        }
        assert_eq!(causes.0.len(), CAUSES + 1);
        assert_eq!(causes.0["other"], 1000 - CAUSES as u64);
    }
}
