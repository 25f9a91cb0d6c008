//! A data channel: ICE by floe, and DTLS, SCTP and data channels by the crates of webrtc-rs.
//!
//! ```text
//! data_channel offer|answer|--room URL [--address IP] [--stun IP:PORT]
//!              [--turn IP:PORT USER PASSWORD] [--relay] [--say TEXT]
//! ```
//!
//! With `offer` or `answer` it signals by lines of JSON on stdin and stdout, in the form that
//! browsers use: `{"type":"offer","sdp":"..."}`, `{"type":"candidate","candidate":{...}}`. With
//! `--room ws://host:port/room/name` it meets its peer at a `floe serve`: start it twice
//! (the room keeps a place for 30 s, so take another one next time).
//!
//! Each side opens a channel, says something on it, and gives back what it gets on the other's. When
//! both have heard their own words again, they leave. What happens is told on stderr.
//!
//! What somebody who writes a WebRTC stack wants to look at:
//!
//! 1. [`WebRtc`]: floe writes and reads the ICE lines of the SDP. The lines of DTLS and SCTP are
//!    added to what goes out, and read in what comes in, by a few lines around the signalling.
//! 2. [`secure`]: a [`floe::Connection`] *is* a `webrtc_util::Conn`. DTLS takes it as it is. Nobody
//!    else vouches for the peer than the fingerprint in its SDP, so that is what is verified.
//! 3. An ICE restart is none of DTLS's business: role and fingerprint stay what they were.
//! 4. Close from the top: the association closes DTLS, which says farewell and closes ICE.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use dtls::config::{ClientAuthType, Config as Dtls};
use dtls::conn::DTLSConn;
use dtls::crypto::Certificate;
use floe::Connection;
use floe::signaling::{Signal, Signaling, SignalingError, rooms::Side};
use sha2::{Digest, Sha256};
use webrtc_data::data_channel::{Config as Channel, DataChannel};
use webrtc_examples::{Failure, Options, leave};
use webrtc_sctp::association::{Association, Config as Sctp};

/// SCTP has ports of its own; inside DTLS all use this one.
const SCTP_PORT: u16 = 5000;
/// The longest message, octets.
const MAX_MESSAGE: u32 = 65_536;

/// What the peer's SDP says of DTLS.
#[derive(Clone, Default)]
struct Peer {
    /// The SHA-256 of its certificate.
    fingerprint: Option<String>,
    /// Whether we begin the handshake: settled by the first offer and answer.
    we_are_client: Option<bool>,
}

/// Signalling with the lines of DTLS and SCTP in each description.
struct WebRtc {
    inner: Box<dyn Signaling>,
    fingerprint: String,
    peer: Arc<Mutex<Peer>>,
}

impl WebRtc {
    /// Adds our lines: at the end, in the one section that there is [RFC 8841]; and the group that
    /// WebRTC wants even around one [RFC 9143].
    fn describe(&self, sdp: &mut String, setup: &str) {
        // It comes again where there was no room for it.
        if !sdp.contains("a=fingerprint:") {
            let mid = sdp.lines().find_map(|line| line.strip_prefix("a=mid:")).unwrap_or("0");
            *sdp = sdp.replacen("\nm=", &format!("\na=group:BUNDLE {mid}\r\nm="), 1);
            sdp.push_str(&format!("a=fingerprint:sha-256 {}\r\n", self.fingerprint));
            sdp.push_str(&format!("a=setup:{setup}\r\na=sctp-port:{SCTP_PORT}\r\n"));
            sdp.push_str(&format!("a=max-message-size:{MAX_MESSAGE}\r\n"));
        }
    }

    /// Reads the peer's. An offer leaves the choice to us (`actpass`), and we begin; an answer
    /// says what the peer chose. [RFC 8842]
    fn read(&self, sdp: &str, default: &str) {
        let line = |name: &str| sdp.lines().find_map(|line| line.strip_prefix(name));
        let mut peer = self.peer.lock().unwrap_or_else(PoisonError::into_inner);
        let setup = line("a=setup:").unwrap_or(default).trim();
        peer.we_are_client.get_or_insert(setup != "active");
        let fingerprint = line("a=fingerprint:sha-256 ").map(|text| text.trim().to_uppercase());
        peer.fingerprint = peer.fingerprint.take().or(fingerprint);
    }
}

impl Signaling for WebRtc {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        signal: &mut Option<Signal>,
    ) -> Poll<Result<(), SignalingError>> {
        let client = self.peer.lock().unwrap_or_else(PoisonError::into_inner).we_are_client;
        match signal {
            Some(Signal::Offer { sdp }) => self.describe(sdp, "actpass"),
            Some(Signal::Answer { sdp }) if client == Some(false) => self.describe(sdp, "passive"),
            Some(Signal::Answer { sdp }) => self.describe(sdp, "active"),
            Some(Signal::Candidate(_)) | None => {}
        }
        self.inner.poll_send(cx, signal)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SignalingError>> {
        self.inner.poll_flush(cx)
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Signal, SignalingError>>> {
        let polled = self.inner.poll_recv(cx);
        match &polled {
            Poll::Ready(Some(Ok(Signal::Offer { sdp }))) => self.read(sdp, "actpass"),
            Poll::Ready(Some(Ok(Signal::Answer { sdp }))) => self.read(sdp, "active"),
            Poll::Ready(_) | Poll::Pending => {}
        }
        polled
    }
}

/// A fingerprint as SDP has it. [RFC 8122]
fn fingerprint(certificate: &[u8]) -> String {
    let octets = Sha256::digest(certificate);
    octets.iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(":")
}

/// DTLS over a connection, with the peer that its SDP described and nobody else.
async fn secure(ice: Connection, ours: Certificate, peer: Peer) -> Result<DTLSConn, Failure> {
    let expected = peer.fingerprint.ok_or("the peer's SDP has no a=fingerprint:sha-256")?;
    let config = Dtls {
        certificates: vec![ours],
        // Both show a certificate, self-signed: no authority is asked, the fingerprint has to match.
        client_auth: ClientAuthType::RequireAnyClientCert,
        insecure_skip_verify: true,
        verify_peer_certificate: Some(Arc::new(move |shown, _| match shown.first() {
            Some(certificate) if fingerprint(certificate) == expected => Ok(()),
            _ => Err(dtls::Error::Other("the certificate is not that of the SDP".to_owned())),
        })),
        ..Dtls::default()
    };
    Ok(DTLSConn::new(Arc::new(ice), config, peer.we_are_client.unwrap_or(true), None).await?)
}

/// Gives back what comes on the peer's channel, until the peer closes it or leaves.
async fn echo(association: &Arc<Association>) -> Result<(), Failure> {
    let theirs = DataChannel::accept::<DataChannel>(association, Channel::default(), &[]).await?;
    eprintln!("the peer opened channel {:?}", theirs.config.label);
    let mut buf = vec![0; MAX_MESSAGE as usize];
    while let Ok((length @ 1.., text)) = theirs.read_data_channel(&mut buf).await {
        let data = Bytes::copy_from_slice(&buf[..length]);
        theirs.write_data_channel(&data, text).await?;
    }
    Ok(())
}

/// Opens a channel, says something, and waits until it comes back.
async fn say(association: &Arc<Association>, id: u16, text: String) -> Result<(), Failure> {
    let config = Channel { label: "floe".to_owned(), ..Channel::default() };
    let ours = DataChannel::dial(association, id, config).await?;
    ours.write_data_channel(&Bytes::from(text), true).await?;
    let mut buf = vec![0; MAX_MESSAGE as usize];
    let length = ours.read(&mut buf).await?;
    eprintln!("echo: {}", String::from_utf8_lossy(&buf[..length]));
    Ok(ours.close().await?)
}

async fn run() -> Result<(), Failure> {
    let options = Options::read()?;
    let (side, inner, _room) = options.meet().await?;
    let certificate = Certificate::generate_self_signed(["floe".to_owned()])?;
    let fingerprint = fingerprint(certificate.certificate.first().ok_or("no certificate")?);
    let peer = Arc::new(Mutex::new(Peer::default()));
    let signaling = WebRtc { inner, fingerprint, peer: Arc::clone(&peer) };
    let node = options.builder()?.bind().await?;
    let ice = match side {
        Side::Offerer => node.connect(signaling).await?,
        Side::Answerer => node.accept(signaling).await?,
    };
    eprintln!("connected");
    let peer = peer.lock().unwrap_or_else(PoisonError::into_inner).clone();
    // The DTLS client has the even channels. [RFC 8832]
    let id = if peer.we_are_client == Some(true) { 0 } else { 1 };
    let dtls = secure(ice, certificate, peer).await?;
    eprintln!("secured: the certificate is that of the SDP");
    let config = Sctp {
        net_conn: Arc::new(dtls),
        max_receive_buffer_size: 1 << 20,
        max_message_size: MAX_MESSAGE,
        mtu: 0,
        name: "floe".to_owned(),
        local_port: SCTP_PORT,
        remote_port: SCTP_PORT,
    };
    // In WebRTC both sides begin the association.
    let association = Arc::new(Association::client(config).await?);
    tokio::try_join!(say(&association, id, options.text), echo(&association))?;
    Ok(association.close().await?)
}

#[tokio::main]
async fn main() {
    leave(run().await);
}
