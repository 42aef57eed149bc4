//! RFC 3264 §5, §6 — session descriptions of the lab: offers and answers for media that nobody sends.

use std::{fmt::Write, net::IpAddr};

/// The session of one side of a call.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    id: u32,
    version: u32,
    address: IpAddr,
}

/// A media line of an offer and what follows it.
struct Media<'a> {
    line: &'a str,
    attributes: Vec<&'a str>,
}

impl Session {
    pub(crate) fn new(address: IpAddr) -> Self {
        Self { id: rand::random::<u32>() >> 1, version: 0, address }
    }

    /// Offers audio; each offer is a new version of the session.
    pub(crate) fn offer(&mut self) -> String {
        let mut offer = self.head();
        offer.push_str("m=audio 49170 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n");
        offer.push_str("a=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n");
        offer
    }

    /// Takes every stream of an offer, with its first format.
    pub(crate) fn answer(&mut self, offer: &str) -> String {
        let mut answer = self.head();
        let (session, media) = taken_apart(offer);
        let everywhere = direction(&session).unwrap_or("sendrecv");
        for (number, one) in media.iter().enumerate() {
            let mut words = one.line.split_whitespace();
            let mut next = || words.next().unwrap_or("");
            let (kind, port, protocol, format) = (next(), next(), next(), next());
            let refused = port == "0" || format.is_empty();
            let port = if refused { 0 } else { 49_180 + 2 * number };
            let format = if format.is_empty() { "0" } else { format };
            let _ = write!(answer, "m={kind} {port} {protocol} {format}\r\n");
            for attribute in &one.attributes {
                let of_format = ["rtpmap:", "fmtp:"].iter().any(|name| {
                    attribute
                        .strip_prefix(name)
                        .is_some_and(|rest| rest.split_whitespace().next() == Some(format))
                });
                if of_format {
                    let _ = write!(answer, "a={attribute}\r\n");
                }
            }
            let back = match direction(&one.attributes).unwrap_or(everywhere) {
                "sendonly" => "recvonly",
                "recvonly" => "sendonly",
                other => other,
            };
            let _ = write!(answer, "a={back}\r\n");
        }
        answer
    }

    fn head(&mut self) -> String {
        self.version += 1;
        let family = if self.address.is_ipv4() { "IP4" } else { "IP6" };
        let (id, version, address) = (self.id, self.version, self.address);
        format!(
            "v=0\r\no=- {id} {version} IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n"
        )
    }
}

fn taken_apart(offer: &str) -> (Vec<&str>, Vec<Media<'_>>) {
    let (mut session, mut media) = (Vec::new(), Vec::<Media<'_>>::new());
    for line in offer.lines() {
        if let Some(line) = line.strip_prefix("m=") {
            media.push(Media { line, attributes: Vec::new() });
        } else if let Some(attribute) = line.strip_prefix("a=") {
            match media.last_mut() {
                Some(media) => media.attributes.push(attribute),
                None => session.push(attribute),
            }
        }
    }
    (session, media)
}

fn direction<'a>(attributes: &[&'a str]) -> Option<&'a str> {
    let is_direction =
        |attribute: &&&str| ["sendrecv", "sendonly", "recvonly", "inactive"].contains(*attribute);
    attributes.iter().find(is_direction).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_as_many_streams_as_its_offer() {
        let mut session = Session::new([127, 0, 0, 1].into());
        let own = session.offer();
        let answer = Session::new([127, 0, 0, 2].into()).answer(&own);
        assert!(
            answer.contains("m=audio 49180 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=sendrecv\r\n"),
            "{answer}"
        );
        assert!(answer.contains("c=IN IP4 127.0.0.2"), "{answer}");
        let offer = "v=0\r\na=inactive\r\nm=audio 9 RTP/AVP 96\r\na=rtpmap:96 AMR/8000\r\na=fmtp:96 x\r\na=sendonly\r\n\
                     m=video 0 RTP/AVP 31\r\nm=message 7 TCP/MSRP *\r\n";
        let answer = session.answer(offer);
        assert!(answer.contains("a=rtpmap:96 AMR/8000\r\na=fmtp:96 x\r\na=recvonly\r\n"), "{answer}");
        assert!(answer.contains("m=video 0 RTP/AVP 31\r\na=inactive\r\n"), "{answer}");
        assert!(answer.contains("m=message 49184 TCP/MSRP *\r\n"), "{answer}");
    }

    #[test]
    fn each_description_is_a_new_version() {
        let mut session = Session::new([127, 0, 0, 1].into());
        let version = |text: &str| text.split_whitespace().nth(3).map(str::to_owned);
        assert_eq!(version(&session.offer()).as_deref(), Some("1"));
        assert_eq!(version(&session.offer()).as_deref(), Some("2"));
    }
}
