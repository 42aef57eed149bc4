//! RFC 6733 §5.5.4, RFC 6733 §6.1.4, RFC 6733 §6.1.8 — the fate of a request: routing, failover, redirection.

use super::{LinkId, Output, Pool, link::Stage};
use crate::{
    Message, Tick,
    codes::{avp, result},
    cx,
    message::RETRANSMITTED,
    peer::Why,
};
use scscf::cx::ResultCode;

#[derive(Debug)]
pub(super) struct Pending {
    message: Message,
    token: u64,
    deadline: Tick,
    /// When it next needs attention; an entry of `Pool::wakes`.
    wake: Tick,
    last_link: Option<LinkId>,
    in_flight: u32,
    /// Each of these is done once.
    resent: bool,
    redirected: bool,
    realm_only: bool,
}

impl Pending {
    pub(super) const fn new(message: Message, token: u64, deadline: Tick) -> Self {
        Self {
            message,
            token,
            deadline,
            wake: deadline,
            last_link: None,
            in_flight: 0,
            resent: false,
            redirected: false,
            realm_only: false,
        }
    }

    /// TS 29.229 §5.5: to whoever serves the realm, since the host cannot be reached.
    fn drop_destination_host(&mut self) {
        self.realm_only = true;
        self.message = self.message.rewritten(|avp| !avp.is(avp::DESTINATION_HOST), |_| {});
    }

    /// RFC 6733 §6.1.8: to the host that the redirection names.
    fn redirect(&mut self, host: &str) {
        self.redirected = true;
        self.message = self.message.rewritten(
            |avp| !avp.is(avp::DESTINATION_HOST),
            |w| {
                w.text(avp::DESTINATION_HOST, host);
            },
        );
    }
}

impl Pool {
    /// Gives a request to a link, or lets it wait for one.
    pub(super) fn dispatch(&mut self, id: u64, now: Tick, out: &mut Vec<Output>) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        if let Some(host) = request.message.text(avp::DESTINATION_HOST) {
            let mut known = self.links.iter().filter(|link| link.is_host(host)).peekable();
            let down = known.peek().is_some() && known.all(|link| !link.is_open());
            if down && !request.realm_only {
                request.drop_destination_host();
            }
        }
        let Some(at) = self.choose(id) else {
            self.waiting.insert(id);
            self.set_wake(id, now.after(self.config.wait_for_connection_ms.into()));
            return;
        };
        let others = self.links.iter().enumerate().any(|(other, link)| other != at && link.is_open());
        let half = u64::from(self.config.request_timeout_ms / 2);
        let link = self.links[at].id;
        let Some(request) = self.requests.get_mut(&id) else { return };
        request.last_link = Some(link);
        request.in_flight += 1;
        let message = request.message.clone();
        let left = u32::try_from(request.deadline.0.saturating_sub(now.0)).unwrap_or(u32::MAX);
        let wake = if others && !request.resent { now.after(half) } else { request.deadline };
        self.set_wake(id, wake);
        let mut heard = Vec::new();
        if let Stage::Up(peer) = &mut self.links[at].stage {
            peer.request(message, id, left, now, &mut heard);
        }
        self.absorb(at, heard, now, out);
    }

    /// The host it is destined for if that is a peer, else the open link of best standing; another than last time if
    /// there is one.
    fn choose(&self, id: u64) -> Option<usize> {
        let request = self.requests.get(&id)?;
        let host = request.message.text(avp::DESTINATION_HOST);
        let open = self.links.iter().enumerate().filter(|(_, link)| link.is_open());
        let standing = open.min_by_key(|(at, link)| {
            let again = request.last_link == Some(link.id);
            let elsewhere = !host.is_some_and(|host| link.is_host(host));
            (again, elsewhere, link.is_suspect(), link.priority, *at)
        });
        standing.map(|(at, _)| at)
    }

    fn set_wake(&mut self, id: u64, wake: Tick) {
        if let Some(request) = self.requests.get_mut(&id) {
            self.wakes.remove(&(request.wake, id));
            request.wake = wake.min(request.deadline);
            self.wakes.insert((request.wake, id));
        }
    }

    /// Its time has come: to end, to be sent to another peer as well, or to give up waiting for one.
    pub(super) fn wake(&mut self, id: u64, now: Tick, out: &mut Vec<Output>) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        if now >= request.deadline {
            let why = if request.in_flight == 0 { Why::Disconnected } else { Why::TimedOut };
            self.finish(id, Err(why), out);
        } else if request.in_flight == 0 {
            self.finish(id, Err(Why::Disconnected), out);
        } else {
            let deadline = request.deadline;
            let last = request.last_link;
            self.set_wake(id, deadline);
            let another = self.choose(id).is_some_and(|at| Some(self.links[at].id) != last);
            if another {
                self.resend(id, now, out);
            }
        }
    }

    /// RFC 6733 §5.5.4: the same request, End-to-End identifier included, marked as a possible duplicate.
    fn resend(&mut self, id: u64, now: Tick, out: &mut Vec<Output>) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.resent = true;
            request.message.flags |= RETRANSMITTED;
            self.dispatch(id, now, out);
        }
    }

    /// A link will not answer it.
    pub(super) fn failed(&mut self, id: u64, why: Why, now: Tick, out: &mut Vec<Output>) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        request.in_flight = request.in_flight.saturating_sub(1);
        if request.in_flight > 0 {
            return;
        }
        match why {
            Why::Disconnected if !request.resent && !self.stopping => self.resend(id, now, out),
            Why::TimedOut | Why::Disconnected | Why::Overloaded | Why::TooLarge => {
                self.finish(id, Err(why), out)
            }
        }
    }

    /// A link has answered it; what only says that the way was wrong is followed up once.
    pub(super) fn answered(&mut self, id: u64, at: usize, answer: Message, now: Tick, out: &mut Vec<Output>) {
        let from = self.links[at].id;
        let others = self.links.iter().any(|link| link.is_open() && link.id != from);
        let Some(request) = self.requests.get_mut(&id) else { return };
        request.in_flight = request.in_flight.saturating_sub(1);
        let again = match cx::result_code(&answer) {
            Some(ResultCode::Base(result::UNABLE_TO_DELIVER | result::TOO_BUSY)) => {
                if request.in_flight > 0 {
                    return;
                }
                if request.message.find(avp::DESTINATION_HOST).is_some() && !request.realm_only {
                    request.drop_destination_host();
                    true
                } else if others && !request.resent {
                    request.resent = true;
                    true
                } else {
                    false
                }
            }
            Some(ResultCode::Base(result::REDIRECT_INDICATION)) if !request.redirected => {
                let host = answer.text(avp::REDIRECT_HOST).and_then(host_of);
                if let Some(host) = host {
                    request.redirect(host);
                }
                host.is_some()
            }
            _ => false,
        };
        if again {
            self.dispatch(id, now, out);
        } else {
            self.finish(id, Ok(answer), out);
        }
    }

    pub(super) fn finish(&mut self, id: u64, end: Result<Message, Why>, out: &mut Vec<Output>) {
        if let Some(request) = self.requests.remove(&id) {
            self.wakes.remove(&(request.wake, id));
            self.waiting.remove(&id);
            let token = request.token;
            out.push(match end {
                Ok(message) => Output::Answer { token, message },
                Err(why) => Output::Failed { token, why },
            });
        }
    }
}

/// The host of a DiameterURI, `aaa://host:port;transport=tcp`, or of a bare host.
fn host_of(uri: &str) -> Option<&str> {
    let rest = uri.strip_prefix("aaa://").or(uri.strip_prefix("aaas://")).unwrap_or(uri);
    let host = rest.split([':', ';']).next().unwrap_or_default();
    (!host.is_empty()).then_some(host)
}
