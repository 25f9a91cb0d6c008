//! A small world for tests: endpoints, hand-made peers, and packets that take time between them.
//!
//! Time is virtual and moves exactly to what `poll_timeout` says or to the next arrival. After each
//! step the contract of the polls is asserted: once drained, nothing is due that has passed.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::turn_server::TurnServer;
use floe::candidate::{Candidate, CandidateKind, Credentials, Foundation, priority};
use floe::config::{AgentConfig, EndpointConfig, Role};
use floe::sdp::{Description, StreamDescription};
use floe::stats::{AgentStats, PairStats};
use floe::stun::{
    AttributeType, Encoder, IntegrityKey, Message, MessageClass, Method, TransactionId,
};

use floe::{
    AgentId, AgentState, ComponentId, Connect, ConnectFailure, ConnectId, DropReason, Endpoint,
    Event, Instant, Received, SendError, Server, ServerId, Socket, SocketId,
};

/// Shorthand for milliseconds.
pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Shorthand for an address.
pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A datagram that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// When it left.
    pub(crate) at: Instant,
    /// Where it came from, as the receiver sees it.
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) octets: Vec<u8>,
    /// How long it takes; a filter may change that.
    pub(crate) delay: Duration,
}

impl Packet {
    /// The STUN message in it.
    pub(crate) fn message(&self) -> Message<'_> {
        Message::parse(&self.octets).unwrap_or_else(|error| panic!("{error:?}: {:x?}", self.octets))
    }

    pub(crate) fn is_stun(&self) -> bool {
        Message::parse(&self.octets).is_ok()
    }

    fn is_class(&self, class: MessageClass) -> bool {
        Message::parse(&self.octets).is_ok_and(|message| message.class() == class)
    }

    pub(crate) fn is_request(&self) -> bool {
        self.is_class(MessageClass::Request)
    }

    pub(crate) fn is_success(&self) -> bool {
        self.is_class(MessageClass::Success)
    }

    pub(crate) fn is_error(&self) -> bool {
        self.is_class(MessageClass::Error)
    }

    pub(crate) fn is_indication(&self) -> bool {
        self.is_class(MessageClass::Indication)
    }

    /// A request with USE-CANDIDATE.
    pub(crate) fn nominates(&self) -> bool {
        self.is_request() && self.message().use_candidate()
    }

    pub(crate) fn id(&self) -> TransactionId {
        self.message().transaction_id()
    }

    /// The code of an error response; 0 for anything else.
    pub(crate) fn code(&self) -> u16 {
        Message::parse(&self.octets)
            .ok()
            .and_then(|m| m.error_code().map(|e| e.code()))
            .unwrap_or(0)
    }
}

/// What a filter decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    Drop,
}

/// Answers the packets that arrive at an address: each returned datagram goes back from there to
/// where the packet came from.
pub(crate) type Responder = Box<dyn FnMut(&Packet) -> Vec<Vec<u8>>>;
/// Sees (and may alter) every packet that leaves.
pub(crate) type Filter = Box<dyn FnMut(&mut Packet) -> Verdict>;

/// An agent and the endpoint that it lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Party {
    pub(crate) node: usize,
    pub(crate) agent: AgentId,
}

/// What became of a datagram, without its lifetime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Handled,
    Data { agent: AgentId, component: ComponentId, data: Vec<u8> },
    Unclaimed(Vec<u8>),
    Dropped(DropReason),
}

struct Node {
    endpoint: Endpoint,
    /// UDP sockets and connections, by their local addresses.
    sockets: BTreeMap<SocketAddr, SocketId>,
}

/// Endpoints, hand-made peers and what is between them.
pub(crate) struct World {
    pub(crate) now: Instant,
    /// One-way delay of what is sent from now on.
    pub(crate) delay: Duration,
    /// Everything that endpoints and hand-made peers sent, in order, dropped packets included.
    pub(crate) log: Vec<Packet>,
    /// Everything that endpoints reported: when, which node, what.
    pub(crate) events: Vec<(Instant, usize, Event)>,
    /// Application data (and unclaimed datagrams) that endpoints handed out.
    pub(crate) received: Vec<(Instant, usize, Outcome)>,
    pub(crate) filter: Option<Filter>,
    /// TURN servers.
    pub(crate) turns: Vec<TurnServer>,
    /// What endpoints asked to be done about connections: when, which node, what.
    pub(crate) connects: Vec<(Instant, usize, Connect)>,
    nodes: Vec<Node>,
    wire: BTreeMap<(Instant, u64), Packet>,
    sequence: u64,
    nats: Vec<(SocketAddr, SocketAddr)>,
    responders: BTreeMap<SocketAddr, Responder>,
    mail: BTreeMap<SocketAddr, VecDeque<Packet>>,
}

impl World {
    /// A world with 10 ms of delay each way.
    pub(crate) fn new() -> Self {
        Self::with_delay(ms(10))
    }

    pub(crate) fn with_delay(delay: Duration) -> Self {
        Self {
            now: Instant::from_millis(1_000),
            delay,
            log: Vec::new(),
            events: Vec::new(),
            received: Vec::new(),
            filter: None,
            turns: Vec::new(),
            connects: Vec::new(),
            nodes: Vec::new(),
            wire: BTreeMap::new(),
            sequence: 0,
            nats: Vec::new(),
            responders: BTreeMap::new(),
            mail: BTreeMap::new(),
        }
    }

    /// Adds an endpoint; the number of the node is its seed.
    pub(crate) fn node(&mut self, config: EndpointConfig) -> usize {
        let node = self.nodes.len();
        let seed = [u8::try_from(node).unwrap() + 1; 32];
        let endpoint = Endpoint::new(self.now, Arc::new(config), seed);
        self.nodes.push(Node { endpoint, sockets: BTreeMap::new() });
        node
    }

    pub(crate) fn endpoint(&mut self, node: usize) -> &mut Endpoint {
        &mut self.nodes[node].endpoint
    }

    pub(crate) fn socket(&mut self, node: usize, socket: Socket) -> SocketId {
        let address = socket.address;
        let id = self.nodes[node].endpoint.add_socket(self.now, socket);
        self.nodes[node].sockets.insert(address, id);
        id
    }

    /// A UDP socket for component 1.
    pub(crate) fn udp(&mut self, node: usize, address: &str) -> SocketId {
        self.socket(node, Socket::udp(addr(address)))
    }

    pub(crate) fn remove_socket(&mut self, node: usize, address: &str) {
        let id = self.nodes[node].sockets.remove(&addr(address)).expect("a socket");
        self.nodes[node].endpoint.remove_socket(self.now, id);
        self.drain();
    }

    pub(crate) fn server(&mut self, node: usize, server: Server) -> ServerId {
        self.nodes[node].endpoint.add_server(self.now, server)
    }

    /// Says what came of opening a connection. It is carried like datagrams, one for each message.
    pub(crate) fn connected(
        &mut self,
        node: usize,
        id: ConnectId,
        opened: Result<SocketAddr, ConnectFailure>,
    ) -> Option<SocketId> {
        let socket = self.nodes[node].endpoint.handle_connected(self.now, id, opened);
        if let (Some(socket), Ok(local)) = (socket, opened) {
            self.nodes[node].sockets.insert(local, socket);
        }
        self.drain();
        socket
    }

    /// Breaks a connection.
    pub(crate) fn disconnect(&mut self, node: usize, socket: SocketId) {
        self.nodes[node].sockets.retain(|_, known| *known != socket);
        self.nodes[node].endpoint.handle_disconnected(self.now, socket);
        self.drain();
    }

    pub(crate) fn agent(&mut self, node: usize, config: AgentConfig) -> Party {
        let agent = self.nodes[node].endpoint.add_agent(self.now, config);
        self.drain();
        Party { node, agent }
    }

    /// A node with these UDP sockets and one agent.
    pub(crate) fn party(&mut self, config: AgentConfig, sockets: &[&str]) -> Party {
        let node = self.node(EndpointConfig::default());
        for socket in sockets {
            self.udp(node, socket);
        }
        self.agent(node, config)
    }

    /// A controlling party at 192.0.2.1:1000 and a controlled one at 192.0.2.2:2000, each with the
    /// defaults; their descriptions are not exchanged yet.
    pub(crate) fn pair_of_parties(&mut self) -> (Party, Party) {
        let left = self.party(AgentConfig::new(Role::Controlling), &["192.0.2.1:1000"]);
        let right = self.party(AgentConfig::new(Role::Controlled), &["192.0.2.2:2000"]);
        (left, right)
    }

    /// Puts a NAT without filtering before a socket: `inside` is seen as `outside`.
    pub(crate) fn nat(&mut self, inside: &str, outside: &str) {
        self.nats.push((addr(inside), addr(outside)));
    }

    /// Lets somebody answer at an address that is no endpoint's.
    pub(crate) fn respond(
        &mut self,
        address: SocketAddr,
        responder: impl FnMut(&Packet) -> Vec<Vec<u8>> + 'static,
    ) {
        self.responders.insert(address, Box::new(responder));
    }

    /// Nobody answers there any more.
    pub(crate) fn silence(&mut self, address: SocketAddr) {
        self.responders.remove(&address);
    }

    pub(crate) fn filter(&mut self, filter: impl FnMut(&mut Packet) -> Verdict + 'static) {
        self.filter = Some(Box::new(filter));
    }

    pub(crate) fn description(&self, party: Party) -> Description {
        self.view(party).local_description()
    }

    /// The credentials of a party's current generation.
    pub(crate) fn credentials(&self, party: Party) -> Credentials {
        self.description(party).streams[0].credentials.clone().expect("credentials")
    }

    /// Applies a description; panics if it is refused.
    pub(crate) fn set_remote(&mut self, party: Party, description: &Description) {
        self.try_set_remote(party, description).expect("the description is taken");
    }

    pub(crate) fn try_set_remote(
        &mut self,
        party: Party,
        description: &Description,
    ) -> Result<(), floe::DescriptionRejected> {
        let agent = self.nodes[party.node].endpoint.agent_mut(self.now, party.agent);
        let outcome = agent.expect("an agent").set_remote_description(description);
        self.drain();
        outcome
    }

    pub(crate) fn add_candidate(
        &mut self,
        party: Party,
        candidate: &Candidate,
    ) -> Result<(), floe::CandidateRejected> {
        let agent = self.nodes[party.node].endpoint.agent_mut(self.now, party.agent);
        let outcome = agent.expect("an agent").add_remote_candidate(0, None, candidate);
        self.drain();
        outcome
    }

    pub(crate) fn end_of_candidates(&mut self, party: Party) {
        let agent = self.nodes[party.node].endpoint.agent_mut(self.now, party.agent);
        agent.expect("an agent").end_of_remote_candidates(None, None).expect("known");
        self.drain();
    }

    pub(crate) fn restart(&mut self, party: Party) {
        let agent = self.nodes[party.node].endpoint.agent_mut(self.now, party.agent);
        agent.expect("an agent").restart();
        self.drain();
    }

    pub(crate) fn close(&mut self, party: Party) {
        let agent = self.nodes[party.node].endpoint.agent_mut(self.now, party.agent);
        agent.expect("an agent").close();
        self.drain();
    }

    /// Exchanges the descriptions of two parties, both ways, at once. The right one takes the
    /// left one's first, like an offer.
    pub(crate) fn exchange(&mut self, left: Party, right: Party) {
        let offer = self.description(left);
        self.set_remote(right, &offer);
        let answer = self.description(right);
        self.set_remote(left, &answer);
    }

    pub(crate) fn view(&self, party: Party) -> floe::Agent<'_> {
        self.nodes[party.node].endpoint.agent(party.agent).expect("an agent")
    }

    pub(crate) fn state(&self, party: Party) -> AgentState {
        self.view(party).state()
    }

    pub(crate) fn role(&self, party: Party) -> Role {
        self.view(party).role()
    }

    pub(crate) fn stats(&self, party: Party) -> AgentStats {
        self.view(party).stats()
    }

    pub(crate) fn pairs(&self, party: Party) -> Vec<PairStats> {
        self.stats(party).pairs
    }

    /// The pair from one address (of a candidate or base) to another.
    pub(crate) fn find_pair(&self, party: Party, local: &str, remote: &str) -> Option<PairStats> {
        let (local, remote) = (addr(local), addr(remote));
        self.pairs(party).into_iter().find(|pair| {
            let ours = pair.local.address == local || pair.local.related == Some(local);
            ours && pair.remote.address == remote
        })
    }

    pub(crate) fn dropped(&self, node: usize, reason: DropReason) -> u64 {
        self.nodes[node].endpoint.stats().dropped(reason)
    }

    /// Whether application data could leave now, and where it would go.
    pub(crate) fn route(&mut self, party: Party) -> Result<SocketAddr, SendError> {
        self.route_of(party, ComponentId::FIRST)
    }

    pub(crate) fn route_of(
        &mut self,
        party: Party,
        component: ComponentId,
    ) -> Result<SocketAddr, SendError> {
        let now = self.now;
        let endpoint = &mut self.nodes[party.node].endpoint;
        let route = endpoint.route(now, party.agent, component)?;
        let mut buf = [0; 64];
        Ok(route.frame(&mut buf, floe::HEADROOM..floe::HEADROOM + 1).unwrap().to)
    }

    /// Sends application data over the route that the agent gives.
    pub(crate) fn send_data(&mut self, party: Party, data: &[u8]) -> Result<(), SendError> {
        let now = self.now;
        let endpoint = &mut self.nodes[party.node].endpoint;
        let route = endpoint.route(now, party.agent, ComponentId::FIRST)?;
        let mut buf = vec![0; floe::HEADROOM + data.len() + floe::TAILROOM];
        let payload = floe::HEADROOM..floe::HEADROOM + data.len();
        buf[payload.clone()].copy_from_slice(data);
        let transmit = route.frame(&mut buf, payload).unwrap();
        let octets = buf[transmit.range.clone()].to_vec();
        self.leave(party.node, transmit.socket, transmit.to, octets);
        Ok(())
    }

    /// Sends octets from an address that is no endpoint's; they arrive after the delay.
    pub(crate) fn inject(&mut self, from: SocketAddr, to: SocketAddr, octets: Vec<u8>) {
        let packet = Packet { at: self.now, from, to, octets, delay: self.delay };
        self.launch(packet);
    }

    /// Hands octets to the endpoint that owns `to` at this very moment, drains it, and tells what
    /// became of them.
    pub(crate) fn deliver(&mut self, from: SocketAddr, to: SocketAddr, octets: &[u8]) -> Outcome {
        let (node, socket) = self.owner(to).unwrap_or_else(|| panic!("nobody has {to}"));
        let outcome = self.hand_over(node, socket, from, octets);
        self.drain();
        outcome
    }

    /// Takes what has arrived at an address that is no endpoint's.
    pub(crate) fn mail(&mut self, address: SocketAddr) -> Vec<Packet> {
        self.mail.remove(&address).unwrap_or_default().into()
    }

    /// The requests that left from an address, in order.
    pub(crate) fn requests_from(&self, from: &str) -> Vec<&Packet> {
        let from = addr(from);
        self.log.iter().filter(|packet| packet.from == from && packet.is_request()).collect()
    }

    /// The events of one node, in order.
    pub(crate) fn events_of(&self, node: usize) -> Vec<Event> {
        let of_node = self.events.iter().filter(|(_, known, _)| *known == node);
        of_node.map(|(_, _, event)| event.clone()).collect()
    }

    /// When something happens next.
    pub(crate) fn next(&self) -> Option<Instant> {
        let arrival = self.wire.keys().next().map(|(at, _)| *at);
        let timers = self.nodes.iter().filter_map(|node| node.endpoint.poll_timeout());
        timers.chain(arrival).min().map(|at| at.max(self.now))
    }

    /// Moves to the next thing that happens and lets it happen; false if nothing ever will.
    pub(crate) fn step(&mut self) -> bool {
        let Some(at) = self.next() else { return false };
        self.step_at(at);
        true
    }

    fn step_at(&mut self, at: Instant) {
        self.now = at;
        while let Some((key, _)) = self.wire.first_key_value().filter(|((due, _), _)| *due <= at) {
            let key = *key;
            let packet = self.wire.remove(&key).expect("it was there");
            self.arrive(packet);
        }
        for node in 0..self.nodes.len() {
            if self.nodes[node].endpoint.poll_timeout().is_some_and(|due| due <= at) {
                self.nodes[node].endpoint.handle_timeout(at);
            }
        }
        self.drain();
    }

    /// Lets everything happen up to and including `until`.
    pub(crate) fn run_until(&mut self, until: Instant) {
        let mut steps = 0_u32;
        while let Some(at) = self.next().filter(|at| *at <= until) {
            self.step_at(at);
            steps += 1;
            assert!(steps < 2_000_000, "the world spins at {:?}", self.now);
        }
        self.now = until;
    }

    pub(crate) fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// Runs until the condition holds; false if it does not within `limit`.
    pub(crate) fn run_while(
        &mut self,
        limit: Duration,
        mut going: impl FnMut(&Self) -> bool,
    ) -> bool {
        let until = self.now + limit;
        while going(self) {
            match self.next().filter(|at| *at <= until) {
                Some(at) => self.step_at(at),
                None => {
                    self.now = until;
                    return !going(self);
                }
            }
        }
        true
    }

    /// Runs until a party has reached a state; panics if it does not within `limit`.
    pub(crate) fn reach(&mut self, party: Party, state: AgentState, limit: Duration) {
        let reached = self.run_while(limit, |world| world.state(party) != state);
        assert!(reached, "{:?} instead of {state:?}: {:#?}", self.state(party), self.pairs(party));
    }

    /// Takes everything that the endpoints have to send and say.
    pub(crate) fn drain(&mut self) {
        for node in 0..self.nodes.len() {
            self.drain_node(node);
        }
    }

    fn drain_node(&mut self, node: usize) {
        let mut buf = [0; 1_280];
        loop {
            let mut idle = true;
            while let Some(transmit) = self.nodes[node].endpoint.poll_transmit(self.now, &mut buf) {
                idle = false;
                let octets = buf[transmit.range.clone()].to_vec();
                self.leave(node, transmit.socket, transmit.to, octets);
            }
            while let Some(event) = self.nodes[node].endpoint.poll_event() {
                idle = false;
                self.events.push((self.now, node, event));
            }
            while let Some(connect) = self.nodes[node].endpoint.poll_connect() {
                idle = false;
                self.connects.push((self.now, node, connect));
            }
            if idle {
                break;
            }
        }
        let timeout = self.nodes[node].endpoint.poll_timeout();
        if timeout.is_some_and(|at| at <= self.now) {
            // Something fell due at this very moment; once told of the time it must be over.
            self.nodes[node].endpoint.handle_timeout(self.now);
            while let Some(transmit) = self.nodes[node].endpoint.poll_transmit(self.now, &mut buf) {
                let octets = buf[transmit.range.clone()].to_vec();
                self.leave(node, transmit.socket, transmit.to, octets);
            }
            while let Some(event) = self.nodes[node].endpoint.poll_event() {
                self.events.push((self.now, node, event));
            }
            while let Some(connect) = self.nodes[node].endpoint.poll_connect() {
                self.connects.push((self.now, node, connect));
            }
            let timeout = self.nodes[node].endpoint.poll_timeout();
            assert!(
                timeout.is_none_or(|at| at > self.now),
                "node {node} was drained at {:?} and is due at {timeout:?}",
                self.now
            );
        }
    }

    fn leave(&mut self, node: usize, socket: SocketId, to: SocketAddr, octets: Vec<u8>) {
        let known = self.nodes[node].sockets.iter().find(|(_, id)| **id == socket);
        let inside = *known.map(|(address, _)| address).expect("it leaves from a socket");
        let from = self.nats.iter().find(|(known, _)| *known == inside).map_or(inside, |nat| nat.1);
        let packet = Packet { at: self.now, from, to, octets, delay: self.delay };
        self.launch(packet);
    }

    fn launch(&mut self, mut packet: Packet) {
        let mut filter = self.filter.take();
        let verdict = filter.as_mut().map_or(Verdict::Pass, |filter| filter(&mut packet));
        self.filter = filter;
        self.log.push(packet.clone());
        if verdict == Verdict::Pass {
            self.sequence += 1;
            self.wire.insert((self.now + packet.delay, self.sequence), packet);
        }
    }

    fn owner(&self, to: SocketAddr) -> Option<(usize, SocketId)> {
        let inside = self.nats.iter().find(|(_, outside)| *outside == to).map_or(to, |nat| nat.0);
        self.nodes
            .iter()
            .enumerate()
            .find_map(|(node, known)| Some((node, *known.sockets.get(&inside)?)))
    }

    fn arrive(&mut self, packet: Packet) {
        if let Some((node, socket)) = self.owner(packet.to) {
            self.hand_over(node, socket, packet.from, &packet.octets);
            self.drain_node(node);
            return;
        }
        if let Some(turn) = self.turns.iter_mut().find(|turn| turn.owns(packet.to)) {
            for (from, to, octets) in turn.receive(packet.from, packet.to, &packet.octets) {
                self.inject(from, to, octets);
            }
            return;
        }
        if let Some(mut responder) = self.responders.remove(&packet.to) {
            for octets in responder(&packet) {
                self.inject(packet.to, packet.from, octets);
            }
            self.responders.insert(packet.to, responder);
        }
        self.mail.entry(packet.to).or_default().push_back(packet);
    }

    fn hand_over(
        &mut self,
        node: usize,
        socket: SocketId,
        from: SocketAddr,
        octets: &[u8],
    ) -> Outcome {
        let endpoint = &mut self.nodes[node].endpoint;
        let outcome = match endpoint.handle_datagram(self.now, socket, from, octets) {
            Received::Handled => Outcome::Handled,
            Received::Data { agent, component, data } => {
                Outcome::Data { agent, component, data: data.to_vec() }
            }
            Received::Unclaimed { data, .. } => Outcome::Unclaimed(data.to_vec()),
            Received::Dropped(reason) => Outcome::Dropped(reason),
        };
        if matches!(outcome, Outcome::Data { .. } | Outcome::Unclaimed(_)) {
            self.received.push((self.now, node, outcome.clone()));
        }
        outcome
    }
}

/// A peer made by hand: it knows its own credentials and the agent's.
#[derive(Clone, Debug)]
pub(crate) struct Hand {
    pub(crate) address: SocketAddr,
    pub(crate) own: Credentials,
    pub(crate) theirs: Credentials,
    /// The role that its checks claim.
    pub(crate) role: Role,
    pub(crate) tie_breaker: u64,
    pub(crate) priority: u32,
    next_id: u64,
}

impl Hand {
    /// A peer at `address` of the party, in the role that the party does not have.
    pub(crate) fn new(world: &World, party: Party, address: &str) -> Self {
        let role = match world.role(party) {
            Role::Controlling => Role::Controlled,
            Role::Controlled => Role::Controlling,
        };
        Self {
            address: addr(address),
            own: Credentials { ufrag: "hand".into(), password: "FAKEpasswordFAKEpassword".into() },
            theirs: world.credentials(party),
            role,
            tie_breaker: 0x7777_7777_7777_7777,
            priority: priority(CandidateKind::PeerReflexive, 65_535, 1),
            next_id: 0,
        }
    }

    /// The key of checks that the agent sends, and of the answers to them.
    pub(crate) fn key(&self) -> IntegrityKey {
        IntegrityKey::short_term(self.own.password.as_bytes())
    }

    /// The key of checks that this peer sends, and of the answers to them.
    pub(crate) fn their_key(&self) -> IntegrityKey {
        IntegrityKey::short_term(self.theirs.password.as_bytes())
    }

    /// A description of one stream with these candidates, and no more to come.
    pub(crate) fn description(&self, candidates: &[Candidate]) -> Description {
        let mut stream = StreamDescription::default();
        stream.credentials = Some(self.own.clone());
        stream.candidates = candidates.to_vec();
        stream.end_of_candidates = true;
        let mut description = Description::default();
        description.options.ice2 = true;
        description.streams = vec![stream];
        description
    }

    /// A description with one host candidate at the peer's address.
    pub(crate) fn plain(&self) -> Description {
        self.description(&[host(&self.address.to_string(), 1)])
    }

    pub(crate) fn id(&mut self) -> TransactionId {
        self.next_id += 1;
        let mut id = [0x48; 12];
        id[4..].copy_from_slice(&self.next_id.to_be_bytes());
        TransactionId(id)
    }

    /// A proper check.
    pub(crate) fn check(&mut self) -> Vec<u8> {
        self.check_with(|message| message)
    }

    /// A proper check with USE-CANDIDATE.
    pub(crate) fn nomination(&mut self) -> Vec<u8> {
        self.check_with(|message| message.flag(AttributeType::USE_CANDIDATE))
    }

    /// A proper check with more attributes before MESSAGE-INTEGRITY.
    pub(crate) fn check_with(&mut self, more: impl FnOnce(Encoder<'_>) -> Encoder<'_>) -> Vec<u8> {
        let role = match self.role {
            Role::Controlling => AttributeType::ICE_CONTROLLING,
            Role::Controlled => AttributeType::ICE_CONTROLLED,
        };
        let (priority, tie_breaker) = (self.priority, self.tie_breaker);
        self.request(|message| {
            more(message.u32(AttributeType::PRIORITY, priority).u64(role, tie_breaker))
        })
    }

    /// A request with USERNAME, what `attributes` adds, integrity and fingerprint.
    pub(crate) fn request(
        &mut self,
        attributes: impl FnOnce(Encoder<'_>) -> Encoder<'_>,
    ) -> Vec<u8> {
        let id = self.id();
        let key = self.their_key();
        let (ours, theirs) = (self.own.ufrag.clone(), self.theirs.ufrag.clone());
        encode(MessageClass::Request, id, |message| {
            let message = message.username(&[theirs.as_bytes(), ours.as_bytes()]);
            attributes(message).integrity(&key).fingerprint()
        })
    }

    /// The success response to a check of the agent's, as seen from where it came from.
    pub(crate) fn success(&self, check: &Packet) -> Vec<u8> {
        self.success_mapped(check, check.from)
    }

    pub(crate) fn success_mapped(&self, check: &Packet, mapped: SocketAddr) -> Vec<u8> {
        encode(MessageClass::Success, check.id(), |message| {
            message
                .xor_address(AttributeType::XOR_MAPPED_ADDRESS, mapped)
                .integrity(&self.key())
                .fingerprint()
        })
    }

    /// An authenticated error response to a check of the agent's.
    pub(crate) fn error(&self, check: &Packet, code: u16) -> Vec<u8> {
        encode(MessageClass::Error, check.id(), |message| {
            message.error_code(code, "").integrity(&self.key()).fingerprint()
        })
    }

    /// A responder that answers every check with success.
    pub(crate) fn answering(&self) -> impl FnMut(&Packet) -> Vec<Vec<u8>> + 'static {
        let hand = self.clone();
        move |packet| if packet.is_request() { vec![hand.success(packet)] } else { Vec::new() }
    }
}

/// Encodes a Binding message.
pub(crate) fn encode(
    class: MessageClass,
    id: TransactionId,
    attributes: impl FnOnce(Encoder<'_>) -> Encoder<'_>,
) -> Vec<u8> {
    let mut buf = [0; 1_500];
    let len = attributes(Encoder::new(&mut buf, class, Method::BINDING, id)).finish().unwrap();
    buf[..len].to_vec()
}

/// A host candidate of component 1 whose foundation is its IP address's own; `rank` 1 is the best.
pub(crate) fn host(address: &str, rank: u16) -> Candidate {
    host_of(address, rank, 1)
}

/// The same for another component.
pub(crate) fn host_of(address: &str, rank: u16, component: u16) -> Candidate {
    let address = addr(address);
    let text = address.ip().to_string().replace(['.', ':'], "");
    let foundation = Foundation::new(&format!("h{text}")).unwrap();
    let priority =
        priority(CandidateKind::Host, 65_536_u32.saturating_sub(rank.into()) as u16, component);
    Candidate::udp(CandidateKind::Host, foundation, component, priority, address)
}

/// A responder like a STUN server: tells everybody the address that `mapped` makes of theirs.
pub(crate) fn stun_server(
    mapped: impl Fn(SocketAddr) -> SocketAddr + 'static,
) -> impl FnMut(&Packet) -> Vec<Vec<u8>> + 'static {
    move |packet| {
        if !packet.is_request() {
            return Vec::new();
        }
        vec![encode(MessageClass::Success, packet.id(), |message| {
            message
                .xor_address(AttributeType::XOR_MAPPED_ADDRESS, mapped(packet.from))
                .fingerprint()
        })]
    }
}

/// The transaction ids of some packets, each once.
pub(crate) fn distinct_ids<'a>(
    packets: impl IntoIterator<Item = &'a Packet>,
) -> BTreeSet<TransactionId> {
    packets.into_iter().map(Packet::id).collect()
}
