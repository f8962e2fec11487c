//! The bit counts that make a candidate pair: integer tables of the decisions that the definition makes with doubles.

use super::dice;
use crate::threshold::Threshold;

/// Tables of the definition's decisions, for one threshold and encoding size.
#[derive(Clone, Debug)]
pub(super) struct Decision {
    threshold: Threshold,
    /// The largest difference of the two popcounts, for each popcount of the left encoding.
    differences_max: Vec<u32>,
    /// The fewest common bits whose score reaches the threshold, for each sum of both popcounts.
    commons_min: Vec<u32>,
    /// The maximum number of bits in which two candidates differ, for each sum of both popcounts; smaller sums are
    /// included.
    distances_max: Vec<u32>,
}

impl Decision {
    pub(super) fn new(threshold: Threshold, encoding_bytes: usize) -> Self {
        let bits_max = 8 * encoding_bytes as u32;
        let commons_min: Vec<u32> = (0..=2 * bits_max).map(|bits| common_min(bits, threshold)).collect();
        let distances = (0..).zip(&commons_min).map(|(bits, common)| u32::saturating_sub(bits, 2 * common));
        let distances_max = distances.scan(0, |most, distance| {
            *most = distance.max(*most);
            Some(*most)
        });
        Self {
            threshold,
            differences_max: (0..=bits_max).map(|bits| dice::difference_max(bits, threshold)).collect(),
            distances_max: distances_max.collect(),
            commons_min,
        }
    }

    /// Returns the fewest common bits that make a candidate of encodings with these popcounts; `None` if there is no
    /// such number.
    pub(super) fn common_min(&self, left_bits: u32, right_bits: u32) -> Option<u32> {
        let near = left_bits.abs_diff(right_bits) <= self.differences_max[left_bits as usize];
        let common_min = self.commons_min[(left_bits + right_bits) as usize];
        (near && common_min <= left_bits.min(right_bits)).then_some(common_min)
    }

    /// Returns the fewest common bits of candidates whose popcounts add up to `bits`. The pre-filter may still reject
    /// the pair.
    pub(super) fn needed(&self, bits: u32) -> u32 {
        self.commons_min[bits as usize]
    }

    /// Returns the maximum number of differing bits of two candidates whose popcounts add up to at most `bits`.
    pub(super) fn distance_max(&self, bits: u32) -> u32 {
        self.distances_max[bits as usize]
    }

    /// Returns a lower bound of the additional common bits that a candidate partner with `bits` bits needs, compared
    /// with a partner with `sparsest` bits.
    pub(super) fn more_needed(&self, sparsest: u32, bits: u32) -> u32 {
        // Rounding of the score changes the fewest common bits by at most one where the exact number is whole;
        // slightly less than the exact difference is safe.
        (f64::from(bits - sparsest) * self.threshold.get() / 2.0 - 1e-6).max(0.0) as u32
    }

    /// Returns a lower bound of the popcount of a candidate partner of an encoding with `bits` bits.
    pub(super) fn partner_min(&self, bits: u32) -> u32 {
        let ratio = self.threshold.get() / (2.0 - self.threshold.get());
        ((f64::from(bits) * ratio) as u32).saturating_sub(1)
    }

    /// Returns an upper bound of the popcount of a candidate partner of an encoding with `bits` bits.
    pub(super) fn partner_max(&self, bits: u32) -> u32 {
        let ratio = (2.0 - self.threshold.get()) / self.threshold.get();
        ((f64::from(bits) * ratio) as u32).saturating_add(2)
    }

    /// Returns the score of a pair, if it is a candidate, computed by the definition.
    pub(super) fn candidate(&self, common: u32, left_bits: u32, right_bits: u32) -> Option<f64> {
        dice::candidate(common, left_bits, right_bits, self.threshold)
    }
}

/// Returns the smallest `common` of at least 1 with `score(common, bits) >= threshold`.
fn common_min(bits: u32, threshold: Threshold) -> u32 {
    let reaches = |common: u32| dice::score(common, bits) >= threshold.get();
    let mut common = ((f64::from(bits) * threshold.get() / 2.0) as u32).max(1);
    while common > 1 && reaches(common - 1) {
        common -= 1;
    }
    while !reaches(common) && common <= bits {
        common += 1;
    }
    common
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_table_decides_like_the_definition(
            threshold in prop_oneof![0.000_1..=1.0, prop::sample::select(vec![0.65, 0.75, 0.95, 1.0 / 3.0, 1.0])],
            left in 0..=64_u32,
            right in 0..=64_u32,
        ) {
            let threshold = Threshold::new(threshold).unwrap();
            let decision = Decision::new(threshold, 8);
            for common in 0..=left.min(right) {
                let by_table = decision.common_min(left, right).is_some_and(|common_min| common >= common_min);
                prop_assert_eq!(by_table, dice::candidate(common, left, right, threshold).is_some());
            }
        }
    }
}
