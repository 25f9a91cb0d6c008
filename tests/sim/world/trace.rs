//! What happened, as one running hash and, when asked for, as text.

use core::fmt::{Debug, Display};

use floe::Instant;

use crate::world::rng::{fold, hash};

#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    text: bool,
    lines: u64,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self { hash: hash(b"floe"), text: std::env::var_os("SIM_TRACE").is_some(), lines: 0 }
    }

    /// The hash of everything so far.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn packet(
        &mut self,
        now: Instant,
        what: &str,
        from: impl Display,
        to: impl Display,
        octets: &[u8],
    ) {
        self.fold(now, what.as_bytes());
        self.hash = fold(self.hash, format!("{from}>{to}").as_bytes());
        self.hash = fold(self.hash, octets);
        if self.text {
            eprintln!(
                "{} {what} {from} > {to} {}",
                clock(now),
                crate::world::wire::describe(octets)
            );
        }
    }

    pub(crate) fn event(&mut self, now: Instant, who: impl Display, event: &impl Debug) {
        let line = format!("{who} {event:?}");
        self.fold(now, line.as_bytes());
        if self.text {
            eprintln!("{} {line}", clock(now));
        }
    }

    fn fold(&mut self, now: Instant, octets: &[u8]) {
        self.lines += 1;
        self.hash = fold(self.hash, &now.as_nanos().to_be_bytes());
        self.hash = fold(self.hash, octets);
    }
}

/// Seconds since the world began.
fn clock(now: Instant) -> String {
    format!("{:>12.6}", now.since(crate::world::BEGINNING).as_secs_f64())
}
