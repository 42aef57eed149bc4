//! TS 24.229 §6.3 — the S-CSCF looks into the session descriptions of offers.

use crate::stage::*;
use scscf::Effect;
use scscf::policy::Media;
use sip::{Name, Response, Status};

const AUDIO: &str = "m=audio 3456 RTP/AVP 97\r\na=rtpmap:97 AMR/8000\r\n";
const VIDEO: &str = "m=video 3458 RTP/AVP 98\r\na=rtpmap:98 H264/90000\r\n";

fn media(text: &str) -> Media {
    serde_json::from_str(text).unwrap()
}

/// Registered, with this SubscribedMediaProfileId; and the Service-Route.
fn caller(subscribed: Option<u32>) -> (Stage, String) {
    let mut stage = Stage::new();
    let mut profile = alice();
    profile.profiles[0].media_profile = subscribed;
    stage.hss.user_data = Some(Ok(profile));
    let ok = stage.register_fully(&Ue::new());
    (stage, ok.get(Name::ServiceRoute).unwrap().into_owned())
}

/// The refusal of an INVITE with these media; `None` if it is on its way.
fn refused(stage: &mut Stage, route: Option<&str>, media: &str) -> Option<Response> {
    let n = stage.tx;
    let (uri, route) = match route {
        Some(route) => ("sip:bob@elsewhere.net", format!("Route: {route}\r\n")),
        None => (ALICE, String::new()),
    };
    let body = format!("v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n{media}");
    let length = body.len();
    stage.said.clear();
    let refusal = stage.send(request(&format!(
        "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP pcscf.example;branch=z9hG4bK{n}\r\nMax-Forwards: 70\r\n{route}\
         P-Asserted-Identity: <{ALICE}>\r\nFrom: <{ALICE}>;tag=1\r\nTo: <{uri}>\r\nCall-ID: call{n}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:alice@10.0.0.1>\r\nContent-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{body}"
    )));
    let leaves = stage.said.iter().any(|effect| matches!(effect, Effect::Relay { .. }));
    assert_ne!(leaves, refusal.is_some(), "{:?}", stage.said);
    refusal
}

#[test]
fn cd_09_a_codec_that_is_not_subscribed() {
    let (mut stage, route) = caller(Some(1));
    stage.policy.media = media(r#"{"profiles":{"1":{"audio":["AMR","telephone-event"]}}}"#);
    let forbidden = "m=audio 3456 RTP/AVP 97 0\r\na=rtpmap:97 AMR/8000\r\n";
    let refusal = refused(&mut stage, Some(&route), forbidden).unwrap();
    assert_eq!(refusal.status(), Status::NOT_ACCEPTABLE_HERE);
    assert_eq!(refusal.content_type(), Some("application/sdp"));
    let allowed = std::str::from_utf8(refusal.body()).unwrap();
    assert!(allowed.contains("m=audio 0 RTP/AVP 96 97\r\na=rtpmap:96 AMR/8000\r\n"), "{allowed}");
    assert!(refusal.get(Name::Warning).unwrap().contains("PCMU"));
    assert_eq!(refused(&mut stage, Some(&route), &format!("{AUDIO}{VIDEO}")).unwrap().status().code(), 488);
    assert!(refused(&mut stage, Some(&route), AUDIO).is_none());
}

#[test]
fn the_callees_subscription_counts_too() {
    let (mut stage, _) = caller(Some(1));
    stage.policy.media = media(r#"{"profiles":{"1":{"audio":[]}}}"#);
    assert_eq!(refused(&mut stage, None, VIDEO).unwrap().status(), Status::NOT_ACCEPTABLE_HERE);
    assert!(refused(&mut stage, None, AUDIO).is_none());
}

#[test]
fn a_profile_that_the_operator_does_not_know_leaves_what_is_so_otherwise() {
    for (subscribed, policy, passes) in [
        (None, "{}", true),
        (Some(7), r#"{"profiles":{"1":{"audio":[]}}}"#, true),
        (Some(7), r#"{"profiles":{"1":{"video":[]}},"otherwise":{"audio":[]}}"#, false),
        (None, r#"{"otherwise":{"audio":[]}}"#, false),
        (Some(1), r#"{"profiles":{"1":{"video":[]}},"otherwise":{"audio":[]}}"#, true),
    ] {
        let (mut stage, route) = caller(subscribed);
        stage.policy.media = media(policy);
        assert_eq!(refused(&mut stage, Some(&route), VIDEO).is_none(), passes, "{subscribed:?} {policy}");
    }
}

#[test]
fn an_offer_in_a_dialog_is_looked_into_as_well() {
    use crate::calls::{Answer, Call, outgoing};
    use sip::{Method, Request};
    let offers = |request: &Request, media: &str| {
        let mut edit = request.edit();
        edit.body(
            "application/sdp",
            format!("v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nt=0 0\r\n{media}").as_bytes(),
        );
        edit.finish()
    };
    let (mut stage, _) = caller(Some(1));
    stage.policy.media = media(r#"{"profiles":{"1":{"audio":[]}}}"#);
    let invite = outgoing(&stage, "INVITE", crate::calls::BOB).build();
    let tx = stage.arrive(invite.clone());
    let hop = stage.hop();
    let early = stage.hear(&hop, &Answer::of(183));
    let mut call = Call::new(&invite, &hop.request, &early, &stage.responses(tx)[0]);
    let mut looks = |stage: &mut Stage, method: Method| {
        for request in [call.by_caller(method.clone()), call.by_callee(method.clone())] {
            let tx = stage.arrive(offers(&request, VIDEO));
            assert_eq!(stage.last_word(tx).status(), Status::NOT_ACCEPTABLE_HERE, "{method:?}");
            assert!(stage.hops().is_empty());
        }
        for request in [call.by_caller(method.clone()), call.by_callee(method.clone())] {
            stage.arrive(offers(&request, AUDIO));
            let hop = stage.hop();
            stage.hear(&hop, &Answer::of(200));
        }
    };
    looks(&mut stage, Method::Update);
    stage.hear(&hop, &Answer::of(200));
    looks(&mut stage, Method::Update);
    looks(&mut stage, Method::Invite);
    assert_eq!(stage.sessions().len(), 1, "a refused offer ends nothing");
}
