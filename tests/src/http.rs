//! A small HTTP client that shows status and JSON body alike.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)))
        .build()
        .into()
}

fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> anyhow::Result<(u16, Value)> {
    let mut answer = answer?;
    let status = answer.status().as_u16();
    let text = answer.body_mut().read_to_string()?;
    Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
}

/// GET; status and body, which is a JSON string where it is no JSON.
pub fn get(url: &str) -> anyhow::Result<(u16, Value)> {
    read(agent().get(url).call())
}

/// POST with a JSON body.
pub fn post(url: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
    read(agent().post(url).send_json(body))
}

/// PUT with a JSON body.
pub fn put(url: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
    read(agent().put(url).send_json(body))
}

/// DELETE.
pub fn delete(url: &str) -> anyhow::Result<(u16, Value)> {
    read(agent().delete(url).call())
}

/// POST of any octets with any content type.
pub fn post_raw(url: &str, content_type: &str, body: &[u8]) -> anyhow::Result<(u16, Value)> {
    read(agent().post(url).content_type(content_type).send(body))
}

/// A stream of server-sent events, read as they come until the other end closes it.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    events: Arc<Mutex<Vec<Value>>>,
}

impl Watch {
    /// Opens the stream.
    ///
    /// # Errors
    /// If it is refused.
    pub fn open(url: &str) -> anyhow::Result<Self> {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().timeout_connect(Some(Duration::from_secs(10))).build().into();
        let stream = agent.get(url).call()?.into_body().into_reader();
        let watch = Self::default();
        let events = Arc::clone(&watch.events);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let data = line.strip_prefix("data:").and_then(|data| serde_json::from_str(data).ok());
                if let (Some(data), Ok(mut events)) = (data, events.lock()) {
                    events.push(data);
                }
            }
        });
        Ok(watch)
    }

    /// The data of the events so far, oldest first.
    pub fn events(&self) -> Vec<Value> {
        self.events.lock().map(|events| events.clone()).unwrap_or_default()
    }
}
