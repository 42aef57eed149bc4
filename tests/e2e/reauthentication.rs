//! TS 24.229 5.4.1.6 over sockets: the network demands re-authentication.

use e2e::phone::{Dialog, Text};
use e2e::{Answer, DOMAIN, Lab, Phone, eventually, http};
use serde_json::json;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(5);

/// A lab, a registered telephone with its own subscription, and a P-CSCF with another.
struct Scene {
    lab: Lab,
    ue: Phone,
    pcscf: Phone,
    former: Text,
    of_ue: Dialog,
    of_pcscf: Dialog,
}

fn scene(event_of_ue: &str, event_of_pcscf: &str, environment: &[(&str, &str)]) -> Scene {
    let lab = Lab::start(&[], environment);
    let mut ue = Phone::new("alice", lab.sip);
    let mut pcscf = Phone::new("alice", lab.sip);
    let (former, _) = ue.register_fully();
    // The P-CSCF is the entity on the Path: same host and port as the telephone's Path entry.
    let route = format!("Record-Route: <sip:edge@127.0.0.1:{};lr>\r\n", ue.port());
    let of_ue = ue.subscribe("alice", &format!("sip:alice@{DOMAIN}"), event_of_ue, &route);
    assert_eq!(of_ue.accepted.header("Expires"), "600000");
    let first = ue.notified(&of_ue, SOON, 200).expect("the first NOTIFY follows the 200");
    assert!(first.header("Subscription-State").starts_with("active"), "{}", first.all);
    let asserted = format!("sip:term@127.0.0.1:{}", ue.port());
    let of_pcscf = pcscf.subscribe("alice", &asserted, event_of_pcscf, "");
    pcscf.notified(&of_pcscf, SOON, 200).expect("the first NOTIFY of the P-CSCF");
    Scene { lab, ue, pcscf, former, of_ue, of_pcscf }
}

impl Scene {
    fn demand(&self, period: u64) -> (u16, serde_json::Value) {
        let url = format!("{}/v1/users/alice@{DOMAIN}/reauthenticate", self.lab.api);
        http::post(&url, &json!({"period_s": period, "reason": "drill"})).unwrap()
    }

    fn demands(&mut self) -> (Text, Text) {
        let to_ue = self.ue.notified(&self.of_ue, SOON, 200).expect("NOTIFY to the UE");
        let to_pcscf = self.pcscf.notified(&self.of_pcscf, SOON, 200).expect("NOTIFY to the P-CSCF");
        (to_ue, to_pcscf)
    }

    fn gone(&self) -> bool {
        eventually(SOON, || {
            let (status, view) = self.lab.user("alice");
            (status == 404 || view["state"] == "not_registered").then_some(())
        })
        .is_some()
    }
}

#[test]
fn ch_07_an_operator_demands_and_the_ue_obeys() {
    let mut scene = scene("registration-state", "reg", &[]);
    let (status, body) = scene.demand(60);
    assert_eq!(status, 202, "{body}");
    let deadline = body["deadline"].clone();
    let (to_ue, to_pcscf) = scene.demands();

    let ue_port = scene.ue.port();
    assert_eq!(to_ue.start(), format!("NOTIFY sip:watch@127.0.0.1:{ue_port} SIP/2.0"));
    assert_eq!(to_ue.header("Route"), format!("<sip:edge@127.0.0.1:{ue_port};lr>"));
    assert_eq!(to_ue.header("Event"), "registration-state");
    assert!(to_ue.body().contains("state=\"re-authenticate\""), "{}", to_ue.body());
    assert!(to_ue.body().contains(&format!("aor=\"sip:alice@{DOMAIN}\"")), "{}", to_ue.body());
    assert_eq!(to_pcscf.start(), format!("NOTIFY sip:watch@127.0.0.1:{} SIP/2.0", scene.pcscf.port()));
    assert_eq!(to_pcscf.header("Event"), "reg");
    assert!(to_pcscf.body().contains("event=\"shortened\""), "{}", to_pcscf.body());
    assert!(!to_pcscf.body().contains("re-authenticate"), "{}", to_pcscf.body());

    let awaiting = eventually(SOON, || {
        let view = scene.lab.user("alice").1;
        (view["reauthentication"]["phase"] == "awaiting").then_some(view)
    })
    .expect("both 2xx arrived: the REGISTER is awaited");
    assert_eq!(awaiting["reauthentication"]["by"], "operator");
    assert_eq!(awaiting["reauthentication"]["deadline"], deadline);

    let (again, problem) = scene.demand(600);
    assert_eq!(again, 409, "{problem}");
    assert!(problem.to_string().contains(deadline.as_str().unwrap()), "{problem}");

    let former = scene.former.clone();
    let challenge = scene.ue.register_protected(&former, 3600);
    assert_eq!(
        challenge.status(),
        401,
        "a protected REGISTER is challenged while demanded: {}",
        challenge.all
    );
    let ok = scene.ue.answer(&challenge, Answer::Right, "yes");
    assert_eq!(ok.status(), 200, "{}", ok.all);
    assert!(ok.header("Contact").contains("expires=3600"), "{}", ok.all);
    let (to_ue, to_pcscf) = scene.demands();
    for notify in [to_ue, to_pcscf] {
        assert!(notify.body().contains("event=\"refreshed\""), "{}", notify.body());
        assert!(notify.body().contains("state=\"active\""), "{}", notify.body());
    }
    assert!(scene.lab.user("alice").1["reauthentication"].is_null());
}

#[test]
fn the_hss_demands_by_re_auth_request() {
    let mut scene = scene("reg", "reg", &[]);
    let url = format!("{}/subscribers/alice@{DOMAIN}/reauthenticate", scene.lab.hss);
    let (status, body) = http::post(&url, &json!({"with": "rar"})).unwrap();
    assert_eq!((status, body["result_code"].as_u64()), (200, Some(2001)), "{body}");
    let (to_ue, to_pcscf) = scene.demands();
    for notify in [&to_ue, &to_pcscf] {
        assert!(notify.body().contains("event=\"shortened\""), "{}", notify.body());
    }
    assert_eq!(scene.lab.user("alice").1["reauthentication"]["by"], "hss");
    let former = scene.former.clone();
    let challenge = scene.ue.register_protected(&former, 3600);
    assert_eq!(challenge.status(), 401);
    assert_eq!(scene.ue.answer(&challenge, Answer::Right, "yes").status(), 200);
    assert!(scene.lab.user("alice").1["reauthentication"].is_null());
}

#[test]
fn the_hss_demands_by_pushing_credentials() {
    let mut scene = scene("reg", "reg", &[]);
    let url = format!("{}/subscribers/alice@{DOMAIN}/reauthenticate", scene.lab.hss);
    let (status, body) = http::post(&url, &json!({"with": "ppr"})).unwrap();
    assert_eq!((status, body["result_code"].as_u64()), (200, Some(2001)), "{body}");
    let (to_ue, _) = scene.demands();
    assert!(to_ue.body().contains("event=\"shortened\""), "{}", to_ue.body());
}

#[test]
fn silence_ends_the_registration_at_the_deadline() {
    let mut scene = scene("reg", "reg", &[]);
    assert_eq!(scene.demand(2).0, 202);
    scene.demands();
    // The UE's own subscription ends with its registration; the P-CSCF hears it terminated.
    let last = scene.pcscf.notified(&scene.of_pcscf, SOON, 200).expect("the final NOTIFY to the P-CSCF");
    assert!(last.header("Subscription-State").starts_with("terminated"), "{}", last.all);
    assert!(last.body().contains("event=\"expired\""), "{}", last.body());
    assert!(last.body().contains("state=\"terminated\""), "{}", last.body());
    assert!(scene.gone(), "{:?}", scene.lab.user("alice"));
    let subscriber = eventually(SOON, || {
        let subscriber = scene.lab.subscriber("alice");
        (subscriber["registration_state"] == "not_registered").then_some(subscriber)
    });
    assert!(subscriber.is_some(), "{}", scene.lab.subscriber("alice"));
    let cx = subscriber.unwrap()["last_cx"].to_string().to_lowercase();
    assert!(cx.contains("sar"), "{cx}");
}

fn wrong_answers(policy: &str) -> (Scene, Vec<u16>) {
    let mut scene = scene("reg", "reg", &[("ROLLCALL__REAUTHENTICATION__ON_WRONG_ANSWER", policy)]);
    assert_eq!(scene.demand(60).0, 202);
    scene.demands();
    let former = scene.former.clone();
    let mut challenge = scene.ue.register_protected(&former, 3600);
    assert_eq!(challenge.status(), 401);
    let mut statuses = Vec::new();
    for _ in 0..6 {
        let answer = scene.ue.answer(&challenge, Answer::Wrong, "yes");
        statuses.push(answer.status());
        if answer.status() != 401 {
            break;
        }
        challenge = answer;
    }
    (scene, statuses)
}

#[test]
fn a_wrong_answer_is_challenged_again_a_few_times_and_then_refused() {
    let (scene, statuses) = wrong_answers("rechallenge");
    assert_eq!(statuses.last(), Some(&403), "{statuses:?}");
    assert!(
        statuses.len() >= 2 && statuses[..statuses.len() - 1].iter().all(|status| *status == 401),
        "{statuses:?}"
    );
    let view = scene.lab.user("alice").1;
    assert_eq!(view["state"], "registered", "only the deadline ends it");
    assert!(!view["reauthentication"].is_null());
}

#[test]
fn a_wrong_answer_is_refused_and_the_deadline_awaited() {
    let (scene, statuses) = wrong_answers("reject");
    assert_eq!(statuses, [403]);
    assert_eq!(scene.lab.user("alice").1["state"], "registered");
}

#[test]
fn a_wrong_answer_deregisters_where_policy_says_so() {
    let (mut scene, statuses) = wrong_answers("deregister");
    assert_eq!(statuses, [403]);
    let last = scene.pcscf.notified(&scene.of_pcscf, SOON, 200).expect("the final NOTIFY to the P-CSCF");
    assert!(last.header("Subscription-State").starts_with("terminated"), "{}", last.all);
    assert!(last.body().contains("event=\"rejected\""), "{}", last.body());
    assert!(scene.gone());
}

#[test]
fn an_unprotected_wrong_answer_never_deregisters_even_while_demanded() {
    let mut scene = scene("reg", "reg", &[("ROLLCALL__REAUTHENTICATION__ON_WRONG_ANSWER", "deregister")]);
    assert_eq!(scene.demand(60).0, 202);
    scene.demands();
    let mut attacker = Phone::new("alice", scene.lab.sip);
    let challenge = attacker.register_unprotected();
    assert_eq!(challenge.status(), 401);
    assert!(matches!(attacker.answer(&challenge, Answer::Wrong, "no").status(), 401 | 403));
    // Nor does a protected answer to the challenge that the attacker provoked.
    let challenge = attacker.register_unprotected();
    if challenge.status() == 401 {
        assert!(matches!(attacker.answer(&challenge, Answer::Wrong, "yes").status(), 401 | 403));
    }
    assert_eq!(scene.lab.user("alice").1["state"], "registered");
}

#[test]
fn without_a_reachable_subscriber_the_deadline_holds_and_refer_asks_when_enabled() {
    let lab = Lab::start(&[], &[("ROLLCALL__REAUTHENTICATION__REFER", "true")]);
    let mut ue = Phone::new("alice", lab.sip);
    ue.register_fully();
    let url = format!("{}/v1/users/alice@{DOMAIN}/reauthenticate", lab.api);
    let (status, body) = http::post(&url, &json!({"period_s": 2})).unwrap();
    assert_eq!(status, 202, "{body}");
    let refer = ue.wait(SOON, |text| text.method() == "REFER").expect("REFER to the contact");
    assert!(refer.header("Refer-To").contains("method=REGISTER"), "{}", refer.all);
    assert_eq!(refer.start(), format!("REFER {} SIP/2.0", ue.contact()));
    assert_eq!(refer.header("Route"), format!("<sip:term@127.0.0.1:{};lr>", ue.port()));
    ue.respond(&refer, 202);
    let gone = eventually(SOON, || {
        let (status, view) = lab.user("alice");
        (status == 404 || view["state"] == "not_registered").then_some(())
    });
    assert!(gone.is_some(), "{:?}", lab.user("alice"));
}

#[test]
fn ch_08_who_is_not_registered_cannot_be_asked() {
    let lab = Lab::start(&[], &[]);
    let url = format!("{}/v1/users/alice@{DOMAIN}/reauthenticate", lab.api);
    assert_eq!(http::post(&url, &json!({})).unwrap().0, 404);
    let url = format!("{}/subscribers/alice@{DOMAIN}/reauthenticate", lab.hss);
    let (_, body) = http::post(&url, &json!({"with": "rar"})).unwrap();
    assert_ne!(body["result_code"].as_u64(), Some(2001), "{body}");
}

#[test]
fn the_hss_terminates_a_registration() {
    for (reason, event) in [("permanent_termination", "rejected"), ("server_change", "deactivated")] {
        let mut scene = scene("reg", "reg", &[]);
        let url = format!("{}/subscribers/alice@{DOMAIN}/terminate", scene.lab.hss);
        let (status, body) = http::post(&url, &json!({"reason": reason})).unwrap();
        assert_eq!((status, body["result_code"].as_u64()), (200, Some(2001)), "{reason}: {body}");
        let last = scene.pcscf.notified(&scene.of_pcscf, SOON, 200).expect("the final NOTIFY");
        assert!(last.body().contains(&format!("event=\"{event}\"")), "{reason}: {}", last.body());
        assert!(scene.gone(), "{reason}");
    }
}
