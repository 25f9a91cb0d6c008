//! The oracle: what ICE can do in a topology, worked out without any agent.
//!
//! Both parties send all the checks that they know of, again and again, until nobody learns
//! anything new. A check counts where its answer comes back from the address that was checked; the
//! source of a check that nobody signalled is a peer-reflexive candidate, to be checked from where
//! it was heard. [RFC 8445 §7.2.5.2.1, §7.3.1.3]

mod net;
mod tests;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use floe::candidate::CandidateKind;

use crate::topology::{AddressKind, Interface, Place, Topology};
use crate::world::rng::Rng;
use net::{Address, Arrival, Family, Ip, Net, WELL_KNOWN};

/// How many checks after one another may each teach the other side an address. Where both NATs
/// give a new address to each destination that goes on for ever, and nothing comes of it.
const CHAIN: u32 = 4;

/// The best kind of path that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Direct,
    OneRelay,
    TwoRelays,
    None,
}

/// The types of the local and of the remote candidate, as one party sees a pair.
pub(crate) type Kinds = (CandidateKind, CandidateKind);

/// What can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) class: Class,
    /// The types that the pairs of this class have, as both parties see each.
    pub(crate) kinds: Vec<[Kinds; 2]>,
    /// How many pairs each party may have to check before one of this class.
    pub(crate) ahead: [usize; 2],
    /// Whether all of a party's first checks may be in vain, as the other side's NAT lets nothing in
    /// before its own: then nothing but sending them again helps.
    pub(crate) repeats: bool,
}

/// What the first retransmission waits for. [RFC 8445 §14.3]
const RTO: Duration = Duration::from_millis(500);

impl Verdict {
    /// Whether some path of the class consists of signalled candidates alone.
    pub(crate) fn is_signalled(&self) -> bool {
        let learnt = |kinds: &Kinds| kinds.1 == CandidateKind::PeerReflexive;
        self.kinds.iter().any(|sides| !sides.iter().any(learnt))
    }

    /// Whether both parties may see a pair as these types: where a check told a party of its own
    /// reflexive address before a server did, both call it peer-reflexive.
    pub(crate) fn admits(&self, found: &[Kinds; 2]) -> bool {
        let fits = |known: CandidateKind, found: CandidateKind| {
            let early = CandidateKind::PeerReflexive;
            known == found || known == CandidateKind::ServerReflexive && found == early
        };
        let consistent = found[0] == (found[1].1, found[1].0);
        consistent
            && self
                .kinds
                .iter()
                .any(|[known, _]| fits(known.0, found[0].0) && fits(known.1, found[0].1))
    }

    /// The time within which both parties may send once both know all candidates of each other,
    /// if no packet is lost: `rtt` is that between two hosts, or a host and a server.
    pub(crate) fn time_to_connect(&self, rtt: Duration, ta: Duration) -> Option<Duration> {
        let relays = match self.class {
            Class::Direct => 0,
            Class::OneRelay => 1,
            Class::TwoRelays => 2,
            Class::None => return None,
        };
        // Over each relay it is one more way, and a permission has to be asked for.
        let trips = 2 + u32::from(!self.is_signalled());
        let ahead = self.ahead.into_iter().max().unwrap_or(0) as u32;
        let repeat = if self.repeats { RTO } else { Duration::ZERO };
        Some(ta * ahead + rtt * (1 + relays) * trips + rtt * relays + repeat)
    }
}

/// What a party can send from: a socket, or an allocation, whose packets begin on the Internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Base {
    address: Address,
    relayed: bool,
}

/// A path, as both ends see it: what each sends from, and where it seems to be to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Path {
    bases: [Address; 2],
    seen: [Address; 2],
}

#[derive(Clone, Debug, Default)]
struct Party {
    bases: Vec<Base>,
    /// What it signals.
    candidates: BTreeMap<Address, CandidateKind>,
    /// What it checks from each base, and how long the chain is that led there.
    targets: BTreeMap<(Base, Address), u32>,
    valid: BTreeSet<Path>,
}

struct Oracle<'t> {
    net: Net<'t>,
    parties: [Party; 2],
    permissions: BTreeSet<(Address, Ip)>,
}

/// Judges a topology.
pub(crate) fn judge(topology: &Topology) -> Verdict {
    judge_in_order(topology, &mut |_| {})
}

/// Judges a topology with the checks sent in an order that `rng` draws, which must change nothing.
pub(crate) fn judge_at_random(topology: &Topology, rng: &mut Rng) -> Verdict {
    judge_in_order(topology, &mut |checks| {
        for last in (1..checks.len()).rev() {
            checks.swap(last, rng.below(last as u64 + 1) as usize);
        }
    })
}

type Check = (usize, Base, Address);

fn judge_in_order(topology: &Topology, order: &mut dyn FnMut(&mut Vec<Check>)) -> Verdict {
    let mut oracle = Oracle::new(topology);
    loop {
        let before = oracle.knowledge();
        let mut checks: Vec<Check> = [0, 1].into_iter().flat_map(|p| oracle.checks(p)).collect();
        order(&mut checks);
        for (party, base, to) in checks {
            oracle.check(party, base, to);
        }
        if oracle.knowledge() == before {
            break;
        }
    }
    let mut verdict = oracle.verdict();
    verdict.repeats = [0, 1].into_iter().any(|first| once(topology, first) != verdict.class);
    verdict
}

/// The class that is had if the party `first` sends all its checks before the other one does, and
/// nobody sends any again but in answer to the other side's.
fn once(topology: &Topology, first: usize) -> Class {
    let mut oracle = Oracle::new(topology);
    let mut queue: VecDeque<Check> = oracle.checks(first).into();
    queue.extend(oracle.checks(1 - first));
    let mut sent: BTreeMap<Check, u32> = BTreeMap::new();
    while let Some((party, base, to)) = queue.pop_front() {
        let Some(triggered) = oracle.check(party, base, to) else { continue };
        let times = sent.entry(triggered).or_insert(0);
        *times += 1;
        if *times <= CHAIN {
            queue.push_back(triggered);
        }
    }
    oracle.verdict().class
}

/// Whether a host opens a socket there: on no deprecated address, and on a temporary one in place of
/// the stable one beside it.
fn is_used(interfaces: &[Interface], index: usize) -> bool {
    let Interface { kind, place } = interfaces[index];
    let temporary = |other: &Interface| other.kind == AddressKind::V6Temporary;
    let beside = |other: &Interface| other.place == place && temporary(other);
    match kind {
        AddressKind::V6Deprecated => false,
        AddressKind::V6 => !interfaces.iter().any(beside),
        AddressKind::V4 | AddressKind::V6Temporary | AddressKind::V6Local => true,
    }
}

impl<'t> Oracle<'t> {
    /// Both parties know all candidates of each other, and checked none.
    fn new(topology: &'t Topology) -> Self {
        let parties = [Party::default(), Party::default()];
        let mut oracle = Self { net: Net::new(topology), parties, permissions: BTreeSet::new() };
        oracle.gather(0);
        oracle.gather(1);
        oracle.pair(0);
        oracle.pair(1);
        oracle
    }

    fn checks(&self, party: usize) -> Vec<Check> {
        self.parties[party].targets.keys().map(|(base, to)| (party, *base, *to)).collect()
    }

    /// Grows while anything is learnt.
    fn knowledge(&self) -> usize {
        let of = |party: &Party| {
            let short: u32 = party.targets.values().map(|chain| CHAIN - chain + 1).sum();
            short as usize + party.valid.len()
        };
        self.net.knowledge + self.permissions.len() + of(&self.parties[0]) + of(&self.parties[1])
    }

    /// Finds the bases and candidates of a party. Servers have addresses of both families, and
    /// relay from both.
    fn gather(&mut self, party: usize) {
        let description = &self.net.topology.parties[party];
        let used = |index: &usize| is_used(&description.interfaces, *index);
        for index in (0..description.interfaces.len()).filter(used) {
            let ip = Ip::Interface { party, index };
            let address = Address { ip, port: WELL_KNOWN };
            if !description.relay_only {
                self.add_base(party, Base { address, relayed: false }, CandidateKind::Host);
            }
            let family = self.net.family(ip);
            let stun = description.stun.then_some(Ip::Stun(family));
            let turns = description.turns.iter().map(|turn| Ip::Turn(*turn, family));
            for server in stun.into_iter().chain(turns) {
                self.ask(party, address, server);
            }
        }
    }

    fn ask(&mut self, party: usize, from: Address, server: Ip) {
        let Some(place) = self.net.place(from.ip) else { return };
        let to = Address { ip: server, port: WELL_KNOWN };
        let Some(Arrival { from: seen, .. }) = self.net.carry(place, from, to) else { return };
        if !self.net.topology.parties[party].relay_only {
            let kind = CandidateKind::ServerReflexive;
            self.parties[party].candidates.entry(seen).or_insert(kind);
        }
        if let Ip::Turn(turn, _) = server {
            for ip in [Family::V4, Family::V6].map(|family| Ip::Turn(turn, family)) {
                let port = 1 + self.parties.iter().map(|p| p.bases.len() as u32).sum::<u32>();
                let base = Base { address: Address { ip, port }, relayed: true };
                self.add_base(party, base, CandidateKind::Relayed);
            }
        }
    }

    fn add_base(&mut self, party: usize, base: Base, kind: CandidateKind) {
        self.parties[party].bases.push(base);
        self.parties[party].candidates.insert(base.address, kind);
    }

    /// Pairs all bases with all candidates of the other side.
    fn pair(&mut self, party: usize) {
        let remotes: Vec<Address> = self.parties[1 - party].candidates.keys().copied().collect();
        for base in self.parties[party].bases.clone() {
            for remote in &remotes {
                if self.net.family(base.address.ip) == self.net.family(remote.ip) {
                    self.parties[party].targets.insert((base, *remote), 0);
                }
            }
        }
    }

    /// Sends from a base; a relay is told first to let the other side answer.
    fn send(&mut self, base: Base, to: Address) -> Option<Arrival> {
        let place = match base.relayed {
            true => {
                self.permissions.insert((base.address, to.ip));
                Place::Internet
            }
            false => self.net.place(base.address.ip)?,
        };
        self.net.carry(place, base.address, to)
    }

    /// Whose base a packet reached, if it was let in there.
    fn arrives(&self, party: usize, arrival: Arrival) -> Option<Base> {
        let mut bases = self.parties[party].bases.iter();
        let base = *bases.find(|base| base.address == arrival.at)?;
        let permitted = self.permissions.contains(&(base.address, arrival.from.ip));
        (!base.relayed || permitted).then_some(base)
    }

    /// Checks an address: the other side may learn where we are, and we may hear that it works.
    /// Returns the check that the other side sends as it was reached.
    fn check(&mut self, party: usize, base: Base, to: Address) -> Option<Check> {
        let chain = *self.parties[party].targets.get(&(base, to))?;
        let peer = 1 - party;
        let arrival = self.send(base, to)?;
        let reached = self.arrives(peer, arrival)?;
        let triggered = Some((peer, reached, arrival.from));
        if chain < CHAIN {
            let known = self.parties[peer].targets.entry((reached, arrival.from));
            let known = known.or_insert(chain + 1);
            *known = (*known).min(chain + 1);
        }
        let answer = self.send(reached, arrival.from);
        let answer = answer.filter(|answer| self.arrives(party, *answer) == Some(base));
        if answer.is_none_or(|answer| answer.from != to) {
            return triggered;
        }
        let mut path = Path { bases: [base.address; 2], seen: [to; 2] };
        path.bases[peer] = reached.address;
        path.seen[party] = arrival.from;
        self.parties[party].valid.insert(path);
        triggered
    }

    fn relays(&self, path: &Path) -> usize {
        let relayed = |address: &Address| matches!(address.ip, Ip::Turn(..));
        path.bases.iter().filter(|base| relayed(base)).count()
    }

    fn kinds(&self, path: &Path) -> [Kinds; 2] {
        let kind = |party: usize| {
            let known = self.parties[party].candidates.get(&path.seen[party]);
            known.copied().unwrap_or(CandidateKind::PeerReflexive)
        };
        [(kind(0), kind(1)), (kind(1), kind(0))]
    }

    fn verdict(&self) -> Verdict {
        let [left, right] = &self.parties;
        let usable: Vec<&Path> = left.valid.intersection(&right.valid).collect();
        let fewest = usable.iter().map(|path| self.relays(path)).min();
        let class = match fewest {
            None => Class::None,
            Some(0) => Class::Direct,
            Some(1) => Class::OneRelay,
            Some(_) => Class::TwoRelays,
        };
        let best = usable.iter().filter(|path| Some(self.relays(path)) == fewest);
        let kinds: BTreeSet<_> = best.map(|path| self.kinds(path)).collect();
        let ahead = [0, 1].map(|party| self.pairs_up_to(party, fewest.unwrap_or(2)));
        Verdict { class, kinds: kinds.into_iter().collect(), ahead, repeats: false }
    }

    /// How many pairs of signalled candidates go over so many relays at most: all of them may be
    /// checked before the one that works.
    fn pairs_up_to(&self, party: usize, relays: usize) -> usize {
        let signalled = self.parties[party].targets.iter().filter(|(_, chain)| **chain == 0);
        let remotes = &self.parties[1 - party].candidates;
        signalled
            .filter(|((base, remote), _)| {
                let theirs = remotes.get(remote) == Some(&CandidateKind::Relayed);
                usize::from(base.relayed) + usize::from(theirs) <= relays
            })
            .count()
    }
}
