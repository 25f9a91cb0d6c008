//! Connections over relays, and what happens to allocations.

use floe::candidate::CandidateKind;
use floe::event::GatherFailure;
use floe::{ConnectFailure, Transport, turn};

use super::{bounded, connect, gather, relay_only, say, server, through};

async fn relays_fall_to(server: &super::TurnServer, count: usize) {
    bounded(async {
        while server.relays() > count {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(server.relays(), count);
}

/// [rfc7065-3.2-p1]
#[tokio::test]
async fn two_nodes_that_use_relays_alone_talk_over_udp_and_over_tcp() {
    for transport in ["udp", "tcp"] {
        let server = server().await;
        let url = format!("turn:{}?transport={transport}", server.address());
        let left = through(&server, &url).bind().await.unwrap();
        let right = through(&server, &url).bind().await.unwrap();
        let (near, far) = connect(&left, &right).await;
        for length in [1, 2, 3, 4, 100, 1199, 1200] {
            say(&near, &far, &vec![b'a'; length]).await;
            say(&far, &near, &vec![b'b'; length]).await;
        }
        for pair in [near.selected(), far.selected()].into_iter().flatten() {
            let kinds = [pair.local.kind, pair.remote.kind];
            assert!(kinds.contains(&CandidateKind::Relayed), "{transport} {pair:?}");
        }
        assert!(server.relayed() > 0);
    }
}

/// UDP answers at once, so TCP is not tried.
#[tokio::test]
async fn without_a_transport_udp_is_used_where_it_answers() {
    let server = server().await;
    let url = format!("turn:{}", server.address());
    let node = through(&server, &url).bind().await.unwrap();
    let (relays, failures) = gather(&node).await;
    assert!(!relays.is_empty() && failures.is_empty(), "{relays:?} {failures:?}");
    assert!(relays.iter().all(|(transport, _)| *transport == Transport::Udp));
}

#[tokio::test]
async fn a_node_that_closes_gives_its_allocations_back() {
    for transport in ["udp", "tcp"] {
        let server = server().await;
        let url = format!("turn:{}?transport={transport}", server.address());
        let left = through(&server, &url).bind().await.unwrap();
        let right = through(&server, &url).bind().await.unwrap();
        let (near, far) = connect(&left, &right).await;
        say(&near, &far, b"hello").await;
        assert!(server.relays() >= 2);
        left.close().await;
        right.close().await;
        relays_fall_to(&server, 0).await;
    }
}

#[tokio::test]
async fn dropping_the_last_handle_gives_the_allocations_back_too() {
    let server = server().await;
    let url = format!("turn:{}?transport=udp", server.address());
    let node = through(&server, &url).bind().await.unwrap();
    assert!(!gather(&node).await.0.is_empty());
    drop(node);
    relays_fall_to(&server, 0).await;
}

/// It waits for the answer to the Refresh, but not for ever.
#[tokio::test]
async fn a_node_closes_though_the_server_is_gone() {
    let server = server().await;
    let url = format!("turn:{}?transport=udp", server.address());
    let node = through(&server, &url).bind().await.unwrap();
    assert!(!gather(&node).await.0.is_empty());
    server.stop().await;
    bounded(node.close()).await;
}

#[tokio::test]
async fn a_dead_server_costs_the_others_nothing() {
    let server = server().await;
    let dead = std::net::TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap();
    let node = through(&server, &format!("turn:{}?transport=udp", server.address()))
        .turn(&format!("turn:{dead}?transport=tcp"), "user", "password")
        .unwrap()
        .bind()
        .await
        .unwrap();
    let (relays, failures) = gather(&node).await;
    assert!(relays.iter().any(|(transport, _)| *transport == Transport::Udp), "{relays:?}");
    let refused = GatherFailure::Connect(ConnectFailure::Refused);
    assert_eq!(failures, [(Transport::Tcp, refused)]);
}

#[tokio::test]
async fn a_wrong_password_is_said_to_be_wrong() {
    let server = server().await;
    let url = format!("turn:{}?transport=tcp", server.address());
    let node = relay_only().turn(&url, server.username(), "wrong").unwrap().bind().await.unwrap();
    let (relays, failures) = gather(&node).await;
    assert_eq!(relays, []);
    assert!(
        matches!(
            failures[..],
            [(Transport::Tcp, GatherFailure::Relay(turn::Error::Credentials(_)))]
        ),
        "{failures:?}"
    );
}

/// However often the one starts anew on fresh sockets, the relay of the other goes on, and what
/// carries nothing any more is closed.
#[tokio::test]
async fn a_connection_over_a_relay_keeps_its_socket_and_no_others() {
    let server = server().await;
    let url = format!("turn:{}?transport=udp", server.address());
    let node = || async { through(&server, &url).bind().await.unwrap() };
    let (left, right, third) = (node().await, node().await, node().await);
    let (near, far) = connect(&left, &right).await;
    let (moving, other) = connect(&left, &third).await;
    for connection in [&near, &far, &moving, &other] {
        settled(connection).await;
    }
    for _ in 0..4 {
        moving.rebind().await;
        bounded(moving.ready()).await.unwrap();
        settled(&moving).await;
    }
    let bound = left.local_addresses().len();
    assert!(bound <= 3, "{bound} sockets");
    say(&near, &far, b"still here").await;
    say(&far, &near, b"so am I").await;
    say(&moving, &other, b"moved").await;
}

/// Waits until a pair was settled on.
async fn settled(connection: &floe::Connection) {
    bounded(async {
        while connection.state() != floe::AgentState::Completed {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
