//! The blocks with the most comparisons.

/// The number of blocks that are kept.
const KEPT_MAX: usize = 5;

/// The comparisons of the largest blocks, the largest first. Block names are left out: they may reveal personal data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LargestBlocks(Vec<u64>);

impl LargestBlocks {
    /// Adds a block, unless it has no comparisons.
    pub(super) fn add(&mut self, comparisons: u64) {
        let place = self.0.partition_point(|kept| *kept >= comparisons);
        if comparisons > 0 && place < KEPT_MAX {
            self.0.truncate(KEPT_MAX - 1);
            self.0.insert(place, comparisons);
        }
    }

    /// Returns the comparisons of each block, the largest first.
    pub fn into_comparisons(self) -> Vec<u64> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_kept_in_order() {
        let mut largest = LargestBlocks::default();
        for comparisons in [3, 0, 9, 1, 9, 4, 2, 7] {
            largest.add(comparisons);
        }
        assert_eq!(largest.into_comparisons(), [9, 9, 7, 4, 3]);
    }
}
