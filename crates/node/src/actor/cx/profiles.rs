//! User-Data that was read before is not read again, and equal filter criteria are kept once.

use ahash::{AHashMap, RandomState};
use diameter::user_data;
use scscf::cx::UserDataError;
use scscf::ifc::Criteria;
use scscf::profile::Subscription;
use std::collections::VecDeque;

/// What was read lately.
#[derive(Default)]
pub(super) struct Profiles {
    hashing: RandomState,
    young: AHashMap<(u64, usize), Subscription>,
    old: AHashMap<(u64, usize), Subscription>,
    criteria: VecDeque<Criteria>,
}

/// Documents of one generation; two are kept.
const GENERATION: usize = 256;
/// Different lists of filter criteria that are looked through.
const LISTS: usize = 32;

impl Profiles {
    pub(super) fn read(&mut self, octets: &[u8]) -> Result<Subscription, UserDataError> {
        let key = (self.hashing.hash_one(octets), octets.len());
        if let Some(known) = self.young.get(&key).or_else(|| self.old.get(&key)) {
            return Ok(known.clone());
        }
        let mut read = user_data::parse(octets)?;
        for profile in &mut read.profiles {
            self.share(&mut profile.criteria);
        }
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, read.clone());
        Ok(read)
    }

    pub(super) fn share(&mut self, criteria: &mut Criteria) {
        if criteria.is_empty() {
            return;
        }
        if let Some(known) = self.criteria.iter().find(|known| *known == criteria) {
            *criteria = known.clone();
            return;
        }
        for fault in criteria.faults() {
            tracing::warn!(%fault, "the HSS sent a filter criterion that makes no sense");
        }
        if self.criteria.len() >= LISTS {
            self.criteria.pop_back();
        }
        self.criteria.push_front(criteria.clone());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn document(name: &str) -> String {
        format!(
            "<IMSSubscription><PrivateID>{name}@x</PrivateID><ServiceProfile><PublicIdentity>\
             <Identity>sip:{name}@x</Identity></PublicIdentity><InitialFilterCriteria><Priority>0</Priority>\
             <ApplicationServer><ServerName>sip:as.x</ServerName></ApplicationServer></InitialFilterCriteria>\
             </ServiceProfile></IMSSubscription>"
        )
    }

    #[test]
    fn equal_criteria_of_two_users_are_kept_once() {
        let mut profiles = Profiles::default();
        let [a, b] = ["a", "b"].map(|name| profiles.read(document(name).as_bytes()).unwrap());
        assert_eq!(a.profiles[0].criteria.len(), 1);
        assert!(a.profiles[0].criteria.is_same(&b.profiles[0].criteria));
        assert_ne!(a.private_id, b.private_id);
    }

    #[test]
    fn a_user_who_was_loaded_shares_them() {
        let mut profiles = Profiles::default();
        let read = profiles.read(document("a").as_bytes()).unwrap();
        let mut loaded = read.profiles[0].criteria.to_vec().into();
        profiles.share(&mut loaded);
        assert!(loaded.is_same(&read.profiles[0].criteria));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_right() {
        let mut profiles = Profiles::default();
        for number in 0..3 * GENERATION {
            let name = format!("user{number}");
            for _ in 0..2 {
                let read = profiles.read(document(&name).as_bytes()).unwrap();
                assert_eq!(&*read.private_id, format!("{name}@x"));
            }
            assert!(profiles.young.len() <= GENERATION && profiles.old.len() <= GENERATION);
        }
        assert!(profiles.read(b"<no").is_err());
    }
}
