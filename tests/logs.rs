//! What is logged: a span for each agent, no addresses unless asked for, never a secret.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "sim/log.rs"]
mod log;

use std::net::SocketAddr;
use std::sync::Arc;

use floe::config::{AgentConfig, EndpointConfig, Role};
use floe::{ComponentId, Endpoint, Instant, Received, Socket};
use log::Log;

/// Connects two agents, restarts one, sends junk to it, and returns all that was logged and all
/// the passwords there were.
fn log_of(show: bool) -> (String, Vec<String>) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .without_time()
        .with_writer(move || writer.clone())
        .finish();
    let passwords = tracing::subscriber::with_default(subscriber, || connect(show));
    (log.text(), passwords)
}

fn connect(show: bool) -> Vec<String> {
    let addresses: [SocketAddr; 2] =
        ["192.0.2.77:4711", "[2001:db8::77]:4712"].map(|text| text.parse().unwrap());
    let mut now = Instant::ZERO;
    let mut ends =
        [1, 2].map(|seed| Endpoint::new(now, Arc::new(EndpointConfig::default()), [seed; 32]));
    let mut sockets = Vec::new();
    let mut agents = Vec::new();
    for (end, role) in ends.iter_mut().zip([Role::Controlling, Role::Controlled]) {
        let mut config = AgentConfig::new(role);
        config.log_addresses = show;
        // Each end has the same two addresses, as two hosts of a test may.
        sockets.push(addresses.map(|address| end.add_socket(now, Socket::udp(address))));
        agents.push(end.add_agent(now, config));
    }
    let mut passwords = Vec::new();
    for round in 0..2 {
        if round == 1 {
            ends[0].agent_mut(now, agents[0]).unwrap().restart();
        }
        for from in 0..2 {
            let description = ends[from].agent(agents[from]).unwrap().local_description();
            passwords.push(description.streams[0].credentials.clone().unwrap().password);
            let to = 1 - from;
            let mut agent = ends[to].agent_mut(now, agents[to]).unwrap();
            agent.set_remote_description(&description).unwrap();
        }
        let until = now + std::time::Duration::from_secs(20);
        while now < until {
            for from in 0..2 {
                let mut buf = [0; floe::MIN_TRANSMIT];
                ends[from].handle_timeout(now);
                while let Some(transmit) = ends[from].poll_transmit(now, &mut buf) {
                    let index = sockets[from].iter().position(|id| *id == transmit.socket).unwrap();
                    let to = 1 - from;
                    let target = addresses.iter().position(|a| *a == transmit.to).unwrap();
                    let socket = sockets[to][target];
                    let _ = ends[to].handle_datagram(
                        now,
                        socket,
                        addresses[index],
                        &buf[transmit.range],
                    );
                }
                while ends[from].poll_event().is_some() {}
            }
            now = ends.iter().filter_map(Endpoint::poll_timeout).min().unwrap();
        }
    }
    let junk = ends[0].handle_datagram(now, sockets[0][0], addresses[0], &[0, 1, 2, 3]);
    assert!(matches!(junk, Received::Dropped(_)));
    assert!(ends[0].agent(agents[0]).unwrap().selected(ComponentId::FIRST).is_some());
    passwords
}

#[test]
fn secrets_and_addresses_are_not_logged() {
    let (text, passwords) = log_of(false);
    assert!(text.contains("agent{id=0.0}"), "{text}");
    assert!(text.contains("pair selected"), "{text}");
    for secret in &passwords {
        assert!(!text.contains(secret.as_str()));
    }
    for address in ["192.0.2.77", "2001:db8"] {
        assert!(!text.contains(address), "{text}");
    }
}

#[test]
fn addresses_are_logged_where_the_configuration_says_so() {
    let (text, passwords) = log_of(true);
    assert!(text.contains("192.0.2.77:4711") || text.contains("[2001:db8::77]:4712"), "{text}");
    for secret in &passwords {
        assert!(!text.contains(secret.as_str()));
    }
}
