//! Calls as a person makes them: the UE and the application server of the binary, face to face.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Output, Stdio};

fn rollcall(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// Addresses that are free for UDP and TCP.
fn free(number: usize) -> Vec<String> {
    let mut found: Vec<(SocketAddr, UdpSocket, TcpListener)> = Vec::new();
    while found.len() < number {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        if let Ok(udp) = UdpSocket::bind(address) {
            found.push((address, udp, tcp));
        }
    }
    found.iter().map(|(address, ..)| address.to_string()).collect()
}

/// A process that ends with the test.
struct Running(Option<Child>);

impl Running {
    /// Waits until it ends by itself.
    fn wait(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }

    /// Ends it politely.
    fn end(self) -> Option<i32> {
        let pid = self.0.as_ref().unwrap().id().to_string();
        Command::new("kill").args(["-INT", &pid]).status().unwrap();
        self.wait().status.code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A UE that answers, started once it can be called.
fn answering(own: &str, proxy: &str, more: &[&str]) -> Running {
    let fixed =
        ["ue", "answer", "--impi", "bob@x.example", "--no-register", "--listen", own, "--proxy", proxy];
    let child = rollcall(&[&fixed[..], more].concat()).spawn().unwrap();
    // It says nothing before the first call; its port is what tells.
    while UdpSocket::bind(own).is_ok() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Running(Some(child))
}

fn call(own: &str, proxy: &str, to: &str, more: &[&str]) -> Output {
    let fixed =
        ["ue", "call", "--impi", "alice@x.example", "--no-register", "--listen", own, "--proxy", proxy];
    rollcall(&[&fixed[..], &["--to", to], more].concat()).output().unwrap()
}

fn ended(output: &Output, code: i32, said: &str) {
    let both = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{both}");
    assert!(both.contains(said), "{said}: {both}");
}

const BOB: &str = "sip:bob@x.example";

#[test]
fn a_call_ends_with_0_only_if_it_went_as_set_out() {
    let [a, b] = &free(2)[..] else { panic!() };
    for (answers, calls, code, said) in [
        (&["--ring", "0.1"][..], &["--hold", "0.1", "--reinvite", "--update"][..], 0, "hung up"),
        (&["--reject", "486"], &[], 1, "refused: 486 Busy Here"),
        (&["--reject", "486"], &["--expect", "486"], 0, "refused with 486"),
        (&["--never"], &["--cancel-after", "0.2"], 0, "cancelled"),
        (&["--never"], &["--ring-timeout", "0.2"], 1, "nobody answered in time"),
        (&["--hangup-after", "0.1"], &["--hold", "5", "--expect-bye"], 0, "released by BYE"),
        (&["--hangup-after", "0.1"], &["--hold", "5"], 1, "it ended before it was to end"),
        (&[], &["--hold", "0.2", "--expect-bye"], 1, "no BYE came"),
        (&[], &["--hold", "0", "--expect", "404"], 1, "it was answered"),
        (&["--reliable"], &["--100rel", "--late-offer", "--hold", "0"], 0, "180, reliably"),
        (&[], &["--method", "message", "--body", "hello"], 0, "200"),
        (&[], &["--method", "options"], 0, "200"),
    ] {
        let options = calls.contains(&"options");
        let count = if options { &[][..] } else { &["--count", "1"][..] };
        let bob = answering(b, a, &[answers, count].concat());
        ended(&call(a, b, BOB, calls), code, said);
        let code = if options { bob.end() } else { bob.wait().status.code() };
        assert_eq!(code, Some(0), "{answers:?}");
    }
}

#[test]
fn who_answers_less_than_told_or_otherwise_ends_with_1() {
    let [a, b] = &free(2)[..] else { panic!() };
    let bob = answering(b, a, &["--count", "2", "--stay", "1"]);
    ended(&call(a, b, BOB, &["--hold", "0"]), 0, "hung up");
    ended(&bob.wait(), 1, "fewer calls and messages came");
    let bob = answering(b, a, &["--count", "1", "--ring", "5"]);
    ended(&call(a, b, BOB, &["--cancel-after", "0.1"]), 0, "cancelled");
    ended(&bob.wait(), 1, "a call did not end as set out");
}

#[test]
fn an_application_server_is_called_through_and_asked_what_it_saw() {
    let [a, b, server, web] = &free(4)[..] else { panic!() };
    for (mode, calls, code, said) in [
        (&["proxy"][..], &["--hold", "0"][..], 0, "hung up"),
        (&["b2bua"], &["--hold", "0"], 0, "hung up"),
        (&["slow", "--delay-ms", "300"], &["--hold", "0"], 0, "hung up"),
        (&["answer"], &["--hold", "0"], 0, "hung up"),
        (&["reject", "--status", "603", "--progress", "183"], &["--expect", "603"], 0, ": 183"),
        (&["redirect", "--to", "sip:carol@x.example"], &["--expect", "302"], 0, "302"),
        (&["trying"], &["--cancel-after", "0.2"], 0, "cancelled"),
    ] {
        let listen = format!("udp:{server}");
        let fixed = ["as", "--listen", &listen, "--http", web, "--mode"];
        let mut child = rollcall(&[&fixed[..], mode].concat()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains(mode[0]) && line.contains(&**server) && line.contains(&**web), "{line}");
        let running = Running(Some(child));
        let bob = answering(b, server, &[]);
        ended(&call(a, server, &format!("sip:bob@{b}"), calls), code, said);
        drop(bob);
        if mode[0] == "proxy" {
            let journal = get(web, "/journal?method=INVITE");
            assert!(journal.contains(&format!("\"uri\":\"sip:bob@{b}\"")), "{journal}");
        }
        assert_eq!(running.end(), Some(0), "{mode:?}");
    }
}

fn get(web: &str, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(web).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    std::io::read_to_string(stream).unwrap()
}

#[test]
fn a_script_is_read_before_it_is_followed() {
    let folder = std::env::temp_dir().join(format!("rollcall-calls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("steps.txt");
    let [a, b] = &free(2)[..] else { panic!() };
    let run = || {
        let fixed = ["ue", "script", "--impi", "alice@x.example", "--listen", a, "--proxy", b];
        rollcall(&fixed).arg(&file).output().unwrap()
    };
    ended(&run(), 1, "steps.txt");
    std::fs::write(&file, "call c1 sip:bob@x.example\nfly").unwrap();
    ended(&run(), 1, "line 2: 'fly' is no step");
    let _bob = answering(b, a, &[]);
    std::fs::write(&file, "call c1 sip:bob@x.example\nexpect c1 established\nhang-up c1\nexpect c1 hung-up")
        .unwrap();
    ended(&run(), 0, "hung up");
    std::fs::write(&file, "message sip:bob@x.example hi expect 404").unwrap();
    ended(&run(), 1, "line 1: it was answered 200 OK");
    std::fs::remove_dir_all(&folder).unwrap();
}
