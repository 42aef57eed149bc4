//! RFC 6733 §4.5, TS 29.229 §6.3 — AVPs that we send or understand.

use super::{Code, vendor};

const fn base(code: u32, mandatory: bool) -> Code {
    Code { code, vendor: 0, mandatory }
}

const fn tgpp(code: u32, mandatory: bool) -> Code {
    Code { code, vendor: vendor::TGPP, mandatory }
}

/// User-Name
pub const USER_NAME: Code = base(1, true);
/// Framed-IP-Address
pub const FRAMED_IP_ADDRESS: Code = base(8, true);
/// Class
pub const CLASS: Code = base(25, true);
/// Session-Timeout
pub const SESSION_TIMEOUT: Code = base(27, true);
/// Proxy-State
pub const PROXY_STATE: Code = base(33, true);
/// Framed-Interface-Id
pub const FRAMED_INTERFACE_ID: Code = base(96, true);
/// Framed-IPv6-Prefix
pub const FRAMED_IPV6_PREFIX: Code = base(97, true);
/// Digest-Realm
pub const DIGEST_REALM: Code = base(104, true);
/// Digest-QoP
pub const DIGEST_QOP: Code = base(110, true);
/// Digest-Algorithm
pub const DIGEST_ALGORITHM: Code = base(111, true);
/// Digest-HA1
pub const DIGEST_HA1: Code = base(121, true);
/// Host-IP-Address
pub const HOST_IP_ADDRESS: Code = base(257, true);
/// Auth-Application-Id
pub const AUTH_APPLICATION_ID: Code = base(258, true);
/// Acct-Application-Id
pub const ACCT_APPLICATION_ID: Code = base(259, true);
/// Vendor-Specific-Application-Id
pub const VENDOR_SPECIFIC_APPLICATION_ID: Code = base(260, true);
/// Session-Id
pub const SESSION_ID: Code = base(263, true);
/// Origin-Host
pub const ORIGIN_HOST: Code = base(264, true);
/// Supported-Vendor-Id
pub const SUPPORTED_VENDOR_ID: Code = base(265, true);
/// Vendor-Id
pub const VENDOR_ID: Code = base(266, true);
/// Firmware-Revision
pub const FIRMWARE_REVISION: Code = base(267, false);
/// Result-Code
pub const RESULT_CODE: Code = base(268, true);
/// Product-Name
pub const PRODUCT_NAME: Code = base(269, false);
/// Disconnect-Cause
pub const DISCONNECT_CAUSE: Code = base(273, true);
/// Auth-Session-State
pub const AUTH_SESSION_STATE: Code = base(277, true);
/// Origin-State-Id
pub const ORIGIN_STATE_ID: Code = base(278, true);
/// Failed-AVP
pub const FAILED_AVP: Code = base(279, true);
/// Proxy-Host
pub const PROXY_HOST: Code = base(280, true);
/// Error-Message
pub const ERROR_MESSAGE: Code = base(281, false);
/// Route-Record
pub const ROUTE_RECORD: Code = base(282, true);
/// Destination-Realm
pub const DESTINATION_REALM: Code = base(283, true);
/// Proxy-Info
pub const PROXY_INFO: Code = base(284, true);
/// Re-Auth-Request-Type
pub const RE_AUTH_REQUEST_TYPE: Code = base(285, true);
/// Authorization-Lifetime
pub const AUTHORIZATION_LIFETIME: Code = base(291, true);
/// Redirect-Host
pub const REDIRECT_HOST: Code = base(292, true);
/// Destination-Host
pub const DESTINATION_HOST: Code = base(293, true);
/// Error-Reporting-Host
pub const ERROR_REPORTING_HOST: Code = base(294, false);
/// Origin-Realm
pub const ORIGIN_REALM: Code = base(296, true);
/// Experimental-Result
pub const EXPERIMENTAL_RESULT: Code = base(297, true);
/// Experimental-Result-Code
pub const EXPERIMENTAL_RESULT_CODE: Code = base(298, true);
/// Inband-Security-Id
pub const INBAND_SECURITY_ID: Code = base(299, true);
/// DRMP
pub const DRMP: Code = base(301, false);
/// Line-Identifier, of ETSI.
pub const LINE_IDENTIFIER: Code = Code { code: 500, vendor: vendor::ETSI, mandatory: true };
/// Visited-Network-Identifier
pub const VISITED_NETWORK_IDENTIFIER: Code = tgpp(600, true);
/// Public-Identity
pub const PUBLIC_IDENTITY: Code = tgpp(601, true);
/// Server-Name
pub const SERVER_NAME: Code = tgpp(602, true);
/// Server-Capabilities
pub const SERVER_CAPABILITIES: Code = tgpp(603, true);
/// Mandatory-Capability
pub const MANDATORY_CAPABILITY: Code = tgpp(604, true);
/// Optional-Capability
pub const OPTIONAL_CAPABILITY: Code = tgpp(605, true);
/// User-Data
pub const USER_DATA: Code = tgpp(606, true);
/// SIP-Number-Auth-Items
pub const SIP_NUMBER_AUTH_ITEMS: Code = tgpp(607, true);
/// SIP-Authentication-Scheme
pub const SIP_AUTHENTICATION_SCHEME: Code = tgpp(608, true);
/// SIP-Authenticate
pub const SIP_AUTHENTICATE: Code = tgpp(609, true);
/// SIP-Authorization
pub const SIP_AUTHORIZATION: Code = tgpp(610, true);
/// SIP-Authentication-Context
pub const SIP_AUTHENTICATION_CONTEXT: Code = tgpp(611, true);
/// SIP-Auth-Data-Item
pub const SIP_AUTH_DATA_ITEM: Code = tgpp(612, true);
/// SIP-Item-Number
pub const SIP_ITEM_NUMBER: Code = tgpp(613, true);
/// Server-Assignment-Type
pub const SERVER_ASSIGNMENT_TYPE: Code = tgpp(614, true);
/// Deregistration-Reason
pub const DEREGISTRATION_REASON: Code = tgpp(615, true);
/// Reason-Code
pub const REASON_CODE: Code = tgpp(616, true);
/// Reason-Info
pub const REASON_INFO: Code = tgpp(617, true);
/// Charging-Information
pub const CHARGING_INFORMATION: Code = tgpp(618, true);
/// Primary-Event-Charging-Function-Name
pub const PRIMARY_EVENT_CHARGING_FUNCTION_NAME: Code = tgpp(619, true);
/// Secondary-Event-Charging-Function-Name
pub const SECONDARY_EVENT_CHARGING_FUNCTION_NAME: Code = tgpp(620, true);
/// Primary-Charging-Collection-Function-Name
pub const PRIMARY_CHARGING_COLLECTION_FUNCTION_NAME: Code = tgpp(621, true);
/// Secondary-Charging-Collection-Function-Name
pub const SECONDARY_CHARGING_COLLECTION_FUNCTION_NAME: Code = tgpp(622, true);
/// User-Authorization-Type
pub const USER_AUTHORIZATION_TYPE: Code = tgpp(623, true);
/// User-Data-Already-Available
pub const USER_DATA_ALREADY_AVAILABLE: Code = tgpp(624, true);
/// Confidentiality-Key
pub const CONFIDENTIALITY_KEY: Code = tgpp(625, true);
/// Integrity-Key
pub const INTEGRITY_KEY: Code = tgpp(626, true);
/// Supported-Features
pub const SUPPORTED_FEATURES: Code = tgpp(628, false);
/// Feature-List-Id
pub const FEATURE_LIST_ID: Code = tgpp(629, false);
/// Feature-List
pub const FEATURE_LIST: Code = tgpp(630, false);
/// Supported-Applications
pub const SUPPORTED_APPLICATIONS: Code = tgpp(631, false);
/// Associated-Identities
pub const ASSOCIATED_IDENTITIES: Code = tgpp(632, false);
/// Originating-Request
pub const ORIGINATING_REQUEST: Code = tgpp(633, true);
/// Wildcarded-Public-Identity
pub const WILDCARDED_PUBLIC_IDENTITY: Code = tgpp(634, false);
/// SIP-Digest-Authenticate
pub const SIP_DIGEST_AUTHENTICATE: Code = tgpp(635, false);
/// Wildcarded-IMPU
pub const WILDCARDED_IMPU: Code = tgpp(636, false);
/// UAR-Flags
pub const UAR_FLAGS: Code = tgpp(637, false);
/// Loose-Route-Indication
pub const LOOSE_ROUTE_INDICATION: Code = tgpp(638, false);
/// SCSCF-Restoration-Info
pub const SCSCF_RESTORATION_INFO: Code = tgpp(639, false);
/// Path
pub const PATH: Code = tgpp(640, false);
/// Contact
pub const CONTACT: Code = tgpp(641, false);
/// Subscription-Info
pub const SUBSCRIPTION_INFO: Code = tgpp(642, false);
/// Call-Id-SIP-Header
pub const CALL_ID_SIP_HEADER: Code = tgpp(643, false);
/// From-SIP-Header
pub const FROM_SIP_HEADER: Code = tgpp(644, false);
/// To-SIP-Header
pub const TO_SIP_HEADER: Code = tgpp(645, false);
/// Record-Route
pub const RECORD_ROUTE: Code = tgpp(646, false);
/// Associated-Registered-Identities
pub const ASSOCIATED_REGISTERED_IDENTITIES: Code = tgpp(647, false);
/// Multiple-Registration-Indication
pub const MULTIPLE_REGISTRATION_INDICATION: Code = tgpp(648, false);
/// Restoration-Info
pub const RESTORATION_INFO: Code = tgpp(649, false);
/// Session-Priority
pub const SESSION_PRIORITY: Code = tgpp(650, false);
/// Identity-With-Emergency-Registration
pub const IDENTITY_WITH_EMERGENCY_REGISTRATION: Code = tgpp(651, false);
/// Priviledged-Sender-Indication
pub const PRIVILEDGED_SENDER_INDICATION: Code = tgpp(652, false);
/// LIA-Flags
pub const LIA_FLAGS: Code = tgpp(653, false);
/// Initial-CSeq-Sequence-Number
pub const INITIAL_CSEQ_SEQUENCE_NUMBER: Code = tgpp(654, false);
/// SAR-Flags
pub const SAR_FLAGS: Code = tgpp(655, false);
/// Allowed-WAF-WWSF-Identities
pub const ALLOWED_WAF_WWSF_IDENTITIES: Code = tgpp(656, false);
/// Webrtc-Authentication-Function-Name
pub const WEBRTC_AUTHENTICATION_FUNCTION_NAME: Code = tgpp(657, false);
/// Webrtc-Web-Server-Function-Name
pub const WEBRTC_WEB_SERVER_FUNCTION_NAME: Code = tgpp(658, false);
/// RTR-Flags
pub const RTR_FLAGS: Code = tgpp(659, false);
/// P-CSCF-Subscription-Info
pub const P_CSCF_SUBSCRIPTION_INFO: Code = tgpp(660, false);
/// Registration-Time-Out
pub const REGISTRATION_TIME_OUT: Code = tgpp(661, false);
/// Alternate-Digest-Algorithm
pub const ALTERNATE_DIGEST_ALGORITHM: Code = tgpp(662, false);
/// Alternate-Digest-HA1
pub const ALTERNATE_DIGEST_HA1: Code = tgpp(663, false);
/// Failed-PCSCF
pub const FAILED_PCSCF: Code = tgpp(664, false);
/// PCSCF-FQDN
pub const PCSCF_FQDN: Code = tgpp(665, false);
/// PCSCF-IP-Address
pub const PCSCF_IP_ADDRESS: Code = tgpp(666, false);
