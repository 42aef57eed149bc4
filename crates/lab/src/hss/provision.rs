//! What can be provisioned for one subscriber: the body of `PUT /subscribers/{impi}` and an entry of the configuration.

use crate::provisioning::Octets;
use serde::{Deserialize, Serialize};

/// Every field is optional: what is absent stays as it is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provision {
    /// Public user identities; the first that is not barred is the default one.
    pub identities: Option<Vec<PublicIdentity>>,
    /// How the subscriber authenticates.
    pub scheme: Option<Scheme>,
    /// K.
    pub k: Option<Octets<16>>,
    /// OP; not together with `opc`.
    pub op: Option<Octets<16>>,
    /// OPc; not together with `op`.
    pub opc: Option<Octets<16>>,
    /// AMF.
    pub amf: Option<Octets<2>>,
    /// Password of SIP digest.
    pub password: Option<Password>,
    /// User-Data as it goes over Cx, whatever it is; where it can be read, its identities are the subscriber's.
    pub profile_xml: Option<String>,
}

impl Provision {
    pub(super) fn deserialize_from(table: toml::Table) -> Result<Self, String> {
        let provision: Self =
            table.try_into().map_err(|error: toml::de::Error| error.message().replace('\n', " "))?;
        provision.check()?;
        Ok(provision)
    }

    /// What serde cannot see.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.op.is_some() && self.opc.is_some() {
            return Err("op and opc exclude each other".into());
        }
        let unreadable = |identity: &&PublicIdentity| scscf::Impu::parse(&identity.impu).is_none();
        if let Some(wrong) = self.identities.iter().flatten().find(unreadable) {
            return Err(format!("'{}' is no SIP or tel URI", wrong.impu));
        }
        if self.identities.as_ref().is_some_and(Vec::is_empty) {
            return Err("a subscriber has at least one identity".into());
        }
        Ok(())
    }
}

/// One public user identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicIdentity {
    /// SIP or tel URI.
    pub impu: Box<str>,
    /// Not to be used for communication, only to register with.
    #[serde(default)]
    pub barred: bool,
}

/// How a subscriber authenticates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// IMS AKA.
    #[default]
    Aka,
    /// SIP digest.
    Digest,
}

/// A password; never shown.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Password(pub String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}
