//! RFC 6733 §5 — two connections back to back, in virtual time.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

mod fixtures;

use bytes::Bytes;
use diameter::{
    Message, Tick, avp,
    base::{self, DisconnectCause},
    codes::{Code, avp as code, command},
    cx,
    message::PROXIABLE,
    peer::{Closed, Config, Output, Peer, State, Why},
};
use fixtures::*;
use scscf::cx as values;

/// An S-CSCF that has connected to an HSS, and what each has said to its owner.
struct Wire {
    scscf: Peer,
    hss: Peer,
    now: Tick,
    to_hss: Vec<Bytes>,
    to_scscf: Vec<Bytes>,
    said_scscf: Vec<Output>,
    said_hss: Vec<Output>,
}

fn still(mut config: Config) -> Config {
    config.watchdog_jitter_ms = 0;
    config
}

impl Wire {
    fn new() -> Self {
        let now = Tick(1_000);
        let mut out = Vec::new();
        let scscf = Peer::initiator(scscf(), still(Config::scscf(1)), now, &mut out);
        let hss = Peer::responder(hss(), still(Config::hss(2)), now);
        let mut wire =
            Self { scscf, hss, now, to_hss: vec![], to_scscf: vec![], said_scscf: vec![], said_hss: vec![] };
        wire.scscf_said(out);
        wire
    }

    fn open() -> Self {
        let mut wire = Self::new();
        wire.settle();
        assert_eq!((wire.scscf.state(), wire.hss.state()), (State::Open, State::Open));
        wire.said_scscf.clear();
        wire.said_hss.clear();
        wire
    }

    fn scscf_said(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Transmit(bytes) => self.to_hss.push(bytes),
                other => self.said_scscf.push(other),
            }
        }
    }

    fn hss_said(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Transmit(bytes) => self.to_scscf.push(bytes),
                other => self.said_hss.push(other),
            }
        }
    }

    fn settle(&mut self) {
        while !self.to_hss.is_empty() || !self.to_scscf.is_empty() {
            for bytes in std::mem::take(&mut self.to_hss) {
                let mut out = Vec::new();
                self.hss.receive(&bytes, self.now, &mut out);
                self.hss_said(out);
            }
            for bytes in std::mem::take(&mut self.to_scscf) {
                let mut out = Vec::new();
                self.scscf.receive(&bytes, self.now, &mut out);
                self.scscf_said(out);
            }
        }
    }

    fn request(&mut self, token: u64, timeout_ms: u32) {
        let mut out = Vec::new();
        self.scscf.request(mar_message(), token, timeout_ms, self.now, &mut out);
        self.scscf_said(out);
    }

    fn expire_scscf(&mut self) -> Vec<Output> {
        self.now = self.scscf.next_deadline().unwrap();
        let mut out = Vec::new();
        self.scscf.expire(self.now, &mut out);
        out
    }

    fn hss_answers(&mut self, request: &Message) {
        let answer =
            cx::encode_answer(request, &cx::HssAnswer::Result(values::ResultCode::USER_UNKNOWN), &hss());
        let mut out = Vec::new();
        self.hss.answer(answer, &mut out);
        self.hss_said(out);
    }
}

fn mar_message() -> Message {
    cx::encode_request(&values::Request::MultimediaAuth(mar()), &scscf(), SESSION, REALM).unwrap()
}

fn transmitted(out: &[Output]) -> Vec<Message> {
    let sent = out.iter().filter_map(|output| match output {
        Output::Transmit(bytes) => Some(Message::decode(bytes.clone()).unwrap()),
        _ => None,
    });
    sent.collect()
}

#[test]
fn capabilities_are_exchanged_and_both_learn_who_the_other_is() {
    let mut wire = Wire::new();
    wire.settle();
    assert_eq!(wire.scscf.remote(), Some((&*hss().origin_host, REALM)));
    assert_eq!(wire.hss.remote(), Some((&*scscf().origin_host, REALM)));
    assert!(matches!(&wire.said_scscf[..], [Output::Open { .. }]));
    assert!(matches!(&wire.said_hss[..], [Output::Open { .. }]));
}

#[test]
fn ce_04_no_common_application_is_answered_5010_and_closed() {
    let mut peer = Peer::responder(hss(), Config::hss(1), Tick(0));
    let stranger = base::capabilities_request(&scscf()).rewritten(
        |avp| !matches!(avp.code, 258 | 260),
        |w| {
            w.unsigned32(code::AUTH_APPLICATION_ID, 4);
        },
    );
    let mut out = Vec::new();
    peer.receive(&stranger.encode(), Tick(1), &mut out);
    let sent = transmitted(&out);
    assert_eq!((sent[0].command, sent[0].unsigned32(code::RESULT_CODE)), (257, Some(5010)));
    assert_eq!(out.last(), Some(&Output::Close { reason: Closed::NoCommonApplication }));
    assert_eq!(peer.state(), State::Closed);

    let mut out = Vec::new();
    let mut peer = Peer::initiator(scscf(), Config::scscf(1), Tick(0), &mut out);
    let cea = base::capabilities_answer(&transmitted(&out)[0], 5010, &hss());
    out.clear();
    peer.receive(&cea.encode(), Tick(1), &mut out);
    assert_eq!(out, [Output::Close { reason: Closed::NoCommonApplication }]);
}

#[test]
fn ce_05_a_silent_peer_gets_a_watchdog_after_tw_and_is_given_up_after_two() {
    let mut wire = Wire::open();
    let opened = wire.now;
    wire.request(7, 600_000);
    wire.to_hss.clear();
    let first = wire.expire_scscf();
    assert_eq!(wire.now, opened.after(30_000));
    assert_eq!(transmitted(&first)[0].command, command::DEVICE_WATCHDOG);
    assert_eq!(wire.scscf.state(), State::Open);
    let second = wire.expire_scscf();
    assert_eq!(transmitted(&second)[0].command, command::DEVICE_WATCHDOG);
    assert_eq!(wire.scscf.state(), State::Suspect);
    let third = wire.expire_scscf();
    assert_eq!(wire.now, opened.after(90_000));
    assert_eq!(
        third,
        [Output::Failed { token: 7, why: Why::Disconnected }, Output::Close { reason: Closed::Watchdog }]
    );
    assert_eq!(wire.scscf.next_deadline(), None);
}

#[test]
fn anything_the_peer_says_puts_off_the_watchdog_and_ends_suspicion() {
    let mut wire = Wire::open();
    wire.expire_scscf();
    wire.expire_scscf();
    assert_eq!(wire.scscf.state(), State::Suspect);
    let mut out = Vec::new();
    let dwr = base::watchdog_request(&hss());
    wire.scscf.receive(&dwr.encode(), wire.now, &mut out);
    assert_eq!(transmitted(&out)[0].unsigned32(code::RESULT_CODE), Some(2001));
    assert_eq!(wire.scscf.state(), State::Open);
    assert_eq!(wire.scscf.next_deadline(), Some(wire.now.after(30_000)));
}

#[test]
fn watchdog_jitter_stays_within_its_bounds_and_varies() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let mut out = Vec::new();
        let mut peer = Peer::initiator(scscf(), Config::scscf(seed), Tick(0), &mut out);
        let cea = base::capabilities_answer(&transmitted(&out)[0], 2001, &hss());
        peer.receive(&cea.encode(), Tick(0), &mut out);
        let due = peer.next_deadline().unwrap().0;
        assert!((28_000..=32_000).contains(&due), "{due}");
        seen.insert(due);
    }
    assert!(seen.len() > 30);
}

#[test]
fn ce_06_shutdown_sends_dpr_rebooting_and_awaits_dpa() {
    let mut wire = Wire::open();
    let mut out = Vec::new();
    wire.scscf.disconnect(DisconnectCause::Rebooting, wire.now, &mut out);
    let dpr = &transmitted(&out)[0];
    assert_eq!((dpr.command, dpr.unsigned32(code::DISCONNECT_CAUSE)), (command::DISCONNECT_PEER, Some(0)));
    assert_eq!(wire.scscf.state(), State::Closing);
    assert_eq!(out.len(), 1, "not closed before the DPA");
    wire.scscf_said(out);
    wire.settle();
    assert_eq!(wire.said_scscf, [Output::Close { reason: Closed::Ours }]);
    assert_eq!(wire.hss.state(), State::Closing);
    let mut out = Vec::new();
    wire.hss.lost(&mut out);
    assert_eq!(out, [Output::Close { reason: Closed::Theirs(DisconnectCause::Rebooting) }]);
}

#[test]
fn both_sides_may_take_leave_at_once() {
    let mut wire = Wire::open();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    wire.scscf.disconnect(DisconnectCause::Rebooting, wire.now, &mut ours);
    wire.hss.disconnect(DisconnectCause::Rebooting, wire.now, &mut theirs);
    wire.scscf_said(ours);
    wire.hss_said(theirs);
    wire.settle();
    assert_eq!(wire.said_scscf, [Output::Close { reason: Closed::Ours }]);
    assert_eq!(wire.said_hss, [Output::Close { reason: Closed::Ours }]);
}

#[test]
fn a_peer_that_takes_leave_fails_requests_at_once_and_is_not_waited_for_long() {
    let mut wire = Wire::open();
    wire.request(1, 5_000);
    wire.to_hss.clear();
    let mut out = Vec::new();
    wire.hss.disconnect(DisconnectCause::Busy, wire.now, &mut out);
    wire.hss_said(out);
    let mut out = Vec::new();
    wire.scscf.receive(&wire.to_scscf.remove(0), wire.now, &mut out);
    assert_eq!(transmitted(&out)[0].command, command::DISCONNECT_PEER);
    assert_eq!(out[1..], [Output::Failed { token: 1, why: Why::Disconnected }]);
    let out = wire.expire_scscf();
    assert_eq!(out, [Output::Close { reason: Closed::Theirs(DisconnectCause::Busy) }]);
}

#[test]
fn a_dpa_that_never_comes_does_not_hold_up_the_end() {
    let mut wire = Wire::open();
    let mut out = Vec::new();
    wire.scscf.disconnect(DisconnectCause::Rebooting, wire.now, &mut out);
    let out = wire.expire_scscf();
    assert_eq!(out, [Output::Close { reason: Closed::Ours }]);
}

#[test]
fn requests_cross_and_each_gets_its_own_answer() {
    let mut wire = Wire::open();
    for token in 0..5 {
        wire.request(token, 5_000);
    }
    let mut out = Vec::new();
    wire.hss.request(message(RTR), 99, 5_000, wire.now, &mut out);
    wire.hss_said(out);
    wire.settle();
    let Some(Output::Request(rtr)) = wire.said_scscf.pop() else { panic!() };
    let done = values::DemandAnswer::of(values::ResultCode::SUCCESS);
    let mut out = Vec::new();
    wire.scscf.answer(cx::encode_demand_answer(&rtr, &done, &scscf()), &mut out);
    wire.scscf_said(out);
    let requests: Vec<_> = wire
        .said_hss
        .drain(..)
        .map(|said| match said {
            Output::Request(message) => message,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(requests.len(), 5);
    let identifiers: std::collections::BTreeSet<_> =
        requests.iter().map(|r| (r.hop_by_hop, r.end_to_end)).collect();
    assert_eq!(identifiers.len(), 5);
    for request in requests.iter().rev() {
        wire.hss_answers(request);
    }
    wire.settle();
    let tokens: Vec<_> = wire
        .said_scscf
        .iter()
        .map(|said| match said {
            Output::Answer { token, message } => {
                assert_eq!(message.hop_by_hop, requests[*token as usize].hop_by_hop);
                *token
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(tokens, [4, 3, 2, 1, 0]);
    assert!(matches!(&wire.said_hss[..], [Output::Answer { token: 99, .. }]));
    assert_eq!((wire.scscf.pending(), wire.hss.pending()), (0, 0));
}

#[test]
fn a_request_fails_at_its_deadline_and_a_late_answer_is_nobodys() {
    let mut wire = Wire::open();
    let start = wire.now;
    wire.request(1, 5_000);
    wire.settle();
    let out = wire.expire_scscf();
    assert_eq!(wire.now, start.after(5_000));
    assert_eq!(out, [Output::Failed { token: 1, why: Why::TimedOut }]);
    let Some(Output::Request(request)) = wire.said_hss.pop() else { panic!() };
    wire.hss_answers(&request);
    wire.settle();
    assert_eq!(wire.said_scscf, []);
    assert_eq!(wire.scscf.state(), State::Open);
}

#[test]
fn losing_the_transport_fails_what_was_under_way() {
    let mut wire = Wire::open();
    wire.request(1, 5_000);
    wire.request(2, 5_000);
    let mut out = Vec::new();
    wire.scscf.lost(&mut out);
    let failed = |token| Output::Failed { token, why: Why::Disconnected };
    assert_eq!(out, [failed(1), failed(2), Output::Close { reason: Closed::Lost }]);
    out.clear();
    wire.scscf.request(mar_message(), 3, 5_000, wire.now, &mut out);
    assert_eq!(out, [failed(3)]);
}

#[test]
fn too_many_requests_are_refused_at_once() {
    let mut out = Vec::new();
    let config = Config { max_pending: 1, ..Config::scscf(1) };
    let mut peer = Peer::initiator(scscf(), config, Tick(0), &mut out);
    let cea = base::capabilities_answer(&transmitted(&out)[0], 2001, &hss());
    peer.receive(&cea.encode(), Tick(0), &mut out);
    out.clear();
    peer.request(mar_message(), 1, 5_000, Tick(0), &mut out);
    peer.request(mar_message(), 2, 5_000, Tick(0), &mut out);
    assert_eq!(out[1..], [Output::Failed { token: 2, why: Why::Overloaded }]);
}

#[test]
fn an_exchange_of_capabilities_that_stalls_or_is_skipped_is_closed() {
    let mut peer = Peer::responder(hss(), Config::hss(1), Tick(0));
    let mut out = Vec::new();
    peer.expire(peer.next_deadline().unwrap(), &mut out);
    assert_eq!(out, [Output::Close { reason: Closed::NotEstablished }]);
    let mut peer = Peer::responder(hss(), Config::hss(1), Tick(0));
    out.clear();
    peer.receive(&mar_message().encode(), Tick(0), &mut out);
    assert_eq!(out, [Output::Close { reason: Closed::NotEstablished }]);
}

/// What the S-CSCF side answers by itself to this request of the HSS.
fn refused(request: &Message) -> Option<Message> {
    let mut wire = Wire::open();
    let mut out = Vec::new();
    wire.scscf.receive(&request.encode(), wire.now, &mut out);
    transmitted(&out).pop()
}

#[test]
fn what_is_not_served_is_refused_with_its_code() {
    let code_of = |request: &Message| {
        let answer = refused(request).unwrap();
        assert_eq!((answer.hop_by_hop, answer.end_to_end), (request.hop_by_hop, request.end_to_end));
        let result = answer.unsigned32(code::RESULT_CODE).unwrap();
        assert_eq!(answer.flags & 0x20 != 0, (3000..4000).contains(&result));
        result
    };
    let rtr = message(RTR);
    let but = |change: fn(&mut Message)| {
        let mut changed = rtr.clone();
        change(&mut changed);
        changed
    };
    assert_eq!(code_of(&but(|m| m.command = 399)), 3001);
    assert_eq!(code_of(&but(|m| m.command = command::MULTIMEDIA_AUTH)), 3001);
    assert_eq!(code_of(&but(|m| m.application = 16_777_251)), 3007);
    assert_eq!(code_of(&but(|m| m.flags = 0xe0)), 3008);
    assert_eq!(refused(&rtr), None);
    let rar = Message::request(command::RE_AUTH, 0, PROXIABLE, |w| {
        w.text(code::USER_NAME, IMPI);
    });
    assert_eq!(refused(&rar), None, "Re-Auth-Request in the base application is served");
}

#[test]
fn an_unknown_avp_is_refused_only_if_it_is_mandatory() {
    let with = |mandatory| {
        message(RTR).rewritten(
            |_| true,
            |w| {
                w.text(Code { code: 4711, vendor: 99, mandatory }, "strange");
            },
        )
    };
    assert_eq!(refused(&with(false)), None);
    let answer = refused(&with(true)).unwrap();
    assert_eq!(answer.unsigned32(code::RESULT_CODE), Some(5001));
    let failed = answer.find(code::FAILED_AVP).unwrap();
    let inner = failed.grouped().next().unwrap().unwrap();
    assert_eq!((inner.code, inner.vendor, inner.data), (4711, 99, &b"strange"[..]));
}

#[test]
fn a_lying_avp_length_is_answered_5014_and_the_stream_goes_on() {
    let mut wire = Wire::open();
    let mut octets = message(RTR).encode().to_vec();
    let last =
        octets.len() - avp::Writer::new().text(code::ROUTE_RECORD, &hss().origin_host).clone().finish().len();
    octets[last + 6] = 0x7f;
    let mut out = Vec::new();
    wire.scscf.receive(&octets, wire.now, &mut out);
    let answer = &transmitted(&out)[0];
    assert_eq!(answer.unsigned32(code::RESULT_CODE), Some(5014));
    assert!(answer.find(code::FAILED_AVP).unwrap().grouped().find(code::ROUTE_RECORD).unwrap().is_some());
    out.clear();
    wire.scscf.receive(&message(RTR).encode(), wire.now, &mut out);
    assert!(matches!(&out[..], [Output::Request(_)]));
}

#[test]
fn what_is_no_diameter_closes_the_connection() {
    for octets in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[1, 0xff, 0xff, 0xfc], &[1, 0, 0, 8]] {
        let mut wire = Wire::open();
        wire.request(1, 5_000);
        let mut out = Vec::new();
        wire.scscf.receive(octets, wire.now, &mut out);
        assert_eq!(
            out,
            [Output::Failed { token: 1, why: Why::Disconnected }, Output::Close { reason: Closed::Garbage }]
        );
    }
}

#[test]
fn no_schedule_of_loss_and_delay_leaves_a_request_without_an_end() {
    for seed in 0..200_u64 {
        let mut state = seed;
        let mut draw = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        let mut wire = Wire::open();
        let mut asked = 0;
        for _ in 0..60 {
            match draw(6) {
                0 | 1 => {
                    wire.request(asked, 5_000);
                    asked += 1;
                }
                2 => wire.to_hss.clear(),
                3 => {
                    let requests: Vec<_> = wire.said_hss.drain(..).collect();
                    for said in requests {
                        if let Output::Request(request) = said {
                            wire.hss_answers(&request);
                        }
                    }
                }
                4 => wire.settle(),
                _ => {
                    wire.now = wire.now.after(draw(8_000));
                    let mut out = Vec::new();
                    wire.scscf.expire(wire.now, &mut out);
                    wire.scscf_said(out);
                }
            }
        }
        let mut out = Vec::new();
        wire.scscf.lost(&mut out);
        wire.scscf_said(out);
        let mut ends: Vec<_> = wire
            .said_scscf
            .iter()
            .filter_map(|said| match said {
                Output::Answer { token, .. } | Output::Failed { token, .. } => Some(*token),
                _ => None,
            })
            .collect();
        ends.sort_unstable();
        assert_eq!(ends, (0..asked).collect::<Vec<_>>(), "seed {seed}");
    }
}
