//! The network: a heap of things to come, and the places that packets travel between.

use core::cmp::{Ordering, Reverse};
use core::time::Duration;
use std::collections::BinaryHeap;
use std::net::SocketAddr;

use floe::{Instant, SocketId};

use crate::world::BEGINNING;
use crate::world::gateway::{Gateway, Zone};
use crate::world::guard::Passwords;
use crate::world::host::HostBox;
use crate::world::link::{Links, Passage};
use crate::world::signalling::{Act, CallState, Signal};
use crate::world::stun_server::StunServer;
use crate::world::trace::{Moment, Trace};
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
    /// These packets arrive instead, each so much later.
    Instead(Vec<(Duration, Packet)>),
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
    Thaw { host: usize },
}

impl What {
    /// What happens first at one instant: packets are read before timers fire.
    fn rank(&self) -> u8 {
        match self {
            Self::Arrive { .. }
            | Self::Launch { .. }
            | Self::Unreachable { .. }
            | Self::Thaw { .. } => 0,
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
    /// What the guards know of all agents together.
    pub(crate) passwords: Passwords,
    /// Whether the audit was made, or somebody told of what was wrong before.
    pub(crate) audited: bool,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) zones: Vec<Zone>,
    pub(crate) addresses: u32,
    agenda: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
}

/// What is to happen, and when: earlier ones first, then by rank, then as they were scheduled.
struct Entry {
    at: Instant,
    rank: u8,
    number: u64,
    /// Apart, so that the heap moves little.
    what: Box<What>,
}

impl Entry {
    const fn key(&self) -> (Instant, u8, u64) {
        (self.at, self.rank, self.number)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
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
            passwords: Passwords::new(),
            audited: false,
            gateways: Vec::new(),
            zones: vec![Zone::default()],
            addresses: 0,
            agenda: BinaryHeap::new(),
            sequence: 0,
        }
    }

    pub(crate) fn schedule(&mut self, at: Instant, what: What) {
        let number = self.sequence;
        self.sequence += 1;
        let (at, rank) = (at.max(self.now), what.rank());
        let what = Box::new(what);
        self.agenda.push(Reverse(Entry { at, rank, number, what }));
    }

    /// Jumps to the next thing, unless it is later than `end`.
    pub(crate) fn step(&mut self, end: Instant) -> bool {
        if self.agenda.peek().is_none_or(|Reverse(next)| next.at > end) {
            return false;
        }
        let Some(Reverse(next)) = self.agenda.pop() else { return false };
        self.now = next.at;
        match *next.what {
            What::Arrive { zone, packet } => self.deliver(zone, packet),
            What::Launch { packet } => self.launch(INTERNET, packet),
            What::Unreachable { host, socket, to } => self.host_unreachable(host, socket, to),
            What::Signal { call, to, signal } => self.signal_arrives(call, to, signal),
            What::Act { call, side, act } => self.act(call, side, act),
            What::Wake { host, number } => self.host_wakes(host, number),
            What::Thaw { host } => self.host_thaws(host),
        }
        true
    }

    /// Sends a datagram off: out through the NATs to the zone that knows its destination, and
    /// over the link.
    pub(crate) fn launch(&mut self, zone: usize, mut packet: Packet) {
        let (now, ends) = (self.now, [packet.from, packet.to]);
        let sender = Some(packet.sender);
        self.trace.packet(now, Moment::Sent, [sender, None], ends, &packet.octets);
        let Some(zone) = self.leave(zone, &mut packet) else {
            self.trace.packet(now, Moment::Filtered, [sender, None], ends, &packet.octets);
            return;
        };
        packet.toward = self.destination(zone, packet.to);
        for hook in &mut self.hooks {
            match hook(now, &packet) {
                Fate::Pass => {}
                Fate::Drop => return,
                Fate::Hold => {
                    self.held.push((zone, packet));
                    return;
                }
                Fate::Replace(octets) => packet.octets = octets,
                Fate::Instead(packets) => {
                    for (after, packet) in packets {
                        self.schedule(now + after, What::Arrive { zone, packet });
                    }
                    return;
                }
            }
        }
        match self.links.pass(now, packet.sender, packet.toward, &mut packet.octets) {
            Passage::Arrives(after, again) => {
                if let Some(again) = again {
                    let packet = packet.clone();
                    self.schedule(now + again, What::Arrive { zone, packet });
                }
                self.schedule(now + after, What::Arrive { zone, packet });
            }
            Passage::Lost => {
                let nodes = [sender, packet.toward];
                self.trace.packet(now, Moment::Lost, nodes, ends, &packet.octets);
            }
            Passage::Bounces(after) => {
                if let (Node::Host(host), Some((socket, to))) = (packet.sender, packet.origin) {
                    self.schedule(now + after, What::Unreachable { host, socket, to });
                }
            }
        }
    }

    pub(crate) fn server_receives(&mut self, id: usize, packet: &Packet) {
        self.note_arrival(Node::Server(id), packet);
        let server = &mut self.servers[id];
        if !server.addresses.contains(&packet.to) {
            return;
        }
        let answers = server.answer(packet.from, packet.to, &packet.octets);
        for Out { after, from, to, octets } in answers {
            let sender = Node::Server(id);
            let packet = Packet { from, to, octets, sender, origin: None, toward: None };
            self.schedule(self.now + after, What::Launch { packet });
        }
    }

    /// Traces a datagram that arrived.
    pub(crate) fn note_arrival(&mut self, node: Node, packet: &Packet) {
        let (nodes, ends) = ([Some(packet.sender), Some(node)], [packet.from, packet.to]);
        self.trace.packet(self.now, Moment::Received, nodes, ends, &packet.octets);
    }

    pub(crate) fn turn_receives(&mut self, id: usize, packet: &Packet) {
        let now = self.now;
        self.note_arrival(Node::Turn(id), packet);
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
