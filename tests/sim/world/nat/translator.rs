//! A NAT at work.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use floe::Instant;

use crate::world::nat::filter::{Filter, Use};
use crate::world::nat::{Depends, Exhaustion, Hairpin, Nat, Pooling, Ports, Scope, key};
use crate::world::rng::Rng;

/// The lowest port that is given out.
const LOWEST: u16 = 1024;

/// An internal endpoint, and what of the peer the mapping depends on.
type MappingKey = (SocketAddr, Option<(IpAddr, u16)>);

#[derive(Clone, Debug)]
struct Mapping {
    key: MappingKey,
    used: Use,
}

impl Mapping {
    const fn inside(&self) -> SocketAddr {
        self.key.0
    }
}

/// A NAT at work.
#[derive(Clone, Debug)]
pub(crate) struct NatBox {
    pub(crate) behaviour: Nat,
    externals: Vec<IpAddr>,
    by_key: BTreeMap<MappingKey, SocketAddr>,
    /// By the external endpoint; more than one where ports are overloaded.
    mappings: BTreeMap<SocketAddr, Vec<Mapping>>,
    filter: Filter,
    paired: BTreeMap<IpAddr, IpAddr>,
    /// What came unasked to an external endpoint, and from whom.
    unasked: BTreeMap<(SocketAddr, SocketAddr), Use>,
    /// What is to be given to the same again, after a reboot.
    remembered: BTreeMap<MappingKey, SocketAddr>,
    /// What is not to be given to anybody, after a reboot.
    avoided: BTreeSet<SocketAddr>,
    last_port: u16,
    /// The second in which mappings were made last, and how many.
    made: (u64, u32),
    rng: Rng,
}

impl NatBox {
    pub(crate) fn new(behaviour: Nat, externals: Vec<IpAddr>, rng: Rng) -> Self {
        assert!(!externals.is_empty(), "a NAT has an external address");
        Self {
            behaviour,
            externals,
            by_key: BTreeMap::new(),
            mappings: BTreeMap::new(),
            filter: Filter::new(behaviour.filtering),
            paired: BTreeMap::new(),
            unasked: BTreeMap::new(),
            remembered: BTreeMap::new(),
            avoided: BTreeSet::new(),
            last_port: LOWEST,
            made: (0, 0),
            rng,
        }
    }

    pub(crate) fn externals(&self) -> &[IpAddr] {
        &self.externals
    }

    /// Translates the source of a packet on its way out; `None` if it is not let out.
    pub(crate) fn outbound(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Option<SocketAddr> {
        let external = self.external_for(now, from, to)?;
        let timers = self.behaviour.timers();
        if let Some(mapping) = self.mapping_of(external, from) {
            mapping.used.sent(now, &timers);
        }
        let from_key = self.scope(external, from);
        self.filter.sent(now, &timers, from_key, to);
        let hairpin = self.externals.contains(&to.ip());
        match self.behaviour.hairpin {
            Hairpin::None if hairpin => None,
            Hairpin::Internal if hairpin => Some(from),
            Hairpin::None | Hairpin::Internal | Hairpin::External => Some(external),
        }
    }

    /// Finds whom a packet from outside is for; `None` if it is not let in.
    pub(crate) fn inbound(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Option<SocketAddr> {
        let timers = self.behaviour.timers();
        let live = self.mappings.get(&to).into_iter().flatten();
        let live = live.filter(|mapping| mapping.used.is_alive(now, &timers));
        let mut owners: Vec<_> =
            live.map(|mapping| (mapping.used.last(), mapping.inside())).collect();
        owners.sort();
        while let Some((_, inside)) = owners.pop() {
            let scope = self.scope(to, inside);
            if self.filter.admits(now, &timers, scope, from) {
                if let Some(mapping) = self.mapping_of(to, inside) {
                    mapping.used.heard(now, &timers);
                }
                return Some(inside);
            }
        }
        if self.behaviour.clash {
            self.unasked.retain(|_, seen| seen.is_alive(now, &timers));
            self.unasked.insert((to, from), Use::new(now));
        }
        None
    }

    /// Whom `to` belongs to, whatever the filter says.
    pub(crate) fn owner(&self, to: SocketAddr) -> Option<SocketAddr> {
        self.mappings.get(&to)?.last().map(Mapping::inside)
    }

    /// An ICMP error came about a packet from `from` to `to`; returns how it looked outside.
    pub(crate) fn icmp(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Option<SocketAddr> {
        let external = self.known(now, from, to)?;
        if self.behaviour.icmp_kills {
            self.remove(external, from);
        }
        Some(external)
    }

    /// Forgets everything; each who had a mapping gets the same one again.
    pub(crate) fn reboot_with_same_ports(&mut self) {
        let remembered = core::mem::take(&mut self.by_key);
        let paired = core::mem::take(&mut self.paired);
        self.forget();
        (self.remembered, self.paired) = (remembered, paired);
    }

    /// Forgets everything, and gives no mapping twice.
    pub(crate) fn reboot(&mut self) {
        self.avoided.extend(self.mappings.keys());
        self.forget();
    }

    /// Forgets everything, and has other addresses.
    pub(crate) fn reboot_elsewhere(&mut self, externals: Vec<IpAddr>) {
        self.forget();
        self.externals = externals;
    }

    fn forget(&mut self) {
        self.by_key.clear();
        self.mappings.clear();
        self.filter.clear();
        self.paired.clear();
        self.unasked.clear();
        self.remembered.clear();
    }

    /// What the filter remembers a packet under.
    fn scope(&self, external: SocketAddr, inside: SocketAddr) -> SocketAddr {
        match self.behaviour.scope {
            Scope::Mapping if self.behaviour.ports != Ports::Overload => external,
            Scope::Mapping | Scope::Endpoint => inside,
        }
    }

    fn mapping_of(&mut self, external: SocketAddr, inside: SocketAddr) -> Option<&mut Mapping> {
        self.mappings.get_mut(&external)?.iter_mut().find(|mapping| mapping.inside() == inside)
    }

    /// The live mapping of a packet from `from` to `to`.
    fn known(&self, now: Instant, from: SocketAddr, to: SocketAddr) -> Option<SocketAddr> {
        let timers = self.behaviour.timers();
        let keys = [Depends::AddressAndPort, self.behaviour.mapping].map(|d| (from, key(d, to)));
        keys.into_iter().find_map(|key| {
            let external = *self.by_key.get(&key)?;
            let mut mappings = self.mappings.get(&external)?.iter();
            mappings.any(|m| m.key == key && m.used.is_alive(now, &timers)).then_some(external)
        })
    }

    /// The mapping that a packet from `from` to `to` leaves by, made if there is none.
    fn external_for(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Option<SocketAddr> {
        let external = match self.known(now, from, to) {
            Some(external) => external,
            None => self.map(now, (from, key(self.behaviour.mapping, to)), None)?,
        };
        let timers = self.behaviour.timers();
        let came =
            self.unasked.get(&(external, to)).is_some_and(|seen| seen.is_alive(now, &timers));
        let scope = self.scope(external, from);
        if !came || self.filter.knows(now, &timers, scope, to) {
            return Some(external);
        }
        // The router holds this tuple for a packet to itself.
        self.map(now, (from, key(Depends::AddressAndPort, to)), Some(external))
    }

    /// Makes a mapping, not at `taken`.
    fn map(
        &mut self,
        now: Instant,
        key: MappingKey,
        taken: Option<SocketAddr>,
    ) -> Option<SocketAddr> {
        self.expire(now);
        if let Some((max, then)) = self.behaviour.limit
            && self.mappings.len() >= max
        {
            match then {
                Exhaustion::Refuse => return None,
                Exhaustion::Evict => self.evict(),
            }
        }
        if let Some(rate) = self.behaviour.rate {
            let second = now.as_nanos() / 1_000_000_000;
            if self.made.0 != second {
                self.made = (second, 0);
            }
            if self.made.1 >= rate {
                return None;
            }
            self.made.1 += 1;
        }
        let external = self.choose(key, taken);
        self.by_key.insert(key, external);
        let mapping = Mapping { key, used: Use::new(now) };
        self.mappings.entry(external).or_default().push(mapping);
        Some(external)
    }

    fn choose(&mut self, key: MappingKey, taken: Option<SocketAddr>) -> SocketAddr {
        let inside = key.0;
        if let Some(same) = self.remembered.remove(&key).filter(|same| self.is_free(*same, taken)) {
            return same;
        }
        let ip = self.choose_address(inside.ip());
        let at = |port| SocketAddr::new(ip, port);
        let kept = at(inside.port());
        match self.behaviour.ports {
            Ports::Overload if taken.is_none() => return kept,
            Ports::Preserve if self.is_free(kept, taken) => return kept,
            Ports::Contiguous => {
                if let Some(port) =
                    self.beside(inside).filter(|port| self.is_free(at(*port), taken))
                {
                    return at(port);
                }
            }
            Ports::Preserve | Ports::Overload | Ports::Sequential | Ports::Stepping(_) => {}
            Ports::Random | Ports::Parity => {}
        }
        let mut tries = 0;
        loop {
            let random = LOWEST + self.rng.below(u64::from(u16::MAX - LOWEST) + 1) as u16;
            let port = match self.behaviour.ports {
                Ports::Sequential => self.step(1),
                Ports::Stepping(step) => self.step(step),
                Ports::Parity | Ports::Contiguous => random & !1 | inside.port() & 1,
                Ports::Preserve | Ports::Overload | Ports::Random => random,
            };
            if self.is_free(at(port), taken) {
                return at(port);
            }
            tries += 1;
            assert!(tries < 1 << 20, "a NAT has ports left");
        }
    }

    /// The port beside the one that the endpoint beside `inside` has.
    fn beside(&self, inside: SocketAddr) -> Option<u16> {
        let even = inside.port().is_multiple_of(2);
        let (step, back) = if even { (1, -1) } else { (-1, 1) };
        let other = SocketAddr::new(inside.ip(), inside.port().checked_add_signed(step)?);
        let mut theirs = self.by_key.range((other, None)..).take_while(|((at, _), _)| *at == other);
        theirs.next().and_then(|(_, external)| external.port().checked_add_signed(back))
    }

    fn step(&mut self, step: i16) -> u16 {
        let next = i32::from(self.last_port) + i32::from(step);
        let span = i32::from(u16::MAX - LOWEST) + 1;
        self.last_port = LOWEST + (next - i32::from(LOWEST)).rem_euclid(span) as u16;
        self.last_port
    }

    fn choose_address(&mut self, inside: IpAddr) -> IpAddr {
        if let Some(paired) = self.paired.get(&inside) {
            return *paired;
        }
        if self.externals.len() == 1 {
            return self.externals[0];
        }
        let external = self.externals[self.rng.below(self.externals.len() as u64) as usize];
        if self.behaviour.pooling == Pooling::Paired {
            self.paired.insert(inside, external);
        }
        external
    }

    fn is_free(&self, external: SocketAddr, taken: Option<SocketAddr>) -> bool {
        let taken = taken == Some(external) || self.avoided.contains(&external);
        !taken && !self.mappings.contains_key(&external)
    }

    fn evict(&mut self) {
        let all =
            self.mappings.iter().flat_map(|(at, mappings)| mappings.iter().map(move |m| (at, m)));
        let oldest = all.min_by_key(|(_, mapping)| mapping.used.last());
        if let Some((external, inside)) = oldest.map(|(at, mapping)| (*at, mapping.inside())) {
            self.remove(external, inside);
        }
    }

    fn remove(&mut self, external: SocketAddr, inside: SocketAddr) {
        let Some(mappings) = self.mappings.get_mut(&external) else { return };
        let by_key = &mut self.by_key;
        mappings.retain(|mapping| {
            let stays = mapping.inside() != inside;
            if !stays {
                by_key.remove(&mapping.key);
            }
            stays
        });
        if mappings.is_empty() {
            self.mappings.remove(&external);
        }
    }

    fn expire(&mut self, now: Instant) {
        let timers = self.behaviour.timers();
        let by_key = &mut self.by_key;
        self.mappings.retain(|_, mappings| {
            mappings.retain(|mapping| {
                let alive = mapping.used.is_alive(now, &timers);
                if !alive {
                    by_key.remove(&mapping.key);
                }
                alive
            });
            !mappings.is_empty()
        });
    }
}
