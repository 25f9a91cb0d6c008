//! What the harness itself costs: an agent that sends and answers packets and does nothing else.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Agent, Node, Packet, Readiness, Role};

/// As long as a check and its answer.
const REQUEST: [u8; 92] = [0; 92];
const RESPONSE: [u8; 64] = [1; 64];
/// Half of RFC 7675's period, as a peer of the same kind asks too.
const PERIOD: Duration = Duration::from_millis(2500);

/// Sends a request each 2.5 s and answers those of its peer.
pub struct Null {
    address: SocketAddr,
    peer: Option<SocketAddr>,
    deadline: Instant,
    request_due: bool,
    response_due: bool,
}

impl Agent for Null {
    const NAME: &'static str = "(harness alone)";
    type Description = SocketAddr;

    fn new(now: Instant, _: Role, addresses: &[SocketAddr]) -> Self {
        let address = addresses[0];
        Self { address, peer: None, deadline: now, request_due: false, response_due: false }
    }

    fn description(&self) -> SocketAddr {
        self.address
    }

    fn set_remote(&mut self, _: Instant, remote: &SocketAddr) {
        self.peer = Some(*remote);
    }
}

impl Node for Null {
    fn handle_packet(&mut self, _: Instant, packet: &Packet) {
        self.response_due |= packet.data()[0] == REQUEST[0];
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.request_due = true;
        self.deadline = now + PERIOD;
    }

    fn poll_timeout(&mut self, _: Instant) -> Option<Instant> {
        Some(self.deadline)
    }

    fn poll_transmit(&mut self, _: Instant, packet: &mut Packet) -> bool {
        let Some(peer) = self.peer else { return false };
        if std::mem::take(&mut self.response_due) {
            packet.fill(self.address, peer, &RESPONSE);
        } else if std::mem::take(&mut self.request_due) {
            packet.fill(self.address, peer, &REQUEST);
        } else {
            return false;
        }
        true
    }

    fn readiness(&mut self) -> Readiness {
        Readiness::all(true)
    }
}
