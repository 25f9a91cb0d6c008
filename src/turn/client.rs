//! One allocation at one server.

use core::time::Duration;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::config::Retransmission;
use crate::net::{DropReason, Transport, canonical};
use crate::rng::{Purpose, Seed, Stream};
use crate::stun::{AttributeType, LongTerm, Message, MessageClass, Method, TransactionId};
use crate::time::{Instant, earlier};

use super::framing::{Framing, Padding, channel_data};
use super::peers::{PeerAsk, Peers};
use super::request::{Ask, Ids, Transactions};
use super::tcp::{ConnectError, ConnectionId, Connects};
use super::{Error, Families, LIFETIME_DEFAULT, PeerError, RelayProtocol};

/// Events that wait at most before ICMP errors, which anybody can cause, are dropped.
const MAX_EVENTS: usize = 256;
/// How often the owner may have the allocation refreshed.
const REFRESH_PAUSE: Duration = Duration::from_secs(5);

/// How a client asks.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientConfig {
    /// Username and password; with a realm and nonce of the same server from before
    /// ([`Client::credentials`]) the allocation takes one round trip less.
    pub credentials: LongTerm,
    /// How the server is reached.
    pub transport: Transport,
    /// What is relayed. Default UDP.
    pub relay: RelayProtocol,
    /// Of which families relayed addresses are asked for. Default both.
    pub families: Families,
    /// The lifetime asked for. Default 10 minutes.
    pub lifetime: Duration,
    /// Whether the server is to send with the don't-fragment bit. Default false.
    pub dont_fragment: bool,
    /// The SOFTWARE attribute. Default none.
    pub software: Option<String>,
    /// RTO, Rc, Rm and Ti of requests.
    pub retransmission: Retransmission,
    /// Permissions, channels, and TCP connections that nobody has bound yet: of each so many.
    /// Default 64.
    pub max_peers: u16,
}

impl ClientConfig {
    /// The defaults.
    #[must_use]
    pub fn new(transport: Transport, credentials: LongTerm) -> Self {
        Self {
            credentials,
            transport,
            relay: RelayProtocol::Udp,
            families: Families::Both,
            lifetime: LIFETIME_DEFAULT,
            dont_fragment: false,
            software: None,
            retransmission: Retransmission::default(),
            max_peers: 64,
        }
    }
}

/// Something that happened to an allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// There are relayed addresses, for the first time or others than before.
    Allocated,
    /// The server lost the allocation; a new one is asked for, and [`Event::Allocated`] or
    /// [`Event::Failed`] follows.
    Lost,
    /// There is no allocation and will be none: the client is over.
    Failed(Error),
    /// The server sends us to another one: the client is over. Try that one, once.
    Redirected {
        /// Where.
        to: SocketAddr,
        /// The name that its certificate has to be for.
        domain: Option<Box<str>>,
    },
    /// A peer cannot be reached.
    PeerFailed {
        /// The peer; the port is 0 if it concerns all of the address.
        peer: SocketAddr,
        /// Why.
        error: PeerError,
    },
    /// The server received an ICMP error for what it sent to a peer; anybody can forge that.
    Unreachable {
        /// The peer.
        peer: SocketAddr,
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
    },
    /// The server has a connection to a peer that was asked for with
    /// [`Client::connect`]: bind it with [`Client::data_connection`] within 30 seconds.
    Connected {
        /// The peer.
        peer: SocketAddr,
        /// Which connection it is.
        connection: ConnectionId,
    },
    /// The server has none.
    ConnectFailed {
        /// The peer.
        peer: SocketAddr,
        /// Why.
        error: ConnectError,
    },
    /// A peer that has a permission connected to the relayed address: bind the connection with
    /// [`Client::data_connection`] within 30 seconds, or let it go.
    ConnectionAttempt {
        /// The peer.
        peer: SocketAddr,
        /// Which connection it is.
        connection: ConnectionId,
    },
    /// The allocation was given back, or nobody answered: the client is over.
    Closed,
}

/// What became of a datagram of the server.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received<'b> {
    /// It was for the client itself: drain the polls.
    Handled,
    /// Data of a peer that has a permission, a slice of the input.
    Data {
        /// Who sent it.
        peer: SocketAddr,
        /// What.
        data: &'b [u8],
    },
    /// Dropped.
    Dropped(DropReason),
}

/// What there is at the server.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    /// Nothing; an allocation is asked for.
    Allocating,
    /// An allocation.
    Allocated {
        /// When it ends.
        expires: Instant,
        /// When it is refreshed.
        refresh_at: Instant,
    },
    /// One that is given back.
    Releasing(Then),
    /// Nothing, for ever.
    Over,
}

/// What follows after an allocation was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// [`Event::Closed`].
    Close,
    /// [`Event::Failed`].
    Fail(Error),
    /// Another attempt.
    Allocate,
}

/// A TURN client with one allocation.
///
/// Hand in what the server sent ([`handle_datagram`](Self::handle_datagram)) and the time
/// ([`handle_timeout`](Self::handle_timeout), at [`poll_timeout`](Self::poll_timeout)), and after
/// each call ask for packets ([`poll_transmit`](Self::poll_transmit)) and events
/// ([`poll_event`](Self::poll_event)) until there are none.
#[derive(Debug)]
pub struct Client {
    pub(super) config: ClientConfig,
    pub(super) seed: Seed,
    pub(super) now: Instant,
    pub(super) state: State,
    pub(super) transactions: Transactions,
    pub(super) peers: Peers,
    pub(super) connects: Connects,
    pub(super) events: VecDeque<Event>,
    pub(super) relayed: [Option<SocketAddr>; 2],
    pub(super) mapped: Option<SocketAddr>,
    /// The request that the allocation is the answer to, if it was sent more than once; until the
    /// first refresh, when no other answer to it is on its way.
    pub(super) allocated_by: Option<TransactionId>,
    pub(super) answered: bool,
    /// What is asked for, less what the server does not have.
    pub(super) families: Families,
    pub(super) dont_fragment: bool,
    /// How often the request for an allocation was asked for less.
    pub(super) fallbacks: u8,
    /// How often the allocation was lost, or the 5-tuple taken, since one was of use.
    pub(super) mismatches: u8,
    /// When that count started anew.
    pub(super) anew_at: Instant,
    /// When the owner had it refreshed last.
    refreshed_at: Instant,
    /// How often the refresh has failed since the last that did not.
    pub(super) refresh_failures: u8,
    /// Whether a 400 had us ask if the allocation lives, since the last permission or channel.
    pub(super) doubted: bool,
    indications: Ids,
    jitter: Stream,
}

impl Client {
    /// Makes a client and starts to allocate. Transaction ids are drawn from `seed`: it must come
    /// from the operating system's generator, and never be used twice.
    #[must_use]
    pub fn new(now: Instant, config: ClientConfig, seed: [u8; 32]) -> Self {
        let mut config = config;
        config.credentials.resume();
        // A connection to a peer needs one to us. [rfc6062-4.1-1] [rfc6062-4.1-2]
        let possible = config.relay == RelayProtocol::Udp || config.transport.is_stream();
        let failed = (!possible).then_some(Event::Failed(Error::Protocol));
        Self {
            seed: Seed::new(seed),
            now,
            state: if possible { State::Allocating } else { State::Over },
            transactions: Transactions::new(),
            peers: Peers::new(config.max_peers),
            connects: Connects::new(config.max_peers),
            events: failed.into_iter().collect(),
            relayed: [None; 2],
            mapped: None,
            allocated_by: None,
            answered: false,
            families: config.families,
            dont_fragment: config.dont_fragment && config.relay == RelayProtocol::Udp,
            fallbacks: 0,
            mismatches: 0,
            anew_at: Instant::ZERO,
            refresh_failures: 0,
            refreshed_at: Instant::ZERO,
            doubted: false,
            indications: Ids::new(Stream::new(1, Purpose::Transaction)),
            jitter: Stream::new(0, Purpose::Jitter),
            config,
        }
    }

    /// Takes a message that came from the server: over a stream one message at a time.
    /// [rfc8656-12-1a] [rfc8656-12-2]
    pub fn handle_datagram<'b>(&mut self, now: Instant, datagram: &'b [u8]) -> Received<'b> {
        self.advance(now);
        if matches!(self.state, State::Over) {
            return Received::Dropped(DropReason::Closed);
        }
        let received = match datagram.first() {
            Some(0..=3) => self.handle_message(datagram),
            Some(64..=79) => self.handle_channel_data(datagram),
            Some(_) | None => Received::Dropped(DropReason::UnknownClass),
        };
        if let Received::Data { .. } = received {
            self.served();
        }
        received
    }

    fn handle_channel_data<'b>(&self, datagram: &'b [u8]) -> Received<'b> {
        let Some((number, data)) = channel_data(datagram) else {
            return Received::Dropped(DropReason::Malformed);
        };
        match self.peers.channel_from(self.now, number) {
            Some(peer) => Received::Data { peer, data },
            None => Received::Dropped(DropReason::NoPermission),
        }
    }

    /// Without the cookie it is no STUN of our time. [rfc8489-11-2c] [rfc8656-5-p3]
    fn handle_message<'b>(&mut self, datagram: &'b [u8]) -> Received<'b> {
        let Ok(message) = Message::parse(datagram) else {
            return Received::Dropped(DropReason::Malformed);
        };
        match message.class() {
            MessageClass::Indication if message.method() == Method::DATA => {
                self.handle_data(&message)
            }
            MessageClass::Indication if message.method() == Method::CONNECTION_ATTEMPT => {
                self.handle_attempt(&message)
            }
            MessageClass::Request | MessageClass::Indication => {
                Received::Dropped(DropReason::UnexpectedMessage)
            }
            MessageClass::Success | MessageClass::Error => match self.handle_response(&message) {
                Ok(()) => Received::Handled,
                Err(reason) => Received::Dropped(reason),
            },
        }
    }

    /// A Data indication; nobody signs those. [rfc8656-5-p1] [rfc8656-11.4-1] [rfc8656-11.4-p1]
    /// [rfc8656-11.6-1] [rfc8656-18.13-1b] [rfc8489-6.3.2-p1]
    fn handle_data<'b>(&mut self, message: &Message<'b>) -> Received<'b> {
        let (mut data, mut icmp) = (None, None);
        for attribute in message.attributes() {
            match attribute.kind {
                AttributeType::DATA => data = data.or(Some(attribute.value)),
                AttributeType::ICMP => icmp = icmp.or(Some(attribute.value)),
                AttributeType::XOR_PEER_ADDRESS => {}
                kind if kind.is_comprehension_required() => {
                    return Received::Dropped(DropReason::UnknownAttribute);
                }
                _ => {}
            }
        }
        let Some(peer) = message.xor_peer_address().map(canonical) else {
            return Received::Dropped(DropReason::MissingAttribute);
        };
        if !self.peers.may_receive(self.now, peer.ip()) {
            return Received::Dropped(DropReason::NoPermission);
        }
        match (data, icmp) {
            (_, Some(&[_, _, kind, code, _, _, _, _])) => {
                if self.events.len() >= MAX_EVENTS {
                    return Received::Dropped(DropReason::EventsPending);
                }
                self.events.push_back(Event::Unreachable { peer, kind, code });
                Received::Handled
            }
            (Some(data), None) => Received::Data { peer, data },
            (_, Some(_)) => Received::Dropped(DropReason::Malformed),
            (None, None) => Received::Dropped(DropReason::MissingAttribute),
        }
    }

    /// Does all that is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        while let Some(transaction) = self.transactions.handle_timeout(self.now, &self.seed) {
            self.timed_out(transaction);
        }
        if let State::Allocated { expires, .. } = self.state
            && expires <= self.now
        {
            self.lost();
        }
    }

    /// Encodes the next packet for the server into `buf`, at least
    /// [`MIN_TRANSMIT`](crate::MIN_TRANSMIT) octets, and returns its length.
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut [u8]) -> Option<usize> {
        self.advance(now);
        loop {
            match self.transactions.poll_transmit(&self.config, buf) {
                Some(Ok(len)) => return Some(len),
                Some(Err(ask)) => self.too_long(ask),
                None => {
                    let ask = self.next_ask()?;
                    self.transactions.start(self.now, ask, &self.config, &self.seed);
                }
            }
        }
    }

    /// What is to be asked of the server now. Permissions and channels wait for the allocation,
    /// whose families they must have. [rfc8656-7.3-p1] [rfc8656-8-1]
    fn next_ask(&mut self) -> Option<Ask> {
        if !self.wants_ask() {
            return None;
        }
        match self.state {
            State::Allocating => {
                let (families, dont_fragment) = (self.families, self.dont_fragment);
                Some(Ask::Allocate { families, dont_fragment })
            }
            State::Releasing(_) => Some(Ask::Release),
            State::Allocated { refresh_at, .. } if self.refreshes(refresh_at) => Some(Ask::Refresh),
            State::Allocated { .. } if self.doubts() => self.connects.next_ask().map(Ask::Connect),
            State::Allocated { .. } => match self.peers.next_ask(self.now) {
                Some(PeerAsk::Permissions(ips)) => Some(Ask::Permissions(ips)),
                Some(PeerAsk::Channel { number, peer }) => Some(Ask::Channel { number, peer }),
                None => self.connects.next_ask().map(Ask::Connect),
            },
            State::Over => None,
        }
    }

    /// Whether [`next_ask`](Self::next_ask) has something.
    fn wants_ask(&self) -> bool {
        match self.state {
            State::Allocating => !self.transactions.any(|ask| matches!(ask, Ask::Allocate { .. })),
            State::Releasing(_) => !self.transactions.any(|ask| matches!(ask, Ask::Release)),
            State::Allocated { refresh_at, .. } => {
                let due = self.peers_due().is_some_and(|at| at <= self.now);
                let due = due || self.connects.is_due();
                due && self.transactions.has_room() || self.refreshes(refresh_at)
            }
            State::Over => false,
        }
    }

    /// Whether peers wait for the answer to whether the allocation lives.
    fn doubts(&self) -> bool {
        self.doubted && self.transactions.any(|ask| matches!(ask, Ask::Refresh))
    }

    fn peers_due(&self) -> Option<Instant> {
        if self.doubts() { None } else { self.peers.due() }
    }

    fn refreshes(&self, refresh_at: Instant) -> bool {
        refresh_at <= self.now && !self.transactions.any(|ask| matches!(ask, Ask::Refresh))
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next; packets and events that
    /// wait count as a deadline that has passed.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.events.is_empty() || self.transactions.has_due() || self.wants_ask() {
            return Some(self.now);
        }
        let mut deadline = self.transactions.deadline();
        if let State::Allocated { expires, refresh_at } = self.state {
            deadline = earlier(deadline, Some(expires));
            if self.transactions.has_room() {
                deadline = earlier(deadline, self.peers_due());
            }
            if !self.transactions.any(|ask| matches!(ask, Ask::Refresh)) {
                deadline = earlier(deadline, Some(refresh_at));
            }
        }
        deadline.map(|at| at.max(self.now))
    }

    /// The relayed addresses, IPv4 before IPv6; none without an allocation.
    pub fn relayed(&self) -> impl Iterator<Item = SocketAddr> {
        self.relayed.into_iter().flatten()
    }

    /// Our own address as the server saw it.
    #[must_use]
    pub fn mapped(&self) -> Option<SocketAddr> {
        self.mapped
    }

    /// Whether the server has answered anything, if only with a challenge.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    /// Whether an allocation was asked for more than once, so that the next time may be seconds away.
    pub(crate) fn backs_off(&self) -> bool {
        let allocates = |ask: &Ask| matches!(ask, Ask::Allocate { .. });
        matches!(self.state, State::Allocating) && self.transactions.is_repeated(allocates)
    }

    /// Username and password, with the realm and nonce that the server gave last: a later client
    /// of the same server that gets them saves a round trip. [rfc8489-9.2.3.2-1]
    #[must_use]
    pub fn credentials(&self) -> &LongTerm {
        &self.config.credentials
    }

    /// Asks for a permission for an address, and keeps it until [`forget`](Self::forget); again
    /// is no harm. What is sent to it before the server has answered travels behind the request:
    /// ask [`poll_transmit`](Self::poll_transmit) first.
    ///
    /// # Errors
    ///
    /// [`PeerError`] says why there can be none.
    pub fn permit(&mut self, now: Instant, peer: IpAddr) -> Result<(), PeerError> {
        self.advance(now);
        let ip = peer.to_canonical();
        self.check_family(ip)?;
        self.peers.permit(self.now, ip)
    }

    /// Asks for a channel to a peer, and keeps it until [`forget`](Self::forget); again is no
    /// harm. It comes with a permission for the address. Data travels in indications until the
    /// server has answered. [rfc8656-12-5]
    ///
    /// # Errors
    ///
    /// [`PeerError`] says why there can be none.
    pub fn bind_channel(&mut self, now: Instant, peer: SocketAddr) -> Result<(), PeerError> {
        self.advance(now);
        let peer = canonical(peer);
        self.check_family(peer.ip())?;
        if peer.port() == 0 {
            return Err(PeerError::Refused(400));
        }
        self.peers.bind(self.now, peer)
    }

    /// Notes that nothing is heard of a peer any more: its permission and channel are asked for
    /// again at once, as the server tells nobody that it has lost them.
    pub fn ask_again(&mut self, now: Instant, peer: SocketAddr) {
        self.advance(now);
        self.peers.ask_again(canonical(peer));
    }

    /// [rfc8656-10.1-3] [rfc8656-12.1-1]
    fn check_family(&self, ip: IpAddr) -> Result<(), PeerError> {
        let usable = match self.state {
            State::Allocating | State::Releasing(_) => true,
            State::Allocated { .. } => self.has_family(ip),
            State::Over => false,
        };
        if usable { Ok(()) } else { Err(PeerError::Family) }
    }

    pub(super) fn has_family(&self, ip: IpAddr) -> bool {
        self.relayed().any(|relayed| relayed.is_ipv4() == ip.is_ipv4())
    }

    /// The peers that permissions or channels are kept for: of a permission the port is 0.
    pub fn peers(&self) -> impl Iterator<Item = SocketAddr> {
        self.peers.iter()
    }

    /// Lets the permission (port 0) or channel of a peer expire. A permission is kept as long as
    /// there is a channel to the address.
    pub fn forget(&mut self, peer: SocketAddr) {
        self.peers.forget(canonical(peer));
    }

    /// How data to a peer travels now, over its channel or in an indication; `None` if it has no
    /// permission and none is under way. [rfc8656-11.1-1] [rfc8489-5-4a]
    pub fn framing(&mut self, peer: SocketAddr) -> Option<Framing> {
        if !matches!(self.state, State::Allocated { .. }) {
            return None;
        }
        let peer = canonical(peer);
        if !self.peers.may_send(self.now, peer.ip()) {
            return None;
        }
        if let Some(number) = self.peers.channel_to(self.now, peer) {
            let stream = self.config.transport.is_stream();
            let padding = if stream { Padding::Four } else { Padding::None };
            return Some(Framing::channel(number, padding));
        }
        Framing::send(peer, self.dont_fragment, self.next_id())
    }

    /// Refreshes the allocation and all that was granted for its peers now and not when it is due:
    /// who misses answers through the relay learns so whether the server still knows it. Does
    /// nothing for 5 s after the last time. [rfc8656-8-3]
    pub fn refresh(&mut self, now: Instant) {
        self.advance(now);
        if let State::Allocated { refresh_at, .. } = &mut self.state
            && self.now - self.refreshed_at >= REFRESH_PAUSE
        {
            *refresh_at = self.now.min(*refresh_at);
            self.refreshed_at = self.now;
            self.peers.ask_all_again();
        }
    }

    /// Whether a refresh is due or under way, so that it is open if the allocation lives.
    #[must_use]
    pub fn is_confirming(&self) -> bool {
        matches!(self.state, State::Allocated { refresh_at, .. } if refresh_at <= self.now)
    }

    /// Gives the allocation back; [`Event::Closed`] follows. [rfc8656-8-2]
    pub fn close(&mut self, now: Instant) {
        self.advance(now);
        match self.state {
            State::Allocating if !self.may_have_allocated() => self.end(Some(Event::Closed)),
            State::Allocating | State::Allocated { .. } => self.release(Then::Close),
            State::Releasing(_) => self.state = State::Releasing(Then::Close),
            State::Over => {}
        }
    }

    /// Whether a request is under way that the server may have granted.
    fn may_have_allocated(&self) -> bool {
        self.config.credentials.is_challenged()
            && self.transactions.any(|ask| matches!(ask, Ask::Allocate { .. }))
    }

    /// Time does not go backwards.
    pub(super) fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// An id for what is no request on the connection of the allocation.
    pub(super) fn next_id(&mut self) -> TransactionId {
        self.indications.next(&self.seed)
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.jitter.next_u64(&self.seed)
    }
}
