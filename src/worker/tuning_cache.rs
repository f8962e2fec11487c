//! What was learnt and made of the encodings of a run, kept for its other parts.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::dataset_cache::{OpenDataset, OpenDatasets};
use crate::linkage::similarity::{Sides, TuningCell};
use crate::model::RunId;

/// Runs that are remembered. One that was forgotten is learnt again, in some milliseconds.
const RUNS_MAX: usize = 64;

/// By run, the latest last.
#[derive(Debug, Default)]
pub(super) struct TuningCache(Mutex<VecDeque<(RunId, RunEntry)>>);

/// What is known of a run.
#[derive(Debug, Default)]
struct RunEntry {
    tuning: Arc<TuningCell>,
    sides: Vec<SharedSides>,
}

/// Rows that were brought into order. They go with the last part in hand: they take memory.
#[derive(Debug, Default)]
struct SharedSides {
    sides: Weak<Sides>,
    /// By dataset, where the rows are from. A dataset that is opened again is another one: rows of the old one may be
    /// zeros that were read in the place of a file that was cut, and only those who read them know.
    of: BTreeMap<u32, Weak<OpenDataset>>,
}

impl SharedSides {
    /// Whether the rows of these datasets, as far as there are some, are from the same volumes.
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
    /// What is known of a run, or places to keep it. The rows are those of these volumes.
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
