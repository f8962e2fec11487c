//! The solution: disjoint groups of records.

use super::datasets::{Datasets, Record};

/// Disjoint groups of at least two records, at most one of each dataset. Takes four bytes for each record of input.
#[derive(Clone, Debug)]
pub struct Groups {
    pub(super) datasets: Datasets,
    /// The next record of the same group, as a ring; the record itself if it is alone.
    pub(super) ring: Vec<u32>,
}

impl Groups {
    /// Returns groups in which every record is alone.
    pub(super) fn none(datasets: Datasets) -> Self {
        let ring = (0..datasets.records()).collect();
        Self { datasets, ring }
    }

    /// Merges the groups of `a` and `b`, which must be different.
    #[inline]
    pub(super) fn join(&mut self, a: u32, b: u32) {
        self.ring.swap(a as usize, b as usize);
    }

    /// Returns all records of the group of `start`, beginning there.
    pub(super) fn members(&self, start: u32) -> impl Iterator<Item = u32> {
        let mut next = Some(start);
        std::iter::from_fn(move || {
            let member = next?;
            next = Some(self.ring[member as usize]).filter(|after| *after != start);
            Some(member)
        })
    }

    /// Returns the first record of each group, in canonical order.
    pub(super) fn firsts(&self) -> impl Iterator<Item = u32> {
        (0..self.datasets.records()).filter(|first| {
            self.ring[*first as usize] != *first && self.members(*first).all(|member| member >= *first)
        })
    }

    /// Calls `visit` with each group in canonical order: records by dataset, then index; groups by their first record.
    /// Returns the first error.
    pub fn try_for_each<E>(&self, mut visit: impl FnMut(&[Record]) -> Result<(), E>) -> Result<(), E> {
        let mut group = Vec::new();
        for first in self.firsts() {
            group.clear();
            group.extend(self.members(first).map(|member| self.datasets.record(member)));
            group.sort_unstable();
            visit(&group)?;
        }
        Ok(())
    }

    /// Returns every group in canonical order. For small solutions and tests.
    pub fn to_vec(&self) -> Vec<Vec<Record>> {
        let mut groups = Vec::new();
        let kept: Result<(), std::convert::Infallible> = self.try_for_each(|group| {
            groups.push(group.to_vec());
            Ok(())
        });
        let Ok(()) = kept;
        groups
    }

    /// Returns the number of records in each dataset, grouped or not.
    pub fn dataset_sizes(&self) -> impl Iterator<Item = u32> {
        (0..self.datasets.count()).map(|dataset| self.datasets.size(dataset))
    }
}
