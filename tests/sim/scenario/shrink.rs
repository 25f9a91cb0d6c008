//! Making a scenario that breaks a promise as small as it goes: without verbs, then faults, then
//! parts of the topology, then configuration.

use core::time::Duration;

use crate::scenario::{Scenario, SideConfig, Signalling, Violation};
use crate::topology::{AddressKind, Party, Place};
use crate::world::link::Link;
use crate::world::nat::Nat;

/// What shrinking came to.
#[derive(Clone, Debug)]
pub(crate) struct Shrunk {
    pub(crate) scenario: Scenario,
    pub(crate) violation: Violation,
    /// Which reduction was taken each time: [`follow`] leads from the seed to the scenario again.
    pub(crate) steps: Vec<usize>,
    pub(crate) runs: usize,
}

/// Shrinks `scenario`, which broke a promise, in at most `runs` runs: what comes of it breaks the
/// same one.
pub(crate) fn shrink(scenario: &Scenario, violation: &Violation, runs: usize) -> Shrunk {
    let mut best = Shrunk {
        scenario: scenario.clone(),
        violation: violation.clone(),
        steps: Vec::new(),
        runs: 0,
    };
    let mut from = 0;
    loop {
        let candidates = reductions(&best.scenario);
        let mut taken = None;
        // Those before were tried a moment ago, and did not help.
        let order = (from..candidates.len()).chain(0..from.min(candidates.len()));
        for index in order {
            if best.runs >= runs {
                return best;
            }
            best.runs += 1;
            if let Err(found) = candidates[index].run()
                && found.id == violation.id
            {
                taken = Some((index, found));
                break;
            }
        }
        let Some((index, found)) = taken else { return best };
        best.scenario = candidates[index].clone();
        best.violation = found;
        best.steps.push(index);
        from = index;
    }
}

/// Takes the steps that [`shrink`] took.
pub(crate) fn follow(mut scenario: Scenario, steps: &[usize]) -> Scenario {
    for step in steps {
        if let Some(next) = reductions(&scenario).into_iter().nth(*step) {
            scenario = next;
        }
    }
    scenario
}

/// All scenarios that are a little smaller.
fn reductions(scenario: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Scenario)| {
        let mut smaller = scenario.clone();
        change(&mut smaller);
        all.push(smaller);
    };
    // Halves and quarters of the script, then single verbs.
    let verbs = scenario.script.len();
    for parts in [2, 4] {
        let len = verbs.div_ceil(parts);
        if len > 1 {
            for start in (0..verbs).step_by(len) {
                with(&|s| {
                    s.script.drain(start..(start + len).min(verbs));
                });
            }
        }
    }
    for index in 0..verbs {
        with(&|s| {
            s.script.remove(index);
        });
    }
    faults(scenario, &mut with);
    parts(scenario, &mut with);
    for side in [0, 1] {
        let config = scenario.sides[side];
        for part in 0..9 {
            let mut plainer = config;
            let plain = SideConfig::default();
            match part {
                0 => plainer.wrong_role = false,
                1 => plainer.lite = false,
                2 => plainer.half_trickle = false,
                3 => plainer.no_backup = false,
                4 => plainer.strict_consent = false,
                5 => plainer.rfc_backoff = false,
                6 => plainer.no_renomination = false,
                7 => plainer.continual = false,
                _ => plainer.ta = plain.ta,
            }
            if plainer != config {
                with(&|s| s.sides[side] = plainer);
            }
        }
    }
    all
}

/// Takes what makes a scenario smaller.
type With<'w> = dyn FnMut(&dyn Fn(&mut Scenario)) + 'w;

fn faults(scenario: &Scenario, with: &mut With<'_>) {
    let plain = Link::default();
    let Link { jitter, loss, bursts, duplicate, reorder, corrupt, bandwidth, mtu, delay, .. } =
        scenario.links;
    if !jitter.is_zero() {
        with(&|s| s.links.jitter = Duration::ZERO);
    }
    if loss > 0.0 {
        with(&|s| s.links.loss = 0.0);
    }
    if bursts.is_some() {
        with(&|s| s.links.bursts = None);
    }
    if bandwidth.is_some() {
        with(&|s| s.links.bandwidth = None);
    }
    if mtu.is_some() {
        with(&|s| s.links.mtu = None);
    }
    if duplicate > 0.0 {
        with(&|s| s.links.duplicate = 0.0);
    }
    if reorder > 0.0 {
        with(&|s| s.links.reorder = 0.0);
    }
    if corrupt > 0.0 {
        with(&|s| s.links.corrupt = 0.0);
    }
    if delay != plain.delay {
        with(&|s| s.links.delay = plain.delay);
    }
    let signalling = scenario.signalling;
    for part in 0..8 {
        let mut better = signalling;
        let good = Signalling::default();
        match part {
            0 => better.delay = good.delay,
            1 => better.jitter = good.jitter,
            2 => better.loss = good.loss,
            3 => better.duplicate = good.duplicate,
            4 => better.candidates_late = good.candidates_late,
            5 => better.candidates_lost = good.candidates_lost,
            6 => better.stale = good.stale,
            _ => better.endless = good.endless,
        }
        if better != signalling {
            with(&|s| s.signalling = better);
        }
    }
    if scenario.nagging {
        with(&|s| s.nagging = false);
    }
    if !scenario.lateness.is_zero() {
        with(&|s| s.lateness = Duration::ZERO);
    }
    if scenario.vanilla {
        with(&|s| s.vanilla = false);
    }
    if scenario.components > 1 {
        with(&|s| s.components = 1);
    }
}

fn parts(scenario: &Scenario, with: &mut With<'_>) {
    for side in [0, 1] {
        let Party { interfaces, stun, turns, relay_only } = &scenario.topology.parties[side];
        for (index, interface) in interfaces.iter().enumerate() {
            if interfaces.len() > 1 {
                with(&|s| {
                    s.topology.parties[side].interfaces.remove(index);
                });
            }
            if interface.place != Place::Internet {
                with(&|s| s.topology.parties[side].interfaces[index].place = Place::Internet);
            }
            if interface.kind != AddressKind::V4 {
                with(&|s| s.topology.parties[side].interfaces[index].kind = AddressKind::V4);
            }
        }
        if *stun {
            with(&|s| s.topology.parties[side].stun = false);
        }
        for index in 0..turns.len() {
            with(&|s| {
                s.topology.parties[side].turns.remove(index);
            });
        }
        if *relay_only {
            with(&|s| s.topology.parties[side].relay_only = false);
        }
    }
    for (index, network) in scenario.topology.networks.iter().enumerate() {
        if network.outer != Some(Place::Internet) {
            with(&|s| s.topology.networks[index].outer = Some(Place::Internet));
        }
        if network.firewall.is_some() {
            with(&|s| s.topology.networks[index].firewall = None);
        }
        if network.blocks_udp {
            with(&|s| s.topology.networks[index].blocks_udp = false);
        }
        if let Some(nat) = network.nat {
            with(&|s| s.topology.networks[index].nat = None);
            let plain = Nat::new(nat.mapping, nat.filtering);
            if format!("{nat:?}") != format!("{plain:?}") {
                with(&|s| s.topology.networks[index].nat = Some(plain));
            }
        }
    }
}
