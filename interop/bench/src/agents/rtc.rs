//! `rtc-ice`: the sans-IO ICE of webrtc-rs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use rtc_ice::candidate::candidate_host::CandidateHostConfig;
use rtc_ice::candidate::{Candidate, CandidateConfig};
use rtc_shared::{TaggedBytesMut, TransportContext};
use sansio::Protocol;

use super::{Agent, Node, Packet, Readiness, Role};

/// An agent.
pub struct Rtc {
    pub agent: rtc_ice::Agent,
    role: Role,
    addresses: Vec<SocketAddr>,
}

fn host(address: SocketAddr) -> Candidate {
    let base_config = CandidateConfig {
        network: "udp".into(),
        address: address.ip().to_string(),
        port: address.port(),
        component: 1,
        ..Default::default()
    };
    CandidateHostConfig { base_config, ..Default::default() }
        .new_candidate_host()
        .expect("a host address")
}

/// Where a datagram came from and arrived.
pub fn transport(from: SocketAddr, to: SocketAddr) -> TransportContext {
    TransportContext { local_addr: to, peer_addr: from, ..Default::default() }
}

impl Agent for Rtc {
    const NAME: &'static str = "rtc-ice 0.21";
    type Description = (String, String, Vec<SocketAddr>);

    fn new(now: Instant, role: Role, addresses: &[SocketAddr]) -> Self {
        let config = rtc_ice::AgentConfig {
            is_controlling: role == Role::Controlling,
            ..Default::default()
        };
        let provider = rtc_crypto::default_provider().expect("a crypto provider");
        let mut agent =
            rtc_ice::Agent::new(now, Arc::new(config), provider).expect("a valid configuration");
        for &address in addresses {
            agent.add_local_candidate(host(address)).expect("a new candidate");
        }
        Self { agent, role, addresses: addresses.to_vec() }
    }

    fn description(&self) -> Self::Description {
        let credentials = self.agent.get_local_credentials();
        (credentials.ufrag.clone(), credentials.pwd.clone(), self.addresses.clone())
    }

    fn set_remote(&mut self, now: Instant, (ufrag, password, addresses): &Self::Description) {
        for &address in addresses {
            self.agent.add_remote_candidate(host(address)).expect("a new candidate");
        }
        self.agent
            .start_connectivity_checks(
                now,
                self.role == Role::Controlling,
                ufrag.clone(),
                password.clone(),
            )
            .expect("checks start");
    }
}

impl Node for Rtc {
    fn handle_packet(&mut self, now: Instant, packet: &Packet) {
        let message = BytesMut::from(packet.data());
        let transport = transport(packet.from, packet.to);
        // An error is a datagram that it drops.
        let _ = self.agent.handle_read(TaggedBytesMut { now, transport, message });
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.agent.handle_timeout(now).expect("a timeout");
    }

    fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        self.agent.poll_timeout().map(|time| time.max(now))
    }

    fn poll_transmit(&mut self, _: Instant, packet: &mut Packet) -> bool {
        let Some(transmit) = self.agent.poll_write() else { return false };
        let TransportContext { local_addr, peer_addr, .. } = transmit.transport;
        packet.fill(local_addr, peer_addr, &transmit.message);
        true
    }

    fn readiness(&mut self) -> Readiness {
        while self.agent.poll_event().is_some() {}
        Readiness::all(self.agent.get_selected_candidate_pair().is_some())
    }
}
