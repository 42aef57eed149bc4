//! What can be typed.

mod as_;
mod load;
mod ue;

pub(crate) use as_::As;
pub(crate) use load::{CallHabits, Load, LoadCommand, LoadPlan, MixShares, resolve};
pub(crate) use ue::{
    CallMethod, Ue, UeAnswer, UeCall, UeCommand, UeRegister, UeRegistration, UeScript, UeSession, Usim,
};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use lab::provisioning::{self, Octets};
use std::net::IpAddr;
use std::path::PathBuf;

/// An S-CSCF in which every private user identity is an actor.
///
/// Start with `rollcall lab`: one node, an HSS and subscribers on this machine, and what to try next.
///
/// Exit codes: 0 done, 1 refused or failed (the reason is on stderr), 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "rollcall", version, propagate_version = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine: a node, an HSS, subscribers, a dashboard.
    Lab(Box<Lab>),
    /// Run one S-CSCF node.
    Node(Node),
    /// Run the lab HSS alone.
    Hss(Hss),
    /// Be a UE with a soft USIM.
    Ue(Ue),
    /// Be an application server: proxy, b2bua, user agent, or one that fails.
    As(Box<As>),
    /// Be many UEs, and measure.
    Load(Load),
    /// List users.
    Users(Users),
    /// Show a user.
    User(User),
    /// Follow a user live: state, deadlines, message ladder.
    Watch(Watch),
    /// Follow the cluster live: nodes, rates, users in re-authentication.
    Top(Top),
    /// Demand that a user re-authenticates (TS 24.229 §5.4.1.6).
    Reauthenticate(Reauthenticate),
    /// End a user's registration (TS 24.229 §5.4.1.5).
    Deregister(Deregister),
    /// Show nodes and who owns what.
    Cluster(Cluster),
    /// Move a node's shards away, so that it can be stopped.
    Drain(Drain),
    /// Ask a node, or the lab HSS, whether it serves.
    Ready(Ready),
    /// Print a completion script, as `source <(rollcall completions bash)`.
    Completions {
        /// For which shell.
        shell: Shell,
    },
}

/// Where a node answers.
#[derive(Args, Debug)]
pub(crate) struct Api {
    /// HTTP interface of any node.
    #[arg(long, env = "ROLLCALL_API", default_value = "http://127.0.0.1:8080", value_name = "URL", value_parser = url)]
    pub(crate) api: String,
    /// Its token.
    #[arg(long, env = "ROLLCALL_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
The node keeps its users in memory. Every key of `rollcall node --print-config` and `rollcall hss --print-config` can be set \
in --config FILE or as ROLLCALL__SECTION__KEY; flags win over both.")]
pub(crate) struct Lab {
    /// Address for everything [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) bind: Option<IpAddr>,
    /// SIP, UDP and TCP [default: 5060]
    #[arg(long, value_name = "PORT")]
    pub(crate) sip_port: Option<u16>,
    /// HTTP interface and dashboard of the node [default: 8080]
    #[arg(long, value_name = "PORT")]
    pub(crate) http_port: Option<u16>,
    /// HTTP interface of the HSS [default: 8081]
    #[arg(long, value_name = "PORT")]
    pub(crate) hss_http_port: Option<u16>,
    /// Diameter [default: 3868]
    #[arg(long, value_name = "PORT")]
    pub(crate) diameter_port: Option<u16>,
    /// Subscribers user000001 .. besides alice and bob
    #[arg(long, value_name = "N")]
    pub(crate) generate: Option<u32>,
    /// Home domain [default: ims.mnc001.mcc001.3gppnetwork.org]
    #[arg(long)]
    pub(crate) domain: Option<String>,
    /// K of all subscribers: 16 characters or 32 hexadecimal digits [default: rollcall-lab-key]
    #[arg(long)]
    pub(crate) k: Option<Octets<16>>,
    /// OP [default: rollcall-lab-op!]
    #[arg(long)]
    pub(crate) op: Option<Octets<16>>,
    /// AMF: 2 characters or 4 hexadecimal digits [default: BB]
    #[arg(long)]
    pub(crate) amf: Option<Octets<2>>,
    /// TOML file with sections of the node and `[hss]`
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Keep users, and what the HSS knows, across restarts in this directory [default: in memory]
    #[arg(long, value_name = "DIR", conflicts_with = "redis")]
    pub(crate) data: Option<PathBuf>,
    /// Keep users in Redis, as redis://HOST:PORT/0; what the HSS knows ends with the lab
    #[arg(long, value_name = "URL")]
    pub(crate) redis: Option<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Signals: TERM and INT end it politely, HUP reads the configuration again (what cannot change while it runs is said).")]
pub(crate) struct Node {
    /// TOML file; every key also as ROLLCALL__SECTION__KEY
    #[arg(long, value_name = "FILE", required_unless_present = "print_config")]
    pub(crate) config: Option<PathBuf>,
    /// Validate the configuration and end
    #[arg(long)]
    pub(crate) check: bool,
    /// Print every key with its default and a comment, and end
    #[arg(long, conflicts_with = "check")]
    pub(crate) print_config: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Hss {
    /// TOML file with a section `[hss]`; every key also as ROLLCALL__HSS__KEY
    #[arg(long, value_name = "FILE", required_unless_present = "print_config")]
    pub(crate) config: Option<PathBuf>,
    /// Print every key with its default and a comment, and end
    #[arg(long)]
    pub(crate) print_config: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum State {
    NotRegistered,
    Registered,
    UnregisteredServices,
}

#[derive(Args, Debug)]
pub(crate) struct Users {
    /// Only in this state
    #[arg(long)]
    pub(crate) state: Option<State>,
    /// Only with this text in an identity
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) q: Option<String>,
    /// So many at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) api: Api,
}

#[derive(Args, Debug)]
pub(crate) struct User {
    /// Private user identity, as NAME@DOMAIN
    #[arg(value_parser = impi)]
    pub(crate) impi: String,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) api: Api,
}

#[derive(Args, Debug)]
#[command(after_help = "In a terminal the view is redrawn; elsewhere each step is one line.")]
pub(crate) struct Watch {
    /// Private user identity, as NAME@DOMAIN
    #[arg(value_parser = impi)]
    pub(crate) impi: String,
    #[command(flatten)]
    pub(crate) api: Api,
}

#[derive(Args, Debug)]
#[command(after_help = "In a terminal the view is redrawn; elsewhere it is printed once.")]
pub(crate) struct Top {
    /// Seconds between two looks
    #[arg(long, value_name = "S", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) every: u64,
    #[command(flatten)]
    pub(crate) api: Api,
}

#[derive(Args, Debug)]
pub(crate) struct Reauthenticate {
    /// Private user identity, as NAME@DOMAIN
    #[arg(value_parser = impi)]
    pub(crate) impi: String,
    /// Seconds the user has [default: the node's policy]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) period: Option<u32>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Follow it to its end; 0 only if the user re-authenticated
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) api: Api,
}

#[derive(Args, Debug)]
pub(crate) struct Deregister {
    /// Private user identity, as NAME@DOMAIN
    #[arg(value_parser = impi)]
    pub(crate) impi: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) api: Api,
}

#[derive(Args, Debug)]
pub(crate) struct Cluster {
    /// As JSON, with every shard
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) api: Api,
}

#[derive(Args, Debug)]
pub(crate) struct Drain {
    /// Its [node] id
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) api: Api,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Ends with 0 only if it serves; otherwise what is missing is on stderr. Containers use it to see whether they are well.")]
pub(crate) struct Ready {
    /// Ask again until it serves, that many seconds at most
    #[arg(long, value_name = "S", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub(crate) wait: u64,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// Prints the completion script.
pub(crate) fn complete(shell: Shell) {
    clap_complete::generate(shell, &mut Cli::command(), "rollcall", &mut std::io::stdout());
}

fn impi(text: &str) -> Result<String, String> {
    match text.rsplit_once('@') {
        Some((name, realm))
            if !name.is_empty() && !realm.is_empty() && !text.contains(char::is_whitespace) =>
        {
            Ok(text.to_owned())
        }
        _ => Err(format!("expected NAME@DOMAIN, as alice@{}", provisioning::DOMAIN)),
    }
}

fn url(text: &str) -> Result<String, String> {
    match text.strip_prefix("http://") {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err("expected http://HOST:PORT".into()),
    }
}

impl State {
    /// As the interface writes it.
    pub(crate) fn text(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_typed_is_checked_before_anything_happens() {
        for line in [
            "rollcall user alice",
            "rollcall user @a.b",
            "rollcall users --limit 0",
            "rollcall users --state happy",
            "rollcall users --api ftp://x",
            "rollcall users --api http://",
            "rollcall reauthenticate a@b --period 0",
            "rollcall reauthenticate a@b --period 86401",
            "rollcall deregister a@b",
            "rollcall node",
            "rollcall lab --sip-port 70000",
            "rollcall lab --k short",
            "rollcall ue register --impi a@b --k 00112233445566778899aabbccddeeff --op 0 ",
            "rollcall ue subscribe --impi a@b --as operator",
            "rollcall load register --rate 0",
            "rollcall load call --hold -1",
            "rollcall load call --reject 101",
            "rollcall load mixed --message -1",
            "rollcall ue call",
            "rollcall ue call --impi a@b --to sip:c@d --method BYE",
            "rollcall ue call --impi a@b --to sip:c@d --expect 100",
            "rollcall ue call --impi a@b --to sip:c@d --expect 404 --expect-bye",
            "rollcall ue call --impi a@b --to sip:c@d --header nonsense",
            "rollcall ue call --impi a@b --to sip:c@d --no-register --subscribe reg",
            "rollcall ue answer --impi a@b --reject 200",
            "rollcall ue answer --impi a@b --reject 486 --never",
            "rollcall as --mode nice",
            "rollcall as --mode redirect",
            "rollcall as --listen 127.0.0.1:5080",
            "rollcall as --as-register-status 100",
            "rollcall as --s-cscf-name sip:s.example",
        ] {
            let error = Cli::try_parse_from(line.split_whitespace()).map(|_| ()).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn what_the_interface_promises_can_be_typed() {
        for line in [
            "rollcall lab --bind 127.0.0.1 --sip-port 5060 --http-port 8080 --hss-http-port 8081 --diameter-port 3868 --generate 1000",
            "rollcall lab --domain a.b --k rollcall-lab-key --op rollcall-lab-op! --amf BB --config lab.toml",
            "rollcall node --config node.toml --check",
            "rollcall node --print-config",
            "rollcall hss --config hss.toml",
            "rollcall ue register --impi a@b --proxy [::1]:5060 --impu tel:+1 --transport tcp --k 00112233445566778899aabbccddeeff \
             --opc 00112233445566778899aabbccddeeff --expires 60 --path sip:p@1.2.3.4;lr",
            "rollcall ue subscribe --impi a@b --proxy h:1 --event registration-state --as p-cscf --on-reauth wrong",
            "rollcall ue call --impi a@b --proxy h:1 --to tel:+1 --hold 0.5 --ring-timeout 5 --cancel-after 2 --reinvite --update \
             --session-expires 90 --prack --privacy id --method INVITE --late-offer --header X-Test:1 --listen 127.0.0.1:5070",
            "rollcall ue call --impi a@b --to sip:c@d --100rel --expect 404 --subscribe reg --on-reauth wrong",
            "rollcall ue call --impi a@b --to sip:c@d --hold 60 --expect-bye --no-record-route",
            "rollcall ue call --impi a@b --to sip:c@d --method message --body hello",
            "rollcall ue answer --impi a@b --ring 1 --reject 486",
            "rollcall ue answer --impi a@b --never --count 2 --reliable --hangup-after 3 --stay 60 --min-se 90 --refresh",
            "rollcall ue script --impi a@b --proxy h:1 steps.txt",
            "rollcall as --listen udp:127.0.0.1:5080 --listen tcp:127.0.0.1:5080 --mode reject --status 503 --progress 183 --delay-ms 5",
            "rollcall as --mode retarget --to sip:c@d --http 127.0.0.1:8090 --as-register-status 0 --no-record-route",
            "rollcall as --mode slow --s-cscf 127.0.0.1:5060 --s-cscf-name sip:scscf.example:5060",
            "rollcall load register --rate 12.5 --users 10 --duration 3 --json",
            "rollcall load reregister",
            "rollcall load register --subscribe",
            "rollcall load call --users 1000 --rate 100 --duration 10 --hold 2.5 --ring 200 --reject 5 --cancel 5 --json",
            "rollcall load mixed --rate 50 --register 1 --reregister 2 --call 3 --message 4 --subscribe 0 --callee-ends 10",
            "rollcall users --state unregistered_services -q ali --json",
            "rollcall user a@b --json --api http://127.0.0.1:1/ --token t",
            "rollcall watch a@b",
            "rollcall top --every 2",
            "rollcall reauthenticate a@b --period 60 --wait",
            "rollcall deregister a@b --reason stolen",
            "rollcall cluster --json",
            "rollcall drain n1",
            "rollcall ready --wait 10 --api http://127.0.0.1:8081",
            "rollcall completions zsh",
        ] {
            if let Err(error) = Cli::try_parse_from(line.split_whitespace()) {
                panic!("{line}: {error}");
            }
        }
    }
}
