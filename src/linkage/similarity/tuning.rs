//! Signatures learnt from a sample: the parts into which the columns of the encodings are grouped.
//!
//! Columns that are mostly set together (an n-gram sets all of its own) carry the same information, so that one count
//! of such a part says almost as much as its bits. The more the counts of two records differ, the fewer bits they can
//! share; for random records that is the sum of the parts' standard deviations, which learning maximises. The best
//! number of parts is determined on pairs of the sample.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::columns::Columns;
use super::decision::Decision;
use super::kernel::{Kernel, Words};
use super::parts::Parts;
use super::rows::Rows;
use super::sieve::Sieve;

/// The numbers of parts that are tried, until more do not pay: more parts sift better and cost more.
const PARTS: [usize; 11] = [4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192];
/// Rows of either side in the sample.
const SAMPLE_ROWS: usize = 256;
/// Comparisons of a run from which learning pays.
const LEARNING_COMPARISONS: u64 = 1 << 26;
/// Sums up to which sifting is exact; slightly fewer than fit into a byte, since rows differ.
const SUM_MAX: u32 = 240;

/// The tuning of a run. It does not change results.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// A row for each part: the columns that belong to it.
    masks: Words,
    /// The value subtracted from the count of each part, so that sums stay small. A count below it becomes 0.
    floors: Vec<u8>,
}

/// Signatures of some rows.
#[derive(Debug)]
pub(super) struct Signatures {
    /// For each row and part: the count above the floor.
    pub(super) counts: Vec<u8>,
    /// For each row: the number of its bits that are in any part.
    pub(super) covered: Vec<u32>,
}

impl Tuning {
    /// No sifting: every pair is counted.
    pub fn none() -> Self {
        Self { masks: Words::default(), floors: Vec::new() }
    }

    /// Learns from a sample of the matrices of both sides. Deterministic. Takes some ten milliseconds, so it pays
    /// from about a hundred million comparisons.
    pub(super) fn learn(left: &Rows<'_>, right: &Rows<'_>, decision: &Decision, kernel: Kernel) -> Self {
        let sample = Sample::of(left, right);
        let (mut best, mut best_cost) = (Self::none(), kernel.cost(0, 1.0, sample.encoding_bytes));
        if sample.is_empty() {
            return best;
        }
        let columns = Columns::of(&sample.rows(), kernel);
        let attempt = |count: &usize| {
            let tried = Self::with(&Parts::spread(&columns, *count), &sample, decision, kernel);
            let survival = sample.survival(&tried, decision, kernel);
            (kernel.cost(*count, survival, sample.encoding_bytes), tried)
        };
        let mut worse = 0;
        // As many concurrently as there are threads; some may turn out to be unnecessary.
        for counts in PARTS.chunks(rayon::current_num_threads()) {
            for (cost, tried) in counts.par_iter().map(attempt).collect::<Vec<_>>() {
                worse = if cost < best_cost { 0 } else { worse + 1 };
                if cost < best_cost {
                    (best, best_cost) = (tried, cost);
                }
                if worse == 2 && best.parts() > 0 {
                    return best;
                }
            }
        }
        best
    }

    /// Returns these parts, with floors that keep the sums of most pairs within a byte.
    fn with(parts: &Parts<'_>, sample: &Sample, decision: &Decision, kernel: Kernel) -> Self {
        let masks = parts.masks(sample.encoding_bytes);
        let mut tuning = Self { floors: vec![0; masks.rows()], masks };
        let mut words = Words::with_capacity(2 * SAMPLE_ROWS, sample.encoding_bytes);
        for row in sample.rows() {
            words.push(row);
        }
        let Signatures { counts, covered } = tuning.signatures(&words, kernel);
        let mean = covered.iter().sum::<u32>() / covered.len() as u32;
        let common = decision.needed((2 * mean).min(16 * sample.encoding_bytes as u32));
        let by_part: Vec<Vec<u8>> = (0..tuning.parts())
            .map(|part| {
                let mut counts: Vec<u8> = counts.iter().skip(part).step_by(tuning.parts()).copied().collect();
                counts.sort_unstable();
                counts
            })
            .collect();
        // The lowest count of the sample as a floor loses nothing; a higher one loses some precision.
        for percent in [0, 1, 3, 6, 10, 15, 20] {
            tuning.floors = by_part.iter().map(|counts| counts[counts.len() * percent / 100]).collect();
            if common <= tuning.floor() + SUM_MAX {
                break;
            }
        }
        tuning
    }

    /// Returns the tuning with this number of parts, whether or not it pays.
    #[cfg(test)]
    pub(super) fn with_parts(
        left: &Rows<'_>,
        right: &Rows<'_>,
        count: usize,
        decision: &Decision,
        kernel: Kernel,
    ) -> Self {
        let sample = Sample::of(left, right);
        if sample.is_empty() {
            return Self::none();
        }
        Self::with(&Parts::spread(&Columns::of(&sample.rows(), kernel), count), &sample, decision, kernel)
    }

    /// Returns the number of parts of a signature; 0 if nothing is sifted.
    pub const fn parts(&self) -> usize {
        self.floors.len()
    }

    /// Returns the sum of the values subtracted from all counts.
    pub(super) fn floor(&self) -> u32 {
        self.floors.iter().copied().map(u32::from).sum()
    }

    /// The signatures of all rows.
    pub(super) fn signatures(&self, words: &Words, kernel: Kernel) -> Signatures {
        const ROWS_AT_ONCE: u32 = 64;
        let rows = words.rows() as u32;
        let mut covered = Vec::with_capacity(words.rows());
        let mut counts = Vec::with_capacity(words.rows() * self.parts());
        if self.parts() == 0 {
            return Signatures { counts, covered: vec![0; words.rows()] };
        }
        let (mut pairs, mut bits) = (Vec::new(), Vec::new());
        for first in (0..rows).step_by(ROWS_AT_ONCE as usize) {
            pairs.clear();
            for row in first..rows.min(first + ROWS_AT_ONCE) {
                pairs.extend((0..self.parts() as u32).map(|part| (row, part)));
            }
            kernel.count(words, &self.masks, &pairs, &mut bits);
            for bits in bits.chunks_exact(self.parts()) {
                covered.push(bits.iter().sum());
                let above = |(bits, floor): (&u32, &u8)| bits.saturating_sub(u32::from(*floor)) as u8;
                counts.extend(bits.iter().zip(&self.floors).map(above));
            }
        }
        Signatures { counts, covered }
    }
}

/// Rows of both sides to learn from.
struct Sample {
    sides: [Vec<u8>; 2],
    encoding_bytes: usize,
}

impl Sample {
    fn of(left: &Rows<'_>, right: &Rows<'_>) -> Self {
        let sides = [left, right].map(|side| side.sample(SAMPLE_ROWS));
        Self { sides, encoding_bytes: left.encoding_bytes() }
    }

    fn is_empty(&self) -> bool {
        self.sides.iter().any(Vec::is_empty)
    }

    fn rows(&self) -> Vec<&[u8]> {
        self.sides.iter().flat_map(|side| side.chunks_exact(self.encoding_bytes)).collect()
    }

    /// Returns the share of its pairs that sifting lets through.
    fn survival(&self, tuning: &Tuning, decision: &Decision, kernel: Kernel) -> f64 {
        let side = |side| Rows::all(side, self.encoding_bytes).expect("a sample consists of whole rows");
        let (left, right) = (side(&self.sides[0]), side(&self.sides[1]));
        let sieve = Sieve::new(&left, &right, tuning, decision, kernel);
        let effort = sieve.search(0..sieve.shape().0, |_| Ok(())).expect("nothing is done that could fail");
        effort.counted as f64 / (left.len() * right.len()) as f64
    }
}

/// The tuning of a run: learnt when the first large part is compared, then used by all parts.
#[derive(Debug, Default)]
pub struct TuningCell {
    tuning: OnceLock<Tuning>,
    /// Comparisons that sifting would have paid for so far.
    asked: AtomicU64,
}

impl TuningCell {
    /// Returns an empty cell.
    pub const fn new() -> Self {
        Self { tuning: OnceLock::new(), asked: AtomicU64::new(0) }
    }

    /// Returns a cell with this tuning, whatever the encodings.
    pub fn holding(tuning: Tuning) -> Self {
        Self { tuning: OnceLock::from(tuning), asked: AtomicU64::new(0) }
    }

    /// Returns the tuning, if it was learnt.
    pub fn get(&self) -> Option<&Tuning> {
        self.tuning.get()
    }

    /// Returns true if the tuning is due before these further comparisons.
    pub(super) fn pays_to_learn(&self, comparisons: u64) -> bool {
        self.get().is_none()
            && self.asked.fetch_add(comparisons, Ordering::Relaxed) + comparisons >= LEARNING_COMPARISONS
    }

    pub(super) fn get_or_learn(&self, learn: impl Fn() -> Tuning) -> &Tuning {
        // Not `get_or_init`: while it learns, a thread of the pool may start another part of the run that needs the
        // same cell. Learning twice gives the same result.
        if self.tuning.get().is_none() {
            let _ = self.tuning.set(learn());
        }
        self.tuning.get_or_init(learn)
    }
}
