//! What goes to addresses that may never have asked for anything. [RFC 8445 §19.5.1]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use floe::config::Limits;
use floe::{AgentId, Instant};

#[derive(Debug, Default)]
struct Spent {
    packets: u32,
    octets: u32,
    /// Who sent something authenticated in this generation.
    heard: BTreeSet<SocketAddr>,
    /// Who answered a check in this generation.
    answered: BTreeSet<IpAddr>,
}

#[derive(Debug)]
struct Owed {
    packets: u32,
    since: Instant,
}

/// I-5: at every instant, and for each agent,
///
/// - the checks of one generation to addresses that sent nothing authenticated in it, at IP
///   addresses that answered nothing in it, are at most 256 packets and 36,864 octets with their IP
///   headers;
/// - one IP address that answered no check gets at most 56 packets since the first one, 56 more for
///   each minute since, and one for each authenticated check that came from there.
///
/// An answer says that somebody there takes part; it ends both for its IP address. What is relayed
/// counts as what is not: the address at the other end is the victim.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    generations: BTreeMap<String, Spent>,
    owed: BTreeMap<(AgentId, IpAddr), Owed>,
}

/// Octets of the IP and UDP headers.
fn headers(ip: IpAddr) -> usize {
    8 + if ip.is_ipv4() { 20 } else { 40 }
}

impl Budgets {
    /// A check of `len` octets leaves.
    pub(super) fn spends(
        &mut self,
        now: Instant,
        (agent, generation): (AgentId, &String),
        to: SocketAddr,
        len: usize,
        limits: &Limits,
    ) {
        let ip = to.ip();
        let spent = match self.generations.get_mut(generation) {
            Some(spent) => spent,
            None => self.generations.entry(generation.clone()).or_default(),
        };
        let owed = self.owed.entry((agent, ip)).or_insert(Owed { packets: 0, since: now });
        if spent.answered.contains(&ip) {
            return;
        }
        owed.packets += 1;
        let refill = f64::from(limits.unverified_refill_per_ip) / 60.0;
        let grown = now.since(owed.since).as_secs_f64() * refill;
        let most = u32::from(limits.unverified_packets_per_ip) + grown as u32;
        assert!(
            owed.packets <= most,
            "I-5: {} packets to {ip}, which never answered",
            owed.packets
        );
        if spent.heard.contains(&to) {
            return;
        }
        spent.packets += 1;
        spent.octets += (len + headers(ip)) as u32;
        assert!(
            spent.packets <= limits.unverified_packets.into()
                && spent.octets <= limits.unverified_octets,
            "I-5: {} packets, {} octets to addresses that never sent anything",
            spent.packets,
            spent.octets
        );
    }

    /// An authenticated check came.
    pub(super) fn hears(&mut self, agent: AgentId, generation: &str, from: SocketAddr) {
        if let Some(owed) = self.owed.get_mut(&(agent, from.ip())) {
            owed.packets = owed.packets.saturating_sub(1);
        }
        self.generations.entry(generation.to_owned()).or_default().heard.insert(from);
    }

    /// An agent took an answer: one to a generation that it has left tells it nothing.
    pub(super) fn forgives(&mut self, agent: AgentId, ip: IpAddr) {
        self.owed.remove(&(agent, ip));
    }

    /// An authenticated answer came.
    pub(super) fn is_answered(&mut self, generation: &str, from: SocketAddr) {
        let spent = self.generations.entry(generation.to_owned()).or_default();
        spent.heard.insert(from);
        spent.answered.insert(from.ip());
    }
}
