//! TOML and environment to a checked [`Config`], with one line for whatever is wrong.

use super::schema::{KEYS, Key, ROUTES, SECTIONS};
use super::{Config, routes};
use std::fmt;
use toml::{Table, Value};

/// What is wrong with a configuration: one line with the key, its value and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    pub(super) fn unreadable(path: &str, error: &std::io::Error) -> Self {
        Self::line(format!("{path}: {error}; expected a configuration file (see --print-config)"))
    }

    fn wrong(key: &Key, value: &Value, expected: &str) -> Self {
        let shown = if ["token", "secret", "urls"].contains(&key.name) {
            "(hidden)".into()
        } else {
            value.to_string()
        };
        Self::line(format!("{}.{} = {shown}: expected {expected}", key.section, key.name))
    }

    fn unknown(what: &str, value: &str, near: Option<&str>, known: &str) -> Self {
        let expected = near.map_or_else(|| known.to_owned(), |near| format!("{near}?"));
        Self::line(format!("{what} = {value}: unknown key; expected {expected}"))
    }

    pub(super) fn line(text: String) -> Self {
        Self(text.replace(['\n', '\r'], " "))
    }
}

pub(super) fn defaults() -> Config {
    // The schema's own defaults are checked by a test of `print`.
    match read("", std::iter::empty()) {
        Ok(config) => config,
        Err(error) => unreachable!("the defaults are a configuration: {error}"),
    }
}

pub(super) fn read(
    text: &str,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count());
        ConfigError::line(format!("line {}: {}; expected TOML", line.max(1), error.message()))
    })?;
    for (name, value) in environment {
        match name.strip_prefix("ROLLCALL__") {
            Some(path) if path.eq_ignore_ascii_case(ROUTES) => routes::override_with(&mut table, &value)?,
            Some(path) => override_with(&mut table, &name, path, &value)?,
            None => {}
        }
    }
    check_names(&table)?;
    let mut whole = Table::new();
    whole.insert(ROUTES.into(), Value::Table(routes::checked(&mut table)?));
    for key in KEYS {
        let given =
            table.get_mut(key.section).and_then(Value::as_table_mut).and_then(|keys| keys.remove(key.name));
        let value = match given {
            Some(value) => value,
            None => literal(key.default).unwrap_or(Value::String(String::new())),
        };
        if let Some(expected) = key.expects.refuse(&value) {
            return Err(ConfigError::wrong(key, &value, &expected));
        }
        let section = whole.entry(key.section).or_insert_with(|| Value::Table(Table::new()));
        if let Some(section) = section.as_table_mut() {
            section.insert(key.name.into(), value);
        }
    }
    let config: Config = Value::Table(whole)
        .try_into()
        .map_err(|error: toml::de::Error| ConfigError::line(error.message().to_owned()))?;
    check_together(&config)?;
    Ok(config)
}

/// A TOML value as it stands after `=`.
fn literal(text: &str) -> Option<Value> {
    format!("value = {text}").parse::<Table>().ok()?.remove("value")
}

fn override_with(table: &mut Table, name: &str, path: &str, value: &str) -> Result<(), ConfigError> {
    let lower = path.to_ascii_lowercase();
    let known = lower.split_once("__").and_then(|(section, key)| find(section, key));
    let Some(key) = known else {
        let all: Vec<String> = KEYS.iter().map(|key| format!("{}.{}", key.section, key.name)).collect();
        let near = nearest(&lower.replace("__", "."), all.iter().map(String::as_str));
        let near = near.map(|near| format!("ROLLCALL__{}", near.replace('.', "__").to_ascii_uppercase()));
        return Err(ConfigError::unknown(
            name,
            &format!("{value:?}"),
            near.as_deref(),
            "ROLLCALL__SECTION__KEY",
        ));
    };
    let value = if key.expects.is_text() {
        Value::String(value.to_owned())
    } else if key.expects.is_list() && !value.trim_start().starts_with('[') {
        let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
        Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
    } else {
        literal(value).unwrap_or_else(|| Value::String(value.to_owned()))
    };
    let section = table.entry(key.section).or_insert_with(|| Value::Table(Table::new()));
    if let Some(section) = section.as_table_mut() {
        section.insert(key.name.into(), value);
    }
    Ok(())
}

fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

fn check_names(table: &Table) -> Result<(), ConfigError> {
    for (section, value) in table {
        let Some((known, _)) = SECTIONS.iter().find(|(known, _)| known == section) else {
            let near =
                nearest(section, SECTIONS.iter().map(|(known, _)| *known)).map(|near| format!("[{near}]"));
            let all: Vec<&str> = SECTIONS.iter().map(|(known, _)| *known).collect();
            let shown = if value.is_table() { "{..}".to_owned() } else { value.to_string() };
            let known = format!("one of the sections {}", all.join(", "));
            return Err(ConfigError::unknown(section, &shown, near.as_deref(), &known));
        };
        let Some(keys) = value.as_table() else {
            return Err(ConfigError::line(format!("{section} = {value}: expected a section [{section}]")));
        };
        for (name, value) in keys.iter().filter(|_| *known != ROUTES) {
            if find(known, name).is_none() {
                let names = || KEYS.iter().filter(|key| key.section == *known).map(|key| key.name);
                let all = format!("one of {}", names().collect::<Vec<_>>().join(", "));
                let what = format!("{section}.{name}");
                return Err(ConfigError::unknown(&what, &value.to_string(), nearest(name, names()), &all));
            }
        }
    }
    Ok(())
}

/// What no key can say alone.
fn check_together(config: &Config) -> Result<(), ConfigError> {
    let refuse = |section, name, value: Value, expected: &str| match find(section, name) {
        Some(key) => Err(ConfigError::wrong(key, &value, expected)),
        None => Ok(()),
    };
    let registration = &config.registration;
    if registration.min_expires > registration.max_expires {
        let value = Value::Integer(registration.min_expires.into());
        return refuse("registration", "min_expires", value, "at most registration.max_expires");
    }
    if config.reg_event.min_expires > config.reg_event.max_expires {
        let value = Value::Integer(config.reg_event.min_expires.into());
        return refuse("reg_event", "min_expires", value, "at most reg_event.max_expires");
    }
    if config.reauthentication.min_period > config.reauthentication.period {
        let value = Value::Integer(config.reauthentication.min_period.into());
        return refuse("reauthentication", "min_period", value, "at most reauthentication.period");
    }
    if !config.http.listen.ip().is_loopback() && config.http.token.0.is_empty() {
        let value = Value::String(String::new());
        return refuse("http", "token", value, "a token, because http.listen is not a loopback address");
    }
    let secret = &config.node.secret.0;
    if !secret.is_empty() && (secret.len() != 64 || !secret.bytes().all(|octet| octet.is_ascii_hexdigit())) {
        return refuse("node", "secret", Value::String(String::new()), "64 hexadecimal digits, or nothing");
    }
    for (name, place) in [("listen", &config.cluster.listen), ("advertise", &config.cluster.advertise)] {
        if !place.is_empty() && place.parse::<std::net::SocketAddr>().is_err() {
            let expected = "ADDRESS:PORT as \"10.0.0.1:7070\", or nothing";
            return refuse("cluster", name, Value::String(place.clone()), expected);
        }
    }
    let store = &config.store;
    if store.kind == "embedded" && store.dir.is_empty() {
        return refuse(
            "store",
            "dir",
            Value::String(String::new()),
            "a directory, because store.kind is embedded",
        );
    }
    if store.kind == "redis" && store.urls.is_empty() {
        return refuse(
            "store",
            "urls",
            Value::Array(Vec::new()),
            "at least one, because store.kind is redis",
        );
    }
    if store.kind != "redis" && !config.cluster.listen.is_empty() {
        let expected = "nothing, because only the redis kind of store is shared by several nodes";
        return refuse("cluster", "listen", Value::String(config.cluster.listen.clone()), expected);
    }
    let advertise = &config.sip.advertise;
    if !advertise.is_empty()
        && !sip::Uri::parse(&format!("sip:{advertise}")).is_ok_and(|uri| uri.user().is_none())
    {
        return refuse("sip", "advertise", Value::String(advertise.clone()), "HOST:PORT, or nothing");
    }
    let i_cscf = &config.session.i_cscf;
    let transport =
        sip::Uri::parse(i_cscf).ok().and_then(|uri| uri.param("transport").flatten().map(sip::Transport::of));
    if !matches!(transport, None | Some(sip::Transport::Udp | sip::Transport::Tcp)) {
        return refuse("session", "i_cscf", Value::String(i_cscf.clone()), "udp or tcp as its transport");
    }
    Ok(())
}

/// The word that `wrong` was meant to be, if one is near.
fn nearest<'a>(wrong: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, word) = words.map(|word| (distance(wrong, word), word)).min()?;
    (distance <= 2 + word.len() / 8).then_some(word)
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &b) in b.iter().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        let line = read(text, std::iter::empty()).unwrap_err().to_string();
        assert!(!line.contains('\n'), "{line}");
        line
    }

    fn environment(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        read("[sip]\nlisten = [\"udp:127.0.0.1:0\"]\n", pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())))
    }

    #[test]
    fn a_wrong_value_is_named_with_what_was_expected() {
        assert_eq!(
            wrong("[reauthentication]\nperiod = \"soon\""),
            "reauthentication.period = \"soon\": expected a whole number from 1 to 86400"
        );
        assert_eq!(
            wrong("[reauthentication]\non_wrong_answer = \"shrug\""),
            "reauthentication.on_wrong_answer = \"shrug\": expected one of rechallenge, deregister, reject"
        );
        assert_eq!(wrong("[sip]\nt1 = 0"), "sip.t1 = 0: expected a whole number from 10 to 10000");
        assert!(wrong("[sip]\nlisten = \"udp:0.0.0.0:5060\"").contains("expected a list as"));
        assert!(wrong("[sip]\nlisten = []").starts_with("sip.listen = []: expected"));
        assert!(wrong("[node]\nname = \"scscf\"").starts_with("node.name = \"scscf\": expected a SIP URI"));
        assert!(wrong("[sip]\ntrusted_peers = [\"10.0.0.0/99\"]").contains("expected a list of networks"));
        assert!(wrong("[cx]\npeers = [\"127.0.0.1:3868\"]").contains("expected a list of Diameter peers"));
        assert!(wrong("[sip]\ndns = [\"localhost\"]").contains("expected a list of DNS servers as"));
        assert!(wrong("[session]\ni_cscf = \"sips:icscf\"").contains("expected a SIP URI as"));
    }

    #[test]
    fn an_unknown_key_is_named_with_the_one_that_was_meant() {
        assert_eq!(
            wrong("[reauthentication]\nperiode = 600"),
            "reauthentication.periode = 600: unknown key; expected period?"
        );
        assert!(wrong("[reauthentification]\nperiod = 1").contains("expected [reauthentication]?"));
        assert!(wrong("[http]\nxyzzyxyzzy = 1").contains("expected one of listen, token"));
        assert!(wrong("node = 1").contains("expected a section [node]"));
    }

    #[test]
    fn broken_toml_names_its_line() {
        assert!(wrong("[node]\nid = \"n1\"\nid id").starts_with("line 3: "));
    }

    #[test]
    fn keys_that_contradict_each_other_are_refused() {
        assert_eq!(
            wrong("[registration]\nmin_expires = 600\nmax_expires = 60"),
            "registration.min_expires = 600: expected at most registration.max_expires"
        );
        let exposed = wrong("[http]\nlisten = \"0.0.0.0:8080\"");
        assert!(exposed.starts_with("http.token = (hidden): expected a token"), "{exposed}");
        assert!(wrong("[node]\nsecret = \"abc\"").contains("expected 64 hexadecimal digits"));
        assert!(wrong("[sip]\nadvertise = \"a b\"").contains("expected HOST:PORT"));
        let secure = wrong("[session]\ni_cscf = \"sip:icscf;transport=tls\"");
        assert!(secure.contains("expected udp or tcp as its transport"), "{secure}");
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let config = environment(&[
            ("ROLLCALL__REAUTHENTICATION__MIN_PERIOD", "1"),
            ("ROLLCALL__REAUTHENTICATION__PERIOD", "5"),
            ("ROLLCALL__SIP__TRUSTED_PEERS", "10.0.0.0/8, 192.0.2.0/24"),
            ("ROLLCALL__NODE__ID", "7"),
            ("ROLLCALL__SIP__DNS", "127.0.0.1:5353,192.0.2.1"),
            ("ROLLCALL__SESSION__I_CSCF", "sip:icscf.example.org"),
            ("ROLLCALL__REG_EVENT__LEGACY_ENABLED", "false"),
            ("HOME", "/"),
        ])
        .unwrap();
        assert_eq!((config.reauthentication.min_period, config.reauthentication.period), (1, 5));
        assert_eq!(config.sip.trusted_peers, ["10.0.0.0/8", "192.0.2.0/24"]);
        assert_eq!(config.sip.listen, ["udp:127.0.0.1:0"]);
        assert_eq!(config.node.id, "7");
        assert_eq!(config.sip.dns, ["127.0.0.1:5353", "192.0.2.1"]);
        assert_eq!(config.session.i_cscf, "sip:icscf.example.org");
        assert!(!config.reg_event.legacy_enabled);
        let line = environment(&[("ROLLCALL__REAUTHENTICATION__PERIODE", "5")]).unwrap_err().to_string();
        assert!(line.contains("expected ROLLCALL__REAUTHENTICATION__PERIOD?"), "{line}");
        let line = environment(&[("ROLLCALL__REAUTHENTICATION__PERIOD", "x")]).unwrap_err().to_string();
        assert_eq!(line, "reauthentication.period = \"x\": expected a whole number from 1 to 86400");
    }

    #[test]
    fn secrets_are_in_no_error_and_no_debug_output() {
        let config = environment(&[("ROLLCALL__HTTP__TOKEN", "hunter2")]).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(!wrong("[http]\ntoken = 4711").contains("4711"));
    }
}
