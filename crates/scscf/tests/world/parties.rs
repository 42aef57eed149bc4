//! Who stands around the user, and what the HSS and the operator have set.

use super::{ALICE, IMPI};
use scscf::profile::{
    ApplicationServer, Condition, DefaultHandling, IdentityType, InitialFilterCriteria, PublicIdentity,
    ServicePointTrigger, ServiceProfile, Subscription, TriggerPoint,
};
use scscf::token::Tokens;
use scscf::{Impu, Policy};
use sip::{Message, Name, Request, Response};

pub fn policy() -> Policy {
    Policy::of(sip::Uri::parse("sip:scscf.home1.net:5060").unwrap(), "home1.net", Tokens::new(&[7; 32]))
}

pub fn identity(text: &str, barred: bool) -> PublicIdentity {
    PublicIdentity {
        impu: Impu::parse(text).unwrap(),
        text: text.into(),
        barred,
        kind: IdentityType::PublicUserIdentity,
        wildcard: None,
        display_name: None,
        alias_group: None,
    }
}

pub fn profile(identities: Vec<PublicIdentity>) -> Subscription {
    let server = ApplicationServer {
        server_name: "sip:as1.home1.net".into(),
        default_handling: DefaultHandling::SessionContinued,
        service_info: None,
        include_register_request: false,
        include_register_response: false,
    };
    let spt = ServicePointTrigger {
        negated: false,
        groups: vec![0],
        condition: Condition::Method("INVITE".into()),
        registration_types: Vec::new(),
    };
    let trigger = Some(TriggerPoint { cnf: true, spts: vec![spt] });
    let criterion =
        InitialFilterCriteria { priority: 0, trigger, application_server: server, profile_part: None };
    Subscription {
        private_id: IMPI.into(),
        profiles: vec![ServiceProfile {
            identities,
            media_profile: None,
            service_ids: Vec::new(),
            criteria: vec![criterion].into(),
            shared_criteria: Vec::new(),
        }],
    }
}

pub fn request(text: &str) -> Request {
    match Message::parse_datagram(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap() {
        Message::Request(request) => request,
        Message::Response(_) => panic!("a request"),
    }
}

/// What a REGISTER carries as proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// No answer to any challenge.
    None,
    /// The right answer to the last challenge.
    Right,
    /// A wrong one.
    Wrong,
    /// Neither a response nor `auts`: the MAC of the challenge is found invalid.
    Silent,
    /// `auts`, with the digest that anyone can compute.
    Synchronise,
}

#[derive(Clone, Debug)]
pub struct Ue {
    pub name: &'static str,
    pub impu: String,
    /// Contact header value without `expires`.
    pub contact: String,
    pub path: Vec<String>,
    pub expires: u32,
    pub call_id: String,
    pub cseq: u32,
    pub nonce: String,
    pub supported: &'static str,
    /// The last message sent, for retransmissions.
    pub last: Option<Request>,
}

impl Ue {
    pub fn new(name: &'static str, host: &str) -> Self {
        Self {
            name,
            impu: ALICE.into(),
            contact: format!("<sip:alice@{host}:5060>"),
            path: vec!["<sip:term@pcscf1.visited1.net;lr>".into()],
            expires: 3600,
            call_id: format!("reg-{name}"),
            cseq: 0,
            nonce: String::new(),
            supported: "path",
            last: None,
        }
    }

    pub fn one() -> Self {
        Self::new("ue1", "10.0.0.1")
    }
}

#[derive(Clone, Debug)]
pub struct Watcher {
    pub name: &'static str,
    pub watched: String,
    pub event: String,
    /// Header lines that tell who it is.
    pub identity: String,
    pub contact: String,
    pub record_route: Vec<String>,
    pub call_id: String,
    pub tag: String,
    pub to_tag: String,
    pub cseq: u32,
    pub via_host: String,
    pub extra: String,
}

impl Watcher {
    fn new(name: &'static str, event: &str, identity: &str, contact: &str) -> Self {
        Self {
            name,
            watched: ALICE.into(),
            event: event.into(),
            identity: format!("P-Asserted-Identity: <{identity}>\r\n"),
            contact: format!("<{contact}>"),
            record_route: Vec::new(),
            call_id: format!("sub-{name}-{event}"),
            tag: format!("{name}tag"),
            to_tag: String::new(),
            cseq: 0,
            via_host: "proxy.visited1.net".into(),
            extra: String::new(),
        }
    }

    pub fn ue(event: &str) -> Self {
        Self {
            record_route: vec!["<sip:pcscf1.visited1.net;lr>".into()],
            ..Self::new("ue1", event, ALICE, "sip:alice@10.0.0.1:5060")
        }
    }

    pub fn p_cscf(event: &str) -> Self {
        Self::new("pcscf1", event, "sip:pcscf1.visited1.net", "sip:pcscf1.visited1.net")
    }

    pub fn server(event: &str) -> Self {
        Self::new("as1", event, "sip:as1.home1.net", "sip:as1.home1.net")
    }
}

impl Ue {
    /// Takes the nonce of a challenge.
    pub fn learn(&mut self, response: &Response) {
        if let Ok(Some(challenge)) = response.digest(Name::WwwAuthenticate)
            && let Some(nonce) = challenge.get("nonce")
        {
            self.nonce = nonce.to_owned();
        }
    }
}
