//! A lab that keeps its users: in a directory, or in Redis.

use crate::town::{Resident, SOON};
use e2e::{Lab, Phone, Redis, have};

/// Registers with one lab, kills it, and goes on with another that finds the same users.
fn outlives(arguments: &[&str], hss_too: bool) {
    let mut lab = Lab::start(arguments, &[]);
    let mut alice = Resident::at(Phone::new("alice", lab.sip));
    let mut dialog = alice.subscribes("reg");
    let before = lab.subscriber("alice");
    for round in 0..2 {
        lab.dies_and_starts_again();
        let (status, view) = lab.user("alice");
        assert_eq!((status, view["state"].as_str()), (200, Some("registered")), "round {round}: {view}");
        assert_eq!(view["subscriptions"].as_array().map(Vec::len), Some(1), "{view}");
        if hss_too {
            let now = lab.subscriber("alice");
            assert!(now["sqn"].as_u64() >= before["sqn"].as_u64(), "round {round}: {before} {now}");
            assert_eq!(now["registration_state"], "registered", "{now}");
        }
        assert_eq!(alice.reregisters().status(), 200);
        assert!(alice.phone.notified(&dialog, SOON, 200).is_some(), "round {round}: the subscription stands");
        let (challenge, ok) = alice.phone.register_fully();
        assert_eq!((challenge.status(), ok.status()), (401, 200));
        alice.former = challenge;
        dialog.accepted = ok;
        assert!(alice.phone.notified(&dialog, SOON, 200).is_some());
    }
    if hss_too {
        let url = format!("{}/subscribers/alice@{}/reauthenticate", lab.hss, e2e::DOMAIN);
        let (status, body) = e2e::http::post(&url, &serde_json::json!({})).unwrap();
        assert_eq!((status, body["result_code"].as_u64()), (200, Some(2001)), "{body}");
        assert_eq!(alice.proves_itself().status(), 200);
    }
}

#[test]
fn a_directory_keeps_users_and_what_the_hss_knows() {
    let folder = std::env::temp_dir().join(format!("rollcall-lasting-{}", std::process::id()));
    outlives(&["--data", &folder.to_string_lossy()], true);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn redis_keeps_users() {
    if !have("redis-server") {
        return;
    }
    let redis = Redis::start();
    outlives(&["--redis", &redis.url()], false);
}
