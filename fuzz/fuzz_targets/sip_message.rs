//! `cargo +nightly fuzz run sip_message`: octets as a datagram and as a stream; what parses is read and edited.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sip::{Frame, Framer, Message, Name, Status};

fuzz_target!(|octets: &[u8]| {
    match Message::parse_datagram(Bytes::copy_from_slice(octets)) {
        Ok(message) => touch(&message),
        Err(error) => assert_eq!(error.status(), error.response().map(|response| response.status())),
    }
    let mut framer = Framer::new();
    for piece in octets.chunks(61) {
        framer.push(piece);
        while let Some(frame) = framer.next() {
            if let Frame::Message(bytes) = frame
                && let Ok(message) = Message::parse_frame(bytes)
            {
                touch(&message);
            }
        }
    }
});

fn touch(message: &Message) {
    let headers = message.headers();
    let _ = (headers.via(), headers.from(), headers.to(), headers.call_id(), headers.cseq());
    let _ = (headers.contacts(), headers.authorization(), headers.event(), headers.charging_vector());
    for &name in Name::ALL {
        let _ = (headers.addresses(name), headers.options(name));
    }
    match message {
        Message::Request(request) => {
            assert_eq!(request.edit().finish().as_bytes(), request.as_bytes());
            assert!(request.uri().equivalent(request.uri()));
            let response = request.respond(Status::OK, "fuzz").finish();
            assert!(Message::parse_frame(response.as_bytes().clone()).is_ok());
        }
        Message::Response(response) => assert_eq!(response.edit().finish().as_bytes(), response.as_bytes()),
    }
}
