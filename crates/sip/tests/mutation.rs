//! Mutated messages: none may panic, none may take more time than its length warrants, and what parses keeps its word.
//!
//! `ROLLCALL_MUTATIONS` sets how many are tried (20 000 unless set), `ROLLCALL_SEED` where the sequence starts.
#![allow(clippy::unwrap_used, clippy::print_stdout)]
// A test takes its size from the environment and measures time; the crate does neither.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod reading;

use bytes::Bytes;
use sip::{Frame, Framer, Message, Name, Status, Via};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

const SEEDS: &[&str] = &[
    "REGISTER sip:home1.net SIP/2.0\r\n\
     Via: SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bKfern;rport, SIP/2.0/TCP icscf.home1.net;branch=z9hG4bKivy\r\n\
     Max-Forwards: 69\r\nPath: <sip:term@pcscf.visited1.net;lr>\r\nRoute: <sip:scscf.home1.net;lr;orig>,<sip:b;lr>\r\n\
     From: \"Ann \\\"A\\\"\" <sip:ann@home1.net>;tag=reed\r\nTo: <sip:ann@home1.net>\r\n\
     Contact: <sip:ann@[2001:db8::1]:1357;comp=sigcomp>;expires=600000;+sip.instance=\"<urn:uuid:f8>\";reg-id=1\r\n\
     Call-ID: moss@ue1\r\nCSeq: 2 REGISTER\r\nSupported: path, gruu\r\nExpires: 600000\r\n\
     Authorization: Digest username=\"ann_private@home1.net\", realm=\"home1.net\", nonce=\"bm9uY2U=\",\r\n \
     uri=\"sip:home1.net\", response=\"0123456789abcdef0123456789abcdef\", algorithm=AKAv1-MD5, nc=00000001,\r\n \
     integrity-protected=\"yes\"\r\n\
     P-Charging-Vector: icid-value=\"fern+ivy\";orig-ioi=visited1.net\r\nContent-Length: 0\r\n\r\n",
    "INVITE tel:+1-555-0100;phone-context=home1.net SIP/2.0\r\nv: SIP / 2.0 / UDP h ; branch = z9hG4bKa\r\n\
     f: sip:a@b;tag=1\r\nt: <tel:+15550100>\r\ni: c\r\nCSeq: 4711 INVITE\r\nm: *\r\nl: 4\r\nc: text/plain\r\n\r\nbody",
    "SIP/2.0 200 All is well\r\nVia: SIP/2.0/UDP scscf.home1.net;branch=z9hG4bKoak;received=192.0.2.1\r\n\
     From: <sip:ann@home1.net>;tag=1\r\nTo: <sip:ann@home1.net>;tag=2\r\nCall-ID: x\r\nCSeq: 1 SUBSCRIBE\r\n\
     Event: reg;id=7\r\nSubscription-State: terminated;reason=deactivated;retry-after=5\r\n\
     P-Associated-URI: <sip:ann@home1.net>, <tel:+15550100>\r\nContent-Length: 0\r\n\r\n",
    "NOTIFY sip:u;p=%40@h:5;a=b;lr?X=%20&y= SIP/2.0\r\nVia: SIP/2.0/TLS h\r\nFrom: <urn:service:sos>;tag=9\r\n\
     To: A b <sips:x@y>\r\nCall-ID: a@b\r\nCSeq: 0 NOTIFY\r\nContent-Length:0\r\n\r\n",
];

const SPICE: &[&[u8]] = &[
    b"\r\n",
    b"\r\n ",
    b"\r\n\r\n",
    b"\"",
    b"\\",
    b"<",
    b">",
    b";",
    b",",
    b":",
    b"@",
    b"%",
    b"%00",
    b"[",
    b"]",
    b"=",
    b"?",
    b"&",
    b" ",
    b"\t",
    b"\0",
    b"\xff",
    b"\xc3\xa9",
    b"18446744073709551616",
    b"-1",
    b"SIP/2.0",
    b"sip:",
    b"tel:",
    b";tag=",
    b"Via: ",
    b"l: 3\r\n",
    b"\r",
    b"\n",
    b"::",
    b"*",
    b"Digest ",
];

/// A small generator (splitmix64) so that a run can be repeated.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

fn corpus() -> Vec<Vec<u8>> {
    let mut corpus: Vec<Vec<u8>> = SEEDS.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    let root = std::env::var_os("ROLLCALL_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    for rfc in ["rfc4475", "rfc5118"] {
        let dir = root.join("torture").join(rfc);
        let Ok(files) = std::fs::read_dir(&dir) else {
            println!("skipped as seeds: the torture messages of {rfc} are not at {}", dir.display());
            continue;
        };
        let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        paths.sort();
        corpus.extend(paths.iter().map(|path| std::fs::read(path).unwrap()));
    }
    corpus
}

fn mutate(dice: &mut Dice, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut octets = corpus[dice.below(corpus.len())].clone();
    for _ in 0..=dice.below(3) {
        let at = dice.below(octets.len() + 1);
        let end = (at + dice.below(24)).min(octets.len());
        match dice.below(7) {
            0 => {
                octets.drain(at..end);
            }
            1 => {
                let piece = octets[at..end].to_vec();
                octets.splice(at..at, piece);
            }
            2 => {
                let piece = SPICE[dice.below(SPICE.len())];
                octets.splice(at..end, piece.iter().copied());
            }
            3 => {
                let piece = SPICE[dice.below(SPICE.len())];
                octets.splice(at..at, piece.iter().copied());
            }
            4 if at < octets.len() => octets[at] = dice.next() as u8,
            5 => {
                let other = &corpus[dice.below(corpus.len())];
                let from = dice.below(other.len());
                let to = (from + dice.below(200)).min(other.len());
                octets.splice(at..end, other[from..to].iter().copied());
            }
            _ if dice.below(8) == 0 => octets.truncate(at),
            _ => {}
        }
    }
    octets
}

fn keeps_its_word(octets: &[u8]) -> bool {
    let message = match Message::parse_datagram(Bytes::copy_from_slice(octets)) {
        Ok(message) => message,
        Err(error) => {
            assert_eq!(error.status(), error.response().map(|response| response.status()));
            return false;
        }
    };
    let facts = reading::everything(&message);
    let again = Message::parse_datagram(message.as_bytes().clone()).unwrap();
    assert_eq!(again.as_bytes(), message.as_bytes());
    assert_eq!(reading::everything(&again), facts);
    match &message {
        Message::Request(request) => {
            assert_eq!(request.edit().finish().as_bytes(), request.as_bytes());
            let mut edit = request.received_from("192.0.2.77".parse().unwrap(), Some(4444)).edit();
            edit.push_top(
                Name::Via,
                Via::new(sip::Transport::Udp, "p.home1.net", None).with_param("branch", "z9hG4bKp"),
            );
            edit.replace(Name::MaxForwards, 5);
            let edited = edit.finish();
            let forwarded = Message::parse_datagram(edited.as_bytes().clone());
            if let Ok(Message::Request(forwarded)) = forwarded {
                assert_eq!(forwarded.body(), request.body());
                assert_eq!(forwarded.call_id(), request.call_id());
                assert_eq!(forwarded.vias().nth(1).unwrap().unwrap().rport(), Some(Some(4444)));
            } else {
                // Only a message at a limit can grow beyond it.
                let vias = request.vias().count();
                assert!(vias == 100 || request.all().count() >= 255 || octets.len() > 4096, "{forwarded:?}");
            }
            let response = request.respond(Status::FORBIDDEN, "oak").finish();
            match Message::parse_frame(response.as_bytes().clone()).unwrap() {
                Message::Response(read) => assert_eq!(read.call_id(), request.call_id()),
                Message::Request(_) => panic!("a response"),
            }
            assert!(response.to_tag().is_some());
        }
        Message::Response(response) => {
            assert_eq!(response.edit().finish().as_bytes(), response.as_bytes());
            let mut edit = response.edit();
            edit.remove_top_value(Name::Via);
            assert_eq!(edit.finish().vias().count() + 1, response.vias().count());
        }
    }
    true
}

fn frames(octets: &[u8], mut cut: impl FnMut() -> usize) -> Vec<String> {
    let mut framer = Framer::new();
    let mut found = Vec::new();
    let mut rest = octets;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(cut().clamp(1, rest.len()));
        rest = later;
        framer.push(now);
        while let Some(frame) = framer.next() {
            found.push(match frame {
                Frame::Message(bytes) => {
                    let parsed =
                        Message::parse_frame(bytes.clone()).map(|message| reading::everything(&message));
                    format!("{bytes:?} {parsed:?}")
                }
                Frame::KeepAlive => "keep-alive".to_owned(),
                Frame::Refused(error) => format!("refused {:?}", error.status()),
            });
        }
    }
    found
}

#[test]
fn mutated_messages_do_no_harm() {
    let count = std::env::var("ROLLCALL_MUTATIONS").map_or(20_000, |n| n.parse().unwrap());
    let seed = std::env::var("ROLLCALL_SEED").map_or(1, |n| n.parse().unwrap());
    let corpus = corpus();
    let mut dice = Dice(seed);
    let mut parsed = 0u64;
    let mut slowest = Duration::ZERO;
    for i in 0..count {
        let octets = mutate(&mut dice, &corpus);
        let before = Instant::now();
        parsed += u64::from(keeps_its_word(&octets));
        slowest = slowest.max(before.elapsed());
        if i % 8 == 0 {
            let whole = frames(&octets, || usize::MAX);
            assert_eq!(frames(&octets, || 1 + dice.below(97)), whole);
        }
    }
    println!("{count} mutations from seed {seed}: {parsed} parsed, the slowest took {slowest:?}");
    assert!(parsed > 0 && parsed < count);
}

/// Time to treat a message, the best of several tries.
fn cost(octets: &[u8]) -> Duration {
    let bytes = Bytes::copy_from_slice(octets);
    let once = || {
        let before = Instant::now();
        if let Ok(message) = Message::parse_datagram(bytes.clone()) {
            std::hint::black_box(reading::everything(&message));
        }
        let mut framer = Framer::new();
        for piece in octets.chunks(64) {
            framer.push(piece);
            while let Some(frame) = framer.next() {
                std::hint::black_box(frame);
            }
        }
        before.elapsed()
    };
    (0..9).map(|_| once()).min().unwrap()
}

#[test]
fn time_grows_with_length_alone() {
    const HEAD: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\n\
                        Call-ID: c\r\nCSeq: 1 OPTIONS\r\n";
    let lines = |line: fn(usize) -> String| {
        move |size: usize| {
            let mut text = HEAD.to_owned();
            while text.len() < size {
                text.push_str(&line(8000.min(size - text.len()).max(64)));
                text.push_str("\r\n");
            }
            text.push_str("Content-Length: 0\r\n\r\n");
            text.into_bytes()
        }
    };
    type Shape = Box<dyn Fn(usize) -> Vec<u8>>;
    let shapes: Vec<(&str, Shape)> = vec![
        ("parameters", Box::new(lines(|n| format!("Path: <sip:h>{}", ";a=b".repeat(n / 4))))),
        ("open quotes", Box::new(lines(|n| format!("Subject: {}", "\"\\".repeat(n / 2))))),
        ("odd quotes", Box::new(lines(|n| format!("Supported: {}\"", "\"a\",".repeat(n / 4))))),
        ("brackets", Box::new(lines(|n| format!("Path: {}", "<".repeat(n))))),
        ("commas", Box::new(lines(|n| format!("Allow: {}", ",".repeat(n))))),
        ("foldings", Box::new(lines(|n| format!("Subject: x{}", "\r\n y".repeat(n / 4))))),
        ("digest", Box::new(lines(|n| format!("Authorization: Digest {}", "a=b,".repeat(n / 4))))),
        ("escapes", Box::new(lines(|n| format!("Service-Route: <sip:{}@h>", "%41".repeat(n.min(900) / 3))))),
        ("blanks", Box::new(lines(|n| format!("Subject:{}x", " ".repeat(n))))),
        (
            "no end",
            Box::new(|n| {
                b"OPTIONS sip:a@b SIP/2.0\r\nX: y\r\nX: ".iter().copied().chain(vec![b'a'; n]).collect()
            }),
        ),
        ("returns", Box::new(|n| vec![b'\r'; n])),
        ("breaks", Box::new(|n| b"\r\n".repeat(n / 2))),
    ];
    // Within one line, then over many.
    let sizes = [(1_900, 7_600), (12_000, 48_000)];
    for ((name, shape), (small, large)) in shapes.iter().flat_map(|shape| sizes.map(|sizes| (shape, sizes))) {
        let (small, large) = (shape(small), shape(large));
        let growth = large.len() as f64 / small.len() as f64;
        // Quadratic growth would give 16. A busy machine makes a round look worse, never better.
        let round = || cost(&large).as_secs_f64() / cost(&small).as_secs_f64().max(2e-6);
        let mut ratio = round();
        for _ in 0..30 {
            if ratio < 2.0 * growth {
                break;
            }
            ratio = ratio.min(round());
        }
        println!("{name}: {growth:.1} times the octets, {ratio:.1} times the time");
        assert!(ratio < 2.0 * growth, "{name}: {ratio:.1} times the time for {growth:.1} times the octets");
    }
}
