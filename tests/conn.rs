//! A connection as the `Conn` of webrtc-util, over real sockets on loopback. What DTLS makes of it
//! stands in `examples/webrtc`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![cfg(feature = "webrtc-util")]

#[allow(dead_code, reason = "other tests use more of it")]
#[path = "driver_turn/talk.rs"]
mod talk;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use floe::adapters::conn::ConnError;
use floe::config::Role;
use floe::driver::TransmitError;
use floe::signaling::memory;
use floe::{Connection, Node};
use talk::{bounded, connect};
use webrtc_util::{Conn, Error};

type Shared = Arc<dyn Conn + Send + Sync>;

async fn node() -> Node {
    Node::builder().address("127.0.0.1:0".parse().unwrap()).bind().await.unwrap()
}

async fn pair() -> (Shared, Shared) {
    let (left, right) = connect(&node().await, &node().await).await;
    (Arc::new(left), Arc::new(right))
}

/// Sends until all have arrived, in whatever order: late repetitions of before are passed over.
async fn carry(from: &Shared, to: &Shared, messages: &[&[u8]]) {
    bounded(async {
        let mut missing = messages.to_vec();
        let mut buf = [0; 2048];
        while !missing.is_empty() {
            for message in &missing {
                assert_eq!(from.send(message).await, Ok(message.len()));
            }
            let pause = Duration::from_millis(300);
            while let Ok(length) = tokio::time::timeout(pause, to.recv(&mut buf)).await {
                let length = length.unwrap();
                assert!(messages.contains(&&buf[..length]), "{:?}", &buf[..length]);
                missing.retain(|message| *message != &buf[..length]);
                if missing.is_empty() {
                    break;
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn one_send_is_one_recv_in_both_directions() {
    let (left, right) = pair().await;
    let long = [7; 1200];
    carry(&left, &right, &[b"a", b"bc", &long]).await;
    carry(&right, &left, &[b"\x16handshake", b"\x80media", b"\x00"]).await;
}

#[tokio::test]
async fn what_does_not_fit_the_reader_is_cut_and_never_runs_into_the_next() {
    let (left, right) = pair().await;
    bounded(async {
        left.send(b"longer than that").await.unwrap();
        let mut short = [0; 6];
        assert_eq!(right.recv(&mut short).await, Ok(6));
        assert_eq!(&short, b"longer");
        left.send(b"next").await.unwrap();
        assert_eq!(right.recv(&mut short).await, Ok(4));
        assert_eq!(&short[..4], b"next");
    })
    .await;
}

#[tokio::test]
async fn the_addresses_are_those_of_the_pair_in_use() {
    let (left, right) = pair().await;
    let addresses = bounded(async {
        loop {
            if let (Ok(near), Some(far)) = (left.local_addr(), right.remote_addr()) {
                return (near, far);
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(addresses.0, addresses.1);
    assert!(addresses.0.ip().is_loopback() && addresses.0.port() != 0);

    let peer = left.remote_addr().unwrap();
    bounded(async {
        assert_eq!(left.send_to(b"to the peer", peer).await, Ok(11));
        let mut buf = [0; 64];
        assert_eq!(right.recv_from(&mut buf).await, Ok((11, addresses.1)));
    })
    .await;
}

#[tokio::test]
async fn a_close_wakes_who_waits_and_ends_sending() {
    let (left, _right) = pair().await;
    let reader = tokio::spawn({
        let left = Arc::clone(&left);
        async move { left.recv(&mut [0; 64]).await }
    });
    tokio::task::yield_now().await;
    bounded(left.close()).await.unwrap();
    assert_eq!(bounded(reader).await.unwrap(), Err(Error::ErrUseClosedNetworkConn));
    assert_eq!(left.send(b"late").await, Err(Error::ErrUseClosedNetworkConn));
    bounded(left.close()).await.unwrap();
}

/// The reader of `dtls` 0.17 reads on after any error.
#[tokio::test]
async fn who_reads_on_after_the_end_keeps_no_processor_busy() {
    let (left, _right) = pair().await;
    bounded(left.close()).await.unwrap();
    let began = tokio::time::Instant::now();
    for _ in 0..3 {
        let read = bounded(left.recv(&mut [0; 64])).await;
        assert_eq!(read, Err(Error::ErrUseClosedNetworkConn));
    }
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
}

#[tokio::test]
async fn without_a_path_a_datagram_is_lost_as_in_a_network() {
    let (near, _far) = memory::pair(16);
    let node = node().await;
    let connection: Connection = node.open(node.agent_config(Role::Controlling), near);
    let conn: Shared = Arc::new(connection);
    assert_eq!(conn.send(b"too early").await, Ok(9));
    assert_eq!(conn.remote_addr(), None);
    let error = conn.local_addr().unwrap_err();
    assert_eq!(error.downcast_ref::<ConnError>(), Some(&ConnError::NoPath));
}

#[tokio::test]
async fn what_can_never_be_sent_is_told_by_type() {
    let (left, _right) = pair().await;
    let error = left.send(&[0; 70_000]).await.unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&TransmitError::TooLong));
    let binding = b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl";
    let error = left.send(binding).await.unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&TransmitError::NotData));

    let target: SocketAddr = "192.0.2.1:9".parse().unwrap();
    let error = left.send_to(b"to nobody", target).await.unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&ConnError::NotThePeer { target }));
    let error = left.connect(target).await.unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&ConnError::IsConnected));
    assert!(left.as_any().is::<Connection>());
}
