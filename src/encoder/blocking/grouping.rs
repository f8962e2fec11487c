//! Groups of rows that have the same key.

use super::numbering::Numbering;
use super::texts::{List, Texts};

/// The number of keys that are numbered at once.
const BATCH: usize = 1 << 10;
/// A longer key is numbered at once.
const LONG_BYTES: usize = 64 << 10;

/// Groups rows by key. Groups are numbered in the order in which their keys first occur.
#[derive(Debug, Default)]
pub(super) struct Grouping {
    keys: Numbering,
    /// The group of each row.
    rows: Vec<u32>,
    /// The keys of the rows after those.
    waiting: Texts,
}

/// The groups, once every row is in one.
#[derive(Debug)]
pub(super) struct Groups {
    keys: Numbering,
    sizes: Vec<u32>,
    rows: Vec<u32>,
}

impl Grouping {
    /// Adds the next row. `write` appends its key, which has at most `bytes_max` bytes.
    ///
    /// # Errors
    /// Those of `write`.
    pub(super) fn add<E>(
        &mut self,
        bytes_max: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.waiting.push_with(bytes_max, write)?;
        // The room for long keys is not held for many of them.
        if self.waiting.len() == BATCH || bytes_max > LONG_BYTES {
            self.number();
        }
        Ok(())
    }

    /// Returns the groups.
    pub(super) fn finish(mut self) -> Groups {
        self.number();
        let mut sizes = vec![0; self.keys.texts().len()];
        self.rows.iter().for_each(|group| sizes[*group as usize] += 1);
        Groups { keys: self.keys, sizes, rows: self.rows }
    }

    fn number(&mut self) {
        self.keys.number_all(self.waiting.iter(), &mut self.rows);
        self.waiting.clear();
    }
}

impl Groups {
    /// The number of groups.
    pub(super) const fn len(&self) -> usize {
        self.sizes.len()
    }

    /// The number of rows in a group.
    pub(super) fn size(&self, group: u32) -> usize {
        self.sizes[group as usize] as usize
    }

    /// The keys of the groups, indexed by group number.
    pub(super) const fn keys(&self) -> &Texts {
        self.keys.texts()
    }

    /// Returns the group of each row.
    pub(super) fn into_rows(self) -> Vec<u32> {
        self.rows
    }
}
