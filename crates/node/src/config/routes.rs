//! The static routes of a configuration: the one section whose keys are names of hosts.

use super::read::ConfigError;
use super::schema::ROUTES;
use super::values::{Target, is_host_name};
use std::net::IpAddr;
use toml::{Table, Value};

/// Targets of one host.
const MOST: usize = 8;
/// In place of targets: DNS is asked.
const ASK_DNS: &str = "dns";

/// Takes `HOST=TARGET,TARGET;HOST=TARGET` into the table; a host there replaces the same host of the file.
pub(super) fn override_with(table: &mut Table, text: &str) -> Result<(), ConfigError> {
    let section = table.entry(ROUTES).or_insert_with(|| Value::Table(Table::new()));
    // What is no table is refused by name when the whole is checked.
    let Some(section) = section.as_table_mut() else { return Ok(()) };
    for entry in text.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
        let Some((host, targets)) = entry.split_once('=') else {
            return Err(ConfigError::line(format!(
                "ROLLCALL__ROUTES = {text:?}: expected HOST=TARGET,TARGET;HOST=TARGET as \"*=udp:192.0.2.1:5060\""
            )));
        };
        let host = host.trim();
        let targets = targets.split(',').map(str::trim).filter(|target| !target.is_empty());
        let targets = targets.map(|target| Value::String(target.into())).collect();
        section.retain(|known, _| !known.eq_ignore_ascii_case(host));
        section.insert(host.into(), Value::Array(targets));
    }
    Ok(())
}

/// Takes the section out of the table, its names in lower case.
pub(super) fn checked(table: &mut Table) -> Result<Table, ConfigError> {
    let mut routes = Table::new();
    let Some(given) = table.get_mut(ROUTES).and_then(Value::as_table_mut) else { return Ok(routes) };
    for (host, targets) in std::mem::take(given) {
        let wrong = |expected: &str| {
            Err(ConfigError::line(format!("{ROUTES}.{host:?} = {targets}: expected {expected}")))
        };
        if !is_key(&host) {
            return wrong(
                "the name of a host, \"*.DOMAIN\" or \"*\" as key; an address is no name and leads to itself",
            );
        }
        if !are_targets(&targets) {
            return wrong(
                "1 to 8 targets as [\"udp:192.0.2.1:5060\", \"tcp:sbc.example.org:5060\"], or [\"dns\"]",
            );
        }
        let name = host.to_ascii_lowercase();
        if routes.contains_key(&name) {
            return wrong("each host once, in whatever case");
        }
        routes.insert(name, targets);
    }
    Ok(routes)
}

fn is_key(host: &str) -> bool {
    host == "*" || host.parse::<IpAddr>().is_err() && is_host_name(host.strip_prefix("*.").unwrap_or(host))
}

fn are_targets(value: &Value) -> bool {
    let Some(list) = value.as_array() else { return false };
    let is_target = |item: &Value| item.as_str().is_some_and(|text| text.parse::<Target>().is_ok());
    let asks_dns = matches!(list.as_slice(), [Value::String(word)] if word == ASK_DNS);
    asks_dns || (1..=MOST).contains(&list.len()) && list.iter().all(is_target)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Config;

    fn read(text: &str, environment: Option<&str>) -> Result<Vec<(String, String)>, String> {
        let environment = environment.map(|value| ("ROLLCALL__ROUTES".to_owned(), value.to_owned()));
        let config = Config::read(text, environment.into_iter()).map_err(|error| error.to_string())?;
        Ok(config.routes.into_iter().map(|(host, targets)| (host, targets.join(","))).collect())
    }

    fn wrong(text: &str) -> String {
        read(text, None).unwrap_err()
    }

    #[test]
    fn the_environment_adds_hosts_and_replaces_those_of_the_file() {
        let text = "[routes]\n\"A.example\" = [\"udp:192.0.2.1:5060\"]\n\"b.example\" = [\"dns\"]\n";
        let both =
            read(text, Some("a.Example = tcp:sbc, udp:192.0.2.2:5070; *=udp:[2001:db8::1]:5060;")).unwrap();
        let expected = [
            ("*", "udp:[2001:db8::1]:5060"),
            ("a.example", "tcp:sbc,udp:192.0.2.2:5070"),
            ("b.example", "dns"),
        ];
        assert_eq!(both, expected.map(|(host, targets)| (host.to_owned(), targets.to_owned())));
        assert!(read("", None).unwrap().is_empty());
        let line = read("", Some("udp:192.0.2.1:5060")).unwrap_err();
        assert!(
            line.starts_with("ROLLCALL__ROUTES = \"udp:192.0.2.1:5060\": expected HOST=TARGET"),
            "{line}"
        );
        let line = read("", Some("a.example=")).unwrap_err();
        assert!(line.starts_with("routes.\"a.example\" = []: expected 1 to 8 targets"), "{line}");
    }

    #[test]
    fn a_wrong_route_is_named_with_what_was_expected() {
        assert_eq!(
            wrong("[routes]\n\"ims.example\" = [\"192.0.2.1:5060\"]"),
            "routes.\"ims.example\" = [\"192.0.2.1:5060\"]: expected 1 to 8 targets as \
             [\"udp:192.0.2.1:5060\", \"tcp:sbc.example.org:5060\"], or [\"dns\"]"
        );
        for list in ["\"udp:192.0.2.1\"", "[]", "[5060]", "[\"dns\", \"udp:sbc\"]", "[\"tls:sbc:5061\"]"] {
            let line = wrong(&format!("[routes]\n\"ims.example\" = {list}"));
            assert!(line.contains("expected 1 to 8 targets"), "{line}");
        }
        for host in ["192.0.2.1", "2001:db8::1", "", "a b", "a.*", "*a", "*.", "a..b"] {
            let line = wrong(&format!("[routes]\n\"{host}\" = [\"udp:sbc\"]"));
            assert!(line.contains("expected the name of a host"), "{line}");
        }
        let twice = wrong("[routes]\n\"a.b\" = [\"dns\"]\n\"A.b\" = [\"dns\"]");
        assert!(twice.contains("expected each host once"), "{twice}");
        assert!(wrong("routes = 1").contains("expected a section [routes]"));
    }
}
