//! What a person types, against a node and an HSS that are processes of their own: calls by `rollcall ue`, load by `rollcall
//! load`, an application server by `rollcall as`.

use e2e::{DOMAIN, Lab, Network, Process, eventually, free_port, http};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn impi(name: &str) -> String {
    format!("{name}@{DOMAIN}")
}

fn uri(name: &str) -> String {
    format!("sip:{name}@{DOMAIN}")
}

/// `rollcall ue COMMAND` as that user.
fn ue(command: &str, name: &str, sip: SocketAddr, more: &[&str]) -> Process {
    let (impi, proxy) = (impi(name), sip.to_string());
    Process::start(&[&["ue", command, "--impi", &impi, "--proxy", &proxy], more].concat(), &[])
}

/// One that answers, once it is registered.
fn answering(name: &str, sip: SocketAddr, more: &[&str]) -> Process {
    let ue = ue("answer", name, sip, more);
    let ready =
        eventually(SOON, || ue.output().iter().any(|line| line.contains("registered for")).then_some(()));
    assert!(ready.is_some(), "{:?}", ue.output());
    ue
}

/// Waits until it ends by itself; its exit code and what it wrote.
fn code(mut process: Process) -> (i32, Vec<String>) {
    let code = process.ends(SOON);
    let output = process.output();
    (code.unwrap_or_else(|| panic!("it does not end: {output:#?}")), output)
}

fn ends_with(wanted: i32, what: &str, process: Process) {
    let (code, output) = code(process);
    assert_eq!(code, wanted, "{what}: {output:#?}");
}

#[test]
fn calls_end_with_0_only_if_they_went_as_set_out() {
    let network = Network::start(1);
    let (sip, bob) = (network.sip, uri("bob"));
    let callee = answering("bob", sip, &["--count", "2", "--ring", "0.1", "--reliable"]);
    let with =
        ["--to", &bob, "--hold", "0.2", "--prack", "--reinvite", "--update", "--session-expires", "1800"];
    ends_with(0, "a call with everything", ue("call", "alice", sip, &with));
    let text = ["--to", &bob, "--method", "MESSAGE", "--body", "hello"];
    ends_with(0, "a message", ue("call", "alice", sip, &text));
    ends_with(0, "the one who answered both", callee);

    let callee = answering("bob", sip, &["--count", "1", "--reject", "486"]);
    ends_with(0, "a refusal expected", ue("call", "alice", sip, &["--to", &bob, "--expect", "486"]));
    ends_with(0, "the one who refused", callee);

    let callee = answering("bob", sip, &["--count", "1", "--never"]);
    ends_with(0, "given up", ue("call", "alice", sip, &["--to", &bob, "--cancel-after", "0.3"]));
    ends_with(0, "the one who was given up", callee);

    ends_with(0, "nobody there", ue("call", "alice", sip, &["--to", &bob, "--expect", "480"]));
    ends_with(0, "nobody known", ue("call", "alice", sip, &["--to", &uri("nobody"), "--expect", "404"]));
    ends_with(1, "nobody there, unexpectedly", ue("call", "alice", sip, &["--to", &bob]));

    let callee = answering("bob", sip, &["--count", "1", "--hangup-after", "0.2"]);
    let held = ["--to", &*bob, "--hold", "10"];
    ends_with(0, "the far side hangs up", ue("call", "alice", sip, &[&held[..], &["--expect-bye"]].concat()));
    ends_with(0, "the one who hung up", callee);
}

#[test]
fn the_network_releases_whoever_does_not_authenticate() {
    let lab = Lab::start(&[], &[("ROLLCALL__REAUTHENTICATION__MIN_PERIOD", "1")]);
    let callee = answering("bob", lab.sip, &["--count", "1"]);
    let call = ue(
        "call",
        "alice",
        lab.sip,
        &["--to", &uri("bob"), "--hold", "20", "--expect-bye", "--subscribe", "reg", "--on-reauth", "ignore"],
    );
    let stands = eventually(SOON, || {
        let view = lab.user("alice").1;
        (view["sessions"][0]["state"] == "confirmed" && !view["subscriptions"][0].is_null()).then_some(())
    });
    assert!(stands.is_some(), "{:?}", call.output());
    let asked = Process::start(
        &["reauthenticate", &impi("alice"), "--api", &lab.api, "--period", "1", "--wait"],
        &[],
    );
    let (call, output) = code(call);
    assert_eq!(call, 0, "{output:#?}");
    assert!(output.iter().any(|line| line.contains("No re-authentication in time")), "{output:#?}");
    ends_with(0, "the other end", callee);
    ends_with(1, "the operator is told", asked);
    // With BYE unexpected the same is a failure.
    let callee = answering("bob", lab.sip, &["--count", "1"]);
    let call = ue("call", "alice", lab.sip, &["--to", &uri("bob"), "--hold", "20"]);
    let stands =
        eventually(SOON, || (lab.user("alice").1["sessions"][0]["state"] == "confirmed").then_some(()));
    assert!(stands.is_some(), "{:?}", call.output());
    ends_with(
        0,
        "the operator ends it",
        Process::start(&["deregister", &impi("alice"), "--api", &lab.api, "--reason", "stolen"], &[]),
    );
    ends_with(1, "an end that was not expected", call);
    ends_with(0, "the other end", callee);
}

/// `rollcall ue script` as that user, and the file of its steps.
fn script(name: &str, lab: &Lab, steps: &str, more: &[&str]) -> (Process, Script) {
    let file = Script::write(steps);
    let path = file.0.to_string_lossy().into_owned();
    (ue("script", name, lab.sip, &[more, &[&path]].concat()), file)
}

/// A file that goes with its owner.
struct Script(PathBuf);

impl Script {
    fn write(steps: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("rollcall-script-{}-{}", std::process::id(), free_port()));
        std::fs::write(&path, steps).unwrap();
        Self(path)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

// CA-31: the end of a user in two calls and in the setup of a third, told by scripts alone.
#[test]
fn scripts_tell_the_end_of_a_user_in_three_calls() {
    let lab = Lab::start(&["--generate", "2"], &[("ROLLCALL__REAUTHENTICATION__MIN_PERIOD", "1")]);
    let (bob, _keep) = script(
        "bob",
        &lab,
        "register\nanswer\nawait a within 20\nexpect a released 'No re-auth' within 20\ncount a BYE 1",
        &[],
    );
    let (dave, _keep) = script(
        "user000002",
        &lab,
        "register\nnever\nawait a within 20\nexpect a cancelled within 20\ncount a CANCEL 1",
        &[],
    );
    let registered = |name: &str| {
        let registered = eventually(SOON, || (lab.user(name).1["state"] == "registered").then_some(()));
        assert!(registered.is_some(), "{name}: {:#}", lab.user(name).1);
    };
    registered("bob");
    registered("user000002");
    let steps = format!(
        "register\nsubscribe reg\nanswer\ncall to-bob {}\nexpect to-bob established\nawait from-carol within 20\n\
         expect from-carol established\ncall to-dave {}\nexpect to-dave ringing\nexpect to-dave refused 480 within 20\n\
         expect to-bob released 'No re-auth'\nexpect from-carol released 'No re-auth'\ncount to-bob BYE 1\n\
         count from-carol BYE 1",
        uri("bob"),
        uri("user000002")
    );
    let (alice, _keep) = script("alice", &lab, &steps, &["--on-reauth", "ignore"]);
    registered("alice");
    let steps = format!(
        "register\ncall a {}\nexpect a established\nexpect a released 'No re-auth' within 20\ncount a BYE 1",
        uri("alice")
    );
    let (carol, _keep) = script("user000001", &lab, &steps, &[]);
    let stands = eventually(SOON, || {
        let sessions = lab.user("alice").1["sessions"].as_array().cloned()?;
        let count = |state: &str| sessions.iter().filter(|one| one["state"] == state).count();
        (count("confirmed") == 2 && count("early") == 1).then_some(())
    });
    assert!(stands.is_some(), "{:#} {:#?}", lab.user("alice").1, alice.output());
    // What rings has been told to alice, too.
    let rings =
        eventually(SOON, || alice.output().iter().any(|line| line.contains("180 Ringing")).then_some(()));
    assert!(rings.is_some(), "{:#?}", alice.output());
    ends_with(
        0,
        "the operator asks",
        Process::start(&["reauthenticate", &impi("alice"), "--api", &lab.api, "--period", "1"], &[]),
    );
    for (who, process) in [("alice", alice), ("bob", bob), ("carol", carol), ("dave", dave)] {
        ends_with(0, who, process);
    }
}

#[test]
fn a_server_is_commanded_while_it_serves() {
    let lab = Lab::start(&[], &[]);
    let (port, web) = (free_port(), free_port());
    let (listen, http_at, s_cscf) =
        (format!("udp:127.0.0.1:{port}"), format!("127.0.0.1:{web}"), lab.sip.to_string());
    let name = format!("sip:scscf.{DOMAIN}:{}", lab.sip.port());
    let server = Process::start(
        &["as", "--listen", &listen, "--http", &http_at, "--s-cscf", &s_cscf, "--s-cscf-name", &name],
        &[],
    );
    let web = format!("http://{http_at}");
    let ready =
        eventually(SOON, || matches!(http::get(&format!("{web}/healthz")), Ok((200, _))).then_some(()));
    assert!(ready.is_some(), "{:?}", server.output());
    let xml = format!(
        "<IMSSubscription><PrivateID>{0}</PrivateID><ServiceProfile><PublicIdentity><Identity>sip:{0}</Identity>\
         </PublicIdentity><InitialFilterCriteria><Priority>0</Priority><ApplicationServer><ServerName>sip:127.0.0.1:{port}\
         </ServerName></ApplicationServer></InitialFilterCriteria></ServiceProfile></IMSSubscription>",
        impi("alice")
    );
    let subscriber = format!("{}/subscribers/{}", lab.hss, impi("alice"));
    assert_eq!(http::put(&subscriber, &json!({"profile_xml": xml})).unwrap().0, 200);
    let mode = |wanted: Value| {
        let (status, body) = http::put(&format!("{web}/mode"), &wanted).unwrap();
        assert_eq!(status, 200, "{body}");
    };
    let callee = answering("bob", lab.sip, &["--count", "3"]);
    let call =
        |more: &[&str]| ue("call", "alice", lab.sip, &[&["--to", &uri("bob"), "--hold", "0"], more].concat());
    for proxying in ["proxy", "b2bua"] {
        mode(json!({"mode": proxying}));
        ends_with(0, proxying, call(&[]));
    }
    mode(json!({"mode": "reject", "status": 603}));
    ends_with(0, "declined", call(&["--expect", "603"]));
    mode(json!({"mode": "redirect", "to": "sip:elsewhere@example.org"}));
    ends_with(0, "redirected", call(&["--expect", "302"]));
    mode(json!({"mode": "proxy"}));
    let (status, made) = http::post(
        &format!("{web}/calls"),
        &json!({"served_user": uri("alice"), "to": uri("bob"), "registered": false}),
    )
    .unwrap();
    assert_eq!(status, 200, "{made}");
    let established = eventually(SOON, || {
        let calls = http::get(&format!("{web}/calls")).ok()?.1;
        (calls["calls"][0]["state"] == "established").then_some(())
    });
    assert!(established.is_some(), "{:?}", http::get(&format!("{web}/calls")));
    let made = made["call_id"].as_str().unwrap();
    let (status, body) = http::delete(&format!("{web}/calls/{made}")).unwrap();
    assert_eq!(status, 200, "{body}");
    ends_with(0, "the one who answered all", callee);
    let journal = http::get(&format!("{web}/journal?method=REGISTER")).unwrap().1;
    assert!(journal["requests"].as_array().is_some_and(|all| !all.is_empty()), "{journal}");
}

/// Runs `rollcall load` to its end; the report.
fn load(sip: SocketAddr, arguments: &[&str]) -> Value {
    let proxy = sip.to_string();
    let all = [arguments, &["--proxy", &proxy, "--json"]].concat();
    let (code, output) = code(Process::start(&[&["load"], &all[..]].concat(), &[]));
    assert_eq!(code, 0, "{output:#?}");
    let text = output.join("\n");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn load_of_calls_without_a_failure() {
    let network = Network::start(200);
    let habits = ["--ring", "50", "--reject", "10", "--cancel", "10"];
    let plan = ["call", "--rate", "50", "--duration", "3", "--users", "100", "--hold", "0.5"];
    let report = load(network.sip, &[&plan[..], &habits].concat());
    assert_eq!((&report["failed"], &report["unexpected"]), (&json!(0), &json!({})), "{report:#}");
    assert!(report["succeeded"].as_u64() >= Some(140), "{report:#}");
    nothing_is_left(&network);
}

#[test]
fn load_of_everything_without_a_failure() {
    let network = Network::start(200);
    let plan = ["mixed", "--rate", "50", "--duration", "3", "--users", "100", "--hold", "0.5"];
    let report = load(network.sip, &plan);
    assert_eq!((&report["failed"], &report["unexpected"]), (&json!(0), &json!({})), "{report:#}");
    assert!(report["succeeded"].as_u64() >= Some(140), "{report:#}");
    nothing_is_left(&network);
}

/// No session is left at the node, and nothing went wrong there.
fn nothing_is_left(network: &Network) {
    let metrics = || http::get(&format!("{}/metrics", network.api)).unwrap().1;
    let value = |name: &str| {
        let text = metrics();
        let text = text.as_str().unwrap_or("");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
    };
    let over = eventually(Duration::from_secs(5), || (value("rollcall_sessions") == "0").then_some(()));
    assert!(over.is_some(), "{} sessions are left", value("rollcall_sessions"));
    for wrong in ["crashes", "unanswered", "sip_unreadable", "store_failures", "mailbox_full", "overloaded"] {
        assert_eq!(value(&format!("rollcall_{wrong}_total")), "0", "{wrong}");
    }
}
