//! `floe::Node` with coturn: ICE over relays alone, on every transport.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use floe::candidate::CandidateKind;
use floe::config::CandidatePolicy;
use floe::driver::NodeBuilder;
use floe::event::GatherFailure;
use floe::signaling::memory;
use floe::stun::GiveUp;
use floe::{ConnectFailure, Connection, ConnectionEvent, Node};
use lab::{CLIENTS, CLIENTS6, Coturn, NAME, Network, PASSWORD, SERVERS, SERVERS6, USER};
use tokio::time::timeout;

use crate::common::{DATAGRAM, datagram};

/// How long anything may take that works.
pub const SOON: Duration = Duration::from_secs(10);

/// A node on this address that uses relays alone, and trusts the lab.
fn relay_only(coturn: &Coturn, ip: impl Into<IpAddr>, urls: &[&str]) -> NodeBuilder {
    let node = Node::builder()
        .address((ip.into(), 0).into())
        .agent(|agent| agent.policy = CandidatePolicy::Relay)
        .tls_roots(coturn.authority().root.as_bytes())
        .expect("a root");
    urls.iter().fold(node, |node, url| node.turn(url, USER, PASSWORD).expect("a URL"))
}

/// Connects two nodes; both are returned, as they end with their last handle.
async fn meet(left: NodeBuilder, right: NodeBuilder) -> [Connection; 2] {
    let (near, far) = memory::pair(16);
    let left = left.bind().await.expect("sockets");
    let right = right.bind().await.expect("sockets");
    let both = async { tokio::try_join!(left.connect(near), right.accept(far)) };
    let (left, right) = timeout(2 * SOON, both).await.expect("in time").expect("a connection");
    [left, right]
}

/// Sends so many datagrams each way, and asserts that each arrives once and in order.
pub async fn assert_carries(ends: &[Connection; 2], count: usize) {
    let mut buffer = [0; 1500];
    for number in 0..count {
        let data = datagram(number, DATAGRAM);
        for (from, to) in [(0, 1), (1, 0)] {
            ends[from].send(&data).await.expect("a usable pair");
            let received = timeout(SOON, ends[to].recv(&mut buffer)).await;
            let len = received.expect("in time").expect("open");
            assert_eq!(buffer[..len], data, "datagram {number}");
        }
    }
}

/// Waits for the selected pair, which data did not wait for, and asserts that it is our relay's.
async fn assert_relayed(end: &Connection) {
    let deadline = Instant::now() + SOON;
    let pair = loop {
        if let Some(pair) = end.selected() {
            break pair;
        }
        assert!(Instant::now() < deadline, "no selected pair");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(pair.local.kind, CandidateKind::Relayed, "{pair:?}");
    assert!(
        SERVERS.iter().any(|ip| pair.local.address.ip() == *ip)
            || SERVERS6.iter().any(|ip| pair.local.address.ip() == *ip)
    );
}

/// Waits for the first server that gives nothing.
async fn gather_failure(node: NodeBuilder) -> GatherFailure {
    let (near, _far) = memory::pair(16);
    let node = node.bind().await.expect("sockets");
    let config = node.agent_config(floe::config::Role::Controlling);
    let connection = node.open(config, near);
    let mut events = connection.events();
    let failure = async {
        loop {
            match events.next().await.expect("open") {
                ConnectionEvent::GatheringFailed { reason, .. } => break reason,
                ConnectionEvent::Gathered { kind: CandidateKind::Relayed, address, .. } => {
                    panic!("a relay: {address}")
                }
                _ => {}
            }
        }
    };
    timeout(SOON, failure).await.expect("in time")
}

async fn two_nodes_meet_over_relays(urls: [String; 2]) {
    let network = Network::enter();
    let coturn = Coturn::start(&network, &[]);
    let [url, url6] = &urls;
    let ends =
        meet(relay_only(&coturn, CLIENTS[0], &[url]), relay_only(&coturn, CLIENTS[1], &[url]))
            .await;
    assert_carries(&ends, 500).await;
    assert_relayed(&ends[0]).await;
    assert_relayed(&ends[1]).await;
    let ends =
        meet(relay_only(&coturn, CLIENTS6[0], &[url6]), relay_only(&coturn, CLIENTS6[1], &[url6]))
            .await;
    assert_carries(&ends, 500).await;
    assert_relayed(&ends[0]).await;
    assert_relayed(&ends[1]).await;
}

/// The URLs of the server by its addresses.
fn urls(scheme: &str, server: SocketAddr, server6: SocketAddr, transport: &str) -> [String; 2] {
    [server, server6].map(|server| format!("{scheme}:{server}?transport={transport}"))
}

#[tokio::test]
async fn two_nodes_meet_over_relays_reached_over_udp() {
    two_nodes_meet_over_relays(urls("turn", Coturn::PLAIN, Coturn::PLAIN6, "udp")).await;
}

#[tokio::test]
async fn two_nodes_meet_over_relays_reached_over_tcp() {
    two_nodes_meet_over_relays(urls("turn", Coturn::PLAIN, Coturn::PLAIN6, "tcp")).await;
}

/// The certificate is for the addresses.
#[tokio::test]
async fn two_nodes_meet_over_relays_reached_over_tls() {
    two_nodes_meet_over_relays(urls("turns", Coturn::SECURE, Coturn::SECURE6, "tcp")).await;
}

#[tokio::test]
async fn two_nodes_meet_over_relays_reached_over_dtls() {
    two_nodes_meet_over_relays(urls("turns", Coturn::SECURE, Coturn::SECURE6, "udp")).await;
}

/// The certificate is for the name.
#[tokio::test]
async fn a_server_is_reached_over_tls_by_its_name() {
    let network = Network::enter();
    let coturn = Coturn::start(&network, &[]);
    let url = format!("turns:{NAME}");
    let ends =
        meet(relay_only(&coturn, CLIENTS[0], &[&url]), relay_only(&coturn, CLIENTS[1], &[&url]))
            .await;
    assert_carries(&ends, 10).await;
    assert_relayed(&ends[0]).await;
    assert_relayed(&ends[1]).await;
}

/// Not even without TLS, which that server speaks too.
#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let network = Network::enter();
    let coturn = Coturn::start(&network, &[]);
    for transport in ["tcp", "udp"] {
        let url = format!("turns:other.{NAME}?transport={transport}");
        let failure = gather_failure(relay_only(&coturn, CLIENTS[0], &[&url])).await;
        assert_eq!(failure, GatherFailure::Connect(ConnectFailure::Certificate), "{url}");
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &[]);
    let node = Node::builder()
        .address((CLIENTS[0], 0).into())
        .tls_roots(lab::Authority::new().root.as_bytes())
        .expect("a root")
        .turn(&format!("turns:{NAME}"), USER, PASSWORD)
        .expect("a URL");
    let failure = gather_failure(node).await;
    assert_eq!(failure, GatherFailure::Connect(ConnectFailure::Certificate));
}

#[tokio::test]
async fn wrong_credentials_are_named() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &[]);
    let node = Node::builder()
        .address((CLIENTS[0], 0).into())
        .turn(&format!("turn:{}", Coturn::PLAIN), USER, "not-the-password")
        .expect("a URL");
    let wrong = floe::turn::Error::Credentials(GiveUp::Credentials);
    assert_eq!(gather_failure(node).await, GatherFailure::Relay(wrong));
}

#[tokio::test]
async fn a_quota_that_is_reached_is_named() {
    let network = Network::enter();
    let coturn = Coturn::start(&network, &["user-quota=1"]);
    let url = format!("turn:{}", Coturn::PLAIN);
    let _first = crate::common::start(crate::common::config()).allocated();
    let failure = gather_failure(relay_only(&coturn, CLIENTS[0], &[&url])).await;
    assert_eq!(failure, GatherFailure::Relay(floe::turn::Error::Quota));
}

/// UDP is tried first, and nobody answers there: TCP gives the relay well before UDP gives up.
#[tokio::test]
async fn without_udp_to_the_server_tcp_stands_in() {
    let network = Network::enter();
    let coturn = Coturn::start(&network, &["no-udp"]);
    let (udp, tcp) =
        (format!("turn:{}", Coturn::PLAIN), format!("turn:{}?transport=tcp", Coturn::PLAIN));
    let start = Instant::now();
    let ends = meet(
        relay_only(&coturn, CLIENTS[0], &[&udp, &tcp]),
        relay_only(&coturn, CLIENTS[1], &[&udp, &tcp]),
    )
    .await;
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert_carries(&ends, 10).await;
    assert_relayed(&ends[0]).await;
    assert_relayed(&ends[1]).await;
}

/// One with a relay, the other with host candidates.
#[tokio::test]
async fn a_relay_meets_a_host_and_two_thousand_datagrams_pass_each_way() {
    let network = Network::enter();
    let coturn = Coturn::start(&network, &[]);
    let host = Node::builder().address((CLIENTS[1], 0).into());
    let url = format!("turn:{}", Coturn::PLAIN);
    let ends = meet(relay_only(&coturn, CLIENTS[0], &[&url]), host).await;
    assert_carries(&ends, 2000).await;
    assert_relayed(&ends[0]).await;
}

/// Nobody tells the nodes; they find out by their own, and meet again on new relays.
#[tokio::test]
async fn a_connection_outlives_a_restart_of_the_server() {
    let network = Network::enter();
    let mut coturn = Coturn::start(&network, &[]);
    let url = format!("turn:{}", Coturn::PLAIN);
    let ends =
        meet(relay_only(&coturn, CLIENTS[0], &[&url]), relay_only(&coturn, CLIENTS[1], &[&url]))
            .await;
    assert_carries(&ends, 10).await;
    coturn.restart(&network);

    let restarted = Instant::now();
    let mut buffer = [0; 1500];
    loop {
        assert!(restarted.elapsed() < Duration::from_secs(30), "{:?}", ends[1].stats());
        let _ = ends[0].send(b"are you there?").await;
        let wait = Duration::from_millis(250);
        if timeout(wait, ends[1].recv(&mut buffer)).await.is_ok_and(|received| received.is_ok()) {
            break;
        }
    }
    while timeout(SOON / 10, ends[1].recv(&mut buffer)).await.is_ok() {}
    assert_carries(&ends, 10).await;
}

/// An hour is too long for a test: a minute with a nonce that lives for seven seconds.
#[tokio::test]
async fn a_connection_over_relays_lives_on_with_nonces_that_go_stale() {
    let network = Network::enter();
    let coturn = Coturn::start(&network, &["max-allocate-lifetime=60", "stale-nonce=7"]);
    let url = format!("turn:{}?transport=tcp", Coturn::PLAIN);
    let ends =
        meet(relay_only(&coturn, CLIENTS[0], &[&url]), relay_only(&coturn, CLIENTS[1], &[&url]))
            .await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(66) {
        assert_carries(&ends, 1).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_relayed(&ends[0]).await;
    assert_relayed(&ends[1]).await;
}
