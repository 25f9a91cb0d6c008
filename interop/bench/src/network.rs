//! A network in virtual time: one delay, and on request loss or a single pair that works.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::agents::{Node, Packet, candidate_index};

/// What the network does to packets.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// The round-trip time, half of it each way.
    pub rtt: Duration,
    /// The share of packets that is lost, each way.
    pub loss: f64,
    /// Seeds the loss.
    pub seed: u64,
    /// Only the pair of the candidates with this index on both sides works.
    pub only: Option<usize>,
}

impl Path {
    /// A path without loss on which every pair works.
    pub fn with_rtt(rtt: Duration) -> Self {
        Self { rtt, loss: 0.0, seed: 1, only: None }
    }

    /// Draws whether the packet arrives (xorshift64).
    fn passes(&mut self, packet: &Packet) -> bool {
        let ends = [packet.from, packet.to].map(candidate_index);
        if self.only.is_some_and(|only| ends != [only; 2]) {
            return false;
        }
        if self.loss == 0.0 {
            return true;
        }
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 11) as f64 / (1u64 << 53) as f64 > self.loss
    }
}

/// When a node could send, and when it knew its pair.
#[derive(Clone, Copy, Debug, Default)]
pub struct Milestones {
    /// It said that data may be sent.
    pub sendable: Option<Instant>,
    /// It knew which pair is to be used.
    pub selected: Option<Instant>,
}

struct Arrival {
    at: Instant,
    sequence: u64,
    node: usize,
    packet: Packet,
}

impl PartialEq for Arrival {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}

impl Eq for Arrival {}

impl PartialOrd for Arrival {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Arrival {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// The packets under way, the timers, and what has happened so far.
pub struct Network {
    /// What it does to packets.
    pub path: Path,
    /// How far each node has come.
    pub milestones: Vec<Milestones>,
    /// Packets sent.
    pub packets: u64,
    /// Octets sent.
    pub octets: u64,
    /// How often a drained node still wanted to be called at a time that had passed.
    pub stuck: u64,
    in_flight: BinaryHeap<Reverse<Arrival>>,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    deadlines: Vec<Option<Instant>>,
    pool: Vec<Packet>,
    sequence: u64,
    unselected: usize,
}

/// A node whose deadline has passed though it was drained is called again after this time.
const STUCK_STEP: Duration = Duration::from_micros(100);

impl Network {
    /// Makes a network with room for the traffic of so many nodes.
    pub fn new(path: Path, nodes: usize) -> Self {
        let room = 16 * nodes + 1024;
        Self {
            path,
            milestones: Vec::with_capacity(nodes),
            packets: 0,
            octets: 0,
            stuck: 0,
            in_flight: BinaryHeap::with_capacity(room),
            timers: BinaryHeap::with_capacity(room),
            deadlines: Vec::with_capacity(nodes),
            pool: (0..(2 * nodes).max(64)).map(|_| Packet::empty()).collect(),
            sequence: 0,
            unselected: 0,
        }
    }

    /// Drains all nodes for the first time.
    pub fn start(
        &mut self,
        nodes: &mut [impl Node],
        now: Instant,
        route: impl Fn(usize, &Packet) -> usize,
    ) {
        self.milestones.resize(nodes.len(), Milestones::default());
        self.deadlines.resize(nodes.len(), None);
        self.unselected = nodes.len();
        for index in 0..nodes.len() {
            self.drain(nodes, index, now, &route);
        }
    }

    /// Whether every node has its pair.
    pub fn is_complete(&self) -> bool {
        self.unselected == 0
    }

    /// Handles the next event at or before `until`; returns its time.
    pub fn step(
        &mut self,
        nodes: &mut [impl Node],
        until: Instant,
        route: impl Fn(usize, &Packet) -> usize,
    ) -> Option<Instant> {
        loop {
            let arrival = self.in_flight.peek().map(|Reverse(arrival)| arrival.at);
            let wakeup = self.timers.peek().map(|&Reverse((at, _))| at);
            let now = match (arrival, wakeup) {
                (Some(arrival), Some(wakeup)) => arrival.min(wakeup),
                (arrival, wakeup) => arrival.or(wakeup)?,
            };
            if now > until {
                return None;
            }
            // Sockets are read before timers fire.
            let index = if arrival == Some(now) {
                let Reverse(Arrival { node, packet, .. }) = self.in_flight.pop()?;
                nodes[node].handle_packet(now, &packet);
                self.pool.push(packet);
                node
            } else {
                let Reverse((_, node)) = self.timers.pop()?;
                if self.deadlines[node] != Some(now) {
                    continue;
                }
                self.deadlines[node] = None;
                nodes[node].handle_timeout(now);
                node
            };
            self.drain(nodes, index, now, &route);
            return Some(now);
        }
    }

    /// Handles all events up to and including `until`.
    pub fn run(
        &mut self,
        nodes: &mut [impl Node],
        until: Instant,
        route: impl Fn(usize, &Packet) -> usize,
    ) {
        while self.step(nodes, until, &route).is_some() {}
    }

    /// Fires what is due, sends what there is to send, notes how far the node has come and arms its
    /// timer, as a driver does after each input.
    fn drain(
        &mut self,
        nodes: &mut [impl Node],
        index: usize,
        now: Instant,
        route: impl Fn(usize, &Packet) -> usize,
    ) {
        let node = &mut nodes[index];
        if node.poll_timeout(now).is_some_and(|deadline| deadline <= now) {
            node.handle_timeout(now);
        }
        loop {
            let mut packet = self.pool.pop().unwrap_or_else(Packet::empty);
            if !node.poll_transmit(now, &mut packet) {
                self.pool.push(packet);
                break;
            }
            self.send(now, route(index, &packet), packet);
        }
        self.note(node, index, now);
        let mut deadline = node.poll_timeout(now);
        if deadline.is_some_and(|deadline| deadline <= now) {
            self.stuck += 1;
            deadline = Some(now + STUCK_STEP);
        }
        if deadline != self.deadlines[index] {
            self.deadlines[index] = deadline;
            self.timers.extend(deadline.map(|deadline| Reverse((deadline, index))));
        }
    }

    fn send(&mut self, now: Instant, node: usize, packet: Packet) {
        self.packets += 1;
        self.octets += packet.len as u64;
        if self.path.passes(&packet) {
            self.sequence += 1;
            let (at, sequence) = (now + self.path.rtt / 2, self.sequence);
            self.in_flight.push(Reverse(Arrival { at, sequence, node, packet }));
        } else {
            self.pool.push(packet);
        }
    }

    fn note(&mut self, node: &mut impl Node, index: usize, now: Instant) {
        let readiness = node.readiness();
        let milestones = &mut self.milestones[index];
        if readiness.sendable && milestones.sendable.is_none() {
            milestones.sendable = Some(now);
        }
        if readiness.selected && milestones.selected.is_none() {
            milestones.selected = Some(now);
            self.unselected -= 1;
        }
    }
}

/// Nodes 0 and 1, 2 and 3, … talk to each other.
pub fn in_pairs(node: usize, _: &Packet) -> usize {
    node ^ 1
}
