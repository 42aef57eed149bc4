//! The testbed itself: what tests of the cluster believe of Redis and of wires.

use e2e::{Cut, Redis, Sentinels, Wire, eventually, have};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_redis_that_was_killed_comes_back_with_what_it_had() {
    if !have("redis-server") {
        return;
    }
    let mut redis = Redis::start();
    redis.ask(&["SET", "key", "value"]).unwrap();
    redis.kill();
    assert!(redis.ask(&["GET", "key"]).is_err());
    redis.start_again();
    assert_eq!(redis.ask(&["GET", "key"]).unwrap(), "value");
    redis.flush();
    assert_eq!(redis.ask(&["DBSIZE"]).unwrap(), "0");
    redis.freeze();
    let asks = std::thread::spawn({
        let address = redis.address;
        move || TcpStream::connect_timeout(&address, SOON).and_then(|stream| stream.peer_addr())
    });
    assert!(asks.join().unwrap().is_ok(), "a frozen server is still connected to");
    redis.thaw();
    assert_eq!(redis.ask(&["PING"]).unwrap(), "PONG");
}

#[test]
fn sentinels_replace_a_primary_that_is_gone() {
    if !have("redis-server") || !have("redis-sentinel") {
        return;
    }
    let mut primary = Redis::start();
    let replica = primary.replica();
    let sentinels = Sentinels::watch(&primary, 1, Duration::from_millis(500));
    assert_eq!(sentinels.primary(), Some(primary.address));
    primary.kill();
    let moved =
        eventually(Duration::from_secs(20), || (sentinels.primary() == Some(replica.address)).then_some(()));
    assert!(moved.is_some(), "{:?}", sentinels.primary());
}

/// Echoes what comes over each connection.
fn echo() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let accepting = listener.try_clone().unwrap();
    std::thread::spawn(move || {
        for mut stream in accepting.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    let _ = stream.write_all(&buffer[..length]);
                }
            });
        }
    });
    listener
}

fn says(stream: &mut TcpStream, text: &str) -> Result<String, ErrorKind> {
    stream.write_all(text.as_bytes()).map_err(|error| error.kind())?;
    let mut buffer = [0; 64];
    match stream.read(&mut buffer) {
        Ok(0) => Err(ErrorKind::UnexpectedEof),
        Ok(length) => Ok(String::from_utf8_lossy(&buffer[..length]).into_owned()),
        Err(error) => Err(error.kind()),
    }
}

#[test]
fn a_wire_is_silent_or_resets_for_those_it_is_cut_for() {
    let far = echo();
    let wire = Wire::to(far.local_addr().unwrap());
    let connect = || {
        let stream = TcpStream::connect(wire.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        stream
    };
    let (mut one, mut two) = (connect(), connect());
    assert_eq!(says(&mut one, "I am n1").as_deref(), Ok("I am n1"));
    assert_eq!(says(&mut two, "I am n2").as_deref(), Ok("I am n2"));

    wire.cut_for("n2", Cut::Silent);
    assert_eq!(says(&mut one, "here").as_deref(), Ok("here"));
    assert!(matches!(says(&mut two, "lost?"), Err(ErrorKind::WouldBlock | ErrorKind::TimedOut)));
    let mut late = connect();
    assert!(says(&mut late, "n2 again").is_err(), "who comes later is known by its first words");
    wire.mend();
    two.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(says(&mut two, " late").unwrap().get(..5), Some("lost?"), "what was held goes on");

    wire.cut(Cut::Reset);
    let gone = eventually(SOON, || says(&mut one, "x").is_err().then_some(()));
    assert!(gone.is_some());
    wire.mend();
    assert_eq!(says(&mut connect(), "new").as_deref(), Ok("new"));
}
