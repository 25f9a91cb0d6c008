//! Connections to servers that break, and octets that come as they like.

use std::time::Duration;

use floe::driver::TransmitError;

use super::front::{Front, Wire};
use super::{bounded, connect, gather, say, server, through};

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
    let url = format!("turn:{}?transport=tcp", server.address());
    let left = through(&server, &url).bind().await.unwrap();
    let right = through(&server, &url).bind().await.unwrap();
    let (near, far) = connect(&left, &right).await;
    let flood = async {
        for _ in 0..2000 {
            near.send(&[9; 1200]).await.unwrap();
        }
    };
    bounded(flood).await;
    // What came through came whole.
    let mut buf = [0; 2048];
    let mut received = 0;
    while let Ok(Ok(length)) =
        tokio::time::timeout(Duration::from_millis(300), far.recv(&mut buf)).await
    {
        assert_eq!(buf[..length], [9; 1200]);
        received += 1;
    }
    assert!(received > 0);
    say(&far, &near, b"still here").await;
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
