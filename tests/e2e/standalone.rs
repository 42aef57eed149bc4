//! TS 24.229 5.4.3 over sockets: requests other than calls, told octet by octet.

use crate::scene::{Handling, ORIGINATING, TERMINATING, application_server, criterion, provide, sip};
use e2e::{DOMAIN, Lab, Phone, Text};
use lab::as_::Mode;

/// Alice and bob, registered; her Service-Route.
fn pair(lab: &Lab) -> (Phone, Phone, String) {
    let (mut alice, mut bob) = (Phone::new("alice", lab.sip), Phone::new("bob", lab.sip));
    let (_, ok) = alice.register_fully();
    bob.register_fully();
    let route = ok.header("Service-Route").to_owned();
    (alice, bob, route)
}

/// What every request to bob's contact looks like.
fn is_for_bob(asked: &Text, bob: &Phone) {
    assert_eq!(asked.start(), format!("{} {} SIP/2.0", asked.method(), bob.contact()), "{}", asked.all);
    assert_eq!(asked.headers("Route"), [format!("<sip:term@127.0.0.1:{};lr>", bob.port())], "{}", asked.all);
    assert_eq!(asked.header("P-Called-Party-ID"), format!("<{}>", sip("bob")), "{}", asked.all);
    assert!(asked.headers("P-Asserted-Identity").contains(&&*format!("<{}>", sip("alice"))), "{}", asked.all);
    assert_eq!(asked.header("P-Served-User"), "", "{}", asked.all);
    // Two passages of the S-CSCF.
    assert_eq!(asked.header("Max-Forwards"), "68", "{}", asked.all);
}

// CD-18: whatever the method, it reaches the contact, and what the contact says comes back.
#[test]
fn requests_of_any_method_pass() {
    let lab = Lab::start(&[], &[]);
    let (mut alice, mut bob, route) = pair(&lab);
    let unchanged = "X-Private: a  b\t c\r\nContent-Type: text/plain;charset=utf-8\r\n";
    for (method, status) in
        [("MESSAGE", 202), ("OPTIONS", 200), ("INFO", 200), ("PUBLISH", 405), ("FROBNICATE", 501)]
    {
        let body = format!("{method}: grüß\0gott\r\n\r\nX-In-The-Body: yes\r\n");
        let sent = alice.request(method, &sip("bob"), &route, unchanged, &body);
        let asked = bob.asked(method);
        is_for_bob(&asked, &bob);
        assert_eq!(asked.body(), body, "{method}");
        assert_eq!(asked.header("X-Private"), "a  b\t c", "{method}");
        assert!(asked.headers("Record-Route").is_empty(), "{method} makes no dialog: {}", asked.all);
        bob.reply(&asked, status, "X-Answer: yes\r\nAllow: MESSAGE\r\n");
        let answer = alice.outcome(&sent);
        assert_eq!((answer.status(), answer.header("X-Answer")), (status, "yes"), "{}", answer.all);
        assert_eq!(answer.headers("Via").len(), 1, "{}", answer.all);
    }
}

// D-20 D-71: REFER outside a call makes a dialog of its own, and NOTIFYs come back along it.
#[test]
fn refer_makes_a_dialog() {
    let lab = Lab::start(&[], &[]);
    let (mut alice, mut bob, route) = pair(&lab);
    let lines = format!("Refer-To: <{}>\r\nContact: <{}>\r\n", sip("carol"), alice.contact());
    let sent = alice.request("REFER", &sip("bob"), &route, &lines, "");
    let refer = bob.asked("REFER");
    is_for_bob(&refer, &bob);
    assert_eq!(refer.header("Refer-To"), format!("<{}>", sip("carol")));
    let recorded = refer.headers("Record-Route").join(", ");
    assert_eq!(recorded.matches(";lr").count(), 2, "both passages stay on the path: {}", refer.all);
    bob.reply(&refer, 202, &format!("Contact: <{}>\r\n", bob.contact()));
    assert_eq!(alice.outcome(&sent).status(), 202);
    let (to, port) = (alice.contact(), bob.port());
    let notify = format!(
        "NOTIFY {to} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKback{port}\r\nMax-Forwards: 70\r\n\
         Route: {recorded}\r\nFrom: <{}>;tag=called\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 7 NOTIFY\r\nEvent: refer\r\n\
         Subscription-State: terminated;reason=noresource\r\nContact: <{}>\r\nContent-Type: message/sipfrag\r\n\
         Content-Length: 14\r\n\r\nSIP/2.0 200 OK",
        sip("bob"),
        refer.header("From"),
        sent.call_id,
        bob.contact()
    );
    bob.send_raw(notify.as_bytes());
    let heard = alice.asked("NOTIFY");
    assert_eq!(heard.start(), format!("NOTIFY {to} SIP/2.0"));
    assert_eq!((heard.body(), heard.headers("Route").len()), ("SIP/2.0 200 OK", 0), "{}", heard.all);
    alice.reply(&heard, 200, "");
    let answered = bob.wait(std::time::Duration::from_secs(10), |text| text.header("CSeq") == "7 NOTIFY");
    assert_eq!(answered.map(|text| text.status()), Some(200));
}

// CC-12 CC-06: who offers no event package is not asked for one, and strangers do not hear of registrations.
#[test]
fn subscriptions_that_no_server_takes() {
    let lab = Lab::start(&[], &[]);
    let (mut alice, mut bob, route) = pair(&lab);
    let contact = format!("Contact: <{}>\r\nExpires: 600\r\n", alice.contact());
    for (event, status) in [("presence", 489), ("reg", 403)] {
        let lines = format!("Event: {event}\r\n{contact}");
        let sent = alice.request("SUBSCRIBE", &sip("bob"), &route, &lines, "");
        let answer = alice.outcome(&sent);
        assert_eq!(answer.status(), status, "{event}: {}", answer.all);
        if status == 489 {
            assert!(answer.header("Allow-Events").contains("reg"), "{}", answer.all);
        }
    }
    assert!(bob.wait(std::time::Duration::from_millis(100), |_| true).is_none(), "bob is not asked");
}

// CD-28: event state and subscriptions to it are the business of application servers.
#[tokio::test(flavor = "multi_thread")]
async fn presence_lives_at_an_application_server() {
    let lab = Lab::start(&[], &[]);
    let server = application_server(&lab).await;
    server.behave(Mode::Answer);
    let publish = criterion(1, "PUBLISH", Some(ORIGINATING), &server.uri(), Handling::Terminated);
    let subscribe = criterion(2, "SUBSCRIBE", Some(TERMINATING), &server.uri(), Handling::Terminated);
    provide(&lab, "alice", &[publish]);
    provide(&lab, "bob", &[subscribe]);
    let (mut alice, _, route) = tokio::task::block_in_place(|| pair(&lab));
    tokio::task::block_in_place(|| {
        let lines = "Event: presence\r\nExpires: 600\r\nContent-Type: application/pidf+xml\r\n";
        let sent = alice.request("PUBLISH", &sip("alice"), &route, lines, "<presence/>");
        assert_eq!(alice.outcome(&sent).status(), 200);
        let lines = format!("Event: presence\r\nExpires: 600\r\nContact: <{}>\r\n", alice.contact());
        let sent = alice.request("SUBSCRIBE", &sip("bob"), &route, &lines, "");
        assert_eq!(alice.outcome(&sent).status(), 200);
    });
    let [publish, subscribe] = &server.journal()[..] else { panic!("{:#?}", server.journal()) };
    assert_eq!((&*publish.method, &*publish.body), ("PUBLISH", "<presence/>"));
    let served = |name: &str, case: &str| Some(format!("<{}>;sescase={case};regstate=reg", sip(name)));
    assert_eq!(publish.served_user, served("alice", "orig"));
    assert_eq!((&*subscribe.method, &subscribe.served_user), ("SUBSCRIBE", &served("bob", "term")));
    assert_eq!(subscribe.header("Record-Route").len(), 2, "{}", subscribe.text);
    assert!(subscribe.uri.starts_with(&sip("bob")) && subscribe.uri.contains(DOMAIN));
}

// RFC 3261 §11: OPTIONS for the S-CSCF itself is answered by it.
#[test]
fn the_s_cscf_says_what_it_can() {
    let lab = Lab::start(&[], &[]);
    let mut phone = Phone::new("alice", lab.sip);
    let sent = phone.request("OPTIONS", &format!("sip:{DOMAIN}"), "", "", "");
    let answer = phone.outcome(&sent);
    assert_eq!(answer.status(), 200, "{}", answer.all);
    for method in ["REGISTER", "INVITE", "MESSAGE"] {
        assert!(answer.header("Allow").contains(method), "{}", answer.all);
    }
}
