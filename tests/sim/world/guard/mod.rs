//! Watches one host from outside and panics when it breaks a promise.
//!
//! It reads the wire with a codec of its own, and knows of the agents what was configured and
//! signalled: nothing of what floe counts is believed.

mod audit;
mod budgets;
mod events;
mod nominations;
mod pace;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use floe::config::{AgentConfig, Mode};
use floe::sdp::Description;
use floe::{AgentId, AgentState, ComponentId, Instant, SocketId};

use crate::world::guard::audit::Counts;
use crate::world::guard::budgets::Budgets;
use crate::world::guard::events::History;
use crate::world::guard::nominations::Nominations;
use crate::world::guard::pace::Pace;

use crate::world::wire::{self, Kind, TransactionId, Turn};

/// A 5-tuple as a host sees it: its socket, and the address at the other end.
type Hop = (SocketId, SocketAddr);

/// A path as an agent sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Path {
    pub(crate) socket: SocketId,
    /// The TURN server that relays for the host.
    pub(crate) relay: Option<SocketAddr>,
    /// Who is at the other end.
    pub(crate) remote: SocketAddr,
}

/// How long an answer allows application data. [rfc7675-5.1-2]
const CONSENT: Duration = Duration::from_secs(30);

/// Polls that one input may lead to before the host counts as running wild.
pub(crate) const MAX_STEPS: usize = 10_000;

/// The passwords of all agents in the world, by their ufrags.
pub(crate) type Passwords = BTreeMap<String, String>;

/// A request of the host's.
#[derive(Debug)]
struct Asked {
    path: Path,
    /// Our ufrag and the peer's, if it is a check.
    names: Option<(String, String)>,
    nominates: bool,
    answered: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Guard {
    asked: BTreeMap<TransactionId, Asked>,
    answered: BTreeMap<Path, Instant>,
    authenticated: BTreeSet<Path>,
    /// The peers of the channels that were asked for at TURN servers.
    channels: BTreeMap<(Hop, u16), SocketAddr>,
    /// A lite agent asks nobody: whoever it answered may be sent data. [rfc8445-12.1.1-2]
    lite: bool,
    configs: BTreeMap<AgentId, AgentConfig>,
    /// Whose generation each ufrag of the host's stands for, and its password.
    generations: BTreeMap<String, (AgentId, String)>,
    /// The generations whose checks were answered, and on which path.
    reached: BTreeSet<(String, Path)>,
    /// The component of each socket.
    pub(crate) components: BTreeMap<SocketId, ComponentId>,
    budgets: Budgets,
    pace: Pace,
    nominations: Nominations,
    history: History,
    pub(crate) counts: Counts,
}

/// Our ufrag and the peer's in the USERNAME of a check that we send: theirs comes first.
fn names(octets: &[u8]) -> Option<(String, String)> {
    let name = core::str::from_utf8(wire::attribute(octets, wire::USERNAME)?).ok()?;
    let (theirs, ours) = name.split_once(':')?;
    Some((ours.to_owned(), theirs.to_owned()))
}

impl Guard {
    /// The host has a new agent.
    pub(crate) fn hires(&mut self, agent: AgentId, config: AgentConfig) {
        self.lite |= config.mode == Mode::Lite;
        self.configs.insert(agent, config);
    }

    /// An agent of the host describes itself.
    pub(crate) fn described(&mut self, agent: AgentId, description: &Description) {
        for stream in &description.streams {
            if let Some(known) = &stream.credentials {
                let whose = (agent, known.password.clone());
                self.history.described(agent, &known.ufrag);
                self.generations.insert(known.ufrag.clone(), whose);
            }
        }
    }

    /// An agent of the host reports something; its description is known.
    pub(crate) fn reported(&mut self, agent: AgentId, state: Option<AgentState>) {
        self.history.reported(agent);
        if let Some(state) = state {
            self.history.changed(agent, state, self.lite);
        }
    }

    /// Whether a check names a generation of the host's that the guard does not know yet.
    pub(crate) fn is_new(&self, hop: Hop, turn: bool, octets: &[u8], is_ours: bool) -> bool {
        let Some((_, octets)) = self.unwrap(hop, turn, octets) else { return false };
        if !wire::is(octets, Kind::Request) {
            return false;
        }
        names(octets).is_some_and(|(last, first)| {
            !self.generations.contains_key(if is_ours { &last } else { &first })
        })
    }

    /// Takes a datagram out of what a TURN server relays: the path that it travels, and what it
    /// is; `None` for what the server itself says or is told.
    fn unwrap<'a>(&self, hop: Hop, turn: bool, octets: &'a [u8]) -> Option<(Path, &'a [u8])> {
        let (socket, to) = hop;
        let relayed = |remote| Path { socket, relay: Some(to), remote };
        match wire::turn(octets).filter(|_| turn) {
            None => Some((Path { socket, relay: None, remote: to }, octets)),
            Some(Turn::Peer(peer, data)) => Some((relayed(peer), data)),
            Some(Turn::Channel(number, data)) => {
                Some((relayed(*self.channels.get(&(hop, number))?), data))
            }
            Some(Turn::Bind(..) | Turn::Other(_)) => None,
        }
    }

    /// The host sent a STUN message; `turn` if it is one to a TURN server.
    ///
    /// A transaction id is used for one destination alone, never for two. [rfc7675-5.1-6]
    pub(crate) fn sent(&mut self, now: Instant, hop: Hop, turn: bool, octets: &[u8]) {
        self.counts.stun_sent += 1;
        match wire::turn(octets).filter(|_| turn) {
            Some(Turn::Bind(number, peer)) => {
                self.channels.insert((hop, number), peer);
            }
            // The first request for an allocation: the one with credentials follows at once.
            Some(Turn::Other(0x0003)) if wire::attribute(octets, wire::USERNAME).is_none() => {
                let id = octets[8..20].try_into().expect("twelve octets");
                self.pace.allocates(now, id);
            }
            _ => {}
        }
        let Some((path, octets)) = self.unwrap(hop, turn, octets) else { return };
        match wire::binding(octets) {
            Some((Kind::Request, id)) => {
                assert!(!self.lite, "a lite agent sent a request to {path:?}");
                self.asks(now, path, id, octets);
            }
            Some((Kind::Success, id)) => {
                self.authenticated.insert(path);
                self.counts.answers(path, id);
            }
            Some((Kind::Error, id)) => self.counts.answers(path, id),
            Some((Kind::Indication, _)) => {}
            None => panic!("poll_transmit gave something that is neither STUN nor TURN"),
        }
    }

    /// The host sends a request, for the first time or again.
    fn asks(&mut self, now: Instant, path: Path, id: TransactionId, octets: &[u8]) {
        let names = names(octets);
        let nominates = wire::attribute(octets, wire::USE_CANDIDATE).is_some();
        let whose = names.as_ref().and_then(|(ours, _)| {
            let (agent, _) = self.generations.get(ours)?;
            Some((*agent, ours))
        });
        if let Some((agent, generation)) = whose {
            let config = &self.configs[&agent];
            self.budgets.spends(
                now,
                (agent, generation),
                path.remote,
                octets.len(),
                &config.limits,
            );
        }
        if let Some(before) = self.asked.get(&id) {
            assert!(before.path == path, "a transaction id was used twice");
            return;
        }
        match whose {
            Some((agent, generation)) => {
                let config = &self.configs[&agent];
                self.counts.asks(generation, path);
                // What else goes where an answer came from looks after consent.
                if nominates {
                    self.pace.nominates(now, agent, config.ta, path);
                } else if !self.reached.contains(&(generation.clone(), path)) {
                    self.pace.checks(now, agent, config.ta, path);
                }
                if nominates && wire::attribute(octets, config.nomination.attribute).is_none() {
                    let component = self.components[&path.socket];
                    self.nominations.nominates(now, generation, component, path);
                }
            }
            None => self.pace.starts(now),
        }
        self.asked.insert(id, Asked { path, names, nominates, answered: false });
    }

    /// The host received a datagram; returns the path that it took.
    pub(crate) fn received(
        &mut self,
        now: Instant,
        hop: Hop,
        turn: bool,
        octets: &[u8],
        passwords: &Passwords,
    ) -> Path {
        let (socket, remote) = hop;
        let itself = Path { socket, relay: None, remote };
        let Some((path, octets)) = self.unwrap(hop, turn, octets) else { return itself };
        match wire::binding(octets) {
            Some((Kind::Request, id)) => self.is_asked(path, id, octets),
            Some((kind @ (Kind::Success | Kind::Error), id)) => {
                self.is_answered(now, path, kind, id, octets, passwords);
            }
            Some((Kind::Indication, _)) | None => {}
        }
        path
    }

    /// The host took what it received.
    pub(crate) fn is_taken(&mut self, hop: Hop, turn: bool, octets: &[u8]) {
        let Some((path, octets)) = self.unwrap(hop, turn, octets) else { return };
        let Some((Kind::Success | Kind::Error, id)) = wire::binding(octets) else { return };
        let fits = |asked: &&Asked| asked.answered && asked.path == path;
        let Some(asked) = self.asked.get(&id).filter(fits) else { return };
        let agent = asked.names.as_ref().and_then(|(ours, _)| self.generations.get(ours));
        if let Some((agent, _)) = agent {
            self.budgets.forgives(*agent, asked.path.remote.ip());
        }
    }

    fn is_asked(&mut self, path: Path, id: TransactionId, octets: &[u8]) {
        let Some((_, ours)) = names(octets) else { return };
        let Some((agent, password)) = self.generations.get(&ours) else { return };
        if wire::is_authentic(octets, password) {
            self.budgets.hears(*agent, &ours, path.remote);
            self.counts.is_asked(&ours, path, id);
            self.history.is_checked(*agent);
        }
    }

    /// Only the first answer to a request counts: what is repeated later is no fresh consent.
    fn is_answered(
        &mut self,
        now: Instant,
        path: Path,
        kind: Kind,
        id: TransactionId,
        octets: &[u8],
        passwords: &Passwords,
    ) {
        // That both have one role may be said from elsewhere.
        let fits = |asked: &&mut Asked| asked.path == path || kind == Kind::Error;
        let Some(asked) = self.asked.get_mut(&id).filter(fits) else { return };
        if asked.answered {
            return;
        }
        let elsewhere = asked.path != path;
        let path = asked.path;
        if let Some((ours, theirs)) = &asked.names {
            // Who plays the peer without an agent has a password that is not known here.
            if passwords.get(theirs).is_some_and(|known| !wire::is_authentic(octets, known)) {
                return;
            }
            if self.generations.contains_key(ours) {
                if !elsewhere {
                    self.budgets.is_answered(ours, path.remote);
                }
                self.counts.is_answered(ours, path);
            }
        }
        asked.answered = true;
        if kind == Kind::Error {
            return;
        }
        self.answered.insert(path, now);
        self.authenticated.insert(path);
        if let Some((ours, _)) = &asked.names {
            self.reached.insert((ours.clone(), path));
            if asked.nominates
                && let Some(component) = self.components.get(&path.socket)
            {
                self.nominations.is_confirmed(now, ours, *component, path);
            }
        }
    }

    /// When `remote` last answered us.
    pub(crate) fn last_answer(&self, remote: SocketAddr) -> Option<Instant> {
        self.answered.iter().filter(|(path, _)| path.remote == remote).map(|(_, at)| *at).max()
    }

    /// Invariant: application data leaves only on a path that answered within 30 s.
    /// [rfc7675-5.1-1] [rfc7675-5.1-2]
    pub(crate) fn data_sent(
        &mut self,
        now: Instant,
        agent: AgentId,
        hop: Hop,
        turn: bool,
        octets: &[u8],
    ) {
        let Some((path, data)) = self.unwrap(hop, turn, octets) else {
            panic!("data over a channel that nobody asked for");
        };
        self.counts.data_sent(agent, path, data.len());
        if self.lite && self.authenticated.contains(&path) {
            return;
        }
        let age = self.answered.get(&path).map(|at| now.since(*at));
        assert!(
            age.is_some_and(|age| age <= CONSENT),
            "data on {path:?} whose last answer is {age:?} old",
        );
    }

    /// Invariant: application data is delivered only from an authenticated path.
    pub(crate) fn data_delivered(
        &mut self,
        agent: AgentId,
        path: Path,
        len: usize,
        introduced: bool,
    ) {
        assert!(self.authenticated.contains(&path), "data delivered from {path:?} unasked");
        if introduced {
            self.counts.data_received(agent, path, len);
        }
    }
}
