//! Inner products of signed with unsigned bytes, of every row of a list with every lane of a block.
//!
//! To count common bits, each bit is a byte of 0 or 1. [Projections](super::super::projection) are bytes, too.
//! Sixteen rows, or sixteen lanes, are a *group*; 32 rows, or 64 lanes, are a *bundle*. A *step* has 64 bytes of each
//! row or lane of a group, so that the bytes that one instruction reads are adjacent. In a group of rows, a line has 64
//! bytes of one row; in a group of lanes, a line has four bytes of every lane.

use std::ops::Range;

use super::lines::{Bytes, Words};
use super::sift::Candidate;

/// The number of rows or lanes of a group.
pub(in crate::similarity) const GROUP: usize = 16;
/// The number of lanes of a block.
pub(in crate::similarity) const PRODUCT_BLOCK_ROWS: usize = 256;
/// The number of lanes that a loop takes at a time: lists of lanes are padded to a multiple.
pub(in crate::similarity) const PRODUCT_LANES: usize = 64;
/// The number of rows that a loop takes at a time: lists of rows are padded to a multiple.
pub(in crate::similarity) const PRODUCT_ROWS: usize = 32;

/// Groups of rows of signed bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::similarity) struct ProductRows<'a> {
    /// The position of the first row.
    pub first: u32,
    /// The bytes, group by group; a multiple of [`PRODUCT_ROWS`] rows.
    pub lines: &'a [Bytes],
    /// The number of steps of a row.
    pub steps: usize,
}

/// Groups of lanes of unsigned bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::similarity) struct ProductLanes<'a> {
    /// The position of the first lane.
    pub first: u32,
    /// The bytes, group by group; a multiple of [`PRODUCT_LANES`] lanes.
    pub lines: &'a [Bytes],
    /// The value at which the sums of each lane start.
    pub starts: &'a [i32],
}

/// Loops over inner products.
pub(in crate::similarity) trait Products: Sync {
    /// Appends the pairs for which the start of the lane plus the inner product is at least the value in `needed` for
    /// the row.
    fn sift_products(
        &self,
        rows: ProductRows<'_>,
        needed: &[i32],
        lanes: ProductLanes<'_>,
        survivors: &mut Vec<Candidate>,
    );

    /// Writes the start of the lane plus the inner product for every pair, row by row.
    fn multiply(&self, rows: ProductRows<'_>, lanes: ProductLanes<'_>, sums: &mut [i32]);

    /// Replaces `lines` with the encodings at these positions, a byte for each bit: 64 in a step, in the order of
    /// [`bit_of`].
    fn unpack_rows(&self, words: &Words, rows: Range<usize>, lines: &mut Vec<Bytes>);

    /// For each of four lists of factors, adds every row times its factor to a sum.
    fn combine(&self, factors: [&[f32]; 4], rows: &[[f32; 64]], sums: &mut [[f32; 64]; 4]);
}

/// Rows as bits, which the loops convert to bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::similarity) struct BitRows<'a> {
    /// The position of the first row.
    pub first: u32,
    /// Eight bytes of each row, for each bundle of [`PRODUCT_ROWS`] rows and each step; then [`BITS_READ_AHEAD`]
    /// lines that loops may read ahead.
    pub lines: &'a [Bytes],
    /// The number of steps of a row.
    pub steps: usize,
}

/// The number of lines of a bundle of rows in a step.
pub(in crate::similarity) const BIT_LINES: usize = PRODUCT_ROWS / 8;
/// The number of lines after the last bundle, which loops may read.
pub(in crate::similarity) const BITS_READ_AHEAD: usize = 2 * BIT_LINES;

/// Loops over inner products of bits, for processors that multiply so fast that no other way to count is faster.
pub(in crate::similarity) trait BitProducts: Sync {
    /// Appends the pairs for which the start of the lane plus the number of common bits is at least the value in
    /// `needed` for the row.
    fn sift_bits(
        &self,
        rows: BitRows<'_>,
        needed: &[i32],
        lanes: ProductLanes<'_>,
        survivors: &mut Vec<Candidate>,
    );

    /// Replaces `lanes` with a block of transposed words, a byte for each bit.
    fn unpack_lanes(&self, lines: &[Bytes], lanes: &mut Vec<Bytes>);
}

/// Replaces `lines` with the encodings at these positions, in the layout of [`BitRows`].
pub(in crate::similarity) fn gather_bits(words: &Words, rows: Range<usize>, lines: &mut Vec<Bytes>) {
    let steps = 8 * words.lines_per_row();
    lines.clear();
    lines.resize(rows.len().div_ceil(PRODUCT_ROWS) * steps * BIT_LINES + BITS_READ_AHEAD, Bytes([0; 64]));
    for (at, row) in rows.enumerate() {
        let start = at / PRODUCT_ROWS * steps * BIT_LINES + at % PRODUCT_ROWS / 8;
        for (step, word) in words.row(row as u32).iter().flat_map(|line| line.0).enumerate() {
            let line = &mut lines[start + step * BIT_LINES];
            line.0.as_chunks_mut::<8>().0[at % 8] = word.to_le_bytes();
        }
    }
}

/// Returns the place of byte `at` of row `of`, if rows have `steps` steps: the line, and the byte in the line.
pub(in crate::similarity) const fn row_place(of: usize, at: usize, steps: usize) -> (usize, usize) {
    ((of / GROUP * steps + at / 64) * GROUP + of % GROUP, at % 64)
}

/// Returns the place of byte `at` of lane `of`, if lanes have `steps` steps: the line, and the byte in the line.
pub(in crate::similarity) const fn lane_place(of: usize, at: usize, steps: usize) -> (usize, usize) {
    ((of / GROUP * steps + at / 64) * GROUP + at % 64 / 4, of % GROUP * 4 + at % 4)
}

/// Returns the bit of an encoding that is at byte `at` of an unpacked row. A step has two words of 32 bits. Each group
/// of eight bytes has every eighth bit of both words; the next group has the bits after those.
pub(in crate::similarity) const fn bit_of(at: usize) -> usize {
    let four = at % 64 / 4;
    at / 64 * 64 + four % 2 * 32 + at % 4 * 8 + four / 2
}
