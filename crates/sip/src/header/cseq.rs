//! RFC 3261 §20.16 — CSeq.

use crate::{Method, lexis};
use std::fmt;

/// A CSeq value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CSeq {
    /// Below 2^31.
    pub number: u32,
    /// The method.
    pub method: Method,
}

impl CSeq {
    /// A sequence number with its method.
    pub const fn new(number: u32, method: Method) -> Self {
        Self { number, method }
    }
}

/// Number and method token of an unfolded value.
pub(crate) fn scan(text: &str) -> Result<(u32, &str), &'static str> {
    let blank = text.bytes().position(|b| b == b' ' || b == b'\t').ok_or("CSeq is a number and a method")?;
    let (number, method) = text.split_at(blank);
    let number = lexis::decimal(number.as_bytes()).filter(|&n| n < 1 << 31);
    let method = lexis::trim(method);
    if !lexis::is_token(method.as_bytes()) {
        return Err("the method of CSeq is no token");
    }
    Ok((number.ok_or("the number of CSeq is none below 2^31")? as u32, method))
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}
