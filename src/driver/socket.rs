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

    #[tokio::test]
    async fn a_datagram_longer_than_udp_carries_is_too_long() {
        let socket = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let to = socket.local_addr().unwrap();
        socket.writable().await.unwrap();
        let error = socket.try_send_to(&[0; 65_508], to).unwrap_err();
        assert_eq!(classify(&error), SendFailure::TooLong);
    }
}
