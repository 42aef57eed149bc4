//! SIP as values: messages, headers, URIs, transactions, dialogs, reginfo.
