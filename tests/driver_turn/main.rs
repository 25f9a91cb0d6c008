//! The driver with TURN servers, over real sockets on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]
#![cfg(feature = "tls")]

mod certificates;
mod front;
mod relays;
mod streams;
mod talk;
#[allow(dead_code, reason = "the tool and other tests use more of it")]
#[path = "../../src/bin/floe/turn_server.rs"]
mod turn_server;
mod urls;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use floe::candidate::CandidateKind;
use floe::config::{CandidatePolicy, Role};
use floe::driver::{Events, NodeBuilder};
use floe::event::GatherFailure;
use floe::signaling::memory;
use floe::{ConnectionEvent, Node, Transport};
use talk::{bounded, connect, say};
use turn_server::{Options, TurnServer};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

async fn server() -> TurnServer {
    TurnServer::start(Options::new(LOCALHOST).unwrap()).await.unwrap()
}

/// A node on loopback that uses relays alone.
fn relay_only() -> NodeBuilder {
    Node::builder()
        .address(SocketAddr::new(LOCALHOST, 0))
        .agent(|agent| agent.policy = CandidatePolicy::Relay)
}

/// The same with the credentials of `server` at `url`.
fn through(server: &TurnServer, url: &str) -> NodeBuilder {
    relay_only().turn(url, server.username(), server.password()).unwrap()
}

/// What gathering of a connection of `node` comes to: relayed addresses, and failures.
async fn gather(node: &Node) -> (Vec<(Transport, SocketAddr)>, Vec<(Transport, GatherFailure)>) {
    let (near, _far) = memory::pair(16);
    let connection = node.open(node.agent_config(Role::Controlling), near);
    let mut events: Events = connection.events();
    let (mut relays, mut failures) = (Vec::new(), Vec::new());
    bounded(async {
        loop {
            match events.next().await.expect("closed") {
                ConnectionEvent::Gathered {
                    transport,
                    kind: CandidateKind::Relayed,
                    address,
                    ..
                } => relays.push((transport, address)),
                ConnectionEvent::GatheringFailed { transport, reason, .. } => {
                    failures.push((transport, reason));
                }
                ConnectionEvent::GatheringComplete => return,
                _ => {}
            }
        }
    })
    .await;
    (relays, failures)
}
