//! Sorts block entries whose digests are numbered: only the digests themselves are compared. Entries that do not fit into
//! memory are divided by ranges of blocks into as many parts as are needed, and the parts are sorted one after the other.

use std::io::{Read, Seek, SeekFrom};

use super::super::block::{Digest, Entry};
use super::super::entries::{Frames, LIST_BITS, List, Translated};
use super::Error;
use super::sort::{self, Item, Limits, Sorter};
use crate::scratch::{Scratch, ScratchFile};

/// Passes the entries in `frames` to `emit`, ascending by digest, then record; duplicates are kept.
///
/// # Errors
/// The error of the source, of a temporary file, or of `emit`; inconsistent frames are an error of the source.
pub(super) fn sorted<E: Read + Seek>(
    mut frames: Frames<E>,
    scratch: &dyn Scratch,
    limits: Limits,
    mut emit: impl FnMut(Entry) -> Result<(), Error>,
) -> Result<(), Error> {
    let Some(List { digests, entries }) = frames.list().map_err(Error::Source)? else {
        return sort::sorted(Translated::new(frames), scratch, limits, emit);
    };
    let Ranks { ranks, numbers } = Ranks::of(&digests);
    let mut current = None;
    let emit = |key: u64| {
        let rank = (key >> 32) as u32;
        let block = match current {
            Some((of, block)) if of == rank => block,
            _ => digests[numbers[rank as usize] as usize],
        };
        current = Some((rank, block));
        emit(Entry { block, record: key as u32 })
    };
    let key =
        |ranks: &[u32], number: u32, record| u64::from(ranks[number as usize]) << 32 | u64::from(record);
    let total: u64 = entries.iter().map(|&entries| u64::from(entries)).sum();
    if total <= limits.run_items::<u64>() as u64 {
        drop(entries);
        let mut sorter = Sorter::new(scratch, limits);
        frames
            .pairs(&digests, Error::Source, |number, record: u32| sorter.push(key(&ranks, number, record)))?;
        drop(ranks);
        return sorter.finish(emit);
    }
    let mut parts = Parts::create(scratch, limits, &entries, &ranks, total)?;
    drop(entries);
    frames.pairs(&digests, Error::Source, |number, record: u32| parts.push(key(&ranks, number, record)))?;
    drop(ranks);
    parts.finish(scratch, limits, emit)
}

/// The order of digests.
struct Ranks {
    /// The rank of each digest. Equal digests have the same.
    ranks: Vec<u32>,
    /// For each rank, the number of a digest that has it.
    numbers: Vec<u32>,
}

impl Ranks {
    fn of(digests: &[Digest]) -> Self {
        let below = (1 << LIST_BITS) - 1;
        let start = |digest: &Digest| u64::from_be_bytes(*digest.first_chunk().expect("it has 32 bytes"));
        let mut order: Vec<u64> =
            digests.iter().zip(0..).map(|(digest, number)| start(digest) & !below | number).collect();
        order.sort_unstable();
        // Few digests begin alike.
        for alike in order.chunk_by_mut(|left, right| left >> LIST_BITS == right >> LIST_BITS) {
            alike.sort_unstable_by_key(|entry| digests[(entry & below) as usize]);
        }
        let (mut ranks, mut numbers) = (vec![0; digests.len()], Vec::with_capacity(digests.len()));
        for number in order.into_iter().map(|entry| (entry & below) as u32) {
            let same = |&before: &u32| digests[before as usize] == digests[number as usize];
            if !numbers.last().is_some_and(same) {
                numbers.push(number);
            }
            ranks[number as usize] = numbers.len() as u32 - 1;
        }
        Self { ranks, numbers }
    }
}

/// Keys in a temporary file, divided by ranges of ranks.
struct Parts {
    file: Box<dyn ScratchFile>,
    /// The part of each rank.
    by_rank: Vec<u8>,
    list: Vec<Part>,
    piece_bytes: usize,
}

struct Part {
    start: u64,
    /// The end of what is written.
    end: u64,
    pending: Vec<u8>,
}

impl Parts {
    /// Divides `total` keys so that each part can be sorted in memory, unless one block alone has too many entries or
    /// there would be more parts than files that can be merged at once.
    fn create(
        scratch: &dyn Scratch,
        limits: Limits,
        entries: &[u32],
        ranks: &[u32],
        total: u64,
    ) -> Result<Self, Error> {
        let file = scratch.file().map_err(Error::Scratch)?;
        let blocks = ranks.iter().max().map_or(0, |&rank| rank as usize + 1);
        let mut by_block = vec![0_u64; blocks];
        for (&rank, &entries) in ranks.iter().zip(entries) {
            by_block[rank as usize] += u64::from(entries);
        }
        let parts_max = limits.fan_in.min(256) as u64;
        let wanted = (limits.run_items::<u64>() as u64).max(total.div_ceil(parts_max.div_ceil(2)));
        let mut parts = vec![Part::at(0)];
        let (mut end, mut in_part) = (0, 0);
        let part_of = |entries: u64| {
            if in_part > 0 && in_part + entries > wanted && (parts.len() as u64) < parts_max {
                parts.push(Part::at(end));
                in_part = 0;
            }
            in_part += entries;
            end += entries * u64::BYTES as u64;
            (parts.len() - 1) as u8
        };
        let by_rank = by_block.into_iter().map(part_of).collect();
        Ok(Self { file, by_rank, list: parts, piece_bytes: limits.piece::<u64>() })
    }

    fn push(&mut self, key: u64) -> Result<(), Error> {
        let part = &mut self.list[usize::from(self.by_rank[(key >> 32) as usize])];
        part.pending.extend_from_slice(&key.to_bytes());
        if part.pending.len() < self.piece_bytes {
            return Ok(());
        }
        part.flush(&mut *self.file)
    }

    /// Passes the keys to `emit`, in order.
    fn finish(
        mut self,
        scratch: &dyn Scratch,
        limits: Limits,
        mut emit: impl FnMut(u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for part in &mut self.list {
            part.flush(&mut *self.file)?;
            part.pending = Vec::new();
        }
        let mut piece = Vec::new();
        for Part { start, end, .. } in self.list {
            let mut sorter = Sorter::new(scratch, limits);
            self.file.seek(SeekFrom::Start(start)).map_err(Error::Scratch)?;
            let mut left = end - start;
            while left > 0 {
                piece.resize(left.min(self.piece_bytes as u64) as usize, 0);
                self.file.read_exact(&mut piece).map_err(Error::Scratch)?;
                left -= piece.len() as u64;
                piece.as_chunks().0.iter().try_for_each(|key| sorter.push(u64::from_le_bytes(*key)))?;
            }
            sorter.finish(&mut emit)?;
        }
        Ok(())
    }
}

impl Part {
    const fn at(start: u64) -> Self {
        Self { start, end: start, pending: Vec::new() }
    }

    fn flush(&mut self, file: &mut dyn ScratchFile) -> Result<(), Error> {
        file.seek(SeekFrom::Start(self.end)).map_err(Error::Scratch)?;
        file.write_all(&self.pending).map_err(Error::Scratch)?;
        self.end += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}
