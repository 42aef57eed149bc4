//! TS 24.229 §5.1.1.4 — what a UE does of its own accord: refreshes what would expire, authenticates anew when asked.

use super::{Happening, Inner, OnReauth, locked, registration, subscription};
use std::sync::{Arc, atomic::Ordering};
use tokio::time::{Duration, Instant};

impl Inner {
    /// Notes that the network asked for authentication, and when to act on it.
    pub(super) fn heed(&self, by: &'static str, within_s: Option<u32>) {
        if self.leaving.load(Ordering::Relaxed) {
            return;
        }
        self.tell(Happening::Asked { by, within_s });
        if self.config.on_reauth == OnReauth::Ignore {
            return;
        }
        let delay = match within_s {
            Some(within) if !self.config.promptly => registration::refresh_after(within),
            _ => Duration::ZERO,
        };
        let mut at = locked(&self.reauthenticate_at);
        let wanted = Instant::now() + delay;
        *at = Some(at.map_or(wanted, |earlier| earlier.min(wanted)));
        self.changed.notify_one();
    }

    /// Refreshes what would expire, and authenticates anew when asked.
    pub(super) async fn keep(self: Arc<Self>) {
        loop {
            let changed = self.changed.notified();
            let asked = *locked(&self.reauthenticate_at);
            let refresh = locked(&self.standing).refresh_at;
            let dialog = locked(&self.dialogs)
                .iter()
                .filter_map(|one| Some((one.refresh_at?, one.call_id.clone())))
                .min();
            let refresh = refresh.filter(|_| self.config.refresh);
            let dialog = dialog.filter(|_| self.config.refresh);
            let next = [asked, refresh, dialog.as_ref().map(|(at, _)| *at)].into_iter().flatten().min();
            let next = next.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                () = changed => continue,
                () = tokio::time::sleep_until(next) => {}
            }
            let now = Instant::now();
            if asked.is_some_and(|at| at <= now) {
                // Several NOTIFYs ask for the same thing; one REGISTER answers them all.
                tokio::time::sleep(Duration::from_millis(20)).await;
                *locked(&self.reauthenticate_at) = None;
                if !self.leaving.load(Ordering::Relaxed) {
                    self.reauthenticate().await;
                }
            } else if refresh.is_some_and(|at| at <= now) {
                self.refresh().await;
            } else if let Some((_, call_id)) = dialog.filter(|(at, _)| *at <= now)
                && let Err(why) = self.subscribing(&call_id, subscription::EXPIRES).await
            {
                locked(&self.dialogs).retain(|dialog| dialog.call_id != call_id);
                self.tell(Happening::Failed { why: format!("refreshing a subscription: {why}") });
            }
        }
    }

    async fn refresh(&self) {
        locked(&self.standing).refresh_at = None;
        if let Err(why) = self.register(false).await {
            self.tell(Happening::Failed { why: format!("refreshing the registration: {why}") });
        }
    }
}
