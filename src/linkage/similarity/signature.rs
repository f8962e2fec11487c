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
    /// Returns these parts, with a shift that suits most rows of the sample.
    pub(super) fn with(parts: &Parts<'_>, sample: &Sample, decision: &Decision, kernel: Kernel) -> Self {
        let excess_max = |row: &&[u8]| {
            let bits = kernel.popcount(row);
            bits.saturating_sub(decision.needed(2 * bits))
        };
        let mut excesses: Vec<u32> = sample.rows().iter().map(excess_max).collect();
        excesses.sort_unstable();
        // Of a few rows that are much denser than the others, every pair may survive.
        let usual = excesses[(excesses.len() - 1) * 99 / 100];
        let shift = (0..SHIFT_MAX).find(|shift| usual >> shift <= EXCESS_MAX).unwrap_or(SHIFT_MAX);
        Self { masks: parts.masks(sample.encoding_bytes), shift }
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
