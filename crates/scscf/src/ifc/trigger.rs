//! TS 29.228 §6.6, annexes B, C and F — trigger points and their service point triggers, compiled and evaluated.

use super::pattern::Pattern;
use super::{Invocation, RegistrationType, SessionCase};
use crate::profile::{Condition, InitialFilterCriteria, ServicePointTrigger, TriggerPoint};
use crate::sdp;
use sip::{Headers, Method, Name, Scheme, Uri};
use std::collections::BTreeMap;
use thiserror::Error;

/// Most criteria of one list that are evaluated.
const MOST_CRITERIA: usize = 256;
/// Most service point triggers of one criterion, each counted once for every group it is in.
const MOST_TRIGGERS: usize = 128;
/// Most service point triggers of one list.
const MOST_TRIGGERS_OF_ALL: usize = 1024;

/// A criterion of which something is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("filter criterion of priority {priority} for {server}: {flaw}")]
pub struct Fault {
    /// Its priority.
    pub priority: u32,
    /// ServerName as the HSS wrote it.
    pub server: Box<str>,
    /// What is wrong.
    pub flaw: Flaw,
}

/// What is wrong with a criterion. It matches nothing then, save for [`Flaw::SharedPriority`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Flaw {
    /// The application server cannot be reached by that name.
    #[error("ServerName is no SIP URI")]
    ServerName,
    /// Neither 0 nor 1.
    #[error("ProfilePartIndicator {0} is unknown")]
    ProfilePart(u32),
    /// Above 4.
    #[error("SessionCase {0} is unknown")]
    SessionCase(u32),
    /// Above 2.
    #[error("RegistrationType {0} is unknown")]
    RegistrationType(u32),
    /// There is nothing to evaluate.
    #[error("TriggerPoint has no SPT")]
    NoTrigger,
    /// It is in no group.
    #[error("an SPT has no Group")]
    NoGroup,
    /// A regular expression that is malformed or costs too much.
    #[error("the expression {0:?} is not taken: {1}")]
    Pattern(Box<str>, Box<str>),
    /// The criterion, or the list up to it, is longer than what is evaluated.
    #[error("there are too many criteria or SPTs")]
    TooMany,
    /// An earlier criterion has the same; when that one matches, this one is passed over.
    #[error("an earlier criterion has the same priority")]
    SharedPriority,
}

/// A list of criteria, compiled.
#[derive(Debug)]
pub(super) struct Compiled {
    /// One for each criterion; `None` where it makes no sense.
    triggers: Vec<Option<Trigger>>,
    faults: Vec<Fault>,
}

/// The compiled form of no criteria.
pub(super) static NONE: Compiled = Compiled { triggers: Vec::new(), faults: Vec::new() };

#[derive(Debug)]
enum Trigger {
    Always,
    Point { cnf: bool, spts: Box<[Spt]>, groups: Box<[Box<[u16]>]> },
}

#[derive(Debug)]
struct Spt {
    negated: bool,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Case(u8),
    /// The types are a bit each; 0: any.
    Method {
        method: Method,
        types: u8,
    },
    Uri(Pattern),
    Header {
        /// The names among those that `sip` knows: a bit each.
        known: Names,
        name: Pattern,
        content: Option<Pattern>,
    },
    Line {
        letter: Pattern,
        content: Option<Pattern>,
    },
}

/// A set of header names.
#[derive(Debug, Default)]
struct Names([u64; 4]);

impl Compiled {
    pub(super) fn new(list: &[InitialFilterCriteria]) -> Self {
        let mut faults = Vec::new();
        let mut left = MOST_TRIGGERS_OF_ALL;
        let mut previous = None;
        let mut triggers = Vec::with_capacity(list.len());
        for (index, criterion) in list.iter().enumerate() {
            let mut fault = |flaw| {
                let server = criterion.application_server.server_name.clone();
                faults.push(Fault { priority: criterion.priority, server, flaw });
            };
            if previous == Some(criterion.priority) {
                fault(Flaw::SharedPriority);
            }
            previous = Some(criterion.priority);
            let compiled = match index < MOST_CRITERIA {
                true => Trigger::new(criterion, &mut left),
                false => Err(Flaw::TooMany),
            };
            triggers.push(compiled.map_err(fault).ok());
        }
        Self { triggers, faults }
    }

    pub(super) fn faults(&self) -> &[Fault] {
        &self.faults
    }

    pub(super) fn matches(&self, index: usize, invocation: &Invocation<'_>) -> bool {
        let trigger = self.triggers.get(index).and_then(Option::as_ref);
        trigger.is_some_and(|trigger| trigger.holds(|spt| spt.test.holds(invocation) != spt.negated))
    }

    /// Whether some REGISTER of this type matches: what depends on its headers and its body is taken for fulfilled.
    pub(super) fn may_match_register(&self, index: usize, kind: RegistrationType) -> bool {
        let may = |spt: &Spt| spt.test.holds_for_register(kind).is_none_or(|holds| holds != spt.negated);
        let trigger = self.triggers.get(index).and_then(Option::as_ref);
        trigger.is_some_and(|trigger| trigger.holds(may))
    }
}

impl Trigger {
    fn new(criterion: &InitialFilterCriteria, left: &mut usize) -> Result<Self, Flaw> {
        if !Uri::parse(&criterion.application_server.server_name).is_ok_and(|uri| uri.is_sip()) {
            return Err(Flaw::ServerName);
        }
        if let Some(part) = criterion.profile_part.filter(|part| *part > 1) {
            return Err(Flaw::ProfilePart(part));
        }
        criterion.trigger.as_ref().map_or(Ok(Self::Always), |point| Self::of(point, left))
    }

    fn of(point: &TriggerPoint, left: &mut usize) -> Result<Self, Flaw> {
        let mentions: usize = point.spts.iter().map(|spt| spt.groups.len()).sum();
        if point.spts.is_empty() {
            return Err(Flaw::NoTrigger);
        }
        if mentions > MOST_TRIGGERS || point.spts.len() > *left {
            return Err(Flaw::TooMany);
        }
        *left -= point.spts.len();
        let mut groups: BTreeMap<u32, Vec<u16>> = BTreeMap::new();
        let mut spts = Vec::with_capacity(point.spts.len());
        for (spt, index) in point.spts.iter().zip(0..) {
            if spt.groups.is_empty() {
                return Err(Flaw::NoGroup);
            }
            for group in &spt.groups {
                groups.entry(*group).or_default().push(index);
            }
            spts.push(Spt { negated: spt.negated, test: Test::new(spt)? });
        }
        let cost = |index: &u16| spts[usize::from(*index)].test.cost();
        let mut groups: Vec<Box<[u16]>> = groups
            .into_values()
            .map(|mut group| {
                group.sort_by_key(cost);
                group.into()
            })
            .collect();
        // What is cheap to know often decides.
        groups.sort_by_key(|group| group.last().map(cost));
        Ok(Self::Point { cnf: point.cnf, spts: spts.into(), groups: groups.into() })
    }

    /// ConditionTypeCNF: every group has a true member; else: some group has true members only.
    fn holds(&self, holds: impl Fn(&Spt) -> bool) -> bool {
        match self {
            Self::Always => true,
            Self::Point { cnf, spts, groups } => {
                let holds = |index: &u16| spts.get(usize::from(*index)).is_some_and(&holds);
                if *cnf {
                    groups.iter().all(|group| group.iter().any(holds))
                } else {
                    groups.iter().any(|group| group.iter().all(holds))
                }
            }
        }
    }
}

impl Test {
    fn new(spt: &ServicePointTrigger) -> Result<Self, Flaw> {
        let pattern = |text: &str| Pattern::new(text, false).map_err(|why| Flaw::Pattern(text.into(), why));
        let content = |text: &Option<Box<str>>| text.as_deref().map(pattern).transpose();
        Ok(match &spt.condition {
            Condition::SessionCase(case) => match u8::try_from(*case) {
                Ok(case) if case <= SessionCase::OriginatingCdiv as u8 => Self::Case(case),
                _ => return Err(Flaw::SessionCase(*case)),
            },
            Condition::Method(method) => {
                let mut types = 0;
                for kind in &spt.registration_types {
                    if *kind > RegistrationType::Deregistration as u32 {
                        return Err(Flaw::RegistrationType(*kind));
                    }
                    types |= 1 << kind;
                }
                let read = method.parse();
                let method = read.map_err(|_| Flaw::Pattern(method.clone(), "it is no method".into()))?;
                Self::Method { method, types }
            }
            Condition::RequestUri(text) => Self::Uri(pattern(text)?),
            Condition::Header { header, content: value } => {
                let name = Pattern::new(header, true).map_err(|why| Flaw::Pattern(header.clone(), why))?;
                Self::Header { known: Names::of(&name), name, content: content(value)? }
            }
            Condition::SessionDescription { line, content: value } => {
                Self::Line { letter: pattern(line)?, content: content(value)? }
            }
        })
    }

    /// Rank by what evaluation costs.
    const fn cost(&self) -> u8 {
        match self {
            Self::Case(_) | Self::Method { .. } => 0,
            Self::Uri(_) => 1,
            Self::Header { .. } => 2,
            Self::Line { .. } => 3,
        }
    }

    fn holds(&self, invocation: &Invocation<'_>) -> bool {
        let request = invocation.request;
        match self {
            Self::Case(case) => *case == invocation.case as u8,
            Self::Method { method, types } => {
                method == request.method()
                    && is_of(*method == Method::Register, *types, invocation.registration_type)
            }
            Self::Uri(pattern) => pattern.is_in(target(request.uri()).as_bytes()),
            Self::Header { known, name, content } => has_header(request, known, name, content.as_ref()),
            Self::Line { letter, content } => sdp::bodies(request).any(|body| {
                sdp::lines(body).any(|(kind, value)| {
                    letter.is_in(&[kind]) && content.as_ref().is_none_or(|content| content.is_in(value))
                })
            }),
        }
    }

    /// What is certain of any REGISTER of this type by a registered user.
    fn holds_for_register(&self, kind: RegistrationType) -> Option<bool> {
        match self {
            Self::Case(case) => Some(*case == SessionCase::Originating as u8),
            Self::Method { method, types } => {
                Some(*method == Method::Register && is_of(true, *types, Some(kind)))
            }
            Self::Uri(_) | Self::Header { .. } | Self::Line { .. } => None,
        }
    }
}

/// RegistrationType counts with REGISTER only.
fn is_of(register: bool, types: u8, kind: Option<RegistrationType>) -> bool {
    !register || types == 0 || kind.is_some_and(|kind| types & (1 << kind as u8) != 0)
}

/// What RequestURI is held against (TS 29.228 annex F): the host and port of a SIP URI, the number of a tel URI; of any other
/// URI what follows the scheme.
fn target(uri: &Uri) -> &str {
    match uri.scheme() {
        Scheme::Tel => uri.user().unwrap_or(""),
        Scheme::Sip | Scheme::Sips => host_and_port(uri),
        Scheme::Urn | Scheme::Other => uri.as_str().split_once(':').map_or("", |(_, rest)| rest),
    }
}

fn host_and_port(uri: &Uri) -> &str {
    let (text, host) = (uri.as_str(), uri.host());
    if uri.port().is_none() {
        return host;
    }
    // The host is a part of the text.
    let from = host.as_ptr().addr().saturating_sub(text.as_ptr().addr());
    let behind = text.get(from..).unwrap_or(host);
    &behind[..behind.find([';', '?']).unwrap_or(behind.len())]
}

fn has_header(headers: &Headers, known: &Names, name: &Pattern, content: Option<&Pattern>) -> bool {
    headers.all().any(|(received, value)| {
        let named = match Name::of(received.as_bytes()) {
            Some(spelt) => known.has(spelt),
            None => name.is_in(received.as_bytes()),
        };
        named && content.is_none_or(|content| content.is_in(value.as_bytes()))
    })
}

impl Names {
    fn of(pattern: &Pattern) -> Self {
        let mut names = Self::default();
        for name in Name::ALL.iter().filter(|name| pattern.is_in(name.as_str().as_bytes())) {
            names.0[usize::from(*name as u8 / 64)] |= 1 << (*name as u8 % 64);
        }
        names
    }

    const fn has(&self, name: Name) -> bool {
        self.0[(name as u8 / 64) as usize] & (1 << (name as u8 % 64)) != 0
    }
}
