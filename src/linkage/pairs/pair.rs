//! A scored pair of records, and the order that the solver requires.

use std::cmp::Ordering;

/// Two records of different datasets whose score reached the threshold.
///
/// Ordered by score descending, then datasets, then records, each ascending. The solver processes pairs in this order,
/// so it also decides between equal scores. Equality compares every field.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Pair {
    /// The Dice coefficient: in (0, 1], never NaN.
    pub score: f64,
    /// The dataset with the lower index and the dataset with the higher one.
    pub datasets: [u32; 2],
    /// The record of each dataset.
    pub records: [u32; 2],
}

impl Pair {
    /// Returns the sort key: the first pair has the smallest. Positive doubles order like their bits.
    #[inline]
    pub(super) const fn key(&self) -> (u64, u64, u64) {
        const fn join([high, low]: [u32; 2]) -> u64 {
            (high as u64) << 32 | low as u64
        }
        (!self.score.to_bits(), join(self.datasets), join(self.records))
    }
}

impl PartialEq for Pair {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Pair {}

impl PartialOrd for Pair {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pair {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_order_by_score_then_datasets_then_records() {
        let pair = |score, datasets, records| Pair { score, datasets, records };
        let sorted = [
            pair(1.0, [1, 2], [9, 9]),
            pair(0.5, [0, 1], [7, 8]),
            pair(0.5, [0, 1], [8, 0]),
            pair(0.5, [0, 2], [0, 0]),
            pair(0.5, [1, 2], [0, 0]),
            pair(f64::MIN_POSITIVE, [0, 1], [0, 0]),
        ];
        assert!(sorted.is_sorted_by(|a, b| a < b));
    }
}
