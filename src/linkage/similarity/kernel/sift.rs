//! Sifting: which pairs of a block may be candidates, judged by their signatures.
//!
//! A signature counts the bits of a record in each of a few parts of the encoding. Two records cannot
//! have more bits in common than the sum over the parts of the smaller count. That sum is what is
//! computed, in bytes that stick at 255, for many lanes at once. A sum that sticks keeps its pair: pairs
//! may be kept for nothing, but are never lost.

use super::lines::{Bytes, Words};

/// A pair of rows, by position on either side.
pub(in crate::linkage::similarity) type Candidate = (u32, u32);

/// Records of the lane side that are sifted together.
pub(in crate::linkage::similarity) const BLOCK_ROWS: usize = 256;
const LINES: usize = BLOCK_ROWS / 64;

/// Records of the lane side with popcounts close to each other, transposed.
#[derive(Clone, Copy, Debug)]
pub(in crate::linkage::similarity) struct Block<'a> {
    /// Position of the first record.
    pub first: u32,
    /// Four lines of one byte a lane: what each lane starts with. Then four for the counts of each part.
    lines: &'a [Bytes],
}

impl<'a> Block<'a> {
    /// The block of these lines: four for the starts and four for each part.
    pub(in crate::linkage::similarity) fn new(first: u32, lines: &'a [Bytes]) -> Self {
        assert!(lines.len() >= LINES && lines.len().is_multiple_of(LINES), "whole groups of lines");
        Self { first, lines }
    }

    fn parts(&self) -> usize {
        self.lines.len() / LINES - 1
    }
}

/// Records of the row side: the counts of each, part by part, and the sum that each asks for.
#[derive(Clone, Copy, Debug)]
pub(in crate::linkage::similarity) struct RowSignatures<'a> {
    /// Position of the first record.
    pub first: u32,
    /// The counts, each four times in a word so that loading spreads it.
    pub counts: &'a [u32],
    /// By record: the sum that a lane has to come to, with what it started with.
    pub needed: &'a [u8],
}

/// Records of the lane side whose words are counted together.
pub(in crate::linkage::similarity) const WORD_BLOCK_ROWS: usize = 64;

/// Records of the lane side with popcounts close to each other, their words transposed.
#[derive(Clone, Copy, Debug)]
pub(in crate::linkage::similarity) struct WordBlock<'a> {
    /// Position of the first record.
    pub first: u32,
    /// Four lines for each 32-bit word: that word of 64 records. Lanes without a record have no bits.
    pub lines: &'a [Bytes],
}

/// Records of the row side, and the common bits that each asks for, which are at least 1.
#[derive(Clone, Copy, Debug)]
pub(in crate::linkage::similarity) struct RowWords<'a> {
    /// Position of the first record.
    pub first: u32,
    /// The words of all records.
    pub words: &'a Words,
    /// By record, from the first on: the fewest common bits that make a survivor.
    pub needed: &'a [u32],
}

/// Survivors that are written without asking whether there are so many.
pub(super) const AT_ONCE: usize = 4;

/// A vector of bytes. All methods need the processor feature of the implementing type.
pub(super) trait Lanes: Copy {
    /// Bytes in it; a divisor of 64.
    const COUNT: usize;
    /// The bytes from `from` on, which must be valid for reads and aligned to their number.
    unsafe fn load(from: *const u8) -> Self;
    /// The four bytes of `word` again and again.
    unsafe fn splat(word: u32) -> Self;
    /// The smaller of `self` and `other`.
    unsafe fn min_u8(self, other: Self) -> Self;
    /// `self + other`, at most 255.
    unsafe fn saturating_add(self, other: Self) -> Self;
    /// A bit for each byte that is at least that of `bound`.
    unsafe fn ge_mask(self, bound: Self) -> u64;
}

/// Sifts, holding `ROWS` x `VECTORS` sums in registers.
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
    assert_eq!(rows.counts.len(), rows.needed.len() * parts, "a count for each row and part");
    let mut row = 0;
    while row + ROWS <= rows.needed.len() {
        // SAFETY: as the caller promised; `row + ROWS` rows exist.
        unsafe { sift_rows::<V, ROWS, VECTORS>(rows, row, block, survivors) };
        row += ROWS;
    }
    while row < rows.needed.len() {
        // SAFETY: as the caller promised; `row` exists.
        unsafe { sift_rows::<V, 1, VECTORS>(rows, row, block, survivors) };
        row += 1;
    }
}

/// # Safety
/// The processor must have the feature of `V`, and `rows` at least `row + ROWS` rows with as many counts
/// each as `block` has parts.
#[inline(always)]
unsafe fn sift_rows<V: Lanes, const ROWS: usize, const VECTORS: usize>(
    rows: RowSignatures<'_>,
    row: usize,
    block: &Block<'_>,
    survivors: &mut Vec<Candidate>,
) {
    let parts = block.parts();
    let lanes: *const u8 = block.lines.as_ptr().cast();
    let counts: [*const u32; ROWS] = std::array::from_fn(|r| rows.counts[(row + r) * parts..].as_ptr());
    for base in (0..BLOCK_ROWS).step_by(VECTORS * V::COUNT) {
        // SAFETY: `base + VECTORS * COUNT` is at most BLOCK_ROWS, of which `block` has `1 + parts`; each
        // address is that of a line plus a multiple of COUNT, which divides 64; `counts[r]` has `parts`
        // items. No vector has more survivors than lanes, so they fit in what was reserved, and so do the
        // up to AT_ONCE that are written behind the last one.
        unsafe {
            let load = |group: usize, v: usize| V::load(lanes.add(group * BLOCK_ROWS + base + v * V::COUNT));
            let starts: [V; VECTORS] = std::array::from_fn(|v| load(0, v));
            let mut sums = [starts; ROWS];
            for part in 0..parts {
                let lane: [V; VECTORS] = std::array::from_fn(|v| load(1 + part, v));
                for r in 0..ROWS {
                    let count = V::splat(*counts[r].add(part));
                    for v in 0..VECTORS {
                        sums[r][v] = sums[r][v].saturating_add(count.min_u8(lane[v]));
                    }
                }
            }
            // Room for all of them and what is written beyond, so that none has to ask.
            survivors.reserve(ROWS * VECTORS * V::COUNT + AT_ONCE);
            let mut end = survivors.as_mut_ptr().add(survivors.len());
            for r in 0..ROWS {
                let needed = V::splat(u32::from(rows.needed[row + r]) * 0x0101_0101);
                for v in 0..VECTORS {
                    let lane = block.first + (base + v * V::COUNT) as u32;
                    let kept = sums[r][v].ge_mask(needed);
                    end = write_all(kept, rows.first + (row + r) as u32, lane, end);
                }
            }
            survivors.set_len(end.offset_from_unsigned(survivors.as_ptr()));
        }
    }
}

/// Writes a candidate for each bit of `kept`, the first of which is `lane`, and returns where they end.
///
/// # Safety
/// Behind `end` there must be room for as many candidates as `kept` has bits, and [`AT_ONCE`] more.
#[inline(always)]
pub(super) unsafe fn write_all(
    mut kept: u64,
    row: u32,
    lane: u32,
    mut end: *mut Candidate,
) -> *mut Candidate {
    while kept != 0 {
        // Some at once, whether there are so many or not: how many is hard to foresee.
        for _ in 0..AT_ONCE {
            // SAFETY: `end` moves on by one for each bit, and what is written is at most AT_ONCE behind.
            unsafe {
                end.write((row, lane + kept.trailing_zeros()));
                end = end.add(usize::from(kept != 0));
            }
            kept &= kept.wrapping_sub(1);
        }
    }
    end
}
