//! A TURN server that does what a test says, and else what the RFC says; and a wire to it.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use floe::stun::{
    AttributeType, Encoder, IntegrityKey, LongTerm, Message, MessageClass, Method, TransactionId,
};
use floe::turn::{Client, ClientConfig, Event, Received};
use floe::{DropReason, HEADROOM, Instant, MIN_TRANSMIT, TAILROOM, Transport};

use crate::harness::{addr, ms};

pub(super) type Build = fn(Encoder<'_>) -> Encoder<'_>;

/// What a test has the server do instead of what is right.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reply {
    /// What is right.
    Right,
    /// Nothing.
    Drop,
    /// What is right, which then gets lost on the way.
    Lose,
    /// A signed error.
    Error(u16),
    /// A signed error without code.
    SignedError,
    /// An error without integrity.
    Unsigned(u16),
    /// A success without integrity.
    UnsignedSuccess,
    /// A success whose integrity is wrong.
    Forged,
    /// A signed success with these attributes.
    Success(Build),
    /// A signed error with these attributes.
    With(u16, Build),
    /// Another nonce.
    Stale,
    /// Any error without integrity, with these attributes.
    Challenge(u16, Build),
}

#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) relayed: Vec<SocketAddr>,
    pub(super) expires: Instant,
    pub(super) permissions: BTreeMap<IpAddr, Instant>,
    pub(super) channels: BTreeMap<u16, (SocketAddr, Instant)>,
}

/// A request that the server saw.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) method: Method,
    pub(super) octets: Vec<u8>,
}

impl Seen {
    pub(super) fn message(&self) -> Message<'_> {
        Message::parse(&self.octets).unwrap()
    }

    pub(super) fn value(&self, kind: AttributeType) -> Option<&[u8]> {
        self.message().attribute(kind)
    }
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) realm: Vec<u8>,
    pub(super) nonce: Vec<u8>,
    /// PASSWORD-ALGORITHMS.
    pub(super) algorithms: Option<Vec<u8>>,
    pub(super) password: Vec<u8>,
    pub(super) lifetime: u32,
    pub(super) ipv6: bool,
    pub(super) forbidden: Vec<IpAddr>,
    pub(super) allocation: Option<Allocation>,
    /// What to do with the next requests of a method.
    pub(super) script: VecDeque<(Method, Reply)>,
    /// What to do with all requests of a method that the script says nothing of.
    pub(super) always: Option<(Method, Reply)>,
    /// Answers at random: a state, how many in a hundred are right, and the others.
    pub(super) chaos: Option<(u64, u8, &'static [Reply])>,
    pub(super) seen: Vec<Seen>,
    /// What was relayed to peers.
    pub(super) relayed: Vec<(SocketAddr, Vec<u8>)>,
    allocations: u16,
}

impl Server {
    pub(super) fn new() -> Self {
        Self {
            realm: b"floe.test".to_vec(),
            nonce: b"nonce 0".to_vec(),
            algorithms: None,
            password: b"pass".to_vec(),
            lifetime: 600,
            ipv6: true,
            forbidden: Vec::new(),
            allocation: None,
            script: VecDeque::new(),
            always: None,
            chaos: None,
            seen: Vec::new(),
            relayed: Vec::new(),
            allocations: 0,
        }
    }

    fn key(&self) -> IntegrityKey {
        match &self.algorithms {
            None => IntegrityKey::long_term_md5(b"user", &self.realm, &self.password),
            Some(_) => IntegrityKey::long_term_sha256(b"user", &self.realm, &self.password),
        }
    }

    /// Signs, and answers.
    pub(super) fn reply(
        &self,
        request: &Message<'_>,
        class: MessageClass,
        build: impl Fn(Encoder<'_>) -> Encoder<'_>,
    ) -> Vec<u8> {
        let key = self.key();
        encode(class, request.method(), request.transaction_id(), |encoder| {
            build(encoder).integrity(&key)
        })
    }

    fn challenge(&self, request: &Message<'_>, code: u16) -> Vec<u8> {
        encode(MessageClass::Error, request.method(), request.transaction_id(), |encoder| {
            let encoder = encoder
                .error_code(code, "")
                .attribute(AttributeType::REALM, &self.realm)
                .attribute(AttributeType::NONCE, &self.nonce);
            match &self.algorithms {
                Some(list) => encoder.attribute(AttributeType::PASSWORD_ALGORITHMS, list),
                None => encoder,
            }
        })
    }

    fn handle(&mut self, now: Instant, octets: &[u8]) -> Option<Vec<u8>> {
        let Ok(message) = Message::parse(octets) else {
            self.channel_data(now, octets);
            return None;
        };
        if message.class() == MessageClass::Indication {
            let (peer, data) = (message.xor_peer_address().unwrap(), message.data().unwrap());
            self.relay(now, peer, data);
            return None;
        }
        let method = message.method();
        self.seen.push(Seen { at: now, method, octets: octets.to_vec() });
        match self.reply_to(method) {
            Some(reply) => self.misbehave(now, &message, reply),
            None => Some(self.behave(now, &message)),
        }
    }

    fn reply_to(&mut self, method: Method) -> Option<Reply> {
        if let Some(at) = self.script.iter().position(|(of, _)| *of == method) {
            return self.script.remove(at).map(|(_, reply)| reply);
        }
        if let Some((state, right, replies)) = &mut self.chaos {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (chance, which) = ((*state >> 33) % 100, (*state >> 48) as usize);
            return (chance >= u64::from(*right)).then(|| replies[which % replies.len()]);
        }
        self.always.filter(|(of, _)| *of == method).map(|(_, reply)| reply)
    }

    fn misbehave(&mut self, now: Instant, request: &Message<'_>, reply: Reply) -> Option<Vec<u8>> {
        let (method, id) = (request.method(), request.transaction_id());
        Some(match reply {
            Reply::Right => self.behave(now, request),
            Reply::Drop => return None,
            Reply::Lose => {
                let _ = self.behave(now, request);
                return None;
            }
            Reply::Error(437) => {
                self.allocation = None;
                self.reply(request, MessageClass::Error, |encoder| encoder.error_code(437, ""))
            }
            Reply::Error(code) => {
                self.reply(request, MessageClass::Error, |encoder| encoder.error_code(code, ""))
            }
            Reply::SignedError => self.reply(request, MessageClass::Error, |encoder| encoder),
            Reply::Unsigned(code) => {
                encode(MessageClass::Error, method, id, |encoder| encoder.error_code(code, ""))
            }
            Reply::UnsignedSuccess => encode(MessageClass::Success, method, id, allocated),
            Reply::Forged => encode(MessageClass::Success, method, id, |encoder| {
                allocated(encoder).integrity(&IntegrityKey::short_term(b"another key"))
            }),
            Reply::Success(build) => self.reply(request, MessageClass::Success, build),
            Reply::With(code, build) => self
                .reply(request, MessageClass::Error, |encoder| build(encoder.error_code(code, ""))),
            Reply::Challenge(code, build) => encode(MessageClass::Error, method, id, |encoder| {
                build(encoder.error_code(code, ""))
            }),
            Reply::Stale => {
                self.renew_nonce();
                self.challenge(request, 438)
            }
        })
    }

    pub(super) fn renew_nonce(&mut self) {
        let last = self.nonce.last_mut().unwrap();
        *last = last.wrapping_add(1);
    }

    /// RFC 8489 §9.2.4, RFC 8656.
    fn behave(&mut self, now: Instant, request: &Message<'_>) -> Vec<u8> {
        if !request.has_integrity() {
            return self.challenge(request, 401);
        }
        if request.nonce() != Some(&self.nonce) {
            return self.challenge(request, 438);
        }
        if request.verify(&self.key()).is_err() || request.realm() != Some(&self.realm) {
            return self.challenge(request, 401);
        }
        let error = |code: u16| {
            self.reply(request, MessageClass::Error, |encoder| encoder.error_code(code, ""))
        };
        let live = self.allocation.as_ref().is_some_and(|allocation| now < allocation.expires);
        if live == (request.method() == Method::ALLOCATE) {
            return error(437);
        }
        let peers: Vec<SocketAddr> = request
            .attributes()
            .filter(|attribute| attribute.kind == AttributeType::XOR_PEER_ADDRESS)
            .map(|attribute| unmask(attribute.value, request.transaction_id()))
            .collect();
        if peers.iter().any(|peer| self.forbidden.contains(&peer.ip())) {
            return error(403);
        }
        let lifetime = self.lifetime;
        match request.method() {
            Method::ALLOCATE => return self.allocate(now, request),
            Method::REFRESH if request.lifetime() == Some(Duration::ZERO) => {
                self.allocation = None;
                return self.reply(request, MessageClass::Success, |encoder| {
                    encoder.u32(AttributeType::LIFETIME, 0)
                });
            }
            Method::REFRESH => {
                let allocation = self.allocation.as_mut().unwrap();
                allocation.expires = now + Duration::from_secs(lifetime.into());
                return self.reply(request, MessageClass::Success, |encoder| {
                    encoder.u32(AttributeType::LIFETIME, lifetime)
                });
            }
            _ => {}
        }
        let allocation = self.allocation.as_mut().unwrap();
        for peer in &peers {
            let _ = allocation.permissions.insert(peer.ip(), now + ms(300_000));
        }
        if let Some(number) = request.channel_number() {
            let peer = peers[0];
            allocation.channels.retain(|_, (_, expires)| now < *expires);
            let taken = |(known, (to, _)): (&u16, &(SocketAddr, Instant))| {
                (*known == number) != (*to == peer)
            };
            if !(0x4000..=0x4FFF).contains(&number) || allocation.channels.iter().any(taken) {
                return self
                    .reply(request, MessageClass::Error, |encoder| encoder.error_code(400, ""));
            }
            let _ = allocation.channels.insert(number, (peer, now + ms(600_000)));
        }
        self.reply(request, MessageClass::Success, |encoder| encoder)
    }

    fn allocate(&mut self, now: Instant, request: &Message<'_>) -> Vec<u8> {
        assert_eq!(request.attribute(AttributeType::REQUESTED_TRANSPORT), Some(&[17, 0, 0, 0][..]));
        self.allocations += 1;
        let port = 50_000 + self.allocations;
        let ipv4 = SocketAddr::new(addr("198.51.100.1:0").ip(), port);
        let ipv6 = SocketAddr::new(addr("[2001:db8::1]:0").ip(), port);
        let only = request.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY);
        let both = request.attribute(AttributeType::ADDITIONAL_ADDRESS_FAMILY).is_some();
        let relayed = match (only, both, self.ipv6) {
            (Some(&[2, ..]), _, true) => vec![ipv6],
            (Some(&[2, ..]), _, false) => {
                return self
                    .reply(request, MessageClass::Error, |encoder| encoder.error_code(440, ""));
            }
            (_, true, true) => vec![ipv4, ipv6],
            (_, true, false) | (_, false, _) => vec![ipv4],
        };
        let lifetime = self.lifetime;
        let answer = self.reply(request, MessageClass::Success, |encoder| {
            let mut encoder = encoder
                .xor_address(AttributeType::XOR_MAPPED_ADDRESS, addr("203.0.113.9:40000"))
                .u32(AttributeType::LIFETIME, lifetime);
            for address in &relayed {
                encoder = encoder.xor_address(AttributeType::XOR_RELAYED_ADDRESS, *address);
            }
            if both && relayed.len() == 1 {
                encoder = encoder.attribute(AttributeType::ADDRESS_ERROR_CODE, &[2, 0, 4, 40]);
            }
            encoder
        });
        self.allocation = Some(Allocation {
            relayed,
            expires: now + Duration::from_secs(lifetime.into()),
            permissions: BTreeMap::new(),
            channels: BTreeMap::new(),
        });
        answer
    }

    fn channel_data(&mut self, now: Instant, octets: &[u8]) {
        let number = u16::from_be_bytes([octets[0], octets[1]]);
        let length = usize::from(u16::from_be_bytes([octets[2], octets[3]]));
        let channels = self.allocation.as_ref().map(|allocation| &allocation.channels);
        let bound = channels.and_then(|channels| channels.get(&number)).copied();
        if let Some((peer, expires)) = bound
            && now < expires
        {
            self.relay(now, peer, &octets[4..4 + length]);
        }
    }

    fn relay(&mut self, now: Instant, peer: SocketAddr, data: &[u8]) {
        let permissions = self.allocation.as_ref().map(|allocation| &allocation.permissions);
        if permissions.and_then(|all| all.get(&peer.ip())).is_some_and(|expires| now < *expires) {
            self.relayed.push((peer, data.to_vec()));
        }
    }

    /// The requests of a method that were seen.
    pub(super) fn of(&self, method: Method) -> impl Iterator<Item = &Seen> {
        self.seen.iter().filter(move |seen| seen.method == method)
    }

    pub(super) fn count(&self, method: Method) -> usize {
        self.of(method).count()
    }
}

/// What an Allocate is answered with, in short.
pub(super) fn allocated(encoder: Encoder<'_>) -> Encoder<'_> {
    encoder
        .xor_address(AttributeType::XOR_MAPPED_ADDRESS, addr("203.0.113.9:40000"))
        .xor_address(AttributeType::XOR_RELAYED_ADDRESS, addr("198.51.100.1:50001"))
        .u32(AttributeType::LIFETIME, 600)
}

pub(super) fn encode(
    class: MessageClass,
    method: Method,
    id: TransactionId,
    build: impl FnOnce(Encoder<'_>) -> Encoder<'_>,
) -> Vec<u8> {
    let mut buf = vec![0xff; 4096];
    let len = build(Encoder::new(&mut buf, class, method, id)).finish().unwrap();
    buf.truncate(len);
    buf
}

/// Reads one of several XOR-PEER-ADDRESS.
fn unmask(value: &[u8], id: TransactionId) -> SocketAddr {
    let octets = encode(MessageClass::Request, Method::CREATE_PERMISSION, id, |encoder| {
        encoder.attribute(AttributeType::XOR_PEER_ADDRESS, value)
    });
    Message::parse(&octets).unwrap().xor_peer_address().unwrap()
}

/// A client, a server, and 20 ms each way between them.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) client: Client,
    pub(super) server: Server,
    pub(super) events: Vec<Event>,
    pub(super) data: Vec<(SocketAddr, Vec<u8>)>,
    pub(super) drops: Vec<DropReason>,
    /// All packets of the client, and when they left.
    pub(super) sent: Vec<(Instant, Vec<u8>)>,
    up: VecDeque<(Instant, Vec<u8>)>,
    down: VecDeque<(Instant, Vec<u8>)>,
}

pub(super) const DELAY: Duration = Duration::from_millis(20);

pub(super) fn credentials() -> LongTerm {
    LongTerm::new(b"user", b"pass").unwrap()
}

pub(super) fn config() -> ClientConfig {
    ClientConfig::new(Transport::Udp, credentials())
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(config(), Server::new())
    }

    pub(super) fn with(config: ClientConfig, server: Server) -> Self {
        let now = Instant::from_millis(1_000);
        let client = Client::new(now, config, [7; 32]);
        let (events, data, drops, sent) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (up, down) = (VecDeque::new(), VecDeque::new());
        Self { now, client, server, events, data, drops, sent, up, down }
    }

    /// A world with an allocation.
    pub(super) fn allocated() -> Self {
        let mut world = Self::new();
        world.run(ms(100));
        assert_eq!(world.take_events(), [Event::Allocated]);
        world
    }

    pub(super) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    pub(super) fn drain(&mut self) {
        let mut buf = [0; MIN_TRANSMIT];
        while let Some(len) = self.client.poll_transmit(self.now, &mut buf) {
            self.transmit(buf[..len].to_vec());
        }
        self.events.extend(std::iter::from_fn(|| self.client.poll_event()));
    }

    fn transmit(&mut self, octets: Vec<u8>) {
        self.sent.push((self.now, octets.clone()));
        self.up.push_back((self.now + DELAY, octets));
    }

    /// Runs for a time, from deadline to deadline; what is polled never lies.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.drain();
            self.client.handle_timeout(self.now);
            self.drain();
            let deadline = self.client.poll_timeout();
            assert!(deadline.is_none_or(|at| at > self.now), "a deadline that has passed");
            let arrivals = [&self.up, &self.down].into_iter().filter_map(VecDeque::front);
            let arrival = arrivals.map(|(at, _)| *at).min();
            let Some(next) = deadline.into_iter().chain(arrival).min().filter(|at| *at <= end)
            else {
                break;
            };
            self.now = next;
            while let Some(octets) = arrived(&mut self.up, next) {
                if let Some(answer) = self.server.handle(next, &octets) {
                    self.down.push_back((next + DELAY, answer));
                }
            }
            while let Some(octets) = arrived(&mut self.down, next) {
                let _ = self.receive(&octets);
            }
        }
        self.now = end;
    }

    /// The client gets a message of the server.
    pub(super) fn receive(&mut self, octets: &[u8]) -> Option<DropReason> {
        match self.client.handle_datagram(self.now, octets) {
            Received::Handled => {}
            Received::Data { peer, data } => {
                assert!(octets.as_ptr_range().contains(&data.as_ptr()) || data.is_empty());
                self.data.push((peer, data.to_vec()));
            }
            Received::Dropped(reason) => {
                self.drops.push(reason);
                return Some(reason);
            }
        }
        None
    }

    /// Sends data to a peer, if there is a way, and returns the whole packet.
    pub(super) fn send(&mut self, peer: SocketAddr, data: &[u8]) -> Option<Vec<u8>> {
        self.drain();
        let framing = self.client.framing(peer)?;
        let mut buf = vec![0xAA; HEADROOM + data.len() + TAILROOM];
        buf[HEADROOM..HEADROOM + data.len()].copy_from_slice(data);
        let range = framing.frame(&mut buf, HEADROOM..HEADROOM + data.len()).unwrap();
        let packet = buf[range].to_vec();
        self.transmit(packet.clone());
        Some(packet)
    }
}

fn arrived(wire: &mut VecDeque<(Instant, Vec<u8>)>, now: Instant) -> Option<Vec<u8>> {
    if wire.front()?.0 > now {
        return None;
    }
    wire.pop_front().map(|(_, octets)| octets)
}

/// A Data indication.
pub(super) fn data_indication(build: impl FnOnce(Encoder<'_>) -> Encoder<'_>) -> Vec<u8> {
    encode(MessageClass::Indication, Method::DATA, TransactionId([3; 12]), build)
}
