//! TS 29.228 §6.6, annexes B, C and F — initial filter criteria: which application servers a request is to visit, and in
//! which order.

mod pattern;
mod trigger;

pub use trigger::{Fault, Flaw};

use crate::profile::InitialFilterCriteria;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use trigger::Compiled;

/// A list of initial filter criteria by ascending priority. A clone shares the list and its compiled form, which is made at
/// most once, on first use.
#[derive(Clone, Default)]
pub struct Criteria(Option<Arc<Shared>>);

struct Shared {
    list: Box<[InitialFilterCriteria]>,
    compiled: OnceLock<Compiled>,
}

/// What the criteria are asked about: a request, and the circumstances under which it is served.
#[derive(Clone, Copy, Debug)]
pub struct Invocation<'a> {
    /// The request as it is now: as it came in, or as the last application server changed it.
    pub request: &'a sip::Request,
    /// On which side the served user stands.
    pub case: SessionCase,
    /// Whether the served user is registered.
    pub registered: bool,
    /// What a REGISTER does; `None` for any other method.
    pub registration_type: Option<RegistrationType>,
}

/// SessionCase, with the numbers of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum SessionCase {
    /// ORIGINATING_REGISTERED
    Originating = 0,
    /// TERMINATING_REGISTERED
    TerminatingRegistered = 1,
    /// TERMINATING_UNREGISTERED
    TerminatingUnregistered = 2,
    /// ORIGINATING_UNREGISTERED
    OriginatingUnregistered = 3,
    /// ORIGINATING_CDIV
    OriginatingCdiv = 4,
}

/// RegistrationType, with the numbers of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum RegistrationType {
    /// INITIAL_REGISTRATION
    Initial = 0,
    /// RE-REGISTRATION
    Reregistration = 1,
    /// DE-REGISTRATION
    Deregistration = 2,
}

impl Criteria {
    /// The criterion to go on with after the one of this priority, or to begin with: the first in the order of priorities,
    /// strictly behind `priority`, that matches. A criterion that makes no sense matches nothing.
    pub fn next_after(
        &self,
        priority: Option<u32>,
        invocation: &Invocation<'_>,
    ) -> Option<&InitialFilterCriteria> {
        let list = self.list();
        let from = priority.map_or(0, |done| list.partition_point(|criterion| criterion.priority <= done));
        self.matching_from(from, invocation).next()
    }

    /// Every criterion that matches, by priority.
    pub fn matching<'c, 'i>(
        &'c self,
        invocation: &'i Invocation<'i>,
    ) -> impl Iterator<Item = &'c InitialFilterCriteria> + use<'c, 'i> {
        self.matching_from(0, invocation)
    }

    fn matching_from<'c, 'i>(
        &'c self,
        from: usize,
        invocation: &'i Invocation<'i>,
    ) -> impl Iterator<Item = &'c InitialFilterCriteria> + use<'c, 'i> {
        let behind = self.list().get(from..).unwrap_or_default().iter().zip(from..);
        behind
            .filter(move |(criterion, index)| {
                criterion.serves(invocation.registered) && self.compiled().matches(*index, invocation)
            })
            .map(|(criterion, _)| criterion)
    }

    /// Every criterion that a REGISTER of one of these types by a registered user may match, whatever else it says.
    pub fn may_match_register<'c, 't>(
        &'c self,
        types: &'t [RegistrationType],
    ) -> impl Iterator<Item = &'c InitialFilterCriteria> + use<'c, 't> {
        self.list()
            .iter()
            .enumerate()
            .filter(move |(index, criterion)| {
                let may = |kind: &RegistrationType| self.compiled().may_match_register(*index, *kind);
                criterion.serves(true) && types.iter().any(may)
            })
            .map(|(_, criterion)| criterion)
    }

    /// What is wrong with criteria of this list, for the operator.
    pub fn faults(&self) -> &[Fault] {
        self.compiled().faults()
    }

    /// Whether both are one list in memory.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    fn list(&self) -> &[InitialFilterCriteria] {
        self.0.as_ref().map_or(&[], |shared| &shared.list)
    }

    fn compiled(&self) -> &Compiled {
        self.0
            .as_ref()
            .map_or(&trigger::NONE, |shared| shared.compiled.get_or_init(|| Compiled::new(&shared.list)))
    }
}

impl InitialFilterCriteria {
    /// ProfilePartIndicator: a criterion of neither part serves both.
    fn serves(&self, registered: bool) -> bool {
        match self.profile_part {
            None => true,
            Some(0) => registered,
            Some(_) => !registered,
        }
    }
}

impl From<Vec<InitialFilterCriteria>> for Criteria {
    /// Sorts by priority; equal priorities keep their order.
    fn from(mut list: Vec<InitialFilterCriteria>) -> Self {
        if list.is_empty() {
            return Self(None);
        }
        list.sort_by_key(|criterion| criterion.priority);
        Self(Some(Arc::new(Shared { list: list.into(), compiled: OnceLock::new() })))
    }
}

impl Deref for Criteria {
    type Target = [InitialFilterCriteria];

    fn deref(&self) -> &[InitialFilterCriteria] {
        self.list()
    }
}

impl PartialEq for Criteria {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || self.list() == other.list()
    }
}

impl fmt::Debug for Criteria {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list().fmt(f)
    }
}

impl Serialize for Criteria {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Criteria {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<InitialFilterCriteria>::deserialize(deserializer).map(Self::from)
    }
}

/// The criteria that apply to one service profile: its own, and the shared sets it names. A clone is cheap and keeps the lists
/// as they are, whatever becomes of the profile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chain(SmallVec<[Criteria; 2]>);

impl Chain {
    /// Of one list after the other; where priorities are equal the earlier list goes first.
    pub fn new(lists: impl IntoIterator<Item = Criteria>) -> Self {
        Self(lists.into_iter().filter(|list| !list.is_empty()).collect())
    }

    /// As [`Criteria::next_after`], over all lists by priority.
    pub fn next_after(
        &self,
        priority: Option<u32>,
        invocation: &Invocation<'_>,
    ) -> Option<&InitialFilterCriteria> {
        let first = |list| Criteria::next_after(list, priority, invocation);
        self.0.iter().filter_map(first).min_by_key(|criterion| criterion.priority)
    }

    /// As [`Criteria::matching`], over all lists by priority.
    pub fn matching(&self, invocation: &Invocation<'_>) -> Vec<&InitialFilterCriteria> {
        let mut found: Vec<_> = self.0.iter().flat_map(|list| list.matching(invocation)).collect();
        found.sort_by_key(|criterion| criterion.priority);
        found
    }

    /// As [`Criteria::may_match_register`], over all lists.
    pub fn may_match_register<'c, 't>(
        &'c self,
        types: &'t [RegistrationType],
    ) -> impl Iterator<Item = &'c InitialFilterCriteria> + use<'c, 't> {
        self.0.iter().flat_map(|list| list.may_match_register(types))
    }

    /// Whether there is no criterion at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
