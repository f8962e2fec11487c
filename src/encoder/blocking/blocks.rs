//! Blocks and the records in them.

use std::collections::HashMap;

use super::batch::BATCH;
use super::grouping::Groups;
use super::key::Keys;
use super::names::Names;
use super::numbering::Numbering;
use super::texts::{List, Texts};

/// Stands for the group of a row that is in no block.
const NONE: u32 = u32::MAX;

/// Blocks with their records, in order of creation.
#[derive(Debug)]
pub struct Blocks {
    names: Names,
    /// The number of records in each block.
    sizes: Vec<usize>,
    /// The block of each group. Groups of all groupings are numbered together, without those that are in no block.
    of_groups: Vec<u32>,
    /// For each grouping, the group of each row, or [`NONE`].
    groupings: Vec<Vec<u32>>,
    /// The record numbers of the rows; empty if they are the numbers of the rows.
    records: Vec<u64>,
}

/// Blocks under construction.
pub(super) struct Builder<L> {
    names: Numbering<L>,
    sizes: Vec<usize>,
    of_groups: Vec<u32>,
    groupings: Vec<Vec<u32>>,
}

impl<L: List> Builder<L> {
    /// Adds names to an empty list, and makes room for `room` of them.
    pub(super) fn new(names: L, room: usize) -> Self {
        Self {
            names: Numbering::new(names, room),
            sizes: Vec::with_capacity(room),
            of_groups: Vec::with_capacity(room),
            groupings: Vec::new(),
        }
    }

    /// Adds groups of rows. Those become blocks whose size is one that `keeps` accepts. `name` appends the numbers of the names of
    /// several groups. Groups with the same block name share a block.
    pub(super) fn add(
        &mut self,
        groups: Groups,
        mut keeps: impl FnMut(usize) -> bool,
        mut name: impl FnMut(&Keys, &[u32], &mut Numbering<L>, &mut Vec<u32>),
    ) {
        // The size of a group is replaced by its place among the groups of all groupings.
        let Groups { keys, sizes: mut places, mut rows } = groups;
        let mut kept = Vec::with_capacity(BATCH);
        for start in (0..places.len()).step_by(BATCH) {
            let end = places.len().min(start + BATCH);
            kept.clear();
            kept.extend((start as u32..end as u32).filter(|group| keeps(places[*group as usize] as usize)));
            let first = self.of_groups.len();
            name(&keys, &kept, &mut self.names, &mut self.of_groups);
            self.sizes.resize(self.names.list().len(), 0);
            for (block, group) in self.of_groups[first..].iter().zip(&kept) {
                self.sizes[*block as usize] += places[*group as usize] as usize;
            }
            places[start..end].fill(NONE);
            kept.iter().zip(first as u32..).for_each(|(group, place)| places[*group as usize] = place);
        }
        rows.iter_mut().for_each(|row| *row = places[*row as usize]);
        self.groupings.push(rows);
    }

    /// Returns the blocks. `records` has the record number of each row; it is empty if this is the number of the row.
    pub(super) fn finish(self, records: Vec<u64>, names: impl FnOnce(L) -> Names) -> Blocks {
        let Self { names: numbering, sizes, of_groups, groupings } = self;
        Blocks { names: names(numbering.into_list()), sizes, of_groups, groupings, records }
    }
}

impl Blocks {
    /// The number of records in each block.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// Returns whether there are no blocks.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Gives each block another name.
    pub fn rename(&mut self, name: impl Fn(&[u8]) -> String) {
        let (mut names, mut old) = (Texts::default(), Vec::new());
        for number in 0..self.names.len() {
            old.clear();
            self.names.write(number, &mut old);
            names.push(name(&old).as_bytes());
        }
        self.names = Names::Texts(names);
    }

    /// The names of the blocks.
    pub const fn names(&self) -> &Names {
        &self.names
    }

    /// Returns the blocks of each record.
    pub fn by_record(&self) -> ByRecord<'_> {
        let rows = self.groupings.first().map_or(0, Vec::len);
        let records = Records::new(rows, &self.records);
        // Where each record occurs first: the block in the upper half, and the group in it.
        let place = |group: u32| u64::from(self.of_groups[group as usize]) << 32 | u64::from(group);
        let mut firsts = vec![u64::MAX; records.len()];
        self.entries().for_each(|(row, group)| {
            let first = &mut firsts[records.of(row)];
            *first = place(group).min(*first);
        });
        let mut starts = vec![0; self.names.len()];
        let mut places = vec![0; self.of_groups.len()];
        for first in firsts.iter().filter(|first| **first != u64::MAX) {
            starts[(first >> 32) as usize] += 1;
            places[*first as u32 as usize] += 1;
        }
        let mut covered = 0_u32;
        starts.iter_mut().for_each(|start| covered += std::mem::replace(start, covered));
        // From the number of records that occur first in a group to the place of the next of them.
        for (place, block) in places.iter_mut().zip(&self.of_groups) {
            let start = &mut starts[*block as usize];
            *start += std::mem::replace(place, *start);
        }
        let mut order = vec![0; covered as usize];
        self.entries().for_each(|(row, group)| {
            let record = records.of(row);
            if firsts[record] as u32 == group {
                let place = &mut places[group as usize];
                order[*place as usize] = record as u32;
                *place += 1;
                firsts[record] = u64::MAX;
            }
        });
        ByRecord { blocks: self, records, order }
    }

    /// The rows of all groupings that are in a block, each with its group.
    fn entries(&self) -> impl Iterator<Item = (usize, u32)> {
        let rows = self.groupings.iter().flat_map(|rows| rows.iter().copied().enumerate());
        rows.filter(|(_, group)| *group != NONE)
    }
}

/// The blocks of each record.
pub struct ByRecord<'a> {
    blocks: &'a Blocks,
    records: Records,
    /// The records that are in a block, in the order in which they first occur in the blocks.
    order: Vec<u32>,
}

impl ByRecord<'_> {
    /// The number of records that are in a block.
    pub const fn len(&self) -> usize {
        self.order.len()
    }

    /// Returns whether no record is in a block.
    pub const fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Calls `each` with each record number and the numbers of its blocks, in ascending order, until it fails.
    pub fn try_for_each<E>(&self, mut each: impl FnMut(u64, &[u32]) -> Result<(), E>) -> Result<(), E> {
        let (mut blocks, mut ends) = (Vec::new(), Vec::new());
        for records in self.order.chunks(BATCH) {
            blocks.clear();
            ends.clear();
            for record in records {
                let mut number = 0;
                self.records.for_each_row(*record, |row| {
                    number = self.blocks.records.get(row).copied().unwrap_or(row as u64);
                    for rows in &self.blocks.groupings {
                        if rows[row] != NONE {
                            blocks.push(rows[row]);
                        }
                    }
                });
                ends.push((number, blocks.len()));
            }
            blocks.iter_mut().for_each(|group| *group = self.blocks.of_groups[*group as usize]);
            self.blocks.names.touch(&blocks);
            let mut start = 0;
            for (number, end) in &ends {
                blocks[start..*end].sort_unstable();
                each(*number, &blocks[start..*end])?;
                start = *end;
            }
        }
        Ok(())
    }
}

/// The rows of each record. Several rows may have the same record number.
enum Records {
    /// Each row is a record.
    Rows(usize),
    Numbered {
        /// The record of each row.
        of_rows: Vec<u32>,
        /// The rows in the order of their records, and the end of each record's rows.
        rows: Vec<u32>,
        ends: Vec<usize>,
    },
}

impl Records {
    fn new(rows: usize, numbers: &[u64]) -> Self {
        if numbers.is_empty() {
            return Self::Rows(rows);
        }
        let mut known = HashMap::new();
        let mut of = |number: &u64| {
            let next = known.len() as u32;
            *known.entry(*number).or_insert(next)
        };
        let of_rows: Vec<u32> = numbers.iter().map(&mut of).collect();
        let mut rows: Vec<u32> = (0..of_rows.len() as u32).collect();
        rows.sort_by_key(|row| of_rows[*row as usize]);
        let mut ends = vec![0; known.len()];
        rows.iter().enumerate().for_each(|(at, row)| ends[of_rows[*row as usize] as usize] = at + 1);
        Self::Numbered { of_rows, rows, ends }
    }

    /// The number of records.
    const fn len(&self) -> usize {
        match self {
            Self::Rows(rows) => *rows,
            Self::Numbered { ends, .. } => ends.len(),
        }
    }

    /// Returns the record of a row.
    fn of(&self, row: usize) -> usize {
        match self {
            Self::Rows(_) => row,
            Self::Numbered { of_rows, .. } => of_rows[row] as usize,
        }
    }

    fn for_each_row(&self, record: u32, mut each: impl FnMut(usize)) {
        match self {
            Self::Rows(_) => each(record as usize),
            Self::Numbered { rows, ends, .. } => {
                let record = record as usize;
                let start = record.checked_sub(1).map_or(0, |before| ends[before]);
                rows[start..ends[record]].iter().for_each(|row| each(*row as usize));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::grouping::Grouping;
    use super::super::key::Writer;
    use super::*;

    fn grouping(keys: [&str; 4]) -> Grouping {
        let mut grouping = Grouping::new();
        keys.iter().for_each(|key| grouping.add(Writer::of(key.as_bytes()).key()));
        grouping
    }

    #[test]
    fn records_of_a_block_are_ordered_by_group() {
        let mut builder = Builder::new(Texts::default(), 0);
        builder.add(
            grouping(["a", "b", "a", "c"]).finish(),
            |_| true,
            |_, groups, list, numbers| {
                let names: [&[u8]; 3] = [b"one", b"one", b"two"];
                list.number_all(groups.iter().map(|group| names[*group as usize]), numbers);
            },
        );
        let blocks = builder.finish(Vec::new(), Names::Texts);
        let mut records = Vec::new();
        let added = blocks.by_record().try_for_each(|record, _| {
            records.push(record);
            Ok::<_, ()>(())
        });
        assert_eq!((added, records), (Ok(()), vec![0, 2, 1, 3]));
    }

    #[test]
    fn groups_of_one_name_are_a_block_and_records_have_their_blocks_in_order() {
        let block = |records: Vec<u64>| {
            let (first, second) = (grouping(["a", "b", "a", "c"]), grouping(["x", "x", "y", "x"]));
            let mut builder = Builder::new(Texts::default(), 0);
            for (grouping, names) in [(first, ["one", "two", ""]), (second, ["two", "one", ""])] {
                let mut kept = names.iter().map(|name| !name.is_empty());
                let keeps = |_| kept.next() == Some(true);
                builder.add(grouping.finish(), keeps, |_, groups, list, numbers| {
                    let names = groups.iter().map(|group| names[*group as usize].as_bytes());
                    list.number_all(names, numbers);
                });
            }
            let blocks = builder.finish(records, Names::Texts);
            let mut names = Vec::new();
            (0..2).for_each(|number| blocks.names().write(number, &mut names));
            assert_eq!((blocks.names().len(), names), (2, b"onetwo".to_vec()));
            assert_eq!(blocks.sizes(), [3, 4]);
            let mut found = Vec::new();
            let added = blocks.by_record().try_for_each(|record, blocks| {
                found.push((record, blocks.to_vec()));
                Ok::<_, ()>(())
            });
            assert!(added.is_ok());
            found
        };
        let expected = [(0, vec![0, 1]), (2, vec![0, 0]), (1, vec![1, 1]), (3, vec![1])];
        assert_eq!(block(Vec::new()), expected);
        let large = |(record, blocks): &(u64, Vec<u32>)| (record << 40, blocks.clone());
        assert_eq!(block(vec![0, 1 << 40, 2 << 40, 3 << 40]), expected.each_ref().map(large));
        // Rows 1 and 2 are one record.
        assert_eq!(block(vec![9, 7, 7, 5]), [(9, vec![0, 1]), (7, vec![0, 0, 1, 1]), (5, vec![1])]);
    }
}
