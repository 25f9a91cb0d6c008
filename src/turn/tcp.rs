//! TCP connections between the server and peers. [RFC 6062]
//!
//! The allocation lives on a control connection: every request of a [`Client`] goes there, Refresh and
//! Connect among them. [rfc6062-4.2-1] [rfc6062-4.3-1] Each connection to a peer has a connection of its
//! own to the server, which a [`DataConnection`] binds to it; after that the octets on it are the
//! application's, both ways.

use core::fmt;
use core::time::Duration;
use std::net::SocketAddr;

use crate::framing::{Deframer, NotStun};
use crate::net::{DropReason, MIN_TRANSMIT, canonical};
use crate::stun::{
    AttributeType, Discard, Encoder, GiveUp, LongTerm, LongTermStep, Message, MessageClass, Method,
    TransactionId,
};
use crate::time::Instant;

use super::RelayProtocol;
use super::client::{Client, Event, Received, State as ClientState};

/// How long the server keeps a connection to a peer that nobody binds.
const BIND_WITHIN: Duration = Duration::from_secs(30);
/// How long a peer is not asked for again that could not be reached. [rfc6062-4.3-8b]
const UNREACHABLE_FOR: Duration = Duration::from_secs(10);
/// How often a ConnectionBind may be sent: once, and for each challenge that has an answer.
const MAX_BINDS: usize = 4;

/// A connection between the server and a peer, as the server numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u32);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

/// Why there is no connection to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectError {
    /// The allocation relays datagrams: ask for one of
    /// [`RelayProtocol::Tcp`].
    NotTcp,
    /// There is no allocation: wait for [`Event::Allocated`].
    NoAllocation,
    /// The allocation has no address of the peer's family.
    Family,
    /// There are as many connections under way as the configuration allows.
    Limit,
    /// The peer is asked for already; it may be again when that was answered.
    Pending,
    /// The peer could not be reached less than 10 seconds ago.
    TooSoon,
    /// 403: the server allows no connection to this peer.
    Forbidden,
    /// 446: there is a connection to the peer, and one is all there can be.
    Exists,
    /// 447: the peer does not accept the connection, or does not answer.
    Unreachable,
    /// The server refused with another code.
    Refused(u16),
    /// The server did not answer.
    Timeout,
}

impl ConnectError {
    pub(super) const fn of(code: u16) -> Self {
        match code {
            403 => Self::Forbidden,
            437 => Self::NoAllocation,
            443 => Self::Family,
            446 => Self::Exists,
            447 => Self::Unreachable,
            other => Self::Refused(other),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTcp => f.write_str("the allocation relays datagrams, not connections"),
            Self::NoAllocation => f.write_str("there is no allocation"),
            Self::Family => f.write_str("no relayed address of the family of the peer"),
            Self::Limit => f.write_str("too many connections under way"),
            Self::Pending => f.write_str("the connection to the peer is under way already"),
            Self::TooSoon => f.write_str("the peer could not be reached a moment ago"),
            Self::Forbidden => f.write_str("the server allows no connection to the peer"),
            Self::Exists => f.write_str("the server has a connection to the peer already"),
            Self::Unreachable => f.write_str("the server cannot reach the peer"),
            Self::Refused(code) => write!(f, "the server refuses with code {code}"),
            Self::Timeout => f.write_str("the server did not answer"),
        }
    }
}

impl core::error::Error for ConnectError {}

/// Why a connection to the server is none to the peer: close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BindError {
    /// No answer before the server lets go of the peer.
    Timeout,
    /// The server does not take our answer to its challenge.
    Credentials(GiveUp),
    /// The answer is not authentic.
    Integrity,
    /// The server refused with this code: 400 if it does not know the connection any more.
    Refused(u16),
    /// What the server sends is not STUN.
    NotStun,
    /// The request is too long for the buffer: give one of [`MIN_TRANSMIT`](crate::MIN_TRANSMIT).
    TooLong,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("the server did not answer in time"),
            Self::Credentials(reason) => write!(f, "the challenge of the server: {reason}"),
            Self::Integrity => f.write_str("the answer of the server is not authentic"),
            Self::Refused(code) => write!(f, "the server refuses with code {code}"),
            Self::NotStun => NotStun.fmt(f),
            Self::TooLong => f.write_str("credentials and challenge are too long"),
        }
    }
}

impl core::error::Error for BindError {}

/// Relayed TCP connections.
impl Client {
    /// Asks the server for a TCP connection to a peer; [`Event::Connected`] or
    /// [`Event::ConnectFailed`] follows. Several peers may be asked for at once, and the server
    /// may take half a minute to find that one cannot be reached.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] says why it is not asked for.
    pub fn connect(&mut self, now: Instant, peer: SocketAddr) -> Result<(), ConnectError> {
        self.advance(now);
        let peer = canonical(peer);
        if self.config.relay != RelayProtocol::Tcp {
            return Err(ConnectError::NotTcp);
        }
        if !matches!(self.state, ClientState::Allocated { .. }) {
            return Err(ConnectError::NoAllocation);
        }
        if !self.has_family(peer.ip()) {
            return Err(ConnectError::Family);
        }
        self.connects.want(self.now, peer)
    }

    /// Makes what binds a new connection to the server to one that
    /// [`Event::Connected`] or [`Event::ConnectionAttempt`] told of; `None` if that was done, or
    /// if the server has let go of it. It has the credentials, realm and nonce of the allocation.
    /// [rfc6062-4.3-5] [rfc6062-4.4-3]
    pub fn data_connection(
        &mut self,
        now: Instant,
        connection: ConnectionId,
    ) -> Option<DataConnection> {
        self.advance(now);
        let offer = self.connects.take(self.now, connection)?;
        let credentials = self.config.credentials.clone();
        Some(DataConnection::new(offer, credentials, || self.next_id()))
    }

    /// The server has a connection to a peer.
    pub(super) fn connected(&mut self, peer: SocketAddr, message: &Message<'_>) {
        match message.connection_id() {
            Some(id) => {
                let connection = self.connects.connected(self.now, peer, id);
                self.events.push_back(Event::Connected { peer, connection });
            }
            None => self.connect_failed(peer, ConnectError::of(0)),
        }
    }

    pub(super) fn connect_failed(&mut self, peer: SocketAddr, error: ConnectError) {
        self.connects.failed(self.now, peer, error);
        self.events.push_back(Event::ConnectFailed { peer, error });
    }

    /// A peer connected to the relayed address. Nobody signs that, but who is let in is checked,
    /// and nothing follows but an event. [RFC 6062 §4.4]
    pub(super) fn handle_attempt<'b>(&mut self, message: &Message<'_>) -> Received<'b> {
        let live = matches!(self.state, ClientState::Allocated { .. });
        if self.config.relay != RelayProtocol::Tcp || !live {
            return Received::Dropped(DropReason::UnexpectedMessage);
        }
        if message.unknown_required(|kind| kind.name().is_some()).next().is_some() {
            return Received::Dropped(DropReason::UnknownAttribute);
        }
        let (Some(peer), Some(id)) = (message.xor_peer_address(), message.connection_id()) else {
            return Received::Dropped(DropReason::MissingAttribute);
        };
        let peer = canonical(peer);
        if !self.peers.may_receive(self.now, peer.ip()) {
            return Received::Dropped(DropReason::NoPermission);
        }
        match self.connects.attempted(self.now, peer, id) {
            Ok(connection) => {
                self.events.push_back(Event::ConnectionAttempt { peer, connection });
                Received::Handled
            }
            Err(reason) => Received::Dropped(reason),
        }
    }

    /// The allocation is gone, and the connections that nobody has bound with it.
    pub(super) fn forget_connections(&mut self) {
        for peer in self.connects.clear() {
            let error = ConnectError::NoAllocation;
            self.events.push_back(Event::ConnectFailed { peer, error });
        }
    }
}

/// What becomes of a new connection to the server: first a request that binds it to a connection to
/// a peer, then the application's own octets. [RFC 6062 §4.3]
///
/// Made by [`Client::data_connection`]. Open a connection to the very address that
/// the control connection goes to, over the same transport; send what
/// [`poll_transmit`](Self::poll_transmit) has, and hand in what comes. It is bound when
/// [`handle_octets`](Self::handle_octets) returns octets of the peer, be it none. Keep the client
/// and its control connection: they keep the allocation alive, and a connection does not outlive
/// it. [rfc6062-4.6-1]
///
/// ```no_run
/// use std::io::{Read, Write};
/// use std::net::{SocketAddr, TcpStream};
/// use std::time::Duration;
///
/// use floe::turn::{Client, ConnectionId};
/// use floe::{Instant, MIN_TRANSMIT};
///
/// /// A connection to the peer, and what the peer has sent so far.
/// fn open(
///     client: &mut Client,
///     now: Instant,
///     connection: ConnectionId,
///     server: SocketAddr,
/// ) -> Result<(TcpStream, Vec<u8>), Box<dyn std::error::Error>> {
///     let mut data = client.data_connection(now, connection).ok_or("the server let go of it")?;
///     let mut stream = TcpStream::connect(server)?;
///     stream.set_read_timeout(Some(Duration::from_secs(30)))?;
///     let mut buf = [0; MIN_TRANSMIT];
///     loop {
///         if let Some(length) = data.poll_transmit(&mut buf) {
///             stream.write_all(&buf[..length])?;
///         }
///         let length = stream.read(&mut buf)?;
///         if length == 0 {
///             return Err("the server closed the connection".into());
///         }
///         if let Some(of_peer) = data.handle_octets(&buf[..length])? {
///             return Ok((stream, of_peer.to_vec()));
///         }
///     }
/// }
/// ```
#[derive(Debug)]
pub struct DataConnection {
    credentials: LongTerm,
    connection: ConnectionId,
    peer: SocketAddr,
    /// Of the requests still to be sent, the next one last.
    ids: Vec<TransactionId>,
    state: State,
    deframer: Deframer,
    expires: Instant,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// There is a request to be sent.
    Due,
    /// It was sent.
    Asked(TransactionId),
    Bound,
    Failed(BindError),
}

impl DataConnection {
    pub(super) fn new(
        offer: Offer,
        credentials: LongTerm,
        mut id: impl FnMut() -> TransactionId,
    ) -> Self {
        Self {
            credentials,
            connection: offer.connection,
            peer: offer.peer,
            ids: (0..MAX_BINDS).map(|_| id()).collect(),
            state: State::Due,
            deframer: Deframer::new(),
            expires: offer.expires,
        }
    }

    /// The peer at the other end.
    #[must_use]
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether the octets on the connection are the application's.
    #[must_use]
    pub const fn is_bound(&self) -> bool {
        matches!(self.state, State::Bound)
    }

    /// Writes the request that is the first on the connection into `buf`, at least
    /// [`MIN_TRANSMIT`](crate::MIN_TRANSMIT) octets, and returns its length; once, and again for
    /// each challenge that can be answered. [rfc6062-4.3-5] [rfc6062-4.3-6] [rfc6062-4.3-7]
    /// [rfc6062-4.4-3] [rfc6062-4.4-4] [rfc6062-4.4-5]
    pub fn poll_transmit(&mut self, buf: &mut [u8]) -> Option<usize> {
        let State::Due = self.state else { return None };
        let Some(id) = self.ids.pop() else {
            self.state = State::Failed(BindError::Credentials(GiveUp::TooMany));
            return None;
        };
        let room = buf.len().min(MIN_TRANSMIT);
        let buf = buf.get_mut(..room).unwrap_or_default();
        let encoder = Encoder::new(buf, MessageClass::Request, Method::CONNECTION_BIND, id)
            .u32(AttributeType::CONNECTION_ID, self.connection.0);
        let Ok(length) = self.credentials.authenticate(encoder).finish() else {
            self.state = State::Failed(BindError::TooLong);
            return None;
        };
        self.state = State::Asked(id);
        Some(length)
    }

    /// Takes what came on the connection. Once it is bound the octets of the peer are returned, a
    /// slice of what was given: of the input with the answer all that follows the answer, and of
    /// any later input all of it. [rfc6062-4.3-p1]
    ///
    /// # Errors
    ///
    /// [`BindError`] says why it will not be bound.
    pub fn handle_octets<'b>(&mut self, octets: &'b [u8]) -> Result<Option<&'b [u8]>, BindError> {
        if self.is_bound() {
            return Ok(Some(octets));
        }
        let mut rest = octets;
        while !rest.is_empty() {
            let room = self.deframer.room(rest.len());
            let (now, later) = rest.split_at(rest.len().min(room.len()));
            room.get_mut(..now.len()).unwrap_or_default().copy_from_slice(now);
            self.deframer.filled(now.len());
            rest = later;
            self.take_messages();
            match self.state {
                State::Due | State::Asked(_) => {}
                State::Bound => {
                    // The answer ended in this input, so what follows it is all in there.
                    let follows = self.deframer.rest().len().saturating_add(rest.len());
                    self.deframer = Deframer::new();
                    let start = octets.len().saturating_sub(follows);
                    return Ok(Some(octets.get(start..).unwrap_or_default()));
                }
                State::Failed(error) => return Err(error),
            }
        }
        self.unless_failed().map(|()| None)
    }

    fn take_messages(&mut self) {
        while let State::Due | State::Asked(_) = self.state {
            // There is no ChannelData here: what looks like it is another protocol.
            if self.deframer.rest().first().is_some_and(|first| *first >= 0x40) {
                self.state = State::Failed(BindError::NotStun);
                return;
            }
            let message = match self.deframer.next_message() {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(NotStun) => {
                    self.state = State::Failed(BindError::NotStun);
                    return;
                }
            };
            let (State::Asked(id), Ok(message)) = (self.state, Message::parse(message)) else {
                continue;
            };
            if message.transaction_id() == id && message.method() == Method::CONNECTION_BIND {
                self.state = answered(&mut self.credentials, &message).unwrap_or(self.state);
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Due | State::Asked(_) => Some(self.expires),
            State::Bound | State::Failed(_) => None,
        }
    }

    /// Gives up when the server has let go of the peer.
    ///
    /// # Errors
    ///
    /// [`BindError`] says why it will not be bound.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), BindError> {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.state = State::Failed(BindError::Timeout);
        }
        self.unless_failed()
    }

    const fn unless_failed(&self) -> Result<(), BindError> {
        match self.state {
            State::Failed(error) => Err(error),
            State::Due | State::Asked(_) | State::Bound => Ok(()),
        }
    }
}

/// What an answer makes of a request that was asked; `None` for what is no answer. Over a stream
/// one that is not authentic ends it at once. [rfc8489-9.2.5-18a]
fn answered(credentials: &mut LongTerm, message: &Message<'_>) -> Option<State> {
    let code = message.error_code().map_or(0, |error| error.code());
    let state = match message.class() {
        MessageClass::Request | MessageClass::Indication => return None,
        MessageClass::Error if matches!(code, 401 | 438) => {
            match credentials.handle_challenge(message) {
                LongTermStep::Retry => State::Due,
                LongTermStep::GiveUp(reason) => State::Failed(BindError::Credentials(reason)),
            }
        }
        MessageClass::Success | MessageClass::Error => {
            match (credentials.verify(message), message.class()) {
                (Ok(_), MessageClass::Success) => State::Bound,
                (Ok(_), _) | (Err(Discard::UnprotectedBadRequest), _) => {
                    State::Failed(BindError::Refused(code))
                }
                (Err(Discard::Integrity(_) | Discard::BidDown), _) => {
                    State::Failed(BindError::Integrity)
                }
            }
        }
    };
    Some(state)
}

/// A connection between server and peer that waits to be bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    connection: ConnectionId,
    peer: SocketAddr,
    /// When the server lets go of it.
    expires: Instant,
}

/// The connections of one allocation that are under way: those after that are the application's.
#[derive(Clone, Debug)]
pub(super) struct Connects {
    max: usize,
    /// Peers to be asked for, and whether they were.
    peers: Vec<(SocketAddr, bool)>,
    offers: Vec<Offer>,
    /// Peers that are not asked for again before a time.
    unreachable: Vec<(SocketAddr, Instant)>,
}

impl Connects {
    pub(super) fn new(max: u16) -> Self {
        Self { max: max.into(), peers: Vec::new(), offers: Vec::new(), unreachable: Vec::new() }
    }

    /// Wants a connection. To several peers at once, but to one peer one after the other.
    /// [rfc6062-4.3-8a] [rfc6062-4.3-8b] [rfc6062-4.3-9] [rfc6062-4.3-10]
    pub(super) fn want(&mut self, now: Instant, peer: SocketAddr) -> Result<(), ConnectError> {
        self.expire(now);
        if self.peers.iter().any(|(known, _)| *known == peer) {
            return Err(ConnectError::Pending);
        }
        if self.unreachable.iter().any(|(known, _)| *known == peer) {
            return Err(ConnectError::TooSoon);
        }
        if self.peers.len() + self.offers.len() + self.unreachable.len() >= self.max {
            return Err(ConnectError::Limit);
        }
        self.peers.push((peer, false));
        Ok(())
    }

    /// Takes a peer that is to be asked for.
    pub(super) fn next_ask(&mut self) -> Option<SocketAddr> {
        let (peer, asked) = self.peers.iter_mut().find(|(_, asked)| !asked)?;
        *asked = true;
        Some(*peer)
    }

    /// Whether there is a peer to be asked for.
    pub(super) fn is_due(&self) -> bool {
        self.peers.iter().any(|(_, asked)| !asked)
    }

    /// Notes that the server connected to a peer.
    pub(super) fn connected(&mut self, now: Instant, peer: SocketAddr, id: u32) -> ConnectionId {
        self.peers.retain(|(known, _)| *known != peer);
        let connection = ConnectionId(id);
        self.offers.retain(|offer| offer.connection != connection);
        self.offers.push(Offer { connection, peer, expires: now + BIND_WITHIN });
        connection
    }

    /// Notes that it did not.
    pub(super) fn failed(&mut self, now: Instant, peer: SocketAddr, error: ConnectError) {
        self.peers.retain(|(known, _)| *known != peer);
        if error == ConnectError::Unreachable {
            self.unreachable.push((peer, now + UNREACHABLE_FOR));
        }
    }

    /// Notes that a peer connected to the relayed address.
    pub(super) fn attempted(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        id: u32,
    ) -> Result<ConnectionId, DropReason> {
        self.expire(now);
        let connection = ConnectionId(id);
        if self.offers.iter().any(|offer| offer.connection == connection) {
            return Err(DropReason::UnexpectedMessage);
        }
        if self.peers.len() + self.offers.len() + self.unreachable.len() >= self.max {
            return Err(DropReason::Limit);
        }
        self.offers.push(Offer { connection, peer, expires: now + BIND_WITHIN });
        Ok(connection)
    }

    /// Takes a connection that waits to be bound.
    pub(super) fn take(&mut self, now: Instant, connection: ConnectionId) -> Option<Offer> {
        self.expire(now);
        let index = self.offers.iter().position(|offer| offer.connection == connection)?;
        Some(self.offers.swap_remove(index))
    }

    /// The allocation is gone: returns the peers that were to be connected to.
    pub(super) fn clear(&mut self) -> Vec<SocketAddr> {
        self.offers.clear();
        self.peers.drain(..).map(|(peer, _)| peer).collect()
    }

    fn expire(&mut self, now: Instant) {
        self.offers.retain(|offer| now < offer.expires);
        self.unreachable.retain(|(_, until)| now < *until);
    }
}
