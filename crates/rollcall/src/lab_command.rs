//! Everything on one machine: HSS, node, dashboard.

use crate::cli::Lab;
use crate::port::{self, Over};
use crate::{log, signals};
use anyhow::{Context, ensure};
use lab::{hss, provisioning};
use node::{Config, Node};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};
use toml::{Table, Value};

/// The lab is ready within so long, or says why not.
const READY_WITHIN: Duration = Duration::from_secs(5);
const HSS_VARIABLES: &str = "ROLLCALL__HSS__";

pub(crate) fn run(args: Box<Lab>) -> anyhow::Result<()> {
    let (mut table, path) = (file(args.config.as_deref())?, args.config.as_deref());
    refuse_open_interface(&args, &table)?;
    let hss_config = hss_config(&args, table.remove("hss")).with_context(|| named(path))?;
    let config = node_config(&args, table).with_context(|| named(path))?;
    let asked = free(&config, &hss_config)?;
    log::start(&config.observe.log)?;

    if let Some(folder) = &args.data {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("--data {}: expected a directory", folder.display()))?;
    }
    let store = described(&config);
    let hss = hss::Hss::start(hss_config.clone())?;
    let mut config = config;
    config.cx.peers = vec![format!("tcp:{}", reachable(hss.diameter_addr))];
    let token = config.http.token.0.clone();
    let name = config.node.name.clone();
    let running = Node::start(config)?;
    let begun = Instant::now();
    while let Err(missing) = ready(running.http_addr) {
        ensure!(running.is_running(), "the node ended by itself; the log says why");
        ensure!(begun.elapsed() < READY_WITHIN, "not ready within 5 s: {missing}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let sip = running.sip_addrs.first().map_or(asked, |(_, address)| *address);
    let text = banner(&Picture {
        sip,
        name: &name,
        http: running.http_addr,
        token: &token,
        hss: &hss,
        config: &hss_config,
        store: &store,
    });
    let mut out = io::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()?;

    let turn = || tracing::warn!("the lab does not read its configuration again");
    let ended = signals::wait(turn, || !running.is_running());
    running.stop_and_wait();
    hss.stop();
    ended
}

fn file(path: Option<&Path>) -> anyhow::Result<Table> {
    let Some(path) = path else { return Ok(Table::new()) };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("--config {}: expected a TOML file", path.display()))?;
    text.parse().map_err(|error: toml::de::Error| {
        let line =
            error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        anyhow::anyhow!("--config {}, line {line}: {}; expected TOML", path.display(), error.message())
    })
}

fn named(path: Option<&Path>) -> String {
    path.map_or_else(|| "lab".into(), |path| path.display().to_string())
}

fn environment(of_hss: bool) -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(move |(name, _)| name.starts_with(HSS_VARIABLES) == of_hss)
}

fn hss_config(args: &Lab, section: Option<Value>) -> anyhow::Result<hss::Config> {
    let mut table = Table::new();
    table.insert("hss".into(), section.unwrap_or_else(|| Value::Table(Table::new())));
    let mut config = hss::Config::read(&table.to_string(), environment(true))?;
    if let Some(domain) = &args.domain {
        config.domain.clone_from(domain);
    }
    config.generate = args.generate.unwrap_or(config.generate);
    config.k = args.k.unwrap_or(config.k);
    config.op = args.op.unwrap_or(config.op);
    config.amf = args.amf.unwrap_or(config.amf);
    if let Some(folder) = &args.data {
        config.journal = Some(folder.join("hss.jsonl"));
    }
    config.diameter_listen = place(config.diameter_listen, args.bind, args.diameter_port);
    config.http_listen = place(config.http_listen, args.bind, args.hss_http_port);
    Ok(config)
}

fn place(address: SocketAddr, ip: Option<IpAddr>, port: Option<u16>) -> SocketAddr {
    SocketAddr::new(ip.unwrap_or(address.ip()), port.unwrap_or(address.port()))
}

/// An interface that others can reach needs a token.
fn refuse_open_interface(args: &Lab, table: &Table) -> anyhow::Result<()> {
    let Some(ip) = args.bind.filter(|ip| !ip.is_loopback()) else { return Ok(()) };
    let has_token = table.get("http").and_then(|http| http.get("token")).is_some()
        || std::env::var_os("ROLLCALL__HTTP__TOKEN").is_some();
    ensure!(
        has_token,
        "--bind {ip}: off loopback the HTTP interface needs a token; set ROLLCALL__HTTP__TOKEN, or token in [http] of --config"
    );
    Ok(())
}

/// The lab's defaults, then the file, then the environment, then the flags.
fn node_config(args: &Lab, mut table: Table) -> anyhow::Result<Config> {
    let ip = args.bind.unwrap_or(IpAddr::from([127, 0, 0, 1]));
    let sip = SocketAddr::new(ip, args.sip_port.unwrap_or(5060));
    let domain = args.domain.as_deref().unwrap_or(provisioning::DOMAIN);
    let domain = match table.get("node").and_then(|node| node.get("domain")).and_then(Value::as_str) {
        Some(given) if args.domain.is_none() => given.to_owned(),
        _ => domain.to_owned(),
    };
    let listen = Value::Array([format!("udp:{sip}"), format!("tcp:{sip}")].map(Value::String).into());
    let http = SocketAddr::new(ip, args.http_port.unwrap_or(8080)).to_string();
    let mut set = |section: &str, key: &str, value: Value, is_flag: bool| {
        let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
        // What is no table is refused by name when the whole is read.
        let Some(keys) = section.as_table_mut() else { return };
        if is_flag || !keys.contains_key(key) {
            keys.insert(key.into(), value);
        }
    };
    let moved = |port: Option<u16>| args.bind.is_some() || port.is_some();
    set("node", "id", "lab".into(), false);
    set(
        "node",
        "name",
        format!("sip:scscf.{domain}:{}", sip.port()).into(),
        args.domain.is_some() || args.sip_port.is_some(),
    );
    set("node", "domain", domain.into(), args.domain.is_some());
    set("sip", "listen", listen, moved(args.sip_port));
    set("http", "listen", http.into(), moved(args.http_port));
    if let Some(folder) = &args.data {
        let folder = folder.to_str().context("--data: expected a path in UTF-8")?;
        set("store", "kind", "embedded".into(), true);
        set("store", "dir", folder.into(), true);
    }
    if let Some(url) = &args.redis {
        set("store", "kind", "redis".into(), true);
        set("store", "urls", Value::Array(vec![url.as_str().into()]), true);
    }
    set("reauthentication", "min_period", 1.into(), false);
    set("observe", "log", "warn".into(), false);
    let overrides = environment(false).filter(|(name, _)| {
        let flagged = [
            ("ROLLCALL__SIP__LISTEN", moved(args.sip_port)),
            ("ROLLCALL__HTTP__LISTEN", moved(args.http_port)),
            ("ROLLCALL__NODE__DOMAIN", args.domain.is_some()),
        ];
        !flagged.contains(&(name.as_str(), true))
    });
    Ok(Config::read(&table.to_string(), overrides)?)
}

/// Checks that every port is free, so that a refusal names its flag; the first SIP address.
fn free(config: &Config, hss: &hss::Config) -> anyhow::Result<SocketAddr> {
    let mut first = None;
    for text in &config.sip.listen {
        let Some((transport, address)) = text.split_once(':') else { continue };
        let Ok(address) = address.parse::<SocketAddr>() else { continue };
        let over = if transport == "udp" { Over::UdpAndTcp } else { Over::Tcp };
        port::check("--sip-port", address, over)?;
        first = first.or(Some(address));
    }
    port::check("--http-port", config.http.listen, Over::Tcp)?;
    port::check("--hss-http-port", hss.http_listen, Over::Tcp)?;
    port::check("--diameter-port", hss.diameter_listen, Over::Tcp)?;
    first.context("sip.listen names no address")
}

/// What is missing until the node is ready.
fn ready(http: SocketAddr) -> Result<(), String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(1)))
        .build()
        .into();
    let mut answer =
        agent.get(format!("http://{}/readyz", reachable(http))).call().map_err(|error| error.to_string())?;
    if answer.status().as_u16() == 200 {
        return Ok(());
    }
    let text = answer.body_mut().read_to_string().unwrap_or_default();
    let problem: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    Err(problem["detail"].as_str().unwrap_or("the node does not say what").to_owned())
}

/// An address that a client on this machine can use.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from(([127, 0, 0, 1], address.port())),
        IpAddr::V6(ip) if ip.is_unspecified() => {
            SocketAddr::new(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), address.port())
        }
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}

struct Picture<'a> {
    sip: SocketAddr,
    name: &'a str,
    http: SocketAddr,
    token: &'a str,
    hss: &'a hss::Running,
    config: &'a hss::Config,
    store: &'a str,
}

/// Where users are kept. A password in the URL of Redis is not shown.
fn described(config: &Config) -> String {
    let store = &config.store;
    match store.kind.as_str() {
        "embedded" => format!("{}: users are here again when the lab starts again", store.dir),
        "redis" => {
            let hosts = store.urls.iter().map(|url| url.0.rsplit(['@', '/']).nth(1).unwrap_or("").to_owned());
            format!(
                "redis {}: users are here again when the lab starts again",
                hosts.collect::<Vec<_>>().join(", ")
            )
        }
        _ => "memory: the users are forgotten when the lab ends".to_owned(),
    }
}

fn banner(lab: &Picture<'_>) -> String {
    let Picture { sip, name, http, config, store, .. } = lab;
    let domain = &config.domain;
    let (local_sip, local_http) = (reachable(*sip), reachable(*http));
    let me = me();
    let api = if local_http == SocketAddr::from(([127, 0, 0, 1], 8080)) {
        String::new()
    } else {
        format!(" --api http://{local_http}")
    };
    let token = if lab.token.is_empty() { "" } else { " --token TOKEN" };
    let client = format!("{api}{token}");
    let is_labs = config.k.0 == provisioning::K.0 && config.op.0 == provisioning::OP.0;
    let usim = if is_labs { "" } else { " --k K --op OP" };
    let secrets = if is_labs {
        format!(
            "K {}, OP {}, AMF BB, as ASCII; Milenage",
            ascii(&provisioning::K.0),
            ascii(&provisioning::OP.0)
        )
    } else {
        "K, OP and AMF as given; Milenage".into()
    };
    let generated = match config.generate {
        0 => String::new(),
        1 => format!(", {}", provisioning::generated_name(1)),
        n => format!(", {} .. {}", provisioning::generated_name(1), provisioning::generated_name(n)),
    };
    let mut text = String::new();
    let _ = write!(
        text,
        "\
The lab is ready: an S-CSCF, its HSS and subscribers in this process.

  SIP          udp and tcp {sip}, {name}
  dashboard    http://{local_http}/
  interface    http://{local_http}/openapi.json, metrics at http://{local_http}/metrics
  HSS          diameter tcp {diameter}, http://{hss_http}/subscribers
  store        {store}
  subscribers  alice, bob{generated} @{domain}
               {secrets}

Try next, each in a terminal of its own:

  {me} ue subscribe --impi alice@{domain} --proxy {local_sip}{usim}
  {me} watch alice@{domain}{client}
  {me} reauthenticate alice@{domain} --period 60 --wait{client}

And a call, which ends when its caller does not answer the network:

  {me} ue answer --impi bob@{domain} --proxy {local_sip}{usim}
  {me} ue call --impi alice@{domain} --proxy {local_sip}{usim} --to sip:bob@{domain} --hold 600 --on-reauth ignore
  {me} reauthenticate alice@{domain} --period 5{client}

Ctrl-C ends it all.
",
        diameter = lab.hss.diameter_addr,
        hss_http = reachable(lab.hss.http_addr),
    );
    text
}

fn ascii(octets: &[u8]) -> String {
    octets.iter().map(|octet| char::from(*octet)).collect()
}

/// How this program is called, so that what is printed can be copied.
fn me() -> String {
    let is_on_path = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("rollcall").is_file()));
    let called = std::env::args().next().unwrap_or_default();
    match called.as_str() {
        "" => "rollcall".into(),
        _ if is_on_path => "rollcall".into(),
        called if called.contains(char::is_whitespace) => format!("'{called}'"),
        called => called.into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn lab(line: &str) -> Box<Lab> {
        let Command::Lab(args) =
            Cli::try_parse_from(format!("rollcall lab {line}").split_whitespace()).unwrap().command
        else {
            panic!("{line}");
        };
        args
    }

    #[test]
    fn the_defaults_are_the_labs() {
        let config = node_config(&lab(""), Table::new()).unwrap();
        assert_eq!(config.sip.listen, ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"]);
        assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.node.name, "sip:scscf.ims.mnc001.mcc001.3gppnetwork.org:5060");
        assert_eq!(config.reauthentication.min_period, 1);
        let hss = hss_config(&lab(""), None).unwrap();
        assert_eq!((hss.diameter_listen.port(), hss.http_listen.port(), hss.generate), (3868, 8081, 0));
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_the_defaults() {
        let table = || -> Table {
            "[http]\nlisten = \"127.0.0.1:9\"\n[node]\ndomain = \"c.d\"\n[reauthentication]\nmin_period = 5\n"
                .parse()
                .unwrap()
        };
        let config = node_config(&lab(""), table()).unwrap();
        assert_eq!((config.http.listen.port(), config.node.name.as_str()), (9, "sip:scscf.c.d:5060"));
        assert_eq!(config.reauthentication.min_period, 5);
        let args = lab(
            "--http-port 10 --sip-port 11 --domain a.b --generate 3 --k 00112233445566778899aabbccddeeff",
        );
        let config = node_config(&args, table()).unwrap();
        assert_eq!((config.http.listen.port(), config.node.name.as_str()), (10, "sip:scscf.a.b:11"));
        let hss = hss_config(&args, Some("[hss]\ngenerate = 9\n".parse::<Table>().unwrap()["hss"].clone()))
            .unwrap();
        assert_eq!((hss.domain.as_str(), hss.generate, hss.k.0[15]), ("a.b", 3, 0xff));
    }

    #[test]
    fn an_open_interface_needs_a_token_and_a_wrong_key_is_named() {
        let refused = refuse_open_interface(&lab("--bind 0.0.0.0"), &Table::new()).unwrap_err().to_string();
        assert!(refused.contains("--bind 0.0.0.0") && refused.contains("ROLLCALL__HTTP__TOKEN"), "{refused}");
        let table: Table = "[http]\ntoken = \"t\"\n".parse().unwrap();
        assert!(refuse_open_interface(&lab("--bind 0.0.0.0"), &table).is_ok());
        assert!(node_config(&lab("--bind 0.0.0.0"), table).is_ok());
        let table: Table = "[sipp]\nlisten = 1\n".parse().unwrap();
        let refused = node_config(&lab(""), table).unwrap_err().to_string();
        assert!(refused.contains("sipp") && !refused.contains('\n'), "{refused}");
    }

    #[test]
    fn users_are_kept_where_the_flag_says_and_no_password_is_shown() {
        let args = lab("--data /tmp/x");
        let config = node_config(&args, Table::new()).unwrap();
        assert_eq!((config.store.kind.as_str(), config.store.dir.as_str()), ("embedded", "/tmp/x"));
        assert_eq!(hss_config(&args, None).unwrap().journal, Some("/tmp/x/hss.jsonl".into()));
        assert!(described(&config).starts_with("/tmp/x: "));
        let config = node_config(&lab("--redis redis://me:secret@10.0.0.1:6379/3"), Table::new()).unwrap();
        assert_eq!(config.store.urls[0].0, "redis://me:secret@10.0.0.1:6379/3");
        assert!(described(&config).starts_with("redis 10.0.0.1:6379: "), "{}", described(&config));
        assert!(described(&node_config(&lab(""), Table::new()).unwrap()).starts_with("memory: "));
        assert!(Cli::try_parse_from(["rollcall", "lab", "--data", "x", "--redis", "y"]).is_err());
    }
}
