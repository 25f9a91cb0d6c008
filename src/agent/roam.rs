//! Bases that come and go during a session, and restarts that help then.
//! [RFC 8445 §5.1.1.4] [RFC 8838 §13]

use core::time::Duration;
use std::net::SocketAddr;

use crate::candidate::CandidateKind;
use crate::config::{CandidatePolicy, ConsentMode, Gathering, Trickle};
use crate::event::{AgentState, RestartReason};
use crate::net::ComponentId;
use crate::time::{Instant, earlier};

use super::local::{BaseConfig, BaseId};
use super::pair::PairId;
use super::session::Session;
use super::{Agent, Context, Core};

/// How many bases may go in one generation and still have their successors trickled: the peer
/// cannot forget candidates, and takes 8 of one address.
const TURNOVER: u8 = 6;
/// How long the answer to a restart of ours is waited for first; each time twice as long.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// How often the missing answer is told of.
const REMINDERS: u8 = 5;
/// How long the pairs in use have to answer after the network changed: two checks.
const PROBE_WAIT: Duration = Duration::from_millis(700);

/// How long other pairs are checked when the base of the one in use is gone, besides two of its
/// round trips.
const SEARCH_WAIT: Duration = Duration::from_millis(100);

/// What time will tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alarm {
    /// Whether the peer answers our restart.
    Answer(Instant),
    /// Whether the pairs in use answer after a change of the network.
    Probe(Instant),
    /// Whether another pair is found in the place of one whose base is gone.
    Lost(Instant),
}

/// Something about a base that the endpoint follows up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// A relay: nothing is heard of a peer any more, and the server may have lost what it granted.
    Deaf(BaseId, SocketAddr),
    /// A peer sees it at another address than before: a NAT has forgotten us.
    Moved(BaseId),
}

impl Core {
    /// Whether gathering never ends.
    fn is_continual(&self) -> bool {
        self.config.gathering == Gathering::Continual
            && self.config.trickle == Trickle::Full
            && !self.is_lite()
    }

    /// Whether the peer may still be told of candidates of this generation.
    pub(super) fn is_open(&self) -> bool {
        self.gathering || self.is_continual()
    }
}

impl Agent {
    /// Adds a base for a socket that turned up later. Where it may not be signalled any more it
    /// is no candidate before the next restart, which is recommended if its IP address is new:
    /// with a lite agent that is any socket which comes after the agent. [rfc8445-5.1.1.4-3]
    /// [rfc8838-13-6] [rfc8838-13-8] [rfc8839-4.4.1.3-2a]
    pub(crate) fn add_base(&mut self, cx: &mut Context<'_>, base: &BaseConfig) -> Option<BaseId> {
        let ip = base.address.ip();
        let is_new = base.signalled && !self.core.local.has_base_at(base.component, ip);
        let id = self.new_base(base)?;
        let trickled = self.may_trickle(base.component);
        if trickled {
            self.add_host(cx, id, base);
        } else if base.signalled && self.core.config.policy == CandidatePolicy::All {
            self.core.local.wait(id);
        }
        let stranded = self.sending_pair(base.component, cx.now).is_none();
        self.news |= is_new && (!trickled || stranded && self.core.is_continual());
        self.settle(cx);
        Some(id)
    }

    pub(super) fn new_base(&mut self, base: &BaseConfig) -> Option<BaseId> {
        if self.previous.is_none() && self.core.local.has_gone() {
            self.session.forget_gone_bases(&mut self.core);
            self.compact_local();
        }
        let in_use = |id: BaseId| {
            self.sessions().any(|session| session.pairs.iter().any(|(_, pair)| pair.base == id))
        };
        let free = self.core.local.free_base().filter(|id| !in_use(*id));
        self.core.local.add_late_base(base, free)
    }

    /// Whether a new candidate of a component may still be signalled in this generation: after a
    /// nomination only where that is not the last word. [rfc8838-13-6] [rfc8838-13-10]
    pub(super) fn may_trickle(&self, component: ComponentId) -> bool {
        let Some(known) = self.session.component(component) else { return false };
        let continual = self.core.is_continual()
            && self.core.local.turnover() < TURNOVER
            && self.session.may_choose(known);
        continual || self.core.gathering && !known.concluded
    }

    /// The same for a candidate over a relay, which is of use beside a selected pair.
    pub(super) fn may_trickle_relay(&self, component: ComponentId) -> bool {
        let known = self.session.component(component);
        let follows = known.is_some_and(|known| self.session.may_choose(known));
        self.may_trickle(component) || self.core.gathering && follows
    }

    /// Whether servers are to be asked for a base that turned up late.
    pub(crate) fn gathers_late(&self, base: BaseId) -> bool {
        let component = self.component_of(base);
        self.state != AgentState::Closed
            && self.core.is_continual()
            && component.is_some_and(|component| self.may_trickle(component))
    }

    /// A server sees a base elsewhere than `before`: the peer is not told of that any more.
    pub(crate) fn forget_mapping(&mut self, base: BaseId, before: Option<SocketAddr>) {
        if let Some(before) = before {
            self.core.local.forget_mapping(base, before);
        }
    }

    /// Servers are asked again.
    pub(crate) fn gather_again(&mut self) {
        self.core.gathering = true;
    }

    /// Makes candidates of the bases that waited for a restart.
    pub(super) fn add_waiting(&mut self, cx: &mut Context<'_>) {
        for (id, address) in self.core.local.take_waiting() {
            self.add_local(cx, CandidateKind::Host, id, address, None);
        }
    }

    /// The socket or relay of a base is gone: its candidates are, too, and data moves to another
    /// valid pair at once. If there is none a restart is recommended: at once where no other pair
    /// could be nominated, else when two round trips have found none. The next relay has another
    /// address, which may need a restart, too; and so it does before any pair works, where the end
    /// of candidates was told. [rfc8445-5.1.1.4-3] [rfc8838-13-6]
    pub(crate) fn remove_base(&mut self, cx: &mut Context<'_>, base: BaseId) {
        let known = self.core.local.base(base).filter(|base| base.usable);
        let Some((component, relayed)) = known.map(|base| (base.component, base.relayed)) else {
            return;
        };
        let carried = self.sending_pair(component, cx.now).is_some();
        let session = &mut self.session;
        let selected = session.component(component).and_then(|known| known.selected);
        let selected = selected.and_then(|id| session.pairs.get(id));
        let was_selected = selected.is_some_and(|pair| pair.base == base);
        let rtt = selected.and_then(|pair| pair.counters.current_round_trip_time);
        let searches = was_selected && session.renomination && !relayed;
        self.core.local.remove_base(base);
        self.core.forgot = true;
        session.fail_base(base, &mut self.core);
        if was_selected {
            session.reopen(component, &self.core);
        }
        if let Some(previous) = &mut self.previous {
            previous.fail_base(base, &mut self.core);
        }
        // A restart that waits for its answer is as good as another.
        let awaited = relayed && self.state == AgentState::Checking && !self.core.advised;
        let others = || self.core.local.bases().any(|(_, base)| base.relayed && base.usable);
        let lost = (carried || awaited && !self.may_trickle_relay(component) && !others())
            && self.session.is_started()
            && self.sending_pair(component, cx.now).is_none();
        if lost && !self.core.gathering && self.core.local.is_connected() {
            if searches {
                let search = SEARCH_WAIT + rtt.unwrap_or_default().min(SEARCH_WAIT * 4) * 2;
                self.alarm = Some(Alarm::Lost(cx.now + search));
            } else {
                let reason =
                    if relayed { RestartReason::Failed } else { RestartReason::NetworkChanged };
                self.core.advised = true;
                self.recommend(cx, reason);
            }
        }
        self.settle(cx);
    }

    /// The network changed in a way that the addresses do not show: the pairs in use have to
    /// answer soon, or a restart is recommended.
    pub(crate) fn network_changed(&mut self, cx: &Context<'_>) {
        if self.state == AgentState::Closed || !self.session.is_started() {
            return;
        }
        if self.session.probe_selected(&self.core, cx.now) {
            self.alarm = Some(Alarm::Probe(cx.now + PROBE_WAIT));
        }
    }

    /// We restarted: an answer is expected.
    pub(super) fn expect_answer(&mut self, now: Instant) {
        let wait = ANSWER_WAIT.saturating_mul(1 << self.reminders.min(REMINDERS));
        self.alarm = Some(Alarm::Answer(now + wait));
    }

    /// Does what the alarm is for, if it is time.
    pub(super) fn ring(&mut self, cx: &mut Context<'_>) {
        if self.alarm_at().is_none_or(|at| cx.now < at) {
            return;
        }
        match self.alarm.take() {
            Some(Alarm::Answer(_)) => {
                self.reminders = self.reminders.saturating_add(1);
                // No earlier answer comes so late: with its credentials of before the peer took our
                // restart for the answer to its own.
                self.outdated = None;
                if self.reminders < REMINDERS {
                    self.expect_answer(cx.now);
                }
                self.recommend(cx, RestartReason::NotAnswered);
            }
            Some(Alarm::Probe(_)) => {
                let silent = |id: PairId| self.session.is_unanswered(id);
                if self.session.components.iter().filter_map(|c| c.selected).any(silent) {
                    self.recommend(cx, RestartReason::NetworkChanged);
                }
            }
            Some(Alarm::Lost(_)) => {
                let mut components = self.session.components.iter();
                if components.any(|known| self.sending_pair(known.id, cx.now).is_none()) {
                    self.recommend(cx, RestartReason::NetworkChanged);
                }
            }
            None => {}
        }
    }

    /// When the alarm is for.
    pub(super) fn alarm_at(&self) -> Option<Instant> {
        self.alarm.map(|alarm| match alarm {
            Alarm::Answer(at) | Alarm::Probe(at) | Alarm::Lost(at) => at,
        })
    }

    /// Recommends the restart that news call for, once nothing is under way that it would undo.
    pub(super) fn consider_restart(&mut self, cx: &mut Context<'_>) {
        if self.session.is_started() {
            self.reminders = 0;
            self.outdated = None;
            self.alarm = self.alarm.filter(|alarm| !matches!(alarm, Alarm::Answer(_)));
        }
        self.core.advised &= self.state != AgentState::Completed;
        let ripe = match self.state {
            AgentState::Completed | AgentState::Disconnected | AgentState::Failed => true,
            AgentState::Checking => {
                self.session.components.iter().any(|known| known.concluded)
                    || !self.core.local.has_host()
            }
            AgentState::New | AgentState::Connected | AgentState::Closed => false,
        };
        // One restart at a time: the answer to it would be taken for that to the next.
        let awaiting = matches!(self.alarm, Some(Alarm::Answer(_)));
        if ripe && self.news && !awaiting {
            self.recommend(cx, RestartReason::NetworkChanged);
        }
    }

    fn recommend(&mut self, cx: &mut Context<'_>, reason: RestartReason) {
        self.news = false;
        cx.recommend_restart(reason);
    }

    /// Takes what the endpoint is to follow up.
    pub(crate) fn take_sign(&mut self) -> Option<Sign> {
        self.core.signs.pop()
    }

    /// When the alarm is, or `other` if that is earlier.
    pub(super) fn with_alarm(&self, other: Option<Instant>) -> Option<Instant> {
        earlier(other, self.alarm_at())
    }
}

impl Session {
    /// Forgets the pairs of bases that are gone, so that their places are free.
    fn forget_gone_bases(&mut self, core: &mut Core) {
        let is_gone = |base: BaseId| core.local.base(base).is_none_or(|base| !base.usable);
        let gone: Vec<PairId> =
            self.pairs.iter().filter(|(_, pair)| is_gone(pair.base)).map(|(id, _)| id).collect();
        for id in gone {
            self.remove_pair(id, core);
        }
    }

    /// Has the selected pairs verified at once; false if there are none, or that is not done.
    pub(super) fn probe_selected(&mut self, core: &Core, now: Instant) -> bool {
        if core.config.consent == ConsentMode::Strict || core.is_lite() {
            return false;
        }
        let mut any = false;
        for place in 0..self.components.len() {
            let selected = self.components.get(place).and_then(|component| component.selected);
            let pair = selected.and_then(|id| self.pairs.get_mut(id));
            if let Some(valid) = pair.and_then(|pair| pair.valid.as_mut()) {
                valid.consent.suspect(now, core.config.consent);
                any = true;
            }
        }
        any
    }

    /// Whether the selected pair of a component may not answer any more.
    pub(super) fn is_doubtful(&self, component: ComponentId) -> bool {
        let selected = self.component(component).and_then(|component| component.selected);
        let valid = selected.and_then(|id| self.pairs.get(id)).and_then(|pair| pair.valid.as_ref());
        valid.is_some_and(|valid| valid.consent.is_silent() || valid.consent.is_worrying())
    }

    /// Whether a pair owes an answer.
    fn is_unanswered(&self, id: PairId) -> bool {
        let valid = self.pairs.get(id).and_then(|pair| pair.valid.as_ref());
        valid.is_some_and(|valid| valid.consent.unanswered().is_some())
    }
}
