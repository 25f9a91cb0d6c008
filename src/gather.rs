//! Gathering server-reflexive addresses, and keeping their mappings alive. [RFC 8445 §5.1.1]
//!
//! It knows sockets and servers, and no agent: the mapping of a socket serves all agents on it.
//! One task is one socket with one server. All are started, paced, so that a server that does not
//! answer delays nothing; the first answer of a server group ends the other tasks of that group.

use core::time::Duration;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::{EndpointConfig, Retransmission};
use crate::event::GatherFailure;
use crate::net::{DropReason, ServerId, SocketId, Transport, canonical, is_link_local};
use crate::rng::{Purpose, Seed, Stream};
use crate::stun::{
    ClientTransaction, Encoder, LongTerm, Message, MessageClass, Method, RtoEstimator,
    TransactionId, TransactionStep,
};
use crate::time::{Instant, earlier};
use crate::turn;

/// A STUN or TURN server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Server {
    /// Its address.
    pub address: SocketAddr,
    /// Servers that are likely to answer alike (the addresses of one name) share a group: one
    /// reflexive candidate for each base and group is gathered. `None` is a group of its own.
    pub group: Option<u32>,
    /// What makes it a TURN server.
    pub turn: Option<Turn>,
}

/// A TURN server: how it is reached, and as whom.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Turn {
    /// How it is reached.
    pub transport: Transport,
    /// Its name as the user gave it, for TLS and DTLS; `None` if that was an address.
    pub name: Option<Arc<str>>,
    /// Username and password.
    pub credentials: LongTerm,
    /// Of which families relayed addresses are asked for. Default both.
    pub families: turn::Families,
    /// Whether the server is to send with the don't-fragment bit. Default false.
    pub dont_fragment: bool,
    /// The lifetime asked for. Default 10 minutes.
    pub lifetime: Duration,
}

impl Server {
    /// Describes a STUN server over UDP at `address`, a link-local one with its scope, in a group of
    /// its own.
    #[must_use]
    pub fn stun(address: SocketAddr) -> Self {
        Self { address: canonical(address), group: None, turn: None }
    }

    /// Describes a TURN server at `address`, a link-local one with its scope, in a group of its own.
    /// It serves as a STUN server too where it is reached over UDP.
    ///
    /// In a group UDP is tried first, and TCP and TLS where it does not answer soon
    /// ([`EndpointConfig::relay_stagger`]); the first allocation ends the others.
    #[must_use]
    pub fn turn(address: SocketAddr, transport: Transport, credentials: LongTerm) -> Self {
        let turn = Turn {
            transport,
            name: None,
            credentials,
            families: turn::Families::Both,
            dont_fragment: false,
            lifetime: turn::LIFETIME_DEFAULT,
        };
        Self { address: canonical(address), group: None, turn: Some(turn) }
    }

    /// Puts the server into a group.
    #[must_use]
    pub fn in_group(mut self, group: u32) -> Self {
        self.group = Some(group);
        self
    }
}

/// What is known of one socket at one server.
#[derive(Clone, Debug)]
enum TaskState {
    /// Nobody needs it yet, or another server of the group answered.
    Idle,
    /// It waits for its turn.
    Queued,
    /// A request is under way.
    Running { id: TransactionId, timing: ClientTransaction, resend: bool },
    /// The server saw this address.
    Mapped { mapped: SocketAddr, refresh_at: Instant },
    /// It is not asked again until somebody needs it anew.
    Failed,
}

#[derive(Clone, Debug)]
struct Task {
    socket: SocketId,
    server: ServerId,
    to: SocketAddr,
    group: Option<u32>,
    /// A TURN server: its answer to the request for an allocation tells the mapping, too.
    allocates: bool,
    state: TaskState,
    /// When it was first asked.
    asked: Instant,
    /// The mapping before the refresh that is under way.
    known: Option<SocketAddr>,
    /// That may be another one by now.
    doubted: bool,
}

impl Task {
    /// A mapping that is in use may be another one.
    fn doubt(&mut self, now: Instant) {
        if let TaskState::Mapped { refresh_at, .. } = &mut self.state {
            *refresh_at = now;
        }
    }
}

/// What came of a response or of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gathered {
    /// A server saw `mapped` for packets from `socket`, where it saw `before` until now; if that is
    /// news, which one it was and how long it took.
    Mapped {
        socket: SocketId,
        server: SocketAddr,
        mapped: SocketAddr,
        before: Option<SocketAddr>,
        news: Option<(ServerId, Duration)>,
    },
    /// A server gave nothing for `socket`.
    Failed { socket: SocketId, server: ServerId, reason: GatherFailure },
}

/// A request that was encoded into the caller's buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) socket: SocketId,
    pub(crate) to: SocketAddr,
    pub(crate) len: usize,
    pub(crate) started: Option<TransactionId>,
}

/// A socket.
#[derive(Clone, Copy, Debug)]
struct Known {
    id: SocketId,
    base: SocketAddr,
    /// How often a NAT on the way has forgotten it.
    forgotten: u8,
}

impl Known {
    /// How long a mapping is left alone: half as long each time that a NAT forgot one.
    fn refresh(&self, config: &EndpointConfig) -> Duration {
        let shorter = config.mapping_refresh / (1 << self.forgotten.min(8));
        shorter.max(REFRESH_MINIMUM.min(config.mapping_refresh))
    }
}

/// The least time between refreshes of a mapping.
const REFRESH_MINIMUM: Duration = Duration::from_secs(4);

/// All gathering of an endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Gatherer {
    servers: Vec<Server>,
    sockets: Vec<Known>,
    tasks: Vec<Task>,
    ids: Stream,
    rto: RtoEstimator,
    /// Transactions whose answers are of no use any more.
    ended: Vec<TransactionId>,
    /// Whether mappings are needed and so refreshed.
    needed: bool,
}

impl Gatherer {
    pub(crate) fn new() -> Self {
        Self {
            servers: Vec::new(),
            sockets: Vec::new(),
            tasks: Vec::new(),
            ids: Stream::new(0, Purpose::Transaction),
            rto: RtoEstimator::default(),
            ended: Vec::new(),
            needed: false,
        }
    }

    pub(crate) fn add_server(&mut self, server: Server) -> ServerId {
        let id = ServerId(u32::try_from(self.servers.len()).unwrap_or(u32::MAX));
        for known in self.sockets.clone() {
            self.add_task(known.id, known.base, id, &server);
        }
        self.servers.push(server);
        id
    }

    pub(crate) fn add_socket(&mut self, socket: SocketId, base: SocketAddr) {
        self.sockets.push(Known { id: socket, base, forgotten: 0 });
        for (index, server) in self.servers.clone().iter().enumerate() {
            let id = ServerId(u32::try_from(index).unwrap_or(u32::MAX));
            self.add_task(socket, base, id, server);
        }
    }

    pub(crate) fn remove_socket(&mut self, socket: SocketId) {
        self.sockets.retain(|known| known.id != socket);
        for task in self.tasks.iter().filter(|task| task.socket == socket) {
            if let TaskState::Running { id, .. } = task.state {
                self.ended.push(id);
            }
        }
        self.tasks.retain(|task| task.socket != socket);
    }

    /// Pairs a socket with a server that it can reach at all. [rfc8445-5.1.1.2-1]
    fn add_task(&mut self, socket: SocketId, base: SocketAddr, server: ServerId, config: &Server) {
        let to = config.address;
        let allocates = match &config.turn {
            None => false,
            Some(turn) if turn.transport == Transport::Udp => true,
            Some(_) => return,
        };
        if may_reach(base, to) {
            let queued = self.needed && !allocates;
            let state = if queued { TaskState::Queued } else { TaskState::Idle };
            let (group, known, asked) = (config.group, None, Instant::ZERO);
            let doubted = false;
            let task = Task { socket, server, to, group, allocates, state, asked, known, doubted };
            self.tasks.push(task);
        }
    }

    /// The servers, each with its id.
    pub(crate) fn servers(&self) -> impl Iterator<Item = (ServerId, &Server)> {
        (0..).map(ServerId).zip(&self.servers)
    }

    pub(crate) fn server(&self, id: ServerId) -> Option<&Server> {
        self.servers.get(usize::try_from(id.0).ok()?)
    }

    /// A TURN server gave no allocation, but it may tell a mapping.
    pub(crate) fn ask(&mut self, socket: SocketId, server: ServerId) {
        if !self.needed {
            return;
        }
        let task = self.tasks.iter_mut().find(|t| t.socket == socket && t.server == server);
        if let Some(task) = task.filter(|task| task.known.is_none()) {
            task.state = TaskState::Queued;
        }
    }

    /// A TURN server told the mapping of a socket with the allocation, `took` after it was asked
    /// for. Refreshing it goes on as if it had been asked for alone. [rfc8445-5.1.1.2-p1]
    pub(crate) fn mapped(
        &mut self,
        now: Instant,
        socket: SocketId,
        server: ServerId,
        mapped: SocketAddr,
        took: Duration,
        config: &EndpointConfig,
    ) -> Option<Gathered> {
        let refresh_at = now + self.refresh_of(socket, config);
        let task = self.tasks.iter_mut().find(|t| t.socket == socket && t.server == server)?;
        if !self.needed || !is_usable(mapped, task.to) {
            return None;
        }
        if let TaskState::Running { id, .. } = task.state {
            self.ended.push(id);
        }
        let news = (task.known != Some(mapped)).then_some((server, took));
        let before = task.known.replace(mapped).filter(|before| *before != mapped);
        task.doubted = false;
        task.state = TaskState::Mapped { mapped, refresh_at };
        let (to, group) = (task.to, task.group);
        self.settle_group(socket, server, group);
        Some(Gathered::Mapped { socket, server: to, mapped, before, news })
    }

    /// Somebody needs candidates: whatever is not known for sure is asked. [rfc8445-5.1.1.2-4a]
    /// [rfc8445-5.1.1.2-4b] [rfc8445-5.1.1-1]
    pub(crate) fn gather(&mut self) {
        self.needed = true;
        for task in self.tasks.iter_mut().filter(|task| !task.allocates) {
            match task.state {
                TaskState::Idle | TaskState::Failed => task.state = TaskState::Queued,
                TaskState::Queued | TaskState::Running { .. } | TaskState::Mapped { .. } => {}
            }
        }
    }

    /// A socket turned up late, and somebody needs what the servers say of it.
    pub(crate) fn gather_on(&mut self, socket: SocketId) {
        self.needed = true;
        for task in self.tasks.iter_mut().filter(|task| task.socket == socket && !task.allocates) {
            match task.state {
                TaskState::Idle | TaskState::Failed => task.state = TaskState::Queued,
                TaskState::Queued | TaskState::Running { .. } | TaskState::Mapped { .. } => {}
            }
        }
    }

    /// A NAT may have forgotten some sockets: their mappings are asked for anew, and count again
    /// only if there is no answer in time. A server that was asked more than once may be back: it is
    /// asked anew, too, as the next time may be seconds away.
    pub(crate) fn distrust(&mut self, uses: impl Fn(SocketId) -> bool) {
        for task in self.tasks.iter_mut().filter(|task| uses(task.socket) && !task.allocates) {
            match task.state {
                TaskState::Mapped { .. } => task.state = TaskState::Idle,
                TaskState::Running { id, timing, .. } if timing.sent() > 1 => {
                    self.ended.push(id);
                    task.state = TaskState::Idle;
                }
                TaskState::Running { .. } => {}
                TaskState::Idle | TaskState::Queued | TaskState::Failed => continue,
            }
            task.doubted = true;
        }
    }

    /// A peer sees a socket elsewhere than before, so that its mappings are others, too: they are
    /// asked for at once, and more often from now on.
    pub(crate) fn moved(&mut self, now: Instant, socket: SocketId) {
        if let Some(known) = self.sockets.iter_mut().find(|known| known.id == socket) {
            known.forgotten = known.forgotten.saturating_add(1);
        }
        for task in self.tasks.iter_mut().filter(|task| task.socket == socket) {
            task.doubt(now);
        }
    }

    /// All mappings may be others now.
    pub(crate) fn doubt_all(&mut self, now: Instant) {
        for task in &mut self.tasks {
            task.doubt(now);
        }
    }

    fn refresh_of(&self, socket: SocketId, config: &EndpointConfig) -> Duration {
        let known = self.sockets.iter().find(|known| known.id == socket);
        known.map_or(config.mapping_refresh, |known| known.refresh(config))
    }

    /// Nobody needs the mappings any more: they are left to expire.
    pub(crate) fn rest(&mut self) {
        if !self.needed {
            return;
        }
        self.needed = false;
        for task in &mut self.tasks {
            if let TaskState::Running { id, .. } = task.state {
                self.ended.push(id);
            }
            task.state = TaskState::Idle;
            task.known = None;
        }
    }

    /// The mappings of a socket that are known now.
    pub(crate) fn mappings(
        &self,
        socket: SocketId,
    ) -> impl Iterator<Item = (SocketAddr, SocketAddr)> {
        let of_socket = move |task: &&Task| task.socket == socket && !task.doubted;
        self.tasks.iter().filter(of_socket).filter_map(|task| {
            let mapped = match task.state {
                TaskState::Mapped { mapped, .. } => Some(mapped),
                TaskState::Idle
                | TaskState::Queued
                | TaskState::Running { .. }
                | TaskState::Failed => task.known,
            };
            mapped.map(|mapped| (task.to, mapped))
        })
    }

    /// Whether an answer for one of the sockets may still come.
    pub(crate) fn is_pending(&self, uses: impl Fn(SocketId) -> bool) -> bool {
        self.tasks.iter().any(|task| {
            uses(task.socket)
                && (task.known.is_none() || task.doubted)
                && matches!(task.state, TaskState::Queued | TaskState::Running { .. })
        })
    }

    /// How many requests for some sockets wait for the pacer.
    pub(crate) fn queued(&self, uses: impl Fn(SocketId) -> bool) -> u32 {
        let queued = self
            .tasks
            .iter()
            .filter(|task| matches!(task.state, TaskState::Queued) && uses(task.socket))
            .count();
        u32::try_from(queued).unwrap_or(u32::MAX)
    }

    /// Whether a new request waits for the pacer.
    pub(crate) fn wants_start(&self) -> bool {
        self.tasks.iter().any(|task| matches!(task.state, TaskState::Queued))
    }

    pub(crate) fn has_due(&self) -> bool {
        self.tasks.iter().any(|task| matches!(task.state, TaskState::Running { resend: true, .. }))
    }

    /// Encodes the next request that is due; a new one only if the pacer allows, which is the
    /// limit to what a server is asked at a time: one transaction for each socket, in turn.
    /// [rfc8445-5.1.1.2-7] [rfc8489-6.2-2]
    pub(crate) fn poll_transmit(
        &mut self,
        now: Instant,
        may_start: bool,
        config: &EndpointConfig,
        seed: &Seed,
        buf: &mut [u8],
    ) -> Option<Request> {
        for task in &mut self.tasks {
            if let TaskState::Running { id, resend, .. } = &mut task.state
                && core::mem::take(resend)
            {
                let len = encode(*id, config, buf)?;
                return Some(Request { socket: task.socket, to: task.to, len, started: None });
            }
        }
        if !may_start {
            return None;
        }
        let schedule = self.schedule(now, config);
        let task = self.tasks.iter_mut().find(|task| matches!(task.state, TaskState::Queued))?;
        let mut octets = [0; 12];
        self.ids.fill(seed, &mut octets);
        let id = TransactionId(octets);
        let timing = ClientTransaction::start(now, &schedule);
        task.asked = now;
        task.state = TaskState::Running { id, timing, resend: false };
        let len = encode(id, config, buf)?;
        Some(Request { socket: task.socket, to: task.to, len, started: Some(id) })
    }

    /// `max(500 ms, Ta × tasks)`, or what earlier answers taught. [rfc8445-14.3-1]
    fn schedule(&self, now: Instant, config: &EndpointConfig) -> Retransmission {
        let tasks = u32::try_from(self.tasks.len()).unwrap_or(u32::MAX);
        let mut schedule = config.retransmission;
        let paced = config.pacing_floor.saturating_mul(tasks);
        schedule.rto = self.rto.rto(now, &config.retransmission).max(paced);
        schedule
    }

    /// Takes the answer to a request of ours. An ALTERNATE-SERVER is not followed, and no error
    /// has the server asked again. [rfc8445-5.1.1.2-5] [rfc8445-5.1.1.2-p1] [rfc8489-6.3.3-1]
    /// [rfc8489-6.3.4-p1] [rfc8489-6.3.4-2b] [rfc8489-6.3.4-3]
    pub(crate) fn handle_response(
        &mut self,
        now: Instant,
        socket: SocketId,
        from: SocketAddr,
        message: &Message<'_>,
        config: &EndpointConfig,
    ) -> Result<Gathered, DropReason> {
        let id = message.transaction_id();
        let index = self.tasks.iter().position(|task| match task.state {
            TaskState::Running { id: known, .. } => known == id,
            TaskState::Idle | TaskState::Queued | TaskState::Mapped { .. } | TaskState::Failed => {
                false
            }
        });
        let task = index.and_then(|index| self.tasks.get_mut(index));
        let task = task.ok_or(DropReason::UnknownTransaction)?;
        if task.socket != socket || task.to != from {
            return Err(DropReason::Asymmetric);
        }
        let TaskState::Running { timing, .. } = &task.state else {
            return Err(DropReason::UnknownTransaction);
        };
        self.rto.finished(now, timing.rtt(now));
        self.ended.push(id);
        let (socket, server) = (task.socket, task.server);
        let failed = |reason| Gathered::Failed { socket, server, reason };
        let mapped = match message.class() {
            MessageClass::Success => {
                usable_mapping(message, task.to).ok_or(GatherFailure::NoAddress)
            }
            MessageClass::Error => {
                Err(GatherFailure::Refused(message.error_code().map_or(0, |error| error.code())))
            }
            MessageClass::Request | MessageClass::Indication => {
                return Err(DropReason::UnexpectedMessage);
            }
        };
        match mapped {
            Ok(mapped) => {
                let news = (task.known != Some(mapped)).then_some((server, now - task.asked));
                task.doubted = false;
                let before = task.known.replace(mapped).filter(|before| *before != mapped);
                let known = self.sockets.iter_mut().find(|known| known.id == socket);
                let refresh = known.map_or(config.mapping_refresh, |known| {
                    known.forgotten = known.forgotten.saturating_add(before.is_some().into());
                    known.refresh(config)
                });
                task.state = TaskState::Mapped { mapped, refresh_at: now + refresh };
                let (to, group) = (task.to, task.group);
                self.settle_group(socket, server, group);
                Ok(Gathered::Mapped { socket, server: to, mapped, before, news })
            }
            Err(reason) => {
                task.state = TaskState::Failed;
                task.known = None;
                Ok(failed(reason))
            }
        }
    }

    /// One answer of a group is enough for a socket.
    fn settle_group(&mut self, socket: SocketId, server: ServerId, group: Option<u32>) {
        let Some(group) = group else { return };
        for task in &mut self.tasks {
            if task.socket != socket || task.server == server || task.group != Some(group) {
                continue;
            }
            match task.state {
                TaskState::Running { id, .. } => self.ended.push(id),
                TaskState::Idle
                | TaskState::Queued
                | TaskState::Mapped { .. }
                | TaskState::Failed => {}
            }
            task.state = TaskState::Idle;
        }
    }

    /// The network said that a server cannot be reached from a socket.
    pub(crate) fn handle_unreachable(
        &mut self,
        socket: SocketId,
        to: SocketAddr,
    ) -> Option<Gathered> {
        let task = self.tasks.iter_mut().find(|task| {
            task.socket == socket
                && task.to == to
                && matches!(task.state, TaskState::Running { .. })
        })?;
        if let TaskState::Running { id, .. } = task.state {
            self.ended.push(id);
        }
        task.state = TaskState::Failed;
        let (server, reason) = (task.server, GatherFailure::Unreachable);
        Some(Gathered::Failed { socket, server, reason })
    }

    /// Advances to `now`: retransmissions, failures, refreshes. Returns one failure at a time.
    /// [rfc8445-5.1.1.4-1] [rfc8445-5.1.1.4-2]
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Option<Gathered> {
        for task in &mut self.tasks {
            match &mut task.state {
                TaskState::Running { id, timing, resend } => match timing.poll(now) {
                    TransactionStep::Wait => {}
                    TransactionStep::Retransmit => *resend = true,
                    TransactionStep::TimedOut => {
                        self.ended.push(*id);
                        task.state = TaskState::Failed;
                        task.known = None;
                        let (socket, server) = (task.socket, task.server);
                        let reason = GatherFailure::Timeout;
                        return Some(Gathered::Failed { socket, server, reason });
                    }
                },
                TaskState::Mapped { refresh_at, .. } => {
                    if now >= *refresh_at {
                        task.state = TaskState::Queued;
                    }
                }
                TaskState::Idle | TaskState::Queued | TaskState::Failed => {}
            }
        }
        None
    }

    /// Gives up one task that never had an answer, or takes back what was doubted; to be called
    /// until there is none.
    pub(crate) fn abandon(&mut self) -> Option<Gathered> {
        let doubted = self.tasks.iter_mut().find(|task| task.doubted && task.known.is_some());
        if let Some(task) = doubted
            && let Some(mapped) = task.known
        {
            task.doubted = false;
            let (socket, server) = (task.socket, task.to);
            return Some(Gathered::Mapped { socket, server, mapped, before: None, news: None });
        }
        let task = self.tasks.iter_mut().find(|task| {
            task.known.is_none()
                && matches!(task.state, TaskState::Queued | TaskState::Running { .. })
        })?;
        if let TaskState::Running { id, .. } = task.state {
            self.ended.push(id);
        }
        task.state = TaskState::Failed;
        let (socket, server, reason) = (task.socket, task.server, GatherFailure::Timeout);
        Some(Gathered::Failed { socket, server, reason })
    }

    /// When something is due, new requests excepted: those wait for the pacer.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let mut deadline = None;
        for task in &self.tasks {
            let at = match &task.state {
                TaskState::Running { timing, .. } => Some(timing.deadline()),
                TaskState::Mapped { refresh_at, .. } => Some(*refresh_at),
                TaskState::Idle | TaskState::Queued | TaskState::Failed => None,
            };
            deadline = earlier(deadline, at);
        }
        deadline
    }

    pub(crate) fn take_ended(&mut self) -> Option<TransactionId> {
        self.ended.pop()
    }

    /// How long the other answers are waited for once one has come.
    pub(crate) const GRACE: Duration = Duration::from_secs(1);
}

/// Writes a Binding request; no credentials. Even with the longest SOFTWARE it has less than 548
/// octets. [rfc8489-6.1-1] [rfc8489-6.1-2] [rfc8489-6.1-3] [rfc8489-6.1-6] [rfc8489-6.1-8]
fn encode(id: TransactionId, config: &EndpointConfig, buf: &mut [u8]) -> Option<usize> {
    let mut message = Encoder::new(buf, MessageClass::Request, Method::BINDING, id);
    if let Some(software) = &config.software {
        message = message.software(software);
    }
    message.fingerprint().finish().ok()
}

/// The mapped address of a response, if it may be one: of the server's family, and no address
/// that nobody else can reach. A classic server's MAPPED-ADDRESS counts. [rfc8445-5.1.1.2-5]
/// [rfc8489-6.3.3-1]
fn usable_mapping(message: &Message<'_>, server: SocketAddr) -> Option<SocketAddr> {
    let mapped = canonical(message.mapped_address()?);
    is_usable(mapped, server).then_some(mapped)
}

fn is_usable(mapped: SocketAddr, server: SocketAddr) -> bool {
    let ip = mapped.ip();
    mapped.is_ipv4() == server.is_ipv4()
        && mapped.port() != 0
        && !ip.is_unspecified()
        && !ip.is_multicast()
        && !matches!(ip, std::net::IpAddr::V4(ip) if ip.is_broadcast())
        && ip.is_loopback() <= server.ip().is_loopback()
}

/// Whether packets from `base` can reach a server at `to` at all.
pub(crate) fn may_reach(base: SocketAddr, to: SocketAddr) -> bool {
    base.is_ipv4() == to.is_ipv4()
        && !is_link_local(&base)
        && base.ip().is_loopback() == to.ip().is_loopback()
}
