//! Blocks and the records in them.

use std::collections::HashMap;

use super::grouping::Groups;
use super::texts::{Numbering, Texts};

/// Blocks with their records, in order of creation.
#[derive(Debug, Default)]
pub struct Blocks {
    names: Texts,
    /// The end of each block in `records`.
    ends: Vec<usize>,
    records: Vec<u64>,
}

/// Names that are numbered at once.
const BATCH: usize = 1 << 10;

/// Blocks under construction.
#[derive(Default)]
pub(super) struct Builder {
    names: Numbering,
    /// The number of records in each block.
    sizes: Vec<usize>,
    /// The groupings. Each has a list of groups with their blocks, which omits groups without a block.
    groupings: Vec<(Groups, Vec<(u32, u32)>)>,
    /// The names that are numbered next, and their numbers.
    waiting: (Texts, Vec<u32>),
}

impl Builder {
    /// Adds groups of rows. `name` writes the name of a group's block, or returns false if the group has no block.
    /// Groups with the same block name share a block.
    pub(super) fn add(&mut self, grouping: Groups, mut name: impl FnMut(&Groups, u32, &mut String) -> bool) {
        let (mut text, mut blocks, mut kept) = (String::new(), Vec::new(), Vec::new());
        let groups = grouping.len() as u32;
        for group in 0..groups {
            text.clear();
            if name(&grouping, group, &mut text) {
                self.waiting.0.push(&text);
                kept.push(group);
            }
            if kept.len() == BATCH || group + 1 == groups {
                self.number(&grouping, &mut kept, &mut blocks);
            }
        }
        self.groupings.push((grouping, blocks));
    }

    /// Numbers the blocks of groups, and clears the list of these groups.
    fn number(&mut self, grouping: &Groups, kept: &mut Vec<u32>, blocks: &mut Vec<(u32, u32)>) {
        let (names, numbers) = &mut self.waiting;
        numbers.clear();
        self.names.number_all(names, numbers);
        names.clear();
        self.sizes.resize(self.names.texts().len(), 0);
        for (group, number) in kept.drain(..).zip(numbers) {
            self.sizes[*number as usize] += grouping.size(group);
            blocks.push((group, *number));
        }
    }

    /// Returns the blocks. `record` maps a row to its record number.
    pub(super) fn finish(self, record: impl Fn(usize) -> u64) -> Blocks {
        let mut ends = starts(&self.sizes);
        let mut records = vec![0; self.sizes.iter().sum()];
        for (grouping, blocks) in self.groupings {
            // The position in `records` for the next row of each group; `usize::MAX` for a group without a block.
            let mut places = vec![usize::MAX; grouping.len()];
            for (group, block) in blocks {
                places[group as usize] = ends[block as usize];
                ends[block as usize] += grouping.size(group);
            }
            for (row, group) in grouping.rows().enumerate() {
                let place = &mut places[group as usize];
                if *place != usize::MAX {
                    records[*place] = record(row);
                    *place += 1;
                }
            }
        }
        Blocks { names: self.names.into_texts(), ends, records }
    }
}

/// Returns the start of each of several consecutive ranges.
fn starts(sizes: &[usize]) -> Vec<usize> {
    let start = |end: &mut usize, size: &usize| {
        *end += size;
        Some(*end - size)
    };
    sizes.iter().scan(0, start).collect()
}

/// The blocks of each record.
pub struct ByRecord {
    /// The record numbers, in the order in which they first occur in the blocks.
    records: Vec<u64>,
    /// The end of each record's blocks in `blocks`.
    ends: Vec<usize>,
    blocks: Vec<u32>,
}

impl Blocks {
    /// The number of records in each block.
    pub fn sizes(&self) -> impl Iterator<Item = usize> {
        (0..self.len()).map(|number| self.members(number).len())
    }

    /// The number of blocks.
    pub const fn len(&self) -> usize {
        self.names.len()
    }

    /// Returns whether there are no blocks.
    pub const fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Gives each block another name.
    pub fn rename(&mut self, name: impl Fn(&str) -> String) {
        let mut names = Texts::default();
        self.names.iter().for_each(|old| names.push(&name(old)));
        self.names = names;
    }

    /// The names of the blocks.
    pub const fn names(&self) -> &Texts {
        &self.names
    }

    /// Returns the blocks of each record.
    pub fn by_record(&self) -> ByRecord {
        let mut places = Places::new(&self.records);
        let mut records = Vec::new();
        let mut counts: Vec<usize> = Vec::new();
        for record in &self.records {
            let place = places.of(*record, &mut records);
            counts.resize(records.len(), 0);
            counts[place] += 1;
        }
        let mut ends = starts(&counts);
        let mut blocks = vec![0; self.records.len()];
        for number in 0..self.len() {
            for record in self.members(number) {
                let place = places.of(*record, &mut records);
                blocks[ends[place]] = number as u32;
                ends[place] += 1;
            }
        }
        ByRecord { records, ends, blocks }
    }

    fn members(&self, number: usize) -> &[u64] {
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        &self.records[start..self.ends[number]]
    }
}

impl ByRecord {
    /// The number of records that are in a block.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns whether no record is in a block.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The records, each with the numbers of its blocks.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u32])> {
        self.records.iter().enumerate().map(|(at, record)| {
            let start = if at == 0 { 0 } else { self.ends[at - 1] };
            (*record, &self.blocks[start..self.ends[at]])
        })
    }
}

/// Maps record numbers to positions in a list.
enum Places {
    /// The position plus one, indexed by record number; 0 if the record is not in the list. Used if the largest
    /// record number is at most a small multiple of the number of records.
    Dense(Vec<u32>),
    Sparse(HashMap<u64, usize>),
}

impl Places {
    fn new(records: &[u64]) -> Self {
        let most = records.iter().max().map_or(0, |most| most.saturating_add(1));
        let is_dense = most <= 4 * records.len() as u64 && most < u64::from(u32::MAX);
        if is_dense { Self::Dense(vec![0; most as usize]) } else { Self::Sparse(HashMap::new()) }
    }

    /// Returns the position of a record in `records`, and adds the record if it is missing.
    fn of(&mut self, record: u64, records: &mut Vec<u64>) -> usize {
        let mut add = || {
            records.push(record);
            records.len() - 1
        };
        match self {
            Self::Dense(places) => {
                let place = &mut places[record as usize];
                if *place == 0 {
                    *place = add() as u32 + 1;
                }
                *place as usize - 1
            }
            Self::Sparse(places) => *places.entry(record).or_insert_with(add),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::grouping::Grouping;
    use super::*;

    #[test]
    fn groups_of_one_name_are_a_block_and_records_have_their_blocks_in_order() {
        for factor in [1, 1 << 40] {
            let (mut first, mut second) = (Grouping::default(), Grouping::default());
            ["a", "b", "a", "c"].iter().for_each(|key| first.add(key));
            ["x", "x", "y", "x"].iter().for_each(|key| second.add(key));
            let mut builder = Builder::default();
            for (grouping, names) in [(first, ["one", "two", ""]), (second, ["two", "one", ""])] {
                builder.add(grouping.finish(), |_, group, name| {
                    name.push_str(names[group as usize]);
                    !name.is_empty()
                });
            }
            let blocks = builder.finish(|row| row as u64 * factor);
            assert!(blocks.names().iter().eq(["one", "two"]));
            assert_eq!(blocks.sizes().collect::<Vec<_>>(), [3, 4]);
            let members = |number| blocks.members(number).iter().map(|record| record / factor).collect();
            let found: [Vec<u64>; 2] = [members(0), members(1)];
            assert_eq!(found, [vec![0, 2, 2], vec![1, 0, 1, 3]]);
            let by_record = blocks.by_record();
            let found: Vec<_> = by_record.iter().map(|(record, blocks)| (record / factor, blocks)).collect();
            let expected: [(u64, &[u32]); 4] = [(0, &[0, 1]), (2, &[0, 0]), (1, &[1, 1]), (3, &[1])];
            assert_eq!(found, expected);
        }
    }
}
