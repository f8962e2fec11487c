//! The inner loops that each kind of processor implements.

use std::ops::Range;

use super::lines::Words;
use super::name::Name;
use super::products::{BitProducts, Products};
use super::sift::{Block, Candidate, RowSignatures, RowWords, WordBlock};

/// The inner loops of one kind of processor.
pub(super) trait Loops: Sync {
    fn name(&self) -> Name;

    /// Counts the bits that are set in both slices, which are equally long.
    fn common_bytes(&self, a: &[u8], b: &[u8]) -> u32;

    /// Appends the number of common bits of each pair of rows, in order.
    fn count(&self, left: &Words, right: &Words, pairs: &[Candidate], counts: &mut Vec<u32>);

    /// Appends the pairs that may be candidates.
    fn sift(&self, rows: RowSignatures<'_>, block: &Block<'_>, survivors: &mut Vec<Candidate>);

    /// Returns the loops that count every pair of a block, if this processor does that faster than pair by pair.
    fn word_sieve(&self) -> Option<&dyn WordSieve> {
        None
    }

    /// Returns the loops that count every pair of a block and list only some, if this processor has them.
    fn pair_sieve(&self) -> Option<&dyn PairSieve> {
        None
    }

    /// Returns the loops that multiply bytes, if this processor multiplies them fast.
    fn products(&self) -> Option<&dyn Products> {
        None
    }

    /// Counts every pair of a block by multiplying, if this processor does that faster than in any other way.
    fn bit_products(&self) -> Option<&dyn BitProducts> {
        None
    }
}

/// Counts the common bits of every pair of rows and lanes.
pub(super) trait PairSieve {
    /// Appends the pairs with `lanes` of `others` that have at least the common bits that their row requires.
    fn sift_pairs(
        &self,
        rows: RowWords<'_>,
        others: &Words,
        lanes: Range<u32>,
        survivors: &mut Vec<Candidate>,
    );
}

/// Counts the common bits of every pair of a block of transposed words.
pub(super) trait WordSieve {
    /// Appends the pairs that have at least the common bits that their row requires.
    fn sift_words(&self, rows: RowWords<'_>, block: &WordBlock<'_>, survivors: &mut Vec<Candidate>);
}
