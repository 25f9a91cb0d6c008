//! `is`: the ICE of str0m.

use std::net::SocketAddr;
use std::time::Instant;

use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgent, IceAgentEvent, IceConnectionState, IceCreds, Protocol};

use super::arguments::Arguments;
use super::lines::{
    Credentials, say_candidate, say_connected, say_credentials, say_disconnected,
    say_end_of_candidates,
};
use super::sans_io::{Agent, Datagram, is_stun};
use super::version::pinned;

/// One agent. Its user demultiplexes: what is not STUN never reaches it.
pub struct Peer {
    agent: IceAgent,
    /// Where data goes from and to.
    selected: Option<(SocketAddr, SocketAddr)>,
}

impl Peer {
    fn say_description(&self) {
        let credentials = self.agent.local_credentials();
        say_credentials(&credentials.ufrag, &credentials.pass);
        for candidate in self.agent.local_candidates() {
            say_candidate(&candidate.to_sdp_string());
        }
        say_end_of_candidates();
    }

    fn say_selected(&self, local: SocketAddr, remote: SocketAddr) {
        let kind = |mut candidates: Box<dyn Iterator<Item = Candidate> + '_>, address| {
            let found = candidates.find(|candidate| candidate.addr() == address);
            found.map_or_else(|| "unknown".to_owned(), |candidate| candidate.kind().to_string())
        };
        let local = kind(Box::new(self.agent.local_candidates()), local);
        let remote = kind(Box::new(self.agent.remote_candidates()), remote);
        say_connected(local, remote);
    }
}

impl Agent for Peer {
    fn version() -> String {
        pinned("is")
    }

    fn refuse(arguments: &Arguments) -> Result<(), String> {
        // It takes relayed candidates, but getting them is left to its users.
        if arguments.relay.is_some() { Err("is has no TURN client".into()) } else { Ok(()) }
    }

    fn new(now: Instant, arguments: &Arguments, addresses: &[SocketAddr]) -> Result<Self, String> {
        let mut agent = IceAgent::new(IceCreds::new());
        agent.set_controlling(arguments.is_controlling());
        agent.set_ice_lite(arguments.lite);
        for &address in addresses {
            let candidate = Candidate::host(address, "udp").map_err(|error| error.to_string())?;
            agent.add_local_candidate(candidate);
        }
        agent.handle_timeout(now);
        let peer = Self { agent, selected: None };
        peer.say_description();
        Ok(peer)
    }

    fn set_remote(&mut self, now: Instant, remote: Credentials) -> Result<(), String> {
        if remote.restart {
            self.restart(now)?;
        }
        let Credentials { ufrag, password: pass, .. } = remote;
        self.agent.set_remote_credentials(IceCreds { ufrag, pass });
        Ok(())
    }

    fn add_candidate(&mut self, line: &str) -> Result<(), String> {
        let candidate = Candidate::from_sdp_string(line).map_err(|error| error.to_string())?;
        // It would pair it: TCP is for those of its users who have TCP sockets.
        if candidate.proto() != Protocol::Udp {
            return Err(format!("there is no socket for it: {line}"));
        }
        self.agent.add_remote_candidate(candidate);
        Ok(())
    }

    /// It always expects more.
    fn end_of_candidates(&mut self) {}

    /// The candidates stay, as the sockets do.
    fn restart(&mut self, _: Instant) -> Result<(), String> {
        self.agent.ice_restart(IceCreds::new(), true);
        self.say_description();
        Ok(())
    }

    fn send(&mut self, _: Instant, data: Vec<u8>) -> Result<Datagram, String> {
        let (from, to) = self.selected.ok_or("no pair is nominated")?;
        Ok(Datagram { from, to, data })
    }

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) -> Option<Vec<u8>> {
        let Datagram { from: source, to: destination, data } = datagram;
        if !is_stun(&data) {
            return Some(data);
        }
        // What it does not understand is dropped, as str0m does.
        if let Ok(message) = StunMessage::parse(&data) {
            let proto = Protocol::Udp;
            self.agent.handle_packet(now, StunPacket { proto, source, destination, message });
            // As str0m does: what the packet leads to is done here.
            self.agent.handle_timeout(now);
        }
        None
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.agent.handle_timeout(now);
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.agent.poll_timeout()
    }

    fn poll_transmit(&mut self, _: Instant) -> Option<Datagram> {
        let transmit = self.agent.poll_transmit()?;
        let data = transmit.contents.to_vec();
        Some(Datagram { from: transmit.source, to: transmit.destination, data })
    }

    fn say_events(&mut self, _: Instant) {
        while let Some(event) = self.agent.poll_event() {
            match event {
                IceAgentEvent::NominatedSend { source, destination, .. } => {
                    self.selected = Some((source, destination));
                    self.say_selected(source, destination);
                }
                IceAgentEvent::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                    say_disconnected();
                }
                IceAgentEvent::IceConnectionStateChange(_)
                | IceAgentEvent::IceRestart(_)
                | IceAgentEvent::DiscoveredRecv { .. } => {}
            }
        }
    }
}
