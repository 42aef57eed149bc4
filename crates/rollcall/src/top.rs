//! The cluster, live: nodes, what happens per second, users in re-authentication.

use crate::api::Caller;
use crate::cli;
use crate::ladder::{seconds_until, span};
use crate::show::{items, nodes, table};
use crate::watch::redraw;
use console::Term;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Pages of users that are looked through for re-authentications.
const PAGES: usize = 5;
/// Users in re-authentication that are listed.
const LISTED: usize = 20;

pub(crate) fn run(args: &cli::Top) -> anyhow::Result<()> {
    let caller = Caller::new(&args.api);
    let every = Duration::from_secs(args.every);
    let mut before = Look::take(&caller)?;
    std::thread::sleep(every.min(Duration::from_secs(1)));
    let term = Term::stdout();
    let mut drawn = 0;
    loop {
        let now = Look::take(&caller)?;
        let lines = now.lines(&before)?;
        if !term.is_term() {
            let mut out = io::stdout().lock();
            return Ok(lines.iter().try_for_each(|line| writeln!(out, "{line}"))?);
        }
        drawn = redraw(&term, drawn, &lines)?;
        before = now;
        std::thread::sleep(every);
    }
}

struct Look {
    at: Instant,
    cluster: Value,
    counters: BTreeMap<String, f64>,
    gauges: BTreeMap<String, f64>,
    pending: Vec<(String, String, Option<String>)>,
    seen_all: bool,
}

impl Look {
    fn take(caller: &Caller) -> anyhow::Result<Self> {
        let cluster = caller.get("/v1/cluster")?;
        let (counters, gauges) = read_metrics(&caller.text("/metrics")?);
        let at = Instant::now();
        let mut pending = Vec::new();
        let mut cursor = String::new();
        let mut seen_all = false;
        for _ in 0..PAGES {
            let page = caller.get(&format!("/v1/users?state=registered&limit=1000{cursor}"))?;
            for user in items(&page["users"]) {
                if let (Some(impi), Some(phase)) = (user["impi"].as_str(), user["reauthentication"].as_str())
                {
                    pending.push((impi.to_owned(), phase.to_owned(), None));
                }
            }
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={}", crate::api::encode(next)),
                None => {
                    seen_all = true;
                    break;
                }
            }
        }
        for (impi, _, deadline) in pending.iter_mut().take(LISTED) {
            // The user may have gone meanwhile.
            let view = caller.get(&crate::api::user(impi, "")).unwrap_or(Value::Null);
            *deadline = view["reauthentication"]["deadline"].as_str().map(str::to_owned);
        }
        Ok(Self { at, cluster, counters, gauges, pending, seen_all })
    }

    fn lines(&self, before: &Self) -> anyhow::Result<Vec<String>> {
        let mut out = Vec::new();
        table(&mut out, &["NODE", "ADDRESS", "STATE", "SHARDS", "USERS"], &nodes(&self.cluster))?;
        writeln!(out)?;
        let elapsed = self.at.duration_since(before.at).as_secs_f64().max(0.001);
        let mut rates: Vec<Vec<String>> = Vec::new();
        for (name, value) in &self.counters {
            let rate = (value - before.counters.get(name).unwrap_or(&0.0)) / elapsed;
            if rate > 0.0 {
                rates.push(vec![name.clone(), format!("{rate:.1}"), format!("{value:.0}")]);
            }
        }
        if rates.is_empty() {
            writeln!(out, "nothing happens")?;
        } else {
            table(&mut out, &["COUNTER", "PER SECOND", "IN ALL"], &rates)?;
        }
        writeln!(out)?;
        let gauges: Vec<String> = self.gauges.iter().map(|(name, value)| format!("{name} {value}")).collect();
        writeln!(out, "{}", gauges.join(", "))?;
        writeln!(out)?;
        let more = if self.seen_all { "" } else { " among the first 5000 registered" };
        writeln!(out, "in re-authentication{more}: {}", self.pending.len())?;
        for (impi, phase, deadline) in self.pending.iter().take(LISTED) {
            let left = deadline
                .as_deref()
                .and_then(seconds_until)
                .map_or_else(String::new, |left| format!("{} left", span(left)));
            writeln!(out, "  {impi}  {phase}  {left}")?;
        }
        Ok(String::from_utf8_lossy(&out).lines().map(str::to_owned).collect())
    }
}

/// Counters and gauges of a Prometheus text; histograms are left out.
fn read_metrics(text: &str) -> (BTreeMap<String, f64>, BTreeMap<String, f64>) {
    let (mut counters, mut gauges) = (BTreeMap::new(), BTreeMap::new());
    let mut kind = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            kind = rest.rsplit(' ').next().unwrap_or("");
            continue;
        }
        let Some((name, value)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#')) else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        let short = name.strip_prefix("rollcall_").unwrap_or(name);
        match kind {
            "counter" => counters.insert(short.replacen("_total", "", 1), value),
            "gauge" => gauges.insert(short.to_owned(), value),
            _ => None,
        };
    }
    (counters, gauges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read() {
        let text = "# HELP rollcall_a A.\n# TYPE rollcall_a counter\nrollcall_a_total{m=\"X Y\"} 3\n\
                    # TYPE rollcall_b gauge\nrollcall_b 7\n# TYPE rollcall_c histogram\nrollcall_c_sum 1\n# EOF\n";
        let (counters, gauges) = read_metrics(text);
        assert_eq!(counters.into_iter().collect::<Vec<_>>(), [("a{m=\"X Y\"}".to_owned(), 3.0)]);
        assert_eq!(gauges.into_iter().collect::<Vec<_>>(), [("b".to_owned(), 7.0)]);
    }
}
