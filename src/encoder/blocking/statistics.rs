//! Statistics of blocks.

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
        Self::of_sizes(blocks.sizes().to_vec())
    }

    /// Computes the statistics of blocks of these sizes.
    pub(super) fn of_sizes(mut sizes: Vec<usize>) -> Self {
        sizes.sort_unstable();
        let (Some(min_size), Some(max_size)) = (sizes.first(), sizes.last()) else { return Self::default() };
        let (count, sum) = (sizes.len(), sizes.iter().sum::<usize>());
        let squares: u128 = sizes.iter().map(|size| (*size as u128).pow(2)).sum();
        let spread = count as u128 * squares - (sum as u128).pow(2);
        let divisor = (count as u128 * (count as u128 - 1)).max(1);
        Self {
            num_of_blocks: count,
            min_size: *min_size,
            max_size: *max_size,
            avg_size: sum as f64 / count as f64,
            med_size: usize::midpoint(sizes[(count - 1) / 2], sizes[count / 2]),
            std_size: (spread as f64 / divisor as f64).sqrt(),
            sum_of_blocks: sum,
        }
    }
}
