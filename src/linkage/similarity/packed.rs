//! Rows in the form that the kernels read: sorted by popcount, padded to cache lines, with their signatures.

use std::ops::Range;

use super::decision::Decision;
use super::footprint::Footprint;
use super::kernel::{BLOCK_ROWS, Bytes, Kernel, RowSignatures, WORD_BLOCK_ROWS, Words};
use super::rows::Rows;
use super::tuning::{Signatures, Tuning};

/// Rows by popcount, the sparsest first.
#[derive(Debug)]
pub(super) struct Packed {
    /// The row at each position.
    pub(super) rows: Vec<u32>,
    /// The popcount at each position.
    pub(super) bits: Vec<u32>,
    /// The encoding at each position.
    pub(super) words: Words,
    /// The signature at each position.
    signatures: Vec<u8>,
    /// For each position: the common bits that the counts of its signature do not cover.
    uncovered: Vec<u32>,
}

impl Packed {
    fn new(rows: &Rows<'_>, tuning: &Tuning, kernel: Kernel) -> Self {
        let mut by_bits: Vec<(u32, u32)> =
            (0..rows.len()).map(|row| (kernel.popcount(rows.bytes(row)), row as u32)).collect();
        by_bits.sort_unstable();
        let mut words = Words::with_capacity(rows.len(), rows.encoding_bytes());
        for (_, row) in &by_bits {
            words.push(rows.bytes(*row as usize));
        }
        let Signatures { counts, covered } = tuning.signatures(&words, kernel);
        let (bits, rows): (Vec<u32>, _) = by_bits.into_iter().unzip();
        let uncovered =
            bits.iter().zip(covered).map(|(bits, covered)| tuning.floor() + bits - covered).collect();
        Self { rows, bits, words, signatures: counts, uncovered }
    }
}

impl Footprint for Packed {
    fn bytes(&self) -> usize {
        let Self { rows, bits, words, signatures, uncovered } = self;
        words.bytes() + signatures.len() + size_of::<u32>() * (rows.len() + bits.len() + uncovered.len())
    }
}

impl Footprint for RowSide {
    fn bytes(&self) -> usize {
        self.packed.bytes() + size_of_val(self.counts.as_slice())
    }
}

impl Footprint for LaneSide {
    fn bytes(&self) -> usize {
        self.packed.bytes() + size_of_val(self.lines.as_slice()) + size_of_val(self.bits.as_slice())
    }
}

/// The side whose rows are processed one by one.
#[derive(Debug)]
pub(super) struct RowSide {
    pub(super) packed: Packed,
    /// The signatures, each byte four times.
    counts: Vec<u32>,
    parts: usize,
}

impl RowSide {
    pub(super) fn of(rows: &Rows<'_>, tuning: &Tuning, kernel: Kernel) -> Self {
        let mut packed = Packed::new(rows, tuning, kernel);
        let signatures = std::mem::take(&mut packed.signatures);
        let counts = signatures.iter().map(|count| u32::from(*count) * 0x0101_0101).collect();
        Self { packed, counts, parts: tuning.parts() }
    }

    /// The positions from `first` on, as many as there are sums in `needed`.
    pub(super) fn signatures<'a>(&'a self, first: usize, needed: &'a [u8]) -> RowSignatures<'a> {
        let counts = &self.counts[first * self.parts..(first + needed.len()) * self.parts];
        RowSignatures { first: first as u32, counts, needed }
    }

    /// Replaces `covered` by the sums that the rows at `positions` require of lanes of a block.
    pub(super) fn needed(
        &self,
        positions: Range<usize>,
        lanes: &LaneBits,
        decision: &Decision,
        covered: &mut Vec<u8>,
    ) {
        covered.clear();
        let mut uncovered = &self.packed.uncovered[positions.clone()];
        // Rows are sorted by popcount, so what many of them share is looked up once.
        for same in self.packed.bits[positions].chunk_by(|a, b| a == b) {
            let needed = decision.needed(same[0] + lanes.sparsest) + u32::from(lanes.start_max);
            let (these, others) = uncovered.split_at(same.len());
            covered.extend(
                these.iter().map(|uncovered| needed.saturating_sub(*uncovered).min(u8::MAX.into()) as u8),
            );
            uncovered = others;
        }
    }
}

/// The popcounts of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneBits {
    /// Popcount of the sparsest row.
    pub(super) sparsest: u32,
    /// Popcount of the densest row.
    pub(super) densest: u32,
    /// The start value of the sparsest row. Denser rows require more, so they start with less.
    start_max: u8,
}

impl LaneBits {
    fn of(bits: &[u32], decision: &Decision) -> Self {
        let (sparsest, densest) = (bits[0], bits[bits.len() - 1]);
        let start_max = u8::try_from(decision.more_needed(sparsest, densest)).unwrap_or(u8::MAX);
        Self { sparsest, densest, start_max }
    }

    fn start(&self, bits: u32, decision: &Decision) -> u8 {
        let more = decision.more_needed(self.sparsest, bits);
        self.start_max - u8::try_from(more).unwrap_or(u8::MAX)
    }
}

/// The side whose rows are processed a block at a time.
#[derive(Debug)]
pub(super) struct LaneSide {
    pub(super) packed: Packed,
    /// The rows of a block, transposed, block after block.
    lines: Vec<Bytes>,
    bits: Vec<LaneBits>,
    form: Form,
}

/// The form of the transposed data in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Signatures of this many parts.
    Signatures(usize),
    /// The encodings themselves.
    Words,
    /// Nothing: pairs are counted one by one.
    Nothing,
}

impl Form {
    fn of(tuning: &Tuning, kernel: Kernel) -> Self {
        match tuning.parts() {
            0 if kernel.sifts_words() => Self::Words,
            0 => Self::Nothing,
            parts => Self::Signatures(parts),
        }
    }

    pub(super) fn block_rows(self) -> usize {
        if let Self::Signatures(_) = self { BLOCK_ROWS } else { WORD_BLOCK_ROWS }
    }
}

impl LaneSide {
    pub(super) fn of(rows: &Rows<'_>, tuning: &Tuning, decision: &Decision, kernel: Kernel) -> Self {
        let mut packed = Packed::new(rows, tuning, kernel);
        let form = Form::of(tuning, kernel);
        let (mut lines, mut bits) = (Vec::new(), Vec::new());
        for first in (0..packed.rows.len()).step_by(form.block_rows()) {
            let rows = first..packed.rows.len().min(first + form.block_rows());
            let lane_bits = LaneBits::of(&packed.bits[rows.clone()], decision);
            match form {
                Form::Signatures(parts) => {
                    push_starts(&mut lines, &packed.bits[rows.clone()], &lane_bits, decision);
                    push_counts(&mut lines, &packed.signatures, parts, rows);
                }
                Form::Words => push_words(&mut lines, &packed.words, rows),
                Form::Nothing => {}
            }
            bits.push(lane_bits);
        }
        packed.signatures = Vec::new();
        Self { packed, lines, bits, form }
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    /// For every block the position of its first row, its lines and the bounds of its popcounts.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (u32, &[Bytes], &LaneBits)> {
        let lines = self.lines.len() / self.bits.len().max(1);
        self.bits.iter().enumerate().map(move |(block, bits)| {
            ((block * self.form.block_rows()) as u32, &self.lines[block * lines..(block + 1) * lines], bits)
        })
    }
}

/// Appends one byte for each lane, in the order of a block: 64 lanes in a line.
fn push_starts(lines: &mut Vec<Bytes>, bits: &[u32], lane_bits: &LaneBits, decision: &Decision) {
    let start = |lane: usize| bits.get(lane).map_or(0, |bits| lane_bits.start(*bits, decision));
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
