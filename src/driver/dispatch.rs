//! From events of the core to the connections that they concern, and restarts of our own accord.

use std::sync::Arc;

use tracing::{debug, info};

use super::ConnectionEvent;
use super::node::restart_on_fresh_sockets;
use super::shared::{Core, Member, Shared};
use crate::candidate::{Candidate, CandidateKind};
use crate::config::Role;
use crate::event::{AgentState, Event, RestartReason};
use crate::net::AgentId;

/// Restarts of our own accord without a success in between.
const MAX_RESTARTS: u8 = 3;

impl Core {
    /// Hands the events of the endpoint to their connections.
    pub(super) fn dispatch(&mut self, shared: &Arc<Shared>) {
        while let Some(event) = self.endpoint.poll_event() {
            self.dispatch_one(shared, event);
        }
    }

    fn dispatch_one(&mut self, shared: &Arc<Shared>, event: Event) {
        match event {
            Event::LocalCandidate { agent, stream, candidate } => {
                let Some(member) = self.members.get_mut(&agent) else { return };
                member.tell(&candidate);
                member.negotiation.found(stream, candidate);
                member.link.nudge();
                self.publish(shared, agent);
            }
            Event::GatheringComplete { agent } => {
                self.tell_candidates(agent);
                self.publish(shared, agent);
                let Some(member) = self.members.get_mut(&agent) else { return };
                member.negotiation.gathered();
                member.link.event(ConnectionEvent::GatheringComplete);
                member.link.nudge();
            }
            Event::GatheringFailed { server, socket, reason } => {
                let Some((transport, server)) = self.servers.get(&server).copied() else { return };
                let socket = self.sockets.iter().find(|bound| bound.id == socket);
                let Some(local) = socket.map(|bound| bound.address) else { return };
                debug!(?reason, "gathering failed");
                for member in self.members.values() {
                    let event =
                        ConnectionEvent::GatheringFailed { server, transport, local, reason };
                    member.link.event(event);
                }
            }
            Event::Gathered { server, socket, kind, address, took } => {
                let Some((transport, server)) = self.servers.get(&server).copied() else { return };
                let socket = self.sockets.iter_mut().find(|bound| bound.id == socket);
                let Some(socket) = socket else { return };
                if kind == CandidateKind::Relayed {
                    socket.note_relayed(address);
                }
                let local = socket.address;
                debug!(?kind, ?took, "gathered");
                for member in self.members.values() {
                    let event =
                        ConnectionEvent::Gathered { server, transport, local, kind, address, took };
                    member.link.event(event);
                }
            }
            Event::State { agent, state } => self.state(agent, state),
            Event::Sendable { agent, component: _ } => {
                let Some(member) = self.members.get_mut(&agent) else { return };
                member.restarts = 0;
                member.link.sendable();
                member.link.event(ConnectionEvent::Sendable);
            }
            Event::Selected { agent, component: _, pair } => {
                let Some(member) = self.members.get_mut(&agent) else { return };
                info!(%agent, rtt = ?pair.rtt, "selected");
                member.restarts = 0;
                member.link.event(ConnectionEvent::Selected(pair));
            }
            Event::RestartedByPeer { agent } => {
                let gathered = self.has_gathered(agent);
                let Some(member) = self.members.get_mut(&agent) else { return };
                member.negotiation.restarted(gathered);
                member.has_choice = false;
                member.told.clear();
                member.link.event(ConnectionEvent::Restarting { by_peer: true });
                member.link.nudge();
                self.tell_candidates(agent);
            }
            Event::OfferNeeded { agent } => {
                if let Some(member) = self.members.get_mut(&agent) {
                    member.has_choice = true;
                    member.negotiation.offer();
                    member.link.nudge();
                }
            }
            // A connection has one stream, and the last one is never removed.
            Event::StreamRemoved { .. } => {}
            Event::RestartRecommended { agent, reason } => {
                if let Some(member) = self.members.get(&agent) {
                    member.link.event(ConnectionEvent::RestartRecommended(reason));
                }
                self.restart_if_ours(shared, agent, reason);
            }
            Event::RoleChanged { agent, role } => {
                if let Some(member) = self.members.get(&agent) {
                    member.link.event(ConnectionEvent::RoleChanged(role));
                }
            }
        }
    }

    /// Tells the application of our candidates that are known without an event of their own:
    /// those that were there from the start, or that a restart took over.
    pub(super) fn tell_candidates(&mut self, agent: AgentId) {
        let description = self.endpoint.agent(agent).map(|agent| agent.local_description());
        let Some(member) = self.members.get_mut(&agent) else { return };
        for stream in description.into_iter().flat_map(|description| description.streams) {
            for candidate in &stream.candidates {
                member.tell(candidate);
            }
        }
    }

    fn has_gathered(&self, agent: AgentId) -> bool {
        self.endpoint.agent(agent).is_some_and(|agent| !agent.is_gathering())
    }

    fn state(&self, agent: AgentId, state: AgentState) {
        let Some(member) = self.members.get(&agent) else { return };
        info!(%agent, ?state, "state");
        member.link.update(|status| status.state = state);
        member.link.event(ConnectionEvent::State(state));
    }

    /// Restarts of our own accord where the options allow it.
    ///
    /// The controlling side does so on every recommendation, the controlled side only when the
    /// checks failed or its own network changed, for then the peer may not have noticed. Never
    /// while an offer is under way, nor before the connection could send for the first time; what
    /// the network brought is not waited with, unless there is no network.
    fn restart_if_ours(&mut self, shared: &Arc<Shared>, agent: AgentId, reason: RestartReason) {
        let controlling =
            self.endpoint.agent(agent).is_some_and(|agent| agent.role() == Role::Controlling);
        let Some(member) = self.members.get_mut(&agent) else { return };
        if !shared.options.auto_restart || member.link.status().signaling_ended {
            return;
        }
        match reason {
            RestartReason::NotAnswered => {
                if member.negotiation.is_awaiting() {
                    member.negotiation.offer();
                    member.link.nudge();
                }
            }
            RestartReason::NetworkChanged => {
                if !self.sockets.is_empty() {
                    self.restart(shared, agent);
                }
            }
            RestartReason::Silent | RestartReason::ConsentExpiring | RestartReason::Failed => {
                let possible = member.link.was_ready()
                    && !member.negotiation.is_offering()
                    && !member.restart_due
                    && member.restarts < MAX_RESTARTS;
                if possible && (controlling || reason == RestartReason::Failed) {
                    member.restarts += 1;
                    let shared = Arc::clone(shared);
                    let runtime = shared.runtime.clone();
                    drop(runtime.spawn(async move {
                        restart_on_fresh_sockets(&shared, agent).await;
                    }));
                }
            }
        }
    }

    /// Restarts the agent and has an offer signalled; after the exchange that is under way, if
    /// there is one, for its answer would be taken for that to the new offer.
    pub(super) fn restart(&mut self, shared: &Arc<Shared>, agent: AgentId) {
        // Events of the old generation first.
        self.dispatch(shared);
        let Some(member) = self.members.get_mut(&agent) else { return };
        if member.negotiation.must_finish() {
            debug!(%agent, "the restart waits for the answer");
            member.restart_due = true;
            return;
        }
        member.restart_due = false;
        let now = self.clock.now();
        let Some(mut handle) = self.endpoint.agent_mut(now, agent) else { return };
        handle.restart();
        let gathered = self.has_gathered(agent);
        let Some(member) = self.members.get_mut(&agent) else { return };
        info!(%agent, "restarting");
        member.negotiation.restarted(gathered);
        member.negotiation.offer();
        member.told.clear();
        member.link.event(ConnectionEvent::Restarting { by_peer: false });
        member.link.nudge();
        self.tell_candidates(agent);
        // The state that the restart led to is known when it returns.
        self.dispatch(shared);
        self.wake_driver();
    }

    /// Begins the restart that had to wait for the end of an exchange.
    pub(super) fn restart_if_due(&mut self, shared: &Arc<Shared>, agent: AgentId) {
        let Some(member) = self.members.get(&agent) else { return };
        if member.restart_due && !member.negotiation.must_finish() {
            self.restart(shared, agent);
        }
    }

    /// Closes all agents and ends their connections.
    pub(super) fn close_all(&mut self) {
        let agents: Vec<_> = self.members.keys().copied().collect();
        for agent in agents {
            self.close(agent);
        }
    }

    /// Closes an agent and ends its connection.
    pub(super) fn close(&mut self, agent: AgentId) {
        let now = self.clock.now();
        if let Some(handle) = self.endpoint.agent_mut(now, agent) {
            handle.close();
        }
        if let Some(member) = self.members.remove(&agent) {
            member.link.end();
            self.unpublish(agent, member.names);
        }
        self.wake_driver();
    }
}

impl Member {
    /// Tells the application of a candidate of ours, once a generation.
    fn tell(&mut self, candidate: &Candidate) {
        let known = self.told.iter().any(|told| {
            (told.kind, told.component, &told.address)
                == (candidate.kind, candidate.component, &candidate.address)
        });
        if !known {
            self.told.push(candidate.clone());
            self.link.event(ConnectionEvent::LocalCandidate(candidate.clone()));
        }
    }
}
