//! The tokio driver: sockets, interfaces, clock and entropy around the core.
//!
//! A [`Node`] owns UDP sockets and the task that drives them; any number of [`Connection`]s share
//! them, told apart by the 5-tuples that each authenticated. Two connections between the same two
//! nodes may come to the same 5-tuple: then nothing tells their data apart, and what arrives is
//! dropped, counted ([`DriverStats::unclaimed`]) and warned of once. Use one connection for each
//! pair of nodes, or a node of its own for each. Everything that knows the
//! outside world is here; the core below is reached through its public API alone.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use floe::Node;
//! use floe::signaling::memory;
//!
//! let (near, far) = memory::pair(16);
//! let left = Node::builder().interface("lo").bind().await?;
//! let right = Node::builder().interface("lo").bind().await?;
//! let (left, right) = tokio::try_join!(left.connect(near), right.accept(far))?;
//!
//! left.send(b"hello").await?;
//! let mut buf = [0; 1500];
//! let length = right.recv(&mut buf).await?;
//! assert_eq!(buf.get(..length), Some(&b"hello"[..]));
//! # Ok(()) }
//! ```
//!
//! How it behaves:
//!
//! - One task per node reads its sockets, at most 256 datagrams a turn and the sockets taking
//!   turns, fires timers after reading, and sends. Handles send application data directly.
//! - A full socket keeps its packets and holds up no other; an error of one socket or one
//!   destination is never fatal. What the network calls unreachable fails the pair at once.
//! - All queues are bounded: datagrams that nobody receives are dropped, newest first, and
//!   counted ([`Connection::dropped`]); of events that nobody takes the oldest are dropped.
//! - Connections to TURN servers over TCP, TLS and DTLS, at most 16, are read in turn with the
//!   sockets. A message that was written in part is finished before the next; what finds no room is
//!   dropped whole and counted, and [`Connection::send`] waits for room. A secure connection that
//!   cannot be had is replaced by none.
//! - One task per connection carries on its signalling: offers, answers, trickled candidates, and
//!   the offers of restarts, our own and the peer's. When both sides offer at once, the one whose
//!   ufrag sorts lower yields.
//! - Addresses that the machine gets or loses become sockets that come and go while connections
//!   live, a moment after the system tells of them, or at once on [`Node::network_changed`]. A
//!   connection restarts where that is needed, with the old pair until there is a new one.
//! - With the feature `mdns`, host candidates of the peer that are random names below `.local`, as
//!   browsers have them, are resolved by multicast DNS while all else goes on; for names of our own
//!   ([`NodeBuilder::hide_host_addresses`]) the node answers. Its sockets at port 5353 are open
//!   while there are such names, and no other traffic depends on them.
//! - Dropping the last handle of a connection closes its agent; dropping the last handle of a node
//!   and its connections gives relays back to their servers, for a second at most, ends the task and
//!   closes the sockets.

use core::time::Duration;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::candidate::{Candidate, CandidateKind};
use crate::config::Role;
use crate::event::{AgentState, GatherFailure, RestartReason, SelectedPair};
use crate::net::Transport;

mod builder;
mod changes;
mod clock;
mod connect;
mod connection;
mod dispatch;
#[cfg(feature = "dtls")]
mod dtls;
mod error;
mod inbox;
mod interfaces;
#[cfg(feature = "mdns")]
mod mdns;
mod negotiation;
#[cfg(not(feature = "mdns"))]
mod no_mdns;
mod node;
mod resolve;
mod run;
mod servers;
mod shared;
mod signal;
mod socket;
mod stream;
mod streams;
mod tls;
mod url;
mod watch;
#[cfg(feature = "websocket")]
mod websocket;
#[cfg(feature = "whip")]
mod whip;

pub use builder::{AddressSource, NodeBuilder};
pub use connection::{Connection, Events};
pub use error::{BindError, Closed, ConnectError, FailureReport, SignalRejected, TransmitError};
pub use interfaces::{InterfaceError, InterfacePolicy, LoopbackUse};
pub use node::Node;
pub use servers::ServerError;
#[cfg(feature = "tls")]
pub use tls::RootsError;
pub use url::{Host, STUN_PORT, STUNS_PORT, ServerUrl, StunUrl, TurnUrl, UrlError};
pub use watch::NetworkChange;
#[cfg(feature = "websocket")]
pub use websocket::{JoinError, Room, RoomEvent};
#[cfg(feature = "whip")]
pub use whip::{Whip, WhipEvents};

/// Says whether packets may pass between a local address and a remote one, in both directions; a
/// link-local one has no scope here.
///
/// What may not pass is dropped without a trace, as a firewall would: for policy, for tests, and
/// to show what happens when a path dies. It is called for every packet, so it must be quick and
/// must not call back into the node.
pub type PathFilter = Arc<dyn Fn(SocketAddr, SocketAddr) -> bool + Send + Sync>;

/// What a driver counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DriverStats {
    /// Datagrams that left.
    pub sent: u64,
    /// Datagrams that could not be sent and were dropped.
    pub send_errors: u64,
    /// Datagrams that arrived.
    pub received: u64,
    /// Errors on reading.
    pub receive_errors: u64,
    /// Datagrams that the path filter stopped.
    pub filtered: u64,
    /// Data that arrived on a 5-tuple that no connection authenticated, or more than one: dropped.
    pub unclaimed: u64,
    /// Packets of multicast DNS that left, over all links and families (feature `mdns`).
    pub mdns_sent: u64,
    /// Sockets for multicast DNS that could not be opened: names are neither resolved nor answered
    /// for there.
    pub mdns_failures: u64,
}

impl DriverStats {
    fn count_sent(&mut self, sent: bool) {
        let counter = if sent { &mut self.sent } else { &mut self.send_errors };
        *counter = counter.saturating_add(1);
    }
}

/// Something that happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// We found a candidate.
    LocalCandidate(Candidate),
    /// The peer signalled a candidate.
    RemoteCandidate(Candidate),
    /// All our candidates of this generation are known.
    GatheringComplete,
    /// A server gave no candidate for a socket; gathering goes on without it.
    GatheringFailed {
        /// The server.
        server: SocketAddr,
        /// How it is reached.
        transport: Transport,
        /// The socket.
        local: SocketAddr,
        /// Why.
        reason: GatherFailure,
    },
    /// A server gave an address for a socket.
    Gathered {
        /// The server.
        server: SocketAddr,
        /// How it is reached.
        transport: Transport,
        /// The socket; a link-local one with its scope.
        local: SocketAddr,
        /// Server-reflexive or relayed.
        kind: CandidateKind,
        /// The address.
        address: SocketAddr,
        /// From the first packet to the answer.
        took: Duration,
    },
    /// The state of the agent changed.
    State(AgentState),
    /// Data can be sent.
    Sendable,
    /// A pair, or another one, was selected.
    Selected(SelectedPair),
    /// A new generation began.
    Restarting {
        /// Whether the peer asked for it.
        by_peer: bool,
    },
    /// A restart would help; the connection does it by itself where
    /// [`NodeBuilder::auto_restart`] says so.
    RestartRecommended(RestartReason),
    /// The role was switched to end a conflict.
    RoleChanged(Role),
    /// A signal of the peer was not used.
    SignalRejected(SignalRejected),
    /// Nothing can be signalled to the peer or by it any more. The connection goes on, but cannot
    /// restart.
    SignalingEnded,
}
