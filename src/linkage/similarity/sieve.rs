//! The search over many rows: sift by signatures, count the survivors, decide by the definition.

use std::ops::Range;
use std::sync::Arc;

use super::decision::Decision;
use super::kernel::{BLOCK_ROWS, Block, Bytes, Candidate, Kernel, RowWords, WordBlock};
use super::packed::{Form, LaneBits, LaneSide, RowSide};
use super::rows::Rows;
use super::sides::{Key, Sides};
use super::tile::Tile;
use super::tuning::Tuning;
use super::{Error, Hit};

/// Rows that are sifted against a block before the survivors are counted. They fit into the innermost cache together
/// with a block.
const CHUNK_ROWS: usize = 128;

/// Two lists of rows, ready to be searched. The lanes are taken from the longer list, or from one of about the same
/// length.
#[derive(Debug)]
pub(super) struct Sieve<'a> {
    rows: Arc<RowSide>,
    lanes: Arc<LaneSide>,
    left_is_rows: bool,
    decision: &'a Decision,
    kernel: Kernel,
}

/// The counts of a search, apart from hits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Effort {
    /// Pairs whose common bits were counted.
    pub(super) counted: u64,
}

/// Lists that are reused.
#[derive(Debug, Default)]
struct Lists {
    covered: Vec<u8>,
    needed: Vec<u32>,
    survivors: Vec<Candidate>,
    counts: Vec<u32>,
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
        Self { rows, lanes, left_is_rows, decision, kernel }
    }

    /// Prepares the rows of a large tile, which other tiles of the run compare too: packed rows are taken from
    /// `sides`. Both lists are packed concurrently if a thread is free.
    pub(super) fn shared(
        tile: &Tile<'_>,
        sides: &Sides,
        tuning: &Tuning,
        decision: &'a Decision,
        kernel: Kernel,
    ) -> Self {
        // The tiles of a grid differ by a row or two, which does not decide the choice of the lanes.
        let left_is_rows = tile.left.len() <= tile.right.len() + tile.right.len() / 8;
        let [left, right] = [(tile.datasets[0], &tile.left), (tile.datasets[1], &tile.right)];
        let (rows, lanes) = if left_is_rows { (left, right) } else { (right, left) };
        let key = |(dataset, rows)| Key::of(dataset, rows, tuning.parts());
        let (rows, lanes) = rayon::join(
            || sides.rows.get_or_make(key(rows), || RowSide::of(rows.1, tuning, kernel)),
            || sides.lanes.get_or_make(key(lanes), || LaneSide::of(lanes.1, tuning, decision, kernel)),
        );
        Self { rows, lanes, left_is_rows, decision, kernel }
    }

    /// Returns the number of rows to process one by one, and the comparisons of each.
    pub(super) fn shape(&self) -> (usize, usize) {
        (self.rows.packed.rows.len(), self.lanes.packed.rows.len())
    }

    /// Calls `emit` with every hit of the rows at `positions`, in no particular order, until it fails.
    pub(super) fn search(
        &self,
        positions: Range<usize>,
        mut emit: impl FnMut(Hit) -> Result<(), Error>,
    ) -> Result<Effort, Error> {
        let mut lists = Lists::default();
        let mut effort = Effort::default();
        for start in positions.clone().step_by(CHUNK_ROWS) {
            let chunk = start..positions.end.min(start + CHUNK_ROWS);
            for (first_lane, lines, lane_bits) in self.lanes.blocks() {
                lists.survivors.clear();
                effort.counted += self.survivors(&chunk, first_lane, lines, lane_bits, &mut lists);
                self.decide(&mut lists, &mut emit)?;
            }
        }
        Ok(effort)
    }

    /// Lists the pairs of a chunk and a block that may be hits. Returns the number of pairs that are counted, here or
    /// next.
    fn survivors(
        &self,
        chunk: &Range<usize>,
        first_lane: u32,
        lines: &[Bytes],
        lane_bits: &LaneBits,
        lists: &mut Lists,
    ) -> u64 {
        let bits = &self.rows.packed.bits[chunk.clone()];
        let start = bits.partition_point(|bits| self.decision.partner_max(*bits) < lane_bits.sparsest);
        let end = bits.partition_point(|bits| self.decision.partner_min(*bits) <= lane_bits.densest);
        if start >= end {
            return 0;
        }
        let (first, last) = (chunk.start + start, chunk.start + end);
        let form = self.lanes.form();
        let lanes_end = self.lanes.packed.rows.len().min(first_lane as usize + form.block_rows()) as u32;
        match form {
            Form::Signatures(_) => {
                self.rows.needed(first..last, lane_bits, self.decision, &mut lists.covered);
                let rows = self.rows.signatures(first, &lists.covered);
                self.kernel.sift(rows, &Block::new(first_lane, lines), &mut lists.survivors);
                if lanes_end - first_lane < BLOCK_ROWS as u32 {
                    lists.survivors.retain(|(_, lane)| *lane < lanes_end);
                }
            }
            Form::Words => {
                lists.needed.clear();
                let needed = |bits: &u32| self.decision.needed(bits + lane_bits.sparsest);
                lists.needed.extend(bits[start..end].iter().map(needed));
                let rows =
                    RowWords { first: first as u32, words: &self.rows.packed.words, needed: &lists.needed };
                let block = WordBlock { first: first_lane, lines };
                self.kernel.sift_words(rows, &block, &mut lists.survivors);
                return ((last - first) * (lanes_end - first_lane) as usize) as u64;
            }
            Form::Nothing => {
                let pairs = |row| (first_lane..lanes_end).map(move |lane| (row, lane));
                lists.survivors.extend((first as u32..last as u32).flat_map(pairs));
            }
        }
        lists.survivors.len() as u64
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
