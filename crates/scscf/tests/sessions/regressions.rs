//! Runs that once went wrong, as small as they got; each with several dice, for the order of what happens at once.

use crate::run;
use crate::scenario::{Act, Criterion, Plan, Reaction, Scenario, UserSetup};
use crate::server::Trade;
use crate::ue::{Deed, Manner};
use scscf::cx::DeregistrationReason;
use scscf::profile::DefaultHandling;

/// Who is called rings at once and answers after so long.
const fn answers(after: u64) -> Reaction {
    Reaction { rings: Some(0), reliably: false, ends: Some((after, Deed::Answer)), hangs_up: None }
}

fn plan(reaction: Reaction) -> Plan {
    Plan { cancels: None, hangs_up: None, reactions: vec![reaction], deeds: Vec::new() }
}

fn attach(phone: usize) -> (u64, Act) {
    (phone as u64 * 200, Act::Attach { phone, expires: 3600 })
}

fn call(at: u64, call: u32, from: usize, to: &str, plan: Plan) -> (u64, Act) {
    (at, Act::Call { call, from, to: to.into(), plan })
}

/// Alice is phone 0 and Bob phone 1, or what comes behind Alice's second UE.
fn play(acts: &[(u64, Act)], change: impl Fn(&mut Scenario)) {
    for seed in 1..=12 {
        let mut scenario = Scenario::plain(seed);
        scenario.weather.delay = [1, 20, 40][seed as usize % 3];
        scenario.acts = acts.to_vec();
        change(&mut scenario);
        run(scenario);
    }
}

fn serves(scenario: &mut Scenario, user: usize, server: usize, trade: Trade) {
    let handling = DefaultHandling::SessionContinued;
    scenario.trades.resize(server + 1, trade);
    scenario.users[user].criteria.push(Criterion { server, handling, case: None });
}

#[test]
fn a_cancelled_call_goes_no_further_than_a_silent_server() {
    let cancelled = Plan { cancels: Some(300), ..plan(answers(50)) };
    play(&[attach(0), attach(1), call(1_000, 1, 0, "sip:bob@home1.net", cancelled)], |scenario| {
        serves(scenario, 0, 0, Trade::Silent);
    });
}

#[test]
fn who_calls_himself_hears_one_bye_on_each_side() {
    let acts = [
        attach(0),
        call(1_000, 1, 0, "sip:alice@home1.net", plan(answers(50))),
        (5_000, Act::Deregister { phone: 0 }),
    ];
    play(&acts, |_| {});
}

#[test]
fn two_users_who_leave_at_once_hear_one_bye_each() {
    let acts = [
        attach(0),
        attach(1),
        call(1_000, 1, 0, "sip:bob@home1.net", plan(answers(50))),
        (5_000, Act::OperatorDeregisters { user: 0 }),
        (5_000, Act::OperatorDeregisters { user: 1 }),
    ];
    play(&acts, |_| {});
}

#[test]
fn a_bye_counts_on_from_the_prack() {
    let reliable = Reaction { reliably: true, ..answers(500) };
    let acts = [
        attach(0),
        attach(1),
        call(1_000, 1, 0, "sip:bob@home1.net", plan(reliable)),
        (5_000, Act::Deregister { phone: 0 }),
    ];
    play(&acts, |_| {});
    play(&acts, |scenario| serves(scenario, 0, 0, Trade::Proxy { records: true }));
}

#[test]
fn timer_c_cancels_who_rings_and_nobody_else() {
    let rings = Reaction { ends: None, ..answers(0) };
    let refuses = Reaction { rings: None, ends: Some((50, Deed::Reject(486))), ..answers(0) };
    let plan = Plan { reactions: vec![rings, refuses], ..plan(rings) };
    let acts = [attach(0), attach(1), call(1_000, 1, 3, "sip:alice@home1.net", plan)];
    play(&acts, |scenario| {
        scenario.users[0].ues = 2;
        scenario.users[0].flows = true;
    });
}

#[test]
fn who_hangs_up_is_not_turned_away() {
    let hangs_up = Plan { hangs_up: Some(3_000), ..plan(answers(50)) };
    let rings = Reaction { ends: None, ..answers(0) };
    let acts = [
        attach(0),
        attach(1),
        call(1_000, 1, 0, "sip:bob@home1.net", hangs_up),
        call(2_000, 2, 0, "sip:rem0@remote.net", plan(rings)),
        call(2_500, 3, 0, "sip:rem1@remote.net", plan(rings)),
    ];
    play(&acts, |scenario| scenario.max_relays = 2);
}

#[test]
fn a_server_hangs_up_when_the_other_side_of_it_does() {
    let acts = [
        attach(0),
        attach(1),
        call(1_000, 1, 0, "sip:rem0@remote.net", plan(answers(50))),
        call(1_000, 2, 3, "sip:alice@home1.net", plan(answers(50))),
        (5_000, Act::Deregister { phone: 0 }),
    ];
    play(&acts, |scenario| {
        scenario.weather.delay = 200;
        serves(scenario, 0, 0, Trade::Back2Back);
    });
}

#[test]
fn a_chain_of_servers_that_fork_makes_one_session() {
    let hangs_up = Plan { hangs_up: Some(20_000), ..plan(answers(50)) };
    let acts = [attach(0), attach(1), call(1_000, 1, 0, "sip:bob@home1.net", hangs_up)];
    play(&acts, |scenario| {
        serves(scenario, 0, 0, Trade::Fork);
        serves(scenario, 0, 0, Trade::Fork);
    });
}

#[test]
fn who_hangs_up_behind_a_dead_server_is_heard_on_the_other_side() {
    for hangs_up in [(Some(5_000), None), (None, Some(5_000))] {
        let reaction = Reaction { hangs_up: hangs_up.1, ..answers(50) };
        let plan = Plan { hangs_up: hangs_up.0, ..plan(reaction) };
        let acts = [
            attach(0),
            attach(1),
            call(1_000, 1, 0, "sip:rem0@remote.net", plan),
            (4_000, Act::KillServer { server: 0 }),
        ];
        play(&acts, |scenario| serves(scenario, 0, 0, Trade::Proxy { records: true }));
    }
}

#[test]
fn who_answers_after_a_takeover_does_not_talk_to_nobody() {
    let acts = [
        attach(0),
        call(1_000, 1, 2, "sip:alice@home1.net", plan(answers(4_000))),
        (2_000, Act::TakeOver { user: 0, in_order: true }),
    ];
    play(&acts, |_| {});
}

#[test]
fn a_session_ends_with_a_bye_that_outlived_the_owner() {
    let hangs_up = Plan { hangs_up: Some(3_000), ..plan(answers(50)) };
    for at in (4_050..4_350).step_by(15) {
        let acts = [
            attach(0),
            call(1_000, 1, 0, "sip:rem0@remote.net", hangs_up.clone()),
            (at, Act::TakeOver { user: 0, in_order: true }),
        ];
        play(&acts, |scenario| scenario.session_expires = 0);
    }
}

#[test]
fn registrations_that_end_at_once_in_a_slow_network() {
    let expires = |phone| (phone as u64 * 7, Act::Attach { phone, expires: 60 });
    let acts = [expires(0), expires(1), call(20_000, 1, 1, "sip:alice@home1.net", plan(answers(900)))];
    play(&acts, |scenario| {
        scenario.weather.delay = 400;
        scenario.users[0].flows = true;
    });
}

#[test]
fn who_registered_an_identity_of_another_set_goes_on_talking() {
    let acts = [
        attach(0),
        attach(1),
        attach(2),
        call(1_000, 1, 0, "sip:rem0@remote.net", plan(answers(50))),
        call(1_500, 2, 1, "sip:bob@home1.net", plan(answers(50))),
        call(2_000, 3, 4, "sip:alice.b@home1.net", plan(answers(50))),
        (
            5_000,
            Act::Terminate {
                user: 0,
                reason: DeregistrationReason::PermanentTermination,
                impus: vec!["sip:alice@home1.net".into()],
            },
        ),
    ];
    play(&acts, |scenario| {
        scenario.users[0].ues = 2;
        scenario.users[0].second_set = true;
    });
}

#[test]
fn a_call_that_a_server_answers_ends_with_the_registration() {
    let acts = [
        attach(0),
        call(1_000, 1, 2, "sip:alice@home1.net", plan(answers(50))),
        (5_000, Act::OperatorDeregisters { user: 0 }),
    ];
    play(&acts, |scenario| serves(scenario, 0, 0, Trade::Answers));
}

#[test]
fn whoever_waits_for_timer_c_hears_of_the_release_at_once() {
    let acts = [
        attach(0),
        call(1_000, 1, 0, "sip:rem0@remote.net", plan(answers(50))),
        (190_000, Act::OperatorDeregisters { user: 0 }),
    ];
    play(&acts, |scenario| serves(scenario, 0, 0, Trade::Ringing));
}

#[test]
fn a_session_served_for_one_ends_with_the_contact_of_another() {
    let rings = Reaction { ends: None, ..answers(0) };
    let plan = Plan { reactions: vec![rings, answers(500)], ..plan(rings) };
    let acts = [
        (0, Act::Attach { phone: 0, expires: 60 }),
        attach(2),
        call(2_000, 1, 3, "sip:alice@home1.net", plan),
        (70_000, Act::OperatorDeregisters { user: 2 }),
    ];
    play(&acts, |scenario| {
        let carol = UserSetup { name: "carol", shares: true, ..scenario.users[0].clone() };
        scenario.users.push(carol);
    });
}

#[test]
fn an_attacker_ends_no_call() {
    let attack = |answer, near, expires| Act::Attack { user: 0, answer, near, expires };
    let acts = [
        attach(0),
        attach(1),
        call(1_000, 1, 0, "sip:bob@home1.net", plan(answers(50))),
        (5_000, attack(None, true, 0)),
        (6_000, attack(Some(Manner::Wrong), true, 3600)),
        (7_000, Act::Reauthenticate { user: 0, by_hss: false, period: 600 }),
        (8_000, attack(Some(Manner::Wrong), true, 0)),
        (9_000, attack(Some(Manner::Silent), false, 3600)),
        (10_000, Act::Refresh { phone: 0, expires: 3600 }),
    ];
    play(&acts, |_| {});
}
