//! Rows of the checklist in docs/conformance.md that a proxy of values can prove.

use crate::{hear, invite, opened, request, unanswered};
use bytes::Bytes;
use sip::proxy::{self, BranchFailure, BranchId};
use sip::transaction::{ClientId, Flow, Limits, Output, Table, Tick, Timers, ViaTemplate};
use sip::{Message, Name, Request, Status, Transport};

fn flow() -> Flow {
    let [local, remote] = ["127.0.0.1:5060", "192.0.2.1:5060"].map(|address| address.parse().unwrap());
    Flow { transport: Transport::Udp, local, remote, connection: 0 }
}

/// What goes on the wire when a node with the seed forwards `request`, with the hash of what was received in the branch.
fn forward(seed: u64, received: &Request, change: impl FnOnce(&mut sip::RequestEdit)) -> Request {
    let mut edit = proxy::forwarded(received);
    change(&mut edit);
    let mut table = Table::new(Timers::default(), Limits::default(), [seed, 1]);
    let via = ViaTemplate { mark: Some(proxy::mark(received)), ..ViaTemplate::new("scscf.ims.example:5060") };
    let mut out = Vec::new();
    table.send(ClientId(1), edit.finish(), flow(), &via, Tick(0), &mut out);
    let Some(Output::Transmit { bytes, .. }) = out.pop() else { panic!("it is sent") };
    reread(bytes)
}

fn reread(bytes: Bytes) -> Request {
    match Message::parse_datagram(bytes).unwrap() {
        Message::Request(request) => request,
        Message::Response(_) => panic!("a request"),
    }
}

fn loops(request: &Request) -> bool {
    proxy::looped(request, proxy::mark(request))
}

#[test]
fn cg_05_max_forwards_0_is_483() {
    let last = request("INVITE", "sip:bob@ims.example", "Max-Forwards: 0\r\n");
    assert_eq!(proxy::validate(&last, &[]).unwrap_err().status, Status::TOO_MANY_HOPS);
    let one = request("INVITE", "sip:bob@ims.example", "Max-Forwards: 1\r\n");
    assert_eq!(proxy::validate(&one, &[]), Ok(()));
    assert_eq!(proxy::forwarded(&one).finish().max_forwards(), Ok(Some(0)));
}

#[test]
fn cg_06_a_missing_max_forwards_is_70() {
    let bare = request("INVITE", "sip:bob@ims.example", "");
    assert_eq!(proxy::validate(&bare, &[]), Ok(()));
    assert_eq!(proxy::forwarded(&bare).finish().max_forwards(), Ok(Some(70)));
}

#[test]
fn cg_07_an_unknown_proxy_require_is_420_and_named() {
    let asks = request("INVITE", "sip:bob@ims.example", "Proxy-Require: foo\r\n");
    let refused = proxy::validate(&asks, &["path"]).unwrap_err();
    assert_eq!((refused.status, refused.unsupported.as_deref()), (Status::BAD_EXTENSION, Some("foo")));
}

#[test]
fn cg_08_a_request_that_comes_back_unchanged_is_a_loop() {
    let first = request("INVITE", "sip:bob@ims.example", "Route: <sip:scscf.ims.example;lr>\r\n");
    assert!(!loops(&first));
    let sent = forward(1, &first, |edit| edit.remove(Name::Route));
    // Another proxy adds its Via and sends it back to where it came from, to another node of ours.
    let mut edit = proxy::forwarded(&sent);
    edit.push_top(Name::Via, "SIP/2.0/UDP far.example;branch=z9hG4bKfar");
    edit.push_top(Name::Route, "<sip:scscf.ims.example;lr>");
    let back = edit.finish();
    assert!(loops(&back));
    let again = forward(2, &back, |edit| edit.remove(Name::Route));
    assert!(!loops(&again), "no Route: it is another request for another procedure");
}

#[test]
fn cg_09_a_round_trip_over_application_servers_is_no_loop() {
    let mut current =
        request("INVITE", "sip:bob@ims.example", "Route: <sip:orig@scscf.ims.example;lr;token=u1>\r\n");
    for step in 1..=5 {
        assert!(!loops(&current), "visit {step}");
        let sent = forward(step, &current, |edit| {
            edit.remove(Name::Route);
            edit.push_top(Name::Route, format!("<sip:scscf.ims.example;lr;odi={step}>"));
            edit.push_top(Name::Route, format!("<sip:as{step}.example;lr>"));
        });
        let mut edit = proxy::forwarded(&sent);
        edit.remove_top_value(Name::Route);
        edit.push_top(Name::Via, format!("SIP/2.0/UDP as{step}.example;branch=z9hG4bKas{step}"));
        current = edit.finish();
    }
    // Then to the terminating side, on the same nodes.
    let sent = forward(1, &current, |edit| edit.remove(Name::Route));
    assert!(!loops(&sent));
    // An application server that sends the same twice makes a loop of it.
    let mut edit = sent.edit();
    edit.push_top(Name::Route, "<sip:scscf.ims.example;lr;odi=3>");
    assert!(loops(&edit.finish()));
}

#[test]
fn cg_10_a_503_alone_is_500_upstream() {
    let mut context = opened(1);
    assert_eq!(hear(&mut context, 0, 503), "kept");
    let best = context.best(&invite(), "us");
    assert_eq!((best.status(), best.to_tag()), (Status::SERVER_INTERNAL_ERROR, Some("us")));
    assert_eq!(best.get(Name::RetryAfter), None);
}

#[test]
fn cg_10_a_503_that_says_when_to_come_again_is_500_that_says_it_too() {
    let mut context = opened(1);
    let refusal = invite().respond(Status::SERVICE_UNAVAILABLE, "them").header(Name::RetryAfter, 3).finish();
    let _ = context.received(BranchId(0), refusal);
    let best = context.best(&invite(), "us");
    assert_eq!(
        (best.status(), best.get(Name::RetryAfter).as_deref()),
        (Status::SERVER_INTERNAL_ERROR, Some("3"))
    );
}

#[test]
fn cg_11_no_final_response_is_408() {
    let mut context = opened(2);
    assert_eq!(hear(&mut context, 0, 180), "forward 180");
    context.failed(BranchId(0), BranchFailure::Timeout);
    context.failed(BranchId(1), BranchFailure::Timeout);
    let best = context.best(&invite(), "us");
    assert_eq!((best.status(), best.vias().count()), (Status::REQUEST_TIMEOUT, 1));
}

#[test]
fn cg_15_the_ack_to_a_2xx_follows_its_route_without_a_transaction() {
    let ack = request(
        "ACK",
        "sip:bob@ue.example",
        "Max-Forwards: 70\r\nRoute: <sip:scscf.ims.example;lr;token=u1>, <sip:pcscf.example;lr>\r\n",
    );
    let us = |uri: &sip::Uri| uri.host() == "scscf.ims.example";
    let mut table = Table::new(Timers::default(), Limits::default(), [1, 2]);
    let mut out = Vec::new();
    table.receive(Message::Request(ack), flow(), Tick(0), &mut out);
    let Some(Output::Ack { request: ack, .. }) = out.pop() else { panic!("it is the user's") };
    let arrival = proxy::arrival(&ack, us, us).unwrap().unwrap();
    let mut edit = proxy::forwarded(&ack);
    arrival.apply(&mut edit);
    let (ack, next) = proxy::departure(edit.finish()).unwrap();
    assert_eq!(next.as_str(), "sip:pcscf.example;lr");
    table.send_ack(&ack, flow(), &ViaTemplate::new("scscf.ims.example"), &mut out);
    let Some(Output::Transmit { bytes, .. }) = out.pop() else { panic!("it is sent") };
    let sent = reread(bytes);
    assert_eq!((sent.uri_text(), sent.vias().count()), ("sip:bob@ue.example", 2));
    assert_eq!(sent.values(Name::Route).collect::<Vec<_>>(), ["<sip:pcscf.example;lr>"]);
    assert_eq!(sent.max_forwards(), Ok(Some(69)));
    assert!(table.is_empty() && table.next_deadline().is_none());
}

#[test]
fn cd_20_a_603_cancels_the_other_branch_and_goes_back() {
    let mut context = opened(2);
    hear(&mut context, 0, 180);
    hear(&mut context, 1, 180);
    assert_eq!(hear(&mut context, 0, 603), "declined");
    assert_eq!(unanswered(&context), [1], "to be cancelled");
    assert!(context.is_declined() && !context.is_done());
    assert_eq!(hear(&mut context, 1, 487), "kept");
    assert!(context.is_done());
    assert_eq!(context.best(&invite(), "us").status(), Status::DECLINE);
}
