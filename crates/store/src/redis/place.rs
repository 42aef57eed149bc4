//! Where a group of Redis is: at an address, or wherever its Sentinels say.

use crate::Error;
use crate::settings::without_password;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};
use std::fmt;

/// The place of one group.
#[derive(Clone)]
pub(super) struct Place {
    shown: Box<str>,
    pub(super) credentials: RedisConnectionInfo,
    pub(super) way: Way,
}

/// How the primary is found.
#[derive(Clone)]
pub(super) enum Way {
    /// It is always there.
    Fixed(ConnectionAddr),
    /// These say who is the primary of that name.
    Sentinels(Vec<ConnectionAddr>, Box<str>),
}

const EXPECTED: &str = "redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE] or \
                        redis+sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]...]/MASTER[/DATABASE]";

impl Place {
    /// Reads a URL of [`crate::RedisSettings::urls`].
    pub(super) fn parse(url: &str) -> Result<Self, Error> {
        let shown = without_password(url);
        let wrong = || Error::Settings(format!("'{shown}' is no URL of Redis; expected {EXPECTED}").into());
        let parsed = |url: String| url.into_connection_info().map_err(|_| wrong());
        if url.starts_with("redis://") {
            let info = parsed(url.to_owned())?;
            let way = Way::Fixed(info.addr().clone());
            return Ok(Self { credentials: info.redis_settings().clone(), way, shown: shown.into() });
        }
        let rest = url.strip_prefix("redis+sentinel://").ok_or_else(wrong)?;
        let (user, places) = rest.rsplit_once('@').map_or(("", rest), |(user, places)| (user, places));
        let (hosts, path) = places.split_once('/').ok_or_else(wrong)?;
        let (master, database) = path.split_once('/').unwrap_or((path, "0"));
        let is_name =
            |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b'?');
        if !is_name(master) || database.parse::<u16>().is_err() {
            return Err(wrong());
        }
        let sentinels = hosts.split(',').map(|host| {
            let bare = host.rsplit_once(']').map_or(host, |(_, after)| after);
            let port = if bare.contains(':') { "" } else { ":26379" };
            if host.is_empty() || host.contains(['/', '?', '#']) {
                return Err(wrong());
            }
            parsed(format!("redis://{host}{port}")).map(|info| info.addr().clone())
        });
        let sentinels = sentinels.collect::<Result<_, _>>()?;
        let at = if user.is_empty() { String::new() } else { format!("{user}@") };
        let info: ConnectionInfo = parsed(format!("redis://{at}localhost/{database}"))?;
        let way = Way::Sentinels(sentinels, master.into());
        Ok(Self { credentials: info.redis_settings().clone(), way, shown: shown.into() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sentinels(url: &str) -> (Vec<String>, String) {
        match Place::parse(url).unwrap().way {
            Way::Sentinels(all, master) => {
                (all.iter().map(ToString::to_string).collect(), master.to_string())
            }
            Way::Fixed(addr) => panic!("{url} leads to {addr}"),
        }
    }

    #[test]
    fn an_address_is_read_with_user_password_and_database() {
        let place = Place::parse("redis://node:p%40ss@127.0.0.1:7000/3").unwrap();
        assert_eq!(
            (place.credentials.username(), place.credentials.password()),
            (Some("node"), Some("p@ss"))
        );
        assert_eq!(place.credentials.db(), 3);
        assert!(matches!(place.way, Way::Fixed(ConnectionAddr::Tcp(ref host, 7000)) if host == "127.0.0.1"));
        assert_eq!(place.to_string(), "redis://***@127.0.0.1:7000/3");
    }

    #[test]
    fn several_sentinels_share_a_master() {
        let (all, master) =
            sentinels("redis+sentinel://:secret@10.0.0.1,10.0.0.2:5000,[::1],host/rollcall/2");
        assert_eq!(master, "rollcall");
        assert_eq!(all, ["10.0.0.1:26379", "10.0.0.2:5000", "::1:26379", "host:26379"]);
        let place = Place::parse("redis+sentinel://:secret@10.0.0.1/rollcall/2").unwrap();
        assert_eq!((place.credentials.password(), place.credentials.db()), (Some("secret"), 2));
    }

    #[test]
    fn what_is_no_url_is_refused_without_its_password() {
        for url in [
            "",
            "127.0.0.1",
            "http://127.0.0.1",
            "rediss://:secret@127.0.0.1",
            "redis://:secret@",
            "redis://:secret@127.0.0.1/x",
            "redis+sentinel://:secret@127.0.0.1",
            "redis+sentinel://:secret@127.0.0.1/",
            "redis+sentinel://:secret@,/rollcall",
            "redis+sentinel://:secret@127.0.0.1/rollcall/x",
        ] {
            let Err(Error::Settings(why)) = Place::parse(url).map(|_| ()) else { panic!("{url} was taken") };
            assert!(why.contains("expected redis://") && !why.contains("secret"), "{why}");
        }
    }
}
