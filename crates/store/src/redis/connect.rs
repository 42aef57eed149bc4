//! One attempt to reach the primary of a group.

use super::place::{Place, Way};
use super::{fail, schema};
use crate::Error;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, IntoConnectionInfo, RedisConnectionInfo,
    RedisError, cmd,
};
use std::time::Duration;

/// A connection to a primary that has the function library.
pub(super) struct Connected {
    pub(super) connection: MultiplexedConnection,
    pub(super) known_as: KnownAs,
}

/// A connection as its server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KnownAs {
    run: Box<str>,
    client: u64,
}

/// How long a TCP connection, and then each answer on it, may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How long all of it may take, looking for the primary included.
const REACH_WITHIN: Duration = Duration::from_secs(3);
/// So many commands wait inside a connection for their turn on the socket.
const BUFFER: usize = 256;

/// Reaches the primary, and ends the connection `former` there, so that nothing that was sent on it is carried out later.
///
/// # Errors
/// [`Error::Settings`] if trying again cannot help; else [`Error::Unavailable`]. Both name the place.
pub(super) async fn connect(
    place: &Place,
    answer_within: Duration,
    former: Option<&KnownAs>,
) -> Result<Connected, Error> {
    match tokio::time::timeout(REACH_WITHIN, attempt(place, answer_within, former)).await {
        Ok(connected) => connected,
        Err(_) => Err(unavailable(place, "no answer")),
    }
}

fn unavailable(place: &Place, why: &str) -> Error {
    Error::Unavailable(format!("{place}: {why}").into())
}

fn failed(place: &Place, error: &RedisError) -> Error {
    let words = fail::words(error);
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS" | "NOPERM")) => {
            Error::Settings(format!("{place}: {words}").into())
        }
        _ if error.to_string().contains("unknown command") => {
            Error::Settings(format!("{place}: Redis 7 or later is needed ({words})").into())
        }
        _ => unavailable(place, &words),
    }
}

async fn attempt(
    place: &Place,
    answer_within: Duration,
    former: Option<&KnownAs>,
) -> Result<Connected, Error> {
    let address = match &place.way {
        Way::Fixed(address) => address.clone(),
        Way::Sentinels(sentinels, master) => primary(place, sentinels, master).await?,
    };
    let in_words = |error: RedisError| failed(place, &error);
    let mut connection = dial(address, &place.credentials, answer_within).await.map_err(in_words)?;
    let info: String =
        cmd("INFO").arg("server").arg("replication").query_async(&mut connection).await.map_err(in_words)?;
    let field = |name: &str| {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or("").trim()
    };
    if field("role") != "master" {
        return Err(unavailable(place, "it is a replica, and the primary is needed"));
    }
    let run: Box<str> = field("run_id").into();
    let client: u64 = cmd("CLIENT").arg("ID").query_async(&mut connection).await.map_err(in_words)?;
    // Numbers of clients begin anew with each run of Redis. With none to end, the question whether it may is still asked.
    let end = former.filter(|former| former.run == run).map_or(client, |former| former.client);
    let mut kill = cmd("CLIENT");
    kill.arg("KILL").arg("ID").arg(end).arg("SKIPME").arg("yes");
    kill.exec_async(&mut connection).await.map_err(in_words)?;
    match load_library(&mut connection).await {
        // It can be read, and has the functions unless it is new; whoever writes hears why not.
        Err(error) if fail::refuses_changes(&error) => {}
        loaded => loaded.map_err(in_words)?,
    }
    Ok(Connected { connection, known_as: KnownAs { run, client } })
}

/// Gives Redis the functions of this release.
pub(super) async fn load_library(connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
    let mut load = cmd("FUNCTION");
    load.arg("LOAD").arg("REPLACE").arg(schema::library());
    load.exec_async(connection).await
}

async fn dial(
    address: ConnectionAddr,
    credentials: &RedisConnectionInfo,
    answer_within: Duration,
) -> Result<MultiplexedConnection, RedisError> {
    let info =
        address.into_connection_info()?.set_redis_settings(credentials.clone().set_skip_set_lib_name());
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_WITHIN))
        .set_response_timeout(Some(answer_within))
        .set_pipeline_buffer_size(BUFFER);
    Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await
}

/// Asks the Sentinels, one after another, where the primary is.
async fn primary(place: &Place, sentinels: &[ConnectionAddr], master: &str) -> Result<ConnectionAddr, Error> {
    let mut why = String::new();
    for sentinel in sentinels {
        match ask(sentinel, &place.credentials, master).await {
            Ok(Some((host, port))) => return Ok(ConnectionAddr::Tcp(host, port)),
            Ok(None) => why = format!("the Sentinel at {sentinel} knows no '{master}'"),
            Err(error) => why = format!("the Sentinel at {sentinel}: {}", fail::words(&error)),
        }
    }
    Err(unavailable(place, &why))
}

/// A Sentinel may want a password: that of the primary is tried if it says so.
async fn ask(
    sentinel: &ConnectionAddr,
    credentials: &RedisConnectionInfo,
    master: &str,
) -> Result<Option<(String, u16)>, RedisError> {
    let answer = question(sentinel, RedisConnectionInfo::default(), master).await;
    match &answer {
        Err(error) if error.code() == Some("NOAUTH") => {
            question(sentinel, credentials.clone().set_db(0), master).await
        }
        _ => answer,
    }
}

async fn question(
    sentinel: &ConnectionAddr,
    credentials: RedisConnectionInfo,
    master: &str,
) -> Result<Option<(String, u16)>, RedisError> {
    let mut connection = dial(sentinel.clone(), &credentials, CONNECT_WITHIN / 2).await?;
    let mut question = cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    question.query_async(&mut connection).await
}
