//! The journal of an application server over HTTP, and what can be asked of it meanwhile.

use super::{Behaviour, Error, Shared, Wanted, locked};
use crate::http::{Problem, json, nothing_here, read};
use actix_web::{App, HttpResponse, HttpServer, dev::Server, web};
use serde::{Deserialize, Serialize};
use std::{io, net::TcpListener, sync::Arc};

type State = web::Data<Arc<Shared>>;

/// The server; it runs once it is polled.
pub(super) fn server(listener: TcpListener, shared: Arc<Shared>) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(Arc::clone(&shared)))
            .route("/healthz", web::get().to(async || HttpResponse::Ok().body("ok\n")))
            .route("/journal", web::get().to(journal))
            .route("/journal", web::delete().to(forget))
            .route("/mode", web::put().to(behave))
            .route("/registers", web::put().to(answer_registers))
            .route("/calls", web::get().to(calls))
            .route("/calls", web::post().to(originate))
            .route("/calls/{call_id}", web::delete().to(hang_up))
            .default_service(web::to(nothing_here))
    });
    Ok(server.listen(listener)?.workers(1).disable_signals().shutdown_timeout(1).run())
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::NotNow | Error::NoSCscf => 409,
            Error::TooMany | Error::Stopped | Error::Socket { .. } => 503,
            Error::Refused(_) => 502,
            Error::NoAnswer => 504,
        };
        Self::new(status, error.to_string())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    /// Only entries with a higher number.
    #[serde(default)]
    after: u64,
    /// Only requests of that method.
    method: Option<String>,
}

async fn journal(shared: State, query: web::Query<Page>) -> Result<HttpResponse, Problem> {
    let entries = shared.journal.after(query.after, query.method.as_deref());
    json(&serde_json::json!({ "requests": entries }))
}

async fn forget(shared: State) -> HttpResponse {
    shared.journal.clear();
    HttpResponse::NoContent().finish()
}

async fn behave(shared: State, body: web::Bytes) -> Result<HttpResponse, Problem> {
    let wanted: Wanted = read(&body)?;
    let behaviour = Behaviour::try_from(wanted.clone()).map_err(|why| Problem::new(422, why.to_string()))?;
    *locked(&shared.behaviour) = behaviour;
    json(&wanted)
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Registers {
    /// `null` leaves them unanswered.
    status: Option<u16>,
}

async fn answer_registers(shared: State, body: web::Bytes) -> Result<HttpResponse, Problem> {
    let wanted: Registers = read(&body)?;
    if wanted.status.is_some_and(|status| !(200..700).contains(&status)) {
        return Err(Problem::new(422, "a final status code is from 200 to 699"));
    }
    *locked(&shared.register_status) = wanted.status;
    json(&wanted)
}

async fn calls(shared: State) -> Result<HttpResponse, Problem> {
    let shown: Vec<_> = shared.calls.all().iter().map(shown).collect();
    json(&serde_json::json!({ "calls": shown }))
}

fn shown(call: &super::AgentCall) -> serde_json::Value {
    let mut value = serde_json::json!(call.state());
    value["call_id"] = call.call_id().into();
    value
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Originate {
    served_user: String,
    to: String,
    #[serde(default = "yes")]
    registered: bool,
}

const fn yes() -> bool {
    true
}

async fn originate(shared: State, body: web::Bytes) -> Result<HttpResponse, Problem> {
    let wanted: Originate = read(&body)?;
    let breaks = |uri: &String| uri.is_empty() || uri.contains(['\r', '\n', '<', '>']);
    if [&wanted.served_user, &wanted.to].into_iter().any(breaks) {
        return Err(Problem::new(422, "served_user and to are URIs"));
    }
    let call = shared.originate(&wanted.served_user, &wanted.to, wanted.registered).await?;
    json(&shown(&call))
}

async fn hang_up(shared: State, call_id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let call = shared.calls.all().into_iter().rfind(|call| call.call_id() == *call_id);
    let call = call.ok_or_else(|| Problem::new(404, "there is no such call"))?;
    let status = call.hang_up().await?;
    json(&serde_json::json!({ "status": status }))
}
