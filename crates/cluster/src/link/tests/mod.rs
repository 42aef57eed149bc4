#![allow(clippy::unwrap_used)]

mod simulation;

use super::hello::{Greeting, Hello, Role, tests::me};
use super::{Act, Limits, Mesh, News, Out, STRANGERS, Slot};
use crate::frame::{Frame, Framer};
use bytes::Bytes;
use proptest::prelude::*;
use simulation::{World, member};

fn slot(world: &World, of: usize, with: usize) -> Slot {
    let run = world.nodes[with].as_ref().unwrap().run;
    world.nodes[of].as_ref().unwrap().mesh.slot(&format!("n{with}"), run.1).unwrap()
}

fn is_up(world: &World, of: usize, with: usize) -> bool {
    world.nodes[of].as_ref().unwrap().mesh.is_up(slot(world, of, with))
}

fn queued(world: &World, of: usize) -> usize {
    world.nodes[of].as_ref().unwrap().mesh.counters().map(|(_, counters)| counters.queued).sum()
}

fn linked(seed: u64) -> World {
    let mut world = World::new(2, seed);
    world.run(world.now + 1_000);
    assert!(is_up(&world, 0, 1) && is_up(&world, 1, 0));
    world
}

#[test]
fn both_dial_at_once_and_one_connection_is_left() {
    for seed in 0..200 {
        let mut world = linked(seed);
        assert_eq!((world.wires.len(), world.refused.len()), (1, 0), "seed {seed}");
        // The one that is given up may have been in use for a moment.
        assert!(world.connections().iter().all(|all| *all <= 2), "seed {seed}");
        world.assert_settled();
    }
}

#[test]
fn a_process_that_ended_is_gone_as_soon_as_its_address_refuses() {
    for seed in 0..100 {
        let mut world = linked(seed);
        let run = world.nodes[1].as_ref().unwrap().run;
        world.say(0, 100);
        world.kill(1);
        world.run(world.now + 60);
        assert_eq!(world.gone.iter().map(|(_, gone)| *gone).collect::<Vec<_>>(), [run], "seed {seed}");
        assert_eq!(world.nodes[0].as_ref().unwrap().mesh.slot("n1", run.1), None);
    }
}

#[test]
fn silence_is_never_taken_for_an_end() {
    let mut world = linked(1);
    world.silent = true;
    world.run(world.now + 700);
    assert!(is_up(&world, 0, 1));
    world.run(world.now + 400);
    assert!(!is_up(&world, 0, 1), "a second of silence");
    (0..10).for_each(|_| world.say(0, 100));
    world.run(world.now + 120_000);
    assert_eq!((world.gone.len(), world.severed.len()), (0, 0));
    world.silent = false;
    world.run(world.now + 3_000);
    world.assert_settled();
    assert_eq!(world.heard.values().sum::<u64>(), 10);
}

#[test]
fn a_connection_that_the_network_closed_is_no_end_while_nobody_refuses_the_next() {
    let mut world = linked(2);
    world.cut(0);
    world.run(world.now + 20);
    world.silent = true;
    world.run(world.now + 60_000);
    assert!(!is_up(&world, 0, 1));
    assert_eq!((world.gone.len(), world.severed.len()), (0, 0));
}

#[test]
fn who_has_lost_a_connection_gets_another_though_the_other_thinks_it_stands() {
    for seed in 0..100 {
        for index in 0..2 {
            let mut world = linked(seed);
            world.cut_off(index);
            world.run(world.now + 300);
            assert!(is_up(&world, 0, 1) && is_up(&world, 1, 0), "seed {seed}, node {index}");
            assert_eq!(world.wires.len(), 1);
        }
    }
}

#[test]
fn what_a_process_said_before_it_ended_does_not_end_the_run_that_came_after_it() {
    late_proof(true, false);
    late_proof(true, true);
    late_proof(false, false);
}

/// `here`: the later run is connected. `stale`: the store still speaks of the earlier run, of which the node has not heard before.
fn late_proof(here: bool, stale: bool) {
    let mut mesh = Mesh::new(me("c", 9), Limits::default());
    let mut out = Out::default();
    let members = [2, 1].map(|run| crate::Member { node: "b".into(), link: "".into(), ..member((0, run)) });
    mesh.keep(&members[..1], 0, &mut out);
    // Two runs of b, each as far as its proof.
    let mut proofs = [1, 2].map(|run| {
        let conn = mesh.accepted([run; 16], 0).unwrap();
        let mine = Hello::new(&me("b", run.into()), ("c", 9), (1, 0), 0, 0, [10 + run; 16]);
        mesh.heard(conn, &Frame::Hello(mine.clone()).to_bytes(), 0, &mut out);
        let Some(Act::Write { octets, .. }) = out.acts.pop() else { panic!("no answer") };
        let mut framer = Framer::default();
        framer.push(&octets);
        let Ok(Some(Frame::Hello(theirs))) = framer.next() else { panic!("no Hello") };
        let proof = Greeting { mine, theirs, role: Role::Dialler }.proof(&[7; 32]);
        Some((conn, Frame::Accept(proof).to_bytes()))
    });
    for run in [2, 1].into_iter().skip(usize::from(!here)) {
        let (conn, proof) = proofs[run - 1].take().unwrap();
        mesh.heard(conn, &proof, 0, &mut out);
        if stale {
            mesh.keep(&members[1..], 0, &mut out);
        }
    }
    let later = mesh.slot("b", 2).unwrap();
    assert_eq!(mesh.is_up(later), here);
    let why = "another run of b is here".into();
    assert_eq!(out.news.pop(), Some(News::Refused { who: "b".into(), why }));
    assert_eq!(out.news, here.then_some(News::Up { slot: later }).into_iter().collect::<Vec<_>>());
}

#[test]
fn a_member_that_was_never_reached_is_not_gone_when_its_address_refuses() {
    let mut world = World::new(2, 3);
    world.kill(1);
    world.run(world.now + 30_000);
    assert_eq!((world.gone.len(), world.severed.len()), (0, 0));
}

#[test]
fn the_next_run_at_an_address_shows_that_the_last_has_ended() {
    for seed in 0..100 {
        let mut world = linked(seed);
        let run = world.nodes[1].as_ref().unwrap().run;
        world.kill(1);
        world.start(1);
        world.run(world.now + 200);
        assert_eq!(world.gone.iter().map(|(_, gone)| *gone).collect::<Vec<_>>(), [run], "seed {seed}");
        world.introduce();
        world.run(world.now + 2_000);
        world.assert_settled();
    }
}

#[test]
fn who_says_goodbye_is_gone_and_all_it_said_is_heard() {
    let mut world = linked(4);
    for _ in 0..50 {
        world.say(1, 1_000);
    }
    world.act(1, |mesh, _, out| mesh.farewell(out));
    let run = world.nodes[1].take().unwrap().run;
    world.run(world.now + 2_000);
    assert_eq!(world.gone.iter().map(|(_, gone)| *gone).collect::<Vec<_>>(), [run]);
    assert_eq!(world.heard.values().sum::<u64>(), 50);
}

#[test]
fn too_many_words_are_declined_and_those_that_were_taken_are_not_lost() {
    let mut world = linked(5);
    world.silent = true;
    (0..1_000).for_each(|_| world.say(0, 10));
    assert_eq!(queued(&world, 0), 300, "as many as may wait");
    world.run(world.now + 5_000);
    world.silent = false;
    world.run(world.now + 3_000);
    world.assert_settled();
    assert_eq!(world.heard.values().sum::<u64>(), 300);
}

#[test]
fn words_that_get_no_answer_are_acknowledged_all_the_same() {
    let mut world = linked(6);
    (0..100).for_each(|_| world.say(0, 10));
    assert_eq!(queued(&world, 0), 100);
    world.run(world.now + 150);
    assert_eq!(queued(&world, 0), 0);
}

#[test]
fn who_was_wrongly_taken_for_ended_hears_of_it_and_begins_anew() {
    let mut world = linked(7);
    let before = (slot(&world, 0, 1), slot(&world, 1, 0));
    (world.refusing, world.has_refused) = (true, true);
    // Only one side finds out that the other refuses, the other only that it is not heard.
    world.cut(0);
    world.run(world.now + 200);
    assert!(!world.gone.is_empty());
    world.refusing = false;
    world.run(world.now + 10_000);
    let after = (slot(&world, 0, 1), slot(&world, 1, 0));
    assert!(before.0 != after.0 && before.1 != after.1);
    world.say(0, 10);
    world.say(1, 10);
    world.assert_settled();
}

#[test]
fn who_is_let_go_may_talk_until_his_connection_ends_and_is_then_forgotten() {
    let mut world = linked(8);
    let was = slot(&world, 0, 1);
    for index in 0..2 {
        world.act(index, |mesh, now, out| mesh.keep(&[], now, out));
    }
    world.run(world.now + 60_000);
    world.say(1, 10);
    world.run(world.now + 100);
    assert_eq!(world.heard.values().sum::<u64>(), 1);
    world.cut(0);
    world.run(world.now + 20_000);
    assert_eq!((slot(&world, 0, 1), world.severed.len()), (was, 0), "it may come back for a while");
    world.run(world.now + 20_000);
    assert_eq!((world.gone.len(), world.severed.len()), (0, 2));
    world.introduce();
    world.run(world.now + 1_000);
    world.assert_settled();
    assert_ne!(slot(&world, 0, 1), was);
}

#[test]
fn another_node_at_the_address_of_one_is_refused_with_words_and_ends_nobody() {
    let mut world = World::new(2, 9);
    let mut wrong = member((0, 77));
    wrong.node = "n7".into();
    wrong.link = "n1".into();
    world.act(0, |mesh, now, out| mesh.keep(&[wrong], now, out));
    world.run(world.now + 500);
    assert!(world.refused.contains(&(0, "at the address of n7 answers n1".into())), "{:?}", world.refused);
    assert!(world.gone.is_empty());
}

fn greeted(mesh: &mut Mesh, first: &Frame) -> Out {
    let mut out = Out::default();
    let conn = mesh.accepted([1; 16], 0).unwrap();
    mesh.heard(conn, &first.to_bytes(), 0, &mut out);
    out
}

#[test]
fn who_has_not_proved_himself_says_nothing_and_has_no_session() {
    let words = Frame::Word { number: 1, ack: 0, payload: Bytes::from_static(b"hello") };
    for first in [words, Frame::Ping, Frame::Goodbye, Frame::Accept([0; 32]), Frame::Ack(1)] {
        let mut mesh = Mesh::new(me("a", 1), Limits::default());
        let out = greeted(&mut mesh, &first);
        assert!(matches!(out.acts[..], [Act::Close { .. }]), "{out:?}");
        assert_eq!(out.news, [News::Refused { who: "".into(), why: "a frame out of turn".into() }]);
        assert_eq!(mesh.counters().count(), 0);
    }
    let mut mesh = Mesh::new(me("a", 1), Limits::default());
    let out = greeted(&mut mesh, &Frame::Hello(super::hello::tests::hello("b", 2)));
    assert!(matches!(out.acts[..], [Act::Write { .. }]) && out.news.is_empty());
    assert_eq!(mesh.counters().count(), 0, "a Hello alone makes no session");
}

#[test]
fn strangers_are_few_and_do_not_stay() {
    let mut mesh = Mesh::new(me("a", 1), Limits::default());
    let mut out = Out::default();
    assert!((0..STRANGERS).all(|_| mesh.accepted([0; 16], 0).is_some()));
    assert_eq!(mesh.accepted([0; 16], 0), None);
    mesh.tick(mesh.deadline().unwrap(), &mut out);
    assert_eq!(out.acts.len(), STRANGERS);
    assert!(mesh.accepted([0; 16], 1_000).is_some() && out.news.is_empty());
}

/// Two nodes that talk without delay; octet `at` of what they write is changed.
fn spoiled(at: usize, octet: u8) {
    let mut nodes = [("a", 1), ("b", 2)].map(|(node, run)| Mesh::new(me(node, run), Limits::default()));
    let mut outs = [Out::default(), Out::default()];
    let mut other = member((0, 2));
    (other.node, other.link) = ("b".into(), "b".into());
    nodes[0].keep(&[other], 0, &mut outs[0]);
    let Act::Dial { conn, .. } = outs[0].acts.remove(0) else { panic!("no attempt") };
    let conns = [conn, nodes[1].accepted([2; 16], 0).unwrap()];
    nodes[0].dialled(conn, [1; 16], 0, &mut outs[0]);
    let slot = nodes[0].slot("b", 2).unwrap();
    let mut written = 0;
    for turn in 0..20 {
        let from = turn % 2;
        if turn == 10
            && let Ok(Some((conn, octets))) = nodes[0].say(slot, b"a word")
        {
            let octets = Bytes::copy_from_slice(octets);
            outs[0].acts.push(Act::Write { conn, octets });
        }
        for act in std::mem::take(&mut outs[from].acts) {
            let Act::Write { octets, .. } = act else { continue };
            let mut octets = octets.to_vec();
            if let Some(spoiled) = at.checked_sub(written).and_then(|at| octets.get_mut(at)) {
                *spoiled = octet;
            }
            written += octets.len();
            nodes[1 - from].heard(conns[1 - from], &octets, 0, &mut outs[1 - from]);
        }
    }
    for (node, out) in nodes.iter_mut().zip(&mut outs) {
        node.tick(5_000, out);
        node.tick(60_000, out);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn no_spoiled_octet_makes_it_panic(at in 0_usize..600, octet: u8) {
        spoiled(at, octet);
    }
}
