//! What must hold of an endpoint whoever its peer is, seen from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use floe::config::{AgentConfig, Limits, Mode};
use floe::stats::{AgentStats, PairStateKind, PairStats};
use floe::stun::{Message, MessageClass, Method, TransactionId};
use floe::{AgentId, AgentState, Event, Instant};

/// How long an answer allows application data. [RFC 7675 §5.1]
const CONSENT: Duration = Duration::from_secs(30);
/// The sockets and relayed addresses that an endpoint has at a time, at most.
const BASES: usize = 8;
/// Octets of the headers of IPv4 and UDP, which count for the budget of strangers.
const HEADERS: usize = 28;

/// Who is at the other end, and whether a relay is between.
pub(crate) type Path = (bool, SocketAddr);

/// What an endpoint was told and what it said, and the promises about both.
#[derive(Debug)]
pub(crate) struct Watch {
    limits: Limits,
    lite: bool,
    /// The requests that were sent, newest last, and where each went.
    pub(crate) asked: Vec<(TransactionId, Path)>,
    /// Paths on which something came that may have been authentic.
    heard: BTreeSet<Path>,
    /// When a path last answered one of the requests in a way that may have been authentic.
    answered: BTreeMap<Path, Instant>,
    received: usize,
    responded: usize,
    /// Packets in this generation to addresses that were not heard.
    strange: BTreeMap<IpAddr, u32>,
    strange_octets: usize,
    state: AgentState,
    /// Packets of all sorts.
    pub(crate) sent: u64,
}

impl Watch {
    pub(crate) fn new(config: &AgentConfig) -> Self {
        Self {
            limits: config.limits.clone(),
            lite: config.mode == Mode::Lite,
            asked: Vec::new(),
            heard: BTreeSet::new(),
            answered: BTreeMap::new(),
            received: 0,
            responded: 0,
            strange: BTreeMap::new(),
            strange_octets: 0,
            state: AgentState::New,
            sent: 0,
        }
    }

    /// A datagram goes to the endpoint; `sealed` if its maker used a password that is known.
    pub(crate) fn delivered(&mut self, now: Instant, path: Path, sealed: bool, octets: &[u8]) {
        self.received += 1;
        let (true, Ok(message)) = (sealed, Message::parse(octets)) else { return };
        self.heard.insert(path);
        let known = (message.transaction_id(), path);
        if message.class() == MessageClass::Success && self.asked.contains(&known) {
            self.answered.insert(path, now);
        }
    }

    /// The endpoint took the next generation: new budgets.
    pub(crate) fn restarted(&mut self) {
        self.strange.clear();
        self.strange_octets = 0;
    }

    /// The endpoint sent a message to a peer.
    ///
    /// A lite agent asks nobody; nobody gets more answers than it asked; those who were never heard
    /// get no more than the budgets allow; after the close nobody gets anything but a refusal.
    pub(crate) fn sent(&mut self, path: Path, octets: &[u8]) {
        let message = Message::parse(octets).expect("what is sent can be read");
        assert_eq!(message.method(), Method::BINDING, "a peer gets bindings alone");
        let (class, code) = (message.class(), message.error_code().map(|error| error.code()));
        let closed = self.state == AgentState::Closed;
        assert!(!closed || code == Some(401) || code == Some(400), "{class:?} after the close");
        match class {
            MessageClass::Request => {
                assert!(!self.lite, "a lite agent asks");
                self.asked.push((message.transaction_id(), path));
                self.strange(path.1.ip(), octets.len());
            }
            MessageClass::Indication => {}
            MessageClass::Success | MessageClass::Error => {
                self.responded += 1;
                assert!(self.responded <= self.received, "more answers than questions");
            }
        }
    }

    fn strange(&mut self, ip: IpAddr, octets: usize) {
        if self.heard.iter().any(|(_, heard)| heard.ip() == ip) {
            return;
        }
        *self.strange.entry(ip).or_default() += 1;
        self.strange_octets += octets + HEADERS;
        let most = u32::from(self.limits.unverified_packets_per_ip);
        assert!(self.strange[&ip] <= most, "{} packets to the stranger {ip}", self.strange[&ip]);
        let total: u32 = self.strange.values().sum();
        assert!(total <= u32::from(self.limits.unverified_packets), "{total} to strangers");
        let most = usize::try_from(self.limits.unverified_octets).unwrap_or(usize::MAX);
        assert!(self.strange_octets <= most, "{} octets to strangers", self.strange_octets);
    }

    /// Application data leaves: only where a request was answered within 30 s, or, for a lite
    /// agent, from where it was asked.
    pub(crate) fn data_sent(&self, now: Instant, path: Path) {
        let age = self.answered.get(&path).map(|at| now.since(*at));
        let allowed = age.is_some_and(|age| age <= CONSENT);
        let asked = self.lite && self.heard.contains(&path);
        assert!(allowed || asked, "data on {path:?} whose last answer is {age:?} old");
    }

    /// Application data is handed on: only from where something authentic came.
    pub(crate) fn data_delivered(&self, path: Path) {
        assert!(self.heard.contains(&path), "data from {path:?}, of whom nothing is known");
    }

    /// Every change of the state is told once, and nothing is told after the close.
    pub(crate) fn event(&mut self, agent: AgentId, event: &Event) {
        let of = match event {
            Event::State { agent, .. }
            | Event::LocalCandidate { agent, .. }
            | Event::GatheringComplete { agent }
            | Event::Sendable { agent, .. }
            | Event::Selected { agent, .. }
            | Event::StreamRemoved { agent, .. }
            | Event::OfferNeeded { agent }
            | Event::RestartedByPeer { agent }
            | Event::RestartRecommended { agent, .. }
            | Event::RoleChanged { agent, .. } => *agent,
            Event::GatheringFailed { .. } | Event::Gathered { .. } | _ => return,
        };
        assert_eq!(of, agent, "an event of nobody");
        assert_ne!(self.state, AgentState::Closed, "{event:?} after the close");
        if let Event::State { state, .. } = *event {
            assert_ne!(state, self.state, "the same state twice");
            self.state = state;
        }
    }

    /// The tables hold no more than is allowed, no pair twice, and pairs of one family and one
    /// component, whose priorities are those of the formula; no component has two selected pairs;
    /// the state is the one that was told last.
    pub(crate) fn tables(&self, state: AgentState, controlling: bool, stats: &AgentStats) {
        assert_eq!(state, self.state, "a state that nobody was told of");
        assert!(stats.pairs.len() <= usize::from(self.limits.pairs), "too many pairs");
        // Of each base, and as many again of those that answered from elsewhere.
        let reflexive = 2 * BASES * usize::from(self.limits.peer_reflexive);
        let most = usize::from(self.limits.remote_candidates) + reflexive;
        assert!(stats.remote.len() <= most, "{} candidates", stats.remote.len());
        let most = usize::from(self.limits.remote_candidates_per_ip) + reflexive;
        let mut of_ip = BTreeMap::<_, usize>::new();
        for candidate in &stats.remote {
            let count = of_ip.entry(candidate.address.ip()).or_default();
            *count += 1;
            assert!(*count <= most, "{count} candidates of {}", candidate.address.ip());
        }
        let (mut selected, mut seen) = (BTreeSet::new(), BTreeSet::new());
        for pair in &stats.pairs {
            let component = pair.component;
            assert!(!pair.selected || selected.insert(component), "two are selected");
            assert_eq!((pair.local.component, pair.remote.component), (component, component));
            if !matches!(pair.state, PairStateKind::Frozen | PairStateKind::Waiting) {
                // An answer may have told of another local address: of another family even, as
                // behind a NAT64.
                continue;
            }
            let (local, remote) = (pair.local.address, pair.remote.address);
            assert_eq!(local.is_ipv4(), remote.is_ipv4(), "two families: {pair:?}");
            let known = (component, pair.local.kind as u8, local, remote);
            assert!(seen.insert(known), "twice: {pair:?}");
            assert_eq!(pair.priority, priority(controlling, pair), "another priority");
        }
    }
}

/// `2^32 × min(G, D) + 2 × max(G, D) + (G > D)`. [RFC 8445 §6.1.2.3]
fn priority(controlling: bool, pair: &PairStats) -> u64 {
    let (local, remote) = (u64::from(pair.local.priority), u64::from(pair.remote.priority));
    let (g, d) = if controlling { (local, remote) } else { (remote, local) };
    (g.min(d) << 32) + 2 * g.max(d) + u64::from(g > d)
}
