//! One user, live.

use crate::api::Caller;
use crate::cli;
use crate::ladder;
use crate::show::{items, summary};
use crate::stream::{self, Event};
use console::{Term, truncate_str};
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// Ladder lines kept for a terminal of any height.
const KEPT: usize = 400;

pub(crate) fn run(args: &cli::Watch) -> anyhow::Result<()> {
    let events = stream::follow(Caller::new(&args.api), args.impi.clone());
    let term = Term::stdout();
    if term.is_term() { live(&term, &events) } else { lines(&events) }
}

/// Each step is one line; nothing is ever redrawn.
fn lines(events: &Receiver<Event>) -> anyhow::Result<()> {
    for event in events {
        let mut out = io::stdout().lock();
        match event {
            Event::View(view) => {
                writeln!(out, "{}", summary(&view).join("; "))?;
                items(&view["recent"]).try_for_each(|step| writeln!(out, "{}", ladder::line(step)))?;
            }
            Event::Observation(observation) => writeln!(out, "{}", ladder::line(&observation))?,
            Event::Lost(why) => eprintln!("rollcall: {why}; trying again"),
            Event::Failed(error) => return Err(error),
        }
        out.flush()?;
    }
    Ok(())
}

struct Scene {
    view: Value,
    rungs: VecDeque<String>,
    trouble: Option<String>,
}

impl Scene {
    fn step(&mut self, observation: &Value) {
        self.rungs.extend(ladder::rungs(observation));
        while self.rungs.len() > KEPT {
            self.rungs.pop_front();
        }
    }

    fn take(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::View(mut view) => {
                self.trouble = None;
                if let Value::Array(recent) = view["recent"].take() {
                    recent.iter().for_each(|step| self.step(step));
                }
                self.view = view;
            }
            Event::Observation(mut observation) => {
                self.step(&observation);
                let view = observation["view"].take();
                if !view.is_null() {
                    self.view = view;
                }
            }
            Event::Lost(why) => self.trouble = Some(format!("{why}; trying again")),
            Event::Failed(error) => return Err(error),
        }
        Ok(())
    }

    fn lines(&self, height: usize) -> Vec<String> {
        let mut lines = summary(&self.view);
        for binding in items(&self.view["bindings"]) {
            let left = binding["expires_at"].as_str().and_then(ladder::seconds_until).unwrap_or(0);
            lines.push(format!(
                "binding       {} expires in {}",
                binding["contact"].as_str().unwrap_or(""),
                ladder::span(left)
            ));
        }
        for subscription in items(&self.view["subscriptions"]) {
            let left = subscription["expires_at"].as_str().and_then(ladder::seconds_until).unwrap_or(0);
            lines.push(format!(
                "subscription  {} {} expires in {}",
                subscription["event"].as_str().unwrap_or(""),
                subscription["subscriber"].as_str().unwrap_or(""),
                ladder::span(left)
            ));
        }
        lines.push(self.trouble.clone().map_or_else(String::new, |why| format!("!! {why}")));
        lines.push(ladder::heads());
        let room = height.saturating_sub(lines.len() + 1).max(3);
        let skip = self.rungs.len().saturating_sub(room);
        lines.extend(self.rungs.iter().skip(skip).cloned());
        lines
    }
}

fn live(term: &Term, events: &Receiver<Event>) -> anyhow::Result<()> {
    let mut scene = Scene { view: Value::Null, rungs: VecDeque::new(), trouble: None };
    let mut drawn = 0;
    loop {
        match events.recv_timeout(Duration::from_millis(500)) {
            Ok(event) => {
                scene.take(event)?;
                while let Ok(event) = events.try_recv() {
                    scene.take(event)?;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        if !scene.view.is_null() {
            let height = usize::from(term.size().0);
            drawn = redraw(term, drawn, &scene.lines(height))?;
        }
    }
}

/// Draws over what was drawn before; how many lines there are now.
pub(crate) fn redraw(term: &Term, drawn: usize, lines: &[String]) -> io::Result<usize> {
    let (height, width) = term.size();
    let shown = &lines[..lines.len().min(usize::from(height).saturating_sub(1).max(1))];
    let mut picture = String::new();
    if drawn > 0 {
        picture.push_str(&format!("\x1b[{drawn}A\r"));
    }
    for line in shown {
        picture.push_str(&truncate_str(line, usize::from(width).saturating_sub(1), "…"));
        picture.push_str("\x1b[K\n");
    }
    picture.push_str("\x1b[J");
    term.write_str(&picture)?;
    term.flush()?;
    Ok(shown.len())
}
