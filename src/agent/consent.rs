//! Consent to send, and keepalives: the life of a pair after it became valid.
//! [RFC 7675] [RFC 8445 §11]
//!
//! A consent check is sent once and never repeated. When its answer is missing, ordinary checks
//! verify the pair at half a second, one and two seconds after it was sent; their responses are
//! as good. Nothing but a matching response renews consent.

use core::time::Duration;

use crate::canary::{Bug, planted};
use crate::config::{AgentConfig, ConsentMode};
use crate::time::{Instant, earlier};

/// How long consent lasts after the last response. [rfc7675-5.1-2]
pub(super) const CONSENT_LIFETIME: Duration = Duration::from_secs(30);
/// The least time between consent checks. [rfc7675-5.1-5]
const CONSENT_MINIMUM: Duration = Duration::from_secs(4);
/// How long without a response until a restart is recommended, ahead of the expiry.
pub(super) const RESTART_ADVISED: Duration = Duration::from_secs(20);
/// When a missed answer is verified, after the consent check was sent.
const VERIFY_AFTER: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_millis(1_000), Duration::from_millis(2_000)];
/// How long the last verification waits.
const VERIFY_WAIT: Duration = Duration::from_millis(500);

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
    /// A restart should be started now.
    RestartAdvised,
    /// Consent expired: nothing may be sent. [rfc7675-5.1-1] [rfc7675-5.1-2]
    Expired,
}

/// The consent of one pair.
#[derive(Clone, Copy, Debug)]
pub(super) struct Consent {
    /// When the last matching response came; expiry counts from here. [rfc7675-5.1-p3]
    renewed: Instant,
    /// When the next consent check is sent.
    next: Instant,
    /// When the last consent check was sent, while its answer is missing.
    unanswered: Option<Instant>,
    /// Verifications sent for it.
    verified: u8,
    /// Consent checks in a row without an answer.
    missed: u8,
    silent: bool,
    advised: bool,
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
            silent: false,
            advised: false,
        }
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
        self.silent = false;
        self.advised = false;
        was_silent
    }

    /// Something suggests that the pair is dead: verification starts as if an answer were missing.
    pub(super) fn suspect(&mut self, now: Instant) {
        if self.unanswered.is_none() {
            self.unanswered = Some(now);
            self.verified = 0;
        }
    }

    /// The same, and the first verification is due at once.
    pub(super) fn probe(&mut self, now: Instant) {
        if self.unanswered.is_none() {
            let first = VERIFY_AFTER.first().copied().unwrap_or_default().as_nanos();
            let first = u64::try_from(first).unwrap_or(u64::MAX);
            self.suspect(Instant::from_nanos(now.as_nanos().saturating_sub(first)));
        }
    }

    /// Whether the pair is silent, or two verifications in a row had no answer so far.
    pub(super) fn is_doubtful(&self) -> bool {
        self.silent || self.unanswered.is_some() && self.verified >= 2
    }

    /// Whether an answer is missing.
    pub(super) fn is_unanswered(&self) -> bool {
        self.unanswered.is_some()
    }

    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        if planted(Bug::SecondsWrap) {
            let seconds = |at: Instant| (at.as_nanos() / 1_000_000_000) & 0xFFFF;
            return seconds(now) <= seconds(self.expiry());
        }
        now < self.renewed + CONSENT_LIFETIME
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
                let after = VERIFY_AFTER.get(usize::from(self.verified))?;
                Some(self.unanswered? + *after)
            }
        }
    }

    /// Notes that the check that was due went out.
    pub(super) fn sent(&mut self, now: Instant, check: ConsentCheck, interval: Duration) {
        match check {
            ConsentCheck::Regular => {
                self.missed = self.missed.saturating_add(u8::from(self.unanswered.is_some()));
                self.unanswered = Some(now);
                self.verified = 0;
                self.next = now + interval;
            }
            ConsentCheck::Verification => self.verified = self.verified.saturating_add(1),
        }
    }

    /// When the pair counts as silent if nothing comes.
    fn silent_at(&self, mode: ConsentMode) -> Option<Instant> {
        if self.silent {
            return None;
        }
        let last = VERIFY_AFTER.last().copied().unwrap_or_default();
        let since = self.unanswered?;
        match mode {
            ConsentMode::Verify => (usize::from(self.verified) == VERIFY_AFTER.len())
                .then_some(since + last + VERIFY_WAIT),
            // One missing answer is no disconnect: the second one in a row is.
            ConsentMode::Strict => (self.missed > 0).then_some(since + last),
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
        if !self.advised && now >= self.renewed + RESTART_ADVISED {
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
                self.verified = 0;
                return ConsentStep::Deaf;
            }
            return ConsentStep::Silent;
        }
        ConsentStep::Fresh
    }

    /// The next time that something is due.
    pub(super) fn deadline(&self, mode: ConsentMode) -> Instant {
        let advise = (!self.advised).then_some(self.renewed + RESTART_ADVISED);
        let sending = earlier(Some(self.next), self.next_verification(mode));
        let judging = earlier(self.silent_at(mode), advise);
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
    fn a_missed_answer_is_verified_three_times_before_the_alarm() {
        let mut consent = Consent::granted(START, Duration::from_secs(5));
        let mode = ConsentMode::Verify;
        assert_eq!(consent.due(after(4_999), mode), None);
        assert_eq!(consent.due(after(5_000), mode), Some(ConsentCheck::Regular));
        consent.sent(after(5_000), ConsentCheck::Regular, Duration::from_secs(5));
        for millis in [5_500, 6_000, 7_000] {
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
        for millis in [5_500, 6_000, 7_000] {
            consent.sent(after(millis), ConsentCheck::Verification, Duration::ZERO);
        }
        let heard = Some(after(7_400));
        assert_eq!(consent.handle_timeout(after(7_500), mode, heard), ConsentStep::Deaf);
        let heard = Some(after(29_999));
        assert_eq!(consent.handle_timeout(after(30_000), mode, heard), ConsentStep::Expired);
    }
}
