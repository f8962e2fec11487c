//! Sorts in bounded memory: writes sorted runs to a temporary file and merges them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io::{BufWriter, SeekFrom, Write};
use std::ops::Range;

use super::super::block::{ENTRY_BYTES, Entry};
use super::{Error, radix, u64_at};
use crate::scratch::{Scratch, ScratchFile};

/// The memory limit of sorting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The number of bytes sorted at once.
    pub(super) run_bytes: usize,
    /// The number of runs merged at once, and of parts into which entries are divided.
    pub(super) fan_in: usize,
    /// The number of bytes read at once of each run, at least one item.
    pub(super) piece_bytes: usize,
}

impl Limits {
    /// 12 MiB to sort, half of which may be for temporary use, and 4 MiB to merge or to divide.
    pub(super) const DEFAULT: Self = Self { run_bytes: 12 << 20, fan_in: 64, piece_bytes: 64 << 10 };

    /// Returns the number of items that are sorted at once.
    pub(super) const fn run_items<I: Item>(self) -> usize {
        let items = self.run_bytes / size_of::<I>();
        let items = if I::NEEDS_SPARE { items / 2 } else { items };
        if items == 0 { 1 } else { items }
    }

    pub(super) const fn piece<I: Item>(self) -> usize {
        self.piece_bytes / I::BYTES * I::BYTES
    }
}

/// An item of a fixed size that can be sorted.
pub(super) trait Item: Copy + Ord {
    /// The stored form.
    type Bytes: AsRef<[u8]>;
    /// The number of bytes in the stored form.
    const BYTES: usize;
    /// True if sorting needs as much memory again.
    const NEEDS_SPARE: bool = false;

    fn to_bytes(self) -> Self::Bytes;

    /// Reads the stored form, with which `bytes` begin.
    fn from_bytes(bytes: &[u8]) -> Self;

    /// Sorts items. `spare` is for temporary use.
    fn sort(items: &mut Vec<Self>, _spare: &mut Vec<Self>) {
        items.sort_unstable();
    }
}

impl Item for u64 {
    type Bytes = [u8; 8];
    const BYTES: usize = 8;
    const NEEDS_SPARE: bool = true;

    fn to_bytes(self) -> [u8; 8] {
        self.to_le_bytes()
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        u64_at(bytes, 0)
    }

    fn sort(items: &mut Vec<Self>, spare: &mut Vec<Self>) {
        if items.is_sorted_by_key(|item| *item as u32) {
            radix::sort_upper_halves(items, spare);
        } else {
            items.sort_unstable();
        }
    }
}

/// An entry in a form that is fast to compare: the digest as big-endian words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    block: [u64; 4],
    record: u32,
}

impl Key {
    fn new(entry: &Entry) -> Self {
        let words = entry.block.as_chunks::<8>().0;
        Self { block: std::array::from_fn(|word| u64::from_be_bytes(words[word])), record: entry.record }
    }

    pub(super) fn entry(self) -> Entry {
        let mut block = [0; 32];
        for (bytes, word) in block.as_chunks_mut().0.iter_mut().zip(self.block) {
            *bytes = word.to_be_bytes();
        }
        Entry { block, record: self.record }
    }
}

impl Item for Key {
    type Bytes = [u8; ENTRY_BYTES];
    const BYTES: usize = ENTRY_BYTES;

    fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        self.entry().to_bytes()
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        Self::new(&Entry::from_bytes(bytes.first_chunk().expect("pieces are whole items")))
    }
}

/// Sorts items.
pub(super) struct Sorter<'a, I> {
    scratch: &'a dyn Scratch,
    limits: Limits,
    run: Vec<I>,
    spare: Vec<I>,
    run_items: usize,
    runs: Option<Runs>,
}

impl<'a, I: Item> Sorter<'a, I> {
    pub(super) fn new(scratch: &'a dyn Scratch, limits: Limits) -> Self {
        let run_items = limits.run_items::<I>();
        Self { scratch, limits, run: Vec::new(), spare: Vec::new(), run_items, runs: None }
    }

    pub(super) fn push(&mut self, item: I) -> Result<(), Error> {
        if self.run.len() == self.run_items {
            self.finish_run()?;
        }
        self.run.push(item);
        Ok(())
    }

    fn finish_run(&mut self) -> Result<(), Error> {
        I::sort(&mut self.run, &mut self.spare);
        let runs = match &mut self.runs {
            Some(runs) => runs,
            none => none.insert(Runs::create(self.scratch)?),
        };
        let mut writer = RunWriter::new(runs);
        self.run.drain(..).try_for_each(|item| writer.push(item))?;
        writer.finish()
    }

    /// Passes all items to `emit`, in order.
    pub(super) fn finish(mut self, emit: impl FnMut(I) -> Result<(), Error>) -> Result<(), Error> {
        if self.runs.is_none() {
            // Everything fits into memory.
            I::sort(&mut self.run, &mut self.spare);
            return self.run.into_iter().try_for_each(emit);
        }
        self.finish_run()?;
        let Self { scratch, limits, run, spare, runs, .. } = self;
        drop((run, spare));
        let Some(mut runs) = runs else { return Ok(()) };
        while runs.spans.len() > limits.fan_in {
            runs = runs.merged_once::<I>(scratch, limits)?;
        }
        let spans = std::mem::take(&mut runs.spans);
        merge(&mut *runs.file, &spans, limits, emit)
    }
}

/// Sorted runs, one after the other in one temporary file.
struct Runs {
    file: Box<dyn ScratchFile>,
    spans: Vec<Range<u64>>,
    end: u64,
}

impl Runs {
    fn create(scratch: &dyn Scratch) -> Result<Self, Error> {
        Ok(Self { file: scratch.file().map_err(Error::Scratch)?, spans: Vec::new(), end: 0 })
    }

    /// Merges the runs into fewer runs.
    fn merged_once<I: Item>(mut self, scratch: &dyn Scratch, limits: Limits) -> Result<Self, Error> {
        let mut merged = Self::create(scratch)?;
        let spans = std::mem::take(&mut self.spans);
        for group in spans.chunks(limits.fan_in) {
            let mut run = RunWriter::new(&mut merged);
            merge(&mut *self.file, group, limits, |item: I| run.push(item))?;
            run.finish()?;
        }
        Ok(merged)
    }
}

/// A run being written.
struct RunWriter<'a> {
    out: BufWriter<&'a mut dyn ScratchFile>,
    spans: &'a mut Vec<Range<u64>>,
    start: u64,
    end: &'a mut u64,
}

impl<'a> RunWriter<'a> {
    fn new(runs: &'a mut Runs) -> Self {
        let start = runs.end;
        let out = BufWriter::with_capacity(128 << 10, &mut *runs.file as &mut dyn ScratchFile);
        Self { out, spans: &mut runs.spans, start, end: &mut runs.end }
    }

    fn push<I: Item>(&mut self, item: I) -> Result<(), Error> {
        *self.end += I::BYTES as u64;
        self.out.write_all(item.to_bytes().as_ref()).map_err(Error::Scratch)
    }

    fn finish(mut self) -> Result<(), Error> {
        self.out.flush().map_err(Error::Scratch)?;
        self.spans.push(self.start..*self.end);
        Ok(())
    }
}

/// Passes the items of the runs at `spans` of `file` to `emit`, in order.
fn merge<I: Item>(
    file: &mut dyn ScratchFile,
    spans: &[Range<u64>],
    limits: Limits,
    mut emit: impl FnMut(I) -> Result<(), Error>,
) -> Result<(), Error> {
    let piece_bytes = limits.piece::<I>();
    let mut runs: Vec<RunReader> = spans.iter().cloned().map(RunReader::new).collect();
    let mut heads = BinaryHeap::with_capacity(runs.len());
    for (number, run) in runs.iter_mut().enumerate() {
        heads.extend(run.next::<I>(file, piece_bytes)?.map(|item| Reverse((item, number))));
    }
    while let Some(mut head) = heads.peek_mut() {
        let Reverse((item, number)) = *head;
        match runs[number].next(file, piece_bytes)? {
            Some(next) => head.0.0 = next,
            None => drop(PeekMut::pop(head)),
        }
        emit(item)?;
    }
    Ok(())
}

/// A run that is being read.
struct RunReader {
    left: Range<u64>,
    piece: Vec<u8>,
    at: usize,
}

impl RunReader {
    const fn new(span: Range<u64>) -> Self {
        Self { left: span, piece: Vec::new(), at: 0 }
    }

    fn next<I: Item>(&mut self, file: &mut dyn ScratchFile, piece_bytes: usize) -> Result<Option<I>, Error> {
        if self.at == self.piece.len() && !self.refill(file, piece_bytes).map_err(Error::Scratch)? {
            return Ok(None);
        }
        let item = I::from_bytes(&self.piece[self.at..]);
        self.at += I::BYTES;
        Ok(Some(item))
    }

    fn refill(&mut self, file: &mut dyn ScratchFile, piece_bytes: usize) -> std::io::Result<bool> {
        let length = (self.left.end - self.left.start).min(piece_bytes as u64);
        self.piece.resize(length as usize, 0);
        self.at = 0;
        file.seek(SeekFrom::Start(self.left.start))?;
        file.read_exact(&mut self.piece)?;
        self.left.start += length;
        Ok(length > 0)
    }
}
