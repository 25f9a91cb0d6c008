//! Independent streams of random numbers, each named by a label and derived from the one seed.

/// SplitMix64: small, fast, and good enough to shake a network.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The stream `label` of `seed`: drawing from it shifts no other stream.
    pub(crate) fn new(seed: u64, label: &str) -> Self {
        let mut rng = Self(seed ^ hash(label.as_bytes()));
        rng.next();
        rng
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0..bound`; 0 if `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        u64::try_from((u128::from(self.next()) * u128::from(bound)) >> 64).unwrap_or(0)
    }

    /// True with probability `p`; draws nothing when the answer is certain.
    pub(crate) fn chance(&mut self, p: f64) -> bool {
        p > 0.0 && (p >= 1.0 || self.unit() < p)
    }

    /// Uniform in `0.0..1.0`.
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn octets(&mut self) -> [u8; 32] {
        let mut out = [0; 32];
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes());
        }
        out
    }
}

/// FNV-1a, 64 bits.
pub(crate) fn hash(octets: &[u8]) -> u64 {
    fold(0xcbf2_9ce4_8422_2325, octets)
}

/// Folds `octets` into a running FNV-1a hash.
pub(crate) fn fold(state: u64, octets: &[u8]) -> u64 {
    octets.iter().fold(state, |h, &o| (h ^ u64::from(o)).wrapping_mul(0x0100_0000_01b3))
}
