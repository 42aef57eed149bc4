//! RFC 6733 §2.1, §5.6 — one Diameter connection of an S-CSCF, with its socket.

use super::Hss;
use bytes::BytesMut;
use diameter::{
    Message, Tick,
    base::DisconnectCause,
    codes::avp,
    peer::{Config, Output, Peer, State, Why},
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

/// What the rest of the HSS says to a connection.
#[derive(Debug)]
pub(super) enum Word {
    /// Send a request; the answer comes back, or why there is none.
    Ask { request: Message, answer: oneshot::Sender<Result<Message, Why>> },
    /// Send an answer that was held back.
    Answer(Message),
    /// Say goodbye.
    Leave,
}

/// How many words may wait for one connection.
const QUEUE: usize = 4096;
/// How long an S-CSCF may take to answer.
const PATIENCE_MS: u32 = 5_000;

struct Connection {
    hss: Arc<Hss>,
    peer: Peer,
    begun: Instant,
    asked: HashMap<u64, oneshot::Sender<Result<Message, Why>>>,
    next_token: u64,
    host: Option<Arc<str>>,
    words: mpsc::Sender<Word>,
    closed: bool,
}

/// Serves one connection until it ends.
pub(super) async fn serve(hss: Arc<Hss>, mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let (words, mut heard) = mpsc::channel(QUEUE);
    let begun = Instant::now();
    let peer = Peer::responder(hss.identity().clone(), Config::hss(rand::random()), Tick(0));
    let mut connection = Connection {
        hss,
        peer,
        begun,
        asked: HashMap::new(),
        next_token: 0,
        host: None,
        words,
        closed: false,
    };
    let mut incoming = BytesMut::with_capacity(64 * 1024);
    let mut outgoing = BytesMut::new();
    let mut outputs = Vec::new();
    while !connection.closed {
        let deadline = connection.peer.next_deadline().unwrap_or(connection.now().after(1_000));
        let deadline = connection.begun + Duration::from_millis(deadline.0);
        tokio::select! {
            read = stream.read_buf(&mut incoming) => match read {
                Ok(0) | Err(_) => connection.peer.lost(&mut outputs),
                Ok(_) => {
                    connection.peer.receive(&incoming, connection.now(), &mut outputs);
                    incoming.clear();
                }
            },
            word = heard.recv() => {
                let Some(word) = word else { break };
                connection.hear(word, &mut outputs);
            }
            () = sleep_until(deadline) => connection.peer.expire(connection.now(), &mut outputs),
        }
        connection.perform(&mut outputs, &mut outgoing);
        if !outgoing.is_empty() && stream.write_all(&outgoing).await.is_err() {
            connection.peer.lost(&mut outputs);
            connection.perform(&mut outputs, &mut BytesMut::new());
        }
        outgoing.clear();
    }
    let _ = stream.shutdown().await;
    if let Some(host) = &connection.host {
        connection.hss.parted(host, &connection.words);
    }
}

impl Connection {
    fn now(&self) -> Tick {
        Tick(self.begun.elapsed().as_millis() as u64)
    }

    fn hear(&mut self, word: Word, outputs: &mut Vec<Output>) {
        let now = self.now();
        match word {
            Word::Ask { request, answer } => {
                self.next_token += 1;
                self.asked.insert(self.next_token, answer);
                self.peer.request(request, self.next_token, PATIENCE_MS, now, outputs);
            }
            Word::Answer(message) => self.peer.answer(message, outputs),
            Word::Leave => self.peer.disconnect(DisconnectCause::Rebooting, now, outputs),
        }
    }

    fn perform(&mut self, outputs: &mut Vec<Output>, outgoing: &mut BytesMut) {
        // Answering may ask for more octets to be sent, so the list is walked until it stays empty.
        while !outputs.is_empty() {
            for output in std::mem::take(outputs) {
                match output {
                    Output::Transmit(octets) => outgoing.extend_from_slice(&octets),
                    Output::Open { host, .. } => {
                        tracing::info!(%host, "an S-CSCF connected");
                        let host: Arc<str> = host.into();
                        self.hss.joined(&host, &self.words);
                        self.host = Some(host);
                    }
                    Output::Request(message) => self.asked(&message, outputs),
                    Output::Answer { token, message } => self.fulfil(token, Ok(message)),
                    Output::Failed { token, why } => self.fulfil(token, Err(why)),
                    Output::Close { reason } => {
                        tracing::info!(host = self.host.as_deref(), ?reason, "an S-CSCF disconnected");
                        self.closed = true;
                    }
                }
            }
        }
    }

    fn fulfil(&mut self, token: u64, outcome: Result<Message, Why>) {
        if let Some(answer) = self.asked.remove(&token) {
            let _ = answer.send(outcome);
        }
    }

    fn asked(&mut self, request: &Message, outputs: &mut Vec<Output>) {
        let host = match (&self.host, request.text(avp::ORIGIN_HOST)) {
            (Some(host), Some(origin)) if **host == *origin => Arc::clone(host),
            (_, Some(origin)) => origin.into(),
            (Some(host), None) => Arc::clone(host),
            (None, None) => return,
        };
        let faults = self.hss.faults();
        if faults.drop {
            return;
        }
        let answer = self.hss.answer(request, &host, faults.result_code);
        if faults.delay_ms == 0 {
            self.peer.answer(answer, outputs);
            return;
        }
        let words = self.words.clone();
        let delay = Duration::from_millis(faults.delay_ms);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let _ = words.send(Word::Answer(answer)).await;
        });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.peer.state() != State::Closed {
            tracing::debug!(host = self.host.as_deref(), "a connection was dropped");
        }
    }
}
