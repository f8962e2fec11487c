//! Pseudo-random numbers from a seed, so that a demo can be repeated.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// A pseudo-random generator whose numbers depend on the seed only.
pub(super) struct SeededRng(ChaCha8Rng);

impl SeededRng {
    /// Returns the generator for `seed`.
    pub(super) fn seeded(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Returns a number in `0..limit`. All are about equally likely.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        // Multiply and shift: the bias is below limit / 2^64.
        ((u128::from(self.0.next_u64()) * limit as u128) >> 64) as usize
    }

    /// Returns a number in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns true with this probability.
    pub(super) fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Picks one of `items`, early ones more often: the probability of the item at `r` is about proportional to
    /// 1 / (r + 8), like the frequencies of names.
    pub(super) fn pick_ranked<T: Copy>(&mut self, items: &[T]) -> T {
        const FLATNESS: f64 = 8.0;
        let span = ((items.len() as f64 + FLATNESS) / FLATNESS).ln();
        let rank = FLATNESS * (self.unit() * span).exp() - FLATNESS;
        items[(rank as usize).min(items.len() - 1)]
    }

    /// Puts `items` in a random order.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last + 1);
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_items_are_drawn_more_often_and_late_ones_still_are() {
        let items: Vec<usize> = (0..200).collect();
        let mut rng = SeededRng::seeded(7);
        let mut counts = vec![0_u32; items.len()];
        (0..100_000).for_each(|_| counts[rng.pick_ranked(&items)] += 1);
        assert!(counts[0] > 10 * counts[199] && counts[199] > 50, "{} {}", counts[0], counts[199]);
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..100).collect();
        SeededRng::seeded(1).shuffle(&mut items);
        assert_ne!(items[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
