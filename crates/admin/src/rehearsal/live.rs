//! Watches over real sockets.

use super::{Actor, observation};
use crate::Seen;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

/// A listener with real sockets, and the node behind it.
fn listening() -> (Arc<Actor>, SocketAddr, actix_web::dev::ServerHandle) {
    let actor = Arc::new(Actor::default());
    let (server, address) = crate::serve("127.0.0.1:0".parse().unwrap(), None, actor.clone()).unwrap();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    (actor, address, handle)
}

fn ask(address: SocketAddr) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    write!(stream, "GET /v1/users/alice@a.b/watch HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    BufReader::new(stream)
}

/// Lines until one event is whole: its name and its data.
fn event(stream: &mut impl BufRead) -> (String, Value) {
    let (mut name, mut line) = (String::new(), String::new());
    loop {
        line.clear();
        assert_ne!(stream.read_line(&mut line).unwrap(), 0, "the stream ended");
        if let Some(given) = line.strip_prefix("event: ") {
            name = given.trim().to_owned();
        }
        if let Some(data) = line.strip_prefix("data: ") {
            return (name, serde_json::from_str(data.trim()).unwrap());
        }
    }
}

#[actix_web::test]
async fn a_watch_shows_the_view_then_every_step_and_says_when_it_ends() {
    let (actor, address, handle) = listening();
    let read = tokio::task::spawn_blocking(move || {
        let mut stream = ask(address);
        let (name, view) = event(&mut stream);
        assert_eq!(
            (name.as_str(), view["shard"].as_u64(), view["recent"].as_array().unwrap().len()),
            ("view", Some(7), 1)
        );
        for number in 1..=3 {
            actor.watchers.lock().unwrap()[0].try_send(Seen::Here(observation(number, true))).unwrap();
        }
        for number in 1..=3 {
            let (name, step) = event(&mut stream);
            assert_eq!(
                (name.as_str(), step["summary"].as_str()),
                ("observation", Some(&*format!("step {number}")))
            );
            assert_eq!(step["view"]["node"], "n1");
            assert_eq!(step["refused"]["status"], 403);
        }
        actor.watchers.lock().unwrap().clear();
        let (name, end) = event(&mut stream);
        assert_eq!(name, "end");
        assert!(end["why"].is_string());
        let mut last = String::new();
        while last.trim() != "0" {
            last.clear();
            assert_ne!(stream.read_line(&mut last).unwrap(), 0, "the last chunk is missing");
        }
    });
    read.await.unwrap();
    handle.stop(true).await;
}

#[actix_web::test]
async fn a_watcher_who_goes_away_is_noticed() {
    let (actor, address, handle) = listening();
    let left = tokio::task::spawn_blocking(move || {
        let mut stream = ask(address);
        event(&mut stream);
        drop(stream);
        let begun = std::time::Instant::now();
        while begun.elapsed() < std::time::Duration::from_secs(5) {
            if actor.watchers.lock().unwrap()[0].is_closed() {
                return true;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        false
    });
    assert!(left.await.unwrap(), "the queue of a watcher who left stays open");
    handle.stop(true).await;
}

#[actix_web::test]
async fn an_open_watch_does_not_hold_up_the_end() {
    let (_actor, address, handle) = listening();
    let stream = tokio::task::spawn_blocking(move || {
        let mut stream = ask(address);
        event(&mut stream);
        stream
    })
    .await
    .unwrap();
    let begun = std::time::Instant::now();
    handle.stop(true).await;
    assert!(begun.elapsed() < std::time::Duration::from_secs(4), "{:?}", begun.elapsed());
    drop(stream);
}
