//! Builds a plan: merges the directories of all datasets, block by block.

use std::io::{Read, Write};
use std::num::NonZeroU64;

use super::cut;
use super::entry::Entry;
use super::largest::LargestBlocks;
use super::layout::{Dataset, PLAN, PlanHeader};
use crate::encoding::layout::{Block, Damage, Directory, Error, Section};
use crate::scratch::Scratch;
use crate::threshold::Threshold;

/// The maximum number of entries in one part.
const ENTRIES_MAX: usize = 100_000;

/// The totals of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The number of parts; 0 if no two datasets share a block.
    pub parts: u64,
    /// The number of comparisons in all parts.
    pub comparisons: u64,
    /// The blocks with the most comparisons.
    pub largest: LargestBlocks,
}

/// Writes the plan of a run over the datasets whose indexes are `directories` (each read up to its header) to `out`:
/// every block that two datasets share, cut into parts of about `aim` comparisons. No part is much larger, and a part
/// is smaller only where few comparisons are left.
///
/// Reads each directory once, side by side. Takes about 8 MiB of memory and temporary files as large as
/// the plan.
///
/// # Errors
/// [`Error::Damaged`] if a directory is damaged or encodings differ in size; otherwise the error of a source, a
/// temporary file, or `out`.
pub fn build<R: Read>(
    mut directories: Vec<Directory<R>>,
    threshold: Threshold,
    aim: NonZeroU64,
    scratch: &dyn Scratch,
    mut out: impl Write,
) -> Result<Planned, Error> {
    let datasets = datasets_of(&directories)?;
    let mut parts = Parts::create(scratch, aim.get())?;
    each_block(&mut directories, |sharing| parts.push_block(sharing))?;
    parts.finish(&datasets, threshold, &mut out)
}

/// Returns the blocks with the most comparisons, as in [`Planned`], of the datasets whose indexes are `directories`.
/// Reads each directory once.
///
/// # Errors
/// Like [`build`].
pub fn largest_blocks<R: Read>(mut directories: Vec<Directory<R>>) -> Result<LargestBlocks, Error> {
    let mut largest = LargestBlocks::default();
    each_block(&mut directories, |sharing| {
        largest.add(entries_of(sharing).map(|entry| entry.comparisons()).fold(0, u64::saturating_add));
        Ok(())
    })?;
    Ok(largest)
}

/// Passes every block, with the datasets that have it, to `take`.
fn each_block<R: Read>(
    directories: &mut [Directory<R>],
    mut take: impl FnMut(&[(u32, Block)]) -> Result<(), Error>,
) -> Result<(), Error> {
    let (mut heads, mut sharing) = (Vec::new(), Vec::new());
    for directory in &mut *directories {
        heads.push(directory.next_block()?);
    }
    while let Some(digest) = heads.iter().flatten().map(|block| block.digest).min() {
        sharing.clear();
        for (dataset, (head, directory)) in heads.iter_mut().zip(&mut *directories).enumerate() {
            if let Some(block) = head.take_if(|block| block.digest == digest) {
                sharing.push((dataset as u32, block));
                *head = directory.next_block()?;
            }
        }
        take(&sharing)?;
    }
    Ok(())
}

/// Returns an entry for every two of the datasets that share a block.
fn entries_of(sharing: &[(u32, Block)]) -> impl Iterator<Item = Entry> {
    sharing.iter().enumerate().flat_map(move |(position, &(left_dataset, left))| {
        let others = sharing[position + 1..].iter();
        others.map(move |&(right_dataset, right)| Entry {
            left_dataset,
            right_dataset,
            left: left.span,
            right: right.span,
        })
    })
}

fn datasets_of<R: Read>(directories: &[Directory<R>]) -> Result<Vec<Dataset>, Error> {
    let datasets: Vec<_> = directories.iter().map(|directory| Dataset::of(directory.header())).collect();
    if datasets.windows(2).any(|two| two[0].encoding_bytes != two[1].encoding_bytes) {
        return Err(Damage::Contradiction { object: PLAN, what: "encodings of different size" }.into());
    }
    Ok(datasets)
}

/// Parts under construction.
struct Parts {
    aim: u64,
    bundle: Vec<Entry>,
    bundle_comparisons: u64,
    /// The stored form of a part's entries. Kept to reuse the memory.
    bytes: Vec<u8>,
    comparisons: u64,
    largest: LargestBlocks,
    table: Section,
    entries: Section,
}

impl Parts {
    fn create(scratch: &dyn Scratch, aim: u64) -> Result<Self, Error> {
        Ok(Self {
            aim,
            bundle: Vec::new(),
            bundle_comparisons: 0,
            bytes: Vec::new(),
            comparisons: 0,
            largest: LargestBlocks::default(),
            table: Section::create(scratch)?,
            entries: Section::create(scratch)?,
        })
    }

    fn push_block(&mut self, sharing: &[(u32, Block)]) -> Result<(), Error> {
        let mut comparisons = 0_u64;
        for entry in entries_of(sharing) {
            comparisons = comparisons.saturating_add(entry.comparisons());
            self.push(entry)?;
        }
        self.largest.add(comparisons);
        Ok(())
    }

    fn push(&mut self, entry: Entry) -> Result<(), Error> {
        let comparisons = entry.comparisons();
        if comparisons > self.aim {
            return cut::grid(entry, self.aim).try_for_each(|cell| self.write_part(&[cell]));
        }
        if self.bundle_comparisons + comparisons > self.aim || self.bundle.len() == ENTRIES_MAX {
            self.write_bundle()?;
        }
        self.bundle.push(entry);
        self.bundle_comparisons += comparisons;
        Ok(())
    }

    fn write_bundle(&mut self) -> Result<(), Error> {
        let mut bundle = std::mem::take(&mut self.bundle);
        if !bundle.is_empty() {
            self.write_part(&bundle)?;
            bundle.clear();
        }
        self.bundle = bundle;
        self.bundle_comparisons = 0;
        Ok(())
    }

    fn write_part(&mut self, entries: &[Entry]) -> Result<(), Error> {
        let first = self.entries.items();
        let mut comparisons = 0;
        self.bytes.clear();
        for entry in entries {
            comparisons += entry.comparisons();
            self.bytes.extend_from_slice(&entry.to_bytes());
        }
        self.entries.push_items(&self.bytes, entries.len())?;
        self.comparisons = self.comparisons.saturating_add(comparisons);
        let mut part = [0; super::layout::PART_BYTES];
        part[..8].copy_from_slice(&first.to_le_bytes());
        part[8..12].copy_from_slice(&(entries.len() as u32).to_le_bytes());
        part[12..20].copy_from_slice(&comparisons.to_le_bytes());
        part[20..].copy_from_slice(&crc32fast::hash(&self.bytes).to_le_bytes());
        self.table.push(&part)
    }

    fn finish(
        mut self,
        datasets: &[Dataset],
        threshold: Threshold,
        out: &mut impl Write,
    ) -> Result<Planned, Error> {
        self.write_bundle()?;
        let head = PlanHeader {
            datasets: datasets.len() as u32,
            threshold,
            aim: self.aim,
            comparisons: self.comparisons,
            parts: self.table.items(),
            entries: self.entries.items(),
        };
        let datasets: Vec<u8> = datasets.iter().flat_map(|dataset| dataset.to_bytes()).collect();
        let head_bytes = head.to_bytes(&datasets, &self.table.hasher());
        out.write_all(&head_bytes).map_err(Error::Sink)?;
        out.write_all(&datasets).map_err(Error::Sink)?;
        self.table.copy_to(out)?;
        self.entries.copy_to(out)?;
        out.flush().map_err(Error::Sink)?;
        Ok(Planned { parts: head.parts, comparisons: head.comparisons, largest: self.largest })
    }
}
