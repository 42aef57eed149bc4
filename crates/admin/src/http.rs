//! The routes: each turns a request into a question for the node, and its answer into JSON.
#![allow(clippy::wildcard_enum_match_arm, reason = "an answer to another question is one case: astray")]

use crate::ask::{Answer, Ask, Node};
use crate::problem::Problem;
use crate::{body, dashboard, gate, openapi, query, watch};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, Route, guard, middleware, web};
use scscf::Told;
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Watches at once: each holds a connection and a queue.
const WATCHERS: usize = 512;
/// A node answers at once or says that it cannot; this is for one that does neither.
const PATIENCE: Duration = Duration::from_secs(10);

/// What every request needs.
pub(crate) struct Desk {
    node: Arc<dyn Node>,
    pub(crate) token: Option<String>,
    watchers: Arc<Semaphore>,
}

impl Desk {
    pub(crate) fn new(node: Arc<dyn Node>, token: Option<String>) -> Self {
        let token = token.filter(|token| !token.is_empty());
        Self { node, token, watchers: Arc::new(Semaphore::new(WATCHERS)) }
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, Problem> {
        let unknown = unknown(&ask);
        match tokio::time::timeout(PATIENCE, self.node.ask(ask)).await {
            Err(_) => Err(unavailable("the node did not answer within 10 s")),
            Ok(Answer::NotFound) => Err(Problem::new(StatusCode::NOT_FOUND, unknown)),
            Ok(Answer::Refused(why)) => Err(Problem::new(StatusCode::BAD_REQUEST, why)),
            Ok(Answer::Unavailable(why)) => Err(unavailable(&why)),
            Ok(answer) => Ok(answer),
        }
    }
}

/// What it means that the node finds nothing.
fn unknown(ask: &Ask) -> String {
    match ask {
        Ask::User(impi) | Ask::Watch(impi) => format!("nothing is known of {impi}"),
        Ask::Reauthenticate { impi, .. } | Ask::Deregister { impi, .. } => {
            format!("{impi} is not registered")
        }
        Ask::Drain(node) => format!("there is no node {node}"),
        Ask::Users(_) | Ask::Cluster | Ask::Ready => "nothing is known of it".into(),
    }
}

/// Every route: pattern, method, and what answers.
pub(crate) fn table() -> Vec<(&'static str, &'static str, Route)> {
    vec![
        ("/healthz", "GET", read().to(healthz)),
        ("/readyz", "GET", read().to(readyz)),
        ("/metrics", "GET", read().to(metrics)),
        ("/openapi.json", "GET", read().to(openapi::document)),
        ("/", "GET", read().to(dashboard::page)),
        ("/dashboard/{file}", "GET", read().to(dashboard::file)),
        ("/v1/users", "GET", read().to(users)),
        ("/v1/users/{impi}", "GET", read().to(user)),
        ("/v1/users/{impi}/reauthenticate", "POST", web::post().to(reauthenticate)),
        ("/v1/users/{impi}/deregister", "POST", web::post().to(deregister)),
        ("/v1/users/{impi}/watch", "GET", web::get().to(follow)),
        ("/v1/cluster", "GET", read().to(cluster)),
        ("/v1/nodes/{id}/drain", "POST", web::post().to(drain)),
    ]
}

/// The routes, the gate before them, and problems for what they do not answer.
pub(crate) fn configure(desk: web::Data<Desk>) -> impl FnOnce(&mut web::ServiceConfig) {
    move |config| {
        let mut scope = web::scope("").wrap(middleware::from_fn(gate::admit));
        for (pattern, method, route) in table() {
            let allow = if method == "POST" { "POST" } else { "GET" };
            let refuse = web::to(move || async move { Err::<HttpResponse, _>(Problem::method(allow)) });
            scope = scope.service(web::resource(pattern).route(route).default_service(refuse));
        }
        config.app_data(desk).service(scope.default_service(web::to(nowhere)));
    }
}

/// GET and HEAD.
fn read() -> Route {
    web::route().guard(guard::fn_guard(|context| matches!(context.head().method, Method::GET | Method::HEAD)))
}

async fn nowhere(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let detail = format!("there is no {}; /openapi.json describes what there is", request.path());
    Err(Problem::new(StatusCode::NOT_FOUND, detail))
}

async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}

async fn readyz(desk: web::Data<Desk>) -> Result<HttpResponse, Problem> {
    match desk.ask(Ask::Ready).await? {
        Answer::Ready(missing) if missing.is_empty() => {
            Ok(HttpResponse::Ok().json(json!({"status": "ready"})))
        }
        Answer::Ready(missing) => Err(unavailable(&missing.join("; ")).with("missing", missing)),
        other => Err(astray(&other)),
    }
}

async fn metrics(desk: web::Data<Desk>) -> HttpResponse {
    let text = desk.node.metrics();
    let kind = if text.ends_with("# EOF\n") {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        "text/plain; version=0.0.4; charset=utf-8"
    };
    HttpResponse::Ok().content_type(kind).body(text)
}

async fn users(request: HttpRequest, desk: web::Data<Desk>) -> Result<HttpResponse, Problem> {
    match desk.ask(Ask::Users(query::filter(request.query_string())?)).await? {
        Answer::Users(page) => Ok(fresh(StatusCode::OK, &page)),
        other => Err(astray(&other)),
    }
}

async fn user(request: HttpRequest, desk: web::Data<Desk>) -> Result<HttpResponse, Problem> {
    query::none(request.query_string())?;
    let impi = query::impi(request.uri().path())?;
    match desk.ask(Ask::User(impi)).await? {
        Answer::User(view) => Ok(fresh(StatusCode::OK, &view)),
        other => Err(astray(&other)),
    }
}

async fn reauthenticate(
    request: HttpRequest,
    payload: web::Payload,
    desk: web::Data<Desk>,
) -> Result<HttpResponse, Problem> {
    query::none(request.query_string())?;
    let impi = query::impi(request.uri().path())?;
    let body::Demand { period, reason } = body::demand(&request, payload).await?;
    told(&desk.ask(Ask::Reauthenticate { impi, period, reason }).await?)
}

async fn deregister(
    request: HttpRequest,
    payload: web::Payload,
    desk: web::Data<Desk>,
) -> Result<HttpResponse, Problem> {
    query::none(request.query_string())?;
    let impi = query::impi(request.uri().path())?;
    let reason = body::only_reason(&request, payload).await?.unwrap_or_else(|| "asked by an operator".into());
    told(&desk.ask(Ask::Deregister { impi, reason }).await?)
}

fn told(answer: &Answer) -> Result<HttpResponse, Problem> {
    match answer {
        Answer::Told(Told::Reauthenticating { deadline }) => {
            Ok(fresh(StatusCode::ACCEPTED, &json!({"deadline": deadline.rfc3339()})))
        }
        Answer::Told(Told::AlreadyReauthenticating { deadline }) => {
            let deadline = deadline.rfc3339();
            let detail = format!("re-authentication is pending already, until {deadline}");
            Err(Problem::new(StatusCode::CONFLICT, detail).with("deadline", deadline))
        }
        Answer::Told(Told::Deregistering) | Answer::Accepted => Ok(fresh(StatusCode::ACCEPTED, &json!({}))),
        Answer::Told(Told::NotRegistered) => Err(Problem::new(StatusCode::NOT_FOUND, "not registered")),
        other => Err(astray(other)),
    }
}

async fn follow(request: HttpRequest, desk: web::Data<Desk>) -> Result<HttpResponse, Problem> {
    query::none(request.query_string())?;
    let impi = query::impi(request.uri().path())?;
    let Ok(permit) = Arc::clone(&desk.watchers).try_acquire_owned() else {
        return Err(unavailable(&format!("{WATCHERS} watches are open already")));
    };
    match desk.ask(Ask::Watch(impi)).await? {
        Answer::Watching { view, observations } => Ok(watch::stream(&view, observations, permit)),
        other => Err(astray(&other)),
    }
}

async fn cluster(request: HttpRequest, desk: web::Data<Desk>) -> Result<HttpResponse, Problem> {
    query::none(request.query_string())?;
    match desk.ask(Ask::Cluster).await? {
        Answer::Cluster(view) => Ok(fresh(StatusCode::OK, &view)),
        other => Err(astray(&other)),
    }
}

async fn drain(
    request: HttpRequest,
    payload: web::Payload,
    desk: web::Data<Desk>,
) -> Result<HttpResponse, Problem> {
    query::none(request.query_string())?;
    let node = query::name(request.uri().path(), "id")?;
    body::nothing(&request, payload).await?;
    told(&desk.ask(Ask::Drain(node)).await?)
}

fn fresh(status: StatusCode, value: &impl Serialize) -> HttpResponse {
    HttpResponse::build(status).insert_header(("Cache-Control", "no-store")).json(value)
}

fn unavailable(why: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)
}

/// The node answered another question than was asked.
fn astray(answer: &Answer) -> Problem {
    let kind = match answer {
        Answer::Users(_) => "users",
        Answer::User(_) => "a user",
        Answer::Told(_) => "a fate",
        Answer::Watching { .. } => "a watch",
        Answer::Cluster(_) => "the cluster",
        Answer::Ready(_) => "readiness",
        Answer::Accepted => "consent",
        Answer::NotFound | Answer::Refused(_) | Answer::Unavailable(_) => "a refusal",
    };
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        format!("the node answered with {kind}, which was not asked"),
    )
}
