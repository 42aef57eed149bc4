//! RFC 3261 §7.3 — the headers of a message, read on demand.

use crate::{
    CSeq, ChargingVector, Contacts, Digest, Event, Malformed, Method, Name, NameAddr, Status,
    SubscriptionState, Uri, UriError, Via, lexis,
};
use bytes::Bytes;
use smallvec::SmallVec;
use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

/// Octets `from..to` of the message.
pub(crate) type Span = (u32, u32);

/// The header part of a message.
#[derive(Clone)]
pub struct Headers {
    pub(crate) bytes: Bytes,
    pub(crate) index: Arc<Index>,
}

pub(crate) struct Index {
    pub(crate) start: Start,
    pub(crate) lines: SmallVec<[Line; 24]>,
    /// Where the empty line begins.
    pub(crate) head_end: u32,
    pub(crate) body: u32,
    pub(crate) cseq: Option<(u32, Method)>,
    pub(crate) call_id: Span,
    pub(crate) from_tag: Tag,
    pub(crate) to_tag: Tag,
    pub(crate) uri: OnceLock<Uri>,
}

#[derive(Clone)]
pub(crate) enum Start {
    Request { method: Method, uri: Span },
    Response { status: Status, reason: Span },
}

impl Index {
    /// Of nothing yet.
    pub(crate) fn empty() -> Self {
        Self {
            start: Start::Request { method: Method::Options, uri: (0, 0) },
            lines: SmallVec::new(),
            head_end: 0,
            body: 0,
            cseq: None,
            call_id: (0, 0),
            from_tag: Tag::Absent,
            to_tag: Tag::Absent,
            uri: OnceLock::new(),
        }
    }
}

pub(crate) enum Tag {
    Absent,
    At(Span),
    /// Of a folded line.
    Unfolded(Box<str>),
}

/// One header line: where it begins, and the lengths of its parts.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    pub(crate) start: u32,
    pub(crate) name: Option<Name>,
    pub(crate) folded: bool,
    pub(crate) name_len: u16,
    pub(crate) value: u16,
    pub(crate) value_len: u16,
    pub(crate) len: u16,
}

impl Line {
    pub(crate) fn span(&self) -> Span {
        (self.start, self.start + u32::from(self.len))
    }

    pub(crate) fn value_span(&self) -> Span {
        let from = self.start + u32::from(self.value);
        (from, from + u32::from(self.value_len))
    }
}

impl Headers {
    pub(crate) fn octets(&self, (from, to): Span) -> &[u8] {
        &self.bytes[from as usize..to as usize]
    }

    pub(crate) fn lines_of(&self, name: Name) -> impl Iterator<Item = &Line> {
        self.index.lines.iter().filter(move |line| line.name == Some(name))
    }

    /// The unfolded value; `None` if it is no UTF-8.
    pub(crate) fn value(&self, line: &Line) -> Option<Cow<'_, str>> {
        let text = std::str::from_utf8(self.octets(line.value_span())).ok()?;
        Some(if line.folded { lexis::unfold(text) } else { Cow::Borrowed(text) })
    }

    fn value_lossy(&self, line: &Line) -> Cow<'_, str> {
        self.value(line).unwrap_or_else(|| String::from_utf8_lossy(self.octets(line.value_span())))
    }

    /// The value of the first line of that name, trimmed and unfolded; `None` also if it is no UTF-8.
    pub fn get(&self, name: Name) -> Option<Cow<'_, str>> {
        self.value(self.lines_of(name).next()?)
    }

    /// Whether there is a line of that name.
    pub fn has(&self, name: Name) -> bool {
        self.lines_of(name).next().is_some()
    }

    /// The values of all lines of that name, one per line, trimmed and unfolded.
    pub fn lines(&self, name: Name) -> impl Iterator<Item = Cow<'_, str>> {
        self.lines_of(name).map(|line| self.value_lossy(line))
    }

    /// The comma-separated elements of all lines of that name; commas in quotes and in `<>` do not separate. Empty elements
    /// are left out.
    pub fn values(&self, name: Name) -> impl Iterator<Item = Cow<'_, str>> {
        self.lines(name).flat_map(split)
    }

    /// The first value of a header by the text of its name, in any case, long or compact.
    pub fn named(&self, name: &str) -> Option<Cow<'_, str>> {
        self.value(self.line_named(name)?)
    }

    fn line_named(&self, name: &str) -> Option<&Line> {
        match Name::of(name.as_bytes()) {
            Some(known) => self.lines_of(known).next(),
            None => self.index.lines.iter().find(|line| {
                line.name.is_none() && self.name_octets(line).eq_ignore_ascii_case(name.as_bytes())
            }),
        }
    }

    fn name_octets(&self, line: &Line) -> &[u8] {
        self.octets((line.start, line.start + u32::from(line.name_len)))
    }

    /// Names as received and values, in order.
    pub fn all(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        self.index
            .lines
            .iter()
            .map(|line| (std::str::from_utf8(self.name_octets(line)).unwrap_or(""), self.value_lossy(line)))
    }

    /// The top Via; one with an empty host for a message that was built without.
    pub fn via(&self) -> Via {
        match self.vias().next() {
            Some(Ok(via)) => via,
            _ => Via::new(crate::Transport::Other, "", None),
        }
    }

    /// All Via values from the top.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via, Malformed>> {
        self.values(Name::Via).map(|value| Via::parse(&value).map_err(|e| malformed(Name::Via, e)))
    }

    fn address(&self, name: Name) -> NameAddr {
        self.get(name)
            .and_then(|value| NameAddr::parse(&value).ok())
            .unwrap_or_else(|| NameAddr::new(Uri::nowhere()))
    }

    /// From; that of a message built without one is `<sip:anonymous.invalid>`.
    pub fn from(&self) -> NameAddr {
        self.address(Name::From)
    }

    /// To; that of a message built without one is `<sip:anonymous.invalid>`.
    pub fn to(&self) -> NameAddr {
        self.address(Name::To)
    }

    /// The tag of From.
    pub fn from_tag(&self) -> Option<&str> {
        self.tag(&self.index.from_tag)
    }

    /// The tag of To.
    pub fn to_tag(&self) -> Option<&str> {
        self.tag(&self.index.to_tag)
    }

    fn tag<'a>(&'a self, tag: &'a Tag) -> Option<&'a str> {
        match tag {
            Tag::Absent => None,
            Tag::At(span) => std::str::from_utf8(self.octets(*span)).ok(),
            Tag::Unfolded(text) => Some(text),
        }
    }

    /// Call-ID.
    pub fn call_id(&self) -> &str {
        std::str::from_utf8(self.octets(self.index.call_id)).unwrap_or("")
    }

    /// CSeq.
    pub fn cseq(&self) -> CSeq {
        let (number, method) = self.index.cseq.clone().unwrap_or((0, Method::Options));
        CSeq { number, method }
    }

    /// The number of CSeq.
    pub fn cseq_number(&self) -> u32 {
        self.index.cseq.as_ref().map_or(0, |(number, _)| *number)
    }

    /// Contact.
    pub fn contacts(&self) -> Result<Contacts, Malformed> {
        let mut lines = self.lines_of(Name::Contact);
        let Some(first) = lines.next() else { return Ok(Contacts::None) };
        if self.octets(first.value_span()) == b"*" {
            return match lines.next() {
                None => Ok(Contacts::Star),
                Some(_) => Err(Malformed { header: Name::Contact, why: "the star stands alone" }),
            };
        }
        self.addresses(Name::Contact).map(Contacts::List)
    }

    /// Expires, in seconds; more than fits counts as the most that fits.
    pub fn expires(&self) -> Result<Option<u32>, Malformed> {
        self.seconds(Name::Expires)
    }

    /// A header of seconds and nothing else, such as Expires and Min-Expires.
    pub fn seconds(&self, name: Name) -> Result<Option<u32>, Malformed> {
        let Some(line) = self.lines_of(name).next() else { return Ok(None) };
        let digits = self.octets(line.value_span());
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(Malformed { header: name, why: "not a number of seconds" });
        }
        let number = lexis::decimal(digits).and_then(|n| u32::try_from(n).ok());
        Ok(Some(number.unwrap_or(u32::MAX)))
    }

    /// Max-Forwards.
    pub fn max_forwards(&self) -> Result<Option<u8>, Malformed> {
        let Some(line) = self.lines_of(Name::MaxForwards).next() else { return Ok(None) };
        lexis::decimal(self.octets(line.value_span()))
            .and_then(|n| u8::try_from(n).ok())
            .map(Some)
            .ok_or(Malformed { header: Name::MaxForwards, why: "not a number from 0 to 255" })
    }

    /// The addresses of Route, Record-Route, Path, Service-Route, P-Asserted-Identity and their like.
    pub fn addresses(&self, name: Name) -> Result<Vec<NameAddr>, Malformed> {
        let mut found = Vec::new();
        for line in self.lines_of(name) {
            let value = self.value(line).ok_or(Malformed { header: name, why: "not UTF-8" })?;
            for element in lexis::elements(&value) {
                found.push(NameAddr::parse(element).map_err(|e| malformed(name, e))?);
            }
        }
        Ok(found)
    }

    pub(crate) fn typed<T>(
        &self,
        name: Name,
        parse: impl Fn(&str) -> Result<T, UriError>,
    ) -> Result<Option<T>, Malformed> {
        let Some(line) = self.lines_of(name).next() else { return Ok(None) };
        let value = self.value(line).ok_or(Malformed { header: name, why: "not UTF-8" })?;
        parse(&value).map(Some).map_err(|e| malformed(name, e))
    }

    /// Event.
    pub fn event(&self) -> Result<Option<Event>, Malformed> {
        self.typed(Name::Event, Event::parse)
    }

    /// Subscription-State.
    pub fn subscription_state(&self) -> Result<Option<SubscriptionState>, Malformed> {
        self.typed(Name::SubscriptionState, SubscriptionState::parse)
    }

    /// P-Charging-Vector.
    pub fn charging_vector(&self) -> Result<Option<ChargingVector>, Malformed> {
        self.typed(Name::PChargingVector, ChargingVector::parse)
    }

    /// The first Authorization of the scheme Digest.
    pub fn authorization(&self) -> Result<Option<Digest>, Malformed> {
        self.digest(Name::Authorization)
    }

    /// The first value of scheme Digest of a header such as Proxy-Authorization or WWW-Authenticate.
    pub fn digest(&self, name: Name) -> Result<Option<Digest>, Malformed> {
        for line in self.lines_of(name) {
            let octets = self.octets(line.value_span());
            let scheme = octets.split(|&b| b <= b' ').next().unwrap_or(b"");
            if scheme.eq_ignore_ascii_case(b"Digest") {
                let value = self.value(line).ok_or(Malformed { header: name, why: "not UTF-8" })?;
                return Digest::parse(&value).map(Some).map_err(|e| malformed(name, e));
            }
        }
        Ok(None)
    }

    /// The option tags, or any other tokens, of Supported, Require, Proxy-Require, Unsupported, Allow.
    pub fn options(&self, name: Name) -> Vec<Box<str>> {
        self.values(name).map(|value| value.into()).collect()
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.index.body as usize..]
    }

    /// The body, sharing the octets of the message.
    pub fn body_bytes(&self) -> Bytes {
        self.bytes.slice(self.index.body as usize..)
    }

    /// Content-Type as received.
    pub fn content_type(&self) -> Option<&str> {
        let line = self.lines_of(Name::ContentType).next()?;
        std::str::from_utf8(self.octets(line.value_span())).ok()
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Headers {}

impl Uri {
    /// What stands for an address where there is none.
    pub(crate) fn nowhere() -> Self {
        Self::parse("sip:anonymous.invalid").unwrap_or_else(|_| unreachable!("a constant that parses"))
    }
}

pub(crate) fn malformed(header: Name, error: UriError) -> Malformed {
    Malformed { header, why: error.0 }
}

fn split(value: Cow<'_, str>) -> Elements<'_> {
    Elements { value, at: Some(0) }
}

/// The non-empty elements of one value; borrowed from the message unless the line is folded.
struct Elements<'a> {
    value: Cow<'a, str>,
    at: Option<usize>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Cow<'a, str>;

    fn next(&mut self) -> Option<Cow<'a, str>> {
        loop {
            let from = self.at?;
            let comma = lexis::find_separator(self.value.as_bytes(), from, b',');
            self.at = comma.map(|comma| comma + 1);
            let to = comma.unwrap_or(self.value.len());
            let element = match &self.value {
                Cow::Borrowed(text) => Cow::Borrowed(lexis::trim(&text[from..to])),
                Cow::Owned(text) => Cow::Owned(lexis::trim(&text[from..to]).to_owned()),
            };
            if !element.is_empty() {
                return Some(element);
            }
        }
    }
}
