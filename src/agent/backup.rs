//! What is kept beside a selected pair where the peer follows later nominations: up to three pairs
//! in reserve, and direct pairs while one over a relay is selected.
//!
//! The reserve of a pair fails for other reasons than the pair does. A direct one has another base,
//! or goes to another address of the peer's. One over the peer's relay survives a reboot of our NAT,
//! as permissions are by IP address; one over our relay survives a reboot of the peer's. Beside a
//! pair that uses a relay itself they use another server, if there is one.
//!
//! Both sides keep the same pairs: the controlled side follows the checks of the controlling one.
//! When the selected pair goes silent a reserve carries data at once, and is nominated.

use core::cmp::Reverse;
use core::time::Duration;
use std::net::IpAddr;

use crate::config::{BackupPolicy, CandidatePolicy, Role};
use crate::event::PairFailure;
use crate::net::ComponentId;
use crate::time::Instant;

use super::Core;
use super::checklist::class;
use super::local::BaseId;
use super::pair::{Pair, PairId, PairState};
use super::remote::{RemoteCandidate, RemoteId};
use super::session::{Component, Session};

/// A pair that the controlling side checked within this time is its choice: two periods of
/// consent checks.
const FOLLOWED: Duration = Duration::from_secs(12);

/// Direct pairs that are checked on after a selection, to find one for the reserve.
const DIRECT_SOUGHT: usize = 2;

/// Direct pairs are not sought less often while a pair over a relay is selected.
const SEEK_AT_LEAST_EACH: Duration = Duration::from_secs(300);

/// How long they are sought each time.
const SOUGHT_FOR: Duration = Duration::from_secs(1);

/// How long after a selection data may still come over another pair.
const SETTLED: Duration = Duration::from_secs(1);

/// What a pair in reserve uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Direct,
    /// The relay of the controlled side, or relays of both.
    OfControlled,
    OfControlling,
}

/// Every way, in the order in which they stand in.
const WAYS: [Way; 3] = [Way::Direct, Way::OfControlled, Way::OfControlling];

/// The pairs in reserve, one for each way.
pub(super) type Reserves = [Option<PairId>; WAYS.len()];

impl Session {
    /// Whether a pair of a base and a remote candidate is of use to a component beside the selected
    /// one: in its place, or in reserve.
    pub(super) fn is_of_use(
        &self,
        component: ComponentId,
        base: BaseId,
        remote: RemoteId,
        core: &Core,
    ) -> bool {
        if !self.renomination || self.retired || core.is_lite() {
            return false;
        }
        let selected = self.component(component).and_then(|known| known.selected);
        let Some(selected) = selected.and_then(|id| self.pairs.get(id)) else { return true };
        let ends = core.local.base(base).zip(self.remote(remote));
        if ends.is_some_and(|(base, remote)| class(base, remote) < selected.class) {
            return true;
        }
        let relayed = core.local.base(base).is_some_and(|base| base.relayed);
        let far = self.remote(remote).is_some_and(|remote| remote.is_relayed());
        match (relayed || far, selected.class.relays) {
            (false, 0) => {
                core.config.backup == BackupPolicy::Full && self.is_apart(selected, base, remote)
            }
            (false, _) => false,
            (true, 0) => core.config.backup != BackupPolicy::Off,
            (true, _) => {
                let relays = u8::from(relayed) + u8::from(far);
                core.config.backup != BackupPolicy::Off
                    && (way(relayed, relays, core.role) != way_of(selected, core)
                        || !self.shares_server(selected, base, remote, core))
            }
        }
    }

    /// Whether a direct pair would survive the end of an interface that `pair` does not.
    fn is_apart(&self, pair: &Pair, base: BaseId, remote: RemoteId) -> bool {
        pair.base != base || self.ip(pair.remote) != self.ip(remote)
    }

    fn ip(&self, remote: RemoteId) -> Option<IpAddr> {
        self.remote(remote).map(|remote| remote.address.ip())
    }

    /// Whether a pair outlives the time in which unselected pairs are freed.
    pub(super) fn is_kept(&self, id: PairId, core: &Core) -> bool {
        self.pairs.get(id).is_some_and(|pair| {
            pair.valid.is_some() && self.is_of_use(pair.component, pair.base, pair.remote, core)
        })
    }

    /// Whether a pair was left for one with more relays, and would be taken again.
    pub(super) fn is_missed(&self, id: PairId, core: &Core) -> bool {
        let Some(pair) = self.pairs.get(id) else { return false };
        let selected = self.component(pair.component).and_then(|known| known.selected);
        let selected = selected.and_then(|id| self.pairs.get(id));
        selected.is_some_and(|selected| pair.class.relays < selected.class.relays)
            && self.is_kept(id, core)
    }

    /// Whether a pair is in reserve.
    pub(super) fn is_reserve(&self, id: PairId) -> bool {
        self.components.iter().any(|component| component.reserves.contains(&Some(id)))
    }

    /// Whether a pair in reserve answers.
    pub(super) fn is_ready(&self, id: PairId) -> bool {
        let valid = self.pairs.get(id).and_then(|pair| pair.valid.as_ref());
        self.is_reserve(id) && valid.is_some_and(|valid| !valid.consent.is_silent())
    }

    /// Whether a component has a reserve that answers in the way of a pair that is not formed yet.
    pub(super) fn has_reserve(
        &self,
        component: ComponentId,
        base: BaseId,
        remote: RemoteId,
        core: &Core,
    ) -> bool {
        let ours = core.local.base(base).is_some_and(|base| base.relayed);
        let far = self.remote(remote).is_some_and(|remote| remote.is_relayed());
        let way = way(ours, u8::from(ours) + u8::from(far), core.role);
        let place = WAYS.iter().position(|known| *known == way);
        let reserves = self.component(component).map(|component| component.reserves);
        let reserve = place.and_then(|place| *reserves?.get(place)?);
        reserve.is_some_and(|id| self.is_ready(id))
    }

    /// Divides pairs, best first, into those that may serve beside the one that was selected, and
    /// the rest. Of direct ones beside a direct one those that were checked are enough, and a few.
    pub(super) fn of_use(
        &self,
        pairs: impl Iterator<Item = PairId>,
        core: &Core,
    ) -> (Vec<PairId>, Vec<PairId>) {
        let mut sought = 0;
        pairs.partition(|id| {
            let Some(pair) = self.pairs.get(*id) else { return false };
            let component = self.component(pair.component);
            let selected = component.and_then(|known| self.pairs.get(known.selected?));
            let spare = pair.class.relays == 0
                && selected.is_some_and(|s| s.class.relays == 0 && s.class <= pair.class);
            let begun = !matches!(pair.state, PairState::Frozen | PairState::Waiting);
            self.is_of_use(pair.component, pair.base, pair.remote, core)
                && (!spare || begun || {
                    sought += 1;
                    sought <= DIRECT_SOUGHT
                })
        })
    }

    /// A pair that is of use though its component is concluded: it is checked like one that waits
    /// for another check, which goes on in a completed checklist.
    pub(super) fn go_on_checking(&mut self, id: PairId) {
        let Some(pair) = self.pairs.get_mut(id) else { return };
        match pair.state {
            PairState::Frozen | PairState::Waiting => {
                pair.state = PairState::Waiting;
                self.check_again(id);
            }
            PairState::InProgress { .. } | PairState::Succeeded | PairState::Failed(_) => {}
        }
    }

    /// Chooses the reserves of every component anew; once they are known, other pairs are freed.
    pub(super) fn keep_reserves(&mut self, core: &mut Core, now: Instant) {
        if core.config.backup == BackupPolicy::Off || !self.renomination || self.retired {
            return;
        }
        for index in 0..self.components.len() {
            let Some(component) = self.components.get(index) else { return };
            let (id, before) = (component.id, component.reserves);
            let selected = component.selected.and_then(|selected| self.pairs.get(selected));
            let settled = selected.is_some();
            let chosen = match selected {
                Some(selected) => WAYS.map(|way| self.choose(way, component, selected, core, now)),
                None => component.reserves.map(|id| id.filter(|id| self.pairs.get(*id).is_some())),
            };
            if let Some(component) = self.components.get_mut(index) {
                component.reserves = chosen;
            }
            if !settled {
                continue;
            }
            for found in chosen.iter().flatten().filter(|id| !before.contains(&Some(**id))) {
                self.trace(*found, core, "pair kept in reserve");
            }
            let lost = before.iter().any(Option::is_some) && chosen.iter().all(Option::is_none);
            if lost {
                self.seek_reserve(id, core, now);
            }
            self.free_spares(id, &chosen, core, now);
        }
    }

    fn choose(
        &self,
        way: Way,
        component: &Component,
        selected: &Pair,
        core: &Core,
        now: Instant,
    ) -> Option<PairId> {
        let candidate = |(id, pair): &(PairId, &Pair)| {
            Some(*id) != component.selected
                && way_of(pair, core) == way
                && self.is_of_use(component.id, pair.base, pair.remote, core)
                && (selected.class.relays == 0 || way != Way::Direct)
                && pair.valid.as_ref().is_some_and(|valid| valid.consent.is_fresh(now))
        };
        self.valid_pairs(component.id)
            .filter(candidate)
            .min_by_key(|(_, pair)| {
                let consent = pair.valid.as_ref().map(|valid| &valid.consent);
                let silent = consent.is_some_and(|consent| consent.is_silent());
                let doubtful = consent.is_some_and(|consent| consent.is_worrying());
                let shared = self.shared(pair, selected, core);
                let followed = is_followed(pair, core, now);
                let rank = (pair.class, shared, Reverse(pair.priority));
                (silent, doubtful, !followed, rank)
            })
            .map(|(id, _)| id)
    }

    /// How much two pairs have in common that may fail: a base, an address of the peer's, a server.
    fn shared(&self, a: &Pair, b: &Pair, core: &Core) -> u8 {
        u8::from(a.base == b.base)
            + u8::from(self.ip(a.remote) == self.ip(b.remote))
            + u8::from(self.shares_server(a, b.base, b.remote, core))
    }

    /// Whether a pair, and one of this base and this remote candidate, use relays on one server.
    fn shares_server(&self, pair: &Pair, base: BaseId, remote: RemoteId, core: &Core) -> bool {
        let relays = |base: BaseId, remote: RemoteId| {
            let near = core.local.base(base).filter(|base| base.relayed);
            let far = self.remote(remote).filter(|remote| remote.is_relayed());
            [near.map(|base| base.address.ip()), far.map(|remote| remote.address.ip())]
        };
        let theirs = relays(base, remote);
        relays(pair.base, pair.remote).iter().flatten().any(|ip| theirs.contains(&Some(*ip)))
    }

    /// The reserve is lost: all pairs over relays that there may be are checked anew, for as long
    /// as after a selection.
    fn seek_reserve(&mut self, component: ComponentId, core: &Core, now: Instant) {
        self.form_checklists(core);
        let relayed: Vec<PairId> = self
            .pairs
            .iter()
            .filter(|(_, pair)| pair.component == component && pair.class.relays > 0)
            .map(|(id, _)| id)
            .collect();
        for id in relayed {
            self.go_on_checking(id);
        }
        self.free_at = Some(now + core.config.linger);
    }

    /// Frees the pairs that could serve in the place of a reserve: direct ones that are not checked
    /// yet at once, as there may be many, others when all that is not needed is freed.
    fn free_spares(
        &mut self,
        component: ComponentId,
        reserves: &Reserves,
        core: &mut Core,
        now: Instant,
    ) {
        let selected = self.component(component).and_then(|known| known.selected);
        let direct =
            selected.and_then(|id| self.pairs.get(id)).map(|pair| pair.class.relays) == Some(0);
        let lingers = self.free_at.is_some();
        loop {
            let spare = |(id, pair): &(PairId, &Pair)| {
                let place = WAYS.iter().position(|way| *way == way_of(pair, core));
                let filled = place.and_then(|place| *reserves.get(place)?).is_some();
                let freed = match way_of(pair, core) {
                    Way::Direct => direct && (pair.state.is_open() || !lingers),
                    Way::OfControlled | Way::OfControlling => pair.valid.is_some() && !lingers,
                };
                pair.component == component
                    && filled
                    && freed
                    && Some(*id) != selected
                    && !reserves.contains(&Some(*id))
                    && pair.nomination_pending.is_none()
                    && !is_followed(pair, core, now)
            };
            let found = self.pairs.iter().find(spare).map(|(id, _)| id);
            let Some(id) = found else { return };
            self.remove_pair(id, core);
        }
    }

    /// The reserve of a component whose selected pair is silent, if one answers: the one that is
    /// least in doubt.
    pub(super) fn stand_in(&self, component: ComponentId, now: Instant) -> Option<PairId> {
        let component = self.component(component)?;
        let valid = |id: PairId| self.pairs.get(id)?.valid.as_ref();
        if !component.selected.and_then(valid)?.consent.is_silent() {
            return None;
        }
        component
            .reserves
            .iter()
            .flatten()
            .filter_map(|id| Some((*id, &valid(*id)?.consent)))
            .filter(|(_, consent)| consent.is_fresh(now) && !consent.is_silent())
            .min_by_key(|(_, consent)| consent.is_worrying())
            .map(|(id, _)| id)
    }

    /// While a pair over a relay is selected the direct ones are tried again, each time after twice
    /// the time: a path may have come back.
    pub(super) fn seek_direct(&mut self, core: &Core, now: Instant) {
        self.next_seek = self.seek_time(core, now);
        self.sought = self.sought.saturating_add(1);
        if self.next_seek == Instant::MAX {
            return;
        }
        self.form_likely_pairs(core);
        for place in 0..self.pairs.places() {
            let Some((id, pair)) = self.pairs.at(place) else { continue };
            let selected = self.component(pair.component).and_then(|known| known.selected);
            let selected = selected.and_then(|id| self.pairs.get(id));
            if selected.is_none_or(|selected| pair.class.relays >= selected.class.relays) {
                continue;
            }
            let gone = core.local.base(pair.base).is_none_or(|base| !base.usable);
            // What a check came from and answers from elsewhere was never an address to be asked.
            let learned = self.remote(pair.remote).is_some_and(RemoteCandidate::is_learned);
            let over = pair.state == PairState::Failed(PairFailure::ConsentLost)
                || learned && pair.state == PairState::Failed(PairFailure::Asymmetric);
            if let PairState::Failed(_) = pair.state
                && !over
                && !gone
                && let Some(pair) = self.pairs.get_mut(id)
            {
                pair.state = PairState::Waiting;
            }
            self.go_on_checking(id);
        }
        self.free_at = Some(now + SOUGHT_FOR);
    }

    /// When direct pairs are tried next: never, unless a pair over a relay is selected.
    pub(super) fn seek_time(&self, core: &Core, now: Instant) -> Instant {
        let relayed = |component: &Component| {
            let selected = component.selected.and_then(|id| self.pairs.get(id));
            selected.is_some_and(|selected| selected.class.relays > 0)
        };
        let first = core.config.nomination.retry_direct;
        let wanted = self.renomination
            && !self.retired
            && core.config.policy == CandidatePolicy::All
            && self.components.iter().any(relayed);
        if !wanted || first == Duration::MAX {
            return Instant::MAX;
        }
        let doubled = first.saturating_mul(1 << self.sought.min(16));
        now + doubled.min(SEEK_AT_LEAST_EACH.max(first))
    }

    /// The peer has left the selected pair for `id`, which is in reserve: data came there.
    ///
    /// What came within a second after a selection was on its way before.
    pub(super) fn follow_data(&mut self, id: PairId, core: &Core, now: Instant) -> bool {
        let Some(pair) = self.pairs.get(id) else { return false };
        let Some(component) = self.component(pair.component) else { return false };
        let Some(selected) = component.selected else { return false };
        let settled = now >= component.selected_since + SETTLED;
        if !settled || !self.is_ready(id) || self.is_silent(selected) {
            return false;
        }
        self.leave(selected, core, now);
        self.is_silent(selected)
    }

    /// A check found the peer at an address that it learned of from the peer's check, while the
    /// selected pair of the same base, which was checked no later, has not answered: a NAT gave the
    /// peer another address.
    pub(super) fn follow_move(&mut self, id: PairId, rtt: Duration, core: &Core, now: Instant) {
        let Some(pair) = self.pairs.get(id) else { return };
        let component = self.component(pair.component);
        let Some(selected) = component.and_then(|known| known.selected) else { return };
        let Some(current) = self.pairs.get(selected).filter(|current| current.base == pair.base)
        else {
            return;
        };
        let remote = self.remote(pair.remote);
        let learned = remote.is_some_and(RemoteCandidate::is_learned);
        let since = current.valid.as_ref().and_then(|valid| valid.consent.unanswered());
        let unanswered = since.is_some_and(|since| since + rtt <= now);
        if core.role == Role::Controlling
            && self.renomination
            && learned
            && unanswered
            && current.class.relays >= pair.class.relays
        {
            self.leave(selected, core, now);
        }
    }

    fn leave(&mut self, id: PairId, core: &Core, now: Instant) {
        let valid = self.pairs.get_mut(id).and_then(|pair| pair.valid.as_mut());
        if let Some(valid) = valid {
            valid.consent.leave(now, core.config.consent);
            self.trace(id, core, "the peer has left the pair");
        }
    }

    fn is_silent(&self, id: PairId) -> bool {
        let valid = self.pairs.get(id).and_then(|pair| pair.valid.as_ref());
        valid.is_some_and(|valid| valid.consent.is_silent())
    }

    /// The selected pair does not answer: the reserves are verified before they are needed.
    pub(super) fn verify_reserves(&mut self, id: PairId, core: &Core, now: Instant) {
        let component = self.components.iter().find(|component| component.selected == Some(id));
        let Some(reserves) = component.map(|component| component.reserves) else { return };
        for id in reserves.into_iter().flatten() {
            let valid = self.pairs.get_mut(id).and_then(|pair| pair.valid.as_mut());
            if let Some(valid) = valid {
                valid.consent.suspect(now, core.config.consent);
            }
        }
    }
}

fn way_of(pair: &Pair, core: &Core) -> Way {
    let ours = core.local.base(pair.base).is_some_and(|base| base.relayed);
    way(ours, pair.class.relays, core.role)
}

fn way(ours: bool, relays: u8, role: Role) -> Way {
    match (relays, ours == (role == Role::Controlled)) {
        (0, _) => Way::Direct,
        (1, false) => Way::OfControlling,
        (_, _) => Way::OfControlled,
    }
}

/// Whether we are controlled, and the controlling side has checked the pair of late.
fn is_followed(pair: &Pair, core: &Core, now: Instant) -> bool {
    core.role == Role::Controlled && pair.asked.is_some_and(|asked| now < asked + FOLLOWED)
}
