//! Randomness: one 32-octet seed, one ChaCha stream per purpose and agent.
//!
//! A stream is a position in the key stream of the seed, so it costs two words and drawing from
//! one never shifts another: adding a check changes no other agent's transaction ids.

use core::fmt;

use rand::rngs::ChaCha12Rng;
use rand::{Rng, SeedableRng};

/// The secret that all randomness of an endpoint is derived from.
#[derive(Clone)]
pub(crate) struct Seed([u8; 32]);

impl Seed {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self(seed)
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(***)")
    }
}

/// What a stream's octets are for; the low bits of the stream number.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Purpose {
    /// Transaction ids. [rfc8489-5-4a] [rfc8489-5-4b]
    Transaction = 0,
    /// ufrag, password, tie-breaker. [rfc8445-5.3-6]
    Credentials = 1,
    /// Randomised timers.
    Jitter = 2,
    /// The keys of the hash maps.
    Hash = 3,
}

/// A position in one of the seed's independent streams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    number: u64,
    drawn: u64,
}

impl Stream {
    /// Words of key stream that one draw may use; a draw starts at a multiple of it.
    const STRIDE: u128 = 64;

    /// The stream of `purpose` for `owner` (0: the endpoint itself).
    pub(crate) fn new(owner: u32, purpose: Purpose) -> Self {
        Self { number: (u64::from(owner) << 8) | purpose as u64, drawn: 0 }
    }

    /// Fills `out` (at most 256 octets) with fresh random octets.
    pub(crate) fn fill(&mut self, seed: &Seed, out: &mut [u8]) {
        debug_assert!(out.len() <= 256);
        let mut rng = ChaCha12Rng::from_seed(seed.0);
        rng.set_stream(self.number);
        rng.set_word_pos(u128::from(self.drawn) * Self::STRIDE);
        self.drawn = self.drawn.saturating_add(1);
        rng.fill_bytes(out);
    }

    /// Draws a number uniformly from all of `u64`.
    pub(crate) fn next_u64(&mut self, seed: &Seed) -> u64 {
        let mut octets = [0; 8];
        self.fill(seed, &mut octets);
        u64::from_be_bytes(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_independent_of_one_another() {
        let seed = Seed::new([7; 32]);
        let mut a = Stream::new(1, Purpose::Transaction);
        let mut b = Stream::new(2, Purpose::Transaction);
        let first = b.next_u64(&seed);
        let mut again = Stream::new(2, Purpose::Transaction);
        a.next_u64(&seed);
        a.next_u64(&seed);
        assert_eq!(again.next_u64(&seed), first);
        assert_ne!(a.next_u64(&seed), first);
    }

    #[test]
    fn draws_do_not_repeat() {
        let seed = Seed::new([7; 32]);
        let mut stream = Stream::new(1, Purpose::Transaction);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..10_000 {
            let mut id = [0; 12];
            stream.fill(&seed, &mut id);
            assert!(seen.insert(id));
        }
    }

    #[test]
    fn the_seed_is_not_printed() {
        assert_eq!(format!("{:?}", Seed::new([7; 32])), "Seed(***)");
    }
}
