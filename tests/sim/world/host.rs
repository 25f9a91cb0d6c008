//! Hosts: addresses, sockets, and one endpoint that is driven exactly by the contract.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use floe::config::EndpointConfig;
use floe::event::GatherFailure;
use floe::{
    AgentId, ComponentId, Endpoint, Event, HEADROOM, Instant, Received, SendError, Server, Socket,
    SocketId, TAILROOM, Transmit,
};

use crate::topology::AddressKind;
use crate::world::driver::Driver;
use crate::world::guard::{Guard, MAX_STEPS};
use crate::world::nat::{Nat, Reboot};
use crate::world::network::{INTERNET, Inner, Node, Packet, What};
use crate::world::rng::Rng;
use crate::world::{AnyServer, BEGINNING, Lan, World};

type EndpointTune = Box<dyn FnOnce(&mut EndpointConfig)>;

/// An address of a host, and the zone that it is in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interface {
    pub(crate) ip: IpAddr,
    pub(crate) zone: usize,
    pub(crate) kind: AddressKind,
}

/// A host at work.
pub(crate) struct HostBox {
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) guard: Guard,
    /// The agents, and which side of which call each is.
    pub(crate) agents: BTreeMap<AgentId, (usize, usize)>,
    /// Datagrams received that belonged to nobody.
    pub(crate) unclaimed: usize,
    /// Datagrams sent.
    pub(crate) packets: u64,
    pub(crate) interfaces: Vec<Interface>,
    servers: Vec<Server>,
    /// What it heard of servers.
    pub(crate) gathering: Vec<(Instant, Event)>,
    pub(crate) streams: Vec<u16>,
    /// What its interfaces cost.
    pub(crate) cost: u16,
    tune: Vec<EndpointTune>,
    pub(crate) sockets: BTreeMap<SocketId, (SocketAddr, usize)>,
    pub(crate) driver: Driver,
    pub(crate) bound: BTreeMap<SocketAddr, SocketId>,
    pub(crate) wake_at: Option<Instant>,
    wake_number: u64,
}

impl HostBox {
    pub(crate) fn endpoint(&mut self) -> &mut Endpoint {
        self.endpoint.as_mut().expect("the host is in a call")
    }

    /// The zone that a local address is in.
    pub(crate) fn zone_of(&self, base: SocketAddr) -> usize {
        self.sockets.values().find(|(address, _)| *address == base).expect("a base").1
    }

    /// Whether it has a socket there; else a base is an address on a relay.
    pub(crate) fn has_socket(&self, base: SocketAddr) -> bool {
        self.sockets.values().any(|(address, _)| *address == base)
    }

    /// Whether sockets are opened on an interface: on no deprecated address, and on a temporary one
    /// in place of the stable one beside it, as the driver does it.
    fn uses(&self, interface: &Interface) -> bool {
        let has_temporary = || {
            let temporary = |i: &&Interface| i.kind == AddressKind::V6Temporary;
            self.interfaces.iter().filter(temporary).any(|other| other.zone == interface.zone)
        };
        match interface.kind {
            AddressKind::V6Deprecated => false,
            AddressKind::V6 => !has_temporary(),
            AddressKind::V4 | AddressKind::V6Temporary | AddressKind::V6Local => true,
        }
    }

    /// The address of a socket and the zone that it is in.
    fn socket(&self, id: SocketId) -> (SocketAddr, usize) {
        self.sockets[&id]
    }
}

impl Inner {
    /// Starts the host's endpoint with its sockets and servers, once.
    pub(crate) fn power_on(&mut self, host: usize) {
        if self.hosts[host].endpoint.is_some() {
            return;
        }
        let mut config = EndpointConfig::default();
        for tune in core::mem::take(&mut self.hosts[host].tune) {
            tune(&mut config);
        }
        let seed = Rng::new(self.seed, &format!("endpoint {host}")).octets();
        let now = self.clock(host);
        let mut endpoint = Endpoint::new(now, Arc::new(config), seed);
        let h = &mut self.hosts[host];
        let used: Vec<Interface> =
            h.interfaces.iter().copied().filter(|interface| h.uses(interface)).collect();
        let streams = h.streams.iter().zip(0..);
        let components = streams.flat_map(|(&count, stream)| (1..=count).map(move |n| (stream, n)));
        for (stream, number) in components {
            let component = ComponentId::new(stream, number).expect("a component's number");
            for interface in &used {
                let port = 40_000 + h.sockets.len() as u16;
                let address = SocketAddr::new(interface.ip, port);
                let socket = Socket::udp(address).with_component(component);
                let socket = socket.with_network_cost(h.cost);
                let id = endpoint.add_socket(now, socket);
                h.sockets.insert(id, (address, interface.zone));
                h.bound.insert(address, id);
                h.guard.components.insert(id, component);
            }
        }
        for server in &h.servers {
            endpoint.add_server(now, server.clone());
        }
        h.endpoint = Some(endpoint);
        self.settle(host);
    }

    pub(crate) fn host_receives(&mut self, host: usize, packet: Packet) {
        let Some(packet) = self.is_awake_for(host, packet) else { return };
        let turn = self.is_turn(packet.from);
        let Some(&socket) = self.hosts[host].bound.get(&packet.to) else { return };
        self.note_arrival(Node::Host(host), &packet);
        let now = self.clock(host);
        let hop = (socket, packet.from);
        if self.hosts[host].guard.is_new(hop, turn, &packet.octets, false) {
            self.introduce(host);
        }
        let h = &mut self.hosts[host];
        let path = h.guard.received(h.driver.latest, hop, turn, &packet.octets, &self.passwords);
        let received = h.endpoint().handle_datagram(now, socket, packet.from, &packet.octets);
        let delivered = match received {
            Received::Data { agent, component, data } => Some((agent, component, data.to_vec())),
            Received::Unclaimed { .. } => {
                h.unclaimed += 1;
                None
            }
            Received::Handled => {
                h.guard.is_taken(hop, turn, &packet.octets);
                None
            }
            Received::Dropped(reason) => {
                self.trace.event(self.now, format_args!("host {host} dropped"), &reason);
                None
            }
        };
        if let Some((agent, component, data)) = delivered {
            let (call, side) = h.agents[&agent];
            let introduced = self.calls[call].sides[side].introduced.is_some();
            h.guard.data_delivered(agent, path, data.len(), introduced);
            self.data_arrives(call, side, component, path, data);
        }
        self.settle(host);
    }

    pub(crate) fn host_unreachable(&mut self, host: usize, socket: SocketId, to: SocketAddr) {
        if let Some(&(from, zone)) = self.hosts[host].sockets.get(&socket) {
            self.icmp(zone, from, to);
        }
        if let Some(until) = self.is_asleep(host) {
            self.schedule(until, What::Unreachable { host, socket, to });
            return;
        }
        let now = self.clock(host);
        self.hosts[host].endpoint().handle_unreachable(now, socket, to);
        self.settle(host);
    }

    pub(crate) fn host_wakes(&mut self, host: usize, number: u64) {
        if self.hosts[host].wake_number != number || self.oversleeps(host) {
            return;
        }
        let now = self.clock(host);
        let h = &mut self.hosts[host];
        h.wake_at = None;
        h.endpoint().handle_timeout(now);
        if self.nagging {
            self.hosts[host].endpoint().handle_timeout(now);
        }
        self.settle(host);
        let next = self.hosts[host].endpoint().poll_timeout();
        assert!(
            next.is_none_or(|next| next > now),
            "host {host}: poll_timeout is not in the future after handle_timeout and a drain"
        );
    }

    /// Drains the polls, and sets the alarm for when the endpoint asks to be woken.
    pub(crate) fn settle(&mut self, host: usize) {
        let mut steps = 0;
        let mut buf = [0; 2048];
        loop {
            let now = self.clock(host);
            let latest = self.hosts[host].driver.latest;
            let endpoint = self.hosts[host].endpoint();
            let due = endpoint.poll_timeout().is_some_and(|at| at <= latest);
            let transmit = endpoint.poll_transmit(now, &mut buf);
            let event = endpoint.poll_event();
            if transmit.is_none() && event.is_none() {
                break;
            }
            assert!(due, "host {host}: output was waiting, and poll_timeout did not say so");
            if let Some(transmit) = transmit {
                let octets = &buf[transmit.range.clone()];
                let turn = self.is_turn(transmit.to);
                let hop = (transmit.socket, transmit.to);
                if self.hosts[host].guard.is_new(hop, turn, octets, true) {
                    self.introduce(host);
                }
                self.hosts[host].guard.sent(latest, hop, turn, octets);
                self.transmit(host, &transmit, &buf);
            }
            if let Some(event) = event {
                self.trace.event(self.now, format_args!("host {host}"), &event);
                self.host_event(host, event);
            }
            steps += 1;
            assert!(steps <= MAX_STEPS, "host {host}: the drain does not end");
        }
        self.set_alarm(host);
    }

    fn set_alarm(&mut self, host: usize) {
        let now = self.clock(host);
        let nagging = self.nagging;
        let h = &mut self.hosts[host];
        let deadline = h.endpoint().poll_timeout();
        if nagging && deadline.is_none_or(|at| at > now) {
            h.endpoint().handle_timeout(now);
            let mut buf = [0; 2048];
            assert!(h.endpoint().poll_transmit(now, &mut buf).is_none(), "woken early, it sent");
            assert!(h.endpoint().poll_event().is_none(), "woken early, it spoke");
            assert_eq!(h.endpoint().poll_timeout(), deadline, "woken early, it changed its mind");
        }
        if deadline == h.wake_at {
            return;
        }
        h.wake_at = deadline;
        h.wake_number += 1;
        let number = h.wake_number;
        if let Some(at) = deadline {
            let at = self.wakes_at(host, at);
            self.schedule(at, What::Wake { host, number });
        }
    }

    fn transmit(&mut self, host: usize, transmit: &Transmit, buf: &[u8]) {
        let h = &mut self.hosts[host];
        h.packets += 1;
        let (from, zone) = h.socket(transmit.socket);
        self.packets += 1;
        if h.driver.is_mute(from.ip()) {
            return;
        }
        if h.driver.refuses() {
            if h.driver.refusals_are_told {
                let (socket, to) = (transmit.socket, transmit.to);
                self.schedule(self.now, What::Unreachable { host, socket, to });
            }
            return;
        }
        let to = transmit.to;
        let bound = h.bound.contains_key(&from);
        assert!(bound, "host {host} sends from {from} to {to}, and that socket is gone");
        let packet = Packet {
            from,
            to: transmit.to,
            octets: buf[transmit.range.clone()].to_vec(),
            sender: Node::Host(host),
            origin: Some((transmit.socket, transmit.to)),
            toward: None,
        };
        self.launch(zone, packet);
    }

    /// Sends application data if the agent lets it pass.
    pub(crate) fn send_data(
        &mut self,
        host: usize,
        agent: AgentId,
        component: ComponentId,
        payload: &[u8],
    ) -> Result<(), SendError> {
        let now = self.clock(host);
        let mut buf = vec![0; HEADROOM + payload.len() + TAILROOM];
        let range = HEADROOM..HEADROOM + payload.len();
        buf[range.clone()].copy_from_slice(payload);
        let result = match self.hosts[host].endpoint().route(now, agent, component) {
            Ok(route) => Ok(route.frame(&mut buf, range).expect("room for framing")),
            Err(error) => Err(error),
        };
        if let Ok(transmit) = &result {
            let turn = self.is_turn(transmit.to);
            let octets = &buf[transmit.range.clone()];
            let hop = (transmit.socket, transmit.to);
            let h = &mut self.hosts[host];
            h.guard.data_sent(h.driver.latest, agent, hop, turn, octets);
            self.transmit(host, transmit, &buf);
        }
        self.settle(host);
        result.map(|_| ())
    }

    fn host_event(&mut self, host: usize, event: Event) {
        if matches!(event, Event::Gathered { .. } | Event::GatheringFailed { .. }) {
            let now = self.now;
            self.hosts[host].gathering.push((now, event.clone()));
        }
        match &event {
            Event::State { state, .. } => {
                self.trace.note(self.now, Node::Host(host), format_args!("{state:?}"))
            }
            Event::Selected { pair, .. } => {
                let (local, remote) = (pair.local.address, pair.remote.address);
                let what = format_args!("selects {local} - {remote}");
                self.trace.note(self.now, Node::Host(host), what);
            }
            _ => {}
        }
        let agent = match &event {
            Event::LocalCandidate { agent, .. }
            | Event::GatheringComplete { agent }
            | Event::State { agent, .. }
            | Event::Sendable { agent, .. }
            | Event::Selected { agent, .. }
            | Event::RestartedByPeer { agent }
            | Event::RestartRecommended { agent, .. }
            | Event::RoleChanged { agent, .. } => *agent,
            _ => return,
        };
        let state = match &event {
            Event::State { state, .. } => {
                self.introduce(host);
                Some(*state)
            }
            _ => None,
        };
        self.hosts[host].guard.reported(agent, state);
        if let Some(&(call, side)) = self.hosts[host].agents.get(&agent) {
            self.agent_event(call, side, event);
        }
    }
}

/// A host, for stories to talk about.
#[derive(Clone, Copy)]
pub(crate) struct Host<'w> {
    pub(crate) world: &'w World,
    pub(crate) id: usize,
}

impl<'w> Host<'w> {
    /// A host without any interface.
    pub(crate) fn offline(world: &'w World) -> Self {
        let mut inner = world.inner();
        let id = inner.hosts.len();
        let driver = Driver::new(Rng::new(inner.seed, &format!("driver {id}")));
        inner.hosts.push(HostBox {
            endpoint: None,
            guard: Guard::default(),
            agents: BTreeMap::new(),
            unclaimed: 0,
            packets: 0,
            interfaces: Vec::new(),
            servers: Vec::new(),
            gathering: Vec::new(),
            streams: vec![1],
            cost: 0,
            tune: Vec::new(),
            sockets: BTreeMap::new(),
            driver,
            bound: BTreeMap::new(),
            wake_at: None,
            wake_number: 0,
        });
        Self { world, id }
    }

    /// A host on the public Internet with one IPv4 address.
    pub(crate) fn new(world: &'w World) -> Self {
        Self::offline(world).add_interface(INTERNET, AddressKind::V4)
    }

    /// Moves the host into a network of its own behind a NAT.
    pub(crate) fn behind(self, nat: Nat) -> Self {
        self.on(self.world.lan().behind(nat))
    }

    /// Moves all interfaces of the host into a network.
    pub(crate) fn on(self, lan: Lan<'_>) -> Self {
        let mut inner = self.world.inner();
        let old = core::mem::take(&mut inner.hosts[self.id].interfaces);
        for interface in old {
            inner.disown(interface.zone, interface.ip);
            let Interface { kind, .. } = interface;
            let ip = inner.new_address(lan.zone, Node::Host(self.id), kind);
            inner.hosts[self.id].interfaces.push(Interface { ip, zone: lan.zone, kind });
        }
        drop(inner);
        self
    }

    /// Gives the host one more interface in a network.
    pub(crate) fn also_on(self, lan: Lan<'_>) -> Self {
        self.add_interface(lan.zone, AddressKind::V4)
    }

    /// Gives the host an IPv6 address on the Internet too.
    pub(crate) fn also_v6(self) -> Self {
        self.add_interface(INTERNET, AddressKind::V6)
    }

    /// Gives the host `count` addresses in all, where its first one is.
    pub(crate) fn with_addresses(self, count: usize) -> Self {
        let zone = self.world.inner().hosts[self.id].interfaces[0].zone;
        for _ in 1..count {
            self.add_interface(zone, AddressKind::V4);
        }
        self
    }

    /// Gives the host one more address in a zone.
    pub(crate) fn add_interface(self, zone: usize, kind: AddressKind) -> Self {
        let mut inner = self.world.inner();
        let ip = inner.new_address(zone, Node::Host(self.id), kind);
        inner.hosts[self.id].interfaces.push(Interface { ip, zone, kind });
        drop(inner);
        self
    }

    /// Lets the host use a STUN or TURN server, each in a group of its own.
    pub(crate) fn using<'a>(self, server: impl Into<AnyServer<'a>>) -> Self {
        let server = server.into().describe();
        self.world.inner().hosts[self.id].servers.push(server);
        self
    }

    /// Lets the host use a server by its addresses of both families.
    pub(crate) fn using_both<'a>(self, server: impl Into<AnyServer<'a>>) -> Self {
        let servers = server.into().described();
        self.world.inner().hosts[self.id].servers.extend(servers);
        self
    }

    /// Opens a socket on each interface for every component of streams with so many components.
    pub(crate) fn with_streams(self, streams: &[u16]) -> Self {
        self.world.inner().hosts[self.id].streams = streams.to_vec();
        self
    }

    /// Changes the configuration of the host's endpoint, before its first call.
    pub(crate) fn tune(self, tune: impl FnOnce(&mut EndpointConfig) + 'static) -> Self {
        self.world.inner().hosts[self.id].tune.push(Box::new(tune));
        self
    }

    /// The addresses of its interfaces.
    pub(crate) fn addresses(self) -> Vec<IpAddr> {
        self.world.inner().hosts[self.id].interfaces.iter().map(|i| i.ip).collect()
    }

    /// The NATs in front of the host forget all their mappings, and give new ports.
    pub(crate) fn reboot_nats(self) {
        self.nats_reboot(Reboot::NewPorts);
    }

    /// The NATs in front of the host's first interface forget all their mappings.
    pub(crate) fn nats_reboot(self, reboot: Reboot) {
        let mut inner = self.world.inner();
        let zone = inner.hosts[self.id].interfaces[0].zone;
        for gateway in inner.gateways_from(zone) {
            inner.reboot(gateway, reboot);
        }
    }

    /// The interface with this address is gone, and the host knows.
    pub(crate) fn loses(self, ip: IpAddr) {
        let mut inner = self.world.inner();
        let now = inner.clock(self.id);
        inner.unplug(self.id, ip);
        let h = &mut inner.hosts[self.id];
        let sockets = h.sockets.iter().filter(|(_, (address, _))| address.ip() == ip);
        for id in sockets.map(|(id, _)| *id).collect::<Vec<_>>() {
            h.endpoint().remove_socket(now, id);
        }
        inner.settle(self.id);
    }

    /// Why servers gave nothing, and since when that is known, from the beginning of the world.
    pub(crate) fn refusals(self) -> Vec<(Duration, GatherFailure)> {
        let inner = self.world.inner();
        let failed = inner.hosts[self.id].gathering.iter().filter_map(|(at, event)| match event {
            Event::GatheringFailed { reason, .. } => Some((at.since(BEGINNING), *reason)),
            _ => None,
        });
        failed.collect()
    }

    /// When the host was last answered from `remote`.
    pub(crate) fn last_answer(self, remote: SocketAddr) -> Option<Instant> {
        self.world.inner().hosts[self.id].guard.last_answer(remote)
    }

    /// Datagrams received that belonged to nobody.
    pub(crate) fn unclaimed(self) -> usize {
        self.world.inner().hosts[self.id].unclaimed
    }

    /// All that `Debug` shows of its endpoint.
    pub(crate) fn shown(self) -> String {
        format!("{:?}", self.world.inner().hosts[self.id].endpoint())
    }

    /// Datagrams that the host sent.
    pub(crate) fn packets(self) -> u64 {
        self.world.inner().hosts[self.id].packets
    }

    /// The statistics of its endpoint.
    pub(crate) fn stats(self) -> floe::stats::EndpointStats {
        self.world.inner().hosts[self.id].endpoint().stats().clone()
    }
}

impl From<Host<'_>> for Node {
    fn from(host: Host<'_>) -> Self {
        Self::Host(host.id)
    }
}
