//! What was said in one direction of a session, for as long as it may have to be said again.

use std::collections::VecDeque;

/// Signals kept for one who is away; a generation of ICE has fewer.
const MAX_KEPT: usize = 256;
/// Octets kept: two of the longest signals.
const MAX_OCTETS: usize = 2 * crate::signaling::MAX_SIGNAL;

/// The last signals of a direction, counted from the beginning of the session.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    kept: VecDeque<String>,
    octets: usize,
    /// How many came before those that are kept.
    dropped: u64,
}

impl Log {
    /// One that goes on after so many.
    pub(super) fn after(count: u64) -> Self {
        Self { dropped: count, ..Self::default() }
    }

    /// How many were said.
    pub(super) fn count(&self) -> u64 {
        self.dropped.saturating_add(self.kept.len() as u64)
    }

    /// Keeps one more, and forgets the oldest beyond the limits.
    pub(super) fn push(&mut self, text: String) {
        self.octets += text.len();
        self.kept.push_back(text);
        while self.kept.len() > MAX_KEPT || self.octets > MAX_OCTETS {
            let Some(oldest) = self.kept.pop_front() else { return };
            self.octets -= oldest.len();
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// Those after the first `count`; `None` if some are forgotten, or there never were so many.
    pub(super) fn since(&self, count: u64) -> Option<impl Iterator<Item = &str>> {
        let skip = usize::try_from(count.checked_sub(self.dropped)?).ok()?;
        (skip <= self.kept.len()).then(|| self.kept.iter().skip(skip).map(String::as_str))
    }
}
