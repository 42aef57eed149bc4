//! The binary as a person meets it: what it prints, and how it ends.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const ALICE: &str = "alice@ims.mnc001.mcc001.3gppnetwork.org";

fn rollcall(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ROLLCALL_")) {
        command.env_remove(name);
    }
    command
}

fn run(arguments: &[&str]) -> Output {
    rollcall(arguments).output().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// It ends with 1 and one line on stderr, and prints nothing.
fn refused(output: &Output) -> String {
    let line = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert_eq!(line.trim_end().lines().count(), 1, "{line}");
    assert!(line.starts_with("rollcall: "), "{line}");
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    line
}

#[test]
fn help_names_every_command_and_ends_with_0() {
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let shown = text(&help.stdout);
    for command in [
        "lab",
        "node",
        "hss",
        "ue",
        "load",
        "users",
        "user",
        "watch",
        "top",
        "reauthenticate",
        "deregister",
        "cluster",
        "drain",
        "ready",
    ] {
        assert!(shown.contains(&format!("\n  {command} ")), "{command}: {shown}");
        let help = run(&[command, "--help"]);
        assert_eq!(help.status.code(), Some(0), "{command}");
        assert!(text(&help.stdout).contains("Usage: rollcall"), "{command}");
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in
        [&["nonsense"] as &[&str], &[], &["user"], &["user", "alice"], &["lab", "--sip-port", "x"], &["node"]]
    {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn completions_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("reauthenticate"), "{shell}");
    }
}

#[test]
fn without_a_node_the_client_says_where_it_looked() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let api = format!("http://{free}");
    for arguments in [
        &["users"] as &[&str],
        &["user", ALICE],
        &["watch", ALICE],
        &["top"],
        &["cluster"],
        &["reauthenticate", ALICE],
        &["reauthenticate", ALICE, "--wait"],
        &["deregister", ALICE, "--reason", "x"],
        &["drain", "n1"],
        &["ready"],
    ] {
        let line = refused(&rollcall(arguments).env("ROLLCALL_API", &api).output().unwrap());
        assert!(line.contains(&api) && line.contains("--api"), "{arguments:?}: {line}");
    }
}

/// A node that gives one answer to everything.
fn saying(status: &'static str, kind: &'static str, body: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            // What is closed with something unread is reset, and the answer with it.
            let _ = stream.shutdown(Shutdown::Write);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    address
}

#[test]
fn a_refusal_is_repeated_with_its_reason() {
    let problem = r#"{"type":"about:blank","title":"Not Found","status":404,"detail":"not registered"}"#;
    let api = format!("http://{}", saying("404 Not Found", "application/problem+json", problem));
    for arguments in [
        &["user", ALICE] as &[&str],
        &["reauthenticate", ALICE],
        &["reauthenticate", ALICE, "--wait"],
        &["watch", ALICE],
    ] {
        let line = refused(&rollcall(arguments).args(["--api", &api]).output().unwrap());
        assert!(line.contains("not registered (404)"), "{arguments:?}: {line}");
    }
    let api = format!("http://{}", saying("200 OK", "text/html", "<p>hello"));
    let line = refused(&rollcall(&["users", "--api", &api]).output().unwrap());
    assert!(line.contains("does not answer as a node"), "{line}");
}

#[test]
fn ready_is_who_says_so_and_the_others_are_asked_again_if_told_to_wait() {
    let missing = r#"{"status":503,"detail":"no HSS"}"#;
    let api = format!("http://{}", saying("503 Service Unavailable", "application/problem+json", missing));
    let line = refused(&run(&["ready", "--api", &api]));
    assert!(line.contains("no HSS (503)"), "{line}");
    let begun = Instant::now();
    refused(&run(&["ready", "--api", &api, "--wait", "1"]));
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    let api = format!("http://{}", saying("200 OK", "text/plain", "ready\n"));
    let begun = Instant::now();
    let ready = run(&["ready", "--api", &api, "--wait", "60"]);
    assert_eq!(ready.status.code(), Some(0), "{}", text(&ready.stderr));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn a_list_is_a_table_or_json() {
    let page = r#"{"users":[{"impi":"alice@a.b","state":"registered","shard":7,"node":"n1","bindings":1,"subscriptions":2,
                  "sessions":0,"reauthentication":"awaiting"}],"next":null}"#;
    let api = format!("http://{}", saying("200 OK", "application/json", page));
    let table = text(&run(&["users", "--api", &api]).stdout);
    let mut lines = table.lines();
    assert!(lines.next().unwrap().starts_with("IMPI"), "{table}");
    let row: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(row, ["alice@a.b", "registered", "1", "2", "0", "awaiting", "7", "n1"]);
    let json = run(&["users", "--json", "--api", &api]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["users"][0]["shard"], 7);
}

#[test]
fn a_configuration_is_printed_and_accepted_again() {
    let folder = std::env::temp_dir().join(format!("rollcall-command-line-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("node.toml");
    let printed = run(&["node", "--print-config"]);
    assert_eq!(printed.status.code(), Some(0));
    std::fs::write(&file, &printed.stdout).unwrap();
    let path = file.to_str().unwrap();
    assert_eq!(run(&["node", "--config", path, "--check"]).status.code(), Some(0));
    std::fs::write(&file, "[reauthentication]\nperoid = 60\n").unwrap();
    let line = refused(&run(&["node", "--config", path, "--check"]));
    assert!(
        line.contains("reauthentication.peroid") && line.contains("60") && line.contains("expected"),
        "{line}"
    );
    let line = refused(&run(&["node", "--config", folder.join("absent").to_str().unwrap()]));
    assert!(line.contains("absent"), "{line}");
    let line = refused(&run(&["hss", "--config", folder.join("absent").to_str().unwrap()]));
    assert!(line.contains("absent"), "{line}");
    assert!(text(&run(&["hss", "--print-config"]).stdout).contains("[hss]"));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_store_that_cannot_be_had_is_named() {
    let file = std::env::temp_dir().join(format!("rollcall-no-directory-{}", std::process::id()));
    std::fs::write(&file, "").unwrap();
    let file = file.display().to_string();
    let port = free_port();
    let nobody = format!("redis://user:hidden@127.0.0.1:{port}/0");
    for (flag, value, expected) in [
        ("--data", &*file, "expected a directory"),
        ("--redis", "somewhere", "'somewhere' is no URL of Redis; expected redis://"),
        ("--redis", &nobody, "no connection"),
    ] {
        let ports = ["--sip-port", "--http-port", "--hss-http-port", "--diameter-port"]
            .map(|flag| [flag.to_owned(), free_port()]);
        let ports: Vec<&str> = ports.iter().flatten().map(String::as_str).collect();
        let line = refused(&run(&[&["lab", flag, value], &ports[..]].concat()));
        assert!(line.contains(expected) && !line.contains("hidden"), "{line}");
    }
    std::fs::remove_file(file).unwrap();
}

fn free_port() -> String {
    for _ in 0..100 {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address.port().to_string();
        }
    }
    panic!("no free port");
}

#[test]
fn a_port_in_use_is_named_by_its_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let flags = ["--sip-port", "--http-port", "--hss-http-port", "--diameter-port"];
    for flag in flags {
        let ports: Vec<(&str, String)> = flags
            .iter()
            .map(|each| (*each, if *each == flag { port.clone() } else { free_port() }))
            .collect();
        let mut command = rollcall(&["lab"]);
        for (flag, port) in &ports {
            command.args([*flag, port]);
        }
        let line = refused(&command.output().unwrap());
        assert!(
            line.contains(flag) && line.contains(&format!("127.0.0.1:{port}")) && line.contains("use "),
            "{line}"
        );
    }
}

/// A lab that ends with the test.
struct Lab {
    child: Child,
    banner: String,
    sip: String,
    api: String,
}

impl Lab {
    fn start(more: &[&str]) -> Self {
        let ports: Vec<String> = (0..4).map(|_| free_port()).collect();
        let mut command = rollcall(&["lab", "--sip-port", &ports[0], "--http-port", &ports[1]]);
        command.args(["--hss-http-port", &ports[2], "--diameter-port", &ports[3]]).args(more);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut banner = String::new();
        while !banner.contains("Ctrl-C") {
            let Some(Ok(line)) = lines.next() else { panic!("the lab ended: {banner}") };
            banner.push_str(&line);
            banner.push('\n');
        }
        let (sip, api) = (format!("127.0.0.1:{}", ports[0]), format!("http://127.0.0.1:{}", ports[1]));
        Self { child, banner, sip, api }
    }

    fn client(&self, arguments: &[&str]) -> Output {
        rollcall(arguments).args(["--api", &self.api]).output().unwrap()
    }

    fn ue(&self, command: &str, arguments: &[&str]) -> Command {
        let mut ue = rollcall(&["ue", command, "--impi", ALICE, "--proxy", &self.sip]);
        ue.args(arguments).stdout(Stdio::piped());
        ue
    }

    fn end(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-INT", &pid]).status().unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not happen");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_lab_from_registration_to_reauthentication_and_its_end() {
    let begun = Instant::now();
    let mut lab = Lab::start(&["--generate", "1000"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    for told in [&*lab.sip, &*lab.api, "alice", "user001000", "rollcall-lab-key", "--wait"] {
        assert!(lab.banner.contains(told), "{told}: {}", lab.banner);
    }
    assert_eq!(lab.client(&["ready"]).status.code(), Some(0));
    let nobody = lab.client(&["reauthenticate", ALICE, "--wait"]);
    assert_eq!(nobody.status.code(), Some(1), "{}", text(&nobody.stdout));
    assert!(lab.ue("register", &[]).status().unwrap().success());
    assert!(text(&lab.client(&["users"]).stdout).contains(ALICE));

    let mut ue = lab.ue("subscribe", &["--on-reauth", "obey"]).spawn().unwrap();
    until(|| {
        let view: serde_json::Value =
            serde_json::from_slice(&lab.client(&["user", ALICE, "--json"]).stdout).ok()?;
        (view["subscriptions"][0]["last_notify"]["status"] == 200).then_some(())
    });
    let obeyed = lab.client(&["reauthenticate", ALICE, "--period", "20", "--wait"]);
    assert_eq!(obeyed.status.code(), Some(0), "{}{}", text(&obeyed.stdout), text(&obeyed.stderr));
    assert!(text(&obeyed.stdout).contains("re-authenticated"), "{}", text(&obeyed.stdout));
    let shown = text(&lab.client(&["top"]).stdout);
    assert!(shown.contains("in re-authentication: 0"), "{shown}");

    let deregistered = lab.client(&["deregister", ALICE, "--reason", "drill"]);
    assert_eq!(deregistered.status.code(), Some(0), "{}", text(&deregistered.stderr));
    until(|| ue.try_wait().unwrap());
    let begun = Instant::now();
    assert_eq!(lab.end(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[test]
fn who_ignores_a_demand_is_deregistered_and_the_operator_told() {
    let lab = Lab::start(&[]);
    assert!(lab.ue("register", &[]).status().unwrap().success());
    let ignored = lab.client(&["reauthenticate", ALICE, "--period", "1", "--wait"]);
    assert_eq!(ignored.status.code(), Some(1), "{}", text(&ignored.stdout));
    assert!(text(&ignored.stderr).contains("is deregistered"), "{}", text(&ignored.stderr));
}
