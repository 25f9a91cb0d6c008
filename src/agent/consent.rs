//! Consent to send, and keepalives: the life of a pair after it became valid.
//! [RFC 7675] [RFC 8445 §11]
//!
//! A consent check is sent once and never repeated. When its answer is missing, ordinary checks
//! verify the pair, five of them within two seconds; their responses are as good. Data that was
//! flowing and stops has the pair verified at once. Nothing but a matching response renews consent.

use core::time::Duration;

use crate::canary::{Bug, planted};
use crate::config::{AgentConfig, ConsentMode};
use crate::time::{Instant, earlier};

/// How long consent lasts after the last response. [rfc7675-5.1-2] [rfc9725-4.2-7]
pub(super) const CONSENT_LIFETIME: Duration = Duration::from_secs(30);
/// The least time between consent checks. [rfc7675-5.1-5]
const CONSENT_MINIMUM: Duration = Duration::from_secs(4);
/// How long without a response until a restart is recommended, ahead of the expiry.
pub(super) const RESTART_ADVISED: Duration = Duration::from_secs(20);
/// Checks that verify a pair before it counts as silent. At 5 % loss each way a consent check and
/// all of these go unanswered once in 1.2 million, so two sides that send 7,200 consent checks each
/// in 10 hours are wrong once in 80 times.
const VERIFICATIONS: usize = 5;
/// When a missed answer is verified, in milliseconds after the consent check was sent.
const MISSED: [u16; VERIFICATIONS] = [500, 900, 1_300, 1_700, 2_000];
/// The same after a suspicion, which is no check itself.
const SUSPECTED: [u16; VERIFICATIONS] = [0, 300, 600, 900, 1_200];
/// How long after a pair was found silent others are given to take its place.
const RELIEF: Duration = Duration::from_millis(500);
/// How long the last verification waits.
const VERIFY_WAIT: Duration = Duration::from_millis(500);
/// Without verification: how long the second consent check in a row waits.
const STRICT_WAIT: Duration = Duration::from_secs(2);
/// What a long round trip puts off at most.
const SLACK_MAX: u16 = 3_000;

/// What is to be sent on a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConsentCheck {
    /// The regular one: counted as a consent request.
    Regular,
    /// An ordinary check that verifies a pair whose answer is missing.
    Verification,
}

/// What the passing of time means for a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConsentStep {
    /// Nothing.
    Fresh,
    /// Verification failed, but data still comes: one direction may be dead.
    Deaf,
    /// Verification failed: the pair is not heard of any more.
    Silent,
    /// It is still not heard of, though other pairs had the time to be checked.
    StillSilent,
    /// A restart should be started now.
    RestartAdvised,
    /// Consent expired: nothing may be sent. [rfc7675-5.1-1] [rfc7675-5.1-2]
    Expired,
}

/// Data in a second, at least, whose end tells something.
const FLOWING: u64 = 4;
/// The span in which data is counted.
const WINDOW: Duration = Duration::from_secs(1);
/// How long no data comes before the pair is verified: as long as six datagrams would take, within
/// these bounds.
const SILENCE: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// The data that comes over a pair: when it was flowing and stops, the pair is verified.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    /// When it is looked at next: never while nothing comes.
    due: Instant,
    /// Since when datagrams are counted.
    since: Instant,
    /// The count of the pair at that time.
    count: u32,
    /// Datagrams per second in the two windows before.
    rates: [u16; 2],
}

impl Default for Flow {
    fn default() -> Self {
        Self { due: Instant::MAX, since: Instant::ZERO, count: 0, rates: [0; 2] }
    }
}

impl Flow {
    /// Notes that a datagram came, the first one after `count` others if nothing was flowing.
    /// Returns whether it was.
    pub(super) fn begin(&mut self, now: Instant, count: u64) -> bool {
        let first = self.due == Instant::MAX;
        if first {
            *self = Self { due: now + WINDOW, since: now, count: low(count), rates: [0; 2] };
        }
        first
    }

    pub(super) const fn due(&self) -> Instant {
        self.due
    }

    /// Looks at what came by `now`: `count` datagrams, the last one at `last`. Returns whether data
    /// was flowing and has stopped.
    pub(super) fn look(&mut self, now: Instant, count: u64, last: Instant) -> bool {
        let elapsed = now.since(self.since);
        if elapsed >= WINDOW {
            let came = u128::from(low(count).wrapping_sub(self.count)) * WINDOW.as_nanos();
            let rate = u16::try_from(came / elapsed.as_nanos()).unwrap_or(u16::MAX);
            self.rates = [rate, self.rates[0]];
            self.since = now;
            self.count = low(count);
        }
        let rate = u64::from(self.rates[0].max(self.rates[1]));
        let stops = (rate >= FLOWING).then(|| {
            let patience = Duration::from_millis(6_000 / rate).clamp(SILENCE[0], SILENCE[1]);
            last + patience
        });
        let stopped = stops.is_some_and(|at| now >= at);
        if stopped || self.rates == [0; 2] && elapsed >= WINDOW {
            *self = Self::default();
            return stopped;
        }
        self.due = stops.map_or(self.since + WINDOW, |at| at.min(self.since + WINDOW));
        false
    }
}

fn low(count: u64) -> u32 {
    u32::try_from(count & u64::from(u32::MAX)).unwrap_or_default()
}

/// The consent of one pair.
#[derive(Clone, Copy, Debug)]
pub(super) struct Consent {
    /// When the last matching response came; expiry counts from here. [rfc7675-5.1-p3]
    renewed: Instant,
    /// When the next consent check is sent.
    next: Instant,
    /// When the last consent check was sent, or a suspicion arose, while no answer came since.
    unanswered: Option<Instant>,
    /// Verifications sent for it.
    verified: u8,
    /// Consent checks in a row without an answer.
    missed: u8,
    /// It was a suspicion.
    suspected: bool,
    silent: bool,
    advised: bool,
    /// When other pairs should have taken its place, in milliseconds after `renewed`; 0 if nobody
    /// waits for that.
    relief: u16,
    /// How much later an answer counts as missing than on a short path, in milliseconds.
    slack: u16,
}

impl Consent {
    /// Consent as an answered check grants it.
    pub(super) fn granted(now: Instant, interval: Duration) -> Self {
        Self {
            renewed: now,
            next: now + interval,
            unanswered: None,
            verified: 0,
            missed: 0,
            suspected: false,
            silent: false,
            advised: false,
            relief: 0,
            slack: 0,
        }
    }

    /// An answer takes `rtt`: none is missing before one and a half times that.
    pub(super) fn allow_for(&mut self, rtt: Duration) {
        let late = (rtt * 3 / 2).saturating_sub(Duration::from_millis(MISSED[0].into()));
        self.slack = u16::try_from(late.as_millis()).unwrap_or(u16::MAX).min(SLACK_MAX);
    }

    /// Draws the time until the next check: the period times 0.8 to 1.2, at least 4 s.
    /// [rfc7675-5.1-3] [rfc7675-5.1-5]
    pub(super) fn interval(config: &AgentConfig, random: u64) -> Duration {
        let spread = 800 + random % 401;
        let millis = u64::try_from(config.consent_period.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(millis.saturating_mul(spread) / 1_000).max(CONSENT_MINIMUM)
    }

    /// A matching response came. After the expiry it means nothing. [rfc7675-5.1-p2]
    ///
    /// Returns whether the pair had been silent.
    pub(super) fn renew(&mut self, now: Instant) -> bool {
        let was_silent = self.silent;
        self.renewed = now;
        self.unanswered = None;
        self.verified = 0;
        self.missed = 0;
        self.suspected = false;
        self.silent = false;
        self.advised = false;
        self.relief = 0;
        was_silent
    }

    /// Something suggests that the pair is dead: it is verified now. Without verification nothing
    /// but consent checks tells.
    pub(super) fn suspect(&mut self, now: Instant, mode: ConsentMode) {
        match mode {
            ConsentMode::Strict => {}
            // A suspicion is settled sooner than a missed answer, unless that is old.
            ConsentMode::Verify
                if self.unanswered.is_some() && (self.suspected || self.is_worrying()) => {}
            ConsentMode::Verify => {
                self.unanswered = Some(now);
                self.suspected = true;
                self.verified = 0;
            }
        }
    }

    /// The peer has left the pair: it counts as silent until it answers.
    pub(super) fn leave(&mut self, now: Instant, mode: ConsentMode) {
        if mode == ConsentMode::Verify {
            self.suspect(now, mode);
            self.silent = true;
        }
    }

    /// Since when an answer is missing.
    pub(super) fn unanswered(&self) -> Option<Instant> {
        self.unanswered
    }

    /// Whether two checks are unanswered, so that the reserve is worth a look.
    pub(super) fn is_worrying(&self) -> bool {
        self.unanswered.is_some() && self.verified > u8::from(self.suspected)
    }

    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        if planted(Bug::SecondsWrap) {
            let seconds = |at: Instant| (at.as_nanos() / 1_000_000_000) & 0xFFFF;
            return seconds(now) <= seconds(self.expiry());
        }
        now < self.renewed + CONSENT_LIFETIME
    }

    /// Whether so much of it is over that a restart is recommended.
    pub(super) fn is_expiring(&self, now: Instant) -> bool {
        now >= self.renewed + RESTART_ADVISED
    }

    /// When consent ends unless a response comes.
    pub(super) fn expiry(&self) -> Instant {
        self.renewed + CONSENT_LIFETIME
    }

    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    /// What is due for sending at `now`.
    pub(super) fn due(&self, now: Instant, mode: ConsentMode) -> Option<ConsentCheck> {
        if now >= self.next {
            return Some(ConsentCheck::Regular);
        }
        let verification = self.next_verification(mode)?;
        (now >= verification).then_some(ConsentCheck::Verification)
    }

    fn next_verification(&self, mode: ConsentMode) -> Option<Instant> {
        match mode {
            ConsentMode::Strict => None,
            ConsentMode::Verify => {
                let after = self.schedule().get(usize::from(self.verified))?;
                // What verifies a suspicion waits for no answer.
                let slack = if self.suspected { Duration::ZERO } else { self.slack() };
                Some(self.unanswered? + Duration::from_millis((*after).into()) + slack)
            }
        }
    }

    const fn slack(&self) -> Duration {
        Duration::from_millis(self.slack as u64)
    }

    const fn schedule(&self) -> &'static [u16; VERIFICATIONS] {
        if self.suspected { &SUSPECTED } else { &MISSED }
    }

    /// Notes that the check that was due went out.
    pub(super) fn sent(&mut self, now: Instant, check: ConsentCheck, interval: Duration) {
        match check {
            ConsentCheck::Regular => {
                self.missed = self.missed.saturating_add(u8::from(self.unanswered.is_some()));
                self.next = now + interval;
                // It does not put off the end of a suspicion.
                if !self.suspected || self.silent || self.unanswered.is_none() {
                    self.unanswered = Some(now);
                    self.suspected = false;
                    self.verified = 0;
                }
            }
            ConsentCheck::Verification => self.verified = self.verified.saturating_add(1),
        }
    }

    /// When the pair counts as silent if nothing comes.
    fn silent_at(&self, mode: ConsentMode) -> Option<Instant> {
        if self.silent {
            return None;
        }
        let last = self.schedule().last().copied().unwrap_or_default();
        let since = self.unanswered? + self.slack();
        match mode {
            ConsentMode::Verify => (usize::from(self.verified) == VERIFICATIONS)
                .then_some(since + Duration::from_millis(last.into()) + VERIFY_WAIT),
            // One missing answer is no disconnect: the second one in a row is.
            ConsentMode::Strict => (self.missed > 0).then_some(since + STRICT_WAIT),
        }
    }

    /// Advances to `now`; `heard` is when anything authenticated or any data last came.
    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
        mode: ConsentMode,
        heard: Option<Instant>,
    ) -> ConsentStep {
        if !self.is_fresh(now) {
            return ConsentStep::Expired;
        }
        if self.relief_at().is_some_and(|at| now >= at) {
            self.relief = 0;
            if heard.is_none_or(|at| at + RELIEF < now) {
                return ConsentStep::StillSilent;
            }
            // Data comes again: it is verified anew.
            self.unanswered = Some(now);
            self.suspected = true;
            self.verified = 0;
        }
        if !self.advised && self.is_expiring(now) {
            self.advised = true;
            return ConsentStep::RestartAdvised;
        }
        if self.silent_at(mode).is_some_and(|at| now >= at) {
            self.silent = true;
            // Data that still comes defers the alarm, not the expiry.
            let talking = heard.is_some_and(|at| Some(at) >= self.unanswered);
            if talking {
                self.silent = false;
                self.unanswered = None;
                self.suspected = false;
                self.verified = 0;
                return ConsentStep::Deaf;
            }
            if mode == ConsentMode::Verify {
                let relief = (now.since(self.renewed) + RELIEF).as_millis();
                self.relief = u16::try_from(relief).unwrap_or_default();
            }
            return ConsentStep::Silent;
        }
        ConsentStep::Fresh
    }

    fn relief_at(&self) -> Option<Instant> {
        let after = Duration::from_millis(self.relief.into());
        (self.relief > 0).then(|| self.renewed + after)
    }

    /// The next time that something is due.
    pub(super) fn deadline(&self, mode: ConsentMode) -> Instant {
        let advise = (!self.advised).then_some(self.renewed + RESTART_ADVISED);
        let sending = earlier(Some(self.next), self.next_verification(mode));
        let judging = earlier(earlier(self.silent_at(mode), self.relief_at()), advise);
        let all = earlier(earlier(sending, judging), Some(self.renewed + CONSENT_LIFETIME));
        all.unwrap_or(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Role;

    const START: Instant = Instant::from_millis(1_000_000);

    fn after(millis: u64) -> Instant {
        START + Duration::from_millis(millis)
    }

    /// [rfc7675-5.1-3] [rfc7675-5.1-4] [rfc7675-5.1-5]
    #[test]
    fn intervals_are_four_to_six_seconds() {
        let config = AgentConfig::new(Role::Controlling);
        let all: Vec<_> = (0..401).map(|random| Consent::interval(&config, random)).collect();
        assert_eq!(all.iter().min(), Some(&Duration::from_secs(4)));
        assert_eq!(all.iter().max(), Some(&Duration::from_secs(6)));
    }

    /// [rfc7675-5.1-2] [rfc7675-5.1-p3]
    #[test]
    fn consent_expires_thirty_seconds_after_the_last_response() {
        let mut consent = Consent::granted(START, Duration::from_secs(5));
        assert!(consent.is_fresh(after(29_999)));
        assert!(!consent.is_fresh(after(30_000)));
        consent.sent(after(29_000), ConsentCheck::Regular, Duration::from_secs(5));
        assert!(!consent.is_fresh(after(30_000)));
        let step = consent.handle_timeout(after(30_000), ConsentMode::Verify, None);
        assert_eq!(step, ConsentStep::Expired);
    }

    #[test]
    fn a_missed_answer_is_verified_five_times_before_the_alarm() {
        let mut consent = Consent::granted(START, Duration::from_secs(5));
        let mode = ConsentMode::Verify;
        assert_eq!(consent.due(after(4_999), mode), None);
        assert_eq!(consent.due(after(5_000), mode), Some(ConsentCheck::Regular));
        consent.sent(after(5_000), ConsentCheck::Regular, Duration::from_secs(5));
        for millis in [5_500, 5_900, 6_300, 6_700, 7_000] {
            assert_eq!(consent.due(after(millis - 1), mode), None);
            assert_eq!(consent.due(after(millis), mode), Some(ConsentCheck::Verification));
            consent.sent(after(millis), ConsentCheck::Verification, Duration::ZERO);
        }
        assert_eq!(consent.handle_timeout(after(7_499), mode, None), ConsentStep::Fresh);
        assert_eq!(consent.deadline(mode), after(7_500));
        assert_eq!(consent.handle_timeout(after(7_500), mode, None), ConsentStep::Silent);
        assert!(consent.renew(after(7_600)));
        assert!(!consent.is_silent());
    }

    #[test]
    fn a_suspicion_is_verified_at_once_and_settled_in_less_than_two_seconds() {
        let mut consent = Consent::granted(START, Duration::from_secs(5));
        let mode = ConsentMode::Verify;
        consent.suspect(after(1_000), mode);
        for millis in [1_000, 1_300, 1_600, 1_900, 2_200] {
            assert_eq!(consent.due(after(millis), mode), Some(ConsentCheck::Verification));
            consent.sent(after(millis), ConsentCheck::Verification, Duration::ZERO);
        }
        assert_eq!(consent.handle_timeout(after(2_699), mode, None), ConsentStep::Fresh);
        assert_eq!(consent.handle_timeout(after(2_700), mode, None), ConsentStep::Silent);
        assert_eq!(consent.handle_timeout(after(3_199), mode, None), ConsentStep::Fresh);
        assert_eq!(consent.handle_timeout(after(3_200), mode, None), ConsentStep::StillSilent);
        assert_eq!(consent.handle_timeout(after(3_200), mode, None), ConsentStep::Fresh);
    }

    #[test]
    fn on_a_long_path_an_answer_is_missed_no_sooner_than_it_can_come() {
        let mut consent = Consent::granted(START, Duration::from_secs(5));
        let mode = ConsentMode::Verify;
        consent.allow_for(Duration::from_millis(800));
        consent.sent(after(5_000), ConsentCheck::Regular, Duration::from_secs(5));
        assert_eq!(consent.due(after(6_199), mode), None);
        assert_eq!(consent.due(after(6_200), mode), Some(ConsentCheck::Verification));
        for _ in MISSED {
            consent.sent(after(6_200), ConsentCheck::Verification, Duration::ZERO);
        }
        assert_eq!(consent.handle_timeout(after(8_199), mode, None), ConsentStep::Fresh);
        assert_eq!(consent.handle_timeout(after(8_200), mode, None), ConsentStep::Silent);
        consent.allow_for(Duration::from_secs(60));
        assert_eq!(consent.slack(), Duration::from_secs(3));
        consent.allow_for(Duration::from_millis(333));
        assert_eq!(consent.slack(), Duration::ZERO);
    }

    #[test]
    fn when_strict_nothing_but_consent_checks_tells() {
        let mut consent = Consent::granted(START, Duration::from_secs(5));
        let mode = ConsentMode::Strict;
        consent.suspect(after(1_000), mode);
        consent.leave(after(1_000), mode);
        assert!(!consent.is_silent());
        assert_eq!(consent.due(after(4_999), mode), None);
    }

    /// Lets a datagram come every `gap` for `lasts`, and says when the end of it is noticed.
    fn silence(gap: u64, lasts: u64) -> Option<u64> {
        let mut flow = Flow::default();
        let mut last = START;
        for millis in 0..lasts + 5_000 {
            let count = millis.min(lasts) / gap;
            if millis < lasts && millis % gap == 0 {
                flow.begin(after(millis), count);
                last = after(millis);
            }
            if flow.due() <= after(millis) && flow.look(after(millis), count + 1, last) {
                return Some(after(millis).since(last).as_millis() as u64);
            }
            assert!(flow.due() > after(millis));
        }
        None
    }

    #[test]
    fn data_that_stops_is_noticed_within_a_second_if_enough_was_flowing() {
        assert_eq!(silence(20, 10_000), Some(200));
        assert_eq!(silence(100, 10_000), Some(600));
        assert_eq!(silence(250, 10_000), Some(1_000));
        // Fewer than four datagrams in a second, or less than a second of them, are no flow.
        assert_eq!(silence(400, 10_000), None);
        assert_eq!(silence(250, 600), None);
    }

    #[test]
    fn one_lost_answer_is_no_disconnect_even_when_strict() {
        let mut consent = Consent::granted(START, Duration::from_secs(5));
        let mode = ConsentMode::Strict;
        consent.sent(after(5_000), ConsentCheck::Regular, Duration::from_secs(5));
        assert_eq!(consent.handle_timeout(after(9_000), mode, None), ConsentStep::Fresh);
        consent.sent(after(10_000), ConsentCheck::Regular, Duration::from_secs(5));
        assert_eq!(consent.handle_timeout(after(12_000), mode, None), ConsentStep::Silent);
    }

    #[test]
    fn data_defers_the_alarm_but_not_the_expiry() {
        let mut consent = Consent::granted(START, Duration::from_secs(5));
        let mode = ConsentMode::Verify;
        consent.sent(after(5_000), ConsentCheck::Regular, Duration::from_secs(5));
        for millis in [5_500, 5_900, 6_300, 6_700, 7_000] {
            consent.sent(after(millis), ConsentCheck::Verification, Duration::ZERO);
        }
        let heard = Some(after(7_400));
        assert_eq!(consent.handle_timeout(after(7_500), mode, heard), ConsentStep::Deaf);
        let heard = Some(after(29_999));
        assert_eq!(consent.handle_timeout(after(30_000), mode, heard), ConsentStep::Expired);
    }
}
