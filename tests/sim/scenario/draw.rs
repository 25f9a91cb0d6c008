//! A source of choices: a seed's labelled streams, or the octets that a fuzzer makes.

use core::time::Duration;

use crate::world::millis;
use crate::world::rng::{Rng, hash};

/// Where choices come from. Zero is always the tamest choice, so that octets which end early, or a
/// fuzzer's zeros, make a plain scenario.
pub(crate) enum Draw<'o> {
    Seed { seed: u64, stream: Rng },
    Octets(&'o [u8]),
}

impl<'o> Draw<'o> {
    pub(crate) fn of_seed(seed: u64) -> Self {
        Self::Seed { seed, stream: Rng::new(seed, "scenario") }
    }

    pub(crate) fn of_octets(octets: &'o [u8]) -> Self {
        Self::Octets(octets)
    }

    /// The seed of all that is not drawn here: of the links, the NATs and the agents.
    pub(crate) fn seed(&mut self) -> u64 {
        match self {
            Self::Seed { seed, .. } => *seed,
            // Two octets: what a fuzzer mutates elsewhere keeps the rest of the world as it is.
            Self::Octets(_) => hash(&self.below(1 << 16).to_be_bytes()),
        }
    }

    /// What follows is about `label`: choices there shift none elsewhere.
    pub(crate) fn about(&mut self, label: &str) {
        if let Self::Seed { seed, stream } = self {
            *stream = Rng::new(*seed, label);
        }
    }

    /// Uniform in `0..bound`; 0 if `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        match self {
            Self::Seed { stream, .. } => stream.below(bound),
            Self::Octets(rest) => {
                let count = (64 - bound.saturating_sub(1).leading_zeros()).div_ceil(8);
                let mut value = 0;
                for _ in 0..count {
                    let (first, others) = rest.split_first().unwrap_or((&0, &[]));
                    value = value << 8 | u64::from(*first);
                    *rest = others;
                }
                value % bound.max(1)
            }
        }
    }

    /// True in `percent` of all cases; false for a zero.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) >= 100 - percent
    }

    /// One of `choices`; the first one for a zero.
    pub(crate) fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize].clone()
    }

    /// Between `least` and `most`, in milliseconds.
    pub(crate) fn time(&mut self, least: u64, most: u64) -> Duration {
        millis(least + self.below(most - least + 1))
    }

    /// A share between nothing and `most` percent.
    pub(crate) fn share(&mut self, most: u64) -> f64 {
        Duration::from_millis(self.below(most * 10 + 1)).as_secs_f64()
    }
}
