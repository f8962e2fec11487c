//! The blocks of an index under construction.

use super::super::block::{self, Digest, Entry};
use super::directory::Block;
use super::section::Section;
use super::{Damage, Error, Span};
use crate::scratch::Scratch;

/// Builds the blocks of a dataset from its sorted entries.
pub(super) struct Blocks {
    records: u32,
    current: Option<Current>,
    pub(super) directory: Section,
    pub(super) ids: Section,
}

/// The current block.
struct Current {
    digest: Digest,
    first: u32,
    last: u32,
    count: u32,
    /// The offset of the block's ids, once they are known not to be consecutive.
    listed_at: Option<u64>,
}

impl Blocks {
    pub(super) fn create(scratch: &dyn Scratch, records: u32) -> Result<Self, Error> {
        let (directory, ids) = (Section::create(scratch)?, Section::create(scratch)?);
        Ok(Self { records, current: None, directory, ids })
    }

    /// Puts all records into the default block.
    pub(super) fn push_all_records(&mut self) -> Result<(), Error> {
        if self.records == 0 {
            return Ok(());
        }
        let span = Span::Rows { first: 0, count: self.records };
        self.directory.push(&Block { digest: block::default_block(), span }.to_bytes())
    }

    /// Appends an entry; entries ascend.
    pub(super) fn push(&mut self, Entry { block, record }: Entry) -> Result<(), Error> {
        self.check(record)?;
        match &mut self.current {
            Some(current) if current.digest == block => current.push(record, &mut self.ids),
            _ => {
                self.finish_block()?;
                let (first, last) = (record, record);
                self.current = Some(Current { digest: block, first, last, count: 1, listed_at: None });
                Ok(())
            }
        }
    }

    /// Appends a block with all its records, which ascend and occur once. A block without records is left out.
    pub(super) fn push_block(&mut self, digest: Digest, records: &[u32]) -> Result<(), Error> {
        debug_assert!(records.is_sorted_by(|left, right| left < right));
        let (Some(&first), Some(&last)) = (records.first(), records.last()) else {
            return Ok(());
        };
        self.check(last)?;
        self.finish_block()?;
        let count = records.len() as u32;
        let span = if last - first == count - 1 {
            Span::Rows { first, count }
        } else {
            let first = self.ids.items();
            self.ids.push_numbers(records)?;
            Span::Ids { first, count }
        };
        self.directory.push(&Block { digest, span }.to_bytes())
    }

    fn check(&self, record: u32) -> Result<(), Error> {
        if record < self.records {
            return Ok(());
        }
        let what = "a record that does not exist";
        Err(Damage::Contradiction { object: "block entries", what }.into())
    }

    fn finish_block(&mut self) -> Result<(), Error> {
        let Some(Current { digest, first, count, listed_at, .. }) = self.current.take() else {
            return Ok(());
        };
        let span = match listed_at {
            Some(first) => Span::Ids { first, count },
            None => Span::Rows { first, count },
        };
        self.directory.push(&Block { digest, span }.to_bytes())
    }

    pub(super) fn finish(mut self) -> Result<Self, Error> {
        self.finish_block()?;
        Ok(self)
    }
}

impl Current {
    fn push(&mut self, record: u32, ids: &mut Section) -> Result<(), Error> {
        if record == self.last {
            // A record that is listed twice in a block counts once.
            return Ok(());
        }
        if self.listed_at.is_none() && record != self.last + 1 {
            self.listed_at = Some(ids.items());
            (self.first..=self.last).try_for_each(|id| ids.push(&id.to_le_bytes()))?;
        }
        if self.listed_at.is_some() {
            ids.push(&record.to_le_bytes())?;
        }
        self.last = record;
        self.count += 1;
        Ok(())
    }
}

/// Sorts records, and returns each once.
pub(super) fn ascending(records: &mut [u32]) -> &[u32] {
    if records.is_sorted_by(|left, right| left < right) {
        return records;
    }
    records.sort_unstable();
    let mut kept = 0;
    for at in 0..records.len() {
        if at == 0 || records[at] != records[kept - 1] {
            records[kept] = records[at];
            kept += 1;
        }
    }
    &records[..kept]
}
