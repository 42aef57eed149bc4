//! `rollcall load`.

use super::Usim;
use clap::{Args, Subcommand};
use lab::{
    load::{Entry, Shares},
    provisioning,
};
use std::{net::SocketAddr, path::PathBuf, str::FromStr};

const CALLING: &str = "The lab needs twice as many subscribers: rollcall lab --generate 2N";
const REGISTERING: &str = "The lab needs as many subscribers: rollcall lab --generate N";

#[derive(Args, Debug)]
pub(crate) struct Load {
    #[command(subcommand)]
    pub(crate) command: LoadCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LoadCommand {
    /// Initial registrations: REGISTER, 401, answer, 200.
    #[command(after_help = REGISTERING)]
    Register(LoadRegistrations),
    /// Registers everybody first, then measures protected re-registrations.
    #[command(after_help = REGISTERING)]
    Reregister(LoadRegistrations),
    /// Registers callers and callees first, then measures calls, both ends of which are played here.
    #[command(after_help = CALLING)]
    Call(LoadCall),
    /// Registers as for calls first, then measures everything at once, each kind in its share of the rate.
    #[command(after_help = CALLING)]
    Mixed(LoadMixed),
}

impl LoadCommand {
    /// What all have in common.
    pub(crate) fn plan(&self) -> &LoadPlan {
        match self {
            Self::Register(args) | Self::Reregister(args) => &args.plan,
            Self::Call(args) => &args.plan,
            Self::Mixed(args) => &args.plan,
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct LoadRegistrations {
    #[command(flatten)]
    pub(crate) plan: LoadPlan,
    /// Each user subscribes to its registration state once it is registered, and stays subscribed: every further registration
    /// of its must be followed by a NOTIFY
    #[arg(long)]
    pub(crate) subscribe: bool,
}

#[derive(Args, Debug)]
pub(crate) struct LoadCall {
    #[command(flatten)]
    pub(crate) plan: LoadPlan,
    #[command(flatten)]
    pub(crate) habits: CallHabits,
}

#[derive(Args, Debug)]
pub(crate) struct LoadMixed {
    #[command(flatten)]
    pub(crate) plan: LoadPlan,
    #[command(flatten)]
    pub(crate) habits: CallHabits,
    #[command(flatten)]
    pub(crate) shares: MixShares,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Shares, in proportion to one another")]
pub(crate) struct MixShares {
    /// Initial registrations
    #[arg(long, value_name = "SHARE", default_value_t = Shares::default().register, value_parser = share())]
    pub(crate) register: u32,
    /// Re-registrations
    #[arg(long, value_name = "SHARE", default_value_t = Shares::default().reregister, value_parser = share())]
    pub(crate) reregister: u32,
    /// Calls
    #[arg(long, value_name = "SHARE", default_value_t = Shares::default().call, value_parser = share())]
    pub(crate) call: u32,
    /// Short messages
    #[arg(long, value_name = "SHARE", default_value_t = Shares::default().message, value_parser = share())]
    pub(crate) message: u32,
    /// Subscriptions to the registration state, each ended at once
    #[arg(long, value_name = "SHARE", default_value_t = Shares::default().subscribe, value_parser = share())]
    pub(crate) subscribe: u32,
}

fn share() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(..=1000)
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Calls")]
pub(crate) struct CallHabits {
    /// How long a call lasts, seconds
    #[arg(long, value_name = "S", default_value_t = 10.0, value_parser = seconds)]
    pub(crate) hold: f64,
    /// How long it rings before the answer or the CANCEL, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=60_000))]
    pub(crate) ring: u64,
    /// Share of calls refused with 486 (Busy Here)
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=100))]
    pub(crate) reject: u8,
    /// Share of calls cancelled by the caller
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=100))]
    pub(crate) cancel: u8,
    /// Share of answered calls ended by the callee
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(..=100))]
    pub(crate) callee_ends: u8,
}

#[derive(Args, Debug)]
pub(crate) struct LoadPlan {
    /// Where SIP is sent: one node, or several of a cluster with commas between
    #[arg(
        long,
        env = "ROLLCALL_PROXY",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:5060",
        value_delimiter = ','
    )]
    pub(crate) proxy: Vec<String>,
    /// Which of several nodes: random, any for each request; sticky, one for each user until it does not answer
    #[arg(long, value_name = "HOW", default_value = "random", value_parser = Entry::from_str)]
    pub(crate) entry: Entry,
    /// Home domain
    #[arg(long, default_value = provisioning::DOMAIN)]
    pub(crate) domain: String,
    /// How many users, user000001 and on; of calls, callers, and as many callees after them
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) users: u32,
    /// Number of the first user
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) first: u32,
    /// Procedures started per second
    #[arg(long, value_name = "R", default_value_t = 100.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// How long, seconds, the users taking turns [default: until each had one]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) duration: Option<u64>,
    /// Expiry asked for, seconds
    #[arg(long, value_name = "S", default_value_t = 3600)]
    pub(crate) expires: u32,
    /// UDP sockets; of calls, on each side
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) sockets: u16,
    /// Registrations per second before what is measured
    #[arg(long, value_name = "R", default_value_t = 1000.0, value_parser = rate)]
    pub(crate) registration_rate: f64,
    /// Write what happened in each tenth of a second to a file, a line of JSON each
    #[arg(long, value_name = "FILE")]
    pub(crate) timeline: Option<PathBuf>,
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) usim: Usim,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("expected a number above 0".into()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds from 0 to 86400".into()),
    }
}

/// `HOST:PORT` as an address.
pub(crate) fn resolve(proxy: &str) -> anyhow::Result<SocketAddr> {
    use std::net::ToSocketAddrs;
    let found = proxy
        .to_socket_addrs()
        .map_err(|error| anyhow::anyhow!("--proxy {proxy}: {error}; expected HOST:PORT"))?;
    found.into_iter().next().ok_or_else(|| anyhow::anyhow!("--proxy {proxy}: no such host"))
}
