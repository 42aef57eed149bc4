//! What crosses on its way: CANCEL and answer, BYE and BYE, new offers, and the end of a registration at every moment of a
//! call. Whatever wins, everybody agrees in the end, and nothing is left.

use crate::scene::{Person, SOON, ended, no_faults, reaches, talk};
use e2e::{DOMAIN, Lab, Phone, Text, eventually, http};
use lab::ue::{Call, Dial, End, Error, Flow, State};
use serde_json::json;
use std::time::Duration;

/// No session of these users is left.
fn nothing_is_left(lab: &Lab, names: &[&str]) {
    for name in names {
        let none = eventually(SOON, || {
            lab.user(name).1["sessions"].as_array().is_none_or(Vec::is_empty).then_some(())
        });
        assert!(none.is_some(), "{:#}", lab.user(name).1);
    }
}

// CG-14: the answer was given when the CANCEL was on its way.
#[tokio::test(flavor = "multi_thread")]
async fn cancel_and_answer() {
    let lab = Lab::start(&[], &[]);
    let alice = Person::registered(&lab, "alice").await;
    let mut bob = Person::registered(&lab, "bob").await;
    bob.lets_it_ring();
    let (mut cancelled, mut answered) = (0, 0);
    for round in 0..40_u64 {
        let mut made = alice.calls("bob");
        let mut came = bob.called().await;
        reaches(&mut made, State::Ringing).await;
        let later = async |micros: u64| tokio::time::sleep(Duration::from_micros(micros)).await;
        let (status, _) = tokio::join!(
            async {
                later(60 * (round % 8)).await;
                made.cancel().await
            },
            async {
                later(60 * (7 - round % 8)).await;
                came.answer().await
            }
        );
        match status {
            Ok(487) => cancelled += 1,
            Ok(200) => answered += 1,
            // It was answered before there was anything to cancel.
            Err(Error::NotNow(State::Established)) => {
                assert_eq!(made.hang_up().await, Ok(200));
                answered += 1;
            }
            other => panic!("round {round}: {other:?}\n{:#?}", made.record()),
        }
        let (end, other) = (ended(&mut made).await, ended(&mut came).await);
        let agree = match status {
            Ok(487) => matches!((&end, &other), (End::Cancelled { .. }, End::Cancelled { .. })),
            _ => matches!((&end, &other), (End::HungUp { .. }, End::Released { .. })),
        };
        assert!(agree, "round {round}: {end:?}, {other:?}");
        no_faults(&[&made, &came]);
    }
    nothing_is_left(&lab, &["alice", "bob"]);
    // Chance decides which.
    assert_eq!(cancelled + answered, 40);
}

// Both hang up at once.
#[tokio::test(flavor = "multi_thread")]
async fn bye_and_bye() {
    let lab = Lab::start(&[], &[]);
    let alice = Person::registered(&lab, "alice").await;
    let mut bob = Person::registered(&lab, "bob").await;
    for round in 0..20 {
        let (made, came) = talk(&alice, &mut bob, "bob").await;
        let (one, other) = tokio::join!(made.hang_up(), came.hang_up());
        for status in [one, other] {
            // Or the other BYE was there first.
            let usual = matches!(status, Ok(200 | 481) | Err(Error::NotNow(State::Ended)));
            assert!(usual, "round {round}: {status:?}");
        }
        no_faults(&[&made, &came]);
    }
    nothing_is_left(&lab, &["alice", "bob"]);
}

// RFC 3261 §14.1: both offer anew at once, one waits and tries again, and the call goes on.
#[tokio::test(flavor = "multi_thread")]
async fn offer_and_offer() {
    let lab = Lab::start(&[], &[]);
    let (_alice, _bob, made, mut came) = pair(&lab, |_| ()).await;
    let (one, other) = tokio::join!(made.reinvite(), came.reinvite());
    assert_eq!((one, other), (Ok(200), Ok(200)));
    let (one, other) = tokio::join!(made.update(), came.info("meanwhile"));
    assert_eq!((one, other), (Ok(200), Ok(200)));
    assert_eq!(made.hang_up().await, Ok(200));
    assert_eq!(ended(&mut came).await, End::Released { reason: None });
    no_faults(&[&made, &came]);
    nothing_is_left(&lab, &["alice", "bob"]);
}

// CD-37 CD-38: her registration, or his, ends at every moment of the setup of a call.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_and_the_end_of_a_registration() {
    let lab = Lab::start(&[], &[("ROLLCALL__AUTHENTICATION__MAX_CHALLENGES_PER_MINUTE", "10000")]);
    let mut alice = Person::registered(&lab, "alice").await;
    let mut bob = Person::registered(&lab, "bob").await;
    for round in 0..60_u64 {
        let whose = if round % 2 == 0 { "alice" } else { "bob" };
        let mut made = alice.calls("bob");
        let url = format!("{}/v1/users/{whose}@{DOMAIN}/deregister", lab.api);
        tokio::time::sleep(Duration::from_micros(100 * (round / 2))).await;
        let (status, body) = http::post(&url, &json!({"reason": "drill"})).unwrap();
        assert_eq!(status, 202, "{body}");
        let end = ended(&mut made).await;
        let plausible = matches!(
            end,
            End::Released { .. }
                | End::Refused { status: 403 | 480 | 481 | 487 | 504 }
                | End::Cancelled { .. }
        );
        let seen = || [&lab.user("alice").1, &lab.user("bob").1].map(|view| format!("{view:#}"));
        assert!(plausible, "round {round}: {end:?}\n{:#?}\n{}", made.record(), seen().join("\n"));
        if let Some(mut came) = bob.was_called().await {
            let end = ended(&mut came).await;
            assert!(
                matches!(end, End::Released { reason: Some(_) } | End::Cancelled { .. }),
                "round {round}: {end:?}\n{:#?}",
                came.record()
            );
            no_faults(&[&came]);
        }
        no_faults(&[&made]);
        nothing_is_left(&lab, &["alice", "bob"]);
        let again = if whose == "alice" { &mut alice } else { &mut bob };
        *again = Person::registered(&lab, whose).await;
    }
}

// D-83: both ends are hers, and each hears of the end once.
#[tokio::test(flavor = "multi_thread")]
async fn she_calls_herself() {
    let lab = Lab::start(&[], &[]);
    let flow = |number: u8| {
        let instance = format!("urn:uuid:00000000-0000-1000-8000-0000000001{number:02x}");
        Some(Flow { instance, reg_id: 1 })
    };
    for released in [false, true] {
        let mut desk = Person::registered_as(&lab, "alice", |config| config.flow = flow(1)).await;
        let mut pocket = Person::registered_as(&lab, "alice", |config| config.flow = flow(2)).await;
        desk.lets_it_ring();
        let mut made = desk.calls("alice");
        // It rings at the desk, too.
        let mut rings = desk.called().await;
        let mut came = pocket.called().await;
        reaches(&mut made, State::Established).await;
        assert!(matches!(ended(&mut rings).await, End::Cancelled { .. }));
        if released {
            let url = format!("{}/v1/users/alice@{DOMAIN}/deregister", lab.api);
            assert_eq!(http::post(&url, &json!({"reason": "drill"})).unwrap().0, 202);
            for call in [&mut made, &mut came] {
                assert!(
                    matches!(ended(call).await, End::Released { reason: Some(_) }),
                    "{:#?}",
                    call.record()
                );
                assert_eq!(call.record().byes(), 1);
            }
            let gone = eventually(SOON, || (lab.user("alice").0 == 404).then_some(()));
            assert!(gone.is_some(), "{:#}", lab.user("alice").1);
        } else {
            assert_eq!(came.hang_up().await, Ok(200));
            assert_eq!(ended(&mut made).await, End::Released { reason: None });
        }
        no_faults(&[&made, &came, &rings]);
        nothing_is_left(&lab, &["alice"]);
    }
}

// CG-12 CG-19: what is sent again goes to whom it concerns, and to nobody else.
#[test]
fn a_request_and_its_repetitions() {
    let lab = Lab::start(&[], &[]);
    let (mut alice, mut bob) = (Phone::new("alice", lab.sip), Phone::new("bob", lab.sip));
    let (_, ok) = alice.register_fully();
    bob.register_fully();
    let lines = format!("Contact: <{}>\r\n", alice.contact());
    let sent = alice.request("INVITE", &crate::scene::sip("bob"), ok.header("Service-Route"), &lines, "");
    for _ in 0..3 {
        alice.send_raw(sent.text.as_bytes());
    }
    let invite = bob.asked("INVITE");
    let none = |phone: &mut Phone, wanted: fn(&Text) -> bool| {
        assert!(phone.wait(Duration::from_millis(200), wanted).is_none());
    };
    none(&mut bob, |text| text.method() == "INVITE");
    let is_answer = |text: &Text| text.status() == 200 && text.header("CSeq") == "1 INVITE";
    for time in 0..3 {
        bob.reply(&invite, 200, &format!("Contact: <{}>\r\n", bob.contact()));
        let answer = alice.wait(Duration::from_secs(5), is_answer);
        assert!(answer.is_some(), "the answer is not passed on when it comes for the {time}. time again");
    }
    // The INVITE again, after its answer: nobody is called a second time.
    alice.send_raw(sent.text.as_bytes());
    none(&mut bob, |text| text.method() == "INVITE");
    assert_eq!(lab.user("alice").1["sessions"].as_array().map(Vec::len), Some(1));
    assert_eq!(lab.user("bob").1["sessions"].as_array().map(Vec::len), Some(1));
}

/// Both ends of a call that was set up with these habits.
async fn pair(lab: &Lab, dial: impl FnOnce(&mut Dial)) -> (Person, Person, Call, Call) {
    let alice = Person::registered(lab, "alice").await;
    let mut bob = Person::registered(lab, "bob").await;
    let mut wanted = Dial::to(&crate::scene::sip("bob"));
    dial(&mut wanted);
    let mut made = alice.ue.call(wanted).unwrap();
    let mut came = bob.called().await;
    reaches(&mut made, State::Established).await;
    reaches(&mut came, State::Established).await;
    (alice, bob, made, came)
}

// CD-38: a release while a new offer is on its way.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_offer_and_the_end_of_a_registration() {
    for round in 0..6_u64 {
        let lab = Lab::start(&[], &[]);
        let (_alice, _bob, mut made, mut came) = pair(&lab, |dial| dial.late_offer = round % 2 == 1).await;
        let url = format!("{}/v1/users/alice@{DOMAIN}/deregister", lab.api);
        let posted = tokio::task::spawn_blocking(move || {
            std::thread::sleep(Duration::from_micros(300 * round));
            http::post(&url, &json!({"reason": "drill"})).unwrap().0
        });
        let (offered, status) = tokio::join!(made.reinvite(), posted);
        assert_eq!(status.unwrap(), 202);
        assert!(matches!(offered, Ok(200 | 481 | 487) | Err(_)), "round {round}: {offered:?}");
        for call in [&mut made, &mut came] {
            assert!(matches!(ended(call).await, End::Released { reason: Some(_) }), "{:#?}", call.record());
        }
        no_faults(&[&made, &came]);
        let gone = eventually(SOON, || (lab.user("alice").0 == 404).then_some(()));
        assert!(gone.is_some(), "round {round}: {:#}", lab.user("alice").1);
        nothing_is_left(&lab, &["bob"]);
    }
}
