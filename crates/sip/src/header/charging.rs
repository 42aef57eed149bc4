//! RFC 7315 §4.5 — P-Charging-Vector.

use crate::{Params, UriError};
use std::fmt;

/// A P-Charging-Vector value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargingVector {
    /// `icid-value`
    pub icid_value: Box<str>,
    /// `orig-ioi`
    pub orig_ioi: Option<Box<str>>,
    /// `term-ioi`
    pub term_ioi: Option<Box<str>>,
    /// All other parameters, as received.
    pub params: Params,
}

impl ChargingVector {
    /// A vector of an identifier alone.
    pub fn new(icid_value: &str) -> Self {
        Self { icid_value: icid_value.into(), orig_ioi: None, term_ioi: None, params: Params::default() }
    }

    /// Parses one value.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let mut params = Params::parse(&format!(";{text}"))?;
        let mut take = |name: &str| {
            let value: Option<Box<str>> = params.get(name).map(Into::into);
            params.remove(name);
            value
        };
        let icid_value =
            take("icid-value").filter(|icid| !icid.is_empty()).ok_or(UriError("icid-value is missing"))?;
        Ok(Self { icid_value, orig_ioi: take("orig-ioi"), term_ioi: take("term-ioi"), params })
    }
}

impl fmt::Display for ChargingVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut known = Params::default();
        known.insert("icid-value", &self.icid_value);
        let others = [("orig-ioi", &self.orig_ioi), ("term-ioi", &self.term_ioi)];
        for (name, value) in others.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            known.insert(name, value);
        }
        write!(f, "{}{}", &known.as_str()[1..], self.params)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_and_writes() {
        let vector = ChargingVector::parse(
            r#"icid-value="Ayr=tyU0dm+6O2";icid-generated-at=[::1]; orig-ioi=visited1.net"#,
        )
        .unwrap();
        assert_eq!(&*vector.icid_value, "Ayr=tyU0dm+6O2");
        assert_eq!(vector.orig_ioi.as_deref(), Some("visited1.net"));
        assert_eq!(
            vector.to_string(),
            r#"icid-value="Ayr=tyU0dm+6O2";orig-ioi=visited1.net;icid-generated-at=[::1]"#
        );
        assert!(ChargingVector::parse("icid-value").is_err());
        assert!(ChargingVector::parse("orig-ioi=a").is_err());
    }
}
