//! Candidate pairs and where they are kept. [RFC 8445 §6.1.2]

use crate::config::Role;
use crate::event::PairFailure;
use crate::net::ComponentId;
use crate::stats::{PairCounters, PairStateKind};
use crate::time::Instant;
use core::cmp::Reverse;

use super::consent::Consent;
use super::local::{BaseId, LocalId};
use super::remote::{RemoteFoundation, RemoteId};

/// A pair; the epoch tells a pair from a later one in the same slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PairId {
    slot: u16,
    epoch: u16,
}

/// The state of a pair's checks. [RFC 8445 §6.1.2.6]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PairState {
    Frozen,
    Waiting,
    /// Checked since the given time; it fails when a whole transaction has passed since.
    InProgress {
        since: Instant,
    },
    Succeeded,
    Failed(PairFailure),
}

impl PairState {
    pub(super) fn kind(self) -> PairStateKind {
        match self {
            Self::Frozen => PairStateKind::Frozen,
            Self::Waiting => PairStateKind::Waiting,
            Self::InProgress { .. } => PairStateKind::InProgress,
            Self::Succeeded => PairStateKind::Succeeded,
            Self::Failed(_) => PairStateKind::Failed,
        }
    }

    /// Whether the pair may still become valid by itself.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Frozen | Self::Waiting | Self::InProgress { .. })
    }
}

/// How good a kind of path is; less is better: relays first of all, then the network cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PathClass {
    pub(super) relays: u8,
    pub(super) cost: u16,
}

/// What an authenticated success of our own check proved: data may go here.
#[derive(Clone, Debug)]
pub(super) struct Valid {
    /// The local candidate that the peer saw. [rfc8445-7.2.5.3.2-p1]
    pub(super) local: LocalId,
    /// When the pair became valid.
    pub(super) since: Instant,
    pub(super) nominated: bool,
    /// When the peer nominated it last, whether that counted or not.
    pub(super) nominated_at: Option<Instant>,
    pub(super) consent: Consent,
}

/// The foundations of both candidates.
pub(super) type PairFoundation = (u16, RemoteFoundation);

/// A pair of a local base and a remote candidate.
///
/// A reflexive local candidate stands for its base, so the base and the remote candidate tell
/// pairs apart, and a valid pair is the checked pair with the local candidate that the peer saw.
/// [rfc8445-6.1.2.4-1] [rfc8445-6.1.2.4-p1] [rfc8838-10-2] [rfc8838-11-1]
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) component: ComponentId,
    pub(super) base: BaseId,
    /// The best local candidate of the base: its priority counts.
    pub(super) local: LocalId,
    pub(super) remote: RemoteId,
    pub(super) priority: u64,
    pub(super) foundation: PairFoundation,
    pub(super) class: PathClass,
    pub(super) state: PairState,
    /// How often a check of the peer's brought the pair back after it had failed.
    pub(super) revivals: u8,
    /// How many answers in a row said that the peer has our role.
    pub(super) conflicts: u8,
    /// Whether a check of this pair waits in one of the queues.
    pub(super) triggered: bool,
    /// Controlled: the peer nominated the pair, and our check of it is to succeed first.
    pub(super) nomination_pending: Option<Nominated>,
    pub(super) valid: Option<Valid>,
    pub(super) counters: PairCounters,
    /// When the peer last checked it.
    pub(super) asked: Option<Instant>,
    pub(super) last_sent: Instant,
}

/// What pairs are chosen by, best first.
pub(super) type Rank = (PathClass, Reverse<u64>);

impl Pair {
    /// The state as it is reported: a pair whose next check is queued waits, though an earlier
    /// one may still be answered. [rfc8445-7.3.1.4-1]
    pub(super) fn state_kind(&self) -> PairStateKind {
        match self.state {
            PairState::InProgress { .. } if self.triggered => PairStateKind::Waiting,
            PairState::Frozen
            | PairState::Waiting
            | PairState::InProgress { .. }
            | PairState::Succeeded
            | PairState::Failed(_) => self.state.kind(),
        }
    }
}

/// A nomination that was received: with the value of the renomination extension, if any, and its
/// place among all that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nominated {
    pub(super) value: Option<u32>,
    pub(super) order: u64,
}

impl Nominated {
    /// What is known once `new` came: said again it keeps its place.
    pub(super) fn repeated(known: Option<Self>, new: Option<Self>) -> Option<Self> {
        let order = |new: Self| known.map_or(new.order, |known| known.order);
        new.map(|new| Self { order: order(new), ..new }).or(known)
    }
}

/// Computes the priority of a pair from the priorities of its candidates.
/// [rfc8445-6.1.2.3-p1]
pub(super) fn pair_priority(role: Role, local: u32, remote: u32) -> u64 {
    let (controlling, controlled) = match role {
        Role::Controlling => (u64::from(local), u64::from(remote)),
        Role::Controlled => (u64::from(remote), u64::from(local)),
    };
    (controlling.min(controlled) << 32)
        + 2 * controlling.max(controlled)
        + u64::from(controlling > controlled)
}

/// The pairs of a session, in slots that are used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Pairs {
    slots: Vec<(u16, Option<Pair>)>,
    len: usize,
}

impl Pairs {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, id: PairId) -> Option<&Pair> {
        let (epoch, pair) = self.slots.get(usize::from(id.slot))?;
        pair.as_ref().filter(|_| *epoch == id.epoch)
    }

    pub(super) fn get_mut(&mut self, id: PairId) -> Option<&mut Pair> {
        let (epoch, pair) = self.slots.get_mut(usize::from(id.slot))?;
        pair.as_mut().filter(|_| *epoch == id.epoch)
    }

    pub(super) fn insert(&mut self, pair: Pair) -> Option<PairId> {
        let free = if self.len < self.slots.len() {
            self.slots.iter().position(|(_, pair)| pair.is_none())
        } else {
            None
        };
        let slot = free.unwrap_or(self.slots.len());
        let id = u16::try_from(slot).ok()?;
        if slot == self.slots.len() {
            self.slots.push((0, None));
        }
        let (epoch, place) = self.slots.get_mut(slot)?;
        *place = Some(pair);
        self.len += 1;
        Some(PairId { slot: id, epoch: *epoch })
    }

    pub(super) fn remove(&mut self, id: PairId) -> Option<Pair> {
        let (epoch, place) = self.slots.get_mut(usize::from(id.slot))?;
        if *epoch != id.epoch {
            return None;
        }
        let pair = place.take()?;
        *epoch = epoch.wrapping_add(1);
        self.len -= 1;
        Some(pair)
    }

    /// How many places there are, some of them free.
    pub(super) fn places(&self) -> usize {
        self.slots.len()
    }

    /// The pair at a place: for walking over pairs while they change.
    pub(super) fn at(&self, place: usize) -> Option<(PairId, &Pair)> {
        let (epoch, pair) = self.slots.get(place)?;
        let slot = u16::try_from(place).ok()?;
        Some((PairId { slot, epoch: *epoch }, pair.as_ref()?))
    }

    /// All pairs, in no order that means anything (but always the same).
    pub(super) fn iter(&self) -> impl Iterator<Item = (PairId, &Pair)> {
        self.slots.iter().enumerate().filter_map(|(slot, (epoch, pair))| {
            let slot = u16::try_from(slot).ok()?;
            Some((PairId { slot, epoch: *epoch }, pair.as_ref()?))
        })
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (PairId, &mut Pair)> {
        self.slots.iter_mut().enumerate().filter_map(|(slot, (epoch, pair))| {
            let slot = u16::try_from(slot).ok()?;
            Some((PairId { slot, epoch: *epoch }, pair.as_mut()?))
        })
    }

    pub(super) fn find(&self, base: BaseId, remote: RemoteId) -> Option<PairId> {
        self.iter().find(|(_, pair)| pair.base == base && pair.remote == remote).map(|(id, _)| id)
    }

    /// Gives memory back that a finished checklist no longer needs.
    pub(super) fn shrink(&mut self) {
        while self.slots.last().is_some_and(|(_, pair)| pair.is_none()) {
            self.slots.pop();
        }
        self.slots.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [rfc8445-6.1.2.3-p1]
    #[test]
    fn both_sides_compute_the_same_pair_priority() {
        let (a, b) = (2_130_706_431, 1_694_498_815);
        assert_eq!(pair_priority(Role::Controlling, a, b), pair_priority(Role::Controlled, b, a));
        assert_eq!(
            pair_priority(Role::Controlling, a, b),
            (u64::from(b) << 32) + 2 * u64::from(a) + 1
        );
        assert_eq!(pair_priority(Role::Controlled, a, b), (u64::from(b) << 32) + 2 * u64::from(a));
    }
}
