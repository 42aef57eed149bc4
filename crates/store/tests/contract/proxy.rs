//! A network between a store and Redis that can hold back what was sent.

use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards connections to a server.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    /// Connections up to this number are held back.
    held: Arc<watch::Sender<u64>>,
    made: watch::Receiver<u64>,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let held = Arc::new(watch::Sender::new(0));
        let (count, made) = watch::channel(0);
        let holding = Arc::clone(&held);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.send_modify(|made| *made += 1);
                let number = *count.borrow();
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let (mut from_server, mut to_server) = server.into_split();
                let (mut from_client, mut to_client) = client.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
                let mut holding = holding.subscribe();
                tokio::spawn(async move {
                    let mut octets = vec![0; 65_536];
                    while let Ok(length @ 1..) = from_client.read(&mut octets).await {
                        if holding.wait_for(|held| *held < number).await.is_err() {
                            return;
                        }
                        if to_server.write_all(&octets[..length]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { port: own, held, made }
    }

    /// From now on what is sent on the connections that there are does not arrive.
    pub(crate) fn hold(&self) {
        self.held.send_replace(*self.made.borrow());
    }

    /// What was held back arrives after all.
    pub(crate) fn let_go(&self) {
        self.held.send_replace(0);
    }
}
