//! [`webrtc_util::Conn`]: what the DTLS, SCTP and SRTP of webrtc-rs run over.
//!
//! A [`Connection`] is a `Conn` as it is: put it in an `Arc` and hand it over.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use floe::Node;
//! use floe::signaling::memory;
//! use webrtc_util::Conn;
//!
//! let (near, far) = memory::pair(16);
//! let left = Node::builder().interface("lo").bind().await?;
//! let right = Node::builder().interface("lo").bind().await?;
//! let (left, right) = tokio::try_join!(left.connect(near), right.accept(far))?;
//!
//! // What `dtls::conn::DTLSConn::new` and the `net_conn` of `webrtc_sctp` take.
//! let left: Arc<dyn Conn + Send + Sync> = Arc::new(left);
//! let right: Arc<dyn Conn + Send + Sync> = Arc::new(right);
//! left.send(b"hello").await?;
//! let mut buf = [0; 1500];
//! let length = right.recv(&mut buf).await?;
//! assert_eq!(buf.get(..length), Some(&b"hello"[..]));
//! left.close().await?;
//! assert!(left.recv(&mut buf).await.is_err());
//! # Ok(()) }
//! ```

use core::any::Any;
use core::fmt;
use core::time::Duration;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use async_trait::async_trait;
use tokio::time::timeout;
use webrtc_util::{Conn, Error};

use crate::driver::{Connection, TransmitError};
use crate::event::AgentState;

/// How long a reader that reads on after the end waits for each error. The reader of `dtls` 0.17
/// goes on after any error of the layer below, and would keep a processor busy.
const PAUSE: Duration = Duration::from_millis(100);

/// What a connection as a [`Conn`] refuses, in [`Error::Std`]: `Error::downcast_ref` finds it there.
///
/// What [`Connection::send`] refuses is a [`TransmitError`] in the same place; a connection that is
/// closed is [`Error::ErrUseClosedNetworkConn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnError {
    /// The peer is found by ICE: there is nobody else to connect to. Make another connection.
    IsConnected,
    /// The address is not the peer's: use `send`, or `send_to` with what `remote_addr` says.
    NotThePeer {
        /// The address that was given.
        target: SocketAddr,
    },
    /// No pair is selected, so there is no address: data may flow a moment before one is. Await
    /// [`ConnectionEvent::Selected`](crate::driver::ConnectionEvent::Selected).
    NoPath,
}

impl fmt::Display for ConnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IsConnected => {
                f.write_str("the connection has its peer; make another one for another peer")
            }
            Self::NotThePeer { target } => {
                write!(f, "{target} is not the peer of this connection; use send")
            }
            Self::NoPath => f.write_str("no pair is selected now; wait for the event that says so"),
        }
    }
}

impl core::error::Error for ConnError {}

/// A connection as the `Conn` of `webrtc-util`: a datagram channel to one peer.
///
/// - One `send` is one `recv`. What does not fit the reader's buffer is lost, as of a UDP socket.
/// - While there is no path, before the first and in the midst of a restart, `send` drops the
///   datagram and says `Ok`, as the network would and as `webrtc-ice` does: the layers above
///   repeat what matters, and an error would end them (SCTP does not try again). Await
///   [`Connection::ready`] before a handshake, and watch [`Connection::events`] to learn that a
///   path is gone for good.
/// - Of itself it allocates nothing; `async_trait` makes a box of each future.
/// - Closing the `Conn` closes the connection for all its handles. The layers above are closed from
///   the top: `dtls` does not tell its reader that the layer below has ended.
#[async_trait]
impl Conn for Connection {
    /// There is nobody else to connect to.
    ///
    /// # Errors
    ///
    /// Always [`ConnError::IsConnected`].
    async fn connect(&self, _: SocketAddr) -> Result<(), Error> {
        Err(Error::from_std(ConnError::IsConnected))
    }

    /// Waits for the next datagram, as [`Connection::recv`] does. A close wakes it.
    ///
    /// # Errors
    ///
    /// [`Error::ErrUseClosedNetworkConn`] once the connection is closed and all that had arrived
    /// was received; who reads on gets it ten times a second at most.
    async fn recv(&self, buf: &mut [u8]) -> Result<usize, Error> {
        let ended = self.state() == AgentState::Closed;
        match Self::recv(self, buf).await {
            Ok(length) => Ok(length),
            Err(_) => {
                if ended {
                    let _ = timeout(PAUSE, core::future::pending::<()>()).await;
                }
                Err(Error::ErrUseClosedNetworkConn)
            }
        }
    }

    /// As `recv`, with the address of the peer at that moment: 0.0.0.0 port 0 while no pair is
    /// selected. The address may change: there is one peer all the same.
    async fn recv_from(&self, buf: &mut [u8]) -> Result<(usize, SocketAddr), Error> {
        let length = Conn::recv(self, buf).await?;
        let unknown = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        Ok((length, self.remote_addr().unwrap_or(unknown)))
    }

    /// Sends one datagram, waiting while the socket is full.
    ///
    /// # Errors
    ///
    /// [`Error::ErrUseClosedNetworkConn`] after a close; a [`TransmitError`] if this datagram can
    /// never be sent: too long, or of no class that the peer would take for data.
    async fn send(&self, buf: &[u8]) -> Result<usize, Error> {
        match Self::send(self, buf).await {
            Ok(()) | Err(TransmitError::NotReady | TransmitError::ConsentExpired) => Ok(buf.len()),
            Err(TransmitError::Closed) => Err(Error::ErrUseClosedNetworkConn),
            Err(
                error @ (TransmitError::UnknownComponent
                | TransmitError::TooLong
                | TransmitError::NotData),
            ) => Err(Error::from_std(error)),
        }
    }

    /// As `send`, if `target` is what `remote_addr` says.
    ///
    /// # Errors
    ///
    /// [`ConnError::NotThePeer`] for another address; else as `send`.
    async fn send_to(&self, buf: &[u8], target: SocketAddr) -> Result<usize, Error> {
        if self.remote_addr() != Some(target) {
            return Err(Error::from_std(ConnError::NotThePeer { target }));
        }
        Conn::send(self, buf).await
    }

    /// Our address in the pair in use, as the peer sees it: of a relay the relayed one.
    ///
    /// # Errors
    ///
    /// [`ConnError::NoPath`] while no pair is selected.
    fn local_addr(&self) -> Result<SocketAddr, Error> {
        let selected = self.selected().ok_or_else(|| Error::from_std(ConnError::NoPath))?;
        Ok(selected.local.address)
    }

    /// The peer's address in the pair in use; `None` while none is selected.
    fn remote_addr(&self) -> Option<SocketAddr> {
        Some(self.selected()?.remote.address)
    }

    /// Closes the connection, as [`Connection::close`] does; again is no harm.
    async fn close(&self) -> Result<(), Error> {
        Self::close(self).await;
        Ok(())
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }
}
