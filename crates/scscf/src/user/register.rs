//! TS 24.229 §5.4.1.1, §5.4.1.2 — REGISTER: which procedure applies.

/// A REGISTER between two answers of the HSS.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt;
