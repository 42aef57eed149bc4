//! TS 24.229 §5.4.3.3, RFC 5627 §5 — which contacts are meant: GRUUs, and contacts of other private identities.

use crate::calls::*;
use crate::s5_4_3_3::*;
use crate::stage::{ALICE, INSTANCE, Stage, TEL, Ue};
use scscf::{Effect, Save, SharedContact, Span};
use sip::{Name, NameAddr};

fn gruus(stage: &mut Stage, ue: &Ue) -> (String, String) {
    let ok = stage.register_fully(ue);
    let contact = NameAddr::parse(&ok.values(Name::Contact).next().unwrap()).unwrap();
    stage.said.clear();
    (contact.param("pub-gruu").unwrap().to_owned(), contact.param("temp-gruu").unwrap().to_owned())
}

fn gruu_ue() -> Ue {
    Ue {
        supported: "path, gruu".into(),
        ..Ue::new().contact(&format!("<{UE}>;+sip.instance=\"{INSTANCE}\""))
    }
}

#[test]
fn a_gruu_leads_to_its_device() {
    let mut stage = Stage::serving(alice_with(vec![terminating_only(1, AS1)]));
    let (public, temporary) = gruus(&mut stage, &gruu_ue().call("g"));
    // Another device of the user.
    let other = Ue::new().call("other").flow(6000, 1);
    let other = Ue {
        contacts: vec!["<sip:alice@192.0.2.8:6000>;+sip.instance=\"<urn:uuid:other>\";reg-id=1".into()],
        ..other
    };
    stage.register_fully(&other);
    stage.said.clear();
    for gruu in [public, temporary] {
        let tx = stage.arrive(incoming("INVITE", &gruu).call(&gruu[5..20]).build());
        let at_server = stage.hop();
        assert_eq!(at_server.uri(), gruu, "services see it as it is");
        assert!(at_server.get(Name::PServedUser).unwrap().starts_with(&format!("<{ALICE}>;sescase=term")));
        stage.arrive(at_server.through(AS1));
        let hop = stage.hop();
        assert_eq!(hop.uri(), UE);
        assert_eq!(hop.get(Name::PCalledPartyId).unwrap(), format!("<{gruu}>"));
        assert!(stage.codes(tx).is_empty());
    }
}

#[test]
fn a_gruu_of_nobody() {
    let mut stage = Stage::new();
    let (public, temporary) = gruus(&mut stage, &gruu_ue());
    assert_eq!(codes(&mut stage, &incoming("INVITE", &format!("{ALICE};gr=urn:uuid:unknown"))), [480]);
    assert_eq!(codes(&mut stage, &incoming("INVITE", &format!("{ALICE};gr")).call("2")), [404]);
    // The device is gone, another one is there.
    let next = Ue::new().call("next").contact(&format!("<{OTHER_UE}>"));
    stage.register_fully(&next);
    stage.said.clear();
    assert_eq!(codes(&mut stage, &incoming("INVITE", &public).call("3")), [480]);
    assert_eq!(codes(&mut stage, &incoming("INVITE", &temporary).call("4")), [404]);
    stage.register(&next.next().next().expires(0).protected());
    stage.said.clear();
    let mut forgotten = Stage::new();
    assert_eq!(codes(&mut forgotten, &incoming("INVITE", &temporary).call("5")), [404]);
    assert!(forgotten.sars().is_empty(), "the HSS knows nothing of it");
}

#[test]
fn a_gruu_takes_any_subscription() {
    let mut stage = Stage::new();
    let (public, _) = gruus(&mut stage, &gruu_ue());
    stage.arrive(incoming("SUBSCRIBE", &public).line("Event: dialog").line("Expires: 600").build());
    assert_eq!(stage.hop().uri(), UE);
}

#[test]
fn contacts_of_siblings_are_called_too() {
    let mut stage = Stage::registered();
    stage.sibling(
        "001010000000002@ims.mnc001.mcc001.3gppnetwork.org",
        vec![SharedContact {
            impus: vec![scscf::Impu::parse(ALICE).unwrap()],
            contact: format!("<{OTHER_UE}>;q=0.7").into(),
            expires_at: stage.now + Span::seconds(600),
            id: 77,
            path: vec!["<sip:other.example;lr>".into()],
        }],
    );
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
    stage.sibling("001010000000002@ims.mnc001.mcc001.3gppnetwork.org", vec![]);
    assert_eq!(stage.sessions()[0].state, "releasing");
    // An identity that is not shared is not reached there.
    stage.arrive(incoming("INVITE", TEL).call("2").build());
    assert_eq!(stage.hop().uri(), UE);
}

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
