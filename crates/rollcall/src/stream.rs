//! Server-sent events, read line by line.

use crate::api::{self, Caller};
use serde_json::Value;
use std::cmp::Ordering;
use std::io::{BufRead, BufReader};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

/// What a watch tells.
#[derive(Debug)]
pub(crate) enum Event {
    /// The user as it is; again after each reconnection, with a history of what was not told yet.
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
        let mut told = Told::default();
        loop {
            let read = once(&caller, &impi, |mut event| {
                begun = true;
                failures = 0;
                told.note(&mut event);
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

/// How far the steps were told; several may share one millisecond.
#[derive(Default)]
struct Told {
    last: String,
    at_last: usize,
}

impl Told {
    fn note(&mut self, event: &mut Event) {
        match event {
            Event::Observation(step) => self.step(step),
            Event::View(view) => {
                let Some(history) = view["recent"].as_array_mut() else { return };
                let mut again = self.at_last;
                history.retain(|step| match step["at"].as_str().unwrap_or("").cmp(&self.last) {
                    Ordering::Less => false,
                    Ordering::Equal if again > 0 => {
                        again -= 1;
                        false
                    }
                    Ordering::Equal | Ordering::Greater => true,
                });
                history.iter().for_each(|step| self.step(step));
            }
            Event::Lost(_) | Event::Failed(_) => {}
        }
    }

    fn step(&mut self, step: &Value) {
        let at = step["at"].as_str().unwrap_or("");
        if at == self.last {
            self.at_last += 1;
        } else {
            at.clone_into(&mut self.last);
            self.at_last = 1;
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_step_is_told_once_even_within_one_millisecond() {
        let step = |at: &str, cause: &str| json!({"at": at, "cause": cause});
        let causes = |event: &Event| match event {
            Event::View(view) => view["recent"].as_array().map_or(0, Vec::len),
            Event::Observation(_) | Event::Lost(_) | Event::Failed(_) => 0,
        };
        let mut told = Told::default();
        let mut first = Event::View(json!({"recent": [step("1", "a"), step("2", "b"), step("2", "c")]}));
        told.note(&mut first);
        assert_eq!(causes(&first), 3);
        told.note(&mut Event::Observation(step("2", "d")));
        let mut second = Event::View(json!({"recent":
            [step("1", "a"), step("2", "b"), step("2", "c"), step("2", "d"), step("2", "e"), step("3", "f")]}));
        told.note(&mut second);
        let Event::View(view) = &second else { return };
        assert_eq!(view["recent"], json!([step("2", "e"), step("3", "f")]));
    }
}
