//! RFC 3261 §20 and the extensions IMS uses — header names, with their compact forms.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! names {
    ($($variant:ident = $text:literal $(| $compact:literal)?),* $(,)?) => {
        /// A header name this crate knows. Others are carried and found by their text.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum Name { $(#[doc = $text] $variant,)* }

        impl Name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            const TEXTS: &'static [&'static str] = &[$($text),*];

            /// The name as it is written, never compact.
            pub const fn as_str(self) -> &'static str {
                Self::TEXTS[self as usize]
            }

            /// Its compact form, if it has one.
            pub const fn compact(self) -> Option<&'static str> {
                match self { $(Self::$variant => names!(@compact $($compact)?),)* }
            }
        }
    };
    (@compact $compact:literal) => { Some($compact) };
    (@compact) => { None };
}

names! {
    Via = "Via" | "v",
    From = "From" | "f",
    To = "To" | "t",
    CallId = "Call-ID" | "i",
    CSeq = "CSeq",
    Contact = "Contact" | "m",
    MaxForwards = "Max-Forwards",
    Route = "Route",
    RecordRoute = "Record-Route",
    Path = "Path",
    ServiceRoute = "Service-Route",
    Authorization = "Authorization",
    WwwAuthenticate = "WWW-Authenticate",
    AuthenticationInfo = "Authentication-Info",
    ProxyAuthorization = "Proxy-Authorization",
    ProxyAuthenticate = "Proxy-Authenticate",
    ProxyAuthenticationInfo = "Proxy-Authentication-Info",
    Expires = "Expires",
    MinExpires = "Min-Expires",
    Event = "Event" | "o",
    SubscriptionState = "Subscription-State",
    AllowEvents = "Allow-Events" | "u",
    Allow = "Allow",
    Accept = "Accept",
    AcceptContact = "Accept-Contact" | "a",
    AcceptEncoding = "Accept-Encoding",
    AcceptLanguage = "Accept-Language",
    AcceptResourcePriority = "Accept-Resource-Priority",
    AlertInfo = "Alert-Info",
    AnswerMode = "Answer-Mode",
    CallInfo = "Call-Info",
    ContentDisposition = "Content-Disposition",
    ContentEncoding = "Content-Encoding" | "e",
    ContentId = "Content-ID",
    ContentLanguage = "Content-Language",
    ContentLength = "Content-Length" | "l",
    ContentType = "Content-Type" | "c",
    Date = "Date",
    ErrorInfo = "Error-Info",
    FeatureCaps = "Feature-Caps",
    FlowTimer = "Flow-Timer",
    Geolocation = "Geolocation",
    GeolocationError = "Geolocation-Error",
    GeolocationRouting = "Geolocation-Routing",
    HistoryInfo = "History-Info",
    Identity = "Identity" | "y",
    InfoPackage = "Info-Package",
    InReplyTo = "In-Reply-To",
    Join = "Join",
    MaxBreadth = "Max-Breadth",
    MimeVersion = "MIME-Version",
    MinSe = "Min-SE",
    Organization = "Organization",
    PAccessNetworkInfo = "P-Access-Network-Info",
    PAnswerState = "P-Answer-State",
    PAssertedIdentity = "P-Asserted-Identity",
    PAssertedService = "P-Asserted-Service",
    PAssociatedUri = "P-Associated-URI",
    PCalledPartyId = "P-Called-Party-ID",
    PChargingFunctionAddresses = "P-Charging-Function-Addresses",
    PChargingVector = "P-Charging-Vector",
    PEarlyMedia = "P-Early-Media",
    PMediaAuthorization = "P-Media-Authorization",
    PPreferredIdentity = "P-Preferred-Identity",
    PPreferredService = "P-Preferred-Service",
    PPrivateNetworkIndication = "P-Private-Network-Indication",
    PProfileKey = "P-Profile-Key",
    PServedUser = "P-Served-User",
    PUserDatabase = "P-User-Database",
    PVisitedNetworkId = "P-Visited-Network-ID",
    PermissionMissing = "Permission-Missing",
    PolicyContact = "Policy-Contact",
    PolicyId = "Policy-ID",
    Priority = "Priority",
    PriorityShare = "Priority-Share",
    Privacy = "Privacy",
    PrivAnswerMode = "Priv-Answer-Mode",
    ProxyRequire = "Proxy-Require",
    RAck = "RAck",
    Reason = "Reason",
    ReasonPhrase = "Reason-Phrase",
    RecvInfo = "Recv-Info",
    ReferEventsAt = "Refer-Events-At",
    ReferSub = "Refer-Sub",
    ReferTo = "Refer-To" | "r",
    ReferredBy = "Referred-By" | "b",
    RejectContact = "Reject-Contact" | "j",
    Replaces = "Replaces",
    ReplyTo = "Reply-To",
    RequestDisposition = "Request-Disposition" | "d",
    Require = "Require",
    ResourcePriority = "Resource-Priority",
    ResourceShare = "Resource-Share",
    RestorationInfo = "Restoration-Info",
    RetryAfter = "Retry-After",
    RSeq = "RSeq",
    SecurityClient = "Security-Client",
    SecurityServer = "Security-Server",
    SecurityVerify = "Security-Verify",
    Server = "Server",
    SessionExpires = "Session-Expires" | "x",
    SessionId = "Session-ID",
    SipEtag = "SIP-ETag",
    SipIfMatch = "SIP-If-Match",
    Subject = "Subject" | "s",
    Supported = "Supported" | "k",
    SuppressIfMatch = "Suppress-If-Match",
    TargetDialog = "Target-Dialog",
    Timestamp = "Timestamp",
    TriggerConsent = "Trigger-Consent",
    Unsupported = "Unsupported",
    UserAgent = "User-Agent",
    UserToUser = "User-To-User",
    Warning = "Warning",
}

const SLOTS: usize = 512;
const EMPTY: u8 = u8::MAX;

/// Open addressing over all names and compact forms, laid out at compile time.
static TABLE: [u8; SLOTS] = table();

const fn table() -> [u8; SLOTS] {
    let mut slots = [EMPTY; SLOTS];
    let mut i = 0;
    while i < Name::ALL.len() {
        place(&mut slots, Name::ALL[i].as_str().as_bytes(), i as u8);
        if let Some(compact) = Name::ALL[i].compact() {
            place(&mut slots, compact.as_bytes(), i as u8);
        }
        i += 1;
    }
    slots
}

const fn place(slots: &mut [u8; SLOTS], name: &[u8], index: u8) {
    let mut slot = hash(name);
    while slots[slot] != EMPTY {
        slot = (slot + 1) % SLOTS;
    }
    slots[slot] = index;
}

const fn hash(name: &[u8]) -> usize {
    let n = name.len();
    // The factors are those that make nearly every name stand in its own slot.
    (n.wrapping_mul(59)
        ^ low(name[0]).wrapping_mul(117)
        ^ low(name[n / 2]).wrapping_mul(93)
        ^ low(name[n - 1]))
        % SLOTS
}

const fn low(octet: u8) -> usize {
    (octet | 0x20) as usize
}

impl Name {
    /// The name that `text` spells, in any case, long or compact.
    pub fn of(text: &[u8]) -> Option<Self> {
        if text.is_empty() || text.len() > 64 {
            return None;
        }
        let mut slot = hash(text);
        loop {
            let index = TABLE[slot];
            if index == EMPTY {
                return None;
            }
            let name = Self::ALL[index as usize];
            let known = if text.len() == 1 { name.compact().unwrap_or("") } else { name.as_str() };
            // Most senders write a name as the specifications do.
            if known.as_bytes() == text || known.as_bytes().eq_ignore_ascii_case(text) {
                return Some(name);
            }
            slot = (slot + 1) % SLOTS;
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for &name in Name::ALL {
            assert_eq!(Name::of(name.as_str().as_bytes()), Some(name));
            assert_eq!(Name::of(name.as_str().to_ascii_uppercase().as_bytes()), Some(name));
            if let Some(compact) = name.compact() {
                assert_eq!(Name::of(compact.as_bytes()), Some(name));
                assert_eq!(Name::of(compact.to_ascii_uppercase().as_bytes()), Some(name));
            }
        }
        assert_eq!(Name::of(b"X-Unheard-Of"), None);
        assert_eq!(Name::of(b"q"), None);
    }

    #[test]
    fn compact_forms_are_those_of_the_registry() {
        let mut forms: Vec<_> = Name::ALL.iter().filter_map(|n| n.compact()).collect();
        forms.sort_unstable();
        assert_eq!(forms.concat(), "abcdefijklmorstuvxy");
    }
}
