//! Diameter as values: RFC 6733, the Cx application of TS 29.229, the peer state machine.
