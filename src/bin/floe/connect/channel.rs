//! A data channel: SCTP within DTLS, without sockets. [RFC 8831] [RFC 8261]

use std::collections::VecDeque;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dimpl::{Config, Dtls, DtlsCertificate, Output};
use floe::adapters::data_channel::{Agreement, DtlsRole, Fingerprint};
use sctp_proto::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event,
    Payload, PayloadProtocolIdentifier, ServerConfig, StreamEvent, StreamId, Transmit,
    TransportConfig,
};

use super::dcep::Dcep;

/// The name of the channel that this side opens.
const LABEL: &str = "chat";
/// The longest packet of DTLS, octets: fits where ICE got through.
const MTU: usize = 1200;
/// What DTLS and SCTP add to data, octets.
const OVERHEAD: u32 = 100;
/// When a flight of the handshake is sent again at first; ICE knows that the path works.
const RTO: Duration = Duration::from_millis(250);
/// The longest message that is taken, octets: as much as browsers send.
pub(super) const MAX_MESSAGE: u32 = 256 * 1024;
/// The most streams of a peer.
const MAX_STREAMS: u16 = 64;
/// SCTP has no addresses within DTLS, only a place for them. [RFC 8261 §5]
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);

/// A certificate that is made for one run of the tool.
#[derive(Clone)]
pub(super) struct Identity {
    certificate: Vec<u8>,
    private_key: Vec<u8>,
}

impl Identity {
    /// Makes one.
    pub(super) fn new() -> Result<Self, rcgen::Error> {
        let made = rcgen::generate_simple_self_signed([])?;
        let certificate = made.cert.der().to_vec();
        Ok(Self { certificate, private_key: made.signing_key.serialize_der() })
    }

    /// The digest by which the peer knows it.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::sha256(sha256(&self.certificate))
    }
}

fn sha256(der: &[u8]) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::digest(der).into()
}

/// What happened to the channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ChannelEvent {
    /// It is open under this label: messages go both ways.
    Open(String),
    /// A text of the peer.
    Text(String),
    /// Octets of the peer that are no text.
    Binary(Vec<u8>),
    /// It is over.
    Closed(Ended),
}

/// Why a channel is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The peer closed it.
    Peer,
    /// The peer's certificate is not the one that its description spoke of.
    Certificate,
    /// The handshake failed, or the peer was not heard of for too long.
    Lost,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Peer => "the peer closed the channel",
            Self::Certificate => {
                "the peer's certificate has no SHA-256 fingerprint in its description; somebody may \
                 stand between, do not go on"
            }
            Self::Lost => "the channel is lost; wait for the peer to come back",
        })
    }
}

/// One data channel over one connection. Feed it the datagrams of the peer and the time, send what
/// [`poll_transmit`](Self::poll_transmit) returns.
pub(super) struct Channel {
    dtls: Dtls,
    dtls_due: Option<Instant>,
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Association)>,
    agreement: Agreement,
    /// Whether this side opens the channel.
    opens: bool,
    stream: Option<StreamId>,
    /// Whether the handshake of DTLS is over.
    is_connected: bool,
    is_open: bool,
    is_over: bool,
    /// SCTP packets of the peer that DTLS let through.
    received: VecDeque<Bytes>,
    packets: VecDeque<Vec<u8>>,
    /// The first flight, until something was heard of the peer.
    hello: Vec<Vec<u8>>,
    events: VecDeque<ChannelEvent>,
    buf: Vec<u8>,
}

impl Channel {
    /// Begins a channel; `opens` says whether this side opens it. `None` if DTLS refuses the
    /// certificate.
    pub(super) fn new(
        identity: &Identity,
        agreement: Agreement,
        opens: bool,
        now: Instant,
    ) -> Option<Self> {
        // The path is authenticated: nobody else can make us answer.
        let config = Config::builder().mtu(MTU).use_server_cookie(false).flight_start_rto(RTO);
        let config = Arc::new(config.build().ok()?);
        let Identity { certificate, private_key } = identity.clone();
        let mut dtls = Dtls::new_auto(config, DtlsCertificate { certificate, private_key }, now);
        dtls.set_active(agreement.role == DtlsRole::Client);
        let mut limits = EndpointConfig::new();
        limits.max_payload_size(MTU as u32 - OVERHEAD);
        let mut server = ServerConfig::new();
        server.transport = Arc::new(transport(&agreement));
        let endpoint = Endpoint::new(Arc::new(limits), Some(Arc::new(server)));
        let mut channel = Self {
            dtls,
            dtls_due: Some(now),
            endpoint,
            association: None,
            agreement,
            opens,
            stream: None,
            is_connected: false,
            is_open: false,
            is_over: false,
            received: VecDeque::new(),
            packets: VecDeque::new(),
            hello: Vec::new(),
            events: VecDeque::new(),
            buf: vec![0; 2048],
        };
        channel.handle_timeout(now);
        channel.hello = channel.packets.iter().cloned().collect();
        Some(channel)
    }

    /// Takes a datagram of the peer; what is no DTLS is skipped.
    pub(super) fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
        if self.is_over {
            return;
        }
        self.hello.clear();
        let taken = self.dtls.handle_timeout(now).and_then(|()| self.dtls.handle_packet(datagram));
        // Before the handshake is over anything may come, and in any order: the peer says it again,
        // and the handshake has an end of its own.
        if taken.is_err() && self.is_connected {
            self.end(Ended::Lost);
        }
        self.pump(now);
    }

    /// Says once more what began the handshake, if nothing was heard since: a peer whose own checks
    /// were not over may have passed over it.
    pub(super) fn begin_again(&mut self) {
        self.packets.extend(self.hello.drain(..));
    }

    /// Lets the time pass.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.is_over {
            return;
        }
        if self.dtls.handle_timeout(now).is_err() {
            self.end(Ended::Lost);
        }
        if let Some((_, association)) = &mut self.association
            && association.poll_timeout().is_some_and(|due| due <= now)
        {
            association.handle_timeout(now);
        }
        self.pump(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let sctp =
            self.association.as_ref().and_then(|(_, association)| association.poll_timeout());
        [sctp, self.dtls_due].into_iter().flatten().min().filter(|_| !self.is_over)
    }

    /// The next datagram for the peer.
    pub(super) fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.packets.pop_front()
    }

    /// What happened next.
    pub(super) fn poll_event(&mut self) -> Option<ChannelEvent> {
        self.events.pop_front()
    }

    /// Sends a text; false if the channel is not open, or the text longer than the peer takes.
    pub(super) fn send(&mut self, now: Instant, text: &str) -> bool {
        let limit = self.agreement.peer.max_message_size;
        let is_too_long = limit != 0 && text.len() as u64 > limit;
        if !self.is_open || self.is_over || is_too_long {
            return false;
        }
        // An empty message is one octet that does not count. [RFC 8831 §6.6]
        let sent = if text.is_empty() {
            self.write(&[0], PayloadProtocolIdentifier::StringEmpty)
        } else {
            self.write(text.as_bytes(), PayloadProtocolIdentifier::String)
        };
        self.pump(now);
        sent
    }

    /// Whether messages go both ways.
    pub(super) const fn is_open(&self) -> bool {
        self.is_open && !self.is_over
    }

    /// Octets that were sent, and the peer has not confirmed.
    pub(super) fn unconfirmed(&mut self) -> usize {
        let Some(id) = self.stream else { return 0 };
        let Some((_, association)) = &mut self.association else { return 0 };
        association.stream(id).and_then(|stream| stream.buffered_amount()).unwrap_or(0)
    }

    /// Says goodbye.
    pub(super) fn close(&mut self, now: Instant) {
        if let Some((_, association)) = &mut self.association {
            let _ = association.close();
        }
        self.pump(now);
        if self.dtls.close().is_ok() {
            self.pump_dtls();
        }
        self.is_over = true;
    }

    fn end(&mut self, why: Ended) {
        if !self.is_over {
            self.is_over = true;
            self.events.push_back(ChannelEvent::Closed(why));
        }
    }

    fn write(&mut self, message: &[u8], kind: PayloadProtocolIdentifier) -> bool {
        let Some(id) = self.stream else { return false };
        let Some((_, association)) = &mut self.association else { return false };
        let written = association.stream(id).and_then(|mut s| s.write_with_ppi(message, kind));
        written.is_ok()
    }

    /// Lets DTLS and SCTP work until nothing is left to do.
    fn pump(&mut self, now: Instant) {
        loop {
            self.pump_dtls();
            while let Some(packet) = self.received.pop_front() {
                self.take(now, packet);
            }
            if !self.pump_sctp(now) || self.is_over {
                break;
            }
        }
    }

    fn pump_dtls(&mut self) {
        loop {
            let end = match self.dtls.poll_output(&mut self.buf) {
                Output::Packet(packet) => {
                    self.packets.push_back(packet.to_vec());
                    None
                }
                Output::BufferTooSmall { needed } => {
                    self.buf.resize(needed, 0);
                    None
                }
                Output::Timeout(due) => {
                    self.dtls_due = Some(due);
                    return;
                }
                Output::Connected => {
                    self.associate();
                    None
                }
                Output::PeerCert(certificate) => {
                    let digest = sha256(certificate);
                    let peer = &self.agreement.peer;
                    let is_known = peer
                        .fingerprints
                        .iter()
                        .any(|known| known.hash == "sha-256" && known.digest == digest);
                    (!is_known).then_some(Ended::Certificate)
                }
                Output::ApplicationData(data) => {
                    self.received.push_back(Bytes::copy_from_slice(data));
                    None
                }
                Output::CloseNotify => Some(Ended::Peer),
                Output::KeyingMaterial(..) | _ => None,
            };
            if let Some(end) = end {
                self.end(end);
                return;
            }
        }
    }

    /// DTLS is there: its client begins SCTP.
    fn associate(&mut self) {
        self.is_connected = true;
        if self.agreement.role == DtlsRole::Client && self.association.is_none() {
            let mut config = ClientConfig::new();
            config.transport = Arc::new(transport(&self.agreement));
            self.association = self.endpoint.connect(config, PEER).ok();
        }
    }

    /// Takes an SCTP packet.
    fn take(&mut self, now: Instant, packet: Bytes) {
        let Some((handle, event)) = self.endpoint.handle(now, PEER, None, None, packet) else {
            return;
        };
        match event {
            DatagramEvent::NewAssociation(association) => {
                self.association.get_or_insert((handle, association));
                // One is all there is.
                self.endpoint.reject_new_associations();
            }
            DatagramEvent::AssociationEvent(event) => {
                if let Some((known, association)) = &mut self.association
                    && *known == handle
                {
                    association.handle_event(event);
                }
            }
        }
    }

    /// Lets SCTP work; whether it did something.
    fn pump_sctp(&mut self, now: Instant) -> bool {
        let mut worked = false;
        while let Some(transmit) = self.endpoint.poll_transmit() {
            worked = true;
            self.transmit(transmit);
        }
        loop {
            let Some((handle, association)) = &mut self.association else { return worked };
            if let Some(event) = association.poll_endpoint_event() {
                if let Some(event) = self.endpoint.handle_event(*handle, event) {
                    association.handle_event(event);
                }
            } else if let Some(event) = association.poll() {
                self.note(event);
            } else if let Some(transmit) = association.poll_transmit(now) {
                self.transmit(transmit);
            } else {
                return worked;
            }
            worked = true;
        }
    }

    fn transmit(&mut self, transmit: Transmit) {
        let Payload::RawEncode(packets) = transmit.payload else { return };
        for packet in packets {
            if self.dtls.send_application_data(&packet).is_err() {
                self.end(Ended::Lost);
                return;
            }
            self.pump_dtls();
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "non-exhaustive outside its crate")]
    fn note(&mut self, event: Event) {
        match event {
            Event::Connected if self.opens => self.open(),
            Event::HandshakeFailed { .. } => self.end(Ended::Lost),
            Event::AssociationLost { .. } => self.end(Ended::Peer),
            Event::Stream(StreamEvent::Opened { id } | StreamEvent::Readable { id }) => {
                self.read(id);
            }
            Event::Stream(StreamEvent::Finished { id }) if self.stream == Some(id) => {
                self.end(Ended::Peer);
            }
            _ => {}
        }
    }

    /// Opens the channel: the client of DTLS takes even numbers. [RFC 8832 §6]
    fn open(&mut self) {
        let id = match self.agreement.role {
            DtlsRole::Client => 0,
            DtlsRole::Server => 1,
        };
        let Some((_, association)) = &mut self.association else { return };
        if association.open_stream(id, PayloadProtocolIdentifier::Binary).is_ok() {
            self.stream = Some(id);
            self.write(&Dcep::Open(LABEL.into()).write(), PayloadProtocolIdentifier::Dcep);
        }
    }

    fn read(&mut self, id: StreamId) {
        loop {
            let Some((_, association)) = &mut self.association else { return };
            while association.accept_stream().is_some() {}
            let read = association.stream(id).and_then(|mut stream| stream.read_sctp());
            let Ok(Some(message)) = read else { return };
            let mut octets = vec![0; message.len()];
            if message.read(&mut octets).is_ok() {
                self.message(id, message.ppi, octets);
            }
        }
    }

    fn message(&mut self, id: StreamId, kind: PayloadProtocolIdentifier, octets: Vec<u8>) {
        let event = match kind {
            PayloadProtocolIdentifier::Dcep => match Dcep::read(&octets) {
                Some(Dcep::Open(label)) => {
                    let reply = Dcep::Ack.write();
                    let own = self.stream.replace(id);
                    self.write(&reply, PayloadProtocolIdentifier::Dcep);
                    // The first channel is the one that is written to.
                    self.stream = own.or(self.stream);
                    (own.is_none()).then_some(ChannelEvent::Open(label))
                }
                Some(Dcep::Ack) if self.stream == Some(id) && !self.is_open => {
                    Some(ChannelEvent::Open(LABEL.into()))
                }
                Some(Dcep::Ack) | None => None,
            },
            PayloadProtocolIdentifier::String => {
                Some(ChannelEvent::Text(String::from_utf8_lossy(&octets).into_owned()))
            }
            PayloadProtocolIdentifier::StringEmpty => Some(ChannelEvent::Text(String::new())),
            PayloadProtocolIdentifier::Binary => Some(ChannelEvent::Binary(octets)),
            PayloadProtocolIdentifier::BinaryEmpty => Some(ChannelEvent::Binary(Vec::new())),
            PayloadProtocolIdentifier::Unknown => None,
        };
        self.is_open |= matches!(event, Some(ChannelEvent::Open(_)));
        self.events.extend(event);
    }
}

fn transport(agreement: &Agreement) -> TransportConfig {
    let longest = u32::try_from(agreement.peer.max_message_size).unwrap_or(u32::MAX);
    let longest = if longest == 0 { u32::MAX } else { longest };
    TransportConfig::default()
        .with_max_send_message_size(longest)
        .with_max_receive_message_size(MAX_MESSAGE)
        .with_max_num_inbound_streams(MAX_STREAMS)
        .with_max_num_outbound_streams(MAX_STREAMS)
        .with_max_init_retransmits(None)
        .with_rto_initial_ms(500)
        .with_rto_min_ms(200)
        .with_rto_max_ms(10_000)
        .with_remote_port(agreement.peer.sctp_port)
}

#[cfg(test)]
mod tests {
    use std::iter::from_fn;

    use floe::adapters::data_channel::DataChannel;

    use super::*;

    /// Two ends, and the time.
    struct Pair {
        ends: [Channel; 2],
        now: Instant,
    }

    impl Pair {
        fn new(claimed: impl Fn(&Identity) -> Fingerprint) -> Self {
            let identities = [Identity::new().unwrap(), Identity::new().unwrap()];
            let now = tokio::time::Instant::now().into_std();
            let end = |own: usize, role, opens| {
                let agreement = agreement(role, claimed(&identities[1 - own]));
                Channel::new(&identities[own], agreement, opens, now).unwrap()
            };
            Self { ends: [end(0, DtlsRole::Client, false), end(1, DtlsRole::Server, true)], now }
        }

        /// Lets packets and time pass, every `nth` packet lost, until nothing happens for long.
        fn run(&mut self, nth: usize) -> [Vec<ChannelEvent>; 2] {
            let mut seen = [Vec::new(), Vec::new()];
            let mut count = 0;
            let until = self.now + Duration::from_secs(20);
            while self.now < until {
                let mut quiet = true;
                for (from, seen) in seen.iter_mut().enumerate() {
                    while let Some(packet) = self.ends[from].poll_transmit() {
                        assert!(packet.len() <= MTU, "{}", packet.len());
                        quiet = false;
                        count += 1;
                        if nth == 0 || count % nth != 0 {
                            self.ends[1 - from].handle_datagram(self.now, &packet);
                        }
                    }
                    while let Some(event) = self.ends[from].poll_event() {
                        seen.push(event);
                    }
                }
                if quiet {
                    let due = self.ends.iter().filter_map(Channel::poll_timeout).min();
                    self.now = due.unwrap_or(until).max(self.now + Duration::from_millis(1));
                    for end in &mut self.ends {
                        end.handle_timeout(self.now);
                    }
                }
            }
            seen
        }
    }

    fn agreement(role: DtlsRole, fingerprint: Fingerprint) -> Agreement {
        Agreement::new(role, DataChannel::new(fingerprint))
    }

    #[test]
    fn both_ends_open_and_texts_go_both_ways() {
        let mut pair = Pair::new(Identity::fingerprint);
        let open = || vec![ChannelEvent::Open(LABEL.into())];
        assert_eq!(pair.run(0), [open(), open()]);
        let long = "x".repeat(100_000);
        assert!(pair.ends[0].send(pair.now, "hello") && pair.ends[1].send(pair.now, &long));
        assert!(pair.ends[0].send(pair.now, ""));
        let texts = |texts: &[&str]| -> Vec<ChannelEvent> {
            texts.iter().map(|text| ChannelEvent::Text((*text).into())).collect()
        };
        assert_eq!(pair.run(0), [texts(&[&long]), texts(&["hello", ""])]);
        assert_eq!(pair.ends[0].unconfirmed(), 0);
    }

    #[test]
    fn every_fifth_packet_may_be_lost() {
        let mut pair = Pair::new(Identity::fingerprint);
        let open = || vec![ChannelEvent::Open(LABEL.into())];
        assert_eq!(pair.run(5), [open(), open()]);
        let long = "y".repeat(20_000);
        assert!(pair.ends[0].send(pair.now, &long));
        assert_eq!(pair.run(5)[1], [ChannelEvent::Text(long)]);
    }

    #[test]
    fn noise_and_disorder_before_the_handshake_end_nothing() {
        let mut pair = Pair::new(Identity::fingerprint);
        let now = pair.now;
        for noise in [&b""[..], b"x", &[22; 40], &[20; 60], &[0; 1200]] {
            pair.ends[0].handle_datagram(now, noise);
            pair.ends[1].handle_datagram(now, noise);
        }
        // The answer to the first flight comes back to front.
        while let Some(packet) = pair.ends[0].poll_transmit() {
            pair.ends[1].handle_datagram(now, &packet);
        }
        let mut flight: Vec<_> = from_fn(|| pair.ends[1].poll_transmit()).collect();
        flight.reverse();
        for packet in &flight {
            pair.ends[0].handle_datagram(now, packet);
        }
        let open = || vec![ChannelEvent::Open(LABEL.into())];
        assert_eq!(pair.run(0), [open(), open()]);
    }

    #[test]
    fn what_began_the_handshake_is_said_once_more_until_the_peer_is_heard() {
        let flight = |end: &mut Channel| -> Vec<_> { from_fn(|| end.poll_transmit()).collect() };
        let mut pair = Pair::new(Identity::fingerprint);
        let now = pair.now;
        let first = flight(&mut pair.ends[0]);
        pair.ends[0].begin_again();
        assert_eq!(flight(&mut pair.ends[0]), first);
        pair.ends[0].begin_again();
        assert!(flight(&mut pair.ends[0]).is_empty());
        // Both may arrive.
        for packet in first.iter().chain(&first) {
            pair.ends[1].handle_datagram(now, packet);
        }
        let open = || vec![ChannelEvent::Open(LABEL.into())];
        assert_eq!(pair.run(0), [open(), open()]);

        let mut pair = Pair::new(Identity::fingerprint);
        pair.ends[0].handle_datagram(pair.now, b"x");
        flight(&mut pair.ends[0]);
        pair.ends[0].begin_again();
        assert!(flight(&mut pair.ends[0]).is_empty());
    }

    #[test]
    fn another_certificate_is_refused() {
        let mut pair = Pair::new(|_| Fingerprint::sha256([7; 32]));
        let seen = pair.run(0);
        assert_eq!(seen[0], [ChannelEvent::Closed(Ended::Certificate)]);
        assert!(!seen[1].iter().any(|event| matches!(event, ChannelEvent::Open(_))), "{seen:?}");
    }

    #[test]
    fn a_farewell_is_heard() {
        let mut pair = Pair::new(Identity::fingerprint);
        pair.run(0);
        let now = pair.now;
        pair.ends[0].close(now);
        assert_eq!(pair.run(0)[1], [ChannelEvent::Closed(Ended::Peer)]);
    }

    #[test]
    fn noise_ends_nothing() {
        let mut pair = Pair::new(Identity::fingerprint);
        pair.run(0);
        let now = pair.now;
        for noise in [&b""[..], b"x", &[22; 40], &[0; 1200]] {
            pair.ends[0].handle_datagram(now, noise);
        }
        assert!(pair.ends[1].send(now, "still here"));
        assert_eq!(pair.run(0)[0], [ChannelEvent::Text("still here".into())]);
    }

    #[test]
    fn what_is_longer_than_the_peer_takes_is_not_sent() {
        let mut pair = Pair::new(Identity::fingerprint);
        pair.run(0);
        let now = pair.now;
        assert!(!pair.ends[0].send(now, &"z".repeat(256 * 1024 + 1)));
        assert!(pair.ends[0].send(now, "short"));
    }
}
