//! What operators see: each step leaves an observation, kept for a while and told to whoever watches.

use crate::shell::Shell;
use admin::{Observation, Refused, Seen};
use ahash::AHashMap;
use scscf::cx::{self, Demand};
use scscf::user::Summary;
use scscf::view::RegistrationState;
use scscf::{Effect, Event, Impi, Outcome, Purpose, Reply, User};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Histories and watchers of users. They outlive the actors.
pub(crate) struct Recorder {
    histories: RefCell<AHashMap<Impi, History>>,
    /// Users in the order in which they are forgotten, but for those seen again since.
    order: RefCell<VecDeque<(Impi, u64)>>,
    watchers: RefCell<AHashMap<Impi, Vec<mpsc::Sender<Seen>>>>,
    each: usize,
    users: usize,
}

#[derive(Default)]
struct History {
    seen: VecDeque<Arc<Observation>>,
    steps: u64,
}

/// Watchers of one user.
const WATCHERS: usize = 64;
/// Observations that may wait for a watcher; a slower one is let go.
const BACKLOG: usize = 256;

/// What is noted before a step.
pub(crate) struct Noting {
    before: Summary,
    wrong_answers: u32,
    cause: Option<String>,
    now: scscf::Timestamp,
}

impl Recorder {
    pub(crate) fn new(config: &crate::Config) -> Self {
        Self {
            histories: RefCell::default(),
            order: RefCell::default(),
            watchers: RefCell::default(),
            each: config.observe.recorder,
            users: config.observe.recorded_users,
        }
    }

    pub(crate) fn history(&self, impi: &Impi) -> Vec<Arc<Observation>> {
        self.histories
            .borrow()
            .get(impi)
            .map(|history| history.seen.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Follows a user; `None` if too many do.
    pub(crate) fn watch(&self, impi: &Impi) -> Option<mpsc::Receiver<Seen>> {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let mut watchers = self.watchers.borrow_mut();
        watchers.retain(|_, all| {
            all.retain(|watcher| !watcher.is_closed());
            !all.is_empty()
        });
        let all = watchers.entry(impi.clone()).or_default();
        (all.len() < WATCHERS).then(|| {
            all.push(sender);
            receiver
        })
    }

    /// Users whom others step from now on: whoever watches them here asks again.
    pub(crate) fn end_watches(&self, is_gone: impl Fn(&Impi) -> bool) {
        self.watchers.borrow_mut().retain(|impi, _| !is_gone(impi));
    }

    pub(crate) fn is_watched(&self, impi: &Impi) -> bool {
        let watchers = self.watchers.borrow();
        !watchers.is_empty() && watchers.contains_key(impi)
    }

    fn is_on(&self) -> bool {
        (self.each > 0 && self.users > 0) || !self.watchers.borrow().is_empty()
    }

    fn tell(&self, impi: &Impi, observation: &Arc<Observation>) {
        let mut watchers = self.watchers.borrow_mut();
        if let Some(all) = watchers.get_mut(impi) {
            all.retain(|watcher| watcher.try_send(Seen::Here(Arc::clone(observation))).is_ok());
            if all.is_empty() {
                watchers.remove(impi);
            }
        }
    }

    fn keep(&self, impi: &Impi, observation: Arc<Observation>) {
        if self.each == 0 || self.users == 0 {
            return;
        }
        let mut histories = self.histories.borrow_mut();
        let mut order = self.order.borrow_mut();
        if !histories.contains_key(impi) {
            while histories.len() >= self.users {
                let Some((oldest, steps)) = order.pop_front() else { break };
                match histories.get(&oldest) {
                    Some(history) if history.steps > steps => order.push_back((oldest, history.steps)),
                    Some(_) | None => {
                        histories.remove(&oldest);
                    }
                }
            }
            order.push_back((impi.clone(), 1));
        }
        let history = histories.entry(impi.clone()).or_default();
        if history.seen.len() >= self.each {
            history.seen.pop_front();
        }
        history.seen.push_back(observation);
        history.steps += 1;
    }
}

impl Shell {
    pub(crate) fn note_before(&self, user: &User, event: &Event) -> Noting {
        Noting {
            before: user.summary(),
            wrong_answers: user.wrong_answers(),
            cause: self.recorder.is_on().then(|| cause(event)),
            now: self.clock.now(),
        }
    }

    pub(crate) fn note_after(&self, noting: Noting, user: &User, outcome: &Outcome) {
        let (before, after) = (noting.before, user.summary());
        self.count(user.impi(), &before, &after, outcome);
        self.telemetry.wrong_answers.inc_by(user.wrong_answers().saturating_sub(noting.wrong_answers).into());
        let Some(cause) = noting.cause else { return };
        let refused = outcome.refused.as_ref().map(|refused| Refused {
            status: refused.status.code(),
            clause: refused.clause,
            why: refused.why.to_string(),
        });
        let observation = Observation {
            at: noting.now,
            cause,
            summary: outcome.summary.to_string(),
            refused,
            effects: outcome.effects.iter().map(effect).collect(),
            view: None,
        };
        let impi = user.impi();
        if self.recorder.is_watched(impi) {
            let view = Some(Box::new(user.view()));
            self.recorder.tell(impi, &Arc::new(Observation { view, ..observation.clone() }));
        }
        self.recorder.keep(impi, Arc::new(observation));
    }

    fn count(&self, impi: &Impi, before: &Summary, after: &Summary, outcome: &Outcome) {
        let telemetry = &self.telemetry;
        match (before.state == RegistrationState::Registered, after.state == RegistrationState::Registered) {
            (false, true) => {
                telemetry.users.inc();
                self.shards.count_registered(impi, 1);
            }
            (true, false) => {
                telemetry.users.dec();
                self.shards.count_registered(impi, -1);
            }
            (true, true) | (false, false) => {}
        }
        match (before.reauthentication, after.reauthentication) {
            (false, true) => {
                telemetry.reauthentications_started.inc();
            }
            (true, false) => {
                let accepted = outcome.effects.iter().any(
                    |effect| matches!(effect, Effect::Respond { response, .. } if response.status().is_success()),
                );
                if accepted && after.bindings > 0 {
                    telemetry.reauthentications_succeeded.inc();
                } else {
                    telemetry.reauthentications_lapsed.inc();
                }
            }
            (true, true) | (false, false) => {}
        }
    }
}

fn cause(event: &Event) -> String {
    match event {
        Event::Request { request, .. } => request.method().as_str().to_owned(),
        Event::Ack { .. } => "ACK".into(),
        Event::Cancel { .. } => "CANCEL".into(),
        Event::Reply { to: Purpose::Relay(..), reply: Reply::Response(response) } => {
            format!("{} to {}", response.status().code(), response.cseq().method)
        }
        Event::Reply { to, reply } => {
            let what = match to {
                Purpose::Notify(_) => "NOTIFY",
                Purpose::Refer => "REFER",
                Purpose::Relay(..) => "a request on its way",
                Purpose::Release(..) => "BYE",
                Purpose::ThirdPartyRegister(_) => "third-party REGISTER",
            };
            match reply {
                Reply::Response(response) => format!("{} to {what}", response.status().code()),
                Reply::Timeout => format!("no answer to {what}"),
                Reply::Unsendable => format!("{what} could not be sent"),
            }
        }
        Event::CxAnswer { answer: cx::Answer::MultimediaAuth(Ok(_)), .. } => "MAA".into(),
        Event::CxAnswer { answer: cx::Answer::ServerAssignment(Ok(_)), .. } => "SAA".into(),
        Event::CxAnswer { answer: cx::Answer::MultimediaAuth(Err(failure)), .. } => format!("MAA: {failure}"),
        Event::CxAnswer { answer: cx::Answer::ServerAssignment(Err(failure)), .. } => {
            format!("SAA: {failure}")
        }
        Event::CxDemand { demand, .. } => match demand {
            Demand::RegistrationTermination(_) => "RTR".into(),
            Demand::PushProfile(_) => "PPR".into(),
            Demand::ReAuth(_) => "RAR".into(),
        },
        Event::Reauthenticate { .. } => "operator asks for re-authentication".into(),
        Event::Deregister { .. } => "operator asks for deregistration".into(),
        Event::Sibling { impi, .. } => format!("contacts of {impi}"),
        Event::Deadline => "deadline".into(),
        Event::Resumed => "resumed".into(),
    }
}

fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Respond { response, .. } => {
            format!(
                "{} {} to {}",
                response.status().code(),
                response.reason(),
                response.cseq().method.as_str()
            )
        }
        Effect::Send { request, .. } => format!("{} to {}", request.method().as_str(), request.uri_text()),
        Effect::Relay { request, .. } => format!("{} onward to {}", request.method().as_str(), next(request)),
        Effect::Cancel { .. } => "CANCEL".into(),
        Effect::Pass { request } => format!("{} onward to {}", request.method().as_str(), next(request)),
        Effect::CxRequest { request: cx::Request::MultimediaAuth(_), .. } => "MAR".into(),
        Effect::CxRequest { request: cx::Request::ServerAssignment(sar), .. } => {
            format!("SAR {:?}", sar.assignment)
        }
        Effect::CxAnswer { answer, .. } => format!("answer to the HSS: {}", answer.result),
        Effect::Tell { .. } => "answer to the operator".into(),
        Effect::TellSiblings { contacts, .. } => format!("{} contacts told to siblings", contacts.len()),
    }
}

/// Where a request goes next, in short.
fn next(request: &sip::Request) -> String {
    match request.values(sip::Name::Route).next() {
        Some(route) => {
            let host = sip::NameAddr::parse(&route).map(|route| route.uri.host().to_owned());
            format!("{} by {}", request.uri_text(), host.unwrap_or_default())
        }
        None => request.uri_text().to_owned(),
    }
}
