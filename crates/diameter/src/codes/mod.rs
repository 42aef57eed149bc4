//! RFC 6733 §4.5, TS 29.229 §6.3 — numbers and flags of commands, AVPs and results.

pub mod avp;

/// An AVP by code and vendor, with the M flag we send it with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    /// AVP Code.
    pub code: u32,
    /// Vendor-Id; 0 means the V flag is clear.
    pub vendor: u32,
    /// Whether we set the M flag; on receipt both are taken.
    pub mandatory: bool,
}

/// Vendors.
pub mod vendor {
    /// 3GPP.
    pub const TGPP: u32 = 10415;
    /// ETSI.
    pub const ETSI: u32 = 13019;
}

/// Applications.
pub mod application {
    /// The base protocol.
    pub const BASE: u32 = 0;
    /// Cx and Dx, TS 29.229 §5.2.
    pub const CX: u32 = 16_777_216;
    /// Sh; some HSSs put it into error answers of Cx.
    pub const SH: u32 = 16_777_217;
    /// Relay, RFC 6733 §2.4: every application is common to such a peer.
    pub const RELAY: u32 = 0xffff_ffff;
}

/// Command codes.
pub mod command {
    /// Capabilities-Exchange.
    pub const CAPABILITIES_EXCHANGE: u32 = 257;
    /// Re-Auth.
    pub const RE_AUTH: u32 = 258;
    /// Device-Watchdog.
    pub const DEVICE_WATCHDOG: u32 = 280;
    /// Disconnect-Peer.
    pub const DISCONNECT_PEER: u32 = 282;
    /// User-Authorization.
    pub const USER_AUTHORIZATION: u32 = 300;
    /// Server-Assignment.
    pub const SERVER_ASSIGNMENT: u32 = 301;
    /// Location-Info.
    pub const LOCATION_INFO: u32 = 302;
    /// Multimedia-Auth.
    pub const MULTIMEDIA_AUTH: u32 = 303;
    /// Registration-Termination.
    pub const REGISTRATION_TERMINATION: u32 = 304;
    /// Push-Profile.
    pub const PUSH_PROFILE: u32 = 305;
}

/// Base Result-Codes, RFC 6733 §7.1.
pub mod result {
    /// DIAMETER_SUCCESS
    pub const SUCCESS: u32 = 2001;
    /// DIAMETER_LIMITED_SUCCESS
    pub const LIMITED_SUCCESS: u32 = 2002;
    /// DIAMETER_COMMAND_UNSUPPORTED
    pub const COMMAND_UNSUPPORTED: u32 = 3001;
    /// DIAMETER_UNABLE_TO_DELIVER
    pub const UNABLE_TO_DELIVER: u32 = 3002;
    /// DIAMETER_TOO_BUSY
    pub const TOO_BUSY: u32 = 3004;
    /// DIAMETER_REDIRECT_INDICATION
    pub const REDIRECT_INDICATION: u32 = 3006;
    /// DIAMETER_APPLICATION_UNSUPPORTED
    pub const APPLICATION_UNSUPPORTED: u32 = 3007;
    /// DIAMETER_INVALID_HDR_BITS
    pub const INVALID_HDR_BITS: u32 = 3008;
    /// DIAMETER_AVP_UNSUPPORTED
    pub const AVP_UNSUPPORTED: u32 = 5001;
    /// DIAMETER_INVALID_AVP_VALUE
    pub const INVALID_AVP_VALUE: u32 = 5004;
    /// DIAMETER_MISSING_AVP
    pub const MISSING_AVP: u32 = 5005;
    /// DIAMETER_AVP_OCCURS_TOO_MANY_TIMES
    pub const AVP_OCCURS_TOO_MANY_TIMES: u32 = 5009;
    /// DIAMETER_NO_COMMON_APPLICATION
    pub const NO_COMMON_APPLICATION: u32 = 5010;
    /// DIAMETER_UNSUPPORTED_VERSION
    pub const UNSUPPORTED_VERSION: u32 = 5011;
    /// DIAMETER_UNABLE_TO_COMPLY
    pub const UNABLE_TO_COMPLY: u32 = 5012;
    /// DIAMETER_INVALID_AVP_LENGTH
    pub const INVALID_AVP_LENGTH: u32 = 5014;
}

/// Experimental-Result-Codes of vendor 10415, TS 29.229 §6.2.
pub mod experimental {
    /// DIAMETER_FIRST_REGISTRATION
    pub const FIRST_REGISTRATION: u32 = 2001;
    /// DIAMETER_SUBSEQUENT_REGISTRATION
    pub const SUBSEQUENT_REGISTRATION: u32 = 2002;
    /// DIAMETER_UNREGISTERED_SERVICE
    pub const UNREGISTERED_SERVICE: u32 = 2003;
    /// DIAMETER_SUCCESS_SERVER_NAME_NOT_STORED
    pub const SERVER_NAME_NOT_STORED: u32 = 2004;
    /// DIAMETER_ERROR_IDENTITY_NOT_REGISTERED
    pub const IDENTITY_NOT_REGISTERED: u32 = 5003;
}

/// Whether an AVP is in our dictionary; one that is not and has its M flag set makes a request unacceptable.
pub const fn is_known(code: u32, vendor: u32) -> bool {
    match vendor {
        0 => matches!(
            code,
            1 | 8
                | 25
                | 27
                | 33
                | 96
                | 97
                | 104
                | 110
                | 111
                | 121
                | 257
                | 258
                | 259
                | 260
                | 263
                | 264
                | 265
                | 266
                | 267
                | 268
                | 269
                | 273
                | 277
                | 278
                | 279
                | 280
                | 281
                | 282
                | 283
                | 284
                | 285
                | 291
                | 292
                | 293
                | 294
                | 296
                | 297
                | 298
                | 299
                | 301
        ),
        vendor::TGPP => matches!(code, 600..=626 | 628..=666),
        vendor::ETSI => code == 500,
        _ => false,
    }
}

/// The smallest value an AVP of this type can have, in octets.
pub(crate) const fn smallest_value(code: Code) -> usize {
    match (code.vendor, code.code) {
        (0, 257) | (vendor::TGPP, 666) => 6,
        (0, 8 | 27 | 258 | 259 | 265 | 266 | 267 | 268 | 273 | 277 | 278 | 285 | 291 | 298 | 299 | 301) => 4,
        (
            vendor::TGPP,
            604 | 605 | 607 | 613 | 614 | 616 | 623 | 624 | 629 | 630 | 633 | 637 | 638 | 648 | 650 | 652
            | 653 | 654 | 655 | 659 | 661,
        ) => 4,
        _ => 0,
    }
}
