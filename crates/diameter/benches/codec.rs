//! What a Cx message costs: encoding a MAR, reading a MAA, reading a SAA with its user data.
#![allow(clippy::unwrap_used, missing_docs)]

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use diameter::{
    Identity, Message,
    cx::{self, Kind},
    user_data,
};
use scscf::{Impi, cx as values};
use std::hint::black_box;

const REALM: &str = "ims.mnc001.mcc001.3gppnetwork.org";

fn octets(hex: &str) -> Bytes {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs =
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
    pairs.collect::<Vec<_>>().into()
}

fn codec(c: &mut Criterion) {
    let us = Identity::new(&format!("n1.scscf.{REALM}"), REALM);
    let mar = values::Request::MultimediaAuth(values::MultimediaAuth {
        impi: Impi::new(&format!("001010000000001@{REALM}")).unwrap(),
        impu: format!("sip:+10000000001@{REALM}").into(),
        scheme: values::Scheme::AkaV1Md5,
        resynchronise: None,
        server_name: format!("sip:scscf.{REALM}:5060").into(),
        hss: Some(values::Hss { host: format!("hss.{REALM}").into(), realm: REALM.into() }),
    });
    c.bench_function("encode MAR", |b| {
        b.iter(|| cx::encode_request(black_box(&mar), &us, "n1;1;2", REALM).unwrap().encode());
    });
    let maa = octets(include_str!("../tests/fixtures/maa.hex"));
    c.bench_function("decode MAA", |b| {
        b.iter(|| cx::decode_answer(Kind::MultimediaAuth, &Message::decode(black_box(maa.clone())).unwrap()));
    });
    let saa = octets(include_str!("../tests/fixtures/saa.hex"));
    c.bench_function("decode SAA with user data", |b| {
        b.iter(|| {
            cx::decode_answer(Kind::ServerAssignment, &Message::decode(black_box(saa.clone())).unwrap())
        });
    });
    let xml = include_bytes!("../tests/fixtures/minimal.xml");
    c.bench_function("read user data of 1 kB", |b| b.iter(|| user_data::parse(black_box(xml)).unwrap()));
}

criterion_group!(benches, codec);
criterion_main!(benches);
