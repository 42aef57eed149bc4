//! TS 24.229 §5.4.1.6 across nodes: the network demands re-authentication, the node that demanded dies, another one sees it
//! through.

use crate::failover::Fault;
use crate::town::{Resident, SLACK, SOON, Town, is_released, talk, town_with};
use e2e::phone::Dialog;
use e2e::{Leg, Phone, eventually};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A user of one of four nodes who talks to somebody else's, subscribed to at two more; the HSS is connected to the fourth.
struct Scene {
    town: Town,
    ue: Resident,
    peer: Resident,
    pcscf: Phone,
    of_ue: Dialog,
    of_pcscf: Dialog,
    call: Leg,
}

/// Seconds: soon over, and time enough.
const SHORT: u64 = 6;
const LONG: u64 = 60;

fn scene(period: u64) -> Option<Scene> {
    let period = vec![("reauthentication", format!("period = {period}"))];
    let town = town_with(4, |settings| settings.keys = period)?;
    let (owner, a, b) = ("n3", "n1", "n2");
    let mut ue = town.resident_of(owner, 0);
    let mut peer = town.resident_of(a, 0);
    ue.phone.enters_at(town.cluster.node(b).sip);
    let of_ue = ue.subscribes("registration-state");
    let pcscf = Phone::new(&ue.name(), town.cluster.node(a).sip);
    let (pcscf, of_pcscf) = ue.watched_by(pcscf, "reg");
    let everywhere = town.cluster.entries();
    ue.phone.enters_among(&everywhere);
    let (call, _) = talk(&mut ue, &mut peer);
    Some(Scene { town, ue, peer, pcscf, of_ue, of_pcscf, call })
}

impl Scene {
    /// The HSS asks by way of the node that serves nobody here; the NOTIFYs of both dialogs come. The deadline.
    fn demand(&mut self) -> (Value, Instant) {
        let name = self.ue.name();
        let by = json!({"with": "rar", "via": "n4"});
        let (status, body) = self.town.cluster.hss.command(&name, "reauthenticate", &by);
        let begun = Instant::now();
        assert_eq!((status, &body["result_code"]), (200, &json!(2001)), "{body}");
        let to_ue = self.ue.phone.notified(&self.of_ue, SOON, 200).expect("NOTIFY to the UE");
        assert_eq!(to_ue.header("Event"), "registration-state");
        assert!(to_ue.body().contains("state=\"re-authenticate\""), "{}", to_ue.body());
        let to_pcscf = self.pcscf.notified(&self.of_pcscf, SOON, 200).expect("NOTIFY to the P-CSCF");
        assert!(to_pcscf.body().contains("event=\"shortened\""), "{}", to_pcscf.body());
        let view = self.town.comes_to(&name, "awaited", SOON, |_, view| {
            view["reauthentication"]["phase"] == "awaiting" && view["reauthentication"]["by"] == "hss"
        });
        (view["reauthentication"]["deadline"].clone(), begun)
    }
}

#[test]
fn the_hss_demands_through_one_node_what_another_does_and_the_ue_obeys_at_a_third() {
    let Some(mut scene) = scene(LONG) else { return };
    let name = scene.ue.name();
    scene.demand();
    for node in scene.town.cluster.ids() {
        assert_eq!(scene.town.cluster.user_at(&node, &name).1["reauthentication"]["by"], "hss", "{node}");
    }
    assert_eq!(scene.ue.proves_itself().status(), 200);
    assert!(scene.town.cluster.user(&name).1["reauthentication"].is_null());
    assert_eq!(scene.town.cluster.user(&name).1["sessions"].as_array().map(Vec::len), Some(1));
}

#[test]
fn the_next_owner_takes_the_answer_that_the_dead_one_waited_for() {
    for fault in Fault::SUDDEN {
        let Some(mut scene) = scene(LONG) else { return };
        let name = scene.ue.name();
        let (deadline, _) = scene.demand();
        let others = scene.town.cluster.entries_but("n3");
        fault.strike(&mut scene.town.cluster, "n3");
        scene.ue.phone.enters_among(&others);
        assert_eq!(scene.ue.proves_itself().status(), 200, "{fault:?}");
        let view = scene.town.comes_to(&name, "served", SOON, |status, _| status == 200);
        assert!(view["reauthentication"].is_null(), "{fault:?}, {deadline}: {view}");
        assert_ne!(view["node"], "n3");
        assert_eq!(view["sessions"].as_array().map(Vec::len), Some(1), "the call stands: {view}");
    }
}

#[test]
fn the_next_owner_ends_registration_and_calls_at_the_deadline_of_the_dead_one() {
    for fault in Fault::SUDDEN {
        let Some(mut scene) = scene(SHORT) else { return };
        let name = scene.ue.name();
        let (deadline, begun) = scene.demand();
        fault.strike(&mut scene.town.cluster, "n3");
        let view = scene.town.comes_to(&name, "served again", fault.patience(), |status, _| status == 200);
        assert_eq!(view["reauthentication"]["deadline"], deadline, "{fault:?}");
        assert_ne!(view["node"], "n3");

        let call_id = scene.call.call_id.clone();
        is_released(&mut scene.ue, &call_id, Duration::from_secs(SHORT) + SLACK);
        let late = begun.elapsed().saturating_sub(Duration::from_secs(SHORT));
        assert!(begun.elapsed() > Duration::from_secs(SHORT - 1), "{fault:?}: too early");
        assert!(late < Duration::from_secs(2), "{fault:?}: {late:?} late");
        is_released(&mut scene.peer, &call_id, SOON);
        let last = eventually(SOON, || {
            let notify = scene.pcscf.notified(&scene.of_pcscf, SOON, 200)?;
            notify.header("Subscription-State").starts_with("terminated").then_some(notify)
        });
        let last = last.expect("the last NOTIFY to the P-CSCF");
        assert!(last.body().contains("state=\"terminated\""), "{}", last.body());
        scene.town.forgets(&name, SOON);
        if fault == Fault::Freeze {
            // Who was deposed has nothing more to say.
            scene.town.cluster.thaw("n3");
            let deposed = scene.town.cluster.node("n3").sip;
            let late = scene.ue.phone.wait(Duration::from_secs(2), |text| text.from == deposed);
            assert!(late.is_none(), "{late:?}");
        }
    }
}
