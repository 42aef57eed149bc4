//! RFC 3680 §5 — registration information documents, with the GRUUs of RFC 5628 §5 and the wildcarded identity of 3GPP.
//!
//! Documents are written in the order of the schema. The reader takes any order, skips what it does not know, and refuses
//! document type declarations, so no entity is ever expanded beyond the five of XML itself.

mod read;
mod write;

pub use read::ReadError;

use std::str::FromStr;

/// Media type of the document.
pub const CONTENT_TYPE: &str = "application/reginfo+xml";

const REGINFO: &str = "urn:ietf:params:xml:ns:reginfo";
const GRUUINFO: &str = "urn:ietf:params:xml:ns:gruuinfo";
const EXT_REG_EXP: &str = "urn:3gpp:ns:extRegExp:1.0";

/// One document: what a subscriber is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reginfo {
    /// Rises by one with every document of a dialog; a receiver drops what does not rise.
    pub version: u32,
    /// Whether everything is told, or changes only.
    pub state: DocumentState,
    /// One per address of record.
    pub registrations: Vec<Registration>,
}

/// The state of one address of record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The address of record.
    pub aor: String,
    /// Stable for one address of record within a dialog.
    pub id: String,
    /// Its state.
    pub state: RegistrationState,
    /// Its contacts.
    pub contacts: Vec<Contact>,
    /// `ere:wildcardedIdentity`: the expression that `aor` is an example of.
    pub wildcarded_identity: Option<String>,
}

/// One contact bound to an address of record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Unique in the document, stable for the life of the binding.
    pub id: String,
    /// Whether it is bound.
    pub state: ContactState,
    /// What last happened to it.
    pub event: ContactEvent,
    /// Seconds until it expires; RFC 3680 asks for it with `shortened`.
    pub expires: Option<u32>,
    /// Seconds it has been bound.
    pub duration_registered: Option<u64>,
    /// Seconds to wait before registering again; RFC 3680 asks for it with `probation`.
    pub retry_after: Option<u32>,
    /// Preference, as in the Contact header.
    pub q: Option<String>,
    /// Call-ID of the REGISTER that last touched it.
    pub callid: Option<String>,
    /// CSeq of that REGISTER.
    pub cseq: Option<u32>,
    /// The contact URI.
    pub uri: String,
    /// Display name.
    pub display_name: Option<String>,
    /// Contact header parameters without an attribute of their own, values as received, quotes included.
    pub unknown_params: Vec<(String, String)>,
    /// Public GRUU (RFC 5628).
    pub pub_gruu: Option<String>,
    /// The newest temporary GRUU and the CSeq of the REGISTER that got the first one of its kind (RFC 5628).
    pub temp_gruu: Option<(String, u32)>,
}

impl Contact {
    /// A contact with what the schema demands, and nothing else.
    pub fn new(
        id: impl Into<String>,
        state: ContactState,
        event: ContactEvent,
        uri: impl Into<String>,
    ) -> Self {
        Self {
            id: id.into(),
            state,
            event,
            expires: None,
            duration_registered: None,
            retry_after: None,
            q: None,
            callid: None,
            cseq: None,
            uri: uri.into(),
            display_name: None,
            unknown_params: Vec::new(),
            pub_gruu: None,
            temp_gruu: None,
        }
    }
}

impl Reginfo {
    /// The document as XML in UTF-8. Characters that XML 1.0 cannot carry become U+FFFD.
    pub fn to_xml(&self) -> Vec<u8> {
        write::document(self)
    }

    /// Reads a document.
    ///
    /// # Errors
    /// What is not well-formed UTF-8 XML, has another root, lacks a required attribute or `uri`, or holds a value
    /// outside its enumeration or range.
    pub fn parse(octets: &[u8]) -> Result<Self, ReadError> {
        read::document(octets)
    }
}

/// The text is none of the words of an enumeration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not one of the words of RFC 3680 §5")]
pub struct UnknownWord;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant),* }

        impl $name {
            /// All of them, in the order of the schema.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word in the document.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text { $($text => Ok(Self::$variant),)* _ => Err(UnknownWord) }
            }
        }
    };
}

words! {
    /// How much a document tells.
    DocumentState {
        /// Everything.
        Full = "full",
        /// What changed.
        Partial = "partial",
    }
}

words! {
    /// State of an address of record.
    RegistrationState {
        /// No contact is, or was, bound.
        Init = "init",
        /// At least one contact is bound.
        Active = "active",
        /// No contact is bound any more.
        Terminated = "terminated",
        /// The network asks the user to authenticate again. Outside the schema of RFC 3680: only for dialogs of the
        /// event package `registration-state`.
        ReAuthenticate = "re-authenticate",
    }
}

words! {
    /// State of a contact.
    ContactState {
        /// Bound.
        Active = "active",
        /// No longer bound.
        Terminated = "terminated",
    }
}

words! {
    /// What moved a contact to its state (RFC 3680 §5.2).
    ContactEvent {
        /// Bound by a REGISTER.
        Registered = "registered",
        /// Bound by the network.
        Created = "created",
        /// Its expiry was extended by a REGISTER.
        Refreshed = "refreshed",
        /// Its expiry was brought forward by the network.
        Shortened = "shortened",
        /// Ended by time.
        Expired = "expired",
        /// Ended by the network; the UE should register again at once.
        Deactivated = "deactivated",
        /// Ended by the network; the UE should register again after a while.
        Probation = "probation",
        /// Ended by its owner.
        Unregistered = "unregistered",
        /// Ended by the network; the UE should not register again.
        Rejected = "rejected",
    }
}
