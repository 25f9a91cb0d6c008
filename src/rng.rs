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
    /// The seeds of TURN clients.
    Relay = 4,
    /// Names of host candidates.
    Name = 5,
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

    /// The stream of `purpose` for `owner` (0: the endpoint itself; below 2^56).
    pub(crate) fn new(owner: u64, purpose: Purpose) -> Self {
        Self { number: (owner << 8) | purpose as u64, drawn: 0 }
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

    /// Each of the 96 bits is set in about half of the ids, and no two go together.
    /// [rfc8489-5-4a]
    #[test]
    fn all_bits_of_an_id_are_drawn_evenly() {
        const DRAWS: u32 = 10_000;
        let seed = Seed::new([7; 32]);
        let mut stream = Stream::new(1, Purpose::Transaction);
        let (mut set, mut alike) = ([0_u32; 96], [0_u32; 96]);
        for _ in 0..DRAWS {
            let mut id = [0; 12];
            stream.fill(&seed, &mut id);
            let bit = |place: usize| id[place / 8] >> (place % 8) & 1;
            for place in 0..96 {
                set[place] += u32::from(bit(place));
                alike[place] += u32::from(bit(place) == bit((place + 1) % 96));
            }
        }
        // Five standard deviations of 50 each.
        let even = DRAWS / 2 - 250..=DRAWS / 2 + 250;
        assert!(set.iter().chain(&alike).all(|count| even.contains(count)), "{set:?} {alike:?}");
    }

    /// The known key stream of ChaCha with 12 rounds, of a key and a nonce of zeros.
    /// [rfc8489-5-4b]
    #[test]
    fn ids_are_the_key_stream_of_a_cipher() {
        let mut id = [0; 12];
        Stream::new(0, Purpose::Transaction).fill(&Seed::new([0; 32]), &mut id);
        let known = [0x9B, 0xF4, 0x9A, 0x6A, 0x07, 0x55, 0xF9, 0x53, 0x81, 0x1F, 0xCE, 0x12];
        assert_eq!(id, known);
    }

    #[test]
    fn the_seed_is_not_printed() {
        assert_eq!(format!("{:?}", Seed::new([7; 32])), "Seed(***)");
    }
}
