//! For x86-64 with AVX2: sifts 32 bytes at a time, counts the bits of 32 bytes by looking up those of each half byte.

use std::arch::x86_64::{
    __m256i, _MM_HINT_T0, _mm_add_epi64, _mm_cvtsi128_si64, _mm_prefetch, _mm_setr_epi8, _mm_unpackhi_epi64,
    _mm256_add_epi8, _mm256_add_epi32, _mm256_add_epi64, _mm256_and_si256, _mm256_broadcastsi128_si256,
    _mm256_castsi256_ps, _mm256_castsi256_si128, _mm256_cmpeq_epi8, _mm256_cmpgt_epi32,
    _mm256_extracti128_si256, _mm256_load_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_min_epu8,
    _mm256_movemask_epi8, _mm256_movemask_ps, _mm256_sad_epu8, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi16, _mm256_sub_epi8,
};

use super::portable;
use super::sift::{AT_ONCE, Lanes, WORD_BLOCK_ROWS, sift, write_all};
use super::{Block, Candidate, Line, Loops, Name, RowSignatures, RowWords, WordBlock, WordSieve, Words};

/// Exists only where the processor has AVX2, BMI1 and POPCNT.
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<&'static Self> {
        let detected = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("popcnt");
        detected.then_some(&Self(()))
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

    fn word_sieve(&self) -> Option<&dyn WordSieve> {
        Some(self)
    }
}

impl WordSieve for Avx2 {
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

/// The number of vectors of lanes that are compared together.
const VECTORS: usize = 2;
/// The number of 32-bit words in a line.
const LINE_WORDS: usize = 16;

/// Compares the rows from `row` on with a block, 8 lanes in each vector.
#[target_feature(enable = "avx2")]
fn sift_words<const ROWS: usize>(
    words: &Words,
    row: u32,
    needed: &[u32; ROWS],
    block: &WordBlock<'_>,
    survivors: &mut Vec<Candidate>,
) {
    let row_lines: [&[Line]; ROWS] = std::array::from_fn(|r| words.row(row + r as u32));
    let (groups, rest) = block.lines.as_chunks::<4>();
    assert!(
        rest.is_empty() && groups.len() == LINE_WORDS * words.lines_per_row(),
        "four lines for each word"
    );
    let bits = bits_of_half_bytes();
    survivors.reserve(ROWS * WORD_BLOCK_ROWS + AT_ONCE);
    for first in (0..WORD_BLOCK_ROWS).step_by(8 * VECTORS) {
        let mut sums = [[_mm256_setzero_si256(); VECTORS]; ROWS];
        for (line, groups) in groups.chunks_exact(LINE_WORDS).enumerate() {
            let mut bytes = [[_mm256_setzero_si256(); VECTORS]; ROWS];
            for (word, group) in groups.iter().enumerate() {
                let mut halves = [[_mm256_setzero_si256(); 2]; VECTORS];
                for v in 0..VECTORS {
                    // SAFETY: the four lines have 256 bytes, and `first + 8 * v` is a multiple of 8 below 64, so the 32
                    // bytes from its fourfold on are aligned.
                    let lanes =
                        unsafe { _mm256_load_si256(group.as_ptr().cast::<__m256i>().add(first / 8 + v)) };
                    halves[v] = half_bytes(lanes);
                }
                for r in 0..ROWS {
                    // SAFETY: a line has 16 words of 32 bits, and `word` is one of them.
                    let row_word = unsafe { (&raw const row_lines[r][line]).cast::<i32>().add(word).read() };
                    let row_word = _mm256_set1_epi32(row_word);
                    let row_high = _mm256_srli_epi16::<4>(row_word);
                    for v in 0..VECTORS {
                        let [lanes_low, lanes_high] = halves[v];
                        let common_low = _mm256_shuffle_epi8(bits, _mm256_and_si256(row_word, lanes_low));
                        let common_high = _mm256_shuffle_epi8(bits, _mm256_and_si256(row_high, lanes_high));
                        let common = _mm256_add_epi8(common_low, common_high);
                        bytes[r][v] = _mm256_add_epi8(bytes[r][v], common);
                    }
                }
            }
            for r in 0..ROWS {
                for v in 0..VECTORS {
                    let twos = _mm256_maddubs_epi16(bytes[r][v], _mm256_set1_epi8(1));
                    let fours = _mm256_madd_epi16(twos, _mm256_set1_epi16(1));
                    sums[r][v] = _mm256_add_epi32(sums[r][v], fours);
                }
            }
        }
        for r in 0..ROWS {
            // The comparison is signed, and a limit above all sums must stay above them.
            let below = _mm256_set1_epi32((needed[r] - 1).min(i32::MAX.cast_unsigned()).cast_signed());
            let mut kept = 0;
            for v in 0..VECTORS {
                let enough = _mm256_castsi256_ps(_mm256_cmpgt_epi32(sums[r][v], below));
                kept |= u64::from(_mm256_movemask_ps(enough).cast_unsigned()) << (8 * v);
            }
            // SAFETY: room for all lanes of all rows, and AT_ONCE more, was reserved.
            unsafe {
                let end = survivors.as_mut_ptr().add(survivors.len());
                let end = write_all(kept, row + r as u32, block.first + first as u32, end);
                survivors.set_len(end.offset_from_unsigned(survivors.as_ptr()));
            }
        }
    }
}

#[target_feature(enable = "popcnt")]
fn common_bytes(a: &[u8], b: &[u8]) -> u32 {
    portable::common_bytes(a, b)
}

/// The maximum number of lines whose bits are added up in bytes: each adds up to 16 to a byte.
const LINES_AT_ONCE: usize = 15;

#[target_feature(enable = "avx2")]
fn count(left: &Words, right: &Words, pairs: &[Candidate], counts: &mut Vec<u32>) {
    // The usual numbers of lines are constants, so that the compiler unrolls the loop.
    match left.lines_per_row() {
        1 => count_sized::<1>(left, right, pairs, counts),
        2 => count_sized::<2>(left, right, pairs, counts),
        4 => count_sized::<4>(left, right, pairs, counts),
        _ => count_sized::<0>(left, right, pairs, counts),
    }
}

/// The number of pairs by which the rows of the lane side are fetched in advance. They are spread over a block, which
/// the processor cannot foresee.
const FETCHED_AHEAD: usize = 12;
/// The maximum number of lines that are fetched of a row. The processor itself fetches the rest of a long one.
const FETCHED_LINES: usize = 4;

/// Counts rows of `LINES` lines; 0 means any number of lines.
#[inline]
#[target_feature(enable = "avx2")]
fn count_sized<const LINES: usize>(left: &Words, right: &Words, pairs: &[Candidate], counts: &mut Vec<u32>) {
    counts.reserve(pairs.len());
    for (at, (l, r)) in pairs.iter().enumerate() {
        if let Some((_, ahead)) = pairs.get(at + FETCHED_AHEAD) {
            fetch::<LINES>(right.row(*ahead));
        }
        counts.push(common::<LINES>(left.row(*l), right.row(*r)));
    }
}

/// Brings the first lines of a row into the innermost cache.
#[inline]
#[target_feature(enable = "avx2")]
fn fetch<const LINES: usize>(row: &[Line]) {
    let lines = if LINES == 0 { FETCHED_LINES } else { LINES };
    for line in row.iter().take(lines) {
        _mm_prefetch::<_MM_HINT_T0>((&raw const *line).cast());
    }
}

/// Returns the number of common bits of two rows.
#[inline]
#[target_feature(enable = "avx2")]
fn common<const LINES: usize>(left: &[Line], right: &[Line]) -> u32 {
    let lines = if LINES == 0 { left.len() } else { LINES };
    let (left, right) = (&left[..lines], &right[..lines]);
    let mut sums = _mm256_setzero_si256();
    for (left, right) in left.chunks(LINES_AT_ONCE).zip(right.chunks(LINES_AT_ONCE)) {
        let mut bytes = _mm256_setzero_si256();
        for (left, right) in left.iter().zip(right) {
            for half in 0..2 {
                // SAFETY: a line is two vectors of 32 bytes, aligned to 64.
                let (left, right) = unsafe {
                    let load =
                        |line: &Line| _mm256_load_si256((&raw const *line).cast::<__m256i>().add(half));
                    (load(left), load(right))
                };
                bytes = _mm256_add_epi8(bytes, bits_of_bytes(_mm256_and_si256(left, right)));
            }
        }
        sums = _mm256_add_epi64(sums, _mm256_sad_epu8(bytes, _mm256_setzero_si256()));
    }
    let sums = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
    _mm_cvtsi128_si64(_mm_add_epi64(sums, _mm_unpackhi_epi64(sums, sums))) as u32
}

/// Returns the number of bits that are set in each byte.
#[inline]
#[target_feature(enable = "avx2")]
fn bits_of_bytes(bytes: __m256i) -> __m256i {
    let (bits, [low, high]) = (bits_of_half_bytes(), half_bytes(bytes));
    _mm256_add_epi8(_mm256_shuffle_epi8(bits, low), _mm256_shuffle_epi8(bits, high))
}

/// Returns the lower four bits of each byte, and the higher four.
#[inline]
#[target_feature(enable = "avx2")]
fn half_bytes(bytes: __m256i) -> [__m256i; 2] {
    let low = _mm256_set1_epi8(0x0f);
    [_mm256_and_si256(bytes, low), _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low)]
}

/// Returns, twice, the number of bits that are set in each number of four bits.
#[inline]
#[target_feature(enable = "avx2")]
fn bits_of_half_bytes() -> __m256i {
    _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4))
}

#[target_feature(enable = "avx2,bmi1,popcnt")]
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
    unsafe fn wrapping_add(self, other: Self) -> Self {
        // SAFETY: the caller promises AVX2.
        unsafe { _mm256_add_epi8(self, other) }
    }

    #[inline(always)]
    unsafe fn wrapping_sub(self, other: Self) -> Self {
        // SAFETY: the caller promises AVX2.
        unsafe { _mm256_sub_epi8(self, other) }
    }

    #[inline(always)]
    unsafe fn le_mask(self, bound: Self) -> u64 {
        // SAFETY: the caller promises AVX2.
        let mask = unsafe { _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_min_epu8(self, bound), self)) };
        u64::from(mask.cast_unsigned())
    }
}
