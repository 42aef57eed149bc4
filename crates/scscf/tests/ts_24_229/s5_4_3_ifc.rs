//! TS 24.229 §5.4.3, TS 29.228 §6.6 — initial filter criteria: which application server comes next.

use bytes::Bytes;
use proptest::prelude::*;
use scscf::ifc::{Chain, Criteria, Flaw, Invocation, RegistrationType, SessionCase};
use scscf::profile::{
    ApplicationServer, Condition, DefaultHandling, InitialFilterCriteria, ServicePointTrigger, TriggerPoint,
};
use sip::{Message, Request};

fn request(method: &str, uri: &str, lines: &str, body: &str) -> Request {
    let text = format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP p;branch=z9hG4bK1\r\nf: <sip:alice@home1.net>;tag=1\r\n\
         To: <sip:bob@home1.net>\r\nCall-ID: 1\r\nCSeq: 1 {method}\r\n{lines}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    match Message::parse_datagram(Bytes::from(text)).unwrap() {
        Message::Request(request) => request,
        Message::Response(_) => panic!("a request"),
    }
}

fn invite() -> Request {
    request("INVITE", "sip:bob@home1.net", "", "")
}

const fn originating(request: &Request) -> Invocation<'_> {
    Invocation { request, case: SessionCase::Originating, registered: true, registration_type: None }
}

fn spt(groups: &[u32], condition: Condition) -> ServicePointTrigger {
    ServicePointTrigger { negated: false, groups: groups.into(), condition, registration_types: Vec::new() }
}

fn not(spt: ServicePointTrigger) -> ServicePointTrigger {
    ServicePointTrigger { negated: true, ..spt }
}

fn header(name: &str, content: Option<&str>) -> Condition {
    Condition::Header { header: name.into(), content: content.map(Into::into) }
}

fn line(letter: &str, content: Option<&str>) -> Condition {
    Condition::SessionDescription { line: letter.into(), content: content.map(Into::into) }
}

fn criterion(priority: u32, trigger: Option<TriggerPoint>) -> InitialFilterCriteria {
    InitialFilterCriteria {
        priority,
        trigger,
        application_server: ApplicationServer {
            server_name: format!("sip:as{priority}.home1.net").into(),
            default_handling: DefaultHandling::SessionContinued,
            service_info: None,
            include_register_request: false,
            include_register_response: false,
        },
        profile_part: None,
    }
}

fn of(cnf: bool, spts: Vec<ServicePointTrigger>) -> Criteria {
    vec![criterion(0, Some(TriggerPoint { cnf, spts }))].into()
}

fn on(condition: Condition) -> Criteria {
    of(true, vec![spt(&[0], condition)])
}

fn matches(criteria: &Criteria, invocation: &Invocation<'_>) -> bool {
    assert_eq!(criteria.faults(), []);
    criteria.next_after(None, invocation).is_some()
}

/// Every server that is visited, as long as none breaks the chain.
fn visited(criteria: &Criteria, invocation: &Invocation<'_>) -> Vec<u32> {
    let mut visited = Vec::new();
    while let Some(next) = criteria.next_after(visited.last().copied(), invocation) {
        visited.push(next.priority);
    }
    visited
}

#[test]
fn cd_21_ascending_priorities() {
    let criteria: Criteria = vec![criterion(10, None), criterion(5, None), criterion(7, None)].into();
    let request = invite();
    assert_eq!(visited(&criteria, &originating(&request)), [5, 7, 10]);
    assert_eq!(
        criteria.matching(&originating(&request)).map(|it| it.priority).collect::<Vec<_>>(),
        [5, 7, 10]
    );
}

#[test]
fn cd_29_a_request_that_comes_back_goes_on_behind_the_server_it_was_at() {
    let criteria: Criteria = (0..4).map(|priority| criterion(priority, None)).collect::<Vec<_>>().into();
    let request = invite();
    let next = |after| criteria.next_after(Some(after), &originating(&request)).map(|it| it.priority);
    assert_eq!((next(0), next(2), next(3), next(u32::MAX)), (Some(1), Some(3), None, None));
    // As the server changed it: what matched before need not match any more.
    let messages: Criteria = vec![
        criterion(1, None),
        criterion(2, Some(TriggerPoint { cnf: true, spts: vec![spt(&[0], header("Subject", None))] })),
    ]
    .into();
    assert_eq!(visited(&messages, &originating(&request)), [1]);
    let changed = request_with_subject();
    assert_eq!(messages.next_after(Some(1), &originating(&changed)).map(|it| it.priority), Some(2));
}

fn request_with_subject() -> Request {
    request("INVITE", "sip:bob@home1.net", "s: lunch\r\n", "")
}

#[test]
fn cd_22_profile_part_indicator() {
    let request = invite();
    for (part, registered, unregistered) in
        [(None, true, true), (Some(0), true, false), (Some(1), false, true)]
    {
        let criteria: Criteria =
            vec![InitialFilterCriteria { profile_part: part, ..criterion(0, None) }].into();
        let with = |registered| matches(&criteria, &Invocation { registered, ..originating(&request) });
        assert_eq!((with(true), with(false)), (registered, unregistered), "{part:?}");
    }
}

#[test]
fn cd_23_no_trigger_point_always_matches() {
    let criteria: Criteria = vec![criterion(0, None)].into();
    for method in ["INVITE", "MESSAGE", "REGISTER", "X-ODD"] {
        assert!(matches(&criteria, &originating(&request(method, "urn:service:sos", "", ""))), "{method}");
    }
}

/// A, B and C are the headers of these names.
fn lines(truth: u32) -> String {
    let names = ["A", "B", "C"].into_iter().zip(0..).filter(|(_, bit)| truth & (1 << bit) != 0);
    names.map(|(name, _)| format!("X-{name}: 1\r\n")).collect()
}

fn letter(name: &str) -> Condition {
    header(&format!("^X-{name}$"), None)
}

fn truth_table(criteria: &Criteria) -> [bool; 8] {
    std::array::from_fn(|truth| {
        let request = request("INVITE", "sip:bob@home1.net", &lines(truth as u32), "");
        matches(criteria, &originating(&request))
    })
}

#[test]
fn cd_24_conjunctive_normal_form() {
    let criteria = of(true, vec![spt(&[1], letter("A")), spt(&[1], letter("B")), spt(&[2], letter("C"))]);
    // (A or B) and C: bit 0 is A, bit 1 is B, bit 2 is C.
    assert_eq!(truth_table(&criteria), [false, false, false, false, false, true, true, true]);
}

#[test]
fn cd_25_disjunctive_normal_form() {
    let criteria = of(false, vec![spt(&[1], letter("A")), spt(&[1], letter("B")), spt(&[2], letter("C"))]);
    // (A and B) or C
    assert_eq!(truth_table(&criteria), [false, false, false, true, true, true, true, true]);
}

#[test]
fn an_spt_counts_in_each_of_its_groups() {
    let spts = vec![spt(&[1], letter("A")), spt(&[1, 2], letter("B")), spt(&[2], letter("C"))];
    // (A or B) and (B or C)
    assert_eq!(truth_table(&of(true, spts.clone())), [false, false, true, true, false, true, true, true]);
    // (A and B) or (B and C)
    assert_eq!(truth_table(&of(false, spts)), [false, false, false, true, false, false, true, true]);
}

#[test]
fn cd_26_condition_negated_inverts_the_single_spt() {
    let spts = vec![spt(&[1], letter("A")), not(spt(&[1], letter("B"))), not(spt(&[2], letter("C")))];
    // (A or not B) and not C
    assert_eq!(truth_table(&of(true, spts.clone())), [true, true, false, true, false, false, false, false]);
    // (A and not B) or not C
    assert_eq!(truth_table(&of(false, spts)), [true, true, true, true, false, true, false, false]);
    // No such header, no such line, no such part of the URI: negated, all of them are true.
    let request = invite();
    for condition in
        [header("Subject", Some("x")), line("m", None), Condition::RequestUri("elsewhere".into())]
    {
        assert!(matches(&of(true, vec![not(spt(&[0], condition))]), &originating(&request)));
    }
}

#[test]
fn cd_27_headers_by_search_under_every_name() {
    let request = request(
        "MESSAGE",
        "sip:bob@home1.net",
        "Accept-Contact: *;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.msg\"\r\n\
         s: lunch\r\n at noon\r\nX-Vendor: seven of nine\r\nX-Vendor: ten\r\nUser-Agent: phone/1\r\n",
        "",
    );
    for (name, content, hit) in [
        ("Accept-Contact", Some("icsi.oma.cpm"), true),
        ("accept-contact", Some("icsi.oma.cpm"), true),
        ("Accept-Contact", Some("ICSI"), false),
        ("Accept-Contact", Some("^\\*;.*msg\"$"), true),
        // By search: a part of a name is enough, unless it is anchored.
        ("Contact", Some("oma"), true),
        ("^Contact$", Some("oma"), false),
        ("^(Subject|Organization)$", Some("lunch +at noon$"), true),
        ("^s$", None, false),
        ("^From$", Some("alice@home1\\.net"), true),
        ("^x-vendor$", Some("^ten$"), true),
        ("^x-vendor$", Some("^seven (of|by) nine$"), true),
        ("^x-vendor$", Some("eleven"), false),
        ("User-Agent", None, true),
        ("Server", None, false),
        ("Server|Agent", Some("phone/[[:digit:]]"), true),
    ] {
        assert_eq!(matches(&on(header(name, content)), &originating(&request)), hit, "{name} {content:?}");
    }
}

#[test]
fn cd_34_a_criterion_that_makes_no_sense_is_passed_over_and_listed() {
    let bad = |priority, condition| {
        let spts = vec![spt(&[0], Condition::Method("INVITE".into())), spt(&[1], condition)];
        criterion(priority, Some(TriggerPoint { cnf: false, spts }))
    };
    let server = |priority, name: &str| {
        let mut criterion = criterion(priority, None);
        criterion.application_server.server_name = name.into();
        criterion
    };
    let sound = criterion(100, None);
    let criteria: Criteria = vec![
        bad(1, header("Subject", Some("(lunch"))),
        bad(2, header("(Subject", None)),
        bad(3, Condition::RequestUri("[".into())),
        bad(4, line("m", Some("a{2,1}"))),
        bad(5, Condition::SessionCase(5)),
        bad(6, Condition::Method("IN VITE".into())),
        server(7, ""),
        server(8, "tel:+1"),
        server(9, "as1.home1.net"),
        InitialFilterCriteria { profile_part: Some(2), ..criterion(10, None) },
        criterion(11, Some(TriggerPoint { cnf: true, spts: Vec::new() })),
        criterion(12, Some(TriggerPoint { cnf: true, spts: vec![spt(&[], Condition::SessionCase(0))] })),
        criterion(
            13,
            Some(TriggerPoint {
                cnf: true,
                spts: vec![ServicePointTrigger {
                    registration_types: vec![3],
                    ..spt(&[0], Condition::Method("REGISTER".into()))
                }],
            }),
        ),
        sound,
    ]
    .into();
    let request = invite();
    assert_eq!(visited(&criteria, &originating(&request)), [100]);
    let faults: Vec<_> = criteria.faults().iter().map(|fault| fault.priority).collect();
    assert_eq!(faults, (1..=13).collect::<Vec<_>>());
    assert!(matches!(&criteria.faults()[0].flaw, Flaw::Pattern(text, _) if &**text == "(lunch"));
    assert_eq!(
        criteria.faults()[4].to_string(),
        "filter criterion of priority 5 for sip:as5.home1.net: SessionCase 5 is unknown"
    );
}

#[test]
fn a_profile_that_means_harm_costs_little() {
    let groups: Vec<u32> = (0..200).collect();
    let wide = TriggerPoint { cnf: true, spts: vec![spt(&groups, Condition::SessionCase(0))] };
    let criteria: Criteria = vec![criterion(0, Some(wide))].into();
    assert_eq!(criteria.faults()[0].flaw, Flaw::TooMany);
    let criteria: Criteria = (0..1000).map(|priority| criterion(priority, None)).collect::<Vec<_>>().into();
    let request = invite();
    assert_eq!(visited(&criteria, &originating(&request)).len(), 256);
    assert_eq!(criteria.faults().len(), 744);
    let long = on(header("Subject", Some(&"x?".repeat(600))));
    assert!(matches!(long.faults()[0].flaw, Flaw::Pattern(..)));
}

#[test]
fn of_equal_priorities_the_first_that_matches_is_visited_and_the_operator_hears() {
    let second = InitialFilterCriteria { profile_part: Some(1), ..criterion(3, None) };
    let criteria: Criteria = vec![second, criterion(3, None), criterion(3, None)].into();
    let request = invite();
    assert_eq!(visited(&criteria, &originating(&request)), [3]);
    assert!(criteria.faults().iter().all(|fault| fault.flaw == Flaw::SharedPriority));
    assert_eq!(criteria.faults().len(), 2);
}

#[test]
fn request_uri_is_the_host_and_port_or_the_number() {
    for (uri, pattern, hit) in [
        ("sip:bob@home1.net:5070;lr", "^home1\\.net:5070$", true),
        ("sip:bob;a@home1.net", "^home1\\.net$", true),
        ("sip:home1.net", "^home1", true),
        ("sip:bob@home1.net", "bob", false),
        ("sips:bob@[2001:db8::1]:5061;transport=tcp", "^\\[2001:db8::1\\]:5061$", true),
        ("sip:bob@[2001:db8::1]", "^\\[2001:db8::1\\]$", true),
        ("tel:+1-212-555;phone-context=x", "^\\+1-212-555$", true),
        ("tel:911", "phone-context", false),
        ("urn:service:sos", "^service:sos", true),
    ] {
        let request = request("INVITE", uri, "", "");
        assert_eq!(matches(&on(Condition::RequestUri(pattern.into())), &originating(&request)), hit, "{uri}");
    }
}

#[test]
fn session_cases_by_number() {
    let cases = [
        SessionCase::Originating,
        SessionCase::TerminatingRegistered,
        SessionCase::TerminatingUnregistered,
        SessionCase::OriginatingUnregistered,
        SessionCase::OriginatingCdiv,
    ];
    let request = invite();
    for number in 0..5 {
        for (case, own) in cases.into_iter().zip(0..) {
            let invocation = Invocation { case, ..originating(&request) };
            assert_eq!(matches(&on(Condition::SessionCase(number)), &invocation), number == own, "{case:?}");
        }
    }
}

#[test]
fn session_descriptions_line_by_line_also_within_multipart() {
    let sdp = "v=0\r\ns=-\r\nm=audio 3456 RTP/AVP 97\r\na=rtpmap:97 AMR\r\n";
    let alone = request("INVITE", "sip:b@x", "Content-Type: application/sdp\r\n", sdp);
    let within = request(
        "INVITE",
        "sip:b@x",
        "Content-Type: multipart/mixed;boundary=b\r\n",
        &format!(
            "--b\r\nContent-Type: application/xml\r\n\r\nm=video 1\r\n--b\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n--b--"
        ),
    );
    let other = request("INVITE", "sip:b@x", "Content-Type: text/plain\r\n", sdp);
    for (letter, content, hit) in [
        ("m", Some("^audio"), true),
        ("m", Some("video"), false),
        ("[ab]", Some("AMR$"), true),
        ("m", None, true),
        ("k", None, false),
        ("s", Some("audio"), false),
    ] {
        let criteria = on(line(letter, content));
        assert_eq!(matches(&criteria, &originating(&alone)), hit, "{letter} {content:?}");
        assert_eq!(matches(&criteria, &originating(&within)), hit, "{letter} {content:?}");
        assert!(!matches(&criteria, &originating(&other)));
    }
}

#[test]
fn registration_types_count_with_register_only() {
    let typed = |method: &str, types: &[u32]| {
        let spt = spt(&[0], Condition::Method(method.into()));
        of(true, vec![ServicePointTrigger { registration_types: types.into(), ..spt }])
    };
    let register = request("REGISTER", "sip:home1.net", "", "");
    let kinds =
        [RegistrationType::Initial, RegistrationType::Reregistration, RegistrationType::Deregistration];
    for (types, hits) in [
        (&[][..], [true, true, true]),
        (&[0], [true, false, false]),
        (&[1, 2], [false, true, true]),
        (&[2], [false, false, true]),
    ] {
        let criteria = typed("REGISTER", types);
        for (kind, hit) in kinds.into_iter().zip(hits) {
            let invocation = Invocation { registration_type: Some(kind), ..originating(&register) };
            assert_eq!(matches(&criteria, &invocation), hit, "{types:?} {kind:?}");
            assert_eq!(criteria.may_match_register(&[kind]).next().is_some(), hit, "{types:?} {kind:?}");
        }
    }
    let invite = invite();
    assert!(matches(&typed("INVITE", &[0]), &originating(&invite)));
    assert!(typed("INVITE", &[0]).may_match_register(&kinds).next().is_none());
    // What depends on the headers of a REGISTER may be.
    let wanted = spt(&[1], header("Contact", Some("smsip")));
    let criteria = of(true, vec![spt(&[0], Condition::Method("REGISTER".into())), not(wanted)]);
    assert!(criteria.may_match_register(&kinds).next().is_some());
    let terminating = spt(&[1], Condition::SessionCase(1));
    let criteria = of(true, vec![spt(&[0], Condition::Method("REGISTER".into())), terminating]);
    assert!(criteria.may_match_register(&kinds).next().is_none());
}

#[test]
fn shared_sets_are_merged_by_priority() {
    let own: Criteria = vec![criterion(2, None), criterion(6, None)].into();
    let shared: Criteria = vec![criterion(1, None), criterion(4, None), criterion(9, None)].into();
    let chain = Chain::new([own, Criteria::default(), shared]);
    let request = invite();
    let invocation = originating(&request);
    let mut visited = Vec::new();
    while let Some(next) = chain.next_after(visited.last().copied(), &invocation) {
        visited.push(next.priority);
    }
    assert_eq!(visited, [1, 2, 4, 6, 9]);
    assert_eq!(chain.matching(&invocation).iter().map(|it| it.priority).collect::<Vec<_>>(), visited);
    assert!(Chain::new([Criteria::default()]).is_empty());
}

#[test]
fn criteria_are_written_as_the_list_they_are() {
    let list = vec![criterion(1, None), criterion(2, None)];
    let criteria = Criteria::from(list.clone());
    let octets = rmp_serde::to_vec_named(&criteria).unwrap();
    assert_eq!(octets, rmp_serde::to_vec_named(&list).unwrap());
    let read: Criteria = rmp_serde::from_slice(&octets).unwrap();
    assert_eq!(read, criteria);
    assert!(!read.is_same(&criteria) && criteria.clone().is_same(&criteria));
}

#[test]
fn lists_of_users_who_were_loaded_can_be_made_one() {
    let (world, _) = crate::world::World::registered();
    let record = crate::world::record(&world.user);
    let mut kept: Vec<Criteria> = Vec::new();
    for _ in 0..2 {
        let mut user: scscf::User = rmp_serde::from_slice(&record).unwrap();
        user.share_criteria(|criteria| {
            let known = kept.iter().find(|known| *known == criteria).cloned();
            *criteria = known.unwrap_or_else(|| criteria.clone());
            kept.push(criteria.clone());
        });
        user.share_criteria(|criteria| assert!(criteria.is_same(&kept[0])));
    }
    assert_eq!(kept.len(), 2);
}

/// Straight from the words of the specification, with no thought for speed.
fn naive(criterion: &InitialFilterCriteria, invocation: &Invocation<'_>) -> bool {
    let part = match criterion.profile_part {
        Some(0) => invocation.registered,
        Some(_) => !invocation.registered,
        None => true,
    };
    let Some(TriggerPoint { cnf, spts }) = &criterion.trigger else { return part };
    let groups: std::collections::BTreeSet<u32> = spts.iter().flat_map(|spt| spt.groups.clone()).collect();
    let members = |group: u32| spts.iter().filter(move |spt| spt.groups.contains(&group));
    let holds = |spt: &ServicePointTrigger| naive_spt(spt, invocation) != spt.negated;
    part && match cnf {
        true => groups.into_iter().all(|group| members(group).any(holds)),
        false => groups.into_iter().any(|group| members(group).all(holds)),
    }
}

fn naive_spt(spt: &ServicePointTrigger, invocation: &Invocation<'_>) -> bool {
    let found = |pattern: &str, text: &str| regex::Regex::new(pattern).unwrap().is_match(text);
    let request = invocation.request;
    match &spt.condition {
        Condition::Method(method) => {
            let kinds = &spt.registration_types;
            let kind = invocation.registration_type.map(|kind| kind as u32);
            **method == *request.method().as_str()
                && (&**method != "REGISTER"
                    || kinds.is_empty()
                    || kind.is_some_and(|kind| kinds.contains(&kind)))
        }
        Condition::SessionCase(case) => *case == invocation.case as u32,
        Condition::RequestUri(pattern) => {
            let uri = request.uri();
            let port = uri.port().map_or_else(String::new, |port| format!(":{port}"));
            found(pattern, &format!("{}{port}", uri.host()))
        }
        Condition::Header { header, content } => request.all().any(|(name, value)| {
            let name = sip::Name::of(name.as_bytes()).map_or(name, |known| known.as_str());
            found(&format!("(?i){header}"), name)
                && content.as_ref().is_none_or(|content| found(content, &value))
        }),
        Condition::SessionDescription { line, content } => {
            let body = std::str::from_utf8(request.body()).unwrap();
            request.content_type() == Some("application/sdp")
                && body.lines().filter_map(|text| text.split_once('=')).any(|(letter, value)| {
                    found(line, letter) && content.as_ref().is_none_or(|content| found(content, value))
                })
        }
    }
}

fn any_condition() -> impl Strategy<Value = Condition> {
    let text = || {
        proptest::sample::select(vec![
            "a",
            "^a",
            "b$",
            "^ab$",
            "a|b",
            "[[:alpha:]]+1",
            ".*b.*",
            "",
            "^$",
            "x\\.1",
        ])
    };
    let content = || proptest::option::of(text());
    prop_oneof![
        proptest::sample::select(vec!["INVITE", "REGISTER", "MESSAGE"])
            .prop_map(|it| Condition::Method(it.into())),
        (0..5_u32).prop_map(Condition::SessionCase),
        text().prop_map(|it| Condition::RequestUri(it.into())),
        (proptest::sample::select(vec!["^Subject$", "subject", "X-.", "^(from|to)$", ""]), content())
            .prop_map(|(name, value)| header(name, value)),
        (proptest::sample::select(vec!["m", "[am]", ""]), content())
            .prop_map(|(name, value)| line(name, value)),
    ]
}

fn any_criterion() -> impl Strategy<Value = InitialFilterCriteria> {
    let spt = (
        any::<bool>(),
        proptest::collection::vec(0..3_u32, 1..3),
        any_condition(),
        proptest::collection::vec(0..3_u32, 0..2),
    )
        .prop_map(|(negated, groups, condition, registration_types)| ServicePointTrigger {
            negated,
            groups,
            condition,
            registration_types,
        });
    let point = (any::<bool>(), proptest::collection::vec(spt, 1..6))
        .prop_map(|(cnf, spts)| TriggerPoint { cnf, spts });
    (0..8_u32, proptest::option::of(point), proptest::option::of(0..2_u32)).prop_map(
        |(priority, point, part)| InitialFilterCriteria { profile_part: part, ..criterion(priority, point) },
    )
}

fn any_request() -> impl Strategy<Value = Request> {
    let value = || proptest::sample::select(vec!["a", "b", "ab", "x.1", "aa1", "cd"]);
    let name = proptest::sample::select(vec!["Subject", "s", "X-Y", "X-b"]);
    let lines = proptest::collection::vec((name, value()), 0..3);
    let body = proptest::option::of(proptest::collection::vec(
        (proptest::sample::select(vec!["m", "a"]), value()),
        0..3,
    ));
    let method = proptest::sample::select(vec!["INVITE", "REGISTER", "MESSAGE"]);
    let uri = proptest::sample::select(vec!["sip:u@a", "sip:ab", "sip:u@x.1:5060;a", "sip:b@c"]);
    (method, uri, lines, body).prop_map(|(method, uri, lines, body)| {
        let mut headers: String = lines.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        if body.is_some() {
            headers.push_str("Content-Type: application/sdp\r\n");
        }
        let body: String = body.iter().flatten().map(|(name, value)| format!("{name}={value}\r\n")).collect();
        request(method, uri, &headers, &body)
    })
}

proptest! {
    #[test]
    fn what_is_compiled_means_what_is_written(
        list in proptest::collection::vec(any_criterion(), 0..5), request in any_request(), case in 0..5_usize,
        registered: bool, kind in proptest::option::of(0..3_usize), after in proptest::option::of(0..8_u32),
    ) {
        let cases = [SessionCase::Originating, SessionCase::TerminatingRegistered, SessionCase::TerminatingUnregistered,
            SessionCase::OriginatingUnregistered, SessionCase::OriginatingCdiv];
        let kinds = [RegistrationType::Initial, RegistrationType::Reregistration, RegistrationType::Deregistration];
        let registration_type = kind.map(|kind| kinds[kind]);
        let invocation = Invocation { request: &request, case: cases[case], registered, registration_type };
        let criteria = Criteria::from(list);
        prop_assert!(criteria.faults().iter().all(|fault| fault.flaw == Flaw::SharedPriority));
        let expected: Vec<_> = criteria.iter().filter(|criterion| naive(criterion, &invocation)).collect();
        prop_assert_eq!(criteria.matching(&invocation).collect::<Vec<_>>(), expected.clone());
        let next = expected.into_iter().find(|criterion| after.is_none_or(|after| criterion.priority > after));
        prop_assert_eq!(criteria.next_after(after, &invocation), next);
        // What matches a REGISTER may match one.
        if let Some(kind) = registration_type
            && *request.method() == sip::Method::Register && registered && case == 0
        {
            let may: Vec<_> = criteria.may_match_register(&[kind]).collect();
            prop_assert!(criteria.matching(&invocation).all(|criterion| may.contains(&criterion)));
        }
    }
}
