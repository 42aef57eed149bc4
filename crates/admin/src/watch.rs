//! One user followed live, as server-sent events.

use crate::ask::{Seen, Shown};
use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Bytes;
use futures_util::stream;
use serde::Serialize;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Silence after which a comment shows that the connection lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Observations written in one piece.
const BATCH: usize = 64;

/// Streams `event: view` once, then `event: observation` for each step, and `event: end` when the observations end:
/// the watcher was too slow, or the user moved or the node stops. It should ask again.
pub(crate) fn stream(
    view: &Shown,
    observations: mpsc::Receiver<Seen>,
    permit: OwnedSemaphorePermit,
) -> HttpResponse {
    let mut first = String::from("retry: 1000\n");
    event(&mut first, "view", view);
    let (shard, node) = match view {
        Shown::Here(view) => (view.shard, view.node.clone()),
        // What another node tells says itself where its user is.
        Shown::There(_) => (0, String::new()),
    };
    let watch = Watch { first: Some(first), observations, shard, node, over: false, _permit: permit };
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
    observations: mpsc::Receiver<Seen>,
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
                    &End { why: "the watcher was too slow, the user moved, or its node stops: ask again" },
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

    fn tell(&self, text: &mut String, seen: &Seen) {
        match seen {
            Seen::Here(observation) => {
                write(text, "observation", &observation.to_json(self.shard, &self.node));
            }
            Seen::There(json) => write(text, "observation", json),
        }
    }
}

#[derive(Serialize)]
struct End {
    why: &'static str,
}

fn event(text: &mut String, name: &str, value: &impl Serialize) {
    if let Ok(json) = serde_json::to_string(value) {
        write(text, name, &json);
    }
}

fn write(text: &mut String, name: &str, json: &str) {
    text.push_str("event: ");
    text.push_str(name);
    text.push_str("\ndata: ");
    text.push_str(json);
    text.push_str("\n\n");
}
