//! Opening connections to servers: TCP, TLS over it, DTLS.

use core::time::Duration;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tracing::debug;

use super::PathFilter;
#[cfg(feature = "dtls")]
use super::socket::bind;
use super::socket::unscoped;
use super::stream::Io;
#[cfg(any(feature = "websocket", feature = "whip"))]
use super::stream::Octets;
use super::tls::Tls;
use crate::net::{ConnectFailure, Transport};

/// How long a connection may take to open, handshakes included.
const OPEN: Duration = Duration::from_secs(5);

/// What is to be opened.
pub(super) struct Opening {
    pub(super) from: IpAddr,
    pub(super) to: SocketAddr,
    pub(super) transport: Transport,
    /// The name that the certificate has to be for, as the application gave it.
    pub(super) name: Option<Arc<str>>,
    pub(super) tls: Tls,
    pub(super) filter: Option<PathFilter>,
}

/// An open connection and its local address.
pub(super) struct Opened {
    pub(super) local: SocketAddr,
    pub(super) io: Io,
}

impl Opening {
    /// Opens the connection, within five seconds. It is what was asked for or nothing: a secure
    /// one that fails is not replaced by one in the clear.
    pub(super) async fn open(self) -> Result<Opened, ConnectFailure> {
        timeout(OPEN, self.connect()).await.unwrap_or(Err(ConnectFailure::Timeout))
    }

    async fn connect(&self) -> Result<Opened, ConnectFailure> {
        match self.transport {
            Transport::Tcp => {
                let (local, stream) = self.tcp().await?;
                Ok(Opened { local, io: Io::Octets(Box::new(stream)) })
            }
            Transport::Tls => {
                let (local, stream) = self.tcp().await?;
                let stream = self.tls.connect(stream, self.name.as_deref(), self.to.ip()).await?;
                Ok(Opened { local, io: Io::Octets(Box::new(stream)) })
            }
            Transport::Dtls => self.dtls().await,
            Transport::Udp => Err(ConnectFailure::Unsupported),
        }
    }

    #[cfg(feature = "dtls")]
    async fn dtls(&self) -> Result<Opened, ConnectFailure> {
        let dtls = self.tls.dtls.as_ref().ok_or(ConnectFailure::Unsupported)?;
        let socket = bind(SocketAddr::new(self.from, 0)).map_err(|error| failure(&error))?;
        let local = socket.local_addr().map_err(|error| failure(&error))?;
        self.pass(local).await;
        socket.connect(self.to).await.map_err(|error| failure(&error))?;
        let session = dtls.connect(socket, self.name.as_deref(), self.to.ip()).await?;
        Ok(Opened { local, io: Io::Datagrams(Box::new(session)) })
    }

    #[cfg(not(feature = "dtls"))]
    async fn dtls(&self) -> Result<Opened, ConnectFailure> {
        Err(ConnectFailure::Unsupported)
    }

    /// Returns if packets may pass, else never, as a firewall that drops them: nobody answers.
    async fn pass(&self, local: SocketAddr) {
        if self.filter.as_ref().is_some_and(|filter| !filter(unscoped(local), unscoped(self.to))) {
            core::future::pending::<()>().await;
        }
    }

    async fn tcp(&self) -> Result<(SocketAddr, TcpStream), ConnectFailure> {
        let (local, socket) = self.bind().map_err(|error| failure(&error))?;
        self.pass(local).await;
        let stream = socket.connect(self.to).await;
        let stream = stream.map_err(|error| {
            debug!(%error, "TCP");
            failure(&error)
        })?;
        Ok((local, stream))
    }

    fn bind(&self) -> io::Result<(SocketAddr, TcpSocket)> {
        let socket = if self.to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_nodelay(true)?;
        socket.bind(SocketAddr::new(self.from, 0))?;
        Ok((socket.local_addr()?, socket))
    }
}

/// Opens a connection to the host of a URL, over TLS if that is asked for; `port` is what the URL
/// says, and otherwise 443 or 80.
///
/// # Errors
///
/// What the system said, or that there is no TLS with the server.
#[cfg(any(feature = "websocket", feature = "whip"))]
pub(super) async fn dial(
    tls: &Tls,
    secure: bool,
    host: &str,
    port: Option<u16>,
) -> io::Result<Box<dyn Octets>> {
    let host = host.trim_matches(['[', ']']);
    let port = port.unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    if !secure {
        return Ok(Box::new(stream));
    }
    let ip = stream.peer_addr()?.ip();
    let name = Some(host).filter(|host| host.parse::<IpAddr>().is_err());
    let stream = tls.connect(stream, name, ip).await.map_err(io::Error::other)?;
    Ok(Box::new(stream))
}

/// What an error of opening a TCP connection means.
fn failure(error: &io::Error) -> ConnectFailure {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is foreign and non-exhaustive")]
    match error.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted => ConnectFailure::Refused,
        io::ErrorKind::TimedOut => ConnectFailure::Timeout,
        _ => ConnectFailure::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn opening(to: SocketAddr, transport: Transport, tls: Tls) -> Opening {
        Opening { from: to.ip(), to, transport, name: None, tls, filter: None }
    }

    async fn no_tls() -> Tls {
        crate::driver::tls::Secure::default().load(&[]).await
    }

    #[tokio::test]
    async fn a_tcp_connection_comes_from_the_address_that_was_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let mut opening = opening(to, Transport::Tcp, no_tls().await);
        opening.from = "127.0.0.3".parse().unwrap();
        let (opened, accepted) = tokio::join!(opening.open(), listener.accept());
        let Ok(mut opened) = opened else { panic!("not opened") };
        let (mut server, from) = accepted.unwrap();
        assert_eq!((opened.local, from.ip()), (from, "127.0.0.3".parse::<IpAddr>().unwrap()));
        let Io::Octets(io) = &mut opened.io else { panic!("no stream") };
        io.write_all(b"hello").await.unwrap();
        let mut read = [0; 5];
        server.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_refuses() {
        let to = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let opened = opening(to, Transport::Tcp, no_tls().await).open().await;
        assert_eq!(opened.err(), Some(ConnectFailure::Refused));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_path_filter_stops_is_not_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let mut opening = opening(to, Transport::Tcp, no_tls().await);
        opening.filter = Some(Arc::new(move |_, remote| remote != to));
        assert_eq!(opening.open().await.err(), Some(ConnectFailure::Timeout));
    }

    #[tokio::test]
    async fn what_the_build_does_not_have_is_not_replaced() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        for transport in [Transport::Tls, Transport::Udp] {
            let opened = opening(to, transport, no_tls().await).open().await;
            assert_eq!(opened.err(), Some(ConnectFailure::Unsupported));
        }
    }

    #[test]
    fn errors_of_the_system_say_what_became_of_a_connection() {
        for (kind, meaning) in [
            (io::ErrorKind::ConnectionRefused, ConnectFailure::Refused),
            (io::ErrorKind::TimedOut, ConnectFailure::Timeout),
            (io::ErrorKind::NetworkUnreachable, ConnectFailure::Unreachable),
            (io::ErrorKind::AddrNotAvailable, ConnectFailure::Unreachable),
            (io::ErrorKind::PermissionDenied, ConnectFailure::Unreachable),
        ] {
            assert_eq!(failure(&kind.into()), meaning);
        }
    }
}
