//! Network address translators: mapping × filtering as RFC 4787 names them, the rest as fields.

pub(crate) mod filter;
mod translator;

#[cfg(test)]
mod tests;

use core::time::Duration;
use std::net::{IpAddr, SocketAddr};

use crate::world::nat::filter::Timers;
pub(crate) use crate::world::nat::translator::NatBox;

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
    /// The internal port even if another has it: who contacted the peer tells them apart, which
    /// is forbidden, and exists. [RFC 4787 §4.2.1 REQ-3]
    Overload,
    /// The next free one.
    Sequential,
    /// The one so far from the last one.
    Stepping(i16),
    Random,
    /// A random one that is odd if the internal one is.
    Parity,
    /// Beside the port of the internal port beside it, else a random one of the same parity.
    Contiguous,
}

/// Which of several external addresses a mapping gets. [RFC 4787 §4.1]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// All mappings of an internal address have the same one.
    Paired,
    Arbitrary,
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

/// What becomes of a packet that needs a mapping when there are as many as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhaustion {
    /// It is dropped.
    Refuse,
    /// The mapping that was used the longest ago makes room.
    Evict,
}

/// What a NAT is like after it forgot everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reboot {
    /// Who had a mapping gets the same one again.
    SamePorts,
    /// Who had a mapping gets another one.
    NewPorts,
    /// It has other external addresses.
    NewAddress,
}

/// The behaviour of a NAT.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nat {
    pub(crate) mapping: Depends,
    pub(crate) filtering: Depends,
    pub(crate) scope: Scope,
    pub(crate) ports: Ports,
    /// How many external addresses it has, at least 1.
    pub(crate) addresses: u8,
    pub(crate) pooling: Pooling,
    pub(crate) timeout: Duration,
    /// The timeout of what was never answered; `None` if that is no other.
    pub(crate) unreplied: Option<Duration>,
    /// Whether outgoing packets keep a mapping alive, as they must. [RFC 4787 §4.3 REQ-6]
    pub(crate) outbound_refreshes: bool,
    /// Whether incoming packets keep a mapping alive too. [RFC 4787 §4.3]
    pub(crate) inbound_refreshes: bool,
    pub(crate) hairpin: Hairpin,
    /// Whether an ICMP error ends the mapping that it is about. [RFC 4787 §9 REQ-12]
    pub(crate) icmp_kills: bool,
    /// How many mappings there may be, and what happens beyond.
    pub(crate) limit: Option<(usize, Exhaustion)>,
    /// How many mappings may be made in a second; packets that need more of them are dropped.
    pub(crate) rate: Option<u32>,
    /// Whether an unsolicited packet from outside, if it comes before the first one toward its
    /// sender, makes that one leave from another port: the tuple clash of a Linux router whose
    /// own firewall accepts. Filters by address and port alone do so.
    pub(crate) clash: bool,
}

impl Nat {
    pub(crate) const FULL_CONE: Self = Self::new(Depends::Independent, Depends::Independent);
    pub(crate) const ADDRESS_RESTRICTED: Self = Self::new(Depends::Independent, Depends::Address);
    pub(crate) const PORT_RESTRICTED: Self =
        Self::new(Depends::Independent, Depends::AddressAndPort);
    pub(crate) const SYMMETRIC: Self = Self::new(Depends::AddressAndPort, Depends::AddressAndPort);
    /// A Linux router that masquerades and accepts what comes from outside for itself.
    pub(crate) const LINUX: Self = Self {
        ports: Ports::Preserve,
        scope: Scope::Mapping,
        unreplied: Some(Duration::from_secs(30)),
        inbound_refreshes: true,
        clash: true,
        ..Self::PORT_RESTRICTED
    };

    pub(crate) const fn new(mapping: Depends, filtering: Depends) -> Self {
        Self {
            mapping,
            filtering,
            scope: Scope::Endpoint,
            ports: Ports::Random,
            addresses: 1,
            pooling: Pooling::Paired,
            timeout: Duration::from_secs(120),
            unreplied: None,
            outbound_refreshes: true,
            inbound_refreshes: false,
            hairpin: Hairpin::None,
            icmp_kills: false,
            limit: None,
            rate: None,
            clash: false,
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

    pub(crate) const fn timers(&self) -> Timers {
        Timers {
            assured: self.timeout,
            unreplied: match self.unreplied {
                Some(unreplied) => unreplied,
                None => self.timeout,
            },
            outbound_refreshes: self.outbound_refreshes,
            inbound_refreshes: self.inbound_refreshes,
        }
    }
}

/// What of the peer's address a behaviour looks at.
pub(crate) fn key(depends: Depends, peer: SocketAddr) -> Option<(IpAddr, u16)> {
    match depends {
        Depends::Independent => None,
        Depends::Address => Some((peer.ip(), 0)),
        Depends::AddressAndPort => Some((peer.ip(), peer.port())),
    }
}
