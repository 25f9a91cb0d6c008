//! floe in the shape of a media server: all agents in one endpoint on one socket.

use std::net::SocketAddr;
use std::time::Instant;

use floe::{AgentId, ComponentId, Endpoint, Event, Received, Socket, SocketId};

use super::floe::{CONFIG, Floe, TA_DEFAULT, agent_config, from_floe, next_seed, to_floe};
use super::{Agent, Node, Packet, Readiness, Role};

/// One endpoint with many agents on one socket.
pub struct Sfu {
    endpoint: Endpoint,
    socket: SocketId,
    address: SocketAddr,
    agents: usize,
    selected: usize,
}

/// The server or one of its clients.
pub enum Party {
    /// The server: party 0.
    Sfu(Sfu),
    /// A client, with an endpoint of its own.
    Client(Floe),
}

impl Sfu {
    /// Makes a server at `address(0)` and its clients at `address(1..)`, that know of each other.
    pub fn with_clients(
        start: Instant,
        count: usize,
        address: impl Fn(usize) -> SocketAddr,
    ) -> Vec<Party> {
        let now = to_floe(start);
        let mut endpoint = Endpoint::new(now, CONFIG.clone(), next_seed());
        let socket = endpoint.add_socket(now, Socket::udp(address(0)));
        let mut parties = Vec::with_capacity(count + 1);
        let mut clients = Vec::with_capacity(count);
        for index in 1..=count {
            let mut client = Floe::new(start, Role::Controlling, &[address(index)]);
            let agent = endpoint.add_agent(now, agent_config(Role::Controlled, TA_DEFAULT));
            let ours = endpoint.agent(agent).expect("our agent").local_description();
            set_remote(&mut endpoint, start, agent, &client);
            while endpoint.poll_event().is_some() {}
            client.set_remote(start, &ours);
            clients.push(Party::Client(client));
        }
        parties.push(Party::Sfu(Self {
            endpoint,
            socket,
            address: address(0),
            agents: count,
            selected: 0,
        }));
        parties.append(&mut clients);
        parties
    }

    /// How many agents know their pair.
    pub fn connected(&self) -> usize {
        self.selected
    }
}

fn set_remote(endpoint: &mut Endpoint, now: Instant, agent: AgentId, client: &Floe) {
    endpoint
        .agent_mut(to_floe(now), agent)
        .expect("our agent")
        .set_remote_description(&client.description())
        .expect("a description of a client");
}

impl Node for Sfu {
    fn handle_packet(&mut self, now: Instant, packet: &Packet) {
        let received =
            self.endpoint.handle_datagram(to_floe(now), self.socket, packet.from, packet.data());
        debug_assert!(matches!(received, Received::Handled | Received::Dropped(_)));
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(to_floe(now));
    }

    fn poll_timeout(&mut self, _: Instant) -> Option<Instant> {
        self.endpoint.poll_timeout().map(from_floe)
    }

    fn poll_transmit(&mut self, now: Instant, packet: &mut Packet) -> bool {
        let Some(transmit) = self.endpoint.poll_transmit(to_floe(now), &mut packet.buffer[..])
        else {
            return false;
        };
        packet.from = self.address;
        packet.to = transmit.to;
        packet.len = transmit.range.len();
        packet.buffer.copy_within(transmit.range, 0);
        true
    }

    fn readiness(&mut self) -> Readiness {
        while let Some(event) = self.endpoint.poll_event() {
            if let Event::Selected { component: ComponentId::FIRST, .. } = event {
                self.selected += 1;
            }
        }
        Readiness::all(self.selected >= self.agents)
    }
}

impl Node for Party {
    fn handle_packet(&mut self, now: Instant, packet: &Packet) {
        match self {
            Self::Sfu(sfu) => sfu.handle_packet(now, packet),
            Self::Client(client) => client.handle_packet(now, packet),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Sfu(sfu) => sfu.handle_timeout(now),
            Self::Client(client) => client.handle_timeout(now),
        }
    }

    fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        match self {
            Self::Sfu(sfu) => sfu.poll_timeout(now),
            Self::Client(client) => client.poll_timeout(now),
        }
    }

    fn poll_transmit(&mut self, now: Instant, packet: &mut Packet) -> bool {
        match self {
            Self::Sfu(sfu) => sfu.poll_transmit(now, packet),
            Self::Client(client) => client.poll_transmit(now, packet),
        }
    }

    fn readiness(&mut self) -> Readiness {
        match self {
            Self::Sfu(sfu) => sfu.readiness(),
            Self::Client(client) => client.readiness(),
        }
    }
}
