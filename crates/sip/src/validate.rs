//! RFC 3261 §8.2 — what a user agent server checks in a well-formed request before it acts on it.

use crate::{Method, Name, Request, Scheme, Status};

/// A status to answer with, and a header that belongs to it.
pub type Refusal = (Status, Option<(Name, String)>);

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
    let known = |tag: &str| options.iter().any(|option| option.eq_ignore_ascii_case(tag));
    let unknown: Vec<_> = request.values(Name::Require).filter(|tag| !known(tag)).collect();
    (!unknown.is_empty()).then(|| (Status::BAD_EXTENSION, Some((Name::Unsupported, unknown.join(", ")))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Uri;

    fn request(tags: &str) -> Request {
        Request::build(Method::Options, &Uri::parse("sip:a").unwrap()).header(Name::Require, tags).finish()
    }

    #[test]
    fn a_server_names_what_it_allows() {
        let asked = request("path");
        assert_eq!(server(&asked, &[Method::Options], &["path"]), None);
        assert_eq!(server(&asked, &[Method::Options], &[]).unwrap().0, Status::BAD_EXTENSION);
        let (code, header) = server(&asked, &[Method::Register, Method::Notify], &[]).unwrap();
        assert_eq!((code, header.unwrap().1), (Status::METHOD_NOT_ALLOWED, "REGISTER, NOTIFY".to_owned()));
    }
}
