//! Answering connectivity checks, and what is learned from them. [RFC 8445 §7.3]

use core::time::Duration;
use std::net::SocketAddr;

use crate::canary::{Bug, planted};
use crate::config::{CheckBackoff, Role};
use crate::event::{Event, PairFailure, RestartReason};
use crate::net::{ComponentId, DropReason};
use crate::stun::{AttributeType, Authenticated};
use crate::time::Instant;

use super::consent::Consent;
use super::local::BaseId;
use super::nominate::SETTLING;
use super::pair::{Nominated, Pair, PairId, PairState, Valid};
use super::remote::{RemoteCandidate, RemoteId};
use super::session::{ChecklistState, EarlyCheck, Session};
use super::{Answer, Context, Core, Generation};

/// How often a failed pair is tried again because the peer checks it. Without a bound two sides
/// whose answers take another way than their checks would revive each other for ever.
const REVIVALS: u8 = 8;
/// The same while another pair carries data, and the peer does not nominate this one.
const REVIVALS_BESIDE: u8 = 1;

/// How long the checks that come before the answer to a restart stay without one. Peers that check a
/// pair a few times only go on for longer: pion for 1.4 s.
const HELD: Duration = Duration::from_secs(1);

/// A check of the peer's, as far as it concerns this generation.
struct Request {
    base: BaseId,
    component: ComponentId,
    from: SocketAddr,
    priority: u32,
    nominated: Option<Nominated>,
    /// Whether a success goes out for it, or did.
    answered: bool,
}

impl Session {
    /// Takes an authenticated check of the peer's. `ufrag` is the peer's part of the USERNAME.
    /// [rfc8445-7.3-1] [rfc8445-7.3-5] [rfc8445-11-13] [rfc8445-8.1.2-2] [rfc8839-4.2.4-1]
    pub(super) fn handle_request(
        &mut self,
        core: &mut Core,
        cx: &mut Context<'_>,
        base: BaseId,
        from: SocketAddr,
        ufrag: &[u8],
        message: &Authenticated<'_>,
    ) -> Answer {
        let component = core.local.base(base).map(|base| base.component);
        let Some(component) = component.filter(|id| self.component(*id).is_some()) else {
            return Answer::Drop(DropReason::UnknownComponent);
        };
        // [rfc8445-7.3.1.5-2]
        let Some(priority) = message.priority() else {
            return Answer::Error(400, DropReason::MissingAttribute);
        };
        if !self.settle_roles(core, cx, message) {
            return Answer::RoleConflict;
        }
        let nominated = (message.use_candidate() && core.role == Role::Controlled).then(|| {
            let attribute = AttributeType(core.config.nomination.attribute);
            self.nominations_heard += 1;
            Nominated { value: message.nomination(attribute), order: self.nominations_heard }
        });
        core.strangers.heard(from.ip());
        let request = Request { base, component, from, priority, nominated, answered: true };
        match self.remote_stream(component.stream()) {
            Some(remote) if remote.ufrag.as_bytes() == ufrag => {}
            // A restart of the peer's, checked by our credentials of before, or a fork. No pair can
            // come of that, and it would take a success for one: it is to try again, by those of
            // now. [rfc8445-7.3.1.4-p5] [rfc8445-7.3.1.5-2] [RFC 8489 §14.8]
            Some(_) => return Answer::Error(500, DropReason::WrongGeneration),
            None => return self.remember(&request, ufrag, core, cx.now),
        }
        self.now_known(cx.now);
        if self.retired {
            return self.answer_retired(&request, core, cx);
        }
        match self.learn_remote(&request, core, cx) {
            Some(remote) => {
                let taken = self.take_request(&request, remote, core, cx);
                // It would take us for one who follows. [rfc8445-7.3.1.5-2]
                if nominated.is_some() && !taken {
                    return Answer::Error(400, DropReason::Limit);
                }
                Answer::Success { tracked: true }
            }
            None if nominated.is_some() => Answer::Error(400, DropReason::Limit),
            None => Answer::Success { tracked: false },
        }
    }

    /// Takes a check that changes nothing: the peer's consent check on the selected pair. Returns
    /// false, and does nothing, if it is more than that.
    pub(super) fn take_steady_request(
        &mut self,
        core: &Core,
        now: Instant,
        base: BaseId,
        from: SocketAddr,
        ufrag: &[u8],
        message: &Authenticated<'_>,
    ) -> bool {
        let conflict = match core.role {
            Role::Controlling => message.ice_controlling().is_some(),
            Role::Controlled => message.ice_controlled().is_some() || message.use_candidate(),
        };
        let news = self.known_to_peer.is_none();
        if conflict || news || message.priority().is_none() || planted(Bug::PingPong) {
            return false;
        }
        let selected = self.pairs.iter().find_map(|(id, pair)| {
            let selected = pair.base == base && self.is_selected(id);
            selected.then_some((id, pair.remote))
        });
        let Some((id, remote)) = selected else { return false };
        let Some(stream) = self.remote_stream_mut(remote.stream) else { return false };
        let theirs = stream.ufrag.as_bytes() == ufrag
            && stream.get(remote).is_some_and(|remote| remote.address == from);
        if !theirs {
            return false;
        }
        stream.heard(remote, now);
        if let Some(pair) = self.pairs.get_mut(id) {
            count_request(pair, true, now);
        }
        true
    }

    /// A generation that was replaced answers for the pairs that still carry data, so that the
    /// peer keeps its consent.
    fn answer_retired(&mut self, request: &Request, core: &Core, cx: &Context<'_>) -> Answer {
        let stream = request.component.stream();
        let known = self
            .remote_stream(stream)
            .and_then(|remote| remote.find(stream, request.component.number(), request.from));
        let Some(remote) = known else { return Answer::Success { tracked: false } };
        if let Some(stream) = self.remote_stream_mut(stream) {
            stream.heard(remote, cx.now);
        }
        self.count_request(request, remote, cx.now);
        Answer::Success { tracked: core.local.base(request.base).is_some() }
    }

    /// Ends a conflict of roles by the tie-breaker; false if the peer is to change its own.
    /// [rfc8445-7.3.1.1-2] [rfc8445-7.3.1.1-3] [rfc8445-7.3.1.1-p1]
    /// [rfc8445-7.3.1.1-p2] [rfc8445-7.3.1.1-p3]
    fn settle_roles(
        &mut self,
        core: &mut Core,
        cx: &mut Context<'_>,
        message: &Authenticated<'_>,
    ) -> bool {
        let (theirs, role) = match core.role {
            Role::Controlling => (message.ice_controlling(), Role::Controlled),
            Role::Controlled => (message.ice_controlled(), Role::Controlling),
        };
        let Some(theirs) = theirs else { return true };
        let stronger = core.tie_breaker >= theirs;
        let keep = match core.role {
            Role::Controlling => stronger,
            Role::Controlled => !stronger,
        };
        // A lite side cannot control a full one. [rfc8445-6.1.1-2b]
        let lite = core.is_lite() || self.remote_lite;
        if keep || self.retired || lite {
            return false;
        }
        self.switch_role(role, core, cx);
        true
    }

    /// Switches the role; priorities follow. [rfc8445-7.2.5.1-p1]
    pub(super) fn switch_role(&mut self, role: Role, core: &mut Core, cx: &mut Context<'_>) {
        core.role = role;
        self.recompute_priorities(core);
        for component in &mut self.components {
            component.nominating = None;
        }
        for (_, pair) in self.pairs.iter_mut() {
            pair.nomination_pending = None;
        }
        for early in &mut self.early {
            early.nominated = None;
        }
        cx.events.push_back(Event::RoleChanged { agent: cx.id, role });
    }

    /// Keeps a check of a generation whose credentials are not known yet, within bounds.
    /// [rfc8445-7.3-6]
    ///
    /// After a restart it is answered only when it is repeated once they are, or when it, or if there
    /// is no place for it the first that has one, came [`HELD`] ago: Chromium, which restarts while
    /// its answer is under way, checks by ours with its next ones, and keeps to what it takes for a
    /// pair then. A nomination that there is no place for is refused. [rfc8445-7.3-5]
    fn remember(&mut self, request: &Request, ufrag: &[u8], core: &Core, now: Instant) -> Answer {
        let at_once = self.answers_at_once(core);
        let first = self.early.iter().map(|early| early.since).min().unwrap_or(now);
        let early = self.keep_early(request, ufrag, core, now);
        let since = early.as_ref().map_or(first, |early| early.since);
        if !at_once && now < since + HELD {
            return Answer::Drop(DropReason::WrongGeneration);
        }
        match early {
            Some(early) => {
                // Nobody counts on a nomination that was not answered: it is repeated.
                early.nominated = Nominated::repeated(early.nominated, request.nominated);
                early.answered = true;
                Answer::Success { tracked: true }
            }
            // It would take us for one who follows. [rfc8445-7.3.1.5-2]
            None if request.nominated.is_some() => Answer::Error(400, DropReason::Limit),
            None => Answer::Success { tracked: false },
        }
    }

    /// Whether a check that comes early is answered as every other.
    fn answers_at_once(&self, core: &Core) -> bool {
        let letter = core.config.check_backoff == CheckBackoff::Rfc;
        // A lite agent triggers no check, and depends on those of the peer.
        self.generation == Generation(0) || core.is_lite() || letter
    }

    /// None if there is no place for it.
    fn keep_early(
        &mut self,
        request: &Request,
        ufrag: &[u8],
        core: &Core,
        now: Instant,
    ) -> Option<&mut EarlyCheck> {
        let known = self.early.iter().position(|known| {
            (known.base, known.from) == (request.base, request.from) && *known.ufrag == *ufrag
        });
        if known.is_none() {
            if self.early.len() >= usize::from(core.config.limits.early_checks) {
                return None;
            }
            self.early.push(EarlyCheck {
                base: request.base,
                from: request.from,
                priority: request.priority,
                ufrag: ufrag.into(),
                since: now,
                nominated: None,
                answered: false,
            });
        }
        let early = match known {
            Some(known) => self.early.get_mut(known),
            None => self.early.last_mut(),
        }?;
        early.priority = request.priority;
        Some(early)
    }

    /// Does what was put off until the peer's credentials came. [rfc8445-7.3-6]
    pub(super) fn replay_early(&mut self, core: &mut Core, cx: &mut Context<'_>) {
        for early in core::mem::take(&mut self.early) {
            let Some(component) = core.local.base(early.base).map(|base| base.component) else {
                continue;
            };
            let ours = self
                .remote_stream(component.stream())
                .is_some_and(|remote| remote.ufrag.as_bytes() == &*early.ufrag);
            if !ours {
                continue;
            }
            self.now_known(cx.now);
            let request = Request {
                base: early.base,
                component,
                from: early.from,
                priority: early.priority,
                nominated: early.nominated,
                answered: early.answered,
            };
            if let Some(remote) = self.learn_remote(&request, core, cx) {
                self.take_request(&request, remote, core, cx);
            }
        }
    }

    /// Finds the remote candidate that a check came from, or learns it. [rfc8445-7.3.1.3-p1]
    fn learn_remote(
        &mut self,
        request: &Request,
        core: &mut Core,
        cx: &Context<'_>,
    ) -> Option<RemoteId> {
        let stream = request.component.stream();
        let number = request.component.number();
        let pairs = &self.pairs;
        let remotes = self.streams.get_mut(usize::from(stream))?.remote.as_mut()?;
        if let Some(known) = remotes.find(stream, number, request.from) {
            remotes.heard(known, cx.now);
            return Some(known);
        }
        // Two NATs that give each other a new address with each answer use up all places of a base.
        let limit = core.config.limits.peer_reflexive;
        let max = if planted(Bug::EndlessChain) { u16::MAX } else { limit };
        // Only an address whose check failed makes room for another, and one that did not answer
        // yet for what the peer nominates first, or if it was heard at a base that is gone.
        let selected = self.components.iter().find(|known| known.id == request.component)?.selected;
        let chosen = request.nominated.is_some() && selected.is_none();
        let keep = |id, one: &RemoteCandidate, idle: bool| {
            let yields = chosen || one.is_heard_nowhere();
            let kept = |pair: &Pair| match pair.state {
                PairState::Failed(_) => false,
                PairState::Succeeded => true,
                PairState::Frozen | PairState::Waiting | PairState::InProgress { .. } => !yields,
            };
            !(idle || yields) || pairs.iter().any(|(_, pair)| pair.remote == id && kept(pair))
        };
        let astray = |id| {
            let failed = PairState::Failed(PairFailure::Asymmetric);
            let mut pairs = pairs.iter().filter(|(_, pair)| pair.remote == id).peekable();
            pairs.peek().is_some() && pairs.all(|(_, pair)| pair.state == failed)
        };
        let learned =
            RemoteCandidate::learned(request.from, request.priority, request.base, cx.now);
        let (id, forgotten) =
            remotes.add_peer_reflexive(request.component, learned, max, astray, keep)?;
        if let Some(forgotten) = forgotten {
            let gone: Vec<PairId> = self
                .pairs
                .iter()
                .filter(|(_, pair)| pair.remote == forgotten)
                .map(|(id, _)| id)
                .collect();
            for pair in gone {
                self.remove_pair(pair, core);
            }
            core.forgot = true;
        }
        Some(id)
    }

    fn count_request(&mut self, request: &Request, remote: RemoteId, now: Instant) {
        let id = self.pairs.find(request.base, remote);
        if let Some(pair) = id.and_then(|id| self.pairs.get_mut(id)) {
            count_request(pair, request.answered, now);
        }
    }

    /// Triggered checks and nomination; false if there is no pair for them. [rfc8445-7.3.1.4-p4]
    fn take_request(
        &mut self,
        request: &Request,
        remote: RemoteId,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> bool {
        let known = self.pairs.find(request.base, remote);
        let settled =
            self.component(request.component).is_none_or(|known| known.selected.is_some());
        let pair = match known {
            Some(pair) => Some(pair),
            // After nomination a new pair matters only if the peer nominates it, or if the peer may
            // have moved there: then the selected pair is looked at, too.
            None if settled && request.nominated.is_none() => {
                let relayed = core.local.base(request.base).is_some_and(|base| base.relayed)
                    || self.remote(remote).is_some_and(|remote| remote.is_relayed());
                let spare = core.role == Role::Controlling
                    && relayed
                    && self.has_reserve(request.component, request.base, remote, core)
                    && !self.is_suspected(request.component);
                if !self.renomination || spare {
                    return false;
                }
                if self.shows_move(request, remote) {
                    self.suspect(request.component, core, cx.now);
                }
                self.insert_for_request(request, remote, core)
            }
            None => self.insert_for_request(request, remote, core),
        };
        let Some(pair) = pair else { return false };
        self.count_request(request, remote, cx.now);
        if core.is_lite() || planted(Bug::DataBeforeAnswer) && request.nominated.is_some() {
            self.accept_lite(pair, request, core, cx);
        } else {
            self.trigger_for_request(pair, request, core, cx);
        }
        true
    }

    /// Whether a check from an address that is new may tell that the selected pair has moved there:
    /// it came to the base of that one, which leads to no relay.
    fn shows_move(&self, request: &Request, remote: RemoteId) -> bool {
        let selected = self.component(request.component).and_then(|known| known.selected);
        let selected = selected.and_then(|id| self.pairs.get(id));
        let same = selected.is_some_and(|pair| {
            let relayed = self.remote(pair.remote).is_some_and(RemoteCandidate::is_relayed);
            pair.base == request.base && !relayed
        });
        same && self.remote(remote).is_some_and(RemoteCandidate::is_learned)
    }

    /// Makes the pair of a check that came, if there is room and the peer knows of the base.
    fn insert_for_request(
        &mut self,
        request: &Request,
        remote: RemoteId,
        core: &mut Core,
    ) -> Option<PairId> {
        let base = core.local.base(request.base).filter(|base| base.usable)?;
        base.candidate?;
        // What a name stands for is no peer of a relay, though it found its way there.
        // [mdns-ice-candidates-3.3.2-1]
        if base.relayed && self.is_kept_from_relay(request.base, remote, &core.local) {
            return None;
        }
        if !self.make_room(request.component, None, core) {
            return None;
        }
        self.insert_pair(request.base, remote, PairState::Waiting, core)
    }

    /// The state of the pair says what a check of the peer's means. [rfc8445-7.3.1.4-1]
    /// [rfc8445-7.3.1.4-2] [rfc8445-7.3.1.4-p1] [rfc8445-7.3.1.4-p2] [rfc8445-7.3.1.4-p3]
    /// [rfc8445-7.3.1.4-p6]
    fn trigger_for_request(
        &mut self,
        id: PairId,
        request: &Request,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) {
        let stale = request.nominated.is_some() && self.is_stale(id, cx.now);
        let beside = self.pairs.get(id).is_some_and(|pair| self.is_beside_another(id, pair));
        let beside = beside && request.nominated.is_none();
        let revivals = if beside { REVIVALS_BESIDE } else { REVIVALS };
        // So long after another pair was selected it is deliberate, and no copy that comes late.
        let settled = self.component(request.component).is_some_and(|component| {
            component.selected.is_some() && cx.now >= component.selected_since + SETTLING
        });
        let Some(pair) = self.pairs.get_mut(id) else { return };
        // It counts once the pair works: said again it keeps its place, and made again it takes that
        // of the one that was given up.
        let pending = match (settled, request.nominated) {
            (true, Some(anew)) => Some(anew),
            (false, _) | (_, None) => {
                Nominated::repeated(pair.nomination_pending, request.nominated)
            }
        };
        match pair.state {
            PairState::Succeeded if planted(Bug::PingPong) => {}
            PairState::Succeeded if stale => {
                pair.nomination_pending = pending;
                pair.state = PairState::Waiting;
                pair.valid = None;
            }
            PairState::Succeeded => {
                // [rfc8445-7.3.1.5-p1]
                if let Some(nominated) = request.nominated {
                    self.follow_nomination(id, nominated, core, cx);
                }
                return;
            }
            PairState::InProgress { .. } => {
                pair.nomination_pending = pending;
                for check in self.checks.iter_mut().filter(|check| check.pair == id) {
                    check.timing.stop_retransmitting();
                    check.retry_at = None;
                    check.resend = false;
                }
            }
            PairState::Failed(reason)
                if reason == PairFailure::ConsentLost || pair.revivals >= revivals =>
            {
                // The peer selects a pair that we never shall: only a restart brings us together.
                if request.nominated.is_some() && pair.revivals < u8::MAX {
                    pair.revivals = u8::MAX;
                    cx.recommend_restart(RestartReason::Failed);
                }
                return;
            }
            PairState::Frozen | PairState::Waiting | PairState::Failed(_) => {
                pair.nomination_pending = pending;
                pair.revivals += u8::from(matches!(pair.state, PairState::Failed(_)));
                pair.state = PairState::Waiting;
            }
        }
        self.trigger(id);
        self.revive_checklist(id);
    }

    /// A checklist that had failed runs again when a pair of it is to be checked.
    /// [rfc8445-7.3.1.4-p6]
    fn revive_checklist(&mut self, id: PairId) {
        let Some(stream) = self.pairs.get(id).map(|pair| pair.component.stream()) else { return };
        let failed = self
            .checklist_mut(stream)
            .filter(|checklist| checklist.state == ChecklistState::Failed);
        if let Some(checklist) = failed {
            checklist.state = ChecklistState::Running;
        }
    }

    /// Lite: an accepted USE-CANDIDATE makes the pair valid and nominated. [rfc8445-7.3.2-p1]
    fn accept_lite(
        &mut self,
        id: PairId,
        request: &Request,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) {
        let Some(nominated) = request.nominated else { return };
        let Some(pair) = self.pairs.get_mut(id) else { return };
        pair.state = PairState::Succeeded;
        if pair.valid.is_none() {
            pair.valid = Some(Valid {
                local: pair.local,
                since: cx.now,
                nominated: false,
                nominated_at: None,
                consent: Consent::granted(cx.now, core.config.consent_period),
            });
        }
        self.follow_nomination(id, nominated, core, cx);
    }
}

/// Counts a check and its answer.
fn count_request(pair: &mut Pair, answered: bool, now: Instant) {
    pair.asked = Some(now);
    let counters = &mut pair.counters;
    counters.requests_received = counters.requests_received.saturating_add(1);
    counters.responses_sent = counters.responses_sent.saturating_add(answered.into());
}
