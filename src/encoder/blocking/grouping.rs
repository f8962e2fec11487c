//! Groups of rows that have the same key.

use super::texts::{Numbering, Texts};

/// The number of keys that are numbered at once.
const BATCH: usize = 1 << 10;

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
    /// Adds the next row.
    pub(super) fn add(&mut self, key: &str) {
        self.waiting.push(key);
        if self.waiting.len() == BATCH {
            self.number();
        }
    }

    /// Returns the groups.
    pub(super) fn finish(mut self) -> Groups {
        self.number();
        let mut sizes = vec![0; self.keys.texts().len()];
        self.rows.iter().for_each(|group| sizes[*group as usize] += 1);
        Groups { keys: self.keys, sizes, rows: self.rows }
    }

    fn number(&mut self) {
        self.keys.number_all(&self.waiting, &mut self.rows);
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

    /// The group of each row.
    pub(super) fn rows(&self) -> impl Iterator<Item = u32> {
        self.rows.iter().copied()
    }
}
