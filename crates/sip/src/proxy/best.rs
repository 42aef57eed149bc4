//! RFC 3261 §16.7 — the one final response that goes back when no branch gave a 2xx.

use super::context::{Context, Final};
use crate::{Name, Request, Response, Status};

/// Responses that tell the sender how to ask again (step 6), the most telling first.
const TELLING: [Status; 5] = [
    Status::UNAUTHORIZED,
    Status::PROXY_AUTHENTICATION_REQUIRED,
    Status::UNSUPPORTED_MEDIA_TYPE,
    Status::BAD_EXTENSION,
    Status::ADDRESS_INCOMPLETE,
];

impl Context {
    /// The best of what the branches answered (steps 6 and 7): a 6xx, else one of the lowest class, in it rather one that
    /// tells how to ask again; of equals that of the branch opened first. A 503 becomes 500, as it speaks of another server
    /// than this one, and keeps its Retry-After (§21.5.1). Without any answer it is 408. A 401 or 407 carries the challenges of all of them.
    ///
    /// `request` is the one to answer, as it was received: where nobody sent the response it is made of that, with `to_tag`.
    pub fn best(&self, request: &Request, to_tag: &str) -> Response {
        // `min_by_key` keeps the first of equals.
        let best = self.kept().min_by_key(|kept| rank(kept));
        match best {
            None => request.respond(Status::REQUEST_TIMEOUT, to_tag).finish(),
            Some(kept) if kept.status() == Status::SERVICE_UNAVAILABLE => {
                let failed = request.respond(Status::SERVER_INTERNAL_ERROR, to_tag);
                match kept {
                    Final::Sent(sent) => match sent.get(Name::RetryAfter) {
                        Some(after) => failed.header(Name::RetryAfter, after).finish(),
                        None => failed.finish(),
                    },
                    Final::Nobodys(_) => failed.finish(),
                }
            }
            Some(Final::Nobodys(failure)) => request.respond(failure.status(), to_tag).finish(),
            Some(Final::Sent(response)) if challenges(response) => self.with_all_challenges(response),
            Some(Final::Sent(response)) => response.clone(),
        }
    }

    fn with_all_challenges(&self, best: &Response) -> Response {
        let others = self.kept().filter_map(|kept| match kept {
            Final::Sent(other) if challenges(other) && !std::ptr::eq(other, best) => Some(other),
            Final::Sent(_) | Final::Nobodys(_) => None,
        });
        let mut edit = None;
        for other in others {
            let edit = edit.get_or_insert_with(|| best.edit());
            for name in [Name::WwwAuthenticate, Name::ProxyAuthenticate] {
                for challenge in other.lines(name) {
                    edit.append(name, challenge);
                }
            }
        }
        edit.map_or_else(|| best.clone(), |edit| edit.finish())
    }
}

fn challenges(response: &Response) -> bool {
    matches!(response.status(), Status::UNAUTHORIZED | Status::PROXY_AUTHENTICATION_REQUIRED)
}

/// The lower, the better.
fn rank(kept: &Final) -> (u16, usize) {
    let status = kept.status();
    let class = if status.class() == 6 { 0 } else { status.class() };
    let within = match TELLING.iter().position(|&telling| telling == status) {
        Some(telling) => telling,
        // That we waited in vain, gave up or met an overloaded server says less than what anybody answered.
        None => match (kept, status) {
            (_, Status::REQUEST_TERMINATED) => TELLING.len() + 1,
            (Final::Nobodys(_), _) => TELLING.len() + 3,
            (_, Status::REQUEST_TIMEOUT | Status::SERVICE_UNAVAILABLE) => TELLING.len() + 2,
            _ => TELLING.len(),
        },
    };
    (class, within)
}
