//! RFC 3261 §16.3, §8.2 — what a proxy or a server checks in a well-formed request before it acts on it.

use crate::{Method, Name, Request, Scheme, Status};

/// A status to answer with, and a header that belongs to it.
pub type Refusal = (Status, Option<(Name, String)>);

/// RFC 3261 §16.3: the checks of a proxy but for loops (step 4) and authorisation (step 6). `options` are the option tags
/// of Proxy-Require that are understood. An OPTIONS with Max-Forwards 0 is refused too; who wants to answer it looks first.
pub fn proxy(request: &Request, options: &[&str]) -> Option<Refusal> {
    // 1) what the parser leaves to its readers
    let Ok(hops) = request.max_forwards() else { return Some((Status::BAD_REQUEST, None)) };
    // 2)
    if request.uri().scheme() == Scheme::Other {
        return Some((Status::UNSUPPORTED_URI_SCHEME, None));
    }
    // 3)
    if hops == Some(0) {
        return Some((Status::TOO_MANY_HOPS, None));
    }
    // 5)
    unsupported(request, Name::ProxyRequire, options)
}

/// RFC 3261 §8.2.1, §8.2.2: the checks of a user agent server. `methods` are those allowed, `options` the option tags of
/// Require that are understood. CANCEL and ACK have no Require.
pub fn server(request: &Request, methods: &[Method], options: &[&str]) -> Option<Refusal> {
    if !methods.contains(request.method()) {
        let allow = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        return Some((Status::METHOD_NOT_ALLOWED, Some((Name::Allow, allow))));
    }
    if request.uri().scheme() == Scheme::Other {
        return Some((Status::UNSUPPORTED_URI_SCHEME, None));
    }
    if matches!(request.method(), Method::Cancel | Method::Ack) {
        return None;
    }
    unsupported(request, Name::Require, options)
}

fn unsupported(request: &Request, name: Name, options: &[&str]) -> Option<Refusal> {
    let known = |tag: &str| options.iter().any(|option| option.eq_ignore_ascii_case(tag));
    let unknown: Vec<_> = request.values(name).filter(|tag| !known(tag)).collect();
    (!unknown.is_empty()).then(|| (Status::BAD_EXTENSION, Some((Name::Unsupported, unknown.join(", ")))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Uri;

    fn request(uri: &str, hops: &str, name: Name, tags: &str) -> Request {
        Request::build(Method::Options, &Uri::parse(uri).unwrap())
            .header(Name::MaxForwards, hops)
            .header(name, tags)
            .finish()
    }

    #[test]
    fn a_proxy_checks_in_the_order_of_the_clause() {
        let status =
            |uri, hops, tags| proxy(&request(uri, hops, Name::ProxyRequire, tags), &["gruu"]).map(|r| r.0);
        assert_eq!(status("sip:a@b", "1", "GRUU"), None);
        assert_eq!(status("x:a", "no", "owl"), Some(Status::BAD_REQUEST));
        assert_eq!(status("x:a", "0", "owl"), Some(Status::UNSUPPORTED_URI_SCHEME));
        assert_eq!(status("tel:+1", "0", "owl"), Some(Status::TOO_MANY_HOPS));
        let (code, header) =
            proxy(&request("sip:a", "70", Name::ProxyRequire, "gruu, owl,hoot"), &["gruu"]).unwrap();
        assert_eq!(
            (code, header),
            (Status::BAD_EXTENSION, Some((Name::Unsupported, "owl, hoot".to_owned())))
        );
    }

    #[test]
    fn a_server_names_what_it_allows() {
        let asked = request("sip:a", "70", Name::Require, "path");
        assert_eq!(server(&asked, &[Method::Options], &["path"]), None);
        assert_eq!(server(&asked, &[Method::Options], &[]).unwrap().0, Status::BAD_EXTENSION);
        let (code, header) = server(&asked, &[Method::Register, Method::Notify], &[]).unwrap();
        assert_eq!((code, header.unwrap().1), (Status::METHOD_NOT_ALLOWED, "REGISTER, NOTIFY".to_owned()));
    }
}
