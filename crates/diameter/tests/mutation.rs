//! Mutated messages and documents: nothing panics, nothing takes more than its share of time.
//!
//! ROLLCALL_MUTATIONS sets how many of each are tried.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)]

mod fixtures;

use bytes::Bytes;
use diameter::{
    Framer, Message, Tick,
    cx::{self, Kind},
    peer::{Config, Peer},
    user_data,
};
use fixtures::*;
use std::time::{Duration, Instant};

struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n.max(1)
    }
}

fn mutations() -> usize {
    std::env::var("ROLLCALL_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000)
}

fn mutate(octets: &mut Vec<u8>, chance: &mut Chance, words: &[&[u8]]) {
    for _ in 0..=chance.below(4) {
        let at = chance.below(octets.len());
        match chance.below(7) {
            0 if !octets.is_empty() => octets[at] ^= 1 << chance.below(8),
            1 if !octets.is_empty() => octets[at] = [0, 1, 0x7f, 0x80, 0xff][chance.below(5)],
            2 => octets.truncate(at),
            3 => {
                let end = (at + chance.below(40)).min(octets.len());
                octets.drain(at..end);
            }
            4 => {
                let end = (at + chance.below(60)).min(octets.len());
                let piece = octets[at..end].to_vec();
                let to = chance.below(octets.len());
                octets.splice(to..to, piece);
            }
            _ => {
                let word = words[chance.below(words.len())];
                octets.splice(at..at, word.iter().copied());
            }
        }
    }
}

/// Everything that reads a message, in both roles.
fn read(octets: &Bytes, peer: &mut Peer) {
    let mut framer = Framer::new();
    framer.push(octets);
    while let Some(Ok(_)) = framer.next() {}
    peer.receive(octets, Tick(1), &mut Vec::new());
    match Message::decode(octets.clone()) {
        Ok(message) => {
            let _ = cx::decode_answer(Kind::MultimediaAuth, &message);
            let _ = cx::decode_answer(Kind::ServerAssignment, &message);
            let _ = cx::decode_server_answer(&message);
            let _ = cx::decode_demand_answer(&message);
            let refusals =
                [cx::decode_demand(&message, &scscf()).err(), cx::decode_request(&message, &hss()).err()];
            for refusal in refusals.into_iter().flatten() {
                assert!(Message::decode(refusal.encode()).is_ok());
            }
            assert_eq!(Message::decode(message.encode()).unwrap(), message);
        }
        Err(error) => {
            if let Some(answer) = error.answer(&scscf()) {
                assert!(Message::decode(answer.encode()).is_ok(), "{answer:?}");
            }
        }
    }
}

fn fix_length(octets: &mut [u8]) {
    let length = (octets.len() as u32).to_be_bytes();
    if octets.len() >= 20 {
        octets[1..4].copy_from_slice(&length[1..]);
    }
}

#[test]
fn mutated_messages_are_read_or_refused() {
    let seeds = [CER, MAR, MAA, SAA, SAA_ERROR, RTR].map(octets);
    let words: [&[u8]; 5] = [
        &[0; 4],
        &[0xff; 4],
        &[0, 0, 2, 0x64, 0xc0, 0, 0, 12, 0, 0, 0x28, 0xaf],
        &[0, 0, 1, 0x29, 0x40, 0, 0, 8],
        b"sip:",
    ];
    let mut chance = Chance(1);
    let begin = |seed: u64| {
        let mut out = Vec::new();
        let mut peer = Peer::responder(hss(), Config::scscf(seed), Tick(0));
        peer.receive(&octets(CER), Tick(0), &mut out);
        assert!(peer.is_open());
        peer
    };
    let mut peer = begin(0);
    let mut longest = Duration::ZERO;
    for round in 0..mutations() {
        let mut octets = seeds[chance.below(seeds.len())].to_vec();
        mutate(&mut octets, &mut chance, &words);
        if chance.below(8) > 0 {
            octets.resize(octets.len().next_multiple_of(4), 0);
            fix_length(&mut octets);
        }
        let start = Instant::now();
        read(&octets.into(), &mut peer);
        longest = longest.max(start.elapsed());
        if !peer.is_open() || round % 64 == 0 {
            peer = begin(round as u64);
        }
    }
    assert!(longest < Duration::from_secs(2), "{longest:?}");
}

#[test]
fn mutated_user_data_is_read_or_refused() {
    let words: [&[u8]; 12] = [
        b"<Extension>",
        b"</Extension>",
        b"<![CDATA[",
        b"]]>",
        b"&amp;",
        b"&x;",
        b"<!--",
        b"-->",
        b"<",
        b">",
        b"\xff",
        b"<a:b c='",
    ];
    let mut chance = Chance(2);
    let mut longest = Duration::ZERO;
    for _ in 0..mutations() {
        let mut octets = MINIMAL.to_vec();
        mutate(&mut octets, &mut chance, &words);
        let start = Instant::now();
        if let Ok(subscription) = user_data::parse(&octets) {
            let again = user_data::parse(&user_data::to_xml(&subscription));
            assert_eq!(again, Ok(subscription), "{}", String::from_utf8_lossy(&octets));
        }
        longest = longest.max(start.elapsed());
    }
    assert!(longest < Duration::from_secs(2), "{longest:?}");
}

/// Time for `n` and `8 n` of something; linear work takes 8 times as long, quadratic 64 times.
fn assert_linear(name: &str, mut make: impl FnMut(usize) -> Vec<u8>, mut read: impl FnMut(&[u8])) {
    let mut time = |octets: &[u8]| {
        let times = (0..5).map(|_| {
            let start = Instant::now();
            read(octets);
            start.elapsed()
        });
        times.min().unwrap()
    };
    let small = time(&make(1_000));
    let large = time(&make(8_000));
    let ratio = large.as_secs_f64() / small.as_secs_f64().max(20e-6);
    assert!(ratio < 40.0, "{name}: {small:?} for 1000, {large:?} for 8000");
}

#[test]
fn no_document_takes_more_than_linear_time() {
    let wrapped = |inner: String| {
        format!(
            "<IMSSubscription><PrivateID>a</PrivateID><ServiceProfile><PublicIdentity><Identity>sip:a@h</Identity></PublicIdentity>\
             {inner}</ServiceProfile></IMSSubscription>"
        )
        .into_bytes()
    };
    let parse = |octets: &[u8]| {
        let _ = user_data::parse(octets);
    };
    let identity = |n: usize| format!("<PublicIdentity><Identity>sip:u{n}@h</Identity></PublicIdentity>");
    assert_linear("identities", |n| wrapped((0..n).map(identity).collect()), parse);
    let criterion = |n: usize| {
        format!(
            "<InitialFilterCriteria><Priority>{}</Priority><ApplicationServer><ServerName>s</ServerName></ApplicationServer></InitialFilterCriteria>",
            n % 7
        )
    };
    assert_linear("criteria", |n| wrapped((0..n).map(criterion).collect()), parse);
    assert_linear("comments", |n| wrapped("<!-- -->".repeat(n)), parse);
    assert_linear("unclosed", |n| wrapped("<a>".repeat(n)), parse);
    assert_linear("angles", |n| wrapped("<".repeat(n)), parse);
    assert_linear("references", |n| wrapped(format!("<a>{}</a>", "&#65;".repeat(n))), parse);
    assert_linear("attributes", |n| wrapped(format!("<a {}/>", "x='1' ".repeat(n))), parse);
    assert_linear("cdata", |n| wrapped(format!("<a>{}</a>", "<![CDATA[x]]>".repeat(n))), parse);
    assert_linear("unclosed cdata", |n| wrapped("<![CDATA[".repeat(n)), parse);
}

#[test]
fn no_message_takes_more_than_linear_time() {
    let mut peer = Peer::responder(hss(), Config::scscf(3), Tick(0));
    peer.receive(&octets(CER), Tick(0), &mut Vec::new());
    let message = |seed: &str, avp: &[u8], n: usize| {
        let mut octets = octets(seed).to_vec();
        octets.extend_from_slice(&avp.repeat(n));
        fix_length(&mut octets);
        octets
    };
    for (name, seed, avp) in [
        ("empty AVPs", RTR, &[0, 0, 9, 9, 0, 0, 0, 8][..]),
        ("user names", RTR, &[0, 0, 0, 1, 0x40, 0, 0, 9, b'a', 0, 0, 0]),
        ("public identities", RTR, &[0, 0, 2, 0x59, 0xc0, 0, 0, 13, 0, 0, 0x28, 0xaf, b'a', 0, 0, 0]),
        ("auth items", MAA, &[0, 0, 2, 0x64, 0xc0, 0, 0, 12, 0, 0, 0x28, 0xaf]),
        ("proxy infos", MAR, &[0, 0, 1, 0x1c, 0x40, 0, 0, 8]),
    ] {
        assert_linear(
            name,
            |n| message(seed, avp, n),
            |octets| read(&Bytes::copy_from_slice(octets), &mut peer),
        );
    }
}
