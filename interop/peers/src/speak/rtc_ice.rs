//! `rtc-ice`: the sans-IO ICE of webrtc-rs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use rtc_ice::candidate::candidate_host::CandidateHostConfig;
use rtc_ice::candidate::{Candidate, CandidateConfig, CandidateType, unmarshal_candidate};
use rtc_ice::state::ConnectionState;
use rtc_ice::{AgentConfig, Event};
use rtc_shared::{TaggedBytesMut, TransportContext};
use sansio::Protocol;

use super::arguments::Arguments;
use super::lines::{
    Credentials, say_candidate, say_connected, say_credentials, say_disconnected,
    say_end_of_candidates, say_failed,
};
use super::sans_io::{Agent, Datagram, is_stun};
use super::sentence;
use super::version::pinned;

/// One agent. Its user demultiplexes: it takes application data for an error.
pub struct Peer {
    agent: rtc_ice::Agent,
}

fn host(address: SocketAddr) -> Result<Candidate, String> {
    let base_config = CandidateConfig {
        network: "udp".into(),
        address: address.ip().to_string(),
        port: address.port(),
        component: 1,
        ..Default::default()
    };
    let config = CandidateHostConfig { base_config, ..Default::default() };
    config.new_candidate_host().map_err(sentence)
}

impl Peer {
    fn say_description(&self) {
        let credentials = self.agent.get_local_credentials();
        say_credentials(&credentials.ufrag, &credentials.pwd);
        for candidate in self.agent.get_local_candidates() {
            say_candidate(&format!("candidate:{}", candidate.marshal()));
        }
        say_end_of_candidates();
    }
}

impl Agent for Peer {
    fn version() -> String {
        pinned("rtc-ice")
    }

    fn refuse(arguments: &Arguments) -> Result<(), String> {
        // It keeps the URLs of servers, but asks none: gathering is left to its users.
        if arguments.relay.is_some() { Err("rtc-ice has no TURN client".into()) } else { Ok(()) }
    }

    fn new(now: Instant, arguments: &Arguments, addresses: &[SocketAddr]) -> Result<Self, String> {
        let config = AgentConfig {
            is_controlling: arguments.is_controlling(),
            lite: arguments.lite,
            // It wants to be told that a lite agent has no others.
            candidate_types: if arguments.lite { vec![CandidateType::Host] } else { Vec::new() },
            ..Default::default()
        };
        let provider = rtc_crypto::default_provider().map_err(sentence)?;
        let mut agent = rtc_ice::Agent::new(now, Arc::new(config), provider).map_err(sentence)?;
        for &address in addresses {
            agent.add_local_candidate(host(address)?).map_err(sentence)?;
        }
        let peer = Self { agent };
        peer.say_description();
        Ok(peer)
    }

    fn set_remote(&mut self, now: Instant, remote: Credentials) -> Result<(), String> {
        if remote.restart {
            self.restart(now)?;
        }
        let is_controlling = self.agent.role();
        self.agent
            .start_connectivity_checks(now, is_controlling, remote.ufrag, remote.password)
            .map_err(sentence)
    }

    fn add_candidate(&mut self, line: &str) -> Result<(), String> {
        let line = line.strip_prefix("candidate:").unwrap_or(line);
        let candidate = unmarshal_candidate(line).map_err(sentence)?;
        self.agent.add_remote_candidate(candidate).map(drop).map_err(sentence)
    }

    /// It always expects more.
    fn end_of_candidates(&mut self) {}

    /// The candidates stay, as the sockets do.
    fn restart(&mut self, now: Instant) -> Result<(), String> {
        self.agent.restart(now, String::new(), String::new(), true).map_err(sentence)?;
        self.say_description();
        Ok(())
    }

    fn send(&mut self, _: Instant, data: Vec<u8>) -> Result<Datagram, String> {
        let (local, remote) =
            self.agent.get_selected_candidate_pair().ok_or("no pair is selected")?;
        Ok(Datagram { from: local.base_addr(), to: remote.addr(), data })
    }

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) -> Option<Vec<u8>> {
        let Datagram { from: peer_addr, to: local_addr, data } = datagram;
        let transport = TransportContext { local_addr, peer_addr, ..Default::default() };
        if !is_stun(&data) {
            return self.agent.is_valid_non_stun_traffic(now, transport).then_some(data);
        }
        let message = BytesMut::from(data.as_slice());
        // An error is a datagram that it drops.
        let _ = self.agent.handle_read(TaggedBytesMut { now, transport, message });
        None
    }

    fn handle_timeout(&mut self, now: Instant) {
        // No line of it returns an error.
        let _ = self.agent.handle_timeout(now);
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.agent.poll_timeout()
    }

    fn poll_transmit(&mut self, _: Instant) -> Option<Datagram> {
        let transmit = self.agent.poll_write()?;
        let TransportContext { local_addr: from, peer_addr: to, .. } = transmit.transport;
        Some(Datagram { from, to, data: transmit.message.to_vec() })
    }

    fn say_events(&mut self, _: Instant) {
        while let Some(tagged) = self.agent.poll_event() {
            match tagged.event {
                Event::SelectedCandidatePairChange(local, remote) => {
                    say_connected(local.candidate_type(), remote.candidate_type());
                }
                Event::ConnectionStateChange(ConnectionState::Disconnected) => say_disconnected(),
                Event::ConnectionStateChange(ConnectionState::Failed) => say_failed(),
                // A change of role shows in what is selected; others may come with later versions.
                _ => {}
            }
        }
    }
}
