//! What outlives the HSS, as lines of a file: SQNs, who serves whom, and what was provisioned over HTTP.
//!
//! A line is written before the answer that it belongs to leaves. What a crash cut off is the last line at most; at the start the
//! lines are read, and of each subscriber's states only the last is kept.

use super::subscribers::{RegistrationState, Subscriber, Subscribers};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The file, open at its end.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    failed: bool,
}

#[derive(Deserialize, Serialize)]
struct Line<'a> {
    impi: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<State>,
    /// As it came over HTTP.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    provision: Option<&'a RawValue>,
}

/// What changes with use.
#[derive(Clone, Deserialize, Serialize)]
struct State {
    sqn: u64,
    server: Option<Arc<str>>,
    host: Option<Arc<str>>,
    registration: RegistrationState,
    pending: bool,
}

impl State {
    fn of(subscriber: &Subscriber) -> Self {
        Self {
            sqn: subscriber.sqn,
            server: subscriber.server.clone(),
            host: subscriber.host.clone(),
            registration: subscriber.state,
            pending: subscriber.authentication_pending,
        }
    }

    fn restore(self, subscriber: &mut Subscriber) {
        subscriber.sqn = self.sqn;
        subscriber.server = self.server;
        subscriber.host = self.host;
        subscriber.state = self.registration;
        subscriber.authentication_pending = self.pending;
    }
}

impl Journal {
    /// Reads a file, if it is there, into `all`, and goes on with it.
    ///
    /// # Errors
    /// One line that names the file and what is wrong with it.
    pub(super) fn open(path: &Path, all: &mut Subscribers) -> Result<Self, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(wrong(&error)),
        };
        // What does not end with the line's end was cut off, and its answer never left.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let mut states: BTreeMap<Box<str>, State> = BTreeMap::new();
        let mut kept = String::new();
        for (number, text) in whole.lines().enumerate() {
            let at = |error: &dyn std::fmt::Display| wrong(&format!("line {}: {error}", number + 1));
            let Line { impi, state, provision } = serde_json::from_str(text).map_err(|error| at(&error))?;
            if let Some(provision) = provision {
                let provision = serde_json::from_str(provision.get()).map_err(|error| at(&error))?;
                all.provision(&impi, &provision).map_err(|error| at(&error))?;
                kept.push_str(text);
                kept.push('\n');
            }
            if let Some(state) = state {
                states.insert(impi, state);
            }
        }
        for (impi, state) in states {
            let line = Line { impi, state: Some(state.clone()), provision: None };
            kept.push_str(&serde_json::to_string(&line).map_err(|error| wrong(&error))?);
            kept.push('\n');
            // Who was subscribed in an earlier run need not be in this one.
            if let Some(subscriber) = all.get_mut(&line.impi) {
                state.restore(subscriber);
            }
        }
        let file = rewrite(path, &kept).map_err(|error| wrong(&error))?;
        Ok(Self { path: path.to_path_buf(), file, failed: false })
    }

    /// Keeps how a subscriber stands.
    pub(super) fn keep(&mut self, all: &Subscribers, impi: &str) {
        let Some(subscriber) = all.get(impi) else { return };
        self.write(&Line { impi: impi.into(), state: Some(State::of(subscriber)), provision: None });
    }

    /// Keeps what was provisioned, a JSON object.
    pub(super) fn keep_provision(&mut self, impi: &str, body: &[u8]) {
        if let Ok(body) = serde_json::from_slice::<&RawValue>(body) {
            self.write(&Line { impi: impi.into(), state: None, provision: Some(body) });
        }
    }

    /// A disk that is full is said once; the HSS goes on.
    fn write(&mut self, line: &Line<'_>) {
        let written = serde_json::to_string(line).map_err(io::Error::from).and_then(|mut text| {
            text.retain(|one| one != '\n' && one != '\r');
            text.push('\n');
            self.file.write_all(text.as_bytes())
        });
        if let Err(error) = written
            && !std::mem::replace(&mut self.failed, true)
        {
            tracing::error!(file = %self.path.display(), %error, "the HSS cannot keep what it knows");
        }
    }
}

/// Puts the text in place of the file as a whole; open at its end. Keys and passwords are in it.
fn rewrite(path: &Path, text: &str) -> io::Result<File> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{hss::Config, provisioning::DOMAIN};

    fn subscribers() -> Subscribers {
        Subscribers::new(&Config { generate: 3, ..Config::default() }).unwrap()
    }

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("rollcall-journal-{name}-{}", std::process::id()))
    }

    #[test]
    fn what_was_kept_is_there_again_but_for_a_line_that_was_cut_off() {
        let path = path("again");
        let _ = fs::remove_file(&path);
        let impi = format!("user000002@{DOMAIN}");
        let mut all = subscribers();
        let mut journal = Journal::open(&path, &mut all).unwrap();
        for sqn in 1..=100 {
            let subscriber = all.get_mut(&impi).unwrap();
            subscriber.sqn = sqn;
            subscriber.server = Some("sip:scscf".into());
            subscriber.state = RegistrationState::Registered;
            journal.keep(&all, &impi);
        }
        let body = "{\"identities\":\n[{\"impu\":\"sip:carol@x.example\"}]}";
        all.provision("carol@x.example", &serde_json::from_str(body).unwrap()).unwrap();
        journal.keep_provision("carol@x.example", body.as_bytes());
        drop(journal);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"impi\":\"user000002@").unwrap();

        for _ in 0..2 {
            let mut all = subscribers();
            Journal::open(&path, &mut all).unwrap();
            let subscriber = all.get(&impi).unwrap();
            assert_eq!((subscriber.sqn, subscriber.state), (100, RegistrationState::Registered));
            assert_eq!(all.identities("carol@x.example")[0].impu.as_ref(), "sip:carol@x.example");
            assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2, "one line for each");
        }
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_of_something_else_is_refused_and_stays() {
        let path = path("other");
        fs::write(&path, "not a journal\n").unwrap();
        let refused = Journal::open(&path, &mut subscribers()).unwrap_err();
        assert!(refused.contains("line 1") && refused.contains("rollcall-journal-other"), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "not a journal\n");
        fs::remove_file(&path).unwrap();
    }
}
