//! RFC 3680 §5.1 — reading the document, in any order of children and with any prefixes.

use super::{
    Contact, ContactEvent, ContactState, DocumentState, EXT_REG_EXP, GRUUINFO, REGINFO, Reginfo,
    Registration, RegistrationState,
};
use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::reader::NsReader;
use std::str::FromStr;

/// Why octets are no registration information document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Not UTF-8.
    #[error("not UTF-8")]
    Encoding,
    /// Not well-formed.
    #[error("not well-formed XML: {0}")]
    Syntax(String),
    /// A document type declaration, or an entity that only one could define.
    #[error("document type declarations are refused")]
    DocumentType,
    /// The root is not `reginfo`, or there is none.
    #[error("no reginfo element of RFC 3680")]
    Root,
    /// It ends too early.
    #[error("the document is cut short")]
    Truncated,
    /// A required attribute or element is missing.
    #[error("{element} lacks {what}")]
    Missing {
        /// Where.
        element: &'static str,
        /// What.
        what: &'static str,
    },
    /// A value outside its enumeration or range.
    #[error("{attribute} cannot be {value:?}")]
    Value {
        /// Of which attribute.
        attribute: &'static str,
        /// What it says.
        value: String,
    },
}

pub(super) fn document(octets: &[u8]) -> Result<Reginfo, ReadError> {
    let text = std::str::from_utf8(octets).map_err(|_| ReadError::Encoding)?;
    let mut reader = NsReader::from_str(text.trim_start_matches('\u{feff}'));
    reader.config_mut().expand_empty_elements = true;
    let mut reading = Reading::default();
    loop {
        let (namespace, event) = reader.read_resolved_event().map_err(syntax)?;
        match event {
            Event::Start(start) => {
                let namespace = Space::of(&namespace);
                reading.open(namespace, &start)?;
            }
            Event::End(_) => reading.close()?,
            Event::Text(text) => reading.text(&text.xml10_content()),
            Event::CData(text) => reading.text(&text.xml10_content()),
            Event::GeneralRef(reference) => match reference.resolve_char_ref().map_err(syntax)? {
                Some(character) => reading.text(character.encode_utf8(&mut [0; 4])),
                None => reading.text(resolve_predefined_entity(&reference).ok_or(ReadError::DocumentType)?),
            },
            Event::DocType(_) => return Err(ReadError::DocumentType),
            Event::Eof => return reading.finish(),
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

fn syntax(error: impl std::fmt::Display) -> ReadError {
    ReadError::Syntax(error.to_string())
}

#[derive(Clone, Copy, PartialEq)]
enum Space {
    Reginfo,
    Gruuinfo,
    ExtRegExp,
    Other,
}

impl Space {
    fn of(namespace: &ResolveResult<'_>) -> Self {
        match namespace {
            ResolveResult::Bound(Namespace(REGINFO)) => Self::Reginfo,
            ResolveResult::Bound(Namespace(GRUUINFO)) => Self::Gruuinfo,
            ResolveResult::Bound(Namespace(EXT_REG_EXP)) => Self::ExtRegExp,
            ResolveResult::Bound(_) | ResolveResult::Unbound | ResolveResult::Unknown(_) => Self::Other,
        }
    }
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Place {
    #[default]
    Outside,
    Reginfo,
    Registration,
    WildcardedIdentity,
    Contact,
    Uri,
    DisplayName,
    UnknownParam,
}

#[derive(Default)]
struct Reading {
    place: Place,
    /// Depth inside an element that is not ours to read.
    skipped: usize,
    reginfo: Option<Reginfo>,
    registration: Option<Registration>,
    contact: Option<Contact>,
    has_uri: bool,
    parameter: String,
    text: String,
}

impl Reading {
    fn open(&mut self, space: Space, start: &BytesStart<'_>) -> Result<(), ReadError> {
        if self.skipped > 0 {
            self.skipped += 1;
            return Ok(());
        }
        let name = start.local_name();
        match (self.place, space, name.as_ref()) {
            (Place::Outside, Space::Reginfo, "reginfo") if self.reginfo.is_none() => {
                self.reginfo = Some(reginfo(start)?);
                self.place = Place::Reginfo;
            }
            (Place::Outside, ..) => return Err(ReadError::Root),
            (Place::Reginfo, Space::Reginfo, "registration") => {
                self.registration = Some(registration(start)?);
                self.place = Place::Registration;
            }
            (Place::Registration, Space::Reginfo, "contact") => {
                self.contact = Some(contact(start)?);
                self.has_uri = false;
                self.place = Place::Contact;
            }
            (Place::Registration, Space::ExtRegExp, "wildcardedIdentity") => {
                self.collect(Place::WildcardedIdentity)
            }
            (Place::Contact, Space::Reginfo, "uri") => self.collect(Place::Uri),
            (Place::Contact, Space::Reginfo, "display-name") => self.collect(Place::DisplayName),
            (Place::Contact, Space::Reginfo, "unknown-param") => {
                self.parameter = required(start, "unknown-param", "name")?;
                self.collect(Place::UnknownParam);
            }
            (Place::Contact, Space::Gruuinfo, "pub-gruu") => {
                let uri = required(start, "pub-gruu", "uri")?;
                if let Some(contact) = &mut self.contact {
                    contact.pub_gruu = Some(uri);
                }
                self.skipped = 1;
            }
            (Place::Contact, Space::Gruuinfo, "temp-gruu") => {
                let uri = required(start, "temp-gruu", "uri")?;
                let first_cseq = value("first-cseq", required(start, "temp-gruu", "first-cseq")?)?;
                if let Some(contact) = &mut self.contact {
                    contact.temp_gruu = Some((uri, first_cseq));
                }
                self.skipped = 1;
            }
            _ => self.skipped = 1,
        }
        Ok(())
    }

    fn collect(&mut self, place: Place) {
        self.place = place;
        self.text.clear();
    }

    fn text(&mut self, text: &str) {
        let collecting = matches!(
            self.place,
            Place::WildcardedIdentity | Place::Uri | Place::DisplayName | Place::UnknownParam
        );
        if collecting && self.skipped == 0 {
            self.text.push_str(text);
        }
    }

    fn close(&mut self) -> Result<(), ReadError> {
        if self.skipped > 0 {
            self.skipped -= 1;
            return Ok(());
        }
        self.place = match self.place {
            Place::Outside | Place::Reginfo => Place::Outside,
            Place::Registration => {
                if let (Some(reginfo), Some(registration)) = (&mut self.reginfo, self.registration.take()) {
                    reginfo.registrations.push(registration);
                }
                Place::Reginfo
            }
            Place::WildcardedIdentity => {
                if let Some(registration) = &mut self.registration {
                    registration.wildcarded_identity = Some(self.text.trim().to_owned());
                }
                Place::Registration
            }
            Place::Contact => {
                if !self.has_uri {
                    return Err(ReadError::Missing { element: "contact", what: "uri" });
                }
                if let (Some(registration), Some(contact)) = (&mut self.registration, self.contact.take()) {
                    registration.contacts.push(contact);
                }
                Place::Registration
            }
            Place::Uri | Place::DisplayName | Place::UnknownParam => {
                self.close_text();
                Place::Contact
            }
        };
        Ok(())
    }

    fn close_text(&mut self) {
        let Some(contact) = &mut self.contact else { return };
        let text = self.text.trim();
        if self.place == Place::Uri {
            contact.uri = text.to_owned();
            self.has_uri = true;
        } else if self.place == Place::DisplayName {
            contact.display_name = Some(text.to_owned());
        } else {
            contact.unknown_params.push((std::mem::take(&mut self.parameter), text.to_owned()));
        }
    }

    fn finish(self) -> Result<Reginfo, ReadError> {
        if self.place != Place::Outside || self.skipped > 0 {
            return Err(ReadError::Truncated);
        }
        self.reginfo.ok_or(ReadError::Root)
    }
}

fn reginfo(start: &BytesStart<'_>) -> Result<Reginfo, ReadError> {
    Ok(Reginfo {
        version: value("version", required(start, "reginfo", "version")?)?,
        state: value::<DocumentState>("state", required(start, "reginfo", "state")?)?,
        registrations: Vec::new(),
    })
}

fn registration(start: &BytesStart<'_>) -> Result<Registration, ReadError> {
    Ok(Registration {
        aor: required(start, "registration", "aor")?,
        id: required(start, "registration", "id")?,
        state: value::<RegistrationState>("state", required(start, "registration", "state")?)?,
        contacts: Vec::new(),
        wildcarded_identity: None,
    })
}

fn contact(start: &BytesStart<'_>) -> Result<Contact, ReadError> {
    let state = value::<ContactState>("state", required(start, "contact", "state")?)?;
    let event = value::<ContactEvent>("event", required(start, "contact", "event")?)?;
    let mut contact = Contact::new(required(start, "contact", "id")?, state, event, String::new());
    contact.expires = seconds(start, "expires")?;
    contact.duration_registered =
        optional(start, "duration-registered")?.map(|text| value("duration-registered", text)).transpose()?;
    contact.retry_after = seconds(start, "retry-after")?;
    contact.q = optional(start, "q")?;
    contact.callid = optional(start, "callid")?;
    contact.cseq = optional(start, "cseq")?.map(|text| value("cseq", text)).transpose()?;
    Ok(contact)
}

/// The schema allows 64 bits where SIP has 32: longer is as good as forever.
fn seconds(start: &BytesStart<'_>, attribute: &'static str) -> Result<Option<u32>, ReadError> {
    let Some(text) = optional(start, attribute)? else { return Ok(None) };
    let seconds: u64 = value(attribute, text)?;
    Ok(Some(u32::try_from(seconds).unwrap_or(u32::MAX)))
}

fn required(
    start: &BytesStart<'_>,
    element: &'static str,
    attribute: &'static str,
) -> Result<String, ReadError> {
    optional(start, attribute)?.ok_or(ReadError::Missing { element, what: attribute })
}

fn optional(start: &BytesStart<'_>, attribute: &str) -> Result<Option<String>, ReadError> {
    let Some(attribute) = start.try_get_attribute(attribute).map_err(syntax)? else { return Ok(None) };
    Ok(Some(attribute.normalized_value(XmlVersion::Implicit1_0).map_err(syntax)?.into_owned()))
}

fn value<T: FromStr>(attribute: &'static str, text: String) -> Result<T, ReadError> {
    text.trim().parse().map_err(|_| ReadError::Value { attribute, value: text })
}
