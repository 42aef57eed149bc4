//! TS 24.229 §5.1.1 — how a UE registers, answers a challenge, registers anew and deregisters; its P-CSCF adds its part.

use super::{
    Error, Inner,
    config::OnReauth,
    happening::Happening,
    locked,
    message::{self, Dialogue, Draft, Incoming},
    usim::{Proof, Usim, Verdict},
};
use crate::wire::{call_id, tag, text};
use rsip::Method;
use std::sync::atomic::Ordering;
use tokio::time::{Duration, Instant};

/// How many times a REGISTER is sent before the UE gives up: RFC 3310 and TS 24.229 have it stop after the second
/// challenge that it cannot accept; one resynchronisation and one longer expiry come on top.
const ATTEMPTS: usize = 5;

/// What a UE knows of its registration.
#[derive(Debug)]
pub(super) struct Registration {
    call_id: String,
    tag: String,
    cseq: u32,
    usim: Usim,
    proof: Option<Proof>,
    expires: u32,
    pub(super) active: bool,
}

/// What others may know of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    pub(super) service_route: Vec<String>,
    pub(super) refresh_at: Option<Instant>,
}

/// A registration that stands.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Seconds until it expires.
    pub expires_s: u32,
    /// P-Associated-URI, the default identity first.
    pub identities: Vec<String>,
    /// Service-Route.
    pub service_route: Vec<String>,
    /// Whether the network challenged the UE.
    pub challenged: bool,
}

impl Registration {
    pub(super) fn new(usim: Usim, expires: u32) -> Self {
        Self { call_id: call_id(), tag: tag(), cseq: 0, usim, proof: None, expires, active: false }
    }
}

/// When a registration of that length is refreshed: 600 s before its end if it is longer than 1200 s, else at half.
pub(super) fn refresh_after(expires_s: u32) -> Duration {
    let half = Duration::from_secs(u64::from(expires_s)) / 2;
    if expires_s > 1200 { Duration::from_secs(u64::from(expires_s - 600)) } else { half }
}

impl Inner {
    /// Registers, initially or anew, and answers what challenge there is.
    pub(super) async fn register(&self, wrongly: bool) -> Result<Registered, Error> {
        let mut registration = self.registration.lock().await;
        self.leaving.store(false, Ordering::Relaxed);
        let expires = registration.expires;
        let (response, challenged) = self.registering(&mut registration, expires, wrongly).await?;
        let registered = self.registered(&response, expires, challenged);
        registration.active = true;
        *locked(&self.standing) = Standing {
            service_route: registered.service_route.clone(),
            refresh_at: Some(Instant::now() + refresh_after(registered.expires_s)),
        };
        self.tell(Happening::Registered {
            expires_s: registered.expires_s,
            identities: registered.identities.clone(),
        });
        self.changed.notify_waiters();
        Ok(registered)
    }

    /// Whether a registration stands, as far as the UE knows.
    pub(super) fn is_registered(&self) -> bool {
        !locked(&self.standing).service_route.is_empty()
    }

    /// Ends the registration.
    pub(super) async fn deregister(&self) -> Result<(), Error> {
        self.leaving.store(true, Ordering::Relaxed);
        let mut registration = self.registration.lock().await;
        self.registering(&mut registration, 0, false).await?;
        registration.active = false;
        *locked(&self.standing) = Standing::default();
        self.tell(Happening::Deregistered { by: "the UE".into() });
        Ok(())
    }

    async fn registering(
        &self,
        registration: &mut Registration,
        mut expires: u32,
        wrongly: bool,
    ) -> Result<(Incoming, bool), Error> {
        let mut answers_challenge = false;
        let (mut resynchronised, mut botched) = (false, false);
        for _ in 0..ATTEMPTS {
            let request = self.request(registration, expires, answers_challenge);
            let response = self.exchange(request).await?;
            let status = response.status().unwrap_or(0);
            match status {
                200..=299 => return Ok((response, answers_challenge)),
                401 if botched => {
                    self.tell(Happening::AnsweredWrongly { status });
                    return Err(Error::refused(&response));
                }
                401 => {
                    let challenge = response.value("WWW-Authenticate");
                    let verdict = self.judge(registration, &challenge, wrongly)?;
                    match verdict {
                        Verdict::NotAuthentic if answers_challenge => return Err(Error::NotAuthentic),
                        Verdict::OutOfStep(_) if resynchronised => return Err(Error::refused(&response)),
                        Verdict::OutOfStep(_) => {
                            resynchronised = true;
                            self.tell(Happening::Resynchronising);
                        }
                        Verdict::NotAuthentic => {}
                        Verdict::Right(_) => botched = wrongly,
                    }
                    answers_challenge = true;
                }
                423 => {
                    let least = response.value("Min-Expires").parse().unwrap_or(0);
                    if least <= expires || expires == 0 {
                        return Err(Error::refused(&response));
                    }
                    expires = least;
                    registration.expires = least;
                }
                _ => {
                    if botched {
                        self.tell(Happening::AnsweredWrongly { status });
                    }
                    return Err(Error::refused(&response));
                }
            }
        }
        Err(Error::GaveUp)
    }

    /// Has the USIM judge a challenge, and keeps the answer for the next REGISTER.
    fn judge(
        &self,
        registration: &mut Registration,
        challenge: &str,
        wrongly: bool,
    ) -> Result<Verdict, Error> {
        let parameter = |name| message::challenge(challenge, name);
        let (Some(nonce), Some(realm)) = (parameter("nonce"), parameter("realm")) else {
            return Err(Error::Challenge("it has no nonce or no realm"));
        };
        if parameter("algorithm").is_some_and(|algorithm| !algorithm.eq_ignore_ascii_case("AKAv1-MD5")) {
            return Err(Error::Challenge("its algorithm is not AKAv1-MD5"));
        }
        let qop = parameter("qop").is_some_and(|offered| offered.split(',').any(|one| one.trim() == "auth"));
        let verdict = registration.usim.judge(nonce);
        let mut proof = Proof::of(&verdict, realm, nonce, qop);
        if wrongly {
            proof.botch();
        }
        registration.proof = Some(proof);
        Ok(verdict)
    }

    fn request(&self, registration: &mut Registration, expires: u32, answers_challenge: bool) -> Draft {
        registration.cseq += 1;
        let (impi, impu, domain) = (&self.config.impi, self.config.impu(), self.config.domain());
        let uri = format!("sip:{domain}");
        let protected = self.config.protected && (answers_challenge || registration.active);
        let protected = if protected { "yes" } else { "no" };
        let authorization = match &mut registration.proof {
            Some(proof) => proof.authorization(impi, "REGISTER", &uri, protected),
            None => format!(
                "Digest username=\"{impi}\", realm=\"{domain}\", nonce=\"\", uri=\"{uri}\", response=\"\", integrity-protected=\"{protected}\""
            ),
        };
        let dialogue = Dialogue {
            from: format!("<{impu}>;tag={}", registration.tag),
            to: format!("<{impu}>"),
            call_id: &registration.call_id,
            cseq: registration.cseq,
        };
        let (flow, supported) = match &self.config.flow {
            Some(flow) => {
                (format!(";+sip.instance=\"<{}>\";reg-id={}", flow.instance, flow.reg_id), "path, outbound")
            }
            None => (String::new(), "path"),
        };
        Draft::new(Method::Register, &uri, dialogue)
            .header("Contact", format!("<{}>;expires={expires}{flow}", self.contact()))
            .header("Path", format!("<{}>", self.path()))
            .header("Supported", supported)
            .header("P-Visited-Network-ID", format!("\"{domain}\""))
            .header(
                "P-Charging-Vector",
                format!("icid-value=\"{:032x}\";orig-ioi={domain}", rand::random::<u128>()),
            )
            .header("Authorization", authorization)
            .header("User-Agent", "rollcall-lab")
    }

    fn registered(&self, response: &Incoming, asked: u32, challenged: bool) -> Registered {
        let ours = self.contact();
        let contacts = response.elements("Contact");
        let contact = contacts.iter().find(|contact| text::uri(contact) == ours).or(contacts.first());
        let granted = contact.and_then(|contact| text::parameter(contact, "expires")?.parse().ok());
        let granted = granted.or_else(|| response.value("Expires").parse().ok());
        Registered {
            expires_s: granted.unwrap_or(asked),
            identities: response
                .elements("P-Associated-URI")
                .iter()
                .map(|one| text::uri(one).to_owned())
                .collect(),
            service_route: response.elements("Service-Route"),
            challenged,
        }
    }

    /// The network asked for authentication: does what the UE is told to do about it.
    pub(super) async fn reauthenticate(&self) {
        let wrongly = match self.config.on_reauth {
            OnReauth::Ignore => return,
            OnReauth::Obey => false,
            OnReauth::Wrong => true,
        };
        match self.register(wrongly).await {
            Ok(_) => self.tell(Happening::Reauthenticated),
            Err(_) if wrongly => {}
            Err(why) => self.tell(Happening::Failed { why: format!("re-authentication: {why}") }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refresh_point_is_that_of_ts_24_229() {
        assert_eq!(refresh_after(600_000), Duration::from_secs(599_400));
        assert_eq!(refresh_after(1201), Duration::from_secs(601));
        assert_eq!(refresh_after(1200), Duration::from_secs(600));
        assert_eq!(refresh_after(5), Duration::from_millis(2500));
    }
}
