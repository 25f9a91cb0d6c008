//! Bases and local candidates: what the agent may send from, and what it signals.
//! [RFC 8445 §5.1] [RFC 8421]

use std::net::{IpAddr, SocketAddr};

use crate::candidate::{Candidate, CandidateAddress, CandidateKind, Foundation, priority};
use crate::net::{ComponentId, is_link_local};

use super::names::Names;

/// A base of an agent: a place to send from. The endpoint knows which socket or relay it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BaseId(pub(crate) u16);

impl BaseId {
    /// Of one whose socket is gone: no base has it.
    pub(super) const GONE: Self = Self(u16::MAX);
}

/// A local candidate of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LocalId(u16);

/// What the endpoint says of a base.
#[derive(Clone, Debug)]
pub(crate) struct BaseConfig {
    pub(crate) component: ComponentId,
    pub(crate) address: SocketAddr,
    pub(crate) cost: u16,
    pub(crate) reliable: bool,
    pub(crate) signalled: bool,
    pub(crate) relayed: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Base {
    pub(super) component: ComponentId,
    pub(super) address: SocketAddr,
    pub(super) cost: u16,
    pub(super) relayed: bool,
    reliable: bool,
    /// Distinct among the bases of a component. [rfc8445-5.1.2.1-5] [rfc8421-5-1]
    pub(super) local_preference: u16,
    /// The candidate of the base with the highest priority; without one it is not paired.
    pub(super) candidate: Option<LocalId>,
    /// False once the socket is gone.
    pub(super) usable: bool,
    /// It turned up too late to be signalled: a candidate with the next restart.
    waiting: bool,
}

impl Base {
    fn new(config: &BaseConfig) -> Self {
        Self {
            component: config.component,
            address: config.address,
            cost: config.cost,
            relayed: config.relayed,
            reliable: config.reliable,
            local_preference: 0,
            candidate: None,
            usable: true,
            waiting: false,
        }
    }
}

/// Where a reflexive or relayed candidate came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    /// The server that gave it.
    pub(super) server: IpAddr,
    /// The related address of a relayed candidate, unless that is hidden.
    pub(super) mapped: Option<SocketAddr>,
}

/// A local candidate, as the checks need it.
#[derive(Clone, Debug)]
pub(super) struct LocalCandidate {
    pub(super) kind: CandidateKind,
    pub(super) base: BaseId,
    pub(super) address: SocketAddr,
    pub(super) priority: u32,
    pub(super) foundation: u16,
    /// In a box: host candidates have none.
    origin: Option<Box<Origin>>,
    /// Whether the peer is told of it: a local peer-reflexive one is not.
    pub(super) signalled: bool,
    /// Its place among the candidates of this generation, in the order in which they were found.
    pub(super) place: u16,
    /// False for one of an earlier generation that was not found again.
    live: bool,
}

/// Distance between the local preferences of neighbouring bases: room for several servers.
/// [rfc8445-5.1.2.2-3]
const PREFERENCE_STEP: u16 = 16;

/// The bases and candidates of an agent, over all its generations.
#[derive(Clone, Debug, Default)]
pub(super) struct Local {
    bases: Vec<Base>,
    candidates: Vec<LocalCandidate>,
    next_foundation: u16,
    next_place: u16,
    /// How many bases went in this generation.
    turnover: u8,
    /// The names of our host addresses, where these are hidden.
    pub(super) names: Option<Box<Names>>,
}

impl Local {
    pub(super) fn base(&self, id: BaseId) -> Option<&Base> {
        self.bases.get(usize::from(id.0))
    }

    pub(super) fn bases(&self) -> impl Iterator<Item = (BaseId, &Base)> {
        self.bases
            .iter()
            .enumerate()
            .filter_map(|(index, base)| Some((BaseId(u16::try_from(index).ok()?), base)))
    }

    pub(super) fn candidate(&self, id: LocalId) -> Option<&LocalCandidate> {
        self.candidates.get(usize::from(id.0))
    }

    /// The candidates of this generation.
    pub(super) fn candidates(&self) -> impl Iterator<Item = (LocalId, &LocalCandidate)> {
        self.candidates.iter().enumerate().filter_map(|(index, candidate)| {
            let index = u16::try_from(index).ok()?;
            candidate.live.then_some((LocalId(index), candidate))
        })
    }

    /// Adds the bases known at the start, and gives them their preferences.
    pub(super) fn add_bases(&mut self, configs: &[BaseConfig]) {
        self.bases.extend(configs.iter().map(Base::new));
        self.assign_preferences();
    }

    /// A base whose socket is gone and that no candidate refers to: its place may be used again.
    pub(super) fn free_base(&self) -> Option<BaseId> {
        self.bases()
            .find(|(id, base)| {
                !base.usable && !self.candidates.iter().any(|candidate| candidate.base == *id)
            })
            .map(|(id, _)| id)
    }

    /// Adds a base that turned up later, at the place `free` if there is one: below all others,
    /// until a restart sorts them anew.
    pub(super) fn add_late_base(
        &mut self,
        config: &BaseConfig,
        free: Option<BaseId>,
    ) -> Option<BaseId> {
        let usable = self.bases.iter().filter(|base| base.usable);
        let lowest = usable.map(|base| base.local_preference).min();
        let mut base = Base::new(config);
        base.local_preference =
            lowest.map_or(u16::MAX, |lowest| lowest.saturating_sub(PREFERENCE_STEP).max(1));
        if let Some(id) = free {
            *self.bases.get_mut(usize::from(id.0))? = base;
            return Some(id);
        }
        let id = u16::try_from(self.bases.len()).ok().map(BaseId);
        let id = id.filter(|id| *id != BaseId::GONE)?;
        self.bases.push(base);
        Some(id)
    }

    /// Forgets the candidates of earlier generations, once no pair of theirs is left. Returns where
    /// each candidate went, by its old place.
    pub(super) fn compact(&mut self, used: impl Fn(LocalId) -> bool) -> Vec<Option<LocalId>> {
        let mut places = Vec::with_capacity(self.candidates.len());
        let mut kept = 0u16;
        for (place, candidate) in self.candidates.iter().enumerate() {
            let keep = candidate.live || u16::try_from(place).is_ok_and(|id| used(LocalId(id)));
            places.push(keep.then_some(LocalId(kept)));
            kept += u16::from(keep);
        }
        let mut keep = places.iter().map(Option::is_some);
        self.candidates.retain(|_| keep.next().unwrap_or(false));
        for base in &mut self.bases {
            base.candidate = base.candidate.and_then(|id| moved(&places, id));
        }
        places
    }

    /// Gives all usable bases their local preferences: families and interfaces interleaved,
    /// unreliable ones after them and relays last, and of two ports on one address the newer first,
    /// as the older may be what a restart is to get away from. A single address has 65535.
    /// [rfc8445-5.1.2.1-4]
    /// [rfc8445-5.2-8] [rfc8421-1-p1] [rfc8445-5.1.2.1-6] [rfc8445-5.1.2.2-2] [rfc8445-B.9-1]
    fn assign_preferences(&mut self) {
        let mut order: Vec<usize> = (0..self.bases.len())
            .filter(|&index| self.bases.get(index).is_some_and(|base| base.usable))
            .collect();
        order.sort_by_key(|&index| {
            self.bases.get(index).map(|base| {
                let local = is_link_local(&base.address);
                (base.relayed, !base.reliable, base.component, local, base.cost)
            })
        });
        interleave(&mut order, &self.bases);
        let mut ranks: Vec<(IpAddr, u16)> = Vec::new();
        for index in order {
            let Some(base) = self.bases.get_mut(index) else { continue };
            let ip = base.address.ip();
            // One address with the ports of several components has one rank.
            let known = ranks.iter().find(|(known, _)| *known == ip).map(|(_, rank)| *rank);
            let rank = known.unwrap_or_else(|| {
                let rank = u16::try_from(ranks.len()).unwrap_or(u16::MAX);
                ranks.push((ip, rank));
                rank
            });
            base.local_preference = u16::MAX.saturating_sub(rank.saturating_mul(PREFERENCE_STEP));
        }
        self.separate_preferences();
    }

    /// Gives bases of one component that share an address distinct preferences, the newest the
    /// highest.
    fn separate_preferences(&mut self) {
        for index in (0..self.bases.len()).rev() {
            let (rest, after) = self.bases.split_at_mut(index + 1);
            let Some(base) = rest.last_mut() else { continue };
            let clashes = |preference: u16| {
                after.iter().any(|other| {
                    other.usable
                        && other.component == base.component
                        && other.local_preference == preference
                })
            };
            let mut preference = base.local_preference;
            while clashes(preference) && preference > 1 {
                preference -= 1;
            }
            base.local_preference = preference;
        }
    }

    /// A base is gone, and with it its candidates. [rfc8445-5.1.1.4-3]
    pub(super) fn remove_base(&mut self, id: BaseId) {
        if let Some(base) = self.bases.get_mut(usize::from(id.0)) {
            base.usable = false;
            base.waiting = false;
            self.turnover = self.turnover.saturating_add(1);
        }
        for candidate in self.candidates.iter_mut().filter(|candidate| candidate.base == id) {
            candidate.live = false;
        }
    }

    /// How many bases went in this generation.
    pub(super) fn turnover(&self) -> u8 {
        self.turnover
    }

    /// Whether some base is gone whose place is not free yet.
    pub(super) fn has_gone(&self) -> bool {
        self.bases.iter().any(|base| !base.usable)
    }

    /// Whether there is any socket.
    pub(super) fn is_connected(&self) -> bool {
        self.bases.iter().any(|base| base.usable && !base.relayed)
    }

    /// Whether any socket is a candidate.
    pub(super) fn has_host(&self) -> bool {
        self.bases.iter().any(|base| base.usable && !base.relayed && base.candidate.is_some())
    }

    /// Whether a component has a socket on this IP address.
    pub(super) fn has_base_at(&self, component: ComponentId, ip: IpAddr) -> bool {
        self.bases.iter().any(|base| {
            base.usable && !base.relayed && base.component == component && base.address.ip() == ip
        })
    }

    /// A base waits for the next restart.
    pub(super) fn wait(&mut self, id: BaseId) {
        if let Some(base) = self.bases.get_mut(usize::from(id.0)) {
            base.waiting = true;
        }
    }

    /// Takes the bases that waited, with their addresses.
    pub(super) fn take_waiting(&mut self) -> Vec<(BaseId, SocketAddr)> {
        let bases = self.bases.iter_mut().enumerate();
        let waiting = bases.filter_map(|(index, base)| {
            let id = BaseId(u16::try_from(index).ok()?);
            core::mem::take(&mut base.waiting).then_some((id, base.address))
        });
        waiting.collect()
    }

    /// A base is not seen at `mapped` any more: that is no candidate from now on.
    pub(super) fn forget_mapping(&mut self, id: BaseId, mapped: SocketAddr) {
        let outdated = |known: &&mut LocalCandidate| {
            known.base == id
                && known.kind == CandidateKind::ServerReflexive
                && known.address == mapped
        };
        if let Some(known) = self.candidates.iter_mut().find(outdated) {
            known.live = false;
            self.choose_candidate(id);
        }
    }

    /// Adds a candidate unless it is redundant: equal in address and base to one that is there. One
    /// that a server saw is not redundant with one that has a name, and what is left of an earlier
    /// generation, or was learnt from an answer to a check alone, makes room for it.
    /// [rfc8445-5.1.3-1] [rfc8445-5.1.3-p1] [rfc8838-9-p1] [mdns-ice-candidates-3.1.2.2-1]
    pub(super) fn add_candidate(
        &mut self,
        kind: CandidateKind,
        base_id: BaseId,
        address: SocketAddr,
        origin: Option<Origin>,
        signalled: bool,
    ) -> Option<LocalId> {
        let apart = |known: &LocalCandidate| {
            let seen = kind == CandidateKind::ServerReflexive;
            self.conceals() && seen && known.kind == CandidateKind::Host
        };
        let same = |known: &LocalCandidate| {
            known.address == address && known.base == base_id && !apart(known)
        };
        let known = self.candidates.iter().position(same);
        if let Some(known) = known.and_then(|known| self.candidates.get_mut(known)) {
            if known.live && (known.signalled || !signalled) {
                return None;
            }
            // It does not stand in the way of its own priority.
            known.priority = 0;
        }
        let base = self.base(base_id)?;
        // A peer-reflexive one has the priority that its check carried. [rfc8445-7.2.5.3.1-p1]
        let priority = match kind {
            CandidateKind::PeerReflexive => {
                priority(kind, base.local_preference, base.component.number())
            }
            CandidateKind::Host | CandidateKind::ServerReflexive | CandidateKind::Relayed => {
                self.unused_priority(kind, base)
            }
        };
        let server = origin.map(|origin| origin.server);
        let foundation = self.foundation(kind, base.address.ip(), server);
        let candidate = LocalCandidate {
            kind,
            base: base_id,
            address,
            priority,
            foundation,
            origin: origin.map(Box::new),
            signalled,
            place: self.take_place(),
            live: true,
        };
        let id = LocalId(u16::try_from(known.unwrap_or(self.candidates.len())).ok()?);
        match self.candidates.get_mut(usize::from(id.0)) {
            Some(known) => *known = candidate,
            None => self.candidates.push(candidate),
        }
        self.choose_candidate(base_id);
        Some(id)
    }

    /// Returns the place after those of all candidates so far. [rfc8840-4.4-13b]
    fn take_place(&mut self) -> u16 {
        self.next_place = self.next_place.saturating_add(1);
        self.next_place
    }

    /// Lets the live candidate with the highest priority stand for a base.
    fn choose_candidate(&mut self, id: BaseId) {
        let best = self
            .candidates()
            .filter(|(_, candidate)| candidate.base == id && candidate.signalled)
            .max_by_key(|(_, candidate)| candidate.priority)
            .map(|(best, _)| best);
        if let Some(base) = self.bases.get_mut(usize::from(id.0)) {
            base.candidate = best;
        }
    }

    /// The priority of a new candidate: by the base's preference, lowered until no other candidate
    /// of the component has it, since several servers may each give one. [rfc8445-5.1.2-1a]
    /// [rfc8445-5.2-6]
    fn unused_priority(&self, kind: CandidateKind, base: &Base) -> u32 {
        let mut preference = base.local_preference.max(1);
        loop {
            let priority = priority(kind, preference, base.component.number());
            let used = self.candidates.iter().any(|known| {
                known.priority == priority
                    && self.base(known.base).is_some_and(|other| other.component == base.component)
            });
            if !used || preference <= 1 {
                return priority;
            }
            preference -= 1;
        }
    }

    /// The foundation of a candidate: the number of the first one with the same type, base IP
    /// address and server. [rfc8445-5.1.1.3-p1] [rfc8445-5.2-5a] [rfc8445-5.2-5b]
    fn foundation(&mut self, kind: CandidateKind, base: IpAddr, server: Option<IpAddr>) -> u16 {
        let known = self.candidates.iter().find(|known| {
            known.kind == kind
                && known.origin.as_ref().map(|origin| origin.server) == server
                && self.base(known.base).is_some_and(|known| known.address.ip() == base)
        });
        if let Some(known) = known {
            return known.foundation;
        }
        loop {
            self.next_foundation = self.next_foundation.saturating_add(1);
            let number = self.next_foundation;
            let used = self.candidates.iter().any(|known| known.foundation == number);
            if !used || number == u16::MAX {
                return number;
            }
        }
    }

    /// Finds the candidate of `base` with this address: what a response's mapped address means.
    pub(super) fn find(&self, base: BaseId, address: SocketAddr) -> Option<LocalId> {
        self.candidates()
            .find(|(_, candidate)| candidate.base == base && candidate.address == address)
            .map(|(id, _)| id)
    }

    /// Whether this is an address of ours that is not signalled.
    pub(super) fn withholds(&self, ip: IpAddr) -> bool {
        let mut bases = self.bases().filter(|(_, base)| !base.relayed && base.address.ip() == ip);
        bases.any(|(id, base)| !self.tells(id, base))
    }

    /// Whether the address of a base itself is signalled.
    fn tells(&self, id: BaseId, base: &Base) -> bool {
        let host = self.find(id, base.address).and_then(|id| self.candidate(id));
        host.is_some_and(|host| host.signalled)
    }

    /// Whether a component has a candidate with this IP address.
    pub(super) fn offers(&self, component: ComponentId, ip: IpAddr) -> bool {
        self.candidates.iter().any(|known| {
            known.address.ip() == ip
                && self.base(known.base).is_some_and(|base| base.component == component)
        })
    }

    /// How many peer-reflexive candidates a base has got.
    pub(super) fn peer_reflexive(&self) -> usize {
        self.candidates().filter(|(_, known)| known.kind == CandidateKind::PeerReflexive).count()
    }

    /// The candidate as it is signalled: by its address, or by the name that hides that, and never
    /// by another. [rfc8445-5.1.1.2-p2] [rfc8839-5.1-1] [mdns-ice-candidates-3.1.2.4-1]
    /// [mdns-ice-candidates-3.1.2.4-4a] [mdns-ice-candidates-3.1.2.4-4b]
    pub(super) fn describe(&self, id: LocalId, ufrag: &str) -> Option<Candidate> {
        let local = self.candidate(id)?;
        let base = self.base(local.base)?;
        let mut candidate = Candidate::udp(
            local.kind,
            Foundation::from_number(u32::from(local.foundation)),
            base.component.number(),
            local.priority,
            local.address,
        );
        if self.conceals() && local.kind == CandidateKind::Host {
            let (host, port) = (self.name_of(local)?.to_owned(), local.address.port());
            candidate.address = CandidateAddress::Name { host, port };
        }
        candidate.related = self.related(local);
        candidate.extensions.push(("ufrag".to_owned(), ufrag.to_owned()));
        if base.cost > 0 {
            candidate.extensions.push(("network-cost".to_owned(), base.cost.to_string()));
        }
        Some(candidate)
    }

    /// The related address: the base, unless the base itself is not signalled; of a relayed one
    /// our address as the TURN server saw it, unless that is not to be known. [rfc8445-5.3-4]
    /// [rfc8839-5.1-p2] [rfc8839-5.1-6] [rfc8839-5.1-7] [rfc8839-5.1-8] [rfc8839-9.1-1]
    /// [mdns-ice-candidates-3.1.2.2-2]
    fn related(&self, local: &LocalCandidate) -> Option<SocketAddr> {
        let base = self.base(local.base)?;
        let shown = match local.kind {
            CandidateKind::Host => return None,
            CandidateKind::Relayed
            | CandidateKind::ServerReflexive
            | CandidateKind::PeerReflexive
                if self.conceals() =>
            {
                None
            }
            CandidateKind::Relayed => local.origin.as_ref().and_then(|origin| origin.mapped),
            CandidateKind::ServerReflexive | CandidateKind::PeerReflexive => {
                self.tells(local.base, base).then_some(base.address)
            }
        };
        if shown.is_some() {
            return shown;
        }
        let hidden: IpAddr = match base.address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        Some(SocketAddr::new(hidden, 9))
    }

    /// Begins a generation: host candidates stay, all others are to be found again, and are put
    /// aside for pairs of the generation before. [rfc8839-4.4.1.1.1-5a]
    pub(super) fn begin_generation(&mut self) {
        self.turnover = 0;
        self.next_foundation = 0;
        let bases = &self.bases;
        let usable = |id: BaseId| bases.get(usize::from(id.0)).is_some_and(|base| base.usable);
        for candidate in &mut self.candidates {
            candidate.live = candidate.kind == CandidateKind::Host && usable(candidate.base);
        }
        self.assign_preferences();
        for candidate in self.candidates.iter_mut().filter(|candidate| candidate.live) {
            if let Some(base) = self.bases.get(usize::from(candidate.base.0)) {
                let component = base.component.number();
                candidate.priority = priority(candidate.kind, base.local_preference, component);
            }
        }
        for index in 0..self.bases.len() {
            if let Ok(index) = u16::try_from(index) {
                self.choose_candidate(BaseId(index));
            }
        }
        self.assign_places();
    }

    /// Gives the candidates that a generation begins with their places, component by component.
    /// [rfc8838-17-1a] [rfc8838-17-1b]
    fn assign_places(&mut self) {
        let Self { bases, candidates, next_place, .. } = self;
        let mut order: Vec<&mut LocalCandidate> =
            candidates.iter_mut().filter(|candidate| candidate.live).collect();
        order.sort_by_key(|candidate| {
            bases.get(usize::from(candidate.base.0)).map(|base| base.component)
        });
        *next_place = 0;
        for candidate in order {
            *next_place = next_place.saturating_add(1);
            candidate.place = *next_place;
        }
    }

    pub(super) fn shrink(&mut self) {
        self.bases.shrink_to_fit();
        self.candidates.shrink_to_fit();
    }
}

/// Where a candidate is after [`Local::compact`].
pub(super) fn moved(places: &[Option<LocalId>], id: LocalId) -> Option<LocalId> {
    places.get(usize::from(id.0)).copied().flatten()
}

/// Interleaves the two families within the reliable bases: after every `(n4 + n6) / n4` one of
/// IPv4. [rfc8421-4-p1] [rfc8421-4-p2] [rfc8421-4-p3] [rfc8421-5-p2] [rfc8421-3-p2]
fn interleave(order: &mut [usize], bases: &[Base]) {
    let reliable = order
        .iter()
        .take_while(|&&index| bases.get(index).is_some_and(|base| base.reliable && !base.relayed))
        .count();
    let Some(reliable) = order.get_mut(..reliable) else { return };
    let is_v4 = |index: &usize| bases.get(*index).is_some_and(|base| base.address.is_ipv4());
    let mut v4 = reliable.iter().copied().filter(is_v4).collect::<Vec<_>>().into_iter();
    let mut v6 =
        reliable.iter().copied().filter(|index| !is_v4(index)).collect::<Vec<_>>().into_iter();
    if v4.len() == 0 || v6.len() == 0 {
        return;
    }
    let run = (v4.len() + v6.len()) / v4.len();
    for (place, slot) in reliable.iter_mut().enumerate() {
        let wants_v4 = (place + 1) % (run.max(2)) == 0;
        let next = if wants_v4 {
            v4.next().or_else(|| v6.next())
        } else {
            v6.next().or_else(|| v4.next())
        };
        if let Some(next) = next {
            *slot = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(address: &str) -> BaseConfig {
        BaseConfig {
            component: ComponentId::FIRST,
            address: address.parse().unwrap(),
            cost: 0,
            reliable: true,
            signalled: true,
            relayed: false,
        }
    }

    /// [rfc8445-5.1.2.1-4]
    #[test]
    fn a_single_address_has_the_highest_local_preference() {
        let mut local = Local::default();
        local.add_bases(&[base("192.0.2.1:1")]);
        assert_eq!(local.bases[0].local_preference, 65_535);
    }

    /// [rfc8421-4-p1] [rfc8421-4-p2] [rfc8421-4-p3] [rfc8445-5.1.2.1-6] [rfc8445-5.1.2.2-2]
    #[test]
    fn ipv4_follows_a_run_of_ipv6() {
        let mut local = Local::default();
        local.add_bases(&[
            base("192.0.2.1:1"),
            base("[2001:db8::1]:1"),
            base("[2001:db8::2]:1"),
            base("[2001:db8::3]:1"),
            base("192.0.2.2:1"),
            base("[2001:db8::4]:1"),
        ]);
        let mut order: Vec<_> = local.bases.iter().collect();
        order.sort_by_key(|base| std::cmp::Reverse(base.local_preference));
        let families: Vec<_> = order.iter().map(|base| base.address.is_ipv4()).collect();
        assert_eq!(families, [false, false, true, false, false, true]);
    }

    /// [rfc8421-3-p1] [rfc8421-5-p2] [rfc8421-3-p2]
    #[test]
    fn unreliable_interfaces_come_last() {
        let mut local = Local::default();
        let mut unreliable = base("[2001:db8::1]:1");
        unreliable.reliable = false;
        local.add_bases(&[unreliable, base("192.0.2.1:1"), base("[2001:db8::2]:1")]);
        assert!(local.bases[0].local_preference < local.bases[1].local_preference);
        assert!(local.bases[0].local_preference < local.bases[2].local_preference);
    }

    /// [rfc8445-5.1.2.1-5] [rfc8445-5.1.2-1a] [rfc8421-5-1] [rfc8445-5.1.2.2-3]
    #[test]
    fn priorities_are_unique() {
        let mut local = Local::default();
        local.add_bases(&[base("192.0.2.1:1"), base("192.0.2.1:2"), base("[2001:db8::2]:1")]);
        for index in 0..3 {
            let id = BaseId(index);
            let address = local.base(id).unwrap().address;
            local.add_candidate(CandidateKind::Host, id, address, None, true).unwrap();
            for server in 0..3u8 {
                let mapped = format!("198.51.100.{index}:{}", 100 + server).parse().unwrap();
                let server = IpAddr::from([203, 0, 113, server]);
                let from = Origin { server, mapped: None };
                let kind = CandidateKind::ServerReflexive;
                local.add_candidate(kind, id, mapped, Some(from), true).unwrap();
            }
        }
        let mut priorities: Vec<_> = local.candidates.iter().map(|c| c.priority).collect();
        let all = priorities.len();
        priorities.sort_unstable();
        priorities.dedup();
        assert_eq!(priorities.len(), all);
    }

    /// [rfc8445-5.1.1.3-p1]
    #[test]
    fn a_foundation_is_shared_by_type_base_and_server() {
        let mut local = Local::default();
        let mut rtcp = base("192.0.2.1:2");
        rtcp.component = ComponentId::new(0, 2).unwrap();
        local.add_bases(&[base("192.0.2.1:1"), rtcp, base("192.0.2.2:1")]);
        let mut foundations = Vec::new();
        for index in 0..3 {
            let address = local.base(BaseId(index)).unwrap().address;
            let id = local.add_candidate(CandidateKind::Host, BaseId(index), address, None, true);
            foundations.push(local.candidate(id.unwrap()).unwrap().foundation);
        }
        assert_eq!(foundations[0], foundations[1]);
        assert_ne!(foundations[0], foundations[2]);
        let server = Some(Origin { server: IpAddr::from([203, 0, 113, 1]), mapped: None });
        let mapped = "198.51.100.1:1".parse().unwrap();
        let kind = CandidateKind::ServerReflexive;
        let srflx = local.add_candidate(kind, BaseId(0), mapped, server, true).unwrap();
        assert!(!foundations.contains(&local.candidate(srflx).unwrap().foundation));
    }

    /// An answer to a check of the generation before may come while the server is asked anew.
    #[test]
    fn an_address_that_a_check_showed_first_is_signalled_once_a_server_tells_it() {
        let mut local = Local::default();
        local.add_bases(&[base("192.0.2.1:1")]);
        let (id, mapped) = (BaseId(0), "198.51.100.1:7".parse().unwrap());
        let learnt = local.add_candidate(CandidateKind::PeerReflexive, id, mapped, None, false);
        let from = Origin { server: IpAddr::from([203, 0, 113, 1]), mapped: None };
        let kind = CandidateKind::ServerReflexive;
        assert_eq!(local.add_candidate(kind, id, mapped, Some(from), true), learnt);
        let candidate = local.candidate(learnt.unwrap()).unwrap();
        assert!(candidate.kind == kind && candidate.signalled);
        assert_eq!(candidate.priority, priority(kind, 65_535, 1));
        assert_eq!(local.add_candidate(kind, id, mapped, Some(from), true), None);
    }

    /// [rfc8445-5.1.3-1] [rfc8445-5.1.3-p1] [rfc8838-9-p1]
    #[test]
    fn redundant_candidates_are_removed() {
        let mut local = Local::default();
        local.add_bases(&[base("192.0.2.1:1"), base("192.0.2.1:2")]);
        let address = "192.0.2.1:1".parse().unwrap();
        assert!(local.add_candidate(CandidateKind::Host, BaseId(0), address, None, true).is_some());
        let kind = CandidateKind::ServerReflexive;
        assert!(local.add_candidate(kind, BaseId(0), address, None, true).is_none());
        assert!(local.add_candidate(kind, BaseId(1), address, None, true).is_some());
    }
}
