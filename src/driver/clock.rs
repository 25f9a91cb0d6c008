//! The clock: the only place where floe reads time.

use core::time::Duration;

use crate::time::Instant;

/// Maps the clock of the runtime to the time of the core.
///
/// The core wants a clock that goes on while the machine is suspended: consent that expired
/// during sleep is expired. The monotonic clock of std stands still then on Linux and macOS. On
/// Linux the time spent in suspend is read from `/proc/uptime`, which includes it, and added; on
/// Windows the monotonic clock includes it anyway; on macOS, and where `/proc` is missing, the
/// time spent in suspend is not seen.
#[derive(Debug)]
pub(super) struct Clock {
    epoch: tokio::time::Instant,
    suspended: Duration,
    synced: tokio::time::Instant,
    uptime: Option<Uptime>,
}

/// Suspend is looked for at most this often.
const SYNC: Duration = Duration::from_secs(1);
/// A difference below this is jitter of the reading.
const JITTER: Duration = Duration::from_millis(250);

impl Clock {
    pub(super) fn new() -> Self {
        let epoch = tokio::time::Instant::now();
        Self { epoch, suspended: Duration::ZERO, synced: epoch, uptime: Uptime::open() }
    }

    pub(super) fn now(&self) -> Instant {
        Instant::ZERO + self.epoch.elapsed() + self.suspended
    }

    /// Returns when the runtime's clock reads `at`.
    pub(super) fn deadline(&self, at: Instant) -> tokio::time::Instant {
        let after = at.since(Instant::ZERO).saturating_sub(self.suspended);
        // A deadline beyond a year is as good as none, and cannot overflow the clock.
        self.epoch + after.min(self.epoch.elapsed() + Duration::from_secs(365 * 24 * 3600))
    }

    /// Looks whether the machine was suspended.
    pub(super) fn sync(&mut self) {
        if self.synced.elapsed() < SYNC {
            return;
        }
        self.synced = tokio::time::Instant::now();
        let running = self.epoch.elapsed();
        if let Some(total) = self.uptime.as_ref().and_then(Uptime::elapsed) {
            let suspended = total.saturating_sub(running);
            if suspended > self.suspended + JITTER {
                self.suspended = suspended;
            }
        }
    }
}

/// Time since boot, suspend included.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Uptime {
    file: std::fs::File,
    epoch: Duration,
}

#[cfg(target_os = "linux")]
impl Uptime {
    fn open() -> Option<Self> {
        let file = std::fs::File::open("/proc/uptime").ok()?;
        let epoch = Self::read(&file)?;
        Some(Self { file, epoch })
    }

    fn elapsed(&self) -> Option<Duration> {
        Some(Self::read(&self.file)?.saturating_sub(self.epoch))
    }

    /// Reads the first number of the file: seconds with two decimals.
    fn read(file: &std::fs::File) -> Option<Duration> {
        use std::os::unix::fs::FileExt;
        let mut text = [0; 64];
        let len = file.read_at(&mut text, 0).ok()?;
        let text = core::str::from_utf8(text.get(..len)?).ok()?;
        let (seconds, hundredths) = text.split_whitespace().next()?.split_once('.')?;
        let hundredths = hundredths.get(..2)?.parse::<u64>().ok()?;
        Some(
            Duration::from_secs(seconds.parse().ok()?)
                + Duration::from_millis(hundredths.saturating_mul(10)),
        )
    }
}

#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
struct Uptime;

#[cfg(not(target_os = "linux"))]
impl Uptime {
    fn open() -> Option<Self> {
        None
    }

    fn elapsed(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deadline_is_where_the_clock_reads_it() {
        let clock = Clock::new();
        let at = clock.now() + Duration::from_secs(3);
        let wait = clock.deadline(at).duration_since(clock.epoch);
        assert_eq!(wait, at.since(Instant::ZERO));
        assert!(clock.deadline(Instant::MAX) > clock.deadline(at));
    }

    #[tokio::test]
    async fn time_in_suspend_counts() {
        let mut clock = Clock::new();
        let before = clock.now();
        clock.suspended = Duration::from_secs(60);
        clock.sync();
        assert!(clock.now().since(before) >= Duration::from_secs(60));
        assert!(clock.deadline(before) <= tokio::time::Instant::now());
    }
}
