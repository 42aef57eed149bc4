//! HTTP of the lab HSS: who is subscribed, provisioning, commands to the S-CSCF, faults.

use super::{
    Faults, Hss,
    demand::{Undelivered, With},
    provision::{Provision, PublicIdentity, Scheme},
    subscribers::{Operation, RegistrationState},
};
use crate::http::{self, Problem, json, nothing_here};
use actix_web::{App, HttpResponse, HttpServer, dev::Server, http::StatusCode, web};
use scscf::{
    cx::{DeregistrationReason, ResultCode},
    profile::ChargingAddresses,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{io, net::TcpListener, sync::Arc};

type State = web::Data<Arc<Hss>>;

/// The server; it runs once it is polled.
pub(super) fn server(listener: TcpListener, hss: Arc<Hss>) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(Arc::clone(&hss)))
            .app_data(web::PayloadConfig::new(4 << 20))
            .route("/healthz", web::get().to(async || HttpResponse::Ok().body("ok\n")))
            .route("/readyz", web::get().to(async || HttpResponse::Ok().body("ready\n")))
            .route("/subscribers", web::get().to(list))
            .route("/subscribers/{impi}", web::get().to(show))
            .route("/subscribers/{impi}", web::put().to(provision))
            .route("/subscribers/{impi}/reauthenticate", web::post().to(reauthenticate))
            .route("/subscribers/{impi}/terminate", web::post().to(terminate))
            .route("/subscribers/{impi}/push", web::post().to(push))
            .route("/faults", web::post().to(set_faults))
            .route("/faults", web::get().to(show_faults))
            .default_service(web::to(nothing_here))
    });
    Ok(server.listen(listener)?.workers(1).disable_signals().shutdown_timeout(1).run())
}

impl From<Undelivered> for Problem {
    fn from(why: Undelivered) -> Self {
        let status = match why {
            Undelivered::Unknown(_) => 404,
            Undelivered::NotServed(_) => 409,
            Undelivered::NotConnected(_) | Undelivered::NoNode { .. } => 503,
            Undelivered::NotAnswered(_) => 504,
        };
        Self::new(status, why.to_string())
    }
}

/// Reads a JSON body; an empty one counts as `{}`.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    http::read(if body.trim_ascii().is_empty() { b"{}" } else { body })
}

fn unknown(impi: &str) -> Problem {
    Problem::new(404, format!("{impi} is not subscribed"))
}

#[derive(Serialize)]
struct Shown {
    impi: String,
    scheme: Scheme,
    sqn: u64,
    s_cscf: Option<String>,
    s_cscf_host: Option<String>,
    registration_state: RegistrationState,
    authentication_pending: bool,
    identities: Vec<PublicIdentity>,
    last_cx: Vec<ShownOperation>,
}

#[derive(Serialize)]
struct ShownOperation {
    at: String,
    operation: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
    #[serde(flatten)]
    result: ShownResult,
}

#[derive(Serialize)]
struct ShownResult {
    result_code: Option<u32>,
    experimental: bool,
}

impl From<Option<ResultCode>> for ShownResult {
    fn from(result: Option<ResultCode>) -> Self {
        match result {
            Some(ResultCode::Base(code)) => Self { result_code: Some(code), experimental: false },
            Some(ResultCode::Experimental(code)) => Self { result_code: Some(code), experimental: true },
            None => Self { result_code: None, experimental: false },
        }
    }
}

impl From<&Operation> for ShownOperation {
    fn from(operation: &Operation) -> Self {
        Self {
            at: format!("{:.3}", operation.at),
            operation: operation.name,
            note: operation.note,
            result: operation.result.into(),
        }
    }
}

fn shown(hss: &Hss, impi: &str) -> Option<Shown> {
    let subscribers = hss.subscribers();
    let subscriber = subscribers.get(impi)?;
    Some(Shown {
        impi: impi.to_owned(),
        scheme: subscribers.credentials(impi)?.scheme,
        sqn: subscriber.sqn,
        s_cscf: subscriber.server.as_deref().map(str::to_owned),
        s_cscf_host: subscriber.host.as_deref().map(str::to_owned),
        registration_state: subscriber.state,
        authentication_pending: subscriber.authentication_pending,
        identities: subscribers.identities(impi),
        last_cx: subscriber.operations.iter().map(Into::into).collect(),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    limit: Option<usize>,
    cursor: Option<String>,
}

async fn list(hss: State, query: web::Query<Page>) -> Result<HttpResponse, Problem> {
    let limit = query.limit.unwrap_or(100).clamp(1, 1000);
    let (impis, total) = hss.subscribers().page(query.cursor.as_deref().unwrap_or(""), limit);
    let next = (impis.len() == limit).then(|| impis.last().cloned()).flatten();
    let subscribers: Vec<Shown> = impis.iter().filter_map(|impi| shown(&hss, impi)).collect();
    json(&serde_json::json!({ "subscribers": subscribers, "total": total, "next": next }))
}

async fn show(hss: State, impi: web::Path<String>) -> Result<HttpResponse, Problem> {
    json(&shown(&hss, &impi).ok_or_else(|| unknown(&impi))?)
}

async fn provision(hss: State, impi: web::Path<String>, body: web::Bytes) -> Result<HttpResponse, Problem> {
    let wanted: Provision = read(&body)?;
    let created = {
        let mut subscribers = hss.subscribers();
        let created = subscribers.provision(&impi, &wanted).map_err(|why| Problem::new(422, why))?;
        hss.keep_provision(&impi, &body);
        created
    };
    let mut answer = json(&shown(&hss, &impi).ok_or_else(|| unknown(&impi))?)?;
    if created {
        *answer.status_mut() = StatusCode::CREATED;
    }
    Ok(answer)
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reauthenticate {
    #[serde(default)]
    with: With,
    via: Option<Box<str>>,
}

async fn reauthenticate(
    hss: State,
    impi: web::Path<String>,
    body: web::Bytes,
) -> Result<HttpResponse, Problem> {
    let asked: Reauthenticate = read(&body)?;
    let result = hss.reauthenticate(&impi, asked.with, asked.via.as_deref()).await?;
    json(&ShownResult::from(Some(result)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Terminate {
    #[serde(default)]
    reason: Reason,
    #[serde(default)]
    public_identities: Vec<Box<str>>,
    via: Option<Box<str>>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reason {
    #[default]
    PermanentTermination,
    NewServerAssigned,
    ServerChange,
    RemoveSCscf,
}

async fn terminate(hss: State, impi: web::Path<String>, body: web::Bytes) -> Result<HttpResponse, Problem> {
    let asked: Terminate = read(&body)?;
    let reason = match asked.reason {
        Reason::PermanentTermination => DeregistrationReason::PermanentTermination,
        Reason::NewServerAssigned => DeregistrationReason::NewServerAssigned,
        Reason::ServerChange => DeregistrationReason::ServerChange,
        Reason::RemoveSCscf => DeregistrationReason::RemoveScscf,
    };
    if let Some(other) =
        asked.public_identities.iter().find(|impu| hss.subscribers().barring(&impi, impu).is_none())
    {
        return Err(Problem::new(422, format!("{other} is no identity of {impi}")));
    }
    let result = hss.terminate(&impi, reason, asked.public_identities, asked.via.as_deref()).await?;
    json(&ShownResult::from(Some(result)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Push {
    #[serde(default = "yes")]
    profile: bool,
    charging: Option<Charging>,
    via: Option<Box<str>>,
}

const fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Charging {
    primary_ecf: Option<Box<str>>,
    secondary_ecf: Option<Box<str>>,
    primary_ccf: Option<Box<str>>,
    secondary_ccf: Option<Box<str>>,
}

async fn push(hss: State, impi: web::Path<String>, body: web::Bytes) -> Result<HttpResponse, Problem> {
    let asked: Push = read(&body)?;
    let charging = asked.charging.map(|charging| ChargingAddresses {
        primary_ecf: charging.primary_ecf,
        secondary_ecf: charging.secondary_ecf,
        primary_ccf: charging.primary_ccf,
        secondary_ccf: charging.secondary_ccf,
    });
    if !asked.profile && charging.is_none() {
        return Err(Problem::new(422, "neither profile nor charging information to push"));
    }
    json(&ShownResult::from(Some(hss.push(&impi, asked.profile, charging, asked.via.as_deref()).await?)))
}

/// What is absent keeps its value; a `null` result code clears it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedFaults {
    delay_ms: Option<u64>,
    drop: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    result_code: Option<Option<u32>>,
    /// Whether the result code is one of TS 29.229; by default what the number alone suggests.
    experimental: Option<bool>,
}

fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u32>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

async fn set_faults(hss: State, body: web::Bytes) -> Result<HttpResponse, Problem> {
    let wanted: WantedFaults = read(&body)?;
    if wanted.delay_ms.is_some_and(|delay| delay > 600_000) {
        return Err(Problem::new(422, "delay_ms is at most 600000"));
    }
    let mut faults = hss.faults();
    faults.delay_ms = wanted.delay_ms.unwrap_or(faults.delay_ms);
    faults.drop = wanted.drop.unwrap_or(faults.drop);
    if let Some(code) = wanted.result_code {
        faults.result_code = code.map(|code| {
            let cx = matches!(code, 5001 | 5002 | 5004..=5009 | 5011);
            if wanted.experimental.unwrap_or(cx) {
                ResultCode::Experimental(code)
            } else {
                ResultCode::Base(code)
            }
        });
    }
    hss.set_faults(faults);
    shown_faults(faults)
}

async fn show_faults(hss: State) -> Result<HttpResponse, Problem> {
    shown_faults(hss.faults())
}

fn shown_faults(faults: Faults) -> Result<HttpResponse, Problem> {
    let result = ShownResult::from(faults.result_code);
    json(&serde_json::json!({
        "delay_ms": faults.delay_ms,
        "drop": faults.drop,
        "result_code": result.result_code,
        "experimental": result.experimental,
    }))
}
