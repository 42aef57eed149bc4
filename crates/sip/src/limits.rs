//! RFC 3261 §16.3 leaves limits to the element; these keep every message bounded.

/// Longest datagram, in octets.
pub const DATAGRAM: usize = 64 * 1024;
/// Longest message on a stream, in octets.
pub const STREAM_MESSAGE: usize = 256 * 1024;
/// Longest start line and header section together, in octets.
pub const HEAD: usize = 64 * 1024;
/// Longest header line, with its foldings, in octets.
pub const LINE: usize = 8 * 1024;
/// Most header lines.
pub const LINES: usize = 256;
/// Most Via values.
pub const VIAS: usize = 100;
/// Most Route values, and most Record-Route values: two users with ten application servers each make 42.
pub const ROUTES: usize = 64;
/// Most Contact values.
pub const CONTACTS: usize = 10;
/// Longest URI, in octets.
pub const URI: usize = 1024;
/// Most parameters of one digest challenge or answer.
pub const DIGEST_PARAMS: usize = 64;
