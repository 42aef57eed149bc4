//! TS 24.229 §5.4.1.1, §5.4.3.1 — whom a request concerns, read off its headers without looking anything up.

use crate::token::TokenKind;
use crate::{Impi, Impu, Policy, Rejection};
use sip::{Method, Name, NameAddr, Request, Scheme, Status, Uri};

/// Where a request belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    /// To this private user identity.
    User(Impi),
    /// To whoever registered this public user identity: the directory knows. If not by that, then by the other one: a
    /// telephone number in a SIP URI may be known as a tel URI only, and who is to be served may have asserted two.
    Identity(Impu, Option<Impu>),
    /// To the S-CSCF itself.
    Ourselves,
}

const CLAUSE: &str = "TS 24.229 §5.4.1.1";

/// Finds the user of a request that entered at any node.
///
/// A REGISTER is identified by the `username` of its Authorization, else by the identity in To, of which scheme, parameters
/// and port are dropped. Every other request by a token of ours in its first Route or its Request-URI; where that Route asks
/// for originating services (`orig`) by the user it asks them for; else by the public user identity in the Request-URI.
pub fn locate(request: &Request, policy: &Policy) -> Result<Located, Rejection> {
    if *request.method() == Method::Register {
        return registering(request).map(Located::User);
    }
    let malformed = |name: &'static str| {
        move |malformed: sip::Malformed| {
            Rejection::new(Status::BAD_REQUEST, "RFC 3261 §20", format!("{name}: {}", malformed.why))
        }
    };
    let top = match request.values(Name::Route).next() {
        Some(value) => Some(NameAddr::parse(&value).map_err(|error| {
            Rejection::new(Status::BAD_REQUEST, "RFC 3261 §20.34", format!("Route: {}", error.0))
        })?),
        None => None,
    };
    let top = top.as_ref().map(|route| &route.uri);
    let uri = request.uri();
    let open = |uri: &Uri| policy.tokens.open(uri.user()?);
    let in_uri = open(uri);
    // A strict router put our Record-Route there, and the first Route stands for what comes behind us.
    if let Some((TokenKind::RecordRoute, impi, _)) = in_uri {
        return Ok(Located::User(impi));
    }
    if let Some((_, impi, _)) = top.and_then(open).or(in_uri) {
        return Ok(Located::User(impi));
    }
    if top.is_some_and(|route| route.has_param("orig") && policy.is_ours(route)) {
        for name in [Name::PServedUser, Name::PAssertedIdentity] {
            let named = request.addresses(name).map_err(malformed(name.as_str()))?;
            if let Some(served) = named.first() {
                let other = named.get(1).map(|other| Impu::of(&other.uri));
                return Ok(Located::Identity(
                    Impu::of(&served.uri),
                    other.or_else(|| crate::user::number_in(&served.uri)),
                ));
            }
        }
    }
    match uri.scheme() {
        Scheme::Tel => Ok(identified(uri)),
        Scheme::Sip | Scheme::Sips if uri.user().is_some() => Ok(identified(uri)),
        Scheme::Sip | Scheme::Sips => {
            if policy.is_ours(uri) {
                return Ok(Located::Ourselves);
            }
            Err(Rejection::new(Status::NOT_FOUND, "RFC 3261 §16.5", "the Request-URI names no user"))
        }
        Scheme::Urn | Scheme::Other => Err(Rejection::new(
            Status::UNSUPPORTED_URI_SCHEME,
            "RFC 3261 §16.3",
            "the scheme of the Request-URI is not served",
        )),
    }
}

fn identified(uri: &Uri) -> Located {
    Located::Identity(Impu::of(uri), crate::user::number_in(uri))
}

fn registering(request: &Request) -> Result<Impi, Rejection> {
    let bad = |why: &'static str| Rejection::new(Status::BAD_REQUEST, CLAUSE, why);
    let authorization = request.authorization().map_err(|malformed| bad(malformed.why))?;
    match authorization.as_ref().map(|digest| digest.get("username")) {
        Some(Some(username)) => {
            Impi::new(username).ok_or_else(|| bad("username is no private user identity"))
        }
        Some(None) => Err(bad("Authorization has no username")),
        None => derived(&request.to().uri).ok_or_else(|| bad("To names no user")),
    }
}

/// The private user identity that a public one implies (TS 24.229 §5.4.1.1).
pub(crate) fn derived(to: &Uri) -> Option<Impi> {
    let user = to.is_sip().then(|| to.user()).flatten()?;
    Impi::new(&format!("{user}@{}", to.host().to_ascii_lowercase()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::token::Tokens;
    use bytes::Bytes;
    use sip::Message;

    fn policy() -> Policy {
        Policy::of(Uri::parse("sip:scscf.h:5060").unwrap(), "h", Tokens::new(&[1; 32]))
    }

    fn request(start: &str, lines: &str) -> Request {
        let method = start.split(' ').next().unwrap();
        let text = format!(
            "{start} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:x@y>;tag=1\r\n{lines}\
             Call-ID: 1\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        match Message::parse_datagram(Bytes::from(text)).unwrap() {
            Message::Request(request) => request,
            Message::Response(_) => unreachable!(),
        }
    }

    #[test]
    fn a_register_is_found_by_username_else_by_to() {
        let find = |lines: &str| locate(&request("REGISTER sip:h", lines), &policy());
        let user = |text: &str| Ok(Located::User(Impi::new(text).unwrap()));
        assert_eq!(find("To: <sip:u@H:5060;x=1>;y=2\r\n"), user("u@h"));
        let lines = "To: <sip:u@h>\r\nAuthorization: Digest username=\"p@h\", realm=\"h\", nonce=\"\", response=\"\"\r\n";
        assert_eq!(find(lines), user("p@h"));
        assert_eq!(find("To: <tel:+1>\r\n").unwrap_err().status, Status::BAD_REQUEST);
        let lines = "To: <sip:u@h>\r\nAuthorization: Digest realm=\"h\"\r\n";
        assert_eq!(find(lines).unwrap_err().status, Status::BAD_REQUEST);
    }

    #[test]
    fn a_token_leads_home_and_an_identity_to_the_directory() {
        let tokens = policy().tokens;
        let impi = Impi::new("p@h").unwrap();
        let token = tokens.mint(TokenKind::ServiceRoute, &impi, 7);
        let to = "To: <sip:u@h>\r\n";
        let find = |start: &str, lines: &str| locate(&request(start, lines), &policy());
        let routed = find("INVITE tel:+1", &format!("{to}Route: <sip:{token}@s;lr>\r\n"));
        assert_eq!(routed, Ok(Located::User(impi.clone())));
        assert_eq!(find(&format!("SUBSCRIBE sip:{token}@s"), to), Ok(Located::User(impi)));
        let other = tokens.mint(TokenKind::RecordRoute, &Impi::new("q@h").unwrap(), 9);
        let strict = find(&format!("BYE sip:{other}@s;lr"), &format!("{to}Route: <sip:{token}@s;lr>\r\n"));
        assert_eq!(strict, Ok(Located::User(Impi::new("q@h").unwrap())));
        let identity = |text: &str| Located::Identity(Impu::parse(text).unwrap(), None);
        assert_eq!(find("SUBSCRIBE sip:u@H;x=1", to), Ok(identity("sip:u@h")));
        assert_eq!(find("OPTIONS sip:h", to), Ok(Located::Ourselves));
        assert_eq!(find("OPTIONS sip:scscf.h", to), Ok(Located::Ourselves));
        assert_eq!(find("OPTIONS sip:elsewhere", to).unwrap_err().status, Status::NOT_FOUND);
        let number = Located::Identity(Impu::parse("sip:+15@h").unwrap(), Impu::parse("tel:+15"));
        assert_eq!(find("INVITE sip:+15@h;user=phone", to), Ok(number));
        let served =
            "Route: <sip:scscf.h;lr;orig>\r\nP-Served-User: <sip:a@h>\r\nP-Asserted-Identity: <sip:b@h>\r\n";
        assert_eq!(find("INVITE sip:u@h", &format!("{to}{served}")), Ok(identity("sip:a@h")));
        let asserted = "Route: <sip:scscf.h;lr;orig>\r\nP-Asserted-Identity: <sip:b@h>\r\n";
        assert_eq!(find("INVITE sip:u@h", &format!("{to}{asserted}")), Ok(identity("sip:b@h")));
        let two = "Route: <sip:scscf.h;lr;orig>\r\nP-Asserted-Identity: <sip:b@h>, <tel:+1-5>\r\n";
        let both = Located::Identity(Impu::parse("sip:b@h").unwrap(), Impu::parse("tel:+15"));
        assert_eq!(find("INVITE sip:u@h", &format!("{to}{two}")), Ok(both));
        let elsewhere = "Route: <sip:192.0.2.1:5070;lr;orig>\r\nP-Served-User: <sip:a@h>\r\n";
        assert_eq!(find("INVITE sip:u@h", &format!("{to}{elsewhere}")), Ok(identity("sip:u@h")));
        let listening = Policy { addresses: vec![("192.0.2.1".into(), 5070)], ..policy() };
        let found = locate(&request("INVITE sip:u@h", &format!("{to}{elsewhere}")), &listening);
        assert_eq!(found, Ok(identity("sip:a@h")));
        assert_eq!(find("OPTIONS urn:service:sos", to).unwrap_err().status, Status::UNSUPPORTED_URI_SCHEME);
    }
}
