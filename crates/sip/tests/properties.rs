//! Properties of values, splits and edits, over generated input.
#![allow(clippy::unwrap_used)]

mod reading;

use bytes::Bytes;
use proptest::prelude::*;
use sip::{Digest, Event, Message, Name, NameAddr, Params, Request, Uri, Via};

const NAMES: &[Name] = &[Name::Route, Name::RecordRoute, Name::Path, Name::Supported, Name::Subject];

/// One element of a list: what a comma inside quotes or brackets does not end.
fn element() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,8}",
        "<sip:[a-z]{1,4}@[a-z]{1,4};[a-z]{1,3}=[a-z,]{1,4}>(;q=0\\.[0-9])?".prop_map(|text| text),
        "\"([a-z,;<> ]|\\\\[\"\\\\]){0,9}\" <tel:\\+[0-9]{1,9}>;x=\"[,;<>a-z]{0,5}\"",
    ]
}

fn uri() -> impl Strategy<Value = String> {
    let sip = (
        "sips?",
        "([a-zA-Z0-9;&=+$,?/_.!~*'()-]|%[0-9A-F]{2}){1,12}",
        "[a-z0-9.-]{1,9}|\\[2001:db8::[1-9a-f]\\]",
    );
    let tail = (
        "(:[1-9][0-9]{0,3})?",
        "(;[a-z]{1,4}(=([a-z]|%[0-9A-F]{2}){1,4})?){0,3}",
        "(\\?[a-z]{1,3}=[a-z]{0,3}){0,1}",
    );
    prop_oneof![
        (sip, tail).prop_map(|((scheme, user, host), (port, params, headers))| {
            format!("{scheme}:{user}@{host}{port}{params}{headers}")
        }),
        "tel:\\+[0-9][0-9().-]{0,9}(;[a-z]{1,3}=[a-z]{1,3}){0,2}",
        "urn:[a-z]{1,8}:[a-z.]{1,8}",
    ]
}

#[derive(Clone, Debug)]
enum Change {
    Top(Name, String),
    Append(Name, String),
    Replace(Name, String),
    Remove(Name),
    RemoveTopValue(Name),
}

fn change() -> impl Strategy<Value = Change> {
    let name = || prop::sample::select(NAMES);
    prop_oneof![
        (name(), element()).prop_map(|(name, value)| Change::Top(name, value)),
        (name(), element()).prop_map(|(name, value)| Change::Append(name, value)),
        (name(), element()).prop_map(|(name, value)| Change::Replace(name, value)),
        name().prop_map(Change::Remove),
        name().prop_map(Change::RemoveTopValue),
    ]
}

/// What edits mean, for the values of one name.
fn apply(values: &mut Vec<(Name, Vec<String>)>, change: &Change) {
    let first = |values: &[(Name, Vec<String>)], name| values.iter().position(|(known, _)| *known == name);
    match change.clone() {
        Change::Top(name, value) => {
            let at = first(values, name).unwrap_or(0);
            values.insert(at, (name, vec![value]));
        }
        Change::Append(name, value) => {
            let at = values.iter().rposition(|(known, _)| *known == name).map_or(values.len(), |at| at + 1);
            values.insert(at, (name, vec![value]));
        }
        Change::Replace(name, value) => {
            let at = first(values, name).unwrap_or(values.len());
            values.retain(|(known, _)| *known != name);
            values.insert(at.min(values.len()), (name, vec![value]));
        }
        Change::Remove(name) => values.retain(|(known, _)| *known != name),
        Change::RemoveTopValue(name) => {
            if let Some(at) = first(values, name) {
                values[at].1.remove(0);
                if values[at].1.is_empty() {
                    values.remove(at);
                }
            }
        }
    }
}

fn request(lines: &[(Name, Vec<String>)], fold: bool) -> Request {
    let comma = if fold { " ,\r\n\t" } else { "," };
    let mut text =
        "MESSAGE sip:a@b SIP/2.0\r\nv: SIP/2.0/UDP h;branch=z9hG4bKx\r\nf: <sip:a@b>;tag=1\r\n".to_owned();
    for (name, values) in lines {
        text.push_str(&format!("{}: {}\r\n", name.as_str().to_ascii_lowercase(), values.join(comma)));
    }
    text.push_str("t: <sip:b@b>\r\ni: c\r\nX-Odd:  kept  \r\nCSeq: 1 MESSAGE\r\nl: 5\r\n\r\n\u{1}body");
    match Message::parse_datagram(Bytes::from(text)).unwrap() {
        Message::Request(request) => request,
        Message::Response(_) => panic!("a request"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn lists_split_where_they_were_joined(values in prop::collection::vec(element(), 1..8), fold: bool) {
        let message = request(&[(Name::Path, values.clone())], fold);
        let found: Vec<String> = message.values(Name::Path).map(Into::into).collect();
        prop_assert_eq!(found, values);
    }

    #[test]
    fn edits_do_what_they_say_and_no_more(
        lines in prop::collection::vec((prop::sample::select(NAMES), prop::collection::vec(element(), 1..4)), 0..6),
        changes in prop::collection::vec(change(), 0..8),
        fold: bool,
    ) {
        let original = request(&lines, fold);
        let mut edit = original.edit();
        let mut wanted = lines.clone();
        for change in &changes {
            apply(&mut wanted, change);
            match change {
                Change::Top(name, value) => edit.push_top(*name, value),
                Change::Append(name, value) => edit.append(*name, value),
                Change::Replace(name, value) => edit.replace(*name, value),
                Change::Remove(name) => edit.remove(*name),
                Change::RemoveTopValue(name) => edit.remove_top_value(*name),
            }
        }
        let edited = edit.finish();
        for &name in NAMES {
            let found: Vec<String> = edited.values(name).map(Into::into).collect();
            let wanted: Vec<String> = wanted.iter().filter(|(known, _)| *known == name).flat_map(|(_, v)| v.clone()).collect();
            prop_assert_eq!(found, wanted, "{}", name);
        }
        prop_assert!(edited.as_bytes().ends_with(b"CSeq: 1 MESSAGE\r\nl: 5\r\n\r\n\x01body") || !changes.is_empty());
        prop_assert_eq!(edited.body(), original.body());
        let text = String::from_utf8_lossy(edited.as_bytes()).into_owned();
        prop_assert!(text.contains("\r\nX-Odd:  kept  \r\n"), "{}", text);
        // The index an edit leaves is the one a fresh parse finds.
        let Message::Request(again) = Message::parse_datagram(edited.as_bytes().clone()).unwrap() else { panic!() };
        prop_assert_eq!(reading::everything(&again.into()), reading::everything(&edited.into()));
    }

    #[test]
    fn uris_keep_their_text_and_their_key(text in uri()) {
        let uri = Uri::parse(&text).unwrap();
        prop_assert_eq!(uri.as_str(), &text);
        prop_assert!(uri.equivalent(&uri));
        let key = Uri::parse(&uri.canonical()).unwrap();
        prop_assert_eq!(key.canonical(), uri.canonical());
        let address = NameAddr::new(uri.clone()).with_display("A \"b\" \\ c").with_param("x", "y z");
        let again = NameAddr::parse(&address.to_string()).unwrap();
        prop_assert_eq!(&again.display, &address.display);
        prop_assert_eq!(&again.uri, &uri);
        prop_assert_eq!(again.param("X"), Some("y z"));
    }

    #[test]
    fn parsers_of_values_take_any_text(text in "\\PC{0,60}|[;=\"<>@:,\\\\ %\\[\\]sip0-9a-z/.\r\n\t]{0,60}") {
        // Whatever they accept they can write and read again to the same effect.
        if let Ok(address) = NameAddr::parse(&text) {
            prop_assert_eq!(NameAddr::parse(&address.to_string()).unwrap(), address);
        }
        if let Ok(params) = Params::parse(&text) {
            prop_assert_eq!(Params::parse(params.as_str()).unwrap(), params);
        }
        if let Ok(via) = Via::parse(&text) {
            prop_assert_eq!(Via::parse(&via.to_string()).unwrap(), via);
        }
        if let Ok(digest) = Digest::parse(&format!("Digest {text}")) {
            prop_assert_eq!(Digest::parse(&digest.to_string()).unwrap(), digest);
        }
        if let Ok(event) = Event::parse(&text) {
            prop_assert_eq!(Event::parse(&event.to_string()).unwrap(), event);
        }
        if let Ok(uri) = Uri::parse(&text) {
            prop_assert_eq!(uri.as_str(), &text);
        }
    }

    #[test]
    fn any_octets_are_answered_or_dropped(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let error = Message::parse_datagram(Bytes::from(octets)).unwrap_err();
        prop_assert_eq!(error.status(), error.response().map(|response| response.status()));
    }

    #[test]
    fn no_value_ends_its_line(value in "[a-z\r\n:]{0,40}") {
        let uri = Uri::parse("sip:a@b").unwrap();
        let built = Request::build(sip::Method::Options, &uri).header(Name::Subject, &value).raw("X", &value).finish();
        prop_assert_eq!(built.all().count(), 3);
    }
}
