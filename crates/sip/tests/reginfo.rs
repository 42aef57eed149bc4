//! RFC 3680 §5 — documents against the schema, the reader against the writer.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

use proptest::prelude::*;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;
use sip::reginfo::{
    Contact, ContactEvent, ContactState, DocumentState, ReadError, Reginfo, Registration, RegistrationState,
};
use std::collections::BTreeMap;
use std::path::PathBuf;

fn sample() -> Reginfo {
    let mut first =
        Contact::new("c1", ContactState::Active, ContactEvent::Shortened, "sip:[5555::aaa:bbb]:1357;a=1&b");
    first.expires = Some(600);
    first.duration_registered = Some(7);
    first.retry_after = Some(0);
    first.q = Some("0.5".into());
    first.callid = Some("a\"<b>@host".into());
    first.cseq = Some(43);
    first.display_name = Some("Ålice & <Bob>".into());
    first.unknown_params = vec![
        ("+sip.instance".into(), "\"<urn:gsma:imei:90420156-025763-0>\"".into()),
        ("flag".into(), String::new()),
    ];
    first.pub_gruu = Some("sip:user@home1.net;gr=urn:gsma:imei:1".into());
    first.temp_gruu = Some(("sip:tgruu.7hs==jd7vnzga5w7fajsc7-ajd6fabz0f8g5@home1.net;gr".into(), 23));
    let second = Contact::new("c2", ContactState::Terminated, ContactEvent::Expired, "sip:u@h");
    Reginfo {
        version: 2,
        state: DocumentState::Full,
        registrations: vec![
            Registration {
                aor: "sip:user1_public1@home1.net".into(),
                id: "r1".into(),
                state: RegistrationState::Active,
                contacts: vec![first, second],
                wildcarded_identity: Some("sip:chatlist!.*!@home1.net".into()),
            },
            Registration {
                aor: "tel:+358504821437".into(),
                id: "r2".into(),
                state: RegistrationState::Init,
                contacts: vec![],
                wildcarded_identity: None,
            },
        ],
    }
}

/// What the schema says of one element.
#[derive(Default, Debug)]
struct Element {
    children: Vec<String>,
    required: Vec<String>,
    attributes: BTreeMap<String, Vec<String>>,
}

fn attribute(start: &BytesStart<'_>, name: &str) -> Option<String> {
    start.try_get_attribute(name).unwrap().map(|a| a.value.into_owned())
}

fn schema() -> Option<BTreeMap<String, Element>> {
    let shared = std::env::var_os("ROLLCALL_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")),
        PathBuf::from,
    );
    let path = shared.join("xsd/reginfo.xsd");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: no schema at {}", path.display());
        return None;
    };
    let mut elements: BTreeMap<String, Element> = BTreeMap::new();
    let mut open: Vec<String> = Vec::new();
    let mut last_attribute = String::new();
    let mut reader = Reader::from_str(&text);
    reader.config_mut().expand_empty_elements = true;
    loop {
        match reader.read_event().unwrap() {
            Event::Start(start) if start.local_name().as_ref() == "element" => {
                let name = attribute(&start, "name").or_else(|| attribute(&start, "ref")).unwrap();
                let name = name.trim_start_matches("tns:").to_owned();
                if let Some(parent) = open.last() {
                    elements.get_mut(parent).unwrap().children.push(name.clone());
                }
                elements.entry(name.clone()).or_default();
                open.push(name);
            }
            Event::End(end) if end.local_name().as_ref() == "element" => {
                open.pop();
            }
            Event::Start(start) if start.local_name().as_ref() == "attribute" => {
                last_attribute = attribute(&start, "name").or_else(|| attribute(&start, "ref")).unwrap();
                let element = elements.get_mut(open.last().unwrap()).unwrap();
                element.attributes.entry(last_attribute.clone()).or_default();
                if attribute(&start, "use").as_deref() == Some("required") {
                    element.required.push(last_attribute.clone());
                }
            }
            Event::Start(start) if start.local_name().as_ref() == "enumeration" => {
                let element = elements.get_mut(open.last().unwrap()).unwrap();
                element
                    .attributes
                    .get_mut(&last_attribute)
                    .unwrap()
                    .push(attribute(&start, "value").unwrap());
            }
            Event::Eof => return Some(elements),
            _ => {}
        }
    }
}

/// Element order, attributes and enumerations; what other namespaces hold must stand last.
fn check(document: &str, schema: &BTreeMap<String, Element>) -> Result<(), String> {
    let mut reader = Reader::from_str(document);
    reader.config_mut().expand_empty_elements = true;
    let mut open: Vec<(String, usize)> = Vec::new();
    loop {
        match reader.read_event().map_err(|e| e.to_string())? {
            Event::Start(start) => {
                let name = start.name().0.to_owned();
                let foreign = name.contains(':');
                if let Some((parent, at)) = open.last_mut() {
                    let position = if foreign {
                        usize::MAX
                    } else {
                        schema[parent.as_str()]
                            .children
                            .iter()
                            .position(|c| *c == name)
                            .ok_or(format!("{name} in {parent}"))?
                    };
                    if position < *at {
                        return Err(format!("{name} out of order in {parent}"));
                    }
                    *at = position;
                }
                if !foreign {
                    let rules = schema.get(&name).ok_or(format!("unknown element {name}"))?;
                    let mut seen = Vec::new();
                    for found in start.attributes() {
                        let found = found.map_err(|e| e.to_string())?;
                        let key = found.key.0.to_owned();
                        if key.starts_with("xmlns") {
                            continue;
                        }
                        let words = rules.attributes.get(&key).ok_or(format!("{name}@{key}"))?;
                        if !words.is_empty() && !words.contains(&found.value.to_string()) {
                            return Err(format!("{name}@{key}={}", found.value));
                        }
                        seen.push(key);
                    }
                    if let Some(missing) = rules.required.iter().find(|r| !seen.contains(r)) {
                        return Err(format!("{name} lacks {missing}"));
                    }
                }
                open.push((name, 0));
            }
            Event::End(_) => {
                open.pop();
            }
            Event::Eof => return Ok(()),
            _ => {}
        }
    }
}

#[test]
fn what_is_written_keeps_to_the_schema_and_reads_back() {
    let document = sample();
    let xml = String::from_utf8(document.to_xml()).unwrap();
    assert_eq!(Reginfo::parse(xml.as_bytes()).unwrap(), document);
    if let Some(schema) = schema() {
        assert_eq!(check(&xml, &schema), Ok(()));
        for event in ContactEvent::ALL {
            let mut document = sample();
            document.registrations[0].contacts[0].event = *event;
            assert_eq!(check(&String::from_utf8(document.to_xml()).unwrap(), &schema), Ok(()));
        }
        let mut demand = sample();
        demand.registrations[0].state = RegistrationState::ReAuthenticate;
        let demand = String::from_utf8(demand.to_xml()).unwrap();
        assert_eq!(check(&demand, &schema), Err("registration@state=re-authenticate".into()));
    }
}

#[test]
fn the_demand_of_the_older_package_reads_back() {
    let mut document = sample();
    document.registrations[0].state = RegistrationState::ReAuthenticate;
    let xml = String::from_utf8(document.to_xml()).unwrap();
    assert!(
        xml.contains(r#"<registration aor="sip:user1_public1@home1.net" id="r1" state="re-authenticate">"#)
    );
    assert_eq!(Reginfo::parse(xml.as_bytes()).unwrap(), document);
}

#[test]
fn the_bare_document_declares_only_its_own_namespace() {
    let mut contact =
        Contact::new("c1", ContactState::Active, ContactEvent::Shortened, "sip:[5555::aaa:bbb:ccc:ddd]:1357");
    contact.expires = Some(600);
    let document = Reginfo {
        version: 2,
        state: DocumentState::Full,
        registrations: vec![Registration {
            aor: "sip:user1_public1@home1.net".into(),
            id: "r1".into(),
            state: RegistrationState::Active,
            contacts: vec![contact],
            wildcarded_identity: None,
        }],
    };
    let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" version="2" state="full">
  <registration aor="sip:user1_public1@home1.net" id="r1" state="active">
    <contact id="c1" state="active" event="shortened" expires="600">
      <uri>sip:[5555::aaa:bbb:ccc:ddd]:1357</uri>
    </contact>
  </registration>
</reginfo>
"#;
    assert_eq!(String::from_utf8(document.to_xml()).unwrap(), expected);
}

#[test]
fn foreign_prefixes_order_and_elements_are_taken() {
    let xml = br#"<?xml version="1.0"?><!-- note -->
<r:reginfo xmlns:r="urn:ietf:params:xml:ns:reginfo" xmlns:x="urn:x" version="0" state="partial">
  <r:registration state="active" id="a" aor="sip:a@b">
    <x:actions><x:uri>no</x:uri></x:actions>
    <r:contact event="registered" state="active" id="c" expires="18446744073709551615">
      <g:pub-gruu xmlns:g="urn:ietf:params:xml:ns:gruuinfo" uri="sip:a@b;gr=1"/>
      <r:unknown-param name="+sip.instance">"&lt;urn:uuid:1&gt;"</r:unknown-param>
      <r:uri>
        sip:&#x61;@b<![CDATA[;x]]>
      </r:uri>
      <r:display-name xml:lang="en">A</r:display-name>
    </r:contact>
  </r:registration>
  <uri>stray</uri>
</r:reginfo>"#;
    let document = Reginfo::parse(xml).unwrap();
    assert_eq!(document.state, DocumentState::Partial);
    let contact = &document.registrations[0].contacts[0];
    assert_eq!(contact.uri, "sip:a@b;x");
    assert_eq!(contact.expires, Some(u32::MAX));
    assert_eq!(contact.pub_gruu.as_deref(), Some("sip:a@b;gr=1"));
    assert_eq!(contact.unknown_params, [("+sip.instance".to_owned(), "\"<urn:uuid:1>\"".to_owned())]);
    assert_eq!(contact.display_name.as_deref(), Some("A"));
}

#[test]
fn what_is_no_document_is_refused() {
    let root = |inner: &str| {
        format!(
            r#"<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" version="1" state="full">{inner}</reginfo>"#
        )
    };
    let refused = |xml: &str| Reginfo::parse(xml.as_bytes()).unwrap_err();
    assert_eq!(Reginfo::parse(&[0xff, 0xfe]).unwrap_err(), ReadError::Encoding);
    assert_eq!(refused(""), ReadError::Root);
    assert_eq!(refused("<reginfo version='1' state='full'/>"), ReadError::Root);
    assert_eq!(
        refused(r#"<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" version="1" state="full">"#),
        ReadError::Truncated
    );
    assert_eq!(
        refused(r#"<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" state="full"/>"#),
        ReadError::Missing { element: "reginfo", what: "version" }
    );
    assert_eq!(
        refused(&root(r#"<registration aor="a" id="r" state="gone"/>"#)),
        ReadError::Value { attribute: "state", value: "gone".into() }
    );
    assert_eq!(
        refused(&root(
            r#"<registration aor="a" id="r" state="init"><contact id="c" state="active" event="created"/></registration>"#
        )),
        ReadError::Missing { element: "contact", what: "uri" }
    );
    let bomb = format!("<!DOCTYPE reginfo [<!ENTITY a \"aaaa\">]>{}", root("&a;"));
    assert_eq!(refused(&bomb), ReadError::DocumentType);
    assert_eq!(refused(&root("&a;")), ReadError::DocumentType);
    assert!(matches!(refused("<reginfo></registration>"), ReadError::Root | ReadError::Syntax(_)));
}

fn word() -> impl Strategy<Value = String> {
    // No white space at either end: the reader trims.
    "[!-~Å]([ -~\t\nÅ]{0,12}[!-~])?"
}

fn contact() -> impl Strategy<Value = Contact> {
    let events = proptest::sample::select(ContactEvent::ALL);
    let states = proptest::sample::select(ContactState::ALL);
    let texts = (
        word(),
        word(),
        proptest::option::of(word()),
        proptest::option::of(word()),
        proptest::option::of(word()),
    );
    let numbers = (any::<Option<u32>>(), any::<Option<u64>>(), any::<Option<u32>>(), any::<Option<u32>>());
    let params = proptest::collection::vec((word(), word()), 0..3);
    let gruus = (proptest::option::of(word()), proptest::option::of((word(), any::<u32>())));
    (states, events, texts, numbers, params, gruus).prop_map(
        |(state, event, texts, numbers, params, gruus)| Contact {
            id: texts.0,
            state,
            event,
            uri: texts.1,
            q: texts.2,
            callid: texts.3,
            display_name: texts.4,
            expires: numbers.0,
            duration_registered: numbers.1,
            retry_after: numbers.2,
            cseq: numbers.3,
            unknown_params: params,
            pub_gruu: gruus.0,
            temp_gruu: gruus.1,
        },
    )
}

fn document() -> impl Strategy<Value = Reginfo> {
    let state = proptest::sample::select(RegistrationState::ALL);
    let contacts = proptest::collection::vec(contact(), 0..3);
    let registration = (word(), word(), state, contacts, proptest::option::of(word())).prop_map(
        |(aor, id, state, contacts, wildcarded_identity)| Registration {
            aor,
            id,
            state,
            contacts,
            wildcarded_identity,
        },
    );
    let registrations = proptest::collection::vec(registration, 0..3);
    (any::<u32>(), proptest::sample::select(DocumentState::ALL), registrations)
        .prop_map(|(version, state, registrations)| Reginfo { version, state, registrations })
}

proptest! {
    #[test]
    fn every_document_reads_back(document in document()) {
        let xml = document.to_xml();
        prop_assert_eq!(Reginfo::parse(&xml), Ok(document));
    }

    #[test]
    fn no_octets_make_the_reader_panic(octets in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..2000) {
        let _ = Reginfo::parse(&octets);
        let mut xml = sample().to_xml();
        let at = cut % xml.len();
        xml.splice(at..at, octets);
        let _ = Reginfo::parse(&xml);
    }
}
