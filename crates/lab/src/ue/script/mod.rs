//! A UE that follows a script: one step a line, read before anything happens.

mod play;

pub use play::{ScriptArgs, run_script};

use super::{Answering, Dial, Package, Role, Standalone, Then};
use std::{fmt, str::FromStr, time::Duration};

/// The steps that there are, as they are typed.
pub const STEPS: &str = "\
register [wrongly]                        register, initially or anew
subscribe [reg|registration-state] [p-cscf]
deregister
answer [ring S] [hangup-after S] [reliable] [min-se S] [refresh]
                                          from now on answer calls and messages
reject STATUS [ring S]                    from now on reject them
never                                     from now on let calls ring
call NAME URI [prack] [late-offer] [privacy VALUE] [session-expires S] [header 'NAME: VALUE']
await NAME [within S]                     wait for a call that comes, and give it a name
expect NAME ringing|established|cancelled|hung-up [within S]
expect NAME refused STATUS [within S]
expect NAME released [REASON] [within S]  BYE came, and its Reason contains the text
count NAME METHOD N                       so many requests of that method came within the call
pick-up NAME, decline NAME STATUS, cancel NAME, hang-up NAME, reinvite NAME, update NAME, info NAME TEXT
message URI TEXT [expect STATUS]
options URI [expect STATUS]
wait S";

/// What a call is expected to come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Ringing,
    Established,
    Refused(u16),
    Cancelled,
    HungUp,
    Released(Option<String>),
}

/// Something to do within a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    PickUp,
    Decline(u16),
    Cancel,
    HangUp,
    Reinvite,
    Update,
    Info(String),
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Register { wrongly: bool },
    Subscribe { package: Package, role: Role },
    Deregister,
    Answering(Answering),
    Call { name: String, dial: Dial },
    Await { name: String, within: Duration },
    Expect { name: String, wanted: Wanted, within: Duration },
    Count { name: String, method: String, number: usize },
    Do { name: String, deed: Deed },
    Send { request: Standalone, status: Option<u16> },
    Wait(Duration),
}

/// A script.
#[derive(Clone, Debug)]
pub struct Script(pub(super) Vec<(usize, Step)>);

/// A line that cannot be read, or a step that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// Counted from 1; 0 for what is wrong before the first.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.why),
            line => write!(f, "line {line}: {}", self.why),
        }
    }
}

impl std::error::Error for ScriptError {}

impl FromStr for Script {
    type Err = ScriptError;

    fn from_str(text: &str) -> Result<Self, ScriptError> {
        let mut steps = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let wrong = |why| ScriptError { line: at + 1, why };
            let mut words = Words::of(line).map_err(wrong)?;
            let Some(first) = words.next() else { continue };
            let step = step(&first, &mut words).map_err(wrong)?;
            if let Some(more) = words.next() {
                return Err(wrong(format!("'{more}' is one word too many for {first}")));
            }
            steps.push((at + 1, step));
        }
        Ok(Self(steps))
    }
}

/// How long things are waited for unless the script says so.
const PATIENCE: Duration = Duration::from_secs(10);

fn step(first: &str, words: &mut Words) -> Result<Step, String> {
    Ok(match first {
        "register" => Step::Register { wrongly: words.takes("wrongly") },
        "deregister" => Step::Deregister,
        "subscribe" => {
            let package = match words.peek() {
                Some("reg" | "registration-state") => words.parsed::<Package>("a package")?,
                _ => Package::Reg,
            };
            let role = if words.takes("p-cscf") { Role::PCscf } else { Role::Ue };
            Step::Subscribe { package, role }
        }
        "answer" => Step::Answering(answering(words)?),
        "reject" => {
            let status = status(words, 300..700)?;
            let ring = if words.takes("ring") { seconds(words)? } else { Duration::ZERO };
            Step::Answering(Answering { ring, then: Then::Reject(status), ..Answering::default() })
        }
        "never" => Step::Answering(Answering { then: Then::Wait, ..Answering::default() }),
        "call" => Step::Call { name: words.needed("a name for the call")?, dial: dial(words)? },
        "await" => Step::Await { name: words.needed("a name for the call")?, within: within(words)? },
        "expect" => {
            let name = words.needed("the name of a call")?;
            Step::Expect { name, wanted: wanted(words)?, within: within(words)? }
        }
        "count" => Step::Count {
            name: words.needed("the name of a call")?,
            method: words.needed("a method")?,
            number: words.parsed("a number")?,
        },
        "message" => {
            let to = words.needed("a URI")?;
            let request = Standalone::message(&to, &words.needed("a text")?);
            Step::Send { request, status: expected(words)? }
        }
        "options" => {
            let request = Standalone::options(&words.needed("a URI")?);
            Step::Send { request, status: expected(words)? }
        }
        "wait" => Step::Wait(seconds(words)?),
        "pick-up" | "decline" | "cancel" | "hang-up" | "reinvite" | "update" | "info" => {
            let name = words.needed("the name of a call")?;
            let deed = match first {
                "pick-up" => Deed::PickUp,
                "decline" => Deed::Decline(status(words, 300..700)?),
                "cancel" => Deed::Cancel,
                "hang-up" => Deed::HangUp,
                "reinvite" => Deed::Reinvite,
                "update" => Deed::Update,
                _ => Deed::Info(words.needed("a text")?),
            };
            Step::Do { name, deed }
        }
        other => return Err(format!("'{other}' is no step")),
    })
}

fn answering(words: &mut Words) -> Result<Answering, String> {
    let mut how = Answering::default();
    loop {
        match words.peek() {
            Some("ring") => how.ring = words.after(seconds)?,
            Some("hangup-after") => how.hang_up_after = Some(words.after(seconds)?),
            Some("min-se") => how.min_se = Some(words.after(|words| words.parsed("seconds"))?),
            Some("reliable") => how.reliable = words.takes("reliable"),
            Some("refresh") => how.refresh = words.takes("refresh"),
            _ => return Ok(how),
        }
    }
}

fn dial(words: &mut Words) -> Result<Dial, String> {
    let mut dial = Dial::to(&words.needed("a URI")?);
    loop {
        match words.peek() {
            Some("prack") => dial.reliable = words.takes("prack"),
            Some("late-offer") => dial.late_offer = words.takes("late-offer"),
            Some("privacy") => dial.privacy = Some(words.after(|words| words.needed("a value"))?),
            Some("session-expires") => {
                dial.session_expires = Some(words.after(|words| words.parsed("seconds"))?);
            }
            Some("header") => {
                let header = words.after(|words| words.needed("a header"))?;
                let (name, value) = header.split_once(':').ok_or("expected a header as 'NAME: VALUE'")?;
                dial.headers.push((name.trim().to_owned(), value.trim().to_owned()));
            }
            _ => return Ok(dial),
        }
    }
}

fn wanted(words: &mut Words) -> Result<Wanted, String> {
    Ok(match words.needed("what is expected")?.as_str() {
        "ringing" => Wanted::Ringing,
        "established" => Wanted::Established,
        "cancelled" => Wanted::Cancelled,
        "hung-up" => Wanted::HungUp,
        "refused" => Wanted::Refused(status(words, 300..700)?),
        "released" => match words.peek() {
            None | Some("within") => Wanted::Released(None),
            Some(_) => Wanted::Released(words.next()),
        },
        other => {
            return Err(format!(
                "'{other}': expected ringing, established, refused, cancelled, hung-up or released"
            ));
        }
    })
}

fn within(words: &mut Words) -> Result<Duration, String> {
    if words.takes("within") { seconds(words) } else { Ok(PATIENCE) }
}

fn expected(words: &mut Words) -> Result<Option<u16>, String> {
    if words.takes("expect") { status(words, 200..700).map(Some) } else { Ok(None) }
}

fn status(words: &mut Words, range: std::ops::Range<u16>) -> Result<u16, String> {
    let status = words.parsed::<u16>("a status code")?;
    if range.contains(&status) {
        return Ok(status);
    }
    Err(format!("{status}: expected a status code from {} to {}", range.start, range.end - 1))
}

fn seconds(words: &mut Words) -> Result<Duration, String> {
    let seconds = words.parsed::<f64>("seconds")?;
    if (0.0..=1e6).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("expected seconds".into())
    }
}

/// The words of a line; what stands in quotes is one word.
struct Words(std::iter::Peekable<std::vec::IntoIter<String>>);

impl Words {
    fn of(line: &str) -> Result<Self, String> {
        let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
        for character in line.chars() {
            match (character, quote) {
                (_, Some(open)) if character == open => quote = None,
                (_, Some(_)) => word.get_or_insert_default().push(character),
                ('#', None) if word.is_none() => break,
                ('"' | '\'', None) => {
                    quote = Some(character);
                    word.get_or_insert_default();
                }
                (space, None) if space.is_whitespace() => words.extend(word.take()),
                (_, None) => word.get_or_insert_default().push(character),
            }
        }
        if quote.is_some() {
            return Err("a quote is not closed".into());
        }
        words.extend(word);
        Ok(Self(words.into_iter().peekable()))
    }

    fn next(&mut self) -> Option<String> {
        self.0.next()
    }

    fn peek(&mut self) -> Option<&str> {
        self.0.peek().map(String::as_str)
    }

    /// Whether the next word is that one, which is then taken.
    fn takes(&mut self, word: &str) -> bool {
        self.0.next_if(|next| next == word).is_some()
    }

    /// What follows the next word.
    fn after<T>(&mut self, then: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        self.next();
        then(self)
    }

    fn needed(&mut self, what: &str) -> Result<String, String> {
        self.next().ok_or_else(|| format!("expected {what}"))
    }

    fn parsed<T: FromStr>(&mut self, what: &str) -> Result<T, String> {
        let word = self.needed(what)?;
        word.parse().map_err(|_| format!("'{word}': expected {what}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_kind_of_step_is_read() {
        let script = "
            # a comment
            register
            register wrongly   # on purpose
            subscribe registration-state p-cscf
            subscribe
            answer ring 0.5 hangup-after 2 reliable min-se 90 refresh
            reject 486 ring 1
            never
            call c1 sip:bob@x prack late-offer privacy id session-expires 90 header 'X: 1'
            await c2 within 3
            expect c1 ringing
            expect c1 refused 404 within 1
            expect c1 released
            expect c1 released 'cause=480' within 9
            count c1 BYE 1
            pick-up c2
            decline c2 603
            info c1 'two words'
            message sip:bob@x 'hello there' expect 404
            options sip:bob@x
            wait 0.1
            deregister";
        let Script(steps) = script.parse().unwrap();
        assert_eq!((steps.len(), steps[0].0), (21, 3));
        let Step::Call { name, dial } = &steps[7].1 else { panic!("{:?}", steps[7]) };
        assert_eq!((name.as_str(), dial.to.as_str(), dial.session_expires), ("c1", "sip:bob@x", Some(90)));
        assert_eq!(dial.headers, [("X".to_owned(), "1".to_owned())]);
        let Step::Expect { wanted, within, .. } = &steps[12].1 else { panic!("{:?}", steps[12]) };
        assert_eq!(*wanted, Wanted::Released(Some("cause=480".into())));
        assert_eq!(*within, Duration::from_secs(9));
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line() {
        for (script, line, why) in [
            ("register\nfly", 2, "'fly' is no step"),
            ("call c1", 1, "expected a URI"),
            ("wait long", 1, "'long': expected seconds"),
            ("wait -1", 1, "expected seconds"),
            ("reject 200", 1, "200: expected a status code from 300 to 699"),
            ("deregister now", 1, "'now' is one word too many for deregister"),
            ("info c1 'x", 1, "a quote is not closed"),
            ("expect c1 happy", 1, "'happy': expected ringing"),
            ("call c1 sip:x header nonsense", 1, "expected a header as 'NAME: VALUE'"),
        ] {
            let error = script.parse::<Script>().unwrap_err();
            assert_eq!(error.line, line, "{script}");
            assert!(error.why.starts_with(why), "{script}: {error}");
        }
    }
}
