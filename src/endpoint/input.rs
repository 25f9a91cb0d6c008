//! What comes in: authenticated, and brought to whose it is.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::agent::{Answer, BaseId, Generation};
use crate::canary::{Bug, planted};
use crate::demux::Class;
use crate::net::{AgentId, DropReason, Received, SocketId, canonical, is_link_local, on_its_link};
use crate::stun::{
    AttributeType, Authenticated, IntegrityError, Message, MessageClass, Method, ParseError,
    TransactionId,
};
use crate::time::Instant;

use super::Endpoint;
use super::replies::{Reply, ReplyKind, UNKNOWN_NAMED};
use super::routes::{Flow, Owner};

impl Endpoint {
    /// Takes a datagram that a socket received. Never fails: what cannot be used is dropped, and
    /// counted by its reason.
    pub fn handle_datagram<'b>(
        &mut self,
        now: Instant,
        socket: SocketId,
        from: SocketAddr,
        datagram: &'b [u8],
    ) -> Received<'b> {
        self.clock(now);
        let from = self.as_seen_by(socket, from);
        let known = self.sockets.iter().any(|(known, _)| *known == socket);
        let received = if known || self.relays.is_connection(socket) {
            self.dispatch(socket, from, datagram)
        } else {
            Received::Dropped(DropReason::UnknownSocket)
        };
        if let Received::Dropped(reason) = received {
            tracing::trace!(%reason, len = datagram.len(), "dropped");
            self.stats.count(reason);
        }
        received
    }

    /// An address that the system names, as pairs have it.
    fn as_seen_by(&self, socket: SocketId, address: SocketAddr) -> SocketAddr {
        if !is_link_local(&address) {
            return canonical(address);
        }
        let socket = self.sockets.iter().find(|(known, _)| *known == socket);
        let has_link = socket.is_some_and(|(_, socket)| is_link_local(&socket.address));
        if has_link { on_its_link(address) } else { canonical(address) }
    }

    pub(super) fn dispatch<'b>(
        &mut self,
        socket: SocketId,
        from: SocketAddr,
        datagram: &'b [u8],
    ) -> Received<'b> {
        let class = Class::of(datagram);
        let admitted = self.config.data_class.admits(datagram);
        if admitted || class == Class::TurnChannel {
            return self.handle_data(socket, from, class, datagram);
        }
        if class != Class::Stun {
            // [rfc7983-7-1a] [rfc9443-3-1a] [rfc9443-3-2a]
            return Received::Dropped(DropReason::UnknownClass);
        }
        if !self.relays.is_empty()
            && !is_binding(datagram)
            && let Some(Flow::Relay(relay)) = self.routes.flow(socket, from)
        {
            return self.handle_relayed(relay, datagram);
        }
        match self.handle_stun(socket, from, datagram) {
            Ok(()) => Received::Handled,
            Err(reason) => Received::Dropped(reason),
        }
    }

    /// The gate that data comes in through: its 5-tuple was authenticated, in either direction.
    /// [rfc8445-12.2-1]
    pub(super) fn handle_data<'b>(
        &mut self,
        socket: SocketId,
        from: SocketAddr,
        class: Class,
        data: &'b [u8],
    ) -> Received<'b> {
        match self.routes.flow(socket, from) {
            Some(Flow::One { agent: index, base, component }) => {
                let slot = self.slots.get_mut(index as usize);
                let Some(slot) = slot else { return Received::Unclaimed { class, from, data } };
                let Some(agent) = &mut slot.agent else {
                    return Received::Unclaimed { class: without_turn(class), from, data };
                };
                let generation = slot.generation;
                if agent.received(base, from, data.len(), self.now) {
                    self.with_agent(index as usize, |agent, cx, _| agent.handle_timeout(cx));
                }
                let agent = AgentId { index, generation };
                Received::Data { agent, component, data }
            }
            // [rfc8656-12-1a] [rfc8656-12-2]
            Some(Flow::Relay(relay)) if class == Class::TurnChannel => {
                self.handle_relayed(relay, data)
            }
            // Nobody else is a TURN server, so 64..=79 is QUIC. [rfc9443-3-p1]
            Some(Flow::Many | Flow::Relay(_)) | None => {
                Received::Unclaimed { class: without_turn(class), from, data }
            }
        }
    }

    /// [rfc8489-6.3-p1] [rfc8489-6.3-1] [rfc8489-6.3-2]
    pub(super) fn handle_stun(
        &mut self,
        socket: SocketId,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let message = match Message::parse(datagram) {
            Ok(message) => message,
            Err(ParseError::Fingerprint) => return Err(DropReason::Fingerprint),
            Err(_) => return Err(DropReason::Malformed),
        };
        if self.events.len() >= self.config.max_events {
            return Err(DropReason::EventsPending);
        }
        self.stats.stun_received += 1;
        if message.method() != Method::BINDING {
            return Err(DropReason::UnexpectedMessage);
        }
        match message.class() {
            MessageClass::Request => self.handle_request(socket, from, &message),
            MessageClass::Success | MessageClass::Error => {
                self.handle_response(socket, from, &message)
            }
            // A keepalive asks for nothing, and is never answered. [rfc8489-6.3.2-p1]
            // [rfc8489-9.1.3-3] [rfc8489-9.1.3-6] [rfc8489-9.1.3-9]
            MessageClass::Indication => Ok(()),
        }
    }

    /// Authenticates a check and brings it to its agent. [rfc8445-7.3-2] [rfc8445-7.3-4]
    /// [rfc8445-7.3-7a] [rfc8445-7.3-7b] [rfc8445-7.3-8] [rfc8489-6.3-p2]
    pub(super) fn handle_request(
        &mut self,
        socket: SocketId,
        from: SocketAddr,
        message: &Message<'_>,
    ) -> Result<(), DropReason> {
        if !message.has_fingerprint() {
            return Err(DropReason::Fingerprint);
        }
        let id = message.transaction_id();
        let Some(username) = message.username().filter(|_| message.has_integrity()) else {
            // [rfc8489-9.1.3-1] [rfc8489-9.1.3-2]
            return Err(self.refuse(socket, from, id, 400, DropReason::Unauthenticated));
        };
        let Some((ours, theirs)) = split_username(username) else {
            // [rfc8489-9.1.3-4] [rfc8489-9.1.3-5]
            return Err(self.refuse(socket, from, id, 401, DropReason::UnknownUser));
        };
        let known = self.routes.agent_of_ufrag(ours).and_then(|index| {
            let agent = self.slots.get(index as usize)?.agent.as_ref()?;
            Some((index as usize, agent.generation_of(ours)?))
        });
        let Some((index, generation)) = known else {
            return Err(self.refuse(socket, from, id, 401, DropReason::UnknownUser));
        };
        let Ok(authenticated) = self.verify(index, generation, message) else {
            // [rfc8489-9.1.3-7] [rfc8489-9.1.3-8]
            return Err(self.refuse(socket, from, id, 401, DropReason::Integrity));
        };
        self.take_request(index, generation, socket, from, theirs, &authenticated)
    }

    pub(super) fn verify<'m>(
        &self,
        index: usize,
        generation: Generation,
        message: &Message<'m>,
    ) -> Result<Authenticated<'m>, IntegrityError> {
        let agent = self.slots.get(index).and_then(|slot| slot.agent.as_ref());
        let key = agent.and_then(|agent| agent.key(generation)).ok_or(IntegrityError::Missing)?;
        message.verify(key)
    }

    pub(super) fn take_request(
        &mut self,
        index: usize,
        generation: Generation,
        socket: SocketId,
        from: SocketAddr,
        theirs: &[u8],
        message: &Authenticated<'_>,
    ) -> Result<(), DropReason> {
        let slot = self.slots.get(index).ok_or(DropReason::UnknownUser)?;
        let agent_id = AgentId {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            generation: slot.generation,
        };
        let signer = Some((agent_id, generation));
        let base = slot.base_of(socket).ok_or(DropReason::UnknownComponent)?;
        if slot.agent.as_ref().is_some_and(|agent| !agent.may_use(base)) {
            return Err(DropReason::UnknownComponent);
        }
        let owed = slot.agent.as_ref().map_or(0, |agent| agent.config().limits.responses_owed);
        if self.replies.owed_by(agent_id) >= usize::from(owed) {
            return Err(DropReason::Limit);
        }
        let id = message.transaction_id();
        let reply = |kind| Reply { socket, to: from, id, kind, signer };
        if message.unknown_required(crate::agent::is_known).next().is_some() {
            // [rfc8489-6.3.1-p1]
            let named = name_unknown(message);
            self.replies.push(reply(ReplyKind::UnknownAttributes(named)));
            return Err(DropReason::UnknownAttribute);
        }
        let now = self.now;
        let steady = self.slots.get_mut(index).and_then(|slot| slot.agent.as_mut());
        if steady.is_some_and(|agent| {
            agent.take_steady_request(now, generation, base, from, theirs, message)
        }) {
            self.replies.push(reply(ReplyKind::Success));
            return Ok(());
        }
        let answer = self.with_agent(index, |agent, cx, _| {
            agent.handle_request(cx, generation, base, from, theirs, message)
        });
        match answer {
            Some(Answer::Success { tracked }) => {
                self.replies.push(reply(ReplyKind::Success));
                if tracked {
                    self.track(index, socket, from, base);
                }
                Ok(())
            }
            Some(Answer::Error(code, reason)) => {
                self.replies.push(reply(ReplyKind::Error(code)));
                Err(reason)
            }
            Some(Answer::RoleConflict) => {
                self.replies.push(reply(ReplyKind::Error(487)));
                Ok(())
            }
            Some(Answer::Drop(reason)) => Err(reason),
            None => Err(DropReason::Closed),
        }
    }

    /// Owes an error reply that cannot be authenticated, if there have not been too many. Returns
    /// what the request is counted as. [rfc8489-9.1.3-13]
    pub(super) fn refuse(
        &mut self,
        socket: SocketId,
        to: SocketAddr,
        id: TransactionId,
        code: u16,
        reason: DropReason,
    ) -> DropReason {
        if to.port() == 0 || !self.error_budget.spend(self.now, to.ip(), &self.config) {
            return DropReason::RateLimited;
        }
        if self.may_answer(socket) {
            self.replies.push(Reply { socket, to, id, kind: ReplyKind::Error(code), signer: None });
        }
        reason
    }

    /// Whether anything may be sent from a socket to who is not known: not where there is no agent,
    /// or all of them use relays alone. [RFC 8828]
    fn may_answer(&self, socket: SocketId) -> bool {
        let mut agents = self.slots.iter().filter_map(|slot| {
            let base = slot.base_of(socket)?;
            slot.agent.as_ref().map(|agent| agent.may_use(base))
        });
        agents.any(|may| may)
    }

    pub(super) fn handle_response(
        &mut self,
        socket: SocketId,
        from: SocketAddr,
        message: &Message<'_>,
    ) -> Result<(), DropReason> {
        let owner = self.routes.owner(message.transaction_id());
        let owner = owner.or(planted(Bug::StrayAnswerIsConsent).then_some(Owner::Agent(0)));
        match owner.ok_or(DropReason::UnknownTransaction)? {
            Owner::Agent(index) => {
                let index = index as usize;
                let slot = self.slots.get(index).ok_or(DropReason::Closed)?;
                let base = slot.base_of(socket).ok_or(DropReason::UnknownComponent)?;
                let outcome = self.with_agent(index, |agent, cx, _| {
                    agent.handle_response(cx, base, from, message)
                });
                outcome.ok_or(DropReason::Closed)??;
                // An error may come from elsewhere, and lets no data in.
                if message.class() == MessageClass::Success {
                    self.track(index, socket, from, base);
                }
                Ok(())
            }
            Owner::Gatherer => {
                let config = Arc::clone(&self.config);
                let gathered =
                    self.gatherer.handle_response(self.now, socket, from, message, &config)?;
                self.take_gathered(gathered);
                Ok(())
            }
        }
    }

    /// Two lite agents check nothing: the data of their signalled addresses is theirs.
    /// [rfc8445-12.2-1]
    pub(super) fn track_unchecked(&mut self, index: usize) {
        let agent = self.slots.get(index).and_then(|slot| slot.agent.as_ref());
        for (base, from) in agent.map(|agent| agent.unchecked_paths()).unwrap_or_default() {
            let socket = self.slots.get(index).and_then(|slot| slot.socket_of(base));
            if let Some(socket) = socket {
                self.track(index, socket, from, base);
            }
        }
    }

    /// Gives the data of an authenticated 5-tuple to an agent.
    pub(super) fn track(&mut self, index: usize, socket: SocketId, from: SocketAddr, base: BaseId) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let Some(component) = slot.agent.as_ref().and_then(|agent| agent.component_of(base)) else {
            return;
        };
        let owner = u32::try_from(index).unwrap_or(u32::MAX);
        if self.routes.add_flow(socket, from, owner, base, component)
            && !slot.flows.contains(&(socket, from))
        {
            slot.flows.push((socket, from));
        }
    }

    /// Notes that the network could not deliver a packet from `socket` to `to` (ICMP). It is a
    /// hint that anybody can forge: it ends attempts, and never a path that works.
    /// [rfc8445-7.2.5.2.2-1]
    pub fn handle_unreachable(&mut self, now: Instant, socket: SocketId, to: SocketAddr) {
        self.clock(now);
        let to = self.as_seen_by(socket, to);
        if let Some(gathered) = self.gatherer.handle_unreachable(socket, to) {
            self.take_gathered(gathered);
        }
        self.relay_unreachable(socket, to);
        self.tell_unreachable(socket, to);
    }

    pub(super) fn tell_unreachable(&mut self, socket: SocketId, to: SocketAddr) {
        for index in 0..self.slots.len() {
            let base = self.slots.get(index).and_then(|slot| slot.base_of(socket));
            let Some(base) = base else { continue };
            let concerns = self
                .slots
                .get(index)
                .and_then(|slot| slot.agent.as_ref())
                .is_some_and(|agent| agent.knows(base, to));
            if concerns {
                self.with_agent(index, |agent, _, _| agent.handle_unreachable(base, to));
            }
        }
    }
}

/// Whether a STUN message is of the method Binding, whatever its class.
fn is_binding(datagram: &[u8]) -> bool {
    const BINDING: u16 = 0x0001;
    let kind = datagram.first_chunk().map(|kind| u16::from_be_bytes(*kind));
    kind.is_some_and(|kind| kind & 0x3EEF == BINDING)
}

/// What a datagram is that no TURN server sent.
fn without_turn(class: Class) -> Class {
    if class == Class::TurnChannel { Class::Quic } else { class }
}

/// Splits a USERNAME into our ufrag and the peer's. [rfc8445-7.3-4] [rfc8445-7.2.2-p1]
fn split_username(username: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = username.iter().position(|octet| *octet == b':')?;
    let (ours, rest) = username.split_at(colon);
    Some((ours, rest.get(1..)?))
}

fn name_unknown(message: &Message<'_>) -> [Option<AttributeType>; UNKNOWN_NAMED] {
    let mut named = [None; UNKNOWN_NAMED];
    let unknown = message.unknown_required(crate::agent::is_known);
    for (place, kind) in named.iter_mut().zip(unknown) {
        *place = Some(kind);
    }
    named
}
