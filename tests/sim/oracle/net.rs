//! Where packets get to: networks, NATs and firewalls with symbols for addresses and ports.
//!
//! Nothing is ever forgotten here, so what gets through once gets through ever after, and the order
//! in which packets are sent does not matter in the end.

use std::collections::{BTreeMap, BTreeSet};

use crate::topology::{AddressKind, Place, Topology};
use crate::world::nat::{Depends, Hairpin, Nat, Pooling, Scope};

/// An IP address, by whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ip {
    Interface {
        party: usize,
        index: usize,
    },
    /// The outer side of a network's NAT: one of several addresses is taken to be another one for
    /// each inner address, and where they are pooled arbitrarily for each mapping.
    Outside {
        network: usize,
        member: u32,
    },
    /// The STUN server's IPv4 or IPv6 address.
    Stun(Family),
    /// A TURN server's address, which it relays from, too.
    Turn(usize, Family),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

/// A transport address. Ports are numbers that mean nothing but themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) ip: Ip,
    pub(super) port: u32,
}

/// The port of everything that is neither mapped by a NAT nor relayed.
pub(super) const WELL_KNOWN: u32 = 0;

/// What of a destination a mapping depends on.
type Key = Option<(Ip, Option<u32>)>;

fn key(depends: Depends, peer: Address) -> Key {
    match depends {
        Depends::Independent => None,
        Depends::Address => Some((peer.ip, None)),
        Depends::AddressAndPort => Some((peer.ip, Some(peer.port))),
    }
}

/// What the gateway of a network knows.
#[derive(Clone, Debug, Default)]
struct Gateway {
    mappings: BTreeMap<(Address, Key), u32>,
    owners: BTreeMap<u32, Address>,
    /// Which of its addresses each inner one has.
    paired: BTreeMap<Ip, u32>,
    /// Whom was sent to: by an inner address, or through a mapping, whose owner is an outer one.
    contacted: BTreeSet<(Address, Address)>,
}

/// The networks of a topology, and what passed through them so far.
#[derive(Clone, Debug)]
pub(super) struct Net<'t> {
    pub(super) topology: &'t Topology,
    gateways: Vec<Gateway>,
    /// How much is known: it grows with each mapping and each contact.
    pub(super) knowledge: usize,
}

/// A packet where it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// Where it seems to come from.
    pub(super) from: Address,
    /// Whom it reached, behind all NATs.
    pub(super) at: Address,
}

impl<'t> Net<'t> {
    pub(super) fn new(topology: &'t Topology) -> Self {
        let gateways = vec![Gateway::default(); topology.networks.len()];
        Self { topology, gateways, knowledge: 0 }
    }

    pub(super) fn family(&self, ip: Ip) -> Family {
        match ip {
            Ip::Interface { party, index } => {
                match self.topology.parties[party].interfaces[index].kind {
                    AddressKind::V4 => Family::V4,
                    AddressKind::V6
                    | AddressKind::V6Temporary
                    | AddressKind::V6Deprecated
                    | AddressKind::V6Local => Family::V6,
                }
            }
            Ip::Outside { .. } => Family::V4,
            Ip::Stun(family) | Ip::Turn(_, family) => family,
        }
    }

    /// Where an address is.
    pub(super) fn place(&self, ip: Ip) -> Option<Place> {
        match ip {
            Ip::Interface { party, index } => {
                Some(self.topology.parties[party].interfaces[index].place)
            }
            Ip::Outside { network, .. } => self.topology.networks[network].outer,
            Ip::Stun(_) | Ip::Turn(..) => Some(Place::Internet),
        }
    }

    /// Whether an address never leaves the network that it is in.
    fn is_local(&self, ip: Ip) -> bool {
        match ip {
            Ip::Interface { party, index } => {
                self.topology.parties[party].interfaces[index].kind == AddressKind::V6Local
            }
            Ip::Outside { .. } | Ip::Stun(_) | Ip::Turn(..) => false,
        }
    }

    /// The NAT that translates `ip` on its way out of a network.
    fn nat(&self, network: usize, ip: Ip) -> Option<Nat> {
        self.topology.networks[network].nat.filter(|_| self.family(ip) == Family::V4)
    }

    /// The networks to go into from `place` to where `to` is; `None` if `to` means nothing there.
    fn way_in(&self, place: Place, to: Ip) -> Option<Vec<usize>> {
        let mut way = Vec::new();
        let mut at = self.place(to)?;
        while at != place {
            let Place::Network(network) = at else { return None };
            if self.nat(network, to).is_some() || self.is_local(to) {
                return None;
            }
            way.push(network);
            at = self.topology.networks[network].outer?;
        }
        way.reverse();
        Some(way)
    }

    /// Sends a packet from `place`, and tells where it ends.
    pub(super) fn carry(&mut self, place: Place, from: Address, to: Address) -> Option<Arrival> {
        let (mut place, mut from) = (place, from);
        let way = loop {
            if let Some(way) = self.way_in(place, to.ip) {
                break way;
            }
            let Place::Network(network) = place else { return None };
            from = self.pass_out(network, from, to)?;
            place = self.topology.networks[network].outer?;
        };
        for network in way {
            self.is_let_in(network, from, to).then_some(())?;
        }
        let Ip::Outside { network, .. } = to.ip else { return Some(Arrival { from, at: to }) };
        let nat = self.topology.networks[network].nat?;
        let gateway = &self.gateways[network];
        let inside = *gateway.owners.get(&to.port)?;
        let owner = match nat.scope {
            Scope::Endpoint => inside,
            Scope::Mapping => to,
        };
        (!self.is_blocked(network) && gateway.admits(nat.filtering, owner, from)).then_some(())?;
        self.carry(Place::Network(network), from, inside)
    }

    fn is_blocked(&self, network: usize) -> bool {
        self.topology.networks[network].blocks_udp
    }

    /// A packet leaves a network; returns where it comes from afterwards.
    fn pass_out(&mut self, network: usize, from: Address, to: Address) -> Option<Address> {
        if self.is_blocked(network) || self.is_local(from.ip) {
            return None;
        }
        let Some(nat) = self.nat(network, from.ip) else {
            self.contact(network, from, to);
            return Some(from);
        };
        let gateway = &mut self.gateways[network];
        let next = gateway.mappings.len() as u32;
        let port = *gateway.mappings.entry((from, key(nat.mapping, to))).or_insert(next);
        gateway.owners.insert(port, from);
        let member = match nat.pooling {
            _ if nat.addresses == 1 => 0,
            Pooling::Paired => {
                let next = gateway.paired.len() as u32;
                *gateway.paired.entry(from.ip).or_insert(next)
            }
            Pooling::Arbitrary => port,
        };
        let outside = Address { ip: Ip::Outside { network, member }, port };
        self.contact(network, from, to);
        self.contact(network, outside, to);
        let hairpin = matches!(to.ip, Ip::Outside { network: of, .. } if of == network);
        match nat.hairpin {
            Hairpin::None if hairpin => None,
            Hairpin::Internal if hairpin => Some(from),
            Hairpin::None | Hairpin::Internal | Hairpin::External => Some(outside),
        }
    }

    fn contact(&mut self, network: usize, owner: Address, peer: Address) {
        self.knowledge += usize::from(self.gateways[network].contacted.insert((owner, peer)));
    }

    /// Whether a gateway lets a packet in to an address that it does not translate.
    fn is_let_in(&self, network: usize, from: Address, to: Address) -> bool {
        let firewall = self.topology.networks[network].firewall;
        let admits = |depends| self.gateways[network].admits(depends, to, from);
        !self.is_blocked(network) && firewall.is_none_or(admits)
    }
}

impl Gateway {
    fn admits(&self, filtering: Depends, owner: Address, from: Address) -> bool {
        let wanted = key(filtering, from);
        let alike =
            |(known, peer): &(Address, Address)| *known == owner && key(filtering, *peer) == wanted;
        filtering == Depends::Independent || self.contacted.iter().any(alike)
    }
}
