//! RFC 3261 §17.2, RFC 6026 §7.1, RFC 4320 §4.

use crate::rig::{Rig, VIA, at, tcp, text, udp};
use sip::Name;
use sip::transaction::{Gone, Limits, Output, Timers};

#[test]
fn register_is_asked_once_and_its_answer_repeated() {
    let mut rig = Rig::new();
    assert_eq!(rig.receive("REGISTER"), ["request REGISTER"]);
    assert_eq!(rig.table.unanswered(), 1);
    assert!(rig.receive("REGISTER").is_empty());
    rig.now = 100;
    let answer = rig.answer(401);
    assert_eq!(rig.respond(401).unwrap(), ["> 401"]);
    assert_eq!(rig.table.unanswered(), 0);
    assert_eq!(rig.receive("REGISTER"), ["> 401"]);
    assert_eq!(rig.sent.as_ref().unwrap().1, answer.as_bytes());
    assert_eq!(rig.respond(200), Err(Gone));
    assert_eq!(rig.run(32_099), []);
    assert_eq!(rig.table.servers(), 1);
    assert_eq!(rig.run(32_100), []);
    assert!(rig.is_at_rest());
    assert_eq!(rig.respond(200), Err(Gone));
    assert_eq!(rig.receive("REGISTER"), ["request REGISTER"]);
}

#[test]
fn over_a_reliable_transport_nothing_lingers() {
    let mut rig = Rig::new();
    let via = VIA.replace("UDP", "TCP");
    rig.receive_on(tcp(), &text("REGISTER", &via));
    rig.respond(200).unwrap();
    assert!(rig.table.is_empty());
    rig.receive_on(tcp(), &text("INVITE", &via));
    rig.respond(486).unwrap();
    assert_eq!(rig.run(1_000), [], "no timer G");
    assert!(rig.receive_on(tcp(), &text("ACK", &via)).is_empty());
    assert!(rig.table.is_empty(), "no timer I");
}

#[test]
fn a_slow_user_gets_a_100_before_it_when_timer_e_reaches_t2() {
    let mut rig = Rig::new();
    rig.receive("REGISTER");
    assert_eq!(rig.respond(100).unwrap(), [""; 0], "RFC 4320: not the user's to send");
    assert_eq!(rig.run(3_499), []);
    assert_eq!(rig.run(3_500), at(&[(3_500, "> 100")]));
    assert_eq!(rig.receive("REGISTER"), ["> 100"]);
    assert_eq!(rig.respond(200).unwrap(), ["> 200"]);
    rig.run(35_500);
    assert!(rig.table.is_empty());
}

#[test]
fn a_silent_user_is_answered_for() {
    let mut rig = Rig::new();
    rig.receive("REGISTER");
    assert_eq!(rig.run(40_000), at(&[(3_500, "> 100"), (40_000, "> 500")]));
    assert_eq!(rig.respond(200), Err(Gone));
    assert_eq!(rig.receive("REGISTER"), ["> 500"]);
    assert_eq!((rig.table.stats().abandoned, rig.table.unanswered()), (1, 0));
    rig.run(72_000);
    assert!(rig.is_at_rest());
}

#[test]
fn invite_gets_100_after_200_ms_unless_the_user_was_quicker() {
    let mut rig = Rig::new();
    assert_eq!(rig.receive("INVITE"), ["request INVITE"]);
    assert!(rig.receive("INVITE").is_empty());
    assert_eq!(rig.run(300), at(&[(200, "> 100")]));
    assert_eq!(rig.receive("INVITE"), ["> 100"]);
    assert_eq!(rig.respond(180).unwrap(), ["> 180"]);
    assert_eq!(rig.receive("INVITE"), ["> 180"]);

    let mut rig = Rig::new();
    rig.receive("INVITE");
    rig.respond(183).unwrap();
    assert_eq!(rig.run(300), []);

    let mut rig = Rig::with(Timers { trying_after: 0, ..Timers::default() }, Limits::default());
    assert_eq!(rig.receive("INVITE"), ["> 100", "request INVITE"]);
}

#[test]
fn a_refused_invite_repeats_by_timer_g_until_timer_h() {
    let mut rig = Rig::new();
    rig.receive("INVITE");
    assert_eq!(rig.respond(486).unwrap(), ["> 486"]);
    let times = [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
    let expected: Vec<_> = times.map(|time| (time, "> 486")).to_vec();
    assert_eq!(rig.run(31_999), at(&expected));
    assert_eq!(rig.receive("INVITE"), ["> 486"]);
    assert_eq!(rig.respond(200), Err(Gone));
    assert_eq!(rig.run(32_000), []);
    assert!(rig.table.is_empty());
    rig.run(100_000);
    assert!(rig.is_at_rest());
}

#[test]
fn the_ack_to_a_refusal_ends_here() {
    let mut rig = Rig::new();
    rig.receive("INVITE");
    rig.respond(486).unwrap();
    rig.now = 100;
    assert!(rig.receive("ACK").is_empty());
    assert!(rig.receive("ACK").is_empty());
    assert!(rig.receive("INVITE").is_empty());
    assert_eq!(rig.respond(486), Err(Gone));
    assert_eq!(rig.run(5_099), [], "confirmed: timer G is silent");
    assert_eq!(rig.table.servers(), 1);
    rig.run(5_100);
    assert!(rig.table.is_empty(), "timer I");
}

#[test]
fn cg_19_an_accepted_invite_absorbs_its_repetition_and_passes_2xx_and_ack() {
    let mut rig = Rig::new();
    rig.receive("INVITE");
    assert_eq!(rig.respond(200).unwrap(), ["> 200"]);
    assert!(rig.receive("INVITE").is_empty());
    assert_eq!(rig.respond(200).unwrap(), ["> 200"]);
    assert_eq!(rig.respond(486), Err(Gone));
    assert_eq!(rig.respond(180), Err(Gone));
    assert_eq!(rig.receive("ACK"), ["ack"]);
    assert_eq!(rig.run(31_999), []);
    assert_eq!(rig.table.servers(), 1);
    rig.run(32_000);
    assert!(rig.table.is_empty(), "timer L");
    assert_eq!(rig.respond(200), Err(Gone));
}

#[test]
fn an_ack_to_nothing_is_the_users() {
    let mut rig = Rig::new();
    assert_eq!(rig.receive("ACK"), ["ack"]);
    assert!(rig.is_at_rest());
    rig.receive("INVITE");
    assert!(rig.receive("ACK").is_empty(), "nothing to acknowledge yet");
}

#[test]
fn a_ringing_invite_has_longer() {
    let mut rig = Rig::new();
    rig.receive("INVITE");
    rig.now = 30_000;
    rig.respond(180).unwrap();
    assert_eq!(rig.run(100_000), []);
    rig.respond(180).unwrap();
    assert_eq!(rig.run(339_999), []);
    assert_eq!(rig.run(340_000), at(&[(340_000, "> 500")]));
    assert_eq!(rig.table.stats().abandoned, 1);
    rig.run(400_000);
    assert!(rig.is_at_rest());

    rig.receive("INVITE");
    let silent = rig.run(640_000);
    assert_eq!(silent, at(&[(400_200, "> 100"), (640_000, "> 500")]));
}

#[test]
fn cg_14_cancel_is_answered_here_and_names_its_invite() {
    let mut rig = Rig::new();
    assert_eq!(rig.receive("CANCEL"), ["> 481", "cancel nothing"]);
    assert_eq!(rig.receive("CANCEL"), ["> 481"]);
    let mut rig = Rig::new();
    rig.receive("INVITE");
    assert_eq!(rig.receive("CANCEL"), ["> 200", "cancel invite"]);
    assert_eq!(rig.receive("CANCEL"), ["> 200"]);
    assert_eq!(rig.table.unanswered(), 1);
    assert_eq!(rig.respond(487).unwrap(), ["> 487"]);
    assert!(rig.receive("ACK").is_empty());
    rig.run(60_000);
    assert!(rig.is_at_rest());
}

#[test]
fn cancel_after_the_final_response_changes_nothing() {
    let mut rig = Rig::new();
    rig.receive("INVITE");
    rig.respond(200).unwrap();
    assert_eq!(rig.receive("CANCEL"), ["> 200", "cancel nothing"]);
}

#[test]
fn late_calls_do_not_burst() {
    let mut rig = Rig::new();
    rig.receive("INVITE");
    rig.respond(486).unwrap();
    let mut out = Vec::new();
    rig.table.expire(sip::transaction::Tick(20_000), &mut out);
    assert_eq!(out.len(), 1, "one repetition, not all that were missed");
    assert_eq!(rig.receive_on(udp(), &text("ACK", VIA)), [""; 0]);
}

#[test]
fn a_cancel_brings_its_reason() {
    let mut rig = Rig::new();
    rig.receive("INVITE");
    let cancel = text("CANCEL", VIA).replace("Content-Length", "Reason: SIP;cause=200\r\nContent-Length");
    let mut out = Vec::new();
    rig.table.receive(crate::rig::parse(&cancel), udp(), sip::transaction::Tick(0), &mut out);
    let Some(Output::Cancel { of: Some(_), request, .. }) = out.pop() else { panic!("a cancel") };
    assert_eq!(request.get(Name::Reason).unwrap(), "SIP;cause=200");
}

#[test]
fn a_repeated_2xx_is_passed_on_without_the_user() {
    let mut rig = Rig::new();
    rig.receive("INVITE");
    assert_eq!(rig.again(200, "t"), Err(Gone), "nothing was sent yet");
    rig.respond(183).unwrap();
    assert_eq!(rig.again(200, "t"), Err(Gone));
    rig.respond(200).unwrap();
    let sent = rig.sent.clone().unwrap();
    assert_eq!(rig.again(200, "t").unwrap(), ["> 200"]);
    assert_eq!(rig.sent.clone().unwrap(), sent, "octet for octet");
    assert_eq!(rig.table.stats().retransmitted, 1);

    assert_eq!(rig.again(200, "fork"), Err(Gone), "another dialog is news");
    let (id, request) = rig.asked.clone().unwrap();
    let mut out = Vec::new();
    let fork = request.respond(crate::rig::status(202), "fork").finish();
    rig.table.respond(id, fork.clone(), sip::transaction::Tick(0), &mut out).unwrap();
    assert_eq!(rig.again(202, "fork").unwrap(), ["> 202"]);
    assert_eq!(rig.again(200, "t").unwrap(), ["> 200"], "each has its own");
    assert_eq!(rig.sent.clone().unwrap(), sent);

    rig.run(31_999);
    assert_eq!(rig.again(200, "t").unwrap(), ["> 200"]);
    rig.run(32_000);
    assert_eq!(rig.again(200, "t"), Err(Gone), "timer L");
}

#[test]
fn what_was_refused_is_not_passed_on_again() {
    let mut rig = Rig::new();
    rig.receive("INVITE");
    rig.respond(486).unwrap();
    assert_eq!(rig.again(200, "t"), Err(Gone));
    let mut rig = Rig::new();
    rig.receive("OPTIONS");
    rig.respond(200).unwrap();
    assert_eq!(rig.again(200, "t"), Err(Gone), "a server transaction repeats by itself");
}

#[test]
fn a_non_invite_that_timed_out_further_down_ends_in_silence() {
    let mut rig = Rig::new();
    rig.receive("MESSAGE");
    assert_eq!(rig.respond(408).unwrap(), [""; 0]);
    assert_eq!(rig.table.unanswered(), 0);
    assert!(rig.receive("MESSAGE").is_empty(), "absorbed");
    assert_eq!(rig.respond(200), Err(Gone));
    assert_eq!(rig.run(32_000), []);
    assert!(rig.is_at_rest());
    rig.receive("INVITE");
    assert_eq!(rig.respond(408).unwrap(), ["> 408"]);
}
