//! Moments of a registration.

use super::stage::{Played, Stage};
use crate::town::{Resident, SOON};
use e2e::phone::Dialog;
use e2e::{Answer, Phone, Text, eventually};
use serde_json::json;
use std::time::{Duration, Instant};

/// Between the 401 and the answer.
pub(super) fn challenged(stage: &mut Stage<'_>) -> Played {
    let mut phone = stage.phone();
    let challenge = phone.register_unprotected();
    assert_eq!(challenge.status(), 401, "{}", challenge.all);
    let struck = stage.strike();
    let answer = stage.answers(&mut phone, &challenge);
    let took = struck.elapsed();
    assert_eq!(answer.status(), 200, "the same challenge holds: {}", answer.all);
    is_registered(stage, &phone.name);
    Played::of(took, [phone])
}

/// The answer is right, the HSS is asked and has not said anything yet.
pub(super) fn hss_is_asked(stage: &mut Stage<'_>) -> Played {
    let mut phone = stage.phone();
    let challenge = phone.register_unprotected();
    stage.town.cluster.hss.delay(Duration::from_millis(800));
    let line = phone.contact_line(3600) + &phone.authorization(&challenge, Answer::Right, "yes");
    let sent = phone.begin_to_register(&line);
    phone.turn();
    phone.send(&sent);
    let hss = &stage.town.cluster.hss;
    let asked = eventually(SOON, || (hss.operations(&phone.name, "SAR REGISTRATION") > 0).then_some(()));
    assert!(asked.is_some(), "the HSS is asked");
    let struck = stage.strike();
    let answer = phone.persist(&sent, stage.fault.patience() + Duration::from_secs(2)).expect("an answer");
    // Whoever takes over asks the HSS itself, or has the UE come again: RFC 3261 §10.3, 500 with Retry-After.
    let put_off = matches!(answer.status(), 500 | 503) && !answer.header("Retry-After").is_empty();
    stage.nobody_was_put_off(put_off.into());
    let answer = if put_off { stage.answers(&mut phone, &challenge) } else { answer };
    let took = struck.elapsed();
    assert_eq!(answer.status(), 200, "{}", answer.all);
    stage.town.cluster.hss.delay(Duration::ZERO);
    if !put_off {
        let again = phone.exchange_within(&sent, SOON).expect("an answer to the copy");
        assert_eq!(again.status(), 200, "{}", again.all);
    }
    is_registered(stage, &phone.name);
    Played::of(took, [phone])
}

fn is_registered(stage: &Stage<'_>, name: &str) {
    let view = stage.town.comes_to(name, "served", SOON, |status, _| status == 200);
    assert_eq!(
        (&view["state"], view["bindings"].as_array().map(Vec::len)),
        (&json!("registered"), Some(1)),
        "{view}"
    );
    assert_eq!(stage.town.cluster.hss.subscriber(name)["registration_state"], "registered");
    assert!(stage.is_gentle() || view["node"] != stage.struck, "{view}");
}

/// Nothing happens; then the user registers again.
pub(super) fn idle(stage: &mut Stage<'_>) -> Played {
    let mut resident = stage.resident();
    let struck = stage.strike();
    let former = resident.former.clone();
    let answer = stage.endures(&mut resident.phone, |phone| phone.register_protected(&former, 3600));
    let took = struck.elapsed();
    assert_eq!(answer.status(), 200, "{}", answer.all);
    is_registered(stage, &resident.name());
    Played::of(took, [resident.phone])
}

/// The registration is about to expire.
pub(super) fn expires(stage: &mut Stage<'_>) -> Played {
    let mut phone = stage.phone();
    phone.expires = 3;
    let begun = Instant::now();
    let mut resident = Resident::at(phone);
    let ends = Duration::from_secs(3);
    let (mut pcscf, dialog) = resident.watched_by(stage.pcscf_of(&resident), "reg");
    std::thread::sleep((ends - Duration::from_millis(500)).saturating_sub(begun.elapsed()));
    stage.strike();
    hears_of_the_end(stage, &mut pcscf, &dialog);
    let took = begun.elapsed();
    assert!(took >= ends - Duration::from_millis(100), "too early: {took:?}");
    stage.town.forgets(&resident.name(), SOON);
    begins_anew(stage, &mut resident);
    Played::of(took.saturating_sub(ends), [resident.phone, pcscf])
}

/// The last NOTIFY comes; the next owner may repeat one first that was in doubt.
pub(super) fn hears_of_the_end(stage: &Stage<'_>, pcscf: &mut Phone, dialog: &Dialog) {
    let ends = |notify: &Text| notify.header("Subscription-State").starts_with("terminated");
    let end = Instant::now() + stage.fault.patience();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let notify = pcscf.notified(dialog, left, 200).expect("the P-CSCF hears of the end");
        if ends(&notify) {
            return;
        }
    }
}

/// Who is not registered is challenged.
pub(super) fn begins_anew(stage: &Stage<'_>, resident: &mut Resident) {
    let challenge = stage.endures(&mut resident.phone, Phone::register_unprotected);
    assert_eq!(challenge.status(), 401, "{}", challenge.all);
}
