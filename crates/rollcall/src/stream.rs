//! Server-sent events, read line by line.

use crate::api::{self, Caller};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

/// What a watch tells.
#[derive(Debug)]
pub(crate) enum Event {
    /// The user as it is; again after each reconnection.
    View(Value),
    /// One step.
    Observation(Value),
    /// The connection is lost and will be tried again.
    Lost(String),
    /// It cannot be had.
    Failed(anyhow::Error),
}

/// Attempts to come back before it is given up.
const ATTEMPTS: u32 = 10;

/// Follows a user on a thread of its own, through lost connections.
pub(crate) fn follow(caller: Caller, impi: String) -> Receiver<Event> {
    let (sender, receiver) = sync_channel(256);
    std::thread::spawn(move || {
        let mut failures = 0;
        let mut begun = false;
        loop {
            let read = once(&caller, &impi, |event| {
                begun = true;
                failures = 0;
                sender.send(event).is_ok()
            });
            let why = match read {
                Ok(Some(why)) => why,
                Ok(None) => return,
                Err(error) if !begun || failures >= ATTEMPTS => {
                    let _ = sender.send(Event::Failed(error));
                    return;
                }
                Err(error) => error.to_string(),
            };
            failures += 1;
            if sender.send(Event::Lost(why)).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(u64::from(failures) * 300));
        }
    });
    receiver
}

/// One connection; why it ended, or `None` if nobody listens any more.
fn once(caller: &Caller, impi: &str, mut tell: impl FnMut(Event) -> bool) -> anyhow::Result<Option<String>> {
    let mut answer = caller.open(&api::user(impi, "/watch"))?;
    if !answer.status().is_success() {
        caller.said(answer)?.accepted()?;
        return Ok(Some("no events".into()));
    }
    let mut lines = BufReader::new(answer.body_mut().as_reader()).lines();
    let mut name = String::new();
    while let Some(Ok(line)) = lines.next() {
        if let Some(given) = line.strip_prefix("event: ") {
            given.clone_into(&mut name);
        }
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let data: Value = serde_json::from_str(data)?;
        let event = match name.as_str() {
            "view" => Event::View(data),
            "observation" => Event::Observation(data),
            "end" => return Ok(Some(data["why"].as_str().unwrap_or("the node ended the watch").to_owned())),
            _ => continue,
        };
        if !tell(event) {
            return Ok(None);
        }
    }
    Ok(Some("the connection is lost".into()))
}
