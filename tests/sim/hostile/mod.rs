//! Hostile strangers, peers, servers and signalling, and what each of them can make an agent do:
//! the tests behind SECURITY.md. Bounds are those of the configuration, and met to the packet.

mod misuse;
mod neighbours;
mod on_path;
mod peers;
mod privacy;
mod restarts;
mod servers;
mod signalling;
mod spoofed;
mod strangers;
mod teardown;

use core::time::Duration;
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use floe::candidate::{Candidate, CandidateKind, Credentials, Foundation, priority};
use floe::config::{AgentConfig, EndpointConfig, Role};
use floe::sdp::{Description, StreamDescription};
use floe::{AgentId, ComponentId, Endpoint, Event, Instant, MIN_TRANSMIT, Socket, SocketId};

use crate::world::call::Call;
use crate::world::host::Host;
use crate::world::network::INTERNET;
use crate::world::wire::{self, Kind};
use crate::world::{BEGINNING, Fate, Node, Packet, World};

/// How many packets a flood has: `FLOE_FLOOD`, or `default`.
fn flood(default: u64) -> u64 {
    std::env::var("FLOE_FLOOD")
        .map_or(default, |text| text.parse().expect("FLOE_FLOOD is a number"))
}

/// Checks and data that leave for an address from now on.
fn sent_to(world: &World, address: SocketAddr) -> Rc<Cell<(u64, u64)>> {
    let sent = Rc::new(Cell::new((0, 0)));
    let seen = Rc::clone(&sent);
    world.intercept(move |_, packet| {
        if packet.to == address {
            let (checks, data) = seen.get();
            seen.set(match wire::binding(&packet.octets) {
                Some((Kind::Request, _)) => (checks + 1, data),
                Some(_) => (checks, data),
                None => (checks, data + 1),
            });
        }
        Fate::Pass
    });
    sent
}

/// Where a host's only socket is.
fn base(host: Host<'_>) -> SocketAddr {
    SocketAddr::new(host.addresses()[0], 40_000)
}

/// A datagram from `from`, whoever that is.
fn packet(from: SocketAddr, to: SocketAddr, octets: Vec<u8>) -> Packet {
    Packet { from, to, octets, sender: Node::Nowhere, origin: None, toward: None }
}

/// Lets a datagram arrive at a host on the Internet in the name of `from`.
fn arrives(world: &World, from: SocketAddr, at: Host<'_>, octets: Vec<u8>) {
    world.inject(INTERNET, packet(from, base(at), octets));
}

/// Makes `address` one that packets travel to, though nobody is there.
fn nobody_at(world: &World, address: SocketAddr) {
    world.inner().own(INTERNET, address.ip(), Node::Nowhere);
}

fn credentials(call: Call<'_>, host: Host<'_>) -> Credentials {
    call.description(host).streams[0].credentials.clone().expect("credentials")
}

/// All that a host dropped, for whatever reason.
fn dropped(host: Host<'_>) -> u64 {
    host.stats().dropped.iter().sum()
}

/// Writes the checks of somebody who knows both sides' credentials.
#[derive(Clone, Debug)]
struct Forger {
    /// Of whom the checks are for.
    victim: Credentials,
    /// Of whom they seem to come from.
    other: Credentials,
    role: Role,
    tie_breaker: u64,
    next: u64,
}

impl Forger {
    /// Whoever can speak for the other side of a call toward `victim`.
    fn against(call: Call<'_>, victim: Host<'_>) -> Self {
        let [left, right] = call.hosts();
        let other = if victim.id == left.id { right } else { left };
        let role = match call.role_of(victim) {
            Role::Controlling => Role::Controlled,
            Role::Controlled => Role::Controlling,
        };
        let (victim, other) = (credentials(call, victim), credentials(call, other));
        Self { victim, other, role, tie_breaker: 0x7777_7777_7777_7777, next: 0 }
    }

    fn id(&mut self) -> wire::TransactionId {
        self.next += 1;
        let mut id = *b"FORG00000000";
        id[4..].copy_from_slice(&self.next.to_be_bytes());
        id
    }

    /// A check with all that it needs, and more attributes.
    fn check(&mut self, more: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let password = self.victim.password.clone();
        self.check_signed(more, &password)
    }

    /// The same, signed with another password.
    fn check_signed(&mut self, more: &[(u16, Vec<u8>)], password: &str) -> Vec<u8> {
        let role = match self.role {
            Role::Controlling => ICE_CONTROLLING,
            Role::Controlled => ICE_CONTROLLED,
        };
        let username = format!("{}:{}", self.victim.ufrag, self.other.ufrag).into_bytes();
        let mut attributes = vec![
            (wire::USERNAME, username),
            (PRIORITY, 0x6EFF_FFFF_u32.to_be_bytes().to_vec()),
            (role, self.tie_breaker.to_be_bytes().to_vec()),
        ];
        attributes.extend_from_slice(more);
        let mut octets = wire::message(0x0001, self.id(), &attributes);
        wire::add_integrity(&mut octets, password);
        wire::add_fingerprint(&mut octets);
        octets
    }

    /// A check that nominates.
    fn nomination(&mut self) -> Vec<u8> {
        self.check(&[(wire::USE_CANDIDATE, Vec::new())])
    }
}

const PRIORITY: u16 = 0x0024;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802a;

/// One endpoint with one agent on one socket, and nobody else in the world.
struct Lonely {
    endpoint: Endpoint,
    agent: AgentId,
    now: Instant,
    /// What left: when, to where, what.
    sent: Vec<(Instant, SocketAddr, Vec<u8>)>,
    events: Vec<Event>,
    socket: SocketId,
}

/// Where a [`Lonely`] agent is.
const LONELY: &str = "198.51.100.1:40000";

impl Lonely {
    fn new(config: AgentConfig) -> Self {
        let endpoint = EndpointConfig::default();
        let mut endpoint = Endpoint::new(BEGINNING, Arc::new(endpoint), [7; 32]);
        let socket = endpoint.add_socket(BEGINNING, Socket::udp(LONELY.parse().unwrap()));
        let agent = endpoint.add_agent(BEGINNING, config);
        let (now, sent, events) = (BEGINNING, Vec::new(), Vec::new());
        let mut lonely = Self { endpoint, agent, socket, now, sent, events };
        lonely.drain();
        lonely
    }

    fn drain(&mut self) {
        self.endpoint.handle_timeout(self.now);
        let mut buf = [0; MIN_TRANSMIT];
        while let Some(transmit) = self.endpoint.poll_transmit(self.now, &mut buf) {
            self.sent.push((self.now, transmit.to, buf[transmit.range].to_vec()));
        }
        while let Some(event) = self.endpoint.poll_event() {
            self.events.push(event);
        }
    }

    /// Lets virtual time pass, exactly from deadline to deadline.
    fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(next) = self.endpoint.poll_timeout().filter(|next| *next <= end) {
            assert!(next > self.now, "a deadline that does not pass");
            self.now = next;
            self.drain();
        }
        self.now = end;
    }

    fn remote(&mut self, description: &Description) -> Result<(), floe::DescriptionRejected> {
        let mut agent = self.endpoint.agent_mut(self.now, self.agent).expect("an agent");
        let result = agent.set_remote_description(description);
        self.drain();
        result
    }

    fn candidate(&mut self, address: SocketAddr) -> Result<(), floe::CandidateRejected> {
        let mut agent = self.endpoint.agent_mut(self.now, self.agent).expect("an agent");
        let result = agent.add_remote_candidate(0, None, &candidate(address));
        self.drain();
        result
    }

    /// Whether application data has no way out.
    fn cannot_send(&mut self) -> bool {
        self.endpoint.route(self.now, self.agent, ComponentId::FIRST).is_err()
    }
}

/// A candidate with the priority of a host candidate, and a foundation of its own.
fn candidate(address: SocketAddr) -> Candidate {
    let text = format!("{:08x}", crate::world::rng::hash(address.to_string().as_bytes()) as u32);
    let foundation = Foundation::new(&text).expect("a foundation");
    let kind = CandidateKind::Host;
    Candidate::udp(kind, foundation, 1, priority(kind, 65_535, 1), address)
}

/// A description of one stream by somebody with these credentials, who trickles.
fn description(ufrag: &str, candidates: &[Candidate]) -> Description {
    let mut stream = StreamDescription::default();
    stream.credentials =
        Some(Credentials { ufrag: ufrag.to_owned(), password: "FAKEpasswordFAKEpassword".into() });
    stream.candidates = candidates.to_vec();
    let mut description = Description::default();
    description.options.ice2 = true;
    description.options.trickle = true;
    description.streams = vec![stream];
    description
}
