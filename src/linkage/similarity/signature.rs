//! Signatures: the counts of bits in each of a few parts of the encoding.
//!
//! Columns that are mostly set together (an n-gram sets several bits at once) carry the same information, so the count
//! of such a part says almost as much as its bits. The more the counts of two records differ, the fewer bits they can
//! share. For random records the differences grow with the sum of the parts' standard deviations, which learning
//! maximises.

use super::decision::Decision;
use super::kernel::{Kernel, Words};
use super::parts::Parts;
use super::sample::Sample;

/// The target for the sums of a signature: slightly less than fits into a byte, since rows differ.
const SUM_MAX: u32 = 240;

/// The parts of a signature.
#[derive(Clone, Debug)]
pub(super) struct Signature {
    /// A row for each part: the columns that belong to it.
    masks: Words,
    /// The value subtracted from the count of each part, so that sums stay small. A count below it becomes 0.
    floors: Vec<u8>,
}

/// Signatures of some rows.
#[derive(Debug)]
pub(super) struct Counts {
    /// The count above the floor, for each row and part.
    pub(super) above: Vec<u8>,
    /// The number of bits of each row that are in any part.
    pub(super) covered: Vec<u32>,
}

impl Signature {
    /// Returns these parts, with floors that keep the sums of most pairs within a byte.
    pub(super) fn with(parts: &Parts<'_>, sample: &Sample, decision: &Decision, kernel: Kernel) -> Self {
        let masks = parts.masks(sample.encoding_bytes);
        let mut signature = Self { floors: vec![0; masks.rows()], masks };
        let Counts { above: counts, covered } = signature.counts(&sample.words(), kernel);
        let mean = covered.iter().sum::<u32>() / covered.len() as u32;
        let common = decision.needed((2 * mean).min(16 * sample.encoding_bytes as u32));
        let by_part: Vec<Vec<u8>> = (0..signature.parts())
            .map(|part| {
                let mut counts: Vec<u8> =
                    counts.iter().skip(part).step_by(signature.parts()).copied().collect();
                counts.sort_unstable();
                counts
            })
            .collect();
        // The lowest count of the sample as a floor loses nothing; a higher one loses some precision.
        for percent in [0, 1, 3, 6, 10, 15, 20] {
            signature.floors = by_part.iter().map(|counts| counts[counts.len() * percent / 100]).collect();
            if common <= signature.floor() + SUM_MAX {
                break;
            }
        }
        signature
    }

    /// Returns the number of parts.
    pub(super) const fn parts(&self) -> usize {
        self.floors.len()
    }

    /// Returns the sum of the values subtracted from all counts.
    pub(super) fn floor(&self) -> u32 {
        self.floors.iter().copied().map(u32::from).sum()
    }

    /// Returns the signatures of all rows.
    pub(super) fn counts(&self, words: &Words, kernel: Kernel) -> Counts {
        const ROWS_AT_ONCE: u32 = 64;
        let rows = words.rows() as u32;
        let mut covered = Vec::with_capacity(words.rows());
        let mut above = Vec::with_capacity(words.rows() * self.parts());
        let (mut pairs, mut bits) = (Vec::new(), Vec::new());
        for first in (0..rows).step_by(ROWS_AT_ONCE as usize) {
            pairs.clear();
            for row in first..rows.min(first + ROWS_AT_ONCE) {
                pairs.extend((0..self.parts() as u32).map(|part| (row, part)));
            }
            kernel.count(words, &self.masks, &pairs, &mut bits);
            for bits in bits.chunks_exact(self.parts()) {
                covered.push(bits.iter().sum());
                let over = |(bits, floor): (&u32, &u8)| bits.saturating_sub(u32::from(*floor)) as u8;
                above.extend(bits.iter().zip(&self.floors).map(over));
            }
        }
        Counts { above, covered }
    }
}
