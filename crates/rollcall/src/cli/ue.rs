//! `rollcall ue`.

use super::impi;
use clap::{Args, Subcommand};
use lab::provisioning::Octets;
use lab::ue::{OnReauth, Package, Role, Transport};
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
}

#[derive(Args, Debug)]
pub(crate) struct UeRegister {
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
    /// Stay registered that long, then deregister, seconds
    #[arg(long, value_name = "S")]
    pub(crate) stay: Option<u64>,
    /// When asked to authenticate anew: obey, ignore or wrong
    #[arg(long, value_name = "HOW", default_value = "obey", value_parser = OnReauth::from_str)]
    pub(crate) on_reauth: OnReauth,
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
    /// Where SIP is sent
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:5060")]
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
