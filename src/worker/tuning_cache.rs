//! A cache of the tuning and the packed rows of runs, which their compare jobs share.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};

use linkage::similarity::{Sides, TuningCell};
use parking_lot::Mutex;

use super::dataset_cache::{OpenDataset, OpenDatasets};
use crate::model::RunId;

/// The maximum number of runs in the cache. Tuning a run again takes tens of milliseconds.
const RUNS_MAX: usize = 64;

/// The cached runs, the most recently used last.
#[derive(Debug, Default)]
pub(super) struct TuningCache(Mutex<VecDeque<(RunId, RunEntry)>>);

/// The tuning and the packed rows of a run.
#[derive(Debug, Default)]
struct RunEntry {
    tuning: Arc<TuningCell>,
    sides: Vec<SharedSides>,
}

/// Packed rows. They are dropped with the last job that uses them, since they take much memory.
#[derive(Debug, Default)]
struct SharedSides {
    sides: Weak<Sides>,
    /// The open datasets from which the rows were packed, by dataset index. Rows of an earlier opening may be zeros
    /// that were read from a truncated file, which only the jobs that read them detect.
    of: BTreeMap<u32, Weak<OpenDataset>>,
}

impl SharedSides {
    /// Returns true if no rows were packed from another opening of these datasets.
    fn suits(&self, datasets: &OpenDatasets) -> bool {
        let same = |number, dataset| {
            self.of.get(number).is_none_or(|shared| Weak::as_ptr(shared) == Arc::as_ptr(dataset))
        };
        datasets.iter().all(|(number, dataset)| same(number, dataset))
    }
}

impl RunEntry {
    fn sides(&mut self, datasets: &OpenDatasets) -> Arc<Sides> {
        self.sides.retain(|shared| shared.sides.strong_count() > 0);
        let at = self.sides.iter().position(|shared| shared.suits(datasets)).unwrap_or_else(|| {
            self.sides.push(SharedSides::default());
            self.sides.len() - 1
        });
        let shared = &mut self.sides[at];
        shared.of.extend(datasets.iter().map(|(number, dataset)| (*number, Arc::downgrade(dataset))));
        let sides = shared.sides.upgrade().unwrap_or_default();
        shared.sides = Arc::downgrade(&sides);
        sides
    }
}

impl TuningCache {
    /// Returns the tuning and the packed rows of a run, both empty at first. Packed rows are always from `datasets`.
    pub(super) fn of(&self, run: RunId, datasets: &OpenDatasets) -> (Arc<TuningCell>, Arc<Sides>) {
        let mut runs = self.0.lock();
        let at = runs.iter().position(|(known, _)| *known == run).unwrap_or_else(|| {
            if runs.len() == RUNS_MAX {
                runs.pop_front();
            }
            runs.push_back((run, RunEntry::default()));
            runs.len() - 1
        });
        let entry = &mut runs[at].1;
        (Arc::clone(&entry.tuning), entry.sides(datasets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_run_share_what_was_learnt_and_old_runs_are_forgotten() {
        let run = |number: usize| RunId::from_bytes([number as u8; 24]);
        let tuning_cache = TuningCache::default();
        let of = |number| tuning_cache.of(run(number), &OpenDatasets::new()).0;
        let first = of(0);
        assert!(Arc::ptr_eq(&first, &of(0)) && !Arc::ptr_eq(&first, &of(1)));
        for number in 0..=RUNS_MAX {
            of(number);
        }
        assert!(!Arc::ptr_eq(&first, &of(0)));
    }

    #[test]
    fn rows_are_kept_while_a_part_is_in_hand() {
        let run = RunId::from_bytes([1; 24]);
        let tuning_cache = TuningCache::default();
        let datasets = OpenDatasets::new();
        let sides = tuning_cache.of(run, &datasets).1;
        assert!(Arc::ptr_eq(&sides, &tuning_cache.of(run, &datasets).1));
        let gone = Arc::downgrade(&sides);
        drop(sides);
        assert!(gone.upgrade().is_none());
    }
}
