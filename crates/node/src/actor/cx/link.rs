//! One TCP connection to a Diameter peer.

use crate::actor::pipe::Pipe;
use crate::shell::Shell;
use diameter::peer::Closed;
use diameter::pool::LinkId;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::ControlFlow;
use std::rc::Rc;
use tokio::net::TcpStream;
use tokio::sync::Notify;

#[derive(Default)]
pub(super) struct Link {
    pipe: Pipe,
    /// Ends an attempt to connect.
    given_up: Notify,
}

impl Shell {
    pub(super) fn open_link(self: &Rc<Self>, id: LinkId, target: usize) {
        let link = Rc::new(Link::default());
        self.cx.links.borrow_mut().insert(id, Rc::clone(&link));
        let shell = Rc::clone(self);
        tokio::task::spawn_local(async move {
            shell.run_link(id, target, &link).await;
            shell.cx.links.borrow_mut().remove(&id);
        });
    }

    async fn run_link(self: &Rc<Self>, id: LinkId, target: usize, link: &Link) {
        let Some(peer) = self.cx.targets.get(target) else { return };
        let opened = tokio::select! {
            opened = TcpStream::connect((&*peer.host, peer.port)) => opened,
            () = link.given_up.notified() => return,
        };
        let stream = match opened {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(host = %peer.host, port = peer.port, %error, "Diameter peer cannot be reached");
                self.converse_cx(|pool, now, _| pool.connect_failed(id, now));
                return;
            }
        };
        let _ = stream.set_nodelay(true);
        let local = stream.local_addr().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip());
        self.converse_cx(|pool, now, out| pool.connected(id, local, now, out));
        let shell = self;
        link.pipe
            .run(&stream, None, |octets| {
                let heard = shell.contained(|shell| {
                    shell.converse_cx(|pool, now, out| pool.receive(id, octets, now, out));
                });
                // After a crash nobody knows where in the stream we are.
                if heard.is_some() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
            .await;
        self.converse_cx(|pool, now, out| pool.lost(id, now, out));
    }

    pub(super) fn write_link(&self, id: LinkId, octets: &[u8]) {
        let link = self.cx.links.borrow().get(&id).cloned();
        if !link.is_some_and(|link| link.pipe.write(octets)) {
            self.telemetry.unsent.inc();
        }
    }

    pub(super) fn close_link(&self, id: LinkId, reason: Closed) {
        tracing::info!(?reason, "Diameter connection closed");
        if let Some(link) = self.cx.links.borrow().get(&id) {
            link.pipe.close();
            link.given_up.notify_one();
        }
    }
}
