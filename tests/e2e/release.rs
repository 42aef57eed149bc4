//! TS 24.229 5.4.5.1 over sockets: whatever ends a registration ends the calls of the user, and everybody hears of it.

use crate::scene::{
    Handling, Person, SOON, application_server, criterion, ended, no_faults, provide, reaches, sip, talk,
};
use e2e::http::{self, Watch};
use e2e::{Answer, DOMAIN, Lab, Phone, eventually};
use lab::as_::ApplicationServer;
use lab::ue::{Call, End, Happening, OnReauth, Package, Role, State};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Everybody has heard of the end within this.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Alice in three calls: one that she made, one that she got, one that she is making. Her P-CSCF and an application server
/// want to hear of her registration.
struct Scene {
    lab: Lab,
    alice: Person,
    pcscf: Person,
    server: ApplicationServer,
    watch: Watch,
    made: (Call, Call),
    got: (Call, Call),
    ringing: (Call, Call),
    /// They would fall silent if they were dropped.
    _others: [Person; 3],
}

/// What the end of a registration looks like to everybody else.
struct Expected<'a> {
    /// `text` of Reason.
    reason: &'a str,
    /// `cause` of the receipts.
    cause: &'a str,
    /// What the HSS is told.
    assignment: Option<&'a str>,
    /// Contact event of the last NOTIFY to the P-CSCF; `None` if it hears nothing.
    event: Option<&'a str>,
}

async fn scene(environment: &[(&str, &str)], on_reauth: OnReauth, expires: u32) -> Scene {
    let mut all = vec![
        ("ROLLCALL__REAUTHENTICATION__MIN_PERIOD", "1"),
        ("ROLLCALL__REAUTHENTICATION__PERIOD", "2"),
        ("ROLLCALL__REGISTRATION__MIN_EXPIRES", "1"),
        ("ROLLCALL__AUTHENTICATION__MAX_CHALLENGES_PER_MINUTE", "1000"),
    ];
    all.extend_from_slice(environment);
    let lab = Lab::start(&["--generate", "2"], &all);
    let server = application_server(&lab).await;
    provide(&lab, "alice", &[criterion(1, "REGISTER", None, &server.uri(), Handling::Terminated)]);
    let mut bob = Person::registered(&lab, "bob").await;
    let carol = Person::registered(&lab, "user000001").await;
    let mut dave = Person::registered(&lab, "user000002").await;
    dave.lets_it_ring();
    let mut alice = Person::registered_as(&lab, "alice", |config| {
        (config.on_reauth, config.expires, config.refresh) = (on_reauth, expires, false);
    })
    .await;
    let path = format!("sip:{};lr", alice.ue.local());
    let mut pcscf = Person::new(&lab, "alice", |config| {
        (config.path, config.on_reauth) = (Some(path), OnReauth::Ignore);
    })
    .await;
    alice.ue.subscribe(Package::Reg, Role::Ue).await.unwrap();
    pcscf.ue.subscribe(Package::Reg, Role::PCscf).await.unwrap();
    for subscriber in [&mut alice, &mut pcscf] {
        subscriber.hears("the first NOTIFY", |one| matches!(one, Happening::Notified(_))).await;
    }
    let made = talk(&alice, &mut bob, "bob").await;
    let got = talk(&carol, &mut alice, "alice").await;
    let mut setup = alice.calls("user000002");
    let rings = dave.called().await;
    reaches(&mut setup, State::Ringing).await;
    let watch = Watch::open(&format!("{}/v1/users/alice@{DOMAIN}/watch", lab.api)).unwrap();
    Scene {
        lab,
        alice,
        pcscf,
        server,
        watch,
        made,
        got,
        ringing: (setup, rings),
        _others: [bob, carol, dave],
    }
}

impl Scene {
    fn demand(&self) -> Instant {
        let url = format!("{}/v1/users/alice@{DOMAIN}/reauthenticate", self.lab.api);
        let (status, body) = http::post(&url, &json!({"period_s": 2})).unwrap();
        assert_eq!(status, 202, "{body}");
        Instant::now() + Duration::from_secs(2)
    }

    fn hss(&self, what: &str, body: &Value) -> Option<u64> {
        let url = format!("{}/subscribers/alice@{DOMAIN}/{what}", self.lab.hss);
        let (status, answer) = http::post(&url, body).unwrap();
        assert_eq!(status, 200, "{answer}");
        answer["result_code"].as_u64()
    }

    fn ends(&self) -> [&Call; 6] {
        [&self.made.0, &self.made.1, &self.got.0, &self.got.1, &self.ringing.0, &self.ringing.1]
    }

    /// All calls are as they were.
    fn calls_stand(&self) {
        for call in [&self.made.0, &self.made.1, &self.got.0, &self.got.1] {
            assert_eq!(call.record().state, State::Established, "{:#?}", call.record());
        }
        for call in [&self.ringing.0, &self.ringing.1] {
            assert_eq!(call.record().state, State::Ringing, "{:#?}", call.record());
        }
        no_faults(&self.ends());
    }

    /// All calls are over within a second of `from`: BYE to both sides of two, CANCEL and 480 to those of the third.
    async fn calls_end(&mut self, from: Instant, reason: &str) {
        let reason = format!("SIP;cause=480;text=\"{reason}\"");
        let by = from + AT_ONCE;
        let released = End::Released { reason: Some(reason.clone()) };
        for call in [&mut self.made.1, &mut self.got.0, &mut self.made.0, &mut self.got.1] {
            assert_eq!(ended(call).await, released, "{:#?}", call.record());
        }
        assert_eq!(ended(&mut self.ringing.1).await, End::Cancelled { reason: Some(reason) });
        assert_eq!(ended(&mut self.ringing.0).await, End::Refused { status: 480 });
        let late = Instant::now().saturating_duration_since(by);
        assert!(late.is_zero(), "the last end heard of it {late:?} after a second had passed");
        no_faults(&self.ends());
        for call in self.ends().into_iter().take(4) {
            assert_eq!(call.record().byes(), 1, "{:#?}", call.record());
        }
    }

    /// The P-CSCF hears that the contact is gone.
    async fn pcscf_hears(&mut self, event: &str) {
        let contact = format!("sip:alice@{}", self.alice.ue.local());
        let heard = self.pcscf.hears(
            "the last NOTIFY",
            |happening| matches!(happening, Happening::Notified(notification) if notification.terminated),
        );
        let Happening::Notified(notification) = heard.await else { unreachable!() };
        let reginfo = notification.reginfo.expect("a document");
        let contacts: Vec<_> = reginfo.registrations.iter().flat_map(|one| &one.contacts).collect();
        assert!(
            contacts.iter().any(|one| one.uri == contact && one.state == "terminated" && one.event == event),
            "{contacts:#?}"
        );
    }

    /// The application server heard a REGISTER with `expires`.
    fn server_hears(&self, expires: &str) {
        let heard = eventually(SOON, || {
            let registers = self.server.journal();
            let last = registers.iter().rfind(|entry| entry.method == "REGISTER")?;
            let told = last.header("Expires") == [expires] && last.to.contains(&sip("alice"));
            told.then_some(())
        });
        assert!(heard.is_some(), "{:#?}", self.server.journal());
    }

    fn hss_hears(&self, assignment: &str) {
        let heard = eventually(SOON, || {
            let subscriber = self.lab.subscriber("alice");
            let operations = subscriber["last_cx"].as_array()?;
            operations.iter().any(|one| one["operation"] == format!("SAR {assignment}")).then_some(())
        });
        assert!(heard.is_some(), "{}", self.lab.subscriber("alice"));
        assert_eq!(self.lab.subscriber("alice")["registration_state"], "not_registered");
    }

    /// Receipts of all three calls were shown to whoever watched.
    fn receipts(&self, cause: &str) {
        let seen = eventually(SOON, || {
            let events = self.watch.events();
            let views = events.iter().rev().map(|event| event.get("view").unwrap_or(event));
            views
                .filter_map(|view| view["releases"].as_array())
                .find(|receipts| {
                    let told: Vec<&Value> =
                        receipts.iter().filter_map(|one| one["told"].as_array()).flatten().collect();
                    let count = |what: &str, status: Value| {
                        told.iter().filter(|line| line["what"] == what && line["status"] == status).count()
                    };
                    receipts.len() == 3
                        && receipts.iter().all(|one| one["cause"] == cause)
                        && count("BYE", json!(200)) == 4
                        && count("CANCEL", json!(487)) == 1
                        && told.iter().filter(|line| line["what"] == "480").count() == 1
                })
                .cloned()
        });
        let releases: Vec<Value> =
            self.watch.events().iter().map(|event| event["view"]["releases"].clone()).collect();
        assert!(seen.is_some(), "{:#}", json!(releases.last()));
    }

    fn alice_is_gone(&self) {
        let gone = eventually(SOON, || (self.lab.user("alice").0 == 404).then_some(()));
        assert!(gone.is_some(), "{:#}", self.lab.user("alice").1);
    }

    /// Everything that follows the end of alice's registration at `from`.
    async fn everything_ends(mut self, from: Instant, expected: Expected<'_>) {
        self.calls_end(from, expected.reason).await;
        match expected.event {
            Some(event) => self.pcscf_hears(event).await,
            None => assert!(
                self.pcscf
                    .never_hears(Duration::from_millis(300), |one| matches!(one, Happening::Notified(_)))
                    .await,
                "the P-CSCF was told what it hears from elsewhere"
            ),
        }
        self.server_hears("0");
        match expected.assignment {
            Some(assignment) => self.hss_hears(assignment),
            None => {
                let subscriber = self.lab.subscriber("alice");
                let operations = subscriber["last_cx"].as_array().unwrap();
                let told =
                    |one: &Value| one["operation"].as_str().is_some_and(|it| it.contains("DEREGISTRATION"));
                assert!(!operations.iter().any(told), "{subscriber}");
            }
        }
        self.receipts(expected.cause);
        self.alice_is_gone();
    }
}

const LAPSED: Expected<'static> = Expected {
    reason: "No re-authentication in time",
    cause: "reauthentication_lapsed",
    assignment: Some("TIMEOUT_DEREGISTRATION"),
    event: Some("expired"),
};

// CA-13 CA-31 CD-37 CD-38 CD-39 CD-41 CD-43: an operator asks, she stays silent.
#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_all_calls_when_the_operator_asked() {
    let scene = scene(&[], OnReauth::Ignore, 3600).await;
    let deadline = scene.demand();
    tokio::time::sleep_until((deadline - Duration::from_millis(400)).into()).await;
    scene.calls_stand();
    scene.everything_ends(deadline, LAPSED).await;
}

// CA-13 CA-31: the HSS asks by Re-Auth-Request.
#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_all_calls_when_the_hss_asked() {
    let scene = scene(&[], OnReauth::Ignore, 3600).await;
    assert_eq!(scene.hss("reauthenticate", &json!({"with": "rar"})), Some(2001));
    let deadline = Instant::now() + Duration::from_secs(2);
    tokio::time::sleep_until((deadline - Duration::from_millis(400)).into()).await;
    scene.calls_stand();
    scene.everything_ends(deadline, LAPSED).await;
}

// CA-13 CA-31 CE-20: the HSS pushes credentials.
#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_all_calls_when_the_hss_pushed_credentials() {
    let scene = scene(&[], OnReauth::Ignore, 3600).await;
    assert_eq!(scene.hss("reauthenticate", &json!({"with": "ppr"})), Some(2001));
    let deadline = Instant::now() + Duration::from_secs(2);
    scene.everything_ends(deadline, LAPSED).await;
}

// CA-23: she obeys, and her calls go on.
#[tokio::test(flavor = "multi_thread")]
async fn calls_go_on_when_she_obeys() {
    let mut scene = scene(&[], OnReauth::Obey, 3600).await;
    let deadline = scene.demand();
    scene.alice.hears("success", |happening| matches!(happening, Happening::Reauthenticated)).await;
    tokio::time::sleep_until((deadline + AT_ONCE).into()).await;
    scene.calls_stand();
    assert_eq!(scene.made.0.hang_up().await, Ok(200));
    assert_eq!(scene.got.0.hang_up().await, Ok(200));
    assert_eq!(scene.ringing.0.cancel().await, Ok(487));
    no_faults(&scene.ends());
    assert_eq!(scene.lab.user("alice").1["sessions"], json!([]));
}

// CA-15: a wrong answer, where policy deregisters.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_answer_ends_all_calls_where_policy_says_so() {
    let policy = [("ROLLCALL__REAUTHENTICATION__ON_WRONG_ANSWER", "deregister")];
    let mut scene = scene(&policy, OnReauth::Wrong, 3600).await;
    scene.demand();
    let answered =
        scene.alice.hears("the refusal", |happening| matches!(happening, Happening::AnsweredWrongly { .. }));
    assert!(matches!(answered.await, Happening::AnsweredWrongly { status: 403 }));
    let expected = Expected {
        reason: "Re-authentication failed",
        cause: "reauthentication_failed",
        assignment: Some("ADMINISTRATIVE_DEREGISTRATION"),
        event: Some("rejected"),
    };
    scene.everything_ends(Instant::now(), expected).await;
}

// CB-69: she deregisters.
#[tokio::test(flavor = "multi_thread")]
async fn deregistration_by_the_user_ends_all_calls() {
    let scene = scene(&[], OnReauth::Obey, 3600).await;
    scene.alice.ue.deregister().await.unwrap();
    let expected = Expected {
        reason: "Temporarily Unavailable",
        cause: "deregistered",
        assignment: Some("USER_DEREGISTRATION"),
        event: Some("unregistered"),
    };
    scene.everything_ends(Instant::now(), expected).await;
}

// CB-77: the registration expires.
#[tokio::test(flavor = "multi_thread")]
async fn expiry_ends_all_calls() {
    let begun = Instant::now();
    let scene = scene(&[], OnReauth::Obey, 5).await;
    let expiry = scene.lab.user("alice").1["bindings"][0]["expires_at"].clone();
    assert!(begun.elapsed() < Duration::from_secs(20), "{expiry}");
    scene.calls_stand();
    let view = scene.lab.user("alice").1;
    assert_eq!(view["state"], "registered", "{view:#}");
    let gone = eventually(SOON, || (scene.lab.user("alice").1["state"] != "registered").then_some(()));
    assert!(gone.is_some());
    let expected = Expected {
        reason: "Temporarily Unavailable",
        cause: "expired",
        assignment: Some("TIMEOUT_DEREGISTRATION"),
        event: Some("expired"),
    };
    scene.everything_ends(Instant::now(), expected).await;
}

// An operator ends the registration.
#[tokio::test(flavor = "multi_thread")]
async fn the_operator_ends_all_calls() {
    let scene = scene(&[], OnReauth::Obey, 3600).await;
    let url = format!("{}/v1/users/alice@{DOMAIN}/deregister", scene.lab.api);
    assert_eq!(http::post(&url, &json!({"reason": "stolen"})).unwrap().0, 202);
    let expected = Expected {
        reason: "Deregistered by the operator",
        cause: "administrative",
        assignment: Some("ADMINISTRATIVE_DEREGISTRATION"),
        event: Some("rejected"),
    };
    scene.everything_ends(Instant::now(), expected).await;
}

// CB-79 CB-87: the subscription is over.
#[tokio::test(flavor = "multi_thread")]
async fn permanent_termination_ends_all_calls() {
    let scene = scene(&[], OnReauth::Obey, 3600).await;
    assert_eq!(scene.hss("terminate", &json!({"reason": "permanent_termination"})), Some(2001));
    let expected = Expected {
        reason: "Subscription terminated",
        cause: "permanent_termination",
        assignment: None,
        event: Some("rejected"),
    };
    scene.everything_ends(Instant::now(), expected).await;
}

// CB-80 CB-87: she is to be served elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn server_change_ends_all_calls() {
    let scene = scene(&[], OnReauth::Obey, 3600).await;
    assert_eq!(scene.hss("terminate", &json!({"reason": "server_change"})), Some(2001));
    let expected = Expected {
        reason: "Temporarily Unavailable",
        cause: "server_change",
        assignment: None,
        event: Some("deactivated"),
    };
    scene.everything_ends(Instant::now(), expected).await;
}

// CB-81 CB-87: she is served elsewhere already; nobody is told but those in the calls.
#[tokio::test(flavor = "multi_thread")]
async fn new_server_assigned_ends_all_calls() {
    let scene = scene(&[], OnReauth::Obey, 3600).await;
    assert_eq!(scene.hss("terminate", &json!({"reason": "new_server_assigned"})), Some(2001));
    let expected = Expected {
        reason: "Temporarily Unavailable",
        cause: "new_server_assigned",
        assignment: None,
        event: None,
    };
    scene.everything_ends(Instant::now(), expected).await;
}

// CB-82: RTR with REMOVE_S-CSCF is for profiles of the unregistered; who is registered keeps her calls.
#[tokio::test(flavor = "multi_thread")]
async fn remove_s_cscf_leaves_the_calls_of_the_registered_alone() {
    let scene = scene(&[], OnReauth::Obey, 3600).await;
    assert_ne!(scene.hss("terminate", &json!({"reason": "remove_s_cscf"})), Some(2001));
    tokio::time::sleep(Duration::from_millis(300)).await;
    scene.calls_stand();
    assert_eq!(scene.lab.user("alice").1["state"], "registered");
}

// CB-94: an application server without which there is no service refuses the next registration.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusing_application_server_ends_all_calls() {
    let scene = scene(&[], OnReauth::Obey, 3600).await;
    scene.server.answer_registers(Some(503));
    scene.alice.ue.register().await.unwrap();
    let expected = Expected {
        reason: "Temporarily Unavailable",
        cause: "application_server_failed",
        assignment: Some("ADMINISTRATIVE_DEREGISTRATION"),
        event: Some("rejected"),
    };
    scene.everything_ends(Instant::now(), expected).await;
}

// CB-21: an initial registration of another contact takes the place of the first, whose calls end.
#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_contact_ends_its_calls() {
    let mut scene = scene(&[], OnReauth::Obey, 3600).await;
    let mut second = Person::registered(&scene.lab, "alice").await;
    scene.calls_end(Instant::now(), "Temporarily Unavailable").await;
    scene.receipts("contact_replaced");
    let bindings = scene.lab.user("alice").1["bindings"].clone();
    assert_eq!(bindings.as_array().map(Vec::len), Some(1), "{bindings}");
    assert_eq!(bindings[0]["contact"], format!("sip:alice@{}", second.ue.local()));
    // She is reached at the new contact, and calls from there.
    let [bob, carol, _] = &mut scene._others;
    let (mut made, came) = talk(carol, &mut second, "alice").await;
    assert_eq!(came.hang_up().await, Ok(200));
    let (calls, _) = talk(&second, bob, "bob").await;
    assert_eq!(calls.hang_up().await, Ok(200));
    assert_eq!(ended(&mut made).await, End::Released { reason: None });
    no_faults(&[&made, &came, &calls]);
}

// CA-01 CA-16 CA-17: the attack, while she is in calls.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_wrong_answers_protected_or_not_leave_her_calls_alone() {
    let mut scene = scene(&[], OnReauth::Ignore, 3600).await;
    let sip = scene.lab.sip;
    let attack = tokio::task::spawn_blocking(move || {
        for round in 0..20 {
            let mut attacker = Phone::new("alice", sip);
            let challenge = attacker.register_unprotected();
            assert_eq!(challenge.status(), 401, "round {round}: {}", challenge.all);
            let protected = if round % 2 == 0 { "no" } else { "yes" };
            let refused = attacker.answer(&challenge, Answer::Wrong, protected);
            assert!(matches!(refused.status(), 401 | 403), "round {round}: {}", refused.all);
        }
    });
    attack.await.unwrap();
    scene.calls_stand();
    assert_eq!(scene.lab.user("alice").1["authentication"]["wrong_answers"], 20);
    assert_eq!(scene.made.0.reinvite().await, Ok(200));
    assert_eq!(scene.got.0.info("still here").await, Ok(200));
    assert_eq!(scene.made.1.hang_up().await, Ok(200));
    assert_eq!(scene.got.1.hang_up().await, Ok(200));
    assert_eq!(scene.ringing.1.answer().await, Ok(200));
    reaches(&mut scene.ringing.0, State::Established).await;
    assert_eq!(scene.ringing.0.hang_up().await, Ok(200));
    assert!(ended(&mut scene.made.0).await == End::Released { reason: None });
    no_faults(&scene.ends());
    assert_eq!(scene.lab.user("alice").1["sessions"], json!([]));
}
