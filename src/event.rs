//! What the core reports.

use core::fmt;
use core::time::Duration;
use std::net::SocketAddr;

use crate::candidate::{Candidate, CandidateKind};
use crate::net::{AgentId, ComponentId, ConnectFailure, ServerId, SocketId};
use crate::turn;

/// The state of an agent, in the words of `RTCIceTransportState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AgentState {
    /// Nothing is known of the peer.
    New,
    /// Pairs are being checked, and none is valid for some component.
    Checking,
    /// Every component can send; checks or nominations go on.
    Connected,
    /// Every component has its selected pair.
    Completed,
    /// The selected pair of a component stopped answering; this may pass.
    Disconnected,
    /// No data stream has a pair that works for each of its components; a restart helps, or a check
    /// of the peer's that comes yet. That is said of the last restart: what is sent meanwhile goes
    /// over a pair from before it, if one still works. [RFC 8445 §6.1.3, §7.3.1.4, §9]
    Failed,
    /// Closed by the application.
    Closed,
}

/// One end of a selected pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairEnd {
    /// The type of the candidate.
    pub kind: CandidateKind,
    /// Its transport address; where it is hidden the IP address is 0.0.0.0 or ::, as in
    /// [`CandidateStats`](crate::stats::CandidateStats::address).
    pub address: SocketAddr,
    /// Its priority.
    pub priority: u32,
}

/// The pair that a component uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectedPair {
    /// Our end.
    pub local: PairEnd,
    /// The local address that packets leave from, never hidden; a link-local one without its scope.
    pub base: SocketAddr,
    /// The peer's end.
    pub remote: PairEnd,
    /// The latest round-trip time.
    pub rtt: Option<Duration>,
}

/// Why a pair failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PairFailure {
    /// No answer in time.
    Timeout,
    /// The network said that the address cannot be reached.
    Unreachable,
    /// The answer came from another address. [rfc8445-7.2.5.2.1-3]
    Asymmetric,
    /// The peer answered with this STUN error code.
    Refused(u16),
    /// All answers failed the integrity check: the passwords differ.
    Integrity,
    /// The peer withdrew its consent, or it expired. [RFC 7675]
    ConsentLost,
    /// The packets that the configuration allows to addresses that never answered are used up, or
    /// the peers that it allows to a relay.
    Budget,
    /// The TURN server refuses to relay to the address, with this STUN error code.
    RelayRefused(u16),
}

/// A pair and why it failed, for [`Agent::failures`](crate::Agent::failures).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedPair {
    /// The component that the pair was for.
    pub component: ComponentId,
    /// The base that was sent from, hidden like the addresses of candidates.
    pub local: SocketAddr,
    /// The address that was checked, hidden likewise.
    pub remote: SocketAddr,
    /// Why it failed.
    pub reason: PairFailure,
}

/// Why gathering from a server failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GatherFailure {
    /// No answer in time.
    Timeout,
    /// The network said that the server cannot be reached.
    Unreachable,
    /// The server answered with this STUN error code.
    Refused(u16),
    /// The answer had no usable address.
    NoAddress,
    /// The connection to the server could not be opened, or broke.
    Connect(ConnectFailure),
    /// The TURN server gave no relayed address.
    Relay(turn::Error),
    /// There are as many allocations as
    /// [`max_relays`](crate::config::EndpointConfig::max_relays) allows.
    Limit,
}

impl fmt::Display for GatherFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("the server did not answer in time"),
            Self::Unreachable => f.write_str("the network does not reach the server"),
            Self::Refused(code) => write!(f, "the server refuses with code {code}"),
            Self::NoAddress => f.write_str("the answer of the server has no usable address"),
            Self::Connect(failure) => failure.fmt(f),
            Self::Relay(error) => error.fmt(f),
            Self::Limit => f.write_str("there are as many allocations as are allowed"),
        }
    }
}

impl core::error::Error for GatherFailure {}

/// Why a restart would help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RestartReason {
    /// The selected pair, or the direct one that a pair over a relay stands in for, has not answered
    /// for 20 s; consent will expire at 30 s.
    ConsentExpiring,
    /// The selected pair does not answer its verification, and half a second later no other has
    /// taken its place. It may still come back, and is kept until the restart has found another.
    Silent,
    /// The checks failed, the server lost the relay of the selected pair, or the peer cannot be
    /// told of another pair or address otherwise.
    Failed,
    /// The local address of the pair in use is gone and none is in reserve, its path does not
    /// answer after a change of the network, or an address turned up that only a restart makes a
    /// candidate of. Restart on the addresses that there are.
    NetworkChanged,
    /// Our restart was not answered for 10 s, and twice as long each time after that, five times:
    /// signal the same description again.
    NotAnswered,
}

/// Something that the application may want to know. Each is reported once, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A candidate to be signalled to the peer, in this order.
    LocalCandidate {
        /// Whose it is.
        agent: AgentId,
        /// The data stream that it belongs to.
        stream: u16,
        /// The candidate.
        candidate: Candidate,
    },
    /// All local candidates of this generation are known: signal end-of-candidates.
    GatheringComplete {
        /// Whose gathering it was.
        agent: AgentId,
    },
    /// A server gave no candidate for a socket. Gathering goes on without it.
    GatheringFailed {
        /// The server.
        server: ServerId,
        /// The socket.
        socket: SocketId,
        /// Why.
        reason: GatherFailure,
    },
    /// A server gave an address for a socket: one event for each.
    Gathered {
        /// The server.
        server: ServerId,
        /// The socket; for TCP, TLS and DTLS the one whose interface the connection uses.
        socket: SocketId,
        /// Server-reflexive or relayed.
        kind: CandidateKind,
        /// The address.
        address: SocketAddr,
        /// From the first packet, or the start of the connection, to the answer.
        took: Duration,
    },
    /// The state of an agent changed.
    State {
        /// Whose state it is.
        agent: AgentId,
        /// The new state.
        state: AgentState,
    },
    /// A component can send now: [`Endpoint::route`](crate::Endpoint::route) succeeds.
    Sendable {
        /// Whose component it is.
        agent: AgentId,
        /// The component.
        component: ComponentId,
    },
    /// A component selected a pair, or another one.
    Selected {
        /// Whose component it is.
        agent: AgentId,
        /// The component.
        component: ComponentId,
        /// The pair.
        pair: SelectedPair,
    },
    /// The peer's description rejects a data stream, or says that ICE cannot be used for it: floe is
    /// done with it, and the others go on. [RFC 8839 §4.4.3]
    StreamRemoved {
        /// Whose stream it was.
        agent: AgentId,
        /// The stream, counted from 0.
        stream: u16,
    },
    /// Two lite agents had a choice of pairs, and ours counts: signal
    /// [`Agent::subsequent_offer`](crate::Agent::subsequent_offer); the answer to it completes.
    /// [RFC 8445 §8.2]
    OfferNeeded {
        /// Whose offer it is.
        agent: AgentId,
    },
    /// The peer restarted ICE: signal our new description to it.
    RestartedByPeer {
        /// Whose peer it was.
        agent: AgentId,
    },
    /// A restart would help: call [`AgentMut::restart`](crate::AgentMut::restart) and signal the
    /// new description.
    RestartRecommended {
        /// Who needs it.
        agent: AgentId,
        /// Why.
        reason: RestartReason,
    },
    /// The role was switched to end a conflict. [RFC 8445 §7.3.1.1]
    RoleChanged {
        /// Whose role it is.
        agent: AgentId,
        /// The role from now on.
        role: crate::config::Role,
    },
}
