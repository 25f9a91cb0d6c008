//! Whose a datagram is, in constant time: requests by ufrag, responses by transaction id, data by
//! the 5-tuple.

use core::hash::BuildHasher;
use std::collections::HashMap;
use std::net::SocketAddr;

use siphasher::sip::SipHasher13;

use crate::agent::BaseId;
use crate::canary::{Bug, planted};
use crate::net::{ComponentId, SocketId};
use crate::rng::{Purpose, Seed, Stream};
use crate::stun::TransactionId;

/// Who awaits the answer of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Agent(u32),
    Gatherer,
}

/// Whose the data of a 5-tuple is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    One {
        agent: u32,
        base: BaseId,
        component: ComponentId,
    },
    /// More than one agent talks with that address: only the application can tell.
    Many,
    /// A TURN server: the relay with this number.
    Relay(u16),
}

/// Keys for the hash maps, so that nobody outside can choose colliding entries.
#[derive(Clone, Debug)]
struct Keys(u64, u64);

impl BuildHasher for Keys {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}

/// The dispatch tables.
#[derive(Clone, Debug)]
pub(super) struct Routes {
    ufrags: HashMap<Box<[u8]>, u32, Keys>,
    transactions: HashMap<TransactionId, Owner, Keys>,
    flows: HashMap<(SocketId, SocketAddr), Flow, Keys>,
}

impl Routes {
    pub(super) fn new(seed: &Seed) -> Self {
        let mut stream = Stream::new(0, Purpose::Hash);
        let keys = Keys(stream.next_u64(seed), stream.next_u64(seed));
        Self {
            ufrags: HashMap::with_hasher(keys.clone()),
            transactions: HashMap::with_hasher(keys.clone()),
            flows: HashMap::with_hasher(keys),
        }
    }

    pub(super) fn agent_of_ufrag(&self, ufrag: &[u8]) -> Option<u32> {
        self.ufrags.get(ufrag).copied()
    }

    pub(super) fn add_ufrag(&mut self, ufrag: &str, agent: u32) {
        self.ufrags.insert(ufrag.as_bytes().into(), agent);
    }

    pub(super) fn remove_ufrag(&mut self, ufrag: &str, agent: u32) {
        if self.agent_of_ufrag(ufrag.as_bytes()) == Some(agent) {
            self.ufrags.remove(ufrag.as_bytes());
        }
    }

    pub(super) fn owner(&self, transaction: TransactionId) -> Option<Owner> {
        self.transactions.get(&transaction).copied()
    }

    pub(super) fn add_transaction(&mut self, transaction: TransactionId, owner: Owner) {
        self.transactions.insert(transaction, owner);
    }

    pub(super) fn remove_transaction(&mut self, transaction: TransactionId) {
        self.transactions.remove(&transaction);
    }

    /// Gives back the room that many transactions at once had needed, as when all agents connect.
    pub(super) fn trim(&mut self) {
        let enough = (self.transactions.len() + 8) * 4;
        if self.transactions.capacity() > 2 * enough {
            self.transactions.shrink_to(enough);
        }
    }

    #[expect(clippy::disallowed_methods, reason = "any of the flows will do, for the planted bug")]
    pub(super) fn flow(&self, socket: SocketId, from: SocketAddr) -> Option<Flow> {
        if planted(Bug::AddressFromData) {
            return self.flows.iter().find(|((at, _), _)| *at == socket).map(|(_, flow)| *flow);
        }
        self.flows.get(&(socket, from)).copied()
    }

    /// Gives a 5-tuple to an agent, after integrity was verified; true if it may be new to it.
    pub(super) fn add_flow(
        &mut self,
        socket: SocketId,
        from: SocketAddr,
        agent: u32,
        base: BaseId,
        component: ComponentId,
    ) -> bool {
        let new = Flow::One { agent, base, component };
        match self.flows.get_mut(&(socket, from)) {
            None => {
                self.flows.insert((socket, from), new);
                true
            }
            Some(Flow::One { agent: known, .. }) if *known == agent => false,
            Some(Flow::Relay(_)) => false,
            Some(Flow::Many) => true,
            Some(shared @ Flow::One { .. }) => {
                *shared = Flow::Many;
                true
            }
        }
    }

    /// Takes a 5-tuple from an agent; true if others had a part in it, who are to be added again.
    #[must_use]
    pub(super) fn remove_flow(&mut self, socket: SocketId, from: SocketAddr, agent: u32) -> bool {
        match self.flow(socket, from) {
            Some(Flow::One { agent: known, .. }) if known == agent => {
                self.flows.remove(&(socket, from));
                false
            }
            Some(Flow::One { .. } | Flow::Relay(_)) | None => false,
            Some(Flow::Many) => {
                self.flows.remove(&(socket, from));
                true
            }
        }
    }

    /// Gives all from a TURN server to a relay: ChannelData, and STUN other than Binding.
    pub(super) fn add_relay(&mut self, via: SocketId, server: SocketAddr, relay: u16) {
        self.flows.insert((via, server), Flow::Relay(relay));
    }

    pub(super) fn remove_relay(&mut self, via: SocketId, server: SocketAddr, relay: u16) {
        if self.flow(via, server) == Some(Flow::Relay(relay)) {
            self.flows.remove(&(via, server));
        }
    }
}
