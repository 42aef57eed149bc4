//! RFC 3841 — caller preferences against the contacts of a user.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use sip::preferences::{Forking, Preferences, q_value};
use sip::{Method, Name, Params, Request, Uri};

fn request(method: Method, headers: &[(Name, &str)]) -> Request {
    let builder = Request::build(method, &Uri::parse("sip:user@example.com").unwrap());
    headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, value)).finish()
}

/// Groups of contacts, numbered from 1 as their order is.
fn groups(request: &Request, contacts: &[&str]) -> Vec<Vec<usize>> {
    let params: Vec<_> = contacts.iter().map(|text| Params::parse(text).unwrap()).collect();
    let ranked =
        Preferences::of(request).unwrap().rank(params.iter().map(|params| (params, q_value(params))));
    ranked.into_iter().map(|group| group.into_iter().map(|at| at + 1).collect()).collect()
}

fn invite(headers: &[(Name, &str)], contacts: &[&str]) -> Vec<Vec<usize>> {
    groups(&request(Method::Invite, headers), contacts)
}

const ACCEPT: Name = Name::AcceptContact;
const REJECT: Name = Name::RejectContact;

#[test]
fn the_example_of_rfc_3841() {
    let contacts = [
        ";audio;video;methods=\"INVITE,BYE\";q=0.2",
        ";audio=\"FALSE\";methods=\"INVITE\";actor=\"msg-taker\";q=0.2",
        ";audio;actor=\"msg-taker\";methods=\"INVITE\";video;q=0.3",
        ";audio;methods=\"INVITE,OPTIONS\";q=0.2",
        ";q=0.5",
    ];
    let wishes = [
        (REJECT, "*;actor=\"msg-taker\";video"),
        (ACCEPT, "*;audio;require"),
        (ACCEPT, "*;video;explicit"),
        (ACCEPT, "*;methods=\"BYE\";class=\"business\";q=1.0"),
    ];
    // u5 is immune, u3 rejected, u2 has no audio; u1 scores 0.83 and u4 0.5.
    assert_eq!(invite(&wishes, &contacts), [vec![5], vec![1, 4]]);
    let turned = [contacts[3], contacts[0]];
    assert_eq!(invite(&wishes, &turned), [[2, 1]], "the score orders, not the place");
}

#[test]
fn cd_16_the_higher_q_is_tried_first() {
    assert_eq!(invite(&[], &[";q=0.5", ";q=0.8"]), [[2], [1]]);
    assert_eq!(invite(&[], &[";q=0.5", ";q=0.8", ";q=0.50", ""]), [vec![4], vec![2], vec![1, 3]]);
}

#[test]
fn cd_17_no_fork_is_one_branch() {
    let no_fork = [(Name::RequestDisposition, "proxy, no-fork")];
    assert_eq!(invite(&no_fork, &[";q=0.5", ";q=0.8", ";q=0.8"]), [[2]]);
    assert_eq!(invite(&no_fork, &[]), [[0; 0]; 0]);
}

#[test]
fn the_caller_may_want_all_at_once_or_each_alone() {
    let contacts = [";q=0.5", ";q=0.8", ";q=0.8"];
    let asks = |value| invite(&[(Name::RequestDisposition, value)], &contacts);
    assert_eq!(asks("parallel"), [[2, 3, 1]]);
    assert_eq!(asks("Sequential"), [[2], [3], [1]]);
    assert_eq!(asks("sequential, no-fork"), [[2]]);
    assert_eq!(asks("fork, queue, x"), [vec![2, 3], vec![1]]);
    assert_eq!(invite(&[(Name::RequestDisposition, "parallel")], &[]), [[0; 0]; 0]);
    let compact = Request::build(Method::Invite, &Uri::parse("sip:a").unwrap()).raw("d", "no-fork").finish();
    assert_eq!(Preferences::of(&compact).unwrap().forking(), Forking::None);
}

#[test]
fn filtering_accept_contact() {
    let phone = ";+sip.instance=\"<urn:uuid:1>\";audio;mobility=\"mobile\"";
    let desk = ";+sip.instance=\"<urn:uuid:2>\";audio;video;mobility=\"fixed\"";
    let both = [phone, desk];
    assert_eq!(invite(&[(ACCEPT, "*;mobility=\"mobile\";require")], &both), [[1]]);
    assert_eq!(invite(&[(ACCEPT, "*;mobility=\"!mobile\";require")], &both), [[2]], "negated match");
    assert_eq!(invite(&[(ACCEPT, "*;mobility=\"other\";require")], &both), [[0; 0]; 0], "no match");
    assert_eq!(invite(&[(ACCEPT, "*;mobility=\"fixed\"")], &both), [[2, 1]], "wanted, not required");
    assert_eq!(invite(&[(ACCEPT, "*;video;require")], &both), [[2, 1]], "the phone does not deny it");
    assert_eq!(invite(&[(ACCEPT, "*;video;require;explicit")], &both), [[2]], "nor does it say so");
    assert_eq!(invite(&[(ACCEPT, "*;video;explicit")], &both), [[2, 1]]);
    assert_eq!(invite(&[(ACCEPT, "*;video;require;explicit")], &["", desk]), [[1, 2]], "immune");
}

#[test]
fn filtering_reject_contact() {
    let machine = ";automata;actor=\"msg-taker\"";
    let human = ";automata=\"FALSE\"";
    let contacts = [machine, human, ""];
    assert_eq!(invite(&[(REJECT, "*;automata")], &contacts), [[2, 3]], "match");
    assert_eq!(
        invite(&[(REJECT, "*;automata;video")], &contacts),
        [[1, 2, 3]],
        "no match: nobody speaks of video"
    );
    assert_eq!(invite(&[(REJECT, "*;actor=\"msg-taker\"")], &contacts), [[2, 3]]);
    assert_eq!(invite(&[(REJECT, "*;automata"), (REJECT, "*;automata=\"FALSE\"")], &contacts), [[3]]);
}

#[test]
fn services_of_ims_are_features() {
    let voice = ";+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.mmtel\"";
    let messaging = ";+g.3gpp.smsip";
    let wish = "*;+g.3gpp.icsi-ref=\"urn%3aurn-7%3a3gpp-service.ims.icsi.mmtel\";require;explicit";
    assert_eq!(invite(&[(ACCEPT, wish)], &[messaging, voice]), [[2]]);
    assert_eq!(invite(&[(ACCEPT, "*;+g.3gpp.smsip")], &[voice, messaging]), [[2, 1]]);
}

#[test]
fn without_a_wish_the_request_speaks_for_itself() {
    let calls = ";methods=\"INVITE,ACK,BYE\"";
    let texts = ";methods=\"MESSAGE\"";
    let message = request(Method::Message, &[]);
    assert_eq!(groups(&message, &[calls, texts, ";audio", ""]), [[2, 4, 3]], "who says no is spared");
    assert_eq!(groups(&message, &[calls]), [[1]], "unless nobody is left");
    let watch = request(Method::Subscribe, &[(Name::Event, "presence;id=7")]);
    let winfo = ";methods=\"SUBSCRIBE\";events=\"winfo\"";
    let presence = ";methods=\"SUBSCRIBE\";events=\"presence\"";
    assert_eq!(groups(&watch, &[winfo, presence]), [[2]]);
    let wish = request(Method::Message, &[(ACCEPT, "*;audio")]);
    assert_eq!(groups(&wish, &[calls]), [[1]], "a wish of one's own replaces that");
}

#[test]
fn wishes_nobody_can_read_are_said() {
    for (name, value) in
        [(ACCEPT, "audio"), (ACCEPT, "<sip:a@b>;audio"), (REJECT, "*;audio=\""), (REJECT, "*;+x=\"#no\"")]
    {
        assert_eq!(Preferences::of(&request(Method::Invite, &[(name, value)])).unwrap_err().header, name);
    }
    let nothing = request(Method::Invite, &[(ACCEPT, "*;require"), (ACCEPT, "*")]);
    assert_eq!(groups(&nothing, &[";methods=\"MESSAGE\"", ""]), [[1, 2]], "a wish for nothing");
}

#[test]
fn q_counts_in_thousandths() {
    let q = |text: &str| q_value(&Params::parse(text).unwrap());
    assert_eq!(
        [";q=0", ";q=0.5", ";q=0.333", ";q=1", ";q=1.000", ""].map(q),
        [0, 500, 333, 1000, 1000, 1000]
    );
    assert_eq!(
        [";q=.7", ";q=0.", ";q=0.12345", ";q=2", ";q=x", ";q=0.x"].map(q),
        [700, 0, 123, 1000, 1000, 1000]
    );
}

fn feature() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(";audio".to_owned()),
        Just(";video=\"FALSE\"".to_owned()),
        "(;methods=\"(INVITE|BYE|!MESSAGE)(,(PRACK|!INVITE))?\")",
        ";\\+n=\"#(>=|<=|=)?[0-9]{1,2}\"",
        ";q=0\\.[0-9]",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn nobody_is_tried_twice_and_q_falls(
        contacts in prop::collection::vec(prop::collection::vec(feature(), 0..4), 0..6),
        wishes in prop::collection::vec((any::<bool>(), feature(), any::<bool>(), any::<bool>()), 0..4),
        disposition in prop::sample::select(vec!["fork", "parallel", "sequential", "no-fork"]),
    ) {
        let mut headers: Vec<(Name, String)> = vec![(Name::RequestDisposition, disposition.to_owned())];
        for (accept, feature, require, explicit) in wishes {
            let flags = [(require, ";require"), (explicit, ";explicit")];
            let flags: String = flags.iter().filter(|flag| flag.0).map(|flag| flag.1).collect();
            headers.push((if accept { ACCEPT } else { REJECT }, format!("*{feature}{flags}")));
        }
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let contacts: Vec<_> = contacts.iter().map(|features| features.concat()).collect();
        let texts: Vec<_> = contacts.iter().map(String::as_str).collect();
        let ranked = invite(&headers, &texts);
        let flat: Vec<usize> = ranked.iter().flatten().copied().collect();
        let mut unique = flat.clone();
        unique.sort_unstable();
        unique.dedup();
        prop_assert_eq!(unique.len(), flat.len());
        prop_assert!(ranked.iter().all(|group| !group.is_empty()));
        let qs: Vec<_> = flat.iter().map(|at| q_value(&Params::parse(&contacts[at - 1]).unwrap())).collect();
        prop_assert!(qs.is_sorted_by(|left, right| left >= right));
        match disposition {
            "parallel" => prop_assert!(ranked.len() <= 1),
            "no-fork" => prop_assert!(flat.len() <= 1),
            "sequential" => prop_assert!(ranked.iter().all(|group| group.len() == 1)),
            _ => {}
        }
        let immune = contacts.iter().filter(|text| !text.contains(|c| ['a', 'v', 'm', '+'].contains(&c))).count();
        prop_assert!(disposition == "no-fork" || flat.len() >= immune, "who says nothing of itself stays");
    }
}
