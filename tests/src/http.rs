//! A small HTTP client that shows status and JSON body alike.

use serde_json::Value;
use std::time::Duration;

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)))
        .build()
        .into()
}

fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> anyhow::Result<(u16, Value)> {
    let mut answer = answer?;
    let status = answer.status().as_u16();
    let text = answer.body_mut().read_to_string()?;
    Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
}

/// GET; status and body, which is a JSON string where it is no JSON.
pub fn get(url: &str) -> anyhow::Result<(u16, Value)> {
    read(agent().get(url).call())
}

/// POST with a JSON body.
pub fn post(url: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
    read(agent().post(url).send_json(body))
}

/// PUT with a JSON body.
pub fn put(url: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
    read(agent().put(url).send_json(body))
}

/// POST of any octets with any content type.
pub fn post_raw(url: &str, content_type: &str, body: &[u8]) -> anyhow::Result<(u16, Value)> {
    read(agent().post(url).content_type(content_type).send(body))
}
