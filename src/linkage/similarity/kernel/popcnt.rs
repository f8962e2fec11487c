//! For x86-64 with POPCNT: counts in hardware, sifts sixteen bytes at a time (SSE2, which every such processor has).

use std::arch::x86_64::{
    __m128i, _mm_add_epi8, _mm_cmpeq_epi8, _mm_load_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_set1_epi32,
    _mm_sub_epi8,
};
use std::ops::Range;

use super::loops::PairSieve;
use super::portable;
use super::sift::{Lanes, sift};
use super::{Block, Candidate, Loops, Name, RowSignatures, RowWords, Words};

/// Exists only where the processor has POPCNT.
pub(super) struct Popcnt(());

impl Popcnt {
    pub(super) fn detect() -> Option<&'static Self> {
        is_x86_feature_detected!("popcnt").then_some(&Self(()))
    }
}

impl Loops for Popcnt {
    fn name(&self) -> Name {
        Name::Popcnt
    }

    fn common_bytes(&self, a: &[u8], b: &[u8]) -> u32 {
        // SAFETY: `self` exists, so the feature was detected.
        unsafe { common_bytes(a, b) }
    }

    fn count(&self, left: &Words, right: &Words, pairs: &[Candidate], counts: &mut Vec<u32>) {
        // SAFETY: `self` exists, so the feature was detected.
        unsafe { count(left, right, pairs, counts) }
    }

    fn sift(&self, rows: RowSignatures<'_>, block: &Block<'_>, survivors: &mut Vec<Candidate>) {
        // SAFETY: every processor of this kind has SSE2.
        unsafe { sift::<__m128i, 2, 4>(rows, block, survivors) }
    }

    fn pair_sieve(&self) -> Option<&dyn PairSieve> {
        Some(self)
    }
}

impl PairSieve for Popcnt {
    fn sift_pairs(
        &self,
        rows: RowWords<'_>,
        others: &Words,
        lanes: Range<u32>,
        survivors: &mut Vec<Candidate>,
    ) {
        // SAFETY: `self` exists, so the feature was detected.
        unsafe { sift_pairs(rows, others, lanes, survivors) }
    }
}

#[target_feature(enable = "popcnt")]
fn common_bytes(a: &[u8], b: &[u8]) -> u32 {
    portable::common_bytes(a, b)
}

#[target_feature(enable = "popcnt")]
fn sift_pairs(rows: RowWords<'_>, others: &Words, lanes: Range<u32>, survivors: &mut Vec<Candidate>) {
    portable::sift_pairs(rows, others, lanes, survivors);
}

#[target_feature(enable = "popcnt")]
fn count(left: &Words, right: &Words, pairs: &[Candidate], counts: &mut Vec<u32>) {
    portable::count(left, right, pairs, counts);
}

impl Lanes for __m128i {
    const COUNT: usize = 16;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller promises sixteen readable, aligned bytes.
        unsafe { _mm_load_si128(from.cast()) }
    }

    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        // SAFETY: every processor of this kind has SSE2.
        unsafe { _mm_set1_epi32(word.cast_signed()) }
    }

    #[inline(always)]
    unsafe fn min_u8(self, other: Self) -> Self {
        // SAFETY: every processor of this kind has SSE2.
        unsafe { _mm_min_epu8(self, other) }
    }

    #[inline(always)]
    unsafe fn wrapping_add(self, other: Self) -> Self {
        // SAFETY: every processor of this kind has SSE2.
        unsafe { _mm_add_epi8(self, other) }
    }

    #[inline(always)]
    unsafe fn wrapping_sub(self, other: Self) -> Self {
        // SAFETY: every processor of this kind has SSE2.
        unsafe { _mm_sub_epi8(self, other) }
    }

    #[inline(always)]
    unsafe fn le_mask(self, bound: Self) -> u64 {
        // SAFETY: every processor of this kind has SSE2.
        let mask = unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(self, bound), self)) };
        u64::from(mask.cast_unsigned())
    }
}
