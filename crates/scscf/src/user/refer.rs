//! TS 24.229 §5.4.1.6 — asking for a REGISTER by other means: one REFER (RFC 3515) along the path of each contact.
//!
//! A UE need not act on it, and it never changes the registration.

use super::{Step, User};
use crate::{Effect, Purpose, Reply};
use sip::{Method, Name, NameAddr};

impl User {
    /// Asks every contact for a REGISTER.
    pub(super) fn refer(&self, step: &mut Step<'_>) {
        let own = NameAddr::new(step.policy.name.clone());
        for set in &self.registration.sets {
            let Some(to) = set.profile.default_identity() else { continue };
            for binding in set.bindings.iter().filter(|binding| !binding.emergency) {
                let mut request =
                    sip::Request::build(Method::Refer, &binding.uri).header(Name::MaxForwards, 70);
                for route in &binding.path {
                    request = request.header(Name::Route, route);
                }
                let request = request
                    .header(Name::From, own.clone().with_param("tag", &step.tag()))
                    .header(Name::To, format_args!("<{}>", to.impu))
                    .header(Name::CallId, step.tag())
                    .header(Name::CSeq, "1 REFER")
                    .header(Name::Contact, &own)
                    .header(Name::PAssertedIdentity, &own)
                    .header(Name::ReferTo, format_args!("<sip:{};method=REGISTER>", step.policy.domain))
                    .header(Name::ReferSub, "false")
                    .header(Name::Supported, "norefersub")
                    .finish();
                step.effect(Effect::Send { purpose: Purpose::Refer, request });
            }
        }
    }

    /// Whatever the answer is, the UE's REGISTER is awaited until the deadline.
    pub(crate) fn refer_answered(&self, reply: &Reply, step: &mut Step<'_>) {
        match reply {
            Reply::Response(response) => {
                step.say(format!("REFER answered {}", response.status().code()));
            }
            Reply::Timeout | Reply::Unsendable => step.say("REFER not answered"),
        }
    }
}
