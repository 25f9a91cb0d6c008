//! The relays of an endpoint: at most one allocation for each socket and TURN server, shared by all
//! agents on the socket.
//!
//! What is here knows no agent; `relaying` brings the two together. In a group of servers UDP is
//! tried first, TCP and TLS a little later each if nothing was answered by then; the first
//! allocation of a group ends the others of the same socket.

use core::ops::Range;
use core::time::Duration;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::config::EndpointConfig;
use crate::gather::{Server, Turn, may_reach};
use crate::net::{
    Connect, ConnectFailure, ConnectId, ServerId, SocketId, Transmit, Transport, canonical,
};
use crate::rng::{Purpose, Seed, Stream};
use crate::stun::LongTerm;
use crate::time::{Instant, earlier};
use crate::turn::{Client, ClientConfig, Event, Framing, PeerError};

/// How long it is believed that all peers of a relay are needed: to find out takes a look at each
/// of them and at all agents.
const FULL_FOR: Duration = Duration::from_secs(1);

/// How long a connection may take to open until its next attempt is further away than that: TCP tries
/// at 0, 1, 3 and 7 s. [RFC 6298 §2.1] [RFC 6298 §5.5]
const CONNECTING_FOR: Duration = Duration::from_secs(3);

/// How a packet to a peer gets to the server.
pub(super) struct Way {
    pub(super) socket: SocketId,
    pub(super) server: SocketAddr,
    pub(super) framing: Framing,
}

/// A relayed address, and the id that it has as a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RelayedBase {
    pub(super) id: SocketId,
    pub(super) address: SocketAddr,
}

/// A client at work.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) client: Client,
    /// What its packets leave from: the socket itself, or a connection.
    via: SocketId,
    /// When the client is to be asked or told something next.
    due: Option<Instant>,
    /// When it was told the time last.
    told: Option<Instant>,
    /// It gives its allocation back, and nothing else is of interest.
    closing: bool,
    /// All peers are needed, as was found a moment ago.
    full_until: Option<Instant>,
}

#[derive(Debug)]
enum State {
    /// Nobody needs it, or another of its group serves.
    Idle,
    /// It waits for others of its group, or for its turn.
    Waiting,
    /// The driver opens a connection.
    Connecting(ConnectId),
    /// The connection is open; the first request waits for its turn.
    Open(SocketId),
    Active(Box<Active>),
    /// It is not tried again until somebody needs it anew.
    Failed,
    /// The socket is gone.
    Gone,
}

/// One socket at one TURN server.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) socket: SocketId,
    base: SocketAddr,
    pub(super) server: ServerId,
    /// Where the server is; a redirection may have changed that, once.
    pub(super) to: SocketAddr,
    redirected: bool,
    pub(super) transport: Transport,
    name: Option<Arc<str>>,
    group: Option<u32>,
    state: State,
    /// The relayed addresses.
    pub(super) bases: Vec<RelayedBase>,
    /// When the attempt began.
    pub(super) began: Option<Instant>,
    /// Whether the attempt led to an allocation, if only for a time.
    pub(super) allocated: bool,
    /// It is needed again as soon as it is closed.
    again: bool,
    /// The server refused, and is not asked before this time.
    held_until: Option<Instant>,
}

impl Relay {
    fn active(&self) -> Option<&Active> {
        if let State::Active(active) = &self.state { Some(active) } else { None }
    }

    fn active_mut(&mut self) -> Option<&mut Active> {
        if let State::Active(active) = &mut self.state { Some(active) } else { None }
    }

    /// Whether an allocation may still come of it.
    pub(super) fn is_pending(&self) -> bool {
        match &self.state {
            State::Waiting | State::Connecting(_) | State::Open(_) => true,
            State::Active(active) if active.closing => self.again,
            State::Active(_) => self.bases.is_empty(),
            State::Idle | State::Failed | State::Gone => false,
        }
    }

    /// Whether other relayed addresses may still come: of a first allocation, or in the place of
    /// one that may be lost.
    fn is_open(&self) -> bool {
        let confirming = |active: &Active| active.client.is_confirming() && !active.closing;
        self.is_pending() || self.active().is_some_and(confirming)
    }

    /// Whether the server has shown any sign of life.
    fn is_answered(&self) -> bool {
        match &self.state {
            State::Open(_) => true,
            State::Active(active) => active.client.is_answered(),
            State::Idle | State::Waiting | State::Connecting(_) | State::Failed | State::Gone => {
                false
            }
        }
    }

    /// Whether nobody has answered, and the next attempt may be seconds away.
    pub(super) fn backs_off(&self, now: Instant) -> bool {
        match &self.state {
            State::Connecting(_) => self.began.is_some_and(|began| now >= began + CONNECTING_FOR),
            State::Active(active) => !active.closing && active.client.backs_off(),
            State::Idle | State::Waiting | State::Open(_) | State::Failed | State::Gone => false,
        }
    }

    /// Its place in the order of its group: UDP first, what gets through most firewalls last.
    /// [rfc8656-7.1-2] [rfc8656-7.4-1]
    fn rank(&self) -> u8 {
        match self.transport {
            Transport::Udp => 0,
            Transport::Tcp => 1,
            Transport::Tls | Transport::Dtls => 2,
        }
    }

    fn rivals(&self, other: &Self) -> bool {
        self.socket == other.socket && self.group.is_some() && self.group == other.group
    }

    /// Whether packets to the server would have the same 5-tuple, which has one allocation.
    fn shares_5_tuple(&self, socket: SocketId, to: SocketAddr, transport: Transport) -> bool {
        [self.transport, transport] == [Transport::Udp; 2] && (self.socket, self.to) == (socket, to)
    }

    fn is_twin(&self, other: &Self) -> bool {
        self.shares_5_tuple(other.socket, other.to, other.transport)
    }

    /// Our address as the server saw it.
    pub(super) fn mapped(&self) -> Option<SocketAddr> {
        self.active().and_then(|active| active.client.mapped())
    }
}

/// Until when a relay waits for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wait {
    Until(Instant),
    /// For something other than time.
    Open,
}

/// All relays of an endpoint.
#[derive(Debug)]
pub(super) struct Relays {
    list: Vec<Relay>,
    connects: VecDeque<Connect>,
    next_connect: u32,
    next_base: u32,
    seeds: Stream,
    /// Credentials with the realm and nonce of a server: they save a round trip.
    challenged: Vec<(ServerId, SocketAddr, LongTerm)>,
    /// Whether some may not be needed any more.
    pub(super) review: bool,
}

impl Relays {
    pub(super) fn new() -> Self {
        Self {
            list: Vec::new(),
            connects: VecDeque::new(),
            next_connect: 0,
            next_base: 0,
            seeds: Stream::new(0, Purpose::Relay),
            challenged: Vec::new(),
            review: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn get(&self, index: usize) -> Option<&Relay> {
        self.list.get(index)
    }

    pub(super) fn client_mut(&mut self, index: usize) -> Option<&mut Client> {
        self.list.get_mut(index)?.active_mut().map(|active| &mut active.client)
    }

    pub(super) fn is_closing(&self, index: usize) -> bool {
        self.list.get(index).and_then(Relay::active).is_some_and(|active| active.closing)
    }

    /// Whether a socket is a connection to a server.
    pub(super) fn is_connection(&self, socket: SocketId) -> bool {
        self.list.iter().any(|relay| match &relay.state {
            State::Open(via) => *via == socket,
            State::Active(active) => active.via == socket,
            State::Idle | State::Waiting | State::Connecting(_) | State::Failed | State::Gone => {
                false
            }
        })
    }

    /// Somebody on a socket needs relays: those that are not there are asked for.
    pub(super) fn want(
        &mut self,
        now: Instant,
        socket: SocketId,
        base: SocketAddr,
        id: ServerId,
        of: &Server,
    ) {
        let held =
            |relay: &Relay| relay.server == id && relay.held_until.is_some_and(|at| now < at);
        if self.list.iter().any(held) {
            return;
        }
        let Some(turn) = of.turn.as_ref().filter(|_| may_reach(base, of.address)) else { return };
        let served = self.list.iter().any(|relay| {
            let group = relay.group.is_some() && relay.group == of.group;
            let twin = relay.shares_5_tuple(socket, canonical(of.address), turn.transport)
                && relay.server != id;
            relay.socket == socket && (group || twin) && !relay.bases.is_empty()
        });
        let known = self.list.iter().position(|r| r.socket == socket && r.server == id);
        if known.is_none() && served {
            return;
        }
        let Some(index) = known.or_else(|| self.place()) else { return };
        let Some(relay) = self.list.get_mut(index) else { return };
        match &relay.state {
            State::Idle | State::Failed if served => {}
            State::Idle | State::Failed | State::Gone => {
                *relay = Relay::new(socket, base, id, of, turn);
            }
            State::Active(active) => relay.again |= active.closing,
            State::Waiting | State::Connecting(_) | State::Open(_) => {}
        }
    }

    /// The server of a relay refused: it is not asked again before a time, whoever wants that.
    pub(super) fn hold(&mut self, index: usize, until: Instant) {
        if let Some(relay) = self.list.get_mut(index) {
            relay.held_until = Some(until);
        }
    }

    /// A place for one relay more: one that is free, or a new one.
    fn place(&mut self) -> Option<usize> {
        let free = self.list.iter().position(|relay| matches!(relay.state, State::Gone));
        if free.is_some() {
            return free;
        }
        let index = self.list.len();
        u16::try_from(index).ok()?;
        self.list.push(Relay::gone());
        Some(index)
    }

    /// Whether a relay for one of the sockets may still come.
    pub(super) fn is_pending(&self, uses: impl Fn(SocketId) -> bool) -> bool {
        self.list.iter().any(|relay| relay.is_open() && uses(relay.socket))
    }

    /// Whether one of those that are waited for has shown a sign of life.
    pub(super) fn is_alive(&self, uses: impl Fn(SocketId) -> bool) -> bool {
        self.list.iter().any(|relay| relay.is_open() && relay.is_answered() && uses(relay.socket))
    }

    /// How many have not begun.
    pub(super) fn queued(&self, uses: impl Fn(SocketId) -> bool) -> u32 {
        let waits = |relay: &&Relay| matches!(relay.state, State::Waiting) && uses(relay.socket);
        u32::try_from(self.list.iter().filter(waits).count()).unwrap_or(u32::MAX)
    }

    /// Until when a relay waits for those before it in its group, and for who has its 5-tuple.
    fn wait(&self, relay: &Relay, config: &EndpointConfig) -> Option<Wait> {
        if self.list.iter().any(|other| other.is_twin(relay) && other.active().is_some()) {
            return Some(Wait::Open);
        }
        let before = |other: &&Relay| {
            other.rivals(relay) && other.rank() < relay.rank() && other.is_pending()
        };
        let wait = |other: &Relay| match other.began.filter(|_| !other.is_answered()) {
            Some(began) => Wait::Until(began + config.relay_stagger),
            None => Wait::Open,
        };
        self.list.iter().filter(before).map(wait).max()
    }

    fn is_free(&self, relay: &Relay, now: Instant, config: &EndpointConfig) -> bool {
        match self.wait(relay, config) {
            None => true,
            Some(Wait::Until(at)) => at <= now,
            Some(Wait::Open) => false,
        }
    }

    /// The first relay whose first request could leave now, if the pacer agrees.
    pub(super) fn next_start(&self, now: Instant, config: &EndpointConfig) -> Option<usize> {
        self.list.iter().position(|relay| match relay.state {
            State::Open(_) => true,
            State::Waiting => relay.transport == Transport::Udp && self.is_free(relay, now, config),
            State::Idle | State::Connecting(_) | State::Active(_) | State::Failed | State::Gone => {
                false
            }
        })
    }

    /// The first relay whose connection is to be opened now.
    pub(super) fn next_open(&self, now: Instant, config: &EndpointConfig) -> Option<usize> {
        self.list.iter().position(|relay| {
            matches!(relay.state, State::Waiting)
                && relay.transport != Transport::Udp
                && self.is_free(relay, now, config)
        })
    }

    /// Whether there are as many allocations and attempts as allowed.
    pub(super) fn is_full(&self, config: &EndpointConfig) -> bool {
        let counts = |relay: &&Relay| match relay.state {
            State::Connecting(_) | State::Open(_) | State::Active(_) => true,
            State::Idle | State::Waiting | State::Failed | State::Gone => false,
        };
        self.list.iter().filter(counts).count() >= usize::from(config.max_relays)
    }

    /// Has a connection opened.
    pub(super) fn open(&mut self, now: Instant, index: usize) {
        let id = ConnectId(self.next_connect);
        let Some(relay) = self.list.get_mut(index) else { return };
        self.next_connect = self.next_connect.wrapping_add(1);
        relay.began.get_or_insert(now);
        relay.state = State::Connecting(id);
        self.connects.push_back(Connect::Open {
            id,
            from: relay.base.ip(),
            to: relay.to,
            transport: relay.transport,
            name: relay.name.clone(),
        });
    }

    pub(super) fn poll_connect(&mut self) -> Option<Connect> {
        self.connects.pop_front()
    }

    /// The relay that waits for a connection.
    pub(super) fn connecting(&self, id: ConnectId) -> Option<usize> {
        self.list
            .iter()
            .position(|relay| matches!(relay.state, State::Connecting(known) if known == id))
    }

    pub(super) fn opened(&mut self, index: usize, via: SocketId) {
        if let Some(relay) = self.list.get_mut(index) {
            relay.state = State::Open(via);
        }
    }

    /// The relay that a connection is for.
    pub(super) fn of_connection(&self, socket: SocketId) -> Option<usize> {
        self.list.iter().position(|relay| match &relay.state {
            State::Open(via) => *via == socket,
            State::Active(active) => active.via == socket && relay.socket != socket,
            State::Idle | State::Waiting | State::Connecting(_) | State::Failed | State::Gone => {
                false
            }
        })
    }

    /// The relay over UDP whose server is there and has not answered yet.
    pub(super) fn unanswered(&self, socket: SocketId, to: SocketAddr) -> Option<usize> {
        self.list.iter().position(|relay| {
            relay.to == to
                && relay.active().is_some_and(|a| a.via == socket && !a.client.is_answered())
        })
    }

    /// Makes a client, and returns what its packets leave from. [rfc8445-5.1.1.2-6]
    pub(super) fn start(
        &mut self,
        now: Instant,
        index: usize,
        turn: &Turn,
        config: &EndpointConfig,
        seed: &Seed,
    ) -> Option<(SocketId, SocketAddr)> {
        let relay = self.list.get_mut(index)?;
        let known = self
            .challenged
            .iter()
            .find(|(server, to, _)| *server == relay.server && *to == relay.to);
        let credentials = known.map_or(&turn.credentials, |(.., credentials)| credentials);
        let mut settings = ClientConfig::new(relay.transport, credentials.clone());
        settings.families = turn.families;
        settings.lifetime = turn.lifetime;
        settings.dont_fragment = turn.dont_fragment;
        settings.software.clone_from(&config.software);
        settings.retransmission = config.retransmission;
        settings.max_peers = config.max_relay_peers;
        let mut secret = [0; 32];
        self.seeds.fill(seed, &mut secret);
        let via = match relay.state {
            State::Open(via) => via,
            State::Idle
            | State::Waiting
            | State::Connecting(_)
            | State::Active(_)
            | State::Failed
            | State::Gone => relay.socket,
        };
        relay.began.get_or_insert(now);
        let client = Client::new(now, settings, secret);
        let due = Some(now);
        let full_until = None;
        let active = Active { client, via, due, told: None, closing: false, full_until };
        relay.state = State::Active(Box::new(active));
        Some((via, relay.to))
    }

    /// Whether a relay's client is due.
    pub(super) fn is_due(&self, index: usize, now: Instant) -> bool {
        let active = self.list.get(index).and_then(Relay::active);
        active.is_some_and(|active| active.due.is_some_and(|due| due <= now))
    }

    /// Notes that a client is told the time; true if that is news.
    pub(super) fn tell(&mut self, index: usize, now: Instant) -> bool {
        let active = self.list.get_mut(index).and_then(Relay::active_mut);
        active.is_some_and(|active| active.told.replace(now) != Some(now))
    }

    /// Asks a client anew when it is due.
    pub(super) fn touch(&mut self, index: usize) {
        if let Some(active) = self.list.get_mut(index).and_then(Relay::active_mut) {
            active.due = active.client.poll_timeout();
        }
    }

    pub(super) fn poll_event(&mut self, index: usize) -> Option<Event> {
        self.client_mut(index)?.poll_event()
    }

    /// Encodes the next packet of one client.
    pub(super) fn poll_transmit(
        &mut self,
        now: Instant,
        index: usize,
        buf: &mut [u8],
    ) -> Option<Transmit> {
        let relay = self.list.get_mut(index)?;
        let to = relay.to;
        let active = relay.active_mut()?;
        let len = active.client.poll_transmit(now, buf)?;
        active.due = active.client.poll_timeout();
        Some(Transmit { socket: active.via, to, range: 0..len })
    }

    /// When something is due, first requests excepted: those wait for the pacer.
    pub(super) fn deadline(&self, now: Instant, config: &EndpointConfig) -> Option<Instant> {
        if self.review || !self.connects.is_empty() {
            return Some(now);
        }
        let mut deadline = None;
        for relay in &self.list {
            let at = match &relay.state {
                State::Active(active) => active.due,
                State::Waiting => match self.wait(relay, config) {
                    Some(Wait::Until(at)) if at > now => Some(at),
                    None | Some(Wait::Until(_)) if relay.transport != Transport::Udp => Some(now),
                    None | Some(Wait::Until(_) | Wait::Open) => None,
                },
                State::Idle
                | State::Connecting(_)
                | State::Open(_)
                | State::Failed
                | State::Gone => None,
            };
            deadline = earlier(deadline, at);
        }
        deadline
    }

    /// Takes the addresses of an allocation as bases; returns those that are gone.
    pub(super) fn take_allocation(&mut self, index: usize) -> Vec<RelayedBase> {
        let Self { list, next_base, challenged, .. } = self;
        let Some(relay) = list.get_mut(index) else { return Vec::new() };
        let Some(active) = relay.active() else { return Vec::new() };
        let credentials = active.client.credentials().clone();
        let mut bases = Vec::new();
        for address in active.client.relayed().map(canonical) {
            let known = relay.bases.iter().find(|base| base.address == address).copied();
            bases.push(known.unwrap_or_else(|| {
                let id = SocketId::relayed(*next_base);
                *next_base = next_base.wrapping_add(1);
                RelayedBase { id, address }
            }));
        }
        let mut gone = core::mem::replace(&mut relay.bases, bases);
        gone.retain(|base| !relay.bases.contains(base));
        relay.allocated = true;
        let (server, to) = (relay.server, relay.to);
        // One for each server: where a server sends us is not ours to choose.
        challenged.retain(|(known, ..)| *known != server);
        challenged.push((server, to, credentials));
        gone
    }

    /// Takes all bases from a relay.
    pub(super) fn take_bases(&mut self, index: usize) -> Vec<RelayedBase> {
        self.list.get_mut(index).map(|relay| core::mem::take(&mut relay.bases)).unwrap_or_default()
    }

    /// Forgets what a server said of itself: it was of no use.
    pub(super) fn forget_challenge(&mut self, index: usize) {
        let Some(relay) = self.list.get(index) else { return };
        let (server, to) = (relay.server, relay.to);
        self.challenged.retain(|(known, at, _)| *known != server || *at != to);
    }

    /// The other relays that an allocation makes superfluous.
    pub(super) fn rivals(&self, index: usize) -> Vec<usize> {
        let Some(relay) = self.list.get(index) else { return Vec::new() };
        let rival = |(at, other): &(usize, &Relay)| {
            *at != index && (other.rivals(relay) || other.is_twin(relay))
        };
        self.list.iter().enumerate().filter(rival).map(|(at, _)| at).collect()
    }

    /// Ends a relay in good order: an allocation is given back first.
    pub(super) fn close(&mut self, now: Instant, index: usize) {
        let Some(relay) = self.list.get_mut(index) else { return };
        match &mut relay.state {
            State::Active(active) => {
                active.closing = true;
                active.client.close(now);
                active.due = active.client.poll_timeout();
            }
            State::Waiting | State::Connecting(_) | State::Open(_) => self.leave(index, false),
            State::Idle | State::Failed | State::Gone => {}
        }
    }

    /// Ends a relay at once; its connection is closed. Returns what its packets left from.
    pub(super) fn end(&mut self, index: usize, failed: bool) -> Option<(SocketId, SocketAddr)> {
        let left = self.leaves(index);
        self.leave(index, failed);
        left
    }

    /// Ends an attempt that nobody answers, for another one. Returns what its packets left from.
    pub(super) fn begin_again(&mut self, index: usize) -> Option<(SocketId, SocketAddr)> {
        let left = self.leaves(index);
        let allocated = self.list.get(index).is_some_and(|relay| relay.allocated);
        self.leave(index, false);
        if let Some(relay) = self.list.get_mut(index) {
            relay.state = State::Waiting;
            relay.allocated = allocated;
        }
        left
    }

    /// What the packets of a relay leave from, and where they go.
    pub(super) fn leaves(&self, index: usize) -> Option<(SocketId, SocketAddr)> {
        let relay = self.list.get(index)?;
        relay.active().map(|active| (active.via, relay.to))
    }

    fn leave(&mut self, index: usize, failed: bool) {
        let Some(relay) = self.list.get_mut(index) else { return };
        let again = core::mem::take(&mut relay.again);
        let next = match (again, failed) {
            (true, _) => State::Waiting,
            (false, true) => State::Failed,
            (false, false) => State::Idle,
        };
        relay.began = None;
        relay.allocated = false;
        match core::mem::replace(&mut relay.state, next) {
            State::Connecting(id) => self.cancel(id),
            State::Open(via) => self.connects.push_back(Connect::Close(via)),
            State::Active(active) if active.via != relay.socket => {
                self.connects.push_back(Connect::Close(active.via));
            }
            State::Gone => relay.state = State::Gone,
            State::Idle | State::Waiting | State::Active(_) | State::Failed => {}
        }
    }

    fn cancel(&mut self, cancelled: ConnectId) {
        let asked =
            |connect: &Connect| matches!(connect, Connect::Open { id, .. } if *id == cancelled);
        match self.connects.iter().position(asked) {
            Some(place) => drop(self.connects.remove(place)),
            None => self.connects.push_back(Connect::Cancel(cancelled)),
        }
    }

    /// The server sends us to another one: true if we go there. Once, to no address that was
    /// tried, with the credentials and over the transport that there were. Where the server has to
    /// prove who it is, it does so for the name that we were told, or else the one that it had.
    /// [rfc8656-7.4-2] [rfc8489-10-5] [rfc8489-10-6] [rfc8489-10-8] [rfc8489-10-9]
    pub(super) fn redirect(
        &mut self,
        index: usize,
        to: SocketAddr,
        name: Option<Box<str>>,
    ) -> bool {
        let to = canonical(to);
        let tried = |other: &Relay, relay: &Relay| {
            let same = other.rivals(relay) || other.server == relay.server;
            other.to == to && same || other.shares_5_tuple(relay.socket, to, relay.transport)
        };
        let Some(relay) = self.list.get(index) else { return false };
        let refused = relay.redirected
            || relay.to == to
            || !may_reach(relay.base, to)
            || relay.transport.is_secure() && name.is_none() && relay.name.is_none()
            || self.list.iter().any(|o| o.socket == relay.socket && tried(o, relay));
        if refused {
            return false;
        }
        let Some(relay) = self.list.get_mut(index) else { return false };
        let began = relay.began;
        relay.again = true;
        self.leave(index, false);
        if let Some(relay) = self.list.get_mut(index) {
            relay.began = began;
            relay.redirected = true;
            relay.to = to;
            relay.name = name.map(Into::into).or(relay.name.take());
        }
        true
    }

    /// The socket of a relay is gone: nothing more can be said over UDP.
    pub(super) fn remove(&mut self, index: usize) {
        if let Some(relay) = self.list.get_mut(index) {
            relay.again = false;
        }
        self.leave(index, false);
        if let Some(relay) = self.list.get_mut(index) {
            *relay = Relay::gone();
        }
    }

    /// The relay and family that a base stands for.
    fn of_base(&mut self, base: SocketId) -> Option<(usize, &mut Relay)> {
        self.list
            .iter_mut()
            .enumerate()
            .find(|(_, relay)| relay.bases.iter().any(|known| known.id == base))
    }

    /// The base of a relay that packets from `peer` arrive at.
    pub(super) fn base_for(&self, index: usize, peer: IpAddr) -> Option<SocketId> {
        let bases = &self.list.get(index)?.bases;
        let base = bases.iter().find(|base| base.address.is_ipv4() == peer.is_ipv4())?;
        Some(base.id)
    }

    /// Asks for a permission, for a base. [rfc8656-9-1]
    pub(super) fn permit(
        &mut self,
        now: Instant,
        base: SocketId,
        peer: IpAddr,
    ) -> Result<(), PeerError> {
        let Some(active) = self.of_base(base).and_then(|(_, relay)| relay.active_mut()) else {
            return Ok(());
        };
        let outcome = active.client.permit(now, peer);
        active.due = active.client.poll_timeout();
        outcome
    }

    /// The relay of a base, unless it was found of late that all its peers are needed.
    pub(super) fn may_have_room(&mut self, now: Instant, base: SocketId) -> Option<usize> {
        let (index, relay) = self.of_base(base)?;
        let full = relay.active()?.full_until.is_some_and(|until| now < until);
        (!full).then_some(index)
    }

    /// All peers of a relay are needed.
    pub(super) fn note_full(&mut self, now: Instant, index: usize) {
        if let Some(active) = self.list.get_mut(index).and_then(Relay::active_mut) {
            active.full_until = Some(now + FULL_FOR);
        }
    }

    /// Asks again for what the server granted for a peer, for a base.
    pub(super) fn ask_again(&mut self, now: Instant, base: SocketId, peer: SocketAddr) {
        if let Some(active) = self.of_base(base).and_then(|(_, relay)| relay.active_mut()) {
            active.client.ask_again(now, peer);
            active.due = active.client.poll_timeout();
        }
    }

    /// Asks for a channel, for a base; without one data travels in indications.
    pub(super) fn bind_channel(&mut self, now: Instant, base: SocketId, peer: SocketAddr) {
        if let Some(active) = self.of_base(base).and_then(|(_, relay)| relay.active_mut())
            && active.client.bind_channel(now, peer).is_ok()
        {
            active.due = active.client.poll_timeout();
        }
    }

    /// How a packet from a base gets to a peer. Without a permission it does not; then one is
    /// asked for.
    pub(super) fn way(&mut self, now: Instant, base: SocketId, peer: SocketAddr) -> Option<Way> {
        let (_, relay) = self.of_base(base)?;
        let server = relay.to;
        let active = relay.active_mut()?;
        if let Some(framing) = active.client.framing(peer) {
            return Some(Way { socket: active.via, server, framing });
        }
        if active.client.permit(now, peer.ip()).is_ok() {
            active.due = active.client.poll_timeout();
        }
        None
    }

    /// How application data gets to a peer: over a channel as soon as there is one.
    pub(super) fn data_way(
        &mut self,
        now: Instant,
        base: SocketId,
        peer: SocketAddr,
    ) -> Option<Way> {
        let way = self.way(now, base, peer)?;
        if !way.framing.is_channel() {
            self.bind_channel(now, base, peer);
        }
        Some(way)
    }

    /// Frames a packet in place.
    pub(super) fn frame(
        &mut self,
        now: Instant,
        base: SocketId,
        peer: SocketAddr,
        buf: &mut [u8],
        payload: Range<usize>,
    ) -> Option<Transmit> {
        let way = self.way(now, base, peer)?;
        let range = way.framing.frame(buf, payload)?;
        Some(Transmit { socket: way.socket, to: way.server, range })
    }
}

impl Relay {
    fn new(socket: SocketId, base: SocketAddr, server: ServerId, of: &Server, turn: &Turn) -> Self {
        Self {
            socket,
            base,
            server,
            to: canonical(of.address),
            redirected: false,
            transport: turn.transport,
            name: turn.name.clone(),
            group: of.group,
            state: State::Waiting,
            bases: Vec::new(),
            began: None,
            allocated: false,
            again: false,
            held_until: None,
        }
    }

    fn gone() -> Self {
        Self {
            socket: SocketId(u32::MAX),
            base: SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 0),
            server: ServerId(u32::MAX),
            to: SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 0),
            redirected: false,
            transport: Transport::Udp,
            name: None,
            group: None,
            state: State::Gone,
            bases: Vec::new(),
            began: None,
            allocated: false,
            again: false,
            held_until: None,
        }
    }

    /// Why it failed if nobody waits any longer.
    pub(super) fn too_late(&self) -> crate::event::GatherFailure {
        match self.state {
            State::Connecting(_) => crate::event::GatherFailure::Connect(ConnectFailure::Timeout),
            State::Idle
            | State::Waiting
            | State::Open(_)
            | State::Active(_)
            | State::Failed
            | State::Gone => crate::event::GatherFailure::Relay(crate::turn::Error::Timeout),
        }
    }
}
