//! Connections to servers that break, and octets that come as they like.

use std::sync::Arc;
use std::time::Duration;

use floe::config::Role;
use floe::driver::TransmitError;
use floe::event::GatherFailure;
use floe::signaling::memory;
use floe::{ConnectFailure, ConnectionEvent};
use tokio::sync::watch;

use super::front::{Front, Wire};
use super::{bounded, connect, gather, relay_only, say, server, through};

/// [rfc8656-12.5-2]
#[tokio::test]
async fn messages_that_come_octet_by_octet_are_whole_in_the_end() {
    let server = server().await;
    let front = Front::start(server.address(), Wire::Dribble).await;
    let url = format!("turn:{}?transport=tcp", front.address);
    let left = through(&server, &url).bind().await.unwrap();
    let right = through(&server, &url).bind().await.unwrap();
    let (near, far) = connect(&left, &right).await;
    say(&near, &far, &[1; 1200]).await;
    say(&far, &near, b"and back").await;
}

#[tokio::test]
async fn a_server_that_closes_the_connection_holds_nobody_up() {
    let server = server().await;
    let front = Front::start(server.address(), Wire::Plain).await;
    let url = format!("turn:{}?transport=tcp", front.address);
    let left = through(&server, &url).bind().await.unwrap();
    let right = through(&server, &url).bind().await.unwrap();
    let (near, far) = connect(&left, &right).await;
    say(&near, &far, b"while it lasts").await;
    drop(front);
    // Nothing carries data any more: sending says so or loses it, and does not wait.
    bounded(async {
        for _ in 0..100 {
            match near.send(&[0; 1200]).await {
                Ok(()) | Err(TransmitError::NotReady | TransmitError::ConsentExpired) => {}
                Err(error) => panic!("{error}"),
            }
            tokio::task::yield_now().await;
        }
        left.close().await;
        right.close().await;
    })
    .await;
}

/// Data that a connection has no room for waits, and the driver goes on.
#[tokio::test]
async fn a_server_that_does_not_read_slows_the_sender_and_stops_nobody() {
    let server = server().await;
    let (stalled, stall) = watch::channel(false);
    let front = Front::start(server.address(), Wire::Stall(stall)).await;
    let url = |address| format!("turn:{address}?transport=tcp");
    let left = through(&server, &url(front.address)).bind().await.unwrap();
    let right = through(&server, &url(server.address())).bind().await.unwrap();
    let (near, far) = connect(&left, &right).await;
    say(&near, &far, b"while it reads").await;
    stalled.send_replace(true);
    // More than the buffers of any system on the way.
    let flood = async {
        for _ in 0..100_000 {
            near.send(&[9; 1200]).await.unwrap();
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(2), flood).await.is_err());
    say(&far, &near, b"the other way is free").await;
    stalled.send_replace(false);
    // Who waits for room is told; what came through came whole.
    bounded(near.send(&[9; 1200])).await.unwrap();
    let mut buf = [0; 2048];
    let mut received = 0;
    while received < 10 {
        let length = bounded(far.recv(&mut buf)).await.unwrap();
        // The first words may have come twice.
        if &buf[..length] != b"while it reads" {
            assert_eq!(buf[..length], [9; 1200]);
            received += 1;
        }
    }
    say(&near, &far, b"all is free").await;
}

#[tokio::test]
async fn a_connection_that_is_never_answered_ends_with_its_node() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = server().await;
    let url = format!("turn:{}?transport=tcp", silent.local_addr().unwrap());
    let node = through(&server, &url).bind().await.unwrap();
    let (relays, failures) = gather(&node).await;
    assert_eq!(relays, []);
    assert!(!failures.is_empty());
    bounded(node.close()).await;
}

/// Connections beyond the limit are refused at once, not when something else happens.
#[tokio::test(start_paused = true)]
async fn what_is_one_connection_too_many_is_told_at_once() {
    let mut node = relay_only()
        .endpoint(|endpoint| endpoint.max_relays = 64)
        .path_filter(Arc::new(|_, _| false));
    for last in 1..=17 {
        let url = format!("turn:127.0.1.{last}?transport=tcp");
        node = node.turn(&url, "user", "password").unwrap();
    }
    let node = node.bind().await.unwrap();
    let (near, _far) = memory::pair(16);
    let connection = node.open(node.agent_config(Role::Controlling), near);
    let mut events = connection.events();
    let began = tokio::time::Instant::now();
    let refused = async {
        loop {
            if let ConnectionEvent::GatheringFailed { reason, .. } =
                events.next().await.expect("closed")
            {
                return reason;
            }
        }
    };
    assert_eq!(bounded(refused).await, GatherFailure::Connect(ConnectFailure::Limit));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}
