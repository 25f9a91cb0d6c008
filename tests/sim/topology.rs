//! What a scenario is set in, as plain data: the world is built from it, and the oracle judges it.

use crate::world::World;
use crate::world::host::Host;
use crate::world::nat::{Depends, Nat};
use crate::world::network::INTERNET;

/// Where an interface is, or what a gateway leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Internet,
    /// One of [`Topology::networks`].
    Network(usize),
}

/// A network and its way out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network {
    /// What its gateway leads to; `None` for a network without a way out.
    pub(crate) outer: Option<Place>,
    /// How IPv4 is translated; `None` where its addresses are public.
    pub(crate) nat: Option<Nat>,
    /// Who is let in to addresses that are not translated: to IPv6, and to IPv4 without a NAT. `None`
    /// for anybody.
    pub(crate) firewall: Option<Depends>,
    /// Whether the gateway lets no UDP pass.
    pub(crate) blocks_udp: bool,
}

/// What sort of address an interface has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AddressKind {
    V4,
    /// Of global scope, stable.
    V6,
    /// Of global scope, and used for a while only.
    V6Temporary,
    /// Of global scope, and not to be used for what is new.
    V6Deprecated,
    /// Unique local: it does not lead out of its network.
    V6Local,
}

/// An address of a party.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interface {
    pub(crate) place: Place,
    pub(crate) kind: AddressKind,
}

/// One of the two who call one another.
#[derive(Clone, Debug)]
pub(crate) struct Party {
    pub(crate) interfaces: Vec<Interface>,
    /// Whether it asks the STUN server.
    pub(crate) stun: bool,
    /// The TURN servers that it has: indices below [`Topology::turns`].
    pub(crate) turns: Vec<usize>,
    /// Whether it uses relayed candidates alone.
    pub(crate) relay_only: bool,
}

/// Networks, NATs, servers, and the two who want to meet; the first one is controlling.
#[derive(Clone, Debug)]
pub(crate) struct Topology {
    pub(crate) networks: Vec<Network>,
    /// How many TURN servers there are on the Internet.
    pub(crate) turns: usize,
    pub(crate) parties: [Party; 2],
}

impl Topology {
    /// Puts all of it into `world`: the two who want to meet.
    ///
    /// Zone `n + 1` of the world is network `n`, its STUN server is number 0, and its TURN servers
    /// are numbered as here. A party opens no socket on a deprecated address, and none on a stable
    /// one beside a temporary one in the same place.
    pub(crate) fn build<'w>(&self, world: &'w World) -> [Host<'w>; 2] {
        let zones: Vec<usize> = self.networks.iter().map(|_| world.lan().zone).collect();
        let zone = |place| match place {
            Place::Internet => INTERNET,
            Place::Network(network) => zones[network],
        };
        // From the Internet inwards, so that every gateway finds the one that it leads to.
        let mut order: Vec<usize> = (0..self.networks.len()).collect();
        order.sort_by_key(|network| self.depth(*network));
        for (network, inside) in order.into_iter().map(|n| (self.networks[n], zones[n])) {
            let Network { outer: Some(outer), nat, firewall, blocks_udp } = network else {
                continue;
            };
            world.inner().add_gateway([inside, zone(outer)], nat, firewall, blocks_udp);
        }
        let stun = world.stun("192.0.2.1:3478");
        let turns: Vec<_> =
            (0..self.turns).map(|n| world.turn(&format!("192.0.2.{}:3478", n + 2))).collect();
        [0, 1].map(|side| {
            let party = &self.parties[side];
            let mut host = Host::offline(world);
            for interface in &party.interfaces {
                host = host.add_interface(zone(interface.place), interface.kind);
            }
            if party.stun {
                host = host.using_both(stun);
            }
            party.turns.iter().fold(host, |host, turn| host.using_both(turns[*turn]))
        })
    }

    /// How many gateways there are between a network and the Internet.
    fn depth(&self, network: usize) -> usize {
        let (mut place, mut depth) = (self.networks[network].outer, 0);
        while let Some(Place::Network(outer)) = place {
            place = self.networks[outer].outer;
            depth += 1;
            assert!(depth <= self.networks.len(), "a network is behind itself");
        }
        depth
    }
}
