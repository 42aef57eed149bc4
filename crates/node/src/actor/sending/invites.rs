//! The INVITEs that are on their way, by whose they are.

use ahash::AHashMap;
use scscf::{Impi, Purpose};
use sip::transaction::ClientId;

/// INVITEs without a final answer. A user has few of them, and a node many.
#[derive(Default)]
pub(super) struct Invites(AHashMap<Impi, Vec<(Purpose, ClientId)>>);

impl Invites {
    pub(super) fn insert(&mut self, impi: &Impi, purpose: Purpose, id: ClientId) {
        let own = self.0.entry(impi.clone()).or_default();
        match own.iter_mut().find(|(of, _)| *of == purpose) {
            Some((_, known)) => *known = id,
            None => own.push((purpose, id)),
        }
    }

    pub(super) fn get(&self, impi: &Impi, purpose: Purpose) -> Option<ClientId> {
        self.0.get(impi)?.iter().find(|(of, _)| *of == purpose).map(|(_, id)| *id)
    }

    pub(super) fn remove(&mut self, impi: &Impi, purpose: Purpose) -> Option<ClientId> {
        let own = self.0.get_mut(impi)?;
        let at = own.iter().position(|(of, _)| *of == purpose)?;
        let (_, id) = own.swap_remove(at);
        if own.is_empty() {
            self.0.remove(impi);
        }
        Some(id)
    }

    /// For what a user has sent INVITEs.
    pub(super) fn of(&self, impi: &Impi) -> Vec<Purpose> {
        self.0.get(impi).into_iter().flatten().map(|(purpose, _)| *purpose).collect()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
