//! Lite toward lite: nobody checks, so each side chooses a pair by what addresses look like, and
//! where there was a choice the controlling side signals its own. [RFC 8445 §8.2]
//! [RFC 8839 §4.4.2.2]

use core::cmp::Reverse;
use std::net::IpAddr;

use crate::config::Role;
use crate::event::Event;
use crate::net::ComponentId;
use crate::sdp::{Description, StreamDescription};

use super::consent::Consent;
use super::pair::{Pair, PairId, PairState, Valid};
use super::session::Session;
use super::subsequent::named;
use super::{Context, Core};

/// Whether two lite agents agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LiteChoice {
    /// There was nothing to choose.
    #[default]
    None,
    /// Each side chose for itself: the exchange that reconciles them is not over.
    Open,
    /// The controlling side's choice is known to both.
    Settled,
}

impl Session {
    /// Both sides are lite: one pair of each component is simply used, the one that RFC 6724 ranks
    /// first. If there were several, the controlling side is to signal its description again, and
    /// its choice counts. [rfc8445-6.1.1-3a] [rfc8445-6.1.1-3b] [rfc8445-8.2-1] [rfc8445-8.2-2]
    pub(super) fn choose_lite(
        &mut self,
        description: &Description,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) {
        // What a first choice left aside counts again.
        self.form_checklists(core);
        if self.follow_choice(description, core, cx) {
            self.lite_choice = LiteChoice::Settled;
            return;
        }
        let mut several = false;
        for index in 0..self.components.len() {
            let Some(component) = self.components.get(index).map(|c| c.id) else { return };
            let section = description.streams.get(usize::from(component.stream()));
            let candidates = section.map_or(&[][..], |section| &section.candidates);
            let listed = |(_, pair): &(PairId, &Pair)| {
                let address = self.remote(pair.remote).map(|remote| remote.address);
                pair.component == component
                    && candidates.iter().any(|known| known.socket_address() == address)
            };
            let ranked = |(_, pair): &(PairId, &Pair)| {
                let base = core.local.base(pair.base).map(|base| base.address.ip());
                let remote = self.remote(pair.remote).map(|remote| remote.address.ip());
                (base.zip(remote).map(|(base, remote)| rank(base, remote)), Reverse(pair.priority))
            };
            several |= self.pairs.iter().filter(listed).count() > 1;
            let best = self.pairs.iter().filter(listed).min_by_key(ranked).map(|(id, _)| id);
            self.use_unchecked(component, best, core, cx);
        }
        match (self.lite_choice, several) {
            (LiteChoice::None, true) => {
                self.lite_choice = LiteChoice::Open;
                if core.role == Role::Controlling {
                    cx.events.push_back(Event::OfferNeeded { agent: cx.id });
                }
            }
            // The answer to our choice.
            (LiteChoice::Open, _) if core.role == Role::Controlling => {
                self.lite_choice = LiteChoice::Settled;
            }
            (LiteChoice::None | LiteChoice::Open | LiteChoice::Settled, _) => {}
        }
    }

    /// Uses the pairs that the peer chose, as its `remote-candidates` say. If we took ourselves for
    /// the controlling side, the peer was first. [rfc8839-4.4.2.2-1]
    fn follow_choice(
        &mut self,
        description: &Description,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> bool {
        let chosen: Vec<_> = self
            .components
            .iter()
            .filter_map(|component| {
                let section = description.streams.get(usize::from(component.id.stream()))?;
                Some((component.id, self.chosen_by_peer(component.id, section, core)?))
            })
            .collect();
        let mut wanted = self.components.iter().filter(|known| self.is_wanted(known.id));
        if chosen.is_empty() || !wanted.all(|known| chosen.iter().any(|(id, _)| *id == known.id)) {
            return false;
        }
        if core.role == Role::Controlling {
            self.switch_role(Role::Controlled, core, cx);
        }
        for (component, id) in chosen {
            self.use_unchecked(component, Some(id), core, cx);
        }
        true
    }

    fn chosen_by_peer(
        &self,
        component: ComponentId,
        section: &StreamDescription,
        core: &Core,
    ) -> Option<PairId> {
        let (ours, theirs) = named(section, component.number())?;
        let fits = |(_, pair): &(PairId, &Pair)| {
            pair.component == component
                && core.local.base(pair.base).is_some_and(|base| base.address == ours)
                && self.remote(pair.remote).is_some_and(|remote| remote.address == theirs)
        };
        self.pairs.iter().find(fits).map(|(id, _)| id)
    }

    /// Selects a pair that nobody checks.
    fn use_unchecked(
        &mut self,
        component: ComponentId,
        best: Option<PairId>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) {
        let known = self.component(component).and_then(|known| known.selected);
        let Some(id) = best.filter(|best| known != Some(*best)) else { return };
        let period = core.config.consent_period;
        if let Some(pair) = self.pairs.get_mut(id) {
            pair.state = PairState::Succeeded;
            pair.valid = Some(Valid {
                local: pair.local,
                since: cx.now,
                nominated: false,
                nominated_at: None,
                consent: Consent::granted(cx.now, period),
            });
        }
        self.select(id, core, cx);
    }
}

/// How RFC 6724 ranks a destination that is reached from a source address: less is better. Of its
/// rules those that the addresses alone decide: scope, label, precedence, the smaller scope.
/// [RFC 6724 §6]
fn rank(source: IpAddr, destination: IpAddr) -> (bool, bool, Reverse<u8>, u8) {
    let ((precedence, label), (_, ours)) = (policy(destination), policy(source));
    let scope = scope(destination);
    (self::scope(source) != scope, ours != label, Reverse(precedence), scope)
}

/// Precedence and label of the default policy table. [RFC 6724 §2.1]
fn policy(ip: IpAddr) -> (u8, u8) {
    let IpAddr::V6(v6) = ip else { return (35, 4) };
    let [a, b, ..] = v6.segments();
    match (a, b) {
        _ if v6.is_loopback() => (50, 0),
        _ if v6.to_ipv4_mapped().is_some() => (35, 4),
        (0x2002, _) => (30, 2),
        (0x2001, 0) => (5, 5),
        (0x3ffe, _) => (1, 12),
        (0xfc00..=0xfdff, _) => (3, 13),
        (0xfec0..=0xfeff, _) => (1, 11),
        _ => (40, 1),
    }
}

/// The scope of a unicast address: 2 link-local, 5 site-local, 14 global. [RFC 6724 §3.1, §3.2]
fn scope(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(v4) if v4.is_loopback() || v4.is_link_local() => 2,
        IpAddr::V6(v6) if v6.is_loopback() || v6.is_unicast_link_local() => 2,
        IpAddr::V6(v6) if (0xfec0..=0xfeff).contains(&v6.segments()[0]) => 5,
        IpAddr::V4(_) | IpAddr::V6(_) => 14,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_rank_by_scope_then_label_then_precedence() {
        let rank = |source: &str, destination: &str| {
            rank(source.parse().unwrap(), destination.parse().unwrap())
        };
        let global = rank("2001:db8::1", "2001:db8::2");
        let four = rank("192.0.2.1", "192.0.2.2");
        let local = rank("fd00::1", "fd00::2");
        let teredo = rank("2001::1", "2001::2");
        let mixed = rank("fd00::1", "2001:db8::2");
        let link = rank("fe80::1", "2001:db8::2");
        let mut ranks = [link, mixed, teredo, local, four, global];
        ranks.sort();
        assert_eq!(ranks, [global, four, teredo, local, mixed, link]);
        assert!(rank("fe80::1", "fe80::2") < global, "the smaller scope of equal precedence");
    }
}
