//! What is known of the peer in one generation: credentials and candidates of each stream.

use core::time::Duration;
use std::net::{IpAddr, SocketAddr};

use crate::candidate::{
    Candidate, CandidateAddress, CandidateKind, Credentials, Foundation, Secret,
};
use crate::config::AgentConfig;
use crate::net::{ComponentId, Protocol, is_link_local, on_its_link};
use crate::stun::IntegrityKey;
use crate::time::Instant;

use super::CandidateRejected;
use super::local::BaseId;

/// A remote candidate within its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RemoteId {
    pub(super) stream: u16,
    index: u16,
}

#[derive(Clone, Debug)]
pub(super) struct RemoteCandidate {
    pub(super) component: u16,
    pub(super) address: SocketAddr,
    pub(super) kind: CandidateKind,
    pub(super) priority: u32,
    /// The one that the peer itself counts with: a check that came before its candidate was
    /// signalled tells another.
    pub(super) signalled_priority: u32,
    /// In a box: host candidates have none.
    pub(super) related: Option<Box<SocketAddr>>,
    /// The name that it was signalled by and that was resolved to its address, which is not to be
    /// told on. [mdns-ice-candidates-3.3.2-1]
    pub(super) name: Option<Box<str>>,
    pub(super) cost: u16,
    /// Equal for equal foundations, whatever their streams.
    pub(super) foundation: RemoteFoundation,
    /// Whether an authenticated packet came from here in this generation.
    pub(super) verified: bool,
    /// Whether it answered a check of ours in this generation: then it is where it says it is.
    pub(super) answered: bool,
    /// When it was last heard of, for choosing which peer-reflexive one to forget.
    heard: Instant,
    /// Where a check came from it, if that is how it was learned.
    via: Option<BaseId>,
    /// False for a place that a forgotten peer-reflexive candidate left.
    live: bool,
}

/// A foundation of the peer's; comparing costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RemoteFoundation(u32);

/// The foundations that the peer signalled, of all streams: each text once.
#[derive(Clone, Debug, Default)]
pub(super) struct Foundations(Vec<Foundation>);

impl Foundations {
    fn intern(&mut self, foundation: &Foundation) -> RemoteFoundation {
        let known = self.0.iter().position(|known| known == foundation);
        let index = known.unwrap_or_else(|| {
            self.0.push(*foundation);
            self.0.len() - 1
        });
        RemoteFoundation(u32::try_from(index).unwrap_or(u32::MAX / 2))
    }

    /// The foundation of a peer-reflexive candidate: one that no other candidate has.
    const fn own(id: RemoteId) -> RemoteFoundation {
        RemoteFoundation(1 << 31 | (id.stream as u32) << 16 | id.index as u32)
    }

    pub(super) fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }
}

/// What is known of the peer's end of a stream.
#[derive(Clone, Debug)]
pub(super) struct RemoteStream {
    pub(super) ufrag: Box<str>,
    pub(super) password: Secret,
    /// Keyed once, used for all checks. [rfc8489-9.1.1-p1]
    pub(super) key: IntegrityKey,
    candidates: Vec<RemoteCandidate>,
    /// Candidates with names that are not resolved, or resolved to what is known already.
    unresolved: Vec<Unresolved>,
    /// Whether the peer said that no more candidates will come.
    pub(super) ended: bool,
    /// Whether all its candidates are known, as it said so or does not trickle.
    pub(super) complete: bool,
}

/// A candidate of the peer's of which a name is all that is known.
#[derive(Clone, Debug)]
pub(super) struct Unresolved {
    pub(super) component: u16,
    pub(super) name: Box<str>,
    pub(super) port: u16,
    pub(super) kind: CandidateKind,
    pub(super) priority: u32,
    /// Whether it was resolved to what is known already.
    pub(super) redundant: bool,
}

/// How long a peer-reflexive candidate must not have been heard of to make room for another. Two
/// NATs that give each other a new address with each answer would go on for ever otherwise.
const REST: Duration = Duration::from_secs(10);

/// What happened to a signalled candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It is new: pair it.
    New(RemoteId),
    /// It was peer-reflexive, or known by a name alone, until now, and keeps its pairs; pair it with
    /// the bases that it has none with. [rfc8838-11-2]
    Relabelled(RemoteId),
    /// It is known already. [rfc8840-4.4-14]
    Duplicate,
}

impl RemoteCandidate {
    /// What a check that came from `address` tells of it. [rfc8445-7.3.1.3-p1]
    pub(super) fn learned(address: SocketAddr, priority: u32, via: BaseId, now: Instant) -> Self {
        Self {
            // Set when it gets its place, like its foundation.
            component: 0,
            address,
            kind: CandidateKind::PeerReflexive,
            priority,
            signalled_priority: priority,
            related: None,
            name: None,
            cost: 0,
            foundation: RemoteFoundation(u32::MAX),
            verified: true,
            answered: false,
            heard: now,
            via: Some(via),
            live: true,
        }
    }

    /// Whether nobody signalled it: a check came from it.
    pub(super) fn is_learned(&self) -> bool {
        self.kind == CandidateKind::PeerReflexive && self.via.is_some()
    }

    /// Whether all that tells of it is a check that came to another base.
    pub(super) fn is_heard_elsewhere(&self, base: BaseId) -> bool {
        self.is_learned() && self.via.is_some_and(|via| via != base)
    }

    /// Whether all that tells of it is a check that came to a base which is gone.
    pub(super) fn is_heard_nowhere(&self) -> bool {
        self.via == Some(BaseId::GONE)
    }

    pub(super) fn is_relayed(&self) -> bool {
        self.kind == CandidateKind::Relayed
    }
}

impl RemoteStream {
    pub(super) fn new(credentials: &Credentials) -> Self {
        Self {
            ufrag: credentials.ufrag.as_str().into(),
            password: Secret(credentials.password.as_str().into()),
            key: IntegrityKey::short_term(credentials.password.as_bytes()),
            candidates: Vec::new(),
            unresolved: Vec::new(),
            ended: false,
            complete: false,
        }
    }

    pub(super) fn is(&self, credentials: &Credentials) -> bool {
        *self.ufrag == *credentials.ufrag && *self.password.0 == *credentials.password
    }

    pub(super) fn get(&self, id: RemoteId) -> Option<&RemoteCandidate> {
        self.candidates.get(usize::from(id.index)).filter(|candidate| candidate.live)
    }

    pub(super) fn get_mut(&mut self, id: RemoteId) -> Option<&mut RemoteCandidate> {
        self.candidates.get_mut(usize::from(id.index)).filter(|candidate| candidate.live)
    }

    pub(super) fn iter(&self, stream: u16) -> impl Iterator<Item = (RemoteId, &RemoteCandidate)> {
        self.candidates.iter().enumerate().filter_map(move |(index, candidate)| {
            let index = u16::try_from(index).ok()?;
            candidate.live.then_some((RemoteId { stream, index }, candidate))
        })
    }

    pub(super) fn find(
        &self,
        stream: u16,
        component: u16,
        address: SocketAddr,
    ) -> Option<RemoteId> {
        self.iter(stream)
            .find(|(_, known)| known.address == address && known.component == component)
            .map(|(id, _)| id)
    }

    /// Adds a signalled candidate; one with a name has the address `ip` that it was resolved to, and
    /// is kept as unresolved without. Equal are candidates with the same address, transport and
    /// component. [rfc8840-4.4-p1]
    pub(super) fn add(
        &mut self,
        stream: u16,
        candidate: &Candidate,
        ip: Option<IpAddr>,
        config: &AgentConfig,
        foundations: &mut Foundations,
    ) -> Result<Added, CandidateRejected> {
        let Some(address) = usable_address(candidate, ip, config)? else {
            return Err(self.await_address(candidate, config));
        };
        let known = self.find(stream, candidate.component, address);
        if let Some(id) = known.filter(|id| self.get(*id).is_some_and(is_signalled)) {
            // That this is what the name stands for shows nowhere. [mdns-ice-candidates-3.3.1-2]
            let waiting = self.find_unresolved(candidate);
            if let Some(known) = waiting.and_then(|place| self.unresolved.get_mut(place)) {
                known.redundant = true;
            }
            return Ok(self.uncover(id, candidate));
        }
        let name = candidate.address.mdns_name().map(Box::from);
        let waiting = name.as_ref().and_then(|_| self.find_unresolved(candidate));
        let limits = &config.limits;
        if self.signalled() - usize::from(waiting.is_some())
            >= usize::from(limits.remote_candidates)
        {
            return Err(CandidateRejected::Limit { max: limits.remote_candidates });
        }
        if let Some(id) = known {
            self.forget_unresolved(waiting);
            let foundation = foundations.intern(&candidate.foundation);
            return Ok(self.relabel(id, candidate, name, foundation));
        }
        let of_ip = |c: &&RemoteCandidate| c.live && c.address.ip() == address.ip();
        let same_ip = self.candidates.iter().filter(of_ip).count();
        if same_ip >= usize::from(limits.remote_candidates_per_ip) {
            return Err(CandidateRejected::Limit { max: limits.remote_candidates_per_ip });
        }
        // Of what is refused nothing is kept.
        self.forget_unresolved(waiting);
        let foundation = foundations.intern(&candidate.foundation);
        let id = self.place(
            stream,
            RemoteCandidate {
                component: candidate.component,
                address,
                kind: candidate.kind,
                priority: candidate.priority,
                signalled_priority: candidate.priority,
                related: candidate.related.map(Box::new),
                name,
                cost: candidate.network_cost().unwrap_or(0),
                foundation,
                verified: false,
                answered: false,
                heard: Instant::ZERO,
                via: None,
                live: true,
            },
        );
        Ok(id.map_or(Added::Duplicate, Added::New))
    }

    /// Turns a peer-reflexive candidate into the signalled one in place: no timer, state or
    /// priority of ours changes. [rfc8838-11-2]
    fn relabel(
        &mut self,
        id: RemoteId,
        candidate: &Candidate,
        name: Option<Box<str>>,
        foundation: RemoteFoundation,
    ) -> Added {
        let Some(known) = self.get_mut(id) else { return Added::Duplicate };
        known.kind = candidate.kind;
        known.signalled_priority = candidate.priority;
        known.via = None;
        known.name = name;
        known.related = candidate.related.map(Box::new);
        known.cost = candidate.network_cost().unwrap_or(0);
        known.foundation = foundation;
        Added::Relabelled(id)
    }

    /// A candidate of an address that is known is redundant, unless that was known by a name alone:
    /// from now on the peer tells it itself, and nothing is left to hide.
    fn uncover(&mut self, id: RemoteId, candidate: &Candidate) -> Added {
        let named = candidate.address.mdns_name().is_some();
        match self.get_mut(id).filter(|known| known.name.is_some() && !named) {
            Some(known) => {
                known.name = None;
                Added::Relabelled(id)
            }
            None => Added::Duplicate,
        }
    }

    /// Keeps a candidate of which a name is all that is known, for statistics.
    /// [mdns-ice-candidates-3.3.1-3] [rfc8839-5.1-2] [mdns-ice-candidates-4-2]
    fn await_address(&mut self, candidate: &Candidate, config: &AgentConfig) -> CandidateRejected {
        let CandidateAddress::Name { host, port } = &candidate.address else {
            return CandidateRejected::AddressNotUsable;
        };
        let max = config.limits.remote_candidates;
        if candidate.address.mdns_name().is_none() || self.find_unresolved(candidate).is_some() {
            return CandidateRejected::UnresolvedName;
        }
        if self.signalled() >= usize::from(max) {
            return CandidateRejected::Limit { max };
        }
        self.unresolved.push(Unresolved {
            component: candidate.component,
            name: host.as_str().into(),
            port: *port,
            kind: candidate.kind,
            priority: candidate.priority,
            redundant: false,
        });
        CandidateRejected::UnresolvedName
    }

    fn find_unresolved(&self, candidate: &Candidate) -> Option<usize> {
        let CandidateAddress::Name { host, port } = &candidate.address else { return None };
        self.unresolved.iter().position(|known| {
            (known.component, known.port) == (candidate.component, *port)
                && known.name.eq_ignore_ascii_case(host)
        })
    }

    fn forget_unresolved(&mut self, place: Option<usize>) {
        if let Some(place) = place.filter(|place| *place < self.unresolved.len()) {
            self.unresolved.remove(place);
        }
    }

    /// How many candidates the peer signalled, names included.
    fn signalled(&self) -> usize {
        self.candidates.iter().filter(|c| is_signalled(c)).count() + self.unresolved.len()
    }

    /// The candidates of which a name is all that is known.
    pub(super) fn unresolved(&self) -> &[Unresolved] {
        &self.unresolved
    }

    /// Whether the peer hides addresses behind names.
    pub(super) fn has_names(&self) -> bool {
        let named = |c: &RemoteCandidate| c.live && c.name.is_some();
        !self.unresolved.is_empty() || self.candidates.iter().any(named)
    }

    /// Whether the peer itself told this IP address, with whatever port.
    pub(super) fn has_told(&self, ip: IpAddr) -> bool {
        let tells = |c: &RemoteCandidate| is_signalled(c) && c.name.is_none();
        self.candidates.iter().any(|c| tells(c) && c.address.ip() == ip)
    }

    /// Whether a TURN server is not to learn of a candidate by way of a base: it was signalled by a
    /// name; or it may be what a name stands for, as a check came from it and not over the relay, and
    /// the peer has names, or we have and `hides` says so.
    /// [mdns-ice-candidates-3.3.2-1]
    pub(super) fn is_kept_from_relay(
        &self,
        base: BaseId,
        remote: &RemoteCandidate,
        hides: bool,
    ) -> bool {
        remote.name.is_some() || remote.is_heard_elsewhere(base) && (hides || self.has_names())
    }

    /// Adds a candidate that a check came from. When there are too many, the one forgotten is the
    /// least recently heard of among those that `keep` does not hold on to; that is told whether it
    /// was not heard of for a while, or is one of more that came from one IP address to one base.
    /// It is returned. Those of each base are counted by themselves, with those of bases that are
    /// gone, and so are those that went `astray`: each reflexive candidate of ours may show one,
    /// before any that can be reached. [rfc8445-7.3.1.3-p1]
    pub(super) fn add_peer_reflexive(
        &mut self,
        component: ComponentId,
        learned: RemoteCandidate,
        max: u16,
        astray: impl Fn(RemoteId) -> bool,
        keep: impl Fn(RemoteId, &RemoteCandidate, bool) -> bool,
    ) -> Option<(RemoteId, Option<RemoteId>)> {
        let (stream, now, max) = (component.stream(), learned.heard, usize::from(max));
        let here = [learned.via, Some(BaseId::GONE)];
        let counts = |one: &RemoteCandidate| one.is_learned() && here.contains(&one.via);
        let known = || self.iter(stream).filter(|(_, one)| counts(one));
        let like = |a: &RemoteCandidate, b: &RemoteCandidate| a.address.ip() == b.address.ip();
        let of = |one: &RemoteCandidate| known().filter(|(_, c)| like(c, one)).count();
        let lost = known().filter(|(id, _)| astray(*id)).count().min(max);
        // However many answers come from elsewhere, a chain ends.
        let chain = of(&learned) >= max;
        let mut forgotten = None;
        if chain || known().count() >= max + lost {
            // Nor does such a chain from one IP address to one base keep others out.
            let crowds = |one: &RemoteCandidate| of(one) > of(&learned) + 1;
            let (oldest, _) = known()
                .filter(|(id, candidate)| {
                    let rested = now - candidate.heard >= REST;
                    (!chain || like(candidate, &learned))
                        && !keep(*id, candidate, rested || crowds(candidate))
                })
                .min_by_key(|(id, candidate)| (candidate.heard, *id))?;
            self.get_mut(oldest)?.live = false;
            forgotten = Some(oldest);
        }
        let id = self.place(stream, learned)?;
        let candidate = self.get_mut(id)?;
        candidate.component = component.number();
        candidate.foundation = Foundations::own(id);
        Some((id, forgotten))
    }

    /// Forgets the peer-reflexive candidates that are `useless`.
    pub(super) fn forget(&mut self, stream: u16, useless: impl Fn(RemoteId) -> bool) {
        for (index, candidate) in self.candidates.iter_mut().enumerate() {
            let Ok(index) = u16::try_from(index) else { return };
            if candidate.is_learned() && useless(RemoteId { stream, index }) {
                candidate.live = false;
            }
        }
    }

    /// A base is gone, and its place may go to another: what was heard at it was heard nowhere that
    /// there is.
    pub(super) fn forget_base(&mut self, base: BaseId) {
        for candidate in self.candidates.iter_mut().filter(|known| known.via == Some(base)) {
            candidate.via = Some(BaseId::GONE);
        }
    }

    /// Notes an authenticated packet from a candidate.
    pub(super) fn heard(&mut self, id: RemoteId, now: Instant) {
        if let Some(candidate) = self.get_mut(id) {
            candidate.verified = true;
            candidate.heard = now;
        }
    }

    /// Notes an authenticated answer of a candidate to a check of ours.
    pub(super) fn answered(&mut self, id: RemoteId, now: Instant) {
        self.heard(id, now);
        if let Some(candidate) = self.get_mut(id) {
            candidate.answered = true;
        }
    }

    /// Whether a check of ours was answered from an IP address.
    pub(super) fn has_answered(&self, ip: IpAddr) -> bool {
        self.candidates.iter().any(|c| c.live && c.answered && c.address.ip() == ip)
    }

    fn place(&mut self, stream: u16, candidate: RemoteCandidate) -> Option<RemoteId> {
        if let Some(index) = self.candidates.iter().position(|known| !known.live) {
            *self.candidates.get_mut(index)? = candidate;
            return Some(RemoteId { stream, index: u16::try_from(index).ok()? });
        }
        let index = u16::try_from(self.candidates.len()).ok()?;
        self.candidates.push(candidate);
        Some(RemoteId { stream, index })
    }

    pub(super) fn shrink(&mut self) {
        self.candidates.shrink_to_fit();
        self.unresolved.shrink_to_fit();
    }
}

fn is_signalled(candidate: &RemoteCandidate) -> bool {
    candidate.live && !candidate.is_learned()
}

/// Returns the address of a candidate that may be checked at all; `None` is one that has a name,
/// which was resolved to `ip` or is still to be.
fn usable_address(
    candidate: &Candidate,
    ip: Option<IpAddr>,
    config: &AgentConfig,
) -> Result<Option<SocketAddr>, CandidateRejected> {
    match candidate.protocol {
        Protocol::Udp => {}
        Protocol::Tcp => return Err(CandidateRejected::UnsupportedTransport),
    }
    // Names are somebody else's to resolve. [rfc8839-5.1-2]
    let address = match &candidate.address {
        CandidateAddress::Ip(address) => *address,
        CandidateAddress::Name { host: _, port } => match ip {
            Some(ip) => SocketAddr::new(ip, *port),
            None => return Ok(None),
        },
    };
    let address = on_its_link(address);
    let ip = address.ip();
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() || broadcast {
        return Err(CandidateRejected::AddressNotUsable);
    }
    let refused = ip.is_loopback() && !config.remote_loopback
        || is_link_local(&address) && !config.remote_link_local;
    if refused {
        return Err(CandidateRejected::AddressNotUsable);
    }
    Ok(Some(address))
}
