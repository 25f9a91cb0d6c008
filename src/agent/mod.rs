//! The ICE agent: RFC 8445 proper, one file a section.
//!
//! It sees bases, never sockets, relays or buffers that outlive a call: the endpoint turns a
//! [`BaseId`] into a socket, dispatches what comes in, and asks for what is to go out.
//!
//! ```text
//! local    §5.1  bases, candidates, priorities      check     §7.2  sending checks, taking answers
//! relay          bases that are relayed addresses
//! remote         the peer's end                     respond   §7.3  answering, triggered checks
//! pair           pairs and their states             nominate  §8    nominating, concluding
//! checklist §6.1 forming, freezing, choosing        consent   §11   consent and keepalives
//! session        one generation of all that         restart   §9    from one to the next
//! backup         what is kept beside a selected pair   data   §12   the gates of application data
//! streams §8.1.2 removing one of several             lite  §8.2  lite toward lite
//! roam           bases that come and go    names  names in the place of host addresses
//! ```

mod backup;
mod check;
mod checklist;
mod consent;
mod data;
mod error;
mod lite;
mod local;
mod names;
mod nominate;
mod pair;
mod relay;
mod remote;
mod report;
mod respond;
mod restart;
mod roam;
mod session;
mod strangers;
mod streams;
mod subsequent;

use core::time::Duration;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::candidate::{Candidate, CandidateKind, Credentials};
use crate::config::{AgentConfig, CandidatePolicy, Mode, Retransmission, Role, Trickle};
use crate::event::{AgentState, Event, RestartReason};
use crate::net::{AgentId, ComponentId, DropReason};
use crate::rng::{Purpose, Seed, Stream as Random};
use crate::stun::{AttributeType, Authenticated, IntegrityKey, Message, TransactionId};
use crate::time::{Instant, earlier};

use consent::ConsentStep;
pub(crate) use data::Path;
pub use error::{CandidateRejected, DescriptionRejected, SendError};
use lite::LiteChoice;
pub(crate) use local::{BaseConfig, BaseId};
use local::{Local, Origin};
use pair::PairId;
use remote::Added;
use roam::Alarm;
pub(crate) use roam::Sign;
use session::{ChecklistState, Session};
use strangers::Strangers;

/// Ta: the pace of new checks when neither side asked for another. [rfc8445-14.2-1a]
pub(crate) const TA_DEFAULT: Duration = Duration::from_millis(50);

/// A transaction that is sent once, and whose answer is awaited for 8 s.
const SENT_ONCE: Retransmission =
    Retransmission { rto: Duration::from_millis(500), rc: 1, rm: 16, ti: Duration::from_secs(8) };

/// The least Tr. [rfc8445-11-6b]
const TR_MINIMUM: Duration = Duration::from_secs(15);

/// Characters of a ufrag and of a password that we draw: 48 and 144 random bits.
/// [rfc8445-5.3-6] [rfc8839-5.4-5a] [rfc8839-5.4-p1]
const UFRAG_LEN: usize = 8;
const PASSWORD_LEN: usize = 24;

/// What a call into the agent may use and change outside of it.
pub(crate) struct Context<'a> {
    pub(crate) now: Instant,
    pub(crate) id: AgentId,
    pub(crate) seed: &'a Seed,
    pub(crate) events: &'a mut VecDeque<Event>,
}

impl Context<'_> {
    /// Recommends a restart, once: what calls for it may be found in several places at a time.
    fn recommend_restart(&mut self, reason: RestartReason) {
        let event = Event::RestartRecommended { agent: self.id, reason };
        if !self.events.contains(&event) {
            self.events.push_back(event);
        }
    }
}

/// A packet that was encoded into the caller's buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing {
    pub(crate) base: BaseId,
    pub(crate) to: SocketAddr,
    pub(crate) len: usize,
    /// The transaction that it starts: its answer is to be brought here.
    pub(crate) started: Option<TransactionId>,
    /// Whether it counts for the pace of all agents.
    pub(crate) paced: bool,
}

/// What a check of the peer's deserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A success response; `tracked` if data from there is the agent's from now on.
    Success { tracked: bool },
    /// An error response with this code, as the request is of no use for this reason.
    Error(u16, DropReason),
    /// Both have the same role, and the peer is to change its own. [rfc8445-7.3.1.1-2]
    RoleConflict,
    /// Nothing.
    Drop(DropReason),
}

/// A generation of an agent, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Generation(u32);

/// A ufrag of ours came into use, or went out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UfragChange {
    Added(Box<str>),
    Removed(Box<str>),
}

/// What outlives a generation.
#[derive(Clone, Debug)]
struct Core {
    config: Arc<AgentConfig>,
    role: Role,
    /// One for all checks of the session; a new one after a 487. [rfc8445-16.1-1a]
    /// [rfc8445-16.1-3a]
    tie_breaker: u64,
    local: Local,
    ids: Random,
    secrets: Random,
    spread: Random,
    /// Whether servers may still give candidates.
    gathering: bool,
    /// Transactions whose answers are of no use any more; the endpoint forgets them.
    ended: Vec<TransactionId>,
    /// Changes of our ufrags; the endpoint keeps its table by them.
    ufrags: Vec<UfragChange>,
    /// Whether remote addresses were forgotten; the endpoint checks its table.
    forgot: bool,
    /// Whether a new generation is to gather; the endpoint starts that.
    regather: bool,
    /// The generation that is current.
    generation: Generation,
    selected_changes: u32,
    /// What was sent to addresses that did not answer.
    strangers: Strangers,
    /// What the endpoint is to follow up.
    signs: Vec<Sign>,
    /// A restart was recommended in this generation as there is no pair left.
    advised: bool,
}

impl Core {
    fn is_lite(&self) -> bool {
        self.config.mode == Mode::Lite
    }

    /// Tr. [rfc8445-11-5] [rfc8445-11-6b]
    fn tr(&self) -> Duration {
        self.config.keepalive.max(TR_MINIMUM)
    }

    /// 96 random bits for every transaction; what is sent again keeps them. [rfc8489-5-4a]
    /// [rfc8489-5-4b] [rfc8489-5-5]
    fn transaction_id(&mut self, seed: &Seed) -> TransactionId {
        let mut id = [0; 12];
        self.ids.fill(seed, &mut id);
        TransactionId(id)
    }

    /// Draws the id of a consent check and what randomises the time of the next, at once.
    fn consent_draw(&mut self, seed: &Seed) -> (TransactionId, u64) {
        let mut octets = [0; 20];
        self.ids.fill(seed, &mut octets);
        let (id, spread) = octets.split_first_chunk::<12>().unwrap_or((&[0; 12], &[]));
        let spread = spread.iter().fold(0, |all, octet| all << 8 | u64::from(*octet));
        (TransactionId(*id), spread)
    }

    fn jitter(&mut self, seed: &Seed) -> u64 {
        self.spread.next_u64(seed)
    }

    fn new_tie_breaker(&mut self, seed: &Seed) {
        self.tie_breaker = self.secrets.next_u64(seed);
    }

    /// Draws credentials of ice-chars: letters, digits, `+` and `/`. [rfc8445-5.3-6]
    /// [rfc8839-5.4-3] [rfc8839-5.4-p1]
    fn new_credentials(&mut self, seed: &Seed) -> Credentials {
        const CHARS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut octets = [0; UFRAG_LEN + PASSWORD_LEN];
        self.secrets.fill(seed, &mut octets);
        let mut chars = octets
            .iter()
            .map(|octet| CHARS.get(usize::from(octet & 63)).copied().map_or('A', char::from));
        let ufrag = chars.by_ref().take(UFRAG_LEN).collect();
        Credentials { ufrag, password: chars.collect() }
    }
}

/// The attributes that a check or its response may require us to understand.
pub(crate) fn is_known(kind: AttributeType) -> bool {
    [
        AttributeType::USERNAME,
        AttributeType::PRIORITY,
        AttributeType::USE_CANDIDATE,
        AttributeType::ERROR_CODE,
        AttributeType::UNKNOWN_ATTRIBUTES,
        AttributeType::MAPPED_ADDRESS,
        AttributeType::XOR_MAPPED_ADDRESS,
        AttributeType::REALM,
        AttributeType::NONCE,
    ]
    .contains(&kind)
}

/// An ICE agent: one session with one peer.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    core: Core,
    session: Session,
    /// The last generation that the peer is known to use, while its pairs carry data.
    previous: Option<Box<Session>>,
    previous_until: Option<Instant>,
    state: AgentState,
    /// When the peer restarted, for the limit.
    restarts: VecDeque<Instant>,
    alarm: Option<Alarm>,
    /// The peer's ufrag before a restart of ours, until that is answered.
    outdated: Option<Box<str>>,
    /// How often it was told of that a restart of ours was not answered.
    reminders: u8,
    /// An address turned up that a restart would make use of.
    news: bool,
}

impl Agent {
    /// Makes an agent. `number` is its own among all that the endpoint ever had: it tells its random
    /// streams from all others.
    pub(crate) fn new(
        cx: &mut Context<'_>,
        number: u64,
        config: Arc<AgentConfig>,
        bases: &[BaseConfig],
    ) -> Self {
        let mut core = Core {
            role: config.role,
            tie_breaker: 0,
            local: Local::default(),
            ids: Random::new(number, Purpose::Transaction),
            secrets: Random::new(number, Purpose::Credentials),
            spread: Random::new(number, Purpose::Jitter),
            gathering: true,
            ended: Vec::new(),
            ufrags: Vec::new(),
            forgot: false,
            regather: false,
            generation: Generation(0),
            selected_changes: 0,
            strangers: Strangers::default(),
            signs: Vec::new(),
            advised: false,
            config,
        };
        core.new_tie_breaker(cx.seed);
        core.local.add_bases(bases);
        core.hide_addresses(number);
        let credentials = core.config.credentials.clone();
        let credentials = credentials.unwrap_or_else(|| core.new_credentials(cx.seed));
        let session = Session::new(&core, &credentials, cx.now);
        let mut agent = Self {
            core,
            session,
            previous: None,
            previous_until: None,
            state: AgentState::New,
            restarts: VecDeque::new(),
            alarm: None,
            outdated: None,
            reminders: 0,
            news: false,
        };
        // Component by component. [rfc8838-17-1a] [rfc8838-17-1b]
        let mut order: Vec<_> = (0..=u16::MAX).map(BaseId).zip(bases).collect();
        order.sort_by_key(|(_, base)| base.component);
        for (id, base) in order {
            agent.add_host(cx, id, base);
        }
        agent
    }

    /// Makes the host candidate of a base, unless policy keeps it out. A lite agent has one for
    /// each IP address of a component. [rfc8445-5.1.1.1-1] [rfc8445-5.2-1]
    fn add_host(&mut self, cx: &mut Context<'_>, id: BaseId, base: &BaseConfig) {
        let second =
            self.core.is_lite() && self.core.local.offers(base.component, base.address.ip());
        if base.signalled && !second && self.core.config.policy == CandidatePolicy::All {
            self.add_local(cx, CandidateKind::Host, id, base.address, None);
        }
    }

    /// A server saw this address for packets from `base`. [rfc8445-5.1.1.2-p2]
    /// [rfc8838-13-10]
    pub(crate) fn add_reflexive(
        &mut self,
        cx: &mut Context<'_>,
        base: BaseId,
        mapped: SocketAddr,
        server: IpAddr,
    ) {
        let open = self.component_of(base).is_some_and(|component| self.may_trickle(component));
        if self.uses_reflexive() && open {
            let kind = CandidateKind::ServerReflexive;
            self.add_local(cx, kind, base, mapped, Some(Origin { server, mapped: None }));
        }
    }

    /// Adds a local candidate, tells of it, and pairs its base if it is the first there.
    fn add_local(
        &mut self,
        cx: &mut Context<'_>,
        kind: CandidateKind,
        base: BaseId,
        address: SocketAddr,
        origin: Option<Origin>,
    ) {
        let first = self.core.local.base(base).is_some_and(|base| base.candidate.is_none());
        if kind == CandidateKind::Host {
            self.core.local.name(base, cx.seed);
        }
        let Some(id) = self.core.local.add_candidate(kind, base, address, origin, true) else {
            return;
        };
        let stream = self.core.local.base(base).map_or(0, |base| base.component.stream());
        if self.core.config.trickle == Trickle::Full
            && self.core.is_open()
            && let Some(candidate) = self.core.local.describe(id, &self.session.local.ufrag)
        {
            cx.events.push_back(Event::LocalCandidate { agent: cx.id, stream, candidate });
        }
        if first {
            self.session.pair_base(base, &mut self.core, cx.now);
        }
    }

    /// No server is asked any more, and no more local candidates will come in this generation
    /// unless gathering never ends. [rfc8838-13-2] [rfc8838-13-4] [rfc8838-13-6]
    pub(crate) fn gathering_complete(&mut self, cx: &mut Context<'_>) {
        self.core.gathering = false;
        if !self.core.is_open() {
            cx.events.push_back(Event::GatheringComplete { agent: cx.id });
        }
        self.settle(cx);
    }

    /// Whether STUN servers are asked for it at all.
    pub(crate) fn uses_reflexive(&self) -> bool {
        self.core.config.policy == CandidatePolicy::All && !self.core.is_lite()
    }

    /// Whether the peer may still be told of candidates of this generation.
    pub(crate) fn is_gathering(&self) -> bool {
        self.core.is_open()
    }

    /// Whether the mapping of a server-reflexive candidate is still needed. [rfc8445-5.1.1.4-1]
    pub(crate) fn needs_mappings(&self) -> bool {
        match self.state {
            AgentState::Closed | AgentState::Failed => false,
            AgentState::Completed => self.session.free_at.is_some(),
            AgentState::New
            | AgentState::Checking
            | AgentState::Connected
            | AgentState::Disconnected => true,
        }
    }

    /// Takes a remote candidate of the current generation, from the moment on that the peer's
    /// description was applied. [rfc8838-15-1] [rfc8840-4.1.2-1]
    pub(crate) fn add_remote_candidate(
        &mut self,
        cx: &mut Context<'_>,
        stream: u16,
        ufrag: Option<&str>,
        candidate: &Candidate,
    ) -> Result<(), CandidateRejected> {
        self.take_candidate(cx, stream, ufrag, candidate, None)
    }

    /// Takes a candidate; `resolved` is what its name stands for.
    fn take_candidate(
        &mut self,
        cx: &mut Context<'_>,
        stream: u16,
        ufrag: Option<&str>,
        candidate: &Candidate,
        resolved: Option<IpAddr>,
    ) -> Result<(), CandidateRejected> {
        let config = Arc::clone(&self.core.config);
        if !self.session.has_stream(stream) {
            return Err(CandidateRejected::UnknownStream);
        }
        if candidate.component == 0 || candidate.component > 256 {
            return Err(CandidateRejected::UnknownComponent);
        }
        let Session { streams, foundations, .. } = &mut self.session;
        let remote = streams.get_mut(usize::from(stream)).and_then(|known| known.remote.as_mut());
        let remote = remote.ok_or(CandidateRejected::UnknownGeneration)?;
        let ufrag = candidate.ufrag().or(ufrag);
        if ufrag.is_some_and(|ufrag| *ufrag != *remote.ufrag) {
            return Err(CandidateRejected::UnknownGeneration);
        }
        if remote.ended && resolved.is_none() {
            return Err(CandidateRejected::AfterEndOfCandidates);
        }
        let added = remote.add(stream, candidate, resolved, &config, foundations)?;
        self.pair_added(cx, added);
        self.settle(cx);
        Ok(())
    }

    /// The peer has no more candidates for a stream, or for all of them. Who says this
    /// without the generation may mean the one before. [rfc8838-13-1]
    pub(crate) fn end_of_remote_candidates(
        &mut self,
        cx: &mut Context<'_>,
        stream: Option<u16>,
        ufrag: Option<&str>,
    ) -> Result<(), CandidateRejected> {
        if stream.is_some_and(|stream| !self.session.has_stream(stream)) {
            return Err(CandidateRejected::UnknownStream);
        }
        let is_first = self.core.generation == Generation(0);
        let mut found = false;
        for (index, known) in self.session.streams.iter_mut().enumerate() {
            if stream.is_some_and(|stream| usize::from(stream) != index) {
                continue;
            }
            let Some(remote) = &mut known.remote else { continue };
            if ufrag.map_or(is_first, |ufrag| *ufrag == *remote.ufrag) {
                remote.ended = true;
                remote.complete = true;
                found = true;
            }
        }
        self.settle(cx);
        if found { Ok(()) } else { Err(CandidateRejected::UnknownGeneration) }
    }

    /// The key that a check with this ufrag of ours is verified and answered with.
    /// [rfc8445-7.3-2] [rfc8445-7.3-3]
    pub(crate) fn key(&self, generation: Generation) -> Option<&IntegrityKey> {
        self.sessions()
            .find(|session| session.generation == generation)
            .map(|session| &session.local.key)
    }

    /// The generation that a ufrag of ours belongs to. [rfc8445-7.3-4]
    pub(crate) fn generation_of(&self, ufrag: &[u8]) -> Option<Generation> {
        self.sessions()
            .find(|session| session.local.ufrag.as_bytes() == ufrag)
            .map(|session| session.generation)
    }

    /// Our ufrag.
    pub(crate) fn ufrag(&self) -> &str {
        &self.session.local.ufrag
    }

    /// The peer's ufrag for a stream.
    pub(crate) fn remote_ufrag(&self, stream: u16) -> Option<&str> {
        Some(&self.session.remote_stream(stream)?.ufrag)
    }

    /// Draws other credentials: those of a new agent that another one has already.
    pub(crate) fn redraw_credentials(&mut self, seed: &Seed) {
        let credentials = self.core.new_credentials(seed);
        self.session.local = session::LocalCredentials::new(&credentials);
    }

    fn sessions(&self) -> impl Iterator<Item = &Session> {
        core::iter::once(&self.session).chain(self.previous.as_deref())
    }

    /// Takes a check that changes nothing, as most do once all is connected; false if it is another
    /// one, and nothing was done.
    pub(crate) fn take_steady_request(
        &mut self,
        now: Instant,
        generation: Generation,
        base: BaseId,
        from: SocketAddr,
        ufrag: &[u8],
        message: &Authenticated<'_>,
    ) -> bool {
        self.state == AgentState::Completed
            && self.session.generation == generation
            && self.session.take_steady_request(&self.core, now, base, from, ufrag, message)
    }

    /// Takes an authenticated check of the peer's.
    pub(crate) fn handle_request(
        &mut self,
        cx: &mut Context<'_>,
        generation: Generation,
        base: BaseId,
        from: SocketAddr,
        ufrag: &[u8],
        message: &Authenticated<'_>,
    ) -> Answer {
        let session = match &mut self.previous {
            Some(previous) if previous.generation == generation => previous,
            _ if self.session.generation == generation => &mut self.session,
            _ => return Answer::Drop(DropReason::WrongGeneration),
        };
        let answer = session.handle_request(&mut self.core, cx, base, from, ufrag, message);
        self.settle(cx);
        answer
    }

    /// Takes the answer to a check.
    pub(crate) fn handle_response(
        &mut self,
        cx: &mut Context<'_>,
        base: BaseId,
        from: SocketAddr,
        message: &Message<'_>,
    ) -> Result<(), DropReason> {
        let current = self.session.has_check(message.transaction_id());
        let session = match &mut self.previous {
            Some(previous) if !current => previous,
            _ => &mut self.session,
        };
        let outcome = session.handle_response(&mut self.core, cx, base, from, message);
        self.settle(cx);
        outcome
    }

    /// The network said that `to` cannot be reached.
    pub(crate) fn handle_unreachable(&mut self, base: BaseId, to: SocketAddr) {
        self.session.handle_unreachable(base, to);
    }

    /// Does what the passing of time demands, packets excepted.
    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        self.session.check_timeouts(&mut self.core, cx);
        self.watch_flows(cx.now);
        self.consent_timeouts(cx);
        self.ring(cx);
        if self.session.next_seek <= cx.now {
            self.session.seek_direct(&self.core, cx.now);
        }
        if self.session.free_at.is_some_and(|at| cx.now >= at) {
            self.session.free_at = None;
            self.session.free_unselected(&mut self.core);
            self.core.forgot = true;
        }
        if let Some(previous) = &mut self.previous {
            previous.check_timeouts(&mut self.core, cx);
            let over = self.previous_until.is_some_and(|until| cx.now >= until);
            if over || !previous.carries_data(&self.core, cx.now) {
                self.drop_previous();
            }
        }
        self.settle(cx);
    }

    /// Judges the consent of all pairs that have it.
    fn consent_timeouts(&mut self, cx: &mut Context<'_>) {
        if self.core.is_lite() {
            return;
        }
        let mode = self.core.config.consent;
        let sessions = core::iter::once(&mut self.session).chain(self.previous.as_deref_mut());
        for session in sessions {
            for place in 0..session.pairs.places() {
                let due = session.pairs.at(place).filter(|(_, pair)| {
                    pair.valid.as_ref().is_some_and(|valid| {
                        cx.now >= valid.consent.deadline(mode) || !valid.consent.is_fresh(cx.now)
                    })
                });
                let Some((id, _)) = due else { continue };
                judge_consent(session, id, &mut self.core, cx);
            }
        }
    }

    /// Encodes the next packet that is due.
    pub(crate) fn poll_transmit(
        &mut self,
        cx: &mut Context<'_>,
        may_start: bool,
        buf: &mut [u8],
    ) -> Option<Outgoing> {
        if let Some(previous) = &mut self.previous
            && let Some(outgoing) = previous.poll_transmit(&mut self.core, cx, false, buf)
        {
            return Some(outgoing);
        }
        loop {
            let outgoing = self.session.poll_transmit(&mut self.core, cx, may_start, buf);
            let refused = core::mem::take(&mut self.session.refused);
            if refused {
                self.settle(cx);
            }
            if outgoing.is_some() || !refused {
                return outgoing;
            }
        }
    }

    /// Whether a packet other than a new check is due.
    pub(crate) fn has_due(&self, now: Instant) -> bool {
        self.session.has_due(&self.core, now)
            || self.previous.as_ref().is_some_and(|previous| previous.has_due(&self.core, now))
    }

    /// Whether a new check is to start as soon as the endpoint's pacer allows.
    pub(crate) fn wants_start(&self, now: Instant) -> bool {
        self.session.wants_start(&self.core, now)
    }

    /// When something is due; `paced` leaves out new checks, which wait for the pacer.
    pub(crate) fn deadline(&self, paced: bool) -> Option<Instant> {
        let mut deadline = self.session.check_deadline(&self.core, paced);
        deadline = earlier(deadline, self.session.nomination_deadline(&self.core));
        let flows = self.session.components.iter().map(|component| component.flow.due()).min();
        let watch = flows.unwrap_or(Instant::MAX).min(self.session.next_seek);
        deadline = earlier(deadline, Some(watch).filter(|at| *at < Instant::MAX));
        if let Some(previous) = &self.previous {
            deadline = earlier(deadline, previous.check_deadline(&self.core, true));
            deadline = earlier(deadline, self.previous_until);
        }
        self.with_alarm(deadline)
    }

    /// Draws the conclusions of whatever happened: nominations, failures, what the application is
    /// told.
    fn settle(&mut self, cx: &mut Context<'_>) {
        if self.state == AgentState::Closed {
            return;
        }
        self.session.keep_reserves(&mut self.core, cx.now);
        for component in &mut self.session.components {
            let serves = |previous: &Session| previous.serves(component.id, &self.core, cx.now);
            component.relieved = self.previous.as_deref().is_some_and(serves);
        }
        self.session.consider_nominations(&mut self.core, cx);
        self.session.judge_checklists(&self.core, cx);
        self.retire_previous(cx);
        self.report_sendable(cx);
        let state = self.compute_state(cx.now);
        if state != self.state {
            self.state = state;
            tracing::info!(?state, "state");
            cx.events.push_back(Event::State { agent: cx.id, state });
        }
        self.consider_restart(cx);
    }

    /// [rfc8445-6.1.3-p1] [rfc8445-8.1.2-4]
    fn compute_state(&self, now: Instant) -> AgentState {
        let session = &self.session;
        if !session.is_started() && self.previous.is_none() {
            let restarted = self.core.generation > Generation(0);
            return if restarted { AgentState::Disconnected } else { AgentState::New };
        }
        let wanted = || session.components.iter().filter(|c| session.is_wanted(c.id));
        let renewed = |component: ComponentId| {
            let pair = self.sending_pair(component, now);
            pair.is_some_and(|(generation, _)| generation == session.generation)
        };
        let troubled = |component: ComponentId| {
            session.is_stranded(component, now)
                || self.previous.as_ref().is_some_and(|old| old.is_troubled(component))
                    && !renewed(component)
        };
        let mut lists = session.streams.iter().map(|stream| stream.checklist.state);
        if lists.all(|state| matches!(state, ChecklistState::Failed | ChecklistState::Removed)) {
            return AgentState::Failed;
        }
        if wanted().any(|component| troubled(component.id)) {
            return AgentState::Disconnected;
        }
        let agreed = session.lite_choice != LiteChoice::Open;
        if agreed && wanted().all(|component| component.selected.is_some()) {
            return AgentState::Completed;
        }
        if wanted().all(|component| self.sending_pair(component.id, now).is_some()) {
            return AgentState::Connected;
        }
        AgentState::Checking
    }

    /// Closes: nothing is sent, accepted or timed any more. [rfc8445-11-8]
    pub(crate) fn close(&mut self, cx: &mut Context<'_>) {
        self.session.close(&mut self.core);
        self.drop_previous();
        self.state = AgentState::Closed;
        self.alarm = None;
        cx.events.push_back(Event::State { agent: cx.id, state: AgentState::Closed });
    }

    pub(crate) fn state(&self) -> AgentState {
        self.state
    }

    pub(crate) fn config(&self) -> &AgentConfig {
        &self.core.config
    }

    pub(crate) fn has_component(&self, component: ComponentId) -> bool {
        self.session.component(component).is_some()
    }

    pub(crate) fn role(&self) -> Role {
        self.core.role
    }

    /// Takes the transactions that ended since the last call.
    pub(crate) fn take_ended(&mut self) -> Option<TransactionId> {
        self.core.ended.pop()
    }

    /// Takes the changes of our ufrags since the last call.
    pub(crate) fn take_ufrag_change(&mut self) -> Option<UfragChange> {
        self.core.ufrags.pop()
    }

    /// Whether a new generation began since the last call, whose candidates are to be gathered.
    pub(crate) fn take_regather(&mut self) -> bool {
        core::mem::take(&mut self.core.regather)
    }

    /// Whether remote addresses were forgotten since the last call.
    pub(crate) fn take_forgot(&mut self) -> bool {
        core::mem::take(&mut self.core.forgot)
    }

    /// Whether packets from `address` at `base` are still the agent's.
    pub(crate) fn knows(&self, base: BaseId, address: SocketAddr) -> bool {
        self.session.knows(&self.core, base, address)
            || self
                .previous
                .as_ref()
                .is_some_and(|previous| previous.knows(&self.core, base, address))
    }

    /// The component that a base serves.
    pub(crate) fn component_of(&self, base: BaseId) -> Option<ComponentId> {
        self.core.local.base(base).map(|base| base.component)
    }
}

/// Judges the consent of one pair. When the call is late, several steps are due at once.
fn judge_consent(session: &mut Session, id: PairId, core: &mut Core, cx: &mut Context<'_>) {
    let mode = core.config.consent;
    loop {
        let Some(pair) = session.pairs.get_mut(id) else { return };
        let component = pair.component;
        let heard = pair.counters.last_packet_received;
        let Some(valid) = &mut pair.valid else { return };
        let step = valid.consent.handle_timeout(cx.now, mode, heard);
        let selected = session.component(component).is_some_and(|c| c.selected == Some(id));
        // One that a pair over a relay stands in for.
        let missed = selected || session.is_missed(id, core);
        match step {
            ConsentStep::Fresh => return,
            ConsentStep::Deaf => session.doubt(id, core),
            ConsentStep::Silent => {
                session.trace(id, core, "pair does not answer");
                session.doubt(id, core);
                if selected {
                    session.reopen(component, core);
                }
            }
            ConsentStep::StillSilent => {
                let relieved = session.stand_in(component, cx.now).is_some();
                if selected && !relieved && !session.retired {
                    cx.recommend_restart(RestartReason::Silent);
                }
            }
            ConsentStep::RestartAdvised => {
                if missed && !session.retired {
                    cx.recommend_restart(RestartReason::ConsentExpiring);
                }
            }
            ConsentStep::Expired if !session.asks_consent(id, core) => {
                session.remove_pair(id, core);
                return;
            }
            ConsentStep::Expired => {
                session.lose_consent(id, core, cx);
                return;
            }
        }
    }
}
