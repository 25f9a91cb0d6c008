//! The zones that addresses mean something in, and the gateways between them.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use floe::Instant;

use crate::topology::AddressKind;
use crate::world::nat::filter::{Filter, Timers};
use crate::world::nat::{Depends, Nat, NatBox, Reboot};
use crate::world::network::{INTERNET, Inner, Node, Packet};
use crate::world::rng::Rng;
use crate::world::trace::Moment;

/// How long a firewall remembers a packet that left, and one that went back. [RFC 6092 §3.2.3]
const FIREWALL: Timers = Timers {
    assured: Duration::from_secs(120),
    unreplied: Duration::from_secs(120),
    outbound_refreshes: true,
    inbound_refreshes: true,
};

/// The Internet, or a network with a gateway to another one.
#[derive(Debug, Default)]
pub(crate) struct Zone {
    pub(crate) gateway: Option<usize>,
    /// Who has an address, or is the way to it.
    pub(crate) owners: BTreeMap<IpAddr, Node>,
}

/// What a packet passes on its way out of a zone, and into it.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    /// The zone that it leads out of, and the one it leads to.
    pub(crate) inside: usize,
    pub(crate) outside: usize,
    /// Translates IPv4.
    pub(crate) nat: Option<NatBox>,
    /// Filters what is not translated.
    pub(crate) firewall: Option<Filter>,
    /// Lets no UDP pass.
    pub(crate) blocks_udp: bool,
}

impl Gateway {
    fn translates(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() && self.nat.is_some()
    }

    /// Lets a packet out and gives the source that it has outside; `None` if it stays inside.
    pub(crate) fn outbound(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Option<SocketAddr> {
        if self.blocks_udp || is_local(from.ip()) || is_local(to.ip()) {
            return None;
        }
        if let Some(nat) = self.nat.as_mut().filter(|_| from.is_ipv4()) {
            return nat.outbound(now, from, to);
        }
        if let Some(firewall) = &mut self.firewall {
            firewall.sent(now, &FIREWALL, from, to);
        }
        Some(from)
    }

    /// Finds whom a packet from outside is for; `None` if it is not let in.
    pub(crate) fn inbound(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Option<SocketAddr> {
        if self.blocks_udp {
            return None;
        }
        if let Some(nat) = self.nat.as_mut().filter(|_| to.is_ipv4()) {
            return nat.inbound(now, from, to);
        }
        let admits = match &mut self.firewall {
            Some(firewall) => firewall.admits(now, &FIREWALL, to, from),
            None => true,
        };
        admits.then_some(to)
    }
}

/// Whether an address is unique local: it means nothing outside its network.
fn is_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unique_local())
}

impl Inner {
    pub(crate) fn new_zone(&mut self) -> usize {
        self.zones.push(Zone::default());
        self.zones.len() - 1
    }

    /// An address in `zone` that nobody had before.
    pub(crate) fn new_address(&mut self, zone: usize, node: Node, kind: AddressKind) -> IpAddr {
        self.addresses += 1;
        let n = self.addresses;
        let place = u16::try_from(zone).expect("few zones");
        let [_, _, high, low] = (n / 250 * 256 + n % 250 + 1).to_be_bytes();
        let ip: IpAddr = match kind {
            AddressKind::V4 => match self.realm(zone) {
                INTERNET => Ipv4Addr::new(198, 18, high, low).into(),
                realm => Ipv4Addr::new(10, realm as u8, high, low).into(),
            },
            AddressKind::V6 | AddressKind::V6Temporary | AddressKind::V6Deprecated => {
                Ipv6Addr::new(0x2001, 0xdb8, place, 0, 0, 0, 0, n as u16).into()
            }
            AddressKind::V6Local => Ipv6Addr::new(0xfd00, 0, place, 0, 0, 0, 0, n as u16).into(),
        };
        self.own(zone, ip, node);
        ip
    }

    /// The zone that the IPv4 addresses of `zone` mean something in.
    fn realm(&self, mut zone: usize) -> usize {
        while let Some(gateway) = self.zones[zone].gateway {
            if self.gateways[gateway].nat.is_some() {
                break;
            }
            zone = self.gateways[gateway].outside;
        }
        zone
    }

    /// Gives `node` an address in `zone`, and shows all zones that it means something in the way.
    pub(crate) fn own(&mut self, zone: usize, ip: IpAddr, node: Node) {
        self.zones[zone].owners.insert(ip, node);
        let Some(gateway) = self.zones[zone].gateway else { return };
        let Gateway { outside, .. } = self.gateways[gateway];
        if !self.gateways[gateway].translates(ip) && !is_local(ip) {
            self.own(outside, ip, Node::Gateway(gateway));
        }
    }

    pub(crate) fn disown(&mut self, zone: usize, ip: IpAddr) {
        self.zones[zone].owners.remove(&ip);
        let Some(gateway) = self.zones[zone].gateway else { return };
        let outside = self.gateways[gateway].outside;
        if self.zones[outside].owners.get(&ip) == Some(&Node::Gateway(gateway)) {
            self.disown(outside, ip);
        }
    }

    /// Puts a gateway between `inside` and `outside`.
    pub(crate) fn add_gateway(
        &mut self,
        [inside, outside]: [usize; 2],
        nat: Option<Nat>,
        firewall: Option<Depends>,
        blocks_udp: bool,
    ) {
        assert!(self.zones[inside].gateway.is_none(), "a zone has one way out");
        let id = self.gateways.len();
        let nat = nat.map(|behaviour| {
            let externals = self.new_externals(outside, id, behaviour.addresses);
            NatBox::new(behaviour, externals, Rng::new(self.seed, &format!("nat {id}")))
        });
        let firewall = firewall.map(Filter::new);
        self.gateways.push(Gateway { inside, outside, nat, firewall, blocks_udp });
        self.zones[inside].gateway = Some(id);
        let known: Vec<_> =
            self.zones[inside].owners.iter().map(|(ip, node)| (*ip, *node)).collect();
        for (ip, node) in known {
            self.own(inside, ip, node);
        }
    }

    fn new_externals(&mut self, outside: usize, id: usize, count: u8) -> Vec<IpAddr> {
        let one = |_| self.new_address(outside, Node::Gateway(id), AddressKind::V4);
        (0..count.max(1)).map(one).collect()
    }

    /// The NAT of a gateway, if it has one, forgets all its mappings.
    pub(crate) fn reboot(&mut self, id: usize, reboot: Reboot) {
        let outside = self.gateways[id].outside;
        let Some(mut nat) = self.gateways[id].nat.take() else { return };
        match reboot {
            Reboot::SamePorts => nat.reboot_with_same_ports(),
            Reboot::NewPorts => nat.reboot(),
            Reboot::NewAddress => {
                for ip in nat.externals().to_vec() {
                    self.disown(outside, ip);
                }
                let externals = self.new_externals(outside, id, nat.behaviour.addresses);
                nat.reboot_elsewhere(externals);
            }
        }
        self.gateways[id].nat = Some(nat);
    }

    /// An ICMP error comes back through the gateways, about a packet from `from` in `zone`.
    pub(crate) fn icmp(&mut self, mut zone: usize, mut from: SocketAddr, to: SocketAddr) {
        while !self.zones[zone].owners.contains_key(&to.ip())
            && let Some(gateway) = self.zones[zone].gateway
        {
            let gateway = &mut self.gateways[gateway];
            if let Some(nat) = gateway.nat.as_mut().filter(|_| from.is_ipv4()) {
                let Some(external) = nat.icmp(self.now, from, to) else { return };
                from = external;
            }
            zone = gateway.outside;
        }
    }

    /// The gateways from `zone` outwards.
    pub(crate) fn gateways_from(&self, zone: usize) -> Vec<usize> {
        let mut found = Vec::new();
        let mut zone = zone;
        while let Some(gateway) = self.zones[zone].gateway {
            found.push(gateway);
            zone = self.gateways[gateway].outside;
        }
        found
    }

    /// Sends a packet out through the gateways, to the zone that knows its destination.
    pub(crate) fn leave(&mut self, mut zone: usize, packet: &mut Packet) -> Option<usize> {
        while !self.zones[zone].owners.contains_key(&packet.to.ip()) {
            let gateway = &mut self.gateways[self.zones[zone].gateway?];
            packet.from = gateway.outbound(self.now, packet.from, packet.to)?;
            zone = gateway.outside;
        }
        Some(zone)
    }

    /// Whom an address leads to, whatever the filters say.
    pub(crate) fn destination(&self, zone: usize, to: SocketAddr) -> Option<Node> {
        let node = *self.zones[zone].owners.get(&to.ip())?;
        let Node::Gateway(id) = node else { return Some(node) };
        let gateway = &self.gateways[id];
        let inside = match &gateway.nat {
            Some(nat) if to.is_ipv4() => nat.owner(to),
            Some(_) | None => Some(to),
        };
        inside.and_then(|inside| self.destination(gateway.inside, inside)).or(Some(node))
    }

    /// Lets a packet arrive in `zone`, and go on inwards through the gateways.
    pub(crate) fn deliver(&mut self, zone: usize, mut packet: Packet) {
        match self.zones[zone].owners.get(&packet.to.ip()) {
            Some(&Node::Host(host)) => self.host_receives(host, packet),
            Some(&Node::Gateway(id)) => {
                let gateway = &mut self.gateways[id];
                let inside = gateway.inside;
                match gateway.inbound(self.now, packet.from, packet.to) {
                    Some(to) => {
                        packet.to = to;
                        self.deliver(inside, packet);
                    }
                    None => {
                        let nodes = [Some(packet.sender), Some(Node::Gateway(id))];
                        let (now, ends) = (self.now, [packet.from, packet.to]);
                        self.trace.packet(now, Moment::Filtered, nodes, ends, &packet.octets);
                    }
                }
            }
            Some(&Node::Server(id)) => self.server_receives(id, &packet),
            Some(&Node::Turn(id)) => self.turn_receives(id, &packet),
            Some(Node::Nowhere) | None => {}
        }
    }

    /// Where a packet from `from` in `zone` to `to` would arrive now, and from where it would
    /// seem to come; nothing is changed by asking.
    pub(crate) fn path(
        &self,
        zone: usize,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Option<(SocketAddr, SocketAddr)> {
        let mut gateways = self.gateways.clone();
        let (mut zone, mut from, mut to) = (zone, from, to);
        while !self.zones[zone].owners.contains_key(&to.ip()) {
            let gateway = &mut gateways[self.zones[zone].gateway?];
            from = gateway.outbound(self.now, from, to)?;
            zone = gateway.outside;
        }
        while let Node::Gateway(id) = *self.zones[zone].owners.get(&to.ip())? {
            to = gateways[id].inbound(self.now, from, to)?;
            zone = gateways[id].inside;
        }
        Some((from, to))
    }
}
