//! WHIP at `floe serve`, over real sockets on loopback.
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

use std::net::SocketAddr;

use floe::driver::{Room, RoomEvent, Whip, WhipEvents};
use floe::sdp::Fragment;
use floe::signaling::rooms::Side;
use floe::signaling::whip::{ClientConfig, ClientError, ClientEvent};
use floe::signaling::{Signal, SignalingExt};
use floe::{Connection, ConnectionEvent, Node};
use serve::Server;
use talk::{bounded, say};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

async fn whip(server: &Server, room: &str, config: ClientConfig) -> (Whip, WhipEvents) {
    Whip::open(&format!("http://{}/whip/{room}", server.address), config).await.unwrap()
}

async fn node() -> Node {
    Node::builder().address("127.0.0.1:0".parse().unwrap()).bind().await.unwrap()
}

/// The member of a room answers whoever comes next.
async fn answer(room: &mut Room, node: &Node) -> Connection {
    loop {
        if let RoomEvent::Peer { side, signaling } = bounded(room.next()).await.expect("open") {
            assert_eq!(side, Side::Answerer);
            return bounded(node.accept(signaling)).await.unwrap();
        }
    }
}

async fn until(connection: &mut floe::driver::Events, wanted: impl Fn(&ConnectionEvent) -> bool) {
    while !wanted(&bounded(connection.next()).await.expect("open")) {}
}

/// Through the end of the session, and what was learned on the way.
async fn rest(mut events: WhipEvents) -> Vec<ClientEvent> {
    let mut all = Vec::new();
    while let Some(event) = bounded(events.next()).await {
        all.push(event);
    }
    all
}

/// [rfc9725-4.2-8] [rfc9725-4.3.3-5b]
#[tokio::test]
async fn a_client_meets_the_member_that_waits_restarts_and_goes() {
    let server = Server::start().await;
    let mut room = server.join("lobby").await;
    let (near, far) = (node().await, node().await);
    let (signaling, events) = whip(&server, "lobby", ClientConfig::default()).await;
    let (one, other) = tokio::join!(bounded(near.connect(signaling)), answer(&mut room, &far));
    let one = one.unwrap();
    say(&one, &other, b"\x80before").await;
    say(&other, &one, b"\x80and back").await;

    for _ in 0..2 {
        let (mut ours, mut theirs) = (one.events(), other.events());
        one.restart().await;
        until(&mut theirs, |event| matches!(event, ConnectionEvent::Restarting { by_peer: true }))
            .await;
        until(&mut ours, |event| matches!(event, ConnectionEvent::Restarting { .. })).await;
        until(&mut ours, |event| matches!(event, ConnectionEvent::Selected(_))).await;
        say(&one, &other, b"\x80again").await;
        say(&other, &one, b"\x80and again").await;
    }
    one.close().await;
    assert_eq!(rest(events).await, [ClientEvent::Closed]);
    while !matches!(bounded(room.next()).await.expect("open"), RoomEvent::PeerLeft) {}
    // The next one finds the place free.
    let near = node().await;
    let (signaling, events) = whip(&server, "lobby", ClientConfig::default()).await;
    let (one, other) = tokio::join!(bounded(near.connect(signaling)), answer(&mut room, &far));
    say(&one.unwrap(), &other, b"\x80another").await;
    assert_eq!(rest(events).await, [ClientEvent::Closed]);
}

#[tokio::test]
async fn where_nobody_waits_the_client_hears_it() {
    let server = Server::start().await;
    let mut config = ClientConfig::default();
    config.retries = 0;
    let (mut signaling, events) = whip(&server, "empty", config).await;
    signaling.send(Signal::Offer { sdp: offer("NEAR") }).await.unwrap();
    let events = rest(events).await;
    assert!(
        matches!(events[..], [ClientEvent::Failed(ClientError::Unavailable(status)), ClientEvent::Closed] if status == 503)
    );
    assert!(bounded(signaling.recv()).await.is_none());
    // It is no member that waits there.
    let mut room = server.join("empty").await;
    let (node, (signaling, _events)) =
        (node().await, whip(&server, "empty", ClientConfig::default()).await);
    let far = self::node().await;
    let (one, other) = tokio::join!(bounded(node.connect(signaling)), answer(&mut room, &far));
    say(&one.unwrap(), &other, b"\x80now").await;
}

#[tokio::test]
async fn the_token_is_asked_for() {
    let server = Server::with_token("FAKE-TOKEN").await;
    let mut room = server.join("lobby").await;
    let (mut stranger, events) = whip(&server, "lobby", ClientConfig::default()).await;
    stranger.send(Signal::Offer { sdp: offer("NEAR") }).await.unwrap();
    let events = rest(events).await;
    assert!(
        matches!(events[0], ClientEvent::Failed(ClientError::Refused(status)) if status == 401)
    );
    let mut config = ClientConfig::default();
    config.token = Some("FAKE-TOKEN".into());
    let (signaling, _events) = whip(&server, "lobby", config).await;
    let (near, far) = (node().await, node().await);
    let (one, other) = tokio::join!(bounded(near.connect(signaling)), answer(&mut room, &far));
    say(&one.unwrap(), &other, b"\x80in").await;
}

fn offer(ufrag: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
         m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n\
         a=ice-ufrag:{ufrag}\r\na=ice-pwd:FAKEpasswordFAKEpassword\r\n"
    )
}

/// What comes from outside harms its author alone.
#[tokio::test]
async fn hostile_requests_are_refused_and_the_next_client_is_served() {
    let server = Server::start().await;
    let mut room = server.join("lobby").await;
    let sdp = "Content-Type: application/sdp\r\n";
    let fragment = format!("Content-Type: {}\r\nIf-Match: *\r\n", Fragment::MEDIA_TYPE);
    let huge = "v=0\r\n".repeat(20_000);
    let good = offer("NEAR");
    for (method, path, headers, body, status) in [
        ("POST", "/whip/lobby", sdp, huge.as_str(), 413),
        ("POST", "/whip/lobby", sdp, "nonsense", 400),
        ("POST", "/whip/lobby", "", &good, 415),
        ("POST", "/whip/lobby", &fragment, &good, 415),
        ("PUT", "/whip/lobby", sdp, &good, 405),
        ("POST", "/whip/a%20b", sdp, &good, 404),
        ("PATCH", "/whip/lobby/0000", &fragment, "", 404),
        ("DELETE", "/whip/lobby/0000", "", "", 404),
        ("DELETE", "/whip/lobby/../../x", "", "", 404),
        ("GET", "/whip/lobby", "", "", 204),
        (
            "POST",
            "/whip/lobby",
            "Content-Type: application/sdp\r\nOrigin: https://evil.test\r\n",
            &good,
            403,
        ),
    ] {
        let (got, text) = server.ask(method, path, headers, body).await;
        assert_eq!(got, status, "{method} {path} {text}");
    }
    let (status, options) = server.ask("OPTIONS", "/whip/lobby", "", "").await;
    assert!(status == 200 && options.contains("accept-post: application/sdp"), "{options}");
    // A flood: some find nobody, or find that they are too many.
    for _ in 0..40 {
        let (status, text) = server.ask("POST", "/whip/empty", sdp, &good).await;
        assert!([503, 429].contains(&status), "{text}");
    }
    let mut config = ClientConfig::default();
    config.retries = 10;
    let (signaling, _events) = whip(&server, "lobby", config).await;
    let (near, far) = (node().await, node().await);
    let (one, other) = tokio::join!(bounded(near.connect(signaling)), answer(&mut room, &far));
    say(&one.unwrap(), &other, b"\x80still there").await;
}

/// A server that says `text` to whoever asks, and what it was asked.
async fn impostor(text: Vec<u8>) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut octets = vec![0; 16 * 1024];
        let length = stream.read(&mut octets).await.unwrap();
        let _ = stream.write_all(&text).await;
        String::from_utf8_lossy(&octets[..length]).into_owned()
    });
    (address, task)
}

#[tokio::test]
async fn what_is_no_endpoint_is_left_alone() {
    let endless = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &vec![b'x'; 1 << 20]].concat();
    let head = b"HTTP/1.1 201 Created\r\nContent-Type: application/sdp\r\nLocation: /s\r\n\r\n";
    let large = [head.as_slice(), &vec![b'x'; 1 << 20]].concat();
    for text in [b"SSH-2.0-x\r\n".to_vec(), Vec::new(), endless, large] {
        let (address, asked) = impostor(text).await;
        let url = format!("http://{address}/whip/x");
        let (mut signaling, events) = Whip::open(&url, ClientConfig::default()).await.unwrap();
        signaling.send(Signal::Offer { sdp: offer("NEAR") }).await.unwrap();
        let unreachable = ClientEvent::Failed(ClientError::Unreachable);
        assert_eq!(rest(events).await, [unreachable, ClientEvent::Closed]);
        let asked = bounded(asked).await.unwrap();
        assert!(asked.starts_with("POST /whip/x HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains(&format!("host: {address}\r\n")), "{asked}");
        assert!(asked.ends_with(&offer("NEAR")));
    }
}

/// [rfc9725-4.5-1]
#[tokio::test]
async fn a_redirection_leads_to_the_endpoint() {
    let server = Server::start().await;
    let mut room = server.join("lobby").await;
    let location = format!("http://{}/whip/lobby", server.address);
    let text = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    );
    let (address, _asked) = impostor(text.into_bytes()).await;
    let url = format!("http://{address}/");
    let (signaling, events) = Whip::open(&url, ClientConfig::default()).await.unwrap();
    let (near, far) = (node().await, node().await);
    let (one, other) = tokio::join!(bounded(near.connect(signaling)), answer(&mut room, &far));
    let one = one.unwrap();
    say(&one, &other, b"\x80elsewhere").await;
    one.close().await;
    assert_eq!(rest(events).await, [ClientEvent::Closed]);
}
