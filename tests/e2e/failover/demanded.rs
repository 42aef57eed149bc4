//! Moments of what the network demands: re-authentication, and the end of a registration.

use super::registering::{begins_anew, hears_of_the_end};
use super::stage::{Played, Stage};
use crate::town::{Resident, SLACK, SOON, is_released, talk};
use e2e::{DOMAIN, Text, http};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn number(notify: &Text) -> u32 {
    notify.header("CSeq").split(' ').next().and_then(|text| text.parse().ok()).expect("a CSeq")
}

fn version(notify: &Text) -> u32 {
    let reginfo = notify.body().split_once("<reginfo").and_then(|(_, rest)| rest.split_once(" version=\""));
    let number = reginfo.and_then(|(_, rest)| rest.split('"').next()).and_then(|text| text.parse().ok());
    number.unwrap_or_else(|| panic!("no version: {}", notify.all))
}

fn demand(stage: &mut Stage<'_>, name: &str, period: u64) {
    let node = stage.other();
    let (status, body) =
        stage.town.cluster.command(&node, name, "reauthenticate", &json!({"period_s": period}));
    assert_eq!(status, 202, "{body}");
}

fn is_awaited(stage: &Stage<'_>, name: &str) -> Value {
    let awaited = |view: &Value| view["reauthentication"]["phase"] == "awaiting";
    let view = stage.town.comes_to(name, "awaited", SOON, |_, view| awaited(view));
    view["reauthentication"]["deadline"].clone()
}

fn proves_itself(stage: &Stage<'_>, resident: &mut Resident) {
    let former = resident.former.clone();
    let challenge = stage.endures(&mut resident.phone, |phone| phone.register_protected(&former, 3600));
    assert_eq!(challenge.status(), 401, "{}", challenge.all);
    let answer = stage.answers(&mut resident.phone, &challenge);
    assert_eq!(answer.status(), 200, "{}", answer.all);
    resident.former = challenge;
}

/// The NOTIFY of a demand is out, and not answered.
pub(super) fn notify_is_out(stage: &mut Stage<'_>) -> Played {
    let mut resident = stage.resident();
    let dialog = resident.subscribes("reg");
    let name = resident.name();
    demand(stage, &name, 60);
    let unanswered = resident.phone.notified(&dialog, SOON, 0).expect("the demand");
    let struck = stage.strike();
    let end = Instant::now() + stage.fault.patience();
    let again = loop {
        let left = end.saturating_duration_since(Instant::now());
        let next = resident.phone.notified(&dialog, left, 200).expect("a NOTIFY after the stroke");
        // The struck node's copies may come first; one who leaves in order hears the answer himself.
        if stage.is_gentle() || number(&next) != number(&unanswered) {
            break next;
        }
    };
    let took = struck.elapsed();
    assert!(again.body().contains("state=\"full\""), "{}", again.body());
    assert!(again.body().contains("shortened"), "{}", again.body());
    if again.all != unanswered.all {
        assert!(number(&again) > number(&unanswered), "{}", again.all);
        assert!(version(&again) > version(&unanswered), "{}", again.all);
    }
    is_awaited(stage, &name);
    proves_itself(stage, &mut resident);
    Played::of(took, [resident.phone])
}

/// The network waits for a user who proves itself in time.
pub(super) fn awaited_and_comes(stage: &mut Stage<'_>) -> Played {
    let mut resident = stage.resident();
    let dialog = resident.subscribes("registration-state");
    let name = resident.name();
    demand(stage, &name, 60);
    resident.phone.notified(&dialog, SOON, 200).expect("the demand");
    is_awaited(stage, &name);
    let struck = stage.strike();
    proves_itself(stage, &mut resident);
    let took = struck.elapsed();
    let view = stage.town.comes_to(&name, "served", SOON, |status, _| status == 200);
    assert!(view["reauthentication"].is_null(), "{view}");
    assert_eq!(view["state"], "registered");
    Played::of(took, [resident.phone])
}

/// The network waits for a user who never comes: at the deadline of before, registration and call end.
pub(super) fn awaited_in_vain(stage: &mut Stage<'_>) -> Played {
    const PERIOD: Duration = Duration::from_secs(4);
    let (mut resident, mut peer) = (stage.resident(), stage.neighbour());
    let (mut pcscf, dialog) = resident.watched_by(stage.pcscf_of(&resident), "reg");
    let (call, _) = talk(&mut resident, &mut peer);
    let name = resident.name();
    let begun = Instant::now();
    demand(stage, &name, PERIOD.as_secs());
    pcscf.notified(&dialog, SOON, 200).expect("the demand");
    let deadline = is_awaited(stage, &name);
    stage.strike();
    let view = stage.town.comes_to(&name, "served", stage.fault.patience(), |status, _| status == 200);
    assert_eq!(view["reauthentication"]["deadline"], deadline);
    is_released(&mut resident, &call.call_id, PERIOD + SLACK);
    let took = begun.elapsed();
    assert!(took >= PERIOD - Duration::from_millis(100), "too early: {took:?}");
    is_released(&mut peer, &call.call_id, SOON);
    hears_of_the_end(stage, &mut pcscf, &dialog);
    stage.town.forgets(&name, SOON);
    Played::of(took.saturating_sub(PERIOD), [resident.phone, peer.phone, pcscf])
}

/// The HSS ends a registration by way of another node; the owner has heard of it and done nothing yet.
pub(super) fn termination_is_half_done(stage: &mut Stage<'_>) -> Played {
    let mut resident = stage.resident();
    let name = resident.name();
    let (mut pcscf, dialog) = resident.watched_by(stage.pcscf_of(&resident), "reg");
    let body = json!({"via": stage.other()});
    let url = format!("{}/subscribers/{name}@{DOMAIN}/terminate", stage.town.cluster.hss.api);
    let node = stage.struck.clone();
    // It stands still while it is told, so that it cannot be done with it.
    stage.town.cluster.freeze(&node);
    let asking = std::thread::spawn(move || http::post(&url, &body).expect("an answer of the HSS"));
    std::thread::sleep(Duration::from_millis(200));
    let struck = stage.strike();
    if stage.fault.leaves_it_running() {
        stage.town.cluster.thaw(&node);
    }
    let (status, body) = asking.join().expect("an answer of the HSS");
    let took = struck.elapsed();
    assert_eq!((status, &body["result_code"]), (200, &json!(2001)), "{body}");
    hears_of_the_end(stage, &mut pcscf, &dialog);
    stage.town.forgets(&name, SOON);
    begins_anew(stage, &mut resident);
    Played::of(took, [resident.phone, pcscf])
}
