//! What is the cluster's and never changes: the layout of the groups, and the secret that seals tokens.
//!
//! Every node knows them, and tells a Redis that may have lost them: else the next node that starts would make others.

use super::{Group, fail, get, octets, schema};
use crate::Error;
use redis::{Pipeline, Value, cmd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// What a node knows of them.
pub(super) struct Facts {
    /// Which group of how many this is.
    layout: Box<str>,
    /// Of the first group, once it was asked for.
    secret: Mutex<Option<[u8; 32]>>,
    /// Redis may have lost them and was not told yet.
    untold: AtomicBool,
}

impl Facts {
    pub(super) fn new(group: u16, groups: u16) -> Self {
        let layout = format!("1 group {group} of {groups}").into();
        Self { layout, secret: Mutex::default(), untold: AtomicBool::new(false) }
    }

    /// Redis is in another run.
    pub(super) fn may_be_lost(&self) {
        self.untold.store(true, Ordering::Relaxed);
    }
}

impl Group {
    /// A group keeps shards by its place among all: what was written under another order would not be found.
    pub(super) async fn check_layout(&self) -> Result<(), Error> {
        let layout = &*self.facts.layout;
        let found = self.kept(schema::LAYOUT, layout.as_bytes()).await?;
        if found == layout.as_bytes() {
            return Ok(());
        }
        let found = String::from_utf8_lossy(&found);
        let why =
            format!("{}: it was set up as layout {found}, and is named as layout {layout} now", self.place);
        Err(Error::Settings(why.into()))
    }

    /// The secret that is kept here, else `fresh`, which is from now on.
    pub(super) async fn secret(&self, fresh: [u8; 32]) -> Result<[u8; 32], Error> {
        let kept = self.kept(schema::SECRET, &fresh).await?;
        let secret =
            kept.try_into().map_err(|_| Error::Corrupt("the secret in Redis has not 32 octets".into()))?;
        *self.facts.secret.lock().unwrap_or_else(PoisonError::into_inner) = Some(secret);
        Ok(secret)
    }

    /// What is kept under `key`, else `fresh`, which is from now on. A full Redis says what it has.
    async fn kept(&self, key: &str, fresh: &[u8]) -> Result<Vec<u8>, Error> {
        if let Some(kept) = octets(self.line.ask(get(key.into())).await?)? {
            return Ok(kept);
        }
        let mut set = cmd("SET");
        set.arg(key).arg(fresh).arg("NX");
        self.line.ask(set).await?;
        octets(self.line.ask(get(key.into())).await?)?.ok_or_else(fail::unreadable)
    }

    /// Tells a Redis that may have lost them; what it has stays.
    pub(super) async fn tell_facts(&self) {
        if !self.facts.untold.load(Ordering::Relaxed) {
            return;
        }
        let secret = *self.facts.secret.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tell = Pipeline::with_capacity(2);
        tell.cmd("SET").arg(schema::LAYOUT).arg(&*self.facts.layout).arg("NX");
        if let Some(secret) = secret {
            tell.cmd("SET").arg(schema::SECRET).arg(&secret[..]).arg("NX");
        }
        // If it fails the next renewal tries again.
        let told: Result<Vec<Value>, Error> = self.leases.ask_all(tell).await;
        self.facts.untold.store(told.is_err(), Ordering::Relaxed);
    }
}
