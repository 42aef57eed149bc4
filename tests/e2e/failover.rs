//! A node dies, falls silent, is cut off or leaves at every moment that matters, and the others see it through; whoever comes
//! back changes nothing of what was done without it. Requests are sent as a P-CSCF sends them: again at T1, to another node,
//! and anew where the network asks for patience.
//!
//! Each moment runs once with each fault, and `ROLLCALL_FAILOVER_RUNS` times where that is set; the node is chosen by chance.

mod bystanders;
mod calling;
mod demanded;
mod facts;
mod fault;
mod matrix;
mod registering;
mod stage;

pub(crate) use fault::Fault;

use matrix::{COMES_AGAIN, every_fault};
use std::time::Duration;

const AT_ONCE: Duration = Duration::ZERO;

#[test]
fn between_the_challenge_and_the_answer() {
    every_fault("challenged", AT_ONCE, registering::challenged);
}

#[test]
fn while_the_hss_is_asked() {
    every_fault("HSS is asked", COMES_AGAIN, registering::hss_is_asked);
}

#[test]
fn while_nothing_happens() {
    every_fault("registered", AT_ONCE, registering::idle);
}

#[test]
fn before_a_call_comes() {
    every_fault("called", COMES_AGAIN, calling::called);
}

#[test]
fn when_a_registration_is_about_to_expire() {
    every_fault("about to expire", AT_ONCE, registering::expires);
}

#[test]
fn while_a_notification_is_out() {
    every_fault("NOTIFY is out", AT_ONCE, demanded::notify_is_out);
}

#[test]
fn while_the_network_waits_for_a_user_who_comes() {
    every_fault("re-authentication, obeyed", AT_ONCE, demanded::awaited_and_comes);
}

#[test]
fn while_the_network_waits_for_a_user_who_never_comes() {
    every_fault("re-authentication, lapses", AT_ONCE, demanded::awaited_in_vain);
}

#[test]
fn while_it_rings_and_the_caller_s_node_is_struck() {
    every_fault("rings, caller's", AT_ONCE, calling::rings_for_the_caller);
}

#[test]
fn while_it_rings_and_the_callee_s_node_is_struck() {
    every_fault("rings, callee's", AT_ONCE, calling::rings_at_the_callee);
}

#[test]
fn in_the_middle_of_a_call() {
    every_fault("talking, hung up", AT_ONCE, calling::talking);
}

#[test]
fn in_the_middle_of_a_call_that_is_released_afterwards() {
    every_fault("talking, released", AT_ONCE, calling::released);
}

#[test]
fn in_the_middle_of_a_release() {
    every_fault("release half done", AT_ONCE, calling::release_is_half_done);
}

#[test]
fn a_termination_by_the_hss_that_is_half_done() {
    every_fault("RTR half done", AT_ONCE, demanded::termination_is_half_done);
}
