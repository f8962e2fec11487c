//! Jobs in memory: two bytes each, in the same segments as on the disk.

use std::collections::BTreeMap;
use std::num::NonZeroU8;

use super::super::engine::layout::Marks;
use crate::runtime::clock::Timestamp;

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::queue::sled) enum State {
    Ready,
    Delayed,
    Held,
    /// Acknowledged, cancelled or dead.
    Gone,
}

/// A job in memory.
#[derive(Clone, Copy, Debug)]
pub(in crate::queue::sled) struct Slot {
    pub(in crate::queue::sled) state: State,
    pub(in crate::queue::sled) attempts: u8,
}

/// The position of a job: the segment's index in [`Segments`] and the slot in it. Valid while the job lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::queue::sled) struct Place {
    pub(in crate::queue::sled) segment: u32,
    pub(in crate::queue::sled) slot: u16,
}

/// Consecutive slots of one lane.
#[derive(Clone, Copy, Debug)]
pub(in crate::queue::sled) struct Run {
    pub(in crate::queue::sled) first: u16,
    pub(in crate::queue::sled) count: u16,
    pub(in crate::queue::sled) lane: u32,
    pub(in crate::queue::sled) attempts_max: NonZeroU8,
}

impl Run {
    pub(in crate::queue::sled) fn slots(&self) -> std::ops::Range<u16> {
        self.first..self.first + self.count
    }
}

/// A segment in memory.
#[derive(Debug)]
pub(in crate::queue::sled) struct Segment {
    /// The number of the segment on the disk, which is never reused.
    pub(in crate::queue::sled) key: u64,
    pub(in crate::queue::sled) enqueued: Timestamp,
    /// The number of jobs that have not been removed.
    pub(in crate::queue::sled) live: u16,
    /// True if the marks on the disk are out of date.
    pub(in crate::queue::sled) dirty: bool,
    /// True if the disk has marks for the segment.
    pub(in crate::queue::sled) marked: bool,
    pub(in crate::queue::sled) runs: Box<[Run]>,
    pub(in crate::queue::sled) slots: Box<[Slot]>,
}

impl Segment {
    /// Returns the run to which a slot belongs.
    pub(in crate::queue::sled) fn run_of(&self, slot: u16) -> Run {
        let after = self.runs.partition_point(|run| run.first <= slot);
        self.runs[after - 1]
    }

    /// Returns the marks to store; `delay` returns the end of the delay of a slot.
    pub(in crate::queue::sled) fn marks(&self, delay: impl Fn(u16) -> Timestamp) -> Marks {
        let mut marks = Marks { gone: vec![0; self.slots.len().div_ceil(8)], ..Marks::default() };
        for (number, slot) in (0..).zip(&self.slots) {
            match slot.state {
                State::Gone => marks.gone[usize::from(number / 8)] |= 1 << (number % 8),
                State::Delayed => marks.delays.push((number, delay(number))),
                State::Ready | State::Held => {}
            }
            if slot.state != State::Gone && slot.attempts > 0 {
                marks.attempts.push((number, slot.attempts));
            }
        }
        marks
    }
}

/// All segments with a living job.
#[derive(Debug, Default)]
pub(in crate::queue::sled) struct Segments {
    entries: Vec<Option<Segment>>,
    free: Vec<u32>,
    by_key: BTreeMap<u64, u32>,
}

impl Segments {
    pub(in crate::queue::sled) fn insert(&mut self, segment: Segment) -> u32 {
        let key = segment.key;
        let index = if let Some(index) = self.free.pop() {
            self.entries[index as usize] = Some(segment);
            index
        } else {
            self.entries.push(Some(segment));
            u32::try_from(self.entries.len() - 1).expect("there are fewer segments than that")
        };
        self.by_key.insert(key, index);
        index
    }

    pub(in crate::queue::sled) fn remove(&mut self, index: u32) {
        if let Some(segment) = self.entries[index as usize].take() {
            self.by_key.remove(&segment.key);
            self.free.push(index);
        }
    }

    /// Returns the index of the segment with this number on the disk.
    pub(in crate::queue::sled) fn find(&self, key: u64) -> Option<u32> {
        self.by_key.get(&key).copied()
    }

    pub(in crate::queue::sled) fn get(&self, index: u32) -> &Segment {
        self.entries[index as usize].as_ref().expect("places point at segments that are there")
    }

    pub(in crate::queue::sled) fn get_mut(&mut self, index: u32) -> &mut Segment {
        self.entries[index as usize].as_mut().expect("places point at segments that are there")
    }

    /// Returns the segment at `index` with this tag; `None` if another segment is there now.
    pub(in crate::queue::sled) fn get_if(&self, index: u32, tag: u32) -> Option<&Segment> {
        self.entries[index as usize].as_ref().filter(|segment| tag_of(segment.key) == tag)
    }

    pub(in crate::queue::sled) fn slot(&self, place: Place) -> Slot {
        self.get(place.segment).slots[usize::from(place.slot)]
    }

    pub(in crate::queue::sled) fn slot_mut(&mut self, place: Place) -> &mut Slot {
        &mut self.get_mut(place.segment).slots[usize::from(place.slot)]
    }

    /// Returns the segments from this number on, in the order of their numbers, with their indexes.
    pub(in crate::queue::sled) fn starting_at(&self, key: u64) -> impl Iterator<Item = (u32, &Segment)> {
        self.by_key.range(key..).map(|(_, index)| (*index, self.get(*index)))
    }

    /// Returns the segments with their indexes.
    pub(in crate::queue::sled) fn iter(&self) -> impl Iterator<Item = (u32, &Segment)> {
        (0..).zip(&self.entries).filter_map(|(index, entry)| Some((index, entry.as_ref()?)))
    }
}

/// Returns a tag, which distinguishes a segment from an earlier one at the same index.
pub(in crate::queue::sled) const fn tag_of(key: u64) -> u32 {
    key as u32
}
