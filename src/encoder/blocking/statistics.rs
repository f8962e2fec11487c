//! Statistics of blocks.

use std::collections::BTreeMap;

use super::blocks::Blocks;

/// Sizes of blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Statistics {
    /// The number of blocks.
    pub num_of_blocks: usize,
    /// The size of the smallest block.
    pub min_size: usize,
    /// The size of the largest block.
    pub max_size: usize,
    /// The mean size.
    pub avg_size: f64,
    /// The median size, rounded down.
    pub med_size: usize,
    /// The sample standard deviation of the sizes.
    pub std_size: f64,
    /// The sum of the sizes.
    pub sum_of_blocks: usize,
}

impl Statistics {
    /// Computes the statistics of blocks.
    pub fn of(blocks: &Blocks) -> Self {
        Self::of_sizes(blocks.sizes().iter().copied())
    }

    /// Computes the statistics of blocks of these sizes.
    pub(super) fn of_sizes(sizes: impl Iterator<Item = usize>) -> Self {
        let counts = counts(sizes);
        let (Some((min_size, _)), Some((max_size, _))) = (counts.first(), counts.last()) else {
            return Self::default();
        };
        let total = |of: fn(usize) -> u128| {
            counts.iter().map(|(size, count)| of(*size) * *count as u128).sum::<u128>()
        };
        let (count, sum, squares) =
            (total(|_| 1), total(|size| size as u128), total(|size| (size as u128).pow(2)));
        let median = |rank: u128| {
            let mut before = 0;
            let is_here = |(_, count): &&(usize, usize)| {
                before += *count as u128;
                before > rank
            };
            counts.iter().find(is_here).map_or(0, |(size, _)| *size)
        };
        let spread = count * squares - sum.pow(2);
        let divisor = (count * (count - 1)).max(1);
        Self {
            num_of_blocks: count as usize,
            min_size: *min_size,
            max_size: *max_size,
            avg_size: sum as f64 / count as f64,
            med_size: usize::midpoint(median((count - 1) / 2), median(count / 2)),
            std_size: (spread as f64 / divisor as f64).sqrt(),
            sum_of_blocks: sum as usize,
        }
    }
}

/// Smaller sizes are counted in an array: most blocks are small.
const SMALL: usize = 1 << 8;

/// Returns the sizes in ascending order, each with the number of blocks that have it.
fn counts(sizes: impl Iterator<Item = usize>) -> Vec<(usize, usize)> {
    let (mut small, mut large) = ([0; SMALL], BTreeMap::new());
    for size in sizes {
        *small.get_mut(size).unwrap_or_else(|| large.entry(size).or_default()) += 1;
    }
    let all = small.into_iter().enumerate().chain(large);
    all.filter(|(_, count)| *count > 0).collect()
}
