//! floe, with one endpoint for each agent and one socket for each address.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use floe::config::{AgentConfig, EndpointConfig, Role as FloeRole, Trickle};
use floe::sdp::Description;
use floe::{AgentId, ComponentId, Endpoint, Event, Received, Socket, SocketId};

use super::{Agent, Node, Packet, Readiness, Role};

/// The pace that floe proposes, in milliseconds.
pub const TA_DEFAULT: u64 = 20;

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
pub static CONFIG: LazyLock<Arc<EndpointConfig>> = LazyLock::new(Arc::default);

/// The core's time of a moment of the process.
pub fn to_floe(now: Instant) -> floe::Instant {
    floe::Instant::from_nanos(now.saturating_duration_since(*EPOCH).as_nanos() as u64)
}

/// The moment of the process at a time of the core.
pub fn from_floe(time: floe::Instant) -> Instant {
    *EPOCH + Duration::from_nanos(time.as_nanos())
}

fn new_config(role: FloeRole, ta_millis: u64) -> Arc<AgentConfig> {
    let mut config = AgentConfig::new(role);
    config.trickle = Trickle::Off;
    config.ta = Duration::from_millis(ta_millis);
    Arc::new(config)
}

/// An agent's configuration: all candidates in one description. Agents that are alike share it.
pub fn agent_config(role: Role, ta_millis: u64) -> Arc<AgentConfig> {
    static USUAL: LazyLock<[Arc<AgentConfig>; 2]> = LazyLock::new(|| {
        [FloeRole::Controlling, FloeRole::Controlled].map(|role| new_config(role, TA_DEFAULT))
    });
    match (role, ta_millis) {
        (Role::Controlling, TA_DEFAULT) => USUAL[0].clone(),
        (Role::Controlled, TA_DEFAULT) => USUAL[1].clone(),
        (Role::Controlling, _) => new_config(FloeRole::Controlling, ta_millis),
        (Role::Controlled, _) => new_config(FloeRole::Controlled, ta_millis),
    }
}

/// Draws another seed for each endpoint of the run, the same in every run.
pub fn next_seed() -> [u8; 32] {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut seed = [0x5e; 32];
    seed[..8].copy_from_slice(&COUNTER.fetch_add(1, Relaxed).to_le_bytes());
    seed
}

/// An endpoint with one agent that proposes `TA` milliseconds.
pub struct Floe<const TA: u64 = TA_DEFAULT> {
    pub endpoint: Endpoint,
    agent: AgentId,
    sockets: Box<[(SocketId, SocketAddr)]>,
    readiness: Readiness,
}

impl<const TA: u64> Floe<TA> {
    /// The socket bound to `address`.
    pub fn socket(&self, address: SocketAddr) -> SocketId {
        let found = self.sockets.iter().find(|(_, bound)| *bound == address);
        found.expect("an address of ours").0
    }

    fn address(&self, socket: SocketId) -> SocketAddr {
        let found = self.sockets.iter().find(|(id, _)| *id == socket);
        found.expect("a socket of ours").1
    }
}

impl<const TA: u64> Agent for Floe<TA> {
    const NAME: &'static str = if TA == TA_DEFAULT { "floe" } else { "floe, Ta 5 ms" };
    type Description = Description;

    fn new(now: Instant, role: Role, addresses: &[SocketAddr]) -> Self {
        let now = to_floe(now);
        let mut endpoint = Endpoint::new(now, CONFIG.clone(), next_seed());
        let bind = |&address| (endpoint.add_socket(now, Socket::udp(address)), address);
        let sockets = addresses.iter().map(bind).collect();
        let agent = endpoint.add_agent(now, agent_config(role, TA));
        Self { endpoint, agent, sockets, readiness: Readiness::default() }
    }

    fn description(&self) -> Description {
        self.endpoint.agent(self.agent).expect("our agent").local_description()
    }

    fn set_remote(&mut self, now: Instant, remote: &Description) {
        self.endpoint
            .agent_mut(to_floe(now), self.agent)
            .expect("our agent")
            .set_remote_description(remote)
            .expect("a description of the other agent");
    }
}

impl<const TA: u64> Node for Floe<TA> {
    fn handle_packet(&mut self, now: Instant, packet: &Packet) {
        let socket = self.socket(packet.to);
        let received =
            self.endpoint.handle_datagram(to_floe(now), socket, packet.from, packet.data());
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
        packet.from = self.address(transmit.socket);
        packet.to = transmit.to;
        packet.len = transmit.range.len();
        packet.buffer.copy_within(transmit.range, 0);
        true
    }

    fn readiness(&mut self) -> Readiness {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Sendable { component: ComponentId::FIRST, .. } => {
                    self.readiness.sendable = true;
                }
                Event::Selected { component: ComponentId::FIRST, .. } => {
                    self.readiness.selected = true;
                }
                _ => {}
            }
        }
        self.readiness
    }
}
