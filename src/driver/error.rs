//! What can go wrong, and what to do about it.

use core::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use super::interfaces::InterfaceError;
use crate::event::{AgentState, FailedPair};
use crate::sdp::{CandidateError, ParseError};
use crate::signaling::SignalError;
use crate::{CandidateRejected, DescriptionRejected};

/// Why a node could not be bound.
#[derive(Debug)]
#[non_exhaustive]
pub enum BindError {
    /// No address of this machine is usable under the policy: loosen it.
    Interfaces(InterfaceError),
    /// The address is a wildcard or multicast: name an address of this machine.
    NotConcrete(IpAddr),
    /// The socket could not be bound: choose another port or an address of this machine.
    Socket {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The system gave no random octets: give a seed.
    Entropy,
    /// Not within a tokio runtime with I/O and time enabled.
    NoRuntime,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interfaces(error) => error.fmt(f),
            Self::NotConcrete(ip) => {
                write!(f, "{ip} is not one address; bind to an address of this machine")
            }
            Self::Socket { address, error } => write!(
                f,
                "cannot bind to {address} ({error}); choose a free port and an address of this \
                 machine"
            ),
            Self::Entropy => f.write_str("the system gave no random octets; give a seed"),
            Self::NoRuntime => f.write_str("not in a tokio runtime; call from within one"),
        }
    }
}

impl core::error::Error for BindError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Interfaces(error) => Some(error),
            Self::Socket { error, .. } => Some(error),
            Self::NotConcrete(_) | Self::Entropy | Self::NoRuntime => None,
        }
    }
}

/// What is known about a connection that did not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailureReport {
    /// The state that it ended in.
    pub state: AgentState,
    /// Whether the peer's description arrived.
    pub described: bool,
    /// How many candidates we had.
    pub local_candidates: usize,
    /// How many candidates the peer had.
    pub remote_candidates: usize,
    /// How many pairs were made.
    pub pairs: usize,
    /// The pairs that failed, each with the reason.
    pub failures: Vec<FailedPair>,
}

impl fmt::Display for FailureReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.described {
            return f.write_str("the peer's description never came; check the signalling");
        }
        if self.local_candidates == 0 {
            return f.write_str("we found no candidate; check interfaces and policy");
        }
        if self.remote_candidates == 0 {
            return f.write_str("the peer signalled no candidate; check its network");
        }
        write!(
            f,
            "{} of our candidates and {} of the peer's made {} pairs, and none works",
            self.local_candidates, self.remote_candidates, self.pairs
        )?;
        for pair in self.failures.iter().take(4) {
            write!(f, "; {} to {}: {:?}", pair.local, pair.remote, pair.reason)?;
        }
        if self.failures.len() > 4 {
            write!(f, "; and {} more", self.failures.len() - 4)?;
        }
        Ok(())
    }
}

/// Why a connection did not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// Checks failed on every pair: the report says which and why.
    Failed(Box<FailureReport>),
    /// Nothing worked within the time allowed; see
    /// [`NodeBuilder::connect_timeout`](super::NodeBuilder::connect_timeout).
    TimedOut(Box<FailureReport>),
    /// Signalling ended before the peer had described itself: check that the peer runs.
    SignalingEnded,
    /// The connection or its node was closed.
    Closed,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(report) => write!(f, "no path to the peer: {report}"),
            Self::TimedOut(report) => write!(f, "no path to the peer in time: {report}"),
            Self::SignalingEnded => f.write_str(
                "signalling ended before the peer had described itself; check that the peer runs",
            ),
            Self::Closed => f.write_str("the connection was closed"),
        }
    }
}

impl core::error::Error for ConnectError {}

/// Why a datagram was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransmitError {
    /// No pair can carry data yet, or none any more: await
    /// [`Connection::ready`](super::Connection::ready), or restart.
    NotReady,
    /// The peer's consent expired: restart. [RFC 7675]
    ConsentExpired,
    /// The agent has no such component.
    UnknownComponent,
    /// The datagram is longer than the path carries: send less at a time.
    TooLong,
    /// The datagram begins as a STUN message does, or, where the endpoint is configured for known
    /// protocols alone ([`DataClass::KnownProtocol`](crate::config::DataClass)), as none of them:
    /// the peer would not take it for data. Put another octet first. [rfc7983-7-1a]
    NotData,
    /// The connection is closed.
    Closed,
}

impl fmt::Display for TransmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotReady => "no pair can carry data now",
            Self::ConsentExpired => "the peer's consent expired; restart",
            Self::UnknownComponent => "the agent has no such component",
            Self::TooLong => "the datagram is longer than the path carries",
            Self::NotData => {
                "the peer would not take the datagram for data; put another octet first"
            }
            Self::Closed => "the connection is closed",
        })
    }
}

impl core::error::Error for TransmitError {}

/// The connection is closed: nothing will be received any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is closed")
    }
}

impl core::error::Error for Closed {}

/// Why a signal of the peer was not used. The connection goes on without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignalRejected {
    /// It is not a signal.
    Message(SignalError),
    /// The SDP does not scan.
    Sdp(ParseError),
    /// The candidate does not scan.
    CandidateLine(CandidateError),
    /// The description cannot be used.
    Description(DescriptionRejected),
    /// The candidate cannot be used.
    Candidate(CandidateRejected),
    /// An answer came that was not asked for: send an offer first, and one answer to each.
    UnexpectedAnswer,
    /// Both sides offered at once, and ours stands: the peer answers it.
    Glare,
    /// Candidates came before a description, and more than are kept.
    TooEarly,
}

impl fmt::Display for SignalRejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(error) => error.fmt(f),
            Self::Sdp(error) => write!(f, "the SDP does not scan: {error}"),
            Self::CandidateLine(error) => write!(f, "the candidate does not scan: {error}"),
            Self::Description(error) => write!(f, "the description is not usable: {error}"),
            Self::Candidate(error) => write!(f, "the candidate is not usable: {error}"),
            Self::UnexpectedAnswer => {
                f.write_str("no answer is awaited; send an offer first, and one answer to each")
            }
            Self::Glare => f.write_str("both sides offered at once; answer the offer you got"),
            Self::TooEarly => {
                f.write_str("too many candidates before a description; send it first")
            }
        }
    }
}

impl core::error::Error for SignalRejected {}
