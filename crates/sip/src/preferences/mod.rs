//! RFC 3841 §7.2, §9 — caller preferences: which of the contacts of a user a request goes to, and in which order.

mod feature;

use crate::{Headers, Malformed, Name, Params, Request, headers::malformed, lexis};
use feature::Feature;
use std::cmp::Reverse;

/// The score of a contact that is all that the caller asks for.
const FULL: u64 = 1_000_000;

/// What the sender of a request prefers.
#[derive(Clone, Debug, PartialEq)]
pub struct Preferences {
    accept: Vec<Predicate>,
    reject: Vec<Predicate>,
    /// The sender said nothing; the request speaks for itself (§7.2.2).
    implicit: bool,
    forking: Forking,
}

/// How several contacts are tried (Request-Disposition).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forking {
    /// Those of the same q at once, the highest q first; nothing was asked for.
    ByQ,
    /// All at once: `parallel`.
    Parallel,
    /// One after the other: `sequential`.
    Sequential,
    /// The first alone: `no-fork`.
    None,
}

/// All features must meet: one Accept-Contact or Reject-Contact value.
#[derive(Clone, Debug, PartialEq)]
struct Predicate {
    features: Vec<Feature>,
    require: bool,
    explicit: bool,
}

impl Preferences {
    /// Reads Accept-Contact, Reject-Contact and Request-Disposition.
    ///
    /// # Errors
    /// One of the first two is not as its grammar asks; directives that are not known are left.
    pub fn of(request: &Request) -> Result<Self, Malformed> {
        let mut accept = predicates(request, Name::AcceptContact)?;
        let reject = predicates(request, Name::RejectContact)?;
        let implicit = !request.has(Name::AcceptContact) && !request.has(Name::RejectContact);
        if implicit {
            accept.push(Predicate::implicit(request));
        }
        Ok(Self { accept, reject, implicit, forking: forking(request) })
    }

    /// How several contacts are tried.
    pub fn forking(&self) -> Forking {
        self.forking
    }

    /// The contacts to try, by their place in `contacts`: those of one group at once, one group after the other.
    ///
    /// A contact comes with the parameters of its Contact header and its q in thousandths ([`q_value`]). Contacts that the
    /// caller refuses are left out; among those of one q the ones that suit the caller best stand first, and of equals those
    /// that stand first in `contacts`.
    pub fn rank<'a>(&self, contacts: impl IntoIterator<Item = (&'a Params, u16)>) -> Vec<Vec<usize>> {
        let contacts: Vec<_> = contacts.into_iter().collect();
        let mut ranked: Vec<_> = contacts
            .iter()
            .enumerate()
            .filter_map(|(at, &(params, q))| Some((Reverse(q), Reverse(self.score(params)?), at)))
            .collect();
        if ranked.is_empty() && self.implicit {
            // A caller who asked for nothing loses no call by it.
            let all = contacts.iter().enumerate();
            ranked.extend(all.map(|(at, &(_, q))| (Reverse(q), Reverse(0), at)));
        }
        ranked.sort_unstable();
        let places = |ranked: &[(_, _, usize)]| ranked.iter().map(|&(_, _, at)| at).collect();
        match self.forking {
            Forking::ByQ => ranked.chunk_by(|left, right| left.0 == right.0).map(places).collect(),
            Forking::Parallel if ranked.is_empty() => Vec::new(),
            Forking::Parallel => vec![places(&ranked)],
            Forking::Sequential => ranked.chunks(1).map(places).collect(),
            Forking::None => ranked.chunks(1).take(1).map(places).collect(),
        }
    }

    /// The caller preference of a contact (§7.2.4); `None`: it is left out.
    fn score(&self, contact: &Params) -> Option<u64> {
        let features: Vec<_> = Feature::of_contact(contact).collect();
        if features.is_empty() || self.accept.is_empty() && self.reject.is_empty() {
            return Some(FULL);
        }
        if self.reject.iter().any(|predicate| predicate.rejects(&features)) {
            return None;
        }
        let (mut total, mut counted) = (0, 0);
        for predicate in &self.accept {
            match predicate.score(&features) {
                Some(score) => {
                    total += score;
                    counted += 1;
                }
                None if predicate.require => return None,
                None => {}
            }
        }
        match counted {
            0 if self.accept.is_empty() => Some(FULL),
            0 => Some(0),
            _ => Some(total / counted),
        }
    }
}

impl Predicate {
    /// §7.2.2: who sends a request wants it understood.
    fn implicit(request: &Request) -> Self {
        let mut features = vec![Feature::of_token("methods", request.method().as_str())];
        if let Ok(Some(event)) = request.event() {
            features.push(Feature::of_token("events", &event.package));
        }
        Self { features, require: true, explicit: false }
    }

    /// Says every feature is there and meets; a contact that is silent about one is not rejected.
    fn rejects(&self, contact: &[Feature]) -> bool {
        self.features.iter().all(|wanted| find(contact, wanted).is_some_and(|known| wanted.meets(known)))
    }

    /// How much of it the contact says of itself, if it contradicts nothing.
    fn score(&self, contact: &[Feature]) -> Option<u64> {
        let mut said = 0;
        for wanted in &self.features {
            if let Some(known) = find(contact, wanted) {
                if !wanted.meets(known) {
                    return None;
                }
                said += 1;
            }
        }
        let all = self.features.len() as u64;
        if said < all && self.explicit {
            return if self.require { None } else { Some(0) };
        }
        Some(said * FULL / all)
    }
}

/// The q of a contact in thousandths; one without counts as 1000.
pub fn q_value(params: &Params) -> u16 {
    let Some(text) = params.get("q") else { return 1000 };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return 1000;
    }
    match whole {
        "0" | "" => {
            fraction.bytes().chain(*b"000").take(3).fold(0, |q, digit| q * 10 + u16::from(digit - b'0'))
        }
        _ => 1000,
    }
}

fn find<'a>(contact: &'a [Feature], wanted: &Feature) -> Option<&'a Feature> {
    contact.iter().find(|known| known.tag() == wanted.tag())
}

/// The values of Accept-Contact or Reject-Contact; one without features says nothing.
fn predicates(headers: &Headers, name: Name) -> Result<Vec<Predicate>, Malformed> {
    let mut found = Vec::new();
    for value in headers.values(name) {
        let Some(params) = value.strip_prefix('*') else {
            return Err(Malformed { header: name, why: "a preference begins with a star" });
        };
        let params = Params::parse(params).map_err(|error| malformed(name, error))?;
        let mut features = Vec::new();
        for (tag, text) in params.iter().filter(|(tag, _)| feature::is_tag(tag)) {
            let feature = Feature::parse(tag, text)
                .ok_or(Malformed { header: name, why: "the value of a feature is none of RFC 3840" })?;
            features.push(feature);
        }
        if !features.is_empty() {
            let (require, explicit) = (params.has("require"), params.has("explicit"));
            found.push(Predicate { features, require, explicit });
        }
    }
    Ok(found)
}

/// §9.1; `no-fork` outweighs the others.
fn forking(headers: &Headers) -> Forking {
    let mut forking = Forking::ByQ;
    for directive in headers.values(Name::RequestDisposition) {
        let is = |name: &str| lexis::trim(&directive).eq_ignore_ascii_case(name);
        if is("no-fork") {
            return Forking::None;
        } else if is("sequential") {
            forking = Forking::Sequential;
        } else if is("parallel") {
            forking = Forking::Parallel;
        }
    }
    forking
}
