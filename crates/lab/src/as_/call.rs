//! Calls that an application server has by itself, as others see them.

use super::{Error, locked, server::Input};
use serde::Serialize;
use std::{collections::VecDeque, sync::Mutex};
use tokio::sync::{mpsc, oneshot, watch};

/// How many calls are shown, the latest.
const SHOWN: usize = 1_000;

/// Where a call of the server's stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum AgentState {
    /// The INVITE is out.
    Calling,
    /// A provisional response came.
    Ringing {
        /// Its status code.
        status: u16,
    },
    /// It is answered.
    Established,
    /// The INVITE was refused, or nobody answered, which is 0.
    Refused {
        /// Status code.
        status: u16,
    },
    /// BYE was sent.
    HungUp {
        /// What was said to it; 0 if nothing.
        status: u16,
    },
    /// BYE came.
    Released {
        /// Its Reason.
        reason: Option<String>,
    },
}

impl AgentState {
    /// Whether it is over.
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::HungUp { .. } | Self::Released { .. })
    }
}

/// A call that the server made or answered.
#[derive(Clone, Debug)]
pub struct AgentCall {
    pub(super) id: u64,
    pub(super) call_id: String,
    pub(super) state: watch::Receiver<AgentState>,
    pub(super) inputs: mpsc::UnboundedSender<Input>,
}

impl AgentCall {
    /// Call-ID.
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// Where it stands.
    pub fn state(&self) -> AgentState {
        self.state.borrow().clone()
    }

    /// Waits until it is answered.
    pub async fn established(&mut self) -> Result<(), Error> {
        let reached = |state: &AgentState| *state == AgentState::Established || state.is_over();
        let state = self.state.wait_for(reached).await.map_err(|_| Error::Stopped)?.clone();
        match state {
            AgentState::Established => Ok(()),
            AgentState::Refused { status: 0 } => Err(Error::NoAnswer),
            AgentState::Refused { status } => Err(Error::Refused(status)),
            AgentState::HungUp { .. }
            | AgentState::Released { .. }
            | AgentState::Calling
            | AgentState::Ringing { .. } => Err(Error::NotNow),
        }
    }

    /// Waits until it is over.
    pub async fn ended(&mut self) -> Result<AgentState, Error> {
        let state = self.state.wait_for(AgentState::is_over).await;
        state.map(|state| state.clone()).map_err(|_| Error::Stopped)
    }

    /// Sends BYE, or CANCEL if it is not answered yet; the status of the BYE, or of the INVITE.
    pub async fn hang_up(&self) -> Result<u16, Error> {
        let (done, outcome) = oneshot::channel();
        self.inputs.send(Input::HangUp { call: self.id, done }).map_err(|_| Error::Stopped)?;
        outcome.await.map_err(|_| Error::Stopped)?
    }
}

#[derive(Debug, Default)]
pub(super) struct Calls(Mutex<VecDeque<AgentCall>>);

impl Calls {
    pub(super) fn add(&self, call: AgentCall) {
        let mut calls = locked(&self.0);
        if calls.len() == SHOWN {
            calls.pop_front();
        }
        calls.push_back(call);
    }

    pub(super) fn all(&self) -> Vec<AgentCall> {
        locked(&self.0).iter().cloned().collect()
    }
}
