//! Signalling: offers, answers and trickled candidates between the two sides of a call.

use core::time::Duration;
use std::collections::BTreeMap;

use floe::candidate::Candidate;
use floe::config::{AgentConfig, Role, Trickle};
use floe::event::RestartReason;
use floe::sdp::Description;
use floe::{
    AgentId, AgentState, CandidateRejected, ComponentId, DescriptionRejected, Event, Instant,
    SendError,
};

use crate::world::guard::Path;
use crate::world::network::{Inner, What};
use crate::world::rates::Rates;
use crate::world::rng::Rng;

/// What a side is in: a generation of its own, and what it knows of the other's.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    description: Description,
    /// Which generation of the sender's it is.
    own: usize,
    /// The newest of the receiver's that the sender knows.
    known: Option<usize>,
}

/// A message from one side to the other.
#[derive(Clone, Debug)]
pub(crate) enum Signal {
    /// Of a generation that goes with none of the receiver's yet.
    Offer(Said),
    /// Of one that goes with the newest that the sender knows.
    Answer(Said),
    Candidate {
        stream: u16,
        ufrag: Option<String>,
        candidate: Candidate,
    },
    End {
        ufrag: Option<String>,
    },
    /// The callee asks the caller to leave this generation: so that offers never cross.
    PleaseRestart(Option<usize>),
}

/// Something that a side does of its own accord.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Start,
    /// The description that waited for all candidates.
    Describe,
    /// The offer that nobody answered, once more.
    Remind,
    Restart,
    /// The restart that another one was in the way of, however often it was asked for.
    RestartIfDue,
    /// Sends one datagram, and the next one this much later.
    Talk(Duration),
}

/// Application data that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) at: Instant,
    pub(crate) component: ComponentId,
    /// The path that it took.
    pub(crate) path: Path,
    pub(crate) data: Vec<u8>,
}

pub(crate) type Tune = Box<dyn Fn(&mut AgentConfig)>;

/// What becomes of a message: how much later each copy arrives. None: it is lost.
pub(crate) type SignalHook = Box<dyn FnMut(usize, &Signal) -> Vec<Duration>>;

/// Messages that one side keeps for a description that has not come.
const MAX_EARLY: usize = 64;

/// One side of a call.
#[derive(Default)]
pub(crate) struct Side {
    pub(crate) host: usize,
    pub(crate) agent: Option<AgentId>,
    pub(crate) role: Option<Role>,
    pub(crate) tune: Vec<Tune>,
    pub(crate) events: Vec<(Instant, Event)>,
    pub(crate) delivered: Vec<Delivery>,
    pub(crate) sendable: BTreeMap<ComponentId, Instant>,
    pub(crate) state: Option<AgentState>,
    pub(crate) gathered: Option<Instant>,
    pub(crate) sent: u64,
    pub(crate) refused: Vec<(Instant, SendError)>,
    pub(crate) talking: bool,
    pub(crate) rejected_descriptions: Vec<DescriptionRejected>,
    pub(crate) rejected_candidates: Vec<CandidateRejected>,
    /// Whether the description of this generation has been signalled.
    described: bool,
    /// Whether the description is to be signalled once all candidates are known.
    waiting: bool,
    /// Whether its generation goes with the newest of the peer's that it knows.
    paired: bool,
    /// When it heard of the peer first.
    pub(crate) introduced: Option<Instant>,
    /// When it sent an offer that nobody answered yet.
    pending: Option<Instant>,
    /// The ufrags of its generations, in order.
    told: Vec<Option<String>>,
    /// A restart waits for the one that is under way.
    restart_due: bool,
    /// The newest of the peer's generations that it took: what is older comes too late.
    known: Option<usize>,
    /// The newest that the peer has answered an older generation with.
    spent: Option<usize>,
    /// What arrived before the first offer.
    early: Vec<Signal>,
    /// Whether its descriptions wait for all its candidates. [RFC 8838 §16]
    waits: bool,
}

/// How long an unanswered offer keeps a side from making another one. [RFC 3264 §4]
const ANSWER: Duration = Duration::from_secs(8);
/// How much later a restart is tried again that another one is in the way of.
const RETRY: Duration = Duration::from_millis(100);

/// A call between two hosts.
pub(crate) struct CallState {
    pub(crate) sides: [Side; 2],
    /// How long a message takes.
    pub(crate) delay: Duration,
    pub(crate) vanilla: bool,
    /// Whether a recommended restart is done.
    pub(crate) restarts: bool,
    pub(crate) hook: Option<SignalHook>,
    pub(crate) rates: Rates,
    /// Until when the server of the signalling keeps what it is to pass on.
    pub(crate) away_until: Instant,
    pub(crate) rng: Rng,
}

impl Side {
    pub(crate) fn of(host: usize) -> Self {
        Self { host, ..Self::default() }
    }

    /// Notes what became of a candidate. One whose description has not come yet is kept until it
    /// does, within bounds: messages overtake one another.
    fn put_off(&mut self, result: Result<(), CandidateRejected>, signal: Signal) {
        let Err(rejected) = result else { return };
        self.rejected_candidates.push(rejected);
        if rejected == CandidateRejected::UnknownGeneration && self.early.len() < MAX_EARLY {
            self.early.push(signal);
        }
    }
}

fn ufrag(description: &Description, stream: u16) -> Option<String> {
    let stream = description.streams.get(usize::from(stream))?;
    stream.credentials.as_ref().map(|credentials| credentials.ufrag.clone())
}

impl Inner {
    fn side(&mut self, call: usize, side: usize) -> &mut Side {
        &mut self.calls[call].sides[side]
    }

    fn host_and_agent(&self, call: usize, side: usize) -> (usize, AgentId) {
        let side = &self.calls[call].sides[side];
        (side.host, side.agent.expect("the agent exists"))
    }

    pub(crate) fn describe(&mut self, call: usize, side: usize) -> Description {
        let (host, agent) = self.host_and_agent(call, side);
        self.hosts[host].endpoint().agent(agent).expect("a live agent").local_description()
    }

    pub(crate) fn act(&mut self, call: usize, side: usize, act: Act) {
        if let Some(until) = self.is_asleep(self.calls[call].sides[side].host) {
            self.schedule(until, What::Act { call, side, act });
            return;
        }
        match act {
            Act::Start => {
                self.create_agent(call, side);
                self.describe_when_ready(call, side);
            }
            Act::Describe => {
                if core::mem::take(&mut self.side(call, side).waiting) {
                    self.send_description(call, side);
                }
            }
            Act::Remind => {
                if self.side(call, side).pending.is_some() {
                    self.send_description(call, side);
                }
            }
            Act::Restart => {
                // One offer at a time, and none while an answer is owed. [RFC 3264 §4]
                let now = self.now;
                let s = self.side(call, side);
                let pending = s.pending.is_some_and(|at| now.since(at) < ANSWER);
                if pending || s.waiting && s.paired {
                    if !core::mem::replace(&mut s.restart_due, true) {
                        let act = Act::RestartIfDue;
                        self.schedule(self.now + RETRY, What::Act { call, side, act });
                    }
                    return;
                }
                s.restart_due = false;
                self.restart_agent(call, side);
                self.describe_when_ready(call, side);
            }
            Act::RestartIfDue => {
                if core::mem::take(&mut self.side(call, side).restart_due) {
                    self.act(call, side, Act::Restart);
                }
            }
            Act::Talk(interval) => self.talk(call, side, interval),
        }
    }

    fn create_agent(&mut self, call: usize, side: usize) {
        let host = self.side(call, side).host;
        let now = self.clock(host);
        let vanilla = self.calls[call].vanilla;
        let s = self.side(call, side);
        let role = if side == 0 { Role::Controlling } else { Role::Controlled };
        let mut config = AgentConfig::new(s.role.unwrap_or(role));
        if vanilla {
            config.trickle = Trickle::Off;
        }
        for tune in &s.tune {
            tune(&mut config);
        }
        s.waits = config.trickle != Trickle::Full;
        self.power_on(host);
        let agent = self.hosts[host].endpoint().add_agent(now, config.clone());
        self.hosts[host].guard.hires(agent, config);
        self.hosts[host].agents.insert(agent, (call, side));
        self.side(call, side).agent = Some(agent);
        self.settle(host);
    }

    fn restart_agent(&mut self, call: usize, side: usize) {
        let (host, agent) = self.host_and_agent(call, side);
        let now = self.clock(host);
        self.new_generation(call, side);
        self.side(call, side).paired = false;
        if let Some(mut agent) = self.hosts[host].endpoint().agent_mut(now, agent) {
            agent.restart();
        }
        self.settle(host);
    }

    fn new_generation(&mut self, call: usize, side: usize) {
        let s = self.side(call, side);
        s.described = false;
        s.gathered = None;
        s.waiting = false;
    }

    /// Signals the description now, or when all candidates are known.
    fn describe_when_ready(&mut self, call: usize, side: usize) {
        if self.side(call, side).waits && self.side(call, side).gathered.is_none() {
            self.side(call, side).waiting = true;
        } else {
            self.send_description(call, side);
        }
    }

    fn send_description(&mut self, call: usize, side: usize) {
        let now = self.now;
        if self.side(call, side).state == Some(AgentState::Closed) {
            return;
        }
        let description = self.describe(call, side);
        let own = self.own_generation(call, side);
        let s = self.side(call, side);
        s.described = true;
        s.pending = (!s.paired).then_some(now);
        let end = s.gathered.is_some() && description.streams.iter().any(|s| !s.end_of_candidates);
        let end = end.then(|| Signal::End { ufrag: ufrag(&description, 0) });
        let said = Said { description, own, known: s.known };
        let signal = if s.paired { Signal::Answer(said) } else { Signal::Offer(said) };
        self.signal(call, side, signal);
        if let Some(end) = end {
            self.signal(call, side, end);
        }
    }

    /// The number of the generation that a side is in.
    fn own_generation(&mut self, call: usize, side: usize) -> usize {
        let current = ufrag(&self.describe(call, side), 0);
        let told = &mut self.side(call, side).told;
        told.iter().position(|known| *known == current).unwrap_or_else(|| {
            told.push(current);
            told.len() - 1
        })
    }

    /// Sends a message to the other side.
    pub(crate) fn signal(&mut self, call: usize, side: usize, signal: Signal) {
        let c = &mut self.calls[call];
        let times = match &mut c.hook {
            Some(hook) => hook(side, &signal),
            None => vec![Duration::ZERO],
        };
        let drawn = c.rates.draw(&mut c.rng, side, &signal);
        let at = self.now.max(c.away_until) + c.delay;
        for (more, still_more) in times.iter().flat_map(|a| drawn.iter().map(move |b| (*a, *b))) {
            let signal = signal.clone();
            let at = at + more + still_more;
            self.schedule(at, What::Signal { call, to: 1 - side, signal });
        }
    }

    pub(crate) fn signal_arrives(&mut self, call: usize, side: usize, signal: Signal) {
        let host = self.side(call, side).host;
        if let Some(until) = self.is_asleep(host) {
            self.schedule(until, What::Signal { call, to: side, signal });
            return;
        }
        self.trace.event(self.now, format_args!("call {call} side {side} hears"), &signal);
        let s = self.side(call, side);
        if s.state == Some(AgentState::Closed) {
            return;
        }
        if s.agent.is_none() && !matches!(signal, Signal::Offer(_)) {
            s.early.push(signal);
            return;
        }
        match signal {
            Signal::Offer(said) => self.offer_arrives(call, side, &said),
            Signal::Answer(said) => self.answer_arrives(call, side, &said),
            Signal::Candidate { stream, ufrag, candidate } => {
                let (now, agent) = (self.clock(host), self.host_and_agent(call, side).1);
                let Some(mut agent) = self.hosts[host].endpoint().agent_mut(now, agent) else {
                    return;
                };
                let result = agent.add_remote_candidate(stream, ufrag.as_deref(), &candidate);
                let again = Signal::Candidate { stream, ufrag, candidate };
                self.side(call, side).put_off(result, again);
                self.settle(host);
            }
            Signal::End { ufrag } => {
                let (now, agent) = (self.clock(host), self.host_and_agent(call, side).1);
                let Some(mut agent) = self.hosts[host].endpoint().agent_mut(now, agent) else {
                    return;
                };
                let result = agent.end_of_remote_candidates(None, ufrag.as_deref());
                self.side(call, side).put_off(result, Signal::End { ufrag });
                self.settle(host);
            }
            Signal::PleaseRestart(left) => {
                if left == Some(self.own_generation(call, side)) {
                    self.act(call, side, Act::Restart);
                }
            }
        }
    }

    fn offer_arrives(&mut self, call: usize, side: usize, said: &Said) {
        let first = self.side(call, side).agent.is_none();
        if first {
            self.create_agent(call, side);
        }
        let own = self.own_generation(call, side);
        let s = self.side(call, side);
        if s.known.is_some_and(|known| said.own < known) {
            return;
        }
        let repeated = s.known == Some(said.own);
        if s.spent >= Some(said.own) && !repeated {
            return;
        }
        if repeated {
            // Said again: it has not heard what was said in return.
            if said.known != Some(own) && !s.waiting {
                self.send_description(call, side);
            }
            return;
        }
        if !first && !s.paired {
            if said.known == Some(own) {
                // It has left the generation that it answered with.
                self.restart_agent(call, side);
            } else if ufrag(&self.describe(call, side), 0) > ufrag(&said.description, 0) {
                // Of two offers that cross one counts. [RFC 3264 §4]
                return;
            }
        }
        if self.description_arrives(call, side, said) {
            self.describe_when_ready(call, side);
            self.replay_early(call, side);
        }
    }

    /// An answer to another generation than the one we are in comes too late.
    fn answer_arrives(&mut self, call: usize, side: usize, said: &Said) {
        let own = self.own_generation(call, side);
        let s = self.side(call, side);
        let newer = s.known.is_none_or(|known| said.own > known);
        if said.known != Some(own) {
            s.spent = s.spent.max(Some(said.own));
            // We took what it had offered before it gave that up.
            if s.paired && s.known == Some(said.own) {
                self.act(call, side, Act::Restart);
            }
        } else if newer && !s.paired && self.description_arrives(call, side, said) {
            self.replay_early(call, side);
        }
    }

    fn replay_early(&mut self, call: usize, side: usize) {
        for signal in core::mem::take(&mut self.side(call, side).early) {
            self.signal_arrives(call, side, signal);
        }
    }

    /// Whether the agent took it.
    fn description_arrives(&mut self, call: usize, side: usize, said: &Said) -> bool {
        let (host, agent) = self.host_and_agent(call, side);
        let (since, now) = (self.now, self.clock(host));
        let result = match self.hosts[host].endpoint().agent_mut(now, agent) {
            Some(mut agent) => agent.set_remote_description(&said.description),
            None => return false,
        };
        let s = self.side(call, side);
        let taken = result.is_ok();
        if taken {
            (s.pending, s.waiting, s.paired) = (None, false, true);
            s.known = Some(said.own);
            s.introduced.get_or_insert(since);
        }
        s.rejected_descriptions.extend(result.err());
        self.settle(host);
        taken
    }

    pub(crate) fn agent_event(&mut self, call: usize, side: usize, event: Event) {
        let now = self.now;
        let restarts = self.calls[call].restarts;
        let s = self.side(call, side);
        s.events.push((now, event.clone()));
        match event {
            Event::LocalCandidate { stream, candidate, .. } if s.described && !s.waits => {
                let ufrag = match candidate.ufrag() {
                    Some(ufrag) => Some(ufrag.to_owned()),
                    None => ufrag(&self.describe(call, side), stream),
                };
                self.signal(call, side, Signal::Candidate { stream, ufrag, candidate });
            }
            Event::GatheringComplete { .. } => {
                s.gathered = Some(now);
                if s.waiting {
                    self.schedule(now, What::Act { call, side, act: Act::Describe });
                } else if s.described {
                    let ufrag = ufrag(&self.describe(call, side), 0);
                    self.signal(call, side, Signal::End { ufrag });
                }
            }
            Event::State { state, .. } => s.state = Some(state),
            Event::RestartedByPeer { .. } => self.new_generation(call, side),
            Event::Sendable { component, .. } => {
                s.sendable.entry(component).or_insert(now);
            }
            Event::RestartRecommended { reason: RestartReason::NotAnswered, .. } if restarts => {
                self.schedule(now, What::Act { call, side, act: Act::Remind });
            }
            Event::RestartRecommended { .. } if restarts && side == 0 => {
                self.schedule(now, What::Act { call, side, act: Act::Restart });
            }
            Event::RestartRecommended { .. } if restarts => {
                let known = s.known;
                self.signal(call, side, Signal::PleaseRestart(known));
            }
            _ => {}
        }
    }

    pub(crate) fn data_arrives(
        &mut self,
        call: usize,
        side: usize,
        component: ComponentId,
        path: Path,
        data: Vec<u8>,
    ) {
        let at = self.now;
        self.side(call, side).delivered.push(Delivery { at, component, path, data });
    }

    /// Sends `payload` to the other side, and counts what became of it.
    pub(crate) fn say(
        &mut self,
        call: usize,
        side: usize,
        component: ComponentId,
        payload: &[u8],
    ) -> Result<(), SendError> {
        let (host, agent) = self.host_and_agent(call, side);
        let result = self.send_data(host, agent, component, payload);
        let now = self.now;
        let s = self.side(call, side);
        match result {
            Ok(()) => s.sent += 1,
            Err(error) => s.refused.push((now, error)),
        }
        result
    }

    fn talk(&mut self, call: usize, side: usize, interval: Duration) {
        if !self.side(call, side).talking {
            return;
        }
        // The first octet says RTP, which no demultiplexer takes for STUN.
        let mut payload = vec![0x80];
        payload.extend(self.side(call, side).sent.to_be_bytes());
        let _ = self.say(call, side, ComponentId::FIRST, &payload);
        let at = self.now + interval;
        self.schedule(at, What::Act { call, side, act: Act::Talk(interval) });
    }
}
