//! TS 24.229 §5.4.3.1, §5.4.3.3 — what others get hold of, Route values above all, gives them no service and leads them nowhere.

use crate::calls::*;
use crate::stage::{ALICE, DOMAIN, Stage, Ue};
use sip::{Method, Name, Request};

const GATEWAY: &str = "<sip:gateway.evil.example;lr>";

fn with_route(request: &Request, routes: &[&str]) -> Request {
    let mut edit = request.edit();
    edit.remove(Name::Route);
    for route in routes {
        edit.append(Name::Route, route);
    }
    edit.finish()
}

#[test]
fn nobody_is_led_past_the_contacts_by_way_of_a_server() {
    let mut stage = Stage::serving(alice_with(vec![continued(1, AS1)]));
    let own = format!("<sip:scscf.{DOMAIN}:5060;lr>");
    for (n, trusted) in [true, false].into_iter().enumerate() {
        stage.trusted = trusted;
        let invite = incoming("INVITE", ALICE).call(&format!("theft{n}")).build();
        stage.arrive(with_route(&invite, &[&own, GATEWAY]));
        let returned = stage.hop().through(AS1);
        stage.trusted = true;
        stage.arrive(returned);
        let hop = stage.hop();
        assert_eq!((hop.uri(), hop.next_host().as_str()), ("sip:alice@192.0.2.1:5060", "pcscf.example"));
    }
}

#[test]
fn the_token_of_a_ringing_call_carries_no_other_dialog() {
    let mut stage = Stage::registered();
    let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).build());
    let hop = stage.hop();
    let ringing = stage.hear(&hop, &Answer::of(180));
    let heard = stage.responses(tx).remove(0);
    let mut call = Call::new(&hop.request, &hop.request, &ringing, &heard);
    let info = call.by_callee(Method::Info);
    stage.trusted = false;
    for (name, value) in [(Name::CallId, "another"), (Name::To, "<sip:x@y>;tag=another")] {
        let tx = stage.arrive(with(&info, name, value));
        assert_eq!(stage.codes(tx), [481], "{name}");
        assert!(stage.hops().is_empty(), "{name}");
    }
    stage.arrive(info);
    assert_eq!(stage.hops().len(), 1, "the dialog itself passes");
}

#[test]
fn the_token_of_a_subscription_carries_no_call() {
    let mut stage = Stage::registered();
    let subscribe = outgoing(&stage, "SUBSCRIBE", BOB).line("Event: presence").build();
    stage.arrive(subscribe);
    let recorded = values(&stage.hop().request, Name::RecordRoute).remove(0);
    stage.trusted = false;
    let mut invite = incoming("INVITE", "sip:+19005550100@gateway.evil.example");
    invite.to = "<sip:+19005550100@gateway.evil.example>;tag=made-up".to_owned();
    for method in ["INVITE", "MESSAGE", "PUBLISH"] {
        let draft = Draft { method, ..invite.clone() };
        let tx = stage.arrive(with_route(&draft.call(method).build(), &[&recorded]));
        assert_eq!(stage.codes(tx), [403], "{method}");
        assert!(stage.hops().is_empty(), "{method}");
    }
    let notify = Draft { method: "NOTIFY", ..invite };
    stage.arrive(with_route(&notify.call("notify").build(), &[&recorded]));
    assert_eq!(stage.hops().len(), 1);
}

#[test]
fn the_token_of_a_dialog_makes_nobody_else_a_user_of_ours() {
    let mut stage = Stage::registered();
    stage.arrive(outgoing(&stage, "INVITE", BOB).build());
    let recorded = values(&stage.hop().request, Name::RecordRoute).remove(0);
    for trusted in [true, false] {
        stage.trusted = trusted;
        // Carol's profile is none of Alice's business, whoever asks.
        let draft = incoming("INVITE", &format!("sip:carol@{DOMAIN}")).call("outside");
        let tx = stage.arrive(with_route(&draft.build(), &[&recorded]));
        assert_eq!(stage.codes(tx), [403]);
        assert!(stage.sars().is_empty() && stage.hops().is_empty());
    }
    // Alice herself may be called by it.
    let tx = stage.arrive(with_route(&incoming("INVITE", ALICE).build(), &[&recorded]));
    assert_eq!((stage.hop().uri(), stage.codes(tx).len()), ("sip:alice@192.0.2.1:5060", 0));
}

#[test]
fn a_path_that_leads_back_to_us_is_none() {
    // What goes to ourselves comes in again as from inside: a contact behind it would have the services of whoever calls.
    let mut stage = Stage::new();
    for path in [format!("<sip:scscf.{DOMAIN}:5060;lr;orig>"), format!("<sip:{DOMAIN};lr>")] {
        let ue = Ue { path: vec!["<sip:term@pcscf.example;lr>".to_owned(), path], ..Ue::new() };
        assert_eq!(stage.register(&ue.unprotected()).status().code(), 400);
    }
    assert_eq!(stage.challenges(), 0);
}

#[test]
fn a_far_end_outside_asserts_nothing_in_its_answers() {
    let forged = |status| {
        Answer::of(status)
            .line(Name::PAssertedIdentity, "<sip:president@ims.example>")
            .line(Name::PAccessNetworkInfo, "3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=1")
    };
    for trusted in [false, true] {
        let mut stage = Stage::registered();
        if trusted {
            stage.policy.session.trusted_domains = vec!["b.example".into()];
        }
        let tx = stage.arrive(outgoing(&stage, "INVITE", BOB).build());
        let hop = stage.hop();
        stage.hear(&hop, &forged(180));
        stage.hear(&hop, &forged(200));
        assert_eq!(stage.codes(tx), [180, 200]);
        for response in stage.responses(tx) {
            assert_eq!(response.has(Name::PAssertedIdentity), trusted);
            assert_eq!(response.has(Name::PAccessNetworkInfo), trusted);
        }
    }
}
