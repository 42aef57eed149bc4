//! TS 29.228 §6.3 — Multimedia-Auth: the HSS gives out an authentication vector, or the credentials of SIP digest.

use super::{
    provision::Scheme,
    subscribers::{Credentials, RegistrationState, Subscribers},
};
use crate::{aka::sequence, digest};
use diameter::cx::HssAnswer;
use scscf::cx::{
    self, AuthItem, DigestCredentials, MultimediaAuth, MultimediaAuthAnswer, ResultCode, Resynchronisation,
    Secret,
};
use std::sync::Arc;

/// How RANDs are chosen.
pub(super) struct Chance<'a> {
    pub(super) avoid_zero_res: bool,
    pub(super) draw: &'a mut dyn FnMut() -> [u8; 16],
}

/// Answers a MAR of the node `host`.
pub(super) fn answer(
    all: &mut Subscribers,
    mar: &MultimediaAuth,
    host: &Arc<str>,
    mut chance: Chance<'_>,
) -> HssAnswer {
    let impi = mar.impi.as_str();
    // 1) the private identity exists, 2) the public one belongs to it
    let Some(credentials) = all.credentials(impi) else { return refused(ResultCode::USER_UNKNOWN) };
    if all.barring(impi, &mar.impu).is_none() {
        let known = !all.owners(&mar.impu).is_empty();
        let code = if known { ResultCode::IDENTITIES_DONT_MATCH } else { ResultCode::USER_UNKNOWN };
        return remembered(all, impi, refused(code), None);
    }
    // 3) the scheme
    let aka = match (mar.scheme, credentials.scheme) {
        (cx::Scheme::AkaV1Md5 | cx::Scheme::Unknown, Scheme::Aka) => true,
        (cx::Scheme::SipDigest | cx::Scheme::Unknown, Scheme::Digest) => false,
        _ => return remembered(all, impi, refused(ResultCode::AUTH_SCHEME_NOT_SUPPORTED), None),
    };
    let server = all.intern(&mar.server_name);
    let realm = all.domain().to_owned();
    let Some(subscriber) = all.get_mut(impi) else { return refused(ResultCode::USER_UNKNOWN) };
    let mut note = None;
    if let Some(resynchronise) = &mar.resynchronise {
        // 4) after a synchronisation failure only the S-CSCF that asked before may ask
        if subscriber.server.as_ref().is_some_and(|assigned| *assigned != server) {
            return remembered(
                all,
                impi,
                refused(ResultCode::UNABLE_TO_COMPLY),
                Some("another S-CSCF is assigned"),
            );
        }
        note = Some(resynchronised(&mut subscriber.sqn, &credentials, resynchronise));
    }
    // 5) the S-CSCF name is stored, whichever was there, and the authentication is pending
    subscriber.server = Some(server);
    subscriber.host = Some(Arc::clone(host));
    subscriber.authentication_pending = true;
    let item = if aka {
        subscriber.sqn = sequence::next(subscriber.sqn);
        let rand = rand_for(&credentials, &mut chance);
        Some(AuthItem::Aka(credentials.key.vector(rand, subscriber.sqn, credentials.amf)))
    } else {
        credentials.ha1.map(|ha1| {
            AuthItem::Digest(DigestCredentials {
                realm: realm.into(),
                ha1: Secret::new(digest::text(&ha1).as_bytes()),
                qop: "auth".into(),
            })
        })
    };
    let Some(item) = item else {
        return remembered(
            all,
            impi,
            refused(ResultCode::UNABLE_TO_COMPLY),
            Some("no password is provisioned"),
        );
    };
    let answer = HssAnswer::MultimediaAuth(MultimediaAuthAnswer { hss: None, items: vec![item] });
    remembered(all, impi, answer, note)
}

/// TS 33.102 §6.3.5 — the next SQN must be acceptable to the USIM.
fn resynchronised(sqn: &mut u64, credentials: &Credentials, asked: &Resynchronisation) -> &'static str {
    match credentials.key.read_auts(&asked.rand, &asked.auts) {
        None => "AUTS is not of this USIM; SQN unchanged",
        Some(usim) if sequence::next(*sqn) > usim => "SQN was ahead of the USIM's; unchanged",
        Some(usim) => {
            *sqn = usim;
            "resynchronised to the SQN of the USIM"
        }
    }
}

fn rand_for(credentials: &Credentials, chance: &mut Chance<'_>) -> [u8; 16] {
    loop {
        let rand = (chance.draw)();
        if !chance.avoid_zero_res || !credentials.key.res(&rand).contains(&0) {
            return rand;
        }
    }
}

fn refused(code: ResultCode) -> HssAnswer {
    HssAnswer::Result(code)
}

fn remembered(all: &mut Subscribers, impi: &str, answer: HssAnswer, note: Option<&'static str>) -> HssAnswer {
    let result = super::result_of(&answer);
    if let Some(subscriber) = all.get_mut(impi) {
        if result != ResultCode::SUCCESS && subscriber.state == RegistrationState::NotRegistered {
            subscriber.authentication_pending = false;
        }
        subscriber.remember("MAR", Some(result), note);
    }
    answer
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{aka::Key, hss::Config, provisioning};
    use scscf::Impi;

    const DOMAIN: &str = provisioning::DOMAIN;

    fn all() -> Subscribers {
        Subscribers::new(&Config { generate: 2, ..Config::default() }).unwrap()
    }

    fn mar(name: &str, impu: &str) -> MultimediaAuth {
        MultimediaAuth {
            impi: Impi::new(&format!("{name}@{DOMAIN}")).unwrap(),
            impu: impu.into(),
            scheme: cx::Scheme::AkaV1Md5,
            resynchronise: None,
            server_name: "sip:scscf.example:5060".into(),
            hss: None,
        }
    }

    fn ask(all: &mut Subscribers, mar: &MultimediaAuth) -> HssAnswer {
        let mut counter = 0_u8;
        let mut draw = || {
            counter += 1;
            [counter; 16]
        };
        answer(all, mar, &"n1".into(), Chance { avoid_zero_res: true, draw: &mut draw })
    }

    fn vector(answer: HssAnswer) -> scscf::cx::AuthenticationVector {
        let HssAnswer::MultimediaAuth(answer) = answer else { panic!("{answer:?}") };
        let [AuthItem::Aka(vector)] = &answer.items[..] else { panic!("{:?}", answer.items) };
        vector.clone()
    }

    fn key() -> Key {
        Key::with_op(provisioning::K.0, provisioning::OP.0)
    }

    #[test]
    fn every_vector_is_acceptable_to_the_usim() {
        let mut all = all();
        let mut usim = sequence::Accepted::default();
        let mar = mar("user000001", &format!("sip:user000001@{DOMAIN}"));
        for _ in 0..70 {
            let vector = vector(ask(&mut all, &mar));
            let opened = key().open(&vector.rand, &vector.autn).unwrap();
            assert_eq!(opened.res, vector.xres.reveal());
            assert_eq!(usim.accept(opened.sqn), Ok(()));
        }
        let subscriber = all.get(mar.impi.as_str()).unwrap();
        assert_eq!(subscriber.server.as_deref(), Some("sip:scscf.example:5060"));
        assert!(subscriber.authentication_pending && subscriber.state == RegistrationState::NotRegistered);
    }

    #[test]
    fn unknown_and_unmatched_identities_are_refused() {
        let mut all = all();
        let code = |all: &mut Subscribers, name: &str, impu: &str| ask(all, &mar(name, impu));
        let alice = format!("sip:alice@{DOMAIN}");
        assert_eq!(code(&mut all, "nobody", &alice), refused(ResultCode::USER_UNKNOWN));
        assert_eq!(code(&mut all, "bob", &alice), refused(ResultCode::IDENTITIES_DONT_MATCH));
        assert_eq!(code(&mut all, "bob", "sip:nobody@x.example"), refused(ResultCode::USER_UNKNOWN));
        assert_eq!(all.get(&format!("bob@{DOMAIN}")).unwrap().server, None);
    }

    #[test]
    fn the_scheme_must_be_the_subscribers() {
        let mut all = all();
        let mut digest = mar("alice", "tel:+15550000001");
        digest.scheme = cx::Scheme::SipDigest;
        assert_eq!(ask(&mut all, &digest), refused(ResultCode::AUTH_SCHEME_NOT_SUPPORTED));
        let provision = serde_json::from_str(r#"{"scheme":"digest","password":"secret"}"#).unwrap();
        all.provision(digest.impi.as_str(), &provision).unwrap();
        digest.scheme = cx::Scheme::Unknown;
        let HssAnswer::MultimediaAuth(answer) = ask(&mut all, &digest) else { panic!("refused") };
        let [AuthItem::Digest(credentials)] = &answer.items[..] else { panic!("{:?}", answer.items) };
        assert_eq!((&*credentials.realm, credentials.ha1.reveal().len()), (DOMAIN, 32));
    }

    #[test]
    fn a_usim_that_is_ahead_is_followed() {
        let mut all = all();
        let mut mar = mar("alice", &format!("sip:alice@{DOMAIN}"));
        let first = vector(ask(&mut all, &mar));
        let mut usim = sequence::Accepted::up_to(1 << 20);
        let opened = key().open(&first.rand, &first.autn).unwrap();
        let ahead = usim.accept(opened.sqn).unwrap_err();
        mar.resynchronise =
            Some(Resynchronisation { rand: first.rand, auts: key().auts(&first.rand, ahead) });
        let second = vector(ask(&mut all, &mar));
        let opened = key().open(&second.rand, &second.autn).unwrap();
        assert_eq!(usim.accept(opened.sqn), Ok(()));
        assert!(
            all.get(mar.impi.as_str()).unwrap().operations[1].note.unwrap().starts_with("resynchronised")
        );
    }

    #[test]
    fn a_forged_auts_changes_no_sequence_number() {
        let mut all = all();
        let mut mar = mar("alice", &format!("sip:alice@{DOMAIN}"));
        ask(&mut all, &mar);
        let before = all.get(mar.impi.as_str()).unwrap().sqn;
        mar.resynchronise = Some(Resynchronisation { rand: [7; 16], auts: [9; 14] });
        vector(ask(&mut all, &mar));
        assert_eq!(all.get(mar.impi.as_str()).unwrap().sqn, sequence::next(before));
    }

    #[test]
    fn another_s_cscf_takes_over_but_may_not_resynchronise() {
        let mut all = all();
        let mut mar = mar("alice", &format!("sip:alice@{DOMAIN}"));
        vector(ask(&mut all, &mar));
        mar.server_name = "sip:other.example".into();
        mar.resynchronise = Some(Resynchronisation { rand: [7; 16], auts: [9; 14] });
        assert_eq!(ask(&mut all, &mar), refused(ResultCode::UNABLE_TO_COMPLY));
        mar.resynchronise = None;
        vector(ask(&mut all, &mar));
        assert_eq!(all.get(mar.impi.as_str()).unwrap().server.as_deref(), Some("sip:other.example"));
    }

    #[test]
    fn no_res_has_a_zero_octet() {
        let mut all = all();
        let with_zero =
            (0_u32..).map(|n| u128::from(n).to_be_bytes()).find(|rand| key().res(rand).contains(&0)).unwrap();
        let mut given = [with_zero, [3; 16]].into_iter();
        let mut draw = || given.next().unwrap();
        let chance = Chance { avoid_zero_res: true, draw: &mut draw };
        let mar = mar("alice", &format!("sip:alice@{DOMAIN}"));
        let answer = answer(&mut all, &mar, &"n1".into(), chance);
        assert!(!vector(answer).xres.reveal().contains(&0));
    }
}
