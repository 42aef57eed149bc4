//! Calls and mixes of the load generator over UDP against a small S-CSCF that loses and changes what it is told to.
#![allow(clippy::unwrap_used)]

mod load_scscf;

use lab::load::{self, Error, Habits, Plan, Shares};
use load_scscf::Scscf;
use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

/// Starts one; where it listens.
fn scscf(tamper: impl FnMut(String) -> String + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut scscf = Scscf::new(address).tampering(tamper);
    std::thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            for (to, octets) in scscf.hear(from, &buffer[..length]) {
                let _ = socket.send_to(&octets, to);
            }
        }
    });
    address
}

fn plan(proxy: SocketAddr) -> Plan {
    Plan { users: 20, rate: 200.0, duration: Some(Duration::from_millis(500)), ..Plan::new(proxy) }
}

const HABITS: Habits = Habits {
    hold: Duration::from_millis(100),
    ring: Duration::from_millis(20),
    reject: 10,
    cancel: 10,
    callee_ends: 50,
};

#[tokio::test]
async fn calls_go_by_the_routes_that_were_learned() {
    let mut preparing = 0;
    let progress = |at: &load::Progress| preparing += u32::from(at.preparing);
    let report =
        load::call(plan(scscf(|text| text)), HABITS, progress, std::future::pending()).await.unwrap();
    let total = &report.total;
    assert_eq!((report.registered_before, total.started, total.failed), (40, 100, 0), "{report}");
    assert_eq!((total.succeeded, total.courses["rejected"], total.courses["cancelled"]), (100, 10, 10));
    assert!(preparing > 0 && report.unexpected.is_empty() && report.messages_sent >= 500, "{report}");
    let to_180 = total.stages.get("invite_to_180");
    let to_200 = total.stages.get("invite_to_200");
    assert_eq!((to_180.count, to_200.count, total.stages.get("bye_to_200").count), (90, 80, 80), "{report}");
    assert!(to_180.p50_us < 20_000 && to_200.min_us >= 20_000, "{report}");
}

#[tokio::test]
async fn loss_costs_time_and_no_call() {
    let mut number = 0;
    let lossy = move |text: String| {
        // Registrations arrive, so that the loss is all the calls'.
        number += u32::from(!text.contains("REGISTER"));
        if number % 13 == 7 && !text.contains("REGISTER") { String::new() } else { text }
    };
    let report = load::call(plan(scscf(lossy)), HABITS, |_| {}, std::future::pending()).await.unwrap();
    assert_eq!((report.total.succeeded, report.total.failed), (100, 0), "{report}");
    assert!(report.total.retransmissions > 10 && report.repeated > 0, "{report}");
}

#[tokio::test]
async fn a_stopped_run_ends_its_calls() {
    let plan = Plan { duration: Some(Duration::from_secs(600)), expires: 7200, ..plan(scscf(|text| text)) };
    let habits = Habits { hold: Duration::from_secs(600), ..HABITS };
    let begun = std::time::Instant::now();
    let report =
        load::call(plan, habits, |_| {}, tokio::time::sleep(Duration::from_millis(400))).await.unwrap();
    assert!(report.total.started > 20 && report.total.failed == 0, "{report}");
    assert_eq!(report.total.started, report.total.succeeded);
    assert!(report.most_in_flight > 10 && begun.elapsed() < Duration::from_secs(10), "{report}");
}

#[tokio::test]
async fn users_that_are_not_registered_make_no_calls() {
    // One of the twenty callees is refused.
    let refusing = |text: String| {
        let his = text.contains("CSeq: 2 REGISTER") && text.contains("user000025@");
        if his { text.replacen("200 OK", "403 Forbidden", 1) } else { text }
    };
    let report = load::call(plan(scscf(refusing)), HABITS, |_| {}, std::future::pending()).await.unwrap();
    assert_eq!((report.registered_before, report.total.succeeded), (39, 95), "{report}");
    assert_eq!(report.total.failures["the callee is not registered"], 5);
    let nobody = |text: String| text.replacen("200 OK", "403 Forbidden", 1);
    let error = load::call(plan(scscf(nobody)), HABITS, |_| {}, std::future::pending()).await.unwrap_err();
    assert!(matches!(error, Error::Prepare(cause) if cause == "403 Forbidden"));
}

#[tokio::test]
async fn a_mix_is_reported_by_kind() {
    let shares = Shares { register: 10, call: 35, ..Shares::default() };
    let plan = Plan { users: 100, ..plan(scscf(|text| text)) };
    let report = load::mixed(plan, HABITS, shares, |_| {}, std::future::pending()).await.unwrap();
    assert_eq!((report.total.started, report.total.succeeded), (100, 100), "{report}");
    let kinds: Vec<_> = report.kinds.iter().map(|(kind, count)| (*kind, count.succeeded)).collect();
    let expected = [("call", 35), ("message", 20), ("register", 10), ("reregister", 25), ("subscribe", 10)];
    assert_eq!(kinds, expected, "{report}");
    assert!(report.unexpected.is_empty() && report.late == 0, "{report}");
    let none = Shares { register: 0, reregister: 0, call: 0, message: 0, subscribe: 0 };
    let proxy = SocketAddr::from(([127, 0, 0, 1], 9));
    let error = load::mixed(Plan::new(proxy), HABITS, none, |_| {}, std::future::pending()).await;
    assert!(matches!(error, Err(Error::Plan(_))));
}

#[tokio::test]
async fn habits_without_sense_are_refused() {
    let proxy = SocketAddr::from(([127, 0, 0, 1], 9));
    for habits in [Habits { reject: 60, cancel: 60, ..HABITS }, Habits { callee_ends: 101, ..HABITS }] {
        let error = load::call(Plan::new(proxy), habits, |_| {}, std::future::pending()).await;
        assert!(matches!(error, Err(Error::Plan(_))));
    }
    let plan = Plan { expires: 600, duration: Some(Duration::from_secs(590)), ..Plan::new(proxy) };
    let error = load::call(plan, HABITS, |_| {}, std::future::pending()).await.unwrap_err();
    assert!(error.to_string().contains("longer expiry"), "{error}");
}

/// What the generator itself costs: `cargo test --release -p lab --test load_call -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "takes half a minute, and means something in a release build alone"]
async fn eleven_hundred_calls_a_second_take_a_fraction_of_one_core() {
    let processor_time = || {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
    };
    let plan = Plan {
        users: 2000,
        rate: 1100.0,
        duration: Some(Duration::from_secs(15)),
        ..Plan::new(scscf(|text| text))
    };
    let habits = Habits { hold: Duration::from_secs(5), reject: 5, cancel: 5, ..HABITS };
    let (mut begun, mut spent) = (None, 0.0);
    let progress = |at: &load::Progress| {
        if !at.preparing {
            let before = *begun.get_or_insert_with(processor_time);
            spent = processor_time() - before;
        }
    };
    let report = load::call(plan, habits, progress, std::future::pending()).await.unwrap();
    let per_call = spent / report.total.started as f64;
    eprintln!("{report}\n{spent:.2} s of one core, {:.0} us a call", per_call * 1e6);
    assert_eq!((report.total.started, report.total.failed), (16_500, 0), "{report}");
    assert!(per_call * 1100.0 < 0.5, "{per_call} s a call");
}
