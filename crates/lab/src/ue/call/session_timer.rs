//! RFC 4028 §7, §9 — the session timer of one side: what it asks for, what was agreed, when to refresh and when to give up.

use super::super::message::Incoming;
use crate::wire::text;
use std::time::Duration;

/// What was agreed on with the last 2xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionTimer {
    /// Seconds.
    pub(super) interval: u32,
    /// Whether this side refreshes.
    pub(super) refresher: bool,
}

impl SessionTimer {
    /// What a message asks for or agrees on: seconds, and who refreshes.
    pub(super) fn asked(message: &Incoming) -> Option<(u32, Option<bool>)> {
        let value = message.value("Session-Expires");
        let interval = value.split(';').next()?.trim().parse().ok().filter(|interval| *interval > 0)?;
        let refresher = text::parameter(&value, "refresher");
        Some((interval, refresher.map(|who| who.eq_ignore_ascii_case("uac"))))
    }

    /// The timer that a 2xx to a request of ours sets.
    pub(super) fn of_response(response: &Incoming) -> Option<Self> {
        let (interval, by_uac) = Self::asked(response)?;
        Some(Self { interval, refresher: by_uac.unwrap_or(true) })
    }

    /// The timer that our 2xx to `request` sets; whoever may choose lets the caller refresh, unless told otherwise.
    pub(super) fn of_request(request: &Incoming, rather_here: bool) -> Option<Self> {
        let (interval, by_uac) = Self::asked(request)?;
        let able = request.lists("Supported", "timer") || request.lists("Require", "timer");
        let by_uac = able && by_uac.unwrap_or(!rather_here);
        Some(Self { interval, refresher: !by_uac })
    }

    /// Session-Expires of our 2xx.
    pub(super) fn answer(self) -> String {
        let refresher = if self.refresher { "uas" } else { "uac" };
        format!("{};refresher={refresher}", self.interval)
    }

    /// Session-Expires of our refresh, and of a request that only happens to be one.
    pub(super) fn offer(self) -> String {
        let refresher = if self.refresher { "uac" } else { "uas" };
        format!("{};refresher={refresher}", self.interval)
    }

    /// When to refresh it, or to end the call that nobody refreshed.
    pub(super) fn due(self) -> Duration {
        let whole = Duration::from_secs(self.interval.into());
        if self.refresher { whole / 2 } else { whole - Duration::from_secs(32).min(whole / 3) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wire::Text;

    fn message(lines: &str) -> Incoming {
        let text = format!(
            "UPDATE sip:x SIP/2.0\r\nVia: a\r\nFrom: a\r\nTo: b\r\nCall-ID: c\r\nCSeq: 1 UPDATE\r\n{lines}\r\n"
        );
        Incoming::read(&Text::read(text.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn who_refreshes_is_who_was_named_and_can() {
        for (lines, expected) in [
            ("", None),
            ("Session-Expires: x\r\n", None),
            ("Session-Expires: 90\r\nSupported: timer\r\n", Some((90, false))),
            ("Session-Expires: 90;refresher=uas\r\nSupported: 100rel, timer\r\n", Some((90, true))),
            ("Session-Expires: 90;refresher=uac\r\n", Some((90, true))),
        ] {
            let timer = SessionTimer::of_request(&message(lines), false);
            assert_eq!(timer.map(|timer| (timer.interval, timer.refresher)), expected, "{lines}");
        }
        let here = SessionTimer::of_request(&message("Session-Expires: 90\r\nSupported: timer\r\n"), true);
        assert_eq!(here.unwrap().answer(), "90;refresher=uas");
        let timer = SessionTimer::of_response(&message("Session-Expires: 90;refresher=uas\r\n")).unwrap();
        assert_eq!((timer.refresher, timer.offer().as_str()), (false, "90;refresher=uas"));
    }

    #[test]
    fn a_refresh_comes_at_half_and_the_end_before_the_whole() {
        let due = |interval, refresher| SessionTimer { interval, refresher }.due();
        assert_eq!(due(90, true), Duration::from_secs(45));
        assert_eq!(due(90, false), Duration::from_secs(60));
        assert_eq!(due(1800, false), Duration::from_secs(1768));
    }
}
