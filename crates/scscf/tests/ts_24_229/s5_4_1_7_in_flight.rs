//! TS 24.229 §5.4.1.7 — third-party REGISTERs whose fate is not known yet.

use crate::s5_4_1_7::{
    AS1, including, leave, one, parts, refresh, registered, registers, server, terminating, told,
};
use scscf::{Event, Reply, Span};
use sip::Status;

#[test]
fn one_register_at_a_time() {
    let (mut world, mut ue) = registered(vec![server(0, AS1, &[])]);
    let first = world.sent[0].clone();
    ue.expires = 1800;
    refresh(&mut world, &mut ue);
    ue.expires = 1200;
    refresh(&mut world, &mut ue);
    assert_eq!(registers(&world).len(), 1, "the first has no answer yet");
    world.reply(&first, 200);
    assert_eq!((told(&world), registers(&world)[0].cseq().number), (one(AS1, 1200), 2));
    // The end waits too, and takes the place of what was to be told.
    let second = world.sent[0].clone();
    refresh(&mut world, &mut ue);
    leave(&mut world, &mut ue);
    assert_eq!(registers(&world).len(), 1);
    world.reply(&second, 200);
    assert_eq!((told(&world), registers(&world)[0].cseq().number), (one(AS1, 0), 3));
    // A registration that begins meanwhile is told when the end is.
    let third = world.sent[0].clone();
    world.attach(&mut ue);
    assert_eq!(registers(&world).len(), 1);
    world.reply(&third, 503);
    assert_eq!((told(&world), registers(&world)[0].cseq().number), (one(AS1, 3600), 4));
    assert_eq!(world.user.view().bindings.len(), 1);
}

#[test]
fn a_late_answer_to_an_earlier_register_is_none() {
    let (mut world, mut ue) = registered(vec![terminating(server(0, AS1, &[]))]);
    let first = world.sent[0].clone();
    world.reply(&first, 200);
    refresh(&mut world, &mut ue);
    world.step(Event::Reply {
        to: first.purpose,
        reply: Reply::Response(first.request.respond(Status::SERVICE_UNAVAILABLE, "as").finish()),
    });
    assert_eq!((world.user.view().bindings.len(), world.user.view().third_party[0].status), (1, None));
    let trying = world.sent[0].request.respond(Status::TRYING, "").finish();
    world.step(Event::Reply { to: first.purpose, reply: Reply::Response(trying) });
    assert_eq!(world.user.view().third_party[0].status, None);
    world.answer_all();
    assert_eq!(world.user.view().third_party[0].status, Some(200));
}

#[test]
fn a_new_owner_sends_again_what_was_in_flight() {
    let (mut world, mut ue) =
        registered(vec![including(server(0, AS1, &[]), true, true), server(1, "sip:as2.home1.net", &[])]);
    let second = world.sent[1].clone();
    world.reply(&second, 200);
    let before = world.sent[0].request.clone();
    world.pass(Span::seconds(10));
    world.fail_over();
    assert_eq!(told(&world), one(AS1, 3590));
    let [again] = registers(&world)[..] else { panic!() };
    assert_eq!((again.call_id(), again.cseq().number), (before.call_id(), 2));
    assert_eq!(parts(again), parts(&before), "with all it had");
    world.answer_all();
    world.fail_over();
    assert_eq!(told(&world), []);
    // So with an end, and long after every timer of the former owner.
    leave(&mut world, &mut ue);
    let end = parts(registers(&world)[0]);
    world.now = world.now + Span::seconds(1000);
    world.fail_over();
    assert_eq!(told(&world), [one(AS1, 0), one("sip:as2.home1.net", 0)].concat());
    assert_eq!(registers(&world)[0].cseq().number, 4);
    assert_eq!(parts(registers(&world)[0]), end);
    world.answer_all();
    assert!(world.erased);
}

#[test]
fn a_fate_that_was_lost_is_not_awaited_for_ever() {
    let (mut world, mut ue) = registered(vec![terminating(server(0, AS1, &[]))]);
    world.sent.clear();
    world.pass(Span::seconds(180));
    assert_eq!(world.user.view().bindings.len(), 1, "nobody knows that the server failed");
    assert_eq!(world.user.view().third_party[0].status, Some(0));
    leave(&mut world, &mut ue);
    world.sent.clear();
    world.pass(Span::seconds(179));
    assert!(!world.erased);
    world.pass(Span::seconds(1));
    assert!(world.erased);
}
