//! RFC 9457 — problem details: every error of the interface.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde_json::{Map, Value};
use std::fmt;

/// An error as `application/problem+json`; its `type` is `about:blank`, so its title is the phrase of the status.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    members: Map<String, Value>,
    allow: Option<&'static str>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let mut members = Map::new();
        members.insert("detail".into(), Value::String(detail.into()));
        Self { status, members, allow: None }
    }

    /// A parameter of query or path, or a key of the body, that cannot be used.
    pub(crate) fn parameter(status: StatusCode, name: &str, value: &str, expected: &str) -> Self {
        let value = clip(value);
        Self::new(status, format!("{name} = {value}: expected {expected}"))
            .with("parameter", name)
            .with("value", value)
            .with("expected", expected)
    }

    pub(crate) fn method(allow: &'static str) -> Self {
        let mut problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("only {allow} is answered here"));
        problem.allow = Some(allow);
        problem
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.into(), value.into());
        self
    }
}

/// What a person typed, short enough to repeat.
fn clip(value: &str) -> String {
    let mut shown: String = value.chars().take(80).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    shown
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.members.get("detail").and_then(Value::as_str).unwrap_or(""))
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut members = self.members.clone();
        members.insert("type".into(), "about:blank".into());
        members.insert("title".into(), self.status.canonical_reason().unwrap_or("Error").into());
        members.insert("status".into(), self.status.as_u16().into());
        let mut response = HttpResponseBuilder::new(self.status);
        response.content_type("application/problem+json");
        if let Some(allow) = self.allow {
            response.insert_header((header::ALLOW, allow));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"rollcall\""));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((header::RETRY_AFTER, "1"));
        }
        response.body(Value::Object(members).to_string())
    }
}
