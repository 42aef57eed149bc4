//! RFC 3261 §16.3 — what a proxy checks in a well-formed request before it forwards it.

use crate::{Name, Request, Scheme, Status};

/// Why a request is not forwarded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {why}")]
pub struct Refused {
    /// What to answer with.
    pub status: Status,
    /// The reason in words.
    pub why: &'static str,
    /// With 420, the value of the Unsupported header of the answer.
    pub unsupported: Option<Box<str>>,
}

/// Checks syntax, scheme, Max-Forwards and Proxy-Require, in the order of the clause; `options` are the option tags of
/// Proxy-Require that are understood. Loops are the business of [`super::looped`], authorisation that of the caller; who
/// wants to answer an OPTIONS with Max-Forwards 0 looks first.
///
/// # Errors
/// 400, 416, 483 or 420.
pub fn validate(request: &Request, options: &[&str]) -> Result<(), Refused> {
    let refused = |status, why| Err(Refused { status, why, unsupported: None });
    // 1) what the parser leaves to its readers
    let Ok(hops) = request.max_forwards() else {
        return refused(Status::BAD_REQUEST, "Max-Forwards is no number from 0 to 255");
    };
    // 2)
    if request.uri().scheme() == Scheme::Other {
        return refused(Status::UNSUPPORTED_URI_SCHEME, "the scheme of the Request-URI is not known");
    }
    // 3)
    if hops == Some(0) {
        return refused(Status::TOO_MANY_HOPS, "Max-Forwards is 0");
    }
    // 5)
    if !request.has(Name::ProxyRequire) {
        return Ok(());
    }
    let known = |tag: &str| options.iter().any(|option| option.eq_ignore_ascii_case(tag));
    let unknown: Vec<_> = request.values(Name::ProxyRequire).filter(|tag| !known(tag)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Refused {
        status: Status::BAD_EXTENSION,
        why: "Proxy-Require names an extension that is not known",
        unsupported: Some(unknown.join(", ").into()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Method, Uri};

    fn request(uri: &str, hops: &str, tags: &str) -> Request {
        Request::build(Method::Options, &Uri::parse(uri).unwrap())
            .header(Name::MaxForwards, hops)
            .header(Name::ProxyRequire, tags)
            .finish()
    }

    #[test]
    fn a_proxy_checks_in_the_order_of_the_clause() {
        let status =
            |uri, hops, tags| validate(&request(uri, hops, tags), &["gruu"]).err().map(|r| r.status.code());
        assert_eq!(status("sip:a@b", "1", "GRUU"), None);
        assert_eq!(status("x:a", "no", "owl"), Some(400));
        assert_eq!(status("x:a", "256", "owl"), Some(400));
        assert_eq!(status("x:a", "0", "owl"), Some(416));
        assert_eq!(status("tel:+1", "0", "owl"), Some(483));
        assert_eq!(status("urn:service:sos", "1", "owl"), Some(420));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let refused = validate(&request("sip:a", "70", "gruu, owl,hoot"), &["gruu"]).unwrap_err();
        assert_eq!(refused.unsupported.as_deref(), Some("owl, hoot"));
    }
}
