//! Something for a user, as it is brought: here as an event, to another node as a word.

use super::delivery::abroad;
use super::link::Slot;
use crate::word::{Wish, Word};
use bytes::Bytes;
use scscf::cx::Demand;
use scscf::{AskTx, CxTx, Event, Impi, ServerTx, SharedContact, Source, Span, Trigger};
use sip::Request;

/// Something for a user.
#[derive(Clone, Debug)]
pub(crate) enum Parcel {
    Request { tx: ServerTx, request: Request, source: Source },
    Ack { request: Request, source: Source },
    Demand { tx: CxTx, demand: Demand, octets: Bytes },
    Wish { ask: AskTx, wish: Wish },
    Sibling { from: Impi, contacts: Vec<SharedContact> },
}

impl Parcel {
    pub(super) fn event(&self) -> Event {
        match self {
            Self::Request { tx, request, source } => {
                Event::Request { tx: *tx, request: request.clone(), source: *source }
            }
            Self::Ack { request, source } => Event::Ack { request: request.clone(), source: *source },
            Self::Demand { tx, demand, .. } => Event::CxDemand { tx: *tx, demand: demand.clone() },
            Self::Wish { ask, wish: Wish::Reauthenticate { period, reason } } => Event::Reauthenticate {
                by: Trigger::Operator,
                period: period.map(Span::from_millis),
                reason: reason.clone(),
                ask: Some(*ask),
            },
            Self::Wish { ask, wish: Wish::Deregister { reason } } => {
                Event::Deregister { reason: reason.clone(), ask: Some(*ask) }
            }
            Self::Sibling { from, contacts } => {
                Event::Sibling { impi: from.clone(), contacts: contacts.clone() }
            }
        }
    }

    /// Whether somebody waits for an answer.
    pub(super) const fn is_owed(&self) -> bool {
        matches!(self, Self::Request { .. } | Self::Demand { .. } | Self::Wish { .. })
    }

    /// Of whose transaction it is, if of another node's.
    pub(super) fn sender(&self) -> Option<(Slot, u64)> {
        match self {
            Self::Request { tx, .. } => abroad(tx.0),
            Self::Demand { tx, .. } => abroad(tx.0),
            Self::Wish { ask, .. } => abroad(ask.0),
            Self::Ack { .. } | Self::Sibling { .. } => None,
        }
    }

    pub(super) fn word(&self, number: u64, impi: &Impi) -> Word {
        let impi = impi.clone();
        match self {
            Self::Request { request, source, .. } => Word::Request {
                number,
                impi,
                octets: request.as_bytes().clone(),
                address: source.address,
                trusted: source.trusted,
            },
            Self::Ack { request, source } => Word::Ack {
                impi,
                octets: request.as_bytes().clone(),
                address: source.address,
                trusted: source.trusted,
            },
            Self::Demand { octets, .. } => Word::Demand { number, impi, octets: octets.clone() },
            Self::Wish { wish, .. } => Word::Wish { number, impi, wish: wish.clone() },
            Self::Sibling { from, contacts } => {
                Word::Sibling { impi, from: from.clone(), contacts: contacts.clone() }
            }
        }
    }

    /// Whether it belongs to a dialog, so that it can go on without anything being saved.
    pub(super) fn is_in_dialog(&self) -> bool {
        match self {
            Self::Request { request, .. } => request.to_tag().is_some(),
            Self::Ack { .. } => true,
            Self::Demand { .. } | Self::Wish { .. } | Self::Sibling { .. } => false,
        }
    }
}
