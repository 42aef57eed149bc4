//! A SIP message as it came, read line by line.

use std::net::SocketAddr;

/// A message as lines and a body.
#[derive(Clone, Debug)]
pub struct Text {
    /// The whole message.
    pub all: String,
    /// Who sent it.
    pub from: SocketAddr,
}

impl Text {
    /// The first line.
    pub fn start(&self) -> &str {
        self.all.lines().next().unwrap_or("")
    }

    /// Status of a response, 0 for a request.
    pub fn status(&self) -> u16 {
        self.start()
            .strip_prefix("SIP/2.0 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|code| code.parse().ok())
            .unwrap_or(0)
    }

    /// Method of a request, empty for a response.
    pub fn method(&self) -> &str {
        if self.status() > 0 { "" } else { self.start().split(' ').next().unwrap_or("") }
    }

    /// Values of all header lines of that name.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.head()
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(found, _)| found.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    /// Value of the first header line of that name, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers(name).first().copied().unwrap_or("")
    }

    fn head(&self) -> &str {
        self.all.split("\r\n\r\n").next().unwrap_or("")
    }

    /// The body.
    pub fn body(&self) -> &str {
        self.all.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    /// A parameter of a Digest header, quotes removed.
    pub fn digest(&self, header: &str, name: &str) -> String {
        let value = self.header(header);
        let Some(at) = value.find(&format!("{name}=")) else { return String::new() };
        let rest = &value[at + name.len() + 1..];
        rest.strip_prefix('"').map_or_else(
            || rest.split(',').next().unwrap_or("").trim().to_owned(),
            |rest| rest.split('"').next().unwrap_or("").to_owned(),
        )
    }
}
