//! Nominating pairs and concluding. [RFC 8445 §8]

use core::cmp::Reverse;
use core::time::Duration;

use crate::canary::{Bug, planted};
use crate::candidate::CandidateKind;
use crate::config::{CheckBackoff, Role};
use crate::event::{Event, PairEnd, RestartReason, SelectedPair};
use crate::net::ComponentId;
use crate::time::{Instant, earlier};

use super::consent::Flow;
use super::pair::{Nominated, Pair, PairId, PairState, Rank, Valid, pair_priority};
use super::remote::{RemoteCandidate, Unresolved};
use super::session::{Check, CheckKind, ChecklistState, Component, Session};
use super::{Context, Core};

/// How long a nomination is repeated when another pair could be nominated in its place.
const NOMINATION_PATIENCE: Duration = Duration::from_secs(5);

/// How often a nomination is made anew as the peer saw it come from another address.
const ANEW: u8 = 3;

/// How long a pair over a relay waits at most, where it is nominated for good, for better ones that
/// may come.
const LAST_WORD: Duration = Duration::from_secs(5);

/// How long after a selection the nominations of a peer that nominates every pair count by
/// priority, and one that another peer gave up may still come late; later ones are deliberate, and
/// the newest counts.
pub(super) const SETTLING: Duration = Duration::from_secs(3);

impl Session {
    /// Nominates what is ripe. [rfc8445-8.1.1-2] [rfc8863-4-5a] [rfc8863-4-6] [rfc8838-13-3]
    /// [rfc8838-13-9]
    pub(super) fn consider_nominations(&mut self, core: &mut Core, cx: &Context<'_>) {
        if core.role != Role::Controlling || self.retired || core.is_lite() {
            return;
        }
        for index in 0..self.components.len() {
            let Some(component) = self.components.get(index) else { return };
            if self.is_nominating(component) {
                continue;
            }
            let id = component.id;
            let due = self.nomination_time(id, core);
            let due = due.is_some_and(|at| cx.now >= at);
            let chosen = self.affirmed(component).or_else(|| self.best_valid(id, core, cx.now));
            let chosen = chosen.map(|(chosen, _)| chosen);
            if let Some(chosen) = chosen.filter(|_| due) {
                self.nominate(chosen, core, cx);
            }
        }
    }

    /// Whether a nomination is under way that is worth waiting for: not that of a selected pair that
    /// went silent, where another may be nominated.
    fn is_nominating(&self, component: &Component) -> bool {
        component.nominating.is_some_and(|id| {
            let selected = component.selected == Some(id);
            !(self.renomination && selected && self.is_troubled(component.id))
        })
    }

    /// Repeats the check of a valid pair with USE-CANDIDATE, through the triggered-check queue.
    /// [rfc8445-8.1.1-p1] [rfc8445-7.1.2-1]
    fn nominate(&mut self, id: PairId, core: &mut Core, cx: &Context<'_>) {
        let Some(component) = self.pairs.get(id).map(|pair| pair.component) else { return };
        if self.renomination {
            // The peer may have followed another one since, which an answer to these says nothing of.
            let nominates = |check: &Check| matches!(check.kind, CheckKind::Nomination(_));
            self.end_checks(core, |check| check.pair == id && nominates(check));
        }
        if let Some(component) = self.component_mut(component) {
            component.nominating = Some(id);
            component.nominating_since = cx.now;
            component.anew = 0;
            component.tried = true;
        }
        self.nominations = self.nominations.saturating_add(1);
        self.queue_nomination(id, core, cx.now);
        self.trace(id, core, "nominating");
    }

    /// Queues a check that nominates. Whoever checks all pairs at once would hear of it after as many
    /// checks if it waited for its turn.
    pub(super) fn queue_nomination(&mut self, id: PairId, core: &Core, now: Instant) {
        self.trigger(id);
        match core.config.check_backoff {
            CheckBackoff::Rfc => {}
            CheckBackoff::Evidence { .. } => self.hurry(id, now),
        }
    }

    /// The peer checks us in its generation of now. One that was asked before it had our credentials
    /// may have kept the first check of each pair alone, and answered all: what was nominated then
    /// is nominated again.
    pub(super) fn now_known(&mut self, now: Instant) {
        if self.known_to_peer.is_none() {
            self.known_to_peer = Some(now);
            for component in &mut self.components {
                component.nomination_open |= component.tried;
            }
        }
    }

    /// Whether the peer is known to have our credentials of now, if it will ever tell.
    pub(super) fn has_credentials(&self) -> bool {
        self.remote_lite || self.known_to_peer.is_some()
    }

    /// The value of the NOMINATION attribute, if renomination is in use; 24 bits.
    pub(super) fn nomination_value(&self) -> Option<u32> {
        self.renomination.then_some(self.nominations & 0x00FF_FFFF)
    }

    /// The valid pair that is best by class, then priority, then round-trip time, of those that
    /// answer. [rfc8445-12.1-1]
    pub(super) fn best_valid(
        &self,
        component: ComponentId,
        core: &Core,
        now: Instant,
    ) -> Option<(PairId, &Pair)> {
        let hysteresis = core.config.nomination.rtt_hysteresis.as_millis().max(1);
        self.valid_pairs(component)
            .filter(|(_, pair)| {
                core.is_lite()
                    || pair.valid.as_ref().is_some_and(|valid| valid.consent.is_fresh(now))
            })
            .min_by_key(|(_, pair)| {
                let consent = pair.valid.as_ref().map(|valid| &valid.consent);
                let silent = consent.is_some_and(|consent| consent.is_silent());
                let doubtful = consent.is_some_and(|consent| consent.is_worrying());
                let rtt = pair.counters.current_round_trip_time.unwrap_or_default().as_millis();
                (silent, doubtful, self.rank(pair, core), rtt / hysteresis)
            })
    }

    /// When a component without a nomination under way is to nominate its best valid pair: at
    /// once if no better class is still possible.
    fn nomination_time(&self, id: ComponentId, core: &Core) -> Option<Instant> {
        let component = self.component(id)?;
        if self.affirmed(component).is_some() {
            return Some(component.nominating_since);
        }
        if component.selected.is_some() && (!self.renomination || self.pairs.len() < 2) {
            return None;
        }
        let (best_id, best) = self.best_valid(id, core, Instant::ZERO)?;
        let valid = best.valid.as_ref()?;
        if let Some(selected) = component.selected {
            return self.renomination_time(selected, best_id, best);
        }
        if !self.may_choose(component) {
            return None;
        }
        // The selected pair is gone, and this is what was kept for that.
        if component.concluded && self.is_ready(best_id) {
            return Some(valid.since);
        }
        let settings = &core.config.nomination;
        let best_possible = !self.better_open(best).any(|_| true) && !self.may_be_relayed(best);
        if best.class.relays > 0 && !self.renomination && !component.tried {
            return Some(match best_possible {
                true => self.first_check(valid.since, settings.relay_wait),
                false => self.final_time(best, core),
            });
        }
        let wait = if best_possible {
            Duration::ZERO
        } else if best.class.relays > 0 || self.may_be_relayed(best) {
            settings.relay_wait
        } else {
            let rtt = best.counters.current_round_trip_time.unwrap_or_default();
            rtt.max(settings.direct_wait)
        };
        let ripe = valid.since + wait;
        if !self.may_wait(best, core) {
            return Some(ripe);
        }
        let valid = |pair: &Pair| pair.valid.as_ref().map(|valid| valid.since);
        let first = self.valid_pairs(id).filter_map(|(_, pair)| valid(pair)).min();
        Some(first.map_or(ripe, |first| ripe.max(first + settings.restart_wait)))
    }

    /// The pairs of a better class that are still to be decided.
    fn better_open<'s>(&'s self, best: &'s Pair) -> impl Iterator<Item = &'s Pair> {
        let better = |pair: &&Pair| {
            pair.component == best.component && pair.state.is_open() && pair.class < best.class
        };
        self.pairs.iter().map(|(_, pair)| pair).filter(better)
    }

    /// Whether nothing is lost if a direct pair that is nominated for good waits for a better one:
    /// the generation before still works. Chromium does not check what has a lower priority than the
    /// pair that it uses, and follows the nomination of none but what it has checked.
    fn may_wait(&self, best: &Pair, core: &Core) -> bool {
        let stream = self.remote_stream(best.component.stream());
        let (Some(stream), true) = (stream, self.has_time(best.component)) else { return false };
        let better =
            |pair: &Pair| pair.state.is_open() && self.rank(pair, core) < self.rank(best, core);
        // Told of by a check alone so far, which says less than its candidate will.
        let untold = |pair: &Pair| {
            let learned = stream.get(pair.remote).is_some_and(RemoteCandidate::is_learned);
            let failed = matches!(pair.state, PairState::Failed(_));
            !stream.complete && learned && !failed && pair.class <= best.class
        };
        let mut pairs = self.pairs.iter().map(|(_, pair)| pair);
        let number = best.component.number();
        let priority = stream.get(best.remote).map(|remote| remote.signalled_priority);
        let open = |name: &&Unresolved| name.component == number && !name.redundant;
        let mut names = stream.unresolved().iter().filter(open);
        pairs.any(|pair| pair.component == best.component && (better(pair) || untold(pair)))
            || names.any(|name| Some(name.priority) > priority)
    }

    /// Whether the generation before carries the data of a component for now, and a nomination is
    /// for good.
    pub(super) fn has_time(&self, component: ComponentId) -> bool {
        !self.renomination && self.component(component).is_some_and(|component| component.relieved)
    }

    /// When the peer checks us, which may tell of a better pair, if the best one that is known is
    /// valid since `since`; it is not waited for longer than `wait`.
    fn first_check(&self, since: Instant, wait: Duration) -> Instant {
        let asked = if self.remote_lite { Some(Instant::ZERO) } else { self.known_to_peer };
        asked.map_or(since + wait, |asked| asked.clamp(since, since + wait))
    }

    /// When a pair over a relay is nominated for good: the better ones had time since one over a
    /// relay was valid and since they were first checked, and so had those that the peer's checks
    /// tell of since these began: as much as it takes to check them twice, as the first check may
    /// only make a NAT let in those of the other side. A frozen one had it with one of another
    /// component that keeps it so; one of its own does that no longer than a while.
    fn final_time(&self, best: &Pair, core: &Core) -> Instant {
        let valid = |pair: &Pair| pair.valid.as_ref().map(|valid| valid.since);
        let since = self.valid_pairs(best.component).filter_map(|(_, pair)| valid(pair)).min();
        let since = since.unwrap_or(Instant::ZERO);
        let asked = if self.remote_lite { Some(Instant::ZERO) } else { self.known_to_peer };
        let checked = self.better_open(best).map(|pair| match pair.state {
            PairState::InProgress { since } => Some(since),
            PairState::Frozen => self.pairs.iter().find_map(|(_, busy)| match busy.state {
                PairState::InProgress { since } => {
                    let other = busy.component != pair.component;
                    (other && busy.foundation == pair.foundation).then_some(since)
                }
                PairState::Frozen
                | PairState::Waiting
                | PairState::Succeeded
                | PairState::Failed(_) => None,
            }),
            PairState::Waiting | PairState::Succeeded | PairState::Failed(_) => None,
        });
        let begun: Option<Vec<Instant>> = checked.chain([asked, Some(since)]).collect();
        let rtt = best.counters.current_round_trip_time.unwrap_or_default();
        let wait = core.config.nomination.relay_wait.max(self.check_rto(core) + rtt);
        let ripe = begun.and_then(|begun| begun.into_iter().max()).map(|at| at + wait);
        ripe.map_or(since + LAST_WORD, |at| at.clamp(since, since + LAST_WORD))
    }

    /// The selected pair, if it answers and the peer may have left it for another.
    fn affirmed(&self, component: &Component) -> Option<(PairId, &Pair)> {
        let selected = component.selected.filter(|_| component.nomination_open)?;
        let pair = self.pairs.get(selected)?;
        (!pair.valid.as_ref()?.consent.is_silent()).then_some((selected, pair))
    }

    /// Whether the other end may be a relay that is not signalled yet: its check may come first.
    fn may_be_relayed(&self, pair: &Pair) -> bool {
        let stream = self.remote_stream(pair.component.stream());
        let remote = stream.and_then(|stream| stream.get(pair.remote));
        stream.is_some_and(|stream| !stream.complete)
            && remote.is_some_and(|remote| remote.kind == CandidateKind::PeerReflexive)
    }

    /// After a selection another pair is nominated only where both sides know renomination: when
    /// the selected one is silent, or worse in class. [rfc8445-8.1.1-3] [rfc8839-4.3.4-4]
    fn renomination_time(&self, selected: PairId, best_id: PairId, best: &Pair) -> Option<Instant> {
        if !self.renomination || best_id == selected {
            return None;
        }
        let current = self.pairs.get(selected)?;
        let silent =
            |pair: &Pair| pair.valid.as_ref().is_none_or(|valid| valid.consent.is_silent());
        let better = silent(current) && !silent(best) || best.class < current.class;
        // Its own verification, which is under way, tells whether it works.
        let doubtful = best.valid.as_ref().is_some_and(|valid| valid.consent.is_worrying());
        (better && !doubtful).then(|| best.valid.as_ref().map(|valid| valid.since)).flatten()
    }

    /// The peer sees a pair that is selected, or being nominated, from another address than before:
    /// a NAT on our side has forgotten us. Where the peer follows later nominations, the pair is
    /// nominated again, so that it takes the new address; elsewhere only a restart tells it of the
    /// end of the selected one. Returns whether what was answered is void: where addresses go back
    /// and forth it counts in the end.
    pub(super) fn renominate_moved(
        &mut self,
        component: ComponentId,
        id: PairId,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some(known) = self.component(component) else { return false };
        let selected = known.selected == Some(id);
        let concerned = selected || known.nominating == Some(id);
        if !concerned || self.retired {
            return false;
        }
        let anew = if known.nominating == Some(id) { known.anew } else { 0 };
        let renominates = self.renomination && core.role == Role::Controlling && anew < ANEW;
        if renominates {
            self.cancel_checks(id, core);
            self.nominate(id, core, cx);
            if let Some(known) = self.component_mut(component) {
                known.anew = anew + 1;
            }
        } else if selected && !self.renomination {
            cx.recommend_restart(RestartReason::Failed);
        }
        renominates
    }

    /// Whether a nomination has gone unanswered for long while another pair could be nominated.
    /// [rfc8445-7.2.5.3.4-1]
    pub(super) fn is_nomination_hopeless(&self, id: PairId, core: &Core, now: Instant) -> bool {
        let component = self.components.iter().find(|known| known.nominating == Some(id));
        component.is_some_and(|component| {
            let other = |(other, pair): (PairId, &Pair)| {
                other != id && pair.valid.as_ref().is_some_and(|valid| valid.consent.is_fresh(now))
            };
            core.role == Role::Controlling
                && component.selected != Some(id)
                && now >= component.nominating_since + NOMINATION_PATIENCE
                && self.valid_pairs(component.id).any(other)
        })
    }

    /// Our nominating check was answered. Where it was given up, and another pair was selected, nobody
    /// knows which of the two the peer follows, unless it takes the later nomination: then a restart
    /// tells. [rfc8445-7.2.5.3.4-p1] [rfc8445-8.1.1-3]
    pub(super) fn nomination_succeeded(
        &mut self,
        id: PairId,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) {
        let Some(component) = self.pairs.get(id).map(|pair| pair.component) else { return };
        let last_word = !self.renomination && !self.retired;
        let Some(component) = self.component_mut(component) else { return };
        match (component.nominating, component.selected) {
            (Some(nominating), _) if nominating == id => {}
            (None, None) if last_word => {}
            (_, Some(selected)) if last_word && selected != id => {
                // Once is enough.
                self.cancel_checks(id, core);
                cx.recommend_restart(RestartReason::Failed);
                return;
            }
            (Some(_) | None, _) => return,
        }
        component.nominating = None;
        self.select(id, core, cx);
    }

    /// The peer nominated a valid pair. The greatest value counts; without values the highest
    /// priority of a burst, and later the newest. Who knows of no bursts has given up what it
    /// nominated before, of which a copy may still come late. [rfc8445-8.1.1-4] [rfc8445-7.3.1.5-p1]
    pub(super) fn follow_nomination(
        &mut self,
        id: PairId,
        nominated: Nominated,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) {
        let Some(pair) = self.pairs.get_mut(id) else { return };
        if let Some(valid) = &mut pair.valid {
            valid.nominated_at = Some(cx.now);
        }
        let Some(pair) = self.pairs.get(id) else { return };
        let Some(component) = self.component(pair.component) else { return };
        if component.selected == Some(id) {
            let known = component.newest.unwrap_or(nominated);
            let value = nominated.value.max(known.value);
            let order = nominated.order.max(known.order);
            let id = component.id;
            if let Some(component) = self.component_mut(id) {
                component.newest = Some(Nominated { value, order });
            }
            return;
        }
        let settling = cx.now < component.selected_since + SETTLING;
        let current = component.selected.and_then(|selected| self.pairs.get(selected));
        let silent = current
            .is_some_and(|pair| pair.valid.as_ref().is_none_or(|valid| valid.consent.is_silent()));
        let newest = component.newest;
        let rank = |pair: &Pair| self.rank_for_peer(pair, core);
        let accepted = match (nominated.value, newest.and_then(|newest| newest.value), current) {
            (Some(value), Some(newest), _) => value > newest,
            (Some(_), None, _) | (None, None, None) => true,
            (None, Some(_), _) => false,
            (None, None, Some(current)) => {
                let older = newest.is_some_and(|newest| nominated.order < newest.order);
                let was_selected = pair.valid.as_ref().is_some_and(|valid| valid.nominated);
                match self.remote_regular {
                    true => !older && (silent || !(settling && was_selected)),
                    false => silent || !settling || rank(pair) > rank(current),
                }
            }
        };
        if !accepted {
            return;
        }
        let component = component.id;
        if let Some(component) = self.component_mut(component) {
            component.newest = Some(nominated);
        }
        self.select(id, core, cx);
    }

    /// What a pair is chosen by. Its priority counts as the peer has it: the pair keeps the one of
    /// the check that told of its candidate first.
    pub(super) fn rank(&self, pair: &Pair, core: &Core) -> Rank {
        (pair.class, Reverse(self.rank_for_peer(pair, core)))
    }

    /// The priority of a pair, as far as the peer's candidate is concerned as the peer has it.
    fn rank_for_peer(&self, pair: &Pair, core: &Core) -> u64 {
        let ends = core.local.candidate(pair.local).zip(self.remote(pair.remote));
        ends.map_or(pair.priority, |(local, remote)| {
            pair_priority(core.role, local.priority, remote.signalled_priority)
        })
    }

    /// The peer has told the priority of a candidate. If it ranks the pairs that it nominates by
    /// priority, it uses the best of them, which may be another now.
    pub(super) fn rank_anew(&mut self, core: &mut Core, cx: &mut Context<'_>) {
        if core.role != Role::Controlled || self.remote_regular {
            return;
        }
        let ranked = |component: &Component| {
            let selected = component.selected?;
            component.newest.filter(|newest| newest.value.is_none())?;
            let is_recent = |valid: &Valid| {
                let recent = valid.nominated_at.is_some_and(|at| cx.now < at + SETTLING);
                recent && !valid.consent.is_silent()
            };
            let recent = self.valid_pairs(component.id);
            let recent = recent.filter(|(_, pair)| pair.valid.as_ref().is_some_and(is_recent));
            let rank = |pair: &Pair| self.rank_for_peer(pair, core);
            let (best, pair) = recent.max_by_key(|(_, pair)| rank(pair))?;
            (rank(pair) > rank(self.pairs.get(selected)?)).then_some(best)
        };
        let better: Vec<PairId> = self.components.iter().filter_map(ranked).collect();
        for id in better {
            self.select(id, core, cx);
        }
    }

    /// Makes a nominated pair the selected one, and concludes the component.
    /// [rfc8445-8.1.2-1] [rfc8445-8.1.2-p1] [rfc8445-12.1-2]
    pub(super) fn select(&mut self, id: PairId, core: &mut Core, cx: &mut Context<'_>) {
        self.unqueue(id);
        let Some(pair) = self.pairs.get_mut(id) else { return };
        if let Some(valid) = &mut pair.valid {
            valid.nominated = true;
        }
        pair.last_sent = cx.now;
        let component = pair.component;
        let known_to_peer = self.known_to_peer;
        let Some(known) = self.component_mut(component) else { return };
        let changed = known.selected.replace(id) != Some(id);
        let told = !changed && known.anew == 0;
        known.selected_since = cx.now;
        known.concluded = true;
        known.left_out = false;
        // It was answered late: the peer may have missed it, as `now_known` has it.
        let missed = known_to_peer.is_some_and(|at| known.nominating_since < at);
        known.nomination_open = known.tried && missed;
        known.flow = Flow::default();
        core.selected_changes = core.selected_changes.saturating_add(u32::from(changed));
        self.conclude(component, id, core);
        self.sought = 0;
        self.next_seek = self.seek_time(core, cx.now);
        if let Some(selected) = self.describe_pair(id, core).filter(|_| !told) {
            self.trace(id, core, "pair selected");
            cx.events.push_back(Event::Selected { agent: cx.id, component, pair: selected });
        }
        if self.is_complete() {
            self.free_at = Some(cx.now + core.config.linger);
        }
    }

    /// Whether a component is to have a pair and has none.
    pub(super) fn is_seeking(&self, component: &Component) -> bool {
        component.selected.is_none() && self.is_wanted(component.id)
    }

    /// Whether every component that is wanted has its pair.
    pub(super) fn is_complete(&self) -> bool {
        !self.components.iter().any(|component| self.is_seeking(component))
    }

    /// The other components had their pairs when one turned out not to be wanted.
    /// [rfc8445-6.1.2.2-p2]
    fn complete_late(&mut self, core: &Core, now: Instant) {
        for stream in 0..self.streams.len() {
            let Ok(stream) = u16::try_from(stream) else { return };
            let list = self.streams.get(usize::from(stream)).map(|stream| &stream.checklist);
            let running = list.is_some_and(|list| list.state == ChecklistState::Running);
            let mut unwanted = self.components.iter().filter(|c| !self.is_wanted(c.id));
            let late = running && unwanted.any(|c| c.id.stream() == stream && !c.left_out);
            let works = |c: &Component| c.selected.is_some() && !self.is_troubled(c.id);
            if late && self.wanted(stream).all(works) {
                self.complete(stream);
                if self.is_complete() {
                    self.free_at = Some(now + core.config.linger);
                }
            }
        }
    }

    /// Completes a checklist: whatever component has no pair is left out. [rfc8445-8.1.2-p1]
    fn complete(&mut self, stream: u16) {
        if let Some(checklist) = self.checklist_mut(stream) {
            checklist.state = ChecklistState::Completed;
        }
        for component in self.components.iter_mut().filter(|c| c.id.stream() == stream) {
            component.left_out = component.selected.is_none();
        }
    }

    /// Takes all other pairs of the component off the checklist; valid ones are still answered.
    /// One that the peer nominated as well is checked to the end; where it follows later
    /// nominations, what may be of use beside the selected pair goes on. [rfc8445-8.1.1-4]
    /// [rfc8445-8.1.2-1] [rfc8445-8.1.2-2]
    fn conclude(&mut self, component: ComponentId, selected: PairId, core: &mut Core) {
        let mut others: Vec<_> = self
            .pairs
            .iter()
            .filter(|(id, pair)| {
                pair.component == component && *id != selected && pair.nomination_pending.is_none()
            })
            .map(|(id, pair)| (Reverse(pair.priority), id))
            .collect();
        others.sort_unstable();
        let (kept, others) = self.of_use(others.into_iter().map(|(_, id)| id), core);
        for id in kept {
            self.go_on_checking(id);
        }
        for id in others {
            self.unqueue(id);
            let open = self.pairs.get(id).is_some_and(|pair| pair.state.is_open());
            if open {
                self.remove_pair(id, core);
            } else {
                self.cancel_others(id, core);
            }
        }
        let stream = component.stream();
        if self.wanted(stream).all(|component| component.selected.is_some()) {
            self.complete(stream);
        }
    }

    /// The pair as it is reported.
    pub(super) fn describe_pair(&self, id: PairId, core: &Core) -> Option<SelectedPair> {
        let pair = self.pairs.get(id)?;
        let local_id = pair.valid.as_ref().map_or(pair.local, |valid| valid.local);
        let local = core.local.candidate(local_id)?;
        let remote = self.remote(pair.remote)?;
        Some(SelectedPair {
            local: PairEnd {
                kind: local.kind,
                address: core.local.shown(local),
                priority: local.priority,
            },
            base: core.local.base(pair.base)?.address,
            remote: PairEnd {
                kind: remote.kind,
                address: self.shown(pair.remote, &core.local)?,
                priority: remote.priority,
            },
            rtt: pair.counters.current_round_trip_time,
        })
    }

    /// Fails the checklists that nothing can save any more: the PAC timer ran out or pairs had
    /// been nominated already, no pair is left to check, and some component has no valid pair.
    /// [rfc8863-4-3] [rfc8863-4-4] [rfc8445-8.1.1-1]
    /// [rfc8863-4-p2] [rfc8445-6.1.2.1-p1] [rfc8445-7.2.5.4-p1] [rfc8838-8-1] [rfc8838-8-p1]
    /// [rfc8863-5-1] [rfc8863-5-2] [rfc8863-5-3]
    pub(super) fn judge_checklists(&mut self, core: &Core, cx: &mut Context<'_>) {
        self.patience_over |= self.patience_until.is_some_and(|until| cx.now >= until);
        if self.retired {
            return;
        }
        self.complete_late(core, cx.now);
        for stream in 0..self.streams.len() {
            let Ok(stream) = u16::try_from(stream) else { return };
            let Some(checklist) = self.checklist_mut(stream) else { return };
            let judged = match checklist.state {
                ChecklistState::Running => self.patience_over,
                ChecklistState::Completed => true,
                ChecklistState::Failed | ChecklistState::Removed => false,
            };
            let open = self.pairs.iter().any(|(_, pair)| {
                pair.component.stream() == stream && (pair.state.is_open() || pair.triggered)
            });
            let lacking = self.components.iter().any(|component| {
                component.id.stream() == stream
                    && self.is_wanted(component.id)
                    && self.lacks_pair(component)
            });
            if !judged || !lacking || open || core.gathering {
                continue;
            }
            if let Some(checklist) = self.checklist_mut(stream) {
                checklist.state = ChecklistState::Failed;
            }
            // Without an address the restart waits for one.
            if !core.advised && core.local.is_connected() {
                cx.recommend_restart(RestartReason::Failed);
            }
        }
    }

    /// The selected pair of a component may not work any more: it is verified without waiting for
    /// the next consent check.
    pub(super) fn suspect(&mut self, component: ComponentId, core: &Core, now: Instant) {
        let mode = core.config.consent;
        let selected = self.component(component).and_then(|component| component.selected);
        let valid =
            selected.and_then(|id| self.pairs.get_mut(id)).and_then(|pair| pair.valid.as_mut());
        if let Some(valid) = valid {
            valid.consent.suspect(now, mode);
        }
    }

    /// Whether an answer of the selected pair of a component is missing.
    pub(super) fn is_suspected(&self, component: ComponentId) -> bool {
        self.component(component)
            .and_then(|component| self.pairs.get(component.selected?))
            .and_then(|pair| pair.valid.as_ref())
            .is_some_and(|valid| valid.consent.unanswered().is_some())
    }

    /// Whether the selected pair of a component does not answer.
    pub(super) fn is_troubled(&self, component: ComponentId) -> bool {
        self.component(component)
            .and_then(|component| component.selected)
            .and_then(|id| self.pairs.get(id))
            .and_then(|pair| pair.valid.as_ref())
            .is_some_and(|valid| valid.consent.is_silent())
    }

    /// Whether a component has neither a selected pair that answers nor a reserve that does.
    pub(super) fn is_stranded(&self, component: ComponentId, now: Instant) -> bool {
        self.is_troubled(component) && self.stand_in(component, now).is_none()
    }

    /// The selected pair went silent. Where the peer follows later nominations, all other pairs
    /// are checked anew: the first that works is nominated. The reserve works already.
    pub(super) fn reopen(&mut self, component: ComponentId, core: &Core) {
        let reopened = self.renomination && !self.retired && !core.is_lite();
        if !reopened {
            return;
        }
        let Some(stream) = self.streams.get_mut(usize::from(component.stream())) else { return };
        // What has failed waits for a restart, or for a check of the peer's.
        if stream.checklist.state == ChecklistState::Failed {
            return;
        }
        stream.checklist.state = ChecklistState::Running;
        self.free_at = None;
        let selected = self.component(component).and_then(|component| component.selected);
        self.form_checklists(core);
        let again: Vec<PairId> = self
            .pairs
            .iter()
            .filter(|(id, pair)| {
                pair.component == component
                    && Some(*id) != selected
                    && !self.is_ready(*id)
                    && core.local.base(pair.base).is_some_and(|base| base.usable)
                    && match pair.state {
                        PairState::Failed(reason) => {
                            reason != crate::event::PairFailure::ConsentLost
                        }
                        PairState::Frozen | PairState::Succeeded => true,
                        PairState::Waiting | PairState::InProgress { .. } => false,
                    }
            })
            .map(|(id, _)| id)
            .collect();
        for id in again {
            if let Some(pair) = self.pairs.get_mut(id) {
                pair.state = PairState::Waiting;
                pair.valid = None;
            }
        }
    }

    /// When nomination or judgement is next due.
    pub(super) fn nomination_deadline(&self, core: &Core) -> Option<Instant> {
        let mut deadline = self.free_at;
        if self.retired {
            return deadline;
        }
        if core.role == Role::Controlling && !core.is_lite() {
            for component in self.components.iter().filter(|c| !self.is_nominating(c)) {
                deadline = earlier(deadline, self.nomination_time(component.id, core));
            }
        }
        earlier(deadline, self.judgement_time())
    }

    /// The end of the PAC timer, until it is over; later each change is judged as it comes.
    fn judgement_time(&self) -> Option<Instant> {
        let undecided = self.components.iter().any(|component| self.lacks_pair(component));
        let over = self.patience_over && !planted(Bug::DeadlineStays);
        self.patience_until.filter(|_| undecided && !over)
    }
}
