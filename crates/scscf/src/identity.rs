//! TS 23.003 §13.3, §13.4 — the identities of a subscriber.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A private user identity (IMPI): `user@realm`, as in Authorization `username` and Cx User-Name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Impi(Box<str>);

impl Impi {
    /// Longest identity accepted, in octets.
    pub const LONGEST: usize = 255;

    /// Takes a network access identifier; `None` if it is empty, too long or holds blanks, controls or quotes.
    pub fn new(text: &str) -> Option<Self> {
        let clean = text.bytes().all(|b| b > b' ' && b != 0x7f && b != b'"' && b != b'\\');
        (!text.is_empty() && text.len() <= Self::LONGEST && clean).then(|| Self(text.into()))
    }

    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows the `@`, or nothing.
    pub fn realm(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, realm)| realm)
    }
}

impl fmt::Display for Impi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A public user identity (IMPU) in canonical form: `sip:` or `tel:` URI without parameters (`sip::Uri::canonical`).
///
/// Two spellings of one identity are equal as `Impu`; the text shown to users is this canonical one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Impu(Box<str>);

impl Impu {
    /// The identity that `uri` names.
    pub fn of(uri: &sip::Uri) -> Self {
        Self(uri.canonical().into())
    }

    /// Parses the text of a SIP or tel URI; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let uri = sip::Uri::parse(text.trim()).ok()?;
        matches!(uri.scheme(), sip::Scheme::Sip | sip::Scheme::Sips | sip::Scheme::Tel)
            .then(|| Self::of(&uri))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Impu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
