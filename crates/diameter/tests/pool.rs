//! RFC 6733 §5.5.4, RFC 6733 §6.1 — several peers in virtual time: routing, failover, redirection, reconnection.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

mod fixtures;

use diameter::{
    Identity, Message, Tick,
    base::DisconnectCause,
    codes::{avp, command},
    cx::{self, HssAnswer},
    message::{ERROR, RETRANSMITTED},
    peer::{self, Closed, Peer, State},
    pool::{Config, LinkId, Output, Pool, Target, Why},
};
use fixtures::*;
use scscf::cx as values;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A pool, and an HSS `hssN.home` behind each target that is up.
struct World {
    pool: Pool,
    now: Tick,
    up: Vec<bool>,
    peers: BTreeMap<LinkId, (usize, Peer)>,
    /// Requests that have arrived: at which target, on which link, and what.
    arrived: Vec<(usize, LinkId, Message)>,
    /// What the pool told its owner.
    told: Vec<Output>,
    attempts: Vec<(Tick, usize)>,
}

fn still(mut config: peer::Config) -> peer::Config {
    config.watchdog_jitter_ms = 0;
    config
}

fn hss_number(number: usize) -> Identity {
    Identity::new(&format!("hss{number}.home"), "home")
}

impl World {
    fn new(priorities: &[u16]) -> Self {
        let targets: Vec<_> = priorities.iter().map(|&priority| Target { priority }).collect();
        let config = Config::new(still(peer::Config::scscf(5)));
        let mut out = Vec::new();
        let now = Tick(50);
        let pool = Pool::new(Identity::new("m.scscf.home", "home"), config, &targets, now, &mut out);
        let up = vec![true; targets.len()];
        let mut world =
            Self { pool, now, up, peers: BTreeMap::new(), arrived: vec![], told: vec![], attempts: vec![] };
        world.perform(out);
        world
    }

    fn perform(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Connect { link, target } => {
                    self.attempts.push((self.now, target));
                    let mut out = Vec::new();
                    if self.up[target] {
                        let peer = Peer::responder(hss_number(target), still(peer::Config::hss(1)), self.now);
                        self.peers.insert(link, (target, peer));
                        self.pool.connected(link, LOCAL, self.now, &mut out);
                    } else {
                        self.pool.connect_failed(link, self.now);
                    }
                    self.perform(out);
                }
                Output::Transmit { link, bytes } => {
                    let mut heard = Vec::new();
                    if let Some((_, peer)) = self.peers.get_mut(&link) {
                        peer.receive(&bytes, self.now, &mut heard);
                    }
                    self.hear(link, heard);
                }
                Output::Close { link, .. } => {
                    self.peers.remove(&link);
                    self.told.push(output);
                }
                Output::Opened { .. }
                | Output::Request { .. }
                | Output::Answer { .. }
                | Output::Failed { .. } => {
                    self.told.push(output);
                }
            }
        }
    }

    fn hear(&mut self, link: LinkId, heard: Vec<peer::Output>) {
        for said in heard {
            match said {
                peer::Output::Transmit(bytes) => {
                    let mut out = Vec::new();
                    self.pool.receive(link, &bytes, self.now, &mut out);
                    self.perform(out);
                }
                peer::Output::Request(message) => {
                    let target = self.peers[&link].0;
                    self.arrived.push((target, link, message));
                }
                _ => {}
            }
        }
    }

    fn request(&mut self, token: u64, hss: Option<&str>) {
        self.ask(
            token,
            values::Request::MultimediaAuth(values::MultimediaAuth { hss: hss.map(host), ..mar() }),
        );
    }

    fn request_assignment(&mut self, token: u64, hss: &str) {
        let sar = sar(values::ServerAssignmentType::UserDeregistration);
        self.ask(
            token,
            values::Request::ServerAssignment(values::ServerAssignment { hss: Some(host(hss)), ..sar }),
        );
    }

    fn ask(&mut self, token: u64, request: values::Request) {
        let message = cx::encode_request(&request, &scscf(), SESSION, "home").unwrap();
        let mut out = Vec::new();
        self.pool.request(message, token, self.now, &mut out);
        self.perform(out);
    }

    fn answer(&mut self, link: LinkId, request: &Message, answer: &HssAnswer) {
        let (target, _) = self.peers[&link];
        self.deliver(link, cx::encode_answer(request, answer, &hss_number(target)));
    }

    fn deliver(&mut self, link: LinkId, answer: Message) {
        let mut heard = Vec::new();
        self.peers.get_mut(&link).unwrap().1.answer(answer, &mut heard);
        self.hear(link, heard);
    }

    fn lose(&mut self, target: usize) {
        self.up[target] = false;
        let links: Vec<_> =
            self.peers.iter().filter(|(_, (t, _))| *t == target).map(|(link, _)| *link).collect();
        for link in links {
            self.peers.remove(&link);
            let mut out = Vec::new();
            self.pool.lost(link, self.now, &mut out);
            self.perform(out);
        }
    }

    fn until(&mut self, end: Tick) {
        while let Some(due) = self.pool.next_deadline().filter(|due| *due <= end) {
            assert!(due >= self.now || self.pool.next_deadline() <= Some(self.now), "time stands still");
            self.now = self.now.max(due);
            let mut out = Vec::new();
            self.pool.expire(self.now, &mut out);
            self.perform(out);
        }
        self.now = end;
    }

    fn later(&mut self, millis: u64) {
        self.until(self.now.after(millis));
    }

    fn took(&mut self) -> (usize, LinkId, Message) {
        assert_eq!(self.arrived.len(), 1);
        self.arrived.pop().unwrap()
    }

    fn ends(&mut self) -> Vec<(u64, Result<(), Why>)> {
        let ends = self.told.iter().filter_map(|told| match told {
            Output::Answer { token, .. } => Some((*token, Ok(()))),
            Output::Failed { token, why } => Some((*token, Err(*why))),
            _ => None,
        });
        let ends = ends.collect();
        self.told.clear();
        ends
    }
}

fn host(name: &str) -> values::Hss {
    values::Hss { host: name.into(), realm: "home".into() }
}

fn result(code: u32) -> HssAnswer {
    HssAnswer::Result(values::ResultCode::Base(code))
}

#[test]
fn the_open_peer_of_lowest_priority_number_gets_requests() {
    let mut world = World::new(&[10, 1, 5]);
    assert_eq!(world.pool.open_links(), 3);
    world.request(1, None);
    let (target, link, message) = world.took();
    assert_eq!(target, 1);
    world.answer(link, &message, &result(5012));
    assert_eq!(world.ends(), [(1, Ok(()))]);
    world.lose(1);
    world.request(2, None);
    assert_eq!(world.took().0, 2);
}

#[test]
fn the_host_a_request_is_destined_for_gets_it() {
    let mut world = World::new(&[1, 2, 3]);
    world.request(1, Some("HSS2.home"));
    let (target, _, message) = world.took();
    assert_eq!(target, 2);
    assert_eq!(message.text(avp::DESTINATION_HOST), Some("HSS2.home"));
    world.request(2, Some("hss.behind.an.agent"));
    let (target, _, message) = world.took();
    assert_eq!(target, 0);
    assert_eq!(message.text(avp::DESTINATION_HOST), Some("hss.behind.an.agent"));
}

#[test]
fn ce_09_an_unreachable_host_is_tried_once_more_by_realm_only() {
    for refusal in [3002, 3004] {
        let mut world = World::new(&[1]);
        world.request_assignment(1, "hss.behind.an.agent");
        let (_, link, first) = world.took();
        assert_eq!(first.command, command::SERVER_ASSIGNMENT);
        assert_eq!(first.text(avp::DESTINATION_HOST), Some("hss.behind.an.agent"));
        world.answer(link, &first, &result(refusal));
        let (_, link, second) = world.took();
        assert_eq!(second.find(avp::DESTINATION_HOST), None);
        assert_eq!(second.text(avp::DESTINATION_REALM), Some("home"));
        assert_eq!(second.end_to_end, first.end_to_end);
        world.answer(link, &second, &result(refusal));
        assert!(world.arrived.is_empty());
        assert_eq!(world.ends(), [(1, Ok(()))]);
    }
}

#[test]
fn ce_09_a_host_without_connection_is_left_out_at_once() {
    let mut world = World::new(&[1, 2]);
    world.lose(1);
    world.request_assignment(1, "hss1.home");
    let (target, _, message) = world.took();
    assert_eq!(target, 0);
    assert_eq!(message.find(avp::DESTINATION_HOST), None);
    assert_eq!(message.text(avp::DESTINATION_REALM), Some("home"));
}

#[test]
fn a_busy_peer_is_replaced_by_another_once() {
    let mut world = World::new(&[1, 2]);
    world.request(1, None);
    let (first, link, message) = world.took();
    world.answer(link, &message, &result(3004));
    let (second, link, message) = world.took();
    assert_eq!((first, second), (0, 1));
    world.answer(link, &message, &result(3004));
    assert!(world.arrived.is_empty());
    assert_eq!(world.ends(), [(1, Ok(()))]);
}

#[test]
fn a_lost_connection_makes_another_peer_get_the_same_request_marked() {
    let mut world = World::new(&[1, 2]);
    world.request(1, None);
    let (target, _, first) = world.took();
    assert_eq!((target, first.flags & RETRANSMITTED), (0, 0));
    world.lose(0);
    let (target, link, second) = world.took();
    assert_eq!((target, second.flags & RETRANSMITTED), (1, RETRANSMITTED));
    assert_eq!(second.end_to_end, first.end_to_end);
    world.answer(link, &second, &result(5012));
    assert_eq!(world.ends(), [(1, Ok(()))]);
}

#[test]
fn a_second_loss_ends_the_request() {
    let mut world = World::new(&[1, 2, 3]);
    world.request(1, None);
    world.lose(0);
    world.lose(1);
    assert_eq!(world.ends(), [(1, Err(Why::Disconnected))]);
    assert_eq!(world.arrived.len(), 2);
}

#[test]
fn a_slow_peer_is_joined_by_another_at_half_time_and_the_first_answer_counts() {
    for slow_wins in [true, false] {
        let mut world = World::new(&[1, 2]);
        world.request(1, None);
        let (_, slow, first) = world.took();
        world.later(2_499);
        assert!(world.arrived.is_empty());
        world.later(1);
        let (target, fast, second) = world.took();
        assert_eq!((target, second.end_to_end), (1, first.end_to_end));
        assert_eq!(second.flags & RETRANSMITTED, RETRANSMITTED);
        let (winner, loser) =
            if slow_wins { ((slow, first), (fast, second)) } else { ((fast, second), (slow, first)) };
        world.answer(winner.0, &winner.1, &result(5012));
        assert_eq!(world.ends(), [(1, Ok(()))]);
        world.answer(loser.0, &loser.1, &result(5012));
        world.later(10_000);
        assert_eq!(world.ends(), []);
        assert!(world.arrived.is_empty());
    }
}

#[test]
fn a_request_that_nobody_answers_ends_after_five_seconds() {
    for peers in [&[1][..], &[1, 2]] {
        let mut world = World::new(peers);
        world.request(1, None);
        world.later(4_999);
        assert_eq!(world.ends(), []);
        world.later(1);
        assert_eq!(world.ends(), [(1, Err(Why::TimedOut))]);
        assert_eq!(world.arrived.len(), peers.len());
        assert_eq!(world.pool.pending(), 0);
    }
}

#[test]
fn a_request_waits_a_second_for_a_connection() {
    let mut world = World::new(&[1]);
    world.lose(0);
    world.request(1, None);
    assert_eq!(world.ends(), []);
    world.up[0] = true;
    world.later(200);
    let (_, link, message) = world.took();
    world.answer(link, &message, &result(5012));
    assert_eq!(world.ends().last(), Some(&(1, Ok(()))));
    world.lose(0);
    world.told.clear();
    world.request(2, None);
    world.later(1_000);
    assert_eq!(world.ends(), [(2, Err(Why::Disconnected))]);
}

#[test]
fn a_redirection_is_followed_once_to_the_host_it_names() {
    let mut world = World::new(&[1, 2]);
    world.request(1, None);
    let (target, link, message) = world.took();
    assert_eq!(target, 0);
    let redirect = |request: &Message, host: &str| {
        request.answer(ERROR, |w| {
            w.unsigned32(avp::RESULT_CODE, 3006)
                .text(avp::ORIGIN_HOST, "slf.home")
                .text(avp::ORIGIN_REALM, "home")
                .text(avp::REDIRECT_HOST, host);
        })
    };
    world.deliver(link, redirect(&message, "aaa://hss1.home:3868;transport=tcp"));
    let (target, link, message) = world.took();
    assert_eq!((target, message.text(avp::DESTINATION_HOST)), (1, Some("hss1.home")));
    world.deliver(link, redirect(&message, "aaa://hss0.home"));
    assert!(world.arrived.is_empty());
    assert_eq!(world.ends(), [(1, Ok(()))]);
}

#[test]
fn reconnection_backs_off_to_tc_and_starts_over_after_success() {
    let mut world = World::new(&[1]);
    world.later(1_000);
    world.attempts.clear();
    world.lose(0);
    let lost_at = world.now;
    world.later(600_000);
    let times: Vec<_> = world.attempts.iter().map(|(at, _)| at.0).collect();
    let gaps: Vec<_> =
        std::iter::once(times[0] - lost_at.0).chain(times.windows(2).map(|pair| pair[1] - pair[0])).collect();
    for (attempt, gap) in gaps.iter().enumerate() {
        let longest = (100_u64 << attempt.min(20)).min(30_000);
        assert!((longest / 2..=longest).contains(gap), "attempt {attempt} after {gap} ms");
    }
    assert!(gaps.len() > 20 && gaps.iter().max().unwrap() > &15_000);
    world.up[0] = true;
    world.later(30_000);
    assert_eq!(world.pool.open_links(), 1);
    world.attempts.clear();
    world.lose(0);
    let lost_at = world.now;
    world.later(100);
    assert!(world.attempts[0].0.0 - lost_at.0 <= 100);
}

#[test]
fn ce_05_a_peer_that_misses_two_watchdogs_is_left_for_another() {
    let mut world = World::new(&[1, 2]);
    let first = *world.peers.iter().find(|(_, (target, _))| *target == 0).unwrap().0;
    // The HSS behind the first target falls silent without closing its connection.
    world.peers.remove(&first);
    world.later(29_000);
    let status = |world: &World| world.pool.statuses().map(|s| s.state).collect::<Vec<_>>();
    assert_eq!(status(&world), [Some(State::Open), Some(State::Open)]);
    world.later(31_500);
    assert_eq!(status(&world), [Some(State::Suspect), Some(State::Open)]);
    world.request(1, None);
    assert_eq!(world.took().0, 1, "a suspect peer gets no new request");
    world.up[0] = false;
    world.told.clear();
    world.later(30_000);
    let closed = world
        .told
        .iter()
        .any(|t| matches!(t, Output::Close { link, reason: Closed::Watchdog } if *link == first));
    assert!(closed, "{:?}", world.told);
}

#[test]
fn ce_06_shutdown_takes_leave_of_every_peer_and_waits_for_them() {
    let mut world = World::new(&[1, 2]);
    let mut out = Vec::new();
    world.pool.disconnect(DisconnectCause::Rebooting, world.now, &mut out);
    let dprs: Vec<_> = out
        .iter()
        .map(|output| match output {
            Output::Transmit { bytes, .. } => Message::decode(bytes.clone()).unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(dprs.len(), 2);
    assert!(
        dprs.iter()
            .all(|m| m.command == command::DISCONNECT_PEER && m.unsigned32(avp::DISCONNECT_CAUSE) == Some(0))
    );
    assert!(!world.pool.is_over());
    world.perform(out);
    assert!(world.pool.is_over());
    assert_eq!(world.pool.next_deadline(), None);
    world.told.clear();
    world.request(1, None);
    assert_eq!(world.ends(), [(1, Err(Why::Disconnected))]);
}

#[test]
fn of_two_connections_with_one_peer_one_stays_and_both_sides_agree() {
    for (ours, accepted_stays) in [("z.home", true), ("a.home", false)] {
        let mut out = Vec::new();
        let now = Tick(0);
        let config = Config::new(still(peer::Config::scscf(1)));
        let mut pool =
            Pool::new(Identity::new(ours, "home"), config, &[Target { priority: 1 }], now, &mut out);
        let Output::Connect { link, .. } = out[0] else { panic!() };
        let accepted = pool.accepted(LOCAL, now);
        let other = Identity::new("hss.home", "home");
        let mut remote = BTreeMap::new();
        let mut heard = Vec::new();
        remote.insert(link, Peer::responder(other.clone(), still(peer::Config::hss(1)), now));
        remote.insert(accepted, Peer::initiator(other, still(peer::Config::hss(2)), now, &mut heard));
        out.clear();
        pool.connected(link, LOCAL, now, &mut out);
        let mut wire: Vec<(LinkId, bool, bytes::Bytes)> = Vec::new();
        let to_pool = |link, heard: Vec<peer::Output>, wire: &mut Vec<_>| {
            wire.extend(heard.into_iter().filter_map(|h| match h {
                peer::Output::Transmit(bytes) => Some((link, true, bytes)),
                _ => None,
            }));
        };
        to_pool(accepted, heard, &mut wire);
        let mut closed = Vec::new();
        loop {
            for output in std::mem::take(&mut out) {
                match output {
                    Output::Transmit { link, bytes } => wire.push((link, false, bytes)),
                    Output::Close { link, .. } => closed.push(link),
                    _ => {}
                }
            }
            if wire.is_empty() {
                break;
            }
            let (link, for_pool, bytes) = wire.remove(0);
            if for_pool {
                pool.receive(link, &bytes, now, &mut out);
            } else {
                let mut heard = Vec::new();
                remote.get_mut(&link).unwrap().receive(&bytes, now, &mut heard);
                to_pool(link, heard, &mut wire);
            }
        }
        assert_eq!(pool.open_links(), 1);
        assert_eq!(closed, [if accepted_stays { link } else { accepted }]);
        if accepted_stays {
            pool.expire(Tick(30_000), &mut out);
            assert!(!out.iter().any(|o| matches!(o, Output::Connect { .. })), "{out:?}");
        }
    }
}

#[test]
fn what_comes_late_for_a_link_that_is_gone_is_ignored() {
    let mut world = World::new(&[1]);
    let link = *world.peers.keys().next().unwrap();
    world.lose(0);
    world.up[0] = true;
    world.later(200);
    assert_eq!(world.pool.open_links(), 1);
    let mut out = Vec::new();
    world.pool.receive(link, b"GET / HTTP/1.1\r\n\r\n", world.now, &mut out);
    world.pool.lost(link, world.now, &mut out);
    world.pool.connected(link, LOCAL, world.now, &mut out);
    let current = *world.peers.keys().next().unwrap();
    world.pool.connected(current, LOCAL, world.now, &mut out);
    world.pool.connect_failed(current, world.now);
    assert_eq!(out, []);
    assert_eq!(world.pool.open_links(), 1);
}

#[test]
fn too_many_requests_are_refused_at_once() {
    let mut config = Config::new(peer::Config::scscf(1));
    config.max_pending = 2;
    let mut out = Vec::new();
    let mut pool = Pool::new(scscf(), config, &[Target { priority: 1 }], Tick(0), &mut out);
    out.clear();
    for token in 0..3 {
        pool.request(message(MAR), token, Tick(0), &mut out);
    }
    assert_eq!(out, [Output::Failed { token: 2, why: Why::Overloaded }]);
}

#[test]
fn no_schedule_of_losses_answers_and_silence_leaves_a_request_without_an_end() {
    for seed in 0..300_u64 {
        let mut state = seed;
        let mut draw = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        let mut world = World::new(&[1, 2, 2]);
        let mut asked = 0;
        for _ in 0..50 {
            match draw(7) {
                0 | 1 => {
                    let host = ["hss0.home", "hss1.home", "hss7.home"].get(draw(4) as usize).copied();
                    world.request(asked, host);
                    asked += 1;
                }
                2 => world.lose(draw(3) as usize),
                3 => world.up = vec![true; 3],
                4 => world.later(draw(3_000)),
                5 => world.arrived.clear(),
                _ => {
                    for (_, link, message) in std::mem::take(&mut world.arrived) {
                        if world.peers.contains_key(&link) {
                            let code = [2001, 3002, 3004, 5012][draw(4) as usize];
                            world.answer(link, &message, &result(code));
                        }
                    }
                }
            }
        }
        world.later(5_000);
        let mut ends: Vec<_> = world.ends().into_iter().map(|(token, _)| token).collect();
        ends.sort_unstable();
        assert_eq!(ends, (0..asked).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(world.pool.pending(), 0);
    }
}
