//! Blocks and the records in them.

use std::collections::HashMap;

/// Blocks by name, in the order in which they were made, with the records in each.
#[derive(Debug, Default)]
pub struct Blocks {
    numbers: HashMap<String, usize>,
    blocks: Vec<(String, Vec<u64>)>,
}

impl Blocks {
    /// Puts a record into a block.
    pub(super) fn add(&mut self, name: String, record: u64) {
        self.entry(name).push(record);
    }

    /// Returns the records of a block; adds the block if it is missing.
    pub(super) fn entry(&mut self, name: String) -> &mut Vec<u64> {
        let next = self.blocks.len();
        let number = *self.numbers.entry(name).or_insert_with_key(|name| {
            self.blocks.push((name.clone(), Vec::new()));
            next
        });
        &mut self.blocks[number].1
    }

    /// The blocks and their records.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u64])> {
        self.blocks.iter().map(|(name, records)| (name.as_str(), records.as_slice()))
    }

    /// The number of blocks.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Gives each block another name.
    pub fn rename(&mut self, name: impl Fn(&str) -> String) {
        self.blocks.iter_mut().for_each(|(old, _)| *old = name(old));
    }

    /// Returns the numbers of the blocks of each record. Records are in the order in which blocks name them.
    pub fn by_record(&self) -> Vec<(u64, Vec<usize>)> {
        let mut places: HashMap<u64, usize> = HashMap::new();
        let mut records: Vec<(u64, Vec<usize>)> = Vec::new();
        for (number, (_, members)) in self.blocks.iter().enumerate() {
            for record in members {
                let place = *places.entry(*record).or_insert_with(|| {
                    records.push((*record, Vec::new()));
                    records.len() - 1
                });
                records[place].1.push(number);
            }
        }
        records
    }

    /// The name of a block.
    pub fn name(&self, number: usize) -> &str {
        &self.blocks[number].0
    }
}
