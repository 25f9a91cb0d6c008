//! Who is let in: what a NAT or a firewall remembers of the packets that went out.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use floe::Instant;

use crate::world::nat::{Depends, key};

/// How long something unused is remembered, and which packets use it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timers {
    /// After the last packet, once packets went both ways.
    pub(crate) assured: Duration,
    /// After the last packet, while nothing came back.
    pub(crate) unreplied: Duration,
    pub(crate) outbound_refreshes: bool,
    pub(crate) inbound_refreshes: bool,
}

/// When something was used, and whether packets went both ways.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Use {
    at: Instant,
    replied: bool,
}

impl Use {
    pub(crate) const fn new(at: Instant) -> Self {
        Self { at, replied: false }
    }

    pub(crate) fn is_alive(self, now: Instant, timers: &Timers) -> bool {
        let limit = if self.replied { timers.assured } else { timers.unreplied };
        now.since(self.at) < limit
    }

    pub(crate) const fn sent(&mut self, now: Instant, timers: &Timers) {
        if timers.outbound_refreshes {
            self.at = now;
        }
    }

    pub(crate) const fn last(self) -> Instant {
        self.at
    }

    /// The first packet from outside starts the longer timer, whoever refreshes it later.
    pub(crate) fn heard(&mut self, now: Instant, timers: &Timers) {
        let assured_now = !self.replied && timers.assured > timers.unreplied;
        if timers.inbound_refreshes || assured_now {
            self.at = now;
        }
        self.replied = true;
    }
}

/// What was sent, from where to whom: from an endpoint inside, or from a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    filtering: Depends,
    sent: BTreeMap<(SocketAddr, Option<(IpAddr, u16)>), Use>,
    /// So many are looked through for dead ones.
    crowd: usize,
}

impl Filter {
    pub(crate) fn new(filtering: Depends) -> Self {
        Self { filtering, sent: BTreeMap::new(), crowd: 64 }
    }

    /// A packet left for `peer`.
    pub(crate) fn sent(
        &mut self,
        now: Instant,
        timers: &Timers,
        from: SocketAddr,
        peer: SocketAddr,
    ) {
        if self.filtering == Depends::Independent {
            return;
        }
        if self.sent.len() >= self.crowd {
            self.sent.retain(|_, session| session.is_alive(now, timers));
            self.crowd = 64.max(self.sent.len() * 2);
        }
        let fresh = Use::new(now);
        let session = self.sent.entry((from, key(self.filtering, peer))).or_insert(fresh);
        if session.is_alive(now, timers) {
            session.sent(now, timers);
        } else {
            *session = fresh;
        }
    }

    /// Whether a packet from `peer` is let in to `to`; one that is lets those after it in.
    pub(crate) fn admits(
        &mut self,
        now: Instant,
        timers: &Timers,
        to: SocketAddr,
        peer: SocketAddr,
    ) -> bool {
        if self.filtering == Depends::Independent {
            return true;
        }
        let session = self.sent.get_mut(&(to, key(self.filtering, peer)));
        let Some(session) = session.filter(|session| session.is_alive(now, timers)) else {
            return false;
        };
        session.heard(now, timers);
        true
    }

    /// Whether something was sent to `peer` lately.
    pub(crate) fn knows(
        &self,
        now: Instant,
        timers: &Timers,
        from: SocketAddr,
        peer: SocketAddr,
    ) -> bool {
        let session = self.sent.get(&(from, key(self.filtering, peer)));
        session.is_some_and(|session| session.is_alive(now, timers))
    }

    pub(crate) fn clear(&mut self) {
        self.sent.clear();
    }
}
