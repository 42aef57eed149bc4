//! RFC 4028 §8 — session timers, as a proxy that wants them asks for them.

use crate::{
    Headers, Malformed, Method, Name, Request, RequestEdit, Response, ResponseEdit, SessionExpires,
    header::session_expires::Refresher,
};
use serde::{Deserialize, Serialize};

/// The least session interval there is, in seconds (RFC 4028 §5).
pub const MINIMUM: u32 = 90;

const TIMER: &str = "timer";

/// What this proxy wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The session interval to ask for, and the longest to let pass, in seconds; 0: ask for none and change nothing.
    pub session_expires: u32,
    /// The least to let pass, in seconds; below [`MINIMUM`] it counts as that.
    pub min_se: u32,
}

/// What the 2xx to a request has to be held against; to be remembered as long as the transaction lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The interval in the request as it is forwarded, in seconds; `None` where no timer is wanted.
    pub interval: Option<u32>,
    /// Whether its sender knows session timers.
    pub supported: bool,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Forward it as it is.
    Pass(Asked),
    /// Forward it with these values.
    Set {
        /// To be remembered.
        asked: Asked,
        /// Its Session-Expires.
        session_expires: SessionExpires,
        /// Its Min-SE, where that changes.
        min_se: Option<u32>,
    },
    /// Answer 422 with this Min-SE.
    TooSmall {
        /// In seconds.
        min_se: u32,
    },
}

/// §8.1: what becomes of a request. Only INVITE and UPDATE refresh a session; all others pass.
///
/// A sender that knows session timers is refused an interval that is too small; for one that does not, the interval is
/// raised, as a refusal would end its call.
///
/// # Errors
/// Session-Expires or Min-SE cannot be read.
pub fn request(request: &Request, policy: &Policy) -> Result<Outcome, Malformed> {
    let supported = has_tag(request, Name::Supported) || has_tag(request, Name::Require);
    let pass = |interval| Ok(Outcome::Pass(Asked { interval, supported }));
    if policy.session_expires == 0 || !matches!(request.method(), Method::Invite | Method::Update) {
        return pass(None);
    }
    let set = |session_expires: SessionExpires, min_se| {
        let asked = Asked { interval: Some(session_expires.interval), supported };
        Ok(Outcome::Set { asked, session_expires, min_se })
    };
    let least = policy.min_se.max(MINIMUM);
    let min_se = request.min_se()?;
    let wanted = policy.session_expires.max(least).max(min_se.unwrap_or(0));
    let Some(mut found) = request.session_expires()? else { return set(SessionExpires::new(wanted), None) };
    if found.interval < least && supported {
        return Ok(Outcome::TooSmall { min_se: least });
    }
    let floor = least.max(min_se.unwrap_or(0));
    if found.interval < floor && !supported {
        found.interval = floor;
        return set(found, (min_se != Some(floor)).then_some(floor));
    }
    if found.interval > wanted {
        found.interval = wanted;
        return set(found, None);
    }
    pass(Some(found.interval))
}

impl Outcome {
    /// Writes what changes.
    pub fn apply(&self, edit: &mut RequestEdit) {
        if let Self::Set { session_expires, min_se, .. } = self {
            edit.replace(Name::SessionExpires, session_expires);
            if let Some(min_se) = min_se {
                edit.replace(Name::MinSe, min_se);
            }
        }
    }
}

/// What becomes of a 2xx.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The session interval that runs from now on, in seconds; `None`: the session has no end of its own.
    pub interval: Option<u32>,
    insert: Option<SessionExpires>,
    require: bool,
}

/// §8.2: what becomes of a 2xx to an INVITE or UPDATE. Where the answerer knows no session timers and the asker does, the
/// asker is told to refresh.
///
/// # Errors
/// Session-Expires cannot be read.
pub fn success(response: &Response, asked: &Asked) -> Result<Answered, Malformed> {
    let running = |interval: u32| Some(interval.max(MINIMUM));
    if let Some(found) = response.session_expires()? {
        return Ok(Answered { interval: running(found.interval), insert: None, require: false });
    }
    let interval = asked.interval.filter(|_| asked.supported);
    Ok(Answered {
        interval: interval.and_then(running),
        insert: interval.map(|interval| SessionExpires::new(interval).refreshed_by(Refresher::Uac)),
        require: interval.is_some() && !has_tag(response, Name::Require),
    })
}

impl Answered {
    /// Whether the 2xx changes at all.
    pub fn changes(&self) -> bool {
        self.insert.is_some()
    }

    /// Writes what changes.
    pub fn apply(&self, edit: &mut ResponseEdit) {
        if let Some(session_expires) = &self.insert {
            edit.replace(Name::SessionExpires, session_expires);
        }
        if self.require {
            edit.append(Name::Require, TIMER);
        }
    }
}

fn has_tag(headers: &Headers, name: Name) -> bool {
    headers.values(name).any(|tag| tag.eq_ignore_ascii_case(TIMER))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Status, Uri};

    const POLICY: Policy = Policy { session_expires: 1800, min_se: 90 };

    fn message(method: Method, headers: &[(Name, &str)]) -> Request {
        let builder = Request::build(method, &Uri::parse("sip:b@h").unwrap());
        headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, value)).finish()
    }

    /// Session-Expires and Min-SE as an INVITE leaves, or the Min-SE of its 422.
    fn leaves(policy: Policy, headers: &[(Name, &str)]) -> Result<(Option<String>, Option<u32>), u32> {
        let invite = message(Method::Invite, headers);
        let outcome = request(&invite, &policy).unwrap();
        let mut edit = invite.edit();
        outcome.apply(&mut edit);
        let left = edit.finish();
        let se = left.get(Name::SessionExpires).map(|value| value.into_owned());
        match outcome {
            Outcome::TooSmall { min_se } => return Err(min_se),
            Outcome::Pass(asked) => {
                assert_eq!(left, invite);
                assert!(
                    asked
                        .interval
                        .is_none_or(|interval| left.session_expires().unwrap().unwrap().interval == interval)
                );
            }
            Outcome::Set { asked, .. } => {
                assert_eq!(asked.interval, left.session_expires().unwrap().map(|se| se.interval));
            }
        }
        Ok((se, left.min_se().unwrap()))
    }

    fn left(se: &str, min_se: Option<u32>) -> Result<(Option<String>, Option<u32>), u32> {
        Ok((Some(se.to_owned()), min_se))
    }

    const KNOWS: (Name, &str) = (Name::Supported, "100rel, Timer");

    #[test]
    fn an_absent_interval_is_inserted_without_a_refresher() {
        assert_eq!(leaves(POLICY, &[]), left("1800", None));
        assert_eq!(leaves(POLICY, &[KNOWS]), left("1800", None));
        assert_eq!(leaves(POLICY, &[(Name::MinSe, "3600")]), left("3600", Some(3600)), "not below Min-SE");
        let odd = Policy { session_expires: 30, min_se: 0 };
        assert_eq!(leaves(odd, &[]), left("90", None), "never below 90");
        assert_eq!(leaves(Policy { session_expires: 600, min_se: 700 }, &[]), left("700", None));
    }

    #[test]
    fn a_long_interval_is_lowered_and_its_parameters_stay() {
        let se = |value| (Name::SessionExpires, value);
        assert_eq!(leaves(POLICY, &[KNOWS, se("7200;refresher=uac;x")]), left("1800;refresher=uac;x", None));
        assert_eq!(leaves(POLICY, &[KNOWS, se("7200"), (Name::MinSe, "3600")]), left("3600", Some(3600)));
        assert_eq!(leaves(POLICY, &[KNOWS, se("1800")]), left("1800", None));
        assert_eq!(leaves(POLICY, &[KNOWS, se("100;refresher=uas")]), left("100;refresher=uas", None));
        assert_eq!(leaves(POLICY, &[se("100")]), left("100", None));
    }

    #[test]
    fn a_short_interval_is_refused_where_that_helps_and_raised_where_not() {
        let se = |value| (Name::SessionExpires, value);
        let strict = Policy { session_expires: 1800, min_se: 600 };
        assert_eq!(leaves(strict, &[KNOWS, se("599")]), Err(600));
        assert_eq!(leaves(strict, &[(Name::Require, "timer"), se("599")]), Err(600));
        assert_eq!(leaves(strict, &[KNOWS, se("600")]), left("600", None));
        assert_eq!(leaves(strict, &[se("599")]), left("600", Some(600)));
        assert_eq!(leaves(strict, &[se("599"), (Name::MinSe, "300")]), left("600", Some(600)));
        assert_eq!(leaves(strict, &[se("599"), (Name::MinSe, "900")]), left("900", Some(900)));
        assert_eq!(leaves(POLICY, &[se("100"), (Name::MinSe, "120")]), left("120", Some(120)));
        assert_eq!(
            leaves(POLICY, &[KNOWS, se("100"), (Name::MinSe, "120")]),
            left("100", Some(120)),
            "nothing is raised for who knows timers"
        );
    }

    #[test]
    fn off_and_other_methods_pass() {
        let off = Policy { session_expires: 0, min_se: 600 };
        assert_eq!(leaves(off, &[]), Ok((None, None)));
        assert_eq!(leaves(off, &[KNOWS, (Name::SessionExpires, "10")]), left("10", None));
        let bye = message(Method::Bye, &[KNOWS]);
        let passes = Outcome::Pass(Asked { interval: None, supported: true });
        assert_eq!(request(&bye, &POLICY), Ok(passes));
        let update = message(Method::Update, &[KNOWS, (Name::SessionExpires, "60")]);
        assert_eq!(request(&update, &POLICY), Ok(Outcome::TooSmall { min_se: 90 }));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for (name, value) in [(Name::SessionExpires, "soon"), (Name::MinSe, "")] {
            let invite = message(Method::Invite, &[(name, value)]);
            assert_eq!(request(&invite, &POLICY).unwrap_err().header, name);
        }
    }

    #[test]
    fn the_2xx_says_what_runs() {
        let ok = |headers: &[(Name, &str)], interval, supported| {
            let builder = message(Method::Invite, &[]).respond(Status::OK, "t");
            let response =
                headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, value)).finish();
            let answered = success(&response, &Asked { interval, supported }).unwrap();
            let mut edit = response.edit();
            answered.apply(&mut edit);
            let left = edit.finish();
            assert_eq!(left != response, answered.changes());
            let of = |name| left.lines(name).collect::<Vec<_>>().join("|");
            (answered.interval, of(Name::SessionExpires), of(Name::Require))
        };
        let want = |interval, se: &str, require: &str| (interval, se.to_owned(), require.to_owned());
        let se = (Name::SessionExpires, "900;refresher=uas");
        assert_eq!(ok(&[se], Some(1800), true), want(Some(900), "900;refresher=uas", ""));
        assert_eq!(ok(&[se], None, false), want(Some(900), "900;refresher=uas", ""));
        assert_eq!(ok(&[], Some(1800), true), want(Some(1800), "1800;refresher=uac", "timer"));
        assert_eq!(
            ok(&[(Name::Require, "100rel")], Some(1800), true),
            want(Some(1800), "1800;refresher=uac", "100rel|timer")
        );
        assert_eq!(
            ok(&[(Name::Require, "TIMER")], Some(1800), true),
            want(Some(1800), "1800;refresher=uac", "TIMER")
        );
        assert_eq!(ok(&[], Some(1800), false), want(None, "", ""), "neither side knows timers");
        assert_eq!(ok(&[], None, true), want(None, "", ""), "nobody asked");
        assert_eq!(ok(&[(Name::SessionExpires, "1")], None, true), want(Some(90), "1", ""));
    }
}
