//! Which kind of store a node uses.

use crate::{Embedded, Error, Memory, Redis, Store};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// The kind of store and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settings {
    /// Users end with the process.
    Memory,
    /// One node with nothing installed: users outlive the process in this directory, which is made if it is missing.
    Embedded(PathBuf),
    /// Any number of nodes.
    Redis(RedisSettings),
}

/// Where Redis is and what a save waits for.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// One for each group: `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, or
    /// `redis+sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]...]/MASTER[/DATABASE]`, in an order that is the same on every
    /// node and for ever: a shard lives in the group whose place is its number modulo their count.
    pub urls: Vec<String>,
    /// When a save counts.
    pub durability: Durability,
}

/// When a save counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When the primary has it: a failover may lose the last moments, which living nodes send again.
    #[default]
    Async,
    /// When one replica has it as well.
    Wait1,
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<_> = self.urls.iter().map(|url| without_password(url)).collect();
        f.debug_struct("RedisSettings").field("urls", &urls).field("durability", &self.durability).finish()
    }
}

/// A URL that can be shown.
pub(crate) fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    match rest.rsplit_once('@') {
        Some((_, place)) => format!("{scheme}://***@{place}"),
        None => url.to_owned(),
    }
}

/// Opens the store that `settings` name. Its work goes on in the tokio runtime that this is called in.
///
/// # Errors
/// [`Error::Settings`] if it cannot be used as they say; [`Error::Unavailable`] if it does not answer within a few seconds. Both
/// name the place, without its password.
pub async fn open(settings: &Settings) -> Result<Arc<dyn Store>, Error> {
    match settings {
        Settings::Memory => Ok(Arc::new(Memory::new())),
        Settings::Embedded(directory) => Ok(Arc::new(Embedded::open(directory)?)),
        Settings::Redis(settings) => Ok(Arc::new(Redis::open(settings).await?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let settings = RedisSettings {
            urls: vec!["redis://user:p@ss@127.0.0.1/0".into(), "redis://127.0.0.1".into()],
            durability: Durability::Async,
        };
        let shown = format!("{settings:?}");
        assert!(!shown.contains("p@ss") && !shown.contains("ss@"), "{shown}");
        assert!(
            shown.contains("redis://***@127.0.0.1/0") && shown.contains("redis://127.0.0.1\""),
            "{shown}"
        );
    }
}
