//! What the verbs of a script do to the world.

use crate::scenario::play::{Ending, Stage};
use crate::scenario::{Far, Verb};
use crate::topology::AddressKind;
use crate::world::Node;
use crate::world::network::What;
use crate::world::signalling::Act;
use crate::world::stun_server::Temper;

impl Stage<'_> {
    pub(super) fn perform(&mut self, verb: Verb) {
        let world = self.world;
        let turns = self.scenario.topology.turns;
        match verb {
            Verb::Restart(side) => self.restart(side),
            Verb::RestartBoth => [0, 1].into_iter().for_each(|side| self.restart(side)),
            Verb::RebootNat(network) => {
                let mut inner = world.inner();
                let of_it = inner.gateways.iter_mut().find(|g| g.inside == network + 1);
                if let Some(nat) = of_it.and_then(|gateway| gateway.nat.as_mut()) {
                    nat.reboot();
                }
            }
            Verb::StunDies => world.inner().servers[0].temper = Temper::Dead,
            Verb::StunRecovers => world.inner().servers[0].temper = Temper::Honest,
            Verb::TurnDies(turn)
            | Verb::TurnDiesForEver(turn)
            | Verb::TurnRecovers(turn)
            | Verb::TurnRestarts(turn)
            | Verb::TurnForgetsPermissions(turn)
            | Verb::TurnForgetsChannels(turn)
                if turn >= turns => {}
            Verb::TurnDies(turn) => world.inner().turns[turn].faults.dead = true,
            Verb::TurnDiesForEver(turn) => {
                world.inner().turns[turn].faults.dead = true;
                self.dead_turns.insert(turn);
            }
            Verb::TurnRecovers(turn) => {
                world.inner().turns[turn].faults.dead = self.dead_turns.contains(&turn);
            }
            Verb::TurnRestarts(turn) => world.inner().turns[turn].restart(),
            Verb::TurnForgetsPermissions(turn) => world.inner().turns[turn].forget_permissions(),
            Verb::TurnForgetsChannels(turn) => world.inner().turns[turn].forget_channels(),
            Verb::Cut(side, far) => self.set_path(side, far, [true, true]),
            Verb::CutOutwards(side, far) => self.set_path(side, far, [true, false]),
            Verb::Heal(side, far) => self.set_path(side, far, [false, false]),
            Verb::Unreachable(side, time) => {
                world.link(self.hosts[side], self.hosts[1 - side], |link| link.unreachable = true);
                self.endings.push((world.elapsed() + time, Ending::Unreachable(side)));
            }
            Verb::Unplug(side, interface) => self.unplug(side, interface),
            Verb::LossBurst(share, time) => {
                world.links(|link| link.loss = link.loss.max(share));
                self.endings.push((world.elapsed() + time, Ending::Loss));
            }
            Verb::Talk(side, interval) => {
                let talking = world.inner().calls[0].sides[side].talking;
                if self.is_alive(side) && !talking {
                    self.call.talk(self.hosts[side], interval);
                }
            }
            Verb::Hush(side) => self.call.hush(self.hosts[side]),
            Verb::SignallingDies(time) => {
                self.trouble.borrow_mut().dead = true;
                self.endings.push((world.elapsed() + time, Ending::SignallingDeath));
            }
            Verb::Close(side) => self.close(side),
        }
    }

    pub(super) fn end(&self, ending: Ending) {
        let world = self.world;
        match ending {
            Ending::Loss => {
                let loss = self.scenario.links.loss;
                world.links(|link| link.loss = loss);
            }
            Ending::Unreachable(side) => {
                world.link(self.hosts[side], self.hosts[1 - side], |link| link.unreachable = false);
            }
            Ending::SignallingDeath => self.trouble.borrow_mut().dead = false,
        }
    }

    /// Whether a side has an agent that is not closed.
    pub(super) fn is_alive(&self, side: usize) -> bool {
        !self.closed[side] && self.world.inner().calls[0].sides[side].agent.is_some()
    }

    pub(super) fn restart(&self, side: usize) {
        if self.is_alive(side) {
            let mut inner = self.world.inner();
            let now = inner.now;
            inner.schedule(now, What::Act { call: 0, side, act: Act::Restart });
        }
    }

    pub(super) fn close(&mut self, side: usize) {
        if self.is_alive(side) {
            self.call.hush(self.hosts[side]);
            self.call.agent_mut(self.hosts[side], |agent| agent.close());
            self.closed[side] = true;
        }
    }

    /// Cuts or heals what a side sends to somebody, and what comes back.
    fn set_path(&self, side: usize, far: Far, [out, back]: [bool; 2]) {
        let near = Node::from(self.hosts[side]);
        let far = match far {
            Far::Peer => Node::from(self.hosts[1 - side]),
            Far::Stun => Node::Server(0),
            Far::Turn(turn) => Node::Turn(turn),
        };
        self.world.link(near, far, |link| link.cut = out);
        self.world.link(far, near, |link| link.cut = back);
    }

    /// Unplugs an interface that is in use, unless it is the only one that is left.
    fn unplug(&mut self, side: usize, index: usize) {
        let interfaces = &self.scenario.topology.parties[side].interfaces;
        let Some(interface) = interfaces.get(index) else { return };
        let lost = |index: usize| self.unplugged.contains(&(side, index));
        let left = (0..interfaces.len()).filter(|other| *other != index && !lost(*other));
        // Of several IPv6 addresses in one place a host uses some alone.
        let another = left.into_iter().any(|other| interfaces[other].kind == AddressKind::V4);
        if interface.kind != AddressKind::V4 || !another || lost(index) {
            return;
        }
        let address = self.hosts[side].addresses()[index];
        self.unplugged.insert((side, index));
        self.world.inner().unplug(self.hosts[side].id, address);
    }
}
