//! Groups of two datasets as a permutation for each party and a mask for the analyst.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::Groups;
use super::datasets::NONE;

/// The number of bytes of the seed of a permutation.
pub const SEED_BYTES: usize = 32;

/// The permutations and the mask, which hide from each party which of its records match. To link the data, put record
/// `r` of each party at the position that its permutation gives, truncate both lists to [`Permutations::rows`], and
/// keep the positions for which the mask is set: records at the same position then match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permutations {
    /// True for each position whose two records form a group. Its length is the size of the smaller dataset.
    pub mask: Vec<bool>,
    /// The new position of each record, for each of the two parties.
    pub of_party: [Vec<u32>; 2],
}

impl Permutations {
    /// Returns random permutations of a solution for two datasets.
    ///
    /// Groups get distinct, uniformly random positions below [`Permutations::rows`]; the other records get uniformly
    /// random positions among the rest, independently for each party. The same seed must always give the same
    /// permutations, so neither the random number generator, `ChaCha20`, nor the use of its output may change.
    ///
    /// # Panics
    /// If `groups` is not a solution for two datasets.
    pub fn draw(groups: &Groups, seed: [u8; SEED_BYTES]) -> Self {
        let sizes: Vec<u32> = groups.dataset_sizes().collect();
        let [size_a, size_b] = sizes[..] else { panic!("permutations are for two datasets") };
        let rows = size_a.min(size_b);
        let mut draw = Draw(ChaCha20Rng::from_seed(seed));
        let mut positions: Vec<u32> = (0..rows).collect();
        let mut mask = vec![false; rows as usize];
        let mut of_party = [size_a, size_b].map(|size| vec![NONE; size as usize]);
        // The ring leads from `a` to its partner. Records of the second dataset are numbered from `size_a` on.
        let matched = (0..size_a).filter(|a| groups.ring[*a as usize] != *a);
        for (drawn, a) in matched.enumerate() {
            let position = draw.pick(&mut positions, drawn);
            mask[position as usize] = true;
            of_party[0][a as usize] = position;
            of_party[1][(groups.ring[a as usize] - size_a) as usize] = position;
        }
        for party in &mut of_party {
            draw.fill(party, &mask);
        }
        Self { mask, of_party }
    }

    /// Returns the number of positions that the mask covers: the size of the smaller dataset.
    pub fn rows(&self) -> usize {
        self.mask.len()
    }
}

/// Draws unbiased indices from the random number generator.
struct Draw(ChaCha20Rng);

impl Draw {
    /// Returns a uniform number below `bound`.
    ///
    /// Source: Lemire (2019), doi:10.1145/3230636.
    fn below(&mut self, bound: u32) -> u32 {
        let unfair = bound.wrapping_neg() % bound;
        loop {
            let product = u64::from(self.0.next_u32()) * u64::from(bound);
            if product as u32 >= unfair {
                return (product >> 32) as u32;
            }
        }
    }

    /// Makes step `at` of a Fisher-Yates shuffle: moves a random item from `at` on to `at`, and returns it.
    fn pick(&mut self, items: &mut [u32], at: usize) -> u32 {
        let chosen = at + self.below((items.len() - at) as u32) as usize;
        items.swap(at, chosen);
        items[at]
    }

    /// Gives each record without a position a random position at which the mask is not set.
    fn fill(&mut self, party: &mut [u32], mask: &[bool]) {
        let mut free: Vec<u32> = (0..party.len() as u32)
            .filter(|position| !mask.get(*position as usize).is_some_and(|set| *set))
            .collect();
        for (at, position) in party.iter_mut().filter(|position| **position == NONE).enumerate() {
            *position = self.pick(&mut free, at);
        }
    }
}
