//! RFC 5393 §4 — loop detection, as it corrects RFC 3261 §16.3 and §16.6.

use crate::{Name, Request, Via, fingerprint::Fingerprint, transaction::mark_of};
use memchr::memmem;

/// The hash of all in a received request that decides where it goes: tags, Call-ID, CSeq number, Request-URI, Route,
/// Proxy-Require and Proxy-Authorization. No Via is in it, for a loop comes back with more of them.
///
/// It belongs into the branch of what is forwarded ([`crate::transaction::ViaTemplate::mark`]). Every node and every release
/// computes the same for the same request, so that a loop through several nodes is seen. A request that comes back from an
/// application server has another Route and is no loop.
pub fn mark(request: &Request) -> u64 {
    let mut hash = Fingerprint::new();
    hash.field(request.to_tag().unwrap_or("").as_bytes());
    hash.field(request.from_tag().unwrap_or("").as_bytes());
    hash.field(request.call_id().as_bytes());
    hash.word(u64::from(request.cseq_number()));
    hash.field(request.uri_text().as_bytes());
    for name in [Name::Route, Name::ProxyRequire, Name::ProxyAuthorization] {
        // No field has such a length.
        hash.word(!(name.as_str().len() as u64));
        for value in request.values(name) {
            hash.field(value.as_bytes());
        }
    }
    hash.finish()
}

/// Whether one of the Vias is of this cluster and was written when it forwarded a request of that mark: the request would go
/// the same way again (482).
pub fn looped(request: &Request, mark: u64) -> bool {
    let text = format!("{mark:016x}");
    let finder = memmem::Finder::new(text.as_bytes());
    request.lines_of(Name::Via).any(|line| finder.find(request.octets(line.value_span())).is_some())
        && request.values(Name::Via).any(|value| {
            finder.find(value.as_bytes()).is_some()
                && Via::parse(&value).is_ok_and(|via| via.branch().and_then(mark_of) == Some(mark))
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Method, Uri};

    fn request(uri: &str, headers: &[(Name, &str)]) -> Request {
        let mut builder = Request::build(Method::Invite, &Uri::parse(uri).unwrap());
        for (name, value) in headers {
            builder = builder.header(*name, value);
        }
        builder.finish()
    }

    const BASE: &[(Name, &str)] = &[
        (Name::Via, "SIP/2.0/UDP a;branch=z9hG4bK1"),
        (Name::Route, "<sip:us;lr>, <sip:as;lr>"),
        (Name::From, "<sip:a@h>;tag=f"),
        (Name::To, "<sip:b@h>"),
        (Name::CallId, "c"),
        (Name::CSeq, "7 INVITE"),
    ];

    #[test]
    fn all_that_decides_the_way_makes_the_mark_and_nothing_else() {
        let base = mark(&request("sip:b@h", BASE));
        let with = |name: Name, value: &str| {
            let mut edit = request("sip:b@h", BASE).edit();
            edit.replace(name, value);
            mark(&edit.finish())
        };
        for (name, value) in [
            (Name::Route, "<sip:us;lr;odi=1>, <sip:as;lr>"),
            (Name::Route, "<sip:us;lr>"),
            (Name::From, "<sip:a@h>;tag=g"),
            (Name::To, "<sip:b@h>;tag=t"),
            (Name::CallId, "d"),
            (Name::CSeq, "8 INVITE"),
            (Name::ProxyRequire, "x"),
            (Name::ProxyAuthorization, "Digest username=\"a\""),
        ] {
            assert_ne!(with(name, value), base, "{name}: {value}");
        }
        assert_ne!(mark(&request("sip:c@h", BASE)), base);
        for (name, value) in [
            (Name::Via, "SIP/2.0/UDP other;branch=z9hG4bK2"),
            (Name::MaxForwards, "69"),
            (Name::RecordRoute, "<sip:x;lr>"),
            (Name::CSeq, "7 ACK"),
            (Name::Contact, "<sip:x>"),
        ] {
            assert_eq!(with(name, value), base, "{name}: {value}");
        }
    }

    #[test]
    fn how_the_routes_are_written_down_does_not_matter() {
        let mut edit = request("sip:b@h", BASE).edit();
        edit.replace(Name::Route, "<sip:us;lr>");
        edit.append(Name::Route, "<sip:as;lr>");
        assert_eq!(mark(&edit.finish()), mark(&request("sip:b@h", BASE)));
    }

    #[test]
    fn every_release_says_the_same() {
        assert_eq!(mark(&request("sip:b@h", BASE)), 7_022_444_199_514_718_877);
    }

    #[test]
    fn only_a_branch_of_our_form_counts() {
        let mark = 0x00ab_cdef_0123_4567;
        let via = |branch: &str| {
            let value = format!("SIP/2.0/UDP x;branch=z9hG4bK1, SIP/2.0/TCP y:1;branch={branch};rport");
            looped(&request("sip:b@h", &[(Name::Via, &value)]), mark)
        };
        let ours = format!("z9hG4bK{:032x}{mark:016x}", 5);
        assert!(via(&ours));
        assert!(!via(&ours.replace("abcdef", "abcdee")));
        assert!(!via(&format!("{ours}0")));
        assert!(!via(&ours[..ours.len() - 16]));
        assert!(!via(&format!("z9hG4bK{mark:016x}")));
        assert!(!via(&format!("z9hG4bK{mark:016x}{:032x}", 5)));
        assert!(!via(&ours.replace("z9hG4bK0", "z9hG4bKx")));
    }
}
