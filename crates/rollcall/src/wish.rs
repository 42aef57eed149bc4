//! What an operator wants done.

use crate::api::{self, Caller};
use crate::cli;
use crate::ladder::{clock, line, seconds_until, span};
use crate::stream::{self, Event};
use anyhow::{bail, ensure};
use serde_json::{Map, Value, json};
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// After the deadline the node has so long to say what became of it.
const GRACE: Duration = Duration::from_secs(15);

pub(crate) fn reauthenticate(args: &cli::Reauthenticate) -> anyhow::Result<()> {
    let mut body = Map::new();
    if let Some(period) = args.period {
        body.insert("period_s".into(), period.into());
    }
    if let Some(reason) = &args.reason {
        body.insert("reason".into(), reason.as_str().into());
    }
    let caller = Caller::new(&args.api);
    // The watch opens first, so that no step is missed.
    let watch = args.wait.then(|| begin(&args.api, &args.impi)).transpose()?;
    let said = caller.post(&api::user(&args.impi, "/reauthenticate"), &Value::Object(body))?;
    let pending = said.status == 409 && args.wait;
    if pending {
        eprintln!("rollcall: {}; following that one", said.refusal());
    }
    let answer = if pending { said.body } else { said.accepted()? };
    let deadline = answer["deadline"].as_str().unwrap_or("").to_owned();
    let left = seconds_until(&deadline).unwrap_or(0);
    writeln!(io::stdout(), "{} must re-authenticate by {} (in {})", args.impi, clock(&deadline), span(left))?;
    match watch {
        None => Ok(()),
        Some((events, before)) => wait(&args.impi, &events, &before, Duration::from_secs(left) + GRACE),
    }
}

fn begin(api: &cli::Api, impi: &str) -> anyhow::Result<(Receiver<Event>, Value)> {
    let events = stream::follow(Caller::new(api), impi.to_owned());
    match events.recv_timeout(Duration::from_secs(15)) {
        Ok(Event::View(view)) => Ok((events, view)),
        Ok(Event::Failed(error)) => Err(error),
        Ok(Event::Observation(_) | Event::Lost(_)) | Err(_) => bail!("{impi} cannot be watched now"),
    }
}

/// Follows a demand to its end.
fn wait(impi: &str, events: &Receiver<Event>, before: &Value, patience: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + patience;
    let mut asked = !before["reauthentication"].is_null();
    loop {
        let event = match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => {
                bail!("the deadline is over, and the node does not say what became of {impi}")
            }
            Err(RecvTimeoutError::Disconnected) => bail!("the watch ended"),
        };
        let view = match &event {
            Event::Observation(observation) => {
                writeln!(io::stdout(), "{}", line(observation))?;
                &observation["view"]
            }
            Event::View(view) => view,
            Event::Lost(why) => {
                eprintln!("rollcall: {why}; trying again");
                continue;
            }
            Event::Failed(_) => bail!("the node cannot be reached any more"),
        };
        if view.is_null() {
            continue;
        }
        let is_pending = !view["reauthentication"].is_null();
        let is_over = !is_pending && (asked || matches!(event, Event::View(_)));
        asked |= is_pending;
        if is_over {
            return judge(impi, before, view);
        }
    }
}

fn judge(impi: &str, before: &Value, after: &Value) -> anyhow::Result<()> {
    let state = after["state"].as_str().unwrap_or("");
    ensure!(state == "registered", "{impi} did not re-authenticate, and is deregistered");
    let success = |view: &Value| view["authentication"]["last_success_at"].clone();
    ensure!(success(after) != success(before), "{impi} did not re-authenticate, though the demand is over");
    writeln!(io::stdout(), "{impi} re-authenticated")?;
    Ok(())
}

pub(crate) fn deregister(args: &cli::Deregister) -> anyhow::Result<()> {
    let caller = Caller::new(&args.api);
    caller.post(&api::user(&args.impi, "/deregister"), &json!({"reason": args.reason}))?.accepted()?;
    writeln!(io::stdout(), "{} is being deregistered", args.impi)?;
    Ok(())
}

pub(crate) fn drain(args: &cli::Drain) -> anyhow::Result<()> {
    let caller = Caller::new(&args.api);
    caller.post(&format!("/v1/nodes/{}/drain", api::encode(&args.node)), &json!({}))?.accepted()?;
    writeln!(io::stdout(), "{} gives its shards away", args.node)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn view(state: &str, pending: bool, success: &str) -> Value {
        let pending = if pending { json!({"deadline": "x"}) } else { Value::Null };
        json!({"state": state, "reauthentication": pending, "authentication": {"last_success_at": success}})
    }

    fn end(events: Vec<Event>) -> Result<(), String> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(16);
        events.into_iter().for_each(|event| sender.send(event).unwrap());
        drop(sender);
        wait("a@b", &receiver, &view("registered", false, "1"), Duration::from_secs(1))
            .map_err(|error| error.to_string())
    }

    fn step(state: &str, pending: bool, success: &str) -> Event {
        Event::Observation(json!({"effects": [], "view": view(state, pending, success)}))
    }

    #[test]
    fn only_a_new_success_counts() {
        assert_eq!(end(vec![step("registered", true, "1"), step("registered", false, "2")]), Ok(()));
        let other = step("registered", false, "1");
        assert_eq!(end(vec![other, step("registered", true, "1"), step("registered", false, "2")]), Ok(()));
        let lapsed =
            end(vec![step("registered", true, "1"), step("not_registered", false, "1")]).unwrap_err();
        assert!(lapsed.contains("is deregistered"), "{lapsed}");
        let vanished = end(vec![step("registered", true, "1"), step("registered", false, "1")]).unwrap_err();
        assert!(vanished.contains("did not re-authenticate"), "{vanished}");
        assert_eq!(end(vec![step("registered", true, "1")]).unwrap_err(), "the watch ended");
    }

    #[test]
    fn a_view_after_a_lost_connection_tells_the_end() {
        let lost = || Event::Lost("gone".into());
        let back = |state: &str, success: &str| Event::View(view(state, false, success));
        assert_eq!(end(vec![lost(), back("registered", "2")]), Ok(()));
        assert!(end(vec![lost(), back("not_registered", "1")]).is_err());
    }
}
