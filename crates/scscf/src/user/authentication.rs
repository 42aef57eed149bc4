//! TS 24.229 §5.4.1.2.2, §5.4.1.2.3 — the answer to a challenge, and the abnormal cases.

use super::challenge::Provocation;
use super::register::{Protection, Register, Wish};
use super::{Cause, Challenge, User};
use crate::cx::{Resynchronisation, ServerAssignmentType};
use crate::policy::{OnWrongAnswer, UnprotectedAnswer};
use crate::{Impu, Rejection, Remedy, Span, aka, user::Step};
use sip::{Digest, Status};

const CLAUSE: &str = "TS 24.229 §5.4.1.2.2";
const ABNORMAL: &str = "TS 24.229 §5.4.1.2.3";
/// A UE answers at most two challenges in a row whose MAC it finds invalid (TS 24.229 §5.1.1.5.3).
const MOST_INVALID_CHALLENGES: u8 = 2;

impl User {
    /// Which challenge this REGISTER answers: the one whose nonce it repeats.
    pub(crate) fn challenge_answered(&self, register: &Register) -> Option<usize> {
        let nonce = register.authorization.as_ref()?.get("nonce").filter(|nonce| !nonce.is_empty())?;
        self.authentication.challenges.iter().position(|challenge| *challenge.nonce == *nonce)
    }

    /// reg-await-auth is running and this is the answer.
    pub(crate) fn answered(
        &mut self,
        index: usize,
        register: Register,
        step: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        let (Some(challenge), Some(digest)) =
            (self.authentication.challenges.get(index), register.authorization.as_ref())
        else {
            return Err(forbidden(CLAUSE, "no such challenge"));
        };
        // What is not even an answer to this challenge leaves the challenge alone.
        belongs(challenge, &register, digest, &step.policy.domain)?;
        let given = digest.get("response").unwrap_or("");
        let answer = answer(digest, &register);
        let allowed = answer.qop.is_some() || step.policy.authentication.accept_without_qop;
        let auts = digest.get("auts");
        let right = auts.is_none() && allowed && aka::is_right(challenge.xres.reveal(), &answer, given);
        if !right && challenge.protected && register.protection == Protection::Unprotected {
            return self.outsider(step);
        }
        if let Some(parameter) = auts {
            let auts = resynchronisation(challenge, digest, &register, parameter);
            return self.resynchronise(index, register, auts, step);
        }
        if given.is_empty() {
            return self.missing_response(index, register, step);
        }
        if !right {
            return self.wrong_response(index, register, step);
        }
        let strict = step.policy.authentication.unprotected_answer == UnprotectedAnswer::Challenge;
        if strict && register.protection == Protection::Unprotected {
            self.authentication.challenges.remove(index);
            step.changed();
            return self.challenge(register, Provocation::default(), step);
        }
        let nonce = challenge.nonce.clone();
        self.authenticated(register, Some(nonce), step)
    }

    /// Who sent this REGISTER is known, by its answer or by the word of a trusted entity.
    pub(crate) fn authenticated(
        &mut self,
        register: Register,
        nonce: Option<Box<str>>,
        step: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        match register.wish {
            Wish::Bind(_) => {
                self.assign(register, nonce.clone(), true, step)?;
                if let Some(challenge) = nonce.as_ref().and_then(|nonce| self.authentication.find(nonce)) {
                    challenge.verified = true;
                }
                Ok(())
            }
            Wish::Fetch => {
                self.authentication.succeeded(nonce.as_deref(), step);
                self.tell_bindings(&register, step);
                Ok(())
            }
            Wish::RemoveAll | Wish::Remove(_) => {
                self.authentication.succeeded(nonce.as_deref(), step);
                self.deregister(register, step)
            }
        }
    }

    /// Without protection somebody fails at a challenge that a protected REGISTER provoked: not the UE, whose challenge stands.
    /// Whoever overheard a nonce could otherwise keep the UE from ever answering in time.
    fn outsider(&mut self, step: &mut Step<'_>) -> Result<(), Rejection> {
        self.authentication.wrong_answers = self.authentication.wrong_answers.saturating_add(1);
        self.authentication.wrong_since_success = self.authentication.wrong_since_success.saturating_add(1);
        step.changed();
        Err(forbidden(ABNORMAL, "the answer to a protected challenge came without protection"))
    }

    /// The response is wrong. The subscriber stays registered, unless the network had asked for this authentication, the
    /// answer came protected to a challenge that a protected REGISTER provoked, and the policy says otherwise.
    fn wrong_response(
        &mut self,
        index: usize,
        register: Register,
        step: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        let challenge = self.authentication.challenges.remove(index);
        self.authentication.wrong_answers = self.authentication.wrong_answers.saturating_add(1);
        self.authentication.wrong_since_success = self.authentication.wrong_since_success.saturating_add(1);
        step.changed();
        let refusal = forbidden(ABNORMAL, "the authentication response is wrong");
        let protected = register.protection == Protection::Protected && challenge.protected;
        let demanded = self.authentication.reauthentication.as_mut().filter(|_| protected);
        let Some(reauthentication) = demanded else {
            self.report_failure(&challenge.impu, ServerAssignmentType::AuthenticationFailure, step);
            return Err(refusal);
        };
        reauthentication.wrong_answers = reauthentication.wrong_answers.saturating_add(1);
        let wrong_answers = reauthentication.wrong_answers;
        match step.policy.reauthentication.on_wrong_answer {
            OnWrongAnswer::Rechallenge if wrong_answers < step.policy.authentication.max_challenges => {
                let earlier = challenge.earlier.saturating_add(1);
                self.challenge(register, Provocation { earlier, ..Provocation::default() }, step)
            }
            OnWrongAnswer::Rechallenge | OnWrongAnswer::Reject => Err(refusal),
            OnWrongAnswer::Deregister => {
                let refusal = Rejection { clause: "TS 24.229 §5.4.1.6", ..refusal };
                self.refuse(register.tx, &register.request, refusal, step);
                self.network_initiated_deregistration(Cause::ReauthenticationFailed, step);
                Ok(())
            }
        }
    }

    /// Neither response nor `auts`: the UE found the MAC of the challenge invalid.
    fn missing_response(
        &mut self,
        index: usize,
        register: Register,
        step: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        let challenge = self.authentication.challenges.remove(index);
        step.changed();
        let earlier = challenge.earlier.saturating_add(1);
        if earlier < MOST_INVALID_CHALLENGES.min(step.policy.authentication.max_challenges) {
            return self.challenge(register, Provocation { earlier, ..Provocation::default() }, step);
        }
        self.report_failure(&challenge.impu, ServerAssignmentType::AuthenticationFailure, step);
        Err(forbidden(ABNORMAL, "the UE rejects the network's challenges"))
    }

    /// The sequence number was out of range. `auts` counts only if the digest over the empty password is right.
    fn resynchronise(
        &mut self,
        index: usize,
        register: Register,
        auts: Option<Resynchronisation>,
        step: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        let challenge = self.authentication.challenges.remove(index);
        step.changed();
        let resyncs = challenge.resyncs.saturating_add(1);
        let allowed = auts.filter(|_| resyncs <= step.policy.authentication.max_resyncs);
        let Some(resynchronise) = allowed else {
            self.report_failure(&challenge.impu, ServerAssignmentType::AuthenticationFailure, step);
            return Err(forbidden(
                ABNORMAL,
                match auts {
                    None => "auts is not one of the challenged UE",
                    Some(_) => "the UE asks for synchronisation again",
                },
            ));
        };
        self.authentication.resyncs = self.authentication.resyncs.saturating_add(1);
        let earlier = challenge.earlier;
        self.challenge(register, Provocation { resynchronise: Some(resynchronise), resyncs, earlier }, step)
    }

    /// Tells the HSS that an authentication failed: only while nothing is registered and no other challenge is out, for
    /// then it clears the name of the S-CSCF.
    pub(crate) fn report_failure(
        &mut self,
        impu: &Impu,
        assignment: ServerAssignmentType,
        step: &mut Step<'_>,
    ) {
        if !self.is_registered() && self.authentication.challenges.is_empty() && self.attempts.is_empty() {
            self.report(vec![impu.as_str().into()], assignment, step);
        }
    }
}

impl super::Authentication {
    fn find(&mut self, nonce: &str) -> Option<&mut Challenge> {
        self.challenges.iter_mut().find(|challenge| *challenge.nonce == *nonce)
    }

    /// The user has proved itself; the challenge, if there was one, is spent.
    pub(crate) fn succeeded(&mut self, nonce: Option<&str>, step: &mut Step<'_>) {
        if let Some(nonce) = nonce {
            let answered = self.challenges.iter().position(|challenge| *challenge.nonce == *nonce);
            if let Some(challenge) = answered.map(|index| self.challenges.remove(index)) {
                self.scheme = Some(challenge.scheme);
                if !challenge.protected {
                    self.uncount_unprotected();
                }
            }
        }
        self.last_success = Some(step.now());
        self.wrong_since_success = 0;
        self.refreshes_since_success = 0;
        step.changed();
    }
}

const fn forbidden(clause: &'static str, why: &'static str) -> Rejection {
    Rejection {
        status: Status::FORBIDDEN,
        clause,
        why: std::borrow::Cow::Borrowed(why),
        remedy: Remedy::None,
    }
}

/// Whether the REGISTER can be an answer to `challenge` at all.
fn belongs(
    challenge: &Challenge,
    register: &Register,
    digest: &Digest,
    domain: &str,
) -> Result<(), Rejection> {
    if challenge.verified {
        let why = "this answer is being honoured";
        return Err(Rejection::new(Status::SERVER_INTERNAL_ERROR, "RFC 3261 §10.3", why)
            .with(Remedy::RetryAfter(Span::seconds(2))));
    }
    if *challenge.call_id != *register.request.call_id() {
        return Err(forbidden(CLAUSE, "Call-ID is not that of the challenge"));
    }
    if challenge.impu != register.impu {
        return Err(forbidden(ABNORMAL, "the public identity is not the challenged one"));
    }
    if !digest.get("algorithm").is_some_and(|name| name.eq_ignore_ascii_case("AKAv1-MD5")) {
        return Err(forbidden(CLAUSE, "algorithm is not AKAv1-MD5"));
    }
    if !digest.get("realm").is_some_and(|realm| realm.eq_ignore_ascii_case(domain)) {
        return Err(forbidden(CLAUSE, "realm is not that of the challenge"));
    }
    Ok(())
}

fn answer<'a>(digest: &'a Digest, register: &'a Register) -> aka::Answer<'a> {
    let get = |name| digest.get(name).unwrap_or("");
    let qop = digest.get("qop").map(|qop| aka::Qop { nc: get("nc"), cnonce: get("cnonce"), qop });
    aka::Answer {
        username: get("username"),
        realm: get("realm"),
        nonce: get("nonce"),
        method: register.request.method().as_str(),
        uri: get("uri"),
        qop,
    }
}

fn resynchronisation(
    challenge: &Challenge,
    digest: &Digest,
    register: &Register,
    parameter: &str,
) -> Option<Resynchronisation> {
    let auts = aka::auts(parameter)?;
    let right = aka::is_right(b"", &answer(digest, register), digest.get("response")?);
    right.then_some(Resynchronisation { rand: challenge.rand, auts })
}
