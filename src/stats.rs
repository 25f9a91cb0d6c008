//! Statistics in the shape of W3C's `RTCIceCandidatePairStats` and `RTCIceCandidateStats`.

use core::time::Duration;
use std::net::SocketAddr;

use crate::candidate::CandidateKind;
use crate::net::{ComponentId, DropReason};
use crate::time::Instant;

/// The state of a pair. [RFC 8445 §6.1.2.6]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PairStateKind {
    /// Not checked yet, and not to be checked before another of its foundation.
    Frozen,
    /// To be checked.
    Waiting,
    /// A check is under way.
    InProgress,
    /// A check succeeded.
    Succeeded,
    /// The check failed.
    Failed,
}

/// Counters of one pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PairCounters {
    /// Application datagrams sent.
    pub packets_sent: u64,
    /// Application datagrams received.
    pub packets_received: u64,
    /// Application octets sent.
    pub bytes_sent: u64,
    /// Application octets received.
    pub bytes_received: u64,
    /// When the last application datagram was sent.
    pub last_packet_sent: Option<Instant>,
    /// When the last application datagram was received.
    pub last_packet_received: Option<Instant>,
    /// Checks sent, without retransmissions and consent checks.
    pub requests_sent: u32,
    /// Checks received since the pair is known, without those that were refused.
    pub requests_received: u32,
    /// Responses sent to them.
    pub responses_sent: u32,
    /// Responses received.
    pub responses_received: u32,
    /// Consent checks sent.
    pub consent_requests_sent: u32,
    /// Sum of all measured round-trip times.
    pub total_round_trip_time: Duration,
    /// The latest measured round-trip time.
    pub current_round_trip_time: Option<Duration>,
}

/// One pair.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PairStats {
    /// The component that the pair is for.
    pub component: ComponentId,
    /// The state of its checks.
    pub state: PairStateKind,
    /// Whether the pair is nominated.
    pub nominated: bool,
    /// Whether data goes over this pair now.
    pub selected: bool,
    /// The pair priority. [rfc8445-6.1.2.3-p1]
    pub priority: u64,
    /// Our candidate.
    pub local: CandidateStats,
    /// The peer's candidate.
    pub remote: CandidateStats,
    /// The counters.
    pub counters: PairCounters,
}

/// One candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CandidateStats {
    /// The component ID.
    pub component: ComponentId,
    /// The type.
    pub kind: CandidateKind,
    /// The transport address. Where it is hidden the IP address is 0.0.0.0 or ::, and the port the
    /// true one: with a name, resolved or not, and with one that only a check told of while
    /// [`HostAddresses`](crate::config::HostAddresses) or names of the peer's say that host
    /// addresses are not to be known. [mdns-ice-candidates-3.3.1-1a]
    pub address: SocketAddr,
    /// The name in the place of the address, of those that are signalled by one.
    /// [mdns-ice-candidates-3.3.1-1b]
    pub name: Option<String>,
    /// The base, or the related address that the peer gave; hidden likewise.
    pub related: Option<SocketAddr>,
    /// The priority.
    pub priority: u32,
}

/// One agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentStats {
    /// Our candidates of this generation.
    pub local: Vec<CandidateStats>,
    /// The peer's candidates of this generation; names among them whether resolved or not.
    /// [mdns-ice-candidates-3.3.1-3] [mdns-ice-candidates-3.3.1-2]
    pub remote: Vec<CandidateStats>,
    /// The pairs, best first.
    pub pairs: Vec<PairStats>,
    /// How often the selected pair of a component changed.
    pub selected_changes: u32,
}

/// One endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointStats {
    /// STUN messages sent.
    pub stun_sent: u64,
    /// STUN messages received.
    pub stun_received: u64,
    /// Datagrams dropped, by [`DropReason`] in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
}

impl EndpointStats {
    /// Returns how many datagrams were dropped for `reason`.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or(0)
    }

    pub(crate) fn count(&mut self, reason: DropReason) {
        if let Some(counter) = self.dropped.get_mut(reason as usize) {
            *counter += 1;
        }
    }
}
