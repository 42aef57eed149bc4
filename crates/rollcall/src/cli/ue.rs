//! `rollcall ue`.

use super::impi;
use clap::{Args, Subcommand, ValueEnum};
use lab::provisioning::Octets;
use lab::ue::{OnReauth, Package, Role, Transport, script};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

#[derive(Args, Debug)]
pub(crate) struct Ue {
    #[command(subcommand)]
    pub(crate) command: UeCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UeCommand {
    /// Register with IMS AKA; end once registered, or stay.
    ///
    /// Ends with 0 only if the registration succeeded, and was kept as long as asked.
    Register(UeRegister),
    /// Register, subscribe to the registration state, and obey, ignore or botch a re-authentication.
    ///
    /// Ends when the subscription ends, or after --stay. Ends with 0 only if the first NOTIFY came and, told to obey,
    /// every re-authentication asked for succeeded.
    Subscribe(UeSubscribe),
    /// Register, call somebody, hold the call, hang up, deregister; or send one MESSAGE or OPTIONS.
    Call(Box<UeCall>),
    /// Register and answer calls and messages.
    Answer(Box<UeAnswer>),
    /// Follow a script of steps, one a line.
    ///
    /// Ends with 0 only if every step succeeded and no call broke the protocol.
    Script(Box<UeScript>),
}

#[derive(Args, Debug)]
pub(crate) struct UeRegister {
    #[command(flatten)]
    pub(crate) as_whom: UeRegistration,
    /// Stay registered that long, then deregister, seconds
    #[arg(long, value_name = "S")]
    pub(crate) stay: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct UeRegistration {
    #[command(flatten)]
    pub(crate) who: UeWho,
    /// Public identity to register [default: sip:IMPI]
    #[arg(long, value_name = "URI")]
    pub(crate) impu: Option<String>,
    /// Expiry asked for, seconds
    #[arg(long, value_name = "S", default_value_t = 3600)]
    pub(crate) expires: u32,
    /// Path that the P-CSCF adds [default: the UE's own address]
    #[arg(long, value_name = "URI")]
    pub(crate) path: Option<String>,
    /// Address and port at which the UE is reached [default: any port of the address that faces the proxy]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// When asked to authenticate anew: obey, ignore or wrong
    #[arg(long, value_name = "HOW", default_value = "obey", value_parser = OnReauth::from_str)]
    pub(crate) on_reauth: OnReauth,
}

/// What calls and answers have in common.
#[derive(Args, Debug)]
pub(crate) struct UeSession {
    #[command(flatten)]
    pub(crate) as_whom: UeRegistration,
    /// Do not register; the proxy is another UE or an application server
    #[arg(long)]
    pub(crate) no_register: bool,
    /// Subscribe to the registration state meanwhile: reg or registration-state
    #[arg(long, value_name = "PACKAGE", value_parser = Package::from_str, conflicts_with = "no_register")]
    pub(crate) subscribe: Option<Package>,
    /// The P-CSCF does not stay on the path of calls
    #[arg(long)]
    pub(crate) no_record_route: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Ends with 0 only if the call was answered, held and ended by this UE; with --cancel-after, if it was answered 487; with --expect, if the \
request was finally answered so; with --expect-bye, if BYE came. A break of the protocol, such as a second BYE or a CSeq that does not \
rise, ends with 1 in any case.")]
pub(crate) struct UeCall {
    #[command(flatten)]
    pub(crate) session: UeSession,
    /// Whom: a SIP or tel URI
    #[arg(long, value_name = "URI")]
    pub(crate) to: String,
    /// What is sent
    #[arg(long, default_value = "INVITE", ignore_case = true)]
    pub(crate) method: CallMethod,
    /// Body of a MESSAGE
    #[arg(long, value_name = "TEXT")]
    pub(crate) body: Option<String>,
    /// Hold the call that long, then hang up, seconds
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = seconds)]
    pub(crate) hold: f64,
    /// Give up what is not answered by then, which is a failure, seconds
    #[arg(long, value_name = "S", default_value_t = 60.0, value_parser = seconds)]
    pub(crate) ring_timeout: f64,
    /// Give up the call that long after its INVITE, seconds
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) cancel_after: Option<f64>,
    /// Send a re-INVITE once it is established
    #[arg(long)]
    pub(crate) reinvite: bool,
    /// Send UPDATE once it is established
    #[arg(long)]
    pub(crate) update: bool,
    /// Session interval asked for, seconds (RFC 4028)
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) session_expires: Option<u32>,
    /// Take ringing reliably and acknowledge it (100rel, RFC 3262)
    #[arg(long, visible_alias = "100rel")]
    pub(crate) prack: bool,
    /// Leave the offer to the called side
    #[arg(long)]
    pub(crate) late_offer: bool,
    /// Privacy, as `id`; From is then anonymous
    #[arg(long, value_name = "VALUE")]
    pub(crate) privacy: Option<String>,
    /// A further header, as 'Name: value'; may be repeated
    #[arg(long, value_name = "HEADER", value_parser = header)]
    pub(crate) header: Vec<(String, String)>,
    /// Succeed only if the final response has that status code
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(200..700))]
    pub(crate) expect: Option<u16>,
    /// Succeed only if the far side or the network sends BYE while the call is held
    #[arg(long, conflicts_with_all = ["expect", "cancel_after"])]
    pub(crate) expect_bye: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub(crate) enum CallMethod {
    Invite,
    Message,
    Options,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Ends with 0 only if as many calls and messages came as --count says, and all calls ended as set out: answered and released, rejected, \
or, with --never, cancelled. Without --count it answers until Ctrl-C or --stay.")]
pub(crate) struct UeAnswer {
    #[command(flatten)]
    pub(crate) session: UeSession,
    /// Ring that long, seconds
    #[arg(long, value_name = "S", default_value_t = 0.0, value_parser = seconds)]
    pub(crate) ring: f64,
    /// Reject calls and messages with that status code
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(300..700))]
    pub(crate) reject: Option<u16>,
    /// Ring until the caller gives up
    #[arg(long, conflicts_with = "reject")]
    pub(crate) never: bool,
    /// Hang up that long after the call is established, seconds [default: the caller does]
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) hangup_after: Option<f64>,
    /// End after so many calls and messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: Option<u32>,
    /// End after that long, seconds
    #[arg(long, value_name = "S")]
    pub(crate) stay: Option<u64>,
    /// Ring reliably where the caller can (RFC 3262)
    #[arg(long)]
    pub(crate) reliable: bool,
    /// Refuse shorter session intervals with 422, seconds (RFC 4028)
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) min_se: Option<u32>,
    /// Refresh the session where the caller leaves that open
    #[arg(long)]
    pub(crate) refresh: bool,
}

#[derive(Args, Debug)]
#[command(after_help = format!("Steps, one a line; # begins a comment, quotes hold words together:\n\n{}", script::STEPS))]
pub(crate) struct UeScript {
    #[command(flatten)]
    pub(crate) as_whom: UeRegistration,
    /// The script; - is standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=1e6).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds, 0 or more".into()),
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let wrong = || "expected 'Name: value'".to_owned();
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let is_token =
        !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    if !is_token || value.contains(['\r', '\n']) {
        return Err(wrong());
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}

#[derive(Args, Debug)]
pub(crate) struct UeSubscribe {
    #[command(flatten)]
    pub(crate) register: UeRegister,
    /// Event package: reg or registration-state
    #[arg(long, value_name = "PACKAGE", default_value = "reg", value_parser = Package::from_str)]
    pub(crate) event: Package,
    /// As whom: ue or p-cscf
    #[arg(long = "as", value_name = "ROLE", default_value = "ue", value_parser = Role::from_str)]
    pub(crate) role: Role,
}

#[derive(Args, Debug)]
pub(crate) struct UeWho {
    /// Private user identity, as NAME@DOMAIN
    #[arg(long, value_parser = impi)]
    pub(crate) impi: String,
    /// Where SIP is sent; of several with commas between, the next when one does not answer
    #[arg(long, env = "ROLLCALL_PROXY", value_name = "HOST:PORT", default_value = "127.0.0.1:5060")]
    pub(crate) proxy: String,
    /// udp or tcp
    #[arg(long, default_value = "udp", value_parser = Transport::from_str)]
    pub(crate) transport: Transport,
    #[command(flatten)]
    pub(crate) usim: Usim,
}

#[derive(Args, Debug)]
pub(crate) struct Usim {
    /// K: 16 characters or 32 hexadecimal digits [default: the lab's]
    #[arg(long)]
    pub(crate) k: Option<Octets<16>>,
    /// OP [default: the lab's]
    #[arg(long, conflicts_with = "opc")]
    pub(crate) op: Option<Octets<16>>,
    /// OPc, in place of OP
    #[arg(long)]
    pub(crate) opc: Option<Octets<16>>,
}
