//! A call between two hosts, for stories to talk about.

use core::fmt;
use core::time::Duration;
use std::net::SocketAddr;

use floe::candidate::CandidateKind;
use floe::config::{AgentConfig, CandidatePolicy, Role};
use floe::event::{FailedPair, RestartReason, SelectedPair};
use floe::sdp::Description;
use floe::stats::AgentStats;
use floe::{Agent, AgentMut, AgentState, ComponentId, Event, Instant, SendError};

use crate::world::host::Host;
use crate::world::network::{INTERNET, What};
use crate::world::rates::Rates;
use crate::world::rng::Rng;
use crate::world::signalling::{Act, CallState, Delivery, Side, Signal};
use crate::world::{BEGINNING, World};

/// A call; side 0 called side 1.
#[derive(Clone, Copy)]
pub(crate) struct Call<'w> {
    world: &'w World,
    id: usize,
}

impl<'w> Call<'w> {
    pub(crate) fn new(world: &'w World, left: Host<'w>, right: Host<'w>) -> Self {
        let mut inner = world.inner();
        let id = inner.calls.len();
        let rng = Rng::new(inner.seed, &format!("signalling {id}"));
        let sides = [Side::of(left.id), Side::of(right.id)];
        inner.calls.push(CallState {
            sides,
            delay: Duration::ZERO,
            vanilla: false,
            restarts: true,
            hook: None,
            rates: Rates::default(),
            away_until: BEGINNING,
            rng,
        });
        let now = inner.now;
        inner.schedule(now, What::Act { call: id, side: 0, act: Act::Start });
        drop(inner);
        Self { world, id }
    }

    pub(crate) fn change_call(self, change: impl FnOnce(&mut CallState)) {
        change(&mut self.world.inner().calls[self.id]);
    }

    pub(crate) fn now(self) -> Instant {
        self.world.inner().now
    }

    fn side_of(self, host: Host<'_>) -> usize {
        let inner = self.world.inner();
        let sides = &inner.calls[self.id].sides;
        sides.iter().position(|side| side.host == host.id).expect("the host takes part")
    }

    fn read<T>(self, host: Host<'_>, read: impl FnOnce(&Side) -> T) -> T {
        let side = self.side_of(host);
        read(&self.world.inner().calls[self.id].sides[side])
    }

    fn change(self, host: Host<'_>, change: impl FnOnce(&mut Side)) -> Self {
        let side = self.side_of(host);
        change(&mut self.world.inner().calls[self.id].sides[side]);
        self
    }

    /// The hosts of both sides.
    pub(crate) fn hosts(self) -> [Host<'w>; 2] {
        let inner = self.world.inner();
        let ids = [0, 1].map(|side| inner.calls[self.id].sides[side].host);
        ids.map(|id| Host { world: self.world, id })
    }

    // How the call is set up.

    /// Each message of the signalling takes this long.
    pub(crate) fn signalling(self, delay: Duration) -> Self {
        self.world.inner().calls[self.id].delay = delay;
        self
    }

    /// All candidates go in one description, both ways.
    pub(crate) fn vanilla(self) -> Self {
        self.world.inner().calls[self.id].vanilla = true;
        self
    }

    /// Nobody restarts, even if it is recommended.
    pub(crate) fn without_restarts(self) -> Self {
        self.world.inner().calls[self.id].restarts = false;
        self
    }

    /// Lets `hook` decide when each message's copies arrive; the number is who sent it.
    pub(crate) fn deliver_signals(
        self,
        hook: impl FnMut(usize, &Signal) -> Vec<Duration> + 'static,
    ) -> Self {
        self.world.inner().calls[self.id].hook = Some(Box::new(hook));
        self
    }

    /// Changes the configuration of one side's agent.
    pub(crate) fn tune(self, host: Host<'_>, tune: impl Fn(&mut AgentConfig) + 'static) -> Self {
        self.change(host, |side| side.tune.push(Box::new(tune)))
    }

    /// Changes the configuration of both sides' agents.
    pub(crate) fn tune_both(self, tune: impl Fn(&mut AgentConfig) + Copy + 'static) -> Self {
        let [left, right] = self.hosts();
        self.tune(left, tune).tune(right, tune)
    }

    /// Sets which candidates a side uses.
    pub(crate) fn policy(self, host: Host<'_>, policy: CandidatePolicy) -> Self {
        self.tune(host, move |config| config.policy = policy)
    }

    /// Gives one side's agent a role that need not fit the call.
    pub(crate) fn role(self, host: Host<'_>, role: Role) -> Self {
        self.change(host, |side| side.role = Some(role))
    }

    // What happened.

    fn both(self, holds: impl Fn(&Side) -> bool) -> bool {
        self.world.inner().calls[self.id].sides.iter().all(holds)
    }

    /// Whether all components of both sides can send.
    pub(crate) fn connected(self) -> impl Fn() -> bool + use<'w> {
        use AgentState::{Completed, Connected};
        move || self.both(|side| matches!(side.state, Some(Connected | Completed)))
    }

    /// Whether both sides selected their pairs.
    pub(crate) fn completed(self) -> impl Fn() -> bool + use<'w> {
        move || self.both(|side| side.state == Some(AgentState::Completed))
    }

    /// Whether a side is in `state`.
    pub(crate) fn is(self, host: Host<'w>, state: AgentState) -> impl Fn() -> bool + use<'w> {
        move || self.state(host) == Some(state)
    }

    pub(crate) fn disconnected(self, host: Host<'w>) -> impl Fn() -> bool + use<'w> {
        self.is(host, AgentState::Disconnected)
    }

    pub(crate) fn failed(self, host: Host<'w>) -> impl Fn() -> bool + use<'w> {
        self.is(host, AgentState::Failed)
    }

    /// Whether both sides failed.
    pub(crate) fn both_failed(self) -> impl Fn() -> bool + use<'w> {
        move || self.both(|side| side.state == Some(AgentState::Failed))
    }

    /// Whether both sides may send on the first component.
    pub(crate) fn both_sendable(self) -> impl Fn() -> bool + use<'w> {
        move || self.both(|side| side.sendable.contains_key(&ComponentId::FIRST))
    }

    /// How long it took from when both sides knew one another until both could send.
    pub(crate) fn connected_after(self) -> Option<Duration> {
        let inner = self.world.inner();
        let sides = &inner.calls[self.id].sides;
        let known = sides.iter().map(|side| side.introduced).max().flatten()?;
        let sendable = sides.iter().map(|side| side.sendable.values().min()).max().flatten()?;
        Some(sendable.since(known))
    }

    /// Whether both sides know all their candidates.
    pub(crate) fn gathered(self) -> impl Fn() -> bool + use<'w> {
        move || self.both(|side| side.gathered.is_some())
    }

    /// Whether a side knows all its candidates.
    pub(crate) fn has_gathered(self, host: Host<'_>) -> bool {
        self.read(host, |side| side.gathered.is_some())
    }

    /// Whether a side has a relayed candidate.
    pub(crate) fn has_relay(self, host: Host<'w>) -> impl Fn() -> bool + use<'w> {
        move || {
            self.read(host, |side| {
                side.events.iter().any(|(_, event)| match event {
                    Event::LocalCandidate { candidate, .. } => {
                        candidate.kind == CandidateKind::Relayed
                    }
                    _ => false,
                })
            })
        }
    }

    /// Whether a restart was recommended to a side.
    pub(crate) fn restart_recommended(self, host: Host<'w>) -> impl Fn() -> bool + use<'w> {
        move || !self.recommendations(host).is_empty()
    }

    pub(crate) fn state(self, host: Host<'_>) -> Option<AgentState> {
        self.read(host, |side| side.state)
    }

    /// All states of a side, with the time since the world began.
    pub(crate) fn states(self, host: Host<'_>) -> Vec<(Duration, AgentState)> {
        self.read(host, |side| {
            let states = side.events.iter().filter_map(|(at, event)| match event {
                Event::State { state, .. } => Some((at.since(BEGINNING), *state)),
                _ => None,
            });
            states.collect()
        })
    }

    /// When restarts were recommended to a side, and why.
    pub(crate) fn recommendations(self, host: Host<'_>) -> Vec<(Duration, RestartReason)> {
        self.read(host, |side| {
            let found = side.events.iter().filter_map(|(at, event)| match event {
                Event::RestartRecommended { reason, .. } => Some((at.since(BEGINNING), *reason)),
                _ => None,
            });
            found.collect()
        })
    }

    /// The events of a side.
    pub(crate) fn events(self, host: Host<'_>) -> Vec<(Instant, Event)> {
        self.read(host, |side| side.events.clone())
    }

    /// When a component of a side could send first, since the world began.
    pub(crate) fn sendable_at(self, host: Host<'_>, component: ComponentId) -> Option<Duration> {
        self.read(host, |side| side.sendable.get(&component).map(|at| at.since(BEGINNING)))
    }

    /// The messages that were refused on their arrival at a side.
    pub(crate) fn rejections(self, host: Host<'_>) -> String {
        self.read(host, |side| {
            let (d, c) = (&side.rejected_descriptions, &side.rejected_candidates);
            if d.is_empty() && c.is_empty() { String::new() } else { format!("{d:?} {c:?}") }
        })
    }

    // The agents.

    /// Looks at a side's agent.
    pub(crate) fn agent<T>(self, host: Host<'_>, look: impl FnOnce(Agent<'_>) -> T) -> T {
        let id = self.read(host, |side| side.agent).expect("the agent exists");
        let mut inner = self.world.inner();
        look(inner.hosts[host.id].endpoint().agent(id).expect("a live agent"))
    }

    /// Does something to a side's agent.
    pub(crate) fn agent_mut<T>(self, host: Host<'_>, touch: impl FnOnce(AgentMut<'_>) -> T) -> T {
        let id = self.read(host, |side| side.agent).expect("the agent exists");
        let mut inner = self.world.inner();
        let now = inner.clock(host.id);
        let agent = inner.hosts[host.id].endpoint().agent_mut(now, id);
        let result = touch(agent.expect("a live agent"));
        inner.settle(host.id);
        result
    }

    pub(crate) fn description(self, host: Host<'_>) -> Description {
        self.agent(host, |agent| agent.local_description())
    }

    pub(crate) fn stats(self, host: Host<'_>) -> AgentStats {
        self.agent(host, |agent| agent.stats())
    }

    pub(crate) fn failures(self, host: Host<'_>) -> Vec<FailedPair> {
        self.agent(host, |agent| agent.failures())
    }

    pub(crate) fn role_of(self, host: Host<'_>) -> Role {
        self.agent(host, |agent| agent.role())
    }

    /// The selected pair of a side's first component.
    pub(crate) fn pair(self, host: Host<'_>) -> Pair {
        self.pair_of(host, ComponentId::FIRST)
    }

    pub(crate) fn pair_of(self, host: Host<'_>, component: ComponentId) -> Pair {
        Pair(self.agent(host, |agent| agent.selected(component)).expect("a pair is selected"))
    }

    /// Whether both sides selected the two ends of one path.
    pub(crate) fn agree(self) -> bool {
        self.agree_on(ComponentId::FIRST)
    }

    pub(crate) fn agree_on(self, component: ComponentId) -> bool {
        let [left, right] = self.hosts();
        self.leads_to_the_other(left, right, component)
            && self.leads_to_the_other(right, left, component)
    }

    /// Whether what `a` sends arrives where `b` selected to receive, from where `b` sends to.
    fn leads_to_the_other(self, a: Host<'_>, b: Host<'_>, component: ComponentId) -> bool {
        let (here, there) = (self.pair_of(a, component).0, self.pair_of(b, component).0);
        let inner = self.world.inner();
        // What a relay sends for us leaves from the Internet, from where the peer sees it: a NAT that
        // forgets during an allocation has the client use another one than it knows of.
        let end = |host: Host<'_>, pair: SelectedPair| {
            let host = &inner.hosts[host.id];
            match host.has_socket(pair.base) {
                true => (host.zone_of(pair.base), pair.base),
                false => (INTERNET, pair.local.address),
            }
        };
        let ((zone, from), (_, to)) = (end(a, here), end(b, there));
        inner.path(zone, from, here.remote.address) == Some((there.remote.address, to))
    }

    /// How many relays the selected pair of a side's first component goes over.
    pub(crate) fn hops(self, host: Host<'_>) -> usize {
        self.hops_on(host, ComponentId::FIRST)
    }

    pub(crate) fn hops_on(self, host: Host<'_>, component: ComponentId) -> usize {
        let pair = self.pair_of(host, component).0;
        let inner = self.world.inner();
        let ours = !inner.hosts[host.id].has_socket(pair.base);
        usize::from(ours) + usize::from(inner.is_relay(pair.remote.address))
    }

    // What the sides do.

    /// Sends one datagram on the first component.
    pub(crate) fn send(self, host: Host<'_>, payload: &[u8]) -> Result<(), SendError> {
        self.send_on(host, ComponentId::FIRST, payload)
    }

    pub(crate) fn send_on(
        self,
        host: Host<'_>,
        component: ComponentId,
        payload: &[u8],
    ) -> Result<(), SendError> {
        let side = self.side_of(host);
        self.world.inner().say(self.id, side, component, payload)
    }

    /// Sends a datagram every `interval` from now on.
    pub(crate) fn talk(self, host: Host<'_>, interval: Duration) {
        let side = self.side_of(host);
        self.change(host, |side| side.talking = true);
        let mut inner = self.world.inner();
        let now = inner.now;
        inner.schedule(now, What::Act { call: self.id, side, act: Act::Talk(interval) });
    }

    /// Ends [`Call::talk`].
    pub(crate) fn hush(self, host: Host<'_>) {
        self.change(host, |side| side.talking = false);
    }

    /// Restarts ICE, and signals it.
    pub(crate) fn restart(self, host: Host<'_>) {
        let side = self.side_of(host);
        self.world.inner().act(self.id, side, Act::Restart);
    }

    /// How many datagrams a side got rid of.
    pub(crate) fn sent(self, host: Host<'_>) -> u64 {
        self.read(host, |side| side.sent)
    }

    /// The datagrams that a side was not allowed to send.
    pub(crate) fn refused(self, host: Host<'_>) -> Vec<(Duration, SendError)> {
        self.read(host, |side| {
            side.refused.iter().map(|(at, error)| (at.since(BEGINNING), *error)).collect()
        })
    }

    /// What arrived at a side.
    pub(crate) fn delivered(self, host: Host<'_>) -> Vec<Delivery> {
        self.read(host, |side| side.delivered.clone())
    }

    /// How much arrived at a side.
    pub(crate) fn heard(self, host: Host<'_>) -> u64 {
        self.read(host, |side| side.delivered.len() as u64)
    }
}

/// A selected pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair(pub(crate) SelectedPair);

impl Pair {
    /// The types of our candidate and of the peer's.
    pub(crate) fn kinds(self) -> (CandidateKind, CandidateKind) {
        (self.0.local.kind, self.0.remote.kind)
    }

    pub(crate) fn remote(self) -> SocketAddr {
        self.0.remote.address
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(pair) = self;
        write!(f, "{:?} {} - ", pair.local.kind, pair.local.address)?;
        write!(f, "{:?} {}", pair.remote.kind, pair.remote.address)
    }
}
