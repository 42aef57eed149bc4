//! RFC 3261 §17.1.3, §17.2.3: which transaction a message belongs to.

use crate::rig::{Rig, VIA, text, udp};

fn new_or_not(first: &str, second: &str) -> bool {
    let mut rig = Rig::new();
    assert_eq!(rig.receive_on(udp(), first).len(), 1);
    !rig.receive_on(udp(), second).is_empty()
}

#[test]
fn branch_sent_by_and_method_make_the_key() {
    let base = text("OPTIONS", VIA);
    assert!(!new_or_not(&base, &base));
    assert!(!new_or_not(&base, &base.replace("192.0.2.1:5070", "192.0.2.1:5070;x=y")));
    assert!(new_or_not(&base, &base.replace("z9hG4bKone", "z9hG4bKtwo")));
    assert!(new_or_not(&base, &base.replace("192.0.2.1:5070", "192.0.2.1:5071")));
    assert!(new_or_not(&base, &base.replace("192.0.2.1:5070", "192.0.2.2:5070")));
    assert!(new_or_not(&base, &text("MESSAGE", VIA)));
    assert!(
        !new_or_not(&base, &base.replace("Call-ID: c1", "Call-ID: c2")),
        "RFC 3261 looks at nothing else"
    );
    let named = base.replace("192.0.2.1:5070", "Host.Example");
    assert!(!new_or_not(&named, &named.replace("Host.Example", "hOST.eXAMPLE")));
}

#[test]
fn without_the_cookie_most_of_the_request_makes_the_key() {
    for branch in [";branch=one", "", ";branch=z9hG4bK"] {
        let via = format!("SIP/2.0/UDP 192.0.2.1:5070{branch}");
        let base = text("OPTIONS", &via);
        assert!(!new_or_not(&base, &base), "{branch}");
        for (from, to) in [
            ("OPTIONS sip:home.net", "OPTIONS sip:other.net"),
            ("tag=f", "tag=g"),
            ("To: <sip:a@home.net>", "To: <sip:a@home.net>;tag=t"),
            ("Call-ID: c1", "Call-ID: c2"),
            ("CSeq: 7", "CSeq: 8"),
            ("192.0.2.1:5070", "192.0.2.1:5070;x=y"),
        ] {
            assert!(new_or_not(&base, &base.replace(from, to)), "{branch} {to}");
        }
    }
}

#[test]
fn ack_and_cancel_of_rfc_2543_find_their_invite() {
    let via = "SIP/2.0/UDP 192.0.2.1:5070";
    let mut rig = Rig::new();
    rig.receive_on(udp(), &text("INVITE", via));
    assert_eq!(rig.receive_on(udp(), &text("CANCEL", via)), ["> 200", "cancel invite"]);
    rig.respond(487).unwrap();
    let ack = text("ACK", via).replace("To: <sip:a@home.net>", "To: <sip:a@home.net>;tag=t");
    assert!(rig.receive_on(udp(), &ack).is_empty());
    assert_eq!(rig.run(4_000), [], "confirmed");
}

#[test]
fn responses_need_our_branch_and_the_method() {
    let mut rig = Rig::new();
    rig.send(1, "NOTIFY");
    let sent = String::from_utf8(rig.sent.clone().unwrap().1.to_vec()).unwrap();
    let answer = |rig: &mut Rig, from: &str, to: &str| {
        let head = sent.replacen("NOTIFY sip:home.net SIP/2.0", "SIP/2.0 200 OK", 1).replace(from, to);
        rig.receive_on(udp(), &head)
    };
    let branch = rig.sent_request().via().branch().unwrap().to_owned();
    let mut forged = branch.clone().into_bytes();
    *forged.last_mut().unwrap() ^= 1;
    let forged = String::from_utf8(forged).unwrap();
    assert_eq!(answer(&mut rig, &branch, &forged), ["stray 200"]);
    assert_eq!(answer(&mut rig, &branch, "z9hG4bK"), ["stray 200"]);
    assert_eq!(answer(&mut rig, &branch, "z9hG4bKäöü"), ["stray 200"]);
    assert_eq!(answer(&mut rig, "CSeq: 7 NOTIFY", "CSeq: 7 CANCEL"), ["stray 200"]);
    assert_eq!(answer(&mut rig, "CSeq: 7 NOTIFY", "CSeq: 7 BYE"), ["stray 200"]);
    assert_eq!(answer(&mut rig, "", ""), ["1: 200"]);
}

#[test]
fn tables_of_other_seeds_share_no_branch() {
    let branch = |seed| {
        let mut rig = Rig::new();
        rig.table = sip::transaction::Table::new(Default::default(), Default::default(), seed);
        rig.send(1, "NOTIFY");
        rig.sent_request().via().branch().unwrap().to_owned()
    };
    assert_ne!(branch([1, 2]), branch([1, 3]));
    assert_ne!(branch([1, 2]), branch([2, 2]));
    assert_eq!(branch([1, 2]), branch([1, 2]));
}
