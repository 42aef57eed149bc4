//! RFC 3261 §16.6, §16.7 — the top Via alone put on, taken off or rewritten, as every hop does: everything else is copied in
//! two pieces and moved in the index.

use crate::{
    Headers, Name, Request,
    header::{params, via},
    headers::{Index, Line, Span, Tag},
    lexis,
    raw::Raw,
};
use bytes::Bytes;
use smallvec::SmallVec;
use std::{borrow::Cow, fmt::Write, net::IpAddr, sync::Arc};

impl Headers {
    /// The same with another Via above all others; of a message without any, above everything.
    pub(crate) fn with_top_via(&self, via: &str) -> Self {
        let mut raw = Raw::lines(160);
        raw.line(Name::Via, via);
        self.spliced(self.first_via().map_or(0, |(at, _)| at), false, &raw)
    }

    /// The same without the first Via value, and without its line if there is no other in it.
    pub(crate) fn without_top_via(&self) -> Self {
        let Some((at, line)) = self.first_via() else { return self.clone() };
        let value = self.octets(line.value_span());
        let from = value.iter().take_while(|&&b| b == b',' || b.is_ascii_whitespace()).count();
        let mut raw = Raw::default();
        if let Some(comma) = lexis::find_separator(value, from, b',') {
            let rest = value[comma + 1..].trim_ascii();
            if !rest.is_empty() {
                raw.octets(Name::Via, rest);
            }
        }
        self.spliced(at, true, &raw)
    }

    fn with_source(&self, ip: IpAddr, rport: Option<u16>) -> Option<Self> {
        let (at, line) = self.first_via()?;
        let text = str::from_utf8(self.octets(line.value_span())).ok()?;
        let (top, others) = match lexis::find_separator(text.as_bytes(), 0, b',') {
            Some(comma) => text.split_at(comma),
            None => (text, ""),
        };
        let top = lexis::unfold(lexis::trim(top));
        let spans = via::scan(&top).ok()?;
        let (from, to) = spans.host();
        let host = top[from..to].trim_start_matches('[').trim_end_matches(']');
        let says_so = host.parse::<IpAddr>().is_ok_and(|host| host == ip);
        let (before, params) = top.split_at(spans.params());

        let mut value = String::with_capacity(text.len() + 80);
        value.push_str(before.trim_end());
        let mut unfilled = rport;
        for (name, old) in params::pairs(params) {
            if name.eq_ignore_ascii_case("received") {
                continue;
            }
            // Writing into a String cannot fail.
            if rport.is_some() && name.eq_ignore_ascii_case("rport") {
                let _ = unfilled.take().map_or(Ok(()), |port| write!(value, ";{name}={port}"));
                continue;
            }
            value.push(';');
            value.push_str(name);
            if let Some(old) = old {
                value.push('=');
                value.push_str(old);
            }
        }
        if !says_so || rport.is_some() {
            let _ = write!(value, ";received={ip}");
        }
        let _ = unfilled.map_or(Ok(()), |port| write!(value, ";rport={port}"));
        value.push_str(others);
        let mut raw = Raw::lines(text.len() + 80);
        raw.octets(Name::Via, value.as_bytes());
        Some(self.spliced(at, true, &raw))
    }

    /// The branch of the top Via.
    pub(crate) fn top_branch(&self) -> Option<Cow<'_, str>> {
        let (_, line) = self.first_via()?;
        match self.value(line)? {
            Cow::Borrowed(text) => branch(text).map(Cow::Borrowed),
            Cow::Owned(text) => branch(&text).map(|branch| Cow::Owned(branch.to_owned())),
        }
    }

    fn first_via(&self) -> Option<(usize, &Line)> {
        self.index.lines.iter().enumerate().find(|(_, line)| line.name == Some(Name::Via))
    }

    /// Puts `fresh`, a line or nothing, where line `at` begins; that one stays below it or goes.
    fn spliced(&self, at: usize, replace: bool, fresh: &Raw) -> Self {
        let known = &*self.index;
        if fresh.check().is_err() {
            // A line beyond every limit: the message stays as it is.
            return self.clone();
        }
        let fresh_line = fresh.all().first();
        let fresh = fresh_line.map_or(&[][..], |line| fresh.at(line.span()));
        let begin = known.lines.get(at).map_or(known.head_end, |line| line.start);
        let gone = known.lines.get(at).filter(|_| replace).map_or(0, |line| u32::from(line.len));
        let (resume, length) = (begin + gone, fresh.len() as u32);
        let mut out = Vec::with_capacity(self.bytes.len() - gone as usize + fresh.len());
        out.extend_from_slice(self.octets((0, begin)));
        out.extend_from_slice(fresh);
        out.extend_from_slice(&self.bytes[resume as usize..]);

        let moved = |place: u32| if place >= resume { place - gone + length } else { place };
        let span = |(from, to): Span| (moved(from), moved(to));
        let mut lines = SmallVec::with_capacity(known.lines.len() + 1);
        lines.extend_from_slice(&known.lines[..at.min(known.lines.len())]);
        lines.extend(fresh_line.map(|line| Line { start: begin, ..*line }));
        let below = known.lines.iter().skip(at + usize::from(replace));
        lines.extend(below.map(|line| Line { start: moved(line.start), ..*line }));
        let tag = |tag: &Tag| match tag {
            Tag::Absent => Tag::Absent,
            Tag::At(place) => Tag::At(span(*place)),
            Tag::Unfolded(text) => Tag::Unfolded(text.clone()),
        };
        let index = Index {
            start: known.start.clone(),
            lines,
            head_end: moved(known.head_end),
            body: moved(known.body),
            cseq: known.cseq.clone(),
            call_id: span(known.call_id),
            from_tag: tag(&known.from_tag),
            to_tag: tag(&known.to_tag),
            uri: known.uri.clone(),
        };
        Self { bytes: Bytes::from(out), index: Arc::new(index) }
    }
}

fn branch(line: &str) -> Option<&str> {
    let end = lexis::find_separator(line.as_bytes(), 0, b',').unwrap_or(line.len());
    let top = lexis::trim(&line[..end]);
    let spans = via::scan(top).ok()?;
    let (_, value) =
        params::pairs(&top[spans.params()..]).find(|(name, _)| name.eq_ignore_ascii_case("branch"))?;
    value.map(params::bare)
}

impl Request {
    /// RFC 3261 §18.2.1, RFC 3581 §4: the same with where it came from in its top Via, `received` when sent-by does not say
    /// so or `rport` is given, `rport` when given. Other values and parameters stay as they came.
    pub fn received_from(&self, ip: IpAddr, rport: Option<u16>) -> Self {
        Self(self.with_source(ip, rport).unwrap_or_else(|| Headers::clone(self)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Message;

    /// What the general way of changing a message says.
    fn same(fast: Headers, slow: Request, text: &str) {
        assert_eq!(fast.bytes, *slow.as_bytes(), "{text}");
        let read = match Message::parse_datagram(slow.as_bytes().clone()) {
            Ok(Message::Request(read)) => read,
            // Without any Via it is no message.
            _ => slow.clone(),
        };
        for known in [&slow, &read] {
            assert_eq!(fast.from_tag(), known.from_tag(), "{text}");
            assert_eq!(fast.to_tag(), known.to_tag());
            assert_eq!(
                (fast.call_id(), fast.cseq(), fast.body()),
                (known.call_id(), known.cseq(), known.body())
            );
            assert!(fast.all().eq(known.all()), "{text}");
        }
        assert_eq!(Request(fast).uri(), slow.uri());
    }

    #[test]
    fn the_short_way_gives_what_the_long_way_gives() {
        for vias in [
            "Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\n",
            "v: SIP/2.0/UDP a;branch=z9hG4bK1 , SIP/2.0/UDP b\r\nMax-Forwards: 3\r\nVia: SIP/2.0/TCP c\r\n",
            "Subject: x\r\nVia: SIP/2.0/UDP a;x=\"1,2\"\r\nVia:\r\n SIP/2.0/UDP b\r\n",
            "Via: SIP/2.0/UDP a,SIP/2.0/UDP b,\r\n SIP/2.0/UDP c\r\n",
        ] {
            for folded in ["", "\r\n "] {
                let text = format!(
                    "OPTIONS sip:b@h SIP/2.0\r\n{vias}From: <sip:a@h>{folded};tag=f\r\nTo: <sip:b@h>;tag=t\r\n\
                     Call-ID: c1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 4\r\n\r\nbody"
                );
                let Message::Request(request) = Message::parse_datagram(Bytes::from(text.clone())).unwrap()
                else {
                    panic!("a request")
                };
                let slow = |change: fn(&mut crate::RequestEdit)| {
                    let mut edit = request.edit();
                    change(&mut edit);
                    edit.finish()
                };
                let value = "SIP/2.0/UDP us;branch=z9hG4bKus";
                same(
                    request.with_top_via(value),
                    slow(|edit| edit.push_top(Name::Via, "SIP/2.0/UDP us;branch=z9hG4bKus")),
                    &text,
                );
                same(request.without_top_via(), slow(|edit| edit.remove_top_value(Name::Via)), &text);
                let twice = request.with_top_via(value).without_top_via();
                assert_eq!(twice.bytes, *request.as_bytes());
                assert!(twice.all().eq(request.all()));
                assert_eq!(request.top_branch().as_deref(), request.via().branch());
                let received = request.received_from("192.0.2.9".parse().unwrap(), Some(5099));
                assert!(request.vias().skip(1).eq(received.vias().skip(1)));
                assert_eq!((received.to_tag(), received.body()), (Some("t"), &b"body"[..]));
                let read = Message::parse_datagram(received.as_bytes().clone()).unwrap();
                assert!(received.all().eq(read.headers().all()));
            }
        }
    }

    #[test]
    fn where_it_came_from() {
        let received = |via: &str, ip: &str, rport: Option<u16>| {
            let uri = crate::Uri::parse("sip:a").unwrap();
            let request = Request::build(crate::Method::Options, &uri).header(Name::Via, via).finish();
            request.received_from(ip.parse().unwrap(), rport).get(Name::Via).unwrap().into_owned()
        };
        for (via, ip, rport, want) in [
            ("SIP/2.0/UDP h:1 ; branch=z", "192.0.2.9", None, "SIP/2.0/UDP h:1;branch=z;received=192.0.2.9"),
            ("SIP/2.0/UDP 192.0.2.9;branch=z", "192.0.2.9", None, "SIP/2.0/UDP 192.0.2.9;branch=z"),
            ("SIP/2.0/UDP 192.0.2.9;received=1.2.3.4", "192.0.2.9", None, "SIP/2.0/UDP 192.0.2.9"),
            (
                "SIP/2.0/UDP 192.0.2.9;rport;branch=z",
                "192.0.2.9",
                Some(7),
                "SIP/2.0/UDP 192.0.2.9;rport=7;branch=z;received=192.0.2.9",
            ),
            (
                "SIP/2.0/UDP h, SIP/2.0/TCP x",
                "::1",
                Some(7),
                "SIP/2.0/UDP h;received=::1;rport=7, SIP/2.0/TCP x",
            ),
            ("SIP/2.0/UDP [2001:db8::1]:5;x", "2001:db8:0::1", None, "SIP/2.0/UDP [2001:db8::1]:5;x"),
            ("SIP/2.0/UDP h;rport=1;x;rport", "1.2.3.4", Some(9), "SIP/2.0/UDP h;rport=9;x;received=1.2.3.4"),
            ("no via", "1.2.3.4", Some(9), "no via"),
        ] {
            assert_eq!(received(via, ip, rport), want);
        }
    }

    #[test]
    fn without_a_via_there_is_none_to_take() {
        let bare = Request::build(crate::Method::Ack, &crate::Uri::parse("sip:a").unwrap()).finish();
        assert_eq!(bare.without_top_via().bytes, *bare.as_bytes());
        assert_eq!(bare.with_top_via("SIP/2.0/UDP a").via().host.as_ref(), "a");
    }
}
