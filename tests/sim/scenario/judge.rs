//! The judgement: all faults end, and then everything must be as well as it can be.

use core::time::Duration;

use floe::{AgentState, ComponentId, Event};

use crate::oracle::{self, Class};
use crate::scenario::Violation;
use crate::scenario::play::Stage;
use crate::world::secs;

/// Within this the sides must find together again with the restarts that they recommend themselves:
/// a PAC timer, twice as much as consent lasts, and some.
const RECOVERY: Duration = secs(110);
/// What a long Ta adds to it: a check takes 79 times Ta and the pairs that there are. [RFC 8445 §14.3]
const SLOWNESS: Duration = secs(150);
/// Within this a restart must lead to the best path that there is: the checks of a candidate that is
/// no more, as that of a relay which the server lost, may keep another of its foundation frozen.
const OPTIMUM: Duration = secs(60);
/// How long everything may take to calm down.
const CALM: Duration = secs(60);
/// How long the steady state is watched.
const STEADY: Duration = secs(60);

impl Stage<'_> {
    fn broken(&self, id: &str, what: impl Into<String>) -> Violation {
        Violation { id: id.to_owned(), what: what.into(), at: self.world.elapsed() }
    }

    pub(super) fn judge(&mut self) -> Result<Class, Violation> {
        self.heal();
        if let Some(id) = self.scenario.planted {
            let restarts = |step: &&super::Step| matches!(step.verb, super::Verb::Restart(_));
            if self.scenario.script.iter().any(|step| restarts(&step)) {
                return Err(self.broken(id, "planted"));
            }
        }
        let healed = self.healed();
        let class = oracle::judge(&healed).class;
        if self.closed != [false; 2] {
            self.nobody_sends_to_who_closed()?;
        } else if class == Class::None {
            self.nobody_is_misled()?;
        } else {
            self.both_find_together()?;
            self.the_best_path_is_found(class)?;
            self.data_passes_both_ways()?;
            self.everything_calms_down(class)?;
        }
        self.world.audit();
        self.nothing_follows_a_close()?;
        Ok(class)
    }

    fn recovery(&self) -> Duration {
        let slow = self.scenario.sides.iter().any(|side| side.ta >= 50);
        if slow { RECOVERY + SLOWNESS } else { RECOVERY }
    }

    fn has_lite(&self) -> bool {
        self.scenario.sides.iter().any(|side| side.lite)
    }

    /// Whether a lite side may take a nomination that was given up for the last one: it was held back
    /// on the way, and where its answer is lost, too, neither side can know.
    fn may_be_misheard(&self) -> bool {
        let clogs = |step: &super::Step| matches!(step.verb, super::Verb::Clog(..));
        let once = self.scenario.sides.iter().any(|side| side.no_renomination);
        self.has_lite() && once && self.scenario.script.iter().any(clogs)
    }

    fn states(&self) -> [Option<AgentState>; 2] {
        self.hosts.map(|host| self.call.state(host))
    }

    /// What both sides are at, for the text of a violation.
    fn situation(&self) -> String {
        let of = |side: usize| {
            let state = self.states()[side];
            let host = self.hosts[side];
            if !self.is_alive(side) {
                return format!("{state:?}");
            }
            let pair = self.call.agent(host, |agent| agent.selected(ComponentId::FIRST));
            let pair = pair.map(|pair| crate::world::call::Pair(pair).to_string());
            format!("{state:?} with {}", pair.unwrap_or_else(|| "no pair".to_owned()))
        };
        format!("{}; {}", of(0), of(1))
    }

    /// I-1, after faults: without help where all signalling arrived, and no side may have misheard the
    /// other, else with a restart by the application every 20 s.
    fn both_find_together(&mut self) -> Result<(), Violation> {
        let call = self.call;
        let components = self.scenario.components;
        let settled = move || is_settled(call, components);
        let helped = self.trouble.borrow().lost || self.may_be_misheard();
        if !helped {
            if self.happens(settled, self.recovery()) {
                return Ok(());
            }
            let what = format!("no common pair without help: {}", self.situation());
            return Err(self.broken("I-1", what));
        }
        for _ in 0..4 {
            if self.happens(settled, secs(20)) {
                return Ok(());
            }
            self.restart(0);
        }
        if self.happens(settled, secs(50)) {
            return Ok(());
        }
        Err(self.broken("I-1", format!("no common pair even with help: {}", self.situation())))
    }

    /// I-2: after one more restart the best path is found. By the letter a candidate that is no more
    /// keeps another of its foundation frozen for a whole transaction; where nothing is nominated
    /// twice, it takes the next restart, which knows of the other alone.
    fn the_best_path_is_found(&mut self, best: Class) -> Result<(), Violation> {
        let sides = &self.scenario.sides;
        let by_the_letter = sides.iter().any(|side| side.rfc_backoff);
        let twice = by_the_letter && sides.iter().any(|side| side.no_renomination);
        let refused = self.hosts.map(|host| self.call.rejections(host));
        let call = self.call;
        let components = self.scenario.components;
        let hosts = self.hosts;
        let anew = move |start| {
            hosts.iter().all(|host| {
                let events = call.events(*host);
                let mut events = events.iter().rev().take_while(|(at, _)| *at >= start);
                events.any(|(_, event)| matches!(event, Event::Selected { .. }))
            })
        };
        let lite = self.has_lite();
        for _ in 0..=usize::from(twice) {
            let start = self.world.inner().now;
            self.restart(0);
            let good = move || {
                is_settled(call, components)
                    && anew(start)
                    && (lite || class_of(call.hops(hosts[0])) <= best)
            };
            if self.happens(good, OPTIMUM) {
                return Ok(());
            }
        }
        if self.hosts.map(|host| self.call.rejections(host)) != refused {
            // More restarts than the other side allows.
            return Ok(());
        }
        let what = format!("a restart did not find a path of class {best:?}: {}", self.situation());
        Err(self.broken("I-2", what))
    }

    fn data_passes_both_ways(&mut self) -> Result<(), Violation> {
        for side in [0, 1] {
            let (from, to) = (self.hosts[side], self.hosts[1 - side]);
            let before = self.call.heard(to);
            for n in 0..3 {
                if let Err(error) = self.call.send(from, &[0x80, n]) {
                    return Err(self.broken("I-2", format!("side {side} cannot send: {error}")));
                }
            }
            self.run_until(self.world.elapsed() + secs(2));
            let heard = self.call.heard(to) - before;
            if heard != 3 {
                return Err(self.broken("I-2", format!("{heard} of 3 from side {side} arrived")));
            }
        }
        Ok(())
    }

    /// I-15, I-16: a consent check and its answer for each of four pairs of a component (the selected
    /// one, a direct one and one over the relay of each side in reserve), a refresh of each mapping in
    /// 15 s, and what TURN takes. A minute is not quiet in which a path turns up that is better than
    /// what the oracle knows of: the next one is.
    fn everything_calms_down(&mut self, known: Class) -> Result<(), Violation> {
        let components: Vec<_> = (1..=self.scenario.components).map(component).collect();
        let classes = |stage: &Self| -> Vec<_> {
            let hops = |n: &ComponentId| class_of(stage.call.hops_on(stage.hosts[0], *n));
            components.iter().map(hops).collect()
        };
        self.run_until(self.world.elapsed() + CALM);
        let healed = self.healed();
        let mut then = classes(self);
        let mut before = self.hosts.map(|host| host.packets());
        self.run_until(self.world.elapsed() + STEADY);
        while classes(self).iter().zip(&then).any(|(now, then)| *now < known.min(*then)) {
            then = classes(self);
            self.run_until(self.world.elapsed() + CALM);
            before = self.hosts.map(|host| host.packets());
            self.run_until(self.world.elapsed() + STEADY);
        }
        for side in [0, 1] {
            let party = &healed.parties[side];
            let components = u64::from(self.scenario.components);
            let sockets = party.interfaces.len() as u64 * components;
            let consent = 4 * 2 * 15 * components;
            let mappings = sockets * 5 * (1 + party.turns.len() as u64) * 2;
            let relays = sockets * party.turns.len() as u64 * 2 * 6;
            let sent = self.hosts[side].packets() - before[side];
            if sent > consent + mappings + relays {
                let what = format!("side {side} sent {sent} packets in a quiet minute");
                return Err(self.broken("I-15", what));
            }
        }
        Ok(())
    }

    /// Where the oracle knows of no path there may be one by luck, as with ports that a NAT gives
    /// twice: if it is used, it is used by both.
    fn nobody_is_misled(&mut self) -> Result<(), Violation> {
        let call = self.call;
        let components = self.scenario.components;
        self.run_until(self.world.elapsed() + secs(50));
        let known = move || !call.completed()() || is_settled(call, components);
        if !self.happens(known, self.recovery()) {
            return Err(self.broken("I-1", format!("no common pair: {}", self.situation())));
        }
        Ok(())
    }

    fn nobody_sends_to_who_closed(&mut self) -> Result<(), Violation> {
        self.run_until(self.world.elapsed() + secs(60));
        use AgentState::{Completed, Connected};
        // A lite agent asks nobody, and hears of nobody's end.
        let full = |side: &usize| !self.scenario.sides[*side].lite;
        for side in [0, 1].into_iter().filter(|side| self.is_alive(*side)).filter(full) {
            let state = self.states()[side];
            if matches!(state, Some(Connected | Completed)) {
                return Err(self.broken("I-3", format!("the other side closed: {state:?}")));
            }
        }
        Ok(())
    }

    /// I-9, I-14.
    fn nothing_follows_a_close(&mut self) -> Result<(), Violation> {
        [0, 1].into_iter().for_each(|side| self.close(side));
        self.run_until(self.world.elapsed() + secs(60));
        let before = self.hosts.map(|host| host.packets());
        self.run_until(self.world.elapsed() + secs(30));
        for side in [0, 1].into_iter().filter(|side| self.closed[*side]) {
            let host = self.hosts[side];
            let sent = host.packets() - before[side];
            let next = self.world.inner().hosts[host.id].endpoint().poll_timeout();
            if sent > 0 || next.is_some() {
                let what = format!("side {side} is closed; {sent} packets, a timer at {next:?}");
                return Err(self.broken("I-14", what));
            }
        }
        Ok(())
    }
}

fn is_settled(call: crate::world::call::Call<'_>, components: u16) -> bool {
    call.completed()() && (1..=components).all(|n| call.agree_on(component(n)))
}

fn component(n: u16) -> ComponentId {
    ComponentId::new(0, n).expect("a component's number")
}

fn class_of(hops: usize) -> Class {
    match hops {
        0 => Class::Direct,
        1 => Class::OneRelay,
        _ => Class::TwoRelays,
    }
}
