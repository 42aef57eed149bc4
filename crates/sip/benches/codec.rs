//! The codec on the messages an S-CSCF sees most.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sip::{Digest, Message, Method, Name, NameAddr, Request, Status, Uri, Via};
use std::hint::black_box;

const REGISTER: &str = "REGISTER sip:home1.net SIP/2.0\r\n\
    Via: SIP/2.0/UDP icscf1.home1.net;branch=z9hG4bK351g45.1\r\n\
    Via: SIP/2.0/UDP pcscf1.visited1.net;branch=z9hG4bK240f34.1\r\n\
    Via: SIP/2.0/UDP [5555::aaa:bbb:ccc:ddd]:1357;comp=sigcomp;branch=z9hG4bKnashds7\r\n\
    Max-Forwards: 68\r\n\
    P-Access-Network-Info: 3GPP-UTRAN-TDD; utran-cell-id-3gpp=234151D0FCE11\r\n\
    Path: <sip:term@pcscf1.visited1.net;lr;ob>\r\n\
    Require: path\r\n\
    P-Visited-Network-ID: \"Visited Network Number 1\"\r\n\
    P-Charging-Vector: icid-value=\"AyretyU0dm+6O2IrT5tAFrbHLso=023551024\";orig-ioi=visited1.net\r\n\
    From: <sip:user1_public1@home1.net>;tag=4fa3\r\n\
    To: <sip:user1_public1@home1.net>\r\n\
    Contact: <sip:[5555::aaa:bbb:ccc:ddd]:1357;comp=sigcomp>;expires=600000;+sip.instance=\"<urn:gsma:imei:90420156-025763-0>\";reg-id=1;+g.3gpp.smsip;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.mmtel\"\r\n\
    Call-ID: apb03a0s09dkjdfglkj49111\r\n\
    Authorization: Digest username=\"user1_private@home1.net\", realm=\"registrar.home1.net\", nonce=\"A34Cm+Fva37UYWpGNB34JPzkYmQ2MzA3ODkwMTIzNDU2Nzg5\", algorithm=AKAv1-MD5, uri=\"sip:registrar.home1.net\", response=\"6629fae49393a05397450978507c4ef1\", qop=auth, nc=00000001, cnonce=\"0a4f113b\", integrity-protected=\"yes\"\r\n\
    CSeq: 3 REGISTER\r\n\
    Supported: path, gruu, outbound\r\n\
    User-Agent: handset/1.0 (imaginary; build 20260101)\r\n\
    Content-Length: 0\r\n\r\n";

fn register() -> Request {
    match Message::parse_datagram(Bytes::from_static(REGISTER.as_bytes())).unwrap() {
        Message::Request(request) => request,
        Message::Response(_) => panic!("a request"),
    }
}

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    group.throughput(Throughput::Bytes(REGISTER.len() as u64));
    let octets = Bytes::from_static(REGISTER.as_bytes());
    group.bench_function("parse REGISTER", |b| b.iter(|| Message::parse_datagram(black_box(octets.clone()))));
    let request = register();
    group.bench_function("read REGISTER", |b| {
        b.iter(|| (request.authorization(), request.contacts(), request.addresses(Name::Path), request.via()))
    });
    let via = Via::new(sip::Transport::Udp, "scscf1.home1.net", None).with_param("branch", "z9hG4bK332b23.1");
    group.bench_function("forward", |b| {
        b.iter(|| {
            let mut edit = request.edit();
            edit.push_top(Name::Via, &via);
            edit.replace(Name::MaxForwards, 67);
            edit.finish()
        })
    });
    let challenge = Digest::new()
        .quoted("realm", "registrar.home1.net")
        .quoted("nonce", "A34Cm+Fva37UYWpGNB34JPzkYmQ2MzA3ODkwMTIzNDU2Nzg5")
        .token("algorithm", "AKAv1-MD5")
        .quoted("ik", "f769bcd751044604127672711c6d3441")
        .quoted("ck", "b40ba9a3c58b2a05bbf0d987b21bf8cb");
    group.bench_function("build 401", |b| {
        b.iter(|| {
            request.respond(Status::UNAUTHORIZED, "5ef4").header(Name::WwwAuthenticate, &challenge).finish()
        })
    });
    let target = Uri::parse("sip:user1_public1@home1.net").unwrap();
    let from = NameAddr::new(target.clone()).with_param("tag", "151170");
    group.bench_function("build NOTIFY", |b| {
        b.iter(|| {
            Request::build(Method::Notify, &target)
                .header(Name::Via, &via)
                .header(Name::MaxForwards, 70)
                .header(Name::From, &from)
                .header(Name::To, &from)
                .header(Name::CallId, "b89rjhnedlrfjflslj40a222")
                .header(Name::CSeq, "43 NOTIFY")
                .header(Name::Event, "reg")
                .body("application/reginfo+xml", b"<reginfo/>")
                .finish()
        })
    });
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
