//! Dense pairs: blocks of pairs with one score and two datasets. A pair takes 4 to 6 bytes in most runs, and 24 in the
//! format of `anonlink`.
//!
//! | offset | width | content                                                                        |
//! |--------|-------|--------------------------------------------------------------------------------|
//! | 0      | 1     | bits 0 to 2 and 3 to 5: `v` and `w`, from 0 to 4; bit 6: the datasets follow   |
//! | 1      | 2     | the number of pairs, from 1                                                    |
//! | 3      | 8     | the score                                                                      |
//! | 11     | 4     | the record of the first dataset in the first pair                              |
//! | 15     | 4     | the smallest record of the second dataset                                      |
//! | 19     | 8     | the datasets, if they are not those of the block before                        |
//! |        | v + w | for each pair: what is added to the first record of the pair before, and to the smallest second record |
//!
//! All numbers are little-endian. A block is at most [`BLOCK_BYTES_MAX`] bytes long.

use super::{Error, Pair};

/// The maximum number of pairs in a block.
const BLOCK_PAIRS: usize = 1024;
/// The number of bytes before the datasets of a block.
const HEAD_BYTES: usize = 19;
/// The number of bytes of two datasets.
const DATASETS_BYTES: usize = 8;
/// The number of bytes of the longest block.
pub(super) const BLOCK_BYTES_MAX: usize = HEAD_BYTES + DATASETS_BYTES + BLOCK_PAIRS * 8;
/// The number of readable bytes that must follow a block, since a record is read as four bytes.
pub(super) const SLACK: usize = 4;
/// The bit that announces datasets.
const HAS_DATASETS: u8 = 1 << 6;

/// Collects pairs into blocks.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    /// The records of the pairs of the block.
    records: Vec<[u32; 2]>,
    score: u64,
    datasets: [u32; 2],
    /// The datasets of the block before.
    before: Option<[u32; 2]>,
}

impl Encoder {
    /// Adds a pair. Appends the block before it to `out`, if the pair does not continue that block.
    #[inline]
    pub(super) fn push(&mut self, pair: &Pair, out: &mut Vec<u8>) {
        let score = pair.score.to_bits();
        let continues = self.records.last().is_some_and(|last| {
            score == self.score
                && pair.datasets == self.datasets
                && pair.records[0] >= last[0]
                && self.records.len() < BLOCK_PAIRS
        });
        if !continues {
            self.flush(out);
            (self.score, self.datasets) = (score, pair.datasets);
        }
        self.records.push(pair.records);
    }

    /// Appends the block to `out`, if there is one.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        let Some(&[first, second]) = self.records.first() else { return };
        let (mut last, mut steps, mut least, mut most) = (first, 0, second, second);
        for [left, right] in &self.records {
            steps |= left - last;
            last = *left;
            least = least.min(*right);
            most = most.max(*right);
        }
        let (step_width, offset_width) = (width(steps), width(most - least));
        let is_new = self.before != Some(self.datasets);
        let flags = step_width as u8 | (offset_width as u8) << 3 | if is_new { HAS_DATASETS } else { 0 };
        out.push(flags);
        out.extend_from_slice(&(self.records.len() as u16).to_le_bytes());
        out.extend_from_slice(&self.score.to_le_bytes());
        out.extend_from_slice(&first.to_le_bytes());
        out.extend_from_slice(&least.to_le_bytes());
        if is_new {
            self.datasets.iter().for_each(|dataset| out.extend_from_slice(&dataset.to_le_bytes()));
            self.before = Some(self.datasets);
        }
        let entry = step_width + offset_width;
        let start = out.len();
        // A record is written as four bytes, of which the next one overwrites those that are too many.
        out.resize(start + self.records.len() * entry + SLACK, 0);
        let (mut at, mut last) = (start, first);
        for [left, right] in &self.records {
            out[at..at + 4].copy_from_slice(&(left - last).to_le_bytes());
            out[at + step_width..at + step_width + 4].copy_from_slice(&(right - least).to_le_bytes());
            at += entry;
            last = *left;
        }
        out.truncate(at);
        self.records.clear();
    }
}

/// Returns the number of bytes that `value` takes.
const fn width(value: u32) -> usize {
    (u32::BITS - value.leading_zeros()).div_ceil(8) as usize
}

/// Returns the mask of the bytes of a number of this width.
const fn mask(width: usize) -> u32 {
    if width == 4 { u32::MAX } else { (1 << (8 * width)) - 1 }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// A block that is being read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Block {
    left: u16,
    score: f64,
    datasets: [u32; 2],
    record: u32,
    least: u32,
    step: Width,
    offset: Width,
}

#[derive(Clone, Copy, Debug, Default)]
struct Width {
    bytes: usize,
    mask: u32,
}

impl Block {
    /// Returns true if all pairs of the block were read.
    #[inline]
    pub(super) const fn is_over(&self) -> bool {
        self.left == 0
    }

    /// Reads the head of the next block, which begins at `bytes`. Returns the number of bytes of the head and of the block.
    ///
    /// # Errors
    /// [`Error::Malformed`], also if the head is truncated.
    pub(super) fn begin(&mut self, bytes: &[u8]) -> Result<(usize, usize), Error> {
        let truncated = || Error::Malformed("its last block is truncated");
        let head = bytes.get(..HEAD_BYTES).ok_or_else(truncated)?;
        let flags = head[0];
        let [step, offset] = [flags & 7, flags >> 3 & 7].map(usize::from);
        let count = u16::from_le_bytes([head[1], head[2]]);
        if flags >> 7 != 0 || step > 4 || offset > 4 || count == 0 || usize::from(count) > BLOCK_PAIRS {
            return Err(Error::Malformed("the head of a block has impossible values"));
        }
        let mut head_bytes = HEAD_BYTES;
        if flags & HAS_DATASETS != 0 {
            head_bytes += DATASETS_BYTES;
            let datasets = bytes.get(HEAD_BYTES..head_bytes).ok_or_else(truncated)?;
            self.datasets = [word(datasets, 0), word(datasets, 4)];
        }
        self.left = count;
        self.score = f64::from_le_bytes(head[3..11].try_into().expect("eight bytes"));
        self.record = word(head, 11);
        self.least = word(head, 15);
        [self.step, self.offset] = [step, offset].map(|bytes| Width { bytes, mask: mask(bytes) });
        Ok((head_bytes, head_bytes + usize::from(count) * (step + offset)))
    }

    /// Reads the next pair of the block, at `at`, and returns it with the place after it. At least [`SLACK`] bytes must
    /// follow the block.
    ///
    /// # Errors
    /// [`Error::Malformed`], if a record does not fit into 32 bits.
    #[inline]
    pub(super) fn next(&mut self, bytes: &[u8], at: usize) -> Result<(Pair, usize), Error> {
        let second = at + self.step.bytes;
        let step = word(bytes, at) & self.step.mask;
        let offset = word(bytes, second) & self.offset.mask;
        let records = self.record.checked_add(step).zip(self.least.checked_add(offset));
        let Some((left, right)) = records else {
            return Err(Error::Malformed("a record does not fit in 32 bits"));
        };
        self.record = left;
        self.left -= 1;
        let pair = Pair { score: self.score, datasets: self.datasets, records: [left, right] };
        Ok((pair, second + self.offset.bytes))
    }
}
