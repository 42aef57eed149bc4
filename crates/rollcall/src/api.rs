//! The HTTP interface of a node, seen from the command line.

use crate::cli::Api;
use anyhow::{Context, anyhow, bail};
use serde_json::Value;
use std::fmt::Write;
use std::time::Duration;

/// A caller of one node.
pub(crate) struct Caller {
    base: String,
    token: Option<String>,
    agent: ureq::Agent,
}

/// An answer that the node gave, refusal or not.
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Caller {
    pub(crate) fn new(api: &Api) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_recv_response(Some(Duration::from_secs(15)))
            .build()
            .into();
        Self { base: api.api.clone(), token: api.token.clone(), agent }
    }

    /// GET; a refusal is an error.
    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.read(path)?.accepted()
    }

    /// GET of text that is no JSON.
    pub(crate) fn text(&self, path: &str) -> anyhow::Result<String> {
        let mut answer = self.open(path)?;
        let text = answer.body_mut().read_to_string().with_context(|| self.base.clone())?;
        if !answer.status().is_success() {
            let body = serde_json::from_str(&text).unwrap_or(Value::Null);
            Said { status: answer.status().as_u16(), body }.accepted()?;
        }
        Ok(text)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Said> {
        let mut request = self.agent.post(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        self.said(request.send_json(body).map_err(|error| self.unreachable(&error))?)
    }

    /// The answer itself, so that its body can be read as it comes.
    pub(crate) fn open(&self, path: &str) -> anyhow::Result<ureq::http::Response<ureq::Body>> {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        request.call().map_err(|error| self.unreachable(&error))
    }

    fn read(&self, path: &str) -> anyhow::Result<Said> {
        self.said(self.open(path)?)
    }

    pub(crate) fn said(&self, mut answer: ureq::http::Response<ureq::Body>) -> anyhow::Result<Said> {
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string().with_context(|| self.base.clone())?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        if body.is_null() && (200..300).contains(&status) {
            bail!("{} does not answer as a node of rollcall does", self.base);
        }
        Ok(Said { status, body })
    }

    fn unreachable(&self, error: &ureq::Error) -> anyhow::Error {
        anyhow!("no node answers at {} ({error}); is it running, and is --api right?", self.base)
    }
}

impl Said {
    /// The body, or the refusal as an error.
    pub(crate) fn accepted(self) -> anyhow::Result<Value> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        bail!("{}", self.refusal())
    }

    /// Why it was refused, in one line.
    pub(crate) fn refusal(&self) -> String {
        let detail = self.body["detail"].as_str().unwrap_or("refused without a reason");
        match self.status {
            401 => format!("{detail} (--token, or ROLLCALL_TOKEN)"),
            status => format!("{detail} ({status})"),
        }
    }
}

/// The path of a user, percent-encoded.
pub(crate) fn user(impi: &str, rest: &str) -> String {
    format!("/v1/users/{}{rest}", encode(impi))
}

/// Percent-encodes what is not unreserved.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~@".contains(&octet) {
            encoded.push(char::from(octet));
        } else {
            let _ = write!(encoded, "%{octet:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_encoded_for_a_path() {
        assert_eq!(user("a/b c%@d.e", "/watch"), "/v1/users/a%2Fb%20c%25@d.e/watch");
        assert_eq!(encode("+49&ü"), "%2B49%26%C3%BC");
    }
}
