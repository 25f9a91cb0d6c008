//! One ICE agent under test, whichever crate it is of.

pub mod floe;
pub mod is;
pub mod null;
pub mod rice;
pub mod rtc;
pub mod sfu;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

/// Who decides which pair is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nominates.
    Controlling,
    /// Follows.
    Controlled,
}

/// No agent here sends more octets at once.
pub const MAX_DATAGRAM: usize = 1500;

/// A datagram on its way. Its buffer is used again, so that only the agents allocate.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Who sent it.
    pub from: SocketAddr,
    /// Who gets it.
    pub to: SocketAddr,
    /// Where the next datagram is written.
    pub buffer: Box<[u8; MAX_DATAGRAM]>,
    /// How much of the buffer it is.
    pub len: usize,
}

impl Packet {
    /// An empty packet, to be filled.
    pub fn empty() -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Self { from: nowhere, to: nowhere, buffer: Box::new([0; MAX_DATAGRAM]), len: 0 }
    }

    /// Replaces what it holds.
    pub fn fill(&mut self, from: SocketAddr, to: SocketAddr, data: &[u8]) {
        self.from = from;
        self.to = to;
        self.len = data.len();
        self.buffer[..data.len()].copy_from_slice(data);
    }

    /// The octets.
    pub fn data(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// Whether it is a Binding request.
    pub fn is_request(&self) -> bool {
        self.data().starts_with(&[0, 1])
    }
}

/// How far an agent has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// It says that data may be sent.
    pub sendable: bool,
    /// It knows which pair is to be used. Peers say one thing for both.
    pub selected: bool,
}

impl Readiness {
    /// Both or neither.
    pub fn all(ready: bool) -> Self {
        Self { sendable: ready, selected: ready }
    }
}

/// Something on the network: it takes and gives datagrams, and has timers.
pub trait Node {
    /// Takes a datagram.
    fn handle_packet(&mut self, now: Instant, packet: &Packet);
    /// Does what is due.
    fn handle_timeout(&mut self, now: Instant);
    /// When `handle_timeout` wants to be called.
    fn poll_timeout(&mut self, now: Instant) -> Option<Instant>;
    /// Writes the next datagram into `packet`; false if there is none.
    #[must_use]
    fn poll_transmit(&mut self, now: Instant, packet: &mut Packet) -> bool;
    /// Drains the events and says how far it has come.
    fn readiness(&mut self) -> Readiness;
}

/// One ICE agent under test, with one component and one host candidate for each of its addresses.
/// All candidates are known at once, and nothing trickles.
pub trait Agent: Node + 'static {
    /// What to call it in a table.
    const NAME: &'static str;
    /// What it signals to its peer.
    type Description;

    /// Makes an agent with these host candidates.
    fn new(now: Instant, role: Role, addresses: &[SocketAddr]) -> Self;
    /// What it signals to its peer.
    fn description(&self) -> Self::Description;
    /// Takes what the peer signalled and starts the checks.
    fn set_remote(&mut self, now: Instant, remote: &Self::Description);
}

/// Makes two agents that know of each other, the controlling one first.
pub fn introduce<A: Agent>(now: Instant, left: &[SocketAddr], right: &[SocketAddr]) -> [A; 2] {
    let mut agents = [A::new(now, Role::Controlling, left), A::new(now, Role::Controlled, right)];
    let descriptions = agents.each_ref().map(A::description);
    agents[0].set_remote(now, &descriptions[1]);
    agents[1].set_remote(now, &descriptions[0]);
    agents
}

/// The addresses of side 1 or 2; candidate `index` is in the third octet.
pub fn addresses(side: u8, count: usize) -> Vec<SocketAddr> {
    (0..count).map(|index| (Ipv4Addr::new(10, side, index as u8, 1), 5000).into()).collect()
}

/// Which candidate of its side has this address.
pub fn candidate_index(address: SocketAddr) -> usize {
    match address {
        SocketAddr::V4(v4) => usize::from(v4.ip().octets()[2]),
        SocketAddr::V6(_) => 0,
    }
}
