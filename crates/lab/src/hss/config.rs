//! What the lab HSS is told: the section `[hss]` of a configuration file, and its keys in the environment.

use super::provision::Provision;
use crate::provisioning::{self, Octets};
use std::{fmt::Write, net::SocketAddr, path::PathBuf};
use toml::{Table, Value};

const PREFIX: &str = "ROLLCALL__HSS__";

/// How the HSS is set up. The default is the lab's.
#[derive(Clone, Debug)]
pub struct Config {
    /// Home domain: realm of the identities and of Diameter.
    pub domain: String,
    /// Where Diameter connections are accepted, TCP.
    pub diameter_listen: SocketAddr,
    /// Where HTTP is served.
    pub http_listen: SocketAddr,
    /// How many subscribers `user000001` .. exist besides the named ones.
    pub generate: u32,
    /// K of all who have none of their own.
    pub k: Octets<16>,
    /// OP.
    pub op: Octets<16>,
    /// AMF.
    pub amf: Octets<2>,
    /// Further subscribers; alice and bob exist anyway.
    pub subscribers: Vec<(String, Provision)>,
    /// Take no RAND whose RES has a zero octet: some tools handle RES as a C string.
    pub avoid_zero_res: bool,
    /// The file that keeps what the HSS knows across restarts, if any.
    pub journal: Option<PathBuf>,
    /// Keep the S-CSCF name of a user whose registration ends, if the S-CSCF asks for it.
    pub store_server_name: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            domain: provisioning::DOMAIN.to_owned(),
            diameter_listen: SocketAddr::from(([127, 0, 0, 1], 3868)),
            http_listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            generate: 0,
            k: provisioning::K,
            op: provisioning::OP,
            amf: provisioning::AMF,
            subscribers: Vec::new(),
            avoid_zero_res: true,
            journal: None,
            store_server_name: true,
        }
    }
}

/// Why a configuration cannot be used, in one line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is no TOML.
    #[error("not TOML: {0}")]
    Syntax(String),
    /// Nothing there is meant for the HSS.
    #[error("section [hss] is missing")]
    NoSection,
    /// A key that does not exist.
    #[error("hss.{key}: unknown key; expected one of {}", KEYS.join(", "))]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// A value that the key cannot have.
    #[error("hss.{key} = {value}: expected {expected}")]
    BadValue {
        /// The key.
        key: String,
        /// The value, or `(hidden)`.
        value: String,
        /// What would do.
        expected: String,
    },
}

const KEYS: [&str; 11] = [
    "domain",
    "diameter_listen",
    "http_listen",
    "generate",
    "k",
    "op",
    "amf",
    "subscribers",
    "avoid_zero_res",
    "journal",
    "store_server_name",
];

impl Config {
    /// Reads the section `[hss]` of a TOML text, then the variables `ROLLCALL__HSS__KEY` of `environment`.
    pub fn read(
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let file: Table = text.parse().map_err(|error: toml::de::Error| {
            ConfigError::Syntax(error.to_string().replace('\n', " ").trim().into())
        })?;
        let Some(Value::Table(section)) = file.get("hss") else { return Err(ConfigError::NoSection) };
        let mut config = Self::default();
        for (key, value) in section {
            config.set(key, value)?;
        }
        config.environment(environment)?;
        Ok(config)
    }

    /// Applies the variables `ROLLCALL__HSS__KEY`; others are not looked at.
    pub fn environment(
        &mut self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        for (name, text) in environment {
            let Some(key) = name.strip_prefix(PREFIX) else { continue };
            let value =
                format!("value = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
            self.set(&key.to_ascii_lowercase(), &value.unwrap_or(Value::String(text)))?;
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &Value) -> Result<(), ConfigError> {
        let bad = |expected: &str| ConfigError::BadValue {
            key: key.into(),
            value: if matches!(key, "k" | "op" | "amf" | "subscribers") {
                "(hidden)".into()
            } else {
                value.to_string()
            },
            expected: expected.into(),
        };
        let address =
            || value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| bad("\"ADDRESS:PORT\""));
        let flag = || value.as_bool().ok_or_else(|| bad("true or false"));
        match key {
            "domain" => {
                let domain = value.as_str().filter(|text| is_domain(text));
                self.domain = domain.ok_or_else(|| bad("a domain name"))?.to_owned();
            }
            "diameter_listen" => self.diameter_listen = address()?,
            "http_listen" => self.http_listen = address()?,
            "generate" => {
                let number = value.as_integer().and_then(|n| u32::try_from(n).ok());
                self.generate = number
                    .filter(|n| *n <= provisioning::MOST_GENERATED)
                    .ok_or_else(|| bad("a number from 0 to 9999999"))?;
            }
            "k" => self.k = octets(value).map_err(|expected| bad(&expected))?,
            "op" => self.op = octets(value).map_err(|expected| bad(&expected))?,
            "amf" => self.amf = octets(value).map_err(|expected| bad(&expected))?,
            "avoid_zero_res" => self.avoid_zero_res = flag()?,
            "journal" => {
                let path = value.as_str().ok_or_else(|| bad("the path of a file, or nothing"))?;
                self.journal = (!path.is_empty()).then(|| PathBuf::from(path));
            }
            "store_server_name" => self.store_server_name = flag()?,
            "subscribers" => {
                let entries = value.as_array().ok_or_else(|| bad("an array of tables, each with an impi"))?;
                self.subscribers = entries
                    .iter()
                    .map(|entry| subscriber(entry).map_err(|expected| bad(&expected)))
                    .collect::<Result<_, _>>()?;
            }
            _ => return Err(ConfigError::UnknownKey { key: key.into() }),
        }
        Ok(())
    }

    /// Every key with its default and a comment, as TOML.
    pub fn describe() -> String {
        let default = Self::default();
        let mut text = String::from("[hss]\n");
        let mut line = |key: &str, value: &dyn std::fmt::Display, comment: &str| {
            let _ = writeln!(text, "{:<40} # {comment}", format!("{key} = {value}"));
        };
        line("domain", &format_args!("\"{}\"", default.domain), "home domain and Diameter realm");
        line("diameter_listen", &format_args!("\"{}\"", default.diameter_listen), "Diameter over TCP");
        line("http_listen", &format_args!("\"{}\"", default.http_listen), "HTTP control");
        line("generate", &default.generate, "subscribers user000001 .. besides alice and bob");
        line("k", &"\"rollcall-lab-key\"", "K: 16 characters or 32 hexadecimal digits");
        line("op", &"\"rollcall-lab-op!\"", "OP: 16 characters or 32 hexadecimal digits");
        line("amf", &"\"BB\"", "AMF: 2 characters or 4 hexadecimal digits");
        line(
            "subscribers",
            &"[]",
            "further ones: [{ impi, identities = [{ impu, barred }], scheme, k, op, opc, amf, password, profile_xml }]",
        );
        line("avoid_zero_res", &default.avoid_zero_res, "take no RAND whose RES has a zero octet");
        line(
            "journal",
            &"\"\"",
            "file that keeps what the HSS knows across restarts; empty: nothing is kept",
        );
        line(
            "store_server_name",
            &default.store_server_name,
            "keep the S-CSCF name after a registration if asked to",
        );
        text
    }
}

fn is_domain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text
            .split('.')
            .all(|label| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
}

fn octets<const N: usize>(value: &Value) -> Result<Octets<N>, String> {
    let expected = || format!("{N} characters or {} hexadecimal digits", 2 * N);
    value.as_str().and_then(|text| text.parse().ok()).ok_or_else(expected)
}

fn subscriber(entry: &Value) -> Result<(String, Provision), String> {
    let mut table = entry.as_table().ok_or("tables")?.clone();
    let Some(Value::String(impi)) = table.remove("impi") else {
        return Err("an impi in every entry".into());
    };
    let provision =
        Provision::deserialize_from(table).map_err(|error| format!("in the entry of {impi}: {error}"))?;
    Ok((impi, provision))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refused(text: &str) -> String {
        Config::read(text, []).unwrap_err().to_string()
    }

    #[test]
    fn reads_every_key() {
        let text = "[hss]\ndomain = \"home.example\"\ndiameter_listen = \"127.0.0.1:0\"\nhttp_listen = \"[::1]:81\"\n\
                    generate = 7\nk = \"000102030405060708090a0b0c0d0e0f\"\nop = \"rollcall-lab-op!\"\namf = \"8000\"\n\
                    avoid_zero_res = false\nstore_server_name = false\njournal = \"/tmp/hss.jsonl\"\n\
                    [[hss.subscribers]]\nimpi = \"carol@home.example\"\nscheme = \"digest\"\npassword = \"secret\"\n";
        let config = Config::read(text, []).unwrap();
        assert_eq!((config.domain.as_str(), config.generate, config.k.0[15]), ("home.example", 7, 15));
        assert_eq!(
            (config.amf.0, config.avoid_zero_res, config.store_server_name),
            ([0x80, 0], false, false)
        );
        assert_eq!(config.subscribers[0].0, "carol@home.example");
        assert_eq!(config.journal, Some(PathBuf::from("/tmp/hss.jsonl")));
    }

    #[test]
    fn what_it_describes_it_reads_and_it_is_the_default() {
        let config = Config::read(&Config::describe(), []).unwrap();
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
        assert!(
            config.k == provisioning::K && config.op == provisioning::OP && config.amf == provisioning::AMF
        );
    }

    #[test]
    fn a_wrong_key_or_value_is_named_in_one_line() {
        assert_eq!(refused("[hss]\ngenerate = -1"), "hss.generate = -1: expected a number from 0 to 9999999");
        assert_eq!(
            refused("[hss]\nhttp_listen = \"here\""),
            "hss.http_listen = \"here\": expected \"ADDRESS:PORT\""
        );
        assert!(
            refused("[hss]\ngenerat = 1").starts_with("hss.generat: unknown key; expected one of domain, ")
        );
        assert_eq!(refused("[node]\nid = \"n1\""), "section [hss] is missing");
        let wrong = refused("[[hss.subscribers]]\nimpi = \"a@b\"\nschema = \"aka\"");
        assert!(wrong.contains("in the entry of a@b") && wrong.contains("schema"), "{wrong}");
        assert!(!wrong.contains('\n'), "{wrong}");
    }

    #[test]
    fn a_key_is_not_shown_in_an_error() {
        let wrong = refused("[hss]\nk = \"my secret\"");
        assert_eq!(wrong, "hss.k = (hidden): expected 16 characters or 32 hexadecimal digits");
    }

    #[test]
    fn the_environment_has_the_last_word() {
        let variables =
            [("ROLLCALL__HSS__GENERATE", "5"), ("ROLLCALL__HSS__DOMAIN", "other.example"), ("PATH", "/")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = Config::read("[hss]\ngenerate = 1", variables).unwrap();
        assert_eq!((config.generate, config.domain.as_str()), (5, "other.example"));
        let wrong = [("ROLLCALL__HSS__GENERATE".to_owned(), "many".to_owned())];
        assert!(Config::read("[hss]", wrong).unwrap_err().to_string().contains("\"many\""));
    }
}
