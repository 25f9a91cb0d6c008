//! DTLS to TURN servers: TURN messages as the datagrams of a session. [RFC 7350]
//!
//! OpenSSL does the protocol: of the implementations in Rust none can be used with the RSA
//! certificates that most servers have and is sound as well.

use core::task::{Context, Poll};
use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::IpAddr;

use openssl::error::ErrorStack;
use openssl::ssl::{
    ErrorCode, SslConnector, SslMethod, SslOptions, SslStream, SslVerifyMode, SslVersion,
};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509VerifyResult};
use tokio::net::UdpSocket;
use tokio::time::timeout;
use tracing::debug;

use super::stream::Datagrams;
use crate::net::ConnectFailure;

/// How often a handshake looks whether something is to be sent again; what is due it knows itself.
const LOOK: Duration = Duration::from_millis(100);
/// What a datagram of the handshake has at most, for paths that carry no more.
const MTU: u32 = 1200;
/// What fits into one record, and a message is one record. [RFC 6347 §4.1]
const MAX_MESSAGE: usize = 1 << 14;
/// Read errors without a datagram in between after which a session is given up.
const MAX_READ_ERRORS: u32 = 64;

/// Opens DTLS sessions.
#[derive(Clone)]
pub(super) struct Dtls {
    connector: SslConnector,
}

impl Dtls {
    /// DTLS 1.2 with ephemeral keys and AEAD alone; no compression, no renegotiation.
    /// [rfc8489-6.2.3-1] [rfc8489-6.2.3-4] [rfc8489-6.2.3-5] [rfc8489-6.2.3-6] [rfc8489-6.2.3-7]
    pub(super) fn new<'c>(roots: impl Iterator<Item = &'c [u8]>) -> Result<Self, ErrorStack> {
        let mut store = X509StoreBuilder::new()?;
        for root in roots {
            // What OpenSSL cannot read vouches for nobody.
            if let Ok(root) = X509::from_der(root) {
                store.add_cert(root)?;
            }
        }
        let mut builder = SslConnector::builder(SslMethod::dtls_client())?;
        builder.set_cert_store(store.build());
        builder.set_verify(SslVerifyMode::PEER);
        builder.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
        builder.set_cipher_list("ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK")?;
        builder.set_options(
            SslOptions::NO_QUERY_MTU | SslOptions::NO_COMPRESSION | SslOptions::NO_RENEGOTIATION,
        );
        Ok(Self { connector: builder.build() })
    }

    /// Shakes hands over a connected socket; nothing is sent before the certificate was found to
    /// be trusted and to be for `name`, or for `ip` where there is none. [rfc8489-6.2.3-8]
    /// [rfc8489-6.2.3-9] [rfc8489-6.2.3-10]
    pub(super) async fn connect(
        &self,
        socket: UdpSocket,
        name: Option<&str>,
        ip: IpAddr,
    ) -> Result<Session, ConnectFailure> {
        let mut stream = self.stream(socket, name, ip).map_err(|error| {
            debug!(%error, "DTLS");
            ConnectFailure::Handshake
        })?;
        // OpenSSL takes what cannot be written for lost, and waits a second.
        let _ = stream.get_ref().io.writable().await;
        loop {
            let Err(error) = stream.connect() else {
                stream.get_mut().is_open = true;
                return Ok(Session { stream });
            };
            let socket = &stream.get_ref().io;
            if let Ok(Some(error)) = socket.take_error() {
                return Err(failure(&stream, Some(&error)));
            }
            match error.code() {
                ErrorCode::WANT_READ => {
                    let _ = timeout(LOOK, socket.readable()).await;
                }
                ErrorCode::WANT_WRITE => {
                    let _ = timeout(LOOK, socket.writable()).await;
                }
                _ => {
                    debug!(%error, "DTLS handshake");
                    return Err(failure(&stream, error.io_error()));
                }
            }
        }
    }

    fn stream(
        &self,
        socket: UdpSocket,
        name: Option<&str>,
        ip: IpAddr,
    ) -> Result<SslStream<Socket>, ErrorStack> {
        // Certificates have names without the final dot.
        let name = name.map(|name| name.strip_suffix('.').unwrap_or(name));
        let domain = name.map_or_else(|| ip.to_string(), str::to_owned);
        let mut ssl = self.connector.configure()?.into_ssl(&domain)?;
        ssl.set_mtu(MTU)?;
        SslStream::new(ssl, Socket::new(socket))
    }
}

fn failure(stream: &SslStream<Socket>, io: Option<&io::Error>) -> ConnectFailure {
    if stream.ssl().verify_result() != X509VerifyResult::OK {
        return ConnectFailure::Certificate;
    }
    match io.map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => ConnectFailure::Refused,
        Some(_) => ConnectFailure::Unreachable,
        None => ConnectFailure::Handshake,
    }
}

/// A socket as OpenSSL wants it: a read is a datagram, and so is a write.
struct Socket {
    io: UdpSocket,
    /// The handshake is over: what the network says of one datagram does not end the session.
    is_open: bool,
}

impl Socket {
    fn new(io: UdpSocket) -> Self {
        Self { io, is_open: false }
    }

    /// Whether an error concerns no more than a datagram. That nobody listens any more ends a
    /// session; a route that is away for a moment does not.
    fn is_passing(&self, error: &io::Error) -> bool {
        self.is_open && error.kind() != io::ErrorKind::ConnectionRefused
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // The system tells each of its errors once, but who knows of what comes next.
        for _ in 0..MAX_READ_ERRORS {
            match self.io.try_recv(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err(error) if self.is_passing(&error) => debug!(%error, "DTLS"),
                received => return received,
            }
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.io.try_send(buf).map_err(|error| {
            // OpenSSL takes it for lost.
            if self.is_passing(&error) { io::ErrorKind::WouldBlock.into() } else { error }
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An open session.
pub(super) struct Session {
    stream: SslStream<Socket>,
}

impl Datagrams for Session {
    fn poll_recv(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Option<usize>> {
        loop {
            match self.stream.ssl_read(buf) {
                Ok(octets) => return Poll::Ready(Some(octets)),
                Err(error) if error.code() == ErrorCode::WANT_READ => {
                    let ready = self.stream.get_ref().io.poll_recv_ready(cx);
                    if core::task::ready!(ready).is_err() {
                        return Poll::Ready(None);
                    }
                }
                Err(error) => {
                    debug!(%error, "DTLS");
                    return Poll::Ready(None);
                }
            }
        }
    }

    /// What the socket has no room for is lost, as any datagram may be; so is what is too long.
    fn send(&mut self, message: &[u8]) -> Option<bool> {
        if message.len() > MAX_MESSAGE {
            return Some(false);
        }
        match self.stream.ssl_write(message) {
            Ok(_) => Some(true),
            Err(error) => match error.code() {
                ErrorCode::WANT_READ | ErrorCode::WANT_WRITE => Some(false),
                _ => None,
            },
        }
    }

    fn close(&mut self) {
        let _ = self.stream.shutdown();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use openssl::asn1::Asn1Time;
    use openssl::bn::BigNum;
    use openssl::hash::MessageDigest;
    use openssl::pkey::{PKey, Private};
    use openssl::rsa::Rsa;
    use openssl::ssl::{Ssl, SslContext};
    use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
    use openssl::x509::{X509Builder, X509NameBuilder};

    use super::*;

    const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// An RSA certificate for `name` that vouches for itself, and ends in so many days.
    fn certificate(name: &str, days: u32) -> (PKey<Private>, X509) {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let mut subject = X509NameBuilder::new().unwrap();
        subject.append_entry_by_text("CN", "floe").unwrap();
        let subject = subject.build();
        let mut builder = X509Builder::new().unwrap();
        builder.set_version(2).unwrap();
        builder
            .set_serial_number(&BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap())
            .unwrap();
        builder.set_subject_name(&subject).unwrap();
        builder.set_issuer_name(&subject).unwrap();
        builder.set_not_before(&Asn1Time::from_unix(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(days).unwrap()).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.append_extension(BasicConstraints::new().ca().build().unwrap()).unwrap();
        let mut names = SubjectAlternativeName::new();
        if name.parse::<IpAddr>().is_ok() {
            names.ip(name)
        } else {
            names.dns(name)
        };
        let names = names.build(&builder.x509v3_context(None, None)).unwrap();
        builder.append_extension(names).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        (key, builder.build())
    }

    /// A server that sends back what it hears, with a certificate; and its address.
    async fn server(key: PKey<Private>, certificate: X509) -> SocketAddr {
        let mut context = SslContext::builder(SslMethod::dtls_server()).unwrap();
        context.set_private_key(&key).unwrap();
        context.set_certificate(&certificate).unwrap();
        context.set_options(SslOptions::NO_QUERY_MTU);
        let context = context.build();
        let socket = UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        drop(tokio::spawn(async move {
            let (_, client) = socket.peek_from(&mut [0; 1]).await.unwrap();
            socket.connect(client).await.unwrap();
            let mut ssl = Ssl::new(&context).unwrap();
            ssl.set_mtu(MTU).unwrap();
            let mut stream = SslStream::new(ssl, Socket::new(socket)).unwrap();
            stream.get_ref().io.writable().await.unwrap();
            while let Err(error) = stream.accept() {
                if error.code() != ErrorCode::WANT_READ {
                    return;
                }
                let _ = timeout(LOOK, stream.get_ref().io.readable()).await;
            }
            let mut session = Session { stream };
            let mut buf = [0; 2048];
            while let Some(octets) =
                core::future::poll_fn(|cx| session.poll_recv(cx, &mut buf)).await
            {
                assert_eq!(session.send(&buf[..octets]), Some(true));
            }
        }));
        address
    }

    async fn connect(
        roots: &[X509],
        server: SocketAddr,
        name: Option<&str>,
    ) -> Result<Session, ConnectFailure> {
        let roots: Vec<Vec<u8>> = roots.iter().map(|root| root.to_der().unwrap()).collect();
        let dtls = Dtls::new(roots.iter().map(Vec::as_slice)).unwrap();
        let socket = UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
        socket.connect(server).await.unwrap();
        let connecting = dtls.connect(socket, name, server.ip());
        timeout(Duration::from_secs(20), connecting).await.unwrap()
    }

    /// [rfc8489-6.2.3-8] [rfc8489-6.2.3-10]
    #[tokio::test]
    async fn a_trusted_rsa_certificate_for_the_name_is_accepted_and_datagrams_stay_whole() {
        for (of, name) in [
            ("relay.test", Some("relay.test")),
            ("relay.test", Some("relay.test.")),
            ("127.0.0.1", None),
        ] {
            let (key, root) = certificate(of, 1);
            let address = server(key, root.clone()).await;
            let mut session = connect(&[root], address, name).await.ok().unwrap();
            for length in [1, 36, 1200] {
                let message = vec![7; length];
                assert_eq!(session.send(&message), Some(true));
                let mut buf = [0; 2048];
                let received = core::future::poll_fn(|cx| session.poll_recv(cx, &mut buf)).await;
                assert_eq!(received.map(|octets| &buf[..octets]), Some(&message[..]));
            }
            session.close();
        }
    }

    async fn receive(session: &mut Session) -> Option<Vec<u8>> {
        let mut buf = [0; 2048];
        let received = core::future::poll_fn(|cx| session.poll_recv(cx, &mut buf));
        let octets = timeout(Duration::from_secs(20), received).await.unwrap()?;
        Some(buf[..octets].to_vec())
    }

    #[tokio::test]
    async fn a_message_that_is_too_long_is_lost_and_the_session_goes_on() {
        let (key, root) = certificate("relay.test", 1);
        let address = server(key, root.clone()).await;
        let mut session = connect(&[root], address, Some("relay.test")).await.ok().unwrap();
        assert_eq!(session.send(&[7; 20_000]), Some(false));
        assert_eq!(session.send(b"short"), Some(true));
        assert_eq!(receive(&mut session).await.as_deref(), Some(&b"short"[..]));
    }

    /// As when the way there is gone for a moment: here the socket takes nothing any more.
    #[tokio::test]
    async fn a_datagram_that_cannot_leave_is_lost_and_the_session_goes_on() {
        let (key, root) = certificate("relay.test", 1);
        let address = server(key, root.clone()).await;
        let mut session = connect(&[root], address, Some("relay.test")).await.ok().unwrap();
        assert_eq!(session.send(b"before"), Some(true));
        let socket = socket2::SockRef::from(&session.stream.get_ref().io).try_clone().unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(session.send(b"lost"), Some(false));
        assert_eq!(session.send(b"lost too"), Some(false));
        assert_eq!(receive(&mut session).await.as_deref(), Some(&b"before"[..]));
    }

    /// [rfc8489-6.2.3-8] [rfc8489-6.2.3-9] [rfc8489-6.2.3-10]
    #[tokio::test]
    async fn a_certificate_that_is_untrusted_expired_or_for_another_name_is_refused() {
        let (_, stranger) = certificate("relay.test", 1);
        for (of, name, days, trusted) in [
            ("other.test", Some("relay.test"), 1, true),
            ("relay.test", None, 1, true),
            ("relay.test", Some("relay.test"), 0, true),
            ("relay.test", Some("relay.test"), 1, false),
        ] {
            let (key, root) = certificate(of, days);
            let address = server(key, root.clone()).await;
            let roots = [if trusted { root } else { stranger.clone() }];
            let refused = connect(&roots, address, name).await.err();
            assert_eq!(refused, Some(ConnectFailure::Certificate), "{of} {days} {trusted}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_refuses() {
        let socket = UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        drop(socket);
        let refused = connect(&[], address, Some("relay.test")).await.err();
        assert_eq!(refused, Some(ConnectFailure::Refused));
    }
}
