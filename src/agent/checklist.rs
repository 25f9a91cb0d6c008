//! Forming checklists, and choosing what is checked next. [RFC 8445 §6.1] [RFC 8838 §10-12]

use core::cmp::Reverse;
use core::time::Duration;

use crate::canary::{Bug, planted};
use crate::candidate::CandidateKind;
use crate::config::{CheckBackoff, Role};
use crate::event::PairFailure;
use crate::net::{ComponentId, is_link_local};
use crate::stats::PairCounters;
use crate::time::Instant;

use super::Core;
use super::local::{Base, BaseId};
use super::pair::{Pair, PairFoundation, PairId, PairState, PathClass, Rank, pair_priority};
use super::remote::{RemoteCandidate, RemoteId};
use super::session::{Checklist, ChecklistState, Session};

/// How long pairs rest that are no better than one that works: its nomination takes that long at
/// most, unless many packets are lost or the peer has other plans.
const REST: Duration = Duration::from_secs(1);

/// How long a pair without an answer keeps another of its foundation and component frozen.
const THAW: Duration = Duration::from_secs(1);

/// Why a pair is checked next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Triggered,
    Again,
    Ordinary,
}

/// A pair that could be formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Possible {
    priority: u64,
    base: BaseId,
    remote: RemoteId,
}

impl Session {
    /// Forms the pairs of all streams anew from the candidates of both sides, and sets one pair of
    /// each foundation to Waiting. [rfc8445-6.1.2-p1] [rfc8445-6.1.2.6-p1]
    pub(super) fn form_checklists(&mut self, core: &Core) {
        self.form(core, true);
    }

    /// The same, but a candidate that a check came from is not paired with other bases: it is one
    /// that may be tried where all else is lost. [rfc8445-7.3.1.3-p1]
    pub(super) fn form_likely_pairs(&mut self, core: &Core) {
        self.form(core, false);
    }

    fn form(&mut self, core: &Core, unlikely: bool) {
        for stream in 0..self.streams.len() {
            let Ok(stream) = u16::try_from(stream) else { return };
            let mut possible = self.possible_pairs(stream, core, unlikely);
            let limit = self.pairs_per_stream(core);
            if possible.len() > limit {
                // [rfc8445-6.1.2.5-1] [rfc8445-6.1.2.5-3] [rfc8445-19.5.1-1]
                possible.select_nth_unstable_by(limit, |a, b| b.cmp(a));
                possible.truncate(limit);
            }
            possible.sort_unstable_by(|a, b| b.cmp(a));
            for pair in possible {
                if self.pairs.find(pair.base, pair.remote).is_none() {
                    self.insert_pair(pair.base, pair.remote, PairState::Frozen, core);
                }
            }
        }
        self.new_relayed |= core.local.bases().any(|(_, base)| base.relayed);
        self.unfreeze_first_of_each_foundation();
    }

    fn pairs_per_stream(&self, core: &Core) -> usize {
        (usize::from(core.config.limits.pairs) / self.streams.len().max(1)).max(1)
    }

    /// All pairs of a base and a remote candidate that the rules allow.
    fn possible_pairs(&self, stream: u16, core: &Core, unlikely: bool) -> Vec<Possible> {
        let Some(remotes) = self.remote_stream(stream) else { return Vec::new() };
        let mut possible = Vec::new();
        for (base_id, base) in core.local.bases() {
            let Some(local) = base.candidate.and_then(|id| core.local.candidate(id)) else {
                continue;
            };
            for (remote_id, remote) in remotes.iter(stream) {
                let likely = unlikely || !remote.is_heard_elsewhere(base_id);
                let secret = base.relayed
                    && remotes.is_kept_from_relay(base_id, remote, core.local.conceals());
                if likely && !secret && pairable(base, remote, stream) {
                    let priority = pair_priority(core.role, local.priority, remote.priority);
                    possible.push(Possible { priority, base: base_id, remote: remote_id });
                }
            }
        }
        possible
    }

    /// Pairs a new remote candidate with all bases. [rfc8838-17-2]
    pub(super) fn pair_remote(&mut self, remote: RemoteId, core: &mut Core, now: Instant) {
        let bases: Vec<BaseId> = core.local.bases().map(|(id, _)| id).collect();
        for base in bases {
            self.add_pair(base, remote, core, now);
        }
    }

    /// Pairs a new base, or one that got its first candidate, with all remote candidates. A base
    /// is paired only once the peer was told of a candidate of it. [rfc8838-10-1]
    pub(super) fn pair_base(&mut self, base: BaseId, core: &mut Core, now: Instant) {
        let Some(stream) = core.local.base(base).map(|base| base.component.stream()) else {
            return;
        };
        let Some(remotes) = self.remote_stream(stream) else { return };
        let remotes: Vec<RemoteId> = remotes.iter(stream).map(|(id, _)| id).collect();
        for remote in remotes {
            self.add_pair(base, remote, core, now);
        }
    }

    /// Adds one pair to a running checklist, in the state that trickle ICE gives it.
    /// [rfc8838-12-p1] [rfc8838-12-p2] [rfc8838-12-p3]
    fn add_pair(&mut self, base_id: BaseId, remote_id: RemoteId, core: &mut Core, now: Instant) {
        let (Some(base), Some(remote)) = (core.local.base(base_id), self.remote(remote_id)) else {
            return;
        };
        let stream = remote_id.stream;
        let component = base.component;
        let running = self
            .streams
            .get(usize::from(stream))
            .is_some_and(|stream| stream.checklist.state != ChecklistState::Completed);
        let left_out = self.component(component).is_some_and(|known| known.left_out);
        let settled = self.component(component).is_none_or(|known| known.selected.is_some());
        let late = !running || settled;
        let duplicate = self.pairs.find(base_id, remote_id).is_some();
        let of_use =
            !late || left_out || settled && self.is_of_use(component, base_id, remote_id, core);
        let secret = base.relayed && self.is_kept_from_relay(base_id, remote_id, &core.local);
        if !of_use || duplicate || secret || !pairable(base, remote, stream) {
            return;
        }
        let Some(local) = base.candidate.and_then(|id| core.local.candidate(id)) else { return };
        let priority = pair_priority(core.role, local.priority, remote.priority);
        let foundation = (local.foundation, remote.foundation);
        if !self.make_room(component, Some(priority), core) {
            return;
        }
        let state = self.state_of_new_pair(foundation, priority);
        let pair = self.insert_pair(base_id, remote_id, state, core);
        if let Some(pair) = pair.filter(|_| late) {
            self.go_on_checking(pair);
            self.free_at = Some(now + core.config.linger);
        }
    }

    /// Classes the pairs of a remote candidate anew: what seemed to be a direct path may lead to a
    /// relay. Nothing else of them changes. [rfc8838-11-2]
    pub(super) fn reclassify(&mut self, id: RemoteId, core: &Core) {
        let Self { streams, pairs, .. } = self;
        let remote = streams.get(usize::from(id.stream)).and_then(|s| s.remote.as_ref()?.get(id));
        let Some(remote) = remote else { return };
        for (_, pair) in pairs.iter_mut().filter(|(_, pair)| pair.remote == id) {
            if let Some(base) = core.local.base(pair.base) {
                pair.class = class(base, remote);
            }
            if planted(Bug::RelabelForgets) {
                (pair.valid, pair.nomination_pending) = (None, None);
            }
        }
    }

    fn state_of_new_pair(&self, foundation: PairFoundation, priority: u64) -> PairState {
        let mut topmost = true;
        for (_, pair) in self.pairs.iter().filter(|(_, pair)| pair.foundation == foundation) {
            if pair.state == PairState::Succeeded {
                return PairState::Waiting;
            }
            topmost &= pair.priority < priority;
        }
        if topmost { PairState::Waiting } else { PairState::Frozen }
    }

    /// Makes room for a pair at the limit: failed pairs go first, then those of lower priority that
    /// were not begun. [rfc8838-10-3] [rfc8838-10-4] [rfc8838-11-3] [rfc8838-11-4] [rfc8838-10-p1]
    ///
    /// Without a priority it is one that the peer checks, which is more likely to work than any that
    /// was checked for long. What the peer nominated last goes for no other component's sake.
    pub(super) fn make_room(
        &mut self,
        component: ComponentId,
        priority: Option<u64>,
        core: &mut Core,
    ) -> bool {
        let (asked, share) = (priority.is_none(), self.pairs_per_stream(core));
        let in_stream = |pair: &Pair| pair.component.stream() == component.stream();
        let full = self.pairs.iter().filter(|(_, pair)| in_stream(pair)).count() >= share;
        if (asked || !full) && self.pairs.len() < usize::from(core.config.limits.pairs) {
            return true;
        }
        // A stream that has its share makes room itself; else the peer's checks gave another
        // stream more than its own.
        let victim = self.least_likely(|pair| {
            let less = match (priority, pair.state) {
                (None, _) | (_, PairState::Failed(_)) => true,
                (Some(new), PairState::Frozen | PairState::Waiting) => pair.priority < new,
                (Some(_), PairState::InProgress { .. } | PairState::Succeeded) => false,
            };
            let own = asked && pair.component == component;
            less && (in_stream(pair) || !full) && (own || !self.is_awaited(pair))
        });
        let Some(victim) = victim else { return false };
        self.remove_pair(victim, core);
        true
    }

    /// The pair that is least likely to be of use: one that failed, before one that is to be
    /// checked, before one whose check is queued, before one that was checked since long ago. One
    /// that works makes no room, nor one that lost consent, which must stay known.
    /// [rfc7675-5.1-13]
    fn least_likely(&self, may: impl Fn(&Pair) -> bool) -> Option<PairId> {
        let rank = |pair: &Pair| match pair.state {
            PairState::Failed(PairFailure::ConsentLost) | PairState::Succeeded => None,
            PairState::Failed(_) => Some((0, Instant::ZERO)),
            PairState::Frozen | PairState::Waiting if !pair.triggered => Some((1, Instant::ZERO)),
            PairState::Frozen | PairState::Waiting => Some((2, Instant::ZERO)),
            PairState::InProgress { since } => Some((3, since)),
        };
        self.pairs
            .iter()
            .filter(|(id, pair)| !self.is_selected(*id) && may(pair))
            .filter_map(|(id, pair)| Some((rank(pair)?, pair.priority, id)))
            .min()
            .map(|(.., id)| id)
    }

    /// Whether it is the pair that the peer nominated last for a component that has none selected:
    /// an answer said that this counts.
    fn is_awaited(&self, pair: &Pair) -> bool {
        let order = |pair: &Pair| pair.nomination_pending.map(|nominated| nominated.order);
        let none = self.component(pair.component).is_some_and(|known| known.selected.is_none());
        let mut others = self.pairs.iter().filter(|(_, other)| other.component == pair.component);
        none && order(pair).is_some() && others.all(|(_, other)| order(other) <= order(pair))
    }

    /// Inserts a pair by its priority. [rfc8445-7.3.1.4-p3]
    pub(super) fn insert_pair(
        &mut self,
        base_id: BaseId,
        remote_id: RemoteId,
        state: PairState,
        core: &Core,
    ) -> Option<PairId> {
        let base = core.local.base(base_id).filter(|base| base.usable)?;
        let local_id = base.candidate?;
        let local = core.local.candidate(local_id)?;
        let remote = self.remote(remote_id)?;
        let pair = Pair {
            component: base.component,
            base: base_id,
            local: local_id,
            remote: remote_id,
            priority: pair_priority(core.role, local.priority, remote.priority),
            foundation: (local.foundation, remote.foundation),
            class: class(base, remote),
            state,
            revivals: 0,
            conflicts: 0,
            triggered: false,
            nomination_pending: None,
            valid: None,
            counters: PairCounters::default(),
            asked: None,
            last_sent: Instant::ZERO,
        };
        self.new_relayed |= base.relayed;
        let key = (pair.priority, Reverse(pair.component));
        let stream = pair.component.stream();
        let id = self.pairs.insert(pair)?;
        let pairs = &self.pairs;
        let checklist = &mut self.streams.get_mut(usize::from(stream))?.checklist;
        let place = checklist.order.partition_point(|known| {
            pairs.get(*known).is_some_and(|known| (known.priority, Reverse(known.component)) >= key)
        });
        checklist.order.insert(place, id);
        Some(id)
    }

    /// For each foundation sets one pair of the whole set to Waiting: in the first checklist that
    /// has it, of the lowest component, then the highest priority. [rfc8445-6.1.2.6-p2]
    fn unfreeze_first_of_each_foundation(&mut self) {
        let mut seen: Vec<PairFoundation> = self
            .pairs
            .iter()
            .filter(|(_, pair)| pair.state != PairState::Frozen)
            .map(|(_, pair)| pair.foundation)
            .collect();
        let mut frozen: Vec<_> = self
            .pairs
            .iter()
            .filter(|(_, pair)| pair.state == PairState::Frozen)
            .map(|(id, pair)| (pair.foundation, pair.component, Reverse(pair.priority), id))
            .collect();
        frozen.sort_unstable();
        seen.sort_unstable();
        let mut last = None;
        for (foundation, _, _, id) in frozen {
            if last == Some(foundation) || seen.binary_search(&foundation).is_ok() {
                continue;
            }
            last = Some(foundation);
            if let Some(pair) = self.pairs.get_mut(id) {
                pair.state = PairState::Waiting;
            }
        }
    }

    /// After a success every frozen pair of the foundation may be checked, in all checklists.
    /// [rfc8445-7.2.5.3.3-1]
    pub(super) fn unfreeze(&mut self, foundation: PairFoundation) {
        for (_, pair) in self.pairs.iter_mut() {
            if pair.foundation == foundation && pair.state == PairState::Frozen {
                pair.state = PairState::Waiting;
            }
        }
    }

    /// Queues a pair for a triggered check, once. [rfc8445-6.1.4.1-p1]
    pub(super) fn trigger(&mut self, id: PairId) {
        let Some(pair) = self.pairs.get_mut(id) else { return };
        pair.triggered = true;
        let stream = pair.component.stream();
        if let Some(checklist) = self.checklist_mut(stream)
            && !checklist.triggered.contains(&id)
        {
            checklist.retries.retain(|queued| *queued != id);
            checklist.triggered.push_back(id);
        }
    }

    /// Lets the queued check that nominates a pair go before the others of its checklist. If the pair
    /// has just answered it goes before those of other checklists too, and does not wait for Ta: the
    /// one after it waits for longer.
    pub(super) fn hurry(&mut self, id: PairId, now: Instant) {
        let Some(pair) = self.pairs.get(id) else { return };
        let since = pair.valid.as_ref().map(|valid| valid.since);
        let stream = usize::from(pair.component.stream());
        let Some(stream) = self.streams.get_mut(stream) else { return };
        let queue = &mut stream.checklist.triggered;
        queue.retain(|queued| *queued != id);
        let nominates = |queued: &PairId| {
            self.components.iter().any(|component| component.nominating == Some(*queued))
        };
        let place = queue.iter().position(|queued| !nominates(queued)).unwrap_or(queue.len());
        queue.insert(place, id);
        let has_answered = since.is_some_and(|since| now < since + self.ta);
        let is_due = self.next_check <= now + self.ta;
        if has_answered && is_due && self.hurried().is_none() {
            self.hurried = Some(id);
        }
    }

    fn hurried(&self) -> Option<PairId> {
        self.hurried.filter(|id| self.pairs.get(*id).is_some_and(|pair| pair.triggered))
    }

    /// When the next check may start.
    pub(super) fn next_start(&self) -> Instant {
        if self.hurried().is_some() { Instant::ZERO } else { self.next_check }
    }

    /// Whether the triggered check of a pair that works now goes out all the same: some nominate a
    /// pair when it is checked after they had their answer, and not before they look again.
    /// [rfc8445-7.3.1.4-1]
    pub(super) fn stays_triggered(&self, id: PairId, core: &Core) -> bool {
        let Some(pair) = self.pairs.get(id) else { return false };
        let stream = self.streams.get(usize::from(pair.component.stream()));
        core.role == Role::Controlled
            && !self.remote_regular
            && self.component(pair.component).is_some_and(|known| known.selected.is_none())
            && stream.is_some_and(|stream| stream.checklist.triggered.contains(&id))
    }

    /// Queues a pair for another check of our own accord. These take turns with the ordinary
    /// checks, so that addresses that never answer do not keep others from being checked at all.
    pub(super) fn check_again(&mut self, id: PairId) {
        let Some(pair) = self.pairs.get_mut(id).filter(|pair| !pair.triggered) else { return };
        pair.triggered = true;
        let stream = pair.component.stream();
        if let Some(checklist) = self.checklist_mut(stream) {
            checklist.retries.push_back(id);
        }
    }

    /// The pair that the checklist of a stream would check next, at the time `at`.
    /// [rfc8445-6.1.4.2-p2] [rfc8445-6.1.4.2-p3] [rfc8445-6.1.4.2-p4]
    fn next_of(&self, stream: usize, at: Instant, core: &Core) -> Option<(PairId, Cause)> {
        let checklist = &self.streams.get(stream)?.checklist;
        if let Some(triggered) = checklist.triggered.front() {
            return Some((*triggered, Cause::Triggered));
        }
        let rests = self.resting(at, core);
        let again = checklist.retries.iter().find(|id| !rests(self.pairs.get(**id)));
        let again = again.map(|id| (*id, Cause::Again));
        if checklist.state != ChecklistState::Running || again.is_some() && !checklist.again_last {
            return again;
        }
        let ordinary = self.ordinary_of(checklist, rests, at, core);
        ordinary.map(|id| (id, Cause::Ordinary)).or(again)
    }

    /// Tells the pairs that rest: where a pair works, those that are no better wait for its
    /// nomination, up to [`REST`]. By the letter none does.
    fn resting(&self, at: Instant, core: &Core) -> impl Fn(Option<&Pair>) -> bool + Copy {
        let first = self.components.first().map(|component| component.id);
        let known = first.and_then(|id| Some((id, self.rest_of(id, core)?)));
        move |pair| {
            let Some(pair) = pair else { return false };
            let rest = match known {
                Some((id, rest)) if id == pair.component => Some(rest),
                Some(_) | None if Some(pair.component) == first => None,
                Some(_) | None => self.rest_of(pair.component, core),
            };
            rest.is_some_and(|(rank, until)| at < until && rank <= self.rank(pair, core))
        }
    }

    /// The rank of the pair of a component that works and is not selected yet, and until when others
    /// rest: those of its class all, unless there is time for a better one.
    fn rest_of(&self, component: ComponentId, core: &Core) -> Option<(Rank, Instant)> {
        match core.config.check_backoff {
            CheckBackoff::Rfc => return None,
            CheckBackoff::Evidence { .. } => {}
        }
        self.component(component).filter(|known| known.selected.is_none())?;
        let rank = |pair: &Pair| match self.has_time(component) {
            true => self.rank(pair, core),
            false => (pair.class, Reverse(u64::MAX)),
        };
        let works = |pair: &Pair| Some((rank(pair), pair.valid.as_ref()?.since));
        let valid = || self.valid_pairs(component).filter_map(|(_, pair)| works(pair));
        let rank = valid().map(|(rank, _)| rank).min()?;
        Some((rank, valid().map(|(_, since)| since).min()? + REST))
    }

    /// When pairs end their rest, or thaw, if nothing but these is to be checked.
    pub(super) fn rest_ends(&self, core: &Core) -> Option<Instant> {
        let ends = self.components.iter().filter_map(|component| self.rest_of(component.id, core));
        let ends = ends.map(|(_, until)| until);
        let frozen = self.pairs.iter().filter(|(_, pair)| pair.state == PairState::Frozen);
        let mut thaws: Vec<_> = frozen.filter_map(|(_, pair)| self.thaws_at(pair, core)).collect();
        thaws.sort_unstable();
        thaws.dedup();
        ends.chain(thaws).filter(|until| self.has_next(*until, core)).min()
    }

    fn ordinary_of(
        &self,
        checklist: &Checklist,
        rests: impl Fn(Option<&Pair>) -> bool,
        at: Instant,
        core: &Core,
    ) -> Option<PairId> {
        let in_state = |state: PairState| {
            let rests = &rests;
            move |id: &&PairId| {
                let pair = self.pairs.get(**id);
                pair.is_some_and(|pair| pair.state == state) && !rests(pair)
            }
        };
        if let Some(waiting) = checklist.order.iter().find(in_state(PairState::Waiting)) {
            return Some(*waiting);
        }
        let frozen = |may: &dyn Fn(&Pair) -> bool| {
            let mut frozen = checklist.order.iter().filter(in_state(PairState::Frozen));
            frozen.find(|id| self.pairs.get(**id).is_some_and(may)).copied()
        };
        let thawed = |pair: &Pair| {
            at > Instant::ZERO && self.thaws_at(pair, core).is_some_and(|thaws| at >= thaws)
        };
        frozen(&|pair| !self.is_busy(pair.foundation)).or_else(|| frozen(&thawed))
    }

    /// When a frozen pair is checked, if nothing else is, though those of its foundation have no
    /// answer yet: all of these are of its component, so that it may stand for a candidate that is
    /// no more. By the letter it never is.
    fn thaws_at(&self, frozen: &Pair, core: &Core) -> Option<Instant> {
        match core.config.check_backoff {
            CheckBackoff::Rfc => return None,
            CheckBackoff::Evidence { .. } => {}
        }
        let mut at = Instant::ZERO;
        for (_, pair) in self.pairs.iter().filter(|(_, p)| p.foundation == frozen.foundation) {
            match pair.state {
                PairState::InProgress { since } if pair.component == frozen.component => {
                    at = at.max(since + THAW);
                }
                PairState::Waiting | PairState::InProgress { .. } => return None,
                PairState::Frozen | PairState::Succeeded | PairState::Failed(_) => {}
            }
        }
        (at > Instant::ZERO).then_some(at)
    }

    fn is_busy(&self, foundation: PairFoundation) -> bool {
        self.pairs.iter().any(|(_, pair)| {
            pair.foundation == foundation
                && matches!(pair.state, PairState::Waiting | PairState::InProgress { .. })
        })
    }

    /// Whether any checklist has something to check at a time; a lite agent checks nothing.
    pub(super) fn has_next(&self, at: Instant, core: &Core) -> bool {
        !self.retired
            && !core.is_lite()
            && (0..self.streams.len()).any(|stream| self.next_of(stream, at, core).is_some())
    }

    /// Takes the next pair, of the checklists in turn; one with nothing to send is passed over at
    /// once. [rfc8445-6.1.4.2-p1] [rfc8445-6.1.4.2-p5] [rfc8838-8-p2] [rfc8838-7-p1]
    pub(super) fn take_next(&mut self, now: Instant, core: &Core) -> Option<PairId> {
        if let Some(id) = self.hurried() {
            self.unqueue(id);
            return Some(id);
        }
        let count = self.streams.len();
        for step in 0..count {
            let stream = (self.turn + step) % count.max(1);
            let Some((id, cause)) = self.next_of(stream, now, core) else { continue };
            self.turn = (stream + 1) % count.max(1);
            if let Some(stream) = self.streams.get_mut(stream) {
                match cause {
                    Cause::Triggered => {}
                    Cause::Again => stream.checklist.again_last = true,
                    Cause::Ordinary => stream.checklist.again_last = false,
                }
            }
            self.unqueue(id);
            return Some(id);
        }
        None
    }

    /// Computes all pair priorities anew after the role changed. [rfc8445-7.2.5.1-p1]
    pub(super) fn recompute_priorities(&mut self, core: &Core) {
        let streams = &self.streams;
        for (_, pair) in self.pairs.iter_mut() {
            let local = core.local.candidate(pair.local);
            let remote = streams
                .get(usize::from(pair.remote.stream))
                .and_then(|stream| stream.remote.as_ref()?.get(pair.remote));
            if let (Some(local), Some(remote)) = (local, remote) {
                pair.priority = pair_priority(core.role, local.priority, remote.priority);
            }
        }
        self.sort_checklists();
    }

    pub(super) fn sort_checklists(&mut self) {
        let pairs = &self.pairs;
        for stream in &mut self.streams {
            stream.checklist.order.sort_by_key(|id| {
                pairs.get(*id).map(|pair| (Reverse(pair.priority), pair.component))
            });
        }
    }

    /// Fails every pair of a base whose socket is gone.
    pub(super) fn fail_base(&mut self, base: BaseId, core: &mut Core) {
        let gone: Vec<PairId> =
            self.pairs.iter().filter(|(_, pair)| pair.base == base).map(|(id, _)| id).collect();
        for id in gone {
            self.fail_pair(id, PairFailure::Unreachable, core);
        }
        self.early.retain(|early| early.base != base);
        for remote in self.streams.iter_mut().filter_map(|stream| stream.remote.as_mut()) {
            remote.forget_base(base);
        }
    }

    /// Whether a component is to have a pair: one that the peer does not have needs none, and a name
    /// tells of one only while there is patience. What needed none when the others had their pairs
    /// needs none in this generation, unless it gets one all the same. [rfc8445-6.1.2.2-p2]
    /// [rfc8839-5.1-2]
    pub(super) fn is_wanted(&self, component: ComponentId) -> bool {
        if component.number() == 1 {
            return true;
        }
        if self.component(component).is_some_and(|known| known.left_out) {
            return false;
        }
        let Some(remote) = self.remote_stream(component.stream()) else { return true };
        let known = remote.iter(component.stream()).map(|(_, c)| c.component);
        let names = remote.unresolved().iter().filter(|_| !self.patience_over);
        let highest = known.chain(names.map(|c| c.component)).max();
        highest.is_none_or(|highest| component.number() <= highest || !remote.complete)
    }
}

/// How good a pair is, as far as is known.
pub(super) fn class(base: &Base, remote: &RemoteCandidate) -> PathClass {
    let relays = u8::from(base.relayed) + u8::from(remote.kind == CandidateKind::Relayed);
    PathClass { relays, cost: base.cost.max(remote.cost) }
}

/// Whether a base and a remote candidate may form a pair: the same component and family,
/// link-local IPv6 with its like alone, loopback with its like alone (the kernel would refuse, and
/// a TURN server is not asked to send to itself).
/// [rfc8445-6.1.2.2-p1] [rfc8445-6.1.2.2-1]
fn pairable(base: &Base, remote: &RemoteCandidate, stream: u16) -> bool {
    base.usable
        && base.component.stream() == stream
        && base.component.number() == remote.component
        && base.address.is_ipv4() == remote.address.is_ipv4()
        && (base.address.is_ipv4()
            || is_link_local(&base.address) == is_link_local(&remote.address))
        && match base.address.ip().is_loopback() {
            true => base.relayed || remote.address.ip().is_loopback(),
            false => !remote.address.ip().is_loopback(),
        }
}
