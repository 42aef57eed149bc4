//! Files that the configuration names: shared filter criteria and media.

use super::{Config, ConfigError};
use scscf::ifc::Criteria;
use scscf::policy::Media;
use std::collections::BTreeMap;
use std::fmt::Display;

impl Config {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// One line that names the key, its value and what was expected.
    pub fn check_files(&self) -> Result<(), ConfigError> {
        self.shared_criteria()?;
        self.media().map(|_| ())
    }

    /// The sets of filter criteria that profiles name by SharedIFCSetID (TS 29.228 §6.6): an IMSSubscription whose service profiles
    /// each name the set that their criteria are.
    pub(crate) fn shared_criteria(&self) -> Result<BTreeMap<u32, Criteria>, ConfigError> {
        let path = &self.session.shared_ifc;
        let mut sets = BTreeMap::new();
        if path.is_empty() {
            return Ok(sets);
        }
        let expected = "a file with an IMSSubscription whose service profiles each name one SharedIFCSetID";
        let refused = |why: &dyn Display| wrong("session.shared_ifc", path, expected, why);
        let octets = std::fs::read(path).map_err(|error| refused(&error))?;
        let subscription = diameter::user_data::parse(&octets).map_err(|error| refused(&error))?;
        for profile in subscription.profiles {
            let [id] = profile.shared_criteria[..] else {
                return Err(refused(&"a service profile names no set, or several"));
            };
            if let Some(fault) = profile.criteria.faults().first() {
                return Err(refused(&format_args!("set {id}: {fault}")));
            }
            if sets.insert(id, profile.criteria).is_some() {
                return Err(refused(&format_args!("set {id} is named twice")));
            }
        }
        Ok(sets)
    }

    /// What sessions may offer (TS 24.229 §6.3): tables `[profiles.NUMBER]` and `[otherwise]` of media types and their codecs.
    pub(crate) fn media(&self) -> Result<Media, ConfigError> {
        let path = &self.session.media;
        if path.is_empty() {
            return Ok(Media::default());
        }
        let expected =
            "a TOML file with [profiles.NUMBER] and [otherwise], as audio = [\"AMR\", \"telephone-event\"]";
        let refused = |why: &dyn Display| wrong("session.media", path, expected, why);
        let text = std::fs::read_to_string(path).map_err(|error| refused(&error))?;
        toml::from_str(&text).map_err(|error| refused(&error.message()))
    }
}

fn wrong(key: &str, path: &str, expected: &str, why: &dyn Display) -> ConfigError {
    ConfigError::line(format!("{key} = \"{path}\": expected {expected}; {why}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn with(key: &str, name: &str, text: &str) -> Config {
        let path = std::env::temp_dir().join(format!("rollcall-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let line = format!("[session]\n{key} = \"{}\"\n", path.display());
        Config::read(&line, std::iter::empty()).unwrap()
    }

    #[test]
    fn shared_criteria_are_read_by_the_number_of_their_set() {
        let set = |id: u32, server: &str| {
            format!(
                "<ServiceProfile><PublicIdentity><Identity>{server}@example.org</Identity></PublicIdentity>\
                 <InitialFilterCriteria><Priority>1</Priority><ApplicationServer><ServerName>{server}</ServerName>\
                 </ApplicationServer></InitialFilterCriteria><Extension><SharedIFCSetID>{id}</SharedIFCSetID></Extension>\
                 </ServiceProfile>"
            )
        };
        let document = |profiles: &str| {
            format!("<IMSSubscription><PrivateID>shared@example.org</PrivateID>{profiles}</IMSSubscription>")
        };
        let two = document(&format!("{}{}", set(1, "sip:as1"), set(7, "sip:as7")));
        let sets = with("shared_ifc", "two.xml", &two).shared_criteria().unwrap();
        assert_eq!(sets.keys().copied().collect::<Vec<_>>(), [1, 7]);
        assert_eq!(&*sets[&7][0].application_server.server_name, "sip:as7");
        let twice = document(&format!("{}{}", set(1, "sip:as1"), set(1, "sip:as2")));
        let error = with("shared_ifc", "twice.xml", &twice).shared_criteria().unwrap_err().to_string();
        assert!(
            error.starts_with("session.shared_ifc = ") && error.ends_with("set 1 is named twice"),
            "{error}"
        );
        assert!(with("shared_ifc", "none.xml", "<nothing/>").shared_criteria().is_err());
        assert!(Config::with_defaults().shared_criteria().unwrap().is_empty());
    }

    #[test]
    fn media_are_read_from_a_table_of_profiles() {
        let text = "[otherwise]\naudio = [\"AMR\"]\n[profiles.3]\naudio = []\nvideo = [\"H264\"]\n";
        let media = with("media", "good.toml", text).media().unwrap();
        assert_eq!(media.profiles.keys().copied().collect::<Vec<_>>(), [3]);
        assert!(media.otherwise.is_some());
        let error = with("media", "bad.toml", "[profiles.x]\naudio = []\n").media().unwrap_err().to_string();
        assert!(error.starts_with("session.media = ") && error.contains("has a number"), "{error}");
    }
}
