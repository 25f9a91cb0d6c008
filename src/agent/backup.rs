//! What is kept beside a selected pair where the peer follows later nominations: a pair over a
//! relay in reserve for a direct one, and direct pairs while one over a relay is selected.
//!
//! Both sides keep the same pair: the fewest relays first, then the relay of the controlled side,
//! then the priority; and the controlled side follows the checks of the controlling one. The pair
//! survives a reboot of the NAT of the controlling side, as permissions are by IP address. When the
//! selected pair goes silent the reserve carries data at once, and is nominated.

use crate::config::{BackupPolicy, Role};
use crate::net::ComponentId;
use crate::time::Instant;

use super::Core;
use super::pair::{Pair, PairId, PairState, PathClass};
use super::session::{Component, Session};

/// A pair that the controlling side checked within this time is its choice: two periods of
/// consent checks.
const FOLLOWED: core::time::Duration = core::time::Duration::from_secs(12);

impl Session {
    /// Whether pairs of a class are of use to a component beside its selected pair: in its place,
    /// or in reserve.
    pub(super) fn is_of_use(&self, component: ComponentId, class: PathClass, core: &Core) -> bool {
        if !self.renomination || self.retired || core.is_lite() {
            return false;
        }
        let selected = self.component(component).and_then(|known| known.selected);
        let selected = selected.and_then(|id| self.pairs.get(id));
        selected.is_none_or(|selected| {
            let reserve = selected.class.relays == 0 && class.relays > 0;
            class < selected.class || reserve && core.config.backup == BackupPolicy::Relay
        })
    }

    /// Whether a pair outlives the time in which unselected pairs are freed.
    pub(super) fn is_kept(&self, id: PairId, core: &Core) -> bool {
        self.pairs.get(id).is_some_and(|pair| {
            pair.valid.is_some() && self.is_of_use(pair.component, pair.class, core)
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

    /// Whether a component has a reserve that answers.
    pub(super) fn has_backup(&self, component: ComponentId) -> bool {
        let backup = self.component(component).and_then(|known| known.backup);
        let backup = backup.and_then(|id| self.pairs.get(id)).and_then(|pair| pair.valid.as_ref());
        backup.is_some_and(|valid| !valid.consent.is_silent())
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

    /// Chooses the reserve of every component anew; once it is known, other pairs are freed.
    pub(super) fn keep_backups(&mut self, core: &mut Core, now: Instant) {
        if core.config.backup == BackupPolicy::Off || !self.renomination || self.retired {
            return;
        }
        for index in 0..self.components.len() {
            let Some(component) = self.components.get(index) else { return };
            let (id, before) = (component.id, component.backup);
            let wanted = component
                .selected
                .and_then(|selected| self.pairs.get(selected))
                .is_some_and(|selected| selected.class.relays == 0);
            let chosen = match wanted {
                true => self.choose_backup(component, core, now),
                false => None,
            };
            if let Some(component) = self.components.get_mut(index) {
                component.backup = chosen;
            }
            match (before, chosen) {
                (Some(_), None) if wanted => self.seek_backup(id, core, now),
                (None, Some(found)) => self.trace(found, core, "pair kept in reserve"),
                (Some(_) | None, _) => {}
            }
            if let Some(chosen) = chosen.filter(|_| self.free_at.is_none()) {
                self.free_spares(id, chosen, core, now);
            }
        }
    }

    fn choose_backup(&self, component: &Component, core: &Core, now: Instant) -> Option<PairId> {
        let candidate = |(id, pair): &(PairId, &Pair)| {
            pair.class.relays > 0
                && Some(*id) != component.selected
                && pair.valid.as_ref().is_some_and(|valid| valid.consent.is_fresh(now))
        };
        self.valid_pairs(component.id)
            .filter(candidate)
            .min_by_key(|(_, pair)| {
                let silent = pair.valid.as_ref().is_some_and(|valid| valid.consent.is_silent());
                let ours = core.local.base(pair.base).is_some_and(|base| base.relayed);
                let of_controlled = ours == (core.role == Role::Controlled);
                let rank = (pair.class.relays, !of_controlled, core::cmp::Reverse(pair.priority));
                (silent, !is_followed(pair, core, now), rank)
            })
            .map(|(id, _)| id)
    }

    /// The reserve is lost: all pairs over relays that there may be are checked anew, for as long
    /// as after a selection.
    fn seek_backup(&mut self, component: ComponentId, core: &Core, now: Instant) {
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

    /// Frees the valid pairs over relays that are not the reserve.
    fn free_spares(
        &mut self,
        component: ComponentId,
        backup: PairId,
        core: &mut Core,
        now: Instant,
    ) {
        loop {
            let spare = |(id, pair): &(PairId, &Pair)| {
                *id != backup
                    && pair.class.relays > 0
                    && pair.nomination_pending.is_none()
                    && !is_followed(pair, core, now)
            };
            let found = self.valid_pairs(component).find(spare).map(|(id, _)| id);
            let Some(id) = found else { return };
            self.remove_pair(id, core);
        }
    }

    /// The reserve of a component whose selected pair is silent, if it answers.
    pub(super) fn stand_in(&self, component: ComponentId, now: Instant) -> Option<PairId> {
        let component = self.component(component)?;
        let valid = |id: PairId| self.pairs.get(id)?.valid.as_ref();
        let silent = component.selected.and_then(valid)?.consent.is_silent();
        let consent = &component.backup.and_then(valid)?.consent;
        let answers = consent.is_fresh(now) && !consent.is_silent();
        component.backup.filter(|_| silent && answers)
    }
}

/// Whether we are controlled, and the controlling side has checked the pair of late.
fn is_followed(pair: &Pair, core: &Core, now: Instant) -> bool {
    core.role == Role::Controlled && pair.asked.is_some_and(|asked| now < asked + FOLLOWED)
}
