//! One allocation at one server.

use core::ops::Range;
use core::time::Duration;
use std::net::{IpAddr, SocketAddr};

use crate::config::Retransmission;
use crate::net::{DropReason, Transport};
use crate::stun::LongTerm;
use crate::time::Instant;

use super::{Error, Families, LIFETIME_DEFAULT, PeerError, RelayProtocol};

/// How a client asks.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientConfig {
    /// Username and password; with a realm and nonce of the same server from before
    /// ([`Client::credentials`]) the allocation takes one round trip less.
    pub credentials: LongTerm,
    /// How the server is reached.
    pub transport: Transport,
    /// What is relayed. Default UDP.
    pub relay: RelayProtocol,
    /// Of which families relayed addresses are asked for. Default both.
    pub families: Families,
    /// The lifetime asked for. Default 10 minutes.
    pub lifetime: Duration,
    /// Whether the server is to send with the don't-fragment bit. Default false.
    pub dont_fragment: bool,
    /// The SOFTWARE attribute. Default none.
    pub software: Option<String>,
    /// RTO, Rc, Rm and Ti of requests.
    pub retransmission: Retransmission,
    /// Permissions, and channels. Default 64.
    pub max_peers: u16,
}

impl ClientConfig {
    /// The defaults.
    #[must_use]
    pub fn new(transport: Transport, credentials: LongTerm) -> Self {
        Self {
            credentials,
            transport,
            relay: RelayProtocol::Udp,
            families: Families::Both,
            lifetime: LIFETIME_DEFAULT,
            dont_fragment: false,
            software: None,
            retransmission: Retransmission::default(),
            max_peers: 64,
        }
    }
}

/// Something that happened to an allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// There are relayed addresses, for the first time or others than before.
    Allocated,
    /// The server lost the allocation; a new one is asked for, and [`Event::Allocated`] or
    /// [`Event::Failed`] follows.
    Lost,
    /// There is no allocation and will be none: the client is over.
    Failed(Error),
    /// The server sends us to another one: the client is over. Try that one, once.
    Redirected {
        /// Where.
        to: SocketAddr,
        /// The name that its certificate has to be for.
        domain: Option<Box<str>>,
    },
    /// A peer cannot be reached.
    PeerFailed {
        /// The peer; the port is 0 if it concerns all of the address.
        peer: SocketAddr,
        /// Why.
        error: PeerError,
    },
    /// The server received an ICMP error for what it sent to a peer; anybody can forge that.
    Unreachable {
        /// The peer.
        peer: SocketAddr,
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
    },
    /// The allocation was given back, or nobody answered: the client is over.
    Closed,
}

/// What became of a datagram of the server.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received<'b> {
    /// It was for the client itself: drain the polls.
    Handled,
    /// Data of a peer that has a permission, a slice of the input.
    Data {
        /// Who sent it.
        peer: SocketAddr,
        /// What.
        data: &'b [u8],
    },
    /// Dropped.
    Dropped(DropReason),
}

/// A TURN client with one allocation.
///
/// Hand in what the server sent ([`handle_datagram`](Self::handle_datagram)) and the time
/// ([`handle_timeout`](Self::handle_timeout), at [`poll_timeout`](Self::poll_timeout)), and after
/// each call ask for packets ([`poll_transmit`](Self::poll_transmit)) and events
/// ([`poll_event`](Self::poll_event)) until there are none.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
}

impl Client {
    /// Makes a client and starts to allocate. Transaction ids are drawn from `seed`: it must come
    /// from the operating system's generator, and never be used twice.
    #[must_use]
    pub fn new(now: Instant, config: ClientConfig, seed: [u8; 32]) -> Self {
        let _ = (now, seed);
        Self { config }
    }

    /// Takes a message that came from the server.
    pub fn handle_datagram<'b>(&mut self, now: Instant, datagram: &'b [u8]) -> Received<'b> {
        let _ = (now, datagram);
        Received::Handled
    }

    /// Does all that is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// Encodes the next packet for the server into `buf`, at least
    /// [`MIN_TRANSMIT`](crate::MIN_TRANSMIT) octets, and returns its length.
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut [u8]) -> Option<usize> {
        let _ = (now, buf);
        None
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next; packets and events that
    /// wait count as a deadline that has passed.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The relayed addresses, IPv4 before IPv6; none without an allocation.
    pub fn relayed(&self) -> impl Iterator<Item = SocketAddr> {
        None.into_iter()
    }

    /// Our own address as the server saw it.
    #[must_use]
    pub fn mapped(&self) -> Option<SocketAddr> {
        None
    }

    /// Whether the server has answered anything, if only with a challenge.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        false
    }

    /// Username and password, with the realm and nonce that the server gave last.
    #[must_use]
    pub fn credentials(&self) -> &LongTerm {
        &self.config.credentials
    }

    /// Asks for a permission for an address, and keeps it until [`forget`](Self::forget); again
    /// is no harm. What is sent to it before the server has answered travels behind the request.
    ///
    /// # Errors
    ///
    /// [`PeerError`] says why there can be none.
    pub fn permit(&mut self, now: Instant, peer: IpAddr) -> Result<(), PeerError> {
        let _ = (now, peer);
        Ok(())
    }

    /// Asks for a channel to a peer, and keeps it until [`forget`](Self::forget); again is no
    /// harm.
    ///
    /// # Errors
    ///
    /// [`PeerError`] says why there can be none.
    pub fn bind_channel(&mut self, now: Instant, peer: SocketAddr) -> Result<(), PeerError> {
        let _ = (now, peer);
        Ok(())
    }

    /// The peers that permissions or channels are kept for: of a permission the port is 0.
    pub fn peers(&self) -> impl Iterator<Item = SocketAddr> {
        None.into_iter()
    }

    /// Lets the permission (port 0) or channel of a peer expire.
    pub fn forget(&mut self, peer: SocketAddr) {
        let _ = peer;
    }

    /// How data to a peer travels now, over its channel or in an indication; `None` if it has no
    /// permission and none is under way.
    pub fn framing(&mut self, peer: SocketAddr) -> Option<Framing> {
        let _ = peer;
        None
    }

    /// Gives the allocation back; [`Event::Closed`] follows.
    pub fn close(&mut self, now: Instant) {
        let _ = now;
    }
}

/// How data to one peer travels to the server.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing(());

impl Framing {
    /// Writes the header before, and padding after, the payload `buf[payload]`, and returns the
    /// range of the whole packet; `None` if `buf` lacks [`HEADROOM`](crate::HEADROOM) before or
    /// [`TAILROOM`](crate::TAILROOM) after it.
    #[must_use]
    pub fn frame(self, buf: &mut [u8], payload: Range<usize>) -> Option<Range<usize>> {
        let _ = buf;
        Some(payload)
    }
}
