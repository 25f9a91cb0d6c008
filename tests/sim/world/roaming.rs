//! Hosts that move: interfaces that come and go, networks that change.

use std::net::{IpAddr, SocketAddr};

use floe::{ComponentId, Socket};

use crate::topology::AddressKind;
use crate::world::Lan;
use crate::world::host::{Host, Interface};
use crate::world::network::{INTERNET, Inner, Node};

impl Inner {
    /// A host gets one more address, and its endpoint is told of the sockets on it.
    pub(crate) fn joins(&mut self, host: usize, zone: usize, cost: u16) -> IpAddr {
        let kind = AddressKind::V4;
        let ip = self.new_address(zone, Node::Host(host), kind);
        let now = self.clock(host);
        let h = &mut self.hosts[host];
        h.interfaces.push(Interface { ip, zone, kind });
        let streams = h.streams.clone().into_iter().zip(0..);
        for (stream, number) in
            streams.flat_map(|(count, stream)| (1..=count).map(move |n| (stream, n)))
        {
            let component = ComponentId::new(stream, number).expect("a component's number");
            let last = h.bound.keys().map(SocketAddr::port).max().unwrap_or(39_999);
            let address = SocketAddr::new(ip, last + 1);
            let socket = Socket::udp(address).with_component(component).with_network_cost(cost);
            let id = h.endpoint().add_socket(now, socket);
            h.sockets.insert(id, (address, zone));
            h.bound.insert(address, id);
            h.guard.components.insert(id, component);
        }
        self.settle(host);
        ip
    }

    /// An address of a host is gone, and its endpoint is told.
    pub(crate) fn leaves(&mut self, host: usize, ip: IpAddr) {
        let now = self.clock(host);
        let h = &mut self.hosts[host];
        let Some(place) = h.interfaces.iter().position(|known| known.ip == ip) else { return };
        let zone = h.interfaces.remove(place).zone;
        let gone: Vec<_> =
            h.bound.iter().filter(|(at, _)| at.ip() == ip).map(|(_, id)| *id).collect();
        h.bound.retain(|address, _| address.ip() != ip);
        self.disown(zone, ip);
        for id in gone {
            self.hosts[host].endpoint().remove_socket(now, id);
        }
        self.settle(host);
    }

    /// The endpoint of a host is told that its network changed.
    pub(crate) fn network_changed(&mut self, host: usize) {
        let now = self.clock(host);
        self.hosts[host].endpoint().network_changed(now);
        self.settle(host);
    }
}

impl Host<'_> {
    /// The host's interfaces cost so much from the start.
    pub(crate) fn costing(self, cost: u16) -> Self {
        self.world.inner().hosts[self.id].cost = cost;
        self
    }

    /// The host joins a network, at a cost, while it is in a call.
    pub(crate) fn joins(self, lan: Lan<'_>, cost: u16) -> IpAddr {
        self.world.inner().joins(self.id, lan.zone, cost)
    }

    /// The host gets one more address on the Internet while it is in a call.
    pub(crate) fn joins_internet(self) -> IpAddr {
        self.world.inner().joins(self.id, INTERNET, 0)
    }

    /// The host loses an address, and knows it.
    pub(crate) fn leaves(self, ip: IpAddr) {
        self.world.inner().leaves(self.id, ip);
    }

    /// The host hears of its system that the network changed.
    pub(crate) fn network_changed(self) {
        self.world.inner().network_changed(self.id);
    }
}
