//! TS 24.229 §5.4.3.2, §5.4.3.3 — a request outside a dialog: whose it is, and how far its services got.

use super::super::Step;
use super::super::contacts::Target;
use super::super::originating::passage_key;
use super::super::relay::Draft;
use super::super::session::ask_for_timer;
use super::Link;
use crate::ifc::{Chain, SessionCase};
use crate::profile::DefaultHandling;
use crate::{Impu, Policy, Rejection, Timestamp};
use sip::session_timer::Asked;
use sip::{Name, Request, RequestEdit};
use std::collections::VecDeque;

/// A request outside a dialog, as it stands between its services.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Initial {
    /// Names the passage in Record-Route and in original dialog identifiers; odd for an INVITE, whose dialog is kept.
    pub(crate) key: u64,
    pub(crate) case: SessionCase,
    pub(crate) served: Impu,
    /// The contact binding the request came from.
    pub(crate) binding: Option<u64>,
    /// User part of our Record-Route, in a request that begins a dialog.
    pub(crate) recorded: Option<Box<str>>,
    /// The request as it goes on when nothing more is to be done to it.
    pub(crate) onward: Request,
    /// Fixed when the request first arrived.
    pub(crate) criteria: Chain,
    /// What was asked of the session timer.
    pub(crate) timer: Asked,
    /// Priority of the last criterion that was met.
    pub(crate) last: Option<u32>,
    /// How many servers passed it on before: 0 is the first passage of a request, and the nearest to the caller.
    pub(crate) depth: u16,
    pub(crate) stage: Stage,
}

/// What an initial request waits for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stage {
    /// The profile, from the HSS.
    Profile,
    /// An application server.
    Server(Visit),
    /// Contacts; those of lower preference still to be tried.
    Contacts(VecDeque<Vec<Target>>),
    /// Whatever lies beyond.
    Onward,
}

/// An application server at work.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Visit {
    pub(super) default_handling: DefaultHandling,
    /// When it has been silent too long; `None` once it has shown life.
    pub(super) silent_at: Option<Timestamp>,
}

impl Initial {
    /// A request that arrives for the first time; `edit` is that of its onward form.
    pub(crate) fn first(
        draft: &Draft,
        mut edit: RequestEdit,
        case: SessionCase,
        served: Impu,
        criteria: Chain,
        step: &mut Step<'_>,
    ) -> Result<Self, Rejection> {
        let timer = ask_for_timer(&mut edit, &draft.request, step)?;
        Ok(Self {
            key: passage_key(&draft.request, step),
            case,
            served,
            binding: None,
            recorded: None,
            onward: edit.finish(),
            criteria,
            timer,
            last: None,
            depth: 0,
            stage: Stage::Onward,
        })
    }

    /// The server showed life: it is not passed over any more.
    pub(crate) fn progressed(&mut self) {
        if let Stage::Server(visit) = &mut self.stage {
            visit.silent_at = None;
        }
    }

    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        match &self.stage {
            Stage::Server(visit) => visit.silent_at,
            Stage::Profile | Stage::Contacts(_) | Stage::Onward => None,
        }
    }

    /// Its request is, or was last, at the server that returns this link.
    pub(super) fn invoked(&self, link: &Link) -> bool {
        self.key == link.key
            && self.case == link.case
            && self.last == Some(link.last)
            && matches!(self.stage, Stage::Server(_))
    }

    /// Record-Route with the way home (TS 24.229 §5.4.3.2, §5.4.3.3).
    pub(crate) fn record_route(&self, edit: &mut RequestEdit, policy: &Policy) {
        if let Some(token) = &self.recorded {
            edit.push_top(Name::RecordRoute, format_args!("<sip:{token}@{};lr>", policy.host_port()));
        }
    }

    pub(crate) const fn is_terminating(&self) -> bool {
        matches!(self.case, SessionCase::TerminatingRegistered | SessionCase::TerminatingUnregistered)
    }

    /// TS 24.229 §5.4.3.3: a server wrote a Route, which says where the request goes instead of to contacts. What others
    /// wrote is not heeded: nobody is led past the user's contacts from outside.
    pub(super) fn is_routed(&self) -> bool {
        self.depth > 0 && self.onward.has(Name::Route)
    }

    pub(super) fn is_registered(&self) -> bool {
        matches!(
            self.case,
            SessionCase::Originating | SessionCase::TerminatingRegistered | SessionCase::OriginatingCdiv
        )
    }
}
