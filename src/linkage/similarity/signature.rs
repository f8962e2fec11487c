//! Signatures: the counts of bits in each of a few parts of the encoding.
//!
//! Columns that are mostly set together (an n-gram sets several bits at once) carry the same information, so the count
//! of such a part says almost as much as its bits. Each bit that one record has in a part in excess of another record is
//! a bit that they do not share. For random records the excess grows with the sum of the parts' standard deviations,
//! which learning maximises.

use super::decision::Decision;
use super::kernel::{Kernel, Words};
use super::parts::Parts;
use super::sample::Sample;

/// The target for the excess of a candidate: slightly less than fits into a byte, since rows differ.
const EXCESS_MAX: u32 = 240;
/// The largest shift that leaves something of a byte.
const SHIFT_MAX: u32 = 7;

/// The parts of a signature.
#[derive(Clone, Debug)]
pub(super) struct Signature {
    /// A row for each part: the columns that belong to it.
    masks: Words,
    /// Counts are divided by two to the power of this number, so that the excess of a candidate fits into a byte.
    shift: u32,
}

impl Signature {
    /// Returns these parts, with the smallest shift that makes the excess of candidates and of most other pairs fit into a
    /// byte. Beyond it, an excess seems smaller than it is.
    pub(super) fn with(parts: &Parts<'_>, sample: &Sample, decision: &Decision, kernel: Kernel) -> Self {
        let excess_max = |row: &&[u8]| {
            let bits = kernel.popcount(row);
            bits.saturating_sub(decision.needed(2 * bits))
        };
        let mut excesses: Vec<u32> = sample.rows().iter().map(excess_max).collect();
        let mut signature = Self { masks: parts.masks(sample.encoding_bytes), shift: 0 };
        let largest = most(&mut excesses).max(most(&mut signature.excesses(sample, kernel)));
        signature.shift = (0..SHIFT_MAX).find(|shift| largest >> shift <= EXCESS_MAX).unwrap_or(SHIFT_MAX);
        signature
    }

    /// Returns the excess of each row on the left side of the sample over one of a similar popcount on the right side.
    fn excesses(&self, sample: &Sample, kernel: Kernel) -> Vec<u32> {
        let [left_rows, right_rows] = sample.sides().map(|side| side.len());
        let counts = self.counts(&sample.words(), kernel);
        let (left, right) = counts.split_at(left_rows * self.parts());
        let partner = |row: usize| &right[row * right_rows / left_rows * self.parts()..][..self.parts()];
        let excess = |(row, counts): (usize, &[u8])| {
            counts
                .iter()
                .zip(partner(row))
                .map(|(count, other)| u32::from(count.saturating_sub(*other)))
                .sum()
        };
        left.chunks_exact(self.parts()).enumerate().map(excess).collect()
    }

    /// Returns the number of parts.
    pub(super) fn parts(&self) -> usize {
        self.masks.rows()
    }

    /// Returns two to the power of this number, by which counts are divided.
    pub(super) const fn shift(&self) -> u32 {
        self.shift
    }

    /// Returns the number of bits for each row and part, not divided.
    pub(super) fn counts(&self, words: &Words, kernel: Kernel) -> Vec<u8> {
        const ROWS_AT_ONCE: u32 = 64;
        let rows = words.rows() as u32;
        let mut counts = Vec::with_capacity(words.rows() * self.parts());
        let (mut pairs, mut bits) = (Vec::new(), Vec::new());
        for first in (0..rows).step_by(ROWS_AT_ONCE as usize) {
            pairs.clear();
            for row in first..rows.min(first + ROWS_AT_ONCE) {
                pairs.extend((0..self.parts() as u32).map(|part| (row, part)));
            }
            kernel.count(words, &self.masks, &pairs, &mut bits);
            // A part has no more columns than a byte can count.
            counts.extend(bits.iter().map(|bits| *bits as u8));
        }
        counts
    }
}

/// Returns the number that one in a hundred exceeds.
fn most(numbers: &mut [u32]) -> u32 {
    numbers.sort_unstable();
    numbers[(numbers.len() - 1) * 99 / 100]
}
