//! The message ladder in text: one step of a user is a few lines between three parties.

use serde_json::Value;

/// Columns between two parties.
const GAP: usize = 30;

/// Who speaks with the S-CSCF in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Party {
    Sip,
    Hss,
    Operator,
    Itself,
}

/// The party of a line of an observation, and the words to draw.
pub(crate) fn reading(line: &str, is_cause: bool) -> (Party, &str) {
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    let words = if rest.is_empty() { line } else { rest };
    match first.trim_end_matches(':') {
        "CxAnswer" | "CxDemand" | "CxRequest" => (Party::Hss, words),
        "MAA" | "SAA" | "RTR" | "PPR" | "RAR" | "MAR" | "SAR" => (Party::Hss, line),
        "Respond" | "Send" | "Reply" => (Party::Sip, words),
        "Tell" => (Party::Operator, words),
        "Reauthenticate" if !is_cause || rest != "operator" => (Party::Itself, line),
        "Reauthenticate" | "Deregister" | "operator" => (Party::Operator, line),
        _ if line.starts_with("answer to the HSS") => (Party::Hss, line),
        _ if line.starts_with("answer to the operator") => (Party::Operator, line),
        _ if is_message(first) => (Party::Sip, line),
        _ => (Party::Itself, line),
    }
}

/// A SIP method or status code.
fn is_message(word: &str) -> bool {
    let is_method = !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase());
    is_method || (word.len() == 3 && word.bytes().all(|b| b.is_ascii_digit()))
}

/// The heads of the parties.
pub(crate) fn heads() -> String {
    format!("{:>27}{:>35}{:>37}", "UE P-CSCF AS", "S-CSCF", "HSS")
}

/// The lines of one observation.
pub(crate) fn rungs(observation: &Value) -> Vec<String> {
    let at = clock(observation["at"].as_str().unwrap_or(""));
    let mut lines = vec![rung(&at, observation["cause"].as_str().unwrap_or(""), true)];
    lines.extend(effects(observation).map(|effect| rung("", effect, false)));
    let refused = &observation["refused"];
    if let Some(why) = refused["why"].as_str() {
        let clause = refused["clause"].as_str().unwrap_or("");
        lines.push(format!("{:14}refused: {} by {clause}: {why}", "", refused["status"]));
    }
    lines
}

/// The whole observation in one line, for what is no terminal.
pub(crate) fn line(observation: &Value) -> String {
    let text = |name: &str| observation[name].as_str().unwrap_or("");
    let mut line = format!("{} {}", text("at"), text("cause"));
    for effect in effects(observation) {
        line.push_str(" -> ");
        line.push_str(effect);
    }
    let refused = &observation["refused"];
    if let Some(why) = refused["why"].as_str() {
        line.push_str(&format!(
            " [{} by {}: {why}]",
            refused["status"],
            refused["clause"].as_str().unwrap_or("")
        ));
    }
    let summary = text("summary");
    if !summary.is_empty() {
        line.push_str("; ");
        line.push_str(summary);
    }
    line
}

fn effects(observation: &Value) -> impl Iterator<Item = &str> {
    observation["effects"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn rung(at: &str, words: &str, is_cause: bool) -> String {
    let (party, words) = reading(words, is_cause);
    // Where it goes is in the view; a lane has no room for a URI.
    let uri = [" to sip", " to tel:"].iter().find_map(|start| words.find(start));
    let words = uri.map_or(words, |at| &words[..at]);
    let toward = |words: &str| format!("{}>", fill(words, GAP - 1));
    let away = |words: &str| format!("<{}", fill(words, GAP - 1));
    let bars = |left: &str, right: &str| {
        format!("{at:12}       |      {left}   |    {right}   |").trim_end().to_owned()
    };
    let blank = " ".repeat(GAP);
    match (party, is_cause) {
        (Party::Sip, true) => bars(&toward(words), &blank),
        (Party::Sip, false) => bars(&away(words), &blank),
        (Party::Hss, true) => bars(&blank, &away(words)),
        (Party::Hss, false) => bars(&blank, &toward(words)),
        (Party::Operator, true) => format!("{}  <= {words}", bars(&blank, &blank)),
        (Party::Operator, false) => format!("{}  => {words}", bars(&blank, &blank)),
        (Party::Itself, _) => bars(&blank, &format!("{:GAP$}", format!("({})", clip(words, GAP - 2)))),
    }
}

fn fill(words: &str, width: usize) -> String {
    let words = clip(words, width - 2);
    let rest = width - words.chars().count() - 2;
    format!("{} {words} {}", "-".repeat(rest / 2), "-".repeat(rest - rest / 2))
}

fn clip(words: &str, width: usize) -> String {
    if words.chars().count() <= width {
        return words.to_owned();
    }
    words.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// `HH:MM:SS.mmm` of local time.
pub(crate) fn clock(at: &str) -> String {
    match at.parse::<jiff::Timestamp>() {
        Ok(at) => at.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%H:%M:%S%.3f").to_string(),
        Err(_) => at.to_owned(),
    }
}

/// Whole seconds from now until then, rounded up; zero if it has passed.
pub(crate) fn seconds_until(at: &str) -> Option<u64> {
    let at = at.parse::<jiff::Timestamp>().ok()?;
    let left = at.as_millisecond() - jiff::Timestamp::now().as_millisecond();
    Some(u64::try_from(left).unwrap_or(0).div_ceil(1000))
}

/// Seconds for people.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        3600..172_800 => format!("{}:{:02} h", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_line_has_its_party() {
        for (line, is_cause, party, words) in [
            ("REGISTER", true, Party::Sip, "REGISTER"),
            ("CxAnswer MAA 2001", true, Party::Hss, "MAA 2001"),
            ("MAA: unreachable", true, Party::Hss, "MAA: unreachable"),
            ("RTR", true, Party::Hss, "RTR"),
            ("200 to NOTIFY", true, Party::Sip, "200 to NOTIFY"),
            ("Reply NOTIFY 200", true, Party::Sip, "NOTIFY 200"),
            ("Reauthenticate operator", true, Party::Operator, "Reauthenticate operator"),
            ("Reauthenticate hss", true, Party::Itself, "Reauthenticate hss"),
            ("Deadline", true, Party::Itself, "Deadline"),
            ("no answer to NOTIFY", true, Party::Itself, "no answer to NOTIFY"),
            ("Respond 401 Unauthorized", false, Party::Sip, "401 Unauthorized"),
            ("401 Unauthorized to REGISTER", false, Party::Sip, "401 Unauthorized to REGISTER"),
            ("NOTIFY to sip:a@b", false, Party::Sip, "NOTIFY to sip:a@b"),
            ("SAR Registration", false, Party::Hss, "SAR Registration"),
            ("Tell deadline", false, Party::Operator, "deadline"),
        ] {
            assert_eq!(reading(line, is_cause), (party, words), "{line}");
        }
    }

    #[test]
    fn lanes_stay_in_their_columns() {
        let step = json!({
            "at": "x", "cause": "REGISTER", "summary": "", "effects": ["CxRequest MAR", "Respond 401 Unauthorized"],
            "refused": {"status": 403, "clause": "TS 24.229 §5.4.1.2.3", "why": "wrong answer"},
        });
        let lines = rungs(&step);
        assert_eq!(lines.len(), 4, "{lines:#?}");
        let bars = |line: &str| {
            line.chars().enumerate().filter(|(_, c)| *c == '|').map(|(at, _)| at).collect::<Vec<_>>()
        };
        assert_eq!(bars(&lines[0]), bars(&lines[1]));
        assert_eq!(bars(&lines[1]), bars(&lines[2]));
        assert!(lines[0].contains("REGISTER") && lines[0].contains('>'), "{}", lines[0]);
        assert!(lines[2].contains('<'), "{}", lines[2]);
        assert!(lines[3].contains("403 by TS 24.229 §5.4.1.2.3: wrong answer"), "{}", lines[3]);
        assert_eq!(
            line(&step),
            "x REGISTER -> CxRequest MAR -> Respond 401 Unauthorized [403 by TS 24.229 §5.4.1.2.3: wrong answer]"
        );
    }

    #[test]
    fn spans_are_short() {
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (61, "1:01 min"), (3661, "1:01 h"), (200_000, "2 days")]
        {
            assert_eq!(span(seconds), text);
        }
    }
}
