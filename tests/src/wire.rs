//! A TCP connection's way through the test, which can be cut.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How soon a cut is noticed.
const LOOK: Duration = Duration::from_millis(10);

/// How a wire is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing passes and nobody is told: a black hole.
    Silent,
    /// Connections are reset, new ones as soon as they are made.
    Reset,
}

/// Listens on a free port of 127.0.0.1 and passes everything on, unless it is cut.
#[derive(Debug)]
pub struct Wire {
    /// Where to connect in place of the target.
    pub address: SocketAddr,
    ways: Arc<Ways>,
    listens: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Ways {
    target: SocketAddr,
    /// How it is cut, and for whom: those whose first octets hold that text; for all if there is none.
    cut: Mutex<Option<(Cut, Option<String>)>>,
    over: AtomicBool,
    closed: AtomicBool,
}

impl Wire {
    /// A wire to `target`, which need not listen yet; it listens at the same address, at another port.
    ///
    /// # Panics
    /// If no port can be had.
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(SocketAddr::new(target.ip(), 0));
        let listener = listener.unwrap_or_else(|error| panic!("a wire: {error}"));
        let address = listener.local_addr().unwrap_or(target);
        let ways = Ways {
            target,
            cut: Mutex::new(None),
            over: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        };
        let ways = Arc::new(ways);
        let listens = Mutex::new(Some(listen(Arc::clone(&ways), listener)));
        Self { address, ways, listens }
    }

    /// Whoever dials is refused from now on, as where nobody listens; connections stay.
    pub fn close(&self) {
        self.ways.closed.store(true, Ordering::Relaxed);
        let listens = self.listens.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(listens) = listens {
            // Wakes whoever accepts.
            let _ = TcpStream::connect(self.address);
            let _ = listens.join();
        }
    }

    /// Listens again after [`Wire::close`].
    ///
    /// # Panics
    /// If somebody else took the port.
    pub fn open(&self) {
        let mut listens = self.listens.lock().unwrap_or_else(PoisonError::into_inner);
        if listens.is_none() {
            let listener = TcpListener::bind(self.address).unwrap_or_else(|error| panic!("a wire: {error}"));
            self.ways.closed.store(false, Ordering::Relaxed);
            *listens = Some(listen(Arc::clone(&self.ways), listener));
        }
    }

    /// Cuts it for everybody.
    pub fn cut(&self, how: Cut) {
        self.set(Some((how, None)));
    }

    /// Cuts it for those whose first octets hold `text`.
    pub fn cut_for(&self, text: &str, how: Cut) {
        self.set(Some((how, Some(text.to_owned()))));
    }

    /// Mends it. Connections that were silent go on where they stopped.
    pub fn mend(&self) {
        self.set(None);
    }

    fn set(&self, cut: Option<(Cut, Option<String>)>) {
        *self.ways.cut.lock().unwrap_or_else(PoisonError::into_inner) = cut;
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.ways.over.store(true, Ordering::Relaxed);
        self.close();
    }
}

impl Ways {
    /// How a connection that began with `hello` is cut now.
    fn cut_of(&self, hello: Option<&Vec<u8>>) -> Option<Cut> {
        if self.over.load(Ordering::Relaxed) {
            return Some(Cut::Reset);
        }
        let cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        let (how, whom) = cut.as_ref()?;
        let concerns = whom.as_ref().is_none_or(|text| {
            hello.is_some_and(|hello| hello.windows(text.len()).any(|part| part == text.as_bytes()))
        });
        concerns.then_some(*how)
    }
}

fn listen(ways: Arc<Ways>, listener: TcpListener) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            if ways.closed.load(Ordering::Relaxed) {
                return;
            }
            let ways = Arc::clone(&ways);
            std::thread::spawn(move || carry(&ways, stream));
        }
    })
}

fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Both);
}

/// Carries one connection until it ends or is reset.
fn carry(ways: &Arc<Ways>, near: TcpStream) {
    let hello = Arc::new(OnceLock::new());
    while let Some(cut) = ways.cut_of(None) {
        if cut == Cut::Reset {
            return reset(&near);
        }
        std::thread::sleep(LOOK);
    }
    let Ok(far) = TcpStream::connect(ways.target) else { return reset(&near) };
    let (Ok(back_from), Ok(back_to)) = (far.try_clone(), near.try_clone()) else { return };
    let back = {
        let (ways, hello) = (Arc::clone(ways), Arc::clone(&hello));
        std::thread::spawn(move || pump(&ways, &hello, &back_from, &back_to, false))
    };
    pump(ways, &hello, &near, &far, true);
    let _ = back.join();
}

/// Carries one direction; the first octets of the side that connected are kept.
fn pump(ways: &Ways, hello: &OnceLock<Vec<u8>>, mut from: &TcpStream, mut to: &TcpStream, first: bool) {
    let _ = from.set_read_timeout(Some(LOOK));
    let _ = to.set_nodelay(true);
    let mut buffer = vec![0; 65_536];
    let mut held = 0;
    loop {
        match ways.cut_of(hello.get()) {
            Some(Cut::Reset) => {
                reset(from);
                return reset(to);
            }
            Some(Cut::Silent) => std::thread::sleep(LOOK),
            None if held > 0 => {
                if to.write_all(&buffer[..held]).is_err() {
                    let _ = from.shutdown(Shutdown::Both);
                    return;
                }
                held = 0;
            }
            None => match from.read(&mut buffer) {
                Ok(0) => {
                    let _ = to.shutdown(Shutdown::Write);
                    return;
                }
                // What was read is held, and looked at again before it goes on: it may be the one to be cut.
                Ok(length) => {
                    held = length;
                    if first {
                        let _ = hello.set(buffer[..length].to_vec());
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => {
                    reset(to);
                    return;
                }
            },
        }
    }
}
