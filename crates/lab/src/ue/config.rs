//! What a UE is told: who it is, whom it talks to, how it behaves.

use crate::{
    aka::Key,
    provisioning::{self, Octets},
    wire::Timers,
};
use serde::Serialize;
use std::{fmt, net::SocketAddr, str::FromStr};

/// Who the UE is and how it behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Private user identity.
    pub impi: String,
    /// Public user identity; `sip:IMPI` unless given.
    pub impu: Option<String>,
    /// Where SIP is sent.
    pub proxy: SocketAddr,
    /// Where it is sent when that does not answer, one after another and round again.
    pub others: Vec<SocketAddr>,
    /// Over what.
    pub transport: Transport,
    /// What the USIM holds.
    pub credentials: Credentials,
    /// SQN up to which the USIM has accepted challenges.
    pub sqn: u64,
    /// Expiry asked for, in seconds.
    pub expires: u32,
    /// Path URI that the P-CSCF adds; the UE's own address unless given.
    pub path: Option<String>,
    /// What it does when asked to authenticate anew.
    pub on_reauth: OnReauth,
    /// Obeys at once; otherwise when TS 24.229 §5.1.1.4 would have it refresh the shortened registration.
    pub promptly: bool,
    /// Whether its P-CSCF says that requests come over a security association.
    pub protected: bool,
    /// Refreshes registration and subscriptions before they expire.
    pub refresh: bool,
    /// Where it is reached; any port at the address that faces the proxy unless given.
    pub listen: Option<SocketAddr>,
    /// Whether its P-CSCF stays on the path of calls.
    pub record_route: bool,
    /// Registers a flow of its own beside those of other UEs with the same identity, instead of in their place.
    pub flow: Option<Flow>,
    /// How long it waits before it sends again, and before it gives up.
    pub timers: Timers,
}

/// RFC 5626 §4 — one flow of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Instance ID, a URN.
    pub instance: String,
    /// Number of the flow, from 1.
    pub reg_id: u32,
}

impl Config {
    /// A UE of the lab.
    pub fn new(impi: &str, proxy: SocketAddr) -> Self {
        Self {
            impi: impi.to_owned(),
            impu: None,
            proxy,
            others: Vec::new(),
            transport: Transport::Udp,
            credentials: Credentials::default(),
            sqn: 0,
            expires: 3600,
            path: None,
            on_reauth: OnReauth::Obey,
            promptly: true,
            protected: true,
            refresh: true,
            listen: None,
            record_route: true,
            flow: None,
            timers: Timers::default(),
        }
    }

    pub(super) fn impu(&self) -> String {
        self.impu.clone().unwrap_or_else(|| format!("sip:{}", self.impi))
    }

    /// The UE as From shows it, without tag.
    pub(super) fn shown(&self, anonymous: bool) -> String {
        if anonymous {
            return "\"Anonymous\" <sip:anonymous@anonymous.invalid>".to_owned();
        }
        format!("<{}>", self.impu())
    }

    /// The home domain: the realm of the private identity.
    pub(super) fn domain(&self) -> &str {
        self.impi.rsplit_once('@').map_or("", |(_, realm)| realm)
    }
}

/// K, and OP or OPc.
#[derive(Clone, Copy, Debug)]
pub struct Credentials {
    /// K.
    pub k: Octets<16>,
    /// The operator's part.
    pub operator: Operator,
}

/// OP or what was derived from it.
#[derive(Clone, Copy, Debug)]
pub enum Operator {
    /// OP.
    Op(Octets<16>),
    /// OPc.
    Opc(Octets<16>),
}

impl Default for Credentials {
    fn default() -> Self {
        Self { k: provisioning::K, operator: Operator::Op(provisioning::OP) }
    }
}

impl Credentials {
    /// As the key that Milenage takes.
    pub fn key(&self) -> Key {
        match self.operator {
            Operator::Op(op) => Key::with_op(self.k.0, op.0),
            Operator::Opc(opc) => Key::new(self.k.0, opc.0),
        }
    }
}

/// A word that is none of those expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{given}': expected {expected}")]
pub struct UnknownWord {
    given: String,
    expected: &'static str,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// The word for it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownWord { given: text.to_owned(), expected: $expected }),
                }
            }
        }
    };
}

words!(
    /// Over what SIP is sent.
    Transport, "udp or tcp",
    /// Datagrams, retransmitted.
    Udp = "udp",
    /// A stream.
    Tcp = "tcp"
);
words!(
    /// What a UE does when asked to authenticate anew.
    OnReauth, "obey, ignore or wrong",
    /// Registers anew and answers the challenge.
    Obey = "obey",
    /// Nothing.
    Ignore = "ignore",
    /// Registers anew and answers the challenge wrongly.
    Wrong = "wrong"
);
words!(
    /// As whom the registration state is subscribed to.
    Role, "ue or p-cscf",
    /// As the registered user.
    Ue = "ue",
    /// As the P-CSCF on the Path.
    PCscf = "p-cscf"
);
words!(
    /// Event package.
    Package, "reg or registration-state",
    /// RFC 3680.
    Reg = "reg",
    /// Its forerunner.
    RegistrationState = "registration-state"
);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn words_are_read_and_others_named() {
        assert_eq!("p-cscf".parse::<Role>().unwrap(), Role::PCscf);
        assert_eq!(Package::RegistrationState.to_string(), "registration-state");
        assert_eq!("tls".parse::<Transport>().unwrap_err().to_string(), "'tls': expected udp or tcp");
    }

    #[test]
    fn op_and_opc_lead_to_the_same_key() {
        let with_op = Credentials::default().key();
        let opc = *milenage::Milenage::new_with_op(provisioning::K.0, provisioning::OP.0).opc();
        let with_opc = Credentials { k: provisioning::K, operator: Operator::Opc(Octets(opc)) }.key();
        assert!(with_op == with_opc);
    }
}
