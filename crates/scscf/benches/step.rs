//! What one user costs in time: a registration with IMS AKA, a refresh, a wrong answer, and its record.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../tests/ts_24_229/stage.rs"]
#[allow(dead_code, unreachable_pub, clippy::wildcard_enum_match_arm)]
mod stage;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use scscf::cx::{Answer, AuthItem, MultimediaAuthAnswer, ServerAssignmentAnswer};
use scscf::{CxPurpose, Effect, Event, Impi, Moment, Policy, Seed, ServerTx, Source, Timestamp, User};
use sip::{Request, Response};
use stage::{IMPI, START, Ue, alice, credentials, policy, vector};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

const NONCE: &str = "I1U8vpY3qJ0hiuZNrke/NVXzKLQ1d7m5Sp/6w1Tfr7M=";

struct Bench {
    policy: Policy,
    first: Request,
    answer: Request,
    wrong: Request,
    refresh: Request,
}

impl Bench {
    fn new() -> Self {
        let right = credentials(IMPI, NONCE, vector(0).xres.reveal(), Some("00000001"));
        let wrong = credentials(IMPI, NONCE, b"guess", Some("00000001"));
        Self {
            policy: policy(),
            first: Ue::new().register(),
            answer: Ue::new().next().protected().with(right).register(),
            wrong: Ue::new().next().with(wrong).register(),
            refresh: Ue::new().next().next().protected().register(),
        }
    }

    fn step(&self, user: &mut User, event: Event) -> Vec<Effect> {
        let moment = Moment { now: Timestamp::from_millis(START), seed: Seed(7) };
        user.step(event, moment, &self.policy).effects
    }

    fn request(&self, user: &mut User, request: &Request) -> Vec<Effect> {
        let source = Source { address: IpAddr::V4(Ipv4Addr::LOCALHOST), trusted: true };
        self.step(user, Event::Request { tx: ServerTx(1), request: request.clone(), source })
    }

    fn challenged(&self) -> User {
        let mut user = User::new(Impi::new(IMPI).unwrap());
        let to = asked(&self.request(&mut user, &self.first));
        let items = vec![AuthItem::Aka(vector(0))];
        let answer = Answer::MultimediaAuth(Ok(MultimediaAuthAnswer { hss: None, items }));
        answered(&self.step(&mut user, Event::CxAnswer { to, answer }), 401);
        user
    }

    fn registered(&self, saa: Answer) -> User {
        let mut user = self.challenged();
        let to = asked(&self.request(&mut user, &self.answer));
        answered(&self.step(&mut user, Event::CxAnswer { to, answer: saa }), 200);
        user
    }
}

fn asked(effects: &[Effect]) -> CxPurpose {
    match effects {
        [Effect::CxRequest { purpose, .. }] => *purpose,
        other => panic!("{other:?}"),
    }
}

fn answered(effects: &[Effect], status: u16) -> &Response {
    match effects {
        [Effect::Respond { response, .. }, ..] if response.status().code() == status => response,
        other => panic!("{other:?}"),
    }
}

fn saa() -> Answer {
    Answer::ServerAssignment(Ok(ServerAssignmentAnswer {
        hss: None,
        user_data: Some(Ok(alice())),
        charging: None,
        associated_identities: Vec::new(),
        server_name_not_stored: false,
    }))
}

fn steps(criterion: &mut Criterion) {
    let bench = Bench::new();
    criterion.bench_function("registration with AKA, four steps", |b| {
        b.iter_batched(saa, |saa| bench.registered(saa), BatchSize::SmallInput);
    });
    let user = bench.registered(saa());
    criterion.bench_function("protected refresh", |b| {
        b.iter_batched(
            || user.clone(),
            |mut user| {
                let effects = bench.request(&mut user, &bench.refresh);
                answered(&effects, 200);
                (user, effects)
            },
            BatchSize::SmallInput,
        );
    });
    let challenged = bench.challenged();
    criterion.bench_function("wrong answer", |b| {
        b.iter_batched(
            || challenged.clone(),
            |mut user| (bench.request(&mut user, &bench.wrong), user),
            BatchSize::SmallInput,
        );
    });
    let record = rmp_serde::to_vec_named(&user).unwrap();
    eprintln!("record of a registered user: {} octets", record.len());
    criterion
        .bench_function("record written", |b| b.iter(|| rmp_serde::to_vec_named(black_box(&user)).unwrap()));
    criterion.bench_function("record read", |b| {
        b.iter(|| rmp_serde::from_slice::<User>(black_box(&record)).unwrap());
    });
}

criterion_group!(benches, steps);
criterion_main!(benches);
