//! A network between two programs that can hold back what was sent.

use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards connections to a server.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    /// Connections up to this number are held back.
    held: Arc<watch::Sender<u64>>,
    /// Answers on connections up to this number are held back.
    mute: Arc<watch::Sender<u64>>,
    /// How long what a client says takes.
    delay: Arc<watch::Sender<Duration>>,
    made: watch::Receiver<u64>,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (held, mute) = (Arc::new(watch::Sender::new(0)), Arc::new(watch::Sender::new(0)));
        let delay = Arc::new(watch::Sender::new(Duration::ZERO));
        let (count, made) = watch::channel(0);
        let (holding, muting, delaying) = (Arc::clone(&held), Arc::clone(&mute), Arc::clone(&delay));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.send_modify(|made| *made += 1);
                let number = *count.borrow();
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let (from_server, to_server) = server.into_split();
                let (from_client, to_client) = client.into_split();
                let always = Arc::new(watch::Sender::new(Duration::ZERO));
                tokio::spawn(forward(from_server, to_client, number, muting.subscribe(), always));
                let delaying = Arc::clone(&delaying);
                tokio::spawn(forward(from_client, to_server, number, holding.subscribe(), delaying));
            }
        });
        Self { port: own, held, mute, delay, made }
    }

    /// From now on what is sent on the connections that there are does not arrive.
    pub(crate) fn hold(&self) {
        self.held.send_replace(*self.made.borrow());
    }

    /// What was held back arrives after all.
    pub(crate) fn let_go(&self) {
        self.held.send_replace(0);
    }

    /// From now on what is answered on the connections that there are does not arrive.
    pub(crate) fn mute(&self) {
        self.mute.send_replace(*self.made.borrow());
    }

    /// From now on what a client says takes so long.
    pub(crate) fn delay(&self, delay: Duration) {
        self.delay.send_replace(delay);
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: u64,
    mut held: watch::Receiver<u64>,
    delay: Arc<watch::Sender<Duration>>,
) {
    let mut octets = vec![0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut octets).await {
        if held.wait_for(|held| *held < number).await.is_err() {
            return;
        }
        let delay = *delay.borrow();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&octets[..length]).await.is_err() {
            return;
        }
    }
}
