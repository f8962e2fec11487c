//! Sorts block entries whose digests are numbered: only the digests themselves are compared. Entries that do not fit into
//! memory are divided by ranges of blocks into as many parts as are needed.

use std::io::{Read, Seek, SeekFrom};

use super::super::block::Entry;
use super::super::entries::{Frames, LIST_BITS, List, Translated, damaged};
use super::blocks::Blocks;
use super::placed::Placed;
use super::ranks::Ranks;
use super::sort::{Item, Limits, Sorter};
use super::{Error, divided};
use crate::scratch::{Scratch, ScratchFile};

/// The maximum number of parts.
const PARTS_MAX: usize = 1 << (u32::BITS - LIST_BITS);

/// Appends the entries in `frames` to `blocks`, ascending by digest, then record.
///
/// # Errors
/// The error of the source, of a temporary file, or of `blocks`; inconsistent frames are an error of the source.
pub(super) fn push_sorted<E: Read + Seek>(
    mut frames: Frames<E>,
    scratch: &dyn Scratch,
    limits: Limits,
    blocks: &mut Blocks,
) -> Result<(), Error> {
    let Some(List { digests, entries }) = frames.list().map_err(Error::Source)? else {
        return divided::push_sorted(Translated::new(frames), scratch, limits, blocks);
    };
    let digest_count = digests.len();
    let (ranks, mut rank_of) = Ranks::of(digests);
    let counts = counts(ranks.count(), &rank_of, &entries)?;
    drop(entries);
    let total: u64 = counts.iter().map(|&count| u64::from(count)).sum();
    if total <= Placed::records_max(limits) {
        let mut placed = Placed::default();
        placed.begin(0, &counts);
        frames.pairs(digest_count, Error::Source, |number, record| {
            placed.put(rank_of[number as usize], record)
        })?;
        return placed.finish(&ranks, &counts, blocks);
    }
    let mut parts = Parts::create(scratch, limits, &counts, total)?;
    parts.direct(&mut rank_of);
    frames
        .pairs(digest_count, Error::Source, |number, record| parts.push(rank_of[number as usize], record))?;
    drop(rank_of);
    parts.finish(&ranks, &counts, scratch, blocks)
}

/// Returns the number of entries with each rank.
fn counts(ranks: usize, rank_of: &[u32], entries: &[u32]) -> Result<Vec<u32>, Error> {
    let mut counts = vec![0_u32; ranks];
    for (&rank, &entries) in rank_of.iter().zip(entries) {
        let count = &mut counts[rank as usize];
        *count = count.checked_add(entries).ok_or_else(|| Error::Source(damaged()))?;
    }
    Ok(counts)
}

/// Entries in a temporary file, divided by ranges of ranks.
struct Parts {
    file: Box<dyn ScratchFile>,
    list: Vec<Part>,
    limits: Limits,
}

struct Part {
    /// The first rank.
    first: u32,
    start: u64,
    /// The end of what is written.
    end: u64,
    pending: Vec<u8>,
}

impl Parts {
    /// Divides `total` entries so that those of each part fit into memory, unless one block alone has too many or there
    /// would be more parts than files that can be merged at once.
    fn create(scratch: &dyn Scratch, limits: Limits, counts: &[u32], total: u64) -> Result<Self, Error> {
        let file = scratch.file().map_err(Error::Scratch)?;
        let parts_max = limits.fan_in.min(PARTS_MAX) as u64;
        let wanted = Placed::records_max(limits).max(total.div_ceil(parts_max.div_ceil(2)));
        let mut list = vec![Part::at(0, 0)];
        let (mut end, mut in_part) = (0, 0);
        for (&count, rank) in counts.iter().zip(0..) {
            let count = u64::from(count);
            if in_part > 0 && in_part + count > wanted && (list.len() as u64) < parts_max {
                list.push(Part::at(rank, end));
                in_part = 0;
            }
            in_part += count;
            end += count * u64::BYTES as u64;
        }
        Ok(Self { file, list, limits })
    }

    /// Adds to each rank the number of its part, above [`LIST_BITS`].
    fn direct(&self, ranks: &mut [u32]) {
        for rank in ranks {
            let part = self.list.partition_point(|part| part.first <= *rank) - 1;
            *rank |= (part as u32) << LIST_BITS;
        }
    }

    /// Appends an entry; `directed` has its rank and the number of its part.
    fn push(&mut self, directed: u32, record: u32) -> Result<(), Error> {
        let key = u64::from(directed & ((1 << LIST_BITS) - 1)) << 32 | u64::from(record);
        let part = &mut self.list[(directed >> LIST_BITS) as usize];
        part.pending.extend_from_slice(&key.to_bytes());
        if part.pending.len() < self.limits.piece::<u64>() {
            return Ok(());
        }
        part.flush(&mut *self.file)
    }

    /// Appends the entries to `blocks`, in order.
    fn finish(
        mut self,
        ranks: &Ranks,
        counts: &[u32],
        scratch: &dyn Scratch,
        blocks: &mut Blocks,
    ) -> Result<(), Error> {
        for part in &mut self.list {
            part.flush(&mut *self.file)?;
            part.pending = Vec::new();
        }
        let mut placed = Placed::default();
        for at in 0..self.list.len() {
            let first = self.list[at].first;
            let stop = self.list.get(at + 1).map_or(counts.len(), |next| next.first as usize);
            let counts = &counts[first as usize..stop];
            if self.list[at].entries() <= Placed::records_max(self.limits) {
                placed.begin(first, counts);
                self.read(at, |key| placed.put((key >> 32) as u32, key as u32))?;
                placed.finish(ranks, counts, blocks)?;
            } else {
                placed = Placed::default();
                let mut sorter = Sorter::new(scratch, self.limits);
                self.read(at, |key| sorter.push(key))?;
                sorter.finish(|key: u64| {
                    blocks.push(Entry { block: ranks.digest((key >> 32) as u32), record: key as u32 })
                })?;
            }
        }
        Ok(())
    }

    /// Passes the entries of a part to `each`, in the order of arrival.
    fn read(&mut self, at: usize, mut each: impl FnMut(u64) -> Result<(), Error>) -> Result<(), Error> {
        let Part { start, end, .. } = self.list[at];
        self.file.seek(SeekFrom::Start(start)).map_err(Error::Scratch)?;
        let mut piece = Vec::new();
        let mut left = end - start;
        while left > 0 {
            piece.resize(left.min(self.limits.piece::<u64>() as u64) as usize, 0);
            self.file.read_exact(&mut piece).map_err(Error::Scratch)?;
            left -= piece.len() as u64;
            piece.as_chunks().0.iter().try_for_each(|key| each(u64::from_le_bytes(*key)))?;
        }
        Ok(())
    }
}

impl Part {
    const fn at(first: u32, start: u64) -> Self {
        Self { first, start, end: start, pending: Vec::new() }
    }

    const fn entries(&self) -> u64 {
        (self.end - self.start) / u64::BYTES as u64
    }

    fn flush(&mut self, file: &mut dyn ScratchFile) -> Result<(), Error> {
        file.seek(SeekFrom::Start(self.end)).map_err(Error::Scratch)?;
        file.write_all(&self.pending).map_err(Error::Scratch)?;
        self.end += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}
