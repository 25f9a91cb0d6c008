//! What a scenario is set in, as plain data: the world is built from it, and the oracle judges it.

use crate::world::nat::{Depends, Nat};

/// Where an interface is, or what a gateway leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Internet,
    /// One of [`Topology::networks`].
    Network(usize),
}

/// A network and its way out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network {
    /// What its gateway leads to; `None` for a network without a way out.
    pub(crate) outer: Option<Place>,
    /// How IPv4 is translated; `None` where its addresses are public.
    pub(crate) nat: Option<Nat>,
    /// Who is let in to addresses that are not translated: to IPv6, and to IPv4 without a NAT. `None`
    /// for anybody.
    pub(crate) firewall: Option<Depends>,
    /// Whether the gateway lets no UDP pass.
    pub(crate) blocks_udp: bool,
}

/// What sort of address an interface has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AddressKind {
    V4,
    /// Of global scope, stable.
    V6,
    /// Of global scope, and used for a while only.
    V6Temporary,
    /// Of global scope, and not to be used for what is new.
    V6Deprecated,
    /// Unique local: it does not lead out of its network.
    V6Local,
}

/// An address of a party.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interface {
    pub(crate) place: Place,
    pub(crate) kind: AddressKind,
}

/// One of the two who call one another.
#[derive(Clone, Debug)]
pub(crate) struct Party {
    pub(crate) interfaces: Vec<Interface>,
    /// Whether it asks the STUN server.
    pub(crate) stun: bool,
    /// The TURN servers that it has: indices below [`Topology::turns`].
    pub(crate) turns: Vec<usize>,
    /// Whether it uses relayed candidates alone.
    pub(crate) relay_only: bool,
}

/// Networks, NATs, servers, and the two who want to meet; the first one is controlling.
#[derive(Clone, Debug)]
pub(crate) struct Topology {
    pub(crate) networks: Vec<Network>,
    /// How many TURN servers there are on the Internet.
    pub(crate) turns: usize,
    pub(crate) parties: [Party; 2],
}
