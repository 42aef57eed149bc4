//! What an application server was sent.

use crate::{locked, wire::Text};
use serde::Serialize;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
};

/// How many requests are kept.
const MOST: usize = 10_000;

/// A request that came, retransmissions aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Counted from 1.
    pub number: u64,
    /// When, RFC 3339.
    pub at: String,
    /// Method.
    pub method: String,
    /// Request-URI.
    pub uri: String,
    /// Route, in order.
    pub routes: Vec<String>,
    /// P-Served-User.
    pub served_user: Option<String>,
    /// From.
    pub from: String,
    /// To.
    pub to: String,
    /// Call-ID.
    pub call_id: String,
    /// Number of CSeq.
    pub cseq: u32,
    /// Content-Type.
    pub content_type: Option<String>,
    /// The body.
    pub body: String,
    /// The whole message.
    pub text: String,
}

impl Entry {
    fn of(number: u64, request: &Text) -> Self {
        let some = |name: &str| Some(request.value(name).to_owned()).filter(|value| !value.is_empty());
        Self {
            number,
            at: jiff::Timestamp::now().to_string(),
            method: request.method().to_owned(),
            uri: request.uri().to_owned(),
            routes: request.elements("Route").map(str::to_owned).collect(),
            served_user: some("P-Served-User"),
            from: request.value("From").to_owned(),
            to: request.value("To").to_owned(),
            call_id: request.value("Call-ID").to_owned(),
            cseq: request.cseq().0,
            content_type: some("Content-Type"),
            body: String::from_utf8_lossy(&request.body).into_owned(),
            text: String::from_utf8_lossy(request.raw()).into_owned(),
        }
    }

    /// Values of the header lines of that name.
    pub fn header(&self, name: &str) -> Vec<String> {
        let text = Text::read(self.text.as_bytes());
        text.map(|text| text.values(name).map(str::to_owned).collect()).unwrap_or_default()
    }
}

#[derive(Debug, Default)]
pub(super) struct Journal(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    entries: VecDeque<Entry>,
    last: u64,
}

impl Journal {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        locked(&self.0)
    }

    pub(super) fn enter(&self, request: &Text) {
        let mut pages = self.pages();
        pages.last += 1;
        let entry = Entry::of(pages.last, request);
        if pages.entries.len() == MOST {
            pages.entries.pop_front();
        }
        pages.entries.push_back(entry);
    }

    /// The entries after that number, of that method if one is named.
    pub(super) fn after(&self, number: u64, method: Option<&str>) -> Vec<Entry> {
        let wanted =
            |entry: &&Entry| entry.number > number && method.is_none_or(|method| entry.method == method);
        self.pages().entries.iter().filter(wanted).cloned().collect()
    }

    pub(super) fn clear(&self) {
        self.pages().entries.clear();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_latest_are_kept_and_told_apart() {
        let text = "REGISTER sip:as SIP/2.0\r\nv: x\r\nFrom: a\r\nTo: b\r\nCall-ID: c\r\nCSeq: 7 REGISTER\r\nP-Served-User: <sip:a@x>\r\n\
                    Route: <sip:a;lr>, <sip:b;lr>\r\nContent-Type: message/sip\r\nContent-Length: 2\r\n\r\nhi";
        let request = Text::read(text.as_bytes()).unwrap();
        let journal = Journal::default();
        for _ in 0..MOST + 5 {
            journal.enter(&request);
        }
        let all = journal.after(0, None);
        assert_eq!((all.len(), all[0].number), (MOST, 6));
        let entry = journal.after(u64::try_from(MOST).unwrap() + 4, Some("REGISTER")).pop().unwrap();
        assert_eq!((entry.routes.len(), entry.cseq, entry.body.as_str()), (2, 7, "hi"));
        assert_eq!(
            (entry.served_user.as_deref(), entry.header("via")),
            (Some("<sip:a@x>"), vec!["x".into()])
        );
        assert!(journal.after(0, Some("INVITE")).is_empty());
        journal.clear();
        assert!(journal.after(0, None).is_empty());
    }
}
