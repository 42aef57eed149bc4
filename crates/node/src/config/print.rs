//! The configuration as documentation: `rollcall node --print-config`.

use super::schema::{KEYS, ROUTES, ROUTES_EXAMPLE, SECTIONS};
use std::fmt::Write;

pub(super) fn print() -> String {
    let mut text = String::from(
        "# Every key with its default. Each may also stand in the environment, as ROLLCALL__SECTION__KEY.\n",
    );
    for (section, about) in SECTIONS {
        let _ = write!(text, "\n# {about}\n[{section}]\n");
        for key in KEYS.iter().filter(|key| key.section == *section) {
            let _ = writeln!(text, "# {}\n{} = {}", key.about, key.name, key.default);
        }
        if *section == ROUTES {
            text.push_str("# In the environment ROLLCALL__ROUTES, as HOST=TARGET,TARGET;HOST=TARGET.\n");
            ROUTES_EXAMPLE.iter().for_each(|line| {
                let _ = writeln!(text, "# {line}");
            });
        }
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Config;
    use super::*;

    #[test]
    fn what_is_printed_reads_as_the_defaults() {
        let printed = print();
        let read = Config::read(&printed, std::iter::empty()).unwrap();
        assert_eq!(read, Config::with_defaults());
        assert!(printed.contains("[reauthentication]\n# Seconds the UE has.\nperiod = 600\n"), "{printed}");
    }

    #[test]
    fn every_key_stands_in_a_section_that_is_printed() {
        for key in KEYS {
            assert!(SECTIONS.iter().any(|(section, _)| *section == key.section), "{}", key.section);
        }
        let is_key = |line: &&str| line.contains(" = ") && !line.starts_with('#');
        assert_eq!(KEYS.len(), print().lines().filter(is_key).count());
    }

    #[test]
    fn the_example_of_routes_reads() {
        let text = format!("[routes]\n{}\n", ROUTES_EXAMPLE.join("\n"));
        let config = Config::read(&text, std::iter::empty()).unwrap();
        assert_eq!(config.routes.len(), 3);
        assert!(print().contains(&format!("# {}\n", ROUTES_EXAMPLE[0])));
    }

    #[test]
    fn the_defaults_are_those_of_the_policy() {
        let config = Config::with_defaults();
        assert_eq!(config.registration, scscf::policy::Registration::default());
        assert_eq!(config.authentication, scscf::policy::Authentication::default());
        assert_eq!(config.reg_event, scscf::policy::RegEvent::default());
        assert_eq!(config.reauthentication, scscf::policy::Reauthentication::default());
    }
}
