//! The search over many rows: sift the pairs, count the common bits of the survivors, decide by the definition.

use std::ops::{AddAssign, Range};
use std::sync::{Arc, OnceLock};

use super::decision::Decision;
use super::kernel::{
    BIT_LINES, BITS_READ_AHEAD, BLOCK_ROWS, BitRows, Block, Bytes, Candidate, Kernel, PRODUCT_ROWS,
    ProductLanes, RowWords, WORD_BLOCK_ROWS, WordBlock, gather_bits,
};
use super::packed::{Form, LaneBlock, LaneSide, NO_RECORD, RowSide, SiftedRows, transposed_words};
use super::rows::Rows;
use super::sides::{Key, Sides};
use super::tile::Tile;
use super::tuning::Tuning;
use super::watch::Watch;
use super::{Error, Hit};

/// The rows of a piece.
const PIECE_ROWS: usize = 512;
/// The fewest and the most rows of a chunk, which is sifted against a block before the survivors are counted. The encodings
/// of a block come from an outer cache once for each chunk; those of a chunk stay in the L2 cache.
const CHUNK_ROWS: [usize; 2] = [128, PIECE_ROWS];
/// The rows of a chunk where products are computed: enough to make the fixed cost of a chunk and a block negligible.
const PRODUCT_CHUNK_ROWS: usize = 256;
/// The number of bytes of the encodings of a chunk.
const CHUNK_BYTES: usize = 128 << 10;

/// Two packed lists of rows. The lanes are the longer list, or either if both have about the same length.
#[derive(Debug)]
pub(super) struct Sieve<'a> {
    rows: Arc<RowSide>,
    lanes: Arc<LaneSide>,
    left_is_rows: bool,
    decision: &'a Decision,
    kernel: Kernel,
    /// Chooses between sifting a block and counting it in full. If absent, every block is sifted.
    watch: Option<Watch>,
    /// The transposed words of the lanes, made when a block of signatures or projections is first counted in full.
    words: OnceLock<Vec<Bytes>>,
}

/// A part of the pairs of both lists, which one thread compares.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    rows: Range<usize>,
    /// Whole blocks, but for the last one.
    lanes: Range<usize>,
}

impl Piece {
    /// Returns the number of pairs.
    pub(super) fn pairs(&self) -> usize {
        self.rows.len() * self.lanes.len()
    }
}

/// The numbers of pairs in a search, without that of hits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Effort {
    /// The number of pairs that were sifted.
    pub(super) sifted: u64,
    /// The number of pairs that survived, and whose common bits were counted one by one.
    pub(super) survivors: u64,
    /// The number of pairs that were counted without being sifted.
    pub(super) counted_in_full: u64,
}

impl Effort {
    /// Returns the number of pairs whose common bits were counted.
    pub(super) const fn counted(&self) -> u64 {
        self.survivors + self.counted_in_full
    }
}

impl AddAssign for Effort {
    fn add_assign(&mut self, other: Self) {
        self.sifted += other.sifted;
        self.survivors += other.survivors;
        self.counted_in_full += other.counted_in_full;
    }
}

/// Buffers that are reused for every block.
#[derive(Debug, Default)]
struct Lists {
    limits: Vec<u8>,
    /// The positions whose encodings are in `bit_rows`.
    gathered: Range<usize>,
    needed: Vec<u32>,
    needed_sums: Vec<i32>,
    /// The encodings of a chunk.
    bit_rows: Vec<Bytes>,
    /// The encodings of a block, with a byte for each bit.
    unpacked_lanes: Vec<Bytes>,
    survivors: Vec<Candidate>,
    counts: Vec<u32>,
}

impl Lists {
    /// Clears the sums that rows require, and adds `others` placeholders that no sum reaches.
    fn start_sums(&mut self, others: usize) {
        self.needed_sums.clear();
        self.needed_sums.resize(others, i32::MAX);
    }

    /// Adds placeholders that fill the last bundle of rows.
    fn end_sums(&mut self) {
        let rows = self.needed_sums.len().next_multiple_of(PRODUCT_ROWS);
        self.needed_sums.resize(rows, i32::MAX);
    }
}

impl<'a> Sieve<'a> {
    pub(super) fn new(
        left: &Rows<'_>,
        right: &Rows<'_>,
        tuning: &Tuning,
        decision: &'a Decision,
        kernel: Kernel,
    ) -> Self {
        let left_is_rows = left.len() <= right.len();
        let (rows, lanes) = if left_is_rows { (left, right) } else { (right, left) };
        let rows = Arc::new(RowSide::of(rows, tuning, kernel));
        let lanes = Arc::new(LaneSide::of(lanes, tuning, decision, kernel));
        Self::of(rows, lanes, left_is_rows, decision, kernel)
    }

    /// Joins packed rows and lanes.
    pub(super) fn of(
        rows: Arc<RowSide>,
        lanes: Arc<LaneSide>,
        left_is_rows: bool,
        decision: &'a Decision,
        kernel: Kernel,
    ) -> Self {
        Self { rows, lanes, left_is_rows, decision, kernel, watch: None, words: OnceLock::new() }
    }

    /// Counts blocks in full where sifting them costs more.
    pub(super) fn watched(mut self) -> Self {
        let bytes = 64 * self.rows.packed.words.lines_per_row();
        let sifting = self.lanes.form().cost_of_sifting(self.kernel, bytes);
        self.watch = sifting.map(|sifting| Watch::new(self.kernel, sifting, bytes));
        self
    }

    /// Prepares the rows of a large tile. Takes packed rows from `sides`, because other tiles of the run compare the
    /// same rows. Packs both lists concurrently if a thread is free.
    pub(super) fn shared(
        tile: &Tile<'_>,
        sides: &Sides,
        tuning: &Tuning,
        decision: &'a Decision,
        kernel: Kernel,
    ) -> Self {
        // The tiles of a grid differ by a row or two, which must not change the choice of the lanes.
        let left_is_rows = tile.left.len() <= tile.right.len() + tile.right.len() / 8;
        let [left, right] = [(tile.datasets[0], &tile.left), (tile.datasets[1], &tile.right)];
        let (rows, lanes) = if left_is_rows { (left, right) } else { (right, left) };
        let key = |(dataset, rows)| Key::of(dataset, rows, Form::of(tuning, kernel));
        let (rows, lanes) = rayon::join(
            || sides.rows.get_or_make(key(rows), || RowSide::of(rows.1, tuning, kernel)),
            || sides.lanes.get_or_make(key(lanes), || LaneSide::of(lanes.1, tuning, decision, kernel)),
        );
        Self::of(rows, lanes, left_is_rows, decision, kernel)
    }

    /// Returns every pair of both lists.
    pub(super) fn all(&self) -> Piece {
        Piece { rows: 0..self.rows.packed.rows.len(), lanes: 0..self.lanes.packed.rows.len() }
    }

    /// Cuts the pairs of both lists into pieces of about this number of pairs.
    pub(super) fn pieces(&self, pairs: usize) -> Vec<Piece> {
        let Piece { rows, lanes } = self.all();
        let block_rows = self.lanes.form().block_rows();
        let piece_rows = PIECE_ROWS.min(rows.len()).max(1);
        let piece_lanes = (pairs / piece_rows).max(1).next_multiple_of(block_rows);
        let parts = |all: Range<usize>, step| {
            all.clone().step_by(step).map(move |start| start..all.end.min(start + step))
        };
        let across = |rows: Range<usize>| {
            parts(lanes.clone(), piece_lanes).map(move |lanes| Piece { rows: rows.clone(), lanes })
        };
        parts(rows, piece_rows).flat_map(across).collect()
    }

    /// Calls `emit` with every hit of a piece, in no particular order, until it fails.
    pub(super) fn search(
        &self,
        piece: &Piece,
        mut emit: impl FnMut(Hit) -> Result<(), Error>,
    ) -> Result<Effort, Error> {
        let Piece { rows, lanes } = piece;
        let block_rows = self.lanes.form().block_rows();
        let blocks = lanes.start / block_rows..lanes.end.div_ceil(block_rows);
        let mut lists = Lists::default();
        let mut effort = Effort::default();
        for start in rows.clone().step_by(self.chunk_rows()) {
            let chunk = start..rows.end.min(start + self.chunk_rows());
            for block in self.lanes.blocks(blocks.clone()) {
                lists.survivors.clear();
                effort += self.survivors(&chunk, &block, &mut lists);
                self.decide(&mut lists, &mut emit)?;
            }
        }
        Ok(effort)
    }

    fn chunk_rows(&self) -> usize {
        let affordable = CHUNK_BYTES / (64 * self.rows.packed.words.lines_per_row().max(1));
        match self.lanes.form() {
            Form::Projections(_) => PRODUCT_CHUNK_ROWS,
            Form::Bits => affordable.max(PRODUCT_CHUNK_ROWS),
            Form::Signatures(_) | Form::Words | Form::Nothing => {
                affordable.clamp(CHUNK_ROWS[0], CHUNK_ROWS[1])
            }
        }
    }

    /// Lists the pairs of a chunk and a block that may be hits.
    fn survivors(&self, chunk: &Range<usize>, block: &LaneBlock<'_>, lists: &mut Lists) -> Effort {
        let bits = &self.rows.packed.bits[chunk.clone()];
        let start = bits.partition_point(|bits| self.decision.partner_max(*bits) < block.bits.sparsest);
        let end = bits.partition_point(|bits| self.decision.partner_min(*bits) <= block.bits.densest);
        if start >= end {
            return Effort::default();
        }
        let positions = chunk.start + start..chunk.start + end;
        let form = self.lanes.form();
        let first = block.first as usize;
        let lanes = first..self.lanes.packed.rows.len().min(first + form.block_rows());
        let pairs = (positions.len() * lanes.len()) as u64;
        let sifts = self.watch.as_ref().is_none_or(Watch::sifts);
        if !sifts || !self.sift(&positions, block, lanes.len(), lists) {
            self.count(chunk, &positions, block, lanes, lists);
            if let (false, Some(watch)) = (sifts, &self.watch) {
                watch.counted(pairs);
            }
            return Effort { counted_in_full: pairs, ..Effort::default() };
        }
        let effort = Effort { sifted: pairs, survivors: lists.survivors.len() as u64, counted_in_full: 0 };
        if let Some(watch) = &self.watch {
            watch.sifted(pairs, effort.survivors);
        }
        effort
    }

    /// Lists the survivors of the rows at `positions` and the first `lanes` of a block. Returns false if its form cannot
    /// be sifted.
    fn sift(&self, positions: &Range<usize>, block: &LaneBlock<'_>, lanes: usize, lists: &mut Lists) -> bool {
        let bits = &self.rows.packed.bits[positions.clone()];
        match &self.rows.sifted {
            SiftedRows::Signatures(rows) => {
                rows.limits(bits, block.bits, self.decision, &mut lists.limits);
                let rows = rows.signatures(positions.start, &lists.limits);
                self.kernel.sift(rows, &Block::new(block.first, block.lines), &mut lists.survivors);
                if lanes < BLOCK_ROWS {
                    let end = block.first + lanes as u32;
                    lists.survivors.retain(|(_, lane)| *lane < end);
                }
            }
            SiftedRows::Projections(rows) => {
                let from = positions.start / PRODUCT_ROWS * PRODUCT_ROWS;
                lists.start_sums(positions.start - from);
                let sums = &mut lists.needed_sums;
                rows.needed(positions.clone(), bits, block.bits, block.error, self.decision, sums);
                lists.end_sums();
                let rows = rows.rows(from, &lists.needed_sums);
                let products = self.kernel.products().expect("this form is only used with products");
                products.sift_products(rows, &lists.needed_sums, block.products(lanes), &mut lists.survivors);
            }
            SiftedRows::Nothing => return false,
        }
        true
    }

    /// Lists the pairs of the rows at `positions`, all in `chunk`, with `lanes` of a block that may be hits. No hit is
    /// left out.
    fn count(
        &self,
        chunk: &Range<usize>,
        positions: &Range<usize>,
        block: &LaneBlock<'_>,
        lanes: Range<usize>,
        lists: &mut Lists,
    ) {
        let bits = &self.rows.packed.bits[positions.clone()];
        let needed = |bits: &u32| self.decision.needed(bits + block.bits.sparsest);
        if let Some(products) = self.kernel.bit_products() {
            let start = positions.start - chunk.start;
            let from = start / PRODUCT_ROWS * PRODUCT_ROWS;
            lists.start_sums(start - from);
            lists.needed_sums.extend(bits.iter().map(|bits| needed(bits).cast_signed()));
            lists.end_sums();
            if lists.gathered != *chunk {
                gather_bits(&self.rows.packed.words, chunk.clone(), &mut lists.bit_rows);
                lists.gathered = chunk.clone();
            }
            let steps = 8 * self.rows.packed.words.lines_per_row();
            let lines = &lists.bit_rows[from / PRODUCT_ROWS * steps * BIT_LINES..];
            let lines =
                &lines[..lists.needed_sums.len() / PRODUCT_ROWS * steps * BIT_LINES + BITS_READ_AHEAD];
            let rows = BitRows { first: (chunk.start + from) as u32, lines, steps };
            for first in lanes.clone().step_by(WORD_BLOCK_ROWS) {
                let filled = WORD_BLOCK_ROWS.min(lanes.end - first);
                let starts = std::array::from_fn(|lane| if lane < filled { 0 } else { NO_RECORD });
                let starts: &[i32; WORD_BLOCK_ROWS] = &starts;
                products.unpack_lanes(self.word_block(block, first), &mut lists.unpacked_lanes);
                let lanes = ProductLanes { first: first as u32, lines: &lists.unpacked_lanes, starts };
                products.sift_bits(rows, &lists.needed_sums, lanes, &mut lists.survivors);
            }
            return;
        }
        lists.needed.clear();
        lists.needed.extend(bits.iter().map(needed));
        let (first, words) = (positions.start as u32, &self.rows.packed.words);
        let rows = RowWords { first, words, needed: &lists.needed };
        if self.kernel.sifts_words() {
            for lane in lanes.step_by(WORD_BLOCK_ROWS) {
                let block = WordBlock { first: lane as u32, lines: self.word_block(block, lane) };
                self.kernel.sift_words(rows, &block, &mut lists.survivors);
            }
        } else {
            let lanes = lanes.start as u32..lanes.end as u32;
            self.kernel.sift_pairs(rows, &self.lanes.packed.words, lanes, &mut lists.survivors);
        }
    }

    /// Returns the transposed words of the 64 lanes of `block` from `first` on.
    fn word_block<'b>(&'b self, block: &LaneBlock<'b>, first: usize) -> &'b [Bytes] {
        match self.lanes.form() {
            Form::Bits | Form::Words => block.lines,
            Form::Signatures(_) | Form::Projections(_) | Form::Nothing => {
                let words = &self.lanes.packed.words;
                let all = self.words.get_or_init(|| transposed_words(words));
                let lines = WORD_BLOCK_ROWS * words.lines_per_row();
                &all[first / WORD_BLOCK_ROWS * lines..][..lines]
            }
        }
    }

    fn decide(
        &self,
        lists: &mut Lists,
        emit: &mut impl FnMut(Hit) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (rows, lanes) = (&self.rows.packed, &self.lanes.packed);
        self.kernel.count(&rows.words, &lanes.words, &lists.survivors, &mut lists.counts);
        for ((row, lane), common) in lists.survivors.iter().zip(&lists.counts) {
            let (row, lane) = (*row as usize, *lane as usize);
            if *common < self.decision.needed(rows.bits[row] + lanes.bits[lane]) {
                continue;
            }
            let (row, lane) = ((rows.rows[row], rows.bits[row]), (lanes.rows[lane], lanes.bits[lane]));
            let ((left, left_bits), (right, right_bits)) =
                if self.left_is_rows { (row, lane) } else { (lane, row) };
            if let Some(score) = self.decision.candidate(*common, left_bits, right_bits) {
                emit(Hit { score, left, right })?;
            }
        }
        Ok(())
    }
}
