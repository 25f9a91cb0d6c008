//! TURN (RFC 8656): a client for one server, which relays for us what we send to peers and what
//! they send.
//!
//! A [`Client`] is one allocation: one 5-tuple with a server. It does no I/O and knows no agent. An
//! [`Endpoint`](crate::Endpoint) has one for each socket and server, and makes relayed candidates of
//! them; use it alone for a relay without ICE, or for relayed TCP connections (RFC 6062).

mod answers;
mod client;
mod error;
mod framing;
mod peers;
mod request;
mod tcp;

pub use client::{Client, ClientConfig, Event, Received};
pub use error::{Error, PeerError};
pub use framing::Framing;
pub use tcp::{BindError, ConnectError, ConnectionId, DataConnection};

use core::time::Duration;

/// The lifetime that is asked for, and that the RFC has as default. [RFC 8656 §3.2]
pub const LIFETIME_DEFAULT: Duration = Duration::from_secs(600);

/// Of which families relayed addresses are asked for. [RFC 8656 §7.1]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Families {
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
    /// Both, of one allocation where the server can: else what it gives.
    Both,
}

/// What travels between the server and the peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RelayProtocol {
    /// Datagrams: what ICE uses.
    Udp,
    /// TCP connections. [RFC 6062]
    Tcp,
}
