//! RFC 3261 §12 — dialogs.

use crate::{Builder, Contacts, Headers, Malformed, Method, Name, NameAddr, Request, Response, Uri};
use serde::{Deserialize, Serialize};

/// Initial Max-Forwards of a request (RFC 3261 §8.1.1.6).
const MAX_FORWARDS: u8 = 70;

/// What names a dialog on our side.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DialogId {
    /// Call-ID.
    pub call_id: Box<str>,
    /// Our tag.
    pub local_tag: Box<str>,
    /// The other side's tag; empty if it has none, as under RFC 2543.
    pub remote_tag: Box<str>,
}

impl DialogId {
    /// The dialog that a request we received names; `None` for one outside any dialog.
    pub fn of_request(request: &Request) -> Option<Self> {
        Some(Self {
            call_id: request.call_id().into(),
            local_tag: request.to_tag()?.into(),
            remote_tag: request.from_tag().unwrap_or("").into(),
        })
    }

    /// The dialog that a response we received names; `None` if it has no To tag.
    pub fn of_response(response: &Response) -> Option<Self> {
        Some(Self {
            call_id: response.call_id().into(),
            local_tag: response.from_tag().unwrap_or("").into(),
            remote_tag: response.to_tag()?.into(),
        })
    }
}

/// One side of a dialog: what its next request needs to get to the other side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dialog {
    /// Call-ID.
    pub call_id: Box<str>,
    /// Our address, with our tag.
    pub local: NameAddr,
    /// The other side's address, with its tag.
    pub remote: NameAddr,
    /// Remote target: the Request-URI of requests in the dialog.
    pub target: Uri,
    /// Route set, as Route header values in order.
    pub routes: Vec<Box<str>>,
    /// CSeq of the last request that we sent; 0 before the first.
    pub local_cseq: u32,
    /// CSeq of the last request that we received.
    pub remote_cseq: u32,
}

/// A request came with a CSeq not higher than one before it (RFC 3261 §12.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("CSeq {received} in a dialog that has seen {seen}")]
pub struct OutOfOrder {
    /// What it had.
    pub received: u32,
    /// The highest before.
    pub seen: u32,
}

impl Dialog {
    /// The dialog that a 2xx to `request` with our `local_tag` creates, seen from our side (RFC 3261 §12.1.1).
    ///
    /// # Errors
    /// No single Contact, or a Contact, From, To or Record-Route that cannot be read.
    pub fn accepted(request: &Request, local_tag: &str) -> Result<Self, Malformed> {
        let target = sole_contact(request)?
            .ok_or(Malformed { header: Name::Contact, why: "a dialog needs exactly one contact" })?;
        let routes = request.addresses(Name::RecordRoute)?;
        Ok(Self {
            call_id: request.call_id().into(),
            local: request.to().with_param("tag", local_tag),
            remote: request.from(),
            target,
            routes: routes.iter().map(|route| route.to_string().into()).collect(),
            local_cseq: 0,
            remote_cseq: request.cseq().number,
        })
    }

    /// The dialog that `response` to our `request` creates, seen from our side (RFC 3261 §12.1.2).
    ///
    /// # Errors
    /// No single Contact or no To tag in the response, or a Contact or Record-Route that cannot be read.
    pub fn established(request: &Request, response: &Response) -> Result<Self, Malformed> {
        let target = sole_contact(response)?
            .ok_or(Malformed { header: Name::Contact, why: "a dialog needs exactly one contact" })?;
        if response.to_tag().is_none() {
            return Err(Malformed { header: Name::To, why: "a dialog needs a tag of the other side" });
        }
        let routes = response.addresses(Name::RecordRoute)?;
        Ok(Self {
            call_id: request.call_id().into(),
            local: request.from(),
            remote: response.to(),
            target,
            routes: routes.iter().rev().map(|route| route.to_string().into()).collect(),
            local_cseq: request.cseq().number,
            remote_cseq: 0,
        })
    }

    /// What names it.
    pub fn id(&self) -> DialogId {
        DialogId {
            call_id: self.call_id.clone(),
            local_tag: self.local_tag().into(),
            remote_tag: self.remote_tag().into(),
        }
    }

    /// Our tag.
    pub fn local_tag(&self) -> &str {
        self.local.tag().unwrap_or("")
    }

    /// The other side's tag.
    pub fn remote_tag(&self) -> &str {
        self.remote.tag().unwrap_or("")
    }

    /// Whether a request that we received belongs to this dialog.
    pub fn holds(&self, request: &Request) -> bool {
        request.call_id() == &*self.call_id
            && request.to_tag() == Some(self.local_tag())
            && request.from_tag().unwrap_or("") == self.remote_tag()
    }

    /// Takes note of a request in the dialog: its CSeq, and its Contact as the new remote target.
    ///
    /// # Errors
    /// Its CSeq is not higher than that of a request before; nothing is changed then.
    pub fn received(&mut self, request: &Request) -> Result<(), OutOfOrder> {
        let received = request.cseq().number;
        if received <= self.remote_cseq {
            return Err(OutOfOrder { received, seen: self.remote_cseq });
        }
        self.remote_cseq = received;
        self.refresh_target(request);
        Ok(())
    }

    /// Takes the Contact of a message as the new remote target, if it has exactly one that can be read.
    pub fn refresh_target(&mut self, message: &Headers) {
        if let Ok(Some(target)) = sole_contact(message) {
            self.target = target;
        }
    }

    /// Starts the next request of ours: Max-Forwards, Route, From, To, Call-ID and CSeq are written.
    ///
    /// A first route without `lr` is a strict router: it becomes the Request-URI and the target goes last
    /// (RFC 3261 §12.2.1.1).
    pub fn request(&mut self, method: Method) -> Builder {
        self.local_cseq = self.local_cseq.saturating_add(1);
        self.start(method, self.local_cseq)
    }

    /// Starts the ACK to a 2xx to our INVITE of that CSeq (RFC 3261 §13.2.2.4).
    pub fn ack(&self, cseq: u32) -> Builder {
        self.start(Method::Ack, cseq)
    }

    fn start(&self, method: Method, cseq: u32) -> Builder {
        let strict = self
            .routes
            .first()
            .and_then(|route| NameAddr::parse(route).ok())
            .map(|route| route.uri)
            .filter(|uri| !uri.has_param("lr"));
        let mut request = Request::build(method.clone(), strict.as_ref().unwrap_or(&self.target))
            .header(Name::MaxForwards, MAX_FORWARDS);
        for route in &self.routes[usize::from(strict.is_some())..] {
            request = request.header(Name::Route, route);
        }
        if strict.is_some() {
            request = request.header(Name::Route, NameAddr::new(self.target.clone()));
        }
        request
            .header(Name::From, &self.local)
            .header(Name::To, &self.remote)
            .header(Name::CallId, &self.call_id)
            .header(Name::CSeq, format_args!("{cseq} {method}"))
    }
}

fn sole_contact(message: &Headers) -> Result<Option<Uri>, Malformed> {
    Ok(match message.contacts()? {
        Contacts::List(mut contacts) if contacts.len() == 1 => contacts.pop().map(|contact| contact.uri),
        Contacts::None | Contacts::Star | Contacts::List(_) => None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Message, Status};
    use bytes::Bytes;

    fn subscribe(to_tag: &str, cseq: u32, contact: &str) -> Request {
        let text = format!(
            "SUBSCRIBE sip:a@home SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\nFrom: <sip:a@home>;tag=ue\r\n\
             To: <sip:a@home>{to_tag}\r\nCall-ID: c\r\nCSeq: {cseq} SUBSCRIBE\r\n\
             Record-Route: <sip:p2;lr>, <sip:p1;lr>\r\nContact: {contact}\r\nContent-Length: 0\r\n\r\n"
        );
        match Message::parse_datagram(Bytes::from(text)).unwrap() {
            Message::Request(request) => request,
            Message::Response(_) => panic!("a request"),
        }
    }

    #[test]
    fn requests_follow_the_route_set_with_rising_cseq() {
        let mut dialog = Dialog::accepted(&subscribe("", 7, "<sip:a@ue:1;x>;q=1"), "us").unwrap();
        for cseq in 1..3 {
            let notify = dialog.request(Method::Notify).finish();
            assert_eq!(notify.uri_text(), "sip:a@ue:1;x");
            let routes: Vec<_> = notify.values(Name::Route).collect();
            assert_eq!(routes, ["<sip:p2;lr>", "<sip:p1;lr>"]);
            assert_eq!((notify.from_tag(), notify.to_tag()), (Some("us"), Some("ue")));
            assert_eq!((notify.call_id(), notify.cseq().number), ("c", cseq));
        }
    }

    #[test]
    fn knows_its_own_and_their_order() {
        let mut dialog = Dialog::accepted(&subscribe("", 7, "<sip:a@ue>"), "us").unwrap();
        assert!(!dialog.holds(&subscribe("", 8, "<sip:a@ue>")));
        assert!(!dialog.holds(&subscribe(";tag=other", 8, "<sip:a@ue>")));
        let next = subscribe(";tag=us", 8, "<sip:a@ue9>");
        assert!(dialog.holds(&next));
        dialog.received(&next).unwrap();
        assert_eq!(dialog.target.as_str(), "sip:a@ue9");
        let before = dialog.clone();
        assert_eq!(
            dialog.received(&subscribe(";tag=us", 8, "<sip:b@x>")),
            Err(OutOfOrder { received: 8, seen: 8 })
        );
        assert_eq!(dialog, before);
        let ok = next.respond(Status::OK, "us").header(Name::Contact, "<sip:a@ue10>").finish();
        dialog.refresh_target(&ok);
        assert_eq!(dialog.target.as_str(), "sip:a@ue10");
    }

    #[test]
    fn the_side_that_asked_reverses_the_routes() {
        let request = subscribe("", 7, "<sip:a@ue>");
        let response = request
            .respond(Status::OK, "them")
            .header(Name::RecordRoute, "<sip:p2;lr>, <sip:p1;lr>")
            .header(Name::Contact, "<sip:scscf>")
            .finish();
        let mut dialog = Dialog::established(&request, &response).unwrap();
        assert_eq!(dialog.id(), DialogId::of_response(&response).unwrap());
        let ack = dialog.ack(7).finish();
        assert_eq!((ack.cseq().number, ack.cseq().method, dialog.local_cseq), (7, Method::Ack, 7));
        let next = dialog.request(Method::Subscribe).finish();
        assert_eq!((next.uri_text(), next.cseq().number), ("sip:scscf", 8));
        assert_eq!(next.values(Name::Route).collect::<Vec<_>>(), ["<sip:p1;lr>", "<sip:p2;lr>"]);
        assert_eq!((next.from_tag(), next.to_tag()), (Some("ue"), Some("them")));

        let untagged = request.respond(Status::OK, "").header(Name::Contact, "<sip:scscf>").finish();
        assert!(Dialog::established(&request, &untagged).is_err());
        let silent = request.respond(Status::OK, "them").finish();
        assert!(Dialog::established(&request, &silent).is_err());
    }

    #[test]
    fn both_sides_name_it() {
        let dialog = Dialog::accepted(&subscribe("", 7, "<sip:a@ue>"), "us").unwrap();
        assert_eq!(DialogId::of_request(&subscribe(";tag=us", 8, "<sip:a@ue>")), Some(dialog.id()));
        assert_eq!(DialogId::of_request(&subscribe("", 8, "<sip:a@ue>")), None);
    }

    #[test]
    fn a_dialog_needs_one_contact() {
        assert!(Dialog::accepted(&subscribe("", 1, "*"), "us").is_err());
        assert!(Dialog::accepted(&subscribe("", 1, "<sip:a@b>, <sip:a@c>"), "us").is_err());
    }

    #[test]
    fn a_strict_router_becomes_the_request_uri() {
        let mut dialog = Dialog::accepted(&subscribe("", 7, "<sip:a@ue>"), "us").unwrap();
        dialog.routes = vec!["<sip:old>".into(), "<sip:p1;lr>".into()];
        let notify = dialog.request(Method::Notify).finish();
        assert_eq!(notify.uri_text(), "sip:old");
        assert_eq!(notify.values(Name::Route).collect::<Vec<_>>(), ["<sip:p1;lr>", "<sip:a@ue>"]);
    }
}
