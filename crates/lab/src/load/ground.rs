//! What all procedures of a run stand on: the users, what they have in common, and the way out.

use super::{
    Plan,
    arrival::{ORIGINATING, beyond},
    entries::Entries,
    mark::{Branch, Kind, Mark},
    outbox::Outbox,
    tally::Causes,
    text::Text,
    timers::{GIVE_UP, Timers, Wait},
    user::User,
};
use crate::{aka::Key, provisioning::generated_name, wire::text::uri};
use std::{collections::BTreeMap, fmt, io::Write, net::SocketAddr, time::Duration};
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Ground {
    pub(super) now: Instant,
    pub(super) domain: String,
    /// Request-URI of REGISTER.
    pub(super) registrar: String,
    pub(super) entries: Entries,
    pub(super) expires: u32,
    /// Whether who registers subscribes to its registration state, to stay.
    pub(super) subscribes: bool,
    pub(super) key: Key,
    /// Tells the messages of one run from those of another.
    pub(super) run: u32,
    /// What every INVITE and every 200 (OK) to one carries.
    pub(super) sdp: String,
    /// Callers first, then as many who are called.
    pub(super) users: Vec<User>,
    /// How many of them are callers.
    callers: u32,
    /// Addresses of the sockets as they stand in messages; callees have the second half.
    addresses: Vec<String>,
    pub(super) outbox: Outbox,
    pub(super) timers: Timers,
    pub(super) seen: Seen,
}

/// What came that belongs to no kind of procedure.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) repeated: u64,
    pub(super) late: u64,
    pub(super) unexpected: Causes,
    /// Final responses by status.
    pub(super) responses: BTreeMap<u16, u64>,
}

impl Ground {
    /// Everybody of the plan, at home on these sockets; with `callees`, as many again who are called.
    pub(super) fn new(plan: &Plan, sockets: &[SocketAddr], callees: bool) -> Self {
        let now = Instant::now();
        let all = if callees { plan.users.saturating_mul(2) } else { plan.users };
        let numbers = plan.first..plan.first.saturating_add(all);
        let own = sockets.first().or(plan.proxies.first()).map_or([127, 0, 0, 1].into(), SocketAddr::ip);
        let family = if own.is_ipv4() { "IP4" } else { "IP6" };
        let run = rand::random();
        Self {
            now,
            registrar: format!("sip:{}", plan.domain),
            domain: plan.domain.clone(),
            entries: Entries::new(&plan.proxies, plan.entry, all as usize, run),
            expires: plan.expires,
            subscribes: plan.subscribe,
            key: plan.credentials.key(),
            run,
            sdp: format!(
                "v=0\r\no=- 1 1 IN {family} {own}\r\ns=-\r\nc=IN {family} {own}\r\nt=0 0\r\nm=audio 49170 RTP/AVP 8\r\n"
            ),
            users: numbers.map(|number| User::new(generated_name(number), now)).collect(),
            callers: plan.users,
            addresses: sockets.iter().map(SocketAddr::to_string).collect(),
            outbox: Outbox::default(),
            timers: Timers::default(),
            seen: Seen::default(),
        }
    }

    pub(super) fn mark(&self, kind: Kind, place: u32, serial: u32) -> Mark {
        Mark { run: self.run, kind, place, serial }
    }

    /// The socket at which a user is at home.
    pub(super) fn socket_of(&self, user: u32) -> u16 {
        let all = self.addresses.len() as u32;
        let split = self.users.len() as u32 > self.callers;
        let socket = match (split, user.checked_sub(self.callers)) {
            (false, _) => user % all,
            (true, None) => user % (all / 2),
            (true, Some(callee)) => all / 2 + callee % (all / 2),
        };
        socket as u16
    }

    /// Its address.
    pub(super) fn address_of(&self, user: u32) -> &str {
        &self.addresses[usize::from(self.socket_of(user))]
    }

    pub(super) fn user(&self, user: u32) -> &User {
        &self.users[user as usize]
    }

    /// What a user's next request waits for.
    pub(super) fn fresh(&mut self, user: u32) -> Wait {
        Wait::sent(self.now).towards(Some(self.entries.choose(user, self.now)))
    }

    /// Whether a request of a user that was not answered is sent again, and then to another node if there is one.
    pub(super) fn again(&mut self, user: u32, wait: &mut Wait, longest: Duration) -> bool {
        let again = wait.again(self.now, longest);
        if let Some(former) = wait.to {
            self.entries.unanswered(former, wait.since, self.now);
            if again {
                wait.to = Some(self.entries.elsewhere(user, former, self.now));
            }
        }
        again
    }

    /// RFC 3261 §20.33, §21.5.4 — when the network asks that a request be made anew, before `begun` is too long ago.
    pub(super) fn anew_at(&self, status: u16, text: &Text<'_>, begun: Instant) -> Option<Instant> {
        let after = text.retry_after.filter(|_| matches!(status, 500 | 503))?;
        let at = self.now + Duration::from_secs(after.into());
        (at < begun + GIVE_UP).then_some(at)
    }

    /// Sends a request of a user's to a node.
    pub(super) fn send(&mut self, user: u32, to: Option<u16>, write: impl FnOnce(&Self, &mut Vec<u8>)) {
        if let Some(to) = to {
            self.put(self.socket_of(user), self.entries.address(to), write);
        }
    }

    /// Sends what `write` writes from a socket.
    pub(super) fn put(&mut self, socket: u16, to: SocketAddr, write: impl FnOnce(&Self, &mut Vec<u8>)) {
        let mut outbox = std::mem::take(&mut self.outbox);
        outbox.put(socket, to, |out| write(self, out));
        self.outbox = outbox;
    }

    /// Answers a request from what stands in it; a tag in To that is missing is made of its Call-ID.
    pub(super) fn answer(&mut self, socket: u16, to: SocketAddr, text: &Text<'_>, line: &str) {
        self.outbox.put(socket, to, |out| {
            let _ = write!(out, "SIP/2.0 {line}\r\n");
            echo(out, text);
            out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        });
    }

    /// The first lines of a request of a user's.
    pub(super) fn write_head(
        &self,
        user: u32,
        method: &str,
        uri: impl fmt::Display,
        branch: Branch,
        out: &mut Vec<u8>,
    ) {
        let local = self.address_of(user);
        let _ = write!(out, "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch={branch};rport\r\n");
    }

    /// The Route line with which a user begins, by its Service-Route.
    pub(super) fn write_service_route(&self, user: u32, out: &mut Vec<u8>) {
        let route = &self.user(user).service_route;
        if !route.is_empty() {
            let _ = write!(out, "Route: {route}\r\n");
        }
    }

    /// Caller and callee of call or message `number`: callers take turns, and in every round each has another. An
    /// error says why these two cannot talk.
    pub(super) fn pair(&self, number: u32) -> Result<(u32, u32), &'static str> {
        let pairs = self.callers;
        let caller = number % pairs;
        let callee = pairs + (caller + number / pairs % pairs) % pairs;
        match (self.user(caller).registered, self.user(callee).registered) {
            (false, _) => Err("the caller is not registered"),
            (_, false) => Err("the callee is not registered"),
            (true, true) => Ok((caller, callee)),
        }
    }
}

/// What a side needs for requests within a dialog.
#[derive(Debug)]
pub(super) struct Dialog {
    /// Request-URI.
    pub(super) target: String,
    /// The Route line, or nothing.
    pub(super) route: Vec<u8>,
    /// Values of From and To as this side writes them.
    pub(super) from: String,
    pub(super) to: String,
}

impl Dialog {
    /// The remote target is the contact of `text`.
    pub(super) fn new<'a>(
        text: &Text<'_>,
        set: impl Iterator<Item = &'a str>,
        from: String,
        to: String,
    ) -> Self {
        let mut route = Vec::new();
        route_line(set, &mut route);
        Self { target: uri(text.contact).to_owned(), route, from, to }
    }

    /// Of the side that asked, from a 2xx (RFC 3261 §12.1.2); whether its route set begins with the P-CSCF's.
    pub(super) fn answered(ground: &Ground, user: u32, text: &Text<'_>) -> (bool, Self) {
        let (own, set) = beyond(ground, user, ORIGINATING, text.record_routes.iter().rev().copied());
        (own, Self::new(text, set.into_iter(), text.from.to_owned(), text.to.to_owned()))
    }
}

/// RFC 3261 §8.2.6.2 — what a response repeats of its request.
pub(super) fn echo(out: &mut Vec<u8>, text: &Text<'_>) {
    for via in &text.vias {
        let _ = write!(out, "Via: {via}\r\n");
    }
    let _ = write!(out, "From: {}\r\nTo: {}", text.from, text.to);
    if text.to_tag().is_empty() {
        let _ = write!(out, ";tag=t{}", text.call_id);
    }
    let _ = write!(out, "\r\nCall-ID: {}\r\nCSeq: {} {}\r\n", text.call_id, text.cseq, text.method);
}

/// A Route line of these elements, or nothing.
fn route_line<'a>(elements: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    let start = out.len();
    for element in elements {
        let _ = write!(out, "{}{element}", if out.len() == start { "Route: " } else { ", " });
    }
    if out.len() > start {
        out.extend_from_slice(b"\r\n");
    }
}
