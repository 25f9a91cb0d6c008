//! The endpoint: local sockets, servers and agents, and the one pacer of them all.
//!
//! It is the only part of the core that knows all the others. What comes in is dispatched by the
//! tables of `routes`; what goes out is encoded when it is asked for, from state.

mod deadlines;
mod gathering;
mod input;
mod pacer;
mod relaying;
mod relays;
mod replies;
mod routes;
mod views;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::agent::{Agent as Core, BaseConfig, BaseId, Context, SendError, Sign, UfragChange};
use crate::canary::{Bug, planted};
use crate::config::{AgentConfig, EndpointConfig};
use crate::event::Event;
use crate::gather::{Gatherer, Server};
use crate::net::{
    AgentId, ComponentId, HEADROOM, MIN_TRANSMIT, ServerId, Socket, SocketId, TAILROOM, Transmit,
    is_deprecated, on_its_link,
};
use crate::rng::Seed;
use crate::stats::EndpointStats;
use crate::stun::{AttributeType, Encoder, MessageClass, Method};
use crate::time::{Instant, earlier};

use deadlines::Deadlines;
use pacer::Pacer;
use relays::Relays;
use replies::{ErrorBudget, Replies, Reply, ReplyKind};
use routes::{Owner, Routes};
pub use views::{Agent, AgentMut, Header, Route};

/// An agent and what the endpoint keeps for it.
#[derive(Debug)]
struct Slot {
    generation: u32,
    agent: Option<Box<Core>>,
    /// The socket of each base.
    bases: Vec<SocketId>,
    /// The 5-tuples whose data is the agent's.
    flows: Vec<(SocketId, SocketAddr)>,
    /// How long gathering may still take.
    gathering: Option<Box<Gathering>>,
    /// In the queue of those that something is to be sent for.
    ready: bool,
    /// In the pacer's queue: a new check waits for its turn.
    paced: bool,
    /// What the agent logs stands in this span.
    span: Option<Box<tracing::Span>>,
}

#[derive(Clone, Copy, Debug)]
struct Gathering {
    /// How long the others are waited for.
    until: Instant,
    /// How long a server that lives is waited for.
    limit: Instant,
}

/// All ICE of one set of sockets: agents, STUN and TURN servers, and the pace of their transactions.
///
/// The core does no I/O. Whoever drives it hands in datagrams ([`handle_datagram`]) and the time
/// ([`handle_timeout`], at [`poll_timeout`]), and after each call asks for packets
/// ([`poll_transmit`]) and events ([`poll_event`]) until there are none.
///
/// `now` is the first argument of all that may touch a timer; an earlier one than the last counts
/// as the last. Equal seeds and calls give equal octets.
///
/// [`handle_datagram`]: Self::handle_datagram
/// [`handle_timeout`]: Self::handle_timeout
/// [`poll_timeout`]: Self::poll_timeout
/// [`poll_transmit`]: Self::poll_transmit
/// [`poll_event`]: Self::poll_event
#[derive(Debug)]
pub struct Endpoint {
    now: Instant,
    config: Arc<EndpointConfig>,
    seed: Seed,
    sockets: Vec<(SocketId, Socket)>,
    next_socket: u32,
    /// How many agents there ever were.
    agents_made: u64,
    gatherer: Gatherer,
    relays: Relays,
    slots: Vec<Slot>,
    routes: Routes,
    deadlines: Deadlines,
    pacer: Pacer,
    ready: VecDeque<u32>,
    replies: Replies,
    error_budget: ErrorBudget,
    events: VecDeque<Event>,
    stats: EndpointStats,
}

impl Endpoint {
    /// Makes an endpoint. `seed` is the source of all randomness: it must come from the operating
    /// system's generator, and never be used twice.
    #[must_use]
    pub fn new(now: Instant, config: Arc<EndpointConfig>, seed: [u8; 32]) -> Self {
        let seed = Seed::new(seed);
        Self {
            now,
            routes: Routes::new(&seed),
            pacer: Pacer::new(now, config.pacing_floor),
            config,
            seed,
            sockets: Vec::new(),
            next_socket: 0,
            agents_made: 0,
            gatherer: Gatherer::new(),
            relays: Relays::new(),
            slots: Vec::new(),
            deadlines: Deadlines::default(),
            ready: VecDeque::new(),
            replies: Replies::default(),
            error_budget: ErrorBudget::default(),
            events: VecDeque::new(),
            stats: EndpointStats::default(),
        }
    }

    /// Adds a local base. Agents that use all sockets get it at once; it becomes a candidate of
    /// theirs if they still gather, else with the next restart, which they recommend if the IP
    /// address is new. What the servers say of it is gathered, too. [rfc8445-5.1.1.4-3]
    pub fn add_socket(&mut self, now: Instant, socket: Socket) -> SocketId {
        self.clock(now);
        let id = self.new_socket_id();
        self.gatherer.add_socket(id, socket.address);
        let base = base_of(&socket);
        push_exact(&mut self.sockets, (id, socket));
        for index in 0..self.slots.len() {
            let wanted =
                self.slots.get(index).and_then(|slot| slot.agent.as_ref()).is_some_and(|agent| {
                    uses_socket(agent.config(), id) && agent.has_component(base.component)
                });
            if wanted {
                self.with_agent(index, |agent, cx, slot| {
                    let Some(base) = agent.add_base(cx, &base) else { return };
                    match slot.get_mut(usize::from(base.0)) {
                        Some(place) => *place = id,
                        None => slot.push(id),
                    }
                });
                self.gather_late(index, id);
            }
        }
        id
    }

    fn new_socket_id(&mut self) -> SocketId {
        let id = SocketId(self.next_socket);
        self.next_socket = self.next_socket.saturating_add(1);
        id
    }

    /// Removes a local base, as its address is gone: its candidates are, too, and its pairs fail.
    /// Data goes on at once over another pair that works; where there is none a restart is
    /// recommended. [rfc8445-5.1.1.4-3]
    pub fn remove_socket(&mut self, now: Instant, id: SocketId) {
        self.clock(now);
        self.sockets.retain(|(known, _)| *known != id);
        self.gatherer.remove_socket(id);
        self.remove_relays(id);
        for index in 0..self.slots.len() {
            let base = self.slots.get(index).and_then(|slot| slot.base_of(id));
            if let Some(base) = base {
                self.with_agent(index, |agent, cx, _| agent.remove_base(cx, base));
            }
        }
        self.after_gathering();
    }

    /// Adds a STUN or TURN server: every socket of its family asks it while an agent gathers.
    pub fn add_server(&mut self, now: Instant, server: Server) -> ServerId {
        self.clock(now);
        let id = self.gatherer.add_server(server);
        for index in 0..self.slots.len() {
            self.gather_more(index);
        }
        id
    }

    /// Notes that the network changed though no address did: another router, another public address.
    /// Pairs in use are verified at once; where one does not answer within 0.7 s a restart is
    /// recommended. Servers are asked anew for the mappings that are in use.
    pub fn network_changed(&mut self, now: Instant) {
        self.clock(now);
        self.gatherer.doubt_all(self.now);
        for index in 0..self.slots.len() {
            self.with_agent(index, |agent, cx, _| agent.network_changed(cx));
        }
    }

    /// Closes all agents. What is left to do is to give allocations back to TURN servers: drain
    /// the polls once more, and they know; who waits for their answers knows that they do.
    pub fn close(&mut self, now: Instant) {
        self.clock(now);
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots.get(index).filter(|slot| slot.agent.is_some()) else {
                continue;
            };
            let generation = slot.generation;
            self.close_agent(AgentId { index: u32::try_from(index).unwrap_or(0), generation });
        }
    }

    /// Adds an agent, and starts its gathering. Its host candidates are known at once, and
    /// answer at once. [rfc8445-5.3-7]
    ///
    /// The configuration may be shared between agents. Credentials whose ufrag another agent
    /// uses already, or that no peer would accept, are replaced by drawn ones.
    pub fn add_agent(&mut self, now: Instant, config: impl Into<Arc<AgentConfig>>) -> AgentId {
        self.clock(now);
        let mut config = config.into();
        let unusable = config.credentials.as_ref().is_some_and(|credentials| {
            !credentials.is_readable()
                || self.routes.agent_of_ufrag(credentials.ufrag.as_bytes()).is_some()
        });
        if unusable {
            Arc::make_mut(&mut config).credentials = None;
        }
        let (index, generation) = self.free_slot();
        let id = AgentId { index: u32::try_from(index).unwrap_or(u32::MAX), generation };
        let (sockets, bases) = self.bases_for(&config);
        let mut cx = Context { now: self.now, id, seed: &self.seed, events: &mut self.events };
        self.agents_made += 1;
        let mut agent = Core::new(&mut cx, self.agents_made, config, &bases);
        while self.routes.agent_of_ufrag(agent.ufrag().as_bytes()).is_some() {
            agent.redraw_credentials(&self.seed);
        }
        self.routes.add_ufrag(agent.ufrag(), id.index);
        if let Some(slot) = self.slots.get_mut(index) {
            let span = tracing::info_span!("agent", %id);
            slot.span = (!span.is_disabled()).then(|| Box::new(span));
            slot.agent = Some(Box::new(agent));
            slot.bases = sockets;
        }
        self.begin_gathering(index);
        id
    }

    fn free_slot(&mut self) -> (usize, u32) {
        // A place whose generations are used up is left alone: ids are never given twice.
        let free =
            self.slots.iter().position(|slot| slot.agent.is_none() && slot.generation < u32::MAX);
        if let Some(index) = free {
            let generation = self.slots.get(index).map_or(0, |slot| slot.generation);
            return (index, generation);
        }
        let slot = Slot {
            generation: 0,
            agent: None,
            bases: Vec::new(),
            flows: Vec::new(),
            gathering: None,
            ready: false,
            paced: false,
            span: None,
        };
        push_exact(&mut self.slots, slot);
        (self.slots.len() - 1, 0)
    }

    /// The sockets that an agent uses, as bases: of every component that it has.
    /// [rfc8445-19.1-1] [rfc8445-5.1.1.1-2] [rfc8445-5.2-4]
    fn bases_for(&self, config: &AgentConfig) -> (Vec<SocketId>, Vec<BaseConfig>) {
        let mut sockets = Vec::new();
        let mut bases = Vec::new();
        for (id, socket) in &self.sockets {
            let id = *id;
            if uses_socket(config, id) && has_component(config, socket.component) {
                sockets.push(id);
                bases.push(base_of(socket));
            }
        }
        (sockets, bases)
    }

    /// Looks at an agent.
    #[must_use]
    pub fn agent(&self, id: AgentId) -> Option<Agent<'_>> {
        let slot = self.slots.get(id.index as usize)?;
        let agent = slot.agent.as_deref().filter(|_| slot.generation == id.generation)?;
        Some(Agent::new(agent))
    }

    /// Commands an agent; drain the polls afterwards.
    pub fn agent_mut(&mut self, now: Instant, id: AgentId) -> Option<AgentMut<'_>> {
        self.clock(now);
        self.agent(id)?;
        Some(AgentMut::new(self, id))
    }

    /// Returns the configuration.
    #[must_use]
    pub fn config(&self) -> &EndpointConfig {
        &self.config
    }

    /// Counters of the endpoint.
    #[must_use]
    pub fn stats(&self) -> &EndpointStats {
        &self.stats
    }

    /// Does all that is due at `now`. Early or repeated calls change nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.clock(now);
        self.advance();
    }

    fn advance(&mut self) {
        if self.gatherer.deadline().is_some_and(|at| at <= self.now) {
            self.release_mappings();
        }
        while let Some(gathered) = self.gatherer.handle_timeout(self.now) {
            self.take_gathered(gathered);
        }
        self.forget_gathering_transactions();
        self.advance_relays();
        while let Some((at, index)) = self.deadlines.first() {
            if at > self.now {
                break;
            }
            self.time_agent(index);
        }
    }

    /// Lets the time pass for one agent whose deadline came.
    fn time_agent(&mut self, index: u32) {
        let place = index as usize;
        self.with_agent(place, |agent, cx, _| agent.handle_timeout(cx));
        let now = self.now;
        if self.is_gathering_over(place) {
            if let Some(slot) = self.slots.get_mut(place) {
                slot.gathering = None;
            }
            self.abandon_servers();
            self.finish_gathering(place);
        }
        let Some(slot) = self.slots.get_mut(place) else { return };
        let Some(agent) = &slot.agent else {
            self.deadlines.set(index, None);
            return;
        };
        let due = agent.has_due(now) || (agent.wants_start(now) && !slot.paced);
        if due {
            if !slot.ready {
                slot.ready = true;
                self.ready.push_back(index);
            }
            // Whoever takes the packets sets the deadline again.
            self.deadlines.set(index, None);
            return;
        }
        self.touch(place);
        if self.deadlines.first().is_some_and(|(at, first)| first == index && at <= now) {
            debug_assert!(false, "a deadline that nothing is done about");
            self.deadlines.set(index, Some(now + core::time::Duration::from_millis(1)));
        }
    }

    /// Encodes the next packet into `buf`; `None` when there is none. `buf` has at least
    /// [`MIN_TRANSMIT`] octets; into a shorter one nothing is written.
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut [u8]) -> Option<Transmit> {
        if buf.len() < MIN_TRANSMIT {
            debug_assert!(false, "a buffer of {} octets is too short", buf.len());
            return None;
        }
        self.clock(now);
        self.advance();
        let transmit = self.next_transmit(buf)?;
        self.stats.stun_sent += 1;
        Some(transmit)
    }

    fn next_transmit(&mut self, buf: &mut [u8]) -> Option<Transmit> {
        while let Some(reply) = self.replies.pop() {
            let len = body(buf).and_then(|body| self.encode_reply(&reply, body));
            if let Some(transmit) = len.and_then(|len| self.leave(reply.socket, reply.to, len, buf))
            {
                return Some(transmit);
            }
        }
        // A permission is asked for before the first check that needs it.
        if let Some(transmit) = self.poll_relays(buf) {
            return Some(transmit);
        }
        if self.pacer.agents_turn() {
            return self.poll_agents(buf);
        }
        self.poll_gatherer(buf).or_else(|| self.poll_agents(buf))
    }

    /// Sends what stands in the [`body`] of the buffer from a base: over a relay it is framed.
    fn leave(
        &mut self,
        from: SocketId,
        to: SocketAddr,
        len: usize,
        buf: &mut [u8],
    ) -> Option<Transmit> {
        let range = HEADROOM..HEADROOM + len;
        if from.is_relayed() {
            return self.relays.frame(self.now, from, to, buf, range);
        }
        Some(Transmit { socket: from, to, range })
    }

    /// Takes a packet of the agents, else one of gathering.
    fn poll_agents(&mut self, buf: &mut [u8]) -> Option<Transmit> {
        loop {
            if let Some(transmit) = self.poll_ready(buf) {
                return Some(transmit);
            }
            // The next of those that wait for the pacer; if none of them has anything to start any
            // more, the turn is gathering's.
            let Some(index) = self.pacer.next_in_line(self.now) else {
                return self.poll_gatherer(buf);
            };
            let slot = self.slots.get_mut(index as usize)?;
            slot.paced = false;
            if !slot.ready {
                slot.ready = true;
                self.ready.push_front(index);
            }
        }
    }

    fn poll_gatherer(&mut self, buf: &mut [u8]) -> Option<Transmit> {
        let may_start = self.pacer.gathering_may_start(self.now);
        if may_start && let Some(transmit) = self.start_relay(buf) {
            return Some(transmit);
        }
        let may_start = self.pacer.gathering_may_start(self.now);
        let starts = may_start && self.gatherer.wants_start();
        if !self.gatherer.has_due() && !starts {
            return None;
        }
        let config = Arc::clone(&self.config);
        let request = self.gatherer.poll_transmit(self.now, may_start, &config, &self.seed, buf)?;
        if let Some(id) = request.started {
            self.pacer.gathering_started(self.now);
            self.routes.add_transaction(id, Owner::Gatherer);
        }
        Some(Transmit { socket: request.socket, to: request.to, range: 0..request.len })
    }

    /// Takes a packet of the agents that have some.
    fn poll_ready(&mut self, buf: &mut [u8]) -> Option<Transmit> {
        while let Some(index) = self.ready.front().copied() {
            let place = index as usize;
            let may_start = self.pacer.agent_may_start(self.now, index);
            let room = body(buf)?;
            let outgoing = self
                .with_agent(place, |agent, cx, _| agent.poll_transmit(cx, may_start, room))
                .flatten();
            if let Some(outgoing) = outgoing {
                if let Some(id) = outgoing.started {
                    self.routes.add_transaction(id, Owner::Agent(index));
                }
                if outgoing.paced {
                    self.pacer.agent_started(self.now);
                }
                let socket = self.slots.get(place).and_then(|slot| slot.socket_of(outgoing.base));
                let Some(socket) = socket else { continue };
                match self.leave(socket, outgoing.to, outgoing.len, buf) {
                    Some(transmit) => return Some(transmit),
                    // Without a permission it is as if it were lost.
                    None => continue,
                }
            }
            self.ready.pop_front();
            let now = self.now;
            if let Some(slot) = self.slots.get_mut(place) {
                slot.ready = false;
                let waits = slot.agent.as_ref().is_some_and(|agent| agent.wants_start(now));
                if waits && !slot.paced && !may_start {
                    slot.paced = true;
                    self.pacer.queue(index);
                }
            }
            self.touch(place);
        }
        None
    }

    /// Writes a response: it goes where the request came from, and says so. [rfc8445-7.3-3]
    /// [rfc8489-5-6] [rfc8489-6.3.1-1] [rfc8489-6.3.1-2] [rfc8489-6.3.1.1-1]
    /// [rfc8489-6.3.1.1-4] [rfc8489-6.3.1.1-p1] [rfc8489-6.3.1.2-p1] [rfc8489-9.1.3-11]
    /// [rfc8489-9.1.3-12] [rfc8445-7.3-8]
    fn encode_reply(&self, reply: &Reply, buf: &mut [u8]) -> Option<usize> {
        let class = match reply.kind {
            ReplyKind::Success => MessageClass::Success,
            ReplyKind::Error(_) | ReplyKind::UnknownAttributes(_) => MessageClass::Error,
        };
        let mut message = Encoder::new(buf, class, Method::BINDING, reply.id);
        message = match reply.kind {
            ReplyKind::Success => message.xor_address(AttributeType::XOR_MAPPED_ADDRESS, reply.to),
            ReplyKind::Error(code) => message.error_code(code, ""),
            ReplyKind::UnknownAttributes(named) => {
                message.error_code(420, "").unknown_attributes(named.iter().flatten().copied())
            }
        };
        if let Some((id, generation)) = reply.signer {
            let slot = self.slots.get(id.index as usize)?;
            let agent = slot.agent.as_ref().filter(|_| slot.generation == id.generation)?;
            message = message.integrity(agent.key(generation)?);
        }
        message.fingerprint().finish().ok()
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if self.events.is_empty() && self.events.capacity() > 0 {
            // Events are rare once all is connected.
            self.events = VecDeque::new();
        }
        event
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next. Packets and events that
    /// wait count as a deadline that has passed; after `handle_timeout(now)` and a drain it is
    /// later than `now`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let owed = !self.replies.is_empty() && !planted(Bug::DeadlineForgetsReplies);
        if owed || !self.ready.is_empty() || !self.events.is_empty() {
            return Some(self.now);
        }
        let mut deadline = self.deadlines.first().map(|(at, _)| at);
        deadline = earlier(deadline, self.gatherer.deadline());
        if self.gatherer.has_due() {
            deadline = Some(self.now);
        }
        let mut starts = self.pacer.has_line() || self.gatherer.wants_start();
        if !self.relays.is_empty() {
            deadline = earlier(deadline, self.relays.deadline(self.now, &self.config));
            starts |= self.relays.next_start(self.now, &self.config).is_some();
        }
        if starts {
            deadline = earlier(deadline, Some(self.pacer.next()));
        }
        deadline.map(|at| at.max(self.now))
    }

    /// The gate that application data leaves through: a route to the pair that the component's
    /// data goes over now.
    ///
    /// # Errors
    ///
    /// [`SendError`] says why there is none.
    pub fn route(
        &mut self,
        now: Instant,
        agent: AgentId,
        component: ComponentId,
    ) -> Result<Route<'_>, SendError> {
        self.clock(now);
        let now = self.now;
        let slot = self.slots.get_mut(agent.index as usize).ok_or(SendError::UnknownAgent)?;
        if slot.generation != agent.generation {
            return Err(SendError::UnknownAgent);
        }
        let Slot { agent, bases, .. } = slot;
        let agent = agent.as_mut().ok_or(SendError::UnknownAgent)?;
        let path = agent.path(component, now)?;
        let socket = bases.get(usize::from(path.base.0)).copied().ok_or(SendError::NotReady)?;
        if socket.is_relayed() {
            let way = self.relays.data_way(now, socket, path.to).ok_or(SendError::NotReady)?;
            return Ok(Route::relayed(way, path));
        }
        Ok(Route::direct(socket, path))
    }

    /// An earlier `now` than the last one counts as the last one.
    fn clock(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// Calls an agent, and follows up on what it changed.
    fn with_agent<T>(
        &mut self,
        index: usize,
        call: impl FnOnce(&mut Core, &mut Context<'_>, &mut Vec<SocketId>) -> T,
    ) -> Option<T> {
        let slot = self.slots.get_mut(index)?;
        let id = AgentId {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            generation: slot.generation,
        };
        let agent = slot.agent.as_deref_mut()?;
        let entered = slot.span.as_ref().map(|span| span.enter());
        let events = self.events.len();
        let mut cx = Context { now: self.now, id, seed: &self.seed, events: &mut self.events };
        let result = call(agent, &mut cx, &mut slot.bases);
        drop(entered);
        while let Some(transaction) = agent.take_ended() {
            self.routes.remove_transaction(transaction);
        }
        while let Some(sign) = agent.take_sign() {
            let base = match sign {
                Sign::Deaf(base, _) | Sign::Moved(base) => base,
            };
            let Some(socket) = slot.bases.get(usize::from(base.0)).copied() else { continue };
            match sign {
                Sign::Deaf(_, peer) => self.relays.ask_again(self.now, socket, peer),
                Sign::Moved(_) => self.gatherer.moved(self.now, socket),
            }
        }
        while let Some(change) = agent.take_ufrag_change() {
            match change {
                UfragChange::Added(ufrag) => self.routes.add_ufrag(&ufrag, id.index),
                UfragChange::Removed(ufrag) => self.routes.remove_ufrag(&ufrag, id.index),
            }
        }
        let mut shared = Vec::new();
        if agent.take_forgot() {
            self.relays.review = !self.relays.is_empty();
            let bases = &slot.bases;
            let routes = &mut self.routes;
            routes.trim();
            slot.flows.retain(|(socket, from)| {
                let known = base_among(bases, *socket).is_some_and(|base| agent.knows(base, *from));
                if !known && routes.remove_flow(*socket, *from, id.index) {
                    shared.push((*socket, *from));
                }
                known
            });
            slot.flows.shrink_to_fit();
        }
        let until = slot.gathering.as_ref().map(|gathering| gathering.until);
        let deadline = earlier(agent.deadline(slot.paced), until);
        self.deadlines.set(id.index, deadline);
        self.share_again(&shared);
        if !self.relays.is_empty() {
            self.follow_up_relays(index, events);
        }
        Some(result)
    }

    /// One of several agents has left these 5-tuples: they are the others' again.
    fn share_again(&mut self, flows: &[(SocketId, SocketAddr)]) {
        for (socket, from) in flows {
            for (index, slot) in self.slots.iter().enumerate() {
                if !slot.flows.contains(&(*socket, *from)) {
                    continue;
                }
                let Some(base) = slot.base_of(*socket) else { continue };
                let component = slot.agent.as_ref().and_then(|agent| agent.component_of(base));
                if let (Some(component), Ok(index)) = (component, u32::try_from(index)) {
                    self.routes.add_flow(*socket, *from, index, base, component);
                }
            }
        }
    }

    /// Sets an agent's deadline anew.
    fn touch(&mut self, index: usize) {
        self.with_agent(index, |_, _, _| ());
    }

    /// Closes an agent and frees its place. [rfc8445-11-8]
    fn close_agent(&mut self, id: AgentId) {
        let index = id.index as usize;
        self.with_agent(index, |agent, cx, _| agent.close(cx));
        let Some(slot) = self.slots.get_mut(index) else { return };
        if let Some(agent) = slot.agent.take() {
            self.routes.remove_ufrag(agent.ufrag(), id.index);
        }
        let mut flows = core::mem::take(&mut slot.flows);
        flows.retain(|(socket, from)| self.routes.remove_flow(*socket, *from, id.index));
        slot.bases = Vec::new();
        slot.span = None;
        slot.gathering = None;
        slot.generation = slot.generation.wrapping_add(1);
        slot.paced = false;
        self.pacer.forget(id.index);
        self.deadlines.set(id.index, None);
        self.share_again(&flows);
        self.release_mappings();
        self.relays.review = !self.relays.is_empty();
    }
}

/// Gathering never takes longer.
const GATHER_LIMIT: core::time::Duration = core::time::Duration::from_secs(5);

impl Slot {
    fn base_of(&self, socket: SocketId) -> Option<BaseId> {
        base_among(&self.bases, socket)
    }

    fn socket_of(&self, base: BaseId) -> Option<SocketId> {
        self.bases.get(usize::from(base.0)).copied()
    }
}

/// Where packets of the agents are encoded: with room before and after for a relay's framing.
fn body(buf: &mut [u8]) -> Option<&mut [u8]> {
    let end = buf.len().checked_sub(TAILROOM)?;
    buf.get_mut(HEADROOM..end)
}

fn base_among(bases: &[SocketId], socket: SocketId) -> Option<BaseId> {
    let index = bases.iter().position(|known| *known == socket)?;
    u16::try_from(index).ok().map(BaseId)
}

/// Adds to a list that often has one entry alone, without room for three more.
fn push_exact<T>(list: &mut Vec<T>, entry: T) {
    if list.len() == list.capacity() && list.len() < 4 {
        list.reserve_exact(1);
    }
    list.push(entry);
}

fn base_of(socket: &Socket) -> BaseConfig {
    BaseConfig {
        component: socket.component,
        address: on_its_link(socket.address),
        cost: socket.network_cost,
        reliable: socket.reliable,
        signalled: socket.signalled && !is_deprecated(&socket.address),
        relayed: false,
    }
}

fn uses_socket(config: &AgentConfig, id: SocketId) -> bool {
    config.sockets.as_ref().is_none_or(|sockets| sockets.contains(&id))
}

fn has_component(config: &AgentConfig, component: ComponentId) -> bool {
    let count = config.streams.get(usize::from(component.stream()));
    count.is_some_and(|count| component.number() <= *count)
}
