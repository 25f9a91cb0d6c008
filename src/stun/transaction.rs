//! The timing of a client transaction; knows neither message nor address.

use core::time::Duration;

use crate::config::Retransmission;
use crate::time::Instant;

/// What is due in a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum TransactionStep {
    /// Nothing before [`ClientTransaction::deadline`].
    Wait,
    /// Send the same octets again.
    Retransmit,
    /// It is over without an answer; ask
    /// [`integrity_violated`](ClientTransaction::integrity_violated) why.
    TimedOut,
}

/// When one request is sent again, and when it has failed. [RFC 8489 §6.2.1 and §6.2.2]
#[derive(Clone, Copy, Debug)]
pub struct ClientTransaction {
    started: Instant,
    deadline: Instant,
    /// The wait after the next retransmission, unless that is the last.
    interval: u64,
    /// The wait after the last one.
    last_wait: u64,
    sent: u8,
    /// How often it may be sent in all.
    rc: u8,
    flags: u8,
}

/// Over a stream: sent once.
const RELIABLE: u8 = 1;
/// Sends no more.
const STOPPED: u8 = 2;
/// A response was dropped because its integrity was wrong.
const VIOLATED: u8 = 4;

impl ClientTransaction {
    /// Starts a transaction over UDP with the RTO of `schedule`; the request is sent now.
    #[must_use]
    pub fn start(now: Instant, schedule: &Retransmission) -> Self {
        Self::start_with_rto(now, schedule.rto, schedule)
    }

    /// Starts a transaction over UDP whose first retransmission is due after `rto`; every further
    /// interval doubles, up to Rc sends in all, then it waits for Rm times `rto`.
    ///
    /// Below 500 ms only for who paces itself otherwise, as ICE does. [rfc8489-6.2.1-1]
    /// [rfc8489-6.2.1-3] [rfc8489-6.2.1-5] [rfc8489-6.2.1-6] [rfc8489-6.2.1-11a]
    /// [rfc8489-6.2.1-12] [rfc8489-6.2.1-13a]
    #[must_use]
    pub fn start_with_rto(now: Instant, rto: Duration, schedule: &Retransmission) -> Self {
        let rto = nanos(rto);
        let last_wait = rto.saturating_mul(schedule.rm.into());
        let rc = schedule.rc.max(1);
        let first = if rc == 1 { last_wait } else { rto };
        Self {
            started: now,
            deadline: now + Duration::from_nanos(first),
            interval: rto.saturating_mul(2),
            last_wait,
            sent: 1,
            rc,
            flags: 0,
        }
    }

    /// Starts a transaction over a stream: sent once, it fails after Ti. [rfc8489-6.2.2-2a]
    #[must_use]
    pub fn start_reliable(now: Instant, schedule: &Retransmission) -> Self {
        let ti = nanos(schedule.ti);
        Self {
            started: now,
            deadline: now + schedule.ti,
            interval: 0,
            last_wait: ti,
            sent: 1,
            rc: 1,
            flags: RELIABLE,
        }
    }

    /// Returns when the next retransmission or the end is due.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Says what is due; a retransmission counts as sent now, and the next interval starts now,
    /// so that a late call sends once and never in a burst. [rfc8489-6.2.1-1]
    /// [rfc8489-6.2.1-12]
    pub fn poll(&mut self, now: Instant) -> TransactionStep {
        if now < self.deadline {
            return TransactionStep::Wait;
        }
        if self.flags & STOPPED != 0 || self.sent >= self.rc {
            return TransactionStep::TimedOut;
        }
        self.sent += 1;
        let wait = if self.sent == self.rc { self.last_wait } else { self.interval };
        self.interval = self.interval.saturating_mul(2);
        self.deadline = now + Duration::from_nanos(wait);
        TransactionStep::Retransmit
    }

    /// Sends no more, but waits for a late answer until the transaction would have ended.
    /// [RFC 8445 §7.3.1.4]
    pub fn stop_retransmitting(&mut self) {
        if self.flags & STOPPED != 0 {
            return;
        }
        self.flags |= STOPPED;
        for sent in self.sent + 1..=self.rc {
            let wait = if sent == self.rc { self.last_wait } else { self.interval };
            self.interval = self.interval.saturating_mul(2);
            self.deadline += Duration::from_nanos(wait);
        }
        self.sent = self.sent.min(self.rc);
    }

    /// Notes that a response was dropped because its integrity was missing or wrong. Over UDP
    /// the transaction goes on, over a stream it ends at once. [rfc8489-9.1.4-2]
    /// [rfc8489-9.1.4-4a] [rfc8489-9.1.4-4b] [rfc8489-9.2.5-16] [rfc8489-9.2.5-18a]
    /// [rfc8489-9.2.5-18b]
    pub fn response_discarded(&mut self, now: Instant) {
        self.flags |= VIOLATED;
        if self.flags & RELIABLE != 0 {
            self.deadline = self.deadline.min(now);
        }
    }

    /// Returns whether a response was dropped: then a transaction that timed out has failed for
    /// its integrity. [rfc8489-9.1.4-3] [rfc8489-9.2.5-17]
    #[must_use]
    pub const fn integrity_violated(&self) -> bool {
        self.flags & VIOLATED != 0
    }

    /// Returns the round-trip time of an answer that came now; `None` if the request was sent
    /// more than once, as nobody knows which one is answered, or should have been: the process
    /// stood still meanwhile. [rfc8489-6.2.1-7] [rfc8489-6.2.1-8]
    #[must_use]
    pub fn rtt(&self, now: Instant) -> Option<Duration> {
        (self.sent == 1 && now < self.deadline).then(|| now - self.started)
    }

    /// Returns how often the request was sent.
    #[must_use]
    pub const fn sent(&self) -> u8 {
        self.sent
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The RTO toward one server, kept per IP address between transactions. [RFC 6298 §2]
/// [rfc8489-6.2.1-9]
#[derive(Clone, Copy, Debug, Default)]
pub struct RtoEstimator {
    estimate: Option<Estimate>,
}

#[derive(Clone, Copy, Debug)]
struct Estimate {
    smoothed: Duration,
    variation: Duration,
    last_used: Instant,
}

impl RtoEstimator {
    /// How long an estimate outlives the last transaction. [rfc8489-6.2.1-10]
    pub const LIFETIME: Duration = Duration::from_secs(600);
    /// The longest RTO. [RFC 6298 §2.5]
    pub const MAX: Duration = Duration::from_secs(60);

    /// Makes an estimator that knows nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { estimate: None }
    }

    /// Returns the RTO to start the next transaction with: never less than that of `schedule`,
    /// and exactly that without a sample in the last ten minutes. [rfc8489-6.2.1-2]
    /// [rfc8489-6.2.1-9] [rfc8489-6.2.1-10]
    #[must_use]
    pub fn rto(&self, now: Instant, schedule: &Retransmission) -> Duration {
        self.fresh(now).map_or(schedule.rto, |estimate| {
            let rto = estimate.smoothed.saturating_add(estimate.variation.saturating_mul(4));
            rto.min(Self::MAX).max(schedule.rto)
        })
    }

    /// Takes the round-trip time of a finished transaction, `None` if there is no certain one:
    /// that only keeps the estimate from aging. [rfc8489-6.2.1-7] [rfc8489-6.2.1-8]
    pub fn finished(&mut self, now: Instant, rtt: Option<Duration>) {
        let before = self.fresh(now);
        self.estimate = match (before, rtt) {
            (None, None) => None,
            (Some(estimate), None) => Some(Estimate { last_used: now, ..estimate }),
            (None, Some(rtt)) => {
                Some(Estimate { smoothed: rtt, variation: rtt / 2, last_used: now })
            }
            (Some(old), Some(rtt)) => Some(Estimate {
                smoothed: (old.smoothed.saturating_mul(7)).saturating_add(rtt) / 8,
                variation: (old.variation.saturating_mul(3))
                    .saturating_add(old.smoothed.abs_diff(rtt))
                    / 4,
                last_used: now,
            }),
        };
    }

    fn fresh(&self, now: Instant) -> Option<Estimate> {
        self.estimate.filter(|estimate| now - estimate.last_used <= Self::LIFETIME)
    }
}
