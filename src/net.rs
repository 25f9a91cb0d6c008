//! Names for what the core talks about but never owns: sockets, agents, packets.

use core::fmt;
use core::ops::Range;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use crate::demux::Class;

/// Octets that a [`Route`](crate::Route) may write before the payload: a TURN Send indication to
/// an IPv6 peer is the longest header.
pub const HEADROOM: usize = 48;
/// Octets that a [`Route`](crate::Route) may write after the payload: padding to four.
pub const TAILROOM: usize = 3;

/// The shortest buffer that [`Endpoint::poll_transmit`](crate::Endpoint::poll_transmit) works with:
/// no packet of the core is longer, headroom and tailroom included.
pub const MIN_TRANSMIT: usize = 1280;

/// A local base: one bound UDP address, or one TCP or TLS connection. Not a file descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub(crate) u32);

impl SocketId {
    const RELAYED: u32 = 1 << 31;

    /// An id for a relayed address, which is known to the endpoint alone.
    pub(crate) const fn relayed(number: u32) -> Self {
        Self(number | Self::RELAYED)
    }

    /// Whether it stands for a relayed address.
    pub(crate) const fn is_relayed(self) -> bool {
        self.0 & Self::RELAYED != 0
    }
}

/// A STUN or TURN server of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub(crate) u32);

/// An agent of an endpoint. An id of a closed agent is never given to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// A component of a data stream of an agent: a piece of data that needs an address of its own.
/// [RFC 8445 §4]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentId {
    stream: u16,
    number: u16,
}

impl ComponentId {
    /// The first component of the first data stream: all there is for most users.
    pub const FIRST: Self = Self { stream: 0, number: 1 };

    /// Makes the id of component `number` (1..=256) of data stream `stream` (from 0).
    ///
    /// Returns `None` if `number` is out of range. [rfc8445-5.1.2.1-7]
    #[must_use]
    pub const fn new(stream: u16, number: u16) -> Option<Self> {
        if number >= 1 && number <= 256 { Some(Self { stream, number }) } else { None }
    }

    /// The index of the data stream, from 0.
    #[must_use]
    pub const fn stream(self) -> u16 {
        self.stream
    }

    /// The component ID within the stream, 1..=256; RTP is 1 and RTCP is 2.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.number
    }
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stream, self.number)
    }
}

/// A transport protocol of a candidate or socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// UDP.
    Udp,
    /// TCP with RFC 4571 framing (RFC 6544).
    Tcp,
}

/// How a TURN server is reached. [rfc8656-3.1-1]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Datagrams, from the sockets that the endpoint has.
    Udp,
    /// A TCP connection.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// DTLS over UDP.
    Dtls,
}

impl Transport {
    /// Returns whether it is a stream of octets: requests are sent once, and every message needs
    /// its end found by [`Deframer`](crate::framing::Deframer).
    #[must_use]
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls)
    }

    /// Returns whether the server is authenticated by its certificate, and nobody can listen.
    #[must_use]
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Dtls)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Dtls => "DTLS",
        })
    }
}

/// A connection to a server that the core asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectId(pub(crate) u32);

/// What [`Endpoint::poll_connect`](crate::Endpoint::poll_connect) asks the driver to do about
/// connections to servers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Connect {
    /// Open a connection, and say what came of it with
    /// [`Endpoint::handle_connected`](crate::Endpoint::handle_connected).
    Open {
        /// Which connection it is.
        id: ConnectId,
        /// The local address to open it from; the port is any.
        from: IpAddr,
        /// The server.
        to: SocketAddr,
        /// What to open: TCP, TLS or DTLS, and no other in its place. A secure one is to verify
        /// the server's certificate against `name`.
        transport: Transport,
        /// The name of the server as the user gave it, never one found by DNS; `None` if an
        /// address was given: then the certificate is to carry that.
        name: Option<Arc<str>>,
    },
    /// Stop opening a connection; what comes of it is of no interest.
    Cancel(ConnectId),
    /// Close a connection after what was already sent; the id is gone.
    Close(SocketId),
}

/// Why a connection to a server could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// Nothing listens there.
    Refused,
    /// The network knows no way there, or forbids it.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// The certificate is not one to be trusted, or not for this name: never to be ignored.
    Certificate,
    /// TLS or DTLS failed otherwise.
    Handshake,
    /// This build has no TLS or no DTLS.
    Unsupported,
    /// As many connections are open as the driver allows.
    Limit,
    /// The connection was open, and broke or was closed by the server.
    Closed,
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "the server refuses the connection",
            Self::Unreachable => "the network does not reach the server",
            Self::Timeout => "the server did not answer in time",
            Self::Certificate => "the certificate of the server is not valid for its name",
            Self::Handshake => "the TLS handshake failed",
            Self::Unsupported => "this build does not support the transport",
            Self::Limit => "too many connections to servers are open",
            Self::Closed => "the server closed the connection",
        })
    }
}

impl core::error::Error for ConnectFailure {}

/// A local base that is handed to [`Endpoint::add_socket`](crate::Endpoint::add_socket).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Socket {
    /// How octets travel.
    pub protocol: Protocol,
    /// The concrete address and port that the socket is bound to, a link-local one without its
    /// scope.
    pub address: SocketAddr,
    /// The component that the socket serves in every agent that uses it.
    pub component: ComponentId,
    /// What it costs to send here, 0 (free) to 999: direct paths of lower cost are preferred.
    pub network_cost: u16,
    /// False for an interface known to be unreliable: it goes after the others and is not
    /// interleaved with them. [rfc8421-3-p1]
    pub reliable: bool,
    /// Whether the address itself may be signalled as a host candidate. Without it only
    /// reflexive and relayed candidates are made from the socket.
    pub signalled: bool,
}

impl Socket {
    /// Describes a UDP socket bound to `address`, for component 1, free and reliable.
    #[must_use]
    pub fn udp(address: SocketAddr) -> Self {
        Self {
            protocol: Protocol::Udp,
            address: on_its_link(address),
            component: ComponentId::FIRST,
            network_cost: 0,
            reliable: true,
            signalled: true,
        }
    }

    /// Sets the component that the socket serves.
    #[must_use]
    pub fn with_component(mut self, component: ComponentId) -> Self {
        self.component = component;
        self
    }

    /// Sets the cost of sending, 0 to 999.
    #[must_use]
    pub fn with_network_cost(mut self, cost: u16) -> Self {
        self.network_cost = cost.min(999);
        self
    }

    /// Marks the interface as unreliable. [rfc8421-3-p1]
    #[must_use]
    pub fn unreliable(mut self) -> Self {
        self.reliable = false;
        self
    }

    /// Keeps the address itself out of the candidates.
    #[must_use]
    pub fn hidden(mut self) -> Self {
        self.signalled = false;
        self
    }
}

/// "Send `buf[range]` from `socket` to `to`."
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The local base to send from.
    pub socket: SocketId,
    /// Where to send. From a link-local address the scope, which some systems want to be told, is
    /// that of the socket.
    pub to: SocketAddr,
    /// Which octets of the caller's buffer.
    pub range: Range<usize>,
}

/// What became of a datagram.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received<'b> {
    /// It was STUN for one of the agents or servers: drain the polls.
    Handled,
    /// Application data for a component, from an authenticated 5-tuple.
    Data {
        /// Whose it is.
        agent: crate::AgentId,
        /// Which component it belongs to.
        component: ComponentId,
        /// The payload, a slice of the datagram.
        data: &'b [u8],
    },
    /// Not STUN, and from a 5-tuple that belongs to no agent, or to more than one.
    Unclaimed {
        /// What its first octet says it is.
        class: Class,
        /// Who sent it; to a link-local address without the scope.
        from: SocketAddr,
        /// The datagram.
        data: &'b [u8],
    },
    /// Dropped and counted; never an error.
    Dropped(DropReason),
}

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a packet was dropped. Every drop is counted by its reason
        /// ([`EndpointStats::dropped`](crate::stats::EndpointStats::dropped)).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum DropReason { $($(#[$doc])* $name,)* }

        impl DropReason {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }

        impl fmt::Display for DropReason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $text,)* })
            }
        }
    };
}

drop_reasons! {
    /// Not a well-formed STUN message though its first octet says STUN.
    Malformed = "malformed STUN message",
    /// FINGERPRINT is missing where ICE wants it, or wrong.
    Fingerprint = "missing or wrong FINGERPRINT",
    /// The first octet is of no known protocol. [rfc7983-7-1a] [rfc9443-3-2a]
    UnknownClass = "unknown protocol",
    /// The socket is not known to the endpoint.
    UnknownSocket = "unknown socket",
    /// The USERNAME names none of our agents.
    UnknownUser = "unknown USERNAME",
    /// MESSAGE-INTEGRITY is missing.
    Unauthenticated = "no MESSAGE-INTEGRITY",
    /// MESSAGE-INTEGRITY does not verify.
    Integrity = "wrong MESSAGE-INTEGRITY",
    /// A response to no request of ours, or a late one.
    UnknownTransaction = "no such transaction",
    /// A response from elsewhere than the request went.
    Asymmetric = "response from another address",
    /// A request lacks what ICE demands (PRIORITY, a role).
    MissingAttribute = "missing attribute",
    /// An attribute that must be understood is not.
    UnknownAttribute = "unknown comprehension-required attribute",
    /// A method or class that ICE does not use.
    UnexpectedMessage = "unexpected method or class",
    /// A candidate or a check of a generation that is gone, or of none that is known.
    WrongGeneration = "old or unknown generation",
    /// A limit of the configuration is reached.
    Limit = "limit reached",
    /// More error replies than the configuration allows.
    RateLimited = "rate limited",
    /// An application must drain events first.
    EventsPending = "undrained events",
    /// A TURN server relayed data of a peer that has no permission.
    NoPermission = "no permission for the peer",
    /// The socket serves no component of the agent.
    UnknownComponent = "no such component",
    /// The agent is closed.
    Closed = "closed",
}

/// Maps an address to the one form that the core compares: IPv4-mapped IPv6 becomes IPv4, the
/// flow label is dropped, and the scope is kept for link-local addresses alone.
/// [rfc8445-5.1.1.1-6]
#[must_use]
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::from((v4, v6.port())),
            None => {
                let scope = if v6.ip().is_unicast_link_local() { v6.scope_id() } else { 0 };
                SocketAddr::V6(SocketAddrV6::new(*v6.ip(), v6.port(), 0, scope))
            }
        },
    }
}

/// The same of an address on the link of a socket that has but one: without the scope, as what is
/// signalled, and what a check says of an address, has none.
#[must_use]
pub(crate) fn on_its_link(address: SocketAddr) -> SocketAddr {
    let mut address = canonical(address);
    if let SocketAddr::V6(v6) = &mut address {
        v6.set_scope_id(0);
    }
    address
}

/// Whether `address` is IPv6 link-local (fe80::/10).
pub(crate) fn is_link_local(address: &SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Whether `address` is of a deprecated kind that is never offered: IPv4-compatible IPv6 (::/96,
/// but for :: and ::1) or site-local (fec0::/10). [rfc8445-5.1.1.1-5]
pub(crate) fn is_deprecated(address: &SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => {
            let [first, a, b, c, d, e, f, g] = ip.segments();
            let compatible = [first, a, b, c, d, e] == [0; 6] && (f, g) > (0, 1);
            compatible || first & 0xFFC0 == 0xFEC0
        }
    }
}

/// An address in a log: the family and the port, and the rest only where the configuration
/// allows it.
#[derive(Clone, Copy)]
pub(crate) struct Redacted {
    pub(crate) address: SocketAddr,
    pub(crate) show: bool,
}

impl fmt::Display for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.show {
            return write!(f, "{}", self.address);
        }
        let family = if self.address.is_ipv4() { "ipv4" } else { "ipv6" };
        write!(f, "{family}:{}", self.address.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_has_one_form() {
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:9".parse().unwrap();
        assert_eq!(canonical(mapped), "192.0.2.1:9".parse().unwrap());
        let flow = SocketAddrV6::new("2001:db8::1".parse().unwrap(), 9, 7, 3);
        assert_eq!(canonical(flow.into()), "[2001:db8::1]:9".parse().unwrap());
        let local = SocketAddrV6::new("fe80::1".parse().unwrap(), 9, 7, 3);
        assert_eq!(
            canonical(local.into()),
            SocketAddrV6::new("fe80::1".parse().unwrap(), 9, 0, 3).into()
        );
        assert_eq!(on_its_link(local.into()), "[fe80::1]:9".parse().unwrap());
    }

    #[test]
    fn a_redacted_address_shows_no_host() {
        let address = "192.0.2.77:4711".parse().unwrap();
        assert_eq!(Redacted { address, show: false }.to_string(), "ipv4:4711");
        assert_eq!(Redacted { address, show: true }.to_string(), "192.0.2.77:4711");
    }
}
