//! TS 24.229 §5.4.1.1, §5.4.3.1 — whom a request concerns, read off its headers without looking anything up.

use crate::token::Tokens;
use crate::{Impi, Impu, Rejection};
use sip::{Method, Name, Request, Scheme, Status, Uri};

/// Where a request belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    /// To this private user identity.
    User(Impi),
    /// To whoever registered this public user identity: the directory knows.
    Identity(Impu),
}

const CLAUSE: &str = "TS 24.229 §5.4.1.1";

/// Finds the user of a request that entered at any node.
///
/// A REGISTER is identified by the `username` of its Authorization, else by the identity in To, of which scheme, parameters
/// and port are dropped. Every other request by a token of ours in its first Route or its Request-URI, else by the public
/// user identity in the Request-URI.
pub fn locate(request: &Request, tokens: &Tokens, domain: &str) -> Result<Located, Rejection> {
    if *request.method() == Method::Register {
        return registering(request).map(Located::User);
    }
    let routes = request.addresses(Name::Route).map_err(|malformed| {
        Rejection::new(Status::BAD_REQUEST, "RFC 3261 §20.34", format!("Route: {}", malformed.why))
    })?;
    let ours = routes.first().into_iter().map(|route| &route.uri).chain([request.uri()]);
    if let Some((_, impi, _)) = ours.filter_map(Uri::user).find_map(|user| tokens.open(user)) {
        return Ok(Located::User(impi));
    }
    let uri = request.uri();
    match uri.scheme() {
        Scheme::Tel => Ok(Located::Identity(Impu::of(uri))),
        Scheme::Sip | Scheme::Sips if uri.user().is_some() => Ok(Located::Identity(Impu::of(uri))),
        Scheme::Sip | Scheme::Sips => {
            let why = if uri.host().eq_ignore_ascii_case(domain) {
                "the Request-URI names the network and no user"
            } else {
                "the Request-URI names no user"
            };
            Err(Rejection::new(Status::NOT_FOUND, "RFC 3261 §16.5", why))
        }
        Scheme::Urn | Scheme::Other => Err(Rejection::new(
            Status::UNSUPPORTED_URI_SCHEME,
            "RFC 3261 §16.3",
            "the scheme of the Request-URI is not served",
        )),
    }
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
    use crate::token::TokenKind;
    use bytes::Bytes;
    use sip::Message;

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
        let tokens = Tokens::new(&[1; 32]);
        let find = |lines: &str| locate(&request("REGISTER sip:h", lines), &tokens, "h");
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
        let tokens = Tokens::new(&[1; 32]);
        let impi = Impi::new("p@h").unwrap();
        let token = tokens.mint(TokenKind::ServiceRoute, &impi, 7);
        let to = "To: <sip:u@h>\r\n";
        let find = |start: &str, lines: &str| locate(&request(start, lines), &tokens, "h");
        let routed = find("INVITE tel:+1", &format!("{to}Route: <sip:{token}@s;lr>\r\n"));
        assert_eq!(routed, Ok(Located::User(impi.clone())));
        assert_eq!(find(&format!("SUBSCRIBE sip:{token}@s"), to), Ok(Located::User(impi)));
        let identity = Located::Identity(Impu::parse("sip:u@h").unwrap());
        assert_eq!(find("SUBSCRIBE sip:u@H;x=1", to), Ok(identity));
        assert_eq!(find("OPTIONS sip:h", to).unwrap_err().status, Status::NOT_FOUND);
        assert_eq!(find("OPTIONS urn:service:sos", to).unwrap_err().status, Status::UNSUPPORTED_URI_SCHEME);
    }
}
