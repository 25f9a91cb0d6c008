//! How octets get to the server and back.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use floe::Transport;
use floe::framing::Deframer;

/// A transport to one server.
#[derive(Debug)]
pub(crate) enum Link {
    Udp { socket: UdpSocket, server: SocketAddr, buffer: Vec<u8> },
    Tcp { stream: TcpStream, deframer: Deframer },
}

impl Link {
    /// Opens one from this address of the host.
    pub(crate) fn open(transport: Transport, from: IpAddr, server: SocketAddr) -> Self {
        match transport {
            Transport::Udp => {
                let socket = UdpSocket::bind((from, 0)).expect("an address of this host");
                Self::Udp { socket, server, buffer: vec![0; 65_536] }
            }
            Transport::Tcp => {
                let stream = TcpStream::connect_timeout(&server, Duration::from_secs(5));
                let stream = stream.expect("the server takes connections");
                stream.set_nodelay(true).expect("a TCP socket");
                Self::Tcp { stream, deframer: Deframer::new() }
            }
            Transport::Tls | Transport::Dtls => unreachable!("the driver of floe has these"),
        }
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        match self {
            Self::Udp { socket, .. } => socket.local_addr(),
            Self::Tcp { stream, .. } => stream.local_addr(),
        }
        .expect("a bound socket")
    }

    /// Sends one message; what a broken connection does not take is lost.
    pub(crate) fn send(&mut self, message: &[u8]) {
        let _ = match self {
            Self::Udp { socket, server, .. } => socket.send_to(message, *server).map(drop),
            Self::Tcp { stream, .. } => stream.write_all(message),
        };
    }

    /// Waits for octets, and hands every message among them to `take`.
    pub(crate) fn receive(&mut self, wait: Duration, mut take: impl FnMut(&[u8])) {
        // Zero would mean to wait for ever.
        let wait = wait.max(Duration::from_micros(100));
        match self {
            Self::Udp { socket, server, buffer } => {
                socket.set_read_timeout(Some(wait)).expect("a timeout");
                match socket.recv_from(buffer) {
                    Ok((len, from)) if from == *server => {
                        take(buffer.get(..len).unwrap_or_default())
                    }
                    Ok(_) => {}
                    Err(error) => assert_patience(&error),
                }
            }
            Self::Tcp { stream, deframer } => {
                stream.set_read_timeout(Some(wait)).expect("a timeout");
                match stream.read(deframer.room(4096)) {
                    Ok(0) => std::thread::sleep(wait),
                    Ok(len) => deframer.filled(len),
                    Err(error) => assert_patience(&error),
                }
                while let Some(message) = deframer.next_message().expect("STUN or ChannelData") {
                    take(message);
                }
            }
        }
    }
}

/// Nothing came in time, or the other side is gone: all else is a mistake of the test.
fn assert_patience(error: &io::Error) {
    let patience = [
        ErrorKind::WouldBlock,
        ErrorKind::TimedOut,
        ErrorKind::Interrupted,
        ErrorKind::ConnectionRefused,
        ErrorKind::ConnectionReset,
    ];
    assert!(patience.contains(&error.kind()), "{error}");
}
