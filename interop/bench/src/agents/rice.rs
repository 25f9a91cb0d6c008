//! `rice-proto`.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rice_proto::agent::{Agent as RiceAgent, AgentPoll};
use rice_proto::candidate::{Candidate, CandidateType, TransportType};
use rice_proto::stream::Credentials;
use stun_proto::Instant as RiceInstant;
use stun_proto::agent::Transmit;

use super::{Agent, Node, Packet, Readiness, Role};

/// Its default pace in milliseconds.
pub const TA_DEFAULT: u64 = 50;

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
/// Its clock starts at one second, so that no time is before its zero.
const EPOCH_NANOS: i64 = 1_000_000_000;

/// An agent that starts a check each `TA` milliseconds.
pub struct Rice<const TA: u64 = TA_DEFAULT> {
    agent: RiceAgent,
    stream: usize,
    component: usize,
    ufrag: String,
    password: String,
    addresses: Vec<SocketAddr>,
    deadline: Option<Instant>,
    selected: bool,
}

fn to_rice(now: Instant) -> RiceInstant {
    RiceInstant::from_nanos(EPOCH_NANOS + (now - *EPOCH).as_nanos() as i64)
}

fn from_rice(time: RiceInstant) -> Instant {
    *EPOCH + Duration::from_nanos((time.as_nanos() - EPOCH_NANOS).max(0) as u64)
}

fn host(index: usize, address: SocketAddr) -> Candidate {
    let (kind, transport) = (CandidateType::Host, TransportType::Udp);
    let priority = Candidate::calculate_priority(kind, transport, None, 8191 - index as u32, 1);
    Candidate::builder(1, kind, transport, &index.to_string(), address)
        .base_address(address)
        .priority(priority)
        .build()
}

impl<const TA: u64> Rice<TA> {
    /// Gives a datagram to the agent; returns whether it was application data.
    pub fn handle_data(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
        data: &[u8],
    ) -> bool {
        let transmit = Transmit::new(data, TransportType::Udp, from, to);
        let mut stream = self.agent.mut_stream(self.stream).expect("its stream");
        let reply = stream.handle_incoming_data(self.component, transmit, to_rice(now));
        let is_data = reply.data.is_some();
        if reply.have_more_data {
            while stream.poll_recv().is_some() {}
        }
        is_data
    }
}

impl<const TA: u64> Agent for Rice<TA> {
    const NAME: &'static str =
        if TA == TA_DEFAULT { "rice-proto 0.4.3" } else { "rice-proto 0.4.3, Ta 5 ms" };
    type Description = (String, String, Vec<SocketAddr>);

    fn new(_: Instant, role: Role, addresses: &[SocketAddr]) -> Self {
        let mut agent = RiceAgent::builder()
            .controlling(role == Role::Controlling)
            .trickle_ice(false)
            .timing_advance(Duration::from_millis(TA))
            .build();
        let stream_id = agent.add_stream();
        let (ufrag, password) = (rice_proto::random_string(4), rice_proto::random_string(22));
        let mut stream = agent.mut_stream(stream_id).expect("a new stream");
        let component = stream.add_component().expect("a new component");
        stream.set_local_credentials(Credentials::new(ufrag.clone(), password.clone()));
        for (index, &address) in addresses.iter().enumerate() {
            stream.add_local_candidate(host(index, address));
        }
        stream.end_of_local_candidates();
        Self {
            agent,
            stream: stream_id,
            component,
            ufrag,
            password,
            addresses: addresses.to_vec(),
            deadline: None,
            selected: false,
        }
    }

    fn description(&self) -> Self::Description {
        (self.ufrag.clone(), self.password.clone(), self.addresses.clone())
    }

    fn set_remote(&mut self, now: Instant, (ufrag, password, addresses): &Self::Description) {
        let mut stream = self.agent.mut_stream(self.stream).expect("its stream");
        stream.set_remote_credentials(Credentials::new(ufrag.clone(), password.clone()));
        for (index, &address) in addresses.iter().enumerate() {
            stream.add_remote_candidate(host(index, address));
        }
        stream.end_of_remote_candidates();
        self.handle_timeout(now);
    }
}

impl<const TA: u64> Node for Rice<TA> {
    fn handle_packet(&mut self, now: Instant, packet: &Packet) {
        self.handle_data(now, packet.from, packet.to, packet.data());
        self.handle_timeout(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        loop {
            match self.agent.poll(to_rice(now)) {
                AgentPoll::WaitUntil(time) => {
                    self.deadline = Some(from_rice(time));
                    return;
                }
                AgentPoll::Closed => {
                    self.deadline = None;
                    return;
                }
                AgentPoll::SelectedPair(_) => self.selected = true,
                _ => {}
            }
        }
    }

    fn poll_timeout(&mut self, _: Instant) -> Option<Instant> {
        self.deadline
    }

    fn poll_transmit(&mut self, now: Instant, packet: &mut Packet) -> bool {
        let Some(polled) = self.agent.poll_transmit(to_rice(now)) else { return false };
        let transmit = polled.transmit;
        packet.fill(transmit.from, transmit.to, &transmit.data);
        true
    }

    fn readiness(&mut self) -> Readiness {
        Readiness::all(self.selected)
    }
}
