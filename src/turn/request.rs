//! Requests: what is asked, how it is written, and the transactions under way.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use crate::net::{MIN_TRANSMIT, Transport};
use crate::rng::{Purpose, Seed, Stream};
use crate::stun::{
    AttributeType, BufferTooSmall, ClientTransaction, Encoder, LongTerm, MessageClass, Method,
    RtoEstimator, TransactionId, TransactionStep,
};
use crate::time::{Instant, earlier};

use super::{ClientConfig, Families, LIFETIME_DEFAULT, RelayProtocol};

/// The most transactions under way at a time. [rfc8489-6.2-1] [rfc8489-6.2-2]
const MAX_OUTSTANDING: usize = 10;
/// How often one request is tried anew because of a challenge.
const MAX_CHALLENGES: u8 = 4;
/// How often the request is sent that gives an allocation back, and how long it waits after that
/// in units of the RTO: nobody waits for the answer for long.
const RELEASE_RC: u8 = 3;
const RELEASE_RM: u8 = 4;
/// However long the server took for its answers before.
const RELEASE_RTO: Duration = Duration::from_secs(1);
/// The same over a stream.
const RELEASE_TI: Duration = Duration::from_secs(3);

/// The protocol numbers of UDP and TCP. [rfc8656-7.1-4]
const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_TCP: u8 = 6;
/// The number of the family IPv6. [rfc8656-7.1-7]
const FAMILY_IPV6: u8 = 2;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// An allocation.
    Allocate {
        /// Relayed addresses of these families.
        families: Families,
        /// Whether the server can send with the don't-fragment bit.
        dont_fragment: bool,
    },
    /// That the allocation lives longer.
    Refresh,
    /// The end of the allocation.
    Release,
    /// Permissions.
    Permissions(Vec<IpAddr>),
    /// A channel.
    Channel { number: u16, peer: SocketAddr },
    /// A TCP connection from the relayed address.
    Connect(SocketAddr),
}

impl Ask {
    pub(super) const fn method(&self) -> Method {
        match self {
            Self::Allocate { .. } => Method::ALLOCATE,
            Self::Refresh | Self::Release => Method::REFRESH,
            Self::Permissions(_) => Method::CREATE_PERMISSION,
            Self::Channel { .. } => Method::CHANNEL_BIND,
            Self::Connect(_) => Method::CONNECT,
        }
    }

    /// Adds the attributes of the method. What is reserved is zero. [rfc8656-18-1]
    fn attributes<'b>(&self, encoder: Encoder<'b>, config: &ClientConfig) -> Encoder<'b> {
        match self {
            Self::Allocate { families, dont_fragment } => {
                allocate(software(encoder, config), config, *families, *dont_fragment)
            }
            // Of all families that there are: none is named. [rfc8656-8.1-1]
            Self::Refresh => lifetime(software(encoder, config), config),
            Self::Release => software(encoder, config).u32(AttributeType::LIFETIME, 0),
            Self::Permissions(ips) => ips.iter().fold(encoder, |encoder, ip| {
                let peer = SocketAddr::new(*ip, 0);
                encoder.xor_address(AttributeType::XOR_PEER_ADDRESS, peer)
            }),
            // The octets after the number are reserved. [rfc8656-18.1-1a]
            Self::Channel { number, peer } => encoder
                .u32(AttributeType::CHANNEL_NUMBER, u32::from(*number) << 16)
                .xor_address(AttributeType::XOR_PEER_ADDRESS, *peer),
            // [rfc6062-4.3-1] [rfc6062-4.3-2]
            Self::Connect(peer) => encoder.xor_address(AttributeType::XOR_PEER_ADDRESS, *peer),
        }
    }
}

/// What ADDITIONAL-ADDRESS-FAMILY was before RFC 8656 had a number for it: coturn up to 4.6.1 knows
/// no other. Who knows neither ignores it.
const ADDITIONAL_ADDRESS_FAMILY_DRAFT: AttributeType = AttributeType(0x8032);

/// At most one of the two family attributes, and none for IPv4 alone, which old servers give
/// without knowing them. [rfc8656-7.1-4] [rfc8656-7.1-5] [rfc8656-7.1-7] [rfc8656-7.1-8]
/// [rfc8656-7.1-12] [rfc8656-18.6-1a] [rfc8656-18.8-1a] [rfc8656-18.11-1] [rfc6062-4.1-3]
///
/// No ports are reserved, as only RTP of old needs that: neither EVEN-PORT nor RESERVATION-TOKEN is
/// ever sent. [rfc8656-7.1-6] [rfc8656-7.1-9] [rfc8656-7.1-10] [rfc8656-7.1-14] [rfc6062-4.1-4]
fn allocate<'b>(
    encoder: Encoder<'b>,
    config: &ClientConfig,
    families: Families,
    dont_fragment: bool,
) -> Encoder<'b> {
    let protocol = match config.relay {
        RelayProtocol::Udp => PROTOCOL_UDP,
        RelayProtocol::Tcp => PROTOCOL_TCP,
    };
    let first = |octet: u8| u32::from(octet) << 24;
    let encoder = encoder.u32(AttributeType::REQUESTED_TRANSPORT, first(protocol));
    let encoder = match families {
        Families::Ipv4 => encoder,
        Families::Ipv6 => encoder.u32(AttributeType::REQUESTED_ADDRESS_FAMILY, first(FAMILY_IPV6)),
        Families::Both => encoder
            .u32(AttributeType::ADDITIONAL_ADDRESS_FAMILY, first(FAMILY_IPV6))
            .u32(ADDITIONAL_ADDRESS_FAMILY_DRAFT, first(FAMILY_IPV6)),
    };
    let encoder = lifetime(encoder, config);
    if dont_fragment { encoder.flag(AttributeType::DONT_FRAGMENT) } else { encoder }
}

/// [rfc8656-5-8a]
fn software<'b>(encoder: Encoder<'b>, config: &ClientConfig) -> Encoder<'b> {
    match &config.software {
        Some(software) => encoder.software(software),
        None => encoder,
    }
}

/// Another lifetime than the default; never 0, which would end the allocation. [rfc8656-7.1-11]
/// [rfc6062-4.1-5]
fn lifetime<'b>(encoder: Encoder<'b>, config: &ClientConfig) -> Encoder<'b> {
    if config.lifetime == LIFETIME_DEFAULT {
        return encoder;
    }
    let seconds = u32::try_from(config.lifetime.as_secs()).unwrap_or(u32::MAX);
    encoder.u32(AttributeType::LIFETIME, seconds.max(1))
}

/// One request under way.
#[derive(Clone, Debug)]
pub(super) struct Transaction {
    pub(super) ask: Ask,
    pub(super) id: TransactionId,
    pub(super) timing: ClientTransaction,
    /// When it was first sent with this id.
    pub(super) started: Instant,
    /// Which challenge it answers; none is 0.
    challenge: u32,
    /// How often it was tried anew.
    retries: u8,
    /// Whether it is to be sent.
    due: bool,
}

impl Transaction {
    fn falls_apart(&self) -> bool {
        self.timing.integrity_violated()
            && matches!(&self.ask, Ask::Permissions(ips) if ips.len() > 1)
    }
}

/// All requests under way at one server.
#[derive(Clone, Debug)]
pub(super) struct Transactions {
    list: Vec<Transaction>,
    ids: Stream,
    rto: RtoEstimator,
    /// Counts the challenges that were answered.
    challenge: u32,
}

impl Transactions {
    pub(super) fn new() -> Self {
        Self {
            list: Vec::new(),
            ids: Stream::new(0, Purpose::Transaction),
            rto: RtoEstimator::new(),
            challenge: 0,
        }
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
    }

    /// Whether one more may be started, so that a refresh finds room all the same.
    /// [rfc8489-6.2-2]
    pub(super) fn has_room(&self) -> bool {
        self.list.len() + 1 < MAX_OUTSTANDING
    }

    pub(super) fn any(&self, of: impl Fn(&Ask) -> bool) -> bool {
        self.list.iter().any(|transaction| of(&transaction.ask))
    }

    /// Whether a request was sent more than once.
    pub(super) fn is_repeated(&self, of: impl Fn(&Ask) -> bool) -> bool {
        self.list.iter().any(|transaction| of(&transaction.ask) && transaction.timing.sent() > 1)
    }

    pub(super) fn has_due(&self) -> bool {
        self.list.iter().any(|transaction| transaction.due)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let deadlines = self.list.iter().map(|transaction| transaction.timing.deadline());
        deadlines.fold(None, |first, at| earlier(first, Some(at)))
    }

    pub(super) fn start(&mut self, now: Instant, ask: Ask, config: &ClientConfig, seed: &Seed) {
        let timing = self.timing(now, &ask, config);
        let id = self.next_id(seed);
        let (challenge, retries) = (self.challenge, 0);
        self.list.push(Transaction {
            ask,
            id,
            timing,
            started: now,
            challenge,
            retries,
            due: true,
        });
    }

    fn next_id(&mut self, seed: &Seed) -> TransactionId {
        let mut id = TransactionId([0; 12]);
        self.ids.fill(seed, &mut id.0);
        id
    }

    /// Datagrams are repeated, DTLS too; over a stream a request is sent once.
    /// [rfc8489-6.2.2-3a] [rfc8489-6.2.2-3b]
    fn timing(&self, now: Instant, ask: &Ask, config: &ClientConfig) -> ClientTransaction {
        let mut schedule = config.retransmission;
        if matches!(ask, Ask::Release) {
            schedule.rc = schedule.rc.min(RELEASE_RC);
            schedule.rm = schedule.rm.min(RELEASE_RM);
            schedule.ti = schedule.ti.min(RELEASE_TI);
        }
        match config.transport {
            Transport::Udp | Transport::Dtls => {
                let rto = self.rto.rto(now, &config.retransmission);
                let rto = if matches!(ask, Ask::Release) { rto.min(RELEASE_RTO) } else { rto };
                ClientTransaction::start_with_rto(now, rto, &schedule)
            }
            Transport::Tcp | Transport::Tls => ClientTransaction::start_reliable(now, &schedule),
        }
    }

    /// The request with this id.
    pub(super) fn find(&mut self, id: TransactionId) -> Option<&mut Transaction> {
        self.list.iter_mut().find(|transaction| transaction.id == id)
    }

    /// Ends a request that was answered. [rfc8489-6.2.1-9]
    pub(super) fn finish(&mut self, now: Instant, id: TransactionId) -> Option<Transaction> {
        let index = self.list.iter().position(|transaction| transaction.id == id)?;
        let transaction = self.list.remove(index);
        self.rto.finished(now, transaction.timing.rtt(now));
        Some(transaction)
    }

    /// The server wants other credentials: what is sent from now on has them.
    pub(super) fn challenged(&mut self) {
        self.challenge = self.challenge.saturating_add(1);
    }

    /// Whether the request was sent before the last challenge, which is no answer to it.
    pub(super) fn is_outdated(&self, id: TransactionId) -> bool {
        let mut list = self.list.iter();
        list.any(|transaction| transaction.id == id && transaction.challenge != self.challenge)
    }

    /// Sends a request anew, as another transaction; false if that was done too often.
    /// [rfc8489-9.2.5-3] [rfc8489-9.2.5-12]
    pub(super) fn retry(
        &mut self,
        now: Instant,
        id: TransactionId,
        config: &ClientConfig,
        seed: &Seed,
    ) -> bool {
        let Some(old) = self.finish(now, id) else { return true };
        if old.retries >= MAX_CHALLENGES {
            return false;
        }
        self.start(now, old.ask, config, seed);
        if let Some(new) = self.list.last_mut() {
            new.retries = old.retries + 1;
        }
        true
    }

    /// Repeats what is due, and returns one request that has failed. A request that waits since
    /// before the last challenge is repeated as a new transaction, as its octets changed. One for
    /// several permissions whose answer was not signed is not repeated: there are servers that
    /// refuse so, and its parts may fare better.
    pub(super) fn handle_timeout(&mut self, now: Instant, seed: &Seed) -> Option<Transaction> {
        for index in 0..self.list.len() {
            let Some(transaction) = self.list.get_mut(index) else { break };
            match transaction.timing.poll(now) {
                TransactionStep::Wait => {}
                TransactionStep::Retransmit if transaction.falls_apart() => {
                    return Some(self.list.remove(index));
                }
                TransactionStep::Retransmit => {
                    transaction.due = true;
                    if transaction.challenge != self.challenge {
                        let mut id = TransactionId([0; 12]);
                        self.ids.fill(seed, &mut id.0);
                        transaction.id = id;
                        transaction.challenge = self.challenge;
                    }
                }
                TransactionStep::TimedOut => return Some(self.list.remove(index)),
            }
        }
        None
    }

    /// Writes the next request that is due.
    ///
    /// # Errors
    ///
    /// What was asked, if it does not fit; it is given up.
    pub(super) fn poll_transmit(
        &mut self,
        config: &ClientConfig,
        buf: &mut [u8],
    ) -> Option<Result<usize, Ask>> {
        let index = self.list.iter().position(|transaction| transaction.due)?;
        let transaction = self.list.get_mut(index)?;
        transaction.due = false;
        let room = buf.len().min(MIN_TRANSMIT);
        let buf = buf.get_mut(..room).unwrap_or_default();
        match encode(&transaction.ask, transaction.id, config, buf) {
            Ok(len) => Some(Ok(len)),
            Err(BufferTooSmall) => Some(Err(self.list.remove(index).ask)),
        }
    }
}

/// Writes a request, with credentials once the server has asked for them. There is no FINGERPRINT:
/// what comes from the address of the server is STUN or ChannelData and nothing else, so neither
/// side needs it to tell. [rfc8656-5-1] [rfc8656-5-p1] [rfc8656-5-p3]
fn encode(
    ask: &Ask,
    id: TransactionId,
    config: &ClientConfig,
    buf: &mut [u8],
) -> Result<usize, BufferTooSmall> {
    let encoder = Encoder::new(buf, MessageClass::Request, ask.method(), id);
    let credentials: &LongTerm = &config.credentials;
    credentials.authenticate(ask.attributes(encoder, config)).finish()
}

/// How many ids are drawn at once: each packet in an indication needs one.
const IDS: usize = 21;

/// Ids for what is sent often.
#[derive(Clone)]
pub(super) struct Ids {
    stream: Stream,
    drawn: [[u8; 12]; IDS],
    left: usize,
}

impl Ids {
    pub(super) const fn new(stream: Stream) -> Self {
        Self { stream, drawn: [[0; 12]; IDS], left: 0 }
    }

    pub(super) fn next(&mut self, seed: &Seed) -> TransactionId {
        if self.left == 0 {
            self.stream.fill(seed, self.drawn.as_flattened_mut());
            self.left = IDS;
        }
        self.left -= 1;
        TransactionId(self.drawn.get(self.left).copied().unwrap_or_default())
    }
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ids").field("left", &self.left).finish_non_exhaustive()
    }
}
