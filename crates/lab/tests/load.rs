//! The load generator against a small S-CSCF that loses, refuses and answers as told.
#![allow(clippy::unwrap_used)]

use base64::{Engine, engine::general_purpose::STANDARD};
use lab::load::{self, Error, Plan};
use std::{
    collections::HashMap,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

/// Answers each REGISTER as `decide` says: status, or 0 for silence.
fn scscf(mut decide: impl FnMut(&str, u32) -> u16 + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 8192];
        let mut seen: HashMap<String, u32> = HashMap::new();
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or("").to_owned();
            let times = seen.entry(line("Via:")).or_default();
            *times += 1;
            let status = decide(&text, *times);
            if status == 0 {
                continue;
            }
            let nonce = STANDARD.encode([5_u8; 32]);
            let challenge = format!("WWW-Authenticate: Digest realm=\"r\", nonce=\"{nonce}\"\r\n");
            let lines =
                ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].map(|name| line(name) + "\r\n").concat();
            let challenge = if status == 401 { challenge } else { String::new() };
            let response =
                format!("SIP/2.0 {status} Whatever\r\n{lines}{challenge}Content-Length: 0\r\n\r\n");
            let _ = socket.send_to(response.as_bytes(), from);
        }
    });
    address
}

fn usual(text: &str) -> u16 {
    if text.contains("response=\"\"") { 401 } else { 200 }
}

fn plan(proxy: SocketAddr) -> Plan {
    Plan { users: 50, rate: 500.0, ..Plan::new(proxy) }
}

#[tokio::test]
async fn everybody_registers_once() {
    let proxy = scscf(|text, _| usual(text));
    let mut told = 0;
    let report = load::register(plan(proxy), |_| told += 1, std::future::pending()).await.unwrap();
    assert_eq!((report.total.started, report.total.succeeded, report.total.failed), (50, 50, 0), "{report}");
    assert_eq!(
        (
            report.total.stages.get("challenge").count,
            report.total.stages.get("answer").count,
            report.total.stages.get("whole").count
        ),
        (50, 50, 50)
    );
    assert!(
        report.total.stages.get("whole").p50_us >= report.total.stages.get("challenge").min_us && told >= 2,
        "{report}"
    );
    assert!(report.total.stages.get("whole_from_intended").p99_us >= report.total.stages.get("whole").p50_us);
}

#[tokio::test]
async fn what_is_lost_is_sent_again_and_no_failure() {
    let proxy = scscf(|text, times| if times == 1 && text.contains("user000007@") { 0 } else { usual(text) });
    let report = load::register(plan(proxy), |_| {}, std::future::pending()).await.unwrap();
    assert_eq!(
        (report.total.succeeded, report.total.failed, report.total.retransmissions),
        (50, 0, 2),
        "{report}"
    );
    assert!(report.total.stages.get("whole").max_us >= 1_000_000, "{report}");
}

#[tokio::test]
async fn failures_are_told_by_their_cause() {
    let proxy = scscf(|text, _| match () {
        () if text.contains("user000001@") => 403,
        () if text.contains("user000002@") => 503,
        () => usual(text),
    });
    let report = load::register(plan(proxy), |_| {}, std::future::pending()).await.unwrap();
    assert_eq!((report.total.succeeded, report.total.failed), (48, 2));
    assert_eq!(
        (report.total.failures["403 Whatever"], report.total.failures["503 Whatever"]),
        (1, 1),
        "{report}"
    );
}

#[tokio::test]
async fn registers_everybody_and_then_anew_without_being_challenged() {
    let proxy = scscf(|text, _| usual(text));
    let plan = Plan { duration: Some(Duration::from_millis(300)), ..plan(proxy) };
    let report = load::reregister(plan, |_| {}, std::future::pending()).await.unwrap();
    assert_eq!((report.total.started, report.total.succeeded), (150, 150), "{report}");
    assert_eq!(
        (report.total.stages.get("challenge").count, report.total.stages.get("whole").count),
        (0, 150)
    );
    let refusing = scscf(|_, _| 403);
    let plan = Plan { users: 2, ..Plan::new(refusing) };
    assert!(matches!(load::reregister(plan, |_| {}, std::future::pending()).await, Err(Error::Prepare(_))));
}

#[tokio::test]
async fn a_run_is_stopped_early_and_reports() {
    let proxy = scscf(|text, _| usual(text));
    let plan = Plan { duration: Some(Duration::from_secs(60)), ..plan(proxy) };
    let report = load::register(plan, |_| {}, tokio::time::sleep(Duration::from_millis(200))).await.unwrap();
    assert!(
        report.total.started > 10 && report.total.started < 5_000 && report.total.failed == 0,
        "{report}"
    );
    assert_eq!(report.total.started, report.total.succeeded);
}

#[tokio::test]
async fn plans_without_sense_are_refused() {
    let proxy = SocketAddr::from(([127, 0, 0, 1], 9));
    for wrong in [
        Plan { rate: 0.0, ..Plan::new(proxy) },
        Plan { rate: f64::NAN, ..Plan::new(proxy) },
        Plan { users: 0, ..Plan::new(proxy) },
        Plan { sockets: 0, ..Plan::new(proxy) },
        Plan { registration_rate: -1.0, ..Plan::new(proxy) },
    ] {
        assert!(matches!(load::register(wrong, |_| {}, std::future::pending()).await, Err(Error::Plan(_))));
    }
}
