//! TS 24.229 §5.4.1.7 — application servers hear of registrations: third-party REGISTER.

use crate::world::*;
use scscf::cx::{Demand, DeregistrationReason, PushProfile, ResultCode, ServerAssignmentType};
use scscf::profile::{
    ApplicationServer, Condition, DefaultHandling, InitialFilterCriteria, ServicePointTrigger,
    ServiceProfile, Subscription, TriggerPoint,
};
use scscf::user::Said;
use scscf::{Event, Impi, Impu, Purpose, Reply, SharedContact, Span};
use sip::{Method, Name, Request, Status};

pub(crate) const AS1: &str = "sip:as1.home1.net";

/// A server that hears of REGISTERs of these types; of all, if there are none.
pub(crate) fn server(priority: u32, name: &str, types: &[u32]) -> InitialFilterCriteria {
    let spt = ServicePointTrigger {
        negated: false,
        groups: vec![0],
        condition: Condition::Method("REGISTER".into()),
        registration_types: types.into(),
    };
    InitialFilterCriteria {
        priority,
        trigger: Some(TriggerPoint { cnf: true, spts: vec![spt] }),
        application_server: ApplicationServer {
            server_name: name.into(),
            default_handling: DefaultHandling::SessionContinued,
            service_info: None,
            include_register_request: false,
            include_register_response: false,
        },
        profile_part: Some(0),
    }
}

pub(crate) fn terminating(mut criterion: InitialFilterCriteria) -> InitialFilterCriteria {
    criterion.application_server.default_handling = DefaultHandling::SessionTerminated;
    criterion
}

pub(crate) fn including(
    mut criterion: InitialFilterCriteria,
    request: bool,
    response: bool,
) -> InitialFilterCriteria {
    criterion.application_server.include_register_request = request;
    criterion.application_server.include_register_response = response;
    criterion
}

fn with(criteria: Vec<InitialFilterCriteria>) -> Subscription {
    let mut profile = profile(vec![identity(BARRED, true), identity(ALICE, false), identity(TEL, false)]);
    profile.profiles[0].criteria = criteria.into();
    profile
}

fn world(criteria: Vec<InitialFilterCriteria>) -> World {
    World::with(policy(), with(criteria))
}

/// Registered at ue1; what the servers were sent is still unanswered.
pub(crate) fn registered(criteria: Vec<InitialFilterCriteria>) -> (World, Ue) {
    let mut world = world(criteria);
    let mut ue = Ue::one();
    world.attach(&mut ue);
    (world, ue)
}

/// Registered, and every server took it.
fn settled(criteria: Vec<InitialFilterCriteria>) -> (World, Ue) {
    let (mut world, ue) = registered(criteria);
    world.answer_all();
    (world, ue)
}

pub(crate) fn registers(world: &World) -> Vec<&Request> {
    let to_servers = world.sent.iter().filter(|sent| matches!(sent.purpose, Purpose::ThirdPartyRegister(_)));
    to_servers.map(|sent| &sent.request).collect()
}

/// Whom the REGISTERs go to and what interval they tell.
pub(crate) fn told(world: &World) -> Vec<(String, u32)> {
    let told = |request: &&Request| (request.uri_text().to_owned(), request.expires().unwrap().unwrap());
    registers(world).iter().map(told).collect()
}

pub(crate) fn one(name: &str, expires: u32) -> Vec<(String, u32)> {
    vec![(name.to_owned(), expires)]
}

pub(crate) fn refresh(world: &mut World, ue: &mut Ue) {
    let response = world.register(ue, Proof::Right, true);
    assert_eq!(response.status(), Status::OK);
}

pub(crate) fn leave(world: &mut World, ue: &mut Ue) {
    ue.expires = 0;
    refresh(world, ue);
    ue.expires = 3600;
}

fn push(world: &mut World, profile: Subscription) {
    world.profile = profile.clone();
    let answer = world.demand(Demand::PushProfile(PushProfile {
        impi: Impi::new(IMPI).unwrap(),
        user_data: Some(Ok(profile)),
        charging: None,
        auth_data: None,
    }));
    assert_eq!(answer.result, ResultCode::SUCCESS);
}

#[test]
fn cb_89_registration_type_0_is_the_initial_registration() {
    let (mut world, mut ue) = registered(vec![server(0, AS1, &[0]), server(1, "sip:as2.home1.net", &[1])]);
    assert_eq!(told(&world), one(AS1, 3600));
    world.answer_all();
    refresh(&mut world, &mut ue);
    assert_eq!(told(&world), one("sip:as2.home1.net", 3600));
    world.answer_all();
    // Neither asked to hear of the end.
    leave(&mut world, &mut ue);
    assert_eq!(told(&world), []);
    assert!(world.erased);
}

#[test]
fn without_registration_type_every_register_is_told() {
    let unconditional = InitialFilterCriteria { trigger: None, ..server(1, "sip:as2.home1.net", &[]) };
    let (mut world, mut ue) = registered(vec![server(0, AS1, &[]), unconditional]);
    let both = |expires| [one(AS1, expires), one("sip:as2.home1.net", expires)].concat();
    assert_eq!(told(&world), both(3600));
    world.answer_all();
    refresh(&mut world, &mut ue);
    assert_eq!(told(&world), both(3600));
    world.answer_all();
    leave(&mut world, &mut ue);
    assert_eq!(told(&world), both(0));
}

#[test]
fn a_new_contact_is_an_initial_registration_though_another_was_bound() {
    let (mut world, _) = settled(vec![server(0, AS1, &[0])]);
    let mut other = Ue::new("ue2", "10.0.0.2");
    world.attach(&mut other);
    assert_eq!(told(&world), one(AS1, 3600));
    assert_eq!(registers(&world)[0].cseq().number, 2);
}

#[test]
fn cb_90_who_tells_whom_of_whom() {
    let (world, _) = registered(vec![server(0, "sip:as1.home1.net:5070;transport=tcp", &[])]);
    let [register] = registers(&world)[..] else { panic!() };
    assert_eq!(register.method(), &Method::Register);
    assert_eq!(register.uri_text(), "sip:as1.home1.net:5070;transport=tcp");
    assert_eq!(register.from().uri.as_str(), "sip:scscf.home1.net:5060");
    assert!(register.from_tag().is_some_and(|tag| tag.len() == 16));
    // The default identity: the first that is not barred.
    assert_eq!((register.to().uri.as_str(), register.to_tag()), (ALICE, None));
    let Ok(sip::Contacts::List(contacts)) = register.contacts() else { panic!() };
    assert_eq!(contacts[0].uri.as_str(), "sip:scscf.home1.net:5060");
    assert_eq!((register.cseq().number, register.max_forwards()), (1, Ok(Some(70))));
    for absent in [Name::Path, Name::Authorization, Name::Route, Name::Event, Name::ContentType] {
        assert!(!register.has(absent), "{absent}");
    }
}

#[test]
fn cb_28_the_200_leaves_first() {
    let mut world = world(vec![server(0, AS1, &[])]);
    let mut ue = Ue::one();
    world.register(&mut ue, Proof::None, false);
    world.arrows.clear();
    world.register(&mut ue, Proof::Right, true);
    let at = |words: &str| world.arrows.iter().position(|arrow| arrow.contains(words)).unwrap();
    assert!(at("ue1 200") < at("as1 REGISTER"), "{:?}", world.arrows);
}

#[test]
fn cb_91_the_interval_is_the_one_granted() {
    let mut world = world(vec![server(0, AS1, &[])]);
    world.policy.registration.max_expires = 1000;
    let mut ue = Ue::one();
    world.attach(&mut ue);
    assert_eq!(told(&world), one(AS1, 1000));
    let view = &world.user.view().third_party[0];
    assert_eq!((view.state, view.status), (Said::Registered, None));
    assert_eq!(view.expires_at.map(|at| world.seconds(at)), Some(1000));
}

#[test]
fn of_several_contacts_the_one_that_lasts_longest_counts() {
    let (mut world, _) = settled(vec![server(0, AS1, &[])]);
    let mut flow = Ue {
        contact: "<sip:alice@10.0.0.2:5060>;+sip.instance=\"<urn:uuid:2>\";reg-id=1".into(),
        path: vec!["<sip:term@pcscf1.visited1.net;lr;ob>".into()],
        supported: "path, outbound",
        expires: 100,
        ..Ue::new("ue2", "10.0.0.2")
    };
    world.attach(&mut flow);
    assert_eq!(told(&world), one(AS1, 3600));
    world.answer_all();
    // One of two is gone: the identity is still registered.
    world.pass(Span::seconds(200));
    assert_eq!((told(&world), world.user.view().bindings.len()), (vec![], 1));
}

#[test]
fn what_is_passed_on_to_a_server_of_the_home_network_and_what_to_others() {
    let headers = "P-Charging-Vector: icid-value=abc;orig-ioi=visited1.net\r\n\
                   P-Access-Network-Info: 3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=1\r\nP-Visited-Network-ID: visited1.net\r\n";
    let mut world = world(vec![server(0, AS1, &[]), server(1, "sip:as.elsewhere.net", &[])]);
    world.policy.reauthentication.on_path_change = false;
    let mut ue = Ue::one();
    let more = |request: &Request| {
        let text = String::from_utf8(request.as_bytes().to_vec()).unwrap();
        request_of(&text.replace("Content-Length", &format!("{headers}Content-Length")))
    };
    world.register(&mut ue, Proof::None, false);
    let answer = world.build_register(&mut ue, Proof::Right, true);
    assert_eq!(world.ask(more(&answer)).status(), Status::OK);
    let [home, other] = registers(&world)[..] else { panic!() };
    for register in [home, other] {
        assert_eq!(register.get(Name::PChargingVector).unwrap(), "icid-value=abc;orig-ioi=home1.net");
    }
    assert_eq!(home.get(Name::PVisitedNetworkId).unwrap(), "visited1.net");
    assert_eq!(home.get(Name::PAccessNetworkInfo).unwrap(), "3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=1");
    assert!(!other.has(Name::PVisitedNetworkId) && !other.has(Name::PAccessNetworkInfo));
    // A token of its own for each registration, and the same while it is refreshed.
    let token = |register: &Request| {
        let Ok(sip::Contacts::List(contacts)) = register.contacts() else { panic!() };
        contacts[0].param("+g.3gpp.registration-token").unwrap().to_owned()
    };
    let first = token(home);
    assert_eq!((first.len(), token(other)), (16, first.clone()));
    world.answer_all();
    refresh(&mut world, &mut ue);
    assert_eq!(token(registers(&world)[0]), first);
    world.answer_all();
    world.attach(&mut Ue::new("ue2", "10.0.0.2"));
    assert_ne!(token(registers(&world)[0]), first);
}

fn request_of(text: &str) -> Request {
    crate::world::request(text)
}

#[test]
fn cb_92_service_information() {
    let mut criterion = server(0, AS1, &[]);
    criterion.application_server.service_info = Some("a<b> & \u{e9}".into());
    let (mut world, mut ue) = registered(vec![criterion]);
    let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<ims-3gpp version=\"1\"><service-info>\
                    a&lt;b&gt; &amp; \u{e9}</service-info></ims-3gpp>";
    let check = |world: &World| {
        let [register] = registers(world)[..] else { panic!() };
        assert_eq!(register.content_type(), Some("application/3gpp-ims+xml"));
        assert_eq!(std::str::from_utf8(register.body()).unwrap(), expected);
    };
    check(&world);
    world.answer_all();
    // The end is told with it too, whoever ended it.
    leave(&mut world, &mut ue);
    check(&world);
}

/// Types and contents of the parts of a body.
pub(crate) fn parts(register: &Request) -> Vec<(String, Vec<u8>)> {
    let content_type = register.content_type().unwrap();
    let boundary = content_type.strip_prefix("multipart/mixed;boundary=").unwrap();
    let body = std::str::from_utf8(register.body()).unwrap();
    let delimiter = format!("--{boundary}\r\n");
    let end = format!("\r\n--{boundary}--\r\n");
    let inside = body.strip_prefix(&delimiter).unwrap().strip_suffix(&end).unwrap();
    let between = format!("\r\n{delimiter}");
    let parts = inside.split(&between).map(|part| {
        let (head, content) = part.split_once("\r\n\r\n").unwrap();
        (head.strip_prefix("Content-Type: ").unwrap().to_owned(), content.as_bytes().to_vec())
    });
    parts.collect()
}

#[test]
fn cb_93_the_register_and_its_answer_octet_for_octet() {
    let mut all = including(server(0, AS1, &[]), true, true);
    all.application_server.service_info = Some("x".into());
    let (mut world, mut ue) =
        registered(vec![all, including(server(1, "sip:as2.home1.net", &[]), false, true)]);
    let own = ue.last.clone().unwrap();
    let ok = own.as_bytes().clone();
    let [first, second] = registers(&world)[..] else { panic!() };
    let found = parts(first);
    let kinds: Vec<_> = found.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["application/3gpp-ims+xml", "message/sip", "message/sip"]);
    assert_eq!(found[1].1, ok);
    assert!(found[2].1.starts_with(b"SIP/2.0 200 OK\r\n"));
    // A single part stands alone.
    assert_eq!(second.content_type(), Some("message/sip"));
    assert_eq!(second.body(), found[2].1);
    world.answer_all();
    assert!(
        !String::from_utf8_lossy(&record(&world.user)).contains("integrity-protected"),
        "kept for nobody"
    );
    leave(&mut world, &mut ue);
    let [first, _] = registers(&world)[..] else { panic!() };
    assert_eq!(parts(first)[1].1, *ue.last.clone().unwrap().as_bytes());
}

#[test]
fn an_end_that_nobody_asked_for_by_register_has_none_to_show() {
    let (mut world, _) = settled(vec![including(server(0, AS1, &[]), true, true)]);
    world.step(Event::Deregister { reason: "enough".into(), ask: None });
    assert_eq!(told(&world), one(AS1, 0));
    assert!(registers(&world)[0].body().is_empty());
}

#[test]
fn cb_94_a_server_that_fails_ends_the_registration_where_its_criterion_says_so() {
    for failure in [503, 500, 408, 401, 407, 0, 1] {
        let (mut world, _) =
            registered(vec![terminating(server(0, AS1, &[])), server(1, "sip:as2.home1.net", &[])]);
        world.reply(&world.sent[1].clone(), 200);
        let mut watcher = Watcher::ue("reg");
        let sent = world.sent.remove(0);
        world.watch(&mut watcher);
        world.asked.clear();
        let reply = match failure {
            0 => Reply::Timeout,
            1 => Reply::Unsendable,
            status => Reply::Response(sent.request.respond(Status::new(status).unwrap(), "as").finish()),
        };
        world.step(Event::Reply { to: sent.purpose, reply });
        assert!(world.user.view().bindings.is_empty(), "{failure}");
        assert_eq!(world.assignments(), [ServerAssignmentType::AdministrativeDeregistration]);
        let notify = world.notify_to(&watcher);
        assert_eq!(notify.told(ALICE), ["terminated rejected"]);
        assert_eq!(notify.state(), "terminated;reason=rejected");
        // The one that failed may have taken it before it fell silent.
        assert_eq!(told(&world), [one(AS1, 0), one("sip:as2.home1.net", 0)].concat());
        world.reply(&notify, 200);
        world.answer_all();
        assert!(world.erased);
    }
}

#[test]
fn a_refusal_is_no_failure() {
    for refusal in [403, 404, 486, 603, 302] {
        let (mut world, _) = registered(vec![terminating(server(0, AS1, &[]))]);
        world.reply(&world.sent[0].clone(), refusal);
        assert_eq!(world.user.view().bindings.len(), 1);
        assert_eq!(world.user.view().third_party[0].status, Some(refusal));
    }
}

#[test]
fn cb_95_session_continued_does_not_mind() {
    for timeout in [true, false] {
        let (mut world, mut ue) = registered(vec![server(0, AS1, &[])]);
        let sent = world.sent[0].clone();
        match timeout {
            true => world.time_out(&sent),
            false => world.reply(&sent, 503),
        }
        assert_eq!((world.user.view().bindings.len(), told(&world)), (1, vec![]));
        assert_eq!(world.user.view().third_party[0].status, Some(if timeout { 0 } else { 503 }));
        // The next REGISTER gives it another chance.
        refresh(&mut world, &mut ue);
        assert_eq!(told(&world), one(AS1, 3600));
    }
}

#[test]
fn cb_96_a_failure_at_the_end_ends_nothing_more() {
    let (mut world, mut ue) = settled(vec![terminating(server(0, AS1, &[]))]);
    leave(&mut world, &mut ue);
    world.asked.clear();
    let sent = world.sent[0].clone();
    assert_eq!(told(&world), one(AS1, 0));
    world.reply(&sent, 503);
    assert!(world.erased && world.asked.is_empty() && world.sent.is_empty());
}

/// What can end a registration.
#[derive(Clone, Copy, Debug)]
enum End {
    Ue,
    Star,
    Time,
    Operator,
    Reauthentication,
    Hss(DeregistrationReason),
}

impl End {
    const ALL: [Self; 8] = [
        Self::Ue,
        Self::Star,
        Self::Time,
        Self::Operator,
        Self::Reauthentication,
        Self::Hss(DeregistrationReason::PermanentTermination),
        Self::Hss(DeregistrationReason::NewServerAssigned),
        Self::Hss(DeregistrationReason::ServerChange),
    ];

    fn happen(self, world: &mut World, ue: &mut Ue) {
        match self {
            Self::Ue => leave(world, ue),
            Self::Star => {
                ue.expires = 0;
                let register = world.build_register(ue, Proof::Right, true);
                let text = String::from_utf8(register.as_bytes().to_vec()).unwrap();
                let star = text.replace(&format!("{};expires=0", ue.contact), "*");
                assert_eq!(world.ask(request_of(&star)).status(), Status::OK);
            }
            Self::Time => world.pass(Span::seconds(3601)),
            Self::Operator => world.step(Event::Deregister { reason: "enough".into(), ask: None }),
            Self::Reauthentication => {
                world.reauthenticate(Some(60));
                world.pass(Span::seconds(61));
            }
            Self::Hss(reason) => {
                world.terminate(reason);
            }
        }
    }
}

#[test]
fn cb_76_every_end_is_told_once() {
    for (end, keeps) in End::ALL.into_iter().flat_map(|end| [(end, false), (end, true)]) {
        let (mut world, mut ue) = settled(vec![server(0, AS1, &[])]);
        world.policy.registration.store_server_name = keeps;
        let call_id = world.heard.keys().next().unwrap().0.clone();
        end.happen(&mut world, &mut ue);
        assert_eq!(told(&world), one(AS1, 0), "{end:?}");
        let [register] = registers(&world)[..] else { panic!() };
        assert_eq!((register.call_id(), register.cseq().number), (call_id.as_str(), 2));
        assert!(!world.erased, "{end:?}: the answer is awaited");
        world.answer_all();
        assert!(world.erased || keeps, "{end:?}");
        assert!(world.user.view().third_party.is_empty() && world.sent.is_empty());
    }
}

#[test]
fn registration_type_2_hears_of_the_end_only() {
    let (mut world, mut ue) = registered(vec![server(0, AS1, &[2])]);
    assert_eq!(told(&world), []);
    assert_eq!(world.user.view().third_party[0].state, Said::Nothing);
    leave(&mut world, &mut ue);
    assert_eq!(told(&world), one(AS1, 0));
    // It is registered again before the server has answered, and leaves again.
    world.attach(&mut ue);
    let sent = world.sent[0].clone();
    world.reply(&sent, 200);
    assert_eq!(told(&world), []);
    leave(&mut world, &mut ue);
    assert_eq!((told(&world), registers(&world)[0].cseq().number), (one(AS1, 0), 2));
    world.answer_all();
    assert!(world.erased);
}

#[test]
fn a_refresh_goes_under_the_same_call_id() {
    let (mut world, mut ue) = registered(vec![server(0, AS1, &[])]);
    let first = world.sent[0].request.clone();
    world.answer_all();
    world.pass(Span::seconds(100));
    refresh(&mut world, &mut ue);
    let [second] = registers(&world)[..] else { panic!() };
    assert_eq!(second.call_id(), first.call_id());
    assert_eq!(second.from_tag(), first.from_tag());
    assert_eq!((first.cseq().number, second.cseq().number), (1, 2));
    // Another user, or this one later, has another.
    world.answer_all();
    leave(&mut world, &mut ue);
    world.answer_all();
    world.attach(&mut ue);
    assert_ne!(registers(&world)[0].call_id(), first.call_id());
}

#[test]
fn cd_46_emergency_registrations_are_nobodys_business() {
    let mut world = world(vec![server(0, AS1, &[])]);
    let mut ue = Ue { contact: "<sip:alice@10.0.0.1:5060;sos>".into(), ..Ue::one() };
    world.attach(&mut ue);
    assert_eq!((told(&world), world.user.view().bindings.len()), (vec![], 1));
    let mut other = Ue::new("ue2", "10.0.0.2");
    world.attach(&mut other);
    assert_eq!(told(&world), one(AS1, 3600));
    world.answer_all();
    // It does not keep the identity registered either.
    leave(&mut world, &mut other);
    assert_eq!((told(&world), world.user.view().bindings.len()), (one(AS1, 0), 1));
}

#[test]
fn no_more_servers_than_the_policy_has_room_for() {
    let names: Vec<String> = (0..5).map(|number| format!("sip:as{number}.home1.net")).collect();
    let criteria = names.iter().zip(0..5).map(|(name, priority)| server(priority, name, &[])).rev().collect();
    let mut world = world(criteria);
    world.policy.registration.max_application_servers = 3;
    world.attach(&mut Ue::one());
    assert_eq!(told(&world), names[..3].iter().map(|name| (name.clone(), 3600)).collect::<Vec<_>>());
}

#[test]
fn each_service_profile_tells_of_its_own_identity_and_each_server_hears_once() {
    let mut profile = with(vec![server(0, AS1, &[])]);
    let of = |identities, criteria: Vec<InitialFilterCriteria>| ServiceProfile {
        identities,
        criteria: criteria.into(),
        ..profile.profiles[0].clone()
    };
    let work = "sip:alice-work@home1.net";
    let second = of(
        vec![identity("sip:hidden@home1.net", true), identity(work, false)],
        vec![server(0, "sip:as2.home1.net", &[]), server(1, AS1, &[])],
    );
    let barred = of(vec![identity("sip:ghost@home1.net", true)], vec![server(0, "sip:as3.home1.net", &[])]);
    profile.profiles.extend([second, barred]);
    let mut world = World::with(policy(), profile);
    world.attach(&mut Ue::one());
    let told: Vec<_> =
        registers(&world).iter().map(|it| (it.uri_text(), it.to().uri.as_str().to_owned())).collect();
    assert_eq!(told, [(AS1, ALICE.to_owned()), ("sip:as2.home1.net", work.to_owned())]);
}

#[test]
fn conditions_on_the_register_itself() {
    let mut criterion = server(0, AS1, &[]);
    criterion.trigger.as_mut().unwrap().spts.push(ServicePointTrigger {
        negated: false,
        groups: vec![1],
        condition: Condition::Header { header: "^Contact$".into(), content: Some("smsip".into()) },
        registration_types: Vec::new(),
    });
    let (world, _) = registered(vec![criterion.clone()]);
    assert_eq!(told(&world), []);
    let mut world = self::world(vec![criterion]);
    let mut ue = Ue { contact: "<sip:alice@10.0.0.1:5060>;+g.3gpp.smsip".into(), ..Ue::one() };
    world.attach(&mut ue);
    assert_eq!(told(&world), one(AS1, 3600));
    world.answer_all();
    // A refresh that does not match any more does not end it; the end of the binding does.
    ue.contact = "<sip:alice@10.0.0.1:5060>".into();
    refresh(&mut world, &mut ue);
    assert_eq!(told(&world), []);
    world.pass(Span::seconds(3600));
    assert_eq!(told(&world), one(AS1, 0));
}

#[test]
fn criteria_of_shared_sets_count() {
    let mut profile = with(vec![server(5, AS1, &[])]);
    profile.profiles[0].shared_criteria = vec![7, 8];
    let mut policy = policy();
    policy.shared_criteria.insert(7, vec![server(3, "sip:as2.home1.net", &[])].into());
    policy.shared_criteria.insert(9, vec![server(1, "sip:as3.home1.net", &[])].into());
    let mut world = World::with(policy, profile);
    world.attach(&mut Ue::one());
    assert_eq!(told(&world), [one("sip:as2.home1.net", 3600), one(AS1, 3600)].concat());
}

#[test]
fn a_pushed_profile_brings_servers_and_takes_them_away() {
    let (mut world, _) = settled(vec![server(0, AS1, &[]), server(1, "sip:as2.home1.net", &[])]);
    world.pass(Span::seconds(600));
    let invite = InitialFilterCriteria {
        trigger: Some(TriggerPoint {
            cnf: true,
            spts: vec![ServicePointTrigger {
                negated: false,
                groups: vec![0],
                condition: Condition::Method("INVITE".into()),
                registration_types: Vec::new(),
            }],
        }),
        ..server(1, "sip:as2.home1.net", &[])
    };
    push(&mut world, with(vec![server(0, AS1, &[]), invite, server(2, "sip:as3.home1.net", &[0])]));
    assert_eq!(told(&world), [one("sip:as2.home1.net", 0), one("sip:as3.home1.net", 3000)].concat());
    world.answer_all();
    let servers: Vec<_> = world.user.view().third_party.into_iter().map(|it| it.application_server).collect();
    assert_eq!(servers, [AS1, "sip:as3.home1.net"]);
    push(&mut world, with(Vec::new()));
    assert_eq!(told(&world), one(AS1, 0), "the other one did not ask to hear of the end");
    world.answer_all();
    assert!(world.user.view().third_party.is_empty() && world.user.is_registered());
}

#[test]
fn an_identity_that_a_pushed_profile_takes_away_is_no_longer_told_of() {
    let mut profile = with(vec![server(0, AS1, &[])]);
    let work = "sip:alice-work@home1.net";
    let second = |name: &str| ServiceProfile {
        identities: vec![identity(name, false)],
        criteria: vec![server(0, "sip:as2.home1.net", &[])].into(),
        ..profile.profiles[0].clone()
    };
    let (first, changed) = (second(work), second("sip:alice-home@home1.net"));
    profile.profiles.push(first);
    let mut world = World::with(policy(), profile.clone());
    world.attach(&mut Ue::one());
    world.answer_all();
    profile.profiles[1] = changed;
    push(&mut world, profile);
    let told: Vec<_> = registers(&world)
        .iter()
        .map(|it| (it.to().uri.as_str().to_owned(), it.expires().unwrap().unwrap()))
        .collect();
    assert_eq!(told, [(work.to_owned(), 0), ("sip:alice-home@home1.net".to_owned(), 3600)]);
}

#[test]
fn a_refresh_after_which_the_hss_names_other_servers() {
    let (mut world, mut ue) = settled(vec![server(0, AS1, &[])]);
    world.profile = with(vec![server(0, "sip:as2.home1.net", &[])]);
    world.register(&mut ue, Proof::None, false);
    refresh(&mut world, &mut ue);
    assert_eq!(told(&world), [one(AS1, 0), one("sip:as2.home1.net", 3600)].concat());
}

#[test]
fn an_identity_that_somebody_else_has_bound_stays_registered() {
    let (mut world, mut ue) = settled(vec![server(0, AS1, &[])]);
    let sibling = |world: &World, seconds| SharedContact {
        path: Vec::new(),
        impus: vec![Impu::parse(ALICE).unwrap()],
        contact: "<sip:alice@10.0.0.9>".into(),
        expires_at: world.now + Span::seconds(seconds),
        id: 9,
    };
    let impi = Impi::new("alice-tablet@home1.net").unwrap();
    let contacts = vec![sibling(&world, 5000)];
    world.step(Event::Sibling { impi: impi.clone(), contacts });
    leave(&mut world, &mut ue);
    assert_eq!(told(&world), [], "the other one tells the server when it leaves");
    assert!(world.erased);
    world.attach(&mut ue);
    world.answer_all();
    let contacts = vec![sibling(&world, 100)];
    world.step(Event::Sibling { impi, contacts });
    world.pass(Span::seconds(3600));
    assert_eq!(told(&world), one(AS1, 0), "the other one has left before");
}

#[test]
fn servers_hear_of_neither_fetching_nor_failing() {
    let (mut world, mut ue) = settled(vec![server(0, AS1, &[])]);
    world.register(&mut ue, Proof::None, false);
    assert_eq!(world.register(&mut ue, Proof::Wrong, true).status(), Status::FORBIDDEN);
    let text =
        String::from_utf8(world.build_register(&mut ue, Proof::Right, true).as_bytes().to_vec()).unwrap();
    let contact = text.lines().find(|line| line.starts_with("Contact: ")).unwrap().to_owned();
    world.ask(request_of(&text.replace(&format!("{contact}\r\n"), "")));
    assert_eq!(told(&world), []);
}
