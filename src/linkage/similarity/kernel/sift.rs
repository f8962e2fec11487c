//! Sifting: finds the pairs of a block that may be candidates, by their signatures.
//!
//! A signature counts the bits of a record in each of a few parts of the encoding. The *excess* of the row over the lane is
//! the sum over the parts of the bits by which the row's count is larger: bits that they do not share. It is the sum of the
//! row's counts minus the sum of the smaller counts. These sums are computed in bytes, modulo 256, for many lanes at once.
//! An excess beyond a byte seems smaller than it is: pairs may be kept needlessly, but are never lost.

use super::lines::{Bytes, Words};

/// A pair of rows, by position on either side.
pub(in crate::similarity) type Candidate = (u32, u32);

/// The number of records of the lane side that are sifted together.
pub(in crate::similarity) const BLOCK_ROWS: usize = 256;
const LINES: usize = BLOCK_ROWS / 64;

/// Records of the lane side with similar popcounts, transposed.
#[derive(Clone, Copy, Debug)]
pub(in crate::similarity) struct Block<'a> {
    /// The position of the first record.
    pub first: u32,
    /// Four lines with one byte for each lane: its start value. Then four lines for the counts of each part.
    lines: &'a [Bytes],
}

impl<'a> Block<'a> {
    /// Makes a block of these lines: four for the start values and four for each part.
    pub(in crate::similarity) fn new(first: u32, lines: &'a [Bytes]) -> Self {
        assert!(lines.len() >= LINES && lines.len().is_multiple_of(LINES), "whole groups of lines");
        Self { first, lines }
    }

    fn parts(&self) -> usize {
        self.lines.len() / LINES - 1
    }
}

/// The signatures of records on the row side.
#[derive(Clone, Copy, Debug)]
pub(in crate::similarity) struct RowSignatures<'a> {
    /// The position of the first record.
    pub first: u32,
    /// The counts of each record, part by part, each four times in a word, so that it can be broadcast.
    pub counts: &'a [u32],
    /// The sum of the counts of each record, modulo 256.
    pub totals: &'a [u8],
    /// The largest byte that survives, for each record: its excess over the lane minus the start value of the lane, modulo
    /// 256.
    pub limits: &'a [u8],
}

/// The number of records of the lane side whose words are counted together.
pub(in crate::similarity) const WORD_BLOCK_ROWS: usize = 64;

/// Records of the lane side with similar popcounts, their words transposed.
#[derive(Clone, Copy, Debug)]
pub(in crate::similarity) struct WordBlock<'a> {
    /// The position of the first record.
    pub first: u32,
    /// Four lines for each 32-bit word: that word of 64 records. Lanes without a record have no bits.
    pub lines: &'a [Bytes],
}

/// Records of the row side, and the common bits that each requires, which are at least 1.
#[derive(Clone, Copy, Debug)]
pub(in crate::similarity) struct RowWords<'a> {
    /// The position of the first record.
    pub first: u32,
    /// The words of all records.
    pub words: &'a Words,
    /// The fewest common bits of a survivor, for each record.
    pub needed: &'a [u32],
}

/// The number of survivors that are always written together, to avoid a branch on the real number.
pub(super) const AT_ONCE: usize = 3;

/// A vector of bytes. All methods need the processor feature of the implementing type.
pub(super) trait Lanes: Copy {
    /// The number of bytes; a divisor of 64.
    const COUNT: usize;
    /// Loads the bytes from `from` on, which must be valid for reads and aligned to their number.
    unsafe fn load(from: *const u8) -> Self;
    /// Returns a vector that repeats the four bytes of `word`.
    unsafe fn splat(word: u32) -> Self;
    /// Returns the smaller of `self` and `other`, byte by byte.
    unsafe fn min_u8(self, other: Self) -> Self;
    /// Returns `self + other`, modulo 256 for each byte.
    unsafe fn wrapping_add(self, other: Self) -> Self;
    /// Returns `self - other`, modulo 256 for each byte.
    unsafe fn wrapping_sub(self, other: Self) -> Self;
    /// Returns a bit for each byte that is not larger than the same byte of `bound`.
    unsafe fn le_mask(self, bound: Self) -> u64;
}

/// The number of pairs of which at least one must survive on average, so that branches on survivors are avoided.
const PAIRS_OF_A_SURVIVOR: usize = 128;

/// Sifts with `ROWS` x `VECTORS` sums in registers.
///
/// # Safety
/// The processor must have the feature of `V`.
#[inline(always)]
pub(super) unsafe fn sift<V: Lanes, const ROWS: usize, const VECTORS: usize>(
    rows: RowSignatures<'_>,
    block: &Block<'_>,
    survivors: &mut Vec<Candidate>,
) {
    let parts = block.parts();
    assert_eq!(rows.counts.len(), rows.limits.len() * parts, "a count for each row and part");
    assert_eq!(rows.totals.len(), rows.limits.len(), "a total for each row");
    let before = survivors.len();
    let mut row = 0;
    while row + ROWS <= rows.limits.len() {
        let many = PAIRS_OF_A_SURVIVOR * (survivors.len() - before) > row * BLOCK_ROWS;
        // SAFETY: the caller's promise holds; `row + ROWS` rows exist.
        unsafe {
            if many {
                sift_rows::<V, ROWS, VECTORS, true>(rows, row, block, survivors);
            } else {
                sift_rows::<V, ROWS, VECTORS, false>(rows, row, block, survivors);
            }
        }
        row += ROWS;
    }
    while row < rows.limits.len() {
        // SAFETY: the caller's promise holds; `row` exists.
        unsafe { sift_rows::<V, 1, VECTORS, false>(rows, row, block, survivors) };
        row += 1;
    }
}

/// Sifts `ROWS` rows. `MANY` is faster if many pairs survive; the survivors are the same.
///
/// # Safety
/// The processor must have the feature of `V`. `rows` must have at least `row + ROWS` rows, each with a count for
/// every part of `block`.
#[inline(always)]
unsafe fn sift_rows<V: Lanes, const ROWS: usize, const VECTORS: usize, const MANY: bool>(
    rows: RowSignatures<'_>,
    row: usize,
    block: &Block<'_>,
    survivors: &mut Vec<Candidate>,
) {
    let parts = block.parts();
    let lanes: *const u8 = block.lines.as_ptr().cast();
    let counts: [*const u32; ROWS] = std::array::from_fn(|r| rows.counts[(row + r) * parts..].as_ptr());
    for base in (0..BLOCK_ROWS).step_by(VECTORS * V::COUNT) {
        // SAFETY: `base + VECTORS * COUNT` is at most BLOCK_ROWS, and `block` has `1 + parts` times BLOCK_ROWS bytes;
        // each address is that of a line plus a multiple of COUNT, which divides 64; `counts[r]` has `parts` items. No
        // vector has more survivors than lanes, so they fit into the reserved room, and so do the up to AT_ONCE that
        // are written after the last one.
        unsafe {
            let load = |group: usize, v: usize| V::load(lanes.add(group * BLOCK_ROWS + base + v * V::COUNT));
            let starts: [V; VECTORS] = std::array::from_fn(|v| load(0, v));
            let mut sums = [starts; ROWS];
            for part in 0..parts {
                let lane: [V; VECTORS] = std::array::from_fn(|v| load(1 + part, v));
                for r in 0..ROWS {
                    let count = V::splat(*counts[r].add(part));
                    for v in 0..VECTORS {
                        sums[r][v] = sums[r][v].wrapping_add(count.min_u8(lane[v]));
                    }
                }
            }
            // Reserves room for all candidates, and for the writes beyond them, so that the loop need not check.
            survivors.reserve(ROWS * VECTORS * V::COUNT + AT_ONCE);
            let mut end = survivors.as_mut_ptr().add(survivors.len());
            for r in 0..ROWS {
                let of_row = |bytes: &[u8]| V::splat(u32::from(bytes[row + r]) * 0x0101_0101);
                let (total, limit) = (of_row(rows.totals), of_row(rows.limits));
                // Joins the bits of 64 lanes, because a branch for each mask is hard to predict.
                for v in (0..VECTORS).step_by(64 / V::COUNT) {
                    let mut kept = 0;
                    for at in v..VECTORS.min(v + 64 / V::COUNT) {
                        kept |= total.wrapping_sub(sums[r][at]).le_mask(limit) << ((at - v) * V::COUNT);
                    }
                    let lane = block.first + (base + v * V::COUNT) as u32;
                    let row = rows.first + (row + r) as u32;
                    if MANY {
                        // Without a branch: whether a row has a survivor is hard to predict.
                        kept = write_some(kept, row, lane, &mut end);
                    }
                    end = write_all(kept, row, lane, end);
                }
            }
            survivors.set_len(end.offset_from_unsigned(survivors.as_ptr()));
        }
    }
}

/// Writes a candidate for each bit that is set in `kept`, and returns the end of the candidates. Bit 0 is the lane
/// `lane`.
///
/// # Safety
/// After `end` there must be room for one candidate for each bit of `kept`, and [`AT_ONCE`] more.
#[inline(always)]
pub(super) unsafe fn write_all(
    mut kept: u64,
    row: u32,
    lane: u32,
    mut end: *mut Candidate,
) -> *mut Candidate {
    while kept != 0 {
        // SAFETY: the caller's promise holds, also for the bits that are left.
        kept = unsafe { write_some(kept, row, lane, &mut end) };
    }
    end
}

/// Writes candidates for the lowest [`AT_ONCE`] bits that are set in `kept`, advances `end` beyond them, and returns the
/// other bits.
///
/// # Safety
/// After `end` there must be room for [`AT_ONCE`] candidates more than there are bits.
#[inline(always)]
unsafe fn write_some(mut kept: u64, row: u32, lane: u32, end: &mut *mut Candidate) -> u64 {
    // Writes a fixed number, because a branch on the real number is hard to predict.
    for _ in 0..AT_ONCE {
        // SAFETY: `end` advances by one for each bit, and writes go at most AT_ONCE beyond it.
        unsafe {
            end.write((row, lane + kept.trailing_zeros()));
            *end = end.add(usize::from(kept != 0));
        }
        kept &= kept.wrapping_sub(1);
    }
    kept
}
