//! A TURN and STUN server (RFC 8656, RFC 8489) over UDP and TCP, for the demo and for tests.
//!
//! The protocol is that of the crate `turn-server-proto`; here are its sockets and its bounds.
//! Each client 5-tuple has a protocol machine and a task of its own, so that all that a client made
//! goes when it goes. A machine is always told that it speaks UDP: the messages of a TCP connection
//! are found and padded here, which version 0.7.3 does not do [RFC 8656 §12.5], and what it sends
//! from where it listens goes to the client, also the Binding answers that it addresses to itself.
//! What else is made good of that version is said where it is done.
//!
//! The credentials are random and stay in the process, so nobody else can use the relay.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use turn_server_proto::api::{SocketAllocateError, TurnServerApi, TurnServerPollRet};
use turn_server_proto::server::TurnServer as Machine;
use turn_server_proto::stun::agent::Transmit;
use turn_server_proto::types::AddressFamily;
use turn_server_proto::types::attribute::XorPeerAddress;
use turn_server_proto::types::stun::TransportType;
use turn_server_proto::types::stun::attribute::{Nonce, PasswordAlgorithms};
use turn_server_proto::types::stun::message::{BINDING, Message, MessageClass, MessageHeader};
use turn_server_proto::types::stun::prelude::{Attribute, AttributeFromRaw, AttributeStaticType};

const REALM: &str = "floe";
/// Client 5-tuples served at a time; others get no answer.
const MAX_CLIENTS: usize = 256;
/// Peer addresses that one client may name while it is served.
const MAX_PEERS: usize = 64;
/// Messages of one client that wait for its task; more are dropped, over TCP held back.
const MAX_WAITING: usize = 256;
const MAX_DATAGRAM: usize = 65_536;
/// How long a client without an allocation is remembered.
const IDLE: Duration = Duration::from_secs(10);
/// How long a TCP client may take to read.
const WRITE: Duration = Duration::from_secs(5);

/// Says whether datagrams may pass between a relayed address and a peer.
pub(crate) type Filter = Arc<dyn Fn(SocketAddr, SocketAddr) -> bool + Send + Sync>;

/// What a server is made of.
pub(crate) struct Options {
    /// Where it listens, over UDP and TCP; port 0 is any that is free.
    pub(crate) listen: SocketAddr,
    /// The addresses that it relays from, the first of each family.
    pub(crate) relays: Vec<IpAddr>,
    pub(crate) username: String,
    pub(crate) password: String,
    /// Relayed addresses in all; who asks for more gets 508.
    pub(crate) max_relays: usize,
    /// What is dropped on the way between relayed addresses and peers.
    pub(crate) filter: Option<Filter>,
}

impl Options {
    /// Listens on and relays from `ip`, with credentials that the system draws.
    pub(crate) fn new(ip: IpAddr) -> io::Result<Self> {
        Ok(Self {
            listen: SocketAddr::new(ip, 0),
            relays: vec![ip],
            username: format!("floe-{}", random()?),
            password: random()?,
            max_relays: 64,
            filter: None,
        })
    }
}

/// 16 random octets as text.
fn random() -> io::Result<String> {
    let mut octets = [0; 16];
    getrandom::fill(&mut octets).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(octets.iter().map(|octet| format!("{octet:02x}")).collect())
}

/// A running server; ends when it is dropped.
pub(crate) struct TurnServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What all clients share.
struct Shared {
    options: Options,
    listen: SocketAddr,
    /// What the machines count time from.
    began: Instant,
    free: Arc<Semaphore>,
    answered: AtomicU64,
    relayed: AtomicU64,
    stop: Notify,
}

impl TurnServer {
    /// Starts a server.
    pub(crate) async fn start(options: Options) -> io::Result<Self> {
        let (udp, tcp) = bind(options.listen).await?;
        let address = udp.local_addr()?;
        let shared = Arc::new(Shared {
            listen: address,
            began: Instant::now(),
            free: Arc::new(Semaphore::new(options.max_relays)),
            answered: AtomicU64::new(0),
            relayed: AtomicU64::new(0),
            stop: Notify::new(),
            options,
        });
        let task = tokio::spawn(serve(Arc::new(udp), tcp, Arc::clone(&shared)));
        Ok(Self { address, shared, task })
    }

    /// Where it listens, over UDP and TCP.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn username(&self) -> &str {
        &self.shared.options.username
    }

    pub(crate) fn password(&self) -> &str {
        &self.shared.options.password
    }

    /// How many requests were answered.
    pub(crate) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// How many datagrams went between relayed addresses and peers, both ways.
    pub(crate) fn relayed(&self) -> u64 {
        self.shared.relayed.load(Ordering::Relaxed)
    }

    /// Ends it and waits until its ports are free.
    pub(crate) async fn stop(mut self) {
        self.shared.stop.notify_one();
        let _ = (&mut self.task).await;
    }

    /// How many relayed addresses there are now.
    pub(crate) fn relays(&self) -> usize {
        self.shared.options.max_relays.saturating_sub(self.shared.free.available_permits())
    }
}

impl Drop for TurnServer {
    fn drop(&mut self) {
        // The tasks of the clients end with it.
        self.task.abort();
    }
}

/// Binds UDP and TCP to one port.
async fn bind(listen: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut attempts = 0;
    loop {
        let udp = UdpSocket::bind(listen).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            // The port that UDP got is taken for TCP: try another.
            Err(error) if listen.port() != 0 || attempts == 8 => return Err(error),
            Err(_) => attempts += 1,
        }
    }
}

async fn serve(udp: Arc<UdpSocket>, tcp: TcpListener, shared: Arc<Shared>) {
    let mut clients: BTreeMap<SocketAddr, mpsc::Sender<Vec<u8>>> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let mut buf = vec![0; MAX_DATAGRAM];
    loop {
        tokio::select! {
            received = udp.recv_from(&mut buf) => {
                let Ok((length, from)) = received else { continue };
                if clients.get(&from).is_none_or(mpsc::Sender::is_closed) {
                    clients.retain(|_, inbox| !inbox.is_closed());
                    if tasks.len() >= MAX_CLIENTS {
                        continue;
                    }
                    let (inbox, waiting) = mpsc::channel(MAX_WAITING);
                    let link = Link::Udp(Arc::clone(&udp));
                    tasks.spawn(Client::new(from, link, Arc::clone(&shared)).run(waiting));
                    clients.insert(from, inbox);
                }
                if let Some(inbox) = clients.get(&from) {
                    let datagram = buf.get(..length).unwrap_or_default();
                    let _ = inbox.try_send(datagram.to_vec());
                }
            }
            accepted = tcp.accept() => {
                let Ok((stream, from)) = accepted else { continue };
                if tasks.len() >= MAX_CLIENTS {
                    continue;
                }
                let _ = stream.set_nodelay(true);
                let (read, write) = stream.into_split();
                let (inbox, waiting) = mpsc::channel(MAX_WAITING);
                let client = Client::new(from, Link::Tcp(write), Arc::clone(&shared));
                tasks.spawn(async move {
                    tokio::select! {
                        () = client.run(waiting) => {}
                        () = read_messages(read, inbox) => {}
                    }
                });
            }
            Some(_) = tasks.join_next() => {}
            () = shared.stop.notified() => return tasks.shutdown().await,
        }
    }
}

/// Takes the messages out of a stream until it ends.
async fn read_messages(mut stream: OwnedReadHalf, inbox: mpsc::Sender<Vec<u8>>) {
    loop {
        let mut header = [0; 4];
        if stream.read_exact(&mut header).await.is_err() {
            return;
        }
        let [first, _, high, low] = header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (length, padding) = match first >> 6 {
            0 => (16 + length, 0),
            1 => (length, length.next_multiple_of(4) - length),
            _ => return,
        };
        let mut message = vec![0; 4 + length + padding];
        let Some((start, rest)) = message.split_first_chunk_mut() else { return };
        *start = header;
        if stream.read_exact(rest).await.is_err() {
            return;
        }
        message.truncate(4 + length);
        if inbox.send(message).await.is_err() {
            return;
        }
    }
}

/// How a client is reached.
enum Link {
    Udp(Arc<UdpSocket>),
    Tcp(OwnedWriteHalf),
}

/// A relayed address.
struct Relay {
    socket: UdpSocket,
    address: SocketAddr,
    _permit: OwnedSemaphorePermit,
}

/// One client 5-tuple.
struct Client {
    address: SocketAddr,
    link: Link,
    is_broken: bool,
    machine: Machine,
    /// Whether the machine has given this client a nonce.
    is_challenged: bool,
    relays: Vec<Relay>,
    peers: BTreeSet<IpAddr>,
    shared: Arc<Shared>,
}

impl Client {
    fn new(address: SocketAddr, link: Link, shared: Arc<Shared>) -> Self {
        let mut machine = Machine::new(TransportType::Udp, shared.listen, REALM.to_owned());
        let options = &shared.options;
        machine.add_user(options.username.clone(), options.password.clone());
        Self {
            address,
            link,
            is_broken: false,
            machine,
            is_challenged: false,
            relays: Vec::new(),
            peers: BTreeSet::new(),
            shared,
        }
    }

    async fn run(mut self, mut waiting: mpsc::Receiver<Vec<u8>>) {
        let mut buf = vec![0; MAX_DATAGRAM];
        while !self.is_broken {
            let wake = self.poll().await;
            tokio::select! {
                message = waiting.recv() => match message {
                    Some(message) => self.handle_message(message).await,
                    None => return,
                },
                (relay, length, peer) = arrival(&self.relays, &mut buf) => {
                    if self.passes(relay, peer) {
                        let data = buf.get(..length).unwrap_or_default().to_vec();
                        if let Some(transmit) = self.receive(data, peer, relay) {
                            self.shared.relayed.fetch_add(1, Ordering::Relaxed);
                            self.send(transmit).await;
                        }
                    }
                }
                () = sleep_until(wake) => {
                    if self.relays.is_empty() {
                        return;
                    }
                }
            }
        }
    }

    /// The time, as the machine counts it.
    fn now(&self) -> turn_server_proto::types::Instant {
        let since = i64::try_from(self.shared.began.elapsed().as_nanos());
        turn_server_proto::types::Instant::from_nanos(since.unwrap_or(i64::MAX))
    }

    /// Does all that the machine asks for; returns when to ask again.
    async fn poll(&mut self) -> Instant {
        let mut asked = Vec::new();
        loop {
            let now = self.now();
            while let Some(transmit) = self.machine.poll_transmit(now) {
                self.send(transmit).await;
            }
            match self.machine.poll(now) {
                TurnServerPollRet::AllocateSocket { family, .. } => asked.push(family),
                TurnServerPollRet::SocketClose { listen_addr, .. } => {
                    self.relays.retain(|relay| relay.address != listen_addr);
                }
                TurnServerPollRet::TcpConnect { .. } | TurnServerPollRet::TcpClose { .. } => {}
                TurnServerPollRet::WaitUntil(_) if !asked.is_empty() => {
                    self.allocate(std::mem::take(&mut asked)).await;
                }
                TurnServerPollRet::WaitUntil(_) if self.relays.is_empty() => {
                    return Instant::now() + IDLE;
                }
                // A millisecond more: what expires at this time is there until it has passed.
                TurnServerPollRet::WaitUntil(at) => {
                    return Instant::now()
                        + at.saturating_duration_since(now)
                        + Duration::from_millis(1);
                }
            }
        }
    }

    /// Binds the sockets of one Allocate request. The successes are told last: after a failure as
    /// the last answer, the machine forgets the allocation that it has just confirmed.
    async fn allocate(&mut self, families: Vec<AddressFamily>) {
        let mut bound = Vec::new();
        for family in families {
            bound.push((family, self.bind(family).await));
        }
        bound.sort_by_key(|(_, address)| address.is_ok());
        for (family, address) in bound {
            self.machine.allocated_socket(
                TransportType::Udp,
                self.shared.listen,
                self.address,
                TransportType::Udp,
                family,
                address,
                self.now(),
            );
        }
    }

    async fn bind(&mut self, family: AddressFamily) -> Result<SocketAddr, SocketAllocateError> {
        let of_family = |ip: &&IpAddr| ip.is_ipv4() == (family == AddressFamily::IPV4);
        let ip = self.shared.options.relays.iter().find(of_family).copied();
        let ip = ip.ok_or(SocketAllocateError::AddressFamilyNotSupported)?;
        let full = SocketAllocateError::InsufficientCapacity;
        let permit = Arc::clone(&self.shared.free).try_acquire_owned().map_err(|_| full)?;
        let socket = UdpSocket::bind((ip, 0)).await.map_err(|_| full)?;
        let address = socket.local_addr().map_err(|_| full)?;
        self.relays.push(Relay { socket, address, _permit: permit });
        Ok(address)
    }

    async fn handle_message(&mut self, mut message: Vec<u8>) {
        let listen = self.shared.listen;
        let mut is_stale = false;
        if let Ok(parsed) = Message::from_bytes(&message)
            && parsed.has_class(MessageClass::Request)
            && parsed.method() != BINDING
        {
            if !admits(&mut self.peers, &parsed) {
                return;
            }
            is_stale = !self.is_challenged && parsed.has_attribute(Nonce::TYPE);
            self.is_challenged = true;
        }
        if is_stale {
            // A nonce that another client got: the machine would call that a bad request, and
            // nobody would know to ask again. It is asked for a challenge with a bare header.
            message.truncate(MessageHeader::LENGTH);
            if let Some(length) = message.get_mut(2..4) {
                length.fill(0);
            }
        }
        if let Some(mut transmit) = self.receive(message, self.address, listen) {
            if is_stale {
                set_stale(&mut transmit.data);
            }
            list_algorithms(&mut transmit.data);
            self.send(transmit).await;
        }
    }

    fn passes(&self, relay: SocketAddr, peer: SocketAddr) -> bool {
        self.shared.options.filter.as_ref().is_none_or(|filter| filter(relay, peer))
    }

    /// Hands a message of the client, or a datagram of a peer, to the machine.
    fn receive(
        &mut self,
        data: Vec<u8>,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Option<Transmit<Vec<u8>>> {
        let transmit = Transmit::new(data, TransportType::Udp, from, to);
        let now = self.now();
        self.machine.recv(transmit, now).map(|transmit| transmit.build())
    }

    /// Sends to the client what leaves from where the server listens, and the rest to peers. An
    /// address that cannot be reached is like one that does not listen.
    async fn send(&mut self, transmit: Transmit<Vec<u8>>) {
        let Transmit { mut data, from, to, .. } = transmit;
        if from != self.shared.listen {
            let relay = self.relays.iter().find(|relay| relay.address == from);
            if let Some(relay) = relay.filter(|_| self.passes(from, to))
                && relay.socket.send_to(&data, to).await.is_ok()
            {
                self.shared.relayed.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        // Responses are the messages whose first octet is 1.
        if data.first() == Some(&1) {
            self.shared.answered.fetch_add(1, Ordering::Relaxed);
        }
        match &mut self.link {
            Link::Udp(socket) => drop(socket.send_to(&data, self.address).await),
            Link::Tcp(stream) => {
                data.resize(data.len().next_multiple_of(4), 0);
                let written = timeout(WRITE, stream.write_all(&data)).await;
                self.is_broken = !matches!(written, Ok(Ok(())));
            }
        }
    }
}

/// Whether a request names no more peers than are allowed, beside those named before.
fn admits(peers: &mut BTreeSet<IpAddr>, request: &Message<'_>) -> bool {
    let id = request.transaction_id();
    let attributes = request.iter_attributes().map(|(_, attribute)| attribute);
    let attributes = attributes.filter(|found| found.get_type() == XorPeerAddress::TYPE);
    let named = attributes.filter_map(|found| XorPeerAddress::from_raw(found).ok());
    let named: BTreeSet<IpAddr> = named.map(|peer| peer.addr(id).ip()).collect();
    let admits = peers.union(&named).count() <= MAX_PEERS;
    if admits {
        peers.extend(named);
    }
    admits
}

/// Makes a 438 (Stale Nonce) of a 401, whose first attribute is ERROR-CODE.
fn set_stale(response: &mut [u8]) {
    if let Some([0, 9, _, _, _, _, class, number]) = response.get_mut(20..28) {
        (*class, *number) = (4, 38);
    }
}

/// Adds to a 438 the PASSWORD-ALGORITHMS that its nonce tells of, as the 401 before it listed them:
/// without, clients have to take it for an attack.
fn list_algorithms(response: &mut Vec<u8>) {
    const LIST: [u8; 12] = [0x80, 2, 0, 8, 0, 2, 0, 0, 0, 1, 0, 0];
    let Ok(parsed) = Message::from_bytes(response) else { return };
    let is_stale = matches!(parsed.as_bytes().get(20..28), Some([0, 9, _, _, _, _, 4, 38]));
    let is_error = parsed.has_class(MessageClass::Error);
    if is_error && is_stale && !parsed.has_attribute(PasswordAlgorithms::TYPE) {
        response.extend(LIST);
        let length = u16::try_from(response.len() - MessageHeader::LENGTH).unwrap_or(u16::MAX);
        if let Some(written) = response.get_mut(2..4) {
            written.copy_from_slice(&length.to_be_bytes());
        }
    }
}

/// Waits for a datagram of a peer: at which relayed address, how long, from whom.
async fn arrival(relays: &[Relay], buf: &mut [u8]) -> (SocketAddr, usize, SocketAddr) {
    loop {
        let relay = match relays {
            [] => std::future::pending().await,
            [relay] => {
                let _ = relay.socket.readable().await;
                relay
            }
            // One of each family: no client has more.
            [relay, other, ..] => tokio::select! {
                _ = relay.socket.readable() => relay,
                _ = other.socket.readable() => other,
            },
        };
        // An ICMP error of an earlier datagram is no datagram.
        if let Ok((length, from)) = relay.socket.try_recv_from(buf) {
            return (relay.address, length, from);
        }
    }
}
