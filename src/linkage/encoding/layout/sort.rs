//! Sorts block entries in bounded memory: writes sorted runs to a temporary file and merges them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io::{BufWriter, Read, SeekFrom, Write};
use std::ops::Range;

use super::super::block::{ENTRY_BYTES, Entry};
use super::Error;
use crate::linkage::scratch::{Scratch, ScratchFile};

/// The memory limit of sorting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The number of entries sorted at once.
    pub(super) run_entries: usize,
    /// The number of runs merged at once.
    pub(super) fan_in: usize,
    /// The number of bytes read at once of each run.
    pub(super) piece_bytes: usize,
}

impl Limits {
    /// 12 MiB to sort and 4 MiB to merge.
    pub(super) const DEFAULT: Self = Self {
        run_entries: (12 << 20) / size_of::<Key>(),
        fan_in: 64,
        piece_bytes: (64 << 10) / ENTRY_BYTES * ENTRY_BYTES,
    };
}

/// An entry in a form that is fast to compare: the digest as big-endian words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    block: [u64; 4],
    record: u32,
}

impl Key {
    fn new(entry: &Entry) -> Self {
        let words = entry.block.as_chunks::<8>().0;
        Self { block: std::array::from_fn(|word| u64::from_be_bytes(words[word])), record: entry.record }
    }

    fn entry(self) -> Entry {
        let mut block = [0; 32];
        for (bytes, word) in block.as_chunks_mut().0.iter_mut().zip(self.block) {
            *bytes = word.to_be_bytes();
        }
        Entry { block, record: self.record }
    }
}

/// Passes the entries in `source` to `emit`, ascending by digest, then record; duplicates are kept.
///
/// # Errors
/// The error of the source, of a temporary file, or of `emit`; an incomplete entry is an error of the source.
pub(super) fn sorted(
    source: impl Read,
    scratch: &dyn Scratch,
    limits: Limits,
    mut emit: impl FnMut(Entry) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut source = Keys::new(source, limits.piece_bytes);
    let mut keys = Vec::new();
    if source.fill(&mut keys, limits.run_entries)? {
        // Everything fits into memory.
        return keys.into_iter().try_for_each(|key| emit(key.entry()));
    }
    let mut runs = Runs::create(scratch)?;
    loop {
        runs.append(keys.iter().copied().map(Ok))?;
        keys.clear();
        let last = source.fill(&mut keys, limits.run_entries)?;
        if last {
            runs.append(keys.drain(..).map(Ok))?;
            break;
        }
    }
    drop(keys);
    while runs.spans.len() > limits.fan_in {
        runs = runs.merged_once(scratch, limits)?;
    }
    let spans = std::mem::take(&mut runs.spans);
    merge(&mut *runs.file, &spans, limits, |key| emit(key.entry()))
}

/// Reads entries in the order in which they arrive.
struct Keys<R> {
    source: R,
    piece: Vec<u8>,
}

impl<R: Read> Keys<R> {
    fn new(source: R, piece_bytes: usize) -> Self {
        Self { source, piece: Vec::with_capacity(piece_bytes) }
    }

    /// Fills `keys` up to `count`, and sorts them; returns true if the source has ended.
    fn fill(&mut self, keys: &mut Vec<Key>, count: usize) -> Result<bool, Error> {
        let mut complete = false;
        while keys.len() < count && !complete {
            let wanted =
                self.piece.capacity().min((count - keys.len()) * ENTRY_BYTES) / ENTRY_BYTES * ENTRY_BYTES;
            self.piece.clear();
            let read = self.source.by_ref().take(wanted as u64).read_to_end(&mut self.piece);
            complete = read.map_err(Error::Source)? < wanted;
            let (entries, rest) = self.piece.as_chunks();
            if !rest.is_empty() {
                return Err(Error::Source(std::io::ErrorKind::UnexpectedEof.into()));
            }
            keys.extend(entries.iter().map(|bytes| Key::new(&Entry::from_bytes(bytes))));
        }
        keys.sort_unstable();
        Ok(complete)
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

    /// Writes a run of sorted `keys`.
    fn append(&mut self, keys: impl Iterator<Item = Result<Key, Error>>) -> Result<(), Error> {
        let mut run = RunWriter::new(self);
        for key in keys {
            run.push(key?)?;
        }
        run.finish()
    }

    /// Merges the runs into fewer runs.
    fn merged_once(mut self, scratch: &dyn Scratch, limits: Limits) -> Result<Self, Error> {
        let mut merged = Self::create(scratch)?;
        let spans = std::mem::take(&mut self.spans);
        for group in spans.chunks(limits.fan_in) {
            let mut run = RunWriter::new(&mut merged);
            merge(&mut *self.file, group, limits, |key| run.push(key))?;
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

    fn push(&mut self, key: Key) -> Result<(), Error> {
        *self.end += ENTRY_BYTES as u64;
        self.out.write_all(&key.entry().to_bytes()).map_err(Error::Scratch)
    }

    fn finish(mut self) -> Result<(), Error> {
        self.out.flush().map_err(Error::Scratch)?;
        self.spans.push(self.start..*self.end);
        Ok(())
    }
}

/// Passes the entries of the runs at `spans` of `file` to `emit`, in order.
fn merge(
    file: &mut dyn ScratchFile,
    spans: &[Range<u64>],
    limits: Limits,
    mut emit: impl FnMut(Key) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut runs: Vec<RunReader> = spans.iter().cloned().map(RunReader::new).collect();
    let mut heads = BinaryHeap::with_capacity(runs.len());
    for (number, run) in runs.iter_mut().enumerate() {
        heads.extend(run.next(file, limits.piece_bytes)?.map(|key| Reverse((key, number))));
    }
    while let Some(mut head) = heads.peek_mut() {
        let Reverse((key, number)) = *head;
        match runs[number].next(file, limits.piece_bytes)? {
            Some(next) => head.0.0 = next,
            None => drop(PeekMut::pop(head)),
        }
        emit(key)?;
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

    fn next(&mut self, file: &mut dyn ScratchFile, piece_bytes: usize) -> Result<Option<Key>, Error> {
        if self.at == self.piece.len() && !self.refill(file, piece_bytes).map_err(Error::Scratch)? {
            return Ok(None);
        }
        let bytes = self.piece[self.at..].first_chunk().expect("pieces are whole entries");
        self.at += ENTRY_BYTES;
        Ok(Some(Key::new(&Entry::from_bytes(bytes))))
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
