//! How many whole transactions one table does in a second.
#![allow(clippy::unwrap_used, missing_docs)]

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sip::transaction::{ClientId, Flow, Limits, Output, Table, Tick, Timers, ViaTemplate};
use sip::{Message, Name, Request, Status, Transport};
use std::hint::black_box;

/// Transactions begun before the clock moves on; the table then holds 32 s of them.
const PER_TICK: u64 = 5;

fn register(number: u64) -> Message {
    let text = format!(
        "REGISTER sip:ims.mnc001.mcc001.3gppnetwork.org SIP/2.0\r\n\
         Via: SIP/2.0/UDP pcscf.visited.net:5060;branch=z9hG4bK{number:016x};rport\r\n\
         Via: SIP/2.0/UDP [2001:db8::5]:1357;branch=z9hG4bKnashds7\r\nMax-Forwards: 68\r\n\
         Path: <sip:term@pcscf.visited.net;lr>\r\nRequire: path\r\nSupported: path,gruu\r\n\
         From: <sip:user{number}@ims.mnc001.mcc001.3gppnetwork.org>;tag=4fa3\r\n\
         To: <sip:user{number}@ims.mnc001.mcc001.3gppnetwork.org>\r\n\
         Contact: <sip:[2001:db8::5]:1357>;expires=600000;+sip.instance=\"<urn:gsma:imei:90420156-025763-0>\"\r\n\
         Call-ID: apb03a0s09dkjdfglkj49111{number}\r\nCSeq: 1 REGISTER\r\n\
         P-Visited-Network-ID: \"Visited Network Number 1\"\r\nContent-Length: 0\r\n\r\n"
    );
    Message::parse_datagram(Bytes::from(text)).unwrap()
}

fn flow() -> Flow {
    Flow {
        transport: Transport::Udp,
        local: "127.0.0.1:5060".parse().unwrap(),
        remote: "127.0.0.1:5070".parse().unwrap(),
        connection: 0,
    }
}

fn table() -> Table {
    Table::new(Timers::default(), Limits::default(), [1, 2])
}

fn server(c: &mut Criterion) {
    let mut group = c.benchmark_group("transaction");
    group.throughput(Throughput::Elements(1));
    for (name, answer_built) in
        [("server REGISTER, answer given", false), ("server REGISTER, answer built", true)]
    {
        let ready = ok(&register(0));
        let mut table = table();
        let mut out = Vec::new();
        let (mut made, mut number) = (0, 0);
        let mut fresh = || {
            made += 1;
            register(made)
        };
        let transaction = |message| {
            let now = Tick(number / PER_TICK);
            number += 1;
            table.expire(now, &mut out);
            out.clear();
            table.receive(message, flow(), now, &mut out);
            let Some(Output::Request { id, request, .. }) = out.pop() else { panic!("a new request") };
            let response = if answer_built { answer(&request) } else { ready.clone() };
            table.respond(id, response, now, &mut out).unwrap();
            black_box(&out);
        };
        let transaction = std::cell::RefCell::new(transaction);
        group.bench_function(name, |b| {
            b.iter_batched(&mut fresh, |message| transaction.borrow_mut()(message), BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn ok(message: &Message) -> sip::Response {
    let Message::Request(request) = message else { panic!("a request") };
    answer(request)
}

fn answer(request: &Request) -> sip::Response {
    request
        .respond(Status::OK, "scscf")
        .header(Name::ServiceRoute, "<sip:orig@scscf.home1.net;lr>")
        .header(Name::Contact, "<sip:[2001:db8::5]:1357>;expires=600000")
        .finish()
}

fn client(c: &mut Criterion) {
    let mut group = c.benchmark_group("transaction");
    group.throughput(Throughput::Elements(1));
    let Message::Request(request) = register(1) else { panic!("a request") };
    let via = ViaTemplate::new("scscf.home1.net:5060");
    let mut table = table();
    let mut out = Vec::new();
    let mut number = 0;
    group.bench_function("client request and its 200, both parsed", |b| {
        b.iter(|| {
            number += 1;
            let now = Tick(number / PER_TICK);
            table.expire(now, &mut out);
            out.clear();
            table.send(ClientId(number), request.clone(), flow(), &via, now, &mut out);
            let Some(Output::Transmit { bytes, .. }) = out.pop() else { return };
            let answer = ok(&Message::parse_datagram(bytes).unwrap());
            table.receive(answer.into(), flow(), now, &mut out);
            black_box(&out);
        });
    });
    group.finish();
}

criterion_group!(benches, server, client);
criterion_main!(benches);
