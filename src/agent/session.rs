//! One generation of an agent: from one pair of credentials to the next restart.

use core::time::Duration;
use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::candidate::{Credentials, Secret};
use crate::config::Role;
use crate::event::{PairFailure, RestartReason};
use crate::net::ComponentId;
use crate::stun::{ClientTransaction, IntegrityKey, TransactionId};
use crate::time::Instant;

use super::backup::Reserves;
use super::consent::Flow;
use super::lite::LiteChoice;
use super::local::BaseId;
use super::pair::{Nominated, Pair, PairId, PairState, Pairs};
use super::remote::{Foundations, RemoteCandidate, RemoteId, RemoteStream};
use super::{Context, Core, Generation};

/// Our own credentials in one generation. [rfc8445-5.3-6] [rfc8839-5.4-3]
#[derive(Clone, Debug)]
pub(super) struct LocalCredentials {
    pub(super) ufrag: Box<str>,
    pub(super) password: Secret,
    pub(super) key: IntegrityKey,
}

impl LocalCredentials {
    pub(super) fn new(credentials: &Credentials) -> Self {
        Self {
            ufrag: credentials.ufrag.as_str().into(),
            password: Secret(credentials.password.as_str().into()),
            key: IntegrityKey::short_term(credentials.password.as_bytes()),
        }
    }
}

/// The state of a checklist. [rfc8445-6.1.2.1-p1]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChecklistState {
    Running,
    Completed,
    Failed,
    /// The stream was removed, and its components with it.
    Removed,
}

/// The pairs of one data stream that are checked. [RFC 8445 §6.1.2]
#[derive(Clone, Debug)]
pub(super) struct Checklist {
    pub(super) state: ChecklistState,
    /// Best first.
    pub(super) order: Vec<PairId>,
    /// [rfc8445-6.1.4.1-p1]
    pub(super) triggered: VecDeque<PairId>,
    /// Pairs whose last check had no answer yet, and that are to be checked again.
    pub(super) retries: VecDeque<PairId>,
    /// The last check that nobody triggered was of that kind.
    pub(super) again_last: bool,
}

/// A data stream: the peer's end, and the checklist.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) remote: Option<RemoteStream>,
    pub(super) checklist: Checklist,
}

/// What a component has reached.
#[derive(Clone, Debug)]
pub(super) struct Component {
    pub(super) id: ComponentId,
    pub(super) selected: Option<PairId>,
    pub(super) selected_since: Instant,
    /// The valid pairs that stand in when the selected one goes silent.
    pub(super) reserves: Reserves,
    /// The pair that our nominating check is about.
    pub(super) nominating: Option<PairId>,
    pub(super) nominating_since: Instant,
    /// How often that nomination was made anew.
    pub(super) anew: u8,
    /// Whether any pair was nominated in this generation, answered or not.
    pub(super) tried: bool,
    /// The peer may have followed a nomination that was given up, or missed the one that counts:
    /// what is selected is nominated again.
    pub(super) nomination_open: bool,
    /// A pair was nominated in this generation. Where renomination is not known to both sides,
    /// that was the last one. [rfc8445-8.1.1-3]
    pub(super) concluded: bool,
    /// The nomination that was followed: the one of the greatest value, if it had any.
    pub(super) newest: Option<Nominated>,
    /// What comes over the selected pair.
    pub(super) flow: Flow,
    /// Whether the application was told that it can send.
    pub(super) sendable: bool,
    /// It could, and cannot any more.
    pub(super) lost: bool,
    /// The generation before serves as well until there is a pair.
    pub(super) relieved: bool,
    /// The others have their pairs, and it needs none in this generation, unless it gets one all
    /// the same.
    pub(super) left_out: bool,
}

/// Why a check was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CheckKind {
    /// To learn whether the pair works.
    Connectivity,
    /// To nominate it, with the value of the renomination extension if that is in use.
    Nomination(Option<u32>),
    /// To keep the peer's consent.
    Consent,
    /// To see whether a pair whose consent answer is missing still works.
    Verification,
}

/// A check that may still be answered.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) id: TransactionId,
    pub(super) pair: PairId,
    pub(super) kind: CheckKind,
    pub(super) timing: ClientTransaction,
    /// When a fresh transaction follows this one.
    pub(super) retry_at: Option<Instant>,
    /// It is due for sending again.
    pub(super) resend: bool,
    /// The role that it claims: what a 487 refers to. [rfc8445-7.2.5.1-1]
    pub(super) role: Role,
    pub(super) tie_breaker: u64,
    pub(super) base: BaseId,
    pub(super) to: SocketAddr,
    pub(super) priority: u32,
    /// An answer came whose integrity was wrong.
    pub(super) refused: Option<PairFailure>,
}

/// A check that came before the peer's credentials. [rfc8445-7.3-6]
#[derive(Clone, Debug)]
pub(super) struct EarlyCheck {
    pub(super) base: BaseId,
    pub(super) from: SocketAddr,
    pub(super) priority: u32,
    pub(super) ufrag: Box<[u8]>,
    /// When it came first.
    pub(super) since: Instant,
    pub(super) nominated: Option<Nominated>,
    pub(super) answered: bool,
}

/// One generation. [RFC 8445 §9]
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) generation: Generation,
    pub(super) local: LocalCredentials,
    pub(super) streams: Vec<Stream>,
    pub(super) foundations: Foundations,
    pub(super) components: Vec<Component>,
    pub(super) pairs: Pairs,
    pub(super) checks: Vec<Check>,
    pub(super) early: Vec<EarlyCheck>,
    /// When the PAC timer ends; `None` before the peer's description came.
    pub(super) patience_until: Option<Instant>,
    /// Whether it has ended. [rfc8863-4-4]
    pub(super) patience_over: bool,
    /// When Ta allows the next check.
    pub(super) next_check: Instant,
    /// The pair whose queued check does not wait for that.
    pub(super) hurried: Option<PairId>,
    /// The checklist whose turn it is. [rfc8445-6.1.4.2-p1]
    pub(super) turn: usize,
    /// The Ta in force. [rfc8445-14.2-3]
    pub(super) ta: Duration,
    /// Whether both sides offered renomination.
    pub(super) renomination: bool,
    /// Whether the peer nominates one pair after another, as those do that know RFC 8445, and not
    /// every pair at once.
    pub(super) remote_regular: bool,
    /// How many checks came that nominate.
    pub(super) nominations_heard: u64,
    pub(super) remote_lite: bool,
    /// Since when the peer checks us in its generation of now, and so has our credentials.
    pub(super) known_to_peer: Option<Instant>,
    pub(super) lite_choice: LiteChoice,
    pub(super) nominations: u32,
    pub(super) unverified_packets: u16,
    pub(super) unverified_octets: u32,
    /// When unselected pairs are freed. [rfc8445-8.3.1-1]
    pub(super) free_at: Option<Instant>,
    /// When direct pairs are tried again while one over a relay is selected.
    pub(super) next_seek: Instant,
    /// How often they were.
    pub(super) sought: u8,
    /// A pair failed when its check was to be sent.
    pub(super) refused: bool,
    /// A newer generation has taken over; only the selected pairs live on.
    pub(super) retired: bool,
    /// Whether there are pairs over relays that the endpoint has not asked for.
    pub(super) new_relayed: bool,
}

impl Session {
    pub(super) fn new(core: &Core, credentials: &Credentials, now: Instant) -> Self {
        let mut components = Vec::new();
        // From 1 on, each one more than the last. [rfc8839-5.1-3a] [rfc8839-5.1-3b]
        for (stream, count) in core.config.streams.iter().enumerate() {
            for number in 1..=*count {
                let stream = u16::try_from(stream).unwrap_or(u16::MAX);
                let Some(id) = ComponentId::new(stream, number) else { break };
                components.push(Component {
                    id,
                    selected: None,
                    reserves: Reserves::default(),
                    selected_since: now,
                    nominating: None,
                    nominating_since: now,
                    anew: 0,
                    tried: false,
                    nomination_open: false,
                    concluded: false,
                    newest: None,
                    flow: Flow::default(),
                    sendable: false,
                    lost: false,
                    relieved: false,
                    left_out: false,
                });
            }
        }
        let checklist = Checklist {
            state: ChecklistState::Running,
            order: Vec::new(),
            triggered: VecDeque::new(),
            retries: VecDeque::new(),
            again_last: false,
        };
        let stream = Stream { remote: None, checklist };
        Self {
            generation: core.generation,
            local: LocalCredentials::new(credentials),
            streams: vec![stream; core.config.streams.len()],
            foundations: Foundations::default(),
            components,
            pairs: Pairs::default(),
            checks: Vec::new(),
            early: Vec::new(),
            patience_until: None,
            patience_over: false,
            next_check: now,
            hurried: None,
            turn: 0,
            ta: super::TA_DEFAULT,
            renomination: false,
            remote_regular: false,
            nominations_heard: 0,
            remote_lite: false,
            known_to_peer: None,
            lite_choice: LiteChoice::default(),
            nominations: 0,
            unverified_packets: 0,
            unverified_octets: 0,
            free_at: None,
            next_seek: Instant::MAX,
            sought: 0,
            refused: false,
            retired: false,
            new_relayed: false,
        }
    }

    pub(super) fn component(&self, id: ComponentId) -> Option<&Component> {
        self.components.iter().find(|component| component.id == id)
    }

    pub(super) fn component_mut(&mut self, id: ComponentId) -> Option<&mut Component> {
        self.components.iter_mut().find(|component| component.id == id)
    }

    pub(super) fn remote_stream(&self, stream: u16) -> Option<&RemoteStream> {
        self.streams.get(usize::from(stream))?.remote.as_ref()
    }

    pub(super) fn remote_stream_mut(&mut self, stream: u16) -> Option<&mut RemoteStream> {
        self.streams.get_mut(usize::from(stream))?.remote.as_mut()
    }

    pub(super) fn remote(&self, id: RemoteId) -> Option<&RemoteCandidate> {
        self.remote_stream(id.stream)?.get(id)
    }

    pub(super) fn checklist_mut(&mut self, stream: u16) -> Option<&mut Checklist> {
        self.streams.get_mut(usize::from(stream)).map(|stream| &mut stream.checklist)
    }

    /// Whether the peer's description is known.
    pub(super) fn is_started(&self) -> bool {
        self.patience_until.is_some()
    }

    /// The valid pairs of a component.
    pub(super) fn valid_pairs(
        &self,
        component: ComponentId,
    ) -> impl Iterator<Item = (PairId, &Pair)> {
        self.pairs
            .iter()
            .filter(move |(_, pair)| pair.component == component && pair.valid.is_some())
    }

    /// Whether a component may use, or nominate, another pair than the one it selected.
    /// [rfc8445-8.1.1-3] [rfc8445-12.1-2]
    pub(super) fn may_choose(&self, component: &Component) -> bool {
        self.renomination || !component.concluded
    }

    /// Whether a component has no pair, and only new checks could give it one.
    pub(super) fn lacks_pair(&self, component: &Component) -> bool {
        component.selected.is_none()
            && (!self.may_choose(component) || self.valid_pairs(component.id).next().is_none())
    }

    pub(super) fn is_selected(&self, id: PairId) -> bool {
        self.components.iter().any(|component| component.selected == Some(id))
    }

    /// Whether consent is kept up for the pair: it carries data, or may soon.
    /// [rfc8445-11-p1]
    pub(super) fn wants_consent(&self, id: PairId, pair: &Pair, core: &Core) -> bool {
        pair.valid.is_some()
            && self.component(pair.component).is_some_and(|component| {
                component.selected.is_none_or(|selected| selected == id)
                    || component.nominating == Some(id)
                    || component.reserves.contains(&Some(id))
                    || self.is_missed(id, core)
            })
    }

    /// Whether a pair that is not in use was found to work so long ago that it has to show it anew.
    pub(super) fn is_stale(&self, id: PairId, now: Instant) -> bool {
        let valid = self.pairs.get(id).and_then(|pair| pair.valid.as_ref());
        !self.is_selected(id) && valid.is_some_and(|valid| valid.consent.is_expiring(now))
    }

    /// Whether consent was asked for on a pair, so that it can be lost: who sends nothing there
    /// need not ask, and may do so later. [rfc7675-5.1-12]
    pub(super) fn asks_consent(&self, id: PairId, core: &Core) -> bool {
        self.pairs.get(id).is_some_and(|pair| {
            let asked =
                pair.valid.as_ref().is_some_and(|valid| valid.consent.unanswered().is_some());
            asked || self.wants_consent(id, pair, core)
        })
    }

    /// Fails a pair: it is not valid any more, whatever nominated it, and its checks end. Others of
    /// its foundation stay as they are; the checklist is judged by what is left.
    /// [rfc8445-7.2.5.2-p1] [rfc8445-7.2.5.3.4-1] [rfc8445-7.2.5.3.4-2] [rfc8445-7.3.1.5-1]
    pub(super) fn fail_pair(&mut self, id: PairId, reason: PairFailure, core: &mut Core) {
        self.cancel_checks(id, core);
        self.give_up_pair(id, reason);
    }

    /// The same, but its checks that are under way may still be answered.
    pub(super) fn give_up_pair(&mut self, id: PairId, reason: PairFailure) {
        if let Some(pair) = self.pairs.get_mut(id) {
            pair.state = PairState::Failed(reason);
            pair.valid = None;
            // A peer that selected it does not say so again: that counts if it ever answers.
            let silent = match reason {
                PairFailure::Timeout | PairFailure::Unreachable | PairFailure::Budget => true,
                PairFailure::Asymmetric
                | PairFailure::Refused(_)
                | PairFailure::Integrity
                | PairFailure::ConsentLost
                | PairFailure::RelayRefused(_) => false,
            };
            pair.nomination_pending = pair.nomination_pending.filter(|_| silent);
        }
        self.unqueue(id);
        self.give_up_nomination(id);
        for component in &mut self.components {
            if component.selected == Some(id) {
                component.selected = None;
            }
        }
    }

    /// The consent of a pair has expired, and what worked is not to be had again in this generation:
    /// a restart is better than to wait for the checks of other pairs. A controlled side cannot even
    /// choose another one that works, and the controlling one may not have noticed: it answers, and
    /// is answered. Where there is no other the checklist fails. [rfc7675-5.1-8] [rfc7675-5.1-13]
    pub(super) fn lose_consent(&mut self, id: PairId, core: &mut Core, cx: &mut Context<'_>) {
        let Some(component) = self.pairs.get(id).map(|pair| pair.component) else { return };
        let lacks = |session: &Self| {
            session.component(component).is_some_and(|known| session.lacks_pair(known))
        };
        let stranded = self.is_selected(id) && core.role == Role::Controlled;
        let lacked = lacks(self);
        self.fail_pair(id, PairFailure::ConsentLost, core);
        self.trace(id, core, "consent expired");
        let others = self.pairs.iter().any(|(_, pair)| {
            pair.component.stream() == component.stream()
                && (pair.state.is_open() || pair.triggered || pair.valid.is_some())
        });
        if others && !self.retired && (stranded || !lacked && lacks(self)) {
            cx.recommend_restart(RestartReason::Failed);
        }
    }

    /// A pair that we are nominating is no pair to select any more.
    fn give_up_nomination(&mut self, id: PairId) {
        for component in self.components.iter_mut().filter(|known| known.nominating == Some(id)) {
            component.nominating = None;
            component.nomination_open = component.selected.is_some_and(|selected| selected != id);
        }
    }

    /// Takes a pair out of the triggered-check queue.
    pub(super) fn unqueue(&mut self, id: PairId) {
        self.hurried = self.hurried.filter(|hurried| *hurried != id);
        let Some(pair) = self.pairs.get_mut(id) else { return };
        pair.triggered = false;
        let stream = pair.component.stream();
        if let Some(checklist) = self.checklist_mut(stream) {
            checklist.triggered.retain(|queued| *queued != id);
            checklist.retries.retain(|queued| *queued != id);
        }
    }

    /// Ends all checks of a pair: late answers will be unknown.
    pub(super) fn cancel_checks(&mut self, id: PairId, core: &mut Core) {
        self.end_checks(core, |check| check.pair == id);
    }

    /// The same where another pair was selected: one that nominated it for good may still be answered.
    pub(super) fn cancel_others(&mut self, id: PairId, core: &mut Core) {
        let once = !self.renomination;
        let kept = |check: &Check| once && matches!(check.kind, CheckKind::Nomination(_));
        self.end_checks(core, |check| check.pair == id && !kept(check));
    }

    pub(super) fn end_checks(&mut self, core: &mut Core, ends: impl Fn(&Check) -> bool) {
        core.ended.extend(self.checks.extract_if(.., |check| ends(check)).map(|check| check.id));
    }

    /// Ends everything. [rfc8445-11-7] [rfc8445-11-8]
    pub(super) fn close(&mut self, core: &mut Core) {
        core.ended.extend(self.checks.drain(..).map(|check| check.id));
        self.pairs = Pairs::default();
        self.early = Vec::new();
        for stream in &mut self.streams {
            stream.remote = None;
            stream.checklist.order = Vec::new();
            stream.checklist.triggered = VecDeque::new();
            stream.checklist.retries = VecDeque::new();
        }
        for component in &mut self.components {
            component.selected = None;
            component.reserves = Reserves::default();
            component.nominating = None;
        }
    }

    /// Whether packets from `address` at `base` belong to this generation.
    pub(super) fn knows(&self, core: &Core, base: BaseId, address: SocketAddr) -> bool {
        let usable = core.local.base(base).filter(|base| base.usable);
        let Some(component) = usable.map(|base| base.component) else { return false };
        let early = self.early.iter().any(|check| check.base == base && check.from == address);
        early
            || self.remote_stream(component.stream()).is_some_and(|remote| {
                remote.find(component.stream(), component.number(), address).is_some()
            })
    }

    /// Frees what a completed generation no longer needs: all pairs but the selected ones and what
    /// is kept beside them.
    /// [rfc8445-8.3.1-1] [rfc8445-8.3.2-p1]
    pub(super) fn free_unselected(&mut self, core: &mut Core) {
        // Consent that was lost is remembered: it is not regained in this generation.
        // [rfc7675-5.1-13]
        let lost = |id| {
            let state = self.pairs.get(id).map(|pair| pair.state);
            !self.retired && state == Some(PairState::Failed(PairFailure::ConsentLost))
        };
        // One that the peer nominated is selected as soon as it works.
        let pending = |id| {
            let nominated = self.pairs.get(id).and_then(|pair| pair.nomination_pending);
            !self.retired && nominated.is_some()
        };
        // Another component may still look for one.
        let sought = |id| !self.retired && self.is_sought(id);
        let needed = |id| {
            let of_component = self.is_selected(id) || self.is_kept(id, core);
            of_component || lost(id) || pending(id) || sought(id)
        };
        let unselected: Vec<PairId> =
            self.pairs.iter().map(|(id, _)| id).filter(|id| !needed(*id)).collect();
        for id in unselected {
            self.remove_pair(id, core);
        }
        self.forget_unpaired();
        self.pairs.shrink();
        self.checks.shrink_to(1);
        self.early = Vec::new();
        for stream in &mut self.streams {
            stream.checklist.order.shrink_to_fit();
            stream.checklist.triggered.shrink_to_fit();
            stream.checklist.retries.shrink_to_fit();
            if let Some(remote) = &mut stream.remote {
                remote.shrink();
            }
        }
        self.foundations.shrink();
        core.local.shrink();
        core.ended.shrink_to(2);
    }

    /// Whether the component of a pair still looks for one, or nominates this one.
    fn is_sought(&self, id: PairId) -> bool {
        let component = self.pairs.get(id).and_then(|pair| self.component(pair.component));
        let Some(component) = component else { return false };
        let stream = self.streams.get(usize::from(component.id.stream()));
        let running = |stream: &Stream| stream.checklist.state == ChecklistState::Running;
        component.nominating == Some(id)
            || stream.is_some_and(running) && self.is_seeking(component)
    }

    /// Forgets the addresses of the peer's that checks alone told of and that no pair has any more:
    /// a NAT gave it those for others of ours.
    fn forget_unpaired(&mut self) {
        let Self { streams, pairs, .. } = self;
        for (stream, known) in streams.iter_mut().enumerate() {
            let (Ok(stream), Some(remote)) = (u16::try_from(stream), &mut known.remote) else {
                continue;
            };
            remote.forget(stream, |id| !pairs.iter().any(|(_, pair)| pair.remote == id));
        }
    }

    /// Removes a pair and everything that refers to it.
    pub(super) fn remove_pair(&mut self, id: PairId, core: &mut Core) {
        self.unqueue(id);
        self.cancel_checks(id, core);
        self.give_up_nomination(id);
        let Some(pair) = self.pairs.remove(id) else { return };
        if let Some(checklist) = self.checklist_mut(pair.component.stream()) {
            checklist.order.retain(|known| *known != id);
        }
    }

    /// Reduces the generation to its selected pairs, which go on carrying data with consent until
    /// the next generation has its own. [rfc8445-9-p1] [rfc7675-5.1-10] [rfc8839-4.4.3.1.1-1]
    /// [rfc8839-4.4.3.2-2]
    pub(super) fn retire(&mut self, core: &mut Core) {
        self.retired = true;
        self.free_at = None;
        self.next_seek = Instant::MAX;
        for component in &mut self.components {
            component.reserves = Reserves::default();
        }
        self.free_unselected(core);
        for stream in &mut self.streams {
            stream.checklist.triggered.clear();
            stream.checklist.retries.clear();
            stream.checklist.order.clear();
        }
        for component in &mut self.components {
            component.nominating = None;
        }
        for (_, pair) in self.pairs.iter_mut() {
            pair.triggered = false;
        }
    }

    /// Whether some component has a selected pair with fresh consent; a lite agent asks for none.
    /// [rfc8839-4.4.3.2-2]
    pub(super) fn carries_data(&self, core: &Core, now: Instant) -> bool {
        self.components.iter().any(|component| self.has_way(component.id, core, now))
    }

    /// Whether the peer consents to data over the selected pair of a component.
    pub(super) fn has_way(&self, component: ComponentId, core: &Core, now: Instant) -> bool {
        self.component(component)
            .and_then(|component| self.pairs.get(component.selected?))
            .and_then(|pair| pair.valid.as_ref())
            .is_some_and(|valid| core.is_lite() || valid.consent.is_fresh(now))
    }

    /// Logs a change of a pair at DEBUG.
    pub(super) fn trace(&self, id: PairId, core: &Core, what: &str) {
        let Some(pair) = self.pairs.get(id) else { return };
        let (Some(base), Some(remote)) = (core.local.base(pair.base), self.remote(pair.remote))
        else {
            return;
        };
        let show = core.config.log_addresses;
        let local = crate::net::Redacted { address: base.address, show };
        let remote = crate::net::Redacted { address: remote.address, show };
        tracing::debug!(component = %pair.component, %local, %remote, "{what}");
    }
}
