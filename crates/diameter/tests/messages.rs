//! TS 29.229 §6.1 — messages against octets that were written down by hand, and round trips of all values.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

mod fixtures;

use diameter::{
    Message, base,
    codes::avp,
    cx::{self, Assigned, Capabilities, HssAnswer, HssRequest, Kind, ServerFound},
};
use fixtures::*;
use proptest::prelude::*;
use scscf::cx as values;
use scscf::cx::{Answer, Demand, Failure, ResultCode};

#[test]
fn mar_is_encoded_octet_for_octet() {
    let message =
        cx::encode_request(&values::Request::MultimediaAuth(mar()), &scscf(), SESSION, REALM).unwrap();
    assert_eq!(message.encode(), octets(MAR));
    assert_eq!(cx::decode_request(&message, &hss()).unwrap(), HssRequest::MultimediaAuth(mar()));
}

#[test]
fn maa_without_user_name_and_public_identity_is_read() {
    let Answer::MultimediaAuth(Ok(answer)) = cx::decode_answer(Kind::MultimediaAuth, &message(MAA)) else {
        panic!()
    };
    assert_eq!(answer.hss, Some(known_hss()));
    let [values::AuthItem::Aka(vector)] = &answer.items[..] else { panic!() };
    assert_eq!(vector.rand[..], octets("23553cbe9637a89d218ae64dae47bf35"));
    assert_eq!(vector.autn[..], octets("55f328b43577b9b94a9ffac354dfafb3"));
    assert_eq!(vector.xres.reveal(), octets("a54211d5e3ba50bf"));
    assert_eq!(vector.ck.reveal(), octets("b40ba9a3c58b2a05bbf0d987b21bf8cb"));
    assert_eq!(vector.ik.reveal(), octets("f769bcd751044604127672711c6d3441"));
}

#[test]
fn saa_is_read_with_profile_charging_and_associates() {
    let Answer::ServerAssignment(Ok(answer)) = cx::decode_answer(Kind::ServerAssignment, &message(SAA))
    else {
        panic!()
    };
    let subscription = answer.user_data.unwrap().unwrap();
    assert_eq!(subscription.identities().count(), 3);
    assert_eq!(&*subscription.default_identity().unwrap().text, IMPU);
    let charging = answer.charging.unwrap();
    assert_eq!(charging.primary_ccf.as_deref(), Some("aaa://ccf1.ims.mnc001.mcc001.3gppnetwork.org"));
    assert_eq!(charging.secondary_ccf.as_deref(), Some("aaa://ccf2.ims.mnc001.mcc001.3gppnetwork.org"));
    assert_eq!((charging.primary_ecf, charging.secondary_ecf), (None, None));
    assert!(!answer.server_name_not_stored);
}

#[test]
fn saa_error_with_the_application_of_sh_is_read() {
    let answer = cx::decode_answer(Kind::ServerAssignment, &message(SAA_ERROR));
    assert_eq!(answer, Answer::ServerAssignment(Err(Failure::Refused(ResultCode::USER_UNKNOWN))));
}

#[test]
fn rtr_with_a_port_in_destination_host_and_needless_avps_is_read() {
    let Demand::RegistrationTermination(rtr) = cx::decode_demand(&message(RTR), &scscf()).unwrap() else {
        panic!()
    };
    assert_eq!(rtr.impi, impi());
    assert_eq!(rtr.impus, [format!("sip:{IMPI}").into()]);
    assert_eq!(rtr.reason, values::DeregistrationReason::PermanentTermination);
    assert_eq!(rtr.reason_info.as_deref(), Some("Terminated by the operator"));
    assert!(message(RTR).unknown_mandatory().is_none());
}

#[test]
fn cer_of_a_lab_hss_has_cx_in_common() {
    assert!(base::has_common_application(&message(CER)));
    assert_eq!(message(CER).text(avp::PRODUCT_NAME), Some("PyHSS"));
    assert_eq!(message(CER).encode(), octets(CER));
}

#[test]
fn items_come_in_the_order_of_their_numbers_and_schemes_in_any_spelling() {
    let credentials = |realm: &str| values::DigestCredentials {
        realm: realm.into(),
        ha1: values::Secret::new(b"8e504717b0c49544ba9bd14e57d29594"),
        qop: "auth".into(),
    };
    let item = |w: &mut diameter::Writer, number: u32, scheme: &str, realm: &str| {
        w.grouped(avp::SIP_AUTH_DATA_ITEM, |w| {
            w.unsigned32(avp::SIP_ITEM_NUMBER, number).text(avp::SIP_AUTHENTICATION_SCHEME, scheme).grouped(
                avp::SIP_DIGEST_AUTHENTICATE,
                |w| {
                    w.text(avp::DIGEST_REALM, realm)
                        .octets(avp::DIGEST_HA1, b"8e504717b0c49544ba9bd14e57d29594");
                },
            );
        });
    };
    let maa = message(MAR).answer(0, |w| {
        w.unsigned32(avp::RESULT_CODE, 2001);
        item(w, 3, "HTTP_DIGEST_MD5", "c");
        item(w, 1, "SIP Digest", "a");
        item(w, 2, "Digest-MD5", "b");
        w.grouped(avp::SIP_AUTH_DATA_ITEM, |w| {
            w.text(avp::SIP_AUTHENTICATION_SCHEME, "NASS-Bundled");
        });
    });
    let Answer::MultimediaAuth(Ok(answer)) = cx::decode_answer(Kind::MultimediaAuth, &maa) else { panic!() };
    assert_eq!(answer.items, ["a", "b", "c"].map(|realm| values::AuthItem::Digest(credentials(realm))));
}

#[test]
fn a_vector_of_wrong_size_is_no_answer() {
    let with = |authenticate: usize, xres: usize, key: usize| {
        let maa = message(MAR).answer(0, |w| {
            w.unsigned32(avp::RESULT_CODE, 2001).grouped(avp::SIP_AUTH_DATA_ITEM, |w| {
                w.text(avp::SIP_AUTHENTICATION_SCHEME, "Digest-AKAv1-MD5")
                    .octets(avp::SIP_AUTHENTICATE, &vec![1; authenticate])
                    .octets(avp::SIP_AUTHORIZATION, &vec![2; xres])
                    .octets(avp::CONFIDENTIALITY_KEY, &vec![3; key])
                    .octets(avp::INTEGRITY_KEY, &vec![4; key]);
            });
        });
        match cx::decode_answer(Kind::MultimediaAuth, &maa) {
            Answer::MultimediaAuth(answer) => answer,
            Answer::ServerAssignment(_) => panic!(),
        }
    };
    for xres in [4, 8, 16] {
        assert!(with(32, xres, 16).is_ok());
    }
    for (authenticate, xres, key) in
        [(31, 8, 16), (33, 8, 16), (0, 8, 16), (32, 3, 16), (32, 17, 16), (32, 8, 15)]
    {
        assert!(
            matches!(with(authenticate, xres, key), Err(Failure::Malformed(_))),
            "{authenticate} {xres} {key}"
        );
    }
}

#[test]
fn failures_of_the_way_are_told_from_refusals() {
    let decoded = |code: ResultCode| {
        let maa = cx::encode_answer(&message(MAR), &HssAnswer::Result(code), &hss());
        assert_eq!(maa.flags & 0x20 != 0, matches!(code, ResultCode::Base(3000..4000)));
        let Answer::MultimediaAuth(answer) = cx::decode_answer(Kind::MultimediaAuth, &maa) else { panic!() };
        answer.unwrap_err()
    };
    assert_eq!(decoded(ResultCode::Base(3002)), Failure::Unreachable);
    assert_eq!(decoded(ResultCode::TOO_BUSY), Failure::Unreachable);
    assert_eq!(decoded(ResultCode::UNABLE_TO_COMPLY), Failure::Refused(ResultCode::UNABLE_TO_COMPLY));
    let nothing = message(MAR).answer(0, |_| {});
    let answer = cx::decode_answer(Kind::MultimediaAuth, &nothing);
    assert!(matches!(answer, Answer::MultimediaAuth(Err(Failure::Malformed(_)))));
    let foreign = message(MAR).answer(0, |w| {
        w.grouped(avp::EXPERIMENTAL_RESULT, |w| {
            w.unsigned32(avp::VENDOR_ID, 9).unsigned32(avp::EXPERIMENTAL_RESULT_CODE, 2001);
        });
    });
    let answer = cx::decode_answer(Kind::MultimediaAuth, &foreign);
    assert!(matches!(answer, Answer::MultimediaAuth(Err(Failure::Malformed(_)))));
}

#[test]
fn missing_and_senseless_avps_are_refused_with_failed_avp() {
    let refusal = |keep: u32| {
        let rtr = message(RTR).rewritten(|avp| avp.code != keep, |_| {});
        cx::decode_demand(&rtr, &scscf()).unwrap_err()
    };
    for (missing, code) in [(1, avp::USER_NAME), (615, avp::DEREGISTRATION_REASON)] {
        let answer = refusal(missing);
        assert_eq!(answer.unsigned32(avp::RESULT_CODE), Some(5005));
        assert_eq!(answer.text(avp::ORIGIN_HOST), Some(&*scscf().origin_host));
        let failed = answer.find(avp::FAILED_AVP).unwrap();
        assert!(failed.grouped().find(code).unwrap().is_some());
    }
    let senseless = message(RTR).rewritten(
        |avp| avp.code != 615,
        |w| {
            w.grouped(avp::DEREGISTRATION_REASON, |w| {
                w.unsigned32(avp::REASON_CODE, 77);
            });
        },
    );
    let answer = cx::decode_demand(&senseless, &scscf()).unwrap_err();
    assert_eq!(answer.unsigned32(avp::RESULT_CODE), Some(5004));
    let failed = answer.find(avp::FAILED_AVP).unwrap();
    assert_eq!(failed.grouped().find(avp::REASON_CODE).unwrap().unwrap().unsigned32(), Ok(77));
}

#[test]
fn server_name_not_stored_is_a_success() {
    let sar = values::Request::ServerAssignment(sar(values::ServerAssignmentType::TimeoutDeregistration));
    let sar = cx::encode_request(&sar, &scscf(), SESSION, REALM).unwrap();
    let assigned = Assigned { server_name_not_stored: true, ..Assigned::default() };
    let saa = cx::encode_answer(&sar, &HssAnswer::ServerAssignment(assigned), &hss());
    assert_eq!(cx::result_code(&saa), Some(ResultCode::Experimental(2004)));
    let Answer::ServerAssignment(Ok(answer)) = cx::decode_answer(Kind::ServerAssignment, &saa) else {
        panic!()
    };
    assert!(answer.server_name_not_stored);
    assert_eq!(answer.user_data, None);
}

#[test]
fn questions_of_an_i_cscf_and_their_answers() {
    let uar = cx::UserAuthorization {
        impi: impi(),
        impu: IMPU.into(),
        visited_network: REALM.into(),
        kind: cx::AuthorizationType::RegistrationAndCapabilities,
        emergency: true,
        hss: None,
    };
    let message = cx::encode_user_authorization(&uar, &scscf(), SESSION, REALM);
    assert_eq!(cx::decode_request(&message, &hss()).unwrap(), HssRequest::UserAuthorization(uar));
    let found = ServerFound {
        result: ResultCode::Experimental(2001),
        server_name: Some(SERVER_NAME.into()),
        capabilities: Some(Capabilities {
            mandatory: vec![1, 2],
            optional: vec![3],
            servers: vec!["sip:s2".into()],
        }),
    };
    let uaa = cx::encode_answer(&message, &HssAnswer::Server(found.clone()), &hss());
    assert_eq!(cx::decode_server_answer(&uaa), Ok(found));
    let lir = cx::LocationQuery { impu: IMPU.into(), originating: true, hss: Some(known_hss()) };
    let message = cx::encode_location(&lir, &scscf(), SESSION, REALM);
    assert_eq!(cx::decode_request(&message, &hss()).unwrap(), HssRequest::Location(lir));
    let lia = cx::encode_answer(&message, &HssAnswer::Result(ResultCode::Experimental(5003)), &hss());
    assert_eq!(cx::decode_server_answer(&lia), Err(Failure::Refused(ResultCode::Experimental(5003))));
}

#[test]
fn no_secret_is_in_any_debug_text() {
    let Answer::MultimediaAuth(Ok(answer)) = cx::decode_answer(Kind::MultimediaAuth, &message(MAA)) else {
        panic!()
    };
    let bytes = octets(MAA);
    let mut framer = diameter::Framer::new();
    framer.push(&bytes[..bytes.len() - 4]);
    let mut writer = diameter::Writer::new();
    writer.octets(avp::CONFIDENTIALITY_KEY, &octets("b40ba9a3c58b2a05bbf0d987b21bf8cb"));
    let link = diameter::pool::LinkId(1);
    let shown = format!(
        "{answer:?} {:?} {:?} {:?} {:?} {framer:?} {writer:?}",
        message(MAA),
        diameter::Avps::new(&bytes[20..]),
        diameter::peer::Output::Transmit(bytes.clone()),
        diameter::pool::Output::Transmit { link, bytes: bytes.clone() },
    );
    let raw = format!("{bytes:?}");
    assert!(raw.contains("\\xb4\\x0b") && raw.contains("\\xa5B"), "the needles are what a leak looks like");
    for secret in
        ["a5, 42", "165, 66", "b4, 0b", "180, 11", "a54211d5", "b40ba9a3", "f769bcd7", "\\xb4\\x0b", "\\xa5B"]
    {
        assert!(!shown.contains(secret), "{shown}");
    }
}

prop_compose! {
    fn text()(text in "[a-z0-9.:;@<>&\"é-]{1,40}") -> Box<str> { text.into() }
}

prop_compose! {
    fn any_impi()(name in "[a-z0-9]{1,20}", realm in "[a-z.]{1,20}") -> scscf::Impi {
        scscf::Impi::new(&format!("{name}@{realm}")).unwrap()
    }
}

proptest! {
    #[test]
    fn mar_round_trip(impi in any_impi(), impu in text(), server_name in text(), auts in proptest::option::of(any::<([u8; 16], [u8; 14])>()),
        hss in proptest::option::of((text(), text()))) {
        let mar = values::MultimediaAuth {
            impi, impu, scheme: values::Scheme::Unknown, server_name,
            resynchronise: auts.map(|(rand, auts)| values::Resynchronisation { rand, auts }),
            hss: hss.map(|(host, realm)| values::Hss { host, realm }),
        };
        let message = cx::encode_request(&values::Request::MultimediaAuth(mar.clone()), &scscf(), SESSION, REALM).unwrap();
        let message = Message::decode(message.encode()).unwrap();
        prop_assert_eq!(cx::decode_request(&message, &fixtures::hss()).unwrap(), HssRequest::MultimediaAuth(mar));
    }

    #[test]
    fn rtr_and_rta_round_trip(impi in any_impi(), others in proptest::collection::vec(any_impi(), 0..4), impus in proptest::collection::vec(text(), 0..4),
        reason_info in proptest::option::of(text()), emergency in proptest::collection::vec((any_impi(), text()), 0..3)) {
        let rtr = Demand::RegistrationTermination(values::RegistrationTermination {
            impi, associated_identities: others.clone(), impus, reason: values::DeregistrationReason::NewServerAssigned, reason_info,
        });
        let message = cx::encode_demand(&rtr, None, &hss(), SESSION, "n1", REALM);
        prop_assert_eq!(cx::decode_demand(&message, &scscf()).unwrap(), rtr);
        let answer = values::DemandAnswer { result: ResultCode::LIMITED_SUCCESS, associated_identities: others, emergency };
        let rta = cx::encode_demand_answer(&message, &answer, &scscf());
        prop_assert_eq!(cx::decode_demand_answer(&rta), answer);
    }

    #[test]
    fn maa_round_trip(vectors in proptest::collection::vec(any::<([u8; 16], [u8; 16], [u8; 8], [u8; 16], [u8; 16])>(), 0..4)) {
        let items = vectors.iter().map(|(rand, autn, xres, ck, ik)| values::AuthItem::Aka(values::AuthenticationVector {
            rand: *rand, autn: *autn, xres: values::Secret::new(xres), ck: values::Secret::new(ck), ik: values::Secret::new(ik),
        })).collect();
        let answer = values::MultimediaAuthAnswer { hss: Some(known_hss()), items };
        let maa = cx::encode_answer(&message(MAR), &HssAnswer::MultimediaAuth(answer.clone()), &hss());
        prop_assert_eq!(cx::decode_answer(Kind::MultimediaAuth, &maa), Answer::MultimediaAuth(Ok(answer)));
    }
}
