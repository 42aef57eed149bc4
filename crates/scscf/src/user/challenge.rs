//! TS 24.229 §5.4.1.2.1, §5.4.1.2.1A — the challenge: a vector from the HSS, a 401 to the UE, and reg-await-auth.

use super::register::{Protection, Register};
use super::{Attempt, Challenge, Goal, User};
use crate::cx::{
    AuthItem, AuthenticationVector, Failure, MultimediaAuth, MultimediaAuthAnswer, Request, ResultCode,
    Resynchronisation, Scheme,
};
use crate::event::{AttemptId, CxPurpose};
use crate::policy::{DefaultScheme, OverLimit};
use crate::{Effect, Rejection, Remedy, Span, Timestamp, aka, user::Step};
use sip::{Digest, Name, Response, Status};

const CLAUSE: &str = "TS 24.229 §5.4.1.2.1";
/// The period over which challenges to unprotected REGISTERs are counted.
const WINDOW: Span = Span::seconds(60);

/// What led to a challenge.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Provocation {
    /// RAND and AUTS, if the UE wants to be synchronised.
    pub(crate) resynchronise: Option<Resynchronisation>,
    /// Resynchronisations of this attempt, this one included.
    pub(crate) resyncs: u8,
    /// Challenges of this attempt before.
    pub(crate) earlier: u8,
}

impl User {
    /// Asks the HSS for a vector. Nothing of the registration is touched, whoever asks.
    pub(crate) fn challenge(
        &mut self,
        register: Register,
        provocation: Provocation,
        step: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        if register.protection == Protection::Unprotected {
            self.authentication.count_unprotected(step)?;
        }
        let scheme = scheme(&register, step);
        let request = Request::MultimediaAuth(MultimediaAuth {
            impi: self.impi.clone(),
            impu: register.impu.as_str().into(),
            scheme,
            resynchronise: provocation.resynchronise,
            server_name: step.policy.name.as_str().into(),
            hss: self.authentication.hss.clone(),
        });
        let id = self.attempt(register, Goal::Challenge(provocation), step)?;
        step.effect(Effect::CxRequest { purpose: CxPurpose::Challenge(id), request });
        step.say("asks the HSS for a vector");
        Ok(())
    }

    /// Keeps a REGISTER until the HSS has answered.
    pub(crate) fn attempt(
        &mut self,
        register: Register,
        goal: Goal,
        step: &mut Step<'_>,
    ) -> Result<AttemptId, Rejection> {
        let most = step.policy.registration.max_attempts;
        // A quarter is kept for those who came protected or have answered: no flood of strangers locks them out.
        let stranger = register.protection == Protection::Unprotected && matches!(goal, Goal::Challenge(_));
        if self.attempts.len() >= if stranger { most - most / 4 } else { most } {
            let why = "too many REGISTERs of this user await the HSS";
            return Err(Rejection::new(Status::SERVICE_UNAVAILABLE, CLAUSE, why)
                .with(Remedy::RetryAfter(Span::seconds(5))));
        }
        let id = AttemptId(step.mint());
        self.attempts.push((id, Attempt { register, goal }));
        Ok(id)
    }

    /// The HSS answered a MAR: the 401 leaves, reg-await-auth starts.
    pub(crate) fn vector_arrived(
        &mut self,
        register: &Register,
        provocation: Provocation,
        answer: Result<MultimediaAuthAnswer, Failure>,
        step: &mut Step<'_>,
    ) -> Result<(), Rejection> {
        let answer = answer.map_err(|failure| refusal(CLAUSE, &failure))?;
        if answer.hss.is_some() {
            self.authentication.hss = answer.hss;
        }
        let vector = answer.items.iter().find_map(|item| match item {
            AuthItem::Aka(vector) => Some(vector),
            AuthItem::Digest(_) => None,
        });
        let Some(vector) = vector else {
            return Err(if answer.items.is_empty() {
                Rejection::new(Status::SERVER_INTERNAL_ERROR, CLAUSE, "the HSS sent no vector")
            } else {
                let why = "the HSS wants SIP digest, which is not offered";
                Rejection::new(Status::FORBIDDEN, "TS 24.229 §5.4.1.2.1B", why)
            });
        };
        let nonce = aka::nonce(vector);
        let response = unauthorized(register, vector, &nonce, step);
        self.authentication.challenges.push(Challenge {
            nonce: nonce.into(),
            rand: vector.rand,
            xres: vector.xres.clone(),
            scheme: Scheme::AkaV1Md5,
            call_id: register.request.call_id().into(),
            impu: register.impu.clone(),
            deadline: step.now() + Span::seconds(u64::from(step.policy.authentication.await_auth)),
            resyncs: provocation.resyncs,
            earlier: provocation.earlier,
            protected: register.protection != Protection::Unprotected,
            verified: false,
        });
        self.authentication.drop_oldest(step.policy.authentication.max_pending.max(1));
        if register.protection != Protection::Unprotected && self.authentication.reauthentication.is_some() {
            self.reauthentication_challenged();
        }
        step.changed();
        step.effect(Effect::Respond { tx: register.tx, response });
        step.say("challenged");
        Ok(())
    }
}

impl super::Authentication {
    /// The limit on vectors that unprotected REGISTERs may consume: each advances the subscriber's sequence number.
    fn count_unprotected(&mut self, step: &Step<'_>) -> Result<(), Rejection> {
        let policy = &step.policy.authentication;
        self.close_window(step.now());
        if self.window.1 == 0 {
            self.window.0 = step.now();
        }
        if self.window.1 < policy.max_challenges_per_minute {
            self.window.1 += 1;
            return Ok(());
        }
        let why = "too many unprotected REGISTERs within a minute";
        Err(match policy.over_limit {
            OverLimit::Forbid => Rejection::new(Status::FORBIDDEN, CLAUSE, why),
            OverLimit::Unavailable => {
                let wait = (self.window.0 + WINDOW) - step.now();
                Rejection::new(Status::SERVICE_UNAVAILABLE, CLAUSE, why).with(Remedy::RetryAfter(wait))
            }
        })
    }

    /// When the counted minute is over; nothing if none is being counted.
    pub(crate) fn window_end(&self) -> Option<Timestamp> {
        (self.window.1 > 0).then(|| self.window.0 + WINDOW)
    }

    /// Ends the counted minute if it is over.
    pub(crate) fn close_window(&mut self, now: Timestamp) {
        if self.window_end().is_some_and(|at| at <= now) {
            self.window.1 = 0;
        }
    }

    /// A challenge that was answered rightly was no attack.
    pub(crate) fn uncount_unprotected(&mut self) {
        self.window.1 = self.window.1.saturating_sub(1);
    }

    /// Makes room: the oldest challenge of an unprotected REGISTER goes first, one whose answer is being honoured last.
    fn drop_oldest(&mut self, most: usize) {
        while self.challenges.len() > most {
            let oldest = self
                .challenges
                .iter()
                .enumerate()
                .min_by_key(|(index, challenge)| (challenge.verified, challenge.protected, *index))
                .map_or(0, |(index, _)| index);
            self.challenges.remove(oldest);
        }
    }
}

fn scheme(register: &Register, step: &Step<'_>) -> Scheme {
    let algorithm = register.authorization.as_ref().and_then(|digest| digest.get("algorithm"));
    match step.policy.authentication.scheme {
        _ if algorithm.is_some_and(|name| name.eq_ignore_ascii_case("AKAv1-MD5")) => Scheme::AkaV1Md5,
        DefaultScheme::Aka => Scheme::AkaV1Md5,
        DefaultScheme::Digest => Scheme::SipDigest,
        DefaultScheme::Unknown => Scheme::Unknown,
    }
}

/// TS 24.229 §5.4.1.2.1A: the 401. CK and IK are for the P-CSCF alone, so nobody outside the trust domain gets them.
fn unauthorized(
    register: &Register,
    vector: &AuthenticationVector,
    nonce: &str,
    step: &mut Step<'_>,
) -> Response {
    let mut challenge = Digest::new()
        .quoted("realm", realm(register, &step.policy.domain))
        .quoted("nonce", nonce)
        .token("algorithm", "AKAv1-MD5");
    if register.trusted {
        challenge =
            challenge.quoted("ck", &aka::hex(vector.ck.reveal())).quoted("ik", &aka::hex(vector.ik.reveal()));
    }
    let challenge = challenge.quoted("qop", "auth");
    let tag = step.tag();
    register.request.respond(Status::UNAUTHORIZED, &tag).header(Name::WwwAuthenticate, challenge).finish()
}

/// The realm as the UE spells it, if it is ours; UEs compare it octet by octet.
fn realm<'a>(register: &'a Register, domain: &'a str) -> &'a str {
    register
        .authorization
        .as_ref()
        .and_then(|digest| digest.get("realm"))
        .filter(|realm| realm.eq_ignore_ascii_case(domain))
        .unwrap_or(domain)
}

/// What the UE is told when the HSS did not do as asked.
pub(crate) fn refusal(clause: &'static str, failure: &Failure) -> Rejection {
    let status = match failure {
        Failure::Unreachable | Failure::Refused(ResultCode::TOO_BUSY | ResultCode::Base(3002)) => {
            Status::SERVER_TIMEOUT
        }
        Failure::Refused(
            ResultCode::USER_UNKNOWN
            | ResultCode::IDENTITIES_DONT_MATCH
            | ResultCode::ROAMING_NOT_ALLOWED
            | ResultCode::AUTH_SCHEME_NOT_SUPPORTED
            | ResultCode::AUTHORIZATION_REJECTED,
        ) => Status::FORBIDDEN,
        Failure::Refused(_) | Failure::Malformed(_) => Status::SERVER_INTERNAL_ERROR,
    };
    Rejection::new(status, clause, failure.to_string())
}
