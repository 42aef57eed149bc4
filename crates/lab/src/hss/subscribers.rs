//! TS 29.228 §6 — who is subscribed, and what the HSS remembers of them.
//!
//! The generated subscribers exist by rule; one costs memory only once it was named in a request or changed.

use super::{
    config::Config,
    provision::{Provision, PublicIdentity, Scheme},
};
use crate::{
    aka::Key,
    provisioning::{NAMED, generated_by_telephone, generated_name, generated_number, telephone},
};
use ahash::AHashMap;
use bytes::Bytes;
use scscf::{Impi, Impu, cx::ResultCode};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::{collections::VecDeque, sync::Arc};

const REMEMBERED: usize = 8;

/// Registration state, TS 29.228 §3.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RegistrationState {
    #[default]
    NotRegistered,
    Registered,
    Unregistered,
}

/// One Cx operation, remembered for whoever looks.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) at: jiff::Timestamp,
    pub(super) name: &'static str,
    pub(super) result: Option<ResultCode>,
    pub(super) note: Option<&'static str>,
}

/// What changes with use.
#[derive(Debug, Default)]
pub(super) struct Subscriber {
    /// SQN_HE: the sequence number of the last vector.
    pub(super) sqn: u64,
    /// The S-CSCF name.
    pub(super) server: Option<Arc<str>>,
    /// Origin-Host of the node that asked last.
    pub(super) host: Option<Arc<str>>,
    pub(super) state: RegistrationState,
    /// The authentication-pending flag.
    pub(super) authentication_pending: bool,
    pub(super) operations: VecDeque<Operation>,
    own: Option<Box<Own>>,
}

/// What distinguishes a subscriber from a generated one.
#[derive(Debug, Default)]
struct Own {
    identities: Vec<PublicIdentity>,
    scheme: Scheme,
    key: Option<Key>,
    amf: Option<[u8; 2]>,
    ha1: Option<[u8; 32]>,
    profile_xml: Option<Bytes>,
}

/// Credentials of one subscriber.
pub(super) struct Credentials {
    pub(super) scheme: Scheme,
    pub(super) key: Key,
    pub(super) amf: [u8; 2],
    pub(super) ha1: Option<[u8; 32]>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Subscribers {
    domain: Box<str>,
    generate: u32,
    k: [u8; 16],
    op: [u8; 16],
    key: Key,
    amf: [u8; 2],
    known: AHashMap<Box<str>, Subscriber>,
    /// Canonical public identity to the private ones; generated subscribers are found by rule.
    owners: AHashMap<Box<str>, SmallVec<[Box<str>; 1]>>,
    /// Names of S-CSCFs and nodes, each kept once.
    names: Vec<Arc<str>>,
}

impl Subscribers {
    pub(super) fn new(config: &Config) -> Result<Self, String> {
        let mut all = Self {
            domain: config.domain.to_ascii_lowercase().into(),
            generate: config.generate,
            k: config.k.0,
            op: config.op.0,
            key: Key::with_op(config.k.0, config.op.0),
            amf: config.amf.0,
            known: AHashMap::new(),
            owners: AHashMap::new(),
            names: Vec::new(),
        };
        for name in NAMED {
            all.provision(&format!("{name}@{}", config.domain), &Provision::default())?;
        }
        for (impi, provision) in &config.subscribers {
            all.provision(impi, provision).map_err(|why| format!("subscriber {impi}: {why}"))?;
        }
        Ok(all)
    }

    pub(super) fn domain(&self) -> &str {
        &self.domain
    }

    fn generated(&self, impi: &str) -> Option<u32> {
        let (name, realm) = impi.split_once('@')?;
        let number = generated_number(name).filter(|number| *number <= self.generate)?;
        realm.eq_ignore_ascii_case(&self.domain).then_some(number)
    }

    /// The subscriber, if there is one.
    pub(super) fn get(&self, impi: &str) -> Option<&Subscriber> {
        static UNTOUCHED: Subscriber = Subscriber {
            sqn: 0,
            server: None,
            host: None,
            state: RegistrationState::NotRegistered,
            authentication_pending: false,
            operations: VecDeque::new(),
            own: None,
        };
        self.known.get(impi).or_else(|| self.generated(impi).map(|_| &UNTOUCHED))
    }

    /// The subscriber, to be changed.
    pub(super) fn get_mut(&mut self, impi: &str) -> Option<&mut Subscriber> {
        if !self.known.contains_key(impi) {
            self.generated(impi)?;
            self.known.insert(impi.into(), Subscriber::default());
        }
        self.known.get_mut(impi)
    }

    /// Creates or changes a subscriber; whether it is new.
    pub(super) fn provision(&mut self, impi: &str, provision: &Provision) -> Result<bool, String> {
        provision.check()?;
        if Impi::new(impi).is_none() {
            return Err(format!("'{impi}' is no private user identity"));
        }
        let created = self.get(impi).is_none();
        let former = self.identities(impi);
        let identities = self.wanted_identities(impi, provision, &former)?;
        let ha1 = provision.password.as_ref().map(|password| {
            let credentials = crate::digest::Credentials {
                username: impi,
                realm: &self.domain,
                password: password.0.as_bytes(),
            };
            crate::digest::ha1(credentials)
        });
        let key = self.wanted_key(provision);
        let subscriber = self.known.entry(impi.into()).or_default();
        let own = subscriber.own.get_or_insert_default();
        own.identities.clone_from(&identities);
        own.scheme = provision.scheme.unwrap_or(own.scheme);
        own.key = key.or_else(|| own.key.take());
        own.amf = provision.amf.map(|amf| amf.0).or(own.amf);
        own.ha1 = ha1.or(own.ha1);
        if let Some(xml) = &provision.profile_xml {
            own.profile_xml = (!xml.is_empty()).then(|| Bytes::copy_from_slice(xml.as_bytes()));
        } else if provision.identities.is_some() {
            own.profile_xml = None;
        }
        self.index(impi, &former, &identities);
        Ok(created)
    }

    fn wanted_identities(
        &self,
        impi: &str,
        provision: &Provision,
        former: &[PublicIdentity],
    ) -> Result<Vec<PublicIdentity>, String> {
        let profile = provision.profile_xml.as_ref().map(|xml| diameter::user_data::parse(xml.as_bytes()));
        if let Some(Ok(profile)) = profile {
            let identity = |identity: &scscf::profile::PublicIdentity| PublicIdentity {
                impu: identity.text.clone(),
                barred: identity.barred,
            };
            return Ok(profile.identities().filter(|one| one.is_distinct()).map(identity).collect());
        }
        if let Some(identities) = &provision.identities {
            return Ok(identities.clone());
        }
        if !former.is_empty() {
            return Ok(former.to_vec());
        }
        let default = lab_identities(impi, &self.domain);
        let unreadable = default.iter().any(|identity| Impu::parse(&identity.impu).is_none());
        if unreadable { Err(format!("sip:{impi} is no URI: name the identities")) } else { Ok(default) }
    }

    fn wanted_key(&self, provision: &Provision) -> Option<Key> {
        let k = provision.k.map_or(self.k, |k| k.0);
        match (provision.op, provision.opc, provision.k) {
            (_, Some(opc), _) => Some(Key::new(k, opc.0)),
            (Some(op), None, _) => Some(Key::with_op(k, op.0)),
            (None, None, Some(_)) => Some(Key::with_op(k, self.op)),
            (None, None, None) => None,
        }
    }

    fn index(&mut self, impi: &str, former: &[PublicIdentity], identities: &[PublicIdentity]) {
        for impu in former.iter().filter_map(|identity| Impu::parse(&identity.impu)) {
            if let Some(owners) = self.owners.get_mut(impu.as_str()) {
                owners.retain(|owner| **owner != *impi);
            }
        }
        for impu in identities.iter().filter_map(|identity| Impu::parse(&identity.impu)) {
            let owners = self.owners.entry(impu.as_str().into()).or_default();
            if !owners.iter().any(|owner| **owner == *impi) {
                owners.push(impi.into());
            }
        }
    }

    /// The public identities of a subscriber, the default one first unless barred.
    pub(super) fn identities(&self, impi: &str) -> Vec<PublicIdentity> {
        match self.get(impi) {
            None => Vec::new(),
            Some(Subscriber { own: Some(own), .. }) => own.identities.clone(),
            Some(_) => lab_identities(impi, &self.domain),
        }
    }

    /// Private identities that `impu` belongs to.
    pub(super) fn owners(&self, impu: &str) -> SmallVec<[Box<str>; 1]> {
        let Some(impu) = Impu::parse(impu) else { return SmallVec::new() };
        let mut owners = self.owners.get(impu.as_str()).cloned().unwrap_or_default();
        if let Some(impi) = self.generated_owner(impu.as_str())
            && self.get(&impi).is_some_and(|subscriber| subscriber.own.is_none())
        {
            owners.push(impi);
        }
        owners
    }

    fn generated_owner(&self, impu: &str) -> Option<Box<str>> {
        let number = generated_by_telephone(impu).or_else(|| self.generated(impu.strip_prefix("sip:")?))?;
        (number <= self.generate).then(|| format!("{}@{}", generated_name(number), self.domain).into())
    }

    /// Whether `impu` is one of the identities of `impi`; its barring.
    pub(super) fn barring(&self, impi: &str, impu: &str) -> Option<bool> {
        let wanted = Impu::parse(impu)?;
        let same = |identity: &PublicIdentity| Impu::parse(&identity.impu).as_ref() == Some(&wanted);
        self.identities(impi).iter().find(|identity| same(identity)).map(|identity| identity.barred)
    }

    pub(super) fn credentials(&self, impi: &str) -> Option<Credentials> {
        let own = self.get(impi)?.own.as_deref();
        Some(Credentials {
            scheme: own.map_or(Scheme::Aka, |own| own.scheme),
            key: own.and_then(|own| own.key.clone()).unwrap_or_else(|| self.key.clone()),
            amf: own.and_then(|own| own.amf).unwrap_or(self.amf),
            ha1: own.and_then(|own| own.ha1),
        })
    }

    /// User-Data of a subscriber.
    pub(super) fn user_data(&self, impi: &str) -> Bytes {
        let own = self.get(impi).and_then(|subscriber| subscriber.own.as_deref());
        if let Some(xml) = own.and_then(|own| own.profile_xml.clone()) {
            return xml;
        }
        super::user_data::write(impi, &self.identities(impi))
    }

    /// Private identities that share a public one with `impi`, itself among them, if there are several.
    pub(super) fn associated(&self, impi: &str) -> Vec<Impi> {
        if self.get(impi).is_none_or(|subscriber| subscriber.own.is_none()) {
            return Vec::new();
        }
        let mut all: Vec<Impi> = Vec::new();
        for identity in self.identities(impi) {
            all.extend(self.owners(&identity.impu).iter().filter_map(|owner| Impi::new(owner)));
        }
        all.sort();
        all.dedup();
        if all.len() > 1 { all } else { Vec::new() }
    }

    /// Keeps a name once, however many subscribers refer to it.
    pub(super) fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.iter().find(|known| ***known == *name) {
            return Arc::clone(known);
        }
        // Names come from peers: a flood of different ones must not grow the list for ever.
        if self.names.len() >= 256 {
            self.names.clear();
        }
        let name: Arc<str> = name.into();
        self.names.push(Arc::clone(&name));
        name
    }

    /// Up to `limit` private identities after `after` in order, and how many there are in all.
    pub(super) fn page(&self, after: &str, limit: usize) -> (Vec<Box<str>>, usize) {
        let mut named: Vec<&str> =
            self.known.keys().map(|impi| &**impi).filter(|impi| self.generated(impi).is_none()).collect();
        named.sort_unstable();
        let total = named.len() + self.generate as usize;
        let first = self.generated(after).map_or(1, |number| number + 1);
        let named =
            named.into_iter().filter(|impi| self.generated(after).is_none() && *impi > after).map(Box::from);
        let generated =
            (first..=self.generate).map(|n| format!("{}@{}", generated_name(n), self.domain).into());
        (named.chain(generated).take(limit).collect(), total)
    }
}

impl Subscriber {
    pub(super) fn remember(
        &mut self,
        name: &'static str,
        result: Option<ResultCode>,
        note: Option<&'static str>,
    ) {
        if self.operations.len() == REMEMBERED {
            self.operations.pop_front();
        }
        self.operations.push_back(Operation { at: jiff::Timestamp::now(), name, result, note });
    }

    /// Forgets who serves the subscriber.
    pub(super) fn release(&mut self) {
        self.state = RegistrationState::NotRegistered;
        self.server = None;
        self.authentication_pending = false;
    }
}

/// `sip:IMPI` and, for the lab's own names, a telephone number.
fn lab_identities(impi: &str, domain: &str) -> Vec<PublicIdentity> {
    let mut identities = vec![PublicIdentity { impu: format!("sip:{impi}").into(), barred: false }];
    let own = impi.split_once('@').filter(|(_, realm)| realm.eq_ignore_ascii_case(domain));
    if let Some(tel) = own.and_then(|(name, _)| telephone(name)) {
        identities.push(PublicIdentity { impu: tel.into(), barred: false });
    }
    identities
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DOMAIN: &str = crate::provisioning::DOMAIN;

    fn subscribers(generate: u32) -> Subscribers {
        Subscribers::new(&Config { generate, ..Config::default() }).unwrap()
    }

    fn owner(all: &Subscribers, impu: &str) -> Option<String> {
        all.owners(impu).first().map(|impi| impi.to_string())
    }

    #[test]
    fn a_million_generated_subscribers_cost_nothing_until_touched() {
        let mut all = subscribers(1_000_000);
        assert_eq!(all.known.len(), 2);
        let last = format!("user1000000@{DOMAIN}");
        assert!(all.get(&last).is_some());
        assert_eq!(all.known.len(), 2);
        all.get_mut(&last).unwrap().sqn = 5;
        assert_eq!((all.known.len(), all.get(&last).unwrap().sqn), (3, 5));
        assert!(all.get(&format!("user1000001@{DOMAIN}")).is_none());
        assert!(all.get("user000001@elsewhere.example").is_none());
    }

    #[test]
    fn public_identities_lead_to_their_owner() {
        let all = subscribers(10);
        let expected = format!("user000007@{DOMAIN}");
        assert_eq!(owner(&all, &format!("sip:user000007@{DOMAIN}")).unwrap(), expected);
        assert_eq!(owner(&all, "tel:+15560000007").unwrap(), expected);
        assert_eq!(owner(&all, "tel:+15550000001").unwrap(), format!("alice@{DOMAIN}"));
        assert_eq!(owner(&all, "tel:+15560000011"), None);
        assert_eq!(all.barring(&expected, "tel:+1-556-0000007"), Some(false));
        assert_eq!(all.barring(&expected, &format!("sip:alice@{DOMAIN}")), None);
    }

    #[test]
    fn provisioning_replaces_only_what_it_names() {
        let mut all = subscribers(3);
        let impi = format!("user000002@{DOMAIN}");
        let provision: Provision =
            serde_json::from_str(r#"{"identities":[{"impu":"sip:two@x.example"},{"impu":"sip:b@x.example","barred":true}],"amf":"8000"}"#)
                .unwrap();
        assert!(!all.provision(&impi, &provision).unwrap());
        assert_eq!(owner(&all, "sip:two@x.example").unwrap(), impi);
        assert_eq!(owner(&all, &format!("sip:{impi}")), None, "replaced");
        assert_eq!(all.barring(&impi, "sip:b@x.example"), Some(true));
        all.provision(&impi, &serde_json::from_str(r#"{"scheme":"digest","password":"secret"}"#).unwrap())
            .unwrap();
        let credentials = all.credentials(&impi).unwrap();
        assert_eq!((credentials.scheme, credentials.amf), (Scheme::Digest, [0x80, 0]));
        assert!(credentials.ha1.is_some() && credentials.key == all.key);
        assert_eq!(all.identities(&impi).len(), 2);
    }

    #[test]
    fn a_profile_brings_its_identities_and_nonsense_keeps_the_former() {
        let mut all = subscribers(0);
        let impi = format!("alice@{DOMAIN}");
        let xml = "<IMSSubscription><PrivateID>p</PrivateID><ServiceProfile><PublicIdentity><Identity>sip:new@x.example</Identity></PublicIdentity></ServiceProfile></IMSSubscription>";
        let with = |xml: &str| Provision { profile_xml: Some(xml.into()), ..Provision::default() };
        all.provision(&impi, &with(xml)).unwrap();
        assert_eq!(owner(&all, "sip:new@x.example").unwrap(), impi);
        assert_eq!(all.user_data(&impi), xml);
        all.provision(&impi, &with("<IMSSubscription><ServiceProfile>")).unwrap();
        assert_eq!(owner(&all, "sip:new@x.example").unwrap(), impi);
        assert_eq!(all.user_data(&impi), "<IMSSubscription><ServiceProfile>");
    }

    #[test]
    fn shared_identities_have_several_owners() {
        let mut all = subscribers(0);
        let provision: Provision = serde_json::from_str(&format!(
            r#"{{"identities":[{{"impu":"sip:carol@{DOMAIN}"}},{{"impu":"sip:alice@{DOMAIN}"}}]}}"#
        ))
        .unwrap();
        assert!(all.provision(&format!("carol@{DOMAIN}"), &provision).unwrap());
        assert_eq!(all.owners(&format!("sip:alice@{DOMAIN}")).len(), 2);
        assert_eq!(all.associated(&format!("alice@{DOMAIN}")).len(), 2);
        assert!(all.associated(&format!("bob@{DOMAIN}")).is_empty());
    }

    #[test]
    fn pages_go_through_all_in_order() {
        let mut all = subscribers(5);
        all.get_mut(&format!("user000003@{DOMAIN}"));
        let mut seen = Vec::new();
        let mut after = Box::<str>::from("");
        loop {
            let (page, total) = all.page(&after, 2);
            assert_eq!(total, 7);
            let Some(last) = page.last() else { break };
            after = last.clone();
            seen.extend(page);
        }
        let names: Vec<&str> = seen.iter().map(|impi| impi.split('@').next().unwrap()).collect();
        assert_eq!(
            names,
            ["alice", "bob", "user000001", "user000002", "user000003", "user000004", "user000005"]
        );
    }

    #[test]
    fn bad_provisioning_is_refused() {
        let mut all = subscribers(0);
        for wrong in [
            r#"{"op":"rollcall-lab-op!","opc":"rollcall-lab-op!"}"#,
            r#"{"identities":[]}"#,
            r#"{"identities":[{"impu":"mailto:x@y"}]}"#,
        ] {
            let provision = serde_json::from_str(wrong).unwrap();
            assert!(all.provision("dave@x.example", &provision).is_err(), "{wrong}");
        }
        assert!(all.provision("two words@x", &Provision::default()).is_err());
        assert!(all.get("dave@x.example").is_none());
    }
}
