//! RFC 3261 §16.6, §16.7 — changes to a message in transit. What is not changed is copied as it came.

use crate::{
    Headers, Name, Request, Response, Uri,
    builder::Body,
    headers::{Index, Line, Span, Start, Tag},
    lexis, parse,
    raw::Raw,
};
use bytes::Bytes;
use smallvec::SmallVec;
use std::{
    fmt::Display,
    sync::{Arc, OnceLock},
};

/// Changes to the headers and the body of a message, collected and then applied at once.
pub struct Edit {
    source: Headers,
    slots: SmallVec<[Slot; 32]>,
    fresh: Raw,
    uri: Option<Uri>,
    body: Option<Body>,
}

#[derive(Clone, Copy)]
struct Slot {
    name: Option<Name>,
    line: Source,
}

#[derive(Clone, Copy)]
enum Source {
    Kept(u16),
    Fresh(u16),
}

impl Edit {
    fn new(source: Headers) -> Self {
        let slots = source
            .index
            .lines
            .iter()
            .enumerate()
            .map(|(i, line)| Slot { name: line.name, line: Source::Kept(i as u16) })
            .collect();
        Self { source, slots, fresh: Raw::default(), uri: None, body: None }
    }

    fn fresh(&mut self, name: Name, value: impl Display) -> Slot {
        self.fresh.line(name, value);
        self.last_fresh(name)
    }

    fn last_fresh(&self, name: Name) -> Slot {
        Slot { name: Some(name), line: Source::Fresh(self.fresh.all().len() as u16 - 1) }
    }

    fn first(&self, name: Name) -> Option<usize> {
        self.slots.iter().position(|slot| slot.name == Some(name))
    }

    /// Adds a line above all lines of that name; a Via above everything, another first one below the Vias.
    pub fn push_top(&mut self, name: Name, value: impl Display) {
        let slot = self.fresh(name, value);
        let at = self.first(name).unwrap_or_else(|| {
            let vias =
                self.slots.iter().rposition(|slot| slot.name == Some(Name::Via)).map_or(0, |at| at + 1);
            if name == Name::Via { 0 } else { vias }
        });
        self.slots.insert(at, slot);
    }

    /// Adds a line below all lines of that name; the first one at the end.
    pub fn append(&mut self, name: Name, value: impl Display) {
        let slot = self.fresh(name, value);
        let last = self.slots.iter().rposition(|slot| slot.name == Some(name));
        self.slots.insert(last.map_or(self.slots.len(), |at| at + 1), slot);
    }

    /// Leaves exactly one line of that name, where the first stood, or at the end.
    pub fn replace(&mut self, name: Name, value: impl Display) {
        let slot = self.fresh(name, value);
        match self.first(name) {
            Some(at) => {
                self.slots[at] = slot;
                let mut i = 0;
                self.slots.retain(|slot| {
                    let keep = i <= at || slot.name != Some(name);
                    i += 1;
                    keep
                });
            }
            None => self.slots.push(slot),
        }
    }

    /// Removes all lines of that name.
    pub fn remove(&mut self, name: Name) {
        self.slots.retain(|slot| slot.name != Some(name));
    }

    /// Removes all lines of a name by its text, in any case.
    pub fn remove_named(&mut self, name: &str) {
        if let Some(known) = Name::of(name.as_bytes()) {
            return self.remove(known);
        }
        let Self { source, slots, .. } = self;
        slots.retain(|slot| match slot.line {
            Source::Kept(i) => {
                let line = &source.index.lines[usize::from(i)];
                let octets = source.octets((line.start, line.start + u32::from(line.name_len)));
                !octets.eq_ignore_ascii_case(name.as_bytes())
            }
            Source::Fresh(..) => true,
        });
    }

    /// Removes the first comma-separated value of that name, with its line if it was the only one there.
    pub fn remove_top_value(&mut self, name: Name) {
        let Some(at) = self.first(name) else { return };
        let value = self.value_octets(self.slots[at]);
        // Empty elements are no values.
        let from = value.iter().take_while(|&&b| b == b',' || b.is_ascii_whitespace()).count();
        let rest =
            lexis::find_separator(value, from, b',').map(|comma| value[comma + 1..].trim_ascii().to_vec());
        self.set_octets(at, name, rest);
    }

    /// Removes the last comma-separated value of that name, with its line if it was the only one there.
    pub fn remove_last_value(&mut self, name: Name) {
        let Some(at) = self.slots.iter().rposition(|slot| slot.name == Some(name)) else { return };
        let value = self.value_octets(self.slots[at]);
        let used =
            value.iter().rposition(|&b| b != b',' && !b.is_ascii_whitespace()).map_or(0, |last| last + 1);
        let mut last = None;
        while let Some(comma) = lexis::find_separator(&value[..used], last.map_or(0, |comma| comma + 1), b',')
        {
            last = Some(comma);
        }
        let rest = last.map(|comma| value[..comma].trim_ascii().to_vec());
        self.set_octets(at, name, rest);
    }

    fn set_octets(&mut self, at: usize, name: Name, value: Option<Vec<u8>>) {
        match value.filter(|value| !value.is_empty()) {
            Some(value) => {
                self.fresh.octets(name, &value);
                self.slots[at] = self.last_fresh(name);
            }
            None => {
                self.slots.remove(at);
            }
        }
    }

    fn kept(&self, i: u16) -> &Line {
        &self.source.index.lines[usize::from(i)]
    }

    fn written(&self, i: u16) -> &Line {
        &self.fresh.all()[usize::from(i)]
    }

    fn value_octets(&self, slot: Slot) -> &[u8] {
        match slot.line {
            Source::Kept(i) => self.source.octets(self.kept(i).value_span()),
            Source::Fresh(i) => self.fresh.at(self.written(i).value_span()),
        }
    }

    /// Replaces the body with Content-Type and Content-Length.
    pub fn body(&mut self, content_type: &str, body: &[u8]) {
        self.body = Some(Body { content_type: content_type.into(), octets: body.to_vec() });
    }

    fn finish(mut self) -> Headers {
        if let Some(body) = self.body.take() {
            if body.octets.is_empty() {
                self.remove(Name::ContentType);
            } else {
                self.replace(Name::ContentType, &body.content_type);
            }
            self.replace(Name::ContentLength, body.octets.len());
            self.body = Some(body);
        }
        self.write().unwrap_or(self.source)
    }

    /// Writes octets and index together: lines that are kept need not be read again.
    fn write(&self) -> Result<Headers, parse::Fault> {
        self.fresh.check()?;
        let source = &self.source;
        let mut out = Vec::with_capacity(source.bytes.len() + self.fresh.len() + 64);
        let first_line = source.index.lines.first().map_or(source.index.head_end, |line| line.start);
        let (start, uri) = match (&source.index.start, &self.uri) {
            (Start::Request { method, uri: (from, to) }, Some(uri)) => {
                out.extend_from_slice(source.octets((0, *from)));
                out.extend_from_slice(uri.as_str().as_bytes());
                let end = out.len() as u32;
                out.extend_from_slice(source.octets((*to, first_line)));
                (Start::Request { method: method.clone(), uri: (*from, end) }, OnceLock::from(uri.clone()))
            }
            (start, _) => {
                out.extend_from_slice(source.octets((0, first_line)));
                (start.clone(), source.index.uri.clone())
            }
        };
        let mut index = Index { start, uri, lines: SmallVec::new(), ..Index::empty() };
        let mut at = out.len() as u32;
        for slot in &self.slots {
            let mut line = match slot.line {
                Source::Kept(i) => *self.kept(i),
                Source::Fresh(i) => *self.written(i),
            };
            line.start = at;
            at += u32::from(line.len);
            index.lines.push(line);
        }
        self.write_lines(&mut out);
        for (i, slot) in self.slots.iter().enumerate() {
            let line = index.lines[i];
            match slot.line {
                Source::Kept(kept) if self.carry(*self.kept(kept), line, &mut index) => {}
                Source::Kept(_) | Source::Fresh(..) => parse::note(&out, line, &mut index),
            }
        }
        index.head_end = out.len() as u32;
        out.extend_from_slice(b"\r\n");
        index.body = out.len() as u32;
        out.extend_from_slice(self.body.as_ref().map_or(source.body(), |body| &body.octets));
        Ok(Headers { bytes: Bytes::from(out), index: Arc::new(index) })
    }

    /// Neighbours that stay neighbours are copied in one piece.
    fn write_lines(&self, out: &mut Vec<u8>) {
        let source = &self.source;
        let mut run: Option<Span> = None;
        for slot in &self.slots {
            match (slot.line, run) {
                (Source::Kept(i), Some((from, to))) if self.kept(i).start == to => {
                    run = Some((from, self.kept(i).span().1));
                }
                (Source::Kept(i), _) => {
                    out.extend_from_slice(run.map_or(&[], |span| source.octets(span)));
                    run = Some(self.kept(i).span());
                }
                (Source::Fresh(i), _) => {
                    out.extend_from_slice(run.take().map_or(&[], |span| source.octets(span)));
                    out.extend_from_slice(self.fresh.at(self.written(i).span()));
                }
            }
        }
        out.extend_from_slice(run.map_or(&[], |span| source.octets(span)));
    }

    /// Takes over what the index of the source says about a line that moved; `false` if it must be read again.
    fn carry(&self, old: Line, new: Line, index: &mut Index) -> bool {
        let known = &self.source.index;
        let moved = |(from, to): Span| {
            let inside = from >= old.start && to <= old.span().1;
            inside.then(|| (from - old.start + new.start, to - old.start + new.start))
        };
        let tag = |tag: &Tag| match tag {
            Tag::At(span) => moved(*span).map(Tag::At),
            Tag::Absent => Some(Tag::Absent),
            Tag::Unfolded(_) => None,
        };
        let Some(name) = new.name else { return true };
        if name == Name::From {
            tag(&known.from_tag).map(|tag| index.from_tag = tag).is_some()
        } else if name == Name::To {
            tag(&known.to_tag).map(|tag| index.to_tag = tag).is_some()
        } else if name == Name::CallId {
            moved(known.call_id).map(|span| index.call_id = span).is_some()
        } else if name == Name::CSeq {
            index.cseq.clone_from(&known.cseq);
            true
        } else {
            true
        }
    }
}

macro_rules! edit_of {
    ($edit:ident, $message:ident, $what:literal) => {
        #[doc = concat!("An [`Edit`] of a ", $what, ".")]
        pub struct $edit(Edit);

        impl $edit {
            pub(crate) fn new(message: $message) -> Self {
                Self(Edit::new(message.0))
            }

            #[doc = concat!("The changed ", $what, ".")]
            pub fn finish(self) -> $message {
                $message(self.0.finish())
            }
        }

        impl std::ops::Deref for $edit {
            type Target = Edit;

            fn deref(&self) -> &Edit {
                &self.0
            }
        }

        impl std::ops::DerefMut for $edit {
            fn deref_mut(&mut self) -> &mut Edit {
                &mut self.0
            }
        }
    };
}

edit_of!(RequestEdit, Request, "request");
edit_of!(ResponseEdit, Response, "response");

impl RequestEdit {
    /// Replaces the Request-URI.
    pub fn uri(&mut self, uri: &Uri) {
        self.0.uri = Some(uri.clone());
    }
}
