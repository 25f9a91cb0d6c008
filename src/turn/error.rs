//! What goes wrong with a TURN server, and whose fault it is.

use core::fmt;
use core::time::Duration;

use crate::stun::GiveUp;

/// Why there is no allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Error {
    /// No answer in time: the server is down, or the network drops the packets.
    Timeout,
    /// The server does not take our answer to its challenge; with [`GiveUp::Credentials`] username
    /// or password are wrong.
    Credentials(GiveUp),
    /// Answers came whose integrity was wrong: somebody interferes, or the server is broken.
    Integrity,
    /// 403: the server allows no relay for us.
    Forbidden,
    /// 437 again and again: something else uses the 5-tuple.
    Mismatch,
    /// 440: the server has no address of the family.
    Family,
    /// 442: the server relays no such transport.
    Protocol,
    /// 486: the user has as many allocations as allowed.
    Quota,
    /// 508: the server has no address or port left.
    Capacity,
    /// 300 to nowhere, to a server that was tried, or from a secure transport to another.
    Redirect,
    /// Another error code.
    Refused(u16),
    /// The answer has no address that can be used, of a family that was asked for, or says more
    /// than we understand.
    NoAddress,
    /// Credentials and challenge are too long for a datagram.
    TooLong,
}

impl Error {
    /// How long to leave the server alone, if asking it again makes sense at all before somebody
    /// changes something. [rfc8656-7.4-10] [rfc8656-7.4-14] [rfc8656-7.4-16]
    #[must_use]
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Timeout => Some(Duration::ZERO),
            Self::Mismatch => Some(Duration::from_secs(120)),
            Self::Quota | Self::Capacity | Self::Refused(500..600) => Some(Duration::from_secs(60)),
            Self::Credentials(_)
            | Self::Integrity
            | Self::Forbidden
            | Self::Family
            | Self::Protocol
            | Self::Redirect
            | Self::Refused(_)
            | Self::NoAddress
            | Self::TooLong => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("the server did not answer in time"),
            Self::Credentials(GiveUp::Credentials) => {
                f.write_str("the server refuses the username or password")
            }
            Self::Credentials(reason) => write!(f, "the challenge of the server: {reason}"),
            Self::Integrity => f.write_str("the answers of the server are not authentic"),
            Self::Forbidden => f.write_str("the server forbids relaying for this user"),
            Self::Mismatch => f.write_str("the server has another allocation on the same ports"),
            Self::Family => f.write_str("the server has no relay address of the family"),
            Self::Protocol => f.write_str("the server does not relay this transport"),
            Self::Quota => f.write_str("the user has as many allocations as the server allows"),
            Self::Capacity => f.write_str("the server has no relay address left"),
            Self::Redirect => f.write_str("the server sends us to one that cannot be used"),
            Self::Refused(code) => write!(f, "the server refuses with code {code}"),
            Self::NoAddress => f.write_str("the answer of the server has no usable address"),
            Self::TooLong => f.write_str("credentials and challenge are too long for a datagram"),
        }
    }
}

impl core::error::Error for Error {}

/// Why a peer cannot be reached through an allocation that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerError {
    /// The allocation has no address of the peer's family.
    Family,
    /// There are as many peers as the configuration allows.
    Limit,
    /// The server refused the permission or channel with this code.
    Refused(u16),
    /// The server did not answer.
    Timeout,
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Family => f.write_str("no relayed address of the family of the peer"),
            Self::Limit => f.write_str("too many peers for one allocation"),
            Self::Refused(code) => write!(f, "the server refuses the peer with code {code}"),
            Self::Timeout => f.write_str("the server did not answer for the peer"),
        }
    }
}

impl core::error::Error for PeerError {}
