//! Torture messages: those of RFC 4475 and RFC 5118, and the project's own of the same classes.
//!
//! Every message has a verdict for a datagram and one for a stream. The RFCs' own are read in place from the directory
//! `ROLLCALL_SHARED`; where it is absent that is said and only the project's own run.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod own;
#[path = "../reading/mod.rs"]
mod reading;
mod rfc4475;
mod rfc5118;

use bytes::Bytes;
use sip::{Frame, Framer, Malformed, Message, Method, Name, ParseError, Request, Response};
use std::path::PathBuf;

/// What is to become of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    /// It parses, every typed header reads, and it is written back as it came.
    Reads,
    /// As `Reads`, but the reader of this header finds it malformed.
    Malformed(Name),
    /// As `Reads`, but the checks of a proxy answer with this status.
    Checks(u16),
    /// It is answered with this status, without being read further.
    Refused(u16),
    /// It is dropped without an answer.
    Dropped,
    /// A stream waits for the rest of it.
    Waits,
    /// A stream is answered with this status and closed.
    Closed(u16),
}

/// One message with its verdicts: name, over a datagram, over a stream, why.
pub(crate) type Case = (&'static str, Verdict, Verdict, &'static str);

/// `../shared/torture/<rfc>`, or nothing if it is not there.
fn shared(rfc: &str) -> Option<PathBuf> {
    let root = std::env::var_os("ROLLCALL_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let dir = root.join("torture").join(rfc);
    if dir.is_dir() {
        return Some(dir);
    }
    println!("skipped: the torture messages of {rfc} are not at {}", dir.display());
    None
}

/// Holds every file of a directory against its verdicts; a file without a verdict fails, and so does a verdict
/// without a file.
pub(crate) fn judge_directory(rfc: &str, cases: &[Case]) {
    let Some(dir) = shared(rfc) else { return };
    let mut files: Vec<String> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap().trim_end_matches(".dat").to_owned())
        .collect();
    files.sort();
    let mut named: Vec<&str> = cases.iter().map(|case| case.0).collect();
    named.sort_unstable();
    assert_eq!(files, named, "each message has one verdict");
    let wrong: Vec<String> = cases
        .iter()
        .flat_map(|case| judge(&std::fs::read(dir.join(format!("{}.dat", case.0))).unwrap(), case))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{rfc}: {} messages as datagram and stream", cases.len());
}

/// What is wrong with the treatment of one message.
pub(crate) fn judge(octets: &[u8], &(name, datagram, stream, why): &Case) -> Vec<String> {
    let found = [
        ("datagram", datagram, verdict(Message::parse_datagram(Bytes::copy_from_slice(octets)), datagram)),
        ("stream", stream, over_stream(octets, stream)),
    ];
    found
        .into_iter()
        .filter_map(|(over, wanted, found)| {
            Some(format!("{name} over a {over}: wanted {wanted:?} ({why}), but {}", found.err()?))
        })
        .collect()
}

fn over_stream(octets: &[u8], wanted: Verdict) -> Result<(), String> {
    let mut framer = Framer::new();
    // Octet by octet, so that no cut depends on how they arrive.
    let mut frames = Vec::new();
    for octet in octets {
        framer.push(std::slice::from_ref(octet));
        while let Some(frame) = framer.next() {
            frames.push(frame);
        }
    }
    let mut whole = Framer::new();
    whole.push(octets);
    let count = std::iter::from_fn(|| whole.next()).count();
    if count != frames.len() {
        return Err(format!("{} frames octet by octet, {count} at once", frames.len()));
    }
    match (frames.into_iter().next(), wanted) {
        (None, Verdict::Waits) => Ok(()),
        (None, _) => Err("the stream waits".into()),
        (Some(Frame::Refused(error)), Verdict::Closed(status)) => answered(&error, status),
        (Some(Frame::Refused(error)), _) => Err(format!("the stream is closed: {error}")),
        (Some(Frame::KeepAlive), _) => Err("it is a keep-alive".into()),
        (Some(Frame::Message(bytes)), wanted) => verdict(Message::parse_frame(bytes), wanted),
    }
}

fn verdict(parsed: Result<Message, ParseError>, wanted: Verdict) -> Result<(), String> {
    match (parsed, wanted) {
        (Ok(message), Verdict::Reads) => reads(&message, None),
        (Ok(message), Verdict::Malformed(name)) => reads(&message, Some(name)),
        (Ok(message), Verdict::Checks(status)) => {
            reads(&message, None)?;
            let Message::Request(request) = &message else { return Err("it is a response".into()) };
            match sip::proxy::validate(request, &[]) {
                Err(found) if found.status.code() == status => Ok(()),
                found => Err(format!("the checks say {found:?}")),
            }
        }
        (Ok(_), Verdict::Refused(_) | Verdict::Dropped | Verdict::Waits | Verdict::Closed(_)) => {
            Err("it parses".into())
        }
        (Err(error), Verdict::Refused(status)) => answered(&error, status),
        (Err(error), Verdict::Dropped) if error.status().is_none() && error.response().is_none() => Ok(()),
        (Err(error), _) => Err(format!("it is refused: {:?} {error}", error.status())),
    }
}

/// The error carries an answer of that status that a peer can read.
fn answered(error: &ParseError, status: u16) -> Result<(), String> {
    let found = error.status().map(|status| status.code());
    let answer = error.response().ok_or_else(|| format!("there is no answer: {error}"))?;
    if found != Some(status) || answer.status().code() != status {
        return Err(format!("the answer is {found:?}: {error}"));
    }
    if !answer.has(Name::Via) || answer.get(Name::ContentLength).as_deref() != Some("0") {
        return Err("the answer lacks headers".into());
    }
    Ok(())
}

fn reads(message: &Message, malformed: Option<Name>) -> Result<(), String> {
    let headers = message.headers();
    let readers: [(Name, Option<Malformed>); 10] = [
        (Name::Contact, headers.contacts().err()),
        (Name::Route, headers.addresses(Name::Route).err()),
        (Name::RecordRoute, headers.addresses(Name::RecordRoute).err()),
        (Name::Expires, headers.expires().err()),
        (Name::MaxForwards, headers.max_forwards().err()),
        (Name::Event, headers.event().err()),
        (Name::SubscriptionState, headers.subscription_state().err()),
        (Name::Authorization, headers.authorization().err()),
        (Name::PChargingVector, headers.charging_vector().err()),
        (Name::Via, headers.vias().find_map(Result::err)),
    ];
    for (name, error) in readers {
        if error.is_some() != (malformed == Some(name)) {
            return Err(format!("the reader of {name} says {error:?}"));
        }
    }
    let (edited, rebuilt): (Message, Message) = match message {
        Message::Request(request) => (request.edit().finish().into(), rebuild_request(request).into()),
        Message::Response(response) => (response.edit().finish().into(), rebuild_response(response)),
    };
    if edited.as_bytes() != message.as_bytes() {
        return Err("an empty edit changes octets".into());
    }
    let facts = reading::everything(message);
    if reading::everything(&edited) != facts {
        return Err("an empty edit changes meaning".into());
    }
    let again = Message::parse_frame(rebuilt.as_bytes().clone()).map_err(|e| format!("rebuilt: {e}"))?;
    let found = reading::everything(&again);
    if without_length(&found) != without_length(&facts) {
        return Err(format!("rebuilding changes meaning:\n{facts}\n{found}"));
    }
    Ok(())
}

/// A builder always writes Content-Length.
fn without_length(facts: &str) -> String {
    facts.lines().filter(|line| !line.starts_with("Content-Length")).collect::<Vec<_>>().join("\n")
}

fn rebuild_request(request: &Request) -> Request {
    let mut builder = Request::build(request.method().clone(), request.uri());
    for (name, value) in carried(request) {
        builder = builder.raw(&name, &value);
    }
    match request.content_type() {
        Some(content_type) => builder.body(content_type, request.body()).finish(),
        None => builder.finish(),
    }
}

fn rebuild_response(response: &Response) -> Message {
    let bare = Request::build(Method::Options, &sip::Uri::parse("sip:a").unwrap()).finish();
    let mut builder = bare.respond(response.status(), "").reason(response.reason());
    for (name, value) in carried(response) {
        builder = builder.raw(&name, &value);
    }
    match response.content_type() {
        Some(content_type) => builder.body(content_type, response.body()).finish().into(),
        None => builder.finish().into(),
    }
}

fn carried(headers: &sip::Headers) -> Vec<(String, String)> {
    headers
        .all()
        .filter(|(name, _)| {
            !matches!(Name::of(name.as_bytes()), Some(Name::ContentLength | Name::ContentType))
        })
        .map(|(name, value)| (name.to_owned(), value.into_owned()))
        .collect()
}
