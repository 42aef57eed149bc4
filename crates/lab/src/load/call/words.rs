//! The messages of a call.

use super::{
    super::{
        arrival::{ORIGINATING, TERMINATING},
        ground::{Dialog, Ground, echo},
        mark::Branch,
        text::Text,
    },
    ACK, BYE, CALLEE_BYE, Call, INVITE, STEPS,
};
use std::io::Write;

fn with_sdp(ground: &Ground, out: &mut Vec<u8>) {
    let sdp = &ground.sdp;
    let _ = write!(out, "Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len());
}

const EMPTY: &[u8] = b"Content-Length: 0\r\n\r\n";

impl Call {
    /// The caller's INVITE as its P-CSCF sends it on.
    pub(super) fn write_invite(&self, ground: &Ground, out: &mut Vec<u8>) {
        let domain = &ground.domain;
        let (caller, callee) = (&ground.user(self.caller).name, &ground.user(self.callee).name);
        let (local, mark) = (ground.address_of(self.caller), self.mark);
        let uri = format_args!("sip:{callee}@{domain}");
        let attempt = self.calling.attempt;
        ground.write_head(self.caller, "INVITE", uri, self.branch(INVITE, attempt), out);
        ground.write_service_route(self.caller, out);
        let _ = write!(
            out,
            "Record-Route: <sip:{ORIGINATING}@{local};lr>\r\nMax-Forwards: 70\r\n\
             From: <sip:{caller}@{domain}>;tag=o{mark}\r\nTo: <sip:{callee}@{domain}>\r\nCall-ID: {mark}\r\nCSeq: {} INVITE\r\n\
             Contact: <sip:{caller}@{local}>\r\nP-Asserted-Identity: <sip:{caller}@{domain}>\r\n\
             P-Charging-Vector: icid-value=\"{mark}\";orig-ioi={domain}\r\n",
            1 + attempt
        );
        with_sdp(ground, out);
    }

    /// The branch of a step, made anew so often.
    fn branch(&self, step: u32, attempt: u32) -> Branch {
        self.mark.branch(step + STEPS * attempt)
    }

    /// CANCEL, or the ACK to a refusal of the INVITE that was made anew so often: both go where that INVITE went.
    pub(super) fn write_after_invite(
        &self,
        ground: &Ground,
        method: &str,
        attempt: u32,
        to: &str,
        out: &mut Vec<u8>,
    ) {
        let domain = &ground.domain;
        let (caller, callee) = (&ground.user(self.caller).name, &ground.user(self.callee).name);
        let uri = format_args!("sip:{callee}@{domain}");
        ground.write_head(self.caller, method, uri, self.branch(INVITE, attempt), out);
        ground.write_service_route(self.caller, out);
        let _ = write!(out, "Max-Forwards: 70\r\nFrom: <sip:{caller}@{domain}>;tag=o{}\r\n", self.mark);
        if to.is_empty() {
            let _ = write!(out, "To: <sip:{callee}@{domain}>\r\n");
        } else {
            let _ = write!(out, "To: {to}\r\n");
        }
        let _ = write!(out, "Call-ID: {}\r\nCSeq: {} {method}\r\n", self.mark, 1 + attempt);
        out.extend_from_slice(EMPTY);
    }

    /// A request of either side within the dialog.
    pub(super) fn write_within(&self, ground: &Ground, dialog: &Dialog, step: u32, out: &mut Vec<u8>) {
        let invited = 1 + self.calling.attempt;
        let (method, user, attempt, cseq) = match step {
            ACK => ("ACK", self.caller, self.calling.attempt, invited),
            BYE => ("BYE", self.caller, self.calling.byes, invited + 1 + self.calling.byes),
            CALLEE_BYE => ("BYE", self.callee, self.called.byes, 1 + self.called.byes),
            _ => return,
        };
        ground.write_head(user, method, &dialog.target, self.branch(step, attempt), out);
        out.extend_from_slice(&dialog.route);
        let _ = write!(
            out,
            "Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n",
            dialog.from, dialog.to, self.mark
        );
        out.extend_from_slice(EMPTY);
    }

    /// The callee's side of the dialog, from the INVITE (RFC 3261 §12.1.1). Its own P-CSCF is not in the set yet.
    pub(super) fn callee_dialog(&self, text: &Text<'_>) -> Dialog {
        let from = format!("{};tag=t{}", text.to, self.mark);
        Dialog::new(text, text.record_routes.iter().copied(), from, text.from.to_owned())
    }

    /// What all the callee's responses to an INVITE have in common, and what those have that make a dialog.
    pub(super) fn callee_echo(&self, ground: &Ground, text: &Text<'_>) -> (Vec<u8>, Vec<u8>) {
        let (mut shared, mut dialog) = (Vec::with_capacity(512), Vec::with_capacity(512));
        echo(&mut shared, text);
        let (name, local) = (&ground.user(self.callee).name, ground.address_of(self.callee));
        let _ = write!(dialog, "Record-Route: <sip:{TERMINATING}@{local};lr>");
        for element in &text.record_routes {
            let _ = write!(dialog, ", {element}");
        }
        let _ = write!(
            dialog,
            "\r\nContact: <sip:{name}@{local}>\r\nP-Asserted-Identity: <sip:{name}@{}>\r\n",
            ground.domain
        );
        (shared, dialog)
    }
}

/// A response of the callee's to INVITE, from its parts.
pub(super) fn write_response(ground: &Ground, status: u16, shared: &[u8], dialog: &[u8], out: &mut Vec<u8>) {
    let line = match status {
        180 => "180 Ringing",
        200 => "200 OK",
        480 => "480 Temporarily Unavailable",
        486 => "486 Busy Here",
        487 => "487 Request Terminated",
        _ => "500 Server Internal Error",
    };
    let _ = write!(out, "SIP/2.0 {line}\r\n");
    out.extend_from_slice(shared);
    if status < 300 {
        out.extend_from_slice(dialog);
    }
    if status == 200 {
        with_sdp(ground, out);
    } else {
        out.extend_from_slice(EMPTY);
    }
}
