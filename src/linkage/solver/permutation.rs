//! Groups of two datasets as a permutation for each party and a mask for the analyst.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::Groups;
use super::datasets::NONE;

/// Bytes of the seed of a permutation.
pub const SEED_BYTES: usize = 32;

/// The permutations and the mask by which a result hides which records match. To match the rows, put record `r` of
/// each party at position `of_party[r]`, truncate both lists after [`Permutations::rows`], and keep the rows for
/// which the mask is set: then the rows correspond.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permutations {
    /// True for each position whose two records form a group; as long as the smaller dataset.
    pub mask: Vec<bool>,
    /// The new position of each record, for each of the two parties.
    pub of_party: [Vec<u32>; 2],
}

impl Permutations {
    /// Returns random permutations of a solution for two datasets.
    ///
    /// Groups get distinct positions among the first rows, uniformly; the other records are spread uniformly over the
    /// other positions, independently for each party. The same seed always gives the same permutations: the stream is
    /// `ChaCha20`, and the derivation of indices from it must not change.
    ///
    /// # Panics
    /// If `groups` is not a solution for two datasets: the caller has checked the run's kind.
    pub fn draw(groups: &Groups, seed: [u8; SEED_BYTES]) -> Self {
        let sizes: Vec<u32> = groups.dataset_sizes().collect();
        let [size_a, size_b] = sizes[..] else { panic!("permutations are for two datasets") };
        let rows = size_a.min(size_b);
        let mut draw = Draw(ChaCha20Rng::from_seed(seed));
        let mut positions: Vec<u32> = (0..rows).collect();
        let mut mask = vec![false; rows as usize];
        let mut of_party = [size_a, size_b].map(|size| vec![NONE; size as usize]);
        // `a` and its partner are a pair in ring order; a record of the second dataset is numbered from `size_a`.
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

/// Draws unbiased indices from the stream.
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

    /// Makes step `at` of a Fisher-Yates shuffle: swaps one of the items from `at` on to `at`.
    fn pick(&mut self, items: &mut [u32], at: usize) -> u32 {
        let chosen = at + self.below((items.len() - at) as u32) as usize;
        items.swap(at, chosen);
        items[at]
    }

    /// Gives the records without a position random positions where no mask is set.
    fn fill(&mut self, party: &mut [u32], mask: &[bool]) {
        let mut free: Vec<u32> = (0..party.len() as u32)
            .filter(|position| !mask.get(*position as usize).is_some_and(|set| *set))
            .collect();
        for (at, position) in party.iter_mut().filter(|position| **position == NONE).enumerate() {
            *position = self.pick(&mut free, at);
        }
    }
}
