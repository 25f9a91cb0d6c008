//! The endpoint and its sockets, shared by the task that drives them and by the handles.

use core::task::{Context, Poll, Waker};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tracing::{debug, trace, warn};

use super::builder::Options;
use super::clock::Clock;
use super::connection::Link;
use super::interfaces::Base;
use super::negotiation::Negotiation;
use super::resolve::Place;
use super::socket::{SendFailure, classify, hints_at_change, on_link_of, unscoped};
use super::streams::Streams;
use super::tls::Tls;
use super::{DriverStats, PathFilter};
use crate::Endpoint;
use crate::candidate::{Candidate, CandidateKind};
use crate::event::SelectedPair;
use crate::net::{
    AgentId, ComponentId, HEADROOM, Received, ServerId, Socket, SocketId, TAILROOM, Transmit,
};
use crate::time::Instant;

/// The longest UDP payload there is, and room around it.
pub(super) const BUFFER: usize = 65_536 + HEADROOM + TAILROOM;
/// Datagrams read in one turn of the driver, all sockets together.
const TURN: usize = 256;
/// Datagrams read from one socket before the next one has its go.
const SLICE: usize = 16;
/// Packets kept for a socket whose kernel buffer is full; the newest are dropped beyond.
const BACKLOG: usize = 64;
/// Relayed addresses known of a socket; the oldest are forgotten beyond.
const RELAYED: usize = 64;
/// Read errors without a datagram in between after which a socket is given up.
const MAX_READ_ERRORS: u32 = 64;

/// What the driver, the handles and the signalling tasks share.
#[derive(Debug)]
pub(super) struct Shared {
    core: Mutex<Core>,
    pub(super) runtime: Handle,
    pub(super) options: Options,
}

impl Shared {
    pub(super) fn new(core: Core, runtime: Handle, options: Options) -> Self {
        Self { core: Mutex::new(core), runtime, options }
    }

    /// Locks the core. Nobody holds the lock across an await or a blocking call.
    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection as the core sees it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) link: Arc<Link>,
    pub(super) negotiation: Negotiation,
    /// Restarts of our own accord since the connection could send last.
    pub(super) restarts: u8,
    /// A restart was asked for while an exchange was under way; it begins after it.
    pub(super) restart_due: bool,
    pub(super) session: u64,
    /// What the streams are called: as in the peer's offer, where it was the first to describe them.
    pub(super) mids: Vec<Option<String>>,
    /// Until it is answered, an offer tells what we chose, as two lite agents do.
    pub(super) has_choice: bool,
    /// Our candidates of this generation that the application was told of.
    pub(super) told: Vec<Candidate>,
    /// Candidates of the peer that came before its description.
    pub(super) early: Vec<crate::signaling::CandidateInit>,
    /// Whether names of the peer's are of use to it.
    #[cfg(feature = "mdns")]
    pub(super) resolves: bool,
    /// The names of its host candidates, which are answered for.
    pub(super) names: Vec<(String, IpAddr)>,
}

/// A bound socket.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) id: SocketId,
    pub(super) address: SocketAddr,
    pub(super) io: Arc<UdpSocket>,
    /// Which set of sockets it belongs to; fresh sockets are a new set.
    pub(super) set: u32,
    /// The application named its port: no other would do, so it stays.
    pub(super) named: bool,
    /// Relayed addresses that servers gave it, the latest last.
    relayed: VecDeque<SocketAddr>,
    backlog: VecDeque<(SocketAddr, Vec<u8>)>,
    read_errors: u32,
}

impl Bound {
    /// Takes note of a relayed address that a server gave this socket.
    pub(super) fn note_relayed(&mut self, address: SocketAddr) {
        self.relayed.retain(|known| *known != address);
        self.relayed.push_back(address);
        if self.relayed.len() > RELAYED {
            self.relayed.pop_front();
        }
    }

    /// Whether a pair leaves from here, be it by way of a relay.
    pub(super) fn carries(&self, pair: &SelectedPair) -> bool {
        if pair.local.kind == CandidateKind::Relayed {
            self.relayed.contains(&pair.local.address)
        } else {
            unscoped(self.address) == pair.base
        }
    }
}

/// The state behind the lock.
pub(super) struct Core {
    pub(super) endpoint: Endpoint,
    pub(super) clock: Clock,
    pub(super) sockets: Vec<Bound>,
    pub(super) members: BTreeMap<AgentId, Member>,
    /// Connections to servers.
    pub(super) streams: Streams,
    pub(super) servers: BTreeMap<ServerId, Place>,
    pub(super) stats: DriverStats,
    /// No handle is left: the driver ends.
    pub(super) closing: bool,
    /// Connections that share a 5-tuple were warned of.
    warned: bool,
    /// Tells that the addresses may be others now.
    pub(super) hints: Arc<Notify>,
    pub(super) filter: Option<PathFilter>,
    #[cfg(feature = "mdns")]
    pub(super) mdns: super::mdns::Mdns,
    driver: Option<Waker>,
    pub(super) buffer: Vec<u8>,
    /// The socket that is read first in the next turn.
    next: usize,
}

impl core::fmt::Debug for Core {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Core").field("sockets", &self.sockets.len()).finish_non_exhaustive()
    }
}

impl Core {
    pub(super) fn new(
        endpoint: Endpoint,
        clock: Clock,
        filter: Option<PathFilter>,
        tls: Tls,
    ) -> Self {
        Self {
            endpoint,
            clock,
            sockets: Vec::new(),
            members: BTreeMap::new(),
            streams: Streams::new(tls),
            servers: BTreeMap::new(),
            stats: DriverStats::default(),
            closing: false,
            warned: false,
            hints: Arc::default(),
            filter,
            #[cfg(feature = "mdns")]
            mdns: super::mdns::Mdns::default(),
            driver: None,
            buffer: vec![0; BUFFER],
            next: 0,
        }
    }

    /// Whether nothing is left to be sent or waited for.
    pub(super) fn is_idle(&self) -> bool {
        self.endpoint.poll_timeout().is_none()
            && self.streams.is_idle()
            && self.sockets.iter().all(|socket| socket.backlog.is_empty())
    }

    /// Hands a bound socket to the endpoint.
    pub(super) fn add_socket(&mut self, io: UdpSocket, base: &Base, set: u32) -> io::Result<()> {
        let address = io.local_addr()?;
        let named = base.address.port() != 0;
        let now = self.clock.now();
        let socket = Socket::udp(address).with_network_cost(base.network_cost);
        let id = self.endpoint.add_socket(now, socket);
        debug!(interface = base.interface, port = address.port(), "socket bound");
        self.sockets.push(Bound {
            id,
            address,
            io: Arc::new(io),
            set,
            named,
            relayed: VecDeque::new(),
            backlog: VecDeque::new(),
            read_errors: 0,
        });
        Ok(())
    }

    /// Takes the sockets that `keep` refuses out of service.
    pub(super) fn keep_sockets(&mut self, keep: impl Fn(&Bound) -> bool) {
        let now = self.clock.now();
        let endpoint = &mut self.endpoint;
        self.sockets.retain(|socket| {
            let kept = keep(socket);
            if !kept {
                endpoint.remove_socket(now, socket.id);
            }
            kept
        });
    }

    /// Makes the driver look again: something was commanded.
    pub(super) fn wake_driver(&mut self) {
        if let Some(waker) = self.driver.take() {
            waker.wake();
        }
    }

    pub(super) fn set_driver(&mut self, waker: &Waker) {
        match &mut self.driver {
            Some(driver) => driver.clone_from(waker),
            driver @ None => *driver = Some(waker.clone()),
        }
    }

    pub(super) fn may_pass(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter(unscoped(local), unscoped(remote)))
    }

    /// Reads what has arrived, at most [`TURN`] datagrams, sockets and connections taking turns.
    /// Returns whether all are drained; their wakers are registered then.
    pub(super) fn receive(&mut self, cx: &mut Context<'_>) -> bool {
        let mut left = TURN;
        let mut drained = 0;
        let sockets = self.sockets.len();
        let count = sockets + self.streams.len();
        if count == 0 {
            return true;
        }
        while left > 0 && drained < count {
            self.next = (self.next + 1) % count;
            let slice = SLICE.min(left);
            let read = match self.next.checked_sub(sockets) {
                None => self.receive_slice(cx, self.next, slice),
                Some(stream) => self.receive_stream(cx, stream, slice),
            };
            left -= read;
            drained = if read < slice { drained + 1 } else { 0 };
        }
        self.keep_sockets(|socket| socket.read_errors < MAX_READ_ERRORS);
        drained >= count
    }

    /// Reads at most `slice` datagrams from one socket and returns how many there were.
    fn receive_slice(&mut self, cx: &mut Context<'_>, index: usize, slice: usize) -> usize {
        let mut buffer = core::mem::take(&mut self.buffer);
        let mut read = 0;
        while read < slice {
            let Some(socket) = self.sockets.get_mut(index) else { break };
            let mut datagram = ReadBuf::new(&mut buffer);
            match socket.io.poll_recv_from(cx, &mut datagram) {
                Poll::Pending => break,
                Poll::Ready(Ok(from)) => {
                    socket.read_errors = 0;
                    let (id, local) = (socket.id, socket.address);
                    self.handle(id, local, from, datagram.filled());
                }
                Poll::Ready(Err(error)) => {
                    // An ICMP error of an earlier send, or the interface is gone.
                    trace!(%error, "read");
                    self.stats.receive_errors = self.stats.receive_errors.saturating_add(1);
                    socket.read_errors = socket.read_errors.saturating_add(1);
                }
            }
            read += 1;
        }
        self.buffer = buffer;
        read
    }

    pub(super) fn handle(
        &mut self,
        socket: SocketId,
        local: SocketAddr,
        from: SocketAddr,
        datagram: &[u8],
    ) {
        if !self.may_pass(local, from) {
            self.stats.filtered = self.stats.filtered.saturating_add(1);
            return;
        }
        self.stats.received = self.stats.received.saturating_add(1);
        let now = self.clock.now();
        match self.endpoint.handle_datagram(now, socket, from, datagram) {
            Received::Data { agent, component: _, data } => {
                if let Some(member) = self.members.get(&agent) {
                    member.link.deliver(data);
                }
            }
            Received::Unclaimed { .. } => self.unclaimed(local, from),
            Received::Handled | Received::Dropped(_) => {}
        }
    }

    /// Counts data that no connection, or more than one, may claim. The latter is a mistake of
    /// ours, so it is warned of; it is looked for ever more rarely, as strangers send data too.
    fn unclaimed(&mut self, local: SocketAddr, from: SocketAddr) {
        self.stats.unclaimed = self.stats.unclaimed.saturating_add(1);
        if self.warned || !self.stats.unclaimed.is_power_of_two() {
            return;
        }
        // Of a peer that is known by a name the port alone is shown.
        let is_from = |known: SocketAddr| {
            unscoped(known) == unscoped(from)
                || known.ip().is_unspecified() && known.port() == from.port()
        };
        let is_theirs = |agent: &&AgentId| {
            let pair = self.selected(**agent);
            pair.is_some_and(|pair| pair.base == unscoped(local) && is_from(pair.remote.address))
        };
        if self.members.keys().filter(is_theirs).nth(1).is_some() {
            self.warned = true;
            warn!("two connections share a 5-tuple: their data is dropped; use a node for each");
        }
    }

    /// Sends what was kept for sockets that were full, as far as they take it.
    pub(super) fn send_backlog(&mut self, cx: &mut Context<'_>) {
        self.flush_streams(cx);
        let now = self.clock.now();
        for socket in &mut self.sockets {
            while !socket.backlog.is_empty() {
                if socket.io.poll_send_ready(cx).is_pending() {
                    break;
                }
                let Some((to, packet)) = socket.backlog.front() else { break };
                let sent = socket.io.try_send_to(packet, on_link_of(socket.address, *to));
                match sent.as_ref().map_err(classify) {
                    Err(SendFailure::Full) => continue,
                    Err(SendFailure::Unreachable) => {
                        self.endpoint.handle_unreachable(now, socket.id, *to);
                    }
                    Ok(_) | Err(SendFailure::TooLong | SendFailure::Lost) => {}
                }
                self.stats.count_sent(sent.is_ok());
                socket.backlog.pop_front();
            }
        }
    }

    /// Sends all that the endpoint has to send now. A socket that is full keeps its packets and
    /// holds up no other.
    pub(super) fn send(&mut self, now: Instant) {
        let mut buffer = core::mem::take(&mut self.buffer);
        while let Some(transmit) = self.endpoint.poll_transmit(now, &mut buffer) {
            self.send_one(now, &transmit, &buffer);
        }
        self.buffer = buffer;
    }

    fn send_one(&mut self, now: Instant, transmit: &Transmit, buffer: &[u8]) {
        let Some(packet) = buffer.get(transmit.range.clone()) else { return };
        if self.send_on_stream(transmit, packet).is_some() {
            return;
        }
        let Some(index) = self.sockets.iter().position(|s| s.id == transmit.socket) else { return };
        let Some(local) = self.sockets.get(index).map(|socket| socket.address) else { return };
        if !self.may_pass(local, transmit.to) {
            self.stats.filtered = self.stats.filtered.saturating_add(1);
            return;
        }
        let Some(socket) = self.sockets.get_mut(index) else { return };
        let sent = if socket.backlog.is_empty() {
            socket.io.try_send_to(packet, on_link_of(socket.address, transmit.to))
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        };
        if sent.as_ref().is_err_and(hints_at_change) {
            self.hints.notify_one();
        }
        match sent.as_ref().map_err(classify) {
            Ok(_) => {}
            Err(SendFailure::Full) if socket.backlog.len() < BACKLOG => {
                socket.backlog.push_back((transmit.to, packet.to_vec()));
                return;
            }
            Err(SendFailure::Unreachable) => {
                self.endpoint.handle_unreachable(now, transmit.socket, transmit.to);
            }
            Err(SendFailure::Full | SendFailure::TooLong | SendFailure::Lost) => {}
        }
        self.stats.count_sent(sent.is_ok());
    }

    /// Whether data of `agent` can leave now.
    pub(super) fn can_send(&mut self, agent: AgentId) -> bool {
        let now = self.clock.now();
        self.endpoint.route(now, agent, ComponentId::FIRST).is_ok()
    }

    /// The pair in use, as long as its socket is; relayed addresses are the endpoint's to keep.
    pub(super) fn selected(&self, agent: AgentId) -> Option<SelectedPair> {
        let pair = self.endpoint.agent(agent)?.selected(ComponentId::FIRST)?;
        let is_there = pair.local.kind == CandidateKind::Relayed
            || self.sockets.iter().any(|socket| unscoped(socket.address) == pair.base);
        is_there.then_some(pair)
    }

    /// Sends application data on the pair that `agent` uses now.
    pub(super) fn send_data(&mut self, agent: AgentId, data: &[u8]) -> DataSent {
        let Some(end) = HEADROOM.checked_add(data.len()).filter(|end| end + TAILROOM <= BUFFER)
        else {
            return DataSent::TooLong;
        };
        if !self.endpoint.config().data_class.admits(data) {
            return DataSent::NotData;
        }
        let now = self.clock.now();
        let mut buffer = core::mem::take(&mut self.buffer);
        if let Some(payload) = buffer.get_mut(HEADROOM..end) {
            payload.copy_from_slice(data);
        }
        let component = ComponentId::FIRST;
        let sent = match self.endpoint.route(now, agent, component) {
            Err(error) => DataSent::Refused(error),
            Ok(route) => match route.frame(&mut buffer, HEADROOM..end) {
                Some(transmit) => self.send_frame(now, &transmit, &buffer),
                None => DataSent::TooLong,
            },
        };
        self.buffer = buffer;
        sent
    }

    fn send_frame(&mut self, now: Instant, transmit: &Transmit, buffer: &[u8]) -> DataSent {
        let socket = self.sockets.iter().find(|socket| socket.id == transmit.socket);
        let Some(packet) = buffer.get(transmit.range.clone()) else { return DataSent::Done };
        let Some(socket) = socket else { return self.send_data_on_stream(transmit, packet) };
        if !self.may_pass(socket.address, transmit.to) {
            self.stats.filtered = self.stats.filtered.saturating_add(1);
            return DataSent::Done;
        }
        let sent = socket.io.try_send_to(packet, on_link_of(socket.address, transmit.to));
        if sent.as_ref().is_err_and(hints_at_change) {
            self.hints.notify_one();
        }
        let outcome = match sent.as_ref().map_err(classify) {
            Err(SendFailure::Full) => {
                return DataSent::Full(Full::Socket(Arc::clone(&socket.io)));
            }
            Err(SendFailure::TooLong) => DataSent::TooLong,
            Err(SendFailure::Unreachable) => {
                self.endpoint.handle_unreachable(now, transmit.socket, transmit.to);
                self.wake_driver();
                DataSent::Done
            }
            Ok(_) | Err(SendFailure::Lost) => DataSent::Done,
        };
        self.stats.count_sent(sent.is_ok());
        outcome
    }
}

/// What became of application data.
#[derive(Debug)]
pub(super) enum DataSent {
    /// It left, or was lost as any datagram may be.
    Done,
    /// The socket is full: try again when there is room.
    Full(Full),
    /// It is longer than the path carries.
    TooLong,
    /// The peer would not take it for data.
    NotData,
    /// The agent has no pair for it.
    Refused(crate::SendError),
}

/// What has no room now.
#[derive(Debug)]
pub(super) enum Full {
    Socket(Arc<UdpSocket>),
    Stream(OwnedNotified),
}

impl Full {
    /// Waits until there may be room.
    pub(super) async fn room(self) {
        match self {
            Self::Socket(socket) => {
                let _ = socket.writable().await;
            }
            Self::Stream(room) => room.await,
        }
    }
}
