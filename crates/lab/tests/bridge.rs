//! The lab's back-to-back user agent between scripted peers.
#![allow(clippy::unwrap_used)]

mod peer;

use lab::as_::Mode;
use peer::stage::{Stage, ack};
use peer::{Speech, answer, body, cancel, cseq, header, headers, line, tag};

#[tokio::test]
async fn a_bridge_has_a_dialog_of_its_own_on_each_side() {
    let stage = Stage::with(Mode::B2bua).await;
    let invite = stage.invite("Supported: 100rel\r\nContent-Type: application/sdp\r\n").await;
    let (there, from) = stage.onward.until("INVITE").await;
    assert_eq!(line(&there), "INVITE sip:bob@x.example");
    assert_ne!(header(&there, "Call-ID"), header(&invite, "Call-ID"));
    assert!(header(&there, "From").starts_with("\"A\" <sip:alice@x.example>;tag="));
    assert_ne!(tag(header(&there, "From")), "a1");
    assert_eq!(headers(&there, "Route"), [format!("<sip:odi1@{};lr;orig>", stage.onward.address)]);
    assert_eq!((headers(&there, "Record-Route").len(), header(&there, "Max-Forwards")), (0, "67"));
    assert_eq!(header(&there, "Contact"), format!("<sip:{}>", stage.at));
    assert_eq!((header(&there, "Supported"), body(&there)), ("100rel", "v=0\r\n"));
    assert_eq!(header(&there, "P-Served-User"), "<sip:alice@x.example>;sescase=orig;regstate=reg");

    let ringing = format!("Require: 100rel\r\nRSeq: 5\r\n{}", stage.contact());
    stage.onward.send(&answer(&there, "180 Ringing", "b1", &ringing), from).await;
    let ringing = stage.hears("SIP/2.0 180").await;
    let here_tag = tag(header(&ringing, "To")).to_owned();
    assert_eq!((header(&ringing, "RSeq"), header(&ringing, "Call-ID")), ("5", "c1"));
    assert_ne!(here_tag, "b1");
    let mine = Speech {
        call_id: "c1".into(),
        from: header(&invite, "From").to_owned(),
        to: header(&ringing, "To").to_owned(),
        target: format!("sip:{}", stage.at),
        routes: String::new(),
        cseq: 8,
        body: String::new(),
    };
    stage.scscf.send(&mine.request("PRACK", &stage.scscf.via("p1"), "RAck: 5 7 INVITE\r\n"), stage.at).await;
    let (prack, _) = stage.onward.until("PRACK").await;
    assert_eq!(
        header(&prack, "RAck"),
        format!("5 {} INVITE", cseq(&there)),
        "the CSeq is that of the other side"
    );
    assert_eq!(line(&prack), format!("PRACK sip:bob@{}", stage.onward.address));
    stage.onward.send(&answer(&prack, "200 OK", "", ""), from).await;
    stage.hears("SIP/2.0 200").await;

    let ok = answer(&there, "200 OK", "b1", &stage.contact());
    stage.onward.send(&ok, from).await;
    let here = stage.hears("SIP/2.0 200").await;
    assert_eq!(header(&here, "CSeq"), "7 INVITE");
    assert_eq!(header(&here, "Record-Route"), format!("<sip:scscf@{};lr>", stage.scscf.address));
    assert_eq!(tag(header(&here, "To")), here_tag);
    let via = stage.scscf.via("ack");
    stage.scscf.send(&ack(&invite, &here, &mine.target, &via, "", "late"), stage.at).await;
    let (first, _) = stage.onward.until("ACK").await;
    assert_eq!((cseq(&first), body(&first), tag(header(&first, "To"))), (cseq(&there), "late", "b1"));
    stage.onward.send(&ok, from).await;
    assert_eq!(stage.onward.until("ACK").await.0, first, "a 2xx that comes again is acknowledged again");
    stage.onward.send(&ok.replace("tag=b1", "tag=b2"), from).await;
    let (surplus, _) = stage.onward.until("BYE").await;
    assert_eq!(tag(header(&surplus, "To")), "b2");
    stage.onward.send(&answer(&surplus, "200 OK", "", ""), from).await;

    // A re-INVITE from the far side, and BYE from the near one.
    let theirs =
        Speech { target: format!("sip:{}", stage.at), routes: String::new(), ..Speech::called(&there, "b1") };
    stage.onward.send(&theirs.request("INVITE", &stage.onward.via("r1"), &stage.contact()), stage.at).await;
    let (reinvite, back) = stage.scscf.until("INVITE").await;
    assert_eq!((header(&reinvite, "Call-ID"), tag(header(&reinvite, "From"))), ("c1", here_tag.as_str()));
    assert_eq!(header(&reinvite, "Route"), format!("<sip:scscf@{};lr>", stage.scscf.address));
    stage.scscf.send(&answer(&reinvite, "200 OK", "", ""), back).await;
    let (ok, _) = stage.onward.until("SIP/2.0 200").await;
    let reack = Speech { cseq: theirs.cseq + 1, ..theirs.clone() };
    assert_eq!(cseq(&ok), theirs.cseq);
    stage.onward.send(&reack.request("ACK", &stage.onward.via("r2"), ""), stage.at).await;
    let (ack, _) = stage.scscf.until("ACK").await;
    assert_eq!(cseq(&ack), cseq(&reinvite));
    let bye = Speech { cseq: 9, ..mine };
    stage
        .scscf
        .send(&bye.request("BYE", &stage.scscf.via("b9"), "Reason: Q.850;cause=16\r\n"), stage.at)
        .await;
    let (bye, from) = stage.onward.until("BYE").await;
    assert_eq!((header(&bye, "Reason"), cseq(&bye) > cseq(&prack)), ("Q.850;cause=16", true));
    stage.onward.send(&answer(&bye, "200 OK", "", ""), from).await;
    assert_eq!(cseq(&stage.hears("SIP/2.0 200").await), 9);
}

#[tokio::test]
async fn a_bridge_passes_refusals_cancels_and_silence() {
    let stage = Stage::with(Mode::B2bua).await;
    let invite = stage.invite("").await;
    let (there, from) = stage.onward.until("INVITE").await;
    stage.onward.send(&answer(&there, "183 Session Progress", "b1", ""), from).await;
    stage.hears("SIP/2.0 183").await;
    stage.scscf.send(&cancel(&invite, ""), stage.at).await;
    let (cancel, _) = stage.onward.until("CANCEL").await;
    stage.onward.send(&answer(&cancel, "200 OK", "b1", ""), from).await;
    stage.onward.send(&answer(&there, "487 Request Terminated", "b1", ""), from).await;
    stage.hears("SIP/2.0 487").await;
    let message = stage.request("MESSAGE", "sip:bob@x.example", "", "hello");
    stage.scscf.send(&message, stage.at).await;
    let (there, from) = stage.onward.until("MESSAGE").await;
    stage.onward.send(&answer(&there, "404 Not Found", "b1", "X-Why: 1\r\n"), from).await;
    assert_eq!(header(&stage.hears("SIP/2.0 404").await, "X-Why"), "1");
    let silent = stage.request("INVITE", "sip:bob@x.example", "", "").replace("bKINVITE", "bKi2");
    stage.scscf.send(&silent, stage.at).await;
    stage.hears("SIP/2.0 408").await;
}

/// A call through the bridge: what is said on the near side of it, and what on the far side.
async fn talk(stage: &Stage) -> (Speech, Speech) {
    let invite = stage.invite("").await;
    let (there, from) = stage.onward.until("INVITE").await;
    stage.onward.send(&answer(&there, "200 OK", "b1", &stage.contact()), from).await;
    let ok = stage.hears("SIP/2.0 200").await;
    let near = Speech {
        call_id: "c1".into(),
        from: header(&invite, "From").to_owned(),
        to: header(&ok, "To").to_owned(),
        target: format!("sip:{}", stage.at),
        routes: String::new(),
        cseq: 8,
        body: String::new(),
    };
    stage.scscf.send(&ack(&invite, &ok, &near.target, &stage.scscf.via("ack"), "", ""), stage.at).await;
    stage.onward.until("ACK").await;
    let far = Speech { target: near.target.clone(), routes: String::new(), ..Speech::called(&there, "b1") };
    (near, far)
}

// RFC 3261 §15.1.2: whoever hangs up is answered, also when the other side hangs up at the same time.
#[tokio::test]
async fn byes_that_cross_at_a_bridge_are_each_answered() {
    let stage = Stage::with(Mode::B2bua).await;
    let (mine, theirs) = talk(&stage).await;
    stage.scscf.send(&mine.request("BYE", &stage.scscf.via("b1"), ""), stage.at).await;
    stage.onward.send(&theirs.request("BYE", &stage.onward.via("b2"), ""), stage.at).await;
    let (to_onward, _) = stage.onward.until("BYE").await;
    let (to_scscf, _) = stage.scscf.until("BYE").await;
    stage.onward.send(&answer(&to_onward, "200 OK", "", ""), stage.at).await;
    assert_eq!(cseq(&stage.hears("SIP/2.0 200").await), mine.cseq);
    stage.scscf.send(&answer(&to_scscf, "481 No Such Call", "", "X-Why: 1\r\n"), stage.at).await;
    let (answered, _) = stage.onward.until("SIP/2.0 ").await;
    assert_eq!((line(&answered), cseq(&answered)), ("481 No Such Call", theirs.cseq));
    assert_eq!(header(&answered, "X-Why"), "1");

    // Both sides are over; one more BYE finds nobody.
    let again = Speech { cseq: 9, ..mine };
    stage.scscf.send(&again.request("BYE", &stage.scscf.via("b3"), ""), stage.at).await;
    assert_eq!(cseq(&stage.hears("SIP/2.0 481").await), 9);
}

// RFC 3261 §15.1.2: nor is one forgotten whose way ends nowhere.
#[tokio::test]
async fn a_bye_that_crosses_another_and_finds_nobody_is_answered() {
    let stage = Stage::with(Mode::B2bua).await;
    let (mine, theirs) = talk(&stage).await;
    stage.scscf.send(&mine.request("BYE", &stage.scscf.via("b1"), ""), stage.at).await;
    stage.onward.send(&theirs.request("BYE", &stage.onward.via("b2"), ""), stage.at).await;
    let (to_onward, _) = stage.onward.until("BYE").await;
    stage.scscf.until("BYE").await;
    stage.onward.send(&answer(&to_onward, "200 OK", "", ""), stage.at).await;
    stage.hears("SIP/2.0 200").await;
    let (answered, _) = stage.onward.until("SIP/2.0 ").await;
    assert_eq!((&line(&answered)[..3], cseq(&answered)), ("408", theirs.cseq));
}
