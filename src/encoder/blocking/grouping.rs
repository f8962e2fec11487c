//! Groups of rows that have the same key.

use super::batch::Batch;
use super::numbering::Numbering;
use super::texts::{List, Texts};

/// The size of a word in bytes.
const WORD: usize = 8;

/// Groups rows by key. Groups are numbered in the order in which their keys first occur.
#[derive(Debug, Default)]
pub(super) struct Grouping {
    keys: Numbering,
    /// The group of each row.
    rows: Vec<u32>,
    /// The keys of the rows after those.
    waiting: Batch,
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

/// Keys of groups. Each is stored in whole words, which take less time to compare and to copy.
#[derive(Debug)]
pub(super) struct Keys(Texts);

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
        self.waiting.add(bytes_max + WORD, |bytes| {
            let start = bytes.len();
            write(bytes)?;
            fill_word(bytes, start);
            Ok(())
        })?;
        if self.waiting.is_full() {
            self.number();
        }
        Ok(())
    }

    /// Returns the groups.
    pub(super) fn finish(mut self) -> Groups {
        self.number();
        let keys = self.keys.into_texts();
        let mut sizes = vec![0; keys.len()];
        self.rows.iter().for_each(|group| sizes[*group as usize] += 1);
        Groups { keys: Keys(keys), sizes, rows: self.rows }
    }

    fn number(&mut self) {
        self.keys.number_all(&self.waiting, &mut self.rows);
        self.waiting.clear();
    }
}

impl Keys {
    /// Returns the key of a group.
    pub(super) fn get(&self, group: u32) -> &[u8] {
        let words = self.0.get(group as usize);
        let last = words.last().map_or(0, |count| usize::from(*count));
        &words[..(words.len() + last).saturating_sub(WORD)]
    }
}

/// Appends zeros to the key that begins at `start`, and the number of its bytes in the last word.
fn fill_word(bytes: &mut Vec<u8>, start: usize) {
    let end = bytes.len();
    let last = (end - start) % WORD;
    let mut fill = [0; WORD];
    fill[WORD - 1 - last] = last as u8;
    bytes.extend_from_slice(&fill);
    bytes.truncate(end + WORD - last);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_with_one_key_are_a_group() {
        let keys: Vec<Vec<u8>> = (0..40).map(|length| vec![0; length]).chain([b"seventh".to_vec()]).collect();
        let mut grouping = Grouping::default();
        for key in keys.iter().chain(&keys) {
            let write = |bytes: &mut Vec<u8>| {
                bytes.extend_from_slice(key);
                Ok::<_, ()>(())
            };
            grouping.add(key.len(), write).unwrap();
        }
        let groups = grouping.finish();
        assert_eq!(groups.sizes, vec![2; keys.len()]);
        assert!(groups.rows.iter().copied().eq((0..41).chain(0..41)));
        assert!((0..41).all(|group| groups.keys.get(group) == keys[group as usize]));
    }
}
