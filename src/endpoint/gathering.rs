//! Between gathering, which knows no agents, and the agents, which know no servers.

use core::time::Duration;

use crate::candidate::CandidateKind;
use crate::event::Event;
use crate::gather::{Gathered, Gatherer};
use crate::net::SocketId;

use super::Endpoint;

impl Endpoint {
    /// Mappings that other agents' gathering found already, component by component.
    /// [rfc8838-17-1a] [rfc8838-17-1b]
    pub(super) fn add_known_mappings(&mut self, index: usize) {
        let Some(slot) = self.slots.get(index) else { return };
        let mut known = Vec::new();
        for socket in &slot.bases {
            known.extend(self.gatherer.mappings(*socket).map(|(from, to)| (*socket, from, to)));
        }
        known.sort_by_key(|(socket, ..)| {
            slot.agent
                .as_ref()
                .zip(slot.base_of(*socket))
                .and_then(|(a, base)| a.component_of(base))
        });
        for (socket, server, mapped) in known {
            let base = self.slots.get(index).and_then(|slot| slot.base_of(socket));
            let Some(base) = base else { continue };
            self.with_agent(index, |agent, cx, _| {
                agent.add_reflexive(cx, base, mapped, server.ip());
            });
        }
    }

    /// Starts the gathering of an agent's generation: what servers said before counts at once.
    /// [rfc8445-5.1.1.2-1] [rfc8445-5.1.1.2-2]
    pub(super) fn begin_gathering(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let asks = slot.agent.as_ref().is_some_and(|agent| agent.uses_reflexive());
        let relays = slot.agent.as_ref().is_some_and(|agent| agent.uses_relays());
        slot.gathering = None;
        if asks {
            self.gatherer.gather();
        }
        if relays {
            self.want_relays(index, None);
        }
        let pending = self.is_pending(index);
        if pending {
            self.limit_gathering(index);
        }
        if asks {
            self.add_known_mappings(index);
        }
        if relays {
            self.add_known_relays(index);
        }
        if pending {
            self.touch(index);
        } else {
            self.finish_gathering(index);
        }
    }

    fn limit_gathering(&mut self, index: usize) {
        let limit = self.now + self.config.gather_timeout.min(super::GATHER_LIMIT);
        if let Some(slot) = self.slots.get_mut(index) {
            slot.gathering = Some(Box::new(super::Gathering { until: limit, limit }));
        }
    }

    /// Whether a server may still give an agent a candidate.
    fn is_pending(&self, index: usize) -> bool {
        let Some(slot) = self.slots.get(index) else { return false };
        let Some(agent) = &slot.agent else { return false };
        let uses = |socket| slot.bases.contains(&socket);
        agent.uses_reflexive() && self.gatherer.is_pending(uses)
            || agent.uses_relays() && self.relays.is_pending(uses)
    }

    /// There is a socket or server more: an agent that gathers asks there, too.
    pub(super) fn gather_more(&mut self, index: usize) {
        let gathers = self.slots.get(index).is_some_and(|slot| {
            slot.gathering.is_some() && slot.agent.as_ref().is_some_and(|a| a.uses_relays())
        });
        if gathers {
            self.want_relays(index, None);
        }
    }

    /// A socket turned up: an agent that gathers asks the servers for it as for the others, one
    /// whose gathering never ends begins again with it. [rfc8445-5.1.1.4-3]
    pub(super) fn gather_late(&mut self, index: usize, socket: SocketId) {
        let Some(slot) = self.slots.get(index) else { return };
        if slot.gathering.is_some() {
            return self.gather_more(index);
        }
        let base = slot.base_of(socket);
        let agent = slot.agent.as_ref().zip(base).filter(|(agent, base)| agent.gathers_late(*base));
        let Some((agent, _)) = agent else { return };
        let (asks, relays) = (agent.uses_reflexive(), agent.uses_relays());
        if asks {
            self.gatherer.gather_on(socket);
        }
        if relays {
            self.want_relays(index, Some(socket));
        }
        if self.is_pending(index) {
            self.limit_gathering(index);
            self.with_agent(index, |agent, _, _| agent.gather_again());
        }
    }

    /// Whether an agent has waited for servers long enough. A server that has shown a sign of life
    /// is waited for as long as may be.
    pub(super) fn is_gathering_over(&mut self, index: usize) -> bool {
        let now = self.now;
        let Some(slot) = self.slots.get_mut(index) else { return false };
        let uses = |socket| slot.bases.contains(&socket);
        match &mut slot.gathering {
            Some(gathering) if now >= gathering.until => {
                let waits = now < gathering.limit && self.relays.is_alive(uses);
                if waits {
                    gathering.until = gathering.limit;
                }
                !waits
            }
            Some(_) | None => false,
        }
    }

    /// Gathers anew if a call made a new generation begin. [rfc8445-9-1]
    pub(super) fn follow_restart(&mut self, index: usize) {
        let began = self
            .slots
            .get_mut(index)
            .and_then(|slot| slot.agent.as_mut())
            .is_some_and(|agent| agent.take_regather());
        if began {
            let asks = |slot: &&super::Slot| {
                slot.agent.as_ref().is_some_and(|agent| agent.uses_reflexive())
            };
            if let Some(slot) = self.slots.get(index).filter(asks) {
                self.gatherer.distrust(|socket| slot.bases.contains(&socket));
            }
            self.confirm_relays(index);
            self.begin_gathering(index);
        }
    }

    /// Brings what gathering found to the agents. [rfc8445-5.1.1.2-p2]
    pub(super) fn take_gathered(&mut self, gathered: Gathered) {
        self.bring(gathered);
        self.after_gathering();
    }

    /// The same while more is to come.
    pub(super) fn bring(&mut self, gathered: Gathered) {
        self.forget_gathering_transactions();
        match gathered {
            Gathered::Mapped { socket, server, mapped, before, news } => {
                if let Some((server, took)) = news {
                    let (kind, address) = (CandidateKind::ServerReflexive, mapped);
                    self.events.push_back(Event::Gathered { server, socket, kind, address, took });
                }
                for index in 0..self.slots.len() {
                    let base = self.slots.get(index).and_then(|slot| slot.base_of(socket));
                    let Some(base) = base else { continue };
                    self.hurry(index);
                    self.with_agent(index, |agent, cx, _| {
                        if agent.is_gathering() {
                            agent.forget_mapping(base, before);
                            agent.add_reflexive(cx, base, mapped, server.ip());
                        }
                    });
                }
            }
            Gathered::Failed { socket, server, reason } => {
                self.events.push_back(Event::GatheringFailed { server, socket, reason });
            }
        }
    }

    /// A server has answered: the others of an agent are not waited for much longer.
    pub(super) fn hurry(&mut self, index: usize) {
        let grace = self.now + self.grace_of(index);
        if let Some(slot) = self.slots.get_mut(index)
            && let Some(gathering) = &mut slot.gathering
        {
            gathering.until = gathering.until.min(grace);
        }
    }

    /// How long the other answers of an agent are waited for once one has come: servers that are
    /// still to be asked get their turn first.
    fn grace_of(&self, index: usize) -> Duration {
        let Some(slot) = self.slots.get(index) else { return Gatherer::GRACE };
        let uses = |socket| slot.bases.contains(&socket);
        let queued = self.gatherer.queued(uses);
        let relays = self.relays.queued(uses);
        Gatherer::GRACE
            + self.pacer.interval().saturating_mul(queued)
            + self.config.relay_stagger.saturating_mul(relays.min(2))
    }

    /// Completes the gathering of agents that nothing more can come for, and lets the mappings
    /// go when nobody needs them.
    pub(super) fn after_gathering(&mut self) {
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots.get(index) else { return };
            if slot.gathering.is_some() && !self.is_pending(index) {
                self.finish_gathering(index);
            }
        }
        self.release_mappings();
    }

    pub(super) fn release_mappings(&mut self) {
        let needed = self.slots.iter().any(|slot| {
            slot.gathering.is_some()
                || slot.agent.as_ref().is_some_and(|agent| agent.needs_mappings())
        });
        if !needed {
            self.gatherer.rest();
            self.forget_gathering_transactions();
        }
    }

    pub(super) fn finish_gathering(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.gathering = None;
        }
        self.with_agent(index, |agent, cx, _| agent.gathering_complete(cx));
    }

    /// When nobody waits any more, what has not answered is given up.
    pub(super) fn abandon_servers(&mut self) {
        if self.slots.iter().any(|slot| slot.gathering.is_some()) {
            return;
        }
        while let Some(gathered) = self.gatherer.abandon() {
            self.take_gathered(gathered);
        }
        self.abandon_relays();
    }

    pub(super) fn forget_gathering_transactions(&mut self) {
        while let Some(id) = self.gatherer.take_ended() {
            self.routes.remove_transaction(id);
        }
    }
}
