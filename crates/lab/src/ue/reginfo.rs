//! RFC 3680 §5 — registration information as the UE reads it, with a reader of its own.

use serde::Serialize;

/// A registration information document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reginfo {
    /// Version of the document.
    pub version: u32,
    /// Whether it tells everything.
    pub full: bool,
    /// One per public user identity.
    pub registrations: Vec<Registration>,
}

/// The registration of one public user identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Registration {
    /// The public user identity.
    pub aor: String,
    /// `init`, `active`, `terminated`, or `re-authenticate`.
    pub state: String,
    /// Its contacts.
    pub contacts: Vec<Contact>,
}

/// One contact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Contact {
    /// The address.
    pub uri: String,
    /// `active` or `terminated`.
    pub state: String,
    /// What happened last.
    pub event: String,
    /// Seconds left.
    pub expires: Option<u32>,
}

/// A document that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no registration information: {0}")]
pub struct Unreadable(&'static str);

impl Reginfo {
    /// Reads a document.
    pub fn read(octets: &[u8]) -> Result<Self, Unreadable> {
        let text = std::str::from_utf8(octets).map_err(|_| Unreadable("it is not UTF-8"))?;
        let mut document = None;
        let mut in_uri = false;
        for token in Tokens(text) {
            match token? {
                Token::Open(tag) => {
                    in_uri = tag.name() == "uri";
                    document = open(document, &tag)?;
                }
                Token::Close => in_uri = false,
                Token::Text(text) if in_uri => {
                    if let Some(contact) = last_contact(document.as_mut()) {
                        contact.uri.push_str(plain(text).trim());
                    }
                }
                Token::Text(_) => {}
            }
        }
        document.ok_or(Unreadable("there is no reginfo element"))
    }

    /// Whether it asks the UE to authenticate anew.
    pub(super) fn asks_for_authentication(&self) -> bool {
        self.registrations.iter().any(|registration| {
            registration.state == "re-authenticate"
                || registration.contacts.iter().any(|contact| contact.event == "shortened")
        })
    }

    /// The shortest time left of a contact that was shortened.
    pub(super) fn shortened_to(&self) -> Option<u32> {
        let contacts = self.registrations.iter().flat_map(|registration| &registration.contacts);
        contacts.filter(|contact| contact.event == "shortened").filter_map(|contact| contact.expires).min()
    }
}

fn last_contact(document: Option<&mut Reginfo>) -> Option<&mut Contact> {
    document?.registrations.last_mut()?.contacts.last_mut()
}

fn open(document: Option<Reginfo>, tag: &Tag<'_>) -> Result<Option<Reginfo>, Unreadable> {
    let Some(mut document) = document else {
        if tag.name() != "reginfo" {
            return Err(Unreadable("its root is not reginfo"));
        }
        let version = tag.attribute("version").and_then(|text| text.parse().ok());
        return Ok(Some(Reginfo {
            version: version.ok_or(Unreadable("it has no version"))?,
            full: tag.attribute("state").as_deref() == Some("full"),
            registrations: Vec::new(),
        }));
    };
    let text = |name| tag.attribute(name).unwrap_or_default();
    match tag.name() {
        "registration" => document.registrations.push(Registration {
            aor: text("aor"),
            state: text("state"),
            contacts: Vec::new(),
        }),
        "contact" => {
            let registration = document.registrations.last_mut();
            let registration = registration.ok_or(Unreadable("a contact belongs to no registration"))?;
            registration.contacts.push(Contact {
                uri: String::new(),
                state: text("state"),
                event: text("event"),
                expires: tag.attribute("expires").and_then(|text| text.parse().ok()),
            });
        }
        _ => {}
    }
    Ok(Some(document))
}

/// The inside of a start tag.
struct Tag<'a>(&'a str);

impl Tag<'_> {
    /// Name without its prefix.
    fn name(&self) -> &str {
        let name = self.0.split([' ', '\t', '\r', '\n', '/']).next().unwrap_or("");
        name.rsplit(':').next().unwrap_or(name)
    }

    fn attribute(&self, wanted: &str) -> Option<String> {
        let mut rest = self.0.split_once([' ', '\t', '\r', '\n'])?.1;
        loop {
            let (name, after) = rest.split_once('=')?;
            let after = after.trim_start();
            let quote = after.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
            let (value, next) = after[1..].split_once(quote)?;
            if name.trim() == wanted {
                return Some(plain(value));
            }
            rest = next;
        }
    }
}

enum Token<'a> {
    Open(Tag<'a>),
    Close,
    Text(&'a str),
}

/// Walks tags and text; declarations and comments are passed over.
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = Result<Token<'a>, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.0;
            if rest.is_empty() {
                return None;
            }
            let Some(inside) = rest.strip_prefix('<') else {
                let end = rest.find('<').unwrap_or(rest.len());
                self.0 = &rest[end..];
                return Some(Ok(Token::Text(&rest[..end])));
            };
            let ending = if inside.starts_with("!--") { "-->" } else { ">" };
            let Some((tag, after)) = inside.split_once(ending) else {
                self.0 = "";
                return Some(Err(Unreadable("a tag does not end")));
            };
            self.0 = after;
            match tag.as_bytes().first() {
                Some(b'?' | b'!') => {}
                Some(b'/') => return Some(Ok(Token::Close)),
                _ => return Some(Ok(Token::Open(Tag(tag)))),
            }
        }
    }
}

fn plain(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SHORTENED: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" xmlns:gr="urn:ietf:params:xml:ns:gruuinfo" version="2" state="full">
  <!-- <registration> -->
  <registration aor="sip:a&amp;b@home1.net" id="r1" state="active">
    <contact id="c1" state="active" event="shortened" expires="600">
      <uri> sip:[5555::aaa:bbb:ccc:ddd]:1357;x=&lt;1&gt; </uri><unknown-param name="+sip.instance">"&lt;u&gt;"</unknown-param>
      <gr:pub-gruu uri="sip:gruu"/>
    </contact>
  </registration>
  <registration aor="tel:+358504821437" id="r2" state="active"/>
</reginfo>"#;

    #[test]
    fn reads_the_published_words() {
        let read = Reginfo::read(SHORTENED.as_bytes()).unwrap();
        assert_eq!((read.version, read.full, read.registrations.len()), (2, true, 2));
        let contact = &read.registrations[0].contacts[0];
        assert_eq!(contact.uri, "sip:[5555::aaa:bbb:ccc:ddd]:1357;x=<1>");
        assert_eq!(read.registrations[0].aor, "sip:a&b@home1.net");
        assert!(read.asks_for_authentication());
        assert_eq!(read.shortened_to(), Some(600));
    }

    #[test]
    fn reads_the_words_of_the_seed() {
        let text = r#"<reginfo version="1" state="full"><registration aor='sip:a@x' id="r" state="re-authenticate"></registration></reginfo>"#;
        let read = Reginfo::read(text.as_bytes()).unwrap();
        assert!(read.asks_for_authentication());
        assert_eq!(read.shortened_to(), None);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "<a/>",
            "<reginfo state=\"full\"/>",
            "<reginfo version=\"0\"><contact/></reginfo>",
            "<reginfo",
            "\u{0}",
        ] {
            assert!(Reginfo::read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
