//! JSON bodies of requests: optional, small, with unknown keys refused.

use crate::problem::Problem;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, web};
use scscf::Span;
use serde_json::{Map, Value};
use std::time::Duration;

/// Octets of a body at most.
const LIMIT: usize = 16 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);
/// Characters of a reason at most: operators read it in one line.
const LONGEST_REASON: usize = 200;
/// Seconds of a period at most; the policy of the node never allows more.
const LONGEST_PERIOD: u64 = 86_400;

/// What `POST .../reauthenticate` may say.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Demand {
    pub(crate) period: Option<Span>,
    pub(crate) reason: Option<Box<str>>,
}

/// Reads `{"period_s":60,"reason":"..."}`, both optional.
pub(crate) async fn demand(request: &HttpRequest, payload: web::Payload) -> Result<Demand, Problem> {
    let mut members = object(request, payload, "period_s, reason").await?;
    let period = match members.remove("period_s") {
        None | Some(Value::Null) => None,
        Some(value) => match value.as_u64() {
            Some(seconds @ 1..=LONGEST_PERIOD) => Some(Span::seconds(seconds)),
            _ => return Err(bad("period_s", &value, "a whole number of seconds from 1 to 86400")),
        },
    };
    let reason = reason(&mut members)?;
    nothing_else(&members, "period_s, reason")?;
    Ok(Demand { period, reason })
}

/// Reads `{"reason":"..."}`, optional.
pub(crate) async fn only_reason(
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<Option<Box<str>>, Problem> {
    let mut members = object(request, payload, "reason").await?;
    let reason = reason(&mut members)?;
    nothing_else(&members, "reason")?;
    Ok(reason)
}

/// Refuses a body that says anything.
pub(crate) async fn nothing(request: &HttpRequest, payload: web::Payload) -> Result<(), Problem> {
    let members = object(request, payload, "nothing").await?;
    nothing_else(&members, "nothing")
}

fn reason(members: &mut Map<String, Value>) -> Result<Option<Box<str>>, Problem> {
    const EXPECTED: &str = "one line of text of at most 200 characters";
    match members.remove("reason") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text))
            if text.chars().count() <= LONGEST_REASON && !text.chars().any(char::is_control) =>
        {
            Ok((!text.trim().is_empty()).then(|| text.trim().into()))
        }
        Some(value) => Err(bad("reason", &value, EXPECTED)),
    }
}

fn nothing_else(members: &Map<String, Value>, known: &str) -> Result<(), Problem> {
    match members.iter().next() {
        None => Ok(()),
        Some((name, value)) => Err(bad(name, value, &format!("no such key; known: {known}"))),
    }
}

fn bad(name: &str, value: &Value, expected: &str) -> Problem {
    Problem::parameter(StatusCode::UNPROCESSABLE_ENTITY, name, &value.to_string(), expected)
}

async fn object(
    request: &HttpRequest,
    payload: web::Payload,
    known: &str,
) -> Result<Map<String, Value>, Problem> {
    let octets = match tokio::time::timeout(PATIENCE, payload.to_bytes_limited(LIMIT)).await {
        Err(_) => return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in 5 s")),
        Ok(Err(_)) => {
            let detail = format!("the body is larger than {LIMIT} octets");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
        Ok(Ok(Err(error))) => {
            return Err(Problem::new(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}")));
        }
        Ok(Ok(Ok(octets))) => octets,
    };
    if octets.is_empty() {
        return Ok(Map::new());
    }
    let kind = request.headers().get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
    let essence = kind.unwrap_or("none").split(';').next().unwrap_or("").trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Problem::parameter(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Content-Type",
            essence,
            "application/json",
        ));
    }
    match serde_json::from_slice(&octets) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("the body is no JSON object; expected an object with {known}"),
        )),
        Err(error) => Err(Problem::new(StatusCode::BAD_REQUEST, format!("the body is no JSON: {error}"))),
    }
}
