//! What the verbs of a script do to the world.

use crate::scenario::play::{Ending, Port, Stage};
use crate::scenario::{Clock, Far, Verb};
use crate::topology::{AddressKind, Interface, Place};
use crate::world::Node;
use crate::world::network::{INTERNET, What};
use crate::world::signalling::Act;
use crate::world::stun_server::Temper;

/// How many interfaces a side has at most.
const MOST_INTERFACES: usize = 4;

impl Stage<'_> {
    pub(super) fn perform(&mut self, verb: Verb) {
        let world = self.world;
        let turns = self.scenario.topology.turns;
        match verb {
            Verb::Restart(side) => self.restart(side),
            Verb::RestartBoth => [0, 1].into_iter().for_each(|side| self.restart(side)),
            Verb::RebootNat(network, reboot) => {
                let mut inner = world.inner();
                let gateway = inner.gateways.iter().position(|g| g.inside == network + 1);
                if let Some(gateway) = gateway {
                    inner.reboot(gateway, reboot);
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
            Verb::Clog(side, far, time) => world.clog(self.hosts[side], self.far(side, far), time),
            Verb::Unplug(side, interface) => self.unplug(side, interface),
            Verb::Join(side, place) => self.join(side, place),
            Verb::Leave(side, interface) => self.leave(side, interface),
            Verb::Renumber(side, interface) => self.renumber(side, interface),
            Verb::NetworkChanged(side) => {
                if self.is_awake(side) {
                    self.hosts[side].network_changed();
                }
            }
            Verb::Sleep(side, time, Clock::GoesOn) => self.hosts[side].sleeps(time),
            Verb::Sleep(side, time, Clock::Stops) => self.hosts[side].sleeps_with_its_clock(time),
            Verb::StandStill(side, time) => self.hosts[side].stands_still(time),
            Verb::SetClockBack(side, by) => self.hosts[side].sets_its_clock_back(by),
            Verb::Refuse(side, share, time) => {
                self.hosts[side].refuses_to_send(share);
                self.endings.push((world.elapsed() + time, Ending::Refusals(side)));
            }
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
            Verb::SignallingWaits(time) => self.call.signalling_is_away(time),
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
            Ending::Refusals(side) => {
                self.hosts[side].refuses_to_send(0.0);
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

    fn far(&self, side: usize, far: Far) -> Node {
        match far {
            Far::Peer => Node::from(self.hosts[1 - side]),
            Far::Stun => Node::Server(0),
            Far::Turn(turn) => Node::Turn(turn),
        }
    }

    /// Cuts or heals what a side sends to somebody, and what comes back.
    fn set_path(&self, side: usize, far: Far, [out, back]: [bool; 2]) {
        let (near, far) = (Node::from(self.hosts[side]), self.far(side, far));
        self.world.link(near, far, |link| link.cut = out);
        self.world.link(far, near, |link| link.cut = back);
    }

    /// Whether a side has an agent that hears what its system says.
    fn is_awake(&self, side: usize) -> bool {
        self.is_alive(side) && self.world.inner().is_asleep(self.hosts[side].id).is_none()
    }

    /// The address of an interface that carries IPv4, if there is another such one beside it that is
    /// not lost.
    fn spare(&self, side: usize, index: usize) -> Option<usize> {
        let usable = |port: &Port| port.interface.kind == AddressKind::V4 && port.is_there;
        let ports = &self.ports[side];
        let others = ports.iter().enumerate().filter(|(n, port)| *n != index && usable(port));
        (ports.get(index).is_some_and(usable) && others.count() > 0).then_some(index)
    }

    /// Unplugs an interface that is in use, unless it is the only one that is left.
    fn unplug(&mut self, side: usize, index: usize) {
        let Some(index) = self.spare(side, index) else { return };
        let port = &mut self.ports[side][index];
        port.is_there = false;
        self.world.inner().unplug(self.hosts[side].id, port.ip);
    }

    fn join(&mut self, side: usize, place: Place) {
        let there = self.ports[side].iter().filter(|port| port.is_there).count();
        if !self.is_awake(side) || there >= MOST_INTERFACES {
            return;
        }
        let zone = match place {
            Place::Internet => INTERNET,
            Place::Network(network) => network + 1,
        };
        let ip = self.world.inner().joins(self.hosts[side].id, zone, 0);
        let interface = Interface { place, kind: AddressKind::V4 };
        self.ports[side].push(Port { interface, ip, is_there: true });
    }

    /// An interface goes, and the side knows, unless it is the only one that is left.
    fn leave(&mut self, side: usize, index: usize) {
        let Some(index) = self.spare(side, index).filter(|_| self.is_awake(side)) else { return };
        let port = &mut self.ports[side][index];
        port.is_there = false;
        self.hosts[side].leaves(port.ip);
    }

    /// An interface loses its address and gets another one a moment later.
    fn renumber(&mut self, side: usize, index: usize) {
        let port = self.ports[side].get(index).copied();
        let usable = |port: &Port| port.interface.kind == AddressKind::V4 && port.is_there;
        let Some(port) = port.filter(usable).filter(|_| self.is_awake(side)) else { return };
        self.ports[side][index].is_there = false;
        self.hosts[side].leaves(port.ip);
        self.join(side, port.interface.place);
    }
}
