//! What it costs to find the next application server of an INVITE among twenty criteria.
#![allow(clippy::unwrap_used, missing_docs)]

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use scscf::ifc::{Criteria, Invocation, SessionCase};
use scscf::profile::{
    ApplicationServer, Condition, DefaultHandling, InitialFilterCriteria, ServicePointTrigger, TriggerPoint,
};
use sip::{Message, Request};
use std::hint::black_box;

fn invite() -> Request {
    let body = "v=0\r\no=- 1 1 IN IP6 5555::1\r\ns=-\r\nc=IN IP6 5555::1\r\nt=0 0\r\nm=audio 3456 RTP/AVP 97 96\r\n\
                b=AS:25.4\r\na=rtpmap:97 AMR\r\na=rtpmap:96 telephone-event\r\na=sendrecv\r\n";
    let text = format!(
        "INVITE tel:+12125551111 SIP/2.0\r\nVia: SIP/2.0/UDP pcscf1.visited1.net;branch=z9hG4bK351g45.1\r\n\
         Via: SIP/2.0/UDP [5555::aaa:bbb:ccc:ddd]:1357;branch=z9hG4bKnashds7\r\nMax-Forwards: 69\r\n\
         Route: <sip:token@scscf1.home1.net;lr>\r\nRecord-Route: <sip:pcscf1.visited1.net;lr>\r\n\
         P-Asserted-Identity: \"John\" <sip:user1_public1@home1.net>\r\n\
         P-Access-Network-Info: 3GPP-UTRAN-TDD; utran-cell-id-3gpp=234151D0FCE11\r\nPrivacy: none\r\n\
         P-Charging-Vector: icid-value=\"AyretyU0dm+6O2IrT5tAFrbHLso=023551024\"; orig-ioi=\"visited1.net\"\r\n\
         From: <sip:user1_public1@home1.net>;tag=171828\r\nTo: <tel:+12125551111>\r\nCall-ID: cb03a0s09a2sdfglkj490333\r\n\
         CSeq: 127 INVITE\r\nSupported: precondition, 100rel, gruu, 199\r\n\
         Accept-Contact: *;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.mmtel\"\r\n\
         P-Asserted-Service: urn:urn-7:3gpp-service.ims.icsi.mmtel\r\n\
         Contact: <sip:user1@home1.net;gr=urn:uuid:f81d4fae>;+g.3gpp.icsi-ref=\"urn%3Aurn-7\"\r\n\
         Allow: INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, REFER, MESSAGE, OPTIONS\r\n\
         Accept: application/sdp, application/3gpp-ims+xml\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    match Message::parse_datagram(Bytes::from(text)).unwrap() {
        Message::Request(request) => request,
        Message::Response(_) => panic!("a request"),
    }
}

/// Twenty criteria; the last one matches.
fn criteria() -> Criteria {
    let spt = |group, condition| ServicePointTrigger {
        negated: false,
        groups: vec![group],
        condition,
        registration_types: Vec::new(),
    };
    let header = |header: &str, content: &str| Condition::Header {
        header: header.into(),
        content: Some(content.into()),
    };
    let line =
        |content: &str| Condition::SessionDescription { line: "m".into(), content: Some(content.into()) };
    let list = (0..20).map(|priority| {
        let last = match priority % 5 {
            _ if priority == 19 => {
                header("P-Asserted-Service", ".*urn:urn-7:3gpp-service\\.ims\\.icsi\\.mmtel.*")
            }
            0 => header("P-Asserted-Service", "^urn:urn-7:3gpp-service.ims.icsi.(oma|rcs).*"),
            1 => line("^(video|message) "),
            2 => Condition::RequestUri("^sip:.*@conference".into()),
            3 => header("(Accept-Contact|Contact)", "\\+g\\.3gpp\\.(smsip|cs-voice)"),
            _ => Condition::Method("MESSAGE".into()),
        };
        let spts = vec![
            spt(0, Condition::Method("INVITE".into())),
            spt(0, Condition::Method("MESSAGE".into())),
            spt(1, Condition::SessionCase(0)),
            spt(2, last),
        ];
        InitialFilterCriteria {
            priority,
            trigger: Some(TriggerPoint { cnf: true, spts }),
            application_server: ApplicationServer {
                server_name: format!("sip:as{priority}.home1.net").into(),
                default_handling: DefaultHandling::SessionContinued,
                service_info: None,
                include_register_request: false,
                include_register_response: false,
            },
            profile_part: Some(0),
        }
    });
    list.collect::<Vec<_>>().into()
}

fn bench(c: &mut Criterion) {
    let request = invite();
    let criteria = criteria();
    assert_eq!(criteria.faults(), []);
    let invocation = |case| Invocation { request: &request, case, registered: true, registration_type: None };
    let originating = invocation(SessionCase::Originating);
    assert_eq!(criteria.next_after(None, &originating).map(|criterion| criterion.priority), Some(19));
    c.bench_function("next server of an INVITE, the last of 20 criteria", |b| {
        b.iter(|| black_box(&criteria).next_after(None, black_box(&originating)));
    });
    let terminating = invocation(SessionCase::TerminatingRegistered);
    c.bench_function("20 criteria of the other session case", |b| {
        b.iter(|| black_box(&criteria).next_after(None, black_box(&terminating)));
    });
    let list = criteria.to_vec();
    c.bench_function("20 criteria compiled", |b| {
        b.iter(|| Criteria::from(black_box(&list).clone()).faults().len());
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
