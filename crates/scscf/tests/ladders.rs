//! Text sequence charts, executed against the user in virtual time. `UPDATE_LADDERS=1` rewrites what was observed.
//!
//! A line `at TIME PARTY > WORDS` is what happens; the lines `< PARTY MESSAGE` below it are what the user then says, with the
//! time in front where it says so on the way to that moment. `given`, `with` and `then` set the scene and look at its end.
//! Parties answer NOTIFY and REFER, and a BYE of ours, with 200 at once unless they are silent; what is forwarded to them they
//! answer where the ladder says so.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "world/mod.rs"]
mod world;

use scscf::cx::{self, DeregistrationReason};
use scscf::policy::OnWrongAnswer;
use scscf::profile::{Condition, DefaultHandling};
use scscf::view::RegistrationState;
use scscf::{Event, Impi, Purpose, Span, Timestamp};
use sip::Method;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use world::{IMPI, Proof, START, Ue, Watcher, World};

struct Ladder {
    world: World,
    ues: BTreeMap<String, Ue>,
    watchers: BTreeMap<(String, String), Watcher>,
    silent: Vec<String>,
    /// When what was observed happened.
    observed: Vec<(Timestamp, String)>,
}

impl Ladder {
    fn new() -> Self {
        Self {
            world: World::new(),
            ues: BTreeMap::new(),
            watchers: BTreeMap::new(),
            silent: Vec::new(),
            observed: Vec::new(),
        }
    }

    fn given(&mut self, words: &[&str]) {
        match words {
            ["alice", "registered", "at", name, rest @ ..] => {
                let mut ue = ue(name);
                if let ["expires", seconds] = rest {
                    ue.expires = seconds.parse().unwrap();
                }
                self.world.attach(&mut ue);
                self.ues.insert((*name).into(), ue);
            }
            [name, "watches", event] => {
                let mut watcher = watcher(name, event);
                self.world.watch(&mut watcher);
                self.watchers.insert(((*name).into(), (*event).into()), watcher);
            }
            [name, "hears", "of", "registrations"] => self.hears(name, DefaultHandling::SessionContinued),
            [name, "must", "take", "registrations"] => self.hears(name, DefaultHandling::SessionTerminated),
            ["calls", "go", "by", servers @ ..] => self.serve(servers),
            ["alice", "and", "bob", "talk"] => {
                self.world.invite("ue1");
                self.by_servers();
                self.world.answers("bob", 200);
                self.world.acknowledge();
            }
            [name, "is", "silent"] => self.silent.push((*name).into()),
            _ => panic!("given {words:?}"),
        }
        self.world.arrows.clear();
    }

    /// The application servers of calls; `-` before the name of one without which there is no call.
    fn serve(&mut self, servers: &[&str]) {
        let profile = &mut self.world.profile.profiles[0];
        let criterion = profile.criteria[0].clone();
        let of = |(server, priority): (&&str, u32)| {
            let mut criterion = criterion.clone();
            criterion.priority = priority;
            let named = server.trim_start_matches('-');
            criterion.application_server.server_name = format!("sip:{named}.home1.net").into();
            if named != *server {
                criterion.application_server.default_handling = DefaultHandling::SessionTerminated;
            }
            criterion
        };
        let named = servers.iter().filter(|server| **server != "nobody");
        profile.criteria = named.zip(0..).map(of).collect::<Vec<_>>().into();
    }

    /// Every server that has an INVITE passes it on.
    fn by_servers(&mut self) {
        while let Some(server) = self.world.server_at_work() {
            self.world.passes(&server);
        }
    }

    /// One more application server whose criterion matches REGISTER.
    fn hears(&mut self, name: &str, default_handling: DefaultHandling) {
        let profile = &mut self.world.profile.profiles[0];
        let mut criteria = profile.criteria.to_vec();
        let mut criterion = criteria[0].clone();
        let trigger = criterion.trigger.as_mut().unwrap();
        trigger.spts[0].condition = Condition::Method("REGISTER".into());
        criterion.application_server.server_name = format!("sip:{name}.home1.net").into();
        criterion.application_server.default_handling = default_handling;
        criterion.priority = criteria.len() as u32;
        criteria.push(criterion);
        profile.criteria = criteria.into();
    }

    fn with(&mut self, words: &[&str]) {
        let policy = &mut self.world.policy;
        match words {
            ["on_wrong_answer", "rechallenge"] => {
                policy.reauthentication.on_wrong_answer = OnWrongAnswer::Rechallenge;
            }
            ["on_wrong_answer", "deregister"] => {
                policy.reauthentication.on_wrong_answer = OnWrongAnswer::Deregister;
            }
            ["on_wrong_answer", "reject"] => policy.reauthentication.on_wrong_answer = OnWrongAnswer::Reject,
            ["refer"] => policy.reauthentication.refer = true,
            _ => panic!("with {words:?}"),
        }
    }

    fn happens(&mut self, party: &str, words: &[&str]) {
        match words {
            ["REGISTER", rest @ ..] => self.register(party, rest),
            ["SUBSCRIBE", event, rest @ ..] => {
                let known = (party.to_owned(), (*event).to_owned());
                let expires = match rest {
                    ["expires", seconds] => seconds.parse().unwrap(),
                    _ => 600_000,
                };
                let mut watcher = self.watchers.remove(&known).unwrap_or_else(|| watcher(party, event));
                self.world.subscribe(&mut watcher, Some(expires));
                self.watchers.insert(known, watcher);
            }
            [status, "NOTIFY" | "REGISTER" | "to", ..] => {
                let sent = self.awaiting(party);
                match *status {
                    "no" => self.world.time_out(&sent),
                    status => self.world.reply(&sent, status.parse().unwrap()),
                }
            }
            ["RAR"] => {
                let impi = Impi::new(IMPI).unwrap();
                self.world.demand(cx::Demand::ReAuth(cx::ReAuth { impi }));
            }
            ["RTR", reason] => {
                self.world.terminate(match *reason {
                    "permanent_termination" => DeregistrationReason::PermanentTermination,
                    "new_server_assigned" => DeregistrationReason::NewServerAssigned,
                    "server_change" => DeregistrationReason::ServerChange,
                    "remove_s_cscf" => DeregistrationReason::RemoveScscf,
                    _ => panic!("{reason}"),
                });
            }
            ["reauthenticate", rest @ ..] => {
                let period = match rest {
                    ["period", seconds] => Some(seconds.parse().unwrap()),
                    _ => None,
                };
                self.world.reauthenticate(period);
            }
            ["deregister"] => {
                let ask = Some(scscf::AskTx(self.world.next()));
                self.world.step(Event::Deregister { reason: "an operator's wish".into(), ask });
            }
            ["takes", "over"] => self.world.fail_over(),
            ["INVITE"] => self.world.invite(party),
            ["CANCEL"] => self.world.cancel_call(),
            ["ACK"] => self.world.acknowledge(),
            ["BYE"] => self.world.says(party, Method::Bye),
            ["INFO"] => self.world.says(party, Method::Info),
            ["passes", "it", "on"] => self.world.passes(party),
            [status] => self.world.answers(party, status.parse().unwrap()),
            _ => panic!("{party} > {words:?}"),
        }
    }

    fn register(&mut self, party: &str, words: &[&str]) {
        let mut ue = self.ues.remove(party).unwrap_or_else(|| ue(party));
        let (mut proof, mut protected) = (Proof::None, false);
        let expires = ue.expires;
        let mut words = words;
        loop {
            words = match words {
                ["answer", rest @ ..] => {
                    (proof, protected) = (Proof::Right, true);
                    rest
                }
                ["wrong", "answer", rest @ ..] => {
                    (proof, protected) = (Proof::Wrong, true);
                    rest
                }
                ["protected", rest @ ..] => {
                    (proof, protected) = (Proof::Right, true);
                    rest
                }
                ["contact", host, rest @ ..] => {
                    ue.contact = format!("<sip:alice@{host}:5060>");
                    rest
                }
                ["expires", seconds, rest @ ..] => {
                    ue.expires = seconds.parse().unwrap();
                    rest
                }
                [] => break,
                other => panic!("REGISTER {other:?}"),
            };
        }
        let request = self.world.build_register(&mut ue, proof, protected && party != "attacker");
        let tx = self.world.arrive(request, true);
        let response = self.world.answers.remove(&tx).unwrap();
        ue.learn(&response);
        ue.expires = expires;
        self.ues.insert(party.into(), ue);
    }

    fn receiver(&self, sent: &world::Sent) -> String {
        match sent.purpose {
            Purpose::Notify(_) => self.world.name_of(sent.request.call_id()),
            Purpose::Refer => self.world.name_of(sent.request.uri_text()),
            Purpose::ThirdPartyRegister(_) => world::server_of(&sent.request),
            Purpose::Relay(..) | Purpose::Release(..) => {
                world::next_of(&sent.request).unwrap_or_else(|| world::whose(sent.request.uri_text()))
            }
        }
    }

    fn awaiting(&self, party: &str) -> world::Sent {
        self.world
            .sent
            .iter()
            .find(|sent| self.receiver(sent) == party)
            .cloned()
            .unwrap_or_else(|| panic!("{party} has nothing to answer"))
    }

    /// Who is not silent answers, and what was said is written down.
    fn settle(&mut self) {
        loop {
            let next = self.world.sent.iter().find(|sent| {
                // What passes a server is the server's to pass on.
                let passes =
                    matches!(sent.purpose, Purpose::Release(..)) && world::next_of(&sent.request).is_some();
                !passes && !self.silent.contains(&self.receiver(sent))
            });
            let Some(sent) = next.cloned() else { break };
            self.world.reply(&sent, 200);
        }
        let now = self.world.now;
        self.observed.extend(self.world.arrows.drain(..).map(|arrow| (now, arrow)));
    }

    fn pass_until(&mut self, until: Timestamp) {
        assert!(until >= self.world.now, "time goes on");
        while let Some(deadline) = self.world.user.next_deadline().filter(|&deadline| deadline <= until) {
            let span = deadline - self.world.now;
            self.world.pass(span);
            self.settle();
        }
        let span = until - self.world.now;
        self.world.pass(span);
    }

    fn then(&self, claim: &str) {
        let view = self.world.user.view();
        let holds = match claim.split(' ').collect::<Vec<_>>().as_slice() {
            ["alice", "is", "erased"] => self.world.erased,
            ["alice", "is", "registered"] => view.state == RegistrationState::Registered,
            ["alice", "is", "not", "registered"] => view.state == RegistrationState::NotRegistered,
            [number, "contact" | "contacts"] => view.bindings.len() == number.parse::<usize>().unwrap(),
            [number, "subscription" | "subscriptions"] => {
                view.subscriptions.len() == number.parse::<usize>().unwrap()
            }
            ["contact", "expires", "in", seconds] => view
                .bindings
                .iter()
                .any(|binding| self.world.seconds(binding.expires_at).to_string() == *seconds),
            [number, "session" | "sessions"] => view.sessions.len() == number.parse::<usize>().unwrap(),
            ["re-authentication", "is", "pending"] => view.reauthentication.is_some(),
            ["re-authentication", "is", "over"] => view.reauthentication.is_none(),
            _ => panic!("then {claim}"),
        };
        assert!(holds, "then {claim}: {view:?}");
    }
}

fn ue(name: &str) -> Ue {
    match name {
        "ue1" => Ue::one(),
        "ue2" => Ue::new("ue2", "10.0.0.2"),
        "attacker" => Ue::new("attacker", "10.6.6.6"),
        _ => panic!("{name} is no UE"),
    }
}

fn watcher(name: &str, event: &str) -> Watcher {
    match name {
        "ue1" => Watcher::ue(event),
        "pcscf1" => Watcher::p_cscf(event),
        "as1" => Watcher::server(event),
        _ => panic!("{name} watches nobody"),
    }
}

fn span(text: &str) -> Span {
    let (number, unit) = text.split_at(text.len() - 1);
    let number: u64 = number.parse().unwrap();
    Span::seconds(match unit {
        "s" => number,
        "m" => number * 60,
        "h" => number * 3600,
        _ => panic!("{text} is no time"),
    })
}

fn is_observed(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with('<')
        || line.split_once(' ').is_some_and(|(time, rest)| {
            rest.trim_start().starts_with('<')
                && time.strip_suffix('s').is_some_and(|time| time.parse::<u64>().is_ok())
        })
}

/// Runs a ladder and writes it down with what was observed.
fn run(text: &str) -> String {
    let mut ladder = Ladder::new();
    let mut written = String::new();
    for line in text.lines().filter(|line| !is_observed(line)) {
        written.push_str(line);
        written.push('\n');
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            [first, ..] if first.starts_with('#') => {}
            ["given", rest @ ..] => ladder.given(rest),
            ["with", rest @ ..] => ladder.with(rest),
            ["then", ..] => {
                line.trim_start_matches("then").split(',').for_each(|claim| ladder.then(claim.trim()));
            }
            ["at", time, rest @ ..] => {
                let until = match time.strip_prefix('+') {
                    Some(later) => ladder.world.now + span(later),
                    None => START + span(time),
                };
                ladder.pass_until(until);
                if let [party, ">", words @ ..] = rest {
                    ladder.happens(party, words);
                    ladder.settle();
                } else {
                    assert!(rest.is_empty(), "{line}");
                }
                for (at, arrow) in ladder.observed.drain(..) {
                    let when = match at == ladder.world.now {
                        true => String::new(),
                        false => format!("{}s", (at - START).as_seconds()),
                    };
                    writeln!(written, "{when:>14} < {arrow}").unwrap();
                }
            }
            _ => panic!("{line}"),
        }
    }
    written
}

fn ladders() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ladders");
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ladder"))
        .collect();
    found.sort();
    found
}

#[test]
fn every_ladder_is_climbed_as_drawn() {
    let update = std::env::var_os("UPDATE_LADDERS").is_some();
    let mut wrong = String::new();
    let ladders = ladders();
    assert!(!ladders.is_empty());
    for path in ladders {
        let drawn = std::fs::read_to_string(&path).unwrap();
        let climbed = run(&drawn);
        if climbed == drawn {
            continue;
        }
        if update {
            std::fs::write(&path, &climbed).unwrap();
            continue;
        }
        writeln!(wrong, "{}:", path.file_name().unwrap().to_string_lossy()).unwrap();
        let (drawn, climbed): (Vec<_>, Vec<_>) = (drawn.lines().collect(), climbed.lines().collect());
        let same = drawn.iter().zip(&climbed).take_while(|(drawn, climbed)| drawn == climbed).count();
        for line in &drawn[same..drawn.len().min(same + 8)] {
            writeln!(wrong, "  drawn   {line}").unwrap();
        }
        for line in &climbed[same..climbed.len().min(same + 8)] {
            writeln!(wrong, "  climbed {line}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn a_ladder_that_is_drawn_wrong_is_noticed() {
    let drawn = "at 0s ue1 > REGISTER\n               < ue1 200\n";
    assert_ne!(run(drawn), drawn);
    let claim = std::panic::catch_unwind(|| run("then alice is registered\n"));
    assert!(claim.is_err());
}
