//! RFC 3261 §16.4, §16.6 — Route on the way in and on the way out.

use crate::{Malformed, Name, NameAddr, Request, RequestEdit, Uri, header::address, headers::malformed};

/// How a request names this proxy, and so what is to be removed from it (§16.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The top Route value is ours.
    Loose {
        /// Its URI.
        own: Uri,
    },
    /// The element before us routes strictly: our Record-Route value is the Request-URI, and what was there is the last Route
    /// value.
    Strict {
        /// The Request-URI.
        own: Uri,
        /// The Request-URI that was meant.
        target: Uri,
    },
}

/// Finds our own URI in a request. `recorded` says whether a Request-URI is a value that we put into Record-Route, `ours`
/// whether a Route value is ours. At most one of our values is found: another one below stands for another pass.
///
/// # Errors
/// A Route value that had to be read and cannot be.
pub fn arrival(
    request: &Request,
    recorded: impl FnOnce(&Uri) -> bool,
    ours: impl FnOnce(&Uri) -> bool,
) -> Result<Option<Arrival>, Malformed> {
    let mut routes = request.values(Name::Route);
    let Some(top) = routes.next() else { return Ok(None) };
    if recorded(request.uri()) {
        let last = routes.last().unwrap_or(top);
        return Ok(Some(Arrival::Strict { own: request.uri().clone(), target: route(&last)? }));
    }
    let own = route(&top)?;
    Ok(ours(&own).then_some(Arrival::Loose { own }))
}

impl Arrival {
    /// Our URI as it came back.
    pub fn own(&self) -> &Uri {
        match self {
            Self::Loose { own } | Self::Strict { own, .. } => own,
        }
    }

    /// Removes it.
    pub fn apply(&self, edit: &mut RequestEdit) {
        match self {
            Self::Loose { .. } => edit.remove_top_value(Name::Route),
            Self::Strict { target, .. } => {
                edit.uri(target);
                edit.remove_last_value(Name::Route);
            }
        }
    }
}

/// The request as it leaves, and the URI that says where it goes (§16.6 steps 6 and 7): the top Route value or the
/// Request-URI. A top Route value without `lr` is a strict router: it becomes the Request-URI, and that goes last.
///
/// # Errors
/// A top Route value that cannot be read.
pub fn departure(request: Request) -> Result<(Request, Uri), Malformed> {
    let Some(top) = request.values(Name::Route).next() else {
        let uri = request.uri().clone();
        return Ok((request, uri));
    };
    let next = route(&top)?;
    if next.has_param("lr") {
        return Ok((request, next));
    }
    let mut edit = request.edit();
    edit.append(Name::Route, NameAddr::new(request.uri().clone()));
    edit.remove_top_value(Name::Route);
    edit.uri(&next);
    Ok((edit.finish(), next))
}

fn route(value: &str) -> Result<Uri, Malformed> {
    address::uri(value).map_err(|error| malformed(Name::Route, error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Method;

    fn request(uri: &str, routes: &[&str]) -> Request {
        let builder = Request::build(Method::Bye, &Uri::parse(uri).unwrap());
        routes.iter().fold(builder, |builder, route| builder.header(Name::Route, route)).finish()
    }

    fn arrived(request: &Request) -> (Option<String>, String, String) {
        let found = arrival(request, |uri| uri.has_param("token"), |uri| uri.host() == "us").unwrap();
        let mut edit = request.edit();
        if let Some(arrival) = &found {
            arrival.apply(&mut edit);
        }
        let after = edit.finish();
        let routes = after.values(Name::Route).collect::<Vec<_>>().join(" ");
        (found.map(|found| found.own().to_string()), after.uri_text().to_owned(), routes)
    }

    fn triple(own: Option<&str>, uri: &str, routes: &str) -> (Option<String>, String, String) {
        (own.map(ToOwned::to_owned), uri.to_owned(), routes.to_owned())
    }

    #[test]
    fn the_top_route_is_ours_or_stays() {
        assert_eq!(arrived(&request("sip:b@h", &[])), triple(None, "sip:b@h", ""));
        assert_eq!(
            arrived(&request("sip:b@h", &["<sip:us;lr>, <sip:us;lr;x>", "<sip:p;lr>"])),
            triple(Some("sip:us;lr"), "sip:b@h", "<sip:us;lr;x> <sip:p;lr>")
        );
        assert_eq!(
            arrived(&request("sip:b@h", &["<sip:p;lr>", "<sip:us;lr>"])),
            triple(None, "sip:b@h", "<sip:p;lr> <sip:us;lr>")
        );
    }

    #[test]
    fn a_strict_router_before_us_left_the_target_last() {
        assert_eq!(
            arrived(&request("sip:us;lr;token=1", &["<sip:p;lr>, <sip:us;lr>", "<sip:b@ue>"])),
            triple(Some("sip:us;lr;token=1"), "sip:b@ue", "<sip:p;lr> <sip:us;lr>")
        );
        assert_eq!(
            arrived(&request("sip:us;lr;token=1", &["<sip:p;lr>, <sip:b@ue>"])),
            triple(Some("sip:us;lr;token=1"), "sip:b@ue", "<sip:p;lr>")
        );
        assert_eq!(
            arrived(&request("sip:us;token=1", &["<sip:b@ue>"])),
            triple(Some("sip:us;token=1"), "sip:b@ue", "")
        );
        assert_eq!(arrived(&request("sip:us;token=1", &[])), triple(None, "sip:us;token=1", ""));
    }

    #[test]
    fn empty_elements_are_no_values() {
        assert_eq!(
            arrived(&request("sip:b@h", &[", <sip:us;lr>,, <sip:p;lr>,"])),
            triple(Some("sip:us;lr"), "sip:b@h", "<sip:p;lr>")
        );
        assert_eq!(
            arrived(&request("sip:us;token=1", &["<sip:p;lr>,, <sip:b@ue> ,,"])),
            triple(Some("sip:us;token=1"), "sip:b@ue", "<sip:p;lr>")
        );
    }

    #[test]
    fn what_is_no_address_is_said() {
        assert!(arrival(&request("sip:b@h", &["<sip:us"]), |_| false, |_| true).is_err());
        assert!(departure(request("sip:b@h", &["<sip:us"])).is_err());
    }

    #[test]
    fn the_next_hop_is_the_top_route_or_the_request_uri() {
        let departed = |routes: &[&str]| {
            let (request, next) = departure(request("sip:b@h", routes)).unwrap();
            let routes = request.values(Name::Route).collect::<Vec<_>>().join(" ");
            (next.to_string(), request.uri_text().to_owned(), routes)
        };
        let want = |next: &str, uri: &str, routes: &str| (next.to_owned(), uri.to_owned(), routes.to_owned());
        assert_eq!(departed(&[]), want("sip:b@h", "sip:b@h", ""));
        assert_eq!(departed(&["<sip:p;lr>,<sip:q>"]), want("sip:p;lr", "sip:b@h", "<sip:p;lr> <sip:q>"));
        assert_eq!(departed(&["<sip:q>"]), want("sip:q", "sip:q", "<sip:b@h>"));
        assert_eq!(departed(&["<sip:q>,<sip:p;lr>"]), want("sip:q", "sip:q", "<sip:p;lr> <sip:b@h>"));
    }
}
