//! Synthetic encodings for benchmarks, with a distribution of bits like that of real people.

/// The number of bits that a token sets.
const HASHES: u64 = 20;
/// The number of tokens in an encoding of 1024 bits.
const TOKENS: u64 = 28;

/// Returns the encodings of two parties, `records` rows each. Half of the second party's records are records of the
/// first with a few tokens changed.
pub(super) fn encodings(records: usize, encoding_bytes: usize) -> (Vec<u8>, Vec<u8>) {
    let mut draw = Draw(1);
    let tokens = (TOKENS * encoding_bytes as u64).div_ceil(128);
    let mut person = |_| (0..tokens).map(|_| draw.token()).collect::<Vec<_>>();
    let left: Vec<Vec<u64>> = (0..records).map(&mut person).collect();
    let mut right: Vec<Vec<u64>> = (0..records).map(&mut person).collect();
    for (copy, original) in right.iter_mut().step_by(2).zip(left.iter().rev()) {
        let kept = original.len() - draw.below(original.len() as u64 / 8 + 1) as usize;
        copy[..kept].copy_from_slice(&original[..kept]);
    }
    let matrix =
        |people: &[Vec<u64>]| people.iter().flat_map(|tokens| encode(tokens, encoding_bytes)).collect();
    (matrix(&left), matrix(&right))
}

fn encode(tokens: &[u64], encoding_bytes: usize) -> Vec<u8> {
    let mut row = vec![0; encoding_bytes];
    for token in tokens {
        let mut bits = Draw(*token);
        for _ in 0..HASHES {
            let bit = bits.below(8 * encoding_bytes as u64) as usize;
            row[bit / 8] |= 1 << (bit % 8);
        }
    }
    row
}

/// Pseudo-random numbers by the algorithm `SplitMix64`.
pub(super) struct Draw(u64);

impl Draw {
    /// Returns the sequence for `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Returns a number below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Returns one of 600 tokens, the first much more often than the last.
    fn token(&mut self) -> u64 {
        let uniform = self.next() as f64 / u64::MAX as f64;
        (uniform * uniform * 600.0) as u64
    }
}
