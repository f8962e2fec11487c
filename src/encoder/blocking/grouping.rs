//! Groups of rows that have the same key.

use super::texts::{Numbering, Texts};

/// Groups rows by key. Groups are numbered in the order in which their keys first occur.
#[derive(Debug, Default)]
pub(super) struct Grouping {
    keys: Numbering,
    sizes: Vec<u32>,
    /// The group of each row.
    rows: Vec<u32>,
}

impl Grouping {
    /// Adds the next row.
    pub(super) fn add(&mut self, key: &str) {
        let number = self.keys.number(key);
        if number as usize == self.sizes.len() {
            self.sizes.push(0);
        }
        self.sizes[number as usize] += 1;
        self.rows.push(number);
    }

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
