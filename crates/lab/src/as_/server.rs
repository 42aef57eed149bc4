//! The loop of an application server: what comes, whose it is, and what the mode says about it.

use super::{
    AgentCall, Behaviour, Error, Mode, Shared,
    agent::Agent,
    bridge::Bridge,
    locked,
    way::{Hop, Way},
};
use crate::wire::{self, Arrived, Heard, Key, Origin, Repeated, Text, phrase};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// How many requests wait for their delay, are on their way through, are bridged, or are calls; each of these.
pub(super) const MOST: usize = 10_000;
/// How long an INVITE is left without final response where nothing is to be said to it.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// What comes to a server.
#[derive(Debug)]
pub(super) enum Input {
    Arrived(Arrived),
    /// What came of a request of the server's, by the branch of the request.
    Heard(Job, String, Heard),
    /// A request has waited long enough.
    Due(Key),
    Originate {
        served_user: String,
        to: String,
        registered: bool,
        done: oneshot::Sender<Result<AgentCall, Error>>,
    },
    HangUp {
        call: u64,
        done: oneshot::Sender<Result<u16, Error>>,
    },
}

/// Why a request was sent.
#[derive(Clone, Debug)]
pub(super) enum Job {
    /// It goes through.
    Relay { key: Key, request: Arc<Text> },
    /// It stands for one that came from a side of a bridge.
    Bridge { bridge: u64, from: usize, key: Key, request: Arc<Text> },
    /// It is part of a call.
    Agent { call: u64, method: &'static str },
    /// Nobody waits for what comes of it.
    Nothing,
}

/// A request that waits.
struct Held {
    request: Text,
    origin: Origin,
    mode: Mode,
    tag: String,
}

/// Whose a dialog is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A bridge's, and which side of it.
    Bridge(u64, usize),
    /// A call's.
    Agent(u64),
}

pub(super) struct Server {
    pub(super) way: Way,
    pub(super) shared: Arc<Shared>,
    pub(super) record_route: bool,
    pub(super) s_cscf_name: Option<String>,
    held: HashMap<Key, Held>,
    /// Branches of requests that are on their way for one that came.
    pub(super) under_way: HashMap<Key, String>,
    /// By Call-ID and tag of the server's side.
    pub(super) owners: HashMap<(String, String), Owner>,
    pub(super) bridges: BTreeMap<u64, Bridge>,
    pub(super) agents: BTreeMap<u64, Agent>,
    last: u64,
}

impl Server {
    pub(super) fn new(
        way: Way,
        shared: Arc<Shared>,
        record_route: bool,
        s_cscf_name: Option<String>,
    ) -> Self {
        Self {
            way,
            shared,
            record_route,
            s_cscf_name,
            held: HashMap::new(),
            under_way: HashMap::new(),
            owners: HashMap::new(),
            bridges: BTreeMap::new(),
            agents: BTreeMap::new(),
            last: 0,
        }
    }

    pub(super) async fn run(mut self, mut mailbox: mpsc::UnboundedReceiver<Input>) {
        while let Some(input) = mailbox.recv().await {
            match input {
                Input::Arrived(arrived) => self.arrived(arrived),
                Input::Heard(job, branch, heard) => self.heard(job, &branch, heard),
                Input::Due(key) => self.due(&key),
                Input::Originate { served_user, to, registered, done } => {
                    let _ = done.send(self.originate(&served_user, &to, registered));
                }
                Input::HangUp { call, done } => self.hang_up(call, done),
            }
        }
    }

    fn arrived(&mut self, arrived: Arrived) {
        match arrived {
            Arrived::Request { key, mut text, origin } => {
                self.shared.journal.enter(&text);
                text.note_source(origin.address());
                self.way.take_own_route(&mut text);
                if text.method() == "REGISTER" {
                    self.registered(&key, &text);
                } else if text.tag("To").is_empty() {
                    self.begun(key, text, origin);
                } else {
                    self.within(key, text, origin);
                }
            }
            Arrived::Ack { mut text, origin } => {
                self.shared.journal.enter(&text);
                self.way.take_own_route(&mut text);
                match self.owner(&text) {
                    Some(Owner::Bridge(bridge, side)) => self.bridge_acknowledged(bridge, side, &text),
                    Some(Owner::Agent(_)) => {}
                    None => self.relay_ack(text, &origin),
                }
            }
            Arrived::Cancelled { of, text } => {
                self.shared.journal.enter(&text);
                self.cancelled(&of, &text);
            }
            Arrived::Unacknowledged { of } => self.unacknowledged(&of),
            Arrived::Unreadable(why) => tracing::debug!(target: "as", "! unreadable message: {why}"),
        }
    }

    fn owner(&self, message: &Text) -> Option<Owner> {
        self.owners.get(&(message.value("Call-ID").to_owned(), message.tag("To").to_owned())).copied()
    }

    fn heard(&mut self, job: Job, branch: &str, heard: Heard) {
        match job {
            Job::Relay { key, request } => self.relay_heard(&key, &request, heard),
            Job::Bridge { bridge, from, key, request } => {
                self.bridge_heard(bridge, from, &key, &request, branch, heard);
            }
            Job::Agent { call, method } => self.agent_heard(call, method, heard),
            Job::Nothing => {}
        }
    }

    /// TS 24.229 §5.7.1.1: the S-CSCF tells of a registration.
    fn registered(&self, key: &Key, request: &Text) {
        let Some(status) = *locked(&self.shared.register_status) else { return };
        let mut response = self.response(request, status, "registrar");
        if status / 100 == 2 {
            for name in ["Contact", "Expires"] {
                for value in request.values(name) {
                    response.push(name, value);
                }
            }
        }
        self.say(key, &response);
    }

    /// A request that begins something.
    fn begun(&mut self, key: Key, request: Text, origin: Origin) {
        let Behaviour { mode, delay, progress } = locked(&self.shared.behaviour).clone();
        let invite = request.method() == "INVITE";
        if mode == Mode::Silent {
            return;
        }
        let tag = wire::tag();
        if invite {
            self.say(&key, &self.response(&request, 100, &tag));
            if let Some(status) = progress {
                let mut response = self.response(&request, status, &tag);
                response.push("Contact", format!("<{}>", self.way.own(Some(&origin))));
                self.say(&key, &response);
            }
        }
        let held = Held { request, origin, mode, tag };
        let delay = if held.mode == Mode::Trying { FORGOTTEN } else { delay };
        if delay.is_zero() {
            return self.act(key, held);
        }
        if self.held.len() >= MOST {
            return self.say(&key, &self.response(&held.request, 503, &held.tag));
        }
        self.held.insert(key.clone(), held);
        let inputs = self.shared.inputs.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let _ = inputs.send(Input::Due(key));
        });
    }

    fn due(&mut self, key: &Key) {
        if let Some(held) = self.held.remove(key) {
            self.act(key.clone(), held);
        }
    }

    fn act(&mut self, key: Key, held: Held) {
        let Held { mut request, origin, mode, tag } = held;
        match mode {
            Mode::Proxy => self.relay(key, request, &origin),
            Mode::Retarget(to) => {
                request.retarget(&to);
                self.relay(key, request, &origin);
            }
            Mode::B2bua => self.bridge(key, request, origin, tag),
            Mode::Reject(status) => self.say(&key, &self.response(&request, status, &tag)),
            Mode::Redirect(to) => {
                let mut response = self.response(&request, 302, &tag);
                response.push("Contact", format!("<{to}>"));
                self.say(&key, &response);
            }
            Mode::Answer => self.answer(&key, &request, origin, tag),
            Mode::Silent | Mode::Trying => {}
        }
    }

    /// A request within a dialog.
    fn within(&mut self, key: Key, request: Text, origin: Origin) {
        if request.method() == "INVITE" {
            self.say(&key, &self.response(&request, 100, ""));
        }
        match self.owner(&request) {
            Some(Owner::Bridge(bridge, side)) => self.cross(bridge, side, key, request, Some(origin)),
            Some(Owner::Agent(call)) => self.asked(call, &key, &request),
            None if matches!(self.way.next(&request, Some(&origin)), Hop::Here) => {
                self.say(&key, &self.response(&request, 481, "none"));
            }
            None => self.relay(key, request, &origin),
        }
    }

    fn cancelled(&mut self, of: &Key, cancel: &Text) {
        if let Some(held) = self.held.remove(of) {
            return self.say(of, &self.response(&held.request, 487, &held.tag));
        }
        if let Some(branch) = self.under_way.get(of) {
            let reasons = cancel.values("Reason").map(|reason| ("Reason".to_owned(), reason.to_owned()));
            self.way.wire.cancel(branch, reasons.collect());
        }
    }

    fn unacknowledged(&mut self, of: &Key) {
        self.bridge_unacknowledged(of);
        self.agent_unacknowledged(of);
    }

    /// A number that nothing else has.
    pub(super) fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(super) fn response(&self, request: &Text, status: u16, tag: &str) -> Text {
        request.response(status, phrase(status), tag)
    }

    /// Says something of the server's own.
    pub(super) fn say(&self, key: &Key, response: &Text) {
        self.way.wire.respond(key, response.octets(), Repeated::Here);
    }

    /// Sends a request to that hop; its branch, unless there is nowhere to send it.
    pub(super) fn send(&self, mut request: Text, hop: Hop, job: Job) -> Option<String> {
        let Hop::There(target) = hop else { return None };
        let branch = wire::branch();
        request.prepend("Via", self.way.wire.via(&target, &branch));
        let octets = request.octets();
        let (inputs, name) = (self.shared.inputs.clone(), branch.clone());
        let tell = Box::new(move |heard| {
            let _ = inputs.send(Input::Heard(job.clone(), name.clone(), heard));
        });
        self.way.wire.send(request, octets, target, tell);
        Some(branch)
    }

    /// Sends an ACK; its octets and where they go, for when they are asked for again.
    pub(super) fn acknowledge(
        &self,
        mut ack: Text,
        origin: Option<&Origin>,
    ) -> Option<(Vec<u8>, wire::Target)> {
        let Hop::There(target) = self.way.next(&ack, origin) else { return None };
        ack.prepend("Via", self.way.wire.via(&target, &wire::branch()));
        let octets = ack.octets();
        self.way.wire.pass(octets.clone(), target.clone());
        Some((octets, target))
    }
}
