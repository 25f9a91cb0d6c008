//! TLS to TURN servers: whom we trust, and what we accept. [RFC 8489 §6.2.3] [RFC 9325]

#[cfg(feature = "tls")]
pub use with_tls::RootsError;
#[cfg(feature = "tls")]
pub(super) use with_tls::{Secure, Tls};
#[cfg(not(feature = "tls"))]
pub(super) use without_tls::{Secure, Tls};

#[cfg(feature = "tls")]
mod with_tls {
    use core::fmt;
    use std::io;
    use std::net::IpAddr;
    use std::sync::Arc;

    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore};
    use tracing::{debug, warn};

    use super::super::url::ServerUrl;
    use crate::net::ConnectFailure;

    /// What was given is no certificate in PEM or DER, or none that can vouch for others.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RootsError;

    impl fmt::Display for RootsError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("not a certificate; give PEM with BEGIN CERTIFICATE, or DER")
        }
    }

    impl core::error::Error for RootsError {}

    /// What the builder knows about TLS: the certificates that were given.
    #[derive(Clone, Default)]
    pub(in super::super) struct Secure {
        roots: Vec<CertificateDer<'static>>,
    }

    impl Secure {
        /// Adds certificates that are trusted, in the place of the system's.
        pub(in super::super) fn trust(&mut self, certificates: &[u8]) -> Result<(), RootsError> {
            let is_pem = certificates.windows(11).any(|octets| octets == b"-----BEGIN ");
            let certificates = if is_pem {
                let read = CertificateDer::pem_slice_iter(certificates).collect::<Result<_, _>>();
                read.map_err(|_| RootsError)?
            } else {
                vec![CertificateDer::from(certificates.to_vec())]
            };
            if certificates.is_empty() {
                return Err(RootsError);
            }
            for certificate in &certificates {
                RootCertStore::empty().add(certificate.clone()).map_err(|_| RootsError)?;
            }
            self.roots.extend(certificates);
            Ok(())
        }

        /// Makes what opens connections; asks the system for its certificates if they are needed.
        pub(in super::super) async fn load(&self, urls: &[ServerUrl]) -> Tls {
            let is_secure = |url: &ServerUrl| match url {
                ServerUrl::Stun(_) => false,
                ServerUrl::Turn(url) => url.is_secure(),
            };
            if !urls.iter().any(is_secure) {
                return Tls::default();
            }
            if !self.roots.is_empty() {
                return Tls::new(&self.roots);
            }
            Tls::of_the_system().await
        }
    }

    fn of_the_system() -> Vec<CertificateDer<'static>> {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            debug!(%error, "certificates of the system");
        }
        found.certs
    }

    /// Opens TLS connections and DTLS sessions.
    #[derive(Clone, Default)]
    pub(in super::super) struct Tls {
        config: Option<Arc<ClientConfig>>,
        #[cfg(feature = "dtls")]
        pub(in super::super) dtls: Option<super::super::dtls::Dtls>,
    }

    impl Tls {
        /// Trusts whom the system trusts.
        pub(in super::super) async fn of_the_system() -> Self {
            let roots = tokio::task::spawn_blocking(of_the_system).await.unwrap_or_default();
            if roots.is_empty() {
                warn!("the system trusts no certificate: no TLS server will be accepted");
            }
            Self::new(&roots)
        }

        /// TLS 1.2 and 1.3 with ephemeral keys and AEAD alone, as rustls has them with `ring`: no
        /// compression, no renegotiation, no deprecated suite to disable. [rfc8489-6.2.3-1]
        /// [rfc8489-6.2.3-2] [rfc8489-6.2.3-3] [rfc8489-6.2.3-4] [rfc8489-6.2.3-5]
        /// [rfc8489-6.2.3-6] [rfc8489-6.2.3-7] [rfc8489-16-1]
        /// [rfc8656-3.1-1]
        fn new(certificates: &[CertificateDer<'static>]) -> Self {
            let mut roots = RootCertStore::empty();
            let _ = roots.add_parsable_certificates(certificates.iter().cloned());
            let provider = Arc::new(ring::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map(|builder| builder.with_root_certificates(roots).with_no_client_auth());
            if let Err(error) = &config {
                debug!(%error, "no TLS");
            }
            Self {
                config: config.ok().map(Arc::new),
                #[cfg(feature = "dtls")]
                dtls: super::super::dtls::Dtls::new(certificates.iter().map(AsRef::as_ref)).ok(),
            }
        }

        /// Shakes hands; nothing is sent before the certificate was found to be trusted and to be
        /// for `name`, or for `ip` where there is none. [rfc8489-6.2.3-8] [rfc8489-6.2.3-9]
        /// [rfc8489-6.2.3-10]
        pub(in super::super) async fn connect(
            &self,
            stream: TcpStream,
            name: Option<&str>,
            ip: IpAddr,
        ) -> Result<TlsStream<TcpStream>, ConnectFailure> {
            let config = self.config.clone().ok_or(ConnectFailure::Unsupported)?;
            let name = match name {
                // No certificate is for what is no name.
                Some(name) => ServerName::try_from(name.to_owned())
                    .map_err(|_| ConnectFailure::Certificate)?,
                None => ServerName::IpAddress(ip.into()),
            };
            let shaken = TlsConnector::from(config).connect(name, stream).await;
            shaken.map_err(|error| {
                debug!(%error, "TLS handshake");
                failure(&error)
            })
        }
    }

    fn failure(error: &io::Error) -> ConnectFailure {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let distrusted = tls.is_some_and(|error| {
            matches!(error, Error::InvalidCertificate(_) | Error::NoCertificatesPresented)
        });
        if distrusted { ConnectFailure::Certificate } else { ConnectFailure::Handshake }
    }
}

#[cfg(not(feature = "tls"))]
mod without_tls {
    use std::net::IpAddr;

    use tokio::net::TcpStream;

    use super::super::url::ServerUrl;
    use crate::net::ConnectFailure;

    /// What the builder knows about TLS: nothing.
    #[derive(Clone, Default)]
    pub(in super::super) struct Secure {}

    impl Secure {
        pub(in super::super) async fn load(&self, _urls: &[ServerUrl]) -> Tls {
            Tls {}
        }
    }

    /// Opens no TLS connection.
    #[derive(Clone, Default)]
    pub(in super::super) struct Tls {}

    impl Tls {
        #[cfg(any(feature = "websocket", feature = "whip"))]
        pub(in super::super) async fn of_the_system() -> Self {
            Self {}
        }

        pub(in super::super) async fn connect(
            &self,
            _stream: TcpStream,
            _name: Option<&str>,
            _ip: IpAddr,
        ) -> Result<TcpStream, ConnectFailure> {
            Err(ConnectFailure::Unsupported)
        }
    }
}

#[cfg(feature = "tls")]
#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

    use super::super::url::ServerUrl;
    use super::{RootsError, Secure};
    use crate::net::ConnectFailure;

    const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    type Issuer = CertifiedIssuer<'static, KeyPair>;

    fn authority() -> Issuer {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn server_for(name: &str) -> CertificateParams {
        CertificateParams::new(vec![name.to_owned()]).unwrap()
    }

    /// Shakes hands with a server that has a certificate of `params`, and says something if the
    /// client accepts that. Returns what the client came to, and what the server heard.
    async fn shake(
        roots: &[u8],
        issuer: &Issuer,
        params: CertificateParams,
        name: Option<&str>,
    ) -> (Result<(), ConnectFailure>, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut heard = Vec::new();
            if let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await {
                let _ = stream.read_to_end(&mut heard).await;
            }
            heard
        };
        let mut secure = Secure::default();
        secure.trust(roots).unwrap();
        let url = ServerUrl::Turn("turns:relay.test".parse().unwrap());
        let client = async {
            let tls = secure.load(&[url]).await;
            let stream = TcpStream::connect(address).await.unwrap();
            let mut stream = tls.connect(stream, name, LOCALHOST).await?;
            stream.write_all(b"secret").await.unwrap();
            stream.shutdown().await.unwrap();
            Ok(())
        };
        tokio::join!(client, server)
    }

    /// [rfc8489-6.2.3-8] [rfc8489-6.2.3-10]
    #[tokio::test]
    async fn a_certificate_of_a_trusted_authority_for_the_name_is_accepted() {
        let ca = authority();
        for (of, name) in [
            ("relay.test", Some("relay.test")),
            ("relay.test", Some("Relay.Test")),
            ("relay.test", Some("relay.test.")),
            ("*.relay.test", Some("eu.relay.test")),
            ("127.0.0.1", None),
        ] {
            let (outcome, heard) = shake(ca.der(), &ca, server_for(of), name).await;
            assert_eq!((outcome, heard.as_slice()), (Ok(()), &b"secret"[..]), "{of}");
        }
        let (outcome, _) =
            shake(ca.pem().as_bytes(), &ca, server_for("relay.test"), Some("relay.test")).await;
        assert_eq!(outcome, Ok(()));
    }

    /// [rfc8489-6.2.3-8] [rfc8489-6.2.3-9] [rfc8489-6.2.3-10]
    #[tokio::test]
    async fn to_whoever_has_a_certificate_for_another_name_nothing_is_sent() {
        let ca = authority();
        for (of, name) in [
            ("other.test", Some("relay.test")),
            ("relay.test", Some("eu.relay.test")),
            ("*.test", Some("eu.relay.test")),
            ("relay.test", None),
            ("127.0.0.2", None),
            ("127.0.0.1", Some("relay.test")),
            ("relay.test", Some("no name at all")),
        ] {
            let (outcome, heard) = shake(ca.der(), &ca, server_for(of), name).await;
            assert_eq!((outcome, heard.len()), (Err(ConnectFailure::Certificate), 0), "{of}");
        }
    }

    /// [rfc8489-6.2.3-8] [rfc8489-6.2.3-9]
    #[tokio::test]
    async fn to_whoever_has_an_untrusted_or_expired_certificate_nothing_is_sent() {
        let (ca, stranger) = (authority(), authority());
        let name = Some("relay.test");
        let untrusted = shake(ca.der(), &stranger, server_for("relay.test"), name).await;
        assert_eq!(untrusted, (Err(ConnectFailure::Certificate), Vec::new()));
        let mut expired = server_for("relay.test");
        expired.not_before = rcgen::date_time_ymd(2001, 1, 1);
        expired.not_after = rcgen::date_time_ymd(2002, 1, 1);
        let expired = shake(ca.der(), &ca, expired, name).await;
        assert_eq!(expired, (Err(ConnectFailure::Certificate), Vec::new()));
        let mut early = server_for("relay.test");
        early.not_before = rcgen::date_time_ymd(4000, 1, 1);
        let early = shake(ca.der(), &ca, early, name).await;
        assert_eq!(early, (Err(ConnectFailure::Certificate), Vec::new()));
    }

    #[tokio::test]
    async fn what_does_not_speak_tls_is_no_certificate_but_a_failed_handshake() {
        let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut secure = Secure::default();
        secure.trust(authority().der()).unwrap();
        let url = ServerUrl::Turn("turns:relay.test".parse().unwrap());
        let tls = secure.load(&[url]).await;
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        };
        let client = async {
            let stream = TcpStream::connect(address).await.unwrap();
            tls.connect(stream, Some("relay.test"), LOCALHOST).await.err()
        };
        assert_eq!(tokio::join!(server, client).1, Some(ConnectFailure::Handshake));
    }

    #[test]
    fn what_is_no_certificate_is_not_trusted() {
        let mut secure = Secure::default();
        let empty = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
        for text in ["", "certificate", "-----BEGIN PRIVATE KEY-----", empty] {
            assert_eq!(secure.trust(text.as_bytes()), Err(RootsError), "{text}");
        }
    }

    /// What a hello offers is all there can be: AEAD with ephemeral keys, and no compression.
    /// [rfc8489-6.2.3-3] [rfc8489-6.2.3-4] [rfc8489-6.2.3-5] [rfc8489-6.2.3-6] [rfc8489-6.2.3-7]
    /// [rfc8489-16-1] [rfc8656-3.1-1]
    #[tokio::test]
    async fn nothing_weak_is_offered() {
        // TLS 1.3 has no others; then ECDHE with AES in GCM or ChaCha20; then the mark that stands
        // for secure renegotiation.
        const GOOD: [u16; 10] =
            [0x1301, 0x1302, 0x1303, 0xC02B, 0xC02C, 0xC02F, 0xC030, 0xCCA8, 0xCCA9, 0x00FF];
        let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut secure = Secure::default();
        secure.trust(authority().der()).unwrap();
        let url = ServerUrl::Turn("turns:relay.test".parse().unwrap());
        let tls = secure.load(&[url]).await;
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut hello = [0; 2048];
            let length = stream.read(&mut hello).await.unwrap();
            hello[..length].to_vec()
        };
        let client = async {
            let stream = TcpStream::connect(address).await.unwrap();
            tls.connect(stream, Some("relay.test"), LOCALHOST).await.err()
        };
        let (hello, failure) = tokio::join!(server, client);
        assert_eq!(failure, Some(ConnectFailure::Handshake));
        // The headers of record and message, version, random; then three lists with their lengths.
        let (session, rest) = hello[44..].split_at(usize::from(hello[43]));
        assert!(session.len() <= 32);
        let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
        let (suites, rest) = rest[2..].split_at(length);
        let suites: Vec<u16> =
            suites.chunks(2).map(|suite| u16::from_be_bytes([suite[0], suite[1]])).collect();
        assert!(suites.iter().all(|suite| GOOD.contains(suite)), "{suites:#06x?}");
        assert!(suites.contains(&0xC02F), "for servers of old: {suites:#06x?}");
        assert_eq!(rest[..2], [1, 0], "no compression");
    }
}
