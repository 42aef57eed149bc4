//! Moments of a call.

use super::stage::{Played, Stage};
use crate::town::{Resident, SLACK, SOON, hangs_up, is_released, rings, talk};
use e2e::phone::Sent;
use e2e::{Phone, Text, eventually};
use serde_json::json;
use std::time::{Duration, Instant};

/// Nothing happens; then the user is called. A call that finds nobody fails, and is made again when the network says so.
pub(super) fn called(stage: &mut Stage<'_>) -> Played {
    let (mut callee, mut caller) = (stage.resident(), stage.neighbour());
    let struck = stage.strike();
    let (name, route) = (callee.name(), caller.route.clone());
    let mut took = None;
    let patience = stage.fault.patience();
    let (answer, again) = caller.phone.insist(patience + SOON, |phone| {
        let sent = phone.invite(&name, &route);
        let brief = Duration::from_millis(5);
        let came = eventually(patience, || {
            if let Some(invite) = callee.phone.wait(brief, |text| text.method() == "INVITE") {
                return Some(Ok(invite));
            }
            phone.wait(brief, |text| sent.is_answered_by(text)).map(Err)
        });
        match came.expect("the call comes, or is refused") {
            Ok(invite) => {
                took = Some(struck.elapsed());
                callee.phone.reply(&invite, 486, "");
                let busy = phone.outcome(&sent);
                phone.acknowledge_refusal(&sent, &busy);
                busy
            }
            Err(refusal) => {
                phone.acknowledge_refusal(&sent, &refusal);
                refusal
            }
        }
    });
    stage.nobody_was_put_off(again);
    assert_eq!(answer.status(), 486, "{}", answer.all);
    Played::of(took.expect("the call came"), [caller.phone, callee.phone])
}

/// It rings, and the node of the caller is struck.
pub(super) fn rings_for_the_caller(stage: &mut Stage<'_>) -> Played {
    let (caller, callee) = (stage.resident(), stage.neighbour());
    ringing(stage, caller, callee)
}

/// It rings, and the node of the callee is struck.
pub(super) fn rings_at_the_callee(stage: &mut Stage<'_>) -> Played {
    let (caller, callee) = (stage.neighbour(), stage.resident());
    ringing(stage, caller, callee)
}

fn ringing(stage: &mut Stage<'_>, mut caller: Resident, mut callee: Resident) -> Played {
    let (sent, invite) = rings(&mut caller, &mut callee);
    let struck = stage.strike();
    let took = if stage.is_gentle() {
        // Both who leave and who stay see the call through.
        std::thread::sleep(Duration::from_secs(1));
        let answered = Instant::now();
        callee.phone.pick_up(&invite);
        let ok = caller.phone.outcome(&sent);
        let took = answered.elapsed();
        assert_eq!(ok.status(), 200, "{}", ok.all);
        let mut ours = caller.phone.acknowledge(&ok);
        callee.phone.asked("ACK");
        assert_eq!(hangs_up(&mut caller, &mut ours, &mut callee), 0, "put off");
        took
    } else {
        fails_fast(stage, &mut caller, &sent);
        let took = struck.elapsed();
        again(stage, &mut caller, &mut callee);
        took
    };
    Played::of(took, [caller.phone, callee.phone])
}

/// The caller's answer to an INVITE whose way was cut makes it try again.
fn fails_fast(stage: &Stage<'_>, caller: &mut Resident, sent: &Sent) {
    let answer = caller.phone.wait(stage.fault.patience() + SLACK, |text| sent.is_answered_by(text));
    let answer = answer.expect("the caller hears of it");
    caller.phone.acknowledge_refusal(sent, &answer);
    assert!(matches!(answer.status(), 408 | 480 | 500 | 503 | 504), "{}", answer.all);
}

/// The next call succeeds.
fn again(stage: &Stage<'_>, caller: &mut Resident, callee: &mut Resident) {
    stage.town.cluster.settles(stage.fault.patience());
    // What is left of the former call is over for the callee.
    while let Some(stray) = callee.phone.wait(Duration::from_millis(200), |text| !text.method().is_empty()) {
        callee.phone.reply(&stray, if stray.method() == "CANCEL" { 200 } else { 481 }, "");
    }
    let (mut ours, _) = talk(caller, callee);
    hangs_up(caller, &mut ours, callee);
}

/// In the middle of a call; then it is hung up.
pub(super) fn talking(stage: &mut Stage<'_>) -> Played {
    let (mut caller, mut callee) = (stage.resident(), stage.neighbour());
    let (mut ours, _) = talk(&mut caller, &mut callee);
    let struck = stage.strike();
    stage.nobody_was_put_off(hangs_up(&mut caller, &mut ours, &mut callee));
    let took = struck.elapsed();
    let (name, none) = (caller.name(), json!([]));
    stage.town.comes_to(&name, "without a call", SOON, |_, view| view["sessions"] == none);
    Played::of(took, [caller.phone, callee.phone])
}

/// In the middle of a call; then the operator ends the registration, and the call with it.
pub(super) fn released(stage: &mut Stage<'_>) -> Played {
    let (mut caller, mut callee) = (stage.resident(), stage.neighbour());
    let (ours, _) = talk(&mut caller, &mut callee);
    let struck = stage.strike();
    let (name, node) = (caller.name(), stage.other());
    let drill = json!({"reason": "drill"});
    let asked = eventually(stage.fault.patience(), || {
        (stage.town.cluster.command(&node, &name, "deregister", &drill).0 == 202).then_some(())
    });
    assert!(asked.is_some(), "{}", stage.town.cluster.state());
    is_released(&mut caller, &ours.call_id, SOON);
    is_released(&mut callee, &ours.call_id, SOON);
    let took = struck.elapsed();
    stage.town.forgets(&name, SOON);
    Played::of(took, [caller.phone, callee.phone])
}

/// Both sides were told of the release, and have not answered.
pub(super) fn release_is_half_done(stage: &mut Stage<'_>) -> Played {
    let (mut caller, mut callee) = (stage.resident(), stage.neighbour());
    let (ours, _) = talk(&mut caller, &mut callee);
    let (name, node) = (caller.name(), stage.other());
    let (status, body) = stage.town.cluster.command(&node, &name, "deregister", &json!({"reason": "drill"}));
    assert_eq!(status, 202, "{body}");
    let is_bye = |text: &Text| text.method() == "BYE" && text.header("Call-ID") == ours.call_id;
    let told = |phone: &mut Phone| phone.wait(SOON, is_bye).is_some();
    assert!(told(&mut caller.phone) && told(&mut callee.phone), "both are told");
    let struck = stage.strike();
    is_released(&mut caller, &ours.call_id, stage.fault.patience());
    is_released(&mut callee, &ours.call_id, stage.fault.patience());
    let took = struck.elapsed();
    stage.town.forgets(&name, SOON);
    Played::of(took, [caller.phone, callee.phone])
}
