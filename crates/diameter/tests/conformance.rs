//! Rows CE-01 to CE-20 of the conformance checklist, as far as they concern Diameter.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

mod fixtures;

use diameter::{
    Avps, Message, Writer, base,
    codes::{application, avp},
    cx::{self, Assigned, EncodeError, HssAnswer, HssRequest, Kind},
    user_data,
};
use fixtures::*;
use scscf::cx as values;
use scscf::cx::{Answer, Demand, Failure, ResultCode, ServerAssignmentType as Type, UserDataError};

fn encode_mar(mar: values::MultimediaAuth) -> Message {
    cx::encode_request(&values::Request::MultimediaAuth(mar), &scscf(), SESSION, REALM).unwrap()
}

fn encode_sar(sar: values::ServerAssignment) -> Result<Message, EncodeError> {
    cx::encode_request(&values::Request::ServerAssignment(sar), &scscf(), SESSION, REALM)
}

/// Every Cx message this crate writes, requests and answers.
fn every_message() -> Vec<Message> {
    let mar = encode_mar(mar());
    let sar = encode_sar(sar(Type::Registration)).unwrap();
    let uar = cx::encode_user_authorization(
        &cx::UserAuthorization {
            impi: impi(),
            impu: IMPU.into(),
            visited_network: REALM.into(),
            kind: cx::AuthorizationType::Registration,
            emergency: false,
            hss: None,
        },
        &hss(),
        SESSION,
        REALM,
    );
    let lir = cx::encode_location(
        &cx::LocationQuery { impu: IMPU.into(), originating: true, hss: None },
        &hss(),
        SESSION,
        REALM,
    );
    let demands = [
        Demand::RegistrationTermination(values::RegistrationTermination {
            impi: impi(),
            associated_identities: vec![],
            impus: vec![],
            reason: values::DeregistrationReason::ServerChange,
            reason_info: None,
        }),
        Demand::PushProfile(values::PushProfile {
            impi: impi(),
            user_data: None,
            charging: None,
            auth_data: None,
        }),
        Demand::ReAuth(values::ReAuth { impi: impi() }),
    ]
    .map(|demand| cx::encode_demand(&demand, None, &hss(), SESSION, "n1", REALM));
    let done = values::DemandAnswer::of(ResultCode::SUCCESS);
    let mut all: Vec<_> =
        demands.iter().map(|demand| cx::encode_demand_answer(demand, &done, &scscf())).collect();
    for request in [&mar, &sar, &uar, &lir] {
        all.push(cx::encode_answer(request, &HssAnswer::Result(ResultCode::USER_UNKNOWN), &hss()));
    }
    all.extend([mar, sar, uar, lir]);
    all.extend(demands);
    all
}

#[test]
fn ce_01_every_cx_message_names_the_application_in_header_and_vsai() {
    for message in every_message() {
        assert_eq!(message.application, 16_777_216, "{message:?}");
        assert_eq!(message.flags & 0x40, 0x40, "{message:?}");
        let vsai = message.find(avp::VENDOR_SPECIFIC_APPLICATION_ID).unwrap();
        let number = |code| vsai.grouped().find(code).unwrap().unwrap().unsigned32().unwrap();
        assert_eq!((number(avp::VENDOR_ID), number(avp::AUTH_APPLICATION_ID)), (10415, 16_777_216));
    }
}

#[test]
fn ce_02_every_cx_message_says_no_state_maintained() {
    for message in every_message() {
        assert_eq!(message.unsigned32(avp::AUTH_SESSION_STATE), Some(1), "{message:?}");
        assert_eq!(message.text(avp::SESSION_ID), Some(SESSION));
        assert_eq!(message.avps().next().unwrap().code, 263, "Session-Id comes first");
        assert!(
            message.find(avp::AUTHORIZATION_LIFETIME).is_none()
                && message.find(avp::SESSION_TIMEOUT).is_none()
        );
    }
}

#[test]
fn ce_03_both_vendors_are_supported_in_cer_and_cea() {
    let cer = base::capabilities_request(&scscf());
    let cea = base::capabilities_answer(&message(CER), 2001, &scscf());
    for message in [cer, cea] {
        let vendors: Vec<_> =
            message.avps().filter(|a| a.code == 265).map(|a| a.unsigned32().unwrap()).collect();
        assert_eq!(vendors, [10415, 13019]);
    }
}

#[test]
fn ce_07_nass_bundled_avp_is_encoded_exactly() {
    let mut writer = Writer::new();
    writer.text(avp::SIP_AUTHENTICATION_SCHEME, "NASS-Bundled");
    let expected = octets("00000260c0000018000028af4e4153532d42756e646c6564");
    assert_eq!(writer.finish(), expected);
    let mar = encode_mar(values::MultimediaAuth { scheme: values::Scheme::NassBundled, ..mar() });
    assert_eq!(mar.find(avp::SIP_AUTH_DATA_ITEM).unwrap().data, expected);
}

#[test]
fn ce_08_the_same_number_differs_as_base_and_experimental_code() {
    let mar = encode_mar(mar());
    let failure = |code| {
        let maa = cx::encode_answer(&mar, &HssAnswer::Result(code), &hss());
        match cx::decode_answer(Kind::MultimediaAuth, &maa) {
            Answer::MultimediaAuth(Err(failure)) => (maa, failure),
            other => panic!("{other:?}"),
        }
    };
    let (maa, experimental) = failure(ResultCode::Experimental(5001));
    assert_eq!(experimental, Failure::Refused(ResultCode::USER_UNKNOWN));
    assert!(maa.find(avp::RESULT_CODE).is_none() && maa.find(avp::EXPERIMENTAL_RESULT).is_some());
    let (maa, base) = failure(ResultCode::Base(5001));
    assert_eq!(base, Failure::Refused(ResultCode::Base(5001)));
    assert!(maa.find(avp::RESULT_CODE).is_some() && maa.find(avp::EXPERIMENTAL_RESULT).is_none());
    assert_ne!(experimental, base);
}

#[test]
fn ce_10_wildcarded_public_identity_is_sent_without_the_m_flag() {
    let mut writer = Writer::new();
    writer.text(avp::WILDCARDED_PUBLIC_IDENTITY, "sip:!.*!@home");
    let octets = writer.finish();
    assert_eq!(octets[..5], [0, 0, 0x02, 0x7a, 0x80]);
    let read = Avps::new(&octets).next().unwrap().unwrap();
    assert_eq!((read.code, read.vendor, read.flags), (634, 10415, 0x80));
}

#[test]
fn ce_11_resynchronisation_carries_rand_and_auts() {
    let rand = octets("23553cbe9637a89d218ae64dae47bf35");
    let auts = octets("ba853f3c126bbd3bdab33cf9bda2");
    let resynchronise =
        values::Resynchronisation { rand: rand[..].try_into().unwrap(), auts: auts[..].try_into().unwrap() };
    let message = encode_mar(values::MultimediaAuth { resynchronise: Some(resynchronise), ..mar() });
    let item = message.find(avp::SIP_AUTH_DATA_ITEM).unwrap();
    let authorization = item.grouped().find(avp::SIP_AUTHORIZATION).unwrap().unwrap();
    assert_eq!(authorization.data.len(), 30);
    assert_eq!(authorization.data, octets("23553cbe9637a89d218ae64dae47bf35ba853f3c126bbd3bdab33cf9bda2"));
    assert!(item.grouped().find(avp::SIP_AUTHENTICATION_SCHEME).unwrap().is_some());
    match cx::decode_request(&message, &hss()).unwrap() {
        HssRequest::MultimediaAuth(read) => assert_eq!(read.resynchronise, Some(resynchronise)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn ce_12_one_vector_is_asked_for_and_nothing_to_resynchronise() {
    let message = encode_mar(mar());
    assert_eq!(message.unsigned32(avp::SIP_NUMBER_AUTH_ITEMS), Some(1));
    let item = message.find(avp::SIP_AUTH_DATA_ITEM).unwrap();
    assert!(item.grouped().find(avp::SIP_AUTHORIZATION).unwrap().is_none());
}

#[test]
fn ce_13_maa_without_items_is_an_answer_without_items() {
    let empty = values::MultimediaAuthAnswer { hss: None, items: vec![] };
    let maa = cx::encode_answer(&encode_mar(mar()), &HssAnswer::MultimediaAuth(empty), &hss());
    assert_eq!(maa.unsigned32(avp::SIP_NUMBER_AUTH_ITEMS), Some(0));
    let expected = values::MultimediaAuthAnswer { hss: Some(known_hss()), items: vec![] };
    assert_eq!(cx::decode_answer(Kind::MultimediaAuth, &maa), Answer::MultimediaAuth(Ok(expected)));
}

#[test]
fn ce_14_default_identity_is_the_first_that_is_not_barred() {
    let xml = b"<IMSSubscription><PrivateID>a@h</PrivateID><ServiceProfile>\
        <PublicIdentity><BarringIndication>1</BarringIndication><Identity>sip:barred@h.net</Identity></PublicIdentity>\
        <PublicIdentity><Identity>sip:second@h.net</Identity></PublicIdentity>\
        <PublicIdentity><Identity>sip:third@h.net</Identity></PublicIdentity></ServiceProfile></IMSSubscription>";
    let assigned = Assigned { user_data: Some((&xml[..]).into()), ..Assigned::default() };
    let sar = encode_sar(sar(Type::Registration)).unwrap();
    let saa = cx::encode_answer(&sar, &HssAnswer::ServerAssignment(assigned), &hss());
    let Answer::ServerAssignment(Ok(answer)) = cx::decode_answer(Kind::ServerAssignment, &saa) else {
        panic!()
    };
    let subscription = answer.user_data.unwrap().unwrap();
    assert_eq!(subscription.identities().count(), 3);
    assert_eq!(&*subscription.default_identity().unwrap().text, "sip:second@h.net");
}

#[test]
fn ce_15_more_than_one_identity_is_refused_where_one_is_meant() {
    for assignment in [
        Type::NoAssignment,
        Type::Registration,
        Type::ReRegistration,
        Type::UnregisteredUser,
        Type::AuthenticationFailure,
        Type::AuthenticationTimeout,
    ] {
        let two =
            values::ServerAssignment { impus: vec!["sip:a@h".into(), "sip:b@h".into()], ..sar(assignment) };
        assert_eq!(encode_sar(two), Err(EncodeError::TooManyIdentities { assignment, count: 2 }));
        let one = encode_sar(sar(assignment)).unwrap();
        let two = one.rewritten(
            |_| true,
            |w| {
                w.text(avp::PUBLIC_IDENTITY, "sip:b@h");
            },
        );
        let refusal = cx::decode_request(&two, &hss()).unwrap_err();
        assert_eq!(refusal.unsigned32(avp::RESULT_CODE), Some(5009));
        let failed = refusal.find(avp::FAILED_AVP).unwrap();
        assert_eq!(failed.grouped().find(avp::PUBLIC_IDENTITY).unwrap().unwrap().data, b"sip:b@h");
    }
    for assignment in
        [Type::TimeoutDeregistration, Type::UserDeregistration, Type::AdministrativeDeregistration]
    {
        let two =
            values::ServerAssignment { impus: vec!["sip:a@h".into(), "sip:b@h".into()], ..sar(assignment) };
        let message = encode_sar(two.clone()).unwrap();
        assert_eq!(cx::decode_request(&message, &hss()).unwrap(), HssRequest::ServerAssignment(two));
    }
}

#[test]
fn ce_16_associated_identities_come_with_saa_and_go_with_rta() {
    let Answer::ServerAssignment(Ok(answer)) = cx::decode_answer(Kind::ServerAssignment, &message(SAA))
    else {
        panic!()
    };
    let names: Vec<_> = answer.associated_identities.iter().map(|impi| impi.as_str()).collect();
    assert_eq!(names, [IMPI, "001010000000002@ims.mnc001.mcc001.3gppnetwork.org"]);
    let answer = values::DemandAnswer {
        result: ResultCode::SUCCESS,
        associated_identities: answer.associated_identities,
        emergency: vec![],
    };
    let rta = cx::encode_demand_answer(&message(RTR), &answer, &scscf());
    assert_eq!(cx::decode_demand_answer(&rta), answer);
}

#[test]
fn ce_17_unknown_elements_are_passed_over() {
    let plain = user_data::parse(MINIMAL).unwrap();
    let text = std::str::from_utf8(MINIMAL).unwrap();
    let strange = "<Strange a='1'>x<Identity>sip:not@me</Identity><!-- c --><Deep><Deeper/></Deep></Strange>";
    for place in ["<ServiceProfile>", "<PublicIdentity>", "<TriggerPoint>", "<ApplicationServer>", "<SPT>"] {
        let odd = text.replace(place, &format!("{place}{strange}<o:Identity xmlns:o='urn:o'>z</o:Identity>"));
        assert_ne!(odd, text);
        assert_eq!(user_data::parse(odd.as_bytes()).unwrap(), plain, "{place}");
    }
}

#[test]
fn ce_18_equal_priorities_are_accepted_in_document_order() {
    let criterion = |priority: u32, name: &str| {
        format!(
            "<InitialFilterCriteria><Priority>{priority}</Priority><ApplicationServer><ServerName>sip:{name}</ServerName>\
             </ApplicationServer></InitialFilterCriteria>"
        )
    };
    let text = std::str::from_utf8(MINIMAL).unwrap();
    let end = "</ServiceProfile>";
    let added = format!("{}{}{}{end}", criterion(10, "as2"), criterion(5, "as0"), criterion(10, "as3"));
    let subscription = user_data::parse(text.replace(end, &added).as_bytes()).unwrap();
    let servers: Vec<_> = subscription.profiles[0]
        .criteria
        .iter()
        .map(|c| (c.priority, &*c.application_server.server_name))
        .collect();
    assert_eq!(servers, [(5, "sip:as0"), (10, "sip:as1.home1.net;lr"), (10, "sip:as2"), (10, "sip:as3")]);
}

#[test]
fn ce_19_user_data_beyond_one_megabyte_is_refused_and_the_hss_can_be_told() {
    let mut xml = MINIMAL.to_vec();
    xml.resize(1_000_001, b' ');
    assert_eq!(user_data::parse(&xml), Err(UserDataError::TooLarge(1_000_001)));
    assert!(user_data::parse(&xml[..1_000_000]).is_ok());
    let assigned = Assigned { user_data: Some(xml.into()), ..Assigned::default() };
    let request = encode_sar(sar(Type::Registration)).unwrap();
    let saa = cx::encode_answer(&request, &HssAnswer::ServerAssignment(assigned), &hss());
    let saa = Message::decode(saa.encode()).unwrap();
    let Answer::ServerAssignment(Ok(answer)) = cx::decode_answer(Kind::ServerAssignment, &saa) else {
        panic!()
    };
    assert_eq!(answer.user_data, Some(Err(UserDataError::TooLarge(1_000_001))));
    let sar = encode_sar(sar(Type::DeregistrationTooMuchData)).unwrap();
    assert_eq!(sar.unsigned32(avp::SERVER_ASSIGNMENT_TYPE), Some(11));
}

#[test]
fn ce_20_ppr_with_auth_data_says_so_with_and_without_credentials() {
    let credentials = values::DigestCredentials {
        realm: REALM.into(),
        ha1: values::Secret::new(b"8e504717b0c49544ba9bd14e57d29594"),
        qop: "auth".into(),
    };
    for auth_data in [None, Some(None), Some(Some(credentials))] {
        let ppr = Demand::PushProfile(values::PushProfile {
            impi: impi(),
            user_data: None,
            charging: None,
            auth_data,
        });
        let message = cx::encode_demand(&ppr, None, &hss(), SESSION, "n1", REALM);
        assert_eq!(
            message.find(avp::SIP_AUTH_DATA_ITEM).is_some(),
            !matches!(&ppr, Demand::PushProfile(p) if p.auth_data.is_none())
        );
        assert_eq!(cx::decode_demand(&message, &scscf()).unwrap(), ppr);
    }
}

#[test]
fn re_auth_request_is_understood_in_cx_and_in_the_base_application() {
    let rar = Demand::ReAuth(values::ReAuth { impi: impi() });
    let mut message = cx::encode_demand(&rar, None, &hss(), SESSION, "n1", REALM);
    assert_eq!((message.command, message.application), (258, application::CX));
    for application in [application::CX, application::BASE] {
        message.application = application;
        assert_eq!(cx::decode_demand(&message, &scscf()).unwrap(), rar);
        let raa =
            cx::encode_demand_answer(&message, &values::DemandAnswer::of(ResultCode::SUCCESS), &scscf());
        assert_eq!(raa.application, application);
        assert_eq!(raa.text(avp::USER_NAME), Some(IMPI));
        assert_eq!(cx::decode_demand_answer(&raa).result, ResultCode::SUCCESS);
    }
}
