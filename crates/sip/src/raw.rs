//! RFC 3261 §7 — octets of a message as they are written, with the index of what was written.

use crate::{
    Headers, Name, Status,
    builder::Body,
    headers::{Index, Line, Span},
    lexis, parse, start_line,
};
use bytes::Bytes;
use std::{
    fmt::{self, Display, Write},
    sync::Arc,
};

/// A start line, if it is a whole message, and header lines.
#[derive(Default)]
pub(crate) struct Raw {
    octets: Vec<u8>,
    lines: Vec<Line>,
    fault: Option<parse::Fault>,
}

impl Raw {
    /// Lines without a start line.
    pub(crate) fn lines(capacity: usize) -> Self {
        Self { octets: Vec::with_capacity(capacity), lines: Vec::new(), fault: None }
    }

    pub(crate) fn starting(line: impl Display, capacity: usize) -> Self {
        let mut raw = Self::lines(capacity);
        raw.lines.reserve(16);
        raw.text(line);
        raw.octets.extend_from_slice(b"\r\n");
        raw
    }

    pub(crate) fn response(status: Status, reason: &str, capacity: usize) -> Self {
        Self::starting(format_args!("SIP/2.0 {status} {reason}"), capacity)
    }

    /// Replaces the start line.
    pub(crate) fn restart(&mut self, line: impl Display) {
        let old = self.lines.first().map_or(self.octets.len(), |line| line.start as usize);
        let start = Self::starting(line, 64).octets;
        for line in &mut self.lines {
            line.start = line.start - old as u32 + start.len() as u32;
        }
        self.octets.splice(..old, start);
    }

    pub(crate) fn line(&mut self, name: Name, value: impl Display) {
        let start = self.name(name.as_str());
        self.text(value);
        self.end_line(start, Some(name), name.as_str().len());
    }

    pub(crate) fn line_named(&mut self, name: &str, value: &str) {
        if !lexis::is_token(name.as_bytes()) {
            self.fault = Some(parse::bad("a header name is no token"));
        }
        let start = self.name(name);
        self.text(value);
        self.end_line(start, Name::of(name.as_bytes()), name.len());
    }

    /// A line of octets as they came, foldings included.
    pub(crate) fn octets(&mut self, name: Name, value: &[u8]) {
        let start = self.name(name.as_str());
        self.octets.extend_from_slice(value);
        self.end_line(start, Some(name), name.as_str().len());
    }

    /// Writes more at the end of the last line.
    pub(crate) fn extend_last(&mut self, more: impl Display) {
        let Some(line) = self.lines.pop() else { return };
        self.octets.truncate(self.octets.len() - 2);
        self.text(more);
        self.end_line(line.start as usize, line.name, usize::from(line.name_len));
    }

    fn name(&mut self, name: &str) -> usize {
        let start = self.octets.len();
        self.octets.extend_from_slice(name.as_bytes());
        self.octets.extend_from_slice(b": ");
        start
    }

    /// Lets no value end its line: whoever writes a header writes one header.
    fn text(&mut self, text: impl Display) {
        let from = self.octets.len();
        // A value whose Display fails leaves what it wrote so far.
        let _ = write!(Octets(&mut self.octets), "{text}");
        let mut rest = &mut self.octets[from..];
        while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
            rest[at] = b' ';
            rest = &mut rest[at + 1..];
        }
    }

    fn end_line(&mut self, start: usize, name: Option<Name>, name_len: usize) {
        let from = start + name_len + 2;
        let content = &self.octets[from..];
        let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
        let first = content.iter().position(|b| !blank(b));
        let (value, value_len, folded) = match first {
            Some(first) => {
                let last = content.iter().rposition(|b| !blank(b)).unwrap_or(first);
                let folded = memchr::memchr(b'\r', &content[first..=last]).is_some();
                (name_len + 2 + first, last + 1 - first, folded)
            }
            None => (name_len + 2 + content.len(), 0, false),
        };
        self.octets.extend_from_slice(b"\r\n");
        let len = self.octets.len() - start;
        if len > usize::from(u16::MAX) {
            self.fault = Some(parse::too_large("a header line is too long"));
        }
        self.lines.push(Line {
            start: start as u32,
            name,
            folded,
            name_len: name_len as u16,
            value: value as u16,
            value_len: value_len as u16,
            len: len as u16,
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.octets.len()
    }

    pub(crate) fn all(&self) -> &[Line] {
        &self.lines
    }

    pub(crate) fn at(&self, (from, to): Span) -> &[u8] {
        &self.octets[from as usize..to as usize]
    }

    /// What is wrong with what was written.
    pub(crate) fn check(&self) -> Result<(), parse::Fault> {
        self.fault.map_or(Ok(()), Err)
    }

    /// The message, with Content-Length and the body.
    pub(crate) fn finish(mut self, body: Option<&Body>) -> Result<Headers, parse::Fault> {
        match body {
            Some(body) => {
                self.line(Name::ContentType, &body.content_type);
                self.line(Name::ContentLength, body.octets.len());
            }
            None => self.octets(Name::ContentLength, b"0"),
        }
        self.check()?;
        let (start, _) = start_line::scan(&self.octets)?;
        let head_end = self.octets.len() as u32;
        self.octets.extend_from_slice(b"\r\n");
        self.octets.extend_from_slice(body.map_or(&[], |body| &body.octets));
        // A final response is kept for as long as its request may be retransmitted.
        self.octets.shrink_to_fit();
        let mut index = Index { start, head_end, body: head_end + 2, ..Index::empty() };
        index.lines.extend_from_slice(&self.lines);
        for &line in &self.lines {
            parse::note(&self.octets, line, &mut index);
        }
        Ok(Headers { bytes: Bytes::from(self.octets), index: Arc::new(index) })
    }

    /// The message, read again from its octets, for they may be those of anybody.
    pub(crate) fn finish_reading(mut self) -> Result<Headers, parse::Fault> {
        self.octets(Name::ContentLength, b"0");
        self.check()?;
        self.octets.extend_from_slice(b"\r\n");
        parse::built(self.octets)
    }
}

struct Octets<'a>(&'a mut Vec<u8>);

impl Write for Octets<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Message, Method, Request, Response, Uri};

    fn request() -> Request {
        Request::build(Method::Options, &Uri::parse("sip:b@h").unwrap())
            .header(Name::Via, "SIP/2.0/UDP a;branch=z9hG4bK1")
            .header(Name::From, " <sip:a@h>;tag=f \r\n")
            .raw("t", "<sip:b@h>")
            .raw("X-Odd", "")
            .header(Name::CallId, "c")
            .header(Name::CSeq, "1 OPTIONS")
            .body("text/plain", b"body")
            .finish()
    }

    /// The index says what reading the octets again says.
    fn reads_the_same(message: &Message) {
        let again = Message::parse_frame(message.as_bytes().clone()).unwrap();
        let (written, read) = (message.headers(), again.headers());
        assert!(written.all().eq(read.all()));
        assert_eq!((written.from_tag(), written.to_tag()), (read.from_tag(), read.to_tag()));
        assert_eq!((written.call_id(), written.cseq()), (read.call_id(), read.cseq()));
        assert_eq!(written.body(), read.body());
        assert!(Name::ALL.iter().all(|&name| written.lines(name).eq(read.lines(name))));
    }

    #[test]
    fn what_is_written_is_indexed_as_if_it_were_read() {
        let request = request();
        reads_the_same(&request.clone().into());
        assert_eq!((request.from_tag(), request.named("x-odd").unwrap()), (Some("f"), "".into()));
        let plain = request.respond(Status::OK, "t").header(Name::Server, "s").finish();
        let told = |reason| -> Response {
            request
                .respond(Status::OK, "t")
                .header(Name::Server, "s")
                .reason(reason)
                .body("a/b", b"x")
                .finish()
        };
        for response in [plain, told("Fine, this one goes on for longer"), told("")] {
            assert_eq!((response.to_tag(), response.get(Name::Server).unwrap()), (Some("t"), "s".into()));
            reads_the_same(&response.into());
        }
        assert_eq!(told("Fine").reason(), "Fine");
        let mut edit = request.edit();
        edit.push_top(Name::Via, "SIP/2.0/UDP b");
        edit.replace(Name::To, "<sip:b@h>;tag=new");
        edit.append(Name::Subject, "  blanks  ");
        edit.body("", b"");
        let edited = edit.finish();
        assert_eq!((edited.to_tag(), edited.get(Name::Subject).unwrap()), (Some("new"), "blanks".into()));
        reads_the_same(&edited.into());
    }

    #[test]
    fn what_nobody_could_read_is_not_written() {
        let uri = Uri::parse("sip:b@h").unwrap();
        let long = "x".repeat(70_000);
        for (name, value) in [("X Y", "1"), ("", "1"), ("X:", "1"), ("X", &long)] {
            let request = Request::build(Method::Options, &uri).raw(name, value).finish();
            assert_eq!(request.uri_text(), "sip:anonymous.invalid", "{name}");
        }
        let mut edit = request().edit();
        edit.append(Name::Subject, &long);
        assert_eq!(edit.finish().as_bytes(), request().as_bytes());
    }
}
