//! The reference implementation of the solver, with which tests compare the faster ones.

use std::collections::HashMap;

use super::Record;
use crate::pairs::Pair;

/// Returns the groups of `pairs`, which are processed in the given order, duplicates included.
///
/// A pair of two records that occurred in no pair before makes a group. If only one of them is new, it joins the group
/// of the other if that is alone in it; otherwise it becomes a group of its own, and the pair is counted between the
/// two groups. Two groups merge when all possible pairs between them have been counted. Records in a group are sorted
/// by dataset, then record; groups by their first record. Groups of one record are left out.
pub fn by_definition(pairs: &[Pair]) -> Vec<Vec<Record>> {
    let mut state = Definition::default();
    for pair in pairs {
        let [a, b] = [0, 1].map(|side| Record { dataset: pair.datasets[side], index: pair.records[side] });
        state.see(a, b);
    }
    state.groups()
}

#[derive(Default)]
struct Definition {
    group_of: HashMap<Record, usize>,
    members: Vec<Vec<Record>>,
    /// The pairs counted between two groups; stored for both orders of the groups.
    seen: HashMap<(usize, usize), usize>,
}

impl Definition {
    fn see(&mut self, a: Record, b: Record) {
        match (self.group_of.get(&a).copied(), self.group_of.get(&b).copied()) {
            (None, None) => {
                self.open(vec![a, b]);
            }
            (Some(group), None) => self.meet(group, b),
            (None, Some(group)) => self.meet(group, a),
            (Some(g), Some(h)) if g != h => self.count(g, h),
            _ => {}
        }
    }

    fn open(&mut self, members: Vec<Record>) -> usize {
        self.group_of.extend(members.iter().map(|record| (*record, self.members.len())));
        self.members.push(members);
        self.members.len() - 1
    }

    fn meet(&mut self, group: usize, newcomer: Record) {
        if self.members[group].len() == 1 {
            self.members[group].push(newcomer);
            self.group_of.insert(newcomer, group);
        } else {
            let alone = self.open(vec![newcomer]);
            self.seen.insert((group, alone), 1);
            self.seen.insert((alone, group), 1);
        }
    }

    fn count(&mut self, g: usize, h: usize) {
        let seen = self.seen.get(&(g, h)).copied().unwrap_or(0) + 1;
        self.seen.insert((g, h), seen);
        self.seen.insert((h, g), seen);
        if seen >= self.members[g].len() * self.members[h].len() {
            self.merge(g, h);
        }
    }

    fn merge(&mut self, g: usize, h: usize) {
        let moved = std::mem::take(&mut self.members[h]);
        self.group_of.extend(moved.iter().map(|record| (*record, g)));
        self.members[g].extend(moved);
        for third in 0..self.members.len() {
            let Some(seen) = self.seen.remove(&(h, third)) else { continue };
            self.seen.remove(&(third, h));
            if third != g {
                *self.seen.entry((g, third)).or_default() += seen;
                *self.seen.entry((third, g)).or_default() += seen;
            }
        }
    }

    fn groups(self) -> Vec<Vec<Record>> {
        let mut groups: Vec<_> = self.members.into_iter().filter(|members| members.len() > 1).collect();
        for members in &mut groups {
            members.sort_unstable();
        }
        groups.sort_unstable();
        groups
    }
}
