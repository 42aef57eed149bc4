//! What a load run has measured.

use serde::{Serialize, Serializer};
use std::{collections::BTreeMap, fmt};

/// The result of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// What was run: `register`, `reregister`, `call` or `mixed`.
    pub scenario: &'static str,
    /// Procedures per second that were to be started.
    pub rate_wanted: f64,
    /// How long procedures were started, in seconds.
    pub duration_s: f64,
    /// Users that were registered before the measurement.
    pub registered_before: u64,
    /// All that was started.
    #[serde(flatten)]
    pub total: Count,
    /// The most that were under way at once.
    pub most_in_flight: u64,
    /// Messages sent.
    pub messages_sent: u64,
    /// Messages received.
    pub messages_received: u64,
    /// Messages received that had come before: retransmissions by the network or the other side.
    pub repeated: u64,
    /// Messages received for something that had ended already.
    pub late: u64,
    /// Messages that nothing asked for, or that came another way than their route set says, by what they were.
    pub unexpected: BTreeMap<String, u64>,
    /// Final responses received, by status.
    pub responses: BTreeMap<u16, u64>,
    /// For a mix, each kind by its name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kinds: BTreeMap<&'static str, Count>,
    /// How often each node fell silent and was set aside for a while, where there are several; what it had been sent went to
    /// another, and counts as sent again.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub silences: BTreeMap<String, u64>,
    /// Where users stay subscribed to their registration state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriptions: Option<Kept>,
}

/// Subscriptions that users keep, from the beginning of the run: whatever was asked for is active at its end, or has failed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Kept {
    /// Asked for.
    pub asked: u64,
    /// Active at the end.
    pub active: u64,
    /// Refused, not answered, ended by the network, or not notified of what they were to hear of.
    pub failed: u64,
    /// Those of the failed that ended for want of an answer or of a NOTIFY.
    pub unanswered: u64,
    /// Messages sent again because nothing came in time.
    pub retransmissions: u64,
    /// Requests made anew after 503 or 500 with Retry-After, which is no failure.
    pub retried: u64,
    /// NOTIFYs that came, copies not counted.
    pub notifies: u64,
    /// Those of them that were answered with 200; the others were for a subscription that had ended here.
    pub answered: u64,
    /// Failures by cause.
    pub failures: BTreeMap<String, u64>,
    /// Latencies, each under its name.
    #[serde(flatten)]
    pub stages: Stages,
}

impl Kept {
    pub(super) fn of(count: Count) -> Self {
        let Count { started: asked, failed, unanswered, retransmissions, retried, failures, stages, .. } =
            count;
        Self { asked, failed, unanswered, retransmissions, retried, failures, stages, ..Self::default() }
    }
}

/// How one kind of procedure fared.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Count {
    /// Started.
    pub started: u64,
    /// Took the course they were to take.
    pub succeeded: u64,
    /// Did not.
    pub failed: u64,
    /// Those of the failed that ended for want of an answer.
    pub unanswered: u64,
    /// Messages sent again because nothing came in time.
    pub retransmissions: u64,
    /// Requests made anew after 503 or 500 with Retry-After, which is no failure.
    pub retried: u64,
    /// Per second, those that succeeded (of calls: were answered as planned) while others were still being started.
    pub rate_achieved: f64,
    /// Successes by course, where there are several.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub courses: BTreeMap<&'static str, u64>,
    /// Failures by cause.
    pub failures: BTreeMap<String, u64>,
    /// Latencies, each under its name.
    #[serde(flatten)]
    pub stages: Stages,
}

/// Latencies by name, in order of the procedure.
#[derive(Clone, Debug, Default)]
pub struct Stages(pub(super) Vec<(Stage, Latency)>);

/// The spans that a procedure measures, in order: a list of that name, and the place of each in it.
macro_rules! stages {
    ($all:ident: $($place:ident = $name:literal, $label:literal;)+) => {
        pub(super) const $all: &[$crate::load::report::Stage] =
            &[$($crate::load::report::Stage { name: $name, label: $label }),+];
        $crate::load::report::stages!(@place 0, $($place)+);
    };
    (@place $at:expr, $place:ident $($further:ident)*) => {
        const $place: usize = $at;
        $crate::load::report::stages!(@place $at + 1, $($further)*);
    };
    (@place $at:expr,) => {};
}
pub(super) use stages;

/// A span that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stage {
    /// Its name for programs.
    pub(super) name: &'static str,
    /// Its name for people.
    pub(super) label: &'static str,
}

impl Stages {
    /// The latency of that name; nothing measured if there is none.
    pub fn get(&self, name: &str) -> Latency {
        self.0.iter().find(|(stage, _)| stage.name == name).map(|(_, latency)| *latency).unwrap_or_default()
    }
}

impl Serialize for Stages {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(stage, latency)| (stage.name, latency)))
    }
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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, total, .. } = self;
        writeln!(
            f,
            "{scenario}: {} started in {:.1} s ({:.1}/s wanted), {} succeeded ({:.1}/s), {} failed, {} retransmissions, {} made anew",
            total.started,
            self.duration_s,
            self.rate_wanted,
            total.succeeded,
            total.rate_achieved,
            total.failed,
            total.retransmissions,
            total.retried
        )?;
        writeln!(
            f,
            "{} messages sent, {} received ({} repeated, {} late); at most {} under way at once",
            self.messages_sent, self.messages_received, self.repeated, self.late, self.most_in_flight
        )?;
        let responses: Vec<_> =
            self.responses.iter().map(|(status, count)| format!("{count} x {status}")).collect();
        writeln!(f, "final responses: {}", responses.join(", "))?;
        if self.kinds.is_empty() {
            total.details(f)?;
        }
        for (kind, count) in &self.kinds {
            writeln!(
                f,
                "\n{kind}: {} started, {} succeeded ({:.1}/s), {} failed, {} retransmissions, {} made anew",
                count.started,
                count.succeeded,
                count.rate_achieved,
                count.failed,
                count.retransmissions,
                count.retried
            )?;
            count.details(f)?;
        }
        if let Some(kept) = &self.subscriptions {
            writeln!(
                f,
                "\nsubscriptions kept: {} asked for, {} active, {} failed, {} retransmissions, {} made anew; {} NOTIFYs, {} answered",
                kept.asked,
                kept.active,
                kept.failed,
                kept.retransmissions,
                kept.retried,
                kept.notifies,
                kept.answered
            )?;
            latencies(f, &kept.stages, &kept.failures)?;
        }
        for (node, count) in &self.silences {
            writeln!(f, "silent: {node}, {count} times")?;
        }
        for (what, count) in &self.unexpected {
            writeln!(f, "unexpected: {count} x {what}")?;
        }
        Ok(())
    }
}

impl Count {
    /// All kinds together: latencies are not mixed, and causes of failure keep the name of their kind.
    pub(super) fn sum(kinds: &BTreeMap<&'static str, Self>) -> Self {
        let mut sum = Self::default();
        for (kind, count) in kinds {
            sum.started += count.started;
            sum.succeeded += count.succeeded;
            sum.failed += count.failed;
            sum.unanswered += count.unanswered;
            sum.retransmissions += count.retransmissions;
            sum.retried += count.retried;
            sum.rate_achieved += count.rate_achieved;
            let failures = count.failures.iter().map(|(cause, count)| (format!("{kind}: {cause}"), *count));
            sum.failures.extend(failures);
        }
        sum
    }

    fn details(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.courses.is_empty() {
            let courses: Vec<_> =
                self.courses.iter().map(|(course, count)| format!("{count} {course}")).collect();
            writeln!(f, "as planned: {}", courses.join(", "))?;
        }
        latencies(f, &self.stages, &self.failures)
    }
}

/// A table of what was measured, and why what failed did.
fn latencies(f: &mut fmt::Formatter<'_>, stages: &Stages, failures: &BTreeMap<String, u64>) -> fmt::Result {
    writeln!(f, "{:<33}{:>9}{:>10}{:>10}{:>10}{:>10}", "latency, ms", "count", "p50", "p95", "p99", "max")?;
    let measured = stages.0.iter().filter(|(_, latency)| latency.count > 0);
    for (Stage { label, .. }, latency) in measured {
        let ms = |micros: u64| micros as f64 / 1000.0;
        writeln!(
            f,
            "{label:<33}{:>9}{:>10.2}{:>10.2}{:>10.2}{:>10.2}",
            latency.count,
            ms(latency.p50_us),
            ms(latency.p95_us),
            ms(latency.p99_us),
            ms(latency.max_us)
        )?;
    }
    for (cause, count) in failures {
        writeln!(f, "failed: {count} x {cause}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_by_people_and_by_programs() {
        let stage = Stage { name: "bye_to_200", label: "BYE to 200" };
        let latency = Latency { count: 1, p99_us: 1500, ..Latency::default() };
        let total = Count {
            failures: BTreeMap::from([("403 Forbidden".to_owned(), 2)]),
            courses: BTreeMap::from([("answered", 3)]),
            stages: Stages(vec![(stage, latency)]),
            ..Count::default()
        };
        let mut report = Report { scenario: "call", total: total.clone(), ..Report::default() };
        let text = report.to_string();
        assert!(
            text.contains("failed: 2 x 403 Forbidden") && text.contains("as planned: 3 answered"),
            "{text}"
        );
        assert!(text.contains("BYE to 200") && text.contains("1.50"), "{text}");
        let json = serde_json::json!(report);
        assert_eq!((&json["bye_to_200"]["p99_us"], &json["failed"]), (&1500.into(), &0.into()));
        assert!(json.get("kinds").is_none());
        assert_eq!(report.total.stages.get("nothing"), Latency::default());
        report.kinds.insert("call", total);
        report.kinds.insert("message", Count { started: 4, rate_achieved: 0.5, ..Count::default() });
        let sum = Count::sum(&report.kinds);
        assert_eq!((sum.started, sum.failures["call: 403 Forbidden"], sum.stages.0.len()), (4, 2, 0));
        assert_eq!(serde_json::json!(report)["kinds"]["call"]["bye_to_200"]["p99_us"], 1500);
        assert!(report.to_string().contains("\ncall: 0 started"));
    }
}
