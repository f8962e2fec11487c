//! Sorts block entries whose digests are not numbered. Entries that do not fit into memory are divided by the first bits of
//! their digests, which are evenly distributed, and each part is sorted in memory.

use std::io::{ErrorKind, Read, SeekFrom, Write};

use super::super::block::{Digest, ENTRY_BYTES, Entry};
use super::blocks::{Blocks, ascending};
use super::sort::{Item, Key, Limits, Sorter};
use super::{Error, radix};
use crate::scratch::{Scratch, ScratchFile};

/// The maximum number of first bits that divide digests.
const PART_BITS_MAX: u32 = 6;

/// A stored entry.
type Stored = [u8; ENTRY_BYTES];

/// Appends the entries in `source` to `blocks`, ascending by digest, then record.
///
/// # Errors
/// The error of the source, of a temporary file, or of `blocks`; an incomplete entry is an error of the source.
pub(super) fn push_sorted(
    mut source: impl Read,
    scratch: &dyn Scratch,
    limits: Limits,
    blocks: &mut Blocks,
) -> Result<(), Error> {
    let mut in_memory = InMemory::new(limits);
    let mut parts = None;
    let wanted = limits.piece::<Key>() as u64;
    let mut piece = Vec::with_capacity(limits.piece_bytes);
    loop {
        piece.clear();
        let read = source.by_ref().take(wanted).read_to_end(&mut piece).map_err(Error::Source)?;
        let (entries, rest) = piece.as_chunks();
        if !rest.is_empty() {
            return Err(Error::Source(ErrorKind::UnexpectedEof.into()));
        }
        match &mut parts {
            None if in_memory.has_room_for(entries.len()) => in_memory.entries.extend_from_slice(entries),
            Some(parts) => Parts::push(parts, entries)?,
            none => {
                let parts = none.insert(Parts::create(scratch, limits)?);
                parts.push(&in_memory.entries)?;
                parts.push(entries)?;
                in_memory.entries = Vec::new();
            }
        }
        if (read as u64) < wanted {
            break;
        }
    }
    drop((source, piece));
    match parts {
        Some(parts) => parts.finish(in_memory, scratch, blocks),
        None => in_memory.finish(0, blocks),
    }
}

/// Entries that are sorted in memory.
struct InMemory {
    entries_max: usize,
    entries: Vec<Stored>,
    /// For each entry, some bits of its digest, and its place among the entries.
    keys: Vec<u64>,
    spare: Vec<u64>,
    /// The records of a block.
    records: Vec<u32>,
}

impl InMemory {
    const fn new(limits: Limits) -> Self {
        Self {
            entries_max: limits.run_bytes / (ENTRY_BYTES + 2 * size_of::<u64>()),
            entries: Vec::new(),
            keys: Vec::new(),
            spare: Vec::new(),
            records: Vec::new(),
        }
    }

    const fn has_room_for(&self, entries: usize) -> bool {
        self.entries.len() + entries <= self.entries_max
    }

    /// Appends the entries, whose digests have the same first `bits` bits, to `blocks`.
    fn finish(&mut self, bits: u32, blocks: &mut Blocks) -> Result<(), Error> {
        let Self { entries, keys, spare, records, .. } = self;
        let key = |(entry, place): (&Stored, u64)| first_bits(entry) << bits >> 32 << 32 | place;
        keys.clear();
        keys.extend(entries.iter().zip(0..).map(key));
        radix::sort_upper_halves(keys, spare);
        for alike in keys.chunk_by(|left, right| left >> 32 == right >> 32) {
            let mut alike = alike.iter().map(|key| Entry::from_bytes(&entries[*key as u32 as usize]));
            let Some(first) = alike.next() else { continue };
            records.clear();
            records.push(first.record);
            let mut same = alike.clone().inspect(|entry| records.push(entry.record));
            if same.all(|entry| entry.block == first.block) {
                blocks.push_block(first.block, ascending(records))?;
            } else {
                // Few digests begin alike.
                let mut all: Vec<Entry> = std::iter::once(first).chain(alike).collect();
                all.sort_unstable();
                all.into_iter().try_for_each(|entry| blocks.push(entry))?;
            }
        }
        entries.clear();
        Ok(())
    }
}

/// Returns the first 64 bits of an entry's digest.
fn first_bits(entry: &Stored) -> u64 {
    let digest: Digest = Entry::from_bytes(entry).block;
    u64::from_be_bytes(*digest.first_chunk().expect("it has 32 bytes"))
}

/// Entries in a temporary file, divided by the first bits of their digests.
struct Parts {
    file: Box<dyn ScratchFile>,
    /// The number of pieces in the file.
    pieces: u32,
    bits: u32,
    list: Vec<Part>,
    limits: Limits,
}

#[derive(Clone, Default)]
struct Part {
    /// The numbers of its pieces in the file, all of the same size.
    pieces: Vec<u32>,
    /// The entries that are not in the file.
    pending: Vec<u8>,
}

impl Parts {
    fn create(scratch: &dyn Scratch, limits: Limits) -> Result<Self, Error> {
        let file = scratch.file().map_err(Error::Scratch)?;
        let bits = limits.fan_in.max(1).ilog2().min(PART_BITS_MAX);
        Ok(Self { file, pieces: 0, bits, list: vec![Part::default(); 1 << bits], limits })
    }

    fn push(&mut self, entries: &[Stored]) -> Result<(), Error> {
        for entry in entries {
            let part = first_bits(entry).rotate_left(self.bits) as usize & (self.list.len() - 1);
            let part = &mut self.list[part];
            part.pending.extend_from_slice(entry);
            if part.pending.len() >= self.limits.piece::<Key>() {
                self.file.write_all(&part.pending).map_err(Error::Scratch)?;
                part.pending.clear();
                part.pieces.push(self.pieces);
                self.pieces += 1;
            }
        }
        Ok(())
    }

    /// Appends the entries to `blocks`, in order.
    fn finish(
        mut self,
        mut in_memory: InMemory,
        scratch: &dyn Scratch,
        blocks: &mut Blocks,
    ) -> Result<(), Error> {
        for part in std::mem::take(&mut self.list) {
            let entries = (part.pieces.len() * self.limits.piece::<Key>() + part.pending.len()) / ENTRY_BYTES;
            if in_memory.has_room_for(entries) {
                in_memory.entries.reserve_exact(entries);
                self.read(part, |entries| {
                    in_memory.entries.extend_from_slice(entries);
                    Ok(())
                })?;
                in_memory.finish(self.bits, blocks)?;
            } else {
                in_memory = InMemory::new(self.limits);
                let mut sorter = Sorter::new(scratch, self.limits);
                self.read(part, |entries| {
                    entries.iter().try_for_each(|bytes| sorter.push(Key::from_bytes(bytes)))
                })?;
                sorter.finish(|key| blocks.push(key.entry()))?;
            }
        }
        Ok(())
    }

    /// Passes the entries of a part to `each`, in the order of arrival.
    fn read(
        &mut self,
        part: Part,
        mut each: impl FnMut(&[Stored]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut bytes = vec![0; self.limits.piece::<Key>()];
        for piece in part.pieces {
            let start = u64::from(piece) * bytes.len() as u64;
            self.file.seek(SeekFrom::Start(start)).map_err(Error::Scratch)?;
            self.file.read_exact(&mut bytes).map_err(Error::Scratch)?;
            each(bytes.as_chunks().0)?;
        }
        each(part.pending.as_chunks().0)
    }
}
