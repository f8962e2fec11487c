//! The rotation of the lanes with ready jobs. Families of groups take turns, and so do the lanes of a family.

use std::collections::{HashMap, VecDeque};

use crate::queue::Group;

/// The lanes of one queue and one priority that have ready jobs, in the order of their turns.
#[derive(Debug, Default)]
pub(in crate::queue::sled) struct Rotation {
    families: VecDeque<Group>,
    /// The lanes of each family, in the order of their turns.
    by_family: HashMap<Group, VecDeque<u32>>,
}

impl Rotation {
    /// Adds a lane after the others of its family, and the family after the others if it has no lane yet.
    pub(in crate::queue::sled) fn push_back(&mut self, family: &Group, lane: u32) {
        if let Some(lanes) = self.by_family.get_mut(family) {
            lanes.push_back(lane);
        } else {
            self.families.push_back(family.clone());
            self.by_family.insert(family.clone(), VecDeque::from([lane]));
        }
    }

    /// Returns the lane whose turn it is.
    pub(in crate::queue::sled) fn front(&self) -> Option<u32> {
        self.by_family.get(self.families.front()?)?.front().copied()
    }

    /// Removes the lane whose turn it is; the next turn belongs to another family.
    pub(in crate::queue::sled) fn pop_front(&mut self) -> Option<u32> {
        let family = self.families.pop_front()?;
        let lanes = self.by_family.get_mut(&family)?;
        let lane = lanes.pop_front();
        if lanes.is_empty() {
            self.by_family.remove(&family);
        } else {
            self.families.push_back(family);
        }
        lane
    }

    /// Removes a lane from any position.
    pub(in crate::queue::sled) fn remove(&mut self, family: &Group, lane: u32) {
        let Some(lanes) = self.by_family.get_mut(family) else { return };
        lanes.retain(|other| *other != lane);
        if lanes.is_empty() {
            self.by_family.remove(family);
            self.families.retain(|other| other != family);
        }
    }

    pub(in crate::queue::sled) fn is_empty(&self) -> bool {
        self.by_family.is_empty()
    }

    /// Returns all lanes, in no particular order.
    pub(in crate::queue::sled) fn iter(&self) -> impl Iterator<Item = u32> {
        self.by_family.values().flatten().copied()
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
