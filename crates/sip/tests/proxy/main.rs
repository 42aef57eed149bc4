//! RFC 3261 §16 — a proxy made of the values of this crate.
#![allow(clippy::unwrap_used)]

mod context;
mod properties;
mod rows;

use bytes::Bytes;
use sip::proxy::{BranchId, Context, Heard};
use sip::{Message, Request, Response, Status};

pub(crate) fn request(method: &str, uri: &str, more: &str) -> Request {
    let text = format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP ue.example;branch=z9hG4bKue\r\n\
         From: <sip:alice@ims.example>;tag=a\r\nTo: <sip:bob@ims.example>\r\nCall-ID: c1\r\n\
         CSeq: 1 {method}\r\n{more}Content-Length: 0\r\n\r\n"
    );
    match Message::parse_datagram(Bytes::from(text)).unwrap() {
        Message::Request(request) => request,
        Message::Response(_) => panic!("a request"),
    }
}

pub(crate) fn invite() -> Request {
    request("INVITE", "sip:bob@ims.example", "Max-Forwards: 70\r\n")
}

/// A response of the user agent server `from`, our own Via removed.
pub(crate) fn response(code: u16, from: &str) -> Response {
    invite().respond(Status::new(code).unwrap(), from).finish()
}

/// One word for what is to be done.
pub(crate) fn say(heard: &Heard) -> String {
    match heard {
        Heard::Absorbed => "absorbed".into(),
        Heard::Provisional(response) | Heard::Success(response) => format!("forward {}", response.status()),
        Heard::Refused => "kept".into(),
        Heard::Declined => "declined".into(),
    }
}

pub(crate) fn opened(branches: u32) -> Context {
    let mut context = Context::new(true);
    for branch in 0..branches {
        context.open(BranchId(branch));
    }
    context
}

pub(crate) fn hear(context: &mut Context, branch: u32, code: u16) -> String {
    say(&context.received(BranchId(branch), response(code, &format!("b{branch}"))))
}

pub(crate) fn unanswered(context: &Context) -> Vec<u32> {
    context.unanswered().map(|branch| branch.0).collect()
}
