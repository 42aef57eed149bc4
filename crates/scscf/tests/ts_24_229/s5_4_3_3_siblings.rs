//! TS 24.229 §5.4.3.3 — calls at contacts of another private identity that shares the public one.

use crate::calls::*;
use crate::stage::*;
use scscf::{Effect, Save, SharedContact, Span};

const UE: &str = "sip:alice@192.0.2.1:5060";
const OTHER_UE: &str = "sip:alice@192.0.2.2:5060";
const OTHER_IMPI: &str = "001010000000002@ims.mnc001.mcc001.3gppnetwork.org";

fn of_sibling(stage: &Stage, seconds: u64) -> Vec<SharedContact> {
    vec![SharedContact {
        impus: vec![scscf::Impu::parse(ALICE).unwrap()],
        contact: format!("<{OTHER_UE}>;q=0.7").into(),
        expires_at: stage.now + Span::seconds(seconds),
        id: 77,
        path: vec!["<sip:other.example;lr>".into()],
    }]
}

#[test]
fn contacts_of_siblings_are_called_too() {
    let mut stage = Stage::registered();
    let contacts = of_sibling(&stage, 600);
    stage.sibling(OTHER_IMPI, contacts);
    stage.said.clear();
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let own = stage.hop();
    assert_eq!(own.uri(), UE);
    stage.hear(&own, &Answer::of_alice(486));
    let shared = stage.hop();
    assert_eq!((shared.uri(), shared.routes()), (OTHER_UE, vec!["<sip:other.example;lr>".to_owned()]));
    stage.hear(&shared, &Answer::of_alice(200));
    assert_eq!(stage.codes(tx), [200]);
    // Its end ends the session over it.
    stage.sibling(OTHER_IMPI, vec![]);
    assert_eq!(stage.sessions()[0].state, "releasing");
    // An identity that is not shared is not reached there.
    stage.arrive(incoming("INVITE", TEL).call("2").build());
    assert_eq!(stage.hop().uri(), UE);
}

#[test]
fn a_call_at_a_contact_of_a_sibling_outlives_our_registration() {
    let mut stage = Stage::registered();
    let contacts = of_sibling(&stage, 600);
    stage.sibling(OTHER_IMPI, contacts);
    stage.said.clear();
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let own = stage.hop();
    stage.hear(&own, &Answer::of_alice(486));
    let shared = stage.hop();
    stage.hear(&shared, &Answer::of_alice(200));
    assert_eq!(stage.codes(tx), [200]);
    stage.register(&Ue::new().next().next().expires(0).protected());
    assert_eq!((stage.sessions()[0].state, stage.byes().len()), ("confirmed", 0), "{}", stage.summary);
    // The sibling registers anew, and is heard although nobody is registered here.
    stage.now = stage.now + Span::seconds(300);
    let contacts = of_sibling(&stage, 600);
    stage.sibling(OTHER_IMPI, contacts);
    stage.pass(400);
    assert_eq!(stage.sessions()[0].state, "confirmed", "{}", stage.summary);
    // Its end ends the session, and then nothing is left here.
    stage.sibling(OTHER_IMPI, vec![]);
    assert_eq!(stage.sessions()[0].state, "releasing");
    for bye in stage.byes() {
        stage.answers_bye(&bye, 200);
    }
    assert_eq!(stage.last, Some(Save::Erase));
}

#[test]
fn a_call_that_rings_at_a_sibling_outlives_our_registration() {
    let mut stage = Stage::registered();
    let contacts = of_sibling(&stage, 600);
    stage.sibling(OTHER_IMPI, contacts);
    stage.said.clear();
    let tx = stage.arrive(incoming("INVITE", ALICE).build());
    let own = stage.hop();
    stage.hear(&own, &Answer::of_alice(486));
    let shared = stage.hop();
    stage.hear(&shared, &Answer::of_alice(180));
    stage.register(&Ue::new().next().next().expires(0).protected());
    stage.hear(&shared, &Answer::of_alice(200));
    assert_eq!(stage.codes(tx), [180, 200]);
    assert_eq!(stage.sessions()[0].state, "confirmed", "{}", stage.summary);
    stage.sibling(OTHER_IMPI, vec![]);
    assert_eq!(stage.sessions()[0].state, "releasing");
}

#[test]
fn a_sibling_that_left_may_hold_our_calls_and_goes_on_hearing_of_our_contacts() {
    let also = |stage: &mut Stage| {
        let heard = stage.said.drain(..).filter_map(|effect| match effect {
            Effect::TellSiblings { also, .. } => Some(also),
            _ => None,
        });
        heard.flatten().map(|impi| impi.to_string()).collect::<Vec<_>>()
    };
    let mut stage = Stage::registered();
    let contacts = of_sibling(&stage, 600);
    stage.sibling(OTHER_IMPI, contacts.clone());
    also(&mut stage);
    stage.sibling(OTHER_IMPI, vec![]);
    stage.register(&Ue::new().next().next().protected());
    assert_eq!(also(&mut stage), [OTHER_IMPI]);
    // It is back, and the directory knows it.
    stage.sibling(OTHER_IMPI, contacts);
    assert!(also(&mut stage).is_empty());
    stage.sibling(OTHER_IMPI, vec![]);
    stage.register(&Ue::new().next().next().next().expires(0).protected());
    assert_eq!(also(&mut stage), [OTHER_IMPI], "above all that they are gone");
}
