//! How often something may be done.

use core::time::Duration;

use crate::time::Instant;

/// How often something may be done: so many times at once, so many times a second on and on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Times at once.
    pub burst: u32,
    /// Times a second; 0 is never again.
    pub per_second: u32,
}

/// What is left of a [`Rate`], in thousandths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    left: u64,
    since: Instant,
}

impl Bucket {
    pub(crate) fn full(now: Instant, rate: Rate) -> Self {
        Self { left: u64::from(rate.burst) * 1_000, since: now }
    }

    /// Takes one, or says how long it would take until there is one.
    pub(crate) fn take(&mut self, now: Instant, rate: Rate) -> Result<(), Duration> {
        let passed = u64::try_from(now.since(self.since).as_millis()).unwrap_or(u64::MAX);
        if passed > 0 {
            let earned = passed.saturating_mul(u64::from(rate.per_second));
            self.left = self.left.saturating_add(earned).min(u64::from(rate.burst) * 1_000);
            self.since = now;
        }
        match self.left.checked_sub(1_000) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(Duration::from_secs(1)),
        }
    }
}
