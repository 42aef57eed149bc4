//! A node dies or falls silent at every moment that matters, and the others see it through. Requests are sent as a P-CSCF sends
//! them: again at T1, to another node, and anew where the network asks for patience.

use crate::town::{
    Fault, Resident, SLACK, SOON, TAKEOVER, Town, hangs_up, is_released, rings, talk, town, town_with,
};
use e2e::phone::{Dialog, Sent, Text};
use e2e::{Answer, Phone, eventually};
use serde_json::json;
use std::time::{Duration, Instant};

/// The node that is struck; requests of those whom it serves enter at the others.
const STRUCK: &str = "n2";

impl Town {
    /// A telephone of somebody at the node that is going to be struck.
    fn phone(&self, number: usize) -> Phone {
        Phone::among(&self.somebody_at(STRUCK, number), &self.cluster.entries_but(STRUCK))
    }

    fn resident(&self, number: usize) -> Resident {
        Resident::at(self.phone(number))
    }

    fn neighbour(&self, number: usize) -> Resident {
        Resident::at(Phone::among(&self.somebody_at("n1", number), &self.cluster.entries_but(STRUCK)))
    }
}

fn each(test: impl Fn(&mut Town, Fault)) {
    for fault in Fault::ALL {
        let Some(mut town) = town(3) else { return };
        test(&mut town, fault);
        if fault == Fault::Freeze {
            // Whoever was taken for dead comes back, and the cluster is whole again.
            town.cluster.thaw(STRUCK);
            town.cluster.balances(Duration::from_secs(20));
        }
    }
}

/// Sends a request until it is answered, by its end or by another request in its place; the answer, and how long it took.
fn endures(phone: &mut Phone, within: Duration, lines: &str) -> (Text, Duration) {
    let begun = Instant::now();
    let (answer, _) = phone.insist(within, |phone| {
        let sent = phone.begin_to_register(lines);
        phone.exchange_within(&sent, within).unwrap_or_else(|| panic!("no answer within {within:?}"))
    });
    (answer, begun.elapsed())
}

/// The last NOTIFY comes; the next owner may repeat one first that was in doubt.
fn hears_of_the_end(pcscf: &mut Phone, dialog: &Dialog, fault: Fault) {
    let ends = |notify: &Text| notify.header("Subscription-State").starts_with("terminated");
    let end = Instant::now() + fault.patience();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let notify = pcscf.notified(dialog, left, 200);
        let notify = notify.unwrap_or_else(|| panic!("{fault:?}: the P-CSCF does not hear of the end"));
        if ends(&notify) {
            return;
        }
    }
}

#[test]
fn between_the_challenge_and_the_answer() {
    each(|town, fault| {
        let mut phone = town.phone(0);
        let challenge = phone.register_unprotected();
        assert_eq!(challenge.status(), 401, "{}", challenge.all);
        fault.strike(&mut town.cluster, STRUCK);
        let line = phone.contact_line(3600) + &phone.authorization(&challenge, Answer::Right, "yes");
        let (answer, took) = endures(&mut phone, fault.patience(), &line);
        assert_eq!(answer.status(), 200, "{fault:?}: the same challenge holds: {}", answer.all);
        assert!(took < fault.patience(), "{fault:?}: {took:?}");
        let owner = town.cluster.user(&phone.name).1["node"].clone();
        assert_ne!(owner, STRUCK, "{fault:?}");
    });
}

#[test]
fn while_the_hss_is_asked() {
    each(|town, fault| {
        let mut phone = town.phone(0);
        let challenge = phone.register_unprotected();
        town.cluster.hss.delay(Duration::from_millis(800));
        let line = phone.contact_line(3600) + &phone.authorization(&challenge, Answer::Right, "yes");
        let sent = phone.begin_to_register(&line);
        phone.turn();
        phone.send(&sent);
        let asked = eventually(SOON, || {
            (town.cluster.hss.operations(&phone.name, "SAR REGISTRATION") > 0).then_some(())
        });
        assert!(asked.is_some(), "the HSS is asked");
        fault.strike(&mut town.cluster, STRUCK);
        let answer = phone.persist(&sent, fault.patience() + Duration::from_secs(2));
        let answer = answer.unwrap_or_else(|| panic!("{fault:?}: no answer"));
        // Whoever takes over asks the HSS itself, or has the UE come again: RFC 3261 §10.3, 500 with Retry-After.
        let put_off = matches!(answer.status(), 500 | 503) && !answer.header("Retry-After").is_empty();
        let answer = if put_off { endures(&mut phone, fault.patience(), &line).0 } else { answer };
        assert_eq!(answer.status(), 200, "{fault:?}: {}", answer.all);
        town.cluster.hss.delay(Duration::ZERO);
        if !put_off {
            let again = phone.exchange_within(&sent, SOON).expect("an answer to the copy");
            assert_eq!(again.status(), 200, "{fault:?}: {}", again.all);
        }
        let view = town.cluster.user(&phone.name).1;
        assert_eq!(
            (&view["state"], view["bindings"].as_array().map(Vec::len)),
            (&json!("registered"), Some(1))
        );
        assert_eq!(town.cluster.hss.subscriber(&phone.name)["registration_state"], "registered");
    });
}

#[test]
fn while_nothing_happens() {
    each(|town, fault| {
        let mut callee = town.resident(0);
        let mut silent = town.resident(1);
        let mut caller = town.neighbour(0);
        let struck = fault.strike(&mut town.cluster, STRUCK);
        let (name, route) = (callee.name(), caller.route.clone());
        // A caller waits as long as it is asked to.
        let within = fault.patience() + SOON;
        let (answer, _) = caller.phone.insist(within, |phone| {
            let sent = phone.invite(&name, &route);
            let came = eventually(fault.patience(), || {
                if let Some(invite) =
                    callee.phone.wait(Duration::from_millis(20), |text| text.method() == "INVITE")
                {
                    callee.phone.pick_up(&invite);
                    return Some(None);
                }
                phone.wait(Duration::from_millis(20), |text| sent.is_answered_by(text)).map(Some)
            });
            match came.expect("the call comes, or is refused") {
                None => phone.outcome(&sent),
                Some(refusal) => {
                    phone.acknowledge_refusal(&sent, &refusal);
                    refusal
                }
            }
        });
        assert_eq!(answer.status(), 200, "{fault:?}: {}", answer.all);
        assert!(struck.elapsed() < within, "{fault:?}: {:?}", struck.elapsed());
        // Who was never asked for in between is as reachable.
        assert_eq!(silent.reregisters().status(), 200);
        town.cluster.settles(fault.patience());
    });
}

#[test]
fn when_a_registration_is_about_to_expire() {
    for fault in Fault::ALL {
        let keys = vec![("registration", "min_expires = 1".to_owned())];
        let Some(mut town) = town_with(3, |settings| settings.keys = keys) else { return };
        let mut phone = town.phone(0);
        phone.expires = 3;
        let mut resident = Resident::at(phone);
        let begun = Instant::now();
        let pcscf = Phone::among(&resident.name(), &town.cluster.entries_but(STRUCK));
        let (mut pcscf, dialog) = resident.watched_by(pcscf, "reg");
        std::thread::sleep(Duration::from_millis(2_500).saturating_sub(begun.elapsed()));
        fault.strike(&mut town.cluster, STRUCK);
        hears_of_the_end(&mut pcscf, &dialog, fault);
        assert!(begun.elapsed() >= Duration::from_millis(2_900), "{fault:?}: too early");
        town.forgets(&resident.name(), SOON);
        assert_eq!(resident.phone.register_unprotected().status(), 401, "and it begins anew");
    }
}

#[test]
fn while_a_notification_is_out() {
    each(|town, fault| {
        let mut resident = town.resident(0);
        let dialog = resident.subscribes("reg");
        let name = resident.name();
        let (status, _) = town.cluster.command("n1", &name, "reauthenticate", &json!({"period_s": 60}));
        assert_eq!(status, 202);
        let unanswered = resident.phone.notified(&dialog, SOON, 0).expect("the demand");
        fault.strike(&mut town.cluster, STRUCK);
        let number = |notify: &Text| notify.header("CSeq").split(' ').next().unwrap().parse::<u32>().unwrap();
        let version = |notify: &Text| {
            let reginfo = notify.body().split_once("<reginfo").unwrap().1;
            let rest = reginfo.split_once(" version=\"").unwrap().1;
            rest.split('"').next().unwrap().parse::<u32>().unwrap()
        };
        let end = Instant::now() + fault.patience();
        let again = loop {
            let left = end.saturating_duration_since(Instant::now());
            let next = resident.phone.notified(&dialog, left, 200);
            let next = next.unwrap_or_else(|| panic!("{fault:?}: nothing after the takeover"));
            // The dead node's copies may come first.
            if number(&next) != number(&unanswered) {
                break next;
            }
        };
        assert!(
            number(&again) > number(&unanswered) && version(&again) > version(&unanswered),
            "{}",
            again.all
        );
        assert!(again.body().contains("state=\"full\""), "{}", again.body());
        assert!(again.body().contains("shortened"), "{}", again.body());
        let awaited = |view: &serde_json::Value| view["reauthentication"]["phase"] == "awaiting";
        town.comes_to(&name, "awaited", SOON, |_, view| awaited(view));
        assert_eq!(resident.proves_itself().status(), 200, "{fault:?}");
    });
}

/// The caller's answer to an INVITE whose way was cut.
fn fails_fast(town: &mut Town, fault: Fault, caller: &mut Resident, sent: &Sent) {
    let struck = fault.strike(&mut town.cluster, STRUCK);
    let answer = caller.phone.wait(fault.patience() + SLACK, |text| sent.is_answered_by(text));
    let answer = answer.unwrap_or_else(|| panic!("{fault:?}: the caller hears nothing"));
    caller.phone.acknowledge_refusal(sent, &answer);
    assert!(matches!(answer.status(), 408 | 480 | 500 | 503 | 504), "{fault:?}: {}", answer.all);
    assert!(struck.elapsed() < fault.patience() + SLACK, "{fault:?}: {:?}", struck.elapsed());
}

#[test]
fn while_it_rings_and_the_caller_s_node_goes() {
    each(|town, fault| {
        let (mut caller, mut callee) = (town.resident(0), town.neighbour(0));
        let (sent, _) = rings(&mut caller, &mut callee);
        fails_fast(town, fault, &mut caller, &sent);
        again(town, fault, &mut caller, &mut callee);
    });
}

#[test]
fn while_it_rings_and_the_callee_s_node_goes() {
    each(|town, fault| {
        let (mut caller, mut callee) = (town.neighbour(0), town.resident(0));
        let (sent, _) = rings(&mut caller, &mut callee);
        fails_fast(town, fault, &mut caller, &sent);
        again(town, fault, &mut caller, &mut callee);
    });
}

/// The next call succeeds.
fn again(town: &Town, fault: Fault, caller: &mut Resident, callee: &mut Resident) {
    town.cluster.settles(fault.patience());
    // What is left of the former call is over for the callee.
    while let Some(stray) = callee.phone.wait(Duration::from_millis(200), |text| !text.method().is_empty()) {
        callee.phone.reply(&stray, if stray.method() == "CANCEL" { 200 } else { 481 }, "");
    }
    let (mut ours, _) = talk(caller, callee);
    hangs_up(caller, &mut ours, callee);
}

#[test]
fn in_the_middle_of_a_call() {
    each(|town, fault| {
        let (mut caller, mut callee) = (town.resident(0), town.neighbour(0));
        let (mut ours, _) = talk(&mut caller, &mut callee);
        fault.strike(&mut town.cluster, STRUCK);
        hangs_up(&mut caller, &mut ours, &mut callee);
        let (name, none) = (caller.name(), json!([]));
        town.comes_to(&name, "without a call", SOON, |_, view| view["sessions"] == none);
    });
}

#[test]
fn a_call_that_the_dead_node_knew_is_released_by_the_next() {
    each(|town, fault| {
        let (mut caller, mut callee) = (town.resident(0), town.neighbour(0));
        let (ours, _) = talk(&mut caller, &mut callee);
        fault.strike(&mut town.cluster, STRUCK);
        let name = caller.name();
        let asked = eventually(fault.patience(), || {
            (town.cluster.command("n1", &name, "deregister", &json!({"reason": "drill"})).0 == 202)
                .then_some(())
        });
        assert!(asked.is_some(), "{fault:?}: {}", town.cluster.state());
        is_released(&mut caller, &ours.call_id, SOON);
        is_released(&mut callee, &ours.call_id, SOON);
        town.forgets(&name, SOON);
    });
}

#[test]
fn in_the_middle_of_a_release() {
    each(|town, fault| {
        let (mut caller, mut callee) = (town.resident(0), town.neighbour(0));
        let (ours, _) = talk(&mut caller, &mut callee);
        let name = caller.name();
        assert_eq!(town.cluster.command("n1", &name, "deregister", &json!({"reason": "drill"})).0, 202);
        // Both hear of it, and neither answers before the node is gone.
        let is_bye = |text: &Text| text.method() == "BYE" && text.header("Call-ID") == ours.call_id;
        assert!(caller.phone.wait(SOON, is_bye).is_some() && callee.phone.wait(SOON, is_bye).is_some());
        fault.strike(&mut town.cluster, STRUCK);
        is_released(&mut caller, &ours.call_id, fault.patience());
        is_released(&mut callee, &ours.call_id, fault.patience());
        town.forgets(&name, SOON);
    });
}

#[test]
fn a_termination_by_the_hss_that_the_node_did_not_answer() {
    each(|town, fault| {
        let mut resident = town.resident(0);
        let name = resident.name();
        let pcscf = Phone::among(&name, &town.cluster.entries_but(STRUCK));
        let (mut pcscf, dialog) = resident.watched_by(pcscf, "reg");
        // The owner hears of it while it stands still, by way of another node, which outlives it.
        town.cluster.freeze(STRUCK);
        let (status, body) = std::thread::scope(|scope| {
            let hss = &town.cluster.hss;
            let asking = scope.spawn(|| hss.command(&name, "terminate", &json!({"via": "n1"})));
            std::thread::sleep(Duration::from_millis(200));
            asking.join().unwrap()
        });
        assert_eq!((status, &body["result_code"]), (200, &json!(2001)), "{fault:?}: {body}");
        hears_of_the_end(&mut pcscf, &dialog, fault);
        town.forgets(&name, SOON);
        if fault == Fault::Kill {
            town.cluster.kill(STRUCK);
        } else {
            town.cluster.thaw(STRUCK);
            // It may answer what it was asked, but nobody hears twice of the end.
            assert!(pcscf.notified(&dialog, Duration::from_secs(1), 200).is_none());
        }
        assert_eq!(resident.phone.register_unprotected().status(), 401);
    });
}

#[test]
fn the_node_where_requests_entered() {
    let Some(mut town) = town(3) else { return };
    let mut caller = Resident::at(Phone::new(&town.somebody_at("n1", 0), town.cluster.node(STRUCK).sip));
    let mut callee = Resident::at(Phone::new(&town.somebody_at("n3", 0), town.cluster.node(STRUCK).sip));
    let (mut ours, _) = talk(&mut caller, &mut callee);
    let dialog = caller.subscribes("reg");
    town.cluster.kill(STRUCK);
    let others = town.cluster.entries_but(STRUCK);
    caller.phone.enters_among(&others);
    callee.phone.enters_among(&others);
    // Whoever is left owns them, as before: nothing has to be taken over for them.
    assert_eq!(caller.reregisters().status(), 200);
    assert!(caller.phone.notified(&dialog, SOON, 200).is_some());
    hangs_up(&mut caller, &mut ours, &mut callee);
}

#[test]
fn all_nodes_at_once() {
    let Some(mut town) = town(3) else { return };
    let mut residents: Vec<Resident> =
        ["n1", "n2", "n3"].iter().map(|node| town.resident_of(node, 0)).collect();
    let ids = town.cluster.ids();
    for id in &ids {
        town.cluster.kill(id);
    }
    for id in &ids {
        town.cluster.start_again(id);
    }
    town.cluster.settles(Duration::from_secs(20));
    for resident in &mut residents {
        assert_eq!(town.cluster.user(&resident.name()).1["state"], "registered");
        assert_eq!(resident.reregisters().status(), 200);
    }
}

#[test]
fn one_node_again_and_again() {
    let Some(mut town) = town(3) else { return };
    let mut resident = town.moves_in("alice");
    for _ in 0..4 {
        let owner = town.cluster.owner("alice");
        let others = town.cluster.entries_but(&owner);
        let struck = town.cluster.kill(&owner);
        resident.phone.enters_among(&others);
        assert_eq!(resident.reregisters().status(), 200);
        assert!(struck.elapsed() < TAKEOVER + SLACK, "{:?}", struck.elapsed());
        town.cluster.start_again(&owner);
        town.cluster.settles(Duration::from_secs(20));
    }
}
