//! floe is ICE (RFC 8445): what gets two peers a direct, authenticated path through NATs and
//! firewalls.
//!
//! There are two ways in:
//!
//! - With the feature `tokio` (default): [`Node`] binds sockets, and a [`Connection`] is a socket
//!   that reaches the other side, over any [`Signaling`](signaling::Signaling).
//! - Without IO: an [`Endpoint`] is handed datagrams and the time, and asked for packets and
//!   events. It reads no clock, opens no socket, and draws its randomness from one seed: equal
//!   seeds and calls give equal octets.
//!
//! # The drive loop
//!
//! After every call on an [`Endpoint`], ask [`poll_transmit`](Endpoint::poll_transmit) and
//! [`poll_event`](Endpoint::poll_event) until there is nothing; then sleep until
//! [`poll_timeout`](Endpoint::poll_timeout) or the next datagram. Read what the sockets hold before
//! firing a timeout that is due. With TURN servers that are reached over TCP, TLS or DTLS, ask
//! [`poll_connect`](Endpoint::poll_connect) too.
//!
//! ```
//! use std::sync::Arc;
//! use floe::config::{AgentConfig, EndpointConfig, Role};
//! use floe::{ComponentId, Endpoint, Event, Instant, Received, Socket};
//!
//! // Two endpoints that are wired to each other.
//! let mut now = Instant::ZERO;
//! let addresses = ["192.0.2.1:4000", "192.0.2.2:4000"].map(|a| a.parse().unwrap());
//! let mut ends = [1, 2].map(|seed| Endpoint::new(now, Arc::new(EndpointConfig::default()), [seed; 32]));
//! let sockets = [0, 1].map(|i| ends[i].add_socket(now, Socket::udp(addresses[i])));
//! let roles = [Role::Controlling, Role::Controlled];
//! let agents = [0, 1].map(|i| ends[i].add_agent(now, AgentConfig::new(roles[i])));
//!
//! // Signalling: each learns the other's description (`Description::to_sdp` writes it as SDP).
//! let offer = ends[0].agent(agents[0]).unwrap().local_description();
//! let answer = ends[1].agent(agents[1]).unwrap().local_description();
//! ends[1].agent_mut(now, agents[1]).unwrap().set_remote_description(&offer)?;
//! ends[0].agent_mut(now, agents[0]).unwrap().set_remote_description(&answer)?;
//!
//! let mut selected = [false; 2];
//! while selected != [true; 2] {
//!     for from in 0..2 {
//!         let mut buf = [0; floe::MIN_TRANSMIT];
//!         ends[from].handle_timeout(now);
//!         while let Some(transmit) = ends[from].poll_transmit(now, &mut buf) {
//!             let to = 1 - from;
//!             let received = ends[to].handle_datagram(now, sockets[to], addresses[from], &buf[transmit.range]);
//!             assert_eq!(received, Received::Handled);
//!         }
//!         while let Some(event) = ends[from].poll_event() {
//!             selected[from] |= matches!(event, Event::Selected { component: ComponentId::FIRST, .. });
//!         }
//!     }
//!     now = ends.iter().filter_map(Endpoint::poll_timeout).min().unwrap_or(now);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The map
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | every knob with its unit, default and clause |
//! | [`event`], [`stats`] | what the core reports |
//! | [`net`] | sockets, agents, packets, reasons for drops |
//! | [`candidate`], [`sdp`] | candidates and descriptions, and their text |
//! | [`stun`] | the STUN codec, for those who need it |
//! | [`turn`] | the TURN client, for those who want a relay without ICE |
//! | [`framing`] | finding the messages in a stream |
//! | `probe` | clients of protocols beside ICE: multicast DNS |
//! | [`demux`] | which protocol a datagram belongs to |
//! | [`signaling`] | what peers tell each other, and how it travels |
//! | `driver` | tokio: nodes and connections |
//! | `adapters` | where floe meets other crates |
#![cfg_attr(
    not(feature = "cli"),
    allow(
        rustdoc::broken_intra_doc_links,
        reason = "what a feature brings is linked from elsewhere"
    )
)]

#[cfg(any(feature = "sdp", feature = "webrtc-util"))]
pub mod adapters;
mod agent;
#[cfg(not(feature = "canary"))]
mod canary;
#[cfg(feature = "canary")]
#[doc(hidden)]
pub mod canary;
pub mod candidate;
pub mod config;
pub mod demux;
#[cfg(feature = "tokio")]
pub mod driver;
mod endpoint;
pub mod event;
pub mod framing;
mod gather;
pub mod net;
#[cfg(feature = "mdns")]
pub mod probe;
mod rng;
pub mod sdp;
pub mod signaling;
pub mod stats;
pub mod stun;
mod time;
pub mod turn;

pub use agent::{CandidateRejected, DescriptionRejected, SendError};
#[cfg(feature = "tokio")]
pub use driver::{Connection, ConnectionEvent, Node};
pub use endpoint::{Agent, AgentMut, Endpoint, Header, Route};
pub use event::{AgentState, Event};
pub use gather::{Server, Turn};
pub use net::{
    AgentId, ComponentId, Connect, ConnectFailure, ConnectId, DropReason, HEADROOM, MIN_TRANSMIT,
    Protocol, Received, ServerId, Socket, SocketId, TAILROOM, Transmit, Transport,
};
pub use time::Instant;

/// The examples of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
