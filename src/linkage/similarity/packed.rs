//! Rows in the form that the kernels read: sorted by popcount and padded to cache lines, with their signatures or
//! projections.
//!
//! A *position* is an index into the sorted rows. The rows of one side of a comparison are processed one by one. Those
//! of the other side, the *lanes*, are transposed and processed a *block* at a time.

use std::ops::Range;
use std::sync::Arc;

use super::decision::Decision;
use super::footprint::Footprint;
use super::kernel::{
    BLOCK_ROWS, Bytes, Kernel, PRODUCT_BLOCK_ROWS, PRODUCT_LANES, PRODUCT_ROWS, ProductLanes, ProductRows,
    RowSignatures, WORD_BLOCK_ROWS, Words, lane_place, row_place,
};
use super::projection::{Projected, Projection};
use super::rows::Rows;
use super::tuning::{Sifting, Tuning};

/// Rows sorted by popcount, ascending.
#[derive(Debug)]
pub(super) struct Packed {
    /// The row at each position.
    pub(super) rows: Vec<u32>,
    /// The popcount at each position.
    pub(super) bits: Vec<u32>,
    /// The encoding at each position.
    pub(super) words: Words,
}

impl Packed {
    fn new(rows: &Rows<'_>, kernel: Kernel) -> Self {
        let mut by_bits: Vec<(u32, u32)> =
            (0..rows.len()).map(|row| (kernel.popcount(rows.bytes(row)), row as u32)).collect();
        by_bits.sort_unstable();
        let mut words = Words::with_capacity(rows.len(), rows.encoding_bytes());
        for (_, row) in &by_bits {
            words.push(rows.bytes(*row as usize));
        }
        let (bits, rows) = by_bits.into_iter().unzip();
        Self { rows, bits, words }
    }
}

impl Footprint for Packed {
    fn bytes(&self) -> usize {
        let Self { rows, bits, words } = self;
        words.bytes() + size_of_val(rows.as_slice()) + size_of_val(bits.as_slice())
    }
}

impl Footprint for RowSide {
    fn bytes(&self) -> usize {
        let sifted = match &self.sifted {
            SiftedRows::Nothing => 0,
            SiftedRows::Signatures(SignatureRows { counts, totals, .. }) => {
                size_of_val(counts.as_slice()) + size_of_val(totals.as_slice())
            }
            SiftedRows::Projections(ProjectedRows { lines, bases, errors, .. }) => {
                size_of_val(lines.as_slice()) + size_of_val(bases.as_slice()) + size_of_val(errors.as_slice())
            }
        };
        self.packed.bytes() + sifted
    }
}

impl Footprint for LaneSide {
    fn bytes(&self) -> usize {
        let Self { packed, lines, starts, errors, bits, form: _ } = self;
        let blocks = size_of_val(bits.as_slice()) + size_of_val(errors.as_slice());
        packed.bytes() + size_of_val(lines.as_slice()) + size_of_val(starts.as_slice()) + blocks
    }
}

/// The side whose rows are processed one by one.
#[derive(Debug)]
pub(super) struct RowSide {
    pub(super) packed: Packed,
    pub(super) sifted: SiftedRows,
}

/// The form in which rows are sifted.
#[derive(Debug)]
pub(super) enum SiftedRows {
    Nothing,
    Signatures(SignatureRows),
    Projections(ProjectedRows),
}

/// The signatures of rows.
#[derive(Debug)]
pub(super) struct SignatureRows {
    /// The counts of all rows, each byte four times.
    counts: Vec<u32>,
    /// The sum of the counts of each row, modulo 256.
    totals: Vec<u8>,
    parts: usize,
    shift: u32,
}

/// The projections of rows.
#[derive(Debug)]
pub(super) struct ProjectedRows {
    projection: Arc<Projection>,
    /// The projections, in groups of rows.
    lines: Vec<Bytes>,
    /// Half the squared length of each projection, plus the share of its inner products that comes from the 128 added
    /// to the bytes of lanes.
    bases: Vec<i32>,
    /// The distance by which rounding moved the projection, for each position.
    errors: Vec<f32>,
}

impl RowSide {
    pub(super) fn of(rows: &Rows<'_>, tuning: &Tuning, kernel: Kernel) -> Self {
        let packed = Packed::new(rows, kernel);
        let sifted = match tuning.sifting() {
            Sifting::Nothing => SiftedRows::Nothing,
            Sifting::Signatures(signature) => {
                let (parts, shift) = (signature.parts(), signature.shift());
                let mut counts = signature.counts(&packed.words, kernel);
                counts.iter_mut().for_each(|count| *count >>= shift);
                let total = |counts: &[u8]| counts.iter().fold(0, |sum: u8, count| sum.wrapping_add(*count));
                let totals = counts.chunks_exact(parts).map(total).collect();
                let counts = counts.iter().map(|count| u32::from(*count) * 0x0101_0101).collect();
                SiftedRows::Signatures(SignatureRows { counts, totals, parts, shift })
            }
            Sifting::Projections(projection) => {
                SiftedRows::Projections(ProjectedRows::of(&packed.words, projection, kernel))
            }
        };
        Self { packed, sifted }
    }
}

impl SignatureRows {
    /// Returns the signatures of the positions from `first` on, one for each of `limits`.
    pub(super) fn signatures<'a>(&'a self, first: usize, limits: &'a [u8]) -> RowSignatures<'a> {
        let end = first + limits.len();
        let (counts, totals) = (&self.counts[first * self.parts..end * self.parts], &self.totals[first..end]);
        RowSignatures { first: first as u32, counts, totals, limits }
    }

    /// Replaces `limits` with the largest excess of each row over a candidate of the block; `bits` are the popcounts of the
    /// rows.
    pub(super) fn limits(&self, bits: &[u32], lanes: LaneBits, decision: &Decision, limits: &mut Vec<u8>) {
        limits.clear();
        // Rows of equal popcount are adjacent and share a limit, which is looked up once.
        for same in bits.chunk_by(|a, b| a == b) {
            let excess_max = same[0].saturating_sub(decision.needed(same[0] + lanes.sparsest));
            let limit = (excess_max >> self.shift).min(u8::MAX.into()) as u8;
            limits.resize(limits.len() + same.len(), limit);
        }
    }
}

impl ProjectedRows {
    fn of(words: &Words, projection: &Arc<Projection>, kernel: Kernel) -> Self {
        let Projected { bytes, errors } = projection.project(words, kernel);
        let (dims, steps) = (projection.dims(), projection.steps());
        let mut lines = vec![Bytes([0; 64]); words.rows().next_multiple_of(PRODUCT_ROWS) * steps];
        let mut bases = Vec::with_capacity(words.rows());
        for (row, bytes) in bytes.chunks_exact(dims).enumerate() {
            for (step, part) in bytes.as_chunks::<64>().0.iter().enumerate() {
                let (line, _) = row_place(row, 64 * step, steps);
                lines[line].0 = part.map(i8::cast_unsigned);
            }
            // Each byte of a lane is stored with 128 added.
            bases.push(squares(bytes) / 2 + 128 * bytes.iter().map(|byte| i32::from(*byte)).sum::<i32>());
        }
        Self { projection: Arc::clone(projection), lines, bases, errors }
    }

    /// Returns the projections of the positions from `first` on, one for each sum in `needed`. `first` is a multiple
    /// of [`PRODUCT_ROWS`].
    pub(super) fn rows(&self, first: usize, needed: &[i32]) -> ProductRows<'_> {
        let steps = self.projection.steps();
        let lines = &self.lines[first * steps..(first + needed.len()) * steps];
        ProductRows { first: first as u32, lines, steps }
    }

    /// Appends the sum that each row at `positions` requires of a lane of the block; `bits` are the popcounts of the
    /// rows. Rounding moved the projections of the lanes by at most `error`.
    pub(super) fn needed(
        &self,
        positions: Range<usize>,
        bits: &[u32],
        lanes: LaneBits,
        error: f32,
        decision: &Decision,
        needed: &mut Vec<i32>,
    ) {
        let (mut bases, errors) = (&self.bases[positions.clone()], &self.errors[positions]);
        let error = errors.iter().copied().fold(0.0, f32::max) + error;
        for same in bits.chunk_by(|a, b| a == b) {
            let half = self.projection.half_distance_max(same[0] + lanes.densest, error, decision);
            let (these, others) = bases.split_at(same.len());
            needed.extend(these.iter().map(|base| base - half));
            bases = others;
        }
    }
}

/// Returns the sum of the squares.
fn squares(bytes: &[i8]) -> i32 {
    bytes.iter().map(|byte| i32::from(*byte) * i32::from(*byte)).sum()
}

/// The range of popcounts in a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneBits {
    /// The popcount of the sparsest row.
    pub(super) sparsest: u32,
    /// The popcount of the densest row.
    pub(super) densest: u32,
}

impl LaneBits {
    fn of(bits: &[u32]) -> Self {
        Self { sparsest: bits[0], densest: bits[bits.len() - 1] }
    }
}

/// The side whose rows are processed a block at a time.
#[derive(Debug)]
pub(super) struct LaneSide {
    pub(super) packed: Packed,
    /// The rows of a block, transposed, block after block.
    lines: Vec<Bytes>,
    /// The start of each lane's sums of products.
    starts: Vec<i32>,
    bits: Vec<LaneBits>,
    /// The largest distance by which rounding moved a row of the block, for each block.
    errors: Vec<f32>,
    form: Form,
}

/// The form of the transposed data in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Signatures of this many parts.
    Signatures(usize),
    /// Projections of this many steps.
    Projections(usize),
    /// The encodings themselves, whose bits are counted as products of bytes.
    Bits,
    /// The encodings themselves.
    Words,
    /// Nothing: pairs are counted one by one.
    Nothing,
}

impl Form {
    pub(super) fn of(tuning: &Tuning, kernel: Kernel) -> Self {
        match tuning.sifting() {
            Sifting::Signatures(signature) => Self::Signatures(signature.parts()),
            Sifting::Projections(projection) => Self::Projections(projection.steps()),
            Sifting::Nothing if kernel.bit_products().is_some() => Self::Bits,
            Sifting::Nothing if kernel.sifts_words() => Self::Words,
            Sifting::Nothing => Self::Nothing,
        }
    }

    /// Returns the approximate nanoseconds to sift 64 pairs, none of which survives; `None` if this form is not sifted.
    pub(super) fn cost_of_sifting(self, kernel: Kernel, encoding_bytes: usize) -> Option<f64> {
        match self {
            Self::Signatures(parts) => Some(kernel.cost_of_parts(parts, 0.0, encoding_bytes)),
            Self::Projections(steps) => Some(kernel.cost_of_steps(steps, 0.0, encoding_bytes)),
            Self::Bits | Self::Words | Self::Nothing => None,
        }
    }

    pub(super) const fn block_rows(self) -> usize {
        match self {
            Self::Signatures(_) => BLOCK_ROWS,
            Self::Projections(_) => PRODUCT_BLOCK_ROWS,
            Self::Bits | Self::Words | Self::Nothing => WORD_BLOCK_ROWS,
        }
    }
}

/// A block of a side.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneBlock<'a> {
    /// The position of the block's first row.
    pub(super) first: u32,
    pub(super) lines: &'a [Bytes],
    pub(super) starts: &'a [i32],
    pub(super) bits: LaneBits,
    /// The largest distance by which rounding moved a row of the block.
    pub(super) error: f32,
}

/// The start of a lane without a record, so low that its sums never reach the limit of a row.
pub(super) const NO_RECORD: i32 = i32::MIN / 2;

impl LaneSide {
    pub(super) fn of(rows: &Rows<'_>, tuning: &Tuning, decision: &Decision, kernel: Kernel) -> Self {
        let packed = Packed::new(rows, kernel);
        let form = Form::of(tuning, kernel);
        let mut side = Self {
            packed,
            lines: Vec::new(),
            starts: Vec::new(),
            bits: Vec::new(),
            errors: Vec::new(),
            form,
        };
        let count = side.packed.rows.len();
        let blocks =
            (0..count).step_by(form.block_rows()).map(|first| first..count.min(first + form.block_rows()));
        side.bits = blocks.clone().map(|rows| LaneBits::of(&side.packed.bits[rows])).collect();
        match tuning.sifting() {
            Sifting::Signatures(signature) => {
                let (parts, shift) = (signature.parts(), signature.shift());
                let mut counts = signature.counts(&side.packed.words, kernel);
                // Those of lanes are rounded up, and those of rows down, so that no excess is too large.
                counts.iter_mut().for_each(|count| *count = count.div_ceil(1 << shift));
                for (rows, lane_bits) in blocks.zip(&side.bits) {
                    push_starts(
                        &mut side.lines,
                        &side.packed.bits[rows.clone()],
                        *lane_bits,
                        shift,
                        decision,
                    );
                    push_counts(&mut side.lines, &counts, parts, rows);
                }
            }
            Sifting::Projections(projection) => side.push_projections(projection, kernel),
            Sifting::Nothing => {
                if form == Form::Bits || form == Form::Words {
                    side.lines = transposed_words(&side.packed.words);
                }
            }
        }
        side
    }

    fn push_projections(&mut self, projection: &Projection, kernel: Kernel) {
        let Projected { bytes, errors } = projection.project(&self.packed.words, kernel);
        let (dims, steps, rows) = (projection.dims(), projection.steps(), self.packed.rows.len());
        self.lines = vec![Bytes([0; 64]); rows.next_multiple_of(PRODUCT_BLOCK_ROWS) * steps];
        self.starts = vec![NO_RECORD; rows.next_multiple_of(PRODUCT_BLOCK_ROWS)];
        for ((lane, bytes), start) in bytes.chunks_exact(dims).enumerate().zip(&mut self.starts) {
            *start = -(squares(bytes) / 2);
            for (at, four) in bytes.as_chunks::<4>().0.iter().enumerate() {
                let (line, byte) = lane_place(lane, 4 * at, steps);
                self.lines[line].0[byte..byte + 4]
                    .copy_from_slice(&four.map(|byte| byte.cast_unsigned() ^ 0x80));
            }
        }
        let most = |errors: &[f32]| errors.iter().copied().fold(0.0, f32::max);
        self.errors = errors.chunks(PRODUCT_BLOCK_ROWS).map(most).collect();
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    pub(super) fn blocks(&self, blocks: Range<usize>) -> impl Iterator<Item = LaneBlock<'_>> {
        let (lines, starts) =
            (self.lines.len() / self.bits.len().max(1), self.starts.len() / self.bits.len().max(1));
        blocks.map(move |block| LaneBlock {
            first: (block * self.form.block_rows()) as u32,
            lines: &self.lines[block * lines..(block + 1) * lines],
            starts: &self.starts[block * starts..(block + 1) * starts],
            bits: self.bits[block],
            error: self.errors.get(block).copied().unwrap_or_default(),
        })
    }
}

impl<'a> LaneBlock<'a> {
    /// Returns the first `lanes` lanes, padded to a multiple of [`PRODUCT_LANES`].
    pub(super) fn products(&self, lanes: usize) -> ProductLanes<'a> {
        let lanes = lanes.next_multiple_of(PRODUCT_LANES);
        let lines = &self.lines[..self.lines.len() / self.starts.len() * lanes];
        ProductLanes { first: self.first, lines, starts: &self.starts[..lanes] }
    }
}

/// Appends the start of each lane of a block, a byte each: 64 lanes in a line. The start is minus the common bits that a lane
/// requires in addition to those that the sparsest of the block requires; they count as excess.
fn push_starts(lines: &mut Vec<Bytes>, bits: &[u32], lane_bits: LaneBits, shift: u32, decision: &Decision) {
    let start = |lane: usize| {
        let more = bits.get(lane).map_or(0, |bits| decision.more_needed(lane_bits.sparsest, *bits) >> shift);
        (more.min(u8::MAX.into()) as u8).wrapping_neg()
    };
    lines.extend((0..BLOCK_ROWS / 64).map(|line| Bytes(std::array::from_fn(|lane| start(64 * line + lane)))));
}

fn push_counts(lines: &mut Vec<Bytes>, signatures: &[u8], parts: usize, rows: Range<usize>) {
    let start = lines.len();
    lines.resize(start + parts * BLOCK_ROWS / 64, Bytes([0; 64]));
    if parts == 0 {
        return;
    }
    let signatures = signatures[rows.start * parts..rows.end * parts].chunks_exact(parts);
    for (lane, signature) in signatures.enumerate() {
        for (part, count) in signature.iter().enumerate() {
            lines[start + part * BLOCK_ROWS / 64 + lane / 64].0[lane % 64] = *count;
        }
    }
}

/// Returns blocks of 64 rows, whose words are transposed.
pub(super) fn transposed_words(words: &Words) -> Vec<Bytes> {
    let rows = words.rows();
    let mut lines = Vec::with_capacity(rows.next_multiple_of(WORD_BLOCK_ROWS) * words.lines_per_row());
    for first in (0..rows).step_by(WORD_BLOCK_ROWS) {
        push_words(&mut lines, words, first..rows.min(first + WORD_BLOCK_ROWS));
    }
    lines
}

fn push_words(lines: &mut Vec<Bytes>, words: &Words, rows: Range<usize>) {
    const LINES: usize = WORD_BLOCK_ROWS / 16;
    let start = lines.len();
    lines.resize(start + 16 * words.lines_per_row() * LINES, Bytes([0; 64]));
    for (lane, row) in rows.enumerate() {
        for (at, word) in words.row(row as u32).iter().flat_map(|line| line.0).enumerate() {
            let halves = word.to_le_bytes();
            for (half, bytes) in halves.as_chunks::<4>().0.iter().enumerate() {
                let line = &mut lines[start + (2 * at + half) * LINES + lane / 16].0;
                line.as_chunks_mut::<4>().0[lane % 16] = *bytes;
            }
        }
    }
}
