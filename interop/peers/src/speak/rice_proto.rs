//! `rice-proto`: the sans-IO core of librice.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rice_proto::AddressFamily;
use rice_proto::agent::{Agent as RiceAgent, AgentPoll, AgentSocket};
use rice_proto::candidate::{Candidate, CandidatePair, CandidateType, TransportType};
use rice_proto::component::ComponentConnectionState;
use rice_proto::stream::Credentials as RiceCredentials;
use rice_proto::turn::{TurnConfig, TurnCredentials};
use stun_proto::Instant as RiceInstant;
use stun_proto::agent::{StunError, Transmit};

use super::arguments::{Arguments, Family};
use super::lines::{
    Credentials, say_candidate, say_connected, say_credentials, say_end_of_candidates, say_error,
    say_failed,
};
use super::sans_io::{Agent, Datagram};
use super::version::pinned;

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
/// Its clock starts at one second, so that no time is before its zero.
const EPOCH_NANOS: i64 = 1_000_000_000;

const NO_RESTART: &str = "rice-proto has no restart";

/// One agent with one stream and one component.
pub struct Peer {
    agent: RiceAgent,
    stream: usize,
    component: usize,
    /// Whether relayed candidates alone are used.
    relayed_only: bool,
    deadline: Option<Instant>,
}

fn to_rice(now: Instant) -> RiceInstant {
    let nanos = now.saturating_duration_since(*EPOCH).as_nanos();
    RiceInstant::from_nanos(EPOCH_NANOS + i64::try_from(nanos).unwrap_or(i64::MAX / 2))
}

fn from_rice(time: RiceInstant) -> Instant {
    let nanos = time.as_nanos().saturating_sub(EPOCH_NANOS);
    *EPOCH + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

impl Peer {
    /// Gathers on the sockets, or at the server from each of them.
    fn gather(&mut self, arguments: &Arguments, addresses: &[SocketAddr]) -> Result<(), String> {
        let sockets: Vec<_> =
            addresses.iter().map(|address| (TransportType::Udp, *address)).collect();
        let mut stream = self.agent.mut_stream(self.stream).ok_or("no stream")?;
        let mut component = stream.mut_component(self.component).ok_or("no component")?;
        let gathering = match &arguments.relay {
            None => component.gather_candidates(&sockets, &[], &[]),
            Some(relay) => {
                let server = relay.address()?;
                let credentials = TurnCredentials::new(&relay.user, &relay.password);
                let mut config = TurnConfig::new(TransportType::Udp, server, credentials);
                // It asks for IPv4 addresses unless told otherwise.
                if arguments.family == Family::V6 {
                    config.set_address_family(AddressFamily::IPV6);
                }
                let reach = |address: &&SocketAddr| address.is_ipv4() == server.is_ipv4();
                let turns: Vec<_> =
                    addresses.iter().filter(reach).map(|address| (*address, &config)).collect();
                component.gather_candidates(&[], &[], &turns)
            }
        };
        gathering.map_err(|error| error.to_string())
    }

    /// As its C interface does it for its users.
    fn select(&mut self, pair: &CandidatePair) {
        let (component, pair) = (self.component, pair.clone());
        if let Some(mut stream) = self.agent.mut_stream(self.stream)
            && let Some(mut component) = stream.mut_component(component)
            && let Err(error) = component.set_selected_pair(pair.clone())
        {
            say_error(error);
        }
        say_connected(pair.local.candidate_type, pair.remote.candidate_type);
    }

    /// There are no TCP sockets here.
    fn refuse_socket(&mut self, now: Instant, wanted: &AgentSocket) {
        let refused = Err(StunError::ResourceNotFound);
        if let Some(mut stream) = self.agent.mut_stream(wanted.stream_id) {
            let (id, transport) = (wanted.component_id, wanted.transport);
            stream.allocated_socket(id, transport, wanted.from, wanted.to, refused, to_rice(now));
        }
    }
}

fn say_candidate_of(candidate: &Candidate) {
    let line = candidate.to_sdp_string();
    say_candidate(line.strip_prefix("a=").unwrap_or(&line));
}

impl Agent for Peer {
    fn version() -> String {
        pinned("rice-proto")
    }

    fn refuse(arguments: &Arguments) -> Result<(), String> {
        if arguments.lite { Err("rice-proto is never lite".into()) } else { Ok(()) }
    }

    fn new(now: Instant, arguments: &Arguments, addresses: &[SocketAddr]) -> Result<Self, String> {
        // Candidates trickle here; without this it waits for all of them.
        let builder = RiceAgent::builder().trickle_ice(true);
        let mut agent = builder.controlling(arguments.is_controlling()).build();
        let stream_id = agent.add_stream();
        // Credentials are drawn by its users, with its function.
        let (ufrag, password) = (rice_proto::random_string(4), rice_proto::random_string(22));
        say_credentials(&ufrag, &password);
        let mut stream = agent.mut_stream(stream_id).ok_or("no stream")?;
        let component = stream.add_component().map_err(|error| error.to_string())?;
        stream.set_local_credentials(RiceCredentials::new(ufrag, password));
        let relayed_only = arguments.relay.is_some();
        let mut peer = Self { agent, stream: stream_id, component, relayed_only, deadline: None };
        peer.gather(arguments, addresses)?;
        peer.say_events(now);
        Ok(peer)
    }

    fn set_remote(&mut self, _: Instant, remote: Credentials) -> Result<(), String> {
        if remote.restart {
            return Err(NO_RESTART.into());
        }
        let mut stream = self.agent.mut_stream(self.stream).ok_or("no stream")?;
        stream.set_remote_credentials(RiceCredentials::new(remote.ufrag, remote.password));
        Ok(())
    }

    fn add_candidate(&mut self, line: &str) -> Result<(), String> {
        let candidate: Candidate =
            format!("a={line}").parse().map_err(|error| format!("{error:?}: {line}"))?;
        let mut stream = self.agent.mut_stream(self.stream).ok_or("no stream")?;
        stream.add_remote_candidate(candidate);
        Ok(())
    }

    fn end_of_candidates(&mut self) {
        if let Some(mut stream) = self.agent.mut_stream(self.stream) {
            stream.end_of_remote_candidates();
        }
    }

    fn restart(&mut self, _: Instant) -> Result<(), String> {
        Err(NO_RESTART.into())
    }

    fn send(&mut self, now: Instant, data: Vec<u8>) -> Result<Datagram, String> {
        let mut stream = self.agent.mut_stream(self.stream).ok_or("no stream")?;
        let mut component = stream.mut_component(self.component).ok_or("no component")?;
        let sent =
            component.send(data, to_rice(now)).map_err(|error| format!("not sent: {error}"))?;
        Ok(Datagram { from: sent.from, to: sent.to, data: sent.data.into_vec() })
    }

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) -> Option<Vec<u8>> {
        let Datagram { from, to, data } = datagram;
        let transmit = Transmit::new(data, TransportType::Udp, from, to);
        let mut stream = self.agent.mut_stream(self.stream)?;
        let reply = stream.handle_incoming_data(self.component, transmit, to_rice(now));
        if reply.have_more_data
            && let Some(more) = stream.poll_recv()
        {
            return Some(more.data);
        }
        reply.data.map(|data| data.as_ref().to_vec())
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.say_events(now);
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.deadline
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Datagram> {
        let transmit = self.agent.poll_transmit(to_rice(now))?.transmit;
        let data = transmit.data.into_vec();
        Some(Datagram { from: transmit.from, to: transmit.to, data })
    }

    fn say_events(&mut self, now: Instant) {
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
                AgentPoll::SelectedPair(pair) => self.select(pair.selected.candidate_pair()),
                AgentPoll::ComponentStateChange(change) => {
                    if change.state == ComponentConnectionState::Failed {
                        say_failed();
                    }
                }
                AgentPoll::GatheredCandidate(found) => {
                    let candidate = found.gathered.candidate.clone();
                    let is_relayed = candidate.candidate_type == CandidateType::Relayed;
                    if (is_relayed || !self.relayed_only)
                        && let Some(mut stream) = self.agent.mut_stream(self.stream)
                        && stream.add_local_gathered_candidate(found.gathered)
                    {
                        say_candidate_of(&candidate);
                    }
                }
                AgentPoll::GatheringComplete(_) => {
                    if let Some(mut stream) = self.agent.mut_stream(self.stream) {
                        stream.end_of_local_candidates();
                    }
                    say_end_of_candidates();
                }
                AgentPoll::AllocateSocket(wanted) => self.refuse_socket(now, &wanted),
                AgentPoll::RemoveSocket(_) => {}
            }
        }
    }
}
