//! RFC 3261 §7.5, §18.3 — from octets to an indexed message.

use crate::{
    Headers, Malformed, Method, Name, Status,
    header::{address, cseq, via},
    headers::{Index, Line, Span, Start, Tag},
    lexis, limits, start_line,
};
use bytes::Bytes;
use smallvec::SmallVec;
use std::sync::Arc;

/// How the octets arrived.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transfer {
    Datagram,
    Stream,
}

/// Why parsing ended, and the status for a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) why: &'static str,
    pub(crate) status: Status,
}

pub(crate) const fn bad(why: &'static str) -> Fault {
    Fault { why, status: Status::BAD_REQUEST }
}

pub(crate) const fn too_large(why: &'static str) -> Fault {
    Fault { why, status: Status::MESSAGE_TOO_LARGE }
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        bad(malformed.why)
    }
}

/// Parses and validates one message; the body is cut to Content-Length.
pub(crate) fn message(bytes: &Bytes, transfer: Transfer) -> Result<Headers, Fault> {
    let most = if transfer == Transfer::Datagram { limits::DATAGRAM } else { limits::STREAM_MESSAGE };
    if bytes.len() > most {
        return Err(too_large("the message is too large"));
    }
    let mut index = scan(bytes, Limits::Received)?;
    let facts = validate(bytes, &mut index)?;
    let there = bytes.len() - index.body as usize;
    let body = match (facts.content_length, transfer) {
        (Some(length), _) if length > there => return Err(bad("the body is shorter than Content-Length")),
        (Some(length), Transfer::Datagram) => length,
        (Some(length), Transfer::Stream) if length < there => {
            return Err(bad("the body is longer than Content-Length"));
        }
        (Some(length), Transfer::Stream) => length,
        (None, Transfer::Datagram) => there,
        (None, Transfer::Stream) => return Err(bad("Content-Length is missing")),
    };
    let end = index.body as usize + body;
    Ok(Headers { bytes: bytes.slice(..end), index: Arc::new(index) })
}

/// Indexes octets this crate wrote: headers may be missing, values may be wrong, and the limits are the receiver's.
pub(crate) fn built(octets: Vec<u8>) -> Result<Headers, Fault> {
    let bytes = Bytes::from(octets);
    let mut index = scan(&bytes, Limits::None)?;
    for i in 0..index.lines.len() {
        let line = index.lines[i];
        note(&bytes, line, &mut index);
    }
    Ok(Headers { bytes, index: Arc::new(index) })
}

/// Puts down what the index keeps of one line, if it can be read.
pub(crate) fn note(bytes: &[u8], line: Line, index: &mut Index) {
    if line.name == Some(Name::From) {
        index.from_tag = tag(bytes, &line).unwrap_or(Tag::Absent);
    } else if line.name == Some(Name::To) {
        index.to_tag = tag(bytes, &line).unwrap_or(Tag::Absent);
    } else if line.name == Some(Name::CallId) {
        index.call_id = line.value_span();
    } else if line.name == Some(Name::CSeq) {
        let parsed = with_text(bytes, &line, |text| {
            cseq::scan(text).map(|(number, method)| (number, Method::of_token(method))).map_err(bad)
        });
        index.cseq = parsed.ok();
    }
}

/// Whether what a peer may send is bounded, or what this crate writes is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Limits {
    Received,
    None,
}

fn at(bytes: &[u8], (from, to): Span) -> &[u8] {
    &bytes[from as usize..to as usize]
}

/// Reads a value as text, unfolded where needed.
fn with_text<T>(bytes: &[u8], line: &Line, read: impl FnOnce(&str) -> Result<T, Fault>) -> Result<T, Fault> {
    let text = std::str::from_utf8(at(bytes, line.value_span()))
        .map_err(|_| bad("a header that is needed is not UTF-8"))?;
    if line.folded { read(&lexis::unfold(text)) } else { read(text) }
}

/// Finds the start line and the header lines.
fn scan(bytes: &[u8], bounds: Limits) -> Result<Index, Fault> {
    let (start, mut at) = start_line::scan(bytes)?;
    let mut lines: SmallVec<[Line; 24]> = SmallVec::new();
    loop {
        match bytes.get(at) {
            None => return Err(bad("the empty line behind the headers is missing")),
            Some(b'\r') if bytes.get(at + 1) == Some(&b'\n') => break,
            Some(_) => {}
        }
        if lines.len() == limits::LINES && bounds == Limits::Received {
            return Err(too_large("too many headers"));
        }
        let line = header_line(bytes, at, bounds)?;
        at += usize::from(line.len);
        lines.push(line);
    }
    if at > limits::HEAD && bounds == Limits::Received {
        return Err(too_large("the headers are too large"));
    }
    Ok(Index { start, lines, head_end: at as u32, body: at as u32 + 2, ..Index::empty() })
}

/// The end of the line that begins at `from`: the offset of its CRLF.
pub(crate) fn line_end(bytes: &[u8], from: usize) -> Result<usize, Fault> {
    let found = memchr::memchr2(b'\r', b'\n', &bytes[from..]).ok_or(bad("a line does not end"))?;
    let end = from + found;
    if bytes[end] == b'\r' && bytes.get(end + 1) == Some(&b'\n') {
        Ok(end)
    } else {
        Err(bad("a line ends with something else than CRLF"))
    }
}

fn header_line(bytes: &[u8], start: usize, bounds: Limits) -> Result<Line, Fault> {
    let no_header = bad("a header line begins with a name and a colon");
    let rest = &bytes[start..];
    let name_len = rest.iter().position(|&b| !lexis::is_token_octet(b)).ok_or(no_header)?;
    let blanks = rest[name_len..].iter().position(|&b| !lexis::is_blank(b)).ok_or(no_header)?;
    let colon = start + name_len + blanks;
    if name_len == 0 || bytes[colon] != b':' {
        return Err(no_header);
    }
    let mut end = line_end(bytes, colon + 1)?;
    let mut breaks = false;
    while bytes.get(end + 2).is_some_and(|&b| lexis::is_blank(b)) {
        breaks = true;
        end = line_end(bytes, end + 2)?;
    }
    let blank = |b: u8| lexis::is_blank(b) || b == b'\r' || b == b'\n';
    let content = &bytes[colon + 1..end];
    let (value, value_end) = match content.iter().position(|&b| !blank(b)) {
        Some(first) => {
            let last = content.iter().rposition(|&b| !blank(b)).unwrap_or(first);
            (colon + 1 + first, colon + 2 + last)
        }
        None => (end, end),
    };
    let len = end + 2 - start;
    let most = if bounds == Limits::Received { limits::LINE } else { usize::from(u16::MAX) };
    if len > most {
        return Err(too_large("a header line is too long"));
    }
    Ok(Line {
        start: start as u32,
        name: Name::of(&rest[..name_len]),
        folded: breaks && memchr::memchr(b'\r', &bytes[value..value_end]).is_some(),
        name_len: name_len as u16,
        value: (value - start) as u16,
        value_len: (value_end - value) as u16,
        len: len as u16,
    })
}

struct Facts {
    content_length: Option<usize>,
}

#[derive(Default)]
struct Seen {
    vias: usize,
    routes: usize,
    record_routes: usize,
    contacts: usize,
    max_forwards: bool,
}

/// Checks the headers every message needs, and the limits.
// Names are an open list: the others have nothing to check here.
#[allow(clippy::wildcard_enum_match_arm)]
fn validate(bytes: &[u8], index: &mut Index) -> Result<Facts, Fault> {
    let mut seen = Seen::default();
    let mut facts = Facts { content_length: None };
    let (mut from, mut to, mut call_id) = (false, false, false);
    let Index { start, lines, cseq, call_id: call_id_span, from_tag, to_tag, .. } = index;
    for line in &*lines {
        let Some(name) = line.name else { continue };
        match name {
            Name::Via => {
                if seen.vias == 0 {
                    with_text(bytes, line, |text| {
                        let top = lexis::elements(text).next().unwrap_or("");
                        via::scan(top).map_err(|e| bad(e.0))
                    })?;
                }
                count(bytes, line, &mut seen.vias, limits::VIAS, "too many Via values")?;
            }
            Name::Route => count(bytes, line, &mut seen.routes, limits::ROUTES, "too many Route values")?,
            Name::RecordRoute => {
                count(bytes, line, &mut seen.record_routes, limits::ROUTES, "too many Record-Route values")?;
            }
            Name::Contact => {
                count(bytes, line, &mut seen.contacts, limits::CONTACTS, "too many Contact values")?
            }
            Name::From => {
                once(&mut from, "From stands twice")?;
                *from_tag = tag(bytes, line)?;
            }
            Name::To => {
                once(&mut to, "To stands twice")?;
                *to_tag = tag(bytes, line)?;
            }
            Name::CallId => {
                once(&mut call_id, "Call-ID stands twice")?;
                let span = line.value_span();
                if !is_call_id(at(bytes, span)) {
                    return Err(bad("Call-ID is no word"));
                }
                *call_id_span = span;
            }
            Name::CSeq => {
                if cseq.is_some() {
                    return Err(bad("CSeq stands twice"));
                }
                *cseq = Some(with_text(bytes, line, |text| {
                    let (number, method) = cseq::scan(text).map_err(bad)?;
                    Ok((number, Method::of_token(method)))
                })?);
            }
            Name::MaxForwards => once(&mut seen.max_forwards, "Max-Forwards stands twice")?,
            Name::ContentLength => {
                let length = content_length(at(bytes, line.value_span()))?;
                if facts.content_length.is_some_and(|known| known != length) {
                    return Err(bad("Content-Length has two values"));
                }
                facts.content_length = Some(length);
            }
            _ => {}
        }
    }
    let missing = [
        (seen.vias > 0, "Via is missing"),
        (from, "From is missing"),
        (to, "To is missing"),
        (call_id, "Call-ID is missing"),
        (cseq.is_some(), "CSeq is missing"),
    ];
    if let Some((_, why)) = missing.into_iter().find(|(there, _)| !there) {
        return Err(bad(why));
    }
    match (start, cseq) {
        (Start::Request { method, .. }, Some((_, named))) if method != named => {
            Err(bad("CSeq names another method than the request line"))
        }
        _ => Ok(facts),
    }
}

/// `word ["@" word]`
fn is_call_id(value: &[u8]) -> bool {
    match memchr::memchr(b'@', value) {
        Some(at) => lexis::is_word(&value[..at]) && lexis::is_word(&value[at + 1..]),
        None => lexis::is_word(value),
    }
}

fn once(seen: &mut bool, why: &'static str) -> Result<(), Fault> {
    if std::mem::replace(seen, true) { Err(bad(why)) } else { Ok(()) }
}

fn count(bytes: &[u8], line: &Line, seen: &mut usize, most: usize, why: &'static str) -> Result<(), Fault> {
    *seen += lexis::count_elements(at(bytes, line.value_span()));
    if *seen > most { Err(too_large(why)) } else { Ok(()) }
}

/// A Content-Length value; strict, for a stream is cut by it.
pub(crate) fn content_length(value: &[u8]) -> Result<usize, Fault> {
    let length = lexis::decimal(value).ok_or(bad("Content-Length is no number"))?;
    usize::try_from(length)
        .ok()
        .filter(|&n| n <= u32::MAX as usize)
        .ok_or(bad("Content-Length is out of range"))
}

/// Checks an address and finds its tag.
fn tag(bytes: &[u8], line: &Line) -> Result<Tag, Fault> {
    with_text(bytes, line, |text| {
        let spans = address::scan(text).map_err(|e| bad(e.0))?;
        let params = &text[spans.params()..];
        let Some((from, to)) = find_tag(params) else { return Ok(Tag::Absent) };
        if line.folded {
            return Ok(Tag::Unfolded(params[from..to].into()));
        }
        let base = line.value_span().0 + spans.params() as u32;
        Ok(Tag::At((base + from as u32, base + to as u32)))
    })
}

/// Where the value of `tag` stands in parameters that were checked.
fn find_tag(params: &str) -> Option<(usize, usize)> {
    let octets = params.as_bytes();
    let mut from = lexis::find_separator(octets, 0, b';')? + 1;
    loop {
        let end = lexis::find_separator(octets, from, b';').unwrap_or(octets.len());
        let pair = &params[from..end];
        if let Some((name, value)) = pair.split_once('=')
            && lexis::trim(name).eq_ignore_ascii_case("tag")
        {
            let blank = value.len() - value.trim_start_matches([' ', '\t']).len();
            let start = from + name.len() + 1 + blank;
            return Some((start, start + lexis::trim(value).len()));
        }
        if end == octets.len() {
            return None;
        }
        from = end + 1;
    }
}
