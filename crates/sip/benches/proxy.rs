//! What it costs to forward an INVITE and its 200.
#![allow(clippy::unwrap_used, missing_docs)]

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sip::proxy::{self, BranchId, Context, Heard};
use sip::transaction::{ClientId, Flow, Limits, Output, ServerId, Table, Tick, Timers, ViaTemplate};
use sip::{Message, Name, Request, RequestEdit, Response, Status, Transport, Uri};
use std::cell::RefCell;
use std::hint::black_box;

/// Calls begun before the clock moves on; the table then holds 32 s of them.
const PER_TICK: u64 = 5;

const SDP: &str = "v=0\r\no=- 2987933615 2987933615 IN IP6 2001:db8::5\r\ns=-\r\nc=IN IP6 2001:db8::5\r\nt=0 0\r\n\
    m=audio 3456 RTP/AVP 97 96\r\nb=AS:25.4\r\na=curr:qos local none\r\na=curr:qos remote none\r\n\
    a=des:qos mandatory local sendrecv\r\na=des:qos none remote sendrecv\r\na=rtpmap:97 AMR\r\n\
    a=fmtp:97 mode-set=0,2,5,7; maxframes=2\r\na=rtpmap:96 telephone-event\r\n";

fn invite(number: u64) -> Bytes {
    let length = SDP.len();
    Bytes::from(format!(
        "INVITE sip:bob@ims.mnc001.mcc001.3gppnetwork.org SIP/2.0\r\n\
         Via: SIP/2.0/UDP pcscf.visited.net:5060;branch=z9hG4bK{number:016x};rport\r\n\
         Via: SIP/2.0/UDP [2001:db8::5]:1357;branch=z9hG4bKnashds7\r\nMax-Forwards: 69\r\n\
         Route: <sip:orig@scscf.home1.net;lr;token=wMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw>\r\n\
         Record-Route: <sip:pcscf.visited.net;lr>\r\n\
         P-Asserted-Identity: \"John Doe\" <sip:user{number}@ims.mnc001.mcc001.3gppnetwork.org>\r\n\
         P-Access-Network-Info: 3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=234151D0FCE11\r\n\
         P-Charging-Vector: icid-value=\"AyretyU0dm+6O2IrT5tAFrbHLso=023551024\";orig-ioi=home1.net\r\n\
         Privacy: none\r\nFrom: <sip:user{number}@ims.mnc001.mcc001.3gppnetwork.org>;tag=171828\r\n\
         To: <sip:bob@ims.mnc001.mcc001.3gppnetwork.org>\r\nCall-ID: cb03a0s09a2sdfglkj490333{number}\r\n\
         CSeq: 127 INVITE\r\nRequire: sec-agree\r\nSupported: precondition, 100rel, gruu, timer\r\n\
         Contact: <sip:[2001:db8::5]:1357;comp=sigcomp>;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.mmtel\"\r\n\
         Accept-Contact: *;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.mmtel\"\r\n\
         P-Preferred-Service: urn:urn-7:3gpp-service.ims.icsi.mmtel\r\n\
         Allow: INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, REFER, MESSAGE\r\nAccept: application/sdp\r\n\
         Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{SDP}"
    ))
}

fn flow() -> Flow {
    let [local, remote] = ["127.0.0.1:5060", "127.0.0.1:5070"].map(|address| address.parse().unwrap());
    Flow { transport: Transport::Udp, local, remote, connection: 0 }
}

fn request(octets: Bytes) -> Request {
    match Message::parse_datagram(octets).unwrap() {
        Message::Request(request) => request,
        Message::Response(_) => panic!("a request"),
    }
}

/// The answer of whoever got the forwarded request.
fn answer(octets: Bytes) -> Bytes {
    let invite = request(octets);
    let mut response = invite.respond(Status::OK, "314159").header(Name::Contact, "<sip:bob@[2001:db8::8]>");
    for route in invite.lines(Name::RecordRoute) {
        response = response.header(Name::RecordRoute, route);
    }
    response.body("application/sdp", SDP.as_bytes()).finish().as_bytes().clone()
}

/// What the procedures of an S-CSCF change.
fn change(edit: &mut RequestEdit, next: &Uri) {
    edit.remove_top_value(Name::Route);
    edit.push_top(Name::Route, format_args!("<sip:scscf.home1.net;lr;odi=wMTIzNDU2Nzg5MDEyMzQ1Njc4OTA>"));
    edit.push_top(Name::Route, format_args!("<{next}>"));
    edit.push_top(
        Name::RecordRoute,
        "<sip:scscf.home1.net;lr;token=wMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw>",
    );
    edit.replace(Name::PServedUser, "<sip:user@home1.net>;sescase=orig;regstate=reg");
    edit.remove(Name::PPreferredService);
}

struct Proxy {
    table: Table,
    number: u64,
    next: Uri,
    via: ViaTemplate,
    out: Vec<Output>,
}

impl Proxy {
    fn new() -> Self {
        Self {
            table: Table::new(Timers::default(), Limits::default(), [1, 2]),
            number: 0,
            next: Uri::parse("sip:as.home1.net;lr").unwrap(),
            via: ViaTemplate::new("scscf.home1.net:5060"),
            out: Vec::new(),
        }
    }

    /// The INVITE from the wire and to the wire.
    fn ask(&mut self, octets: Bytes) -> (ServerId, Context, Bytes) {
        self.number += 1;
        let now = Tick(self.number / PER_TICK);
        self.table.expire(now, &mut self.out);
        self.out.clear();
        let message = Message::parse_datagram(octets).unwrap();
        self.table.receive(message, flow(), now, &mut self.out);
        let Some(Output::Request { id, request, .. }) = self.out.pop() else { panic!("a new request") };
        self.table.respond(id, request.respond(Status::TRYING, "").finish(), now, &mut self.out).unwrap();
        proxy::validate(&request, &[]).unwrap();
        let mark = proxy::mark(&request);
        assert!(!proxy::looped(&request, mark));
        let arrival = proxy::arrival(&request, |_| false, |uri| uri.host() == "scscf.home1.net").unwrap();
        black_box(arrival);
        let mut edit = proxy::forwarded(&request);
        change(&mut edit, &self.next);
        let (forwarded, _) = proxy::departure(edit.finish()).unwrap();
        let mut context = Context::new(true);
        context.open(BranchId(0));
        self.via.mark = Some(mark);
        self.table.send(ClientId(self.number), forwarded, flow(), &self.via, now, &mut self.out);
        let Some(Output::Transmit { bytes, .. }) = self.out.pop() else { panic!("it is sent") };
        (id, context, bytes)
    }

    /// The 200 from the wire and to the wire.
    fn answer(&mut self, server: ServerId, context: &mut Context, octets: Bytes) {
        let now = Tick(self.number / PER_TICK);
        self.table.receive(Message::parse_datagram(octets).unwrap(), flow(), now, &mut self.out);
        let Some(Output::Response { response, .. }) = self.out.pop() else { panic!("the user's") };
        assert!(self.table.again(server, &response, now, &mut self.out).is_err());
        let returned = proxy::returned(&response).unwrap();
        let Heard::Success(response) = context.received(BranchId(0), returned) else { panic!("a 2xx") };
        self.table.respond(server, response, now, &mut self.out).unwrap();
        black_box(&self.out);
        self.out.clear();
    }
}

/// The 200 to any of the INVITEs, but for our own branch.
struct Answer {
    before: Vec<u8>,
    after: Vec<u8>,
}

const BRANCH: &[u8] = b";branch=";
const BRANCH_LENGTH: usize = "z9hG4bK".len() + 48;

fn branch_at(octets: &[u8]) -> usize {
    octets.windows(BRANCH.len()).position(|window| window == BRANCH).unwrap() + BRANCH.len()
}

impl Answer {
    fn of(forwarded: Bytes) -> Self {
        let octets = answer(forwarded);
        let at = branch_at(&octets);
        Self { before: octets[..at].to_vec(), after: octets[at + BRANCH_LENGTH..].to_vec() }
    }

    fn to(&self, forwarded: &[u8]) -> Bytes {
        let at = branch_at(forwarded);
        Bytes::from([&self.before, &forwarded[at..at + BRANCH_LENGTH], &self.after].concat())
    }
}

fn whole(c: &mut Criterion) {
    let mut group = c.benchmark_group("proxy");
    group.throughput(Throughput::Elements(1));
    let proxy = RefCell::new(Proxy::new());
    let ready = Answer::of(proxy.borrow_mut().ask(invite(0)).2);
    let mut number = 0;
    let mut fresh = || {
        number += 1;
        invite(number)
    };
    group.bench_function("INVITE and its 200, from wire to wire", |b| {
        let call = |octets| {
            let mut proxy = proxy.borrow_mut();
            let (server, mut context, forwarded) = proxy.ask(octets);
            proxy.answer(server, &mut context, ready.to(&forwarded));
        };
        b.iter_batched(&mut fresh, call, BatchSize::SmallInput);
    });
    let mut asked = || {
        let mut proxy = proxy.borrow_mut();
        let (server, context, forwarded) = proxy.ask(fresh());
        (server, context, ready.to(&forwarded))
    };
    group.bench_function("its 200 alone", |b| {
        let answered =
            |(server, mut context, octets)| proxy.borrow_mut().answer(server, &mut context, octets);
        b.iter_batched(&mut asked, answered, BatchSize::SmallInput);
    });
    group.finish();
}

fn steps(c: &mut Criterion) {
    let mut group = c.benchmark_group("proxy step");
    let octets = invite(7);
    let received = request(octets.clone());
    let next = Uri::parse("sip:as.home1.net;lr").unwrap();
    let mark = proxy::mark(&received);
    group.bench_function("parse INVITE", |b| b.iter(|| Message::parse_datagram(octets.clone())));
    group.bench_function("validate", |b| b.iter(|| proxy::validate(black_box(&received), &[])));
    group.bench_function("mark", |b| b.iter(|| proxy::mark(black_box(&received))));
    group.bench_function("looped", |b| b.iter(|| proxy::looped(black_box(&received), mark)));
    group.bench_function("arrival", |b| {
        b.iter(|| proxy::arrival(black_box(&received), |_| false, |uri| uri.host() == "scscf.home1.net"));
    });
    group.bench_function("edit", |b| {
        b.iter(|| {
            let mut edit = proxy::forwarded(black_box(&received));
            change(&mut edit, &next);
            edit.finish()
        });
    });
    group.bench_function("departure", |b| b.iter(|| proxy::departure(black_box(received.clone()))));
    let response = response(answer(octets.clone()));
    group.bench_function("returned", |b| b.iter(|| proxy::returned(black_box(&response))));
    group.finish();
}

fn response(octets: Bytes) -> Response {
    match Message::parse_datagram(octets).unwrap() {
        Message::Response(response) => response,
        Message::Request(_) => panic!("a response"),
    }
}

criterion_group!(benches, whole, steps);
criterion_main!(benches);
