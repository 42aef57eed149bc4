//! A stream connection: a bounded queue in front of it, one task that reads and writes.

use bytes::{Buf, BytesMut};
use std::cell::{Cell, RefCell};
use std::io;
use std::ops::ControlFlow;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What waits to be written. Whoever writes does not wait: the octets gather, and leave with one call for all of them.
#[derive(Default)]
pub(crate) struct Pipe {
    queue: RefCell<BytesMut>,
    wake: Notify,
    closing: Cell<bool>,
}

/// Octets that may wait; a reader slower than that is given up.
const QUEUE: usize = 4 << 20;

/// What ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer closed it, or the network did.
    Lost,
    /// We did.
    Ours,
    /// Nothing came for too long.
    Idle,
}

impl Pipe {
    /// Queues octets; `false` if the connection is closing or the queue is full, which closes it.
    pub(crate) fn write(&self, octets: &[u8]) -> bool {
        if self.closing.get() {
            return false;
        }
        let mut queue = self.queue.borrow_mut();
        if queue.len() + octets.len() > QUEUE {
            self.closing.set(true);
            queue.clear();
            self.wake.notify_one();
            return false;
        }
        queue.extend_from_slice(octets);
        self.wake.notify_one();
        true
    }

    /// Closes the connection once what is queued has been written.
    pub(crate) fn close(&self) {
        self.closing.set(true);
        self.wake.notify_one();
    }

    fn flush(&self, stream: &TcpStream) -> io::Result<()> {
        let mut queue = self.queue.borrow_mut();
        while !queue.is_empty() {
            match stream.try_write(&queue) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => queue.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Runs the connection to its end. `heard` gets what arrives and may break off.
    pub(crate) async fn run(
        &self,
        stream: &TcpStream,
        idle: Option<Duration>,
        mut heard: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> End {
        let mut buffer = vec![0; 16 << 10].into_boxed_slice();
        let mut active = Instant::now();
        let sleep = tokio::time::sleep(idle.unwrap_or(Duration::from_secs(3600)));
        tokio::pin!(sleep);
        loop {
            if self.flush(stream).is_err() {
                return End::Lost;
            }
            let blocked = !self.queue.borrow().is_empty();
            if self.closing.get() && !blocked {
                return End::Ours;
            }
            tokio::select! {
                () = self.wake.notified() => {}
                ready = stream.writable(), if blocked => {
                    if ready.is_err() {
                        return End::Lost;
                    }
                }
                ready = stream.readable(), if !self.closing.get() => {
                    if ready.is_err() {
                        return End::Lost;
                    }
                    match stream.try_read(&mut buffer) {
                        Ok(0) => return End::Lost,
                        Ok(length) => {
                            active = Instant::now();
                            if heard(&buffer[..length]).is_break() {
                                self.close();
                            }
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(_) => return End::Lost,
                    }
                }
                () = &mut sleep => {
                    if let Some(idle) = idle && active.elapsed() >= idle {
                        return End::Idle;
                    }
                    if self.closing.get() {
                        return End::Ours;
                    }
                    sleep.as_mut().reset(active + idle.unwrap_or(Duration::from_secs(3600)).max(Duration::from_secs(1)));
                }
            }
        }
    }
}
