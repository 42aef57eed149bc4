//! RFC 3428 §4, RFC 3261 §11 — requests of a UE that make no dialog.

use super::{
    Error, Inner, locked,
    message::{Dialogue, Draft},
};
use crate::wire::{call_id, phrase, tag};
use rsip::Method;

/// A request that makes no dialog.
#[derive(Clone, Debug)]
pub struct Standalone {
    method: Method,
    to: String,
    body: String,
    /// Privacy, as `id`; then From is anonymous.
    pub privacy: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
}

impl Standalone {
    /// MESSAGE with plain text.
    pub fn message(to: &str, body: &str) -> Self {
        Self {
            method: Method::Message,
            to: to.to_owned(),
            body: body.to_owned(),
            privacy: None,
            headers: Vec::new(),
        }
    }

    /// OPTIONS.
    pub fn options(to: &str) -> Self {
        Self { method: Method::Options, body: String::new(), ..Self::message(to, "") }
    }
}

/// The final response to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// The usual words for it.
    pub reason: &'static str,
    /// P-Asserted-Identity.
    pub asserted: Vec<String>,
    /// Allow.
    pub allow: Vec<String>,
}

impl Inner {
    pub(super) async fn send_standalone(&self, request: Standalone) -> Result<Answer, Error> {
        let from = self.config.shown(request.privacy.is_some());
        let dialogue = Dialogue {
            from: format!("{from};tag={}", tag()),
            to: format!("<{}>", request.to),
            call_id: &call_id(),
            cseq: 1,
        };
        let routes = locked(&self.standing).service_route.clone();
        let mut draft =
            self.by_p_cscf(Draft::new(request.method, &request.to, dialogue).each("Route", &routes));
        if request.method == Method::Options {
            draft =
                draft.header("Contact", format!("<{}>", self.contact())).header("Accept", "application/sdp");
        }
        if let Some(privacy) = &request.privacy {
            draft = draft.header("Privacy", privacy);
        }
        for (name, value) in &request.headers {
            draft = draft.header(name, value);
        }
        if !request.body.is_empty() {
            draft = draft.body("text/plain", request.body);
        }
        let response = self.exchange(draft).await?;
        let status = response.status().unwrap_or(0);
        Ok(Answer {
            status,
            reason: phrase(status),
            asserted: response.elements("P-Asserted-Identity"),
            allow: response.elements("Allow"),
        })
    }
}
