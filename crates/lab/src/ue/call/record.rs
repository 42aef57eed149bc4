//! What is known of a call: where it stands, what came, how it ended, what was wrong with it.

use serde::Serialize;
use std::fmt;

/// How many entries of a kind a record keeps.
const MOST: usize = 256;

/// Where a call stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The INVITE is out, or came.
    #[default]
    Setup,
    /// It rings.
    Ringing,
    /// The called side said 200; its ACK has not come.
    Answered,
    /// The dialog is confirmed.
    Established,
    /// It is over.
    Ended,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Setup => "being set up",
            Self::Ringing => "ringing",
            Self::Answered => "answered, not acknowledged",
            Self::Established => "established",
            Self::Ended => "over",
        })
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The INVITE was refused, by whom it was for or by the network.
    Refused {
        /// Status code.
        status: u16,
    },
    /// The caller cancelled it; at the caller, a 487 was the answer.
    Cancelled {
        /// Reason of the CANCEL.
        reason: Option<String>,
    },
    /// No final response in time.
    NoAnswer,
    /// This UE sent BYE.
    HungUp {
        /// What was said to it; 0 if nothing.
        status: u16,
    },
    /// BYE came, from the far side or from the network.
    Released {
        /// Its Reason.
        reason: Option<String>,
    },
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let because = |reason: &Option<String>| match reason {
            Some(reason) => format!(" (Reason: {reason})"),
            None => String::new(),
        };
        match self {
            Self::Refused { status } => write!(f, "refused with {status}"),
            Self::Cancelled { reason } => write!(f, "cancelled{}", because(reason)),
            Self::NoAnswer => f.write_str("never answered"),
            Self::HungUp { status: 0 } => f.write_str("hung up, nobody answered the BYE"),
            Self::HungUp { status } => write!(f, "hung up, the BYE was answered {status}"),
            Self::Released { reason } => write!(f, "released by BYE{}", because(reason)),
        }
    }
}

/// Something that no correct peer or network does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The CSeq of the far side did not rise.
    CseqOrder {
        /// Method.
        method: String,
        /// The number that came.
        got: u32,
        /// The highest one before it.
        after: u32,
    },
    /// BYE came a second time, in a transaction of its own.
    SecondBye,
    /// A request came with the tags of From and To exchanged.
    TagsSwapped {
        /// Method.
        method: String,
    },
    /// A request came with tags that are not those of the dialog.
    UnknownTags {
        /// Method.
        method: String,
    },
    /// A request other than BYE came after the end.
    AfterEnd {
        /// Method.
        method: String,
    },
    /// The Request-URI is not the contact given.
    Target {
        /// Method.
        method: String,
        /// The Request-URI.
        uri: String,
    },
    /// A request did not come by the Path or Record-Route of this UE's P-CSCF.
    Route {
        /// Method.
        method: String,
        /// The topmost Route.
        route: String,
    },
    /// The ACK to the 200 never came.
    NoAck,
    /// The PRACK to a reliable response never came.
    NoPrack,
    /// The session timer ran out.
    Expired,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CseqOrder { method, got, after } => {
                write!(f, "{method} came with CSeq {got} after {after}")
            }
            Self::SecondBye => f.write_str("a second BYE came"),
            Self::TagsSwapped { method } => write!(f, "{method} came with its tags exchanged"),
            Self::UnknownTags { method } => write!(f, "{method} came with tags of another dialog"),
            Self::AfterEnd { method } => write!(f, "{method} came after the end"),
            Self::Target { method, uri } => {
                write!(f, "{method} came to {uri}, which is not the contact given")
            }
            Self::Route { method, route } if route.is_empty() => write!(f, "{method} came without Route"),
            Self::Route { method, route } => write!(f, "{method} came with Route {route}, not by the Path"),
            Self::NoAck => f.write_str("the ACK never came"),
            Self::NoPrack => f.write_str("the PRACK never came"),
            Self::Expired => f.write_str("the session timer ran out"),
        }
    }
}

/// A request that came within a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Received {
    /// Method.
    pub method: String,
    /// CSeq.
    pub cseq: u32,
    /// Reason, if there was one.
    pub reason: Option<String>,
    /// What was said to it; 0 for an ACK.
    pub status: u16,
    /// Request-URI.
    #[serde(skip)]
    pub uri: String,
    /// Header lines, in order.
    #[serde(skip)]
    pub headers: Headers,
}

/// Header lines of a message, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub(super) Vec<(String, String)>);

impl Headers {
    /// Values of the lines of that name.
    pub fn of(&self, name: &str) -> Vec<&str> {
        let named = self.0.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }
}

/// One thing that happened to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallEvent {
    /// The INVITE is on its way.
    Calling,
    /// An INVITE came.
    Called,
    /// A provisional response other than 100.
    Ringing {
        /// Status code.
        status: u16,
        /// Whether it is acknowledged by PRACK.
        reliable: bool,
    },
    /// The call was answered.
    Answered,
    /// The dialog is confirmed.
    Established,
    /// Another branch of a forked call was answered as well; it is released.
    AnsweredTwice,
    /// A request came.
    Received(Received),
    /// A request of this UE within the call had its answer.
    Done {
        /// Method.
        method: String,
        /// Status code; 0 for none.
        status: u16,
    },
    /// It is over.
    Ended(End),
    /// Something that no correct peer or network does.
    Fault(Fault),
}

impl fmt::Display for CallEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Calling => f.write_str("calling"),
            Self::Called => f.write_str("calls"),
            Self::Ringing { status, reliable: true } => write!(f, "{status}, reliably"),
            Self::Ringing { status, .. } => write!(f, "{status}"),
            Self::Answered => f.write_str("answered"),
            Self::Established => f.write_str("established"),
            Self::AnsweredTwice => f.write_str("answered by another one too, who is released"),
            Self::Received(Received { method, reason, status, .. }) => {
                write!(f, "{method} came")?;
                if let Some(reason) = reason {
                    write!(f, " with Reason: {reason}")?;
                }
                if *status > 0 { write!(f, ", answered {status}") } else { Ok(()) }
            }
            Self::Done { method, status: 0 } => write!(f, "{method} was not answered"),
            Self::Done { method, status } => write!(f, "{method} was answered {status}"),
            Self::Ended(end) => end.fmt(f),
            Self::Fault(fault) => write!(f, "protocol error: {fault}"),
        }
    }
}

/// What is known of a call.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Record {
    /// Where it stands.
    pub state: State,
    /// Status code of the final response to the INVITE, received or sent.
    pub status: Option<u16>,
    /// Header lines of that response, if it was received.
    #[serde(skip)]
    pub answer: Headers,
    /// Provisional responses other than 100, in order.
    pub provisional: Vec<u16>,
    /// Requests that came, CANCEL and ACK among them, in order.
    pub received: Vec<Received>,
    /// How it ended.
    pub end: Option<End>,
    /// What was wrong.
    pub faults: Vec<Fault>,
    /// Everything that happened, in order.
    pub events: Vec<CallEvent>,
}

impl Record {
    /// Requests of that method that came.
    pub fn of<'a>(&'a self, method: &'a str) -> impl Iterator<Item = &'a Received> {
        self.received.iter().filter(move |received| received.method == method)
    }

    /// How many BYEs came.
    pub fn byes(&self) -> usize {
        self.of("BYE").count()
    }

    /// How many CANCELs came.
    pub fn cancels(&self) -> usize {
        self.of("CANCEL").count()
    }

    /// Takes an event in. What exceeds the bounds of the lists is not kept; where the call stands always is.
    pub(super) fn note(&mut self, event: &CallEvent) {
        match event {
            CallEvent::Calling | CallEvent::Called | CallEvent::AnsweredTwice | CallEvent::Done { .. } => {}
            CallEvent::Ringing { status, .. } => {
                self.state = State::Ringing;
                keep(&mut self.provisional, *status);
            }
            CallEvent::Answered => self.state = State::Answered,
            CallEvent::Established => self.state = State::Established,
            CallEvent::Received(received) => keep(&mut self.received, received.clone()),
            CallEvent::Ended(end) => {
                self.state = State::Ended;
                self.end = Some(end.clone());
            }
            CallEvent::Fault(fault) => keep(&mut self.faults, fault.clone()),
        }
        keep(&mut self.events, event.clone());
    }
}

fn keep<T>(list: &mut Vec<T>, one: T) {
    if list.len() < MOST {
        list.push(one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_what_was_noted_and_stays_within_bounds() {
        let mut record = Record::default();
        let bye = Received {
            method: "BYE".into(),
            cseq: 2,
            reason: Some("SIP;cause=480".into()),
            status: 200,
            uri: String::new(),
            headers: Headers(vec![("Reason".into(), "SIP;cause=480".into())]),
        };
        assert_eq!((bye.headers.of("reason"), bye.headers.of("To").len()), (vec!["SIP;cause=480"], 0));
        for event in
            [CallEvent::Calling, CallEvent::Ringing { status: 180, reliable: false }, CallEvent::Established]
        {
            record.note(&event);
        }
        assert_eq!((record.state, record.provisional.as_slice()), (State::Established, &[180][..]));
        for _ in 0..300 {
            record.note(&CallEvent::Received(bye.clone()));
        }
        record.note(&CallEvent::Ended(End::Released { reason: bye.reason.clone() }));
        assert_eq!((record.byes(), record.cancels(), record.events.len()), (MOST, 0, MOST));
        assert_eq!(record.state, State::Ended);
        assert_eq!(CallEvent::Received(bye).to_string(), "BYE came with Reason: SIP;cause=480, answered 200");
    }
}
