//! RFC 6733 §4 — attribute-value pairs: a borrowed iterator that checks every length, and a writer.

use crate::codes::{self, Code};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The V flag: a Vendor-Id follows the length.
pub const VENDOR: u8 = 0x80;
/// The M flag: who does not know this AVP must refuse the message.
pub const MANDATORY: u8 = 0x40;

/// One AVP of a message, borrowed from its octets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Avp<'a> {
    /// AVP Code.
    pub code: u32,
    /// Vendor-Id; 0 if the V flag is clear.
    pub vendor: u32,
    /// The flags octet as received.
    pub flags: u8,
    /// The value without header and padding.
    pub data: &'a [u8],
    raw: &'a [u8],
}

/// Why a chain of AVPs cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("AVP {code} of vendor {vendor}: {why}")]
pub struct AvpError {
    /// AVP Code, as far as it could be read.
    pub code: u32,
    /// Vendor-Id, as far as it could be read.
    pub vendor: u32,
    /// What is wrong.
    pub why: &'static str,
}

impl std::fmt::Debug for Avp<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Avp {{ code: {}, vendor: {}, flags: {:#04x}, {} octets }}",
            self.code,
            self.vendor,
            self.flags,
            self.data.len()
        )
    }
}

impl std::fmt::Debug for Avps<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer({} octets)", self.octets.len())
    }
}

impl<'a> Avp<'a> {
    /// Whether it is the AVP that `code` names; its M flag does not matter.
    pub const fn is(&self, code: Code) -> bool {
        self.code == code.code && self.vendor == code.vendor
    }

    /// Whether the M flag is set.
    pub const fn is_mandatory(&self) -> bool {
        self.flags & MANDATORY != 0
    }

    /// Header and value as received, without padding.
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// A UTF8String, DiameterIdentity or DiameterURI.
    pub fn text(&self) -> Result<&'a str, AvpError> {
        std::str::from_utf8(self.data).map_err(|_| self.malformed("is not UTF-8"))
    }

    /// An Unsigned32 or Enumerated.
    pub fn unsigned32(&self) -> Result<u32, AvpError> {
        let octets = self.data.try_into().map_err(|_| self.malformed("is not four octets long"))?;
        Ok(u32::from_be_bytes(octets))
    }

    /// An Address of family IPv4 or IPv6.
    pub fn address(&self) -> Result<IpAddr, AvpError> {
        let (family, octets) = self.data.split_first_chunk::<2>().ok_or(self.malformed("is too short"))?;
        let v4 = || <[u8; 4]>::try_from(octets).ok().map(|o| IpAddr::V4(Ipv4Addr::from(o)));
        let v6 = || <[u8; 16]>::try_from(octets).ok().map(|o| IpAddr::V6(Ipv6Addr::from(o)));
        let address = match u16::from_be_bytes(*family) {
            1 => v4(),
            2 => v6(),
            _ => None,
        };
        address.ok_or(self.malformed("is no IP address"))
    }

    /// The AVPs of a Grouped AVP.
    pub const fn grouped(&self) -> Avps<'a> {
        Avps::new(self.data)
    }

    /// An error about this AVP.
    pub const fn malformed(&self, why: &'static str) -> AvpError {
        AvpError { code: self.code, vendor: self.vendor, why }
    }
}

/// Walks a chain of AVPs; ends after the first that cannot be read.
#[derive(Clone)]
pub struct Avps<'a> {
    rest: &'a [u8],
}

impl<'a> Avps<'a> {
    /// Over the octets of a message after its header, or of a Grouped value.
    pub const fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    /// The first AVP that `code` names, or what stands unreadable before it.
    pub fn find(mut self, code: Code) -> Result<Option<Avp<'a>>, AvpError> {
        self.find_map(|avp| match avp {
            Ok(avp) => avp.is(code).then_some(Ok(avp)),
            Err(error) => Some(Err(error)),
        })
        .transpose()
    }

    fn split(&mut self) -> Result<Avp<'a>, AvpError> {
        let error = |code, vendor, why| AvpError { code, vendor, why };
        let Some((head, _)) = self.rest.split_first_chunk::<8>() else {
            return Err(error(0, 0, "header is cut short"));
        };
        let code = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let flags = head[4];
        let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        let header = if flags & VENDOR == 0 { 8 } else { 12 };
        let vendor = match (header, self.rest.get(8..12)) {
            (12, Some(v)) => u32::from_be_bytes([v[0], v[1], v[2], v[3]]),
            (12, None) => return Err(error(code, 0, "Vendor-Id is cut short")),
            _ => 0,
        };
        if length < header {
            return Err(error(code, vendor, "length is smaller than its header"));
        }
        let Some(raw) = self.rest.get(..length) else {
            return Err(error(code, vendor, "length exceeds what is left"));
        };
        // The padding of a last AVP may be missing: some peers leave it out inside a Grouped AVP.
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Ok(Avp { code, vendor, flags, data: &raw[header..], raw })
    }
}

impl<'a> Iterator for Avps<'a> {
    type Item = Result<Avp<'a>, AvpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let avp = self.split();
        if avp.is_err() {
            self.rest = &[];
        }
        Some(avp)
    }
}

/// Writes a chain of AVPs with the flags that their [`Code`] prescribes.
///
/// A value beyond the 24-bit length is written with a wrapped length; `Message::decode` and the peer refuse messages
/// far below that size, so none leaves the process.
#[derive(Clone, Default)]
pub struct Writer {
    octets: Vec<u8>,
}

impl Writer {
    /// An empty chain with room for a usual message.
    pub fn new() -> Self {
        Self { octets: Vec::with_capacity(512) }
    }

    /// An OctetString.
    pub fn octets(&mut self, code: Code, value: &[u8]) -> &mut Self {
        let start = self.open(code);
        self.octets.extend_from_slice(value);
        self.close(start)
    }

    /// A UTF8String, DiameterIdentity or DiameterURI.
    pub fn text(&mut self, code: Code, value: &str) -> &mut Self {
        self.octets(code, value.as_bytes())
    }

    /// An Unsigned32 or Enumerated.
    pub fn unsigned32(&mut self, code: Code, value: u32) -> &mut Self {
        self.octets(code, &value.to_be_bytes())
    }

    /// An Address.
    pub fn address(&mut self, code: Code, value: IpAddr) -> &mut Self {
        let start = self.open(code);
        match value {
            IpAddr::V4(ip) => {
                self.octets.extend_from_slice(&[0, 1]);
                self.octets.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.octets.extend_from_slice(&[0, 2]);
                self.octets.extend_from_slice(&ip.octets());
            }
        }
        self.close(start)
    }

    /// A Grouped AVP with what `fill` writes into it.
    pub fn grouped(&mut self, code: Code, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.open(code);
        fill(self);
        self.close(start)
    }

    /// An AVP as it was received, flags included.
    pub fn copy(&mut self, avp: &Avp<'_>) -> &mut Self {
        self.octets.extend_from_slice(avp.raw());
        self.pad();
        self
    }

    /// The chain.
    pub fn finish(self) -> Vec<u8> {
        self.octets
    }

    fn open(&mut self, code: Code) -> usize {
        let start = self.octets.len();
        let flags = if code.mandatory { MANDATORY } else { 0 } | if code.vendor == 0 { 0 } else { VENDOR };
        self.octets.extend_from_slice(&code.code.to_be_bytes());
        self.octets.extend_from_slice(&[flags, 0, 0, 0]);
        if code.vendor != 0 {
            self.octets.extend_from_slice(&code.vendor.to_be_bytes());
        }
        start
    }

    fn close(&mut self, start: usize) -> &mut Self {
        let length = ((self.octets.len() - start) as u32).to_be_bytes();
        self.octets[start + 5..start + 8].copy_from_slice(&length[1..]);
        self.pad();
        self
    }

    fn pad(&mut self) {
        self.octets.resize(self.octets.len().next_multiple_of(4), 0);
    }
}

/// The smallest AVP of this code, as Failed-AVP shows a missing one (RFC 6733 §7.5).
pub fn smallest(code: Code) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.octets(code, &vec![0; codes::smallest_value(code)]);
    writer.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::codes::avp;
    use proptest::prelude::*;

    #[test]
    fn value_is_padded_and_padding_is_not_counted() {
        let mut writer = Writer::new();
        writer.text(avp::USER_NAME, "a").text(avp::SESSION_ID, "s;1");
        let octets = writer.finish();
        assert_eq!(octets.len(), 24);
        assert_eq!(octets[..12], [0, 0, 0, 1, 0x40, 0, 0, 9, b'a', 0, 0, 0]);
        let read: Vec<_> = Avps::new(&octets).map(|a| a.unwrap().text().unwrap().to_owned()).collect();
        assert_eq!(read, ["a", "s;1"]);
    }

    #[test]
    fn lengths_that_lie_are_errors_and_end_the_walk() {
        let too_small = [0, 0, 0, 1, 0x40, 0, 0, 7, 0, 0, 0, 0];
        let too_large = [0, 0, 0, 1, 0x40, 0, 0, 13, 0, 0, 0, 0];
        let vendor_cut = [0, 0, 0, 1, 0xc0, 0, 0, 8];
        let vendor_short = [0, 0, 0, 1, 0xc0, 0, 0, 11, 0, 0, 0x28, 0xaf];
        for octets in [&too_small[..], &too_large, &vendor_cut, &vendor_short, &[1, 2, 3]] {
            let walked: Vec<_> = Avps::new(octets).collect();
            assert_eq!(walked.len(), 1, "{octets:?}");
            assert!(walked[0].is_err(), "{octets:?}");
        }
    }

    #[test]
    fn missing_padding_of_the_last_avp_is_tolerated() {
        let octets = [0, 0, 0, 1, 0x40, 0, 0, 9, b'a'];
        assert_eq!(Avps::new(&octets).next().unwrap().unwrap().data, b"a");
    }

    #[test]
    fn addresses_of_both_families() {
        for ip in ["127.0.0.1", "2001:db8::1"] {
            let ip: IpAddr = ip.parse().unwrap();
            let mut writer = Writer::new();
            writer.address(avp::HOST_IP_ADDRESS, ip);
            let octets = writer.finish();
            assert_eq!(Avps::new(&octets).next().unwrap().unwrap().address().unwrap(), ip);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(values in proptest::collection::vec((0u32..2000, any::<bool>(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..12)) {
            let mut writer = Writer::new();
            for (code, vendor, mandatory, data) in &values {
                let code = Code { code: *code, vendor: if *vendor { 10415 } else { 0 }, mandatory: *mandatory };
                writer.octets(code, data);
            }
            let octets = writer.finish();
            let read: Vec<_> = Avps::new(&octets).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(read.len(), values.len());
            for (avp, (code, vendor, mandatory, data)) in read.iter().zip(&values) {
                prop_assert_eq!(avp.code, *code);
                prop_assert_eq!(avp.vendor, if *vendor { 10415 } else { 0 });
                prop_assert_eq!(avp.is_mandatory(), *mandatory);
                prop_assert_eq!(avp.data, &data[..]);
            }
        }

        #[test]
        fn no_octets_make_the_walk_panic_or_run_on(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let steps = Avps::new(&octets).count();
            prop_assert!(steps <= octets.len() / 8 + 1);
        }
    }
}
