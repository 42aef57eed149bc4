//! Who may ask: the bearer token, and protection of the loopback interface from pages of other origins.

use crate::http::Desk;
use crate::problem::Problem;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{StatusCode, header};
use actix_web::middleware::Next;
use actix_web::{Error, web};
use std::net::IpAddr;
use subtle::ConstantTimeEq;

/// Lets a request pass, or refuses it with 401 or 403.
pub(crate) async fn admit(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let Some(desk) = request.app_data::<web::Data<Desk>>() else {
        return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no desk").into());
    };
    same_origin(&request, desk.token.is_some())?;
    if let Some(token) = &desk.token
        && is_closed(request.path())
    {
        bearer(&request, token)?;
    }
    next.call(request).await
}

/// What needs the token where there is one. Probes, the description of the interface and the empty page do not.
fn is_closed(path: &str) -> bool {
    path.starts_with("/v1/") || path == "/metrics"
}

fn bearer(request: &ServiceRequest, token: &str) -> Result<(), Problem> {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, given)| given.trim());
    match given {
        None => Err(Problem::new(StatusCode::UNAUTHORIZED, "expected Authorization: Bearer with the token")),
        Some(given) if bool::from(given.as_bytes().ct_eq(token.as_bytes())) => Ok(()),
        Some(_) => Err(Problem::new(StatusCode::UNAUTHORIZED, "the token is wrong")),
    }
}

/// A browser on this machine may show pages of anybody: none of them may speak to us, by no name of ours.
fn same_origin(request: &ServiceRequest, has_token: bool) -> Result<(), Problem> {
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or("");
    if !has_token && !host.is_empty() && !is_loopback(host) {
        let expected = "a loopback address or localhost, because no token is configured";
        return Err(Problem::parameter(StatusCode::FORBIDDEN, "Host", host, expected));
    }
    let Some(origin) = request.headers().get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or("");
    let named = origin.split_once("://").map_or("", |(_, authority)| authority);
    if named.eq_ignore_ascii_case(host) {
        return Ok(());
    }
    Err(Problem::parameter(StatusCode::FORBIDDEN, "Origin", origin, "the origin of this interface"))
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "127.8.9.1", "[::1]:8080", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example", "10.0.0.1:8080", "[2001:db8::1]:1", "127.0.0.1.nip.io"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
