//! Rotation: families take turns, and inside a family its lanes.

use std::collections::{HashMap, VecDeque};

use crate::queue::Group;

/// The lanes of one queue and one priority that have ready jobs, in the order of their turns.
#[derive(Debug, Default)]
pub(in crate::queue::sled) struct Rotation {
    families: VecDeque<Group>,
    /// None of these is empty.
    lanes: HashMap<Group, VecDeque<u32>>,
}

impl Rotation {
    /// Puts a lane behind the others of its family, and the family behind the others if it is new.
    pub(in crate::queue::sled) fn push_back(&mut self, family: &Group, lane: u32) {
        if let Some(lanes) = self.lanes.get_mut(family) {
            lanes.push_back(lane);
        } else {
            self.families.push_back(family.clone());
            self.lanes.insert(family.clone(), VecDeque::from([lane]));
        }
    }

    /// The lane whose turn it is.
    pub(in crate::queue::sled) fn front(&self) -> Option<u32> {
        self.lanes.get(self.families.front()?)?.front().copied()
    }

    /// Takes out the lane whose turn it is; the next turn is another family's.
    pub(in crate::queue::sled) fn pop_front(&mut self) -> Option<u32> {
        let family = self.families.pop_front()?;
        let lanes = self.lanes.get_mut(&family)?;
        let lane = lanes.pop_front();
        if lanes.is_empty() {
            self.lanes.remove(&family);
        } else {
            self.families.push_back(family);
        }
        lane
    }

    /// Takes out a lane, wherever it is.
    pub(in crate::queue::sled) fn remove(&mut self, family: &Group, lane: u32) {
        let Some(lanes) = self.lanes.get_mut(family) else { return };
        lanes.retain(|other| *other != lane);
        if lanes.is_empty() {
            self.lanes.remove(family);
            self.families.retain(|other| other != family);
        }
    }

    pub(in crate::queue::sled) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// All lanes, in no particular order.
    pub(in crate::queue::sled) fn iter(&self) -> impl Iterator<Item = u32> {
        self.lanes.values().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_of_many_lanes_has_one_turn_in_each_round() {
        let (large, small) = (Group::from("large"), Group::from("small"));
        let mut turns = Rotation::default();
        (0..3).for_each(|lane| turns.push_back(&large, lane));
        turns.push_back(&small, 10);
        turns.push_back(&small, 11);
        assert_eq!(turns.front(), Some(0));
        let taken: Vec<u32> = std::iter::from_fn(|| turns.pop_front()).collect();
        assert_eq!(taken, [0, 10, 1, 11, 2]);
        assert!(turns.is_empty());
    }

    #[test]
    fn a_lane_that_is_taken_out_leaves_no_turn_behind() {
        let group = Group::from("group");
        let mut turns = Rotation::default();
        turns.push_back(&group, 1);
        turns.push_back(&Group::from("other"), 2);
        turns.remove(&group, 1);
        assert_eq!(turns.iter().collect::<Vec<_>>(), [2]);
        assert_eq!((turns.pop_front(), turns.pop_front()), (Some(2), None));
    }
}
