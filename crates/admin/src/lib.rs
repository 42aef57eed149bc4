//! The operator's HTTP interface: questions, answers, live watch.

pub mod ask;
mod body;
mod dashboard;
mod gate;
mod http;
mod openapi;
mod problem;
mod query;
#[cfg(test)]
mod rehearsal;
mod watch;

pub use ask::{
    Answer, Answering, Ask, ClusterView, Filter, Node, NodeView, Observation, Page, Refused, Row, Seen,
    ShardView, Shown, UserView,
};

use actix_web::{App, HttpServer, dev::Server, web};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Threads that serve HTTP; operators are few.
const WORKERS: usize = 2;
/// Connections at once, on each worker.
const CONNECTIONS: usize = 512;

/// Binds `listen` and answers there for `node` once the returned server is awaited; also the address bound.
///
/// Without a `token`, `listen` must be a loopback address. The server takes no signals: whoever awaits it stops it
/// through its handle, which ends open watches within a second.
///
/// # Errors
/// If the address cannot be bound, or a token is missing off loopback (`InvalidInput`).
pub fn serve(
    listen: SocketAddr,
    token: Option<String>,
    node: Arc<dyn Node>,
) -> io::Result<(Server, SocketAddr)> {
    if token.as_deref().is_none_or(str::is_empty) && !listen.ip().is_loopback() {
        let why = format!("{listen} is not a loopback address: a token is required there");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let desk = web::Data::new(http::Desk::new(node, token));
    let server = HttpServer::new(move || App::new().configure(http::configure(desk.clone())))
        .workers(WORKERS)
        .max_connections(CONNECTIONS)
        .client_request_timeout(Duration::from_secs(5))
        .h1_allow_half_closed(false)
        .shutdown_timeout(1)
        .disable_signals()
        .bind(listen)?;
    let bound = server.addrs().first().copied().unwrap_or(listen);
    Ok((server.run(), bound))
}
