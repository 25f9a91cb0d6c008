//! TURN servers (RFC 8656): one that does all that a client may ask for, and every way to fail it.
//!
//! What the server says is written with floe's own codec; what it hears is judged by the rules of
//! the server's side alone.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use floe::Instant;
use floe::stun::{
    AttributeType, Encoder, IntegrityKey, Message, MessageClass, Method, TransactionId,
};

use crate::world::rng::Rng;
use crate::world::turn_auth::{Auth, Verdict};

/// Seconds that a permission lives. [RFC 8656 §9]
const PERMISSION: Duration = Duration::from_secs(300);
/// Seconds that a channel lives. [RFC 8656 §12]
const CHANNEL: Duration = Duration::from_secs(600);
/// The longest lifetime that is granted.
const LIFETIME_MAX: u32 = 3_600;
/// The lifetime of whoever asks for none.
const LIFETIME_DEFAULT: u32 = 600;
/// REQUESTED-TRANSPORT: UDP.
const UDP: u8 = 17;

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Heard {
    Binding,
    Allocate,
    Refresh,
    /// A Refresh with lifetime 0.
    Release,
    CreatePermission,
    ChannelBind,
    Send,
    ChannelData,
    /// Anything else.
    Junk,
}

/// Requests of a method are answered with an error code, so often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    pub(crate) method: Method,
    pub(crate) code: u16,
    pub(crate) times: u32,
}

/// All that can be wrong with a server; nothing by default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Nothing is answered or relayed.
    pub(crate) dead: bool,
    /// Answers come this much later.
    pub(crate) slow: Duration,
    /// Every request with credentials gets a 438 and yet another nonce.
    pub(crate) stale_storm: bool,
    /// Signed errors in place of answers.
    pub(crate) refusals: Vec<Refusal>,
    /// Allocate is answered with 300 and this server.
    pub(crate) redirect: Option<SocketAddr>,
    /// The lifetime that answers tell, whatever is granted.
    pub(crate) lifetime: Option<u32>,
    /// Send indications are dropped, and no Data indication is made.
    pub(crate) drops_indications: bool,
    /// Answers come from this address.
    pub(crate) answers_from: Option<SocketAddr>,
    /// Success responses are not signed.
    pub(crate) unsigned: bool,
    /// All state is lost when a Refresh comes, which is not answered.
    pub(crate) restarts_on_refresh: bool,
}

/// A datagram that the server sends, and how much later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Out {
    pub(crate) after: Duration,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) octets: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Allocation {
    /// What made it: the same again is the same.
    id: TransactionId,
    user: Vec<u8>,
    relayed: Vec<SocketAddr>,
    expires: Instant,
    permissions: BTreeMap<IpAddr, Instant>,
    channels: BTreeMap<u16, (SocketAddr, Instant)>,
}

impl Allocation {
    fn permits(&self, now: Instant, peer: IpAddr) -> bool {
        self.permissions.get(&peer).is_some_and(|until| now < *until)
    }

    /// The relayed address of the family of `peer`.
    fn toward(&self, peer: SocketAddr) -> Option<SocketAddr> {
        self.relayed.iter().copied().find(|relayed| relayed.is_ipv4() == peer.is_ipv4())
    }
}

/// A request that was authenticated.
struct Request<'m> {
    now: Instant,
    from: SocketAddr,
    message: Message<'m>,
    key: IntegrityKey,
    user: Vec<u8>,
}

/// Why a request is refused, or the attributes of its success.
type Answer = Result<Vec<Said>, u16>;

/// An attribute of a success response.
enum Said {
    Address(AttributeType, SocketAddr),
    Number(AttributeType, u32),
    Octets(AttributeType, Vec<u8>),
}

pub(crate) struct TurnServer {
    pub(crate) address: SocketAddr,
    /// The addresses that relays have, one a family.
    pub(crate) relay_ips: Vec<IpAddr>,
    pub(crate) auth: Auth,
    pub(crate) faults: Faults,
    /// Allocations that one user may have.
    pub(crate) quota: usize,
    /// Allocations that all may have.
    pub(crate) capacity: usize,
    /// How often the server was restarted.
    pub(crate) restarts: u32,
    /// Datagrams relayed to peers, and from them to clients.
    pub(crate) relayed: [u64; 2],
    /// Datagrams for peers or from them that no permission allowed.
    pub(crate) unpermitted: u64,
    heard: BTreeMap<Heard, u64>,
    allocations: BTreeMap<SocketAddr, Allocation>,
    rng: Rng,
}

impl TurnServer {
    pub(crate) fn new(address: SocketAddr, relay_ips: Vec<IpAddr>, mut rng: Rng) -> Self {
        Self {
            address,
            relay_ips,
            auth: Auth::new(rng.next()),
            faults: Faults::default(),
            quota: usize::MAX,
            capacity: usize::MAX,
            restarts: 0,
            relayed: [0; 2],
            unpermitted: 0,
            heard: BTreeMap::new(),
            allocations: BTreeMap::new(),
            rng,
        }
    }

    /// How much of a kind arrived.
    pub(crate) fn heard(&self, what: Heard) -> u64 {
        self.heard.get(&what).copied().unwrap_or(0)
    }

    /// How much arrived in all.
    pub(crate) fn heard_in_all(&self) -> u64 {
        self.heard.values().sum()
    }

    /// The allocations that live.
    pub(crate) fn allocations(&self, now: Instant) -> usize {
        self.allocations.values().filter(|allocation| now < allocation.expires).count()
    }

    /// Permissions and channels that live.
    pub(crate) fn peers(&self, now: Instant) -> (usize, usize) {
        let live = self.allocations.values().filter(|allocation| now < allocation.expires);
        live.fold((0, 0), |(permissions, channels), allocation| {
            let p = allocation.permissions.values().filter(|until| now < **until).count();
            let c = allocation.channels.values().filter(|(_, until)| now < *until).count();
            (permissions + p, channels + c)
        })
    }

    /// Where it listens: one address for each family.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.relay_ips.iter().map(|ip| SocketAddr::new(*ip, self.address.port())).collect()
    }

    pub(crate) fn listens(&self, address: SocketAddr) -> bool {
        address.port() == self.address.port() && self.relay_ips.contains(&address.ip())
    }

    /// The address of its own that a client of the family of `client` knows.
    fn address_toward(&self, client: SocketAddr) -> SocketAddr {
        let ours = self.relay_ips.iter().find(|ip| ip.is_ipv4() == client.is_ipv4());
        ours.map_or(self.address, |ip| SocketAddr::new(*ip, self.address.port()))
    }

    /// Whether a client has this relayed address now.
    pub(crate) fn relays(&self, address: SocketAddr) -> bool {
        self.allocations.values().any(|allocation| allocation.relayed.contains(&address))
    }

    /// Everything is lost, and nonces of before are stale.
    pub(crate) fn restart(&mut self) {
        self.allocations.clear();
        self.auth.new_key(self.rng.next());
        self.restarts += 1;
    }

    pub(crate) fn forget_permissions(&mut self) {
        for allocation in self.allocations.values_mut() {
            allocation.permissions.clear();
        }
    }

    pub(crate) fn forget_channels(&mut self) {
        for allocation in self.allocations.values_mut() {
            allocation.channels.clear();
        }
    }

    /// Says that a peer which never had a permission sent `data`: to every client, in an
    /// indication and over a channel that nobody bound.
    pub(crate) fn smuggle(&mut self, peer: SocketAddr, data: &[u8]) -> Vec<Out> {
        let clients: Vec<SocketAddr> = self.allocations.keys().copied().collect();
        let mut out = Vec::new();
        for client in clients {
            let id = self.transaction_id();
            for octets in [indication(id, peer, data), channel_data(0x4ABC, data)] {
                let from = self.address_toward(client);
                out.push(Out { after: Duration::ZERO, from, to: client, octets });
            }
        }
        out
    }

    fn transaction_id(&mut self) -> TransactionId {
        let octets = self.rng.octets();
        let mut id = [0; 12];
        id.copy_from_slice(&octets[..12]);
        TransactionId(id)
    }

    /// Takes a datagram for `to`: the server itself, or a relay of it.
    pub(crate) fn receives(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
        octets: &[u8],
    ) -> Vec<Out> {
        self.allocations.retain(|_, allocation| now < allocation.expires);
        if !self.listens(to) {
            return if self.faults.dead {
                Vec::new()
            } else {
                self.peer_sends(now, from, to, octets)
            };
        }
        if octets.first().is_some_and(|first| (0x40..0x50).contains(first)) {
            return self.channel_data_from_client(now, from, octets);
        }
        let Ok(message) = Message::parse(octets) else {
            self.note(Heard::Junk);
            return Vec::new();
        };
        match message.class() {
            MessageClass::Indication => self.indication_from_client(now, from, &message),
            MessageClass::Request => self.request(now, from, message),
            MessageClass::Success | MessageClass::Error => {
                self.note(Heard::Junk);
                Vec::new()
            }
        }
    }

    fn note(&mut self, what: Heard) {
        *self.heard.entry(what).or_insert(0) += 1;
    }

    // Between clients and peers.

    fn peer_sends(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        relay: SocketAddr,
        data: &[u8],
    ) -> Vec<Out> {
        let id = self.transaction_id();
        let found = self.allocations.iter().find(|(_, a)| a.relayed.contains(&relay));
        let Some((&client, allocation)) = found else { return Vec::new() };
        if !allocation.permits(now, peer.ip()) {
            self.unpermitted += 1;
            return Vec::new();
        }
        let channel =
            allocation.channels.iter().find(|(_, (to, until))| *to == peer && now < *until);
        let octets = match channel {
            Some((number, _)) => channel_data(*number, data),
            None if self.faults.drops_indications => return Vec::new(),
            None => indication(id, peer, data),
        };
        self.relayed[1] += 1;
        vec![Out { after: Duration::ZERO, from: self.address_toward(client), to: client, octets }]
    }

    fn channel_data_from_client(
        &mut self,
        now: Instant,
        from: SocketAddr,
        octets: &[u8],
    ) -> Vec<Out> {
        self.note(Heard::ChannelData);
        let Some((&[n0, n1, l0, l1], rest)) = octets.split_first_chunk::<4>() else {
            return Vec::new();
        };
        let number = u16::from_be_bytes([n0, n1]);
        let Some(data) = rest.get(..usize::from(u16::from_be_bytes([l0, l1]))) else {
            return Vec::new();
        };
        let peer = self.allocations.get(&from).and_then(|allocation| {
            let (peer, until) = allocation.channels.get(&number)?;
            (now < *until).then_some(*peer)
        });
        match peer {
            Some(peer) => self.client_sends(now, from, peer, data),
            None => {
                self.unpermitted += 1;
                Vec::new()
            }
        }
    }

    fn indication_from_client(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &Message<'_>,
    ) -> Vec<Out> {
        if message.method() != Method::SEND {
            let binding = message.method() == Method::BINDING;
            self.note(if binding { Heard::Binding } else { Heard::Junk });
            return Vec::new();
        }
        self.note(Heard::Send);
        if self.faults.drops_indications {
            return Vec::new();
        }
        let (Some(peer), Some(data)) = (message.xor_peer_address(), message.data()) else {
            return Vec::new();
        };
        self.client_sends(now, from, peer, data)
    }

    fn client_sends(
        &mut self,
        now: Instant,
        client: SocketAddr,
        peer: SocketAddr,
        data: &[u8],
    ) -> Vec<Out> {
        if self.faults.dead {
            return Vec::new();
        }
        let allocation = self.allocations.get(&client);
        let permitted = allocation.filter(|allocation| allocation.permits(now, peer.ip()));
        let Some(from) = permitted.and_then(|allocation| allocation.toward(peer)) else {
            self.unpermitted += 1;
            return Vec::new();
        };
        self.relayed[0] += 1;
        vec![Out { after: Duration::ZERO, from, to: peer, octets: data.to_vec() }]
    }

    // Requests.

    fn request(&mut self, now: Instant, from: SocketAddr, message: Message<'_>) -> Vec<Out> {
        let release = message.lifetime() == Some(Duration::ZERO);
        self.note(match message.method() {
            Method::BINDING => Heard::Binding,
            Method::ALLOCATE => Heard::Allocate,
            Method::REFRESH if release => Heard::Release,
            Method::REFRESH => Heard::Refresh,
            Method::CREATE_PERMISSION => Heard::CreatePermission,
            Method::CHANNEL_BIND => Heard::ChannelBind,
            _ => Heard::Junk,
        });
        if self.faults.dead {
            return Vec::new();
        }
        if message.method() == Method::BINDING {
            let mut buf = [0; 128];
            let id = message.transaction_id();
            let len = Encoder::new(&mut buf, MessageClass::Success, Method::BINDING, id)
                .xor_address(AttributeType::XOR_MAPPED_ADDRESS, from)
                .finish()
                .unwrap();
            return self.reply(from, buf[..len].to_vec());
        }
        let octets = match self.auth.judge(now, &message, self.faults.stale_storm) {
            Verdict::Challenge(octets) => octets,
            Verdict::Authentic { key, user } => {
                let request = Request { now, from, message, key, user };
                if self.faults.restarts_on_refresh && message.method() == Method::REFRESH {
                    self.faults.restarts_on_refresh = false;
                    self.restart();
                    return Vec::new();
                }
                self.answer(&request)
            }
        };
        self.reply(from, octets)
    }

    fn reply(&self, to: SocketAddr, octets: Vec<u8>) -> Vec<Out> {
        let from = self.faults.answers_from.unwrap_or_else(|| self.address_toward(to));
        vec![Out { after: self.faults.slow, from, to, octets }]
    }

    fn answer(&mut self, request: &Request<'_>) -> Vec<u8> {
        let method = request.message.method();
        let refusal =
            self.faults.refusals.iter_mut().find(|fault| fault.method == method && fault.times > 0);
        let answer = match refusal {
            Some(refusal) => {
                refusal.times -= 1;
                Err(refusal.code)
            }
            None => match method {
                Method::ALLOCATE if self.faults.redirect.is_some() => Err(300),
                Method::ALLOCATE => self.allocate(request),
                Method::REFRESH => self.refresh(request),
                Method::CREATE_PERMISSION => self.create_permission(request),
                Method::CHANNEL_BIND => self.bind_channel(request),
                _ => Err(400),
            },
        };
        let id = request.message.transaction_id();
        let mut buf = [0; 1024];
        let class = if answer.is_ok() { MessageClass::Success } else { MessageClass::Error };
        let mut encoder = Encoder::new(&mut buf, class, method, id);
        let success = answer.is_ok();
        match answer {
            Ok(attributes) => {
                for said in attributes {
                    encoder = match said {
                        Said::Address(kind, address) => encoder.xor_address(kind, address),
                        Said::Number(kind, number) => encoder.u32(kind, number),
                        Said::Octets(kind, octets) => encoder.attribute(kind, &octets),
                    };
                }
            }
            Err(code) => {
                encoder = encoder.error_code(code, "");
                if let (300, Some(other)) = (code, self.faults.redirect) {
                    encoder = encoder.address(AttributeType::ALTERNATE_SERVER, other);
                }
            }
        }
        if !(self.faults.unsigned && success) {
            encoder = encoder.integrity(&request.key);
        }
        let len = encoder.finish().unwrap();
        buf[..len].to_vec()
    }

    /// [RFC 8656 §7.2]
    fn allocate(&mut self, request: &Request<'_>) -> Answer {
        let message = &request.message;
        let id = message.transaction_id();
        match self.allocations.get(&request.from) {
            Some(known) if known.id == id => return Ok(self.granted(request)),
            Some(_) => return Err(437),
            None => {}
        }
        match message.attribute(AttributeType::REQUESTED_TRANSPORT) {
            Some([UDP, ..]) => {}
            Some(_) => return Err(442),
            None => return Err(400),
        }
        if message.attribute(AttributeType::RESERVATION_TOKEN).is_some() {
            return Err(508);
        }
        let family = |kind| message.attribute(kind).map(|value| value.first() == Some(&2));
        let requested = family(AttributeType::REQUESTED_ADDRESS_FAMILY);
        let additional = family(AttributeType::ADDITIONAL_ADDRESS_FAMILY);
        let families = match (requested, additional) {
            (Some(_), Some(_)) | (None, Some(false)) => return Err(400),
            (Some(v6), None) => vec![v6],
            (None, Some(true)) => vec![false, true],
            (None, None) => vec![false],
        };
        let of_user = self.allocations.values().filter(|a| a.user == request.user).count();
        if of_user >= self.quota {
            return Err(486);
        }
        if self.allocations.len() >= self.capacity {
            return Err(508);
        }
        let mut relayed = Vec::new();
        for v6 in families {
            if let Some(ip) = self.relay_ips.iter().copied().find(|ip| ip.is_ipv6() == v6) {
                relayed.push(self.free_address(ip));
            }
        }
        if relayed.is_empty() {
            return Err(440);
        }
        let allocation = Allocation {
            id,
            user: request.user.clone(),
            relayed,
            expires: request.now + Duration::from_secs(granted(message).into()),
            permissions: BTreeMap::new(),
            channels: BTreeMap::new(),
        };
        self.allocations.insert(request.from, allocation);
        Ok(self.granted(request))
    }

    fn free_address(&mut self, ip: IpAddr) -> SocketAddr {
        loop {
            let port = 49_152 + self.rng.below(16_384) as u16;
            let address = SocketAddr::new(ip, port);
            if !self.relays(address) {
                return address;
            }
        }
    }

    /// What the success of an Allocate says.
    fn granted(&self, request: &Request<'_>) -> Vec<Said> {
        let relayed = &self.allocations[&request.from].relayed;
        let mut said: Vec<Said> = relayed
            .iter()
            .map(|address| Said::Address(AttributeType::XOR_RELAYED_ADDRESS, *address))
            .collect();
        let wanted_both =
            request.message.attribute(AttributeType::ADDITIONAL_ADDRESS_FAMILY).is_some();
        if wanted_both && relayed.len() < 2 {
            let v6 = u8::from(relayed[0].is_ipv4()) + 1;
            said.push(Said::Octets(AttributeType::ADDRESS_ERROR_CODE, vec![v6, 0, 4, 40]));
        }
        said.push(self.lifetime(granted(&request.message)));
        said.push(Said::Address(AttributeType::XOR_MAPPED_ADDRESS, request.from));
        said
    }

    fn lifetime(&self, granted: u32) -> Said {
        Said::Number(AttributeType::LIFETIME, self.faults.lifetime.unwrap_or(granted))
    }

    fn own(&mut self, request: &Request<'_>) -> Result<&mut Allocation, u16> {
        let allocation = self.allocations.get_mut(&request.from).ok_or(437_u16)?;
        if allocation.user == request.user { Ok(allocation) } else { Err(441) }
    }

    /// [RFC 8656 §8.2]
    fn refresh(&mut self, request: &Request<'_>) -> Answer {
        let seconds = granted(&request.message);
        let release = request.message.lifetime() == Some(Duration::ZERO);
        let allocation = self.own(request)?;
        if let Some(value) = request.message.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY) {
            let v6 = value.first() == Some(&2);
            if !allocation.relayed.iter().any(|relayed| relayed.is_ipv6() == v6) {
                return Err(443);
            }
        }
        if release {
            self.allocations.remove(&request.from);
            return Ok(vec![Said::Number(AttributeType::LIFETIME, 0)]);
        }
        allocation.expires = request.now + Duration::from_secs(seconds.into());
        Ok(vec![self.lifetime(seconds)])
    }

    /// [RFC 8656 §10.2]
    fn create_permission(&mut self, request: &Request<'_>) -> Answer {
        let now = request.now;
        let message = request.message;
        let allocation = self.own(request)?;
        let peers: Vec<IpAddr> = peers(&message).map(|peer| peer.ip()).collect();
        if peers.is_empty() {
            return Err(400);
        }
        let family = |peer: &IpAddr| allocation.toward(SocketAddr::new(*peer, 1)).is_some();
        if !peers.iter().all(family) {
            return Err(443);
        }
        for peer in peers {
            allocation.permissions.insert(peer, now + PERMISSION);
        }
        Ok(Vec::new())
    }

    /// [RFC 8656 §12.2]
    fn bind_channel(&mut self, request: &Request<'_>) -> Answer {
        let now = request.now;
        let message = request.message;
        let allocation = self.own(request)?;
        let (Some(number), Some(peer)) = (message.channel_number(), message.xor_peer_address())
        else {
            return Err(400);
        };
        if !(0x4000..0x5000).contains(&number) {
            return Err(400);
        }
        if allocation.toward(peer).is_none() {
            return Err(443);
        }
        let other = allocation
            .channels
            .iter()
            .any(|(known, (to, until))| now < *until && (*known == number) != (*to == peer));
        if other {
            return Err(400);
        }
        allocation.channels.insert(number, (peer, now + CHANNEL));
        allocation.permissions.insert(peer.ip(), now + PERMISSION);
        Ok(Vec::new())
    }
}

/// The lifetime that a request is granted, in seconds.
fn granted(message: &Message<'_>) -> u32 {
    let wanted = message.lifetime().map(|lifetime| lifetime.as_secs());
    let wanted = wanted.and_then(|seconds| u32::try_from(seconds).ok());
    wanted.unwrap_or(LIFETIME_DEFAULT).clamp(LIFETIME_DEFAULT, LIFETIME_MAX)
}

/// Every XOR-PEER-ADDRESS of a request.
fn peers(message: &Message<'_>) -> impl Iterator<Item = SocketAddr> {
    let id = message.transaction_id().0;
    let values = message.attributes().filter(|a| a.kind == AttributeType::XOR_PEER_ADDRESS);
    values.filter_map(move |attribute| crate::world::wire::decode_xor_address(id, attribute.value))
}

fn indication(id: TransactionId, peer: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut buf = vec![0; data.len() + 64];
    let len = Encoder::new(&mut buf, MessageClass::Indication, Method::DATA, id)
        .xor_address(AttributeType::XOR_PEER_ADDRESS, peer)
        .attribute(AttributeType::DATA, data)
        .finish()
        .unwrap();
    buf.truncate(len);
    buf
}

fn channel_data(number: u16, data: &[u8]) -> Vec<u8> {
    let mut octets = number.to_be_bytes().to_vec();
    octets.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    octets.extend(data);
    octets
}
