//! What must hold of what an endpoint says of itself, once all is over.

use core::fmt::Write as _;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use floe::config::Role;
use floe::stats::{AgentStats, CandidateStats, PairStats};
use floe::{AgentId, SocketId};

use crate::world::guard::Path;
use crate::world::network::Inner;
use crate::world::turn_auth;
use crate::world::wire::TransactionId;

/// A pair as the wire knows it: the socket, or none for all relays together, and the other end.
type Key = (Option<SocketId>, SocketAddr);

fn key(path: Path) -> Key {
    (path.relay.is_none().then_some(path.socket), path.remote)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Checks {
    sent: u32,
    answered: u32,
    received: u32,
    answers: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Data {
    sent: [u64; 2],
    received: [u64; 2],
}

/// What the wire saw of a host.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(super) stun_sent: u64,
    checks: BTreeMap<(String, Key), Checks>,
    /// Whose check each transaction of the peer's is.
    asked: BTreeMap<(TransactionId, Path), String>,
    /// Packets and octets of application data.
    data: BTreeMap<(AgentId, Key), Data>,
}

impl Counts {
    fn of(&mut self, generation: &str, path: Path) -> &mut Checks {
        self.checks.entry((generation.to_owned(), key(path))).or_default()
    }

    pub(super) fn asks(&mut self, generation: &str, path: Path) {
        self.of(generation, path).sent += 1;
    }

    pub(super) fn is_answered(&mut self, generation: &str, path: Path) {
        self.of(generation, path).answered += 1;
    }

    pub(super) fn is_asked(&mut self, generation: &str, path: Path, id: TransactionId) {
        self.of(generation, path).received += 1;
        self.asked.insert((id, path), generation.to_owned());
    }

    pub(super) fn answers(&mut self, path: Path, id: TransactionId) {
        if let Some(generation) = self.asked.get(&(id, path)).cloned() {
            self.of(&generation, path).answers += 1;
        }
    }

    pub(super) fn data_sent(&mut self, agent: AgentId, path: Path, len: usize) {
        let [packets, octets] = &mut self.data.entry((agent, key(path))).or_default().sent;
        *packets += 1;
        *octets += len as u64;
    }

    pub(super) fn data_received(&mut self, agent: AgentId, path: Path, len: usize) {
        let [packets, octets] = &mut self.data.entry((agent, key(path))).or_default().received;
        *packets += 1;
        *octets += len as u64;
    }

    /// I-18: the statistics of the pairs say what the wire saw.
    ///
    /// Exactly so for the checks that were sent and all data, on a selected pair that is not over a
    /// relay, in an agent's first generation and with its first selection. Otherwise they may say
    /// less, never more: a pair that was forgotten after the selection counts anew when it comes
    /// back, data before a restart counts for the pairs before it and data before the peer's
    /// description for none, pairs over relays are compared all together, and of checks and answers
    /// those do not count that come too late, and that a role conflict refuses.
    fn agree(&self, agent: AgentId, generation: &str, first: bool, sums: &BTreeMap<Key, Sum>) {
        for (key, sum) in sums {
            let wire = self.checks.get(&(generation.to_owned(), *key)).copied().unwrap_or_default();
            let exact = sum.selected && key.0.is_some() && first;
            let told = sum.checks;
            let fits = told.sent <= wire.sent
                && (told.sent == wire.sent || !exact)
                && told.answered <= wire.answered
                && told.received <= wire.received
                && told.answers <= wire.answers;
            assert!(fits, "I-18: {key:?}: {told:?} are told, and {wire:?} seen");
            let wire = self.data.get(&(agent, *key)).copied().unwrap_or_default();
            let told = sum.data;
            let less = (0..2)
                .all(|at| told.sent[at] <= wire.sent[at] && told.received[at] <= wire.received[at]);
            let fits = less && (told == wire || !exact);
            assert!(fits, "I-18: {key:?}: {told:?} are told, and {wire:?} seen");
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    selected: bool,
    checks: Checks,
    data: Data,
}

/// I-7: the priority of a pair is 2^32 × min(G, D) + 2 × max(G, D) + (G > D), where G is the
/// controlling side's candidate's, and D the other's. [rfc8445-6.1.2.3-p1]
///
/// A pair whose check showed another local candidate keeps the priority that it had with the first
/// one, which has the same base.
fn has_its_priority(pair: &PairStats, stats: &AgentStats, role: Role) -> bool {
    let base = |local: &CandidateStats| local.related.unwrap_or(local.address);
    let of_base = stats.local.iter().filter(|local| base(local) == base(&pair.local));
    let theirs = u64::from(pair.remote.priority);
    of_base.chain([&pair.local]).map(|local| u64::from(local.priority)).any(|ours| {
        let (g, d) = if role == Role::Controlling { (ours, theirs) } else { (theirs, ours) };
        pair.priority == (g.min(d) << 32) + 2 * g.max(d) + u64::from(g > d)
    })
}

impl Inner {
    /// Tells the guard of a host which generations its agents are in.
    pub(crate) fn introduce(&mut self, host: usize) {
        let agents: Vec<AgentId> = self.hosts[host].agents.keys().copied().collect();
        for agent in agents {
            let h = &mut self.hosts[host];
            let Some(known) = h.endpoint.as_ref().and_then(|endpoint| endpoint.agent(agent)) else {
                continue;
            };
            let description = known.local_description();
            h.guard.described(agent, &description);
            for known in description.streams.iter().filter_map(|s| s.credentials.as_ref()) {
                self.passwords.insert(known.ufrag.clone(), known.password.clone());
            }
        }
    }

    /// Compares what all endpoints say of themselves with what was seen of them.
    pub(crate) fn audit(&mut self) {
        for host in 0..self.hosts.len() {
            if self.hosts[host].endpoint.is_some() {
                self.introduce(host);
                self.counts_agree(host);
            }
        }
        self.secrets_are_kept();
    }

    fn counts_agree(&self, host: usize) {
        let h = &self.hosts[host];
        let Some(endpoint) = &h.endpoint else { return };
        let (told, seen) = (endpoint.stats().stun_sent, h.guard.counts.stun_sent);
        assert_eq!(told, seen, "I-18: STUN messages sent by host {host}");
        for id in h.agents.keys() {
            let Some(agent) = endpoint.agent(*id) else { continue };
            let stats = agent.stats();
            let generations = h.guard.generations.values().filter(|(of, _)| of == id).count();
            let description = agent.local_description();
            let credentials = description.streams.first().and_then(|s| s.credentials.as_ref());
            let Some(credentials) = credentials else { continue };
            // Those that are gone, too.
            let sockets = h.sockets.iter().map(|(id, (address, _))| (*address, *id)).collect();
            let sums = sums(&stats, &sockets);
            let first = generations == 1 && stats.selected_changes <= 1;
            h.guard.counts.agree(*id, &credentials.ufrag, first, &sums);
            for pair in &stats.pairs {
                let (local, remote) = (&pair.local, &pair.remote);
                let what = || format!("I-7: {} of {local:?} and {remote:?}", pair.priority);
                assert!(has_its_priority(pair, &stats, agent.role()), "{}", what());
            }
            let sorted = stats.pairs.is_sorted_by(|a, b| a.priority >= b.priority);
            assert!(sorted, "I-7: pairs are not in the order of their priorities");
        }
    }

    /// I-19: no password is in what `Debug` shows of an endpoint, and in no event.
    fn secrets_are_kept(&self) {
        let mut shown = String::new();
        for host in &self.hosts {
            let _ = write!(shown, "{:?}", host.endpoint);
        }
        for side in self.calls.iter().flat_map(|call| &call.sides) {
            let _ = write!(shown, "{:?}", side.events);
        }
        let secrets = self.passwords.values().map(String::as_str);
        for secret in secrets.chain([turn_auth::PASSWORD]) {
            assert!(!shown.contains(secret), "I-19: {secret} is shown");
        }
    }
}

fn sums(stats: &AgentStats, sockets: &BTreeMap<SocketAddr, SocketId>) -> BTreeMap<Key, Sum> {
    let mut sums: BTreeMap<Key, Sum> = BTreeMap::new();
    for pair in &stats.pairs {
        let base = pair.local.related.unwrap_or(pair.local.address);
        let socket = sockets.get(&base).copied();
        let sum = sums.entry((socket, pair.remote.address)).or_default();
        let counters = &pair.counters;
        sum.selected |= pair.selected;
        sum.checks.sent += counters.requests_sent + counters.consent_requests_sent;
        sum.checks.answered += counters.responses_received;
        sum.checks.received += counters.requests_received;
        sum.checks.answers += counters.responses_sent;
        sum.data.sent[0] += counters.packets_sent;
        sum.data.sent[1] += counters.bytes_sent;
        sum.data.received[0] += counters.packets_received;
        sum.data.received[1] += counters.bytes_received;
    }
    sums
}
