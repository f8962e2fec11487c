//! For x86-64 with AVX2: sifts 32 bytes at a time, counts with POPCNT.

use std::arch::x86_64::{
    __m256i, _mm256_adds_epu8, _mm256_cmpeq_epi8, _mm256_load_si256, _mm256_min_epu8, _mm256_movemask_epi8,
    _mm256_set1_epi32,
};

use super::portable;
use super::sift::{Lanes, sift};
use super::{Block, Candidate, Loops, Name, RowSignatures, Words};

/// Exists only where the processor has AVX2 and POPCNT.
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<&'static Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt")).then_some(&Self(()))
    }
}

impl Loops for Avx2 {
    fn name(&self) -> Name {
        Name::Avx2
    }

    fn common_bytes(&self, a: &[u8], b: &[u8]) -> u32 {
        // SAFETY: `self` exists, so the features were detected.
        unsafe { common_bytes(a, b) }
    }

    fn count(&self, left: &Words, right: &Words, pairs: &[Candidate], counts: &mut Vec<u32>) {
        // SAFETY: `self` exists, so the features were detected.
        unsafe { count(left, right, pairs, counts) }
    }

    fn sift(&self, rows: RowSignatures<'_>, block: &Block<'_>, survivors: &mut Vec<Candidate>) {
        // SAFETY: `self` exists, so the features were detected.
        unsafe { sift_avx2(rows, block, survivors) }
    }
}

#[target_feature(enable = "popcnt")]
fn common_bytes(a: &[u8], b: &[u8]) -> u32 {
    portable::common_bytes(a, b)
}

#[target_feature(enable = "popcnt")]
fn count(left: &Words, right: &Words, pairs: &[Candidate], counts: &mut Vec<u32>) {
    portable::count(left, right, pairs, counts);
}

#[target_feature(enable = "avx2,popcnt")]
fn sift_avx2(rows: RowSignatures<'_>, block: &Block<'_>, survivors: &mut Vec<Candidate>) {
    // SAFETY: this function has the feature.
    unsafe { sift::<__m256i, 2, 4>(rows, block, survivors) }
}

impl Lanes for __m256i {
    const COUNT: usize = 32;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller promises 32 readable, aligned bytes, and AVX2.
        unsafe { _mm256_load_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        // SAFETY: the caller promises AVX2.
        unsafe { _mm256_set1_epi32(word.cast_signed()) }
    }

    #[inline(always)]
    unsafe fn min_u8(self, other: Self) -> Self {
        // SAFETY: the caller promises AVX2.
        unsafe { _mm256_min_epu8(self, other) }
    }

    #[inline(always)]
    unsafe fn saturating_add(self, other: Self) -> Self {
        // SAFETY: the caller promises AVX2.
        unsafe { _mm256_adds_epu8(self, other) }
    }

    #[inline(always)]
    unsafe fn ge_mask(self, bound: Self) -> u64 {
        // SAFETY: the caller promises AVX2.
        let mask = unsafe { _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_min_epu8(self, bound), bound)) };
        u64::from(mask.cast_unsigned())
    }
}
