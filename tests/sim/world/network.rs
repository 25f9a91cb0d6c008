//! The network: a heap of things to come, and the places that packets travel between.

use core::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;

use floe::{Instant, SocketId};

use crate::world::BEGINNING;
use crate::world::gateway::{Gateway, Zone};
use crate::world::host::HostBox;
use crate::world::link::{Links, Passage};
use crate::world::signalling::{Act, CallState, Signal};
use crate::world::stun_server::StunServer;
use crate::world::trace::Trace;
use crate::world::turn_server::{Out, TurnServer};

/// The public Internet's zone.
pub(crate) const INTERNET: usize = 0;

/// Somebody with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    Host(usize),
    Gateway(usize),
    Server(usize),
    Turn(usize),
    Nowhere,
}

/// A datagram under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) octets: Vec<u8>,
    /// Who sent it first, from which socket and to where, before any NAT.
    pub(crate) sender: Node,
    pub(crate) origin: Option<(SocketId, SocketAddr)>,
    /// Whom it is on its way to, as far as can be told when it is sent.
    pub(crate) toward: Option<Node>,
}

/// What a hook decides about a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass,
    Drop,
    /// Taken out of the world, for the story to look at and to inject again.
    Hold,
    /// These octets arrive instead.
    Replace(Vec<u8>),
}

/// A test of each packet as it leaves for the last zone.
pub(crate) type Hook = Box<dyn FnMut(Instant, &Packet) -> Fate>;

pub(crate) enum What {
    Arrive { zone: usize, packet: Packet },
    Launch { packet: Packet },
    Unreachable { host: usize, socket: SocketId, to: SocketAddr },
    Signal { call: usize, to: usize, signal: Signal },
    Act { call: usize, side: usize, act: Act },
    Wake { host: usize, number: u64 },
}

impl What {
    /// What happens first at one instant: packets are read before timers fire.
    fn rank(&self) -> u8 {
        match self {
            Self::Arrive { .. } | Self::Launch { .. } | Self::Unreachable { .. } => 0,
            Self::Signal { .. } | Self::Act { .. } => 1,
            Self::Wake { .. } => 2,
        }
    }
}

/// Everything in the world.
pub(crate) struct Inner {
    pub(crate) seed: u64,
    pub(crate) now: Instant,
    pub(crate) trace: Trace,
    pub(crate) links: Links,
    pub(crate) hosts: Vec<HostBox>,
    pub(crate) servers: Vec<StunServer>,
    pub(crate) turns: Vec<TurnServer>,
    pub(crate) calls: Vec<CallState>,
    pub(crate) hooks: Vec<Hook>,
    pub(crate) held: Vec<(usize, Packet)>,
    /// Datagrams that hosts sent.
    pub(crate) packets: u64,
    /// Whether hosts are woken early and twice, which must change nothing.
    pub(crate) nagging: bool,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) zones: Vec<Zone>,
    pub(crate) addresses: u32,
    queue: BinaryHeap<Reverse<(Instant, u8, u64)>>,
    agenda: BTreeMap<u64, What>,
    sequence: u64,
}

impl Inner {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            now: BEGINNING,
            trace: Trace::new(),
            links: Links::new(seed),
            hosts: Vec::new(),
            servers: Vec::new(),
            turns: Vec::new(),
            calls: Vec::new(),
            hooks: Vec::new(),
            held: Vec::new(),
            packets: 0,
            nagging: false,
            gateways: Vec::new(),
            zones: vec![Zone::default()],
            addresses: 0,
            queue: BinaryHeap::new(),
            agenda: BTreeMap::new(),
            sequence: 0,
        }
    }

    pub(crate) fn schedule(&mut self, at: Instant, what: What) {
        let number = self.sequence;
        self.sequence += 1;
        self.queue.push(Reverse((at.max(self.now), what.rank(), number)));
        self.agenda.insert(number, what);
    }

    /// Jumps to the next thing, unless it is later than `end`.
    pub(crate) fn step(&mut self, end: Instant) -> bool {
        let Some(&Reverse((at, _, number))) = self.queue.peek() else { return false };
        if at > end {
            return false;
        }
        self.queue.pop();
        self.now = at;
        match self.agenda.remove(&number).expect("scheduled once") {
            What::Arrive { zone, packet } => self.deliver(zone, packet),
            What::Launch { packet } => self.launch(INTERNET, packet),
            What::Unreachable { host, socket, to } => self.host_unreachable(host, socket, to),
            What::Signal { call, to, signal } => self.signal_arrives(call, to, signal),
            What::Act { call, side, act } => self.act(call, side, act),
            What::Wake { host, number } => self.host_wakes(host, number),
        }
        true
    }

    /// Sends a datagram off: out through the NATs to the zone that knows its destination, and
    /// over the link.
    pub(crate) fn launch(&mut self, zone: usize, mut packet: Packet) {
        let (from, to) = (packet.from, packet.to);
        self.trace.packet(self.now, "sent", from, to, &packet.octets);
        let Some(zone) = self.leave(zone, &mut packet) else { return };
        packet.toward = self.destination(zone, packet.to);
        let now = self.now;
        for hook in &mut self.hooks {
            match hook(now, &packet) {
                Fate::Pass => {}
                Fate::Drop => return,
                Fate::Hold => {
                    self.held.push((zone, packet));
                    return;
                }
                Fate::Replace(octets) => packet.octets = octets,
            }
        }
        match self.links.pass(packet.sender, packet.toward, &mut packet.octets) {
            Passage::Arrives(times) => {
                for after in times {
                    let packet = packet.clone();
                    self.schedule(now + after, What::Arrive { zone, packet });
                }
            }
            Passage::Lost => self.trace.packet(now, "lost", from, to, &packet.octets),
            Passage::Bounces(after) => {
                if let (Node::Host(host), Some((socket, to))) = (packet.sender, packet.origin) {
                    self.schedule(now + after, What::Unreachable { host, socket, to });
                }
            }
        }
    }

    pub(crate) fn server_receives(&mut self, zone: usize, id: usize, packet: &Packet) {
        let server = &mut self.servers[id];
        if !server.addresses.contains(&packet.to) {
            return;
        }
        let Some((after, octets)) = server.answer(packet.from, &packet.octets) else { return };
        let (from, to) = (packet.to, packet.from);
        self.trace.packet(self.now, "answer", from, to, &octets);
        let sender = Node::Server(id);
        let toward = self.destination(zone, to);
        let mut reply = Packet { from, to, octets, sender, origin: None, toward };
        if let Passage::Arrives(times) = self.links.pass(sender, toward, &mut reply.octets) {
            for delay in times {
                let packet = reply.clone();
                self.schedule(self.now + after + delay, What::Arrive { zone, packet });
            }
        }
    }

    pub(crate) fn turn_receives(&mut self, id: usize, packet: &Packet) {
        let now = self.now;
        let out = self.turns[id].receives(now, packet.from, packet.to, &packet.octets);
        self.turn_sends(id, out);
    }

    /// Sends what a TURN server has to say.
    pub(crate) fn turn_sends(&mut self, id: usize, out: Vec<Out>) {
        for Out { after, from, to, octets } in out {
            let sender = Node::Turn(id);
            let packet = Packet { from, to, octets, sender, origin: None, toward: None };
            self.schedule(self.now + after, What::Launch { packet });
        }
    }

    /// Whether `address` is where a TURN server listens for clients.
    pub(crate) fn is_turn(&self, address: SocketAddr) -> bool {
        self.turns.iter().any(|turn| turn.listens(address))
    }

    /// Whether `address` is on a TURN server: a relay.
    pub(crate) fn is_relay(&self, address: SocketAddr) -> bool {
        self.turns.iter().any(|turn| turn.relays(address))
    }
}
