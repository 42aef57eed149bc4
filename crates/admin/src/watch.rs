//! One user followed live, as server-sent events.

use crate::ask::{Observation, Refused, UserView};
use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Bytes;
use futures_util::stream;
use scscf::view::View;
use serde::Serialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Silence after which a comment shows that the connection lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Observations written in one piece.
const BATCH: usize = 64;

/// Streams `event: view` once, then `event: observation` for each step, and `event: end` when the observations end:
/// the watcher was too slow, or the user moved or the node stops. It should ask again.
pub(crate) fn stream(
    view: &UserView,
    observations: mpsc::Receiver<Arc<Observation>>,
    permit: OwnedSemaphorePermit,
) -> HttpResponse {
    let mut first = String::from("retry: 1000\n");
    event(&mut first, "view", view);
    let watch = Watch {
        first: Some(first),
        observations,
        shard: view.shard,
        node: view.node.clone(),
        over: false,
        _permit: permit,
    };
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(stream::unfold(watch, |mut watch| async move {
            let text = watch.next().await?;
            Some((Ok::<_, Infallible>(Bytes::from(text)), watch))
        }))
}

struct Watch {
    first: Option<String>,
    observations: mpsc::Receiver<Arc<Observation>>,
    shard: u16,
    node: String,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

impl Watch {
    async fn next(&mut self) -> Option<String> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if self.over {
            return None;
        }
        let mut text = String::new();
        match tokio::time::timeout(KEEP_ALIVE, self.observations.recv()).await {
            Err(_) => text.push_str(": still here\n\n"),
            Ok(None) => {
                self.over = true;
                event(
                    &mut text,
                    "end",
                    &End { why: "the watcher was too slow, or the user's node stops: ask again" },
                );
            }
            Ok(Some(observation)) => {
                self.tell(&mut text, &observation);
                for _ in 1..BATCH {
                    let Ok(observation) = self.observations.try_recv() else { break };
                    self.tell(&mut text, &observation);
                }
            }
        }
        Some(text)
    }

    fn tell(&self, text: &mut String, observation: &Observation) {
        let Observation { at, cause, summary, refused, effects, view } = observation;
        let view = view.as_deref().map(|view| Placed { view, shard: self.shard, node: &self.node });
        event(text, "observation", &Told { at: at.rfc3339(), cause, summary, refused, effects, view });
    }
}

#[derive(Serialize)]
struct End {
    why: &'static str,
}

#[derive(Serialize)]
struct Told<'a> {
    at: String,
    cause: &'a str,
    summary: &'a str,
    refused: &'a Option<Refused>,
    effects: &'a [String],
    view: Option<Placed<'a>>,
}

#[derive(Serialize)]
struct Placed<'a> {
    #[serde(flatten)]
    view: &'a View,
    shard: u16,
    node: &'a str,
}

fn event(text: &mut String, name: &str, value: &impl Serialize) {
    let Ok(json) = serde_json::to_string(value) else { return };
    text.push_str("event: ");
    text.push_str(name);
    text.push_str("\ndata: ");
    text.push_str(&json);
    text.push_str("\n\n");
}
