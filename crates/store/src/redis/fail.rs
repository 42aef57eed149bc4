//! What a failure of Redis means to whoever asked.

use crate::Error;
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// What a failure says about the connection it came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connection {
    /// Good: the server itself refused.
    Good,
    /// Of no use any more: broken, silent, or to a server that is no primary now.
    Spent,
    /// Good, but the server lost the function library.
    WithoutFunctions,
}

pub(super) fn connection(error: &RedisError) -> Connection {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => Connection::Spent,
        ErrorKind::Server(_) | ErrorKind::Extension if code(error) == "NOAUTH" => Connection::Spent,
        ErrorKind::Server(_) | ErrorKind::Extension if is_missing_function(error) => {
            Connection::WithoutFunctions
        }
        ErrorKind::Server(_) | ErrorKind::Extension => Connection::Good,
        _ => Connection::Spent,
    }
}

fn is_missing_function(error: &RedisError) -> bool {
    error.detail().is_some_and(|detail| detail.contains("Function not found"))
}

/// Whether the server is well but takes no change for now.
pub(super) fn refuses_changes(error: &RedisError) -> bool {
    matches!(code(error), "MISCONF" | "OOM" | "NOREPLICAS")
}

fn code(error: &RedisError) -> &str {
    error.code().unwrap_or("")
}

/// The failure in words.
pub(super) fn words(error: &RedisError) -> Box<str> {
    if error.is_timeout() {
        return "Redis did not answer in time".into();
    }
    let what = match (code(error), error.kind()) {
        ("READONLY", _) => "it is a replica now",
        ("MISCONF", _) => "Redis cannot write its disk and refuses to change anything",
        ("OOM", _) => "the memory that Redis may use is full",
        ("LOADING", _) => "Redis is still loading its data",
        ("NOAUTH", _) => "Redis wants a password",
        ("NOREPLICAS", _) => "Redis has too few replicas",
        ("NOPERM", _) => "the Redis user may not do that",
        ("BUSY", _) => "Redis is busy with a script",
        (_, ErrorKind::AuthenticationFailed) => "wrong user or password",
        (_, ErrorKind::Io) => "no connection",
        _ => "",
    };
    match what {
        "" => error.to_string().into(),
        what => format!("{what} ({error})").into(),
    }
}

pub(super) fn error(error: &RedisError) -> Error {
    match (code(error), error.kind()) {
        ("WRONGTYPE", _) => Error::Corrupt(error.to_string().into()),
        (_, ErrorKind::UnexpectedReturnType) => unreadable(),
        _ if error.detail().is_some_and(|detail| detail.contains("WRONGTYPE")) => {
            Error::Corrupt(error.to_string().into())
        }
        _ => Error::Unavailable(words(error)),
    }
}

/// Redis answered something else than this release asks for.
pub(super) fn unreadable() -> Error {
    Error::Corrupt("Redis gave an answer of another shape".into())
}
