//! TS 24.229 §5.1.1.3, §5.2.3 — how a UE, or its P-CSCF, subscribes to the registration state and hears of it.

use super::{
    Error, Inner,
    config::{Package, Role},
    happening::{Happening, Notification},
    locked,
    message::{Dialogue, Draft, Incoming},
    reginfo::Reginfo,
    registration::{Standing, refresh_after},
};
use crate::wire::{call_id, tag, text};
use rsip::Method;
use tokio::time::Instant;

/// What a UE asks for, as TS 24.229 §5.1.1.3 has it: longer than any registration.
pub(super) const EXPIRES: u32 = 600_000;

/// A dialog with the S-CSCF.
#[derive(Clone, Debug)]
pub(super) struct Dialog {
    pub(super) call_id: String,
    pub(super) package: Package,
    role: Role,
    tag: String,
    remote_tag: String,
    cseq: u32,
    target: String,
    routes: Vec<String>,
    version: Option<u32>,
    pub(super) refresh_at: Option<Instant>,
}

/// A subscription that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// Call-ID of its dialog, which names it.
    pub call_id: String,
    /// Seconds until it expires.
    pub expires_s: u32,
}

impl Inner {
    /// Subscribes to the registration state of the UE's own public identity.
    pub(super) async fn subscribe(&self, package: Package, role: Role) -> Result<Subscribed, Error> {
        let target = self.config.impu();
        let dialog = Dialog {
            call_id: call_id(),
            package,
            role,
            tag: tag(),
            remote_tag: String::new(),
            cseq: 0,
            target,
            routes: match role {
                Role::Ue => locked(&self.standing).service_route.clone(),
                Role::PCscf => Vec::new(),
            },
            version: None,
            refresh_at: None,
        };
        let call_id = dialog.call_id.clone();
        // The first NOTIFY may overtake the 200 (OK).
        locked(&self.dialogs).push(dialog);
        match self.subscribing(&call_id, EXPIRES).await {
            Ok(expires_s) => Ok(Subscribed { call_id, expires_s }),
            Err(error) => {
                locked(&self.dialogs).retain(|dialog| dialog.call_id != call_id);
                Err(error)
            }
        }
    }

    /// Refreshes a subscription, or ends it with `expires` 0; seconds until it expires.
    pub(super) async fn subscribing(&self, call_id: &str, expires: u32) -> Result<u32, Error> {
        let request = {
            let mut dialogs = locked(&self.dialogs);
            let dialog =
                dialogs.iter_mut().find(|dialog| dialog.call_id == call_id).ok_or(Error::NoSubscription)?;
            dialog.cseq += 1;
            self.subscribe_request(dialog, expires)
        };
        let response = self.exchange(request).await?;
        if !matches!(response.status(), Some(200..=299)) {
            return Err(Error::refused(&response));
        }
        let granted = response.value("Expires").parse().unwrap_or(expires);
        if let Some(dialog) = locked(&self.dialogs).iter_mut().find(|dialog| dialog.call_id == call_id) {
            dialog.established(&response);
            dialog.refresh_at = (granted > 0).then(|| Instant::now() + refresh_after(granted));
            self.tell(Happening::Subscribed { package: dialog.package, expires_s: granted });
        }
        self.changed.notify_waiters();
        Ok(granted)
    }

    fn subscribe_request(&self, dialog: &Dialog, expires: u32) -> Draft {
        let impu = self.config.impu();
        let asserted = match dialog.role {
            Role::Ue => impu.clone(),
            Role::PCscf => self.path(),
        };
        let to = match dialog.remote_tag.as_str() {
            "" => format!("<{impu}>"),
            tag => format!("<{impu}>;tag={tag}"),
        };
        let dialogue = Dialogue {
            from: format!("<{asserted}>;tag={}", dialog.tag),
            to,
            call_id: &dialog.call_id,
            cseq: dialog.cseq,
        };
        let mut draft = Draft::new(Method::Subscribe, &dialog.target, dialogue);
        for route in &dialog.routes {
            draft = draft.header("Route", route);
        }
        // The UE's SUBSCRIBE passes its P-CSCF, which stays on the path.
        if dialog.role == Role::Ue {
            draft = draft.header("Record-Route", format!("<{}>", self.path()));
        }
        draft
            .header("Event", dialog.package.as_str())
            .header("Expires", expires.to_string())
            .header("Accept", "application/reginfo+xml")
            .header("P-Asserted-Identity", format!("<{asserted}>"))
            .header("P-Charging-Vector", format!("icid-value=\"{:032x}\"", rand::random::<u128>()))
            .header("Contact", format!("<{}>", self.contact()))
    }

    pub(super) fn notified(&self, request: &Incoming) -> (u16, Option<Notification>) {
        let mut dialogs = locked(&self.dialogs);
        let call_id = request.value("Call-ID");
        let Some(at) = dialogs.iter().position(|dialog| dialog.call_id == call_id) else {
            return (481, None);
        };
        let dialog = &mut dialogs[at];
        let event = request.value("Event");
        if event.split(';').next().map(str::trim) != Some(dialog.package.as_str()) {
            return (489, None);
        }
        let reginfo = match Reginfo::read(request.body()) {
            Ok(reginfo) => Some(reginfo),
            Err(_) if request.body().is_empty() => None,
            Err(_) => return (400, None),
        };
        // RFC 3680 §5.1: a document whose version is not higher is old.
        let fresh = reginfo.filter(|reginfo| dialog.version.is_none_or(|version| reginfo.version > version));
        dialog.version = fresh.as_ref().map(|reginfo| reginfo.version).or(dialog.version);
        if let Some(tag) = text::parameter(&request.value("From"), "tag") {
            tag.clone_into(&mut dialog.remote_tag);
        }
        let state = request.value("Subscription-State");
        let terminated = state.trim_start().starts_with("terminated");
        let package = dialog.package;
        if terminated {
            dialogs.remove(at);
        }
        (200, Some(Notification { package, state, terminated, reginfo: fresh }))
    }

    /// What a NOTIFY means for the UE.
    pub(super) fn concluded(&self, notification: &Notification) {
        let Some(reginfo) = &notification.reginfo else { return };
        if reginfo.asks_for_authentication() {
            self.heed("NOTIFY", reginfo.shortened_to());
            return;
        }
        let ours = self.contact();
        let contacts: Vec<_> = reginfo
            .registrations
            .iter()
            .flat_map(|one| &one.contacts)
            .filter(|contact| contact.uri == ours)
            .collect();
        let gone = !contacts.is_empty() && contacts.iter().all(|contact| contact.state == "terminated");
        if let Some(contact) = contacts.first().filter(|_| gone) {
            *locked(&self.standing) = Standing::default();
            self.tell(Happening::Deregistered { by: contact.event.clone() });
        }
    }
}

impl Dialog {
    fn established(&mut self, response: &Incoming) {
        if let Some(tag) = text::parameter(&response.value("To"), "tag") {
            tag.clone_into(&mut self.remote_tag);
        }
        let target = response.value("Contact");
        if !target.is_empty() {
            self.target = text::uri(&target).to_owned();
        }
        if self.cseq == 1 {
            self.routes = response.elements("Record-Route");
            self.routes.reverse();
            // The topmost is the UE's own P-CSCF, which is this very program.
            if self.role == Role::Ue && !self.routes.is_empty() {
                self.routes.remove(0);
            }
        }
    }
}
