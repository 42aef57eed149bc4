//! TS 29.228 annex E — documents as HSSs write them, and as an enemy would.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

mod fixtures;

use diameter::user_data::{parse, to_xml};
use fixtures::MINIMAL;
use proptest::prelude::*;
use scscf::{
    Impu,
    cx::UserDataError,
    profile::{
        ApplicationServer, Condition, DefaultHandling, IdentityType, InitialFilterCriteria, PublicIdentity,
        ServicePointTrigger, ServiceProfile, Subscription, TriggerPoint,
    },
};

fn document(profile: &str) -> String {
    format!(
        "<IMSSubscription><PrivateID>a@h.net</PrivateID><ServiceProfile>{profile}</ServiceProfile></IMSSubscription>"
    )
}

fn with_identity(more: &str) -> String {
    document(&format!("<PublicIdentity><Identity>sip:a@h.net</Identity></PublicIdentity>{more}"))
}

fn criteria(criterion: &str) -> Vec<InitialFilterCriteria> {
    let text = with_identity(&format!("<InitialFilterCriteria>{criterion}</InitialFilterCriteria>"));
    parse(text.as_bytes()).unwrap().profiles[0].criteria.to_vec()
}

const SERVER: &str = "<ApplicationServer><ServerName>sip:as</ServerName></ApplicationServer>";

fn why(text: &str) -> String {
    match parse(text.as_bytes()) {
        Err(UserDataError::Malformed(why)) => why.into(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn minimal_example_is_read_in_full() {
    let subscription = parse(MINIMAL).unwrap();
    assert_eq!(&*subscription.private_id, "001010000000001@ims.mnc001.mcc001.3gppnetwork.org");
    let [profile] = &subscription.profiles[..] else { panic!() };
    let texts: Vec<_> = profile.identities.iter().map(|i| (&*i.text, i.barred)).collect();
    assert_eq!(
        texts,
        [
            ("sip:+10000000001@ims.mnc001.mcc001.3gppnetwork.org", false),
            ("tel:+10000000001", false),
            ("sip:001010000000001@ims.mnc001.mcc001.3gppnetwork.org", true),
        ]
    );
    let [criterion] = &profile.criteria[..] else { panic!() };
    let spt = |group, condition| ServicePointTrigger {
        negated: false,
        groups: vec![group],
        condition,
        registration_types: vec![],
    };
    assert_eq!(
        *criterion,
        InitialFilterCriteria {
            priority: 10,
            trigger: Some(TriggerPoint {
                cnf: true,
                spts: vec![spt(0, Condition::Method("INVITE".into())), spt(1, Condition::SessionCase(0))],
            }),
            application_server: ApplicationServer {
                server_name: "sip:as1.home1.net;lr".into(),
                default_handling: DefaultHandling::SessionContinued,
                service_info: None,
                include_register_request: false,
                include_register_response: false,
            },
            profile_part: None,
        }
    );
}

#[test]
fn children_may_come_in_any_order_and_booleans_in_any_spelling() {
    let text = "<IMSSubscription><ServiceProfile>\
        <InitialFilterCriteria><ApplicationServer><DefaultHandling>1</DefaultHandling><ServerName>sip:as</ServerName>\
          <Extension><IncludeRegisterResponse/><IncludeRegisterRequest>true</IncludeRegisterRequest></Extension></ApplicationServer>\
          <TriggerPoint><SPT><Method>REGISTER</Method><Extension><RegistrationType>0</RegistrationType><RegistrationType>2</RegistrationType></Extension>\
          <Group>3</Group><ConditionNegated>true</ConditionNegated></SPT><ConditionTypeCNF>false</ConditionTypeCNF></TriggerPoint>\
          <ProfilePartIndicator>1</ProfilePartIndicator><Priority>7</Priority></InitialFilterCriteria>\
        <PublicIdentity><Identity>sip:a@h.net</Identity><BarringIndication>true</BarringIndication></PublicIdentity>\
        <PublicIdentity><BarringIndication>false</BarringIndication><Identity>sip:b@h.net</Identity></PublicIdentity>\
        </ServiceProfile><PrivateID>a@h.net</PrivateID></IMSSubscription>";
    let subscription = parse(text.as_bytes()).unwrap();
    let profile = &subscription.profiles[0];
    assert_eq!(profile.identities.iter().map(|i| i.barred).collect::<Vec<_>>(), [true, false]);
    let criterion = &profile.criteria[0];
    assert_eq!((criterion.priority, criterion.profile_part), (7, Some(1)));
    let server = &criterion.application_server;
    assert_eq!(server.default_handling, DefaultHandling::SessionTerminated);
    assert!(server.include_register_request && server.include_register_response);
    let trigger = criterion.trigger.as_ref().unwrap();
    assert!(!trigger.cnf && trigger.spts[0].negated);
    assert_eq!(
        (&trigger.spts[0].groups[..], &trigger.spts[0].registration_types[..]),
        (&[3][..], &[0, 2][..])
    );
}

#[test]
fn text_may_be_cdata_with_entities_comments_and_blanks() {
    let text = with_identity(&format!(
        "<InitialFilterCriteria><Priority> 1\n</Priority><TriggerPoint><ConditionTypeCNF>0</ConditionTypeCNF><SPT><Group>0</Group>\
         <SIPHeader><Header><![CDATA[X-<]]>y</Header><Content>a&amp;b&#x41;&lt;<!-- no -->c</Content></SIPHeader></SPT></TriggerPoint>{SERVER}</InitialFilterCriteria>"
    ));
    let subscription = parse(text.as_bytes()).unwrap();
    let condition = &subscription.profiles[0].criteria[0].trigger.as_ref().unwrap().spts[0].condition;
    assert_eq!(*condition, Condition::Header { header: "X-<y".into(), content: Some("a&bA<c".into()) });
}

#[test]
fn a_prefix_of_the_root_is_a_prefix_of_all() {
    let text = std::str::from_utf8(MINIMAL).unwrap();
    let text =
        text.replace("</", "</cx:").replace('<', "<cx:").replace("<cx:/cx:", "</cx:").replace("<cx:?", "<?");
    assert_eq!(parse(text.as_bytes()).unwrap(), parse(MINIMAL).unwrap());
}

#[test]
fn a_criterion_that_makes_no_sense_is_left_out() {
    let spt = |inner: &str| {
        format!(
            "<Priority>1</Priority><TriggerPoint><ConditionTypeCNF>1</ConditionTypeCNF><SPT>{inner}</SPT></TriggerPoint>{SERVER}"
        )
    };
    let unsaid = criteria(&format!("<Priority>1</Priority>{SERVER}"));
    assert_eq!(unsaid.len(), 1);
    assert_eq!(unsaid[0].application_server.default_handling, DefaultHandling::SessionContinued);
    assert_eq!(criteria(&spt("<Group>0</Group><Method>INVITE</Method>")).len(), 1);
    for senseless in [
        SERVER.to_owned(),
        "<Priority>1</Priority>".to_owned(),
        format!("<Priority>x</Priority>{SERVER}"),
        format!("<Priority>-1</Priority>{SERVER}"),
        "<Priority>1</Priority><ApplicationServer><ServerName> </ServerName></ApplicationServer>".to_owned(),
        "<Priority>1</Priority><ApplicationServer><ServerName>sip:as</ServerName><DefaultHandling>2</DefaultHandling></ApplicationServer>".to_owned(),
        format!("<Priority>1</Priority>{SERVER}<ProfilePartIndicator>2</ProfilePartIndicator>"),
        format!("<Priority>1</Priority><TriggerPoint><ConditionTypeCNF>1</ConditionTypeCNF></TriggerPoint>{SERVER}"),
        spt("<Method>INVITE</Method>"),
        spt("<Group>0</Group>"),
        spt("<Group>0</Group><Method>INVITE</Method><SessionCase>0</SessionCase>"),
        spt("<Group>0</Group><SessionCase>5</SessionCase>"),
        spt("<Group>x</Group><SessionCase>4</SessionCase>"),
        spt("<Group>0</Group><Method>REGISTER</Method><Extension><RegistrationType>3</RegistrationType></Extension>"),
        spt("<Group>0</Group><SIPHeader><Content>x</Content></SIPHeader>"),
        spt("<ConditionNegated>maybe</ConditionNegated><Group>0</Group><Method>INVITE</Method>"),
    ] {
        assert_eq!(criteria(&senseless), [], "{senseless}");
    }
}

#[test]
fn documents_that_are_refused_say_why() {
    for (text, expected) in [
        (String::new(), "no element"),
        ("<Other/>".into(), "another"),
        ("<IMSSubscription/>".into(), "PrivateID"),
        ("<IMSSubscription><PrivateID>a</PrivateID></IMSSubscription>".into(), "ServiceProfile"),
        (document(""), "no PublicIdentity"),
        (document("<PublicIdentity/>"), "no Identity"),
        (document("<PublicIdentity><Identity>mailto:a@h</Identity></PublicIdentity>"), "no public identity"),
        (with_identity("<PublicIdentity><Identity>sip:a@h.net;x=y</Identity></PublicIdentity>"), "twice"),
        (
            with_identity("<PublicIdentity><BarringIndication>2</BarringIndication></PublicIdentity>"),
            "boolean",
        ),
        (with_identity("").replace("</ServiceProfile>", ""), ""),
        (with_identity("").replace("a@h.net<", "a@h.net&lol;<"), "entity"),
        (with_identity("").replace("a@h.net<", "a@h.net&#0;<"), "reference"),
        (format!("{}<x/>", with_identity("")), "follows"),
        (with_identity("")[..60].to_owned(), ""),
    ] {
        let why = why(&text);
        assert!(why.contains(expected), "{text}: {why}");
    }
    assert!(matches!(parse(b"\xff\xfe<"), Err(UserDataError::Malformed(_))));
}

#[test]
fn entities_of_a_document_type_are_never_expanded() {
    let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]>".to_owned()
        + &with_identity("").replace("<PrivateID>a", "<PrivateID>&b;");
    assert!(why(&bomb).contains("entity"));
}

#[test]
fn nesting_is_bounded_in_known_and_unknown_elements() {
    for name in ["Extension", "Unknown"] {
        let deep = |levels: usize| {
            let nested = format!("<{name}>").repeat(levels) + &format!("</{name}>").repeat(levels);
            document(&format!("<PublicIdentity><Identity>sip:a@h.net</Identity>{nested}</PublicIdentity>"))
        };
        assert!(parse(deep(40).as_bytes()).is_ok());
        assert!(why(&deep(100)).contains("deep"));
        assert!(why(&deep(40_000)).contains("deep"));
    }
}

#[test]
fn a_terminating_zero_and_a_byte_order_mark_are_tolerated() {
    let plain = parse(MINIMAL).unwrap();
    assert_eq!(parse(&[MINIMAL, b"\0"].concat()).unwrap(), plain);
    assert_eq!(parse(&[b"\xef\xbb\xbf", MINIMAL].concat()).unwrap(), plain);
}

#[test]
fn extensions_of_an_identity_are_read_at_their_levels() {
    let text = document(
        "<PublicIdentity><Identity>sip:!.*!@h.net</Identity><Extension><IdentityType>4</IdentityType><Extension>\
         <DisplayName>Ann &amp; Bob</DisplayName><AliasIdentityGroupID>g1</AliasIdentityGroupID><Extension>\
         <WildcardedIMPU>sip:!.*!@h.net</WildcardedIMPU></Extension></Extension></Extension></PublicIdentity>\
         <CoreNetworkServicesAuthorization><SubscribedMediaProfileId>2</SubscribedMediaProfileId><Extension><ListOfServiceIds>\
         <ServiceId>s1</ServiceId><ServiceId>s2</ServiceId></ListOfServiceIds></Extension></CoreNetworkServicesAuthorization>\
         <Extension><SharedIFCSetID>1</SharedIFCSetID><SharedIFCSetID>3</SharedIFCSetID></Extension>",
    );
    let subscription = parse(text.as_bytes()).unwrap();
    let profile = &subscription.profiles[0];
    let identity = &profile.identities[0];
    assert_eq!(identity.kind, IdentityType::WildcardedImpu);
    assert_eq!(identity.wildcard.as_deref(), Some("sip:!.*!@h.net"));
    assert_eq!(identity.display_name.as_deref(), Some("Ann & Bob"));
    assert_eq!(identity.alias_group.as_deref(), Some("g1"));
    assert_eq!(profile.media_profile, Some(2));
    assert_eq!(profile.service_ids, ["s1".into(), "s2".into()]);
    assert_eq!(profile.shared_criteria, [1, 3]);
    assert_eq!(subscription.default_identity(), None);
    assert_eq!(parse(&to_xml(&subscription)).unwrap(), subscription);
}

fn text() -> impl Strategy<Value = Box<str>> {
    "[a-zA-Z0-9<>&\"'é.*!\\]]{1,20}".prop_map(Into::into)
}

fn condition() -> impl Strategy<Value = Condition> {
    let content = || proptest::option::of(text());
    prop_oneof![
        text().prop_map(Condition::RequestUri),
        text().prop_map(Condition::Method),
        (text(), content()).prop_map(|(header, content)| Condition::Header { header, content }),
        (0..5_u32).prop_map(Condition::SessionCase),
        (text(), content()).prop_map(|(line, content)| Condition::SessionDescription { line, content }),
    ]
}

prop_compose! {
    fn spt()(negated in any::<bool>(), groups in proptest::collection::vec(0..9_u32, 1..3), condition in condition(),
        registration_types in proptest::collection::vec(0..3_u32, 0..3)) -> ServicePointTrigger {
        ServicePointTrigger { negated, groups, condition, registration_types }
    }
}

prop_compose! {
    fn criterion()(priority in 0..5_u32, trigger in proptest::option::of((any::<bool>(), proptest::collection::vec(spt(), 1..4))),
        server_name in text(), terminated in any::<bool>(), service_info in proptest::option::of(text()), include in any::<(bool, bool)>(),
        profile_part in proptest::option::of(0..2_u32)) -> InitialFilterCriteria {
        InitialFilterCriteria {
            priority,
            trigger: trigger.map(|(cnf, spts)| TriggerPoint { cnf, spts }),
            application_server: ApplicationServer {
                server_name, service_info,
                default_handling: if terminated { DefaultHandling::SessionTerminated } else { DefaultHandling::SessionContinued },
                include_register_request: include.0,
                include_register_response: include.1,
            },
            profile_part,
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(users in proptest::collection::btree_set("[a-z]{1,8}", 1..5), barred in any::<bool>(), display_name in proptest::option::of(text()),
        mut criteria in proptest::collection::vec(criterion(), 0..4), media_profile in proptest::option::of(0..9_u32),
        service_ids in proptest::collection::vec(text(), 0..3), shared_criteria in proptest::collection::vec(0..9_u32, 0..3)) {
        criteria.sort_by_key(|c| c.priority);
        let identities = users.iter().map(|user| {
            let text = format!("sip:{user}@h.net");
            PublicIdentity {
                impu: Impu::parse(&text).unwrap(), text: text.into(), barred, kind: IdentityType::PublicUserIdentity,
                wildcard: None, display_name: display_name.clone(), alias_group: None,
            }
        }).collect();
        let profile = ServiceProfile { identities, media_profile, service_ids, criteria: criteria.into(), shared_criteria };
        let subscription = Subscription { private_id: "a@h.net".into(), profiles: vec![profile] };
        prop_assert_eq!(parse(&to_xml(&subscription)).unwrap(), subscription);
    }
}
