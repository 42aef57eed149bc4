//! RFC 3261 §16.7 — which response goes back, and when.

use crate::{hear, invite, opened, response, say, unanswered};
use sip::proxy::{BranchFailure, BranchId, Context};
use sip::{Name, Status};

/// The best of a context whose branches ended so; 0 is a timeout, 1 a failure to send.
fn best(ends: &[u16]) -> u16 {
    let mut context = opened(ends.len() as u32);
    for (branch, &end) in (0..).zip(ends) {
        match end {
            0 => context.failed(BranchId(branch), BranchFailure::Timeout),
            1 => context.failed(BranchId(branch), BranchFailure::Unsendable),
            code => assert_ne!(hear(&mut context, branch, code), "absorbed"),
        }
    }
    assert!(context.is_done() && !context.is_decided());
    context.best(&invite(), "us").status().code()
}

#[test]
fn the_lowest_class_wins_but_for_the_sixth() {
    assert_eq!(best(&[500, 404]), 404);
    assert_eq!(best(&[404, 302, 486]), 302);
    assert_eq!(best(&[302, 486, 603]), 603);
    assert_eq!(best(&[600, 606]), 600);
}

#[test]
fn within_a_class_what_tells_how_to_ask_again_is_preferred() {
    for telling in [401, 407, 415, 420, 484] {
        assert_eq!(best(&[404, telling, 486]), telling);
    }
    assert_eq!(best(&[484, 420, 415, 407, 401]), 401);
    assert_eq!(best(&[486, 480]), 486, "else that of the branch opened first");
}

#[test]
fn what_nobody_said_comes_last_in_its_class() {
    assert_eq!(best(&[0, 486]), 486);
    assert_eq!(best(&[487, 480]), 480);
    assert_eq!(best(&[0, 487]), 487);
    assert_eq!(best(&[503, 504]), 504);
    assert_eq!(best(&[1, 0]), 408);
}

#[test]
fn a_503_speaks_of_another_server() {
    assert_eq!(best(&[503]), 500);
    assert_eq!(best(&[1, 503]), 500);
    assert_eq!(best(&[503, 404]), 404);
}

#[test]
fn without_any_branch_it_is_408() {
    let answer = Context::new(true).best(&invite(), "us");
    assert_eq!((answer.status().code(), answer.to_tag()), (408, Some("us")));
}

#[test]
fn what_somebody_sent_goes_back_as_it_came() {
    let mut context = opened(2);
    let busy = response(486, "bob").edit();
    let mut busy = busy;
    busy.append(Name::RetryAfter, "30");
    let busy = busy.finish();
    context.received(BranchId(1), busy.clone());
    context.failed(BranchId(0), BranchFailure::Timeout);
    assert_eq!(context.best(&invite(), "us"), busy);
}

#[test]
fn all_challenges_are_collected() {
    let mut context = opened(3);
    let challenge = |code, name, values: &[&str]| {
        let mut edit = response(code, "x").edit();
        values.iter().for_each(|value| edit.append(name, value));
        edit.finish()
    };
    let first = challenge(407, Name::ProxyAuthenticate, &["Digest realm=\"p1\""]);
    let second = challenge(401, Name::WwwAuthenticate, &["Digest realm=\"u1\"", "Digest realm=\"u2\""]);
    let third = challenge(407, Name::ProxyAuthenticate, &["Digest realm=\"p2\""]);
    for (branch, response) in (0..).zip([first, second, third]) {
        assert_eq!(say(&context.received(BranchId(branch), response)), "kept");
    }
    let best = context.best(&invite(), "us");
    assert_eq!(best.status(), Status::UNAUTHORIZED);
    let of = |name| best.lines(name).collect::<Vec<_>>().join(" ");
    assert_eq!(of(Name::WwwAuthenticate), r#"Digest realm="u1" Digest realm="u2""#);
    assert_eq!(of(Name::ProxyAuthenticate), r#"Digest realm="p1" Digest realm="p2""#);
}

#[test]
fn provisional_responses_go_at_once_but_100_stays() {
    let mut context = opened(2);
    assert_eq!(hear(&mut context, 0, 100), "absorbed");
    assert_eq!(hear(&mut context, 0, 180), "forward 180");
    assert_eq!(hear(&mut context, 1, 199), "forward 199");
    assert_eq!(hear(&mut context, 7, 180), "absorbed", "no branch of ours");
    assert_eq!(hear(&mut context, 0, 486), "kept");
    assert_eq!(hear(&mut context, 0, 180), "absorbed", "late");
    assert_eq!(hear(&mut context, 0, 603), "absorbed", "late");
    assert_eq!(unanswered(&context), [1]);
}

#[test]
fn the_first_2xx_decides() {
    let mut context = opened(3);
    hear(&mut context, 0, 486);
    assert_eq!(hear(&mut context, 1, 200), "forward 200");
    assert!(context.is_decided() && !context.is_done());
    assert_eq!(unanswered(&context), [2]);
    assert_eq!(hear(&mut context, 2, 180), "absorbed");
    assert_eq!(hear(&mut context, 2, 487), "absorbed");
    assert!(context.is_done());
}

#[test]
fn every_2xx_to_an_invite_passes_and_the_first_to_anything_else() {
    for (invite, second) in [(true, "forward 200"), (false, "absorbed")] {
        let mut context = Context::new(invite);
        context.open(BranchId(0));
        context.open(BranchId(1));
        assert_eq!(hear(&mut context, 0, 200), "forward 200");
        assert_eq!(hear(&mut context, 1, 200), second, "of another branch");
        assert_eq!(hear(&mut context, 0, 200), second, "of the same");
        assert_eq!(hear(&mut context, 2, 200), "absorbed", "of none");
    }
}

#[test]
fn a_2xx_passes_although_the_branch_was_given_up() {
    let mut context = opened(1);
    context.failed(BranchId(0), BranchFailure::Timeout);
    assert_eq!(hear(&mut context, 0, 200), "forward 200");
    assert!(context.is_decided());
}

#[test]
fn a_branch_that_is_dropped_leaves_no_answer() {
    let mut context = opened(2);
    hear(&mut context, 0, 503);
    assert_eq!(context.refusal(BranchId(0)), Some(Status::SERVICE_UNAVAILABLE));
    context.forget(BranchId(0));
    assert_eq!((context.refusal(BranchId(0)), unanswered(&context)), (None, vec![1]));
    hear(&mut context, 1, 486);
    assert_eq!(context.best(&invite(), "us").status().code(), 486);
    context.clear_refusals();
    assert_eq!(context, Context::new(true));
    context.open(BranchId(1));
    assert_eq!(unanswered(&context), [1]);
    assert_eq!(hear(&mut context, 1, 180), "forward 180", "opened again, it is a new one");
}
