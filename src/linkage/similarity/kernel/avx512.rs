//! For x86-64 with AVX-512 BW and VPOPCNTDQ: sifts 64 bytes at a time, counts 512 bits in one instruction.

use std::arch::x86_64::{
    __m512i, _mm256_storeu_si256, _mm512_add_epi8, _mm512_add_epi32, _mm512_add_epi64, _mm512_and_si512,
    _mm512_cmpge_epu32_mask, _mm512_cmple_epu8_mask, _mm512_cvtepi64_epi32, _mm512_load_si512,
    _mm512_min_epu8, _mm512_popcnt_epi32, _mm512_popcnt_epi64, _mm512_reduce_add_epi64, _mm512_set1_epi32,
    _mm512_setzero_si512, _mm512_shuffle_i64x2, _mm512_sub_epi8, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi64,
};

use super::portable;
use super::products::Products;
use super::sift::{AT_ONCE, Lanes, sift, write_all};
use super::vnni::Vnni;
use super::{Block, Candidate, Line, Loops, Name, RowSignatures, RowWords, WordBlock, WordSieve, Words};

/// Exists only where the processor has AVX-512 F, BW and VPOPCNTDQ, and POPCNT.
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<&'static Self> {
        let detected = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vpopcntdq")
            && is_x86_feature_detected!("popcnt");
        detected.then_some(&Self(()))
    }
}

impl Loops for Avx512 {
    fn name(&self) -> Name {
        Name::Avx512
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
        unsafe { sift_avx512(rows, block, survivors) }
    }

    fn word_sieve(&self) -> Option<&dyn WordSieve> {
        Some(self)
    }

    fn products(&self) -> Option<&dyn Products> {
        Vnni::detect().map(|found| found as &dyn Products)
    }
}

impl WordSieve for Avx512 {
    fn sift_words(&self, rows: RowWords<'_>, block: &WordBlock<'_>, survivors: &mut Vec<Candidate>) {
        let (fours, rest) = rows.needed.as_chunks::<4>();
        let mut row = rows.first;
        for needed in fours {
            // SAFETY: `self` exists, so the features were detected.
            unsafe { sift_words(rows.words, row, needed, block, survivors) }
            row += 4;
        }
        for needed in rest {
            // SAFETY: `self` exists, so the features were detected.
            unsafe { sift_words(rows.words, row, &[*needed], block, survivors) }
            row += 1;
        }
    }
}

/// Compares the rows from `row` on with a block, 16 lanes in each vector.
#[target_feature(enable = "avx512f,avx512vpopcntdq,popcnt")]
fn sift_words<const ROWS: usize>(
    words: &Words,
    row: u32,
    needed: &[u32; ROWS],
    block: &WordBlock<'_>,
    survivors: &mut Vec<Candidate>,
) {
    let row_words: [&[Line]; ROWS] = std::array::from_fn(|r| words.row(row + r as u32));
    let (groups, rest) = block.lines.as_chunks::<4>();
    assert!(rest.is_empty() && groups.len() == 16 * words.lines_per_row(), "four lines for each word");
    let mut sums = [[_mm512_setzero_si512(); 4]; ROWS];
    for (word, group) in groups.iter().enumerate() {
        let mut lanes = [_mm512_setzero_si512(); 4];
        for v in 0..4 {
            // SAFETY: a line is 64 bytes, aligned to 64.
            lanes[v] = unsafe { _mm512_load_si512(group[v].0.as_ptr().cast()) };
        }
        for r in 0..ROWS {
            // SAFETY: each line of a row has 16 words of 32 bits, and `word` is one of them.
            let bits = unsafe { row_words[r].as_ptr().cast::<i32>().add(word).read() };
            let bits = _mm512_set1_epi32(bits);
            for v in 0..4 {
                let common = _mm512_popcnt_epi32(_mm512_and_si512(bits, lanes[v]));
                sums[r][v] = _mm512_add_epi32(sums[r][v], common);
            }
        }
    }
    survivors.reserve(ROWS * 64 + AT_ONCE);
    for r in 0..ROWS {
        let needed = _mm512_set1_epi32(needed[r].cast_signed());
        let kept = (0..4).map(|v| u64::from(_mm512_cmpge_epu32_mask(sums[r][v], needed)) << (16 * v)).sum();
        // SAFETY: room for all lanes of all rows, and AT_ONCE more, was reserved.
        unsafe {
            let end = survivors.as_mut_ptr().add(survivors.len());
            let end = write_all(kept, row + r as u32, block.first, end);
            survivors.set_len(end.offset_from_unsigned(survivors.as_ptr()));
        }
    }
}

#[target_feature(enable = "popcnt")]
fn common_bytes(a: &[u8], b: &[u8]) -> u32 {
    portable::common_bytes(a, b)
}

#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn count(left: &Words, right: &Words, pairs: &[Candidate], counts: &mut Vec<u32>) {
    // The usual numbers of lines are constants, so that the compiler unrolls the loop.
    match left.lines_per_row() {
        1 => count_sized::<1>(left, right, pairs, counts),
        2 => count_sized::<2>(left, right, pairs, counts),
        4 => count_sized::<4>(left, right, pairs, counts),
        _ => count_sized::<0>(left, right, pairs, counts),
    }
}

/// Counts rows of `LINES` lines; 0 means any number of lines.
#[inline]
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn count_sized<const LINES: usize>(left: &Words, right: &Words, pairs: &[Candidate], counts: &mut Vec<u32>) {
    let (eights, rest) = pairs.as_chunks::<8>();
    counts.reserve(pairs.len());
    for eight in eights {
        let mut sums = [_mm512_setzero_si512(); 8];
        for n in 0..8 {
            sums[n] = common::<LINES>(left.row(eight[n].0), right.row(eight[n].1));
        }
        let mut eight_counts = [0; 8];
        let narrow = _mm512_cvtepi64_epi32(add_across(&sums));
        // SAFETY: eight counts of 32 bits are stored.
        unsafe { _mm256_storeu_si256((&raw mut eight_counts).cast(), narrow) };
        counts.extend_from_slice(&eight_counts);
    }
    for (l, r) in rest {
        counts.push(_mm512_reduce_add_epi64(common::<LINES>(left.row(*l), right.row(*r))) as u32);
    }
}

/// Returns the common bits of two rows, in eight sums.
#[inline]
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn common<const LINES: usize>(left: &[Line], right: &[Line]) -> __m512i {
    let lines = if LINES == 0 { left.len() } else { LINES };
    let (left, right) = (&left[..lines], &right[..lines]);
    let mut sum = _mm512_setzero_si512();
    for line in 0..lines {
        // SAFETY: a line is 64 bytes, aligned to 64.
        let (a, b) = unsafe {
            (
                _mm512_load_si512((&raw const left[line]).cast()),
                _mm512_load_si512((&raw const right[line]).cast()),
            )
        };
        sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(_mm512_and_si512(a, b)));
    }
    sum
}

/// Returns a vector whose lane `n` is the sum over the lanes of `sums[n]`.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_across(sums: &[__m512i; 8]) -> __m512i {
    let two = |at: usize| two_across(sums[at], sums[at + 1]);
    four_across(four_across(two(0), two(2)), four_across(two(4), two(6)))
}

/// Returns, in each quarter of 128 bits, the sum of the two lanes of `a`, then of `b`.
#[inline]
#[target_feature(enable = "avx512f")]
fn two_across(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b))
}

/// Adds up the quarters of `a` two by two, then the quarters of `b`.
#[inline]
#[target_feature(enable = "avx512f")]
fn four_across(a: __m512i, b: __m512i) -> __m512i {
    let even = _mm512_shuffle_i64x2::<0b10_00_10_00>(a, b);
    _mm512_add_epi64(even, _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b))
}

#[target_feature(enable = "avx512f,avx512bw,popcnt")]
fn sift_avx512(rows: RowSignatures<'_>, block: &Block<'_>, survivors: &mut Vec<Candidate>) {
    // SAFETY: this function has the features.
    unsafe { sift::<__m512i, 4, 4>(rows, block, survivors) }
}

impl Lanes for __m512i {
    const COUNT: usize = 64;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller promises 64 readable, aligned bytes, and AVX-512.
        unsafe { _mm512_load_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        // SAFETY: the caller promises AVX-512.
        unsafe { _mm512_set1_epi32(word.cast_signed()) }
    }

    #[inline(always)]
    unsafe fn min_u8(self, other: Self) -> Self {
        // SAFETY: the caller promises AVX-512.
        unsafe { _mm512_min_epu8(self, other) }
    }

    #[inline(always)]
    unsafe fn wrapping_add(self, other: Self) -> Self {
        // SAFETY: the caller promises AVX-512.
        unsafe { _mm512_add_epi8(self, other) }
    }

    #[inline(always)]
    unsafe fn wrapping_sub(self, other: Self) -> Self {
        // SAFETY: the caller promises AVX-512.
        unsafe { _mm512_sub_epi8(self, other) }
    }

    #[inline(always)]
    unsafe fn le_mask(self, bound: Self) -> u64 {
        // SAFETY: the caller promises AVX-512.
        unsafe { _mm512_cmple_epu8_mask(self, bound) }
    }
}
