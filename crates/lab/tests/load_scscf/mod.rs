//! A small S-CSCF for the load generator: a registrar and a stateless proxy that record-routes for both sides, as a function
//! from one datagram to others.
#![allow(clippy::unwrap_used, unreachable_pub, dead_code)]

use base64::{Engine, engine::general_purpose::STANDARD};
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
};

const REALM: &str = "ims.mnc001.mcc001.3gppnetwork.org";

/// Sees what leaves, and changes it, or drops it with an empty text.
pub type Tamper = Box<dyn FnMut(String) -> String + Send>;

/// Sees what comes, and says whether it is asked to come again later.
pub type Busy = Box<dyn FnMut(&str) -> bool + Send>;

pub struct Scscf {
    address: SocketAddr,
    /// Contact and Path by user.
    bindings: BTreeMap<String, (String, String)>,
    /// By user.
    subscriptions: BTreeMap<String, Subscription>,
    tamper: Tamper,
    busy: Busy,
    /// Via of the requests that were.
    put_off: BTreeSet<String>,
    nonce: String,
}

/// What a NOTIFY is made of.
struct Subscription {
    to: SocketAddr,
    /// All but the first CSeq and the state.
    head: String,
    cseq: u32,
}

impl Subscription {
    fn notify(&mut self, state: &str) -> (SocketAddr, String) {
        self.cseq += 1;
        let (head, cseq) = (&self.head, self.cseq);
        let text =
            format!("{head}CSeq: {cseq} NOTIFY\r\nSubscription-State: {state}\r\nContent-Length: 0\r\n\r\n");
        (self.to, text)
    }
}

#[derive(Debug)]
struct Message {
    start: String,
    lines: Vec<(String, String)>,
    body: String,
}

impl Message {
    fn read(octets: &[u8]) -> Self {
        let text = String::from_utf8(octets.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap().to_owned();
        let lines = lines.map(|line| line.split_once(": ").unwrap());
        let lines = lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { start, lines, body: body.to_owned() }
    }

    fn get(&self, name: &str) -> &str {
        self.lines.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }

    /// Elements of a list header, of which no value here has a comma inside.
    fn take(&mut self, name: &str) -> Vec<String> {
        let values: Vec<_> = self.lines.extract_if(.., |(found, _)| found == name).collect();
        let elements = values.iter().flat_map(|(_, value)| value.split(','));
        elements.map(|element| element.trim().to_owned()).collect()
    }

    /// Adds a line: a Via on top, another below the Vias.
    fn put(&mut self, name: &str, value: String) {
        let vias = self.lines.iter().take_while(|(found, _)| found == "Via").count();
        self.lines.insert(if name == "Via" { 0 } else { vias }, (name.to_owned(), value));
    }

    fn text(&self) -> String {
        let lines: String = self.lines.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{}\r\n{lines}\r\n{}", self.start, self.body)
    }

    fn response(&self, line: &str, more: &str) -> String {
        let same = |(name, value): &(String, String)| {
            let kept = ["Via", "From", "To", "Call-ID", "CSeq"].contains(&name.as_str());
            kept.then(|| format!("{name}: {value}\r\n"))
        };
        let lines: String = self.lines.iter().filter_map(same).collect();
        format!("SIP/2.0 {line}\r\n{lines}{more}Content-Length: 0\r\n\r\n")
    }
}

/// Host and port of a URI in angle brackets.
fn address_of(element: &str) -> SocketAddr {
    let rest = element.split_once('@').map_or(element, |(_, rest)| rest);
    rest.split([';', '>']).next().unwrap().parse().unwrap()
}

fn user_of(uri: &str) -> &str {
    uri.split_once("sip:").unwrap().1.split('@').next().unwrap()
}

impl Scscf {
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            bindings: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            tamper: Box::new(|text| text),
            busy: Box::new(|_| false),
            put_off: BTreeSet::new(),
            nonce: STANDARD.encode([5_u8; 32]),
        }
    }

    #[must_use]
    pub fn tampering(mut self, tamper: impl FnMut(String) -> String + Send + 'static) -> Self {
        self.tamper = Box::new(tamper);
        self
    }

    /// Asks for patience, a second of it, when told so of a request.
    #[must_use]
    pub fn busy(mut self, busy: impl FnMut(&str) -> bool + Send + 'static) -> Self {
        self.busy = Box::new(busy);
        self
    }

    /// Challenges with this nonce.
    #[must_use]
    pub fn challenging(mut self, nonce: &[u8]) -> Self {
        self.nonce = STANDARD.encode(nonce);
        self
    }

    /// What leaves when this comes.
    pub fn hear(&mut self, from: SocketAddr, octets: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        let message = Message::read(octets);
        let out = if message.start.starts_with("SIP/2.0") {
            self.response(message)
        } else {
            self.request(message, from)
        };
        let out = out.into_iter().map(|(to, text)| (to, (self.tamper)(text).into_bytes()));
        out.filter(|(_, octets)| !octets.is_empty()).collect()
    }

    fn response(&self, mut message: Message) -> Vec<(SocketAddr, String)> {
        let mut vias = message.take("Via");
        let via = vias.remove(0);
        assert!(via.contains(&self.address.to_string()), "a response to somebody else: {via}");
        let Some(below) = vias.first() else { return Vec::new() };
        let to = address_of(below.split_once(' ').unwrap().1);
        message.put("Via", vias.join(", "));
        vec![(to, message.text())]
    }

    fn request(&mut self, mut message: Message, from: SocketAddr) -> Vec<(SocketAddr, String)> {
        let via = message.get("Via");
        if message.start.starts_with("ACK ") && self.put_off.contains(via) {
            return Vec::new();
        }
        if !message.start.starts_with("ACK ") && (self.busy)(&message.text()) {
            self.put_off.insert(via.to_owned());
            return vec![(from, message.response("503 Later", "Retry-After: 1\r\n"))];
        }
        if message.start.starts_with("REGISTER ") {
            let mut out = vec![(from, self.register(&message))];
            if out[0].1.starts_with("SIP/2.0 200") {
                let subscription = self.subscriptions.get_mut(user_of(message.get("To")));
                out.extend(subscription.map(|one| one.notify("active;expires=600")));
            }
            return out;
        }
        let is_ack = message.start.starts_with("ACK ");
        let refuse = |message: &Message, line: &str| {
            let more = format!("X-Request: {}\r\n", message.start);
            let refusal = (!is_ack).then(|| (from, message.response(line, &more)));
            refusal.into_iter().collect()
        };
        let mut routes = message.take("Route");
        let ours = routes.iter().take_while(|route| route.contains(&self.address.to_string())).count();
        let ours: Vec<_> = routes.drain(..ours).collect();
        let ours: Vec<_> = ours.iter().map(|route| user_of(route)).collect();
        let is_invite = message.start.starts_with("INVITE ");
        let [method, uri, _] = message.start.split(' ').collect::<Vec<_>>()[..] else { return Vec::new() };
        match ours[..] {
            [] if uri.starts_with("sip:reg@") && method == "SUBSCRIBE" => {
                return self.subscribe(&message, from);
            }
            [token] if token.starts_with("orig-") => {
                let asserted = message.get("P-Asserted-Identity");
                if ["INVITE", "MESSAGE", "SUBSCRIBE"].contains(&method)
                    && (user_of(asserted) != &token[5..] || message.get("P-Charging-Vector").is_empty())
                {
                    return refuse(&message, "403 Not Its Service-Route");
                }
                if method == "SUBSCRIBE" {
                    return self.subscribe(&message, from);
                }
                let Some((contact, path)) = self.bindings.get(user_of(uri)) else {
                    return refuse(&message, "404 Not Found");
                };
                let called = format!("<{uri}>");
                message.start = format!("{method} {contact} SIP/2.0");
                message.put("P-Called-Party-ID", called);
                routes.push(path.clone());
                if is_invite {
                    let own = self.address;
                    message.put("Record-Route", format!("<sip:rr-t@{own};lr>, <sip:rr-o@{own};lr>"));
                }
            }
            ["rr-o", "rr-t"] | ["rr-t", "rr-o"] => {}
            _ => return refuse(&message, "403 No Route Of Ours"),
        }
        let to = match routes.first() {
            Some(route) => address_of(route),
            None => address_of(message.start.split(' ').nth(1).unwrap()),
        };
        if !routes.is_empty() {
            message.put("Route", routes.join(", "));
        }
        let mut hasher = DefaultHasher::new();
        message.get("Via").hash(&mut hasher);
        let own = self.address;
        message.put("Via", format!("SIP/2.0/UDP {own};branch=z9hG4bKfake{:x}", hasher.finish()));
        vec![(to, message.text())]
    }

    /// The 200 (OK) and the NOTIFY.
    fn subscribe(&mut self, message: &Message, from: SocketAddr) -> Vec<(SocketAddr, String)> {
        let (own, path) = (self.address, message.get("Record-Route"));
        let tag = if message.get("To").contains(";tag=") { "" } else { ";tag=notifier" };
        let expires = message.get("Expires");
        let more = format!("Record-Route: {path}\r\nContact: <sip:reg@{own}>\r\nExpires: {expires}\r\n");
        let ok = message.response("200 OK", &more).replacen(
            &format!("To: {}", message.get("To")),
            &format!("To: {}{tag}", message.get("To")),
            1,
        );
        let contact = message.get("Contact").trim_matches(['<', '>']);
        let head = format!(
            "NOTIFY {contact} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKnotify{}\r\nRoute: {path}\r\n\
             From: {}{tag}\r\nTo: {}\r\nCall-ID: {}\r\nContact: <sip:reg@{own}>\r\nEvent: reg\r\nMax-Forwards: 70\r\n",
            message.get("Call-ID"),
            message.get("To"),
            message.get("From"),
            message.get("Call-ID"),
        );
        let name = user_of(message.get("To")).to_owned();
        let former = self.subscriptions.remove(&name).map_or(0, |former| former.cseq);
        let mut subscription = Subscription { to: address_of(path), head, cseq: former };
        if expires == "0" {
            return vec![(from, ok), subscription.notify("terminated;reason=timeout")];
        }
        let notify = subscription.notify("active;expires=600");
        self.subscriptions.insert(name, subscription);
        vec![(from, ok), notify]
    }

    fn register(&mut self, message: &Message) -> String {
        if message.get("Authorization").contains("response=\"\"") {
            let nonce = &self.nonce;
            let challenge = format!(
                "WWW-Authenticate: Digest realm=\"{REALM}\", nonce=\"{nonce}\", algorithm=AKAv1-MD5, qop=\"auth\"\r\n"
            );
            return message.response("401 Unauthorized", &challenge);
        }
        let contact = message.get("Contact").split(['<', '>']).nth(1).unwrap();
        let name = user_of(message.get("To")).to_owned();
        let route = format!("Service-Route: <sip:orig-{name}@{};lr>\r\n", self.address);
        self.bindings.insert(name, (contact.to_owned(), message.get("Path").to_owned()));
        message.response("200 OK", &route)
    }
}
