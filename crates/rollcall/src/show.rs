//! Lists and views, as tables or JSON.

use crate::api::{self, Caller};
use crate::cli;
use crate::ladder::{clock, line, seconds_until, span};
use serde_json::{Value, json};
use std::io::{self, Write};

pub(crate) fn users(args: &cli::Users) -> anyhow::Result<()> {
    let caller = Caller::new(&args.api);
    let limit = args.limit as usize;
    let mut users = Vec::new();
    let mut next = Value::Null;
    while users.len() < limit {
        let mut path = format!("/v1/users?limit={}", (limit - users.len()).min(1000));
        if let Some(state) = args.state {
            path.push_str(&format!("&state={}", state.text()));
        }
        if let Some(q) = &args.q {
            path.push_str(&format!("&q={}", api::encode(q)));
        }
        if let Some(cursor) = next.as_str() {
            path.push_str(&format!("&cursor={}", api::encode(cursor)));
        }
        let mut page = caller.get(&path)?;
        if let Value::Array(rows) = page["users"].take() {
            users.extend(rows);
        }
        next = page["next"].take();
        if next.is_null() {
            break;
        }
    }
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{:#}", json!({"users": users, "next": next}))?;
        return Ok(());
    }
    if users.is_empty() {
        writeln!(out, "no user")?;
        return Ok(());
    }
    let heads =
        ["IMPI", "STATE", "BINDINGS", "SUBSCRIPTIONS", "SESSIONS", "RE-AUTHENTICATION", "SHARD", "NODE"];
    let keys =
        ["impi", "state", "bindings", "subscriptions", "sessions", "reauthentication", "shard", "node"];
    let rows: Vec<Vec<String>> =
        users.iter().map(|user| keys.iter().map(|key| plain(&user[*key])).collect()).collect();
    table(&mut out, &heads, &rows)?;
    if !next.is_null() {
        writeln!(out, "... and more: --limit, -q")?;
    }
    Ok(())
}

pub(crate) fn user(args: &cli::User) -> anyhow::Result<()> {
    let view = Caller::new(&args.api).get(&api::user(&args.impi, ""))?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{view:#}")?;
        return Ok(());
    }
    for line in summary(&view) {
        writeln!(out, "{line}")?;
    }
    for (title, key, columns) in [
        (
            "Bindings",
            "bindings",
            &["contact", "path", "expires_at", "registered_at", "call_id", "cseq"] as &[&str],
        ),
        (
            "Subscriptions",
            "subscriptions",
            &["id", "event", "kind", "subscriber", "expires_at", "version", "last_notify"],
        ),
        ("Sessions", "sessions", &["id", "role", "state", "peer", "since"]),
        (
            "Application servers told",
            "third_party",
            &["application_server", "impu", "state", "expires_at", "status"],
        ),
        ("Identities", "identities", &["impu", "state", "default", "barred"]),
    ] {
        let rows: Vec<Vec<String>> = items(&view[key])
            .map(|item| columns.iter().map(|column| cell(column, &item[*column])).collect())
            .collect();
        if !rows.is_empty() {
            writeln!(out, "\n{title}")?;
            let heads: Vec<String> =
                columns.iter().map(|c| c.trim_end_matches("_at").replace('_', " ").to_uppercase()).collect();
            table(&mut out, &heads.iter().map(String::as_str).collect::<Vec<_>>(), &rows)?;
        }
    }
    let released: Vec<Vec<String>> = items(&view["releases"]).flat_map(told).collect();
    if !released.is_empty() {
        writeln!(out, "\nReleased sessions")?;
        table(&mut out, &["AT", "CAUSE", "SIDE", "TOLD", "ANSWER"], &released)?;
    }
    if items(&view["recent"]).next().is_some() {
        writeln!(out, "\nRecent")?;
        for observation in items(&view["recent"]) {
            writeln!(out, "  {}", line(observation))?;
        }
    }
    Ok(())
}

pub(crate) fn cluster(args: &cli::Cluster) -> anyhow::Result<()> {
    let view = Caller::new(&args.api).get("/v1/cluster")?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{view:#}")?;
        return Ok(());
    }
    table(&mut out, &["NODE", "ADDRESS", "STATE", "SHARDS", "USERS"], &nodes(&view))?;
    Ok(())
}

/// A receipt: one row for each side that was told of the end of a session.
fn told(release: &Value) -> impl Iterator<Item = Vec<String>> {
    items(&release["told"]).map(|line| {
        let answer = match (&line["status"], line["what"].as_str()) {
            (Value::Null, Some("BYE" | "CANCEL")) => "awaited".to_owned(),
            (Value::Null, _) => String::new(),
            (status, _) if status == 0 => "none".to_owned(),
            (status, _) => status.to_string(),
        };
        let cell = |value: &Value| plain(value);
        vec![cell(&line["at"]), cell(&release["cause"]), cell(&line["side"]), cell(&line["what"]), answer]
    })
}

/// Rows of nodes.
pub(crate) fn nodes(view: &Value) -> Vec<Vec<String>> {
    let keys = ["id", "address", "state", "shards", "users"];
    items(&view["nodes"]).map(|node| keys.iter().map(|key| plain(&node[*key])).collect()).collect()
}

/// What matters of a user, in a few lines.
pub(crate) fn summary(view: &Value) -> Vec<String> {
    let counters = &view["authentication"];
    let mut lines = vec![
        format!(
            "{}  {}  (shard {} on {})",
            plain(&view["impi"]),
            plain(&view["state"]),
            view["shard"],
            plain(&view["node"])
        ),
        format!(
            "authentication: {}, last success {}, {} challenges outstanding, {} wrong answers, {} resyncs",
            counters["scheme"].as_str().unwrap_or("none yet"),
            counters["last_success_at"].as_str().map_or_else(|| "never".into(), clock),
            counters["challenges_outstanding"],
            counters["wrong_answers"],
            counters["resyncs"]
        ),
    ];
    let pending = &view["reauthentication"];
    if let Some(deadline) = pending["deadline"].as_str() {
        let told: Vec<String> = items(&pending["notified"])
            .map(|told| match told["status"].as_u64() {
                None => "awaited".into(),
                Some(0) => "none".into(),
                Some(status) => status.to_string(),
            })
            .collect();
        let reason = pending["reason"].as_str().map_or_else(String::new, |reason| format!(" ({reason})"));
        lines.push(format!(
            "RE-AUTHENTICATION asked by {}{reason}: {}, {} left, answers to NOTIFY: {}",
            plain(&pending["by"]),
            plain(&pending["phase"]),
            span(seconds_until(deadline).unwrap_or(0)),
            if told.is_empty() { "nobody subscribed".into() } else { told.join(", ") }
        ));
    }
    if let Some(left) = view["next_deadline"].as_str().and_then(seconds_until) {
        lines.push(format!("acts by itself in {}", span(left)));
    }
    lines
}

/// Writes columns as wide as they must be.
pub(crate) fn table(out: &mut impl Write, heads: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let width = |text: &str| text.chars().count();
    let widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(at, head)| {
            rows.iter()
                .filter_map(|row| row.get(at))
                .map(|cell| width(cell))
                .chain([width(head)])
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let text: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", text.join("  ").trim_end())
    };
    line(&mut heads.iter().copied())?;
    rows.iter().try_for_each(|row| line(&mut row.iter().map(String::as_str)))
}

/// The items of a list, or none.
pub(crate) fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn cell(column: &str, value: &Value) -> String {
    match (column, value) {
        ("expires_at", Value::String(at)) => {
            seconds_until(at).map_or_else(|| at.clone(), |left| format!("in {}", span(left)))
        }
        ("registered_at" | "since", Value::String(at)) => clock(at),
        ("last_notify", Value::Object(notify)) => {
            let at = notify.get("at").and_then(Value::as_str).map_or_else(String::new, clock);
            match notify.get("status").and_then(Value::as_u64) {
                None => format!("{at} awaited"),
                Some(0) => format!("{at} no answer"),
                Some(status) => format!("{at} {status}"),
            }
        }
        (_, value) => plain(value),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".into(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(" "),
        Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut out = Vec::new();
        table(&mut out, &["A", "B"], &[vec!["long".into(), "x".into()], vec!["ü".into(), "y".into()]])
            .unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "A     B\nlong  x\nü     y\n");
    }

    #[test]
    fn a_pending_reauthentication_is_shown() {
        let view = json!({"impi": "a@b", "state": "registered", "shard": 1, "node": "n1", "authentication": {},
            "reauthentication": {"by": "operator", "reason": "drill", "deadline": "2000-01-01T00:00:00Z", "phase": "awaiting",
                "notified": [{"subscription": "1", "status": 200}, {"subscription": "2", "status": null}]}});
        let lines = summary(&view).join("\n");
        assert!(
            lines.contains("operator (drill): awaiting, 0 s left, answers to NOTIFY: 200, awaited"),
            "{lines}"
        );
    }
}
