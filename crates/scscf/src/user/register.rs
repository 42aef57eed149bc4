//! TS 24.229 §5.4.1.1, §5.4.1.2 — REGISTER: what it asks, whether it may ask that, and which procedure answers.

use super::{ContactBinding, User, deregister::EMERGENCY_REFUSAL};
use crate::event::{ServerTx, Source};
use crate::{Impi, Impu, Policy, Rejection, Remedy, locate, user::Step};
use md5::{Digest as _, Md5};
use sip::{ChargingVector, Contacts, Digest, Malformed, Name, NameAddr, Request, Status};
use std::borrow::Cow;

const CLAUSE: &str = "TS 24.229 §5.4.1.1";
const REGISTRAR: &str = "RFC 3261 §10.3";

/// Option tags that a REGISTER may require.
const OPTIONS: [&str; 3] = ["path", "outbound", "gruu"];
/// Interval that stands for one nobody can read (RFC 3261 §10.2.1.1).
const UNREADABLE_INTERVAL: u32 = 3600;
/// Longest Contact value, Path and Call-ID that a binding keeps, in octets.
const LONGEST_CONTACT: usize = 2048;
const LONGEST_PATH: usize = 2048;
const LONGEST_CALL_ID: usize = 512;
/// Most Contact values that one REGISTER may carry.
const MOST_CONTACTS: usize = 32;

/// A REGISTER that has been read and found well formed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Register {
    /// Where the answer goes.
    pub(crate) tx: ServerTx,
    pub(crate) request: Request,
    /// The identity in To.
    pub(crate) impu: Impu,
    pub(crate) authorization: Option<Digest>,
    pub(crate) protection: Protection,
    /// The sender is inside the trust domain.
    pub(crate) trusted: bool,
    pub(crate) wish: Wish,
}

/// What `integrity-protected` says, if the sender may say it (TS 24.229 §7.2A.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    /// `no`, nothing, or a sender outside the trust domain.
    Unprotected,
    /// `yes`: it came over the security association of an earlier authentication.
    Protected,
    /// `auth-done`: a trusted entity has authenticated the user.
    Done,
}

/// What a REGISTER wants done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Wish {
    /// No Contact: tell the bindings.
    Fetch,
    /// `Contact: *` with Expires: 0.
    RemoveAll,
    /// Every Contact has the interval zero.
    Remove(Vec<Wanted>),
    /// At least one Contact has another interval; those with zero go.
    Bind(Vec<Wanted>),
}

/// One Contact of a REGISTER.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) address: NameAddr,
    /// Seconds asked for, the longest interval granted already applied.
    pub(crate) expires: u32,
    /// `+sip.instance`, quotes removed.
    pub(crate) instance_id: Option<Box<str>>,
    /// `reg-id`, if this Contact registers a flow.
    pub(crate) reg_id: Option<u32>,
    /// URI parameter `sos`.
    pub(crate) emergency: bool,
}

impl User {
    /// Checks a REGISTER in the order of the spec and hands it to its procedure.
    pub(crate) fn register(
        &mut self,
        tx: ServerTx,
        request: &Request,
        source: Source,
        step: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        let register = Register::read(tx, request, source, step.policy)?;
        self.is_ours(&register)?;
        register.is_long_enough(step.policy)?;
        self.has_room(&register, step.policy)?;
        if self.is_repeated(&register) {
            // The former owner of the user bound it, and fell silent before its 200 (OK).
            self.tell_bindings(&register, step);
            return Ok(());
        }
        self.is_in_order(&register)?;
        if let Some(challenge) = self.challenge_answered(&register) {
            return self.answered(challenge, register, step);
        }
        match register.protection {
            Protection::Unprotected => self.challenge(register, Default::default(), step),
            Protection::Protected => self.protected(register, step),
            Protection::Done => self.authenticated(register, None, step),
        }
    }

    /// The credentials are those of this private user identity.
    fn is_ours(&self, register: &Register) -> Result<(), Rejection> {
        let claimed = match &register.authorization {
            Some(digest) => digest.get("username").and_then(Impi::new),
            None => locate::derived(&register.request.to().uri),
        };
        if claimed.as_ref() == Some(&self.impi) {
            Ok(())
        } else {
            Err(Rejection::new(
                Status::FORBIDDEN,
                CLAUSE,
                "the credentials belong to another private identity",
            ))
        }
    }

    /// TS 24.229 §5.4.1.2.1, §5.4.1.2.2: no flow beyond the maximum.
    pub(crate) fn has_room(&self, register: &Register, policy: &Policy) -> Result<(), Rejection> {
        let Wish::Bind(contacts) = &register.wish else { return Ok(()) };
        let set = self.registration.set_of(&register.impu);
        let why = "the maximum number of simultaneous registrations is reached";
        let full = Err(Rejection::new(Status::FORBIDDEN, "TS 24.229 §5.4.1.2.2", why));
        // They share one address and differ in parameters.
        if contacts.iter().filter(|wanted| wanted.expires > 0).count() > policy.registration.max_contacts {
            return full;
        }
        for wanted in contacts.iter().filter(|wanted| wanted.expires > 0) {
            let known = set.is_some_and(|set| set.binding_of(wanted).is_some());
            let alike = |binding: &&ContactBinding| {
                binding.emergency == wanted.emergency && binding.reg_id.is_some() == wanted.reg_id.is_some()
            };
            let held = set.map_or(0, |set| set.bindings.iter().filter(alike).count());
            // A contact without reg-id takes the place of its predecessor.
            let adds = !known && (wanted.reg_id.is_some() || wanted.emergency);
            if adds && held >= policy.registration.max_contacts {
                return full;
            }
        }
        Ok(())
    }

    /// Octet for octet the REGISTER that made the bindings it asks for.
    fn is_repeated(&self, register: &Register) -> bool {
        let Wish::Bind(contacts) = &register.wish else { return false };
        let Some(set) = self.registration.set_of(&register.impu) else { return false };
        let (call_id, cseq) = (register.request.call_id(), register.request.cseq().number);
        let mut bound =
            contacts.iter().filter(|wanted| wanted.expires > 0).map(|wanted| set.binding_of(wanted));
        let same_order = |binding: &ContactBinding| binding.cseq == cseq && *binding.call_id == *call_id;
        bound.all(|binding| {
            binding.is_some_and(|binding| same_order(binding) && binding.request == register.fingerprint())
        })
    }

    /// RFC 3261 §10.3 step 7: an old CSeq under a known Call-ID changes nothing at all.
    pub(crate) fn is_in_order(&self, register: &Register) -> Result<(), Rejection> {
        let Some(set) = self.registration.set_of(&register.impu) else { return Ok(()) };
        let (call_id, cseq) = (register.request.call_id(), register.request.cseq().number);
        let stale = |binding: &ContactBinding| &*binding.call_id == call_id && binding.cseq >= cseq;
        // A new address without reg-id would take the place of a binding that a later REGISTER made.
        let usurps = |wanted: &Wanted| {
            let later = |old: &ContactBinding| {
                old.reg_id.is_none()
                    && old.emergency == wanted.emergency
                    && &*old.call_id == call_id
                    && old.cseq > cseq
            };
            wanted.expires > 0
                && wanted.reg_id.is_none()
                && set.binding_of(wanted).is_none()
                && set.bindings.iter().any(later)
        };
        let stale = match &register.wish {
            Wish::Fetch => false,
            Wish::RemoveAll => set.bindings.iter().filter(|binding| !binding.emergency).any(stale),
            Wish::Remove(contacts) | Wish::Bind(contacts) => {
                contacts.iter().filter_map(|wanted| set.binding_of(wanted)).any(stale)
                    || contacts.iter().any(usurps)
            }
        };
        if stale {
            let why = "CSeq is not higher than that of the binding";
            return Err(Rejection::new(Status::SERVER_INTERNAL_ERROR, REGISTRAR, why));
        }
        Ok(())
    }
}

impl Register {
    fn read(tx: ServerTx, request: &Request, source: Source, policy: &Policy) -> Result<Self, Rejection> {
        let ours = request.uri().host();
        if !ours.eq_ignore_ascii_case(&policy.domain) && !ours.eq_ignore_ascii_case(policy.name.host()) {
            let why = "the Request-URI is not of this network";
            return Err(Rejection::new(Status::FORBIDDEN, REGISTRAR, why));
        }
        let to = request.to().uri;
        if !to.is_sip() || to.user().is_none() {
            return Err(Rejection::new(Status::BAD_REQUEST, REGISTRAR, "To is no SIP URI of a user"));
        }
        require_known_options(request)?;
        if request.call_id().len() > LONGEST_CALL_ID {
            return Err(Rejection::new(Status::BAD_REQUEST, REGISTRAR, "Call-ID is too long"));
        }
        let authorization = request.authorization().map_err(malformed)?;
        let protection = protection(authorization.as_ref(), source)?;
        let wish = wish(request, policy)?;
        let impu = Impu::of(&to);
        let trusted = source.trusted;
        Ok(Self { tx, request: request.clone(), impu, authorization, protection, trusted, wish })
    }

    /// RFC 3261 §10.3: an interval below the minimum is refused before anything is asked of the HSS.
    fn is_long_enough(&self, policy: &Policy) -> Result<(), Rejection> {
        let (Wish::Remove(contacts) | Wish::Bind(contacts)) = &self.wish else { return Ok(()) };
        let shortest = policy.registration.min_expires.min(UNREADABLE_INTERVAL);
        if contacts.iter().any(|wanted| wanted.expires > 0 && wanted.expires < shortest) {
            let why = "the registration expiration interval is too short";
            return Err(Rejection::new(Status::INTERVAL_TOO_BRIEF, "TS 24.229 §5.4.1.2.3", why)
                .with(Remedy::MinExpires(shortest)));
        }
        Ok(())
    }

    /// Half an MD5 of the octets: nobody finds another REGISTER with the same.
    pub(crate) fn fingerprint(&self) -> u64 {
        let digest = Md5::digest(self.request.as_bytes());
        digest.first_chunk().map_or(0, |half| u64::from_be_bytes(*half))
    }

    /// Whether `Supported` names `option`.
    pub(crate) fn supports(&self, option: &str) -> bool {
        self.request.values(Name::Supported).any(|tag| tag.eq_ignore_ascii_case(option))
    }

    /// P-Visited-Network-ID, if the sender may say it.
    pub(crate) fn visited_network(&self) -> Option<Cow<'_, str>> {
        self.request.get(Name::PVisitedNetworkId).filter(|_| self.trusted)
    }

    /// P-Charging-Vector, if the sender may say it.
    pub(crate) fn charging_vector(&self) -> Option<ChargingVector> {
        self.request.charging_vector().ok().flatten().filter(|_| self.trusted)
    }

    /// Whether it binds emergency contacts and nothing else (TS 24.229 §5.4.8).
    pub(crate) fn is_emergency(&self) -> bool {
        matches!(&self.wish, Wish::Bind(contacts) if contacts.iter().all(|wanted| wanted.emergency))
    }
}

fn malformed(malformed: Malformed) -> Rejection {
    Rejection::new(
        Status::BAD_REQUEST,
        REGISTRAR,
        format!("{}: {}", malformed.header.as_str(), malformed.why),
    )
}

fn require_known_options(request: &Request) -> Result<(), Rejection> {
    let unknown: Vec<_> = request
        .values(Name::Require)
        .filter(|tag| !OPTIONS.iter().any(|known| known.eq_ignore_ascii_case(tag)))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let why = "Require names extensions that are not supported";
    Err(Rejection::new(Status::BAD_EXTENSION, REGISTRAR, why)
        .with(Remedy::Unsupported(unknown.join(", ").into())))
}

/// `integrity-protected` is the P-CSCF's to set: from outside the trust domain it is as if absent.
fn protection(authorization: Option<&Digest>, source: Source) -> Result<Protection, Rejection> {
    let said = authorization.filter(|_| source.trusted).and_then(|digest| digest.get("integrity-protected"));
    let refuse = |clause, why: &'static str| Err(Rejection::new(Status::FORBIDDEN, clause, why));
    match said.map(str::to_ascii_lowercase).as_deref() {
        Some("yes") => Ok(Protection::Protected),
        Some("auth-done") => Ok(Protection::Done),
        Some("ip-assoc-pending" | "ip-assoc-yes") => {
            refuse("TS 24.229 §5.4.1.2.2A", "SIP digest without TLS is not offered")
        }
        Some("tls-pending" | "tls-yes") => {
            refuse("TS 24.229 §5.4.1.2.2B", "SIP digest with TLS is not offered")
        }
        Some("tls-connected") => refuse(CLAUSE, "IMS AKA by AKAv2-SHA-256 is not offered"),
        _ => Ok(Protection::Unprotected),
    }
}

fn wish(request: &Request, policy: &Policy) -> Result<Wish, Rejection> {
    let bad = |why: &'static str| Err(Rejection::new(Status::BAD_REQUEST, REGISTRAR, why));
    let interval = match request.expires() {
        Ok(Some(seconds)) => seconds,
        Ok(None) => policy.registration.default_expires,
        Err(_) => UNREADABLE_INTERVAL,
    };
    let addresses = match request.contacts().map_err(malformed)? {
        Contacts::None => return Ok(Wish::Fetch),
        Contacts::Star if request.has(Name::Expires) && interval == 0 => return Ok(Wish::RemoveAll),
        Contacts::Star => return bad("Contact: * stands only with Expires: 0"),
        Contacts::List(addresses) => addresses,
    };
    let path = request.addresses(Name::Path).map_err(malformed)?;
    let length: usize = request.values(Name::Path).map(|entry| entry.len()).sum();
    if addresses.len() > MOST_CONTACTS || length > LONGEST_PATH {
        return bad("too many Contact or Path values");
    }
    // It would come in again as if from inside the trust domain.
    if path.iter().any(|hop| policy.is_ours(&hop.uri)) {
        return bad("Path leads back to the S-CSCF");
    }
    let outbound = request.values(Name::Supported).any(|tag| tag.eq_ignore_ascii_case("outbound"));
    let read = |address| read_contact(address, interval, outbound, policy);
    let wanted: Vec<_> = addresses.into_iter().map(read).collect::<Result<_, _>>()?;
    if wanted.iter().filter(|wanted| wanted.reg_id.is_some() && wanted.expires > 0).count() > 0 {
        if wanted.len() > 1 {
            return bad("a REGISTER binds one flow at most");
        }
        // The edge proxy stands last: every further proxy put itself before it (RFC 5626 §4.2.1, RFC 3327 §5.2).
        if !path.last().is_some_and(|edge| edge.uri.has_param("ob")) {
            let why = "the first hop does not support outbound";
            let status = Status::FIRST_HOP_LACKS_OUTBOUND_SUPPORT;
            return Err(Rejection::new(status, "TS 24.229 §5.4.1.2.2", why));
        }
    }
    if wanted.iter().all(|wanted| wanted.expires == 0) {
        return Ok(Wish::Remove(wanted));
    }
    let (removed, bound): (Vec<_>, Vec<_>) = wanted.iter().partition(|wanted| wanted.expires == 0);
    if removed.iter().any(|wanted| wanted.emergency) {
        let why = "an emergency registration ends by itself";
        return Err(Rejection::new(EMERGENCY_REFUSAL, "TS 24.229 §5.4.1.4", why));
    }
    let clash = |gone: &Wanted| {
        bound.iter().any(|kept| !kept.emergency && kept.address.uri.equivalent(&gone.address.uri))
    };
    if removed.into_iter().any(clash) {
        return bad("a Contact is bound and removed at once");
    }
    Ok(Wish::Bind(one_address(wanted)))
}

fn read_contact(
    mut address: NameAddr,
    interval: u32,
    outbound: bool,
    policy: &Policy,
) -> Result<Wanted, Rejection> {
    let bad = |why: &'static str| Err(Rejection::new(Status::BAD_REQUEST, REGISTRAR, why));
    let length = address.uri.as_str().len() + address.params.as_str().len();
    if length > LONGEST_CONTACT || address.uri.headers().is_some() {
        return bad("a Contact is too long, or has header fields in its URI");
    }
    let asked = match address.param("expires") {
        Some(seconds) => {
            seconds.parse::<u64>().map_or(UNREADABLE_INTERVAL, |n| u32::try_from(n).unwrap_or(u32::MAX))
        }
        None => interval,
    };
    let expires = asked.min(policy.registration.max_expires);
    let instance_id = address.param("+sip.instance").filter(|id| !id.is_empty()).map(Into::into);
    let reg_id = match address.param("reg-id") {
        None => None,
        Some(number) => match number.parse::<u32>() {
            Ok(number @ 1..=0x7fff_ffff) => Some(number),
            _ => return bad("reg-id is no number from 1 to 2147483647"),
        },
    };
    let reg_id = reg_id.filter(|_| outbound && Option::is_some(&instance_id));
    for name in ["expires", "pub-gruu", "temp-gruu"] {
        address.params.remove(name);
    }
    Ok(Wanted { emergency: address.uri.has_param("sos"), address, expires, instance_id, reg_id })
}

/// TS 24.229 §5.4.1.2.2: of several addresses the one with the highest q is registered; those that differ from it in
/// parameters only stay, and so does every address to be removed.
fn one_address(wanted: Vec<Wanted>) -> Vec<Wanted> {
    let preference = |wanted: &Wanted| {
        let q = wanted.address.param("q").and_then(|q| q.parse::<f32>().ok()).unwrap_or(1.0);
        (q.clamp(0.0, 1.0) * 1000.0) as u32
    };
    let mut best: Option<&Wanted> = None;
    for candidate in wanted.iter().filter(|wanted| wanted.expires > 0) {
        if best.is_none_or(|best| preference(candidate) > preference(best)) {
            best = Some(candidate);
        }
    }
    let Some(address) = best.map(|best| best.address.uri.without_params()) else { return wanted };
    wanted
        .into_iter()
        .filter(|wanted| wanted.expires == 0 || wanted.address.uri.without_params().equivalent(&address))
        .collect()
}
