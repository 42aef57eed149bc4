//! `rollcall as`.

use clap::Args;
use lab::as_::{Listen, Name};
use std::net::SocketAddr;
use std::str::FromStr;

#[derive(Args, Debug)]
#[command(after_help = "\
Modes: proxy lets requests through to the next Route; slow does so after --delay-ms; retarget does so with the Request-URI --to; b2bua \
ends them and sends new ones in their place; reject refuses them with --status; redirect answers 302 with --to; answer is a user agent; \
trying says 100 and no more; silent says nothing. Third-party REGISTERs are answered in every mode. An iFC names the server as \
sip:ADDRESS:PORT.

With --http: GET /journal?after=N&method=M, DELETE /journal, PUT /mode {\"mode\",\"status\",\"to\",\"delay_ms\",\"progress\"}, PUT /registers \
{\"status\"}, POST /calls {\"served_user\",\"to\",\"registered\"}, GET /calls, DELETE /calls/CALL-ID.")]
pub(crate) struct As {
    /// Where it listens, as udp:ADDRESS:PORT or tcp:ADDRESS:PORT; may be repeated
    #[arg(long, value_name = "WHERE", default_value = "udp:127.0.0.1:5080", value_parser = Listen::from_str)]
    pub(crate) listen: Vec<Listen>,
    /// What is done with requests that begin something: proxy, b2bua, reject, redirect, answer, silent, slow, trying or retarget
    #[arg(long, value_name = "MODE", default_value = "proxy", value_parser = Name::from_str)]
    pub(crate) mode: Name,
    /// Status code of reject [default: 403]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(300..700))]
    pub(crate) status: Option<u16>,
    /// Where redirect and retarget send to
    #[arg(long, value_name = "URI", required_if_eq_any([("mode", "redirect"), ("mode", "retarget")]))]
    pub(crate) to: Option<String>,
    /// Do it only after that many milliseconds [default: 0; with slow 3000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=600_000))]
    pub(crate) delay_ms: Option<u64>,
    /// Say that provisional status code at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(101..200))]
    pub(crate) progress: Option<u16>,
    /// Do not stay on the path of what is let through
    #[arg(long)]
    pub(crate) no_record_route: bool,
    /// Answer third-party REGISTERs so; 0 leaves them unanswered
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = register_status)]
    pub(crate) as_register_status: u16,
    /// Where the S-CSCF is: for next hops that are names, and for calls that the server makes
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) s_cscf: Option<SocketAddr>,
    /// URI of the S-CSCF in Route of such calls [default: sip: and its address]
    #[arg(long, value_name = "URI", requires = "s_cscf")]
    pub(crate) s_cscf_name: Option<String>,
    /// Show the journal over HTTP there
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) http: Option<SocketAddr>,
}

fn register_status(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(status) if status == 0 || (200..700).contains(&status) => Ok(status),
        _ => Err("expected a final status code, or 0".into()),
    }
}
