//! RFC 4475 §3 — its 49 messages.

use super::{
    Case,
    Verdict::{Checks, Closed, Dropped, Malformed, Reads, Refused, Waits},
    judge_directory,
};
use sip::Name;

const CASES: &[Case] = &[
    // §3.1.1 valid
    ("wsinv", Reads, Reads, "blanks, folding, case and escapes wherever the grammar allows them"),
    ("intmeth", Reads, Reads, "the widest range of characters"),
    ("esc01", Reads, Reads, "escapes stay as they are"),
    ("escnull", Reads, Reads, "%00 is an octet like others"),
    ("esc02", Reads, Reads, "a percent sign outside URIs escapes nothing"),
    ("lwsdisp", Reads, Reads, "no blank between display name and <"),
    ("longreq", Reads, Reads, "long values within the limits, 34 Via lines"),
    ("dblreq", Reads, Reads, "the second message in a datagram is dropped; a stream gives both"),
    ("semiuri", Reads, Reads, "a semicolon in a user part"),
    ("transports", Reads, Reads, "unknown transports in Via"),
    ("mpart01", Reads, Reads, "a binary body"),
    ("unreason", Reads, Reads, "a reason phrase beyond ASCII"),
    ("noreason", Reads, Reads, "an empty reason phrase"),
    // §3.1.2 invalid
    ("badinv01", Refused(400), Refused(400), "empty parameters in Via"),
    ("clerr", Refused(400), Waits, "Content-Length beyond the datagram; a stream cannot know"),
    ("ncl", Refused(400), Closed(400), "a negative Content-Length; a stream cannot be cut any more"),
    ("scalar02", Refused(400), Refused(400), "CSeq beyond 2^31"),
    ("scalarlg", Dropped, Dropped, "a response with CSeq beyond 2^31"),
    ("quotbal", Refused(400), Refused(400), "an open quote in To"),
    ("ltgtruri", Refused(400), Refused(400), "a Request-URI in <>"),
    ("lwsruri", Refused(400), Refused(400), "a blank in the Request-URI"),
    ("lwsstart", Refused(400), Refused(400), "two blanks in the request line"),
    ("trws", Refused(400), Refused(400), "blanks behind the request line"),
    ("escruri", Refused(400), Refused(400), "headers in the Request-URI"),
    ("baddate", Reads, Reads, "nobody here acts on Date, so a wrong zone is passed on"),
    (
        "regbadct",
        Malformed(Name::Contact),
        Malformed(Name::Contact),
        "a question mark outside <>; a registrar says 400",
    ),
    ("badaspec", Refused(400), Refused(400), "blanks inside <>"),
    ("baddn", Refused(400), Refused(400), "a comma in a display name without quotes"),
    ("badvers", Refused(505), Refused(505), "SIP/7.0"),
    ("mismatch01", Refused(400), Refused(400), "CSeq names another known method"),
    ("mismatch02", Refused(400), Refused(400), "CSeq names another method than an unknown one"),
    ("bigcode", Dropped, Dropped, "a status code that is none"),
    // §3.2 transaction layer
    (
        "badbranch",
        Reads,
        Reads,
        "nothing behind the magic cookie: the transaction layer falls back to RFC 2543 matching",
    ),
    // §3.3 application layer
    ("insuf", Refused(400), Refused(400), "From, To, Call-ID are missing"),
    ("unkscm", Checks(416), Checks(416), "an unknown scheme in the Request-URI"),
    ("novelsc", Checks(416), Checks(416), "a scheme of another protocol in the Request-URI"),
    ("unksm2", Reads, Reads, "unknown schemes in To, From, Contact are carried; a registrar refuses them"),
    ("bext01", Checks(420), Checks(420), "unknown option tags in Proxy-Require and Require"),
    ("invut", Reads, Reads, "an unknown body type concerns who reads the body"),
    ("regaut01", Reads, Reads, "an unknown scheme in Authorization: there is no digest in it"),
    ("multi01", Refused(400), Refused(400), "headers that stand once stand twice"),
    ("mcl01", Refused(400), Closed(400), "two different Content-Lengths"),
    (
        "bcast",
        Reads,
        Reads,
        "a response of two Vias: what to do with the second is the transaction layer's business",
    ),
    ("zeromf", Checks(483), Checks(483), "Max-Forwards 0"),
    ("cparam01", Reads, Reads, "an unknown parameter of Contact"),
    ("cparam02", Reads, Reads, "an unknown parameter of a URI"),
    ("regescrt", Reads, Reads, "escaped headers in a Contact URI"),
    ("sdp01", Reads, Reads, "an Accept nobody can satisfy concerns who answers"),
    (
        "inv2543",
        Reads,
        Closed(400),
        "no branch, no tag, no Content-Length: fine in a datagram, no stream can be cut so",
    ),
];

#[test]
fn cg_20_every_message_has_its_verdict() {
    judge_directory("rfc4475", CASES);
}

/// Values of the messages that are easiest to get wrong.
#[test]
fn what_the_valid_ones_say() {
    let Some(dir) = super::shared("rfc4475") else { return };
    let read = |name: &str| {
        let octets = std::fs::read(dir.join(format!("{name}.dat"))).unwrap();
        sip::Message::parse_datagram(octets.into()).unwrap()
    };
    let wsinv = read("wsinv");
    let headers = wsinv.headers();
    assert_eq!(headers.vias().count(), 3);
    assert_eq!(headers.vias().last().unwrap().unwrap().branch(), Some("z9hG4bK30239"));
    assert_eq!(headers.to_tag(), Some("1918181833n"));
    assert_eq!(headers.from_tag(), Some("98asjd8"));
    assert_eq!(headers.max_forwards().unwrap(), Some(68));
    assert_eq!(headers.cseq().number, 9);
    assert_eq!(headers.from().display.as_deref(), Some(r#"J Rosenberg \""#));
    assert_eq!(headers.body().len(), 150);
    let sip::Contacts::List(contacts) = headers.contacts().unwrap() else { panic!("a list") };
    assert_eq!((contacts[0].param("q"), contacts[0].param("secondparam")), (Some("0.33"), Some("")));

    let sip::Message::Request(semiuri) = read("semiuri") else { panic!("a request") };
    assert_eq!(semiuri.uri().user(), Some("user;par=u%40example.net"));
    assert_eq!(semiuri.uri().host(), "example.com");
    assert_eq!(semiuri.values(Name::Accept).count(), 6);

    let esc02 = read("esc02");
    let sip::Contacts::List(contacts) = esc02.headers().contacts().unwrap() else { panic!("a list") };
    assert_eq!(contacts.len(), 2, "C%6Fntact is no Contact");
    assert_eq!(read("longreq").headers().vias().count(), 34);
    assert!(read("mpart01").headers().body().windows(2).any(|pair| pair == [0x30, 0x82]), "DER stays binary");
}

#[test]
fn a_stream_gives_both_of_two_messages() {
    let Some(dir) = super::shared("rfc4475") else { return };
    let mut framer = sip::Framer::new();
    framer.push(&std::fs::read(dir.join("dblreq.dat")).unwrap());
    let mut methods = Vec::new();
    while let Some(frame) = framer.next() {
        if let sip::Frame::Message(bytes) = frame
            && let sip::Message::Request(request) = sip::Message::parse_frame(bytes).unwrap()
        {
            methods.push(request.method().to_string());
        }
    }
    assert_eq!(methods, ["REGISTER", "INVITE"]);
}
