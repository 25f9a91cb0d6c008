//! Sending connectivity checks and taking their answers. [RFC 8445 §7.2]

use core::mem::discriminant;
use core::time::Duration;
use std::net::{IpAddr, SocketAddr};

use crate::canary::{Bug, planted};
use crate::candidate::{CandidateKind, priority};
use crate::config::{CheckBackoff, Retransmission, Role};
use crate::event::PairFailure;
use crate::net::DropReason;
use crate::stun::{
    AttributeType, Authenticated, ClientTransaction, Encoder, Message, MessageClass, Method,
    TransactionId, TransactionStep,
};
use crate::time::{Instant, earlier};

use super::consent::{Consent, ConsentCheck};
use super::local::{BaseId, LocalId};
use super::pair::{Pair, PairId, PairState, Valid};
use super::session::{Check, CheckKind, Session};
use super::{Context, Core, Outgoing};

/// Unanswered transactions that one pair keeps; with a fresh one every 150 ms, and every 300 ms once
/// there are eight, they cover a round trip of 6 s: more than a nomination is given to be answered,
/// unless there are too many for the limit of all pairs together.
const CHECKS_PER_PAIR: usize = 24;
/// With so many a pair is checked half as often.
const SLOWED_FROM: usize = 8;
/// Unanswered transactions beyond the number of pairs that an agent keeps, while any pair has more
/// than one of a kind.
const CHECKS_SPARE: usize = 16;
/// Answers in a row that say the peer has our role, and that have a pair checked anew. One is
/// enough to end a conflict; who goes on claiming one would have us check for ever.
const CONFLICTS: u8 = 8;
/// Local peer-reflexive candidates that an agent keeps.
const LOCAL_PEER_REFLEXIVE: usize = 16;

/// How long a pair that does not answer keeps others of its foundation frozen.
const FROZEN_FOR: Duration = Duration::from_secs(3);

/// Octets of the IP and UDP headers, for the budget of unverified addresses.
const fn headers(ip: IpAddr) -> usize {
    match ip {
        IpAddr::V4(_) => 28,
        IpAddr::V6(_) => 48,
    }
}

/// The RTO of a check: `max(rto, ta × pending)`, where `pending` counts the pairs that are
/// Waiting or In-Progress, and `rto` is at least 500 ms. [rfc8445-14.3-2] [rfc8445-14.3-3]
/// [rfc8445-14.3-4]
fn check_rto(config: &Retransmission, ta: Duration, pending: usize) -> Duration {
    let pending = u32::try_from(pending).unwrap_or(u32::MAX);
    config.rto.max(Duration::from_millis(500)).max(ta.saturating_mul(pending))
}

impl Session {
    /// Encodes the next packet that is due, if any: retransmissions, consent, keepalives, and, if
    /// the pacer allows a start, a new check.
    pub(super) fn poll_transmit(
        &mut self,
        core: &mut Core,
        cx: &Context<'_>,
        may_start: bool,
        buf: &mut [u8],
    ) -> Option<Outgoing> {
        if let Some(outgoing) = self.retransmit(core, cx, buf) {
            return Some(outgoing);
        }
        if let Some(outgoing) = self.send_consent(core, cx, buf) {
            return Some(outgoing);
        }
        if let Some(outgoing) = self.send_keepalive(core, cx, buf) {
            return Some(outgoing);
        }
        while may_start && self.wants_start(core, cx.now) {
            let pair = self.take_next(cx.now, core)?;
            if let Some(outgoing) = self.start_check(pair, core, cx, buf) {
                return Some(outgoing);
            }
        }
        None
    }

    /// Whether a packet other than a new check is due.
    pub(super) fn has_due(&self, core: &Core, now: Instant) -> bool {
        self.checks.iter().any(|check| check.resend)
            || self.consent_due(core, now).is_some()
            || self.keepalive_due(core, now).is_some()
    }

    /// Whether a new check could start at `now`.
    pub(super) fn wants_start(&self, core: &Core, now: Instant) -> bool {
        now >= self.next_start() && self.has_next(now, core)
    }

    fn retransmit(
        &mut self,
        core: &mut Core,
        cx: &Context<'_>,
        buf: &mut [u8],
    ) -> Option<Outgoing> {
        loop {
            let index = self.checks.iter().position(|check| check.resend)?;
            let check = self.checks.get_mut(index)?;
            check.resend = false;
            let check = check.clone();
            let Some(len) = self.encode_check(&check, core, buf) else { continue };
            if !self.spend_budget(&check, len, core, cx.now) {
                // No more goes out, but an answer that is on its way may still come.
                if let Some(check) = self.checks.get_mut(index) {
                    check.refused.get_or_insert(PairFailure::Budget);
                    check.timing = ClientTransaction::start(cx.now, &super::SENT_ONCE);
                }
            } else {
                self.note_sent(check.pair, cx.now);
                let (base, to) = (check.base, check.to);
                return Some(Outgoing { base, to, len, started: None, paced: false });
            }
        }
    }

    /// Starts a transaction for a pair that the checklists chose.
    fn start_check(
        &mut self,
        id: PairId,
        core: &mut Core,
        cx: &Context<'_>,
        buf: &mut [u8],
    ) -> Option<Outgoing> {
        let nominating = self.components.iter().any(|c| c.nominating == Some(id));
        let kind = match nominating {
            true => CheckKind::Nomination(self.nomination_value()),
            false => CheckKind::Connectivity,
        };
        // Evidence that the address answers makes a fresh transaction follow at a steady pace;
        // then this one is sent once.
        let steady = match core.config.check_backoff {
            CheckBackoff::Evidence { interval } if self.has_evidence(id) => {
                Some(self.slowed(interval.max(self.ta), id))
            }
            CheckBackoff::Evidence { .. } | CheckBackoff::Rfc => None,
        };
        let timing = match steady {
            Some(_) => ClientTransaction::start(cx.now, &super::SENT_ONCE),
            None => {
                let schedule = &core.config.retransmission;
                ClientTransaction::start_with_rto(cx.now, self.check_rto(core), schedule)
            }
        };
        let retry_at = steady.map(|interval| cx.now + interval);
        let transaction = core.transaction_id(cx.seed);
        let check = self.new_check(id, transaction, kind, timing, retry_at, core)?;
        let len = self.encode_check(&check, core, buf)?;
        if !self.spend_budget(&check, len, core, cx.now) {
            self.refuse(id, core, cx.now);
            return None;
        }
        self.next_check = self.next_check.max(cx.now) + self.ta;
        let pair = self.pairs.get_mut(id)?;
        pair.counters.requests_sent = pair.counters.requests_sent.saturating_add(1);
        match pair.state {
            PairState::Frozen | PairState::Waiting | PairState::Failed(_) => {
                pair.state = PairState::InProgress { since: cx.now };
            }
            PairState::InProgress { .. } | PairState::Succeeded => {}
        }
        self.note_sent(id, cx.now);
        Some(self.launch(check, len, core))
    }

    /// The steady pace halves where many checks wait for their answers: on a path with so long a
    /// queue these would lengthen it, and be forgotten before they are answered.
    fn slowed(&self, interval: Duration, id: PairId) -> Duration {
        let waiting = self.checks.iter().filter(|check| check.pair == id).count();
        if waiting < SLOWED_FROM { interval } else { interval.saturating_mul(2) }
    }

    /// No more may be sent for a pair; what was sent may still be answered.
    fn refuse(&mut self, id: PairId, core: &mut Core, now: Instant) {
        let mut under_way = false;
        for check in self.checks.iter_mut().filter(|check| check.pair == id) {
            check.refused.get_or_insert(PairFailure::Budget);
            check.retry_at = None;
            under_way = true;
        }
        if !under_way {
            self.fail_pair(id, PairFailure::Budget, core);
            self.refused = true;
        } else if let Some(pair) = self.pairs.get_mut(id).filter(|pair| pair.state.is_open()) {
            pair.state = PairState::InProgress { since: now };
        }
    }

    /// Keeps a check for its answer, within bounds.
    fn launch(&mut self, check: Check, len: usize, core: &mut Core) -> Outgoing {
        let paced = match check.kind {
            CheckKind::Connectivity | CheckKind::Nomination(_) => true,
            CheckKind::Consent | CheckKind::Verification => false,
        };
        let (base, to) = (check.base, check.to);
        let outgoing = Outgoing { base, to, len, started: Some(check.id), paced };
        let alike = |a: &Check, b: &Check| {
            a.pair == b.pair && discriminant(&a.kind) == discriminant(&b.kind)
        };
        let of_pair = self.checks.iter().filter(|known| known.pair == check.pair).count();
        let crowded = of_pair >= CHECKS_PER_PAIR;
        let limit = usize::from(core.config.limits.pairs) + CHECKS_SPARE;
        // Every pair keeps one of each kind: the end of the last that nominates it, or asks whether
        // it works, judges it. Those that nominate are the last to make room.
        let spare = |(at, known): &(usize, &Check)| {
            (!crowded || known.pair == check.pair)
                && self.checks.iter().skip(at + 1).any(|later| alike(later, known))
        };
        let full = crowded || self.checks.len() >= limit;
        let mut spares = self.checks.iter().enumerate().filter(|known| full && spare(known));
        let victim =
            spares.clone().find(|(_, known)| !matches!(known.kind, CheckKind::Nomination(_)));
        if let Some((victim, _)) = victim.or_else(|| spares.next()) {
            core.ended.push(self.checks.remove(victim).id);
        }
        self.checks.push(check);
        outgoing
    }

    fn new_check(
        &self,
        id: PairId,
        transaction: TransactionId,
        kind: CheckKind,
        timing: ClientTransaction,
        retry_at: Option<Instant>,
        core: &Core,
    ) -> Option<Check> {
        let pair = self.pairs.get(id)?;
        let base = core.local.base(pair.base)?;
        // The priority that a peer-reflexive candidate of this base would have. [rfc8445-7.1.1-1]
        let priority =
            priority(CandidateKind::PeerReflexive, base.local_preference, pair.component.number());
        Some(Check {
            id: transaction,
            pair: id,
            kind,
            timing,
            retry_at,
            resend: false,
            role: core.role,
            tie_breaker: core.tie_breaker,
            base: pair.base,
            to: self.remote(pair.remote)?.address,
            priority,
            refused: None,
        })
    }

    /// Writes a check: from the base, with short-term credentials, PRIORITY, the role, FINGERPRINT
    /// and, from the controlling side alone, USE-CANDIDATE. [rfc8445-7-1] [rfc8445-7.2.2-1]
    /// [rfc8445-7.2.2-p1] [rfc8445-7.2.4-1] [rfc8445-7.2.4-2] [rfc8445-7.2.4-p1] [rfc8445-7.1.2-1]
    /// [rfc8445-7.1.2-2] [rfc8445-7.1.3-1] [rfc8445-7.1.3-2] [rfc8445-16.1-p1] [rfc8489-9.1.2-1]
    /// [rfc8489-9.1.2-2] [rfc8489-9.1.5-1]
    ///
    /// With the longest ufrags these are less than 400 octets: no path is too narrow for them.
    /// [rfc8489-6.1-6] [rfc8489-6.1-8]
    fn encode_check(&self, check: &Check, core: &Core, buf: &mut [u8]) -> Option<usize> {
        let stream = self.pairs.get(check.pair)?.component.stream();
        let remote = self.remote_stream(stream)?;
        let role = match check.role {
            Role::Controlling => AttributeType::ICE_CONTROLLING,
            Role::Controlled => AttributeType::ICE_CONTROLLED,
        };
        let mut message = Encoder::new(buf, MessageClass::Request, Method::BINDING, check.id)
            .username(&[remote.ufrag.as_bytes(), self.local.ufrag.as_bytes()])
            .u32(AttributeType::PRIORITY, check.priority)
            .u64(role, check.tie_breaker);
        if let (CheckKind::Nomination(value), Role::Controlling) = (check.kind, check.role) {
            message = message.flag(AttributeType::USE_CANDIDATE);
            if let Some(value) = value {
                message = message.u32(AttributeType(core.config.nomination.attribute), value);
            }
        }
        message.integrity(&remote.key).fingerprint().finish().ok()
    }

    /// Whether something authenticated came from the remote address in this generation. Only an
    /// answer counts for that while another pair carries data: a check may come in the name of
    /// somebody who never asked for any.
    fn has_evidence(&self, id: PairId) -> bool {
        let Some(pair) = self.pairs.get(id) else { return false };
        let Some(remote) = self.remote(pair.remote) else { return false };
        let settled = self.is_beside_another(id, pair);
        // Direct pairs that are tried again beside one over a relay are in no hurry.
        let sought = settled && self.sought > 0;
        (remote.answered || (remote.verified && !settled)) && !sought
    }

    /// Whether another pair of the component carries data.
    pub(super) fn is_beside_another(&self, id: PairId, pair: &Pair) -> bool {
        let selected = self.component(pair.component).and_then(|component| component.selected);
        selected.is_some_and(|selected| selected != id) && !self.is_troubled(pair.component)
    }

    /// Counts a packet against what may go to addresses that never answered; false if it is used
    /// up.
    fn spend_budget(&mut self, check: &Check, len: usize, core: &mut Core, now: Instant) -> bool {
        let Some(remote) = self.pairs.get(check.pair).and_then(|pair| self.remote(pair.remote))
        else {
            return false;
        };
        let (ip, verified) = (remote.address.ip(), remote.verified);
        let streams = || self.streams.iter().filter_map(|stream| stream.remote.as_ref());
        if streams().any(|stream| stream.has_answered(ip)) {
            return true;
        }
        let limits = &core.config.limits;
        if verified {
            return core.strangers.spend(ip, now, limits);
        }
        let octets = u32::try_from(len + headers(ip)).unwrap_or(u32::MAX);
        if self.unverified_packets >= limits.unverified_packets
            || self.unverified_octets.saturating_add(octets) > limits.unverified_octets
            || !core.strangers.spend(ip, now, limits)
        {
            return false;
        }
        self.unverified_packets += 1;
        self.unverified_octets += octets;
        true
    }

    /// How long a check that begins now waits for its answer before it is sent again.
    pub(super) fn check_rto(&self, core: &Core) -> Duration {
        let pending = |(_, pair): &(PairId, &Pair)| {
            matches!(pair.state, PairState::Waiting | PairState::InProgress { .. })
        };
        let pending = self.pairs.iter().filter(pending).count();
        check_rto(&core.config.retransmission, self.ta, pending)
    }

    fn note_sent(&mut self, id: PairId, now: Instant) {
        if let Some(pair) = self.pairs.get_mut(id) {
            pair.last_sent = now;
        }
    }

    fn consent_due(&self, core: &Core, now: Instant) -> Option<(PairId, ConsentCheck)> {
        if core.is_lite() {
            return None;
        }
        self.pairs.iter().find_map(|(id, pair)| {
            let valid = pair.valid.as_ref().filter(|_| self.wants_consent(id, pair, core))?;
            Some((id, valid.consent.due(now, core.config.consent)?))
        })
    }

    /// Sends the consent check or verification that is due: a transaction of its own, sent once.
    /// [rfc7675-5.1-6] [rfc7675-5.1-p1] [rfc7675-5.1-12]
    fn send_consent(
        &mut self,
        core: &mut Core,
        cx: &Context<'_>,
        buf: &mut [u8],
    ) -> Option<Outgoing> {
        let (id, due) = self.consent_due(core, cx.now)?;
        let (transaction, random) = core.consent_draw(cx.seed);
        let interval = Consent::interval(&core.config, random);
        let pair = self.pairs.get_mut(id)?;
        let consent = &mut pair.valid.as_mut()?.consent;
        let calm = !consent.is_worrying();
        consent.allow_for(pair.counters.current_round_trip_time.unwrap_or_default());
        consent.sent(cx.now, due, interval);
        let worrying = calm && consent.is_worrying();
        let kind = match due {
            ConsentCheck::Regular => {
                let counters = &mut pair.counters;
                counters.consent_requests_sent = counters.consent_requests_sent.saturating_add(1);
                CheckKind::Consent
            }
            ConsentCheck::Verification => {
                pair.counters.requests_sent = pair.counters.requests_sent.saturating_add(1);
                CheckKind::Verification
            }
        };
        let timing = ClientTransaction::start(cx.now, &super::SENT_ONCE);
        let check = self.new_check(id, transaction, kind, timing, None, core)?;
        let len = self.encode_check(&check, core, buf)?;
        self.note_sent(id, cx.now);
        if worrying {
            self.verify_reserves(id, core, cx.now);
        }
        Some(self.launch(check, len, core))
    }

    /// The selected pair that was silent for Tr: consent checks usually prevent that, a lite agent
    /// has none. [rfc8445-11-1] [rfc8445-11-3] [rfc8445-11-4] [rfc8445-11-6b] [rfc8839-6-1]
    fn keepalive_due(&self, core: &Core, now: Instant) -> Option<PairId> {
        self.components
            .iter()
            .filter_map(|component| component.selected)
            .find(|id| self.pairs.get(*id).is_some_and(|pair| now >= pair.last_sent + core.tr()))
    }

    /// Sends a Binding indication with nothing but FINGERPRINT. [rfc8445-11-2] [rfc8445-11-11]
    /// [rfc8445-11-12a] [rfc8445-11-12b] [rfc8445-11-14]
    fn send_keepalive(
        &mut self,
        core: &mut Core,
        cx: &Context<'_>,
        buf: &mut [u8],
    ) -> Option<Outgoing> {
        let id = self.keepalive_due(core, cx.now)?;
        self.note_sent(id, cx.now);
        let pair = self.pairs.get(id)?;
        let to = self.remote(pair.remote)?.address;
        let transaction = core.transaction_id(cx.seed);
        let len = Encoder::new(buf, MessageClass::Indication, Method::BINDING, transaction)
            .fingerprint()
            .finish()
            .ok()?;
        Some(Outgoing { base: pair.base, to, len, started: None, paced: false })
    }

    /// Advances all transactions to `now`.
    pub(super) fn check_timeouts(&mut self, core: &mut Core, cx: &Context<'_>) {
        let mut index = 0;
        while let Some(check) = self.checks.get_mut(index) {
            if check.retry_at.is_some_and(|at| cx.now >= at) {
                check.retry_at = None;
                let (pair, kind) = (check.pair, check.kind);
                self.retry(pair, kind, core, cx);
                index = 0;
                continue;
            }
            match check.timing.poll(cx.now) {
                TransactionStep::Wait => index += 1,
                TransactionStep::Retransmit => {
                    check.resend = true;
                    index += 1;
                    let pair = check.pair;
                    self.wait_no_longer(pair, core, cx.now);
                }
                TransactionStep::TimedOut => {
                    let check = self.checks.remove(index);
                    core.ended.push(check.id);
                    self.timed_out(&check, core);
                    index = 0;
                }
            }
        }
    }

    /// A pair is not answered, and others of its foundation are frozen: with dead candidates each
    /// would take its whole time before the next. By the letter it does.
    fn wait_no_longer(&mut self, id: PairId, core: &Core, now: Instant) {
        let frozen_for = match core.config.check_backoff {
            CheckBackoff::Evidence { .. } => FROZEN_FOR,
            CheckBackoff::Rfc => return,
        };
        let Some(pair) = self.pairs.get(id) else { return };
        let PairState::InProgress { since } = pair.state else { return };
        let foundation = pair.foundation;
        if now >= since + frozen_for {
            self.unfreeze(foundation);
        }
    }

    /// Follows an unanswered transaction with a fresh one, until the pair is decided or has had
    /// its whole time.
    fn retry(&mut self, id: PairId, kind: CheckKind, core: &mut Core, cx: &Context<'_>) {
        let Some(pair) = self.pairs.get(id) else { return };
        let nominating = self.components.iter().any(|c| c.nominating == Some(id));
        if self.is_nomination_hopeless(id, core, cx.now) {
            // A peer that follows no later nomination may still follow this one.
            match self.renomination {
                true => self.fail_pair(id, PairFailure::Timeout, core),
                false => self.give_up_pair(id, PairFailure::Timeout),
            }
            self.stop_retries(id);
            self.trace(id, core, "pair failed: nomination not answered");
            return;
        }
        let again = match (kind, pair.state) {
            (CheckKind::Nomination(_), PairState::Succeeded) => nominating,
            (CheckKind::Connectivity, PairState::InProgress { since }) => {
                if cx.now >= since + core.config.patience {
                    self.fail_pair(id, PairFailure::Timeout, core);
                    self.trace(id, core, "pair failed: timeout");
                    return;
                }
                true
            }
            (
                CheckKind::Connectivity
                | CheckKind::Nomination(_)
                | CheckKind::Consent
                | CheckKind::Verification,
                _,
            ) => false,
        };
        match (again, nominating) {
            (true, true) => self.queue_nomination(id, core, cx.now),
            (true, false) => self.check_again(id),
            (false, _) => {}
        }
    }

    /// A transaction ended without an answer. [rfc8445-7.2.5.2.3-1] [rfc8489-9.1.4-3]
    fn timed_out(&mut self, check: &Check, core: &mut Core) {
        let reason = check.refused.unwrap_or(PairFailure::Timeout);
        let Some(pair) = self.pairs.get(check.pair) else { return };
        // What asks whether the pair works says nothing of a nomination.
        let nominates = matches!(check.kind, CheckKind::Nomination(_));
        let other = self.checks.iter().any(|other| {
            let decides = match other.kind {
                CheckKind::Nomination(_) => true,
                CheckKind::Connectivity => !nominates,
                CheckKind::Consent | CheckKind::Verification => false,
            };
            other.pair == check.pair && decides
        });
        let fails = match check.kind {
            CheckKind::Connectivity => {
                matches!(pair.state, PairState::InProgress { .. }) && !other && !pair.triggered
            }
            // A nomination that nobody answers; with fresh transactions it is tried again.
            CheckKind::Nomination(_) => {
                let nominating = self.components.iter().any(|c| c.nominating == Some(check.pair));
                nominating && !other && !pair.triggered
            }
            CheckKind::Consent | CheckKind::Verification => false,
        };
        if fails {
            self.fail_pair(check.pair, reason, core);
            self.trace(check.pair, core, "pair failed: no answer");
        }
    }

    /// Takes the response to one of our checks. [rfc8445-7.2.5-p1]
    pub(super) fn handle_response(
        &mut self,
        core: &mut Core,
        cx: &mut Context<'_>,
        base: BaseId,
        from: SocketAddr,
        message: &Message<'_>,
    ) -> Result<(), DropReason> {
        let id = message.transaction_id();
        if planted(Bug::StrayAnswerIsConsent) {
            let valid = self.pairs.iter_mut().filter_map(|(_, pair)| pair.valid.as_mut());
            valid.for_each(|valid| _ = valid.consent.renew(cx.now));
        }
        let index = self
            .checks
            .iter()
            .position(|check| check.id == id)
            .ok_or(DropReason::UnknownTransaction)?;
        let check = self.checks.get(index).ok_or(DropReason::UnknownTransaction)?.clone();
        let authenticated = self.authenticate(index, message)?;
        // Mirrored addresses, or the pair fails. A pair that works is not given up for a copy that
        // somebody sends from elsewhere: it gains nothing by it. [rfc8445-7.2.5.2.1-1]
        // [rfc8445-7.2.5.2.1-2a] [rfc8445-7.2.5.2.1-2b] [rfc8445-7.2.5.2.1-3]
        // A conflict of roles is one wherever the answer comes from: two sides whose NATs answer
        // from new ports would never end it. [rfc8445-7.2.5.1-1]
        let code = authenticated.error_code().map_or(0, |error| error.code());
        let conflict = authenticated.class() == MessageClass::Error && code == 487;
        if (check.base != base || check.to != from) && !conflict {
            if self.pairs.get(check.pair).is_none_or(|pair| pair.valid.is_none()) {
                self.finish(index, core);
                self.fail_pair(check.pair, PairFailure::Asymmetric, core);
            }
            return Err(DropReason::Asymmetric);
        }
        let understood = authenticated.unknown_required(super::is_known).next().is_none();
        let now = cx.now;
        if let Some(pair) = self.pairs.get_mut(check.pair) {
            let remote = pair.remote;
            pair.counters.responses_received = pair.counters.responses_received.saturating_add(1);
            // What comes from elsewhere tells nothing of the address that was asked.
            if check.to == from {
                if let Some(stream) = self.remote_stream_mut(remote.stream) {
                    stream.answered(remote, now);
                }
                core.strangers.forgive(from.ip());
            }
        }
        match authenticated.class() {
            MessageClass::Success => {
                let mapped = authenticated
                    .xor_mapped_address()
                    .filter(|_| understood)
                    .map(crate::net::canonical);
                let Some(mapped) = mapped else {
                    // It cannot be used, so the transaction fails. [rfc8489-6.3.3-p1]
                    self.finish(index, core);
                    self.check_refused(&check, PairFailure::Refused(0), core);
                    return Err(DropReason::MissingAttribute);
                };
                self.sample_rtt(&check, now);
                self.finish(index, core);
                self.check_succeeded(&check, mapped, core, cx);
            }
            MessageClass::Error => {
                self.finish(index, core);
                self.handle_error(&check, code, core, cx);
            }
            MessageClass::Request | MessageClass::Indication => {
                return Err(DropReason::UnexpectedMessage);
            }
        }
        Ok(())
    }

    /// Verifies a response with the password that the request was made with. One that fails is as
    /// if it had never come, whatever it says, but is remembered as the reason. [rfc8489-9.1.4-1]
    /// [rfc8489-9.1.4-2] [rfc8489-9.1.4-3] [rfc7675-5.2-1]
    fn authenticate<'m>(
        &mut self,
        index: usize,
        message: &Message<'m>,
    ) -> Result<Authenticated<'m>, DropReason> {
        let pair = self.checks.get(index).map(|check| check.pair);
        let stream = pair.and_then(|pair| self.pairs.get(pair)).map(|pair| pair.component.stream());
        let remote = stream.and_then(|stream| self.remote_stream(stream));
        let remote = remote.ok_or(DropReason::UnknownTransaction)?;
        match message.verify(&remote.key) {
            Ok(authenticated) => Ok(authenticated),
            Err(_) => {
                let missing = !message.has_integrity();
                let hint = message.error_code().map(|error| error.code()).filter(|_| missing);
                if let Some(check) = self.checks.get_mut(index) {
                    check.refused = Some(hint.map_or(PairFailure::Integrity, PairFailure::Refused));
                }
                Err(if missing { DropReason::Unauthenticated } else { DropReason::Integrity })
            }
        }
    }

    fn finish(&mut self, index: usize, core: &mut Core) {
        if index < self.checks.len() {
            core.ended.push(self.checks.remove(index).id);
        }
    }

    fn sample_rtt(&mut self, check: &Check, now: Instant) {
        let Some(rtt) = check.timing.rtt(now) else { return };
        if let Some(pair) = self.pairs.get_mut(check.pair) {
            pair.counters.current_round_trip_time = Some(rtt);
            pair.counters.total_round_trip_time =
                pair.counters.total_round_trip_time.saturating_add(rtt);
        }
    }

    /// [rfc8445-7.2.5.3.2-p1] [rfc8445-7.2.5.3.3-p1]
    fn check_succeeded(
        &mut self,
        check: &Check,
        mapped: SocketAddr,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) {
        let local = self.mapped_candidate(check.base, mapped, core);
        let Some(pair) = self.pairs.get_mut(check.pair) else { return };
        if matches!(pair.state, PairState::Failed(PairFailure::ConsentLost)) {
            // Lost consent is not regained with the same credentials. [rfc7675-5.1-13]
            return;
        }
        if pair.valid.as_ref().is_some_and(|valid| !valid.consent.is_fresh(cx.now)) {
            // It comes too late, though no timer has said so yet. [rfc7675-5.1-p2]
            self.lose_consent(check.pair, core, cx);
            return;
        }
        let foundation = pair.foundation;
        let local = local.unwrap_or(pair.local);
        pair.conflicts = 0;
        let was_open = pair.state != PairState::Succeeded;
        pair.state = PairState::Succeeded;
        let (mut recovered, mut moved) = (false, false);
        match &mut pair.valid {
            Some(valid) => {
                recovered = valid.consent.renew(cx.now);
                moved = valid.local != local;
                valid.local = local;
            }
            None => {
                let random = core.jitter(cx.seed);
                let interval = Consent::interval(&core.config, random);
                pair.valid = Some(Valid {
                    local,
                    since: cx.now,
                    nominated: false,
                    nominated_at: None,
                    consent: Consent::granted(cx.now, interval),
                });
            }
        }
        let nominated = pair.nomination_pending.take();
        let component = pair.component;
        self.stop_retries(check.pair);
        if was_open {
            if !self.stays_triggered(check.pair, core) {
                self.unqueue(check.pair);
            }
            self.unfreeze(foundation);
            self.trace(check.pair, core, "pair is valid");
        }
        if was_open && let Some(rtt) = check.timing.rtt(cx.now) {
            self.follow_move(check.pair, rtt, core, cx.now);
        }
        if recovered {
            self.trace(check.pair, core, "pair answers again");
        }
        if moved {
            core.signs.push(super::Sign::Moved(check.base));
            if self.renominate_moved(component, check.pair, core, cx) {
                return;
            }
        }
        match (check.kind, core.role) {
            // [rfc8445-7.2.5.3.4-p1]
            (CheckKind::Nomination(_), Role::Controlling) => {
                self.nomination_succeeded(check.pair, core, cx);
            }
            // [rfc8445-7.2.5.3.4-p2]
            (CheckKind::Connectivity | CheckKind::Consent | CheckKind::Verification, _)
            | (CheckKind::Nomination(_), Role::Controlled) => {
                if let Some(nominated) = nominated {
                    self.follow_nomination(check.pair, nominated, core, cx);
                }
            }
        }
    }

    /// After an answer no transaction of the pair is repeated; those under way may be answered.
    fn stop_retries(&mut self, id: PairId) {
        let nominating = self.components.iter().any(|c| c.nominating == Some(id));
        for check in self.checks.iter_mut().filter(|check| check.pair == id) {
            match check.kind {
                CheckKind::Nomination(_) if nominating => {}
                CheckKind::Connectivity
                | CheckKind::Consent
                | CheckKind::Verification
                | CheckKind::Nomination(_) => {
                    check.retry_at = None;
                    check.resend = false;
                    check.timing.stop_retransmitting();
                }
            }
        }
    }

    /// Finds the local candidate that the peer saw, or learns it as a peer-reflexive one; that is
    /// not paired by itself. [rfc8445-7.2.5.3.1-1] [rfc8445-7.2.5.3.1-p1]
    fn mapped_candidate(
        &self,
        base: BaseId,
        mapped: SocketAddr,
        core: &mut Core,
    ) -> Option<LocalId> {
        if let Some(known) = core.local.find(base, mapped) {
            return Some(known);
        }
        if core.local.peer_reflexive() >= LOCAL_PEER_REFLEXIVE {
            return None;
        }
        core.local.add_candidate(CandidateKind::PeerReflexive, base, mapped, None, false)
    }

    fn handle_error(&mut self, check: &Check, code: u16, core: &mut Core, cx: &mut Context<'_>) {
        match code {
            487 => self.role_conflict(check, core, cx),
            // Only an authenticated one comes here. [rfc7675-5.2-p1]
            403 => {
                self.fail_pair(check.pair, PairFailure::ConsentLost, core);
                self.trace(check.pair, core, "peer revoked its consent");
            }
            code => self.check_refused(check, PairFailure::Refused(code), core),
        }
    }

    /// An error is the end of the transaction, and no error has the check sent again.
    /// [rfc8445-7.2.5.2.4-1] [rfc8489-6.3.4-p1] [rfc8489-6.3.4-1] [rfc8489-6.3.4-2b]
    /// [rfc8489-6.3.4-3] [rfc8489-14.8-8]
    fn check_refused(&mut self, check: &Check, reason: PairFailure, core: &mut Core) {
        match check.kind {
            CheckKind::Connectivity | CheckKind::Nomination(_) => {
                self.fail_pair(check.pair, reason, core);
                self.trace(check.pair, core, "pair failed: refused");
            }
            // No consent comes of it, but consent lasts until it expires.
            CheckKind::Consent | CheckKind::Verification => {}
        }
    }

    /// The peer has our role. We switch against the role that *the request* claimed, so that two
    /// answers make one switch. [rfc8445-7.2.5.1-1] [rfc8445-7.2.5.1-2] [rfc8445-7.2.5.1-3]
    /// [rfc8445-7.2.5.1-4] [rfc8445-16.1-1b] [rfc8445-16.1-3b]
    fn role_conflict(&mut self, check: &Check, core: &mut Core, cx: &mut Context<'_>) {
        // Which role we have in the generation that followed is told by its own checks.
        if self.retired {
            self.check_refused(check, PairFailure::Refused(487), core);
            return;
        }
        if let Some(pair) = self.pairs.get_mut(check.pair) {
            pair.conflicts = pair.conflicts.saturating_add(1);
            if pair.conflicts > CONFLICTS {
                self.check_refused(check, PairFailure::Refused(487), core);
                return;
            }
        }
        let role = match check.role {
            Role::Controlling => Role::Controlled,
            Role::Controlled => Role::Controlling,
        };
        if core.role != role {
            core.new_tie_breaker(cx.seed);
            self.switch_role(role, core, cx);
        }
        let Some(pair) = self.pairs.get_mut(check.pair) else { return };
        match pair.state {
            // It stays valid, and is checked again in the new role.
            PairState::Succeeded => {}
            PairState::Frozen
            | PairState::Waiting
            | PairState::InProgress { .. }
            | PairState::Failed(_) => pair.state = PairState::Waiting,
        }
        self.trigger(check.pair);
    }

    /// The network said that `to` cannot be reached from `base`. It is only a hint that anybody
    /// could forge, so it fails no pair by itself: it tells why one failed that nobody answers.
    /// [rfc8445-7.2.5.2.2-1]
    pub(super) fn handle_unreachable(&mut self, base: BaseId, to: SocketAddr) {
        for check in self.checks.iter_mut().filter(|c| c.base == base && c.to == to) {
            check.refused.get_or_insert(PairFailure::Unreachable);
        }
    }

    /// When the next check, consent or keepalive is due; `paced` leaves new checks out, which the
    /// endpoint starts when its pacer says so.
    pub(super) fn check_deadline(&self, core: &Core, paced: bool) -> Option<Instant> {
        let mut deadline = None;
        for check in &self.checks {
            let at = if check.resend { Instant::ZERO } else { check.timing.deadline() };
            deadline = earlier(deadline, Some(at));
            deadline = earlier(deadline, check.retry_at);
        }
        if !core.is_lite() {
            for (id, pair) in self.pairs.iter() {
                if let Some(valid) = &pair.valid {
                    deadline = earlier(
                        deadline,
                        match self.wants_consent(id, pair, core) {
                            true => Some(valid.consent.deadline(core.config.consent)),
                            false => Some(valid.consent.expiry()),
                        },
                    );
                }
            }
        }
        for id in self.components.iter().filter_map(|component| component.selected) {
            let at = self.pairs.get(id).map(|pair| pair.last_sent + core.tr());
            deadline = earlier(deadline, at);
        }
        if !paced && self.has_next(Instant::ZERO, core) {
            deadline = earlier(deadline, Some(self.next_start()));
        } else if !paced && let Some(ends) = self.rest_ends(core) {
            deadline = earlier(deadline, Some(ends.max(self.next_check)));
        }
        deadline
    }

    /// Whether a transaction is ours.
    pub(super) fn has_check(&self, id: TransactionId) -> bool {
        self.checks.iter().any(|check| check.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [rfc8445-14.3-2] [rfc8445-14.3-4]
    #[test]
    fn the_rto_grows_with_the_pairs_under_way_and_is_never_below_half_a_second() {
        let mut config = Retransmission::default();
        let rto = |config: &_, pending| check_rto(config, Duration::from_millis(50), pending);
        assert_eq!(rto(&config, 1), Duration::from_millis(500));
        assert_eq!(rto(&config, 100), Duration::from_millis(5_000));
        config.rto = Duration::from_millis(100);
        assert_eq!(rto(&config, 1), Duration::from_millis(500));
    }
}
