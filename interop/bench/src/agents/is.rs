//! `is`: the ICE of str0m.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgent, IceAgentEvent, IceCreds, Protocol};

use super::{Agent, Node, Packet, Readiness, Role};

/// Its default pace in milliseconds.
pub const TA_DEFAULT: u64 = 50;

/// An agent that starts a check each `TA` milliseconds.
pub struct Is<const TA: u64 = TA_DEFAULT> {
    pub agent: IceAgent,
    addresses: Vec<SocketAddr>,
    nominated: bool,
}

fn host(address: SocketAddr) -> Candidate {
    Candidate::host(address, "udp").expect("a host address")
}

impl<const TA: u64> Agent for Is<TA> {
    const NAME: &'static str = if TA == TA_DEFAULT { "is 0.12" } else { "is 0.12, Ta 5 ms" };
    type Description = (IceCreds, Vec<SocketAddr>);

    fn new(_: Instant, role: Role, addresses: &[SocketAddr]) -> Self {
        let mut agent = IceAgent::new(IceCreds::new());
        agent.set_controlling(role == Role::Controlling);
        if TA != TA_DEFAULT {
            agent.set_timing_advance(Duration::from_millis(TA));
        }
        for &address in addresses {
            agent.add_local_candidate(host(address));
        }
        Self { agent, addresses: addresses.to_vec(), nominated: false }
    }

    fn description(&self) -> Self::Description {
        (self.agent.local_credentials().clone(), self.addresses.clone())
    }

    fn set_remote(&mut self, now: Instant, (credentials, addresses): &Self::Description) {
        self.agent.set_remote_credentials(credentials.clone());
        for &address in addresses {
            self.agent.add_remote_candidate(host(address));
        }
        self.agent.handle_timeout(now);
    }
}

impl<const TA: u64> Node for Is<TA> {
    fn handle_packet(&mut self, now: Instant, packet: &Packet) {
        let message = StunMessage::parse(packet.data()).expect("a STUN message");
        if self.agent.accepts_message(&message) {
            let (source, destination) = (packet.from, packet.to);
            let proto = Protocol::Udp;
            self.agent.handle_packet(now, StunPacket { proto, source, destination, message });
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.agent.handle_timeout(now);
    }

    fn poll_timeout(&mut self, _: Instant) -> Option<Instant> {
        self.agent.poll_timeout()
    }

    fn poll_transmit(&mut self, _: Instant, packet: &mut Packet) -> bool {
        let Some(transmit) = self.agent.poll_transmit() else { return false };
        packet.fill(transmit.source, transmit.destination, &transmit.contents);
        true
    }

    fn readiness(&mut self) -> Readiness {
        while let Some(event) = self.agent.poll_event() {
            self.nominated |= matches!(event, IceAgentEvent::NominatedSend { .. });
        }
        Readiness::all(self.nominated)
    }
}
