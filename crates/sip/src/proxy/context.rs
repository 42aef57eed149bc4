//! RFC 3261 §16.7 — the response context: the branches of one request, and what has come of each.

use crate::{Response, Status};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// One branch of a request, named by the caller; unique within its [`Context`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BranchId(pub u32);

/// Why a branch ends without a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BranchFailure {
    /// Nothing came in time; it counts as 408 (§16.8).
    Timeout,
    /// It could not be sent; it counts as 503 (§16.9).
    Unsendable,
}

impl BranchFailure {
    /// What it counts as.
    pub const fn status(self) -> Status {
        match self {
            Self::Timeout => Status::REQUEST_TIMEOUT,
            Self::Unsendable => Status::SERVICE_UNAVAILABLE,
        }
    }
}

/// What is to be done with a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing: a 100, a late one, one of an unknown branch.
    Absorbed,
    /// Forward it at once.
    Provisional(Response),
    /// Forward it at once, and cancel all [`Context::unanswered`] branches.
    Success(Response),
    /// It is kept. Once [`Context::is_done`], [`Context::best`] says what goes back.
    Refused,
    /// A 6xx; it is kept. Cancel all [`Context::unanswered`] branches and open no other.
    Declined,
}

/// The branches of one request. Its caller has at most as many as it opens.
#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    invite: bool,
    decided: bool,
    branches: SmallVec<[Branch; 2]>,
}

#[derive(Clone, Debug, PartialEq)]
struct Branch {
    id: BranchId,
    state: State,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Unanswered,
    /// Over, and nothing of it goes back any more.
    Over,
    Kept(Final),
}

/// A final response that may go back.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Final {
    Sent(Response),
    Nobodys(BranchFailure),
}

impl Final {
    pub(super) fn status(&self) -> Status {
        match self {
            Self::Sent(response) => response.status(),
            Self::Nobodys(failure) => failure.status(),
        }
    }
}

impl Context {
    /// Without branches; of an INVITE, or of another request.
    pub fn new(invite: bool) -> Self {
        Self { invite, decided: false, branches: SmallVec::new() }
    }

    /// Adds a branch to which the request is sent now.
    pub fn open(&mut self, branch: BranchId) {
        self.forget(branch);
        self.branches.push(Branch { id: branch, state: State::Unanswered });
    }

    /// Takes a response on a branch, our own Via removed.
    pub fn received(&mut self, branch: BranchId, response: Response) -> Heard {
        let Self { invite, decided, branches } = self;
        let Some(Branch { state, .. }) = branches.iter_mut().find(|known| known.id == branch) else {
            return Heard::Absorbed;
        };
        let status = response.status();
        if status.is_success() {
            *state = State::Over;
            // Every 2xx to an INVITE makes a dialog of its own, which its sender must hear of.
            let first = !std::mem::replace(decided, true);
            return if first || *invite { Heard::Success(response) } else { Heard::Absorbed };
        }
        if *state != State::Unanswered {
            return Heard::Absorbed;
        }
        if status.is_provisional() {
            let forwards = status != Status::TRYING && !*decided;
            return if forwards { Heard::Provisional(response) } else { Heard::Absorbed };
        }
        if *decided {
            *state = State::Over;
            return Heard::Absorbed;
        }
        *state = State::Kept(Final::Sent(response));
        if status.class() == 6 { Heard::Declined } else { Heard::Refused }
    }

    /// Ends a branch that has no final response.
    pub fn failed(&mut self, branch: BranchId, failure: BranchFailure) {
        let unanswered =
            self.branches.iter_mut().find(|known| known.id == branch && known.state == State::Unanswered);
        if let Some(branch) = unanswered {
            branch.state = State::Kept(Final::Nobodys(failure));
        }
    }

    /// The branches without a final response, in the order they were opened.
    pub fn unanswered(&self) -> impl Iterator<Item = BranchId> {
        self.branches.iter().filter(|branch| branch.state == State::Unanswered).map(|branch| branch.id)
    }

    /// Whether no branch is unanswered.
    pub fn is_done(&self) -> bool {
        self.unanswered().next().is_none()
    }

    /// Whether a 2xx was there, so that nothing else goes back any more.
    pub fn is_decided(&self) -> bool {
        self.decided
    }

    /// Whether a 6xx is kept, so that no branch may be opened any more.
    pub fn is_declined(&self) -> bool {
        self.kept().any(|kept| kept.status().class() == 6)
    }

    /// What a branch ended with, if that is no 2xx.
    pub fn refusal(&self, branch: BranchId) -> Option<Status> {
        self.branches.iter().find(|known| known.id == branch).and_then(|branch| match &branch.state {
            State::Kept(kept) => Some(kept.status()),
            State::Unanswered | State::Over => None,
        })
    }

    /// The response a branch ended with, if somebody sent one and it is no 2xx.
    pub fn refused_with(&self, branch: BranchId) -> Option<&Response> {
        self.branches.iter().find(|known| known.id == branch).and_then(|branch| match &branch.state {
            State::Kept(Final::Sent(response)) => Some(response),
            State::Kept(Final::Nobodys(_)) | State::Unanswered | State::Over => None,
        })
    }

    /// Drops a branch and what it answered; whatever still comes of it is absorbed.
    pub fn forget(&mut self, branch: BranchId) {
        self.branches.retain(|known| known.id != branch);
    }

    /// Drops all branches that ended with something else than a 2xx: what comes next starts with a clean slate.
    pub fn clear_refusals(&mut self) {
        self.branches.retain(|branch| !matches!(branch.state, State::Kept(_)));
    }

    pub(super) fn kept(&self) -> impl Iterator<Item = &Final> {
        self.branches.iter().filter_map(|branch| match &branch.state {
            State::Kept(kept) => Some(kept),
            State::Unanswered | State::Over => None,
        })
    }
}
