//! TS 29.228 annex E — walking the elements of a document, of the vocabulary of its root.

use super::malformed;
use quick_xml::{
    Reader,
    events::{BytesStart, Event},
};
use scscf::cx::UserDataError;

/// Deepest nesting that is read; the schema needs nine.
const DEEPEST: usize = 64;

/// A cursor over a document: `child` enters the next child element or leaves the current one.
pub(super) struct Elements<'a> {
    text: &'a str,
    reader: Reader<&'a [u8]>,
    prefix: &'a str,
    depth: usize,
}

impl<'a> Elements<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = Reader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        Self { text, reader, prefix: "", depth: 0 }
    }

    /// Enters the root, which must have this name; its prefix, if any, is that of all elements which count.
    pub(super) fn root(&mut self, wanted: &str) -> Result<(), UserDataError> {
        loop {
            let before = self.reader.buffer_position() as usize;
            match self.event()? {
                Event::Start(start) => {
                    let (prefix, local) = self.name(before, &start)?;
                    if local != wanted {
                        return Err(malformed("the root element is another"));
                    }
                    self.prefix = prefix;
                    self.depth = 1;
                    return Ok(());
                }
                Event::Eof => return Err(malformed("there is no element")),
                Event::Text(text) if !text.trim().is_empty() => {
                    return Err(malformed("text stands before the root"));
                }
                Event::End(_) | Event::CData(_) | Event::GeneralRef(_) => {
                    return Err(malformed("there is no root element"));
                }
                Event::Text(_)
                | Event::Comment(_)
                | Event::Decl(_)
                | Event::PI(_)
                | Event::DocType(_)
                | Event::Empty(_) => {}
            }
        }
    }

    /// Enters the next child element and names it; `None` leaves the current element.
    pub(super) fn child(&mut self) -> Result<Option<&'a str>, UserDataError> {
        loop {
            let before = self.reader.buffer_position() as usize;
            match self.event()? {
                Event::Start(start) => {
                    self.deeper()?;
                    let (prefix, local) = self.name(before, &start)?;
                    if prefix == self.prefix {
                        return Ok(Some(local));
                    }
                    self.skip()?;
                }
                Event::End(_) => {
                    self.depth -= 1;
                    return Ok(None);
                }
                Event::Eof => return Err(malformed("it is cut short")),
                Event::Text(_)
                | Event::CData(_)
                | Event::GeneralRef(_)
                | Event::Comment(_)
                | Event::Decl(_)
                | Event::PI(_)
                | Event::DocType(_)
                | Event::Empty(_) => {}
            }
        }
    }

    /// Leaves the current element, past all it holds.
    pub(super) fn skip(&mut self) -> Result<(), UserDataError> {
        let outside = self.depth - 1;
        loop {
            match self.event()? {
                Event::Start(_) => self.deeper()?,
                Event::End(_) => {
                    self.depth -= 1;
                    if self.depth == outside {
                        return Ok(());
                    }
                }
                Event::Eof => return Err(malformed("it is cut short")),
                Event::Text(_)
                | Event::CData(_)
                | Event::GeneralRef(_)
                | Event::Comment(_)
                | Event::Decl(_)
                | Event::PI(_)
                | Event::DocType(_)
                | Event::Empty(_) => {}
            }
        }
    }

    /// The trimmed text of the current element, which it leaves.
    pub(super) fn text(&mut self) -> Result<String, UserDataError> {
        let mut text = String::new();
        loop {
            match self.event()? {
                Event::Text(piece) => text.push_str(&piece),
                Event::CData(piece) => text.push_str(&piece.into_inner()),
                Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                    Ok(Some(character)) => text.push(character),
                    Ok(None) => match quick_xml::escape::resolve_xml_entity(&reference) {
                        Some(entity) => text.push_str(entity),
                        None => return Err(malformed("it uses an entity that XML does not define")),
                    },
                    Err(_) => return Err(malformed("it has an invalid character reference")),
                },
                Event::Start(_) => {
                    self.deeper()?;
                    self.skip()?;
                }
                Event::End(_) => {
                    self.depth -= 1;
                    let trimmed = text.trim();
                    return Ok(if trimmed.len() == text.len() { text } else { trimmed.to_owned() });
                }
                Event::Eof => return Err(malformed("it is cut short")),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) | Event::Empty(_) => {}
            }
        }
    }

    /// The current element as a number; `None` if it is none.
    pub(super) fn number(&mut self) -> Result<Option<u32>, UserDataError> {
        Ok(self.text()?.parse().ok())
    }

    /// The current element as a boolean; `None` if it is none.
    pub(super) fn boolean(&mut self) -> Result<Option<bool>, UserDataError> {
        Ok(match self.text()?.as_str() {
            "1" | "true" => Some(true),
            "0" | "false" => Some(false),
            _ => None,
        })
    }

    /// Nothing but blanks and comments may follow the root.
    pub(super) fn end(&mut self) -> Result<(), UserDataError> {
        loop {
            match self.event()? {
                Event::Eof => return Ok(()),
                Event::Text(text) if text.trim().is_empty() => {}
                Event::Comment(_) | Event::PI(_) => {}
                Event::Start(_)
                | Event::End(_)
                | Event::Empty(_)
                | Event::Text(_)
                | Event::CData(_)
                | Event::Decl(_)
                | Event::DocType(_)
                | Event::GeneralRef(_) => return Err(malformed("something follows the root element")),
            }
        }
    }

    fn event(&mut self) -> Result<Event<'a>, UserDataError> {
        self.reader.read_event().map_err(|error| malformed(&error.to_string()))
    }

    /// Prefix and local name of a start tag that began at `before`, out of the document itself so that they outlive the event.
    fn name(&self, before: usize, start: &BytesStart<'_>) -> Result<(&'a str, &'a str), UserDataError> {
        let qualified = start.name();
        let name = self.text.get(before + 1..).and_then(|rest| rest.get(..qualified.as_ref().len()));
        let name = name
            .filter(|name| *name == qualified.as_ref())
            .ok_or_else(|| malformed("a start tag is malformed"))?;
        Ok(name.rsplit_once(':').unwrap_or(("", name)))
    }

    fn deeper(&mut self) -> Result<(), UserDataError> {
        self.depth += 1;
        if self.depth > DEEPEST { Err(malformed("it is nested too deep")) } else { Ok(()) }
    }
}
