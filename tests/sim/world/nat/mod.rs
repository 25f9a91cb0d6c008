//! Network address translators: mapping × filtering as RFC 4787 names them, the rest as fields.

pub(crate) mod filter;

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use floe::Instant;

use crate::world::rng::Rng;

/// What an outgoing packet's mapping, or an incoming packet's admission, depends on.
/// [RFC 4787 §4.1, §5]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Depends {
    /// On our own address and port alone.
    Independent,
    /// On the peer's IP address too.
    Address,
    /// On the peer's address and port.
    AddressAndPort,
}

/// How an external port is chosen. [RFC 4787 §4.2]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ports {
    /// The internal port if it is free, else a random one.
    Preserve,
    /// The next free one.
    Sequential,
    Random,
}

/// What happens to packets for our own external address from inside. [RFC 4787 §6]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hairpin {
    None,
    /// Looped back with the translated source address.
    External,
    /// Looped back with the internal source address.
    Internal,
}

/// Whether what a filter remembers belongs to the internal endpoint or to one mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Endpoint,
    Mapping,
}

/// The behaviour of a NAT.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nat {
    pub(crate) mapping: Depends,
    pub(crate) filtering: Depends,
    pub(crate) scope: Scope,
    pub(crate) ports: Ports,
    pub(crate) timeout: Duration,
    /// Whether incoming packets keep a mapping alive too. [RFC 4787 §4.3]
    pub(crate) inbound_refreshes: bool,
    pub(crate) hairpin: Hairpin,
}

impl Nat {
    pub(crate) const FULL_CONE: Self = Self::new(Depends::Independent, Depends::Independent);
    pub(crate) const ADDRESS_RESTRICTED: Self = Self::new(Depends::Independent, Depends::Address);
    pub(crate) const PORT_RESTRICTED: Self =
        Self::new(Depends::Independent, Depends::AddressAndPort);
    pub(crate) const SYMMETRIC: Self = Self::new(Depends::AddressAndPort, Depends::AddressAndPort);

    pub(crate) const fn new(mapping: Depends, filtering: Depends) -> Self {
        Self {
            mapping,
            filtering,
            scope: Scope::Endpoint,
            ports: Ports::Random,
            timeout: Duration::from_secs(120),
            inbound_refreshes: false,
            hairpin: Hairpin::None,
        }
    }

    pub(crate) const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(crate) const fn with_hairpin(mut self, hairpin: Hairpin) -> Self {
        self.hairpin = hairpin;
        self
    }
}

/// What of the peer's address a behaviour looks at.
fn key(depends: Depends, peer: SocketAddr) -> Option<(IpAddr, u16)> {
    match depends {
        Depends::Independent => None,
        Depends::Address => Some((peer.ip(), 0)),
        Depends::AddressAndPort => Some((peer.ip(), peer.port())),
    }
}

type MappingKey = (SocketAddr, Option<(IpAddr, u16)>);

#[derive(Clone, Debug)]
struct Mapping {
    inside: SocketAddr,
    key: MappingKey,
    used: Instant,
    contacted: BTreeMap<SocketAddr, Instant>,
}

/// A NAT at work.
#[derive(Clone, Debug)]
pub(crate) struct NatBox {
    pub(crate) behaviour: Nat,
    pub(crate) external: IpAddr,
    by_key: BTreeMap<MappingKey, u16>,
    by_port: BTreeMap<u16, Mapping>,
    next_port: u16,
    rng: Rng,
}

impl NatBox {
    pub(crate) fn new(behaviour: Nat, external: IpAddr, rng: Rng) -> Self {
        Self {
            behaviour,
            external,
            by_key: BTreeMap::new(),
            by_port: BTreeMap::new(),
            next_port: 1024,
            rng,
        }
    }

    /// Translates the source of a packet on its way out; `None` if it is not let out.
    pub(crate) fn outbound(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Option<SocketAddr> {
        self.expire(now);
        let key = (from, key(self.behaviour.mapping, to));
        let port = match self.by_key.get(&key) {
            Some(&port) => port,
            None => self.map(now, key),
        };
        if let Some(mapping) = self.by_port.get_mut(&port) {
            mapping.used = now;
            mapping.contacted.insert(to, now);
        }
        let hairpin = to.ip() == self.external;
        match self.behaviour.hairpin {
            Hairpin::None if hairpin => None,
            Hairpin::Internal if hairpin => Some(from),
            Hairpin::None | Hairpin::Internal | Hairpin::External => {
                Some(SocketAddr::new(self.external, port))
            }
        }
    }

    /// Finds whom a packet from outside is for; `None` if it is not let in.
    pub(crate) fn inbound(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Option<SocketAddr> {
        self.expire(now);
        let port = to.port();
        let inside = self.by_port.get(&port)?.inside;
        if !self.admits(now, port, inside, from) {
            return None;
        }
        if self.behaviour.inbound_refreshes {
            self.by_port.get_mut(&port)?.used = now;
        }
        Some(inside)
    }

    /// Whom `to` belongs to, whatever the filter says.
    pub(crate) fn owner(&self, to: SocketAddr) -> Option<SocketAddr> {
        self.by_port.get(&to.port()).map(|mapping| mapping.inside)
    }

    /// Forgets everything, as after a reboot: new packets get new ports.
    pub(crate) fn reboot(&mut self) {
        self.by_key.clear();
        self.by_port.clear();
    }

    fn admits(&self, now: Instant, port: u16, inside: SocketAddr, from: SocketAddr) -> bool {
        let wanted = key(self.behaviour.filtering, from);
        if wanted.is_none() {
            return true;
        }
        let in_scope = |(p, m): &(&u16, &Mapping)| match self.behaviour.scope {
            Scope::Endpoint => m.inside == inside,
            Scope::Mapping => **p == port,
        };
        self.by_port.iter().filter(in_scope).any(|(_, mapping)| {
            mapping.contacted.iter().any(|(peer, at)| {
                key(self.behaviour.filtering, *peer) == wanted
                    && (now.since(*at) < self.behaviour.timeout || self.behaviour.inbound_refreshes)
            })
        })
    }

    fn map(&mut self, now: Instant, key: MappingKey) -> u16 {
        let port = self.choose(key.0.port());
        self.by_key.insert(key, port);
        let mapping = Mapping { inside: key.0, key, used: now, contacted: BTreeMap::new() };
        self.by_port.insert(port, mapping);
        port
    }

    fn choose(&mut self, wanted: u16) -> u16 {
        let preserved = self.behaviour.ports == Ports::Preserve;
        if preserved && !self.by_port.contains_key(&wanted) {
            return wanted;
        }
        loop {
            let port = match self.behaviour.ports {
                Ports::Sequential => {
                    self.next_port = self.next_port.wrapping_add(1).max(1024);
                    self.next_port
                }
                Ports::Preserve | Ports::Random => 1024 + self.rng.below(64_512) as u16,
            };
            if !self.by_port.contains_key(&port) {
                return port;
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        let timeout = self.behaviour.timeout;
        let by_key = &mut self.by_key;
        self.by_port.retain(|_, mapping| {
            let alive = now.since(mapping.used) < timeout;
            if !alive {
                by_key.remove(&mapping.key);
            }
            alive
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{BEGINNING, secs};

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn ours(port: u16) -> SocketAddr {
        SocketAddr::new(at("198.18.0.1:0").ip(), port)
    }

    fn nat(behaviour: Nat) -> NatBox {
        NatBox::new(behaviour, at("198.18.0.1:0").ip(), Rng::new(1, "nat"))
    }

    #[test]
    fn a_mapping_depends_on_what_its_name_says() {
        let peers = [at("192.0.2.1:1"), at("192.0.2.1:2"), at("192.0.2.2:1")];
        for (mapping, distinct) in
            [(Depends::Independent, 1), (Depends::Address, 2), (Depends::AddressAndPort, 3)]
        {
            let mut nat = nat(Nat::new(mapping, Depends::Independent));
            let mut seen =
                peers.map(|to| nat.outbound(BEGINNING, at("10.1.0.2:40000"), to)).to_vec();
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), distinct, "{mapping:?}");
        }
    }

    #[test]
    fn a_filter_lets_in_what_its_name_says() {
        let peers = [at("192.0.2.1:1"), at("192.0.2.1:2"), at("192.0.2.2:1")];
        for (filtering, admitted) in
            [(Depends::Independent, 3), (Depends::Address, 2), (Depends::AddressAndPort, 1)]
        {
            let mut nat = nat(Nat::new(Depends::Independent, filtering));
            let port = nat.outbound(BEGINNING, at("10.1.0.2:40000"), peers[0]).unwrap().port();
            let admits =
                |from: &&SocketAddr| nat.clone().inbound(BEGINNING, **from, ours(port)).is_some();
            assert_eq!(peers.iter().filter(admits).count(), admitted, "{filtering:?}");
        }
    }

    #[test]
    fn a_silent_mapping_is_forgotten_and_a_used_one_is_not() {
        let (inside, peer) = (at("10.1.0.2:40000"), at("192.0.2.1:1"));
        let mut nat = nat(Nat::FULL_CONE.with_timeout(secs(30)));
        let port = nat.outbound(BEGINNING, inside, peer).unwrap().port();
        assert_eq!(nat.outbound(BEGINNING + secs(29), inside, peer).unwrap().port(), port);
        assert_eq!(nat.inbound(BEGINNING + secs(58), peer, ours(port)), Some(inside));
        assert_eq!(nat.inbound(BEGINNING + secs(59), peer, ours(port)), None);
    }

    #[test]
    fn a_preserved_port_is_the_same_outside_unless_it_is_taken() {
        let peer = at("192.0.2.1:1");
        let mut nat = nat(Nat { ports: Ports::Preserve, ..Nat::FULL_CONE });
        assert_eq!(nat.outbound(BEGINNING, at("10.1.0.2:40000"), peer).unwrap().port(), 40_000);
        assert_ne!(nat.outbound(BEGINNING, at("10.1.0.3:40000"), peer).unwrap().port(), 40_000);
    }
}
