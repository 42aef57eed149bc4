//! Reads a message through every typed accessor and writes down what it found.

use sip::{Message, Name};
use std::fmt::Write;

/// One line per fact. Two messages that say the same give the same text.
pub(crate) fn everything(message: &Message) -> String {
    let mut out = String::new();
    let mut say = |what: &str, fact: &dyn std::fmt::Debug| {
        let _ = writeln!(out, "{what}: {fact:?}");
    };
    match message {
        Message::Request(request) => {
            say("method", request.method());
            say("uri", &(request.uri_text(), request.uri(), request.uri().canonical()));
            say(
                "user",
                &(request.uri().user(), request.uri().password(), request.uri().host(), request.uri().port()),
            );
            say("params", &request.uri().params().collect::<Vec<_>>());
            say("itself", &request.uri().equivalent(request.uri()));
            say("checks", &sip::proxy::validate(request, &["gruu"]));
        }
        Message::Response(response) => say("status", &(response.status(), response.reason())),
    }
    let headers = message.headers();
    say("top via", &headers.via());
    say("vias", &headers.vias().collect::<Vec<_>>());
    say("from", &(headers.from(), headers.from_tag()));
    say("to", &(headers.to(), headers.to_tag()));
    say("call", &(headers.call_id(), headers.cseq()));
    say("contacts", &headers.contacts());
    say("numbers", &(headers.expires(), headers.max_forwards(), headers.seconds(Name::MinExpires)));
    for name in [Name::Route, Name::RecordRoute, Name::Path, Name::ServiceRoute, Name::PAssertedIdentity] {
        say(name.as_str(), &headers.addresses(name));
    }
    say("event", &(headers.event(), headers.subscription_state()));
    say("digest", &headers.authorization().map(|digest| digest.map(|digest| digest.to_string())));
    say("charging", &headers.charging_vector());
    for &name in Name::ALL {
        if headers.has(name) {
            say(name.as_str(), &(headers.get(name).is_some(), headers.values(name).collect::<Vec<_>>()));
        }
    }
    say("body", &(headers.body().len(), headers.content_type()));
    out
}
