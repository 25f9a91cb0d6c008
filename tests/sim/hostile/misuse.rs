//! An application that calls anything in any order, with a model of what must come of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use floe::config::{AgentConfig, EndpointConfig, Mode, Role, Trickle};
use floe::{
    AgentId, CandidateRejected, ComponentId, Endpoint, HEADROOM, Instant, MIN_TRANSMIT, SendError,
    Server, Socket, SocketId, TAILROOM,
};

use super::{candidate, description};
use crate::world::rng::Rng;
use crate::world::{millis, secs};

/// What the model knows of an agent.
#[derive(Default)]
struct Known {
    /// Whether a description of the peer was taken in this generation, and its ufrag.
    peer: Option<String>,
    ended: bool,
}

struct Misuse {
    rng: Rng,
    endpoint: Endpoint,
    now: Instant,
    sockets: Vec<SocketId>,
    agents: BTreeMap<AgentId, Known>,
    closed: Vec<AgentId>,
    packets: u64,
}

impl Misuse {
    fn drain(&mut self) {
        let mut buf = [0; MIN_TRANSMIT];
        for polls in 0.. {
            assert!(polls < 10_000, "packets without end");
            if self.endpoint.poll_transmit(self.now, &mut buf).is_none() {
                break;
            }
            self.packets += 1;
        }
        while self.endpoint.poll_event().is_some() {}
    }

    fn any<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        of.get(self.rng.below(of.len() as u64) as usize).copied()
    }

    fn agent(&mut self) -> Option<AgentId> {
        let ids: Vec<AgentId> = self.agents.keys().copied().collect();
        self.any(&ids)
    }

    fn step(&mut self) {
        let now = self.now;
        match self.rng.below(16) {
            0 => {
                let port = 1_000 + self.rng.below(60_000) as u16;
                let address = (std::net::Ipv4Addr::new(192, 0, 2, port as u8), port).into();
                self.sockets.push(self.endpoint.add_socket(now, Socket::udp(address)));
            }
            1 => {
                // Perhaps for the second time.
                let sockets = self.sockets.clone();
                if let Some(id) = self.any(&sockets).filter(|_| self.rng.chance(0.5)) {
                    self.endpoint.remove_socket(now, id);
                }
            }
            2 => {
                let role = [Role::Controlling, Role::Controlled][self.rng.below(2) as usize];
                let mut config = AgentConfig::new(role);
                config.streams = vec![self.rng.below(3) as u16; self.rng.below(3) as usize];
                config.trickle =
                    [Trickle::Full, Trickle::Half, Trickle::Off][self.rng.below(3) as usize];
                if self.rng.chance(0.2) {
                    config.mode = Mode::Lite;
                }
                let id = self.endpoint.add_agent(now, config);
                assert!(self.agents.insert(id, Known::default()).is_none(), "an id given twice");
                assert!(!self.closed.contains(&id), "the id of a closed agent");
            }
            3 => {
                if let Some(id) = self.agent() {
                    self.endpoint.agent_mut(now, id).unwrap().close();
                    self.agents.remove(&id);
                    self.closed.push(id);
                }
            }
            4 => self.use_closed(),
            5..=7 => self.describe(),
            8 | 9 => self.trickle(),
            10 => {
                if let Some(id) = self.agent() {
                    self.endpoint.agent_mut(now, id).unwrap().restart();
                    *self.agents.get_mut(&id).unwrap() = Known::default();
                }
            }
            11 => self.end(),
            12 => {
                let server = format!("198.51.100.{}:3478", self.rng.below(4)).parse().unwrap();
                self.endpoint.add_server(now, Server::stun(server));
            }
            // Backwards, too.
            13 => self.now = Instant::from_millis(self.now.as_nanos() / 1_000_000 - 500),
            14 => {
                let sockets = self.sockets.clone();
                let Some(socket) = self.any(&sockets) else { return };
                let octets = self.rng.octets();
                let from = "203.0.113.1:1".parse().unwrap();
                let _ = self.endpoint.handle_datagram(self.now, socket, from, &octets);
            }
            _ => {
                self.now += millis(self.rng.below(20_000));
                self.endpoint.handle_timeout(self.now);
                self.endpoint.handle_timeout(self.now);
            }
        }
        self.send();
    }

    fn use_closed(&mut self) {
        let closed = self.closed.clone();
        let Some(id) = self.any(&closed) else { return };
        assert!(self.endpoint.agent(id).is_none());
        assert!(self.endpoint.agent_mut(self.now, id).is_none());
        let route = self.endpoint.route(self.now, id, ComponentId::FIRST);
        assert!(matches!(route, Err(SendError::UnknownAgent)));
    }

    fn describe(&mut self) {
        let Some(id) = self.agent() else { return };
        let streams = self.endpoint.agent(id).unwrap().local_description().streams.len();
        let ufrag = format!("peer{}", self.rng.below(3));
        let mut remote = description(&ufrag, &[]);
        let stream = remote.streams[0].clone();
        let given = self.rng.below(4) as usize;
        remote.streams = vec![stream; given];
        let result = self.endpoint.agent_mut(self.now, id).unwrap().set_remote_description(&remote);
        let known = self.agents.get_mut(&id).unwrap();
        if given < streams {
            assert!(result.is_err(), "{given} of {streams}");
        } else if result.is_ok() {
            if known.peer.as_ref() != Some(&ufrag) {
                known.ended = false;
            }
            known.peer = Some(ufrag);
        }
    }

    fn trickle(&mut self) {
        let Some(id) = self.agent() else { return };
        let streams = self.endpoint.agent(id).unwrap().local_description().streams.len();
        let stream = self.rng.below(4) as u16;
        let ufrag = format!("peer{}", self.rng.below(3));
        let port = self.rng.below(3) as u16;
        let new = candidate(([203, 0, 113, 5], port).into());
        let mut agent = self.endpoint.agent_mut(self.now, id).unwrap();
        let result = agent.add_remote_candidate(stream, Some(&ufrag), &new);
        let known = &self.agents[&id];
        let expected = if usize::from(stream) >= streams {
            Err(CandidateRejected::UnknownStream)
        } else if known.peer.as_ref() != Some(&ufrag) {
            Err(CandidateRejected::UnknownGeneration)
        } else if known.ended {
            Err(CandidateRejected::AfterEndOfCandidates)
        } else if port == 0 {
            Err(CandidateRejected::AddressNotUsable)
        } else {
            Ok(())
        };
        assert_eq!(result, expected);
    }

    fn end(&mut self) {
        let Some(id) = self.agent() else { return };
        let streams = self.endpoint.agent(id).unwrap().local_description().streams.len();
        let known = self.agents.get_mut(&id).unwrap();
        let mut agent = self.endpoint.agent_mut(self.now, id).unwrap();
        let result = agent.end_of_remote_candidates(None, known.peer.as_deref());
        let any = known.peer.is_some() && streams > 0;
        assert_eq!(result.is_ok(), any);
        known.ended |= any;
    }

    /// Nobody ever answered, so there is no route, whatever is sent.
    fn send(&mut self) {
        let Some(id) = self.agent() else { return };
        let lite = self.rng.chance(0.5);
        let stream = u16::from(lite);
        let Some(component) = ComponentId::new(stream, 1) else { return };
        match self.endpoint.route(self.now, id, component) {
            Err(SendError::UnknownAgent) => panic!("it lives"),
            Err(_) => {}
            Ok(route) => {
                // Two lite agents check nothing. Huge payloads fit into no frame.
                let mut buf = vec![0; HEADROOM + TAILROOM];
                assert!(route.frame(&mut buf, HEADROOM..HEADROOM + 100_000).is_none());
            }
        }
    }
}

/// Two thousand scripts of a hundred calls: each error is the one that the model expects, nothing
/// panics, and after the close of all agents nothing leaves and no time is waited for.
#[test]
fn an_application_that_does_everything_wrong_gets_typed_errors() {
    for seed in 0..2_000 {
        let now = Instant::from_millis(1_000_000);
        let mut misuse = Misuse {
            rng: Rng::new(seed, "misuse"),
            endpoint: Endpoint::new(now, Arc::new(EndpointConfig::default()), [seed as u8; 32]),
            now,
            sockets: Vec::new(),
            agents: BTreeMap::new(),
            closed: Vec::new(),
            packets: 0,
        };
        for _ in 0..100 {
            misuse.step();
            misuse.drain();
        }
        misuse.endpoint.close(misuse.now);
        misuse.endpoint.close(misuse.now);
        while misuse.endpoint.poll_event().is_some() {}
        misuse.packets = 0;
        misuse.drain();
        misuse.now += secs(3_600);
        misuse.endpoint.handle_timeout(misuse.now);
        misuse.drain();
        assert_eq!(misuse.packets, 0, "{seed}: traffic after the close");
        assert_eq!(misuse.endpoint.poll_timeout(), None, "{seed}");
    }
}
