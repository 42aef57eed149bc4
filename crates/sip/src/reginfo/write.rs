//! RFC 3680 §5.4 — the document written in the order of its schema.

use super::{Contact, EXT_REG_EXP, GRUUINFO, REGINFO, Reginfo, Registration};
use std::fmt::Write;

pub(super) fn document(reginfo: &Reginfo) -> Vec<u8> {
    let contacts = || reginfo.registrations.iter().flat_map(|registration| &registration.contacts);
    let mut out = String::with_capacity(256 + 128 * reginfo.registrations.len() + 384 * contacts().count());
    out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<reginfo");
    attribute(&mut out, "xmlns", REGINFO);
    if contacts().any(|contact| contact.pub_gruu.is_some() || contact.temp_gruu.is_some()) {
        attribute(&mut out, "xmlns:gr", GRUUINFO);
    }
    if reginfo.registrations.iter().any(|registration| registration.wildcarded_identity.is_some()) {
        attribute(&mut out, "xmlns:ere", EXT_REG_EXP);
    }
    number(&mut out, "version", reginfo.version);
    attribute(&mut out, "state", reginfo.state.as_str());
    out.push_str(">\n");
    for registration in &reginfo.registrations {
        write_registration(&mut out, registration);
    }
    out.push_str("</reginfo>\n");
    out.into_bytes()
}

fn write_registration(out: &mut String, registration: &Registration) {
    out.push_str("  <registration");
    attribute(out, "aor", &registration.aor);
    attribute(out, "id", &registration.id);
    attribute(out, "state", registration.state.as_str());
    if registration.contacts.is_empty() && registration.wildcarded_identity.is_none() {
        out.push_str("/>\n");
        return;
    }
    out.push_str(">\n");
    for contact in &registration.contacts {
        write_contact(out, contact);
    }
    if let Some(expression) = &registration.wildcarded_identity {
        out.push_str("    ");
        element(out, "ere:wildcardedIdentity", expression);
    }
    out.push_str("  </registration>\n");
}

fn write_contact(out: &mut String, contact: &Contact) {
    out.push_str("    <contact");
    attribute(out, "id", &contact.id);
    attribute(out, "state", contact.state.as_str());
    attribute(out, "event", contact.event.as_str());
    if let Some(seconds) = contact.duration_registered {
        number(out, "duration-registered", seconds);
    }
    if let Some(seconds) = contact.expires {
        number(out, "expires", seconds);
    }
    if let Some(seconds) = contact.retry_after {
        number(out, "retry-after", seconds);
    }
    if let Some(q) = &contact.q {
        attribute(out, "q", q);
    }
    if let Some(callid) = &contact.callid {
        attribute(out, "callid", callid);
    }
    if let Some(cseq) = contact.cseq {
        number(out, "cseq", cseq);
    }
    out.push_str(">\n      ");
    element(out, "uri", &contact.uri);
    if let Some(name) = &contact.display_name {
        out.push_str("      ");
        element(out, "display-name", name);
    }
    for (name, value) in &contact.unknown_params {
        out.push_str("      <unknown-param");
        attribute(out, "name", name);
        out.push('>');
        escaped(out, value);
        out.push_str("</unknown-param>\n");
    }
    if let Some(uri) = &contact.pub_gruu {
        out.push_str("      <gr:pub-gruu");
        attribute(out, "uri", uri);
        out.push_str("/>\n");
    }
    if let Some((uri, first_cseq)) = &contact.temp_gruu {
        out.push_str("      <gr:temp-gruu");
        attribute(out, "uri", uri);
        number(out, "first-cseq", *first_cseq);
        out.push_str("/>\n");
    }
    out.push_str("    </contact>\n");
}

fn element(out: &mut String, name: &str, text: &str) {
    out.push('<');
    out.push_str(name);
    out.push('>');
    escaped(out, text);
    out.push_str("</");
    out.push_str(name);
    out.push_str(">\n");
}

fn attribute(out: &mut String, name: &str, value: &str) {
    out.push(' ');
    out.push_str(name);
    out.push_str("=\"");
    escaped(out, value);
    out.push('"');
}

fn number(out: &mut String, name: &str, value: impl Into<u64>) {
    // Writing to a String cannot fail.
    let _ = write!(out, " {name}=\"{}\"", value.into());
}

fn escaped(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
}
