//! TS 29.228 annex E — User-Data of a subscriber: the identities in one service profile.

use super::provision::PublicIdentity;
use bytes::Bytes;
use std::fmt::Write;

/// An IMSSubscription with one service profile and no filter criteria.
pub(super) fn write(impi: &str, identities: &[PublicIdentity]) -> Bytes {
    let mut xml = String::with_capacity(320);
    xml.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?><IMSSubscription><PrivateID>");
    escape(&mut xml, impi);
    xml.push_str("</PrivateID><ServiceProfile>");
    for identity in identities {
        xml.push_str("<PublicIdentity>");
        let _ = write!(xml, "<BarringIndication>{}</BarringIndication><Identity>", u8::from(identity.barred));
        escape(&mut xml, &identity.impu);
        xml.push_str("</Identity></PublicIdentity>");
    }
    xml.push_str("</ServiceProfile></IMSSubscription>");
    xml.into()
}

fn escape(xml: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            other => xml.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_s_cscf_reads_what_is_written() {
        let identities = [
            PublicIdentity { impu: "sip:a&b@x.example".into(), barred: true },
            PublicIdentity { impu: "tel:+15550000001".into(), barred: false },
        ];
        let read = diameter::user_data::parse(&write("a@x.example", &identities)).unwrap();
        assert_eq!(&*read.private_id, "a@x.example");
        let read: Vec<(bool, &str)> = read.identities().map(|one| (one.barred, &*one.text)).collect();
        assert_eq!(read, [(true, "sip:a&b@x.example"), (false, "tel:+15550000001")]);
    }
}
