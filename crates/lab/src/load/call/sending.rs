//! What the caller sends, and to which node.

use super::{ACK, Call, Heard, Scene};

impl Call {
    pub(super) fn send_invite(&self, scene: &mut Scene<'_>) {
        let to = self.calling.wait.to;
        scene.ground.send(self.caller, to, |ground, out| self.write_invite(ground, out));
    }

    /// RFC 3261 §9.1: where the INVITE went.
    pub(super) fn send_cancel(&self, scene: &mut Scene<'_>) {
        let (to, attempt) = (self.calling.wait.to, self.calling.attempt);
        scene.ground.send(self.caller, to, |ground, out| {
            self.write_after_invite(ground, "CANCEL", attempt, "", out);
        });
    }

    /// RFC 3261 §17.1.1.3: to whoever refused.
    pub(super) fn acknowledge_refusal(&self, scene: &mut Scene<'_>, heard: &Heard<'_, '_>) {
        let to = scene.ground.entries.of_several(heard.from).or(self.calling.wait.to);
        scene.ground.send(self.caller, to, |ground, out| {
            self.write_after_invite(ground, "ACK", heard.attempt, heard.text.to, out);
        });
    }

    /// RFC 3261 §13.2.2.4: to any node, for it is no part of the transaction of INVITE.
    pub(super) fn acknowledge(&self, scene: &mut Scene<'_>) {
        let to = scene.ground.fresh(self.caller).to;
        self.send_within(scene, to, ACK);
    }

    pub(super) fn send_within(&self, scene: &mut Scene<'_>, to: Option<u16>, step: u32) {
        let Some(dialog) = &self.calling.dialog else { return };
        scene.ground.send(self.caller, to, |ground, out| self.write_within(ground, dialog, step, out));
    }
}
