//! What stands before a TURN server: TLS, and a wire that treats octets badly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::LOCALHOST;

pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

pub(crate) fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

pub(crate) fn certificate_for(name: &str) -> CertificateParams {
    CertificateParams::new(vec![name.to_owned()]).unwrap()
}

/// How a front passes octets on.
#[derive(Clone)]
pub(crate) enum Wire {
    Plain,
    /// One octet at a time.
    Dribble,
    /// What clients send is not read while this is true.
    Stall(watch::Receiver<bool>),
    Tls(TlsAcceptor),
}

impl Wire {
    /// TLS with a certificate that `issuer` signed.
    pub(crate) fn tls(issuer: &Authority, params: &CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Self::Tls(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Passes TCP connections on to a server.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Front {
    pub(crate) async fn start(server: SocketAddr, wire: Wire) -> Self {
        let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            let mut clients = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                client.set_nodelay(true).unwrap();
                clients.spawn(pass(client, server, wire.clone(), Arc::clone(&count)));
            }
        });
        Self { address, accepted, task }
    }

    /// How many connections came through, handshake included.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Front {
    /// All connections break.
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut client: TcpStream, server: SocketAddr, wire: Wire, accepted: Arc<AtomicU64>) {
    let mut server = TcpStream::connect(server).await.unwrap();
    server.set_nodelay(true).unwrap();
    match wire {
        Wire::Plain => {
            accepted.fetch_add(1, Ordering::Relaxed);
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
        Wire::Dribble => {
            accepted.fetch_add(1, Ordering::Relaxed);
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            tokio::join!(dribble(from_client, to_server), dribble(from_server, to_client));
        }
        Wire::Stall(stalled) => {
            accepted.fetch_add(1, Ordering::Relaxed);
            let (from_client, to_client) = client.split();
            let (mut from_server, to_server) = server.split();
            let mut to_client = to_client;
            let back = async { drop(tokio::io::copy(&mut from_server, &mut to_client).await) };
            tokio::join!(stall(from_client, to_server, stalled), back);
        }
        Wire::Tls(acceptor) => {
            let Ok(mut client) = acceptor.accept(client).await else { return };
            accepted.fetch_add(1, Ordering::Relaxed);
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
    }
}

/// Passes octets on, and reads none while it is not to.
async fn stall(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut stalled: watch::Receiver<bool>,
) {
    let mut octets = [0; 1024];
    while stalled.wait_for(|stalled| !stalled).await.is_ok() {
        let Ok(length @ 1..) = from.read(&mut octets).await else { return };
        if to.write_all(&octets[..length]).await.is_err() {
            return;
        }
    }
}

/// Passes octets on one by one, each a segment of its own.
async fn dribble(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    while let Ok(octet) = from.read_u8().await {
        if to.write_u8(octet).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
}
