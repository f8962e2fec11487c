//! Portable loops, which the compiler vectorizes where it can.

use std::ops::Range;

use super::lines::Line;
use super::loops::PairSieve;
use super::sift::{Lanes, sift};
use super::{Block, Candidate, Loops, Name, RowSignatures, RowWords, Words};

/// The kernel that runs everywhere.
pub(super) struct Portable;

impl Loops for Portable {
    fn name(&self) -> Name {
        Name::Portable
    }

    fn common_bytes(&self, a: &[u8], b: &[u8]) -> u32 {
        common_bytes(a, b)
    }

    fn count(&self, left: &Words, right: &Words, pairs: &[Candidate], counts: &mut Vec<u32>) {
        count(left, right, pairs, counts);
    }

    fn sift(&self, rows: RowSignatures<'_>, block: &Block<'_>, survivors: &mut Vec<Candidate>) {
        // SAFETY: plain bytes need no processor feature.
        unsafe { sift::<Plain, 2, 4>(rows, block, survivors) }
    }

    fn pair_sieve(&self) -> Option<&dyn PairSieve> {
        Some(self)
    }
}

impl PairSieve for Portable {
    fn sift_pairs(
        &self,
        rows: RowWords<'_>,
        others: &Words,
        lanes: Range<u32>,
        survivors: &mut Vec<Candidate>,
    ) {
        sift_pairs(rows, others, lanes, survivors);
    }
}

#[inline(always)]
pub(super) fn common_bytes(a: &[u8], b: &[u8]) -> u32 {
    let ((a_words, a_rest), (b_words, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut common = 0;
    for (a, b) in a_words.iter().zip(b_words) {
        common += (u64::from_le_bytes(*a) & u64::from_le_bytes(*b)).count_ones();
    }
    for (a, b) in a_rest.iter().zip(b_rest) {
        common += (a & b).count_ones();
    }
    common
}

#[inline(always)]
pub(super) fn sift_pairs(
    rows: RowWords<'_>,
    others: &Words,
    lanes: Range<u32>,
    survivors: &mut Vec<Candidate>,
) {
    for (row, needed) in (rows.first..).zip(rows.needed) {
        let own = rows.words.row(row);
        for lane in lanes.clone() {
            if common(own, others.row(lane)) >= *needed {
                survivors.push((row, lane));
            }
        }
    }
}

#[inline(always)]
pub(super) fn count(left: &Words, right: &Words, pairs: &[Candidate], counts: &mut Vec<u32>) {
    counts.reserve(pairs.len());
    for (l, r) in pairs {
        counts.push(common(left.row(*l), right.row(*r)));
    }
}

/// Returns the number of common bits of two rows.
#[inline(always)]
fn common(left: &[Line], right: &[Line]) -> u32 {
    // Loops, not closures: closures would not be compiled for the features of the function into which they are inlined.
    let mut common = 0;
    for (a, b) in left.iter().zip(right) {
        for word in 0..8 {
            common += (a.0[word] & b.0[word]).count_ones();
        }
    }
    common
}

/// Sixteen bytes.
#[derive(Clone, Copy)]
pub(super) struct Plain([u8; 16]);

impl Lanes for Plain {
    const COUNT: usize = 16;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller promises sixteen readable bytes.
        Self(unsafe { from.cast::<[u8; 16]>().read() })
    }

    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        let bytes = word.to_ne_bytes();
        Self(std::array::from_fn(|lane| bytes[lane % 4]))
    }

    #[inline(always)]
    unsafe fn min_u8(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane].min(other.0[lane])))
    }

    #[inline(always)]
    unsafe fn wrapping_add(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane].wrapping_add(other.0[lane])))
    }

    #[inline(always)]
    unsafe fn wrapping_sub(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane].wrapping_sub(other.0[lane])))
    }

    #[inline(always)]
    unsafe fn le_mask(self, bound: Self) -> u64 {
        (0..16).map(|lane| u64::from(self.0[lane] <= bound.0[lane]) << lane).sum()
    }
}
