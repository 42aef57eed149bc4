//! What holds of the response context, whatever the branches do.

use crate::{invite, response};
use proptest::prelude::*;
use sip::proxy::{BranchFailure, BranchId, Context, Heard};
use sip::{Response, Status};

#[derive(Clone, Debug)]
enum Happening {
    Open(u32),
    Response(u32, u16),
    Timeout(u32),
    Unsendable(u32),
    Forget(u32),
}

fn happening() -> impl Strategy<Value = Happening> {
    let branch = 0u32..4;
    prop_oneof![
        2 => branch.clone().prop_map(Happening::Open),
        6 => (branch.clone(), prop_oneof![100u16..700, Just(200), Just(401), Just(407), Just(503), Just(603)])
            .prop_map(|(branch, code)| Happening::Response(branch, code)),
        1 => branch.clone().prop_map(Happening::Timeout),
        1 => branch.clone().prop_map(Happening::Unsendable),
        1 => branch.prop_map(Happening::Forget),
    ]
}

/// The kept answers, worked out a second time.
#[derive(Default)]
struct Model {
    branches: Vec<(u32, Option<u16>)>,
    successes: usize,
}

impl Model {
    fn close(&mut self, branch: u32, code: u16) {
        if let Some(known) = self.branches.iter_mut().find(|known| known.0 == branch && known.1.is_none()) {
            known.1 = Some(code);
        }
    }

    fn kept(&self) -> impl Iterator<Item = u16> {
        self.branches.iter().filter_map(|known| known.1).filter(|code| code / 100 != 2)
    }
}

fn forwarded(heard: &Heard) -> Option<&Response> {
    match heard {
        Heard::Provisional(response) | Heard::Success(response) => Some(response),
        Heard::Absorbed | Heard::Refused | Heard::Declined => None,
    }
}

fn step(context: &mut Context, model: &mut Model, invite: bool, happening: &Happening) {
    match *happening {
        Happening::Open(branch) => {
            model.branches.retain(|known| known.0 != branch);
            model.branches.push((branch, None));
            context.open(BranchId(branch));
        }
        Happening::Response(branch, code) => {
            let sent = response(code, &format!("b{branch}"));
            let known = model.branches.iter().any(|known| known.0 == branch);
            let heard = context.received(BranchId(branch), sent.clone());
            if let Some(forwarded) = forwarded(&heard) {
                assert_eq!(*forwarded, sent);
            }
            let success = matches!(heard, Heard::Success(_));
            assert_eq!(success, known && code / 100 == 2 && (invite || model.successes == 0));
            model.successes += usize::from(success);
            if code == 100 {
                assert_eq!(heard, Heard::Absorbed);
            }
            if code >= 200 {
                if code < 300 {
                    model
                        .branches
                        .iter_mut()
                        .filter(|known| known.0 == branch)
                        .for_each(|k| k.1 = Some(code));
                }
                // After a 2xx nothing is kept.
                model.close(branch, if context.is_decided() { 200 } else { code });
            }
        }
        Happening::Timeout(branch) => {
            model.close(branch, 408);
            context.failed(BranchId(branch), BranchFailure::Timeout);
        }
        Happening::Unsendable(branch) => {
            model.close(branch, 503);
            context.failed(BranchId(branch), BranchFailure::Unsendable);
        }
        Happening::Forget(branch) => {
            model.branches.retain(|known| known.0 != branch);
            context.forget(BranchId(branch));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_best_is_a_final_response_of_the_best_class(
        invite_asked: bool,
        happenings in prop::collection::vec(happening(), 0..24),
    ) {
        let mut context = Context::new(invite_asked);
        let mut model = Model::default();
        for happening in &happenings {
            step(&mut context, &mut model, invite_asked, happening);
            let open: Vec<_> =
                model.branches.iter().filter(|known| known.1.is_none()).map(|known| BranchId(known.0)).collect();
            prop_assert_eq!(context.unanswered().collect::<Vec<_>>(), open);
            prop_assert_eq!(context.is_declined(), model.kept().any(|code| code >= 600));
            prop_assert_eq!(context.is_decided(), model.successes > 0);

            let best = context.best(&invite(), "us").status().code();
            let wanted = match model.kept().map(|code| if code >= 600 { 0 } else { code / 100 }).min() {
                None => 4,
                Some(0) => 6,
                Some(class) => class,
            };
            prop_assert_eq!(best / 100, wanted);
            let among = model.kept().any(|code| code == best);
            let made_up = best == 408 && model.kept().next().is_none()
                || best == 500 && model.kept().filter(|code| code / 100 == wanted).all(|code| code == 503);
            prop_assert!(among || made_up, "{}", best);
            prop_assert_ne!(best, 503);
            let telling = [401, 407, 415, 420, 484];
            if wanted == 4 && model.kept().any(|code| telling.contains(&code)) {
                prop_assert!(telling.contains(&best));
            }
            let cloned = context.clone();
            prop_assert_eq!(cloned.best(&invite(), "us"), context.best(&invite(), "us"), "it is a function");
        }
    }

    #[test]
    fn challenges_are_neither_lost_nor_doubled(codes in prop::collection::vec(
        prop_oneof![Just(401u16), Just(407), Just(404), Just(486)], 1..5,
    )) {
        let mut context = crate::opened(codes.len() as u32);
        let mut realms = Vec::new();
        for (branch, &code) in (0..).zip(&codes) {
            let mut edit = response(code, "b").edit();
            if code == 401 || code == 407 {
                let name = if code == 401 { sip::Name::WwwAuthenticate } else { sip::Name::ProxyAuthenticate };
                edit.append(name, format!("Digest realm=\"r{branch}\""));
                realms.push(format!("Digest realm=\"r{branch}\""));
            }
            context.received(BranchId(branch), edit.finish());
        }
        let best = context.best(&invite(), "us");
        let mut found: Vec<_> = [sip::Name::WwwAuthenticate, sip::Name::ProxyAuthenticate]
            .into_iter()
            .flat_map(|name| best.lines(name).map(|line| line.into_owned()).collect::<Vec<_>>())
            .collect();
        found.sort();
        realms.sort();
        prop_assert_eq!(found, realms);
        prop_assert!(best.status() != Status::OK);
    }
}
