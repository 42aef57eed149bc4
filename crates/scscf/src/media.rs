//! TS 24.229 §6.3 — media that a session may have: what an offer holds against what is subscribed and allowed.

use crate::policy::Media;
use crate::{Rejection, Remedy, sdp};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use sip::{Headers, Status};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write};

const CLAUSE: &str = "TS 24.229 §6.3";

/// Media that are allowed: types such as `audio` with their codecs; no codec stands for any.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaProfile(BTreeMap<Box<str>, Vec<Codec>>);

/// A codec: `AMR`, or `AMR-WB/16000` where the clock rate counts too. What needs no RTP is named as in the m line: `t38`, `*`.
#[derive(Clone, Debug, PartialEq)]
pub struct Codec {
    name: Box<str>,
    rate: Option<u32>,
}

/// What an offer holds that it may not.
#[derive(Debug, PartialEq)]
enum Forbidden<'a> {
    Line,
    Media(&'a str),
    Codec(&'a str, Cow<'a, str>),
}

/// One m line that is not refused by its port, with the lines behind it.
struct Stream<'a> {
    media: &'a str,
    rtp: bool,
    formats: &'a str,
}

/// Payload types that need no rtpmap (RFC 3551 §6).
const STATIC: [(u8, &str); 17] = [
    (0, "PCMU"),
    (3, "GSM"),
    (4, "G723"),
    (5, "DVI4"),
    (7, "LPC"),
    (8, "PCMA"),
    (9, "G722"),
    (10, "L16"),
    (13, "CN"),
    (15, "G728"),
    (18, "G729"),
    (25, "CelB"),
    (26, "JPEG"),
    (31, "H261"),
    (32, "MPV"),
    (33, "MP2T"),
    (34, "H263"),
];
/// The first payload type that a description may give away (RFC 3551 §6).
const DYNAMIC: u8 = 96;

impl Media {
    /// Refuses a message whose session descriptions hold more than a subscriber with this SubscribedMediaProfileId may have.
    ///
    /// # Errors
    /// 488 (Not Acceptable Here) with a description of what is allowed.
    pub fn check(&self, subscribed: Option<u32>, message: &Headers) -> Result<(), Rejection> {
        let own = subscribed.and_then(|id| self.profiles.get(&id));
        let Some(allowed) = own.or(self.otherwise.as_ref()) else { return Ok(()) };
        let Some(forbidden) = sdp::bodies(message).find_map(|body| allowed.forbidden(body)) else {
            return Ok(());
        };
        let description = Remedy::SessionDescription(allowed.description().into());
        Err(Rejection::new(Status::NOT_ACCEPTABLE_HERE, CLAUSE, forbidden.to_string()).with(description))
    }
}

impl MediaProfile {
    /// The first thing in a session description that is not allowed.
    fn forbidden<'a>(&self, body: &'a [u8]) -> Option<Forbidden<'a>> {
        let mut lines = sdp::lines(body);
        while let Some((letter, value)) = lines.next() {
            if letter != b'm' {
                continue;
            }
            let Some(stream) = Stream::read(value) else { return Some(Forbidden::Line) };
            let Some(stream) = stream else { continue };
            let Some((_, codecs)) = self.0.iter().find(|(media, _)| media.eq_ignore_ascii_case(stream.media))
            else {
                return Some(Forbidden::Media(stream.media));
            };
            let behind = || lines.clone().take_while(|(letter, _)| *letter != b'm');
            let offered = |format: &'a str| match stream.rtp {
                true => encoding(format, behind()),
                false => Cow::Borrowed(format),
            };
            let mut offered = stream.formats.split_ascii_whitespace().map(offered);
            let allowed = |codec: &Cow<'_, str>| codecs.is_empty() || codecs.iter().any(|it| it.is(codec));
            if let Some(codec) = offered.find(|codec| !allowed(codec)) {
                return Some(Forbidden::Codec(stream.media, codec));
            }
        }
        None
    }

    /// A session description of what is allowed, in which no stream is offered (RFC 3264 §9).
    pub fn description(&self) -> String {
        let mut text = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n".to_owned();
        for (media, codecs) in &self.0 {
            let transport = match &**media {
                "message" => "TCP/MSRP",
                "image" => "udptl",
                "application" => "udp",
                _ => "RTP/AVP",
            };
            // Writing to a String does not fail.
            let _ = write!(text, "m={media} 0 {transport}");
            let mut maps = String::new();
            let mut next = DYNAMIC;
            for codec in codecs {
                if transport != "RTP/AVP" {
                    let _ = write!(text, " {}", codec.name);
                    continue;
                }
                let fixed = STATIC
                    .iter()
                    .find(|(_, name)| codec.rate.is_none() && codec.name.eq_ignore_ascii_case(name));
                let number = fixed.map_or(next, |(number, _)| *number);
                let _ = write!(text, " {number}");
                if fixed.is_none() {
                    let rate = codec.rate.unwrap_or(if &**media == "video" { 90_000 } else { 8000 });
                    let _ = write!(maps, "a=rtpmap:{number} {}/{rate}\r\n", codec.name);
                    next = next.saturating_add(1);
                }
            }
            text.push_str(if codecs.is_empty() { " *\r\n" } else { "\r\n" });
            text.push_str(&maps);
        }
        text
    }
}

impl<'a> Stream<'a> {
    /// `None` if it is no m line; nothing if its port refuses the stream (RFC 3264 §6).
    fn read(value: &'a [u8]) -> Option<Option<Self>> {
        let text = std::str::from_utf8(value).ok()?;
        let mut words = text.trim_end().splitn(4, ' ');
        let (media, port, transport, formats) = (words.next()?, words.next()?, words.next()?, words.next()?);
        if media.is_empty() || formats.trim().is_empty() {
            return None;
        }
        let rtp = transport.split('/').any(|part| part.eq_ignore_ascii_case("RTP"));
        Some((port != "0").then_some(Self { media, rtp, formats }))
    }
}

/// The codec of a payload type, as `AMR/8000`; the payload type itself where nobody says.
fn encoding<'a>(format: &'a str, mut lines: impl Iterator<Item = (u8, &'a [u8])>) -> Cow<'a, str> {
    let mapped = lines.find_map(|(letter, value)| {
        let value = std::str::from_utf8(value).ok().filter(|_| letter == b'a')?;
        let (number, encoding) = value.strip_prefix("rtpmap:")?.split_once(' ')?;
        (number == format).then(|| encoding.trim())
    });
    let known = |number: u8| STATIC.iter().find(|(known, _)| *known == number).map(|(_, name)| *name);
    Cow::Borrowed(mapped.or_else(|| known(format.parse().ok()?)).unwrap_or(format))
}

impl Codec {
    /// Whether `offered`, as in an rtpmap, is this codec.
    fn is(&self, offered: &str) -> bool {
        let mut parts = offered.split('/');
        let name = parts.next().unwrap_or("");
        let rate = parts.next().and_then(|rate| rate.parse().ok());
        name.eq_ignore_ascii_case(&self.name) && (self.rate.is_none() || rate == self.rate)
    }

    /// Reads `NAME` or `NAME/RATE`; `None` if it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, rate) = match text.split_once('/') {
            Some((name, rate)) => (name, Some(rate.parse().ok()?)),
            None => (text, None),
        };
        let token = |c: u8| c.is_ascii_alphanumeric() || b"-.!%*_+`'~#$&^{|}".contains(&c);
        (!name.is_empty() && name.bytes().all(token)).then(|| Self { name: name.into(), rate })
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rate {
            Some(rate) => write!(f, "{}/{rate}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl Serialize for Codec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Codec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("a codec is NAME or NAME/RATE"))
    }
}

impl fmt::Display for Forbidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line => f.write_str("a media line cannot be read"),
            Self::Media(media) => write!(f, "{media} is not among the media allowed"),
            Self::Codec(media, codec) => write!(f, "{codec} is not among the codecs allowed for {media}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn profile(list: &[(&str, &[&str])]) -> MediaProfile {
        let codecs = |codecs: &[&str]| codecs.iter().map(|text| Codec::parse(text).unwrap()).collect();
        MediaProfile(list.iter().map(|(media, names)| ((*media).into(), codecs(names))).collect())
    }

    fn why(profile: &MediaProfile, body: &str) -> Option<String> {
        profile.forbidden(body.as_bytes()).map(|forbidden| forbidden.to_string())
    }

    #[test]
    fn every_codec_of_every_stream_must_be_allowed() {
        let allowed =
            profile(&[("audio", &["AMR", "AMR-WB/16000", "PCMU", "telephone-event"]), ("message", &[])]);
        let of =
            |lines: &str| why(&allowed, &format!("v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nt=0 0\r\n{lines}"));
        let amr = "a=rtpmap:97 amr/8000/1\r\n";
        assert_eq!(of(&format!("m=audio 1 RTP/AVP 97\r\na=ptime:20\r\n{amr}")), None);
        assert_eq!(of("m=audio 1 RTP/AVP 0\r\n"), None);
        assert_eq!(
            of("m=audio 1 RTP/SAVPF 8\r\n").unwrap(),
            "PCMA is not among the codecs allowed for audio"
        );
        assert_eq!(of("m=AUDIO 1/2 RTP/AVP 97 98\na=rtpmap:98 AMR-WB/16000\na=rtpmap:97 AMR/8000\n"), None);
        let slow = "m=audio 1 RTP/AVP 98\r\na=rtpmap:98 AMR-WB/8000\r\n";
        assert_eq!(of(slow).unwrap(), "AMR-WB/8000 is not among the codecs allowed for audio");
        // An encoding named in another stream is none of this one.
        let elsewhere = format!("m=audio 1 RTP/AVP 97\r\nm=message 1 TCP/MSRP *\r\n{amr}");
        assert_eq!(of(&elsewhere).unwrap(), "97 is not among the codecs allowed for audio");
        assert_eq!(of("m=video 1 RTP/AVP 34\r\n").unwrap(), "video is not among the media allowed");
        assert_eq!(of("m=video 0 RTP/AVP 34\r\n"), None, "a stream that is refused is none");
        assert_eq!(of("m=message 2855 TCP/MSRP *\r\n"), None);
        for unreadable in ["m=\r\n", "m=audio 1 RTP/AVP\r\n", "m=audio\r\n", "m= 1 RTP/AVP 0\r\n"] {
            assert_eq!(of(unreadable).unwrap(), "a media line cannot be read", "{unreadable}");
        }
        assert_eq!(of(""), None);
    }

    #[test]
    fn what_is_told_is_allowed() {
        let allowed = profile(&[
            ("audio", &["AMR", "PCMU", "AMR-WB/16000"]),
            ("image", &["t38"]),
            ("message", &[]),
            ("video", &["H264"]),
        ]);
        let description = allowed.description();
        let lines: Vec<_> = description.lines().skip(5).collect();
        assert_eq!(
            lines,
            [
                "m=audio 0 RTP/AVP 96 0 97",
                "a=rtpmap:96 AMR/8000",
                "a=rtpmap:97 AMR-WB/16000",
                "m=image 0 udptl t38",
                "m=message 0 TCP/MSRP *",
                "m=video 0 RTP/AVP 96",
                "a=rtpmap:96 H264/90000",
            ]
        );
        assert_eq!(
            why(&allowed, &description.replace(" 0 RTP", " 5000 RTP").replace(" 0 udptl", " 1 udptl")),
            None
        );
    }

    #[test]
    fn the_operators_words() {
        let read: Media =
            serde_json::from_str(r#"{"profiles":{"3":{"audio":["AMR","EVS/16000"]}}}"#).unwrap();
        assert_eq!(read.profiles[&3], profile(&[("audio", &["AMR", "EVS/16000"])]));
        let written: Media = serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap();
        assert_eq!(written, read);
        for nonsense in [
            r#"{"profiles":{"x":{}}}"#,
            r#"{"profiles":{"3":{"audio":["AMR/x"]}}}"#,
            r#"{"profiles":{"3":{"audio":["a b"]}}}"#,
            r#"{"profile":{}}"#,
        ] {
            assert!(serde_json::from_str::<Media>(nonsense).is_err(), "{nonsense}");
        }
    }

    proptest! {
        #[test]
        fn nothing_a_ue_writes_makes_it_panic(body in "([ma]=[a-z0-9 :/*]{0,20}\r?\n){0,6}") {
            let _ = profile(&[("audio", &["AMR"])]).forbidden(body.as_bytes());
        }
    }
}
