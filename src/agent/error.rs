//! What may be wrong with what the application or the peer asks for.

use core::fmt;

/// Why a remote candidate was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CandidateRejected {
    /// There is no such data stream; streams are numbered in the order of the description.
    UnknownStream,
    /// The component ID is outside 1..=256.
    UnknownComponent,
    /// It belongs to a generation that is not the current one: drop it. [rfc8838-9-p2]
    UnknownGeneration,
    /// The peer had said that no more candidates would come. [rfc8838-14-2]
    AfterEndOfCandidates,
    /// Nothing may be sent there: port 0, an unspecified, multicast or broadcast address, or
    /// loopback where the configuration forbids it.
    AddressNotUsable,
    /// It is a name: resolve it, and hand over the address with
    /// [`AgentMut::add_resolved_candidate`](crate::AgentMut::add_resolved_candidate), at any time in
    /// this generation. The driver does so with the feature `mdns`, for the names that
    /// [`CandidateAddress::mdns_name`](crate::candidate::CandidateAddress::mdns_name) knows.
    UnresolvedName,
    /// The transport is not supported.
    UnsupportedTransport,
    /// There are too many already; [`Limits`](crate::config::Limits) says how many are kept.
    Limit {
        /// The limit.
        max: u16,
    },
}

impl fmt::Display for CandidateRejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownStream => f.write_str("no such data stream"),
            Self::UnknownComponent => f.write_str("no such component"),
            Self::UnknownGeneration => f.write_str("candidate of another generation"),
            Self::AfterEndOfCandidates => f.write_str("candidate after end-of-candidates"),
            Self::AddressNotUsable => f.write_str("address that nothing may be sent to"),
            Self::UnresolvedName => f.write_str("name instead of an address"),
            Self::UnsupportedTransport => f.write_str("unsupported transport"),
            Self::Limit { max } => write!(f, "more than {max} candidates"),
        }
    }
}

impl core::error::Error for CandidateRejected {}

/// Why a remote description was not taken. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DescriptionRejected {
    /// A data stream has no ufrag and password: the peer does not use ICE for it.
    NoCredentials {
        /// The stream.
        stream: u16,
    },
    /// The ufrag or password of a data stream is shorter or longer than any may be, or not made
    /// of visible ASCII characters. [rfc8839-5.4-p1]
    InvalidCredentials {
        /// The stream.
        stream: u16,
    },
    /// The peer found that ICE cannot be used for the stream. [rfc8839-4.2.5-5a]
    Mismatch {
        /// The stream.
        stream: u16,
    },
    /// The peer restarts more often than the configuration allows: close the agent or wait.
    TooManyRestarts,
    /// `ice-lite` changed without new credentials. [rfc8839-4.4.2.1-4]
    ChangedWithoutRestart,
    /// We restarted, and it has the credentials from before: it answers an earlier offer. Wait for
    /// the next one; once [`RestartReason::NotAnswered`](crate::event::RestartReason) was told, it
    /// is taken. [rfc8839-4.4.2.1-1b]
    Outdated,
    /// The agent is closed.
    Closed,
}

impl fmt::Display for DescriptionRejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCredentials { stream } => {
                write!(f, "no ice-ufrag and ice-pwd for data stream {stream}")
            }
            Self::InvalidCredentials { stream } => {
                write!(f, "ice-ufrag or ice-pwd of data stream {stream} is no valid one")
            }
            Self::Mismatch { stream } => write!(f, "ice-mismatch for data stream {stream}"),
            Self::TooManyRestarts => f.write_str("too many restarts by the peer"),
            Self::ChangedWithoutRestart => f.write_str("ice-lite changed without a restart"),
            Self::Outdated => f.write_str("it is from before the restart"),
            Self::Closed => f.write_str("agent is closed"),
        }
    }
}

impl core::error::Error for DescriptionRejected {}

/// Why nothing can be sent for a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// There is no such agent.
    UnknownAgent,
    /// The agent has no such component.
    UnknownComponent,
    /// No pair works yet: wait for [`Event::Sendable`](crate::Event::Sendable).
    NotReady,
    /// The peer's consent expired: restart. [rfc7675-5.1-1]
    ConsentExpired,
    /// The agent is closed.
    Closed,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownAgent => "no such agent",
            Self::UnknownComponent => "no such component",
            Self::NotReady => "no pair works yet",
            Self::ConsentExpired => "the peer's consent expired",
            Self::Closed => "agent is closed",
        })
    }
}

impl core::error::Error for SendError {}
