//! What a load run has measured.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::{collections::BTreeMap, fmt, time::Duration};

/// The result of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// What was run: `register` or `reregister`.
    pub scenario: &'static str,
    /// Registrations started.
    pub started: u64,
    /// Those that ended with 200 (OK).
    pub succeeded: u64,
    /// Those that did not.
    pub failed: u64,
    /// Requests sent again because nothing came in time.
    pub retransmissions: u64,
    /// Registrations per second that were to be started.
    pub rate_wanted: f64,
    /// Registrations per second that ended well while they were being started.
    pub rate_achieved: f64,
    /// How long registrations were started, in seconds.
    pub duration_s: f64,
    /// Failures by cause.
    pub failures: BTreeMap<String, u64>,
    /// From REGISTER to 401 (Unauthorized).
    pub challenge: Latency,
    /// From the last REGISTER to 200 (OK).
    pub answer: Latency,
    /// From the first REGISTER to 200 (OK).
    pub whole: Latency,
    /// The same from when the first REGISTER should have been sent: what a generator that lags must not hide.
    pub whole_from_intended: Latency,
}

/// A distribution of latencies in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// The shortest.
    pub min_us: u64,
    /// The mean.
    pub mean_us: f64,
    /// Half are no longer than this.
    pub p50_us: u64,
    /// 95 of 100 are no longer than this.
    pub p95_us: u64,
    /// 99 of 100 are no longer than this.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// Collects latencies.
#[derive(Debug)]
pub(super) struct Recorder(Option<Histogram<u64>>);

impl Recorder {
    pub(super) fn new() -> Self {
        // It grows as needed: a latency beyond Timer F counts like any other. Three digits are always possible.
        Self(Histogram::new(3).ok())
    }

    pub(super) fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        if let Some(histogram) = &mut self.0 {
            let _ = histogram.record(micros.max(1));
        }
    }

    pub(super) fn latency(&self) -> Latency {
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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} started in {:.1} s ({:.1}/s wanted), {} succeeded ({:.1}/s), {} failed, {} retransmissions",
            self.scenario,
            self.started,
            self.duration_s,
            self.rate_wanted,
            self.succeeded,
            self.rate_achieved,
            self.failed,
            self.retransmissions
        )?;
        writeln!(
            f,
            "{:<28}{:>9}{:>10}{:>10}{:>10}{:>10}",
            "latency, ms", "count", "p50", "p95", "p99", "max"
        )?;
        let rows = [
            ("REGISTER to 401", &self.challenge),
            ("REGISTER to 200", &self.answer),
            ("registration", &self.whole),
            ("registration from intended", &self.whole_from_intended),
        ];
        for (name, latency) in rows {
            let ms = |micros: u64| micros as f64 / 1000.0;
            writeln!(
                f,
                "{name:<28}{:>9}{:>10.2}{:>10.2}{:>10.2}{:>10.2}",
                latency.count,
                ms(latency.p50_us),
                ms(latency.p95_us),
                ms(latency.p99_us),
                ms(latency.max_us)
            )?;
        }
        for (cause, count) in &self.failures {
            writeln!(f, "failed: {count} x {cause}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut recorder = Recorder::new();
        for millis in 1..=1000 {
            recorder.record(Duration::from_millis(millis));
        }
        let latency = recorder.latency();
        assert_eq!((latency.count, latency.min_us), (1000, 1000));
        let near = |value: u64, expected: u64| value.abs_diff(expected) <= expected / 500;
        assert!(near(latency.p50_us, 500_000) && near(latency.p99_us, 990_000), "{latency:?}");
        assert!(near(latency.max_us, 1_000_000), "{latency:?}");
        assert_eq!(Recorder::new().latency(), Latency::default());
    }

    #[test]
    fn a_report_is_read_by_people_and_by_programs() {
        let failures = BTreeMap::from([("403 Forbidden".to_owned(), 2)]);
        let report = Report { scenario: "register", failures, ..Report::default() };
        assert!(report.to_string().contains("failed: 2 x 403 Forbidden"));
        assert_eq!(serde_json::json!(report)["whole"]["p99_us"], 0);
    }
}
