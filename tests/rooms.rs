//! Rooms at `floe serve`, over real sockets on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]
#![cfg(feature = "cli")]

#[allow(dead_code, reason = "other tests use more of it")]
#[path = "tool/process.rs"]
mod process;
#[allow(dead_code, reason = "other tests use more of it")]
#[path = "tool/serve.rs"]
mod serve;
#[allow(dead_code, reason = "other tests use more of it")]
#[path = "driver_turn/talk.rs"]
mod talk;

use floe::driver::{JoinError, Room, RoomEvent};
use floe::signaling::memory::Memory;
use floe::signaling::rooms::{Refusal, Side};
use floe::signaling::{CandidateInit, Signal, SignalingExt};
use floe::{Connection, Node};
use futures_util::{SinkExt, StreamExt};
use process::{Peer, is, run};
use serve::Server;
use talk::{bounded, say};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

async fn peer(room: &mut Room) -> (Side, Memory) {
    loop {
        if let RoomEvent::Peer { side, signaling } = bounded(room.next()).await.expect("open") {
            return (side, signaling);
        }
    }
}

/// The event that a test waits for.
async fn until(room: &mut Room, wanted: impl Fn(&RoomEvent) -> bool) {
    while !wanted(&bounded(room.next()).await.expect("open")) {}
}

async fn meet(node: &Node, side: Side, signaling: Memory) -> Connection {
    let connection = match side {
        Side::Offerer => bounded(node.connect(signaling)).await,
        Side::Answerer => bounded(node.accept(signaling)).await,
    };
    connection.unwrap()
}

fn candidate(number: usize) -> Signal {
    let candidate = format!("candidate:{number} 1 udp 1 192.0.2.1 9 typ host");
    Signal::Candidate(CandidateInit { candidate, ..CandidateInit::default() })
}

#[tokio::test]
async fn two_nodes_meet_in_a_room_and_outlive_the_server() {
    let mut server = Server::start().await;
    let (mut left, mut right) = (server.join("lobby").await, server.join("lobby").await);
    let ((left_side, near), (right_side, far)) = tokio::join!(peer(&mut left), peer(&mut right));
    assert_eq!((left_side, right_side), (Side::Answerer, Side::Offerer));
    let node = || async { Node::builder().address("127.0.0.1:0".parse().unwrap()).bind().await };
    let (one, other) = (node().await.unwrap(), node().await.unwrap());
    let (one, other) = tokio::join!(meet(&one, left_side, near), meet(&other, right_side, far));
    say(&one, &other, b"\x80before").await;

    server.restart().await;
    for room in [&mut left, &mut right] {
        until(room, |event| matches!(event, RoomEvent::PeerBack)).await;
    }
    say(&other, &one, b"\x80after").await;
    // Signalling goes on, too.
    one.restart().await;
    let mut events = other.events();
    while !matches!(bounded(events.next()).await.unwrap(), floe::ConnectionEvent::Restarting { .. })
    {
    }
    say(&other, &one, b"\x80again").await;
}

#[tokio::test]
async fn what_is_said_while_the_server_is_away_is_said_once_it_is_back() {
    let mut server = Server::start().await;
    let (mut left, mut right) = (server.join("a").await, server.join("a").await);
    let ((_, mut near), (_, mut far)) = tokio::join!(peer(&mut left), peer(&mut right));
    near.send(candidate(0)).await.unwrap();
    assert_eq!(bounded(far.recv()).await.unwrap().unwrap(), candidate(0));
    server.process.kill().await.unwrap();
    until(&mut left, |event| matches!(event, RoomEvent::Disconnected)).await;
    for number in 1..4 {
        near.send(candidate(number)).await.unwrap();
    }
    server.restart().await;
    for number in 1..4 {
        assert_eq!(bounded(far.recv()).await.unwrap().unwrap(), candidate(number));
    }
}

#[tokio::test]
async fn a_third_is_refused_and_told_why_and_the_two_do_not_notice() {
    let server = Server::start().await;
    let (mut left, mut right) = (server.join("a").await, server.join("a").await);
    let ((_, mut near), (_, mut far)) = tokio::join!(peer(&mut left), peer(&mut right));
    let Err(JoinError::Refused(sentence)) = bounded(Room::join(&server.url("a"))).await else {
        panic!("it joined")
    };
    assert_eq!(sentence, Refusal::Full.to_string());
    near.send(candidate(0)).await.unwrap();
    assert_eq!(bounded(far.recv()).await.unwrap().unwrap(), candidate(0));
    drop(right);
    until(&mut left, |event| matches!(event, RoomEvent::PeerLeft)).await;
    assert!(bounded(near.recv()).await.is_none());
    server.join("a").await;
}

#[tokio::test]
async fn a_message_that_is_bad_or_too_long_harms_its_author_alone() {
    let server = Server::start().await;
    let (mut socket, _) = connect_async(server.url("a")).await.unwrap();
    let join = r#"{"type":"join","member":"FAKE-SECRET-FAKE"}"#;
    socket.send(Message::text(join)).await.unwrap();
    let mut right = server.join("a").await;
    let (_, mut far) = peer(&mut right).await;
    for text in ["{", "[]", r#"{"type":"offer"}"#] {
        socket.send(Message::text(text)).await.unwrap();
    }
    socket.send(Message::text(candidate(7).to_json())).await.unwrap();
    let mut errors = 0;
    while errors < 3 {
        let message = bounded(socket.next()).await.unwrap().unwrap();
        errors += usize::from(message.to_text().unwrap().contains(r#""type":"error""#));
    }
    assert_eq!(bounded(far.recv()).await.unwrap().unwrap(), candidate(7));
    let _ = socket.send(Message::text("x".repeat(70_000))).await;
    until(&mut right, |event| matches!(event, RoomEvent::PeerAway)).await;
}

#[tokio::test]
async fn a_page_of_another_origin_is_kept_out() {
    let server = Server::start().await;
    let ask = |host: &str, origin: &str| {
        let mut request = server.url("a").into_client_request().unwrap();
        request.headers_mut().insert("host", host.parse().unwrap());
        request.headers_mut().insert("origin", origin.parse().unwrap());
        connect_async(request)
    };
    let ours = server.address.to_string();
    assert!(ask(&ours, "http://example.org").await.is_err());
    assert!(ask(&ours, &format!("http://{ours}")).await.is_ok());
    // Names that always lead here, and one that was made to.
    for host in ["localhost:8080", "[::1]:80", "127.0.0.1"] {
        assert!(ask(host, &format!("http://{host}")).await.is_ok(), "{host}");
    }
    for host in ["rebound.test:8080", "127.0.0.1.rebound.test", "localhost.rebound.test"] {
        assert!(ask(host, &format!("http://{host}")).await.is_err(), "{host}");
    }
}

#[tokio::test]
async fn the_server_has_one_page_and_nothing_else() {
    let server = Server::start().await;
    for path in ["/", "/room/lobby"] {
        let (status, page) = server.ask("GET", path, "", "").await;
        assert!(status == 200 && page.contains("<!DOCTYPE html>"), "{page}");
        assert!(page.to_ascii_lowercase().contains("content-security-policy: default-src 'none'"));
    }
    for path in ["/etc/passwd", "/room/", "/room/a%20b", "/room/..%2f..%2fetc", "/../Cargo.toml"] {
        assert_eq!(server.ask("GET", path, "", "").await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn what_cannot_be_joined_says_what_to_do() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let join = |url: String| async move { bounded(Room::join(&url)).await.unwrap_err() };
    assert!(matches!(join(format!("ws://{nobody}/room/a")).await, JoinError::Connect(_)));
    for url in ["http://127.0.0.1/room/a", "nonsense", ""] {
        assert!(matches!(join(url.into()).await, JoinError::Url), "{url}");
    }
    let server = Server::start().await;
    let elsewhere = format!("ws://{}/elsewhere", server.address);
    assert!(matches!(join(elsewhere).await, JoinError::NotAServer));
    assert!(matches!(join(server.url("a%20b")).await, JoinError::Refused(_)));
}

/// A `floe connect` in a room.
fn connect(server: &Server, room: &str) -> Peer {
    Peer::spawn("connect", &["--json", "--server", &format!("http://{}", server.address), room])
}

fn message(text: &'static str) -> impl Fn(&serde_json::Value) -> bool {
    move |object| object["type"] == "message" && object["text"] == text
}

#[tokio::test]
async fn two_terminals_talk_over_a_data_channel_and_a_restart() {
    let server = Server::start().await;
    let mut first = connect(&server, "talk");
    first.until(is("joined")).await;
    // What is said before anybody is there waits.
    first.tell("early").await;
    let mut second = connect(&server, "talk");
    second.until(message("early")).await;
    second.tell("reply").await;
    first.until(message("reply")).await;
    first.tell("/restart").await;
    second.until(is("restarting")).await;
    second.tell("after the restart").await;
    first.until(message("after the restart")).await;
    first.tell("/quit").await;
    assert_eq!(first.ends().await, 0);
    second.until(is("left")).await;
    // The place is free for another, and what was typed meanwhile reaches it.
    second.tell("are you new?").await;
    let mut third = connect(&server, "talk");
    third.until(message("are you new?")).await;
    drop(third.stdin);
    second.until(is("left")).await;
}

#[tokio::test]
async fn what_is_piped_in_arrives_before_the_end() {
    let server = Server::start().await;
    let mut reader = connect(&server, "pipe");
    reader.until(is("joined")).await;
    let mut writer = connect(&server, "pipe");
    for n in 0..200 {
        writer.tell(&format!("line {n}")).await;
    }
    drop(writer.stdin);
    for n in 0..200 {
        let object = reader.until(is("message")).await;
        assert_eq!(object["text"], format!("line {n}"));
    }
    let status = bounded(writer.child.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn floe_connect_says_what_to_do() {
    let (code, _, stderr) = run(&["connect", "not a room"]).await;
    assert_eq!(code, 2);
    assert!(stderr.starts_with("floe: not a room is no room; write its name"), "{stderr}");
    let (code, _, stderr) = run(&["connect", "--server", "http://127.0.0.1:9", "lobby"]).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("see whether it runs"), "{stderr}");
}
