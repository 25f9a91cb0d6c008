//! UDP sockets, and what their errors mean.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// What is asked for as the kernel's buffers, in octets; it may give less.
const KERNEL_BUFFER: usize = 1 << 20;

/// Binds a UDP socket to `address`; an IPv6 one carries IPv6 alone.
pub(super) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
    let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// An address as pairs have it: those of a link-local socket have no scope.
pub(super) fn unscoped(mut address: SocketAddr) -> SocketAddr {
    if let SocketAddr::V6(v6) = &mut address {
        v6.set_scope_id(0);
    }
    address
}

/// Where to send as the system wants it: not every one knows by a socket on a link-local address
/// which link is meant.
pub(super) fn on_link_of(own: SocketAddr, mut to: SocketAddr) -> SocketAddr {
    if let (SocketAddr::V6(own), SocketAddr::V6(to)) = (own, &mut to)
        && to.scope_id() == 0
        && to.ip().is_unicast_link_local()
    {
        to.set_scope_id(own.scope_id());
    }
    to
}

/// Whether two addresses are of one host, and on one link if they are link-local.
pub(super) fn is_one_host(one: SocketAddr, other: SocketAddr) -> bool {
    let link = |address: SocketAddr| match address {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => v6.scope_id(),
        SocketAddr::V6(_) | SocketAddr::V4(_) => 0,
    };
    one.ip() == other.ip() && link(one) == link(other)
}

/// What an error of a send means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendFailure {
    /// The socket is full: wait until it is writable.
    Full,
    /// The network says that the address cannot be reached from this socket.
    Unreachable,
    /// The datagram is too long for the network.
    TooLong,
    /// This datagram is lost, as any may be (no buffers, a firewall, a signal).
    Lost,
}

/// Sorts the error of a send.
///
/// A refusal by the local firewall counts as loss: it may be of the moment, and the checks find
/// out by themselves if it is not.
pub(super) fn classify(error: &io::Error) -> SendFailure {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is foreign and non-exhaustive")]
    match error.kind() {
        io::ErrorKind::WouldBlock => SendFailure::Full,
        io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::AddrNotAvailable => SendFailure::Unreachable,
        _ if is_too_long(error) => SendFailure::TooLong,
        _ => SendFailure::Lost,
    }
}

/// Whether the error of a send may be the first sign of an address or a route that is gone. Linux
/// calls a source address that is not there an invalid argument.
pub(super) fn hints_at_change(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::InvalidInput
    )
}

/// EMSGSIZE has no kind of its own in std.
fn is_too_long(error: &io::Error) -> bool {
    let code = if cfg!(any(target_os = "linux", target_os = "android")) {
        90
    } else if cfg!(windows) {
        10040
    } else {
        40
    };
    error.raw_os_error() == Some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_network_says_is_unreachable() {
        for (kind, failure) in [
            (io::ErrorKind::WouldBlock, SendFailure::Full),
            (io::ErrorKind::NetworkUnreachable, SendFailure::Unreachable),
            (io::ErrorKind::HostUnreachable, SendFailure::Unreachable),
            (io::ErrorKind::ConnectionRefused, SendFailure::Unreachable),
            (io::ErrorKind::PermissionDenied, SendFailure::Lost),
            (io::ErrorKind::OutOfMemory, SendFailure::Lost),
        ] {
            assert_eq!(classify(&kind.into()), failure);
        }
    }

    #[test]
    fn a_link_local_peer_is_on_the_link_of_the_socket() {
        let address = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let own = address("[fe80::1%3]:1");
        assert_eq!(on_link_of(own, address("[fe80::2]:2")), address("[fe80::2%3]:2"));
        for (own, to) in [
            (own, "[2001:db8::2]:2"),
            (own, "192.0.2.1:2"),
            (address("[2001:db8::1]:1"), "[fe80::2%5]:2"),
        ] {
            assert_eq!(on_link_of(own, address(to)), address(to));
        }
        assert_eq!(unscoped(own), address("[fe80::1]:1"));
        assert!(is_one_host(own, address("[fe80::1%3]:7")));
        assert!(!is_one_host(own, address("[fe80::1%5]:1")));
        assert!(is_one_host(address("[2001:db8::1%3]:1"), address("[2001:db8::1]:1")));
    }

    #[tokio::test]
    async fn a_datagram_longer_than_udp_carries_is_too_long() {
        let socket = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let to = socket.local_addr().unwrap();
        socket.writable().await.unwrap();
        let error = socket.try_send_to(&[0; 65_508], to).unwrap_err();
        assert_eq!(classify(&error), SendFailure::TooLong);
    }
}
