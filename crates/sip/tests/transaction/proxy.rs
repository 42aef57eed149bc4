//! One table with both sides of a proxy: what comes in on a server transaction goes out on client transactions, and back.

use crate::rig::{VIA, parse, show, status, text, udp};
use sip::proxy::{self, BranchFailure, BranchId, Context, Heard};
use sip::transaction::{ClientId, Flow, Limits, Output, ServerId, Table, Tick, Timers, ViaTemplate};
use sip::{Message, Name, Request};
use std::collections::VecDeque;

/// A proxy that forks one INVITE to all of its branches, as small as it can be.
struct Proxy {
    table: Table,
    now: u64,
    context: Context,
    server: Option<(ServerId, Request)>,
    /// The INVITE of each branch as it left.
    left: Vec<Request>,
    /// CANCELs as they left.
    cancels: Vec<Request>,
    next: u64,
    finished: bool,
}

const UPSTREAM: u16 = 5070;

fn downstream() -> Flow {
    Flow { remote: "192.0.2.9:5090".parse().unwrap(), ..udp() }
}

impl Proxy {
    fn new(branches: u32) -> Self {
        let mut proxy = Self {
            table: Table::new(Timers::default(), Limits::default(), [3, 4]),
            now: 0,
            context: Context::new(true),
            server: None,
            left: Vec::new(),
            cancels: Vec::new(),
            next: 100,
            finished: false,
        };
        assert_eq!(proxy.receive(parse(&text("INVITE", VIA))), ["^ 100"]);
        for branch in 0..branches {
            proxy.fork(branch);
        }
        proxy
    }

    fn fork(&mut self, branch: u32) {
        let (_, request) = self.server.clone().unwrap();
        let mark = proxy::mark(&request);
        let via = ViaTemplate { mark: Some(mark), ..ViaTemplate::new("scscf.home.net:5060") };
        self.context.open(BranchId(branch));
        let id = ClientId(u64::from(branch));
        let forwarded = proxy::forwarded(&request).finish();
        self.run(|table, now, out| table.send(id, forwarded, downstream(), &via, now, out));
    }

    fn receive(&mut self, message: Message) -> Vec<String> {
        self.run(|table, now, out| table.receive(message, udp(), now, out))
    }

    /// The user agent server of a branch answers.
    fn answer(&mut self, branch: usize, code: u16) -> Vec<String> {
        let response = self.left[branch].respond(status(code), &format!("b{branch}")).finish();
        self.receive(parse(str::from_utf8(response.as_bytes()).unwrap()))
    }

    fn pass(&mut self, milliseconds: u64) -> Vec<String> {
        let until = self.now + milliseconds;
        let mut words = Vec::new();
        while let Some(Tick(at)) = self.table.next_deadline().filter(|&Tick(at)| at <= until) {
            self.now = self.now.max(at);
            words.extend(self.run(|table, now, out| table.expire(now, out)));
        }
        self.now = until;
        words
    }

    /// Runs the table and then itself; `^` is what goes up, `v` what goes down.
    fn run(&mut self, act: impl FnOnce(&mut Table, Tick, &mut Vec<Output>)) -> Vec<String> {
        let mut out = Vec::new();
        act(&mut self.table, Tick(self.now), &mut out);
        let mut todo = VecDeque::from(out);
        let mut words = Vec::new();
        while let Some(output) = todo.pop_front() {
            let mut out = Vec::new();
            if let Output::Transmit { flow, bytes } = &output {
                let up = flow.remote.port() == UPSTREAM;
                words.push(show(&output).replace('>', if up { "^" } else { "v" }));
                if let Message::Request(request) = Message::parse_datagram(bytes.clone()).unwrap() {
                    match request.method().as_str() {
                        "INVITE" => self.left.push(request),
                        "CANCEL" => self.cancels.push(request),
                        _ => {}
                    }
                }
            } else {
                self.heard(output, &mut out);
            }
            todo.extend(out);
        }
        words
    }

    fn heard(&mut self, output: Output, out: &mut Vec<Output>) {
        let now = Tick(self.now);
        match output {
            Output::Request { id, request, .. } => {
                self.table.respond(id, request.respond(status(100), "").finish(), now, out).unwrap();
                self.server = Some((id, request));
            }
            Output::Cancel { of: Some(_), request, .. } => {
                let reason = request.get(Name::Reason).map(|reason| reason.into_owned());
                self.cancel_all(reason.as_deref(), out);
            }
            Output::Response { id: ClientId(id), response } if id < 100 => {
                let (server, _) = self.server.clone().unwrap();
                let success = response.status().is_success();
                if success && self.table.again(server, &response, now, out).is_ok() {
                    return;
                }
                let returned = proxy::returned(&response).unwrap();
                match self.context.received(BranchId(id as u32), returned) {
                    Heard::Absorbed | Heard::Refused => {}
                    Heard::Provisional(response) => self.table.respond(server, response, now, out).unwrap(),
                    Heard::Success(response) => {
                        self.table.respond(server, response, now, out).unwrap();
                        self.cancel_all(Some("SIP;cause=200;text=\"Call completed elsewhere\""), out);
                    }
                    Heard::Declined => self.cancel_all(None, out),
                }
                self.finish(out);
            }
            Output::TimedOut { id: ClientId(id) } if id < 100 => {
                self.context.failed(BranchId(id as u32), BranchFailure::Timeout);
                self.finish(out);
            }
            _ => {}
        }
    }

    fn finish(&mut self, out: &mut Vec<Output>) {
        if self.context.is_done() && !self.context.is_decided() && !self.finished {
            self.finished = true;
            let (server, request) = self.server.clone().unwrap();
            self.table.respond(server, self.context.best(&request, "us"), Tick(self.now), out).unwrap();
        }
    }

    fn cancel_all(&mut self, reason: Option<&str>, out: &mut Vec<Output>) {
        for branch in self.context.unanswered().collect::<Vec<_>>() {
            self.next += 1;
            let (invite, cancel) = (ClientId(u64::from(branch.0)), ClientId(self.next));
            self.table.cancel(invite, cancel, reason, Tick(self.now), out).unwrap();
        }
    }

    fn upstream_cancels(&mut self, reason: &str) -> Vec<String> {
        let cancel = text("CANCEL", VIA).replace("Content-Length", &format!("{reason}Content-Length"));
        self.receive(parse(&cancel))
    }
}

#[test]
fn cg_12_a_repeated_2xx_goes_up_each_time_it_comes() {
    let mut proxy = Proxy::new(1);
    assert_eq!(proxy.answer(0, 180), ["^ 180"]);
    assert_eq!(proxy.answer(0, 200), ["^ 200"]);
    for _ in 0..3 {
        assert_eq!(proxy.pass(500), [""; 0]);
        assert_eq!(proxy.answer(0, 200), ["^ 200"]);
    }
    assert_eq!(proxy.receive(parse(&text("INVITE", VIA))), [""; 0], "CG-19: absorbed");
    proxy.pass(40_000);
    assert!(proxy.table.is_empty());
}

#[test]
fn the_2xx_of_another_branch_goes_up_too_and_each_repetition_is_its_own() {
    let mut proxy = Proxy::new(2);
    proxy.answer(0, 180);
    proxy.answer(1, 180);
    assert_eq!(proxy.answer(0, 200), ["^ 200", "v CANCEL"]);
    let reason = proxy.cancels[0].get(Name::Reason).unwrap().into_owned();
    assert_eq!(reason, "SIP;cause=200;text=\"Call completed elsewhere\"");
    assert_eq!(proxy.answer(1, 200), ["^ 200"], "it crossed the CANCEL");
    assert_eq!(proxy.answer(0, 200), ["^ 200"]);
    assert_eq!(proxy.answer(1, 200), ["^ 200"]);
}

#[test]
fn cg_13_cg_14_a_cancel_goes_down_to_every_branch_that_has_answered_anything() {
    let mut proxy = Proxy::new(2);
    proxy.answer(0, 180);
    assert_eq!(proxy.upstream_cancels("Reason: Q.850;cause=16\r\n"), ["^ 200", "v CANCEL"]);
    assert_eq!(proxy.answer(1, 100), ["v CANCEL"], "held until it was heard of");
    let reasons: Vec<_> =
        proxy.cancels.iter().map(|cancel| cancel.get(Name::Reason).unwrap().into_owned()).collect();
    assert_eq!(reasons, ["Q.850;cause=16", "Q.850;cause=16"]);
    assert_eq!(proxy.upstream_cancels("Reason: Q.850;cause=16\r\n"), ["^ 200"], "repeated");
    assert_eq!(proxy.answer(0, 487), ["v ACK"]);
    assert_eq!(proxy.answer(1, 487), ["v ACK", "^ 487"]);
    proxy.receive(parse(&text("ACK", VIA)));
    proxy.pass(400_000);
    assert!(proxy.table.is_empty() && proxy.table.next_deadline().is_none());
}

#[test]
fn a_2xx_wins_against_a_cancel_that_comes_too_late() {
    let mut proxy = Proxy::new(1);
    proxy.answer(0, 180);
    proxy.upstream_cancels("");
    assert_eq!(proxy.answer(0, 200), ["^ 200"], "RFC 3261 §9.1: the caller has to end it");
    assert_eq!(proxy.upstream_cancels(""), ["^ 200"]);
    assert_eq!(proxy.answer(0, 200), ["^ 200"]);
}

#[test]
fn cd_20_a_603_ends_the_other_branch_first_and_then_the_call() {
    let mut proxy = Proxy::new(2);
    proxy.answer(0, 180);
    proxy.answer(1, 180);
    assert_eq!(proxy.answer(1, 603), ["v ACK", "v CANCEL"]);
    assert_eq!(proxy.answer(0, 487), ["v ACK", "^ 603"]);
}

#[test]
fn cg_11_a_branch_that_never_answers_is_a_408() {
    let mut proxy = Proxy::new(1);
    let words = proxy.pass(32_000);
    assert_eq!(words.last().unwrap(), "^ 408");
    assert_eq!(words.iter().filter(|word| *word == "^ 408").count(), 1);
}
