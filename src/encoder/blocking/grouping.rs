//! Groups of rows that have the same key.

use zeroize::Zeroizing;

use super::batch::{BATCH, Batch};
use super::key::{Key, Keys, Words};
use super::numbering::Numbering;
use super::texts::List;

/// Groups rows by key. Groups are numbered in the order in which their keys first occur.
#[derive(Debug)]
pub(super) struct Grouping {
    keys: Numbering<Keys>,
    /// The group of each row.
    rows: Vec<u32>,
    /// The keys of the rows after those, and the texts of the longer ones.
    waiting: Zeroizing<Vec<Words>>,
    long: Batch,
}

/// The groups, once every row is in one.
#[derive(Debug)]
pub(super) struct Groups {
    /// The keys, indexed by group number.
    pub(super) keys: Keys,
    /// The number of rows in each group.
    pub(super) sizes: Vec<u32>,
    /// The group of each row.
    pub(super) rows: Vec<u32>,
}

impl Grouping {
    pub(super) fn new() -> Self {
        // The buffer does not grow, which would leave copies of the keys in freed memory.
        let waiting = Zeroizing::new(Vec::with_capacity(BATCH));
        Self { keys: Numbering::default(), rows: Vec::new(), waiting, long: Batch::default() }
    }

    /// Adds the next row.
    #[inline]
    pub(super) fn add(&mut self, key: Key<'_>) {
        self.waiting.push(key.words());
        if !key.long().is_empty() {
            self.long.push(key.long().len(), |bytes| bytes.extend_from_slice(key.long()));
        }
        if self.waiting.len() == BATCH || self.long.is_full() {
            self.number();
        }
    }

    /// Returns the groups.
    pub(super) fn finish(mut self) -> Groups {
        self.number();
        let keys = self.keys.into_list();
        let mut sizes = vec![0; keys.len()];
        self.rows.iter().for_each(|group| sizes[*group as usize] += 1);
        Groups { keys, sizes, rows: self.rows }
    }

    #[inline(never)]
    fn number(&mut self) {
        let mut long = self.long.iter();
        let keys = self.waiting.iter();
        let keys = keys.map(move |words| Key::with_words(*words, || long.next().unwrap_or_default()));
        self.keys.number_all(keys, &mut self.rows);
        self.waiting.clear();
        self.long.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::Writer;
    use super::*;

    #[test]
    fn rows_with_one_key_are_a_group() {
        let keys: Vec<Vec<u8>> = (0..40).map(|length| vec![0; length]).chain([b"seventh".to_vec()]).collect();
        let mut grouping = Grouping::new();
        for key in keys.iter().chain(&keys) {
            grouping.add(Writer::of(key).key());
        }
        let groups = grouping.finish();
        assert_eq!(groups.sizes, vec![2; keys.len()]);
        assert!(groups.rows.iter().copied().eq((0..41).chain(0..41)));
        assert!((0..41).all(|group| groups.keys.key(group).read(|key| key == keys[group])));
    }
}
