//! Sorts pairs into one run, in bounded memory.

use std::io::Write;
use std::mem;

use rayon::slice::ParallelSliceMut;

use super::merge::{Run, copy, merge_runs};
use super::{Error, Pair, Version};
use crate::scratch::{Scratch, ScratchFile};

/// The number of pairs that a [`Sorter`] keeps in memory by default: 24 MB of them.
pub const PAIRS_BUFFERED: usize = 1 << 20;

/// Collects pairs and writes them as one run; spills sorted chunks when its buffer is full.
pub struct Sorter<'a> {
    scratch: &'a dyn Scratch,
    buffer: Vec<Pair>,
    buffered_max: usize,
    spilled: Vec<Box<dyn ScratchFile>>,
}

impl<'a> Sorter<'a> {
    /// Returns a sorter that holds at most `buffered_max` pairs (at least one) in memory.
    pub fn new(scratch: &'a dyn Scratch, buffered_max: usize) -> Self {
        Self { scratch, buffer: Vec::new(), buffered_max: buffered_max.max(1), spilled: Vec::new() }
    }

    /// Takes all of `pairs`, in any order, and leaves it empty.
    ///
    /// # Errors
    /// [`Error::Write`] when a temporary file cannot be made or written.
    pub fn take(&mut self, pairs: &mut Vec<Pair>) -> Result<(), Error> {
        while !pairs.is_empty() {
            let room = self.buffered_max - self.buffer.len();
            self.buffer.extend(pairs.drain(pairs.len().saturating_sub(room)..));
            if self.buffer.len() == self.buffered_max {
                self.spill()?;
            }
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<(), Error> {
        // The sort is not parallel: the caller may hold a lock, and while this thread waits for others, it could start
        // a task that needs the same lock.
        self.buffer.sort_unstable();
        self.buffer.dedup();
        let mut file = self.scratch.file().map_err(Error::Write)?;
        write_all(&self.buffer, Version::Dense, &mut file)?;
        file.rewind().map_err(Error::Write)?;
        self.spilled.push(file);
        self.buffer.clear();
        Ok(())
    }

    /// Writes all pairs in order, as a pair file of this version, and returns their number.
    ///
    /// # Errors
    /// [`Error::Write`] and, for spilled pairs, [`Error::Read`].
    pub fn write(mut self, version: Version, out: impl Write) -> Result<u64, Error> {
        if self.spilled.is_empty() {
            self.buffer.par_sort_unstable();
            self.buffer.dedup();
            return write_all(&self.buffer, version, out);
        }
        self.spill()?;
        let spilled = mem::take(&mut self.spilled).into_iter().map(|file| Ok(Box::new(file) as Run<'_>));
        copy(merge_runs(spilled, self.scratch)?, version, out)
    }
}

fn write_all(pairs: &[Pair], version: Version, out: impl Write) -> Result<u64, Error> {
    copy(pairs.iter().copied().map(Ok), version, out)
}
