//! RFC 3261 §17.1, §9.1, RFC 6026 §7.2.

use crate::rig::{Rig, at, tcp, udp};
use sip::transaction::{ClientId, Gone, Output, ViaTemplate};
use sip::{Method, Name};

#[test]
fn non_invite_repeats_by_timer_e_until_timer_f() {
    let mut rig = Rig::new();
    assert_eq!(rig.send(1, "NOTIFY"), ["> NOTIFY"]);
    let times = [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
    let mut expected: Vec<_> = times.map(|time| (time, "> NOTIFY")).to_vec();
    expected.push((32_000, "1: timed out"));
    assert_eq!(rig.run(32_000), at(&expected));
    assert_eq!((rig.table.stats().timed_out, rig.table.stats().retransmitted), (1, 10));
    rig.run(100_000);
    assert!(rig.is_at_rest());
}

#[test]
fn non_invite_proceeding_repeats_every_t2() {
    let mut rig = Rig::new();
    rig.send(1, "NOTIFY");
    let request = rig.sent_request();
    rig.now = 100;
    assert_eq!(rig.reply(&request, 100), ["1: 100"]);
    assert_eq!(rig.reply(&request, 100), ["1: 100"]);
    assert_eq!(rig.run(9_000), at(&[(500, "> NOTIFY"), (4_500, "> NOTIFY"), (8_500, "> NOTIFY")]));
    assert_eq!(rig.reply(&request, 200), ["1: 200"]);
    assert!(rig.reply(&request, 200).is_empty(), "absorbed");
    assert!(rig.reply(&request, 481).is_empty(), "absorbed");
    assert_eq!(rig.run(13_999), []);
    assert_eq!(rig.table.clients(), 1);
    rig.run(14_000);
    assert!(rig.table.is_empty(), "timer K");
    assert_eq!(rig.reply(&request, 200), ["stray 200"]);
    assert_eq!(rig.table.stats().stray, 1);
}

#[test]
fn a_proceeding_non_invite_still_times_out() {
    let mut rig = Rig::new();
    rig.send(1, "NOTIFY");
    let request = rig.sent_request();
    rig.reply(&request, 100);
    assert_eq!(rig.run(32_000).pop(), Some((32_000, "1: timed out".into())));
}

#[test]
fn over_a_reliable_transport_nothing_repeats_or_lingers() {
    let mut rig = Rig::new();
    rig.send_on(tcp(), 1, "NOTIFY");
    assert_eq!(rig.run(31_000), []);
    let request = rig.sent_request();
    assert_eq!(rig.reply(&request, 200), ["1: 200"]);
    assert!(rig.table.is_empty());
    rig.send_on(tcp(), 2, "INVITE");
    let invite = rig.sent_request();
    assert_eq!(rig.run(60_000), []);
    assert_eq!(rig.reply(&invite, 486), ["> ACK", "2: 486"]);
    assert!(rig.table.is_empty());
    rig.send_on(tcp(), 3, "NOTIFY");
    assert_eq!(rig.run(92_000), at(&[(92_000, "3: timed out")]));
}

#[test]
fn invite_repeats_by_timer_a_without_limit_until_timer_b() {
    let mut rig = Rig::new();
    assert_eq!(rig.send(1, "INVITE"), ["> INVITE"]);
    let mut expected: Vec<_> =
        [500, 1_500, 3_500, 7_500, 15_500, 31_500].map(|time| (time, "> INVITE")).to_vec();
    expected.push((32_000, "1: timed out"));
    assert_eq!(rig.run(32_000), at(&expected));
    rig.run(100_000);
    assert!(rig.is_at_rest());
}

#[test]
fn a_provisional_response_ends_the_repetition() {
    let mut rig = Rig::new();
    rig.send(1, "INVITE");
    let invite = rig.sent_request();
    rig.now = 100;
    assert_eq!(rig.reply(&invite, 100), ["1: 100"]);
    assert_eq!(rig.run(100_000), []);
    assert_eq!(rig.reply(&invite, 180), ["1: 180"]);
    assert_eq!(rig.run(399_999), [], "the user's timer C is shorter");
    assert_eq!(rig.run(400_000), at(&[(400_000, "1: timed out")]));
}

#[test]
fn every_refusal_is_acknowledged_until_timer_d() {
    let mut rig = Rig::new();
    rig.send(1, "INVITE");
    let invite = rig.sent_request();
    assert_eq!(rig.reply(&invite, 486), ["> ACK", "1: 486"]);
    let ack = rig.sent_request();
    assert_eq!(ack.via(), invite.via());
    assert_eq!(ack.vias().count(), 1);
    assert_eq!(ack.uri(), invite.uri());
    assert_eq!((ack.cseq().number, ack.cseq().method), (7, Method::Ack));
    assert_eq!(ack.to_tag(), Some("peer"));
    assert_eq!((ack.from_tag(), ack.call_id()), (invite.from_tag(), invite.call_id()));
    assert_eq!(rig.reply(&invite, 486), ["> ACK"]);
    assert!(rig.reply(&invite, 180).is_empty());
    assert!(rig.reply(&invite, 200).is_empty());
    assert_eq!(rig.run(31_999), []);
    assert_eq!(rig.reply(&invite, 486), ["> ACK"]);
    rig.run(32_000);
    assert!(rig.table.is_empty());
    assert_eq!(rig.reply(&invite, 486), ["stray 486"]);
}

#[test]
fn the_ack_keeps_the_routes() {
    let mut rig = Rig::new();
    let mut edit = crate::rig::request("INVITE").edit();
    edit.append(Name::Route, "<sip:p1.net;lr>");
    edit.append(Name::Route, "<sip:p2.net;lr>");
    let mut out = Vec::new();
    rig.table.send(
        ClientId(1),
        edit.finish(),
        udp(),
        &ViaTemplate::new("h"),
        sip::transaction::Tick(0),
        &mut out,
    );
    let Some(Output::Transmit { bytes, flow }) = out.pop() else { panic!("it is sent") };
    rig.sent = Some((flow, bytes));
    let invite = rig.sent_request();
    rig.reply(&invite, 503);
    let routes: Vec<_> = rig.sent_request().lines(Name::Route).map(|route| route.into_owned()).collect();
    assert_eq!(routes, ["<sip:p1.net;lr>", "<sip:p2.net;lr>"]);
}

#[test]
fn cg_12_every_2xx_passes_until_timer_m() {
    let mut rig = Rig::new();
    rig.send(1, "INVITE");
    let invite = rig.sent_request();
    assert_eq!(rig.reply(&invite, 180), ["1: 180"]);
    assert_eq!(rig.reply(&invite, 200), ["1: 200"]);
    assert_eq!(rig.reply(&invite, 200), ["1: 200"]);
    assert!(rig.reply(&invite, 486).is_empty());
    assert!(rig.reply(&invite, 180).is_empty());
    assert_eq!(rig.run(31_999), []);
    assert_eq!(rig.reply(&invite, 200), ["1: 200"]);
    rig.run(32_000);
    assert!(rig.table.is_empty());
    assert_eq!(rig.reply(&invite, 200), ["stray 200"]);
}

#[test]
fn cg_13_cancel_waits_for_a_provisional_response() {
    let mut rig = Rig::new();
    rig.send(1, "INVITE");
    let invite = rig.sent_request();
    assert!(rig.cancel(1, 2).unwrap().is_empty());
    assert_eq!(rig.reply(&invite, 100), ["1: 100", "> CANCEL"]);
    let cancel = rig.sent_request();
    assert_eq!(cancel.via(), invite.via());
    assert_eq!((cancel.cseq().number, cancel.cseq().method), (7, Method::Cancel));
    assert_eq!((cancel.uri(), cancel.to_tag()), (invite.uri(), None));
    assert_eq!(rig.reply(&cancel, 200), ["2: 200"]);
    assert!(rig.cancel(1, 3).unwrap().is_empty(), "once is enough");
    assert_eq!(rig.reply(&invite, 487), ["> ACK", "1: 487"]);
    assert_eq!(rig.cancel(1, 3), Err(Gone));
    rig.run(40_000);
    assert!(rig.table.is_empty());
    rig.run(400_000);
    assert!(rig.is_at_rest());
}

#[test]
fn a_cancelled_invite_without_final_response_ends_after_64_t1() {
    let mut rig = Rig::new();
    rig.send(1, "INVITE");
    let invite = rig.sent_request();
    rig.reply(&invite, 180);
    rig.now = 1_000;
    assert_eq!(rig.cancel(1, 2).unwrap(), ["> CANCEL"]);
    let cancel = rig.sent_request();
    rig.reply(&cancel, 200);
    rig.now = 20_000;
    assert_eq!(rig.reply(&invite, 180), ["1: 180"]);
    assert_eq!(rig.run(33_000), at(&[(33_000, "1: timed out")]));
}

#[test]
fn a_final_response_makes_a_waiting_cancel_needless() {
    let mut rig = Rig::new();
    rig.send(1, "INVITE");
    let invite = rig.sent_request();
    rig.cancel(1, 2).unwrap();
    assert_eq!(rig.reply(&invite, 200), ["1: 200"]);
    assert_eq!(rig.cancel(1, 2), Err(Gone));
    assert_eq!(rig.cancel(9, 2), Err(Gone));
}

#[test]
fn a_cancel_outlives_its_invite() {
    let mut rig = Rig::new();
    rig.send_on(tcp(), 1, "INVITE");
    let invite = rig.sent_request();
    rig.reply(&invite, 180);
    rig.cancel(1, 2).unwrap();
    let cancel = rig.sent_request();
    rig.reply(&invite, 487);
    assert_eq!(rig.table.clients(), 1);
    assert_eq!(rig.reply(&cancel, 200), ["2: 200"]);
    assert!(rig.table.is_empty());
}

#[test]
fn a_failed_flow_fails_what_waits_on_it() {
    let mut rig = Rig::new();
    rig.send_on(tcp(), 1, "NOTIFY");
    rig.send_on(udp(), 2, "NOTIFY");
    rig.send_on(tcp(), 3, "INVITE");
    let invite = rig.sent_request();
    rig.reply(&invite, 200);
    assert_eq!(rig.flow_failed(&tcp()), ["1: failed"]);
    assert_eq!(rig.table.clients(), 2);
    let mut out = Vec::new();
    rig.table.transport_error(ClientId(2), &mut out);
    rig.table.transport_error(ClientId(2), &mut out);
    assert!(matches!(out[..], [Output::TransportFailed { id: ClientId(2) }]));
    assert_eq!(rig.table.stats().failed, 2);
}

#[test]
fn an_ack_to_a_2xx_leaves_no_trace() {
    let mut rig = Rig::new();
    let mut out = Vec::new();
    for _ in 0..2 {
        rig.table.send_ack(&crate::rig::request("ACK"), udp(), &ViaTemplate::new("h:5060"), &mut out);
    }
    assert!(rig.is_at_rest());
    let branches: Vec<_> = out
        .into_iter()
        .map(|output| {
            let Output::Transmit { flow, bytes } = output else { panic!("it is sent") };
            rig.sent = Some((flow, bytes));
            rig.sent_request().via().branch().unwrap().to_owned()
        })
        .collect();
    assert_ne!(branches[0], branches[1]);
}

#[test]
fn the_via_says_what_the_template_says() {
    let mut rig = Rig::new();
    let mut out = Vec::new();
    let via = ViaTemplate { mark: Some(0xabc), rport: true, ..ViaTemplate::new("[2001:db8::1]:5060") };
    rig.table.send(
        ClientId(1),
        crate::rig::request("NOTIFY"),
        tcp(),
        &via,
        sip::transaction::Tick(0),
        &mut out,
    );
    let Some(Output::Transmit { flow, bytes }) = out.pop() else { panic!("it is sent") };
    rig.sent = Some((flow, bytes));
    let request = rig.sent_request();
    let sent = request.via();
    assert_eq!((&*sent.host, sent.port, sent.rport()), ("[2001:db8::1]", Some(5060), Some(None)));
    assert_eq!(sent.transport_text(), "TCP");
    let branch = sent.branch().unwrap();
    assert!(branch.starts_with("z9hG4bK") && branch.ends_with("0000000000000abc") && branch.len() == 55);
    assert_eq!(rig.reply(&request, 200), ["1: 200"]);
}

#[test]
fn a_cancel_says_why_also_when_it_had_to_wait() {
    let mut rig = Rig::new();
    rig.send(1, "INVITE");
    let invite = rig.sent_request();
    rig.cancel_because(1, 2, Some("SIP;cause=200;text=\"Call completed elsewhere\"")).unwrap();
    assert_eq!(rig.reply(&invite, 180), ["1: 180", "> CANCEL"]);
    let held = rig.sent_request();
    assert_eq!(held.get(Name::Reason).unwrap(), "SIP;cause=200;text=\"Call completed elsewhere\"");

    rig.send(3, "INVITE");
    let invite = rig.sent_request();
    rig.reply(&invite, 180);
    assert_eq!(rig.cancel_because(3, 4, Some("SIP;cause=480")).unwrap(), ["> CANCEL"]);
    assert_eq!(rig.sent_request().get(Name::Reason).unwrap(), "SIP;cause=480");
    rig.reply(&invite, 487);
    assert!(!rig.sent_request().has(Name::Reason), "the ACK has none");
}

#[test]
fn a_cancel_that_crosses_a_2xx_does_not_hide_it() {
    let mut rig = Rig::new();
    rig.send(1, "INVITE");
    let invite = rig.sent_request();
    rig.reply(&invite, 180);
    assert_eq!(rig.cancel(1, 2).unwrap(), ["> CANCEL"]);
    let cancel = rig.sent_request();
    assert_eq!(rig.reply(&invite, 200), ["1: 200"]);
    assert_eq!(rig.reply(&cancel, 481), ["2: 481"]);
    assert_eq!(rig.reply(&invite, 200), ["1: 200"], "for as long as it is repeated");
    rig.run(400_000);
    assert!(rig.is_at_rest());
}

#[test]
fn a_cancel_that_nobody_answers_ends_by_itself() {
    let mut rig = Rig::new();
    rig.send(1, "INVITE");
    let invite = rig.sent_request();
    rig.reply(&invite, 180);
    rig.cancel(1, 2).unwrap();
    let heard: Vec<_> = rig.run(32_000).into_iter().filter(|(_, word)| word.ends_with("timed out")).collect();
    assert_eq!(heard, at(&[(32_000, "1: timed out"), (32_000, "2: timed out")]));
    rig.run(400_000);
    assert!(rig.is_at_rest());
}
