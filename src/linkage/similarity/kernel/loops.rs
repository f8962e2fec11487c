//! The inner loops that each kind of processor implements.

use super::lines::Words;
use super::name::Name;
use super::sift::{Block, Candidate, RowSignatures, RowWords, WordBlock};

/// The inner loops of one kind of processor.
pub(super) trait Loops: Sync {
    fn name(&self) -> Name;

    /// Returns the approximate cost of the loops.
    fn costs(&self) -> Costs;

    /// Counts the bits that are set in both slices, which are equally long.
    fn common_bytes(&self, a: &[u8], b: &[u8]) -> u32;

    /// Appends the number of common bits of each pair of rows, in order.
    fn count(&self, left: &Words, right: &Words, pairs: &[Candidate], counts: &mut Vec<u32>);

    /// Appends the pairs that may be candidates.
    fn sift(&self, rows: RowSignatures<'_>, block: &Block<'_>, survivors: &mut Vec<Candidate>);

    /// Counts every pair of a block, if this processor does that faster than pair by pair.
    fn word_sieve(&self) -> Option<&dyn WordSieve> {
        None
    }
}

/// Counts the common bits of every pair of a block of transposed words.
pub(super) trait WordSieve {
    /// Appends the pairs that have the common bits which their row requires.
    fn sift_words(&self, rows: RowWords<'_>, block: &WordBlock<'_>, survivors: &mut Vec<Candidate>);

    /// Returns the nanoseconds that counting one line of 64 pairs takes.
    fn line_cost(&self) -> f64;
}

/// The cost of the loops, in nanoseconds.
pub(super) struct Costs {
    /// To sift 64 pairs by a part.
    pub(super) part: f64,
    /// To collect a survivor and decide it.
    pub(super) survivor: f64,
    /// To count a line of a survivor.
    pub(super) line: f64,
}
