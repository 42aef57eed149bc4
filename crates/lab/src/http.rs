//! What the HTTP servers of the lab say: JSON, and errors as RFC 9457 has them.

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header::ContentType},
};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt;

/// An error: a status code, and what is wrong.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
}

impl Problem {
    pub(crate) fn new(status: u16, detail: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, detail: detail.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let body = serde_json::json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        HttpResponse::build(self.status).content_type("application/problem+json").body(body.to_string())
    }
}

/// Answers a request for what there is not.
pub(crate) async fn nothing_here() -> HttpResponse {
    Problem::new(404, "there is nothing here").error_response()
}

/// Reads a JSON body.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::new(400, error.to_string()))
}

/// 200 (OK) with a JSON body.
pub(crate) fn json(value: &impl Serialize) -> Result<HttpResponse, Problem> {
    let body = serde_json::to_string(value).map_err(|error| Problem::new(500, error.to_string()))?;
    Ok(HttpResponse::Ok().content_type(ContentType::json()).body(body))
}
