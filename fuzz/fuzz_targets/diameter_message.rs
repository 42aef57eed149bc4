//! `cargo +nightly fuzz run diameter_message`: octets as a message and as the stream of an open connection.
#![no_main]

use bytes::Bytes;
use diameter::{
    Identity, Message, Tick, base,
    cx::{self, Kind},
    peer::{Config, Peer},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let us = Identity::new("scscf.home", "home");
    match Message::decode(Bytes::copy_from_slice(octets)) {
        Ok(message) => {
            assert_eq!(Message::decode(message.encode()).as_ref(), Ok(&message));
            let _ = cx::decode_answer(Kind::MultimediaAuth, &message);
            let _ = cx::decode_answer(Kind::ServerAssignment, &message);
            let _ = cx::decode_server_answer(&message);
            let _ = cx::decode_demand_answer(&message);
            let refusals = [cx::decode_demand(&message, &us).err(), cx::decode_request(&message, &us).err()];
            for refusal in refusals.into_iter().flatten() {
                assert!(Message::decode(refusal.encode()).is_ok());
            }
        }
        Err(error) => {
            if let Some(answer) = error.answer(&us) {
                assert!(Message::decode(answer.encode()).is_ok());
            }
        }
    }
    let mut out = Vec::new();
    let mut peer = Peer::responder(us, Config::scscf(1), Tick(0));
    let cer = base::capabilities_request(&Identity::new("hss.home", "home"));
    peer.receive(&cer.encode(), Tick(0), &mut out);
    for piece in octets.chunks(61) {
        peer.receive(piece, Tick(1), &mut out);
    }
});
