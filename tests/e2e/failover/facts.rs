//! What the network has acknowledged of a user, to be held against what it says later.

use crate::town::{SOON, Town};
use e2e::{Phone, eventually};
use serde_json::{Value, json};
use std::time::Duration;

/// Where nothing comes for so long there is silence.
const SILENCE: Duration = Duration::from_millis(150);

/// What was acknowledged of a user, here and at the HSS.
#[derive(Debug, PartialEq)]
pub(super) struct Facts(Value);

fn each(list: &Value, keys: &[&str]) -> Vec<Value> {
    let all = list.as_array().cloned().unwrap_or_default();
    all.iter().map(|one| keys.iter().map(|key| ((*key).to_owned(), one[*key].clone())).collect()).collect()
}

fn facts(town: &Town, node: &str, name: &str) -> Option<Facts> {
    let (status, view) = town.cluster.user_at(node, name);
    let here = if status == 404 || view["state"] == "not_registered" {
        json!("nobody")
    } else if status == 200 {
        json!({
            "state": view["state"],
            "bindings": each(&view["bindings"], &["contact", "path", "expires_at", "registered_at", "call_id", "cseq"]),
            "subscriptions": each(&view["subscriptions"], &["id", "event", "expires_at", "version"]),
            "sessions": each(&view["sessions"], &["id", "state"]),
            "demanded": view["reauthentication"]["deadline"],
        })
    } else {
        return None;
    };
    let hss = town.cluster.hss.subscriber(name);
    let there = json!({"state": hss["registration_state"], "operations": hss["last_cx"]});
    Some(Facts(json!({"here": here, "at the HSS": there})))
}

impl Facts {
    /// What the first living node says.
    pub(super) fn of(town: &Town, name: &str) -> Self {
        let found = eventually(SOON, || facts(town, town.cluster.living().first()?, name));
        found.unwrap_or_else(|| panic!("nobody knows {name}: {:?}", town.cluster.user(name)))
    }

    /// Whether the user is registered.
    pub(super) fn is_registered(&self) -> bool {
        self.0["here"]["state"] == "registered" && self.0["at the HSS"]["state"] == "registered"
    }

    /// Every living node says the same.
    pub(super) fn still_hold(&self, town: &Town, name: &str, when: &str) {
        for node in town.cluster.living() {
            let now = eventually(SOON, || facts(town, &node, name));
            let now = now.unwrap_or_else(|| panic!("{when}: {node} does not know {name}"));
            assert_eq!(*self, now, "{when}: {name} as {node} has it");
        }
    }
}

/// Answers whatever comes to these telephones until nothing does for a while.
pub(super) fn fall_silent(phones: &mut [&mut Phone]) {
    loop {
        std::thread::sleep(SILENCE);
        let heard: Vec<bool> = phones.iter_mut().map(|phone| answers_all(phone)).collect();
        if !heard.contains(&true) {
            return;
        }
    }
}

/// Answers what has come; whether there was anything.
fn answers_all(phone: &mut Phone) -> bool {
    let mut heard = false;
    while let Some(text) = phone.wait(Duration::from_millis(1), |_| true) {
        heard = true;
        match text.method() {
            "" | "ACK" => {}
            "INVITE" => phone.reply(&text, 486, ""),
            _ => phone.respond(&text, 200),
        }
    }
    heard
}
