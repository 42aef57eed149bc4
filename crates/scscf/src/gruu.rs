//! TS 24.229 §5.4.7A, RFC 5627 §5 — globally routable user agent URIs.

use crate::{Impi, Impu, Policy, token::TokenKind, user::ContactBinding};
use std::fmt::Write;

/// The public GRUU of `impu` at the UE `instance_id`: the same at every registration. None for a tel URI.
pub fn public(impu: &Impu, instance_id: &str) -> Option<String> {
    let sip = impu.as_str().starts_with("sip:") || impu.as_str().starts_with("sips:");
    let urn = instance_id.trim_start_matches('<').trim_end_matches('>');
    if !sip || urn.is_empty() {
        return None;
    }
    let mut uri = format!("{impu};gr=");
    for octet in urn.bytes() {
        if octet.is_ascii_alphanumeric() || b"-_.!~*'()[]/:&+$".contains(&octet) {
            uri.push(char::from(octet));
        } else {
            // Writing to a String does not fail.
            let _ = write!(uri, "%{octet:02X}");
        }
    }
    Some(uri)
}

/// The temporary GRUU of a binding: another one after every REGISTER. None if the UE uses no GRUUs.
pub fn temporary(policy: &Policy, impi: &Impi, binding: &ContactBinding) -> Option<String> {
    let token = policy.tokens.mint(TokenKind::TemporaryGruu, impi, discriminator(binding, binding.gruu?));
    Some(format!("sip:{token}@{};gr", policy.domain))
}

/// Whether the temporary GRUU with this discriminator is or was one of `binding`.
pub fn belongs(discriminator: u64, binding: &ContactBinding) -> bool {
    let minted = discriminator as u32;
    discriminator >> 32 == binding.id & u64::from(u32::MAX) && binding.gruu.is_some_and(|cseq| minted <= cseq)
}

/// The low half of the binding's identifier and the CSeq of the REGISTER that minted it.
const fn discriminator(binding: &ContactBinding, cseq: u32) -> u64 {
    binding.id << 32 | cseq as u64
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_public_gruu_names_the_instance() {
        let impu = Impu::parse("sip:alice@ims.example").unwrap();
        let instance = "<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>";
        assert_eq!(
            public(&impu, instance).unwrap(),
            "sip:alice@ims.example;gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
        );
        assert_eq!(public(&impu, "<a;b\">").unwrap(), "sip:alice@ims.example;gr=a%3Bb%22");
        assert_eq!(public(&Impu::parse("tel:+15551").unwrap(), instance), None);
    }
}
