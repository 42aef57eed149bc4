//! RFC 3261 §13 — calls that end at the application server: those it answers, and those it makes on behalf of a user.

use super::{
    AgentCall, AgentState, Error,
    server::{Job, MOST, Owner, Server},
    side::Side,
    way::Hop,
};
use crate::{
    sdp::Session,
    wire::{Heard, Key, Origin, Target, Text},
};
use std::net::{IpAddr, Ipv4Addr};
use tokio::sync::{oneshot, watch};

type Done = oneshot::Sender<Result<u16, Error>>;

/// A call of the server's.
pub(super) struct Agent {
    side: Side,
    session: Session,
    state: watch::Sender<AgentState>,
    /// Branch of an INVITE of the server's.
    branch: String,
    /// The INVITE that was answered, until its ACK.
    asked: Option<Key>,
    ack: Option<(Vec<u8>, Target)>,
    hanging_up: Option<Done>,
    cancelled: bool,
}

impl Agent {
    fn is(&self, state: &AgentState) -> bool {
        *self.state.borrow() == *state
    }

    fn is_being_set_up(&self) -> bool {
        matches!(*self.state.borrow(), AgentState::Calling | AgentState::Ringing { .. })
    }
}

impl Server {
    fn add_agent(&mut self, side: Side, state: AgentState) -> (u64, AgentCall) {
        let (sender, state) = watch::channel(state);
        let call = self.number();
        let address = self.way.wire.addresses().first().map(|own| own.address.ip());
        let shown =
            AgentCall { id: call, call_id: side.call_id.clone(), state, inputs: self.shared.inputs.clone() };
        self.owners.insert(side.name(), Owner::Agent(call));
        let agent = Agent {
            side,
            session: Session::new(address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))),
            state: sender,
            branch: String::new(),
            asked: None,
            ack: None,
            hanging_up: None,
            cancelled: false,
        };
        self.agents.insert(call, agent);
        self.shared.calls.add(shown.clone());
        (call, shown)
    }

    /// Answers a request as a user agent does.
    pub(super) fn answer(&mut self, key: &Key, request: &Text, origin: Origin, tag: String) {
        let contact = format!("<{}>", self.way.own(Some(&origin)));
        if request.method() != "INVITE" {
            let mut response = self.response(request, 200, &tag);
            response.push("Contact", contact);
            return self.say(key, &response);
        }
        if self.agents.len() >= MOST {
            return self.say(key, &self.response(request, 486, &tag));
        }
        let mut side = Side::called(request, origin);
        side.tag = tag;
        let (call, _) = self.add_agent(side, AgentState::Established);
        self.accept(call, key, request, true);
    }

    /// Says 200 (OK) with a session description.
    fn accept(&mut self, call: u64, key: &Key, request: &Text, initial: bool) {
        let Some(agent) = self.agents.get_mut(&call) else { return };
        let mut response = request.response(200, "OK", &agent.side.tag);
        for route in request.values("Record-Route").filter(|_| initial) {
            response.push("Record-Route", route);
        }
        response.push("Contact", format!("<{}>", self.way.own(agent.side.origin.as_ref())));
        agent.side.refresh_target(request);
        let invite = request.method() == "INVITE";
        if invite || !request.body.is_empty() {
            let session = match request.body.is_empty() {
                true => agent.session.offer(),
                false => agent.session.answer(&String::from_utf8_lossy(&request.body)),
            };
            response.push("Content-Type", "application/sdp");
            response.body = session.into_bytes();
        }
        if invite {
            agent.asked = Some(key.clone());
        }
        self.say(key, &response);
    }

    /// A request within a call.
    pub(super) fn asked(&mut self, call: u64, key: &Key, request: &Text) {
        match request.method() {
            "INVITE" | "UPDATE" => self.accept(call, key, request, false),
            "BYE" => {
                let reason = Some(request.value("Reason").to_owned()).filter(|reason| !reason.is_empty());
                if let Some(agent) = self.agents.get(&call) {
                    self.say(key, &self.response(request, 200, &agent.side.tag));
                }
                self.end_agent(call, AgentState::Released { reason });
            }
            _ => {
                let tag = self.agents.get(&call).map_or("", |agent| agent.side.tag.as_str());
                self.say(key, &self.response(request, 200, tag));
            }
        }
    }

    /// Calls somebody on behalf of a user.
    pub(super) fn originate(&mut self, served: &str, to: &str, registered: bool) -> Result<AgentCall, Error> {
        let name = self.s_cscf_name.clone().ok_or(Error::NoSCscf)?;
        if self.agents.len() >= MOST {
            return Err(Error::TooMany);
        }
        let routes = vec![format!("<{name};lr;orig>")];
        let side = Side::calling(&format!("<{served}>"), &format!("<{to}>"), to, routes);
        let (call, shown) = self.add_agent(side, AgentState::Calling);
        let own = self.way.own(None);
        let Some(agent) = self.agents.get_mut(&call) else { return Err(Error::Stopped) };
        let mut invite = agent.side.next("INVITE");
        let state = if registered { "reg" } else { "unreg" };
        invite.push("P-Served-User", format!("<{served}>;sescase=orig;regstate={state}"));
        invite.push("P-Asserted-Identity", format!("<{served}>"));
        invite.push("P-Charging-Vector", format!("icid-value=\"{:032x}\"", rand::random::<u128>()));
        invite.push("Contact", format!("<{own}>"));
        invite.push("Allow", "INVITE, ACK, CANCEL, BYE, UPDATE, INFO, OPTIONS");
        invite.push("Content-Type", "application/sdp");
        invite.body = agent.session.offer().into_bytes();
        let hop = self.way.next(&invite, None);
        let Some(branch) = self.send(invite, hop, Job::Agent { call, method: "INVITE" }) else {
            self.end_agent(call, AgentState::Refused { status: 0 });
            return Err(Error::NoSCscf);
        };
        if let Some(agent) = self.agents.get_mut(&call) {
            agent.branch = branch;
        }
        Ok(shown)
    }

    /// What came of a request of a call.
    pub(super) fn agent_heard(&mut self, call: u64, method: &'static str, heard: Heard) {
        match (method, heard) {
            ("INVITE", Heard::Provisional(response)) => {
                let status = response.status();
                let agent =
                    self.agents.get_mut(&call).filter(|agent| agent.is_being_set_up() && status > 100);
                if let Some(agent) = agent {
                    agent.state.send_replace(AgentState::Ringing { status });
                }
            }
            ("INVITE", Heard::Final(response)) if response.status() / 100 == 2 => {
                self.call_answered(call, &response);
            }
            ("INVITE", Heard::Final(response)) => {
                self.end_agent(call, AgentState::Refused { status: response.status() });
            }
            ("INVITE", Heard::Timeout | Heard::Unreachable(_)) => {
                self.end_agent(call, AgentState::Refused { status: 0 });
            }
            ("BYE", Heard::Final(response)) => {
                self.end_agent(call, AgentState::HungUp { status: response.status() });
            }
            ("BYE", Heard::Timeout | Heard::Unreachable(_)) => {
                self.end_agent(call, AgentState::HungUp { status: 0 });
            }
            _ => {}
        }
    }

    /// A 2xx to an INVITE of the server's: acknowledged each time, and released if it is of another branch.
    fn call_answered(&mut self, call: u64, response: &Text) {
        let Some(agent) = self.agents.get_mut(&call) else { return };
        if let Some((octets, target)) =
            agent.ack.as_ref().filter(|_| agent.side.remote_tag == response.tag("To"))
        {
            return self.way.wire.pass(octets.clone(), target.clone());
        }
        let first = agent.ack.is_none();
        let mut side = agent.side.clone();
        side.answered(response);
        let ack = self.acknowledge(side.ack(response.cseq().0), side.origin.as_ref());
        if !first {
            let bye = side.next("BYE");
            let hop = self.way.next(&bye, side.origin.as_ref());
            self.send(bye, hop, Job::Nothing);
            return;
        }
        let Some(agent) = self.agents.get_mut(&call) else { return };
        (agent.side, agent.ack) = (side, ack);
        agent.state.send_replace(AgentState::Established);
        if agent.cancelled {
            self.bye(call);
        }
    }

    pub(super) fn hang_up(&mut self, call: u64, done: Done) {
        let Some(agent) = self.agents.get_mut(&call).filter(|agent| agent.hanging_up.is_none()) else {
            let _ = done.send(Err(Error::NotNow));
            return;
        };
        agent.hanging_up = Some(done);
        if agent.is(&AgentState::Established) {
            self.bye(call);
        } else {
            agent.cancelled = true;
            let branch = agent.branch.clone();
            self.way.wire.cancel(&branch, Vec::new());
        }
    }

    fn bye(&mut self, call: u64) {
        let Some(agent) = self.agents.get_mut(&call) else { return };
        let bye = agent.side.next("BYE");
        let origin = agent.side.origin.clone();
        let hop = self.way.next(&bye, origin.as_ref());
        let there = matches!(hop, Hop::There(_));
        self.send(bye, hop, Job::Agent { call, method: "BYE" });
        if !there {
            self.end_agent(call, AgentState::HungUp { status: 0 });
        }
    }

    pub(super) fn agent_unacknowledged(&mut self, of: &Key) {
        let found = self.agents.iter().find(|(_, agent)| agent.asked.as_ref() == Some(of));
        if let Some(call) = found.map(|(call, _)| *call) {
            self.bye(call);
        }
    }

    fn end_agent(&mut self, call: u64, state: AgentState) {
        let Some(mut agent) = self.agents.remove(&call) else { return };
        self.owners.remove(&agent.side.name());
        let status = match state {
            AgentState::HungUp { status } | AgentState::Refused { status } => status,
            AgentState::Released { .. }
            | AgentState::Calling
            | AgentState::Ringing { .. }
            | AgentState::Established => 200,
        };
        if let Some(done) = agent.hanging_up.take() {
            let _ = done.send(if status == 0 { Err(Error::NoAnswer) } else { Ok(status) });
        }
        agent.state.send_replace(state);
    }
}
