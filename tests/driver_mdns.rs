//! Names of host candidates, over multicast on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]
#![cfg(feature = "mdns")]

#[path = "driver_turn/talk.rs"]
mod talk;

use std::net::SocketAddr;

use floe::candidate::{Candidate, CandidateAddress};
use floe::driver::NodeBuilder;
use floe::signaling::{Signal, SignalingExt, memory};
use floe::stats::PairStats;
use floe::{Connection, ConnectionEvent, Node};
use talk::{bounded, connect, say};

const NOBODY: &str = "candidate:1 1 udp 2122262783 9b36eaac-bb2e-49bb-bb78-21c41c499900.local 9 \
                      typ host";

fn on(address: &str) -> NodeBuilder {
    Node::builder().address(SocketAddr::new(address.parse().unwrap(), 0))
}

/// What a connection was told of the peer's candidates, and of its own.
fn told(connection: &Connection) -> (Vec<Candidate>, Vec<Candidate>) {
    let (mut local, mut remote) = (Vec::new(), Vec::new());
    let mut events = connection.events();
    while let Some(Some(event)) = now_or_never(events.next()) {
        match event {
            ConnectionEvent::LocalCandidate(candidate) => local.push(candidate),
            ConnectionEvent::RemoteCandidate(candidate) => remote.push(candidate),
            _ => {}
        }
    }
    (local, remote)
}

fn now_or_never<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut cx) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

async fn connects_by_names(address: &str) {
    let left = on(address).hide_host_addresses().bind().await.unwrap();
    let right = on(address).hide_host_addresses().bind().await.unwrap();
    let (near, far) = connect(&left, &right).await;
    say(&near, &far, b"hello").await;
    say(&far, &near, b"hello yourself").await;
    for (node, connection) in [(&left, &near), (&right, &far)] {
        let stats = connection.stats();
        let shown = format!("{stats:?}");
        assert!(!shown.contains(address), "{shown}");
        assert!(stats.local.iter().all(|candidate| candidate.name.is_some()), "{shown}");
        assert!(stats.remote.iter().any(|candidate| candidate.name.is_some()), "{shown}");
        let (local, remote) = told(connection);
        assert!(!local.is_empty() && !remote.is_empty());
        for candidate in local.iter().chain(&remote) {
            assert!(candidate.address.mdns_name().is_some(), "{candidate}");
        }
        assert!(node.driver_stats().mdns_sent > 0);
    }
}

/// `FLOE_MDNS_ADDRESS` is another address of this machine, to try the link of that.
/// [mdns-ice-candidates-3.1.1-2a] [mdns-ice-candidates-3.2.1-p1] [mdns-ice-candidates-3.2.1-1]
/// [mdns-ice-candidates-3.3.1-1a] [mdns-ice-candidates-3.3.1-1b]
#[tokio::test]
async fn two_nodes_that_hide_their_addresses_find_each_other() {
    let address = std::env::var("FLOE_MDNS_ADDRESS").unwrap_or("127.0.0.1".to_owned());
    connects_by_names(&address).await;
}

/// IPv6 addresses have names of their own; where the system routes no multicast of IPv6 on
/// loopback, they are told over IPv4. [mdns-ice-candidates-3.1.1-4]
#[tokio::test]
async fn names_of_ipv6_addresses_are_resolved_too() {
    let both = || on("::1").address("127.0.0.1:0".parse().unwrap()).hide_host_addresses();
    let (left, right) = (both().bind().await.unwrap(), both().bind().await.unwrap());
    let (near, far) = connect(&left, &right).await;
    for connection in [&near, &far] {
        bounded(async {
            let is_six = |pair: &PairStats| pair.local.address.is_ipv6();
            while !connection.stats().pairs.iter().any(is_six) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(told(connection).0.len(), 2);
    }
}

/// Somebody on the same link has a browser, and we hide nothing.
#[tokio::test]
async fn a_name_is_resolved_by_who_has_none() {
    let left = on("127.0.0.1").bind().await.unwrap();
    let right = on("127.0.0.1").hide_host_addresses().bind().await.unwrap();
    let (near, far) = connect(&left, &right).await;
    say(&near, &far, b"hello").await;
    let local = near.stats().local;
    assert!(local.iter().all(|candidate| candidate.address.ip().is_loopback()), "{local:?}");
}

/// Adds a candidate that nobody has to a description.
fn with_nobody(signal: Signal) -> Signal {
    match signal {
        Signal::Answer { sdp } => {
            let sdp = sdp.replacen("a=candidate:", &format!("a={NOBODY}\r\na=candidate:"), 1);
            Signal::Answer { sdp }
        }
        Signal::Offer { .. } | Signal::Candidate(_) => signal,
    }
}

/// [mdns-ice-candidates-3.2.1-p2]
#[tokio::test]
async fn a_name_that_nobody_knows_holds_up_nothing_and_is_no_fault() {
    let (left, right) =
        (on("127.0.0.1").bind().await.unwrap(), on("127.0.0.1").bind().await.unwrap());
    let ((near, mut near_out), (far, mut far_out)) = (memory::pair(16), memory::pair(16));
    let (near, far) = (
        left.open(left.agent_config(floe::config::Role::Controlling), near),
        right.open(right.agent_config(floe::config::Role::Controlled), far),
    );
    let carry = async {
        loop {
            tokio::select! {
                Some(Ok(signal)) = near_out.recv() => far_out.send(signal).await.unwrap(),
                Some(Ok(signal)) = far_out.recv() => {
                    near_out.send(with_nobody(signal)).await.unwrap();
                }
                else => std::future::pending().await,
            }
        }
    };
    let ready = async { tokio::try_join!(near.ready(), far.ready()).unwrap() };
    bounded(async {
        tokio::select! {
            () = carry => {}
            _ = ready => {}
        }
    })
    .await;
    let mut events = near.events();
    let mut seen = false;
    bounded(async {
        while !seen {
            match events.next().await.expect("closed") {
                ConnectionEvent::RemoteCandidate(candidate) => {
                    seen |= matches!(candidate.address, CandidateAddress::Name { .. });
                }
                ConnectionEvent::SignalRejected(reason) => panic!("{reason}"),
                _ => {}
            }
        }
    })
    .await;
}

/// Closing waits for the names to be taken back.
#[tokio::test]
async fn closing_a_node_ends_what_answers_for_its_names() {
    let node = on("127.0.0.1").hide_host_addresses().bind().await.unwrap();
    let (signaling, _peer) = memory::pair(16);
    let connection = node.open(node.agent_config(floe::config::Role::Controlling), signaling);
    bounded(async {
        while node.driver_stats().mdns_sent == 0 && node.driver_stats().mdns_failures == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let announced = node.driver_stats();
    bounded(node.close()).await;
    drop(connection);
    assert!(node.driver_stats().mdns_sent > announced.mdns_sent, "a goodbye");
}
