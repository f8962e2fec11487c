//! What was learnt and made of the encodings of a run, kept for its other parts.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::dataset_cache::{Volume, Volumes};
use crate::linkage::similarity::{Sides, TuningCell};
use crate::model::RunId;

/// Runs that are remembered. One that was forgotten is learnt again, in some milliseconds.
const RUNS_MAX: usize = 64;

/// By run, the latest last.
#[derive(Debug, Default)]
pub(super) struct Tunings(Mutex<VecDeque<(RunId, Known)>>);

/// What is known of a run.
#[derive(Debug, Default)]
struct Known {
    tuning: Arc<TuningCell>,
    sides: Vec<Kept>,
}

/// Rows that were brought into order. They go with the last part in hand: they take memory.
#[derive(Debug, Default)]
struct Kept {
    sides: Weak<Sides>,
    /// By dataset, where the rows are from. A dataset that is opened again is another one: rows of the old one may be
    /// zeros that were read in the place of a file that was cut, and only those who read them know.
    of: BTreeMap<u32, Weak<Volume>>,
}

impl Kept {
    /// Whether the rows of these datasets, as far as there are some, are from the same volumes.
    fn suits(&self, volumes: &Volumes) -> bool {
        let same = |dataset, volume| {
            self.of.get(dataset).is_none_or(|kept| Weak::as_ptr(kept) == Arc::as_ptr(volume))
        };
        volumes.iter().all(|(dataset, volume)| same(dataset, volume))
    }
}

impl Known {
    fn sides(&mut self, volumes: &Volumes) -> Arc<Sides> {
        self.sides.retain(|kept| kept.sides.strong_count() > 0);
        let at = self.sides.iter().position(|kept| kept.suits(volumes)).unwrap_or_else(|| {
            self.sides.push(Kept::default());
            self.sides.len() - 1
        });
        let kept = &mut self.sides[at];
        kept.of.extend(volumes.iter().map(|(dataset, volume)| (*dataset, Arc::downgrade(volume))));
        let sides = kept.sides.upgrade().unwrap_or_default();
        kept.sides = Arc::downgrade(&sides);
        sides
    }
}

impl Tunings {
    /// What is known of a run, or places to keep it. The rows are those of these volumes.
    pub(super) fn of(&self, run: RunId, volumes: &Volumes) -> (Arc<TuningCell>, Arc<Sides>) {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = runs.iter().position(|(known, _)| *known == run).unwrap_or_else(|| {
            if runs.len() == RUNS_MAX {
                runs.pop_front();
            }
            runs.push_back((run, Known::default()));
            runs.len() - 1
        });
        let known = &mut runs[known].1;
        (Arc::clone(&known.tuning), known.sides(volumes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_run_share_what_was_learnt_and_old_runs_are_forgotten() {
        let run = |number: usize| RunId::from_bytes([number as u8; 24]);
        let tunings = Tunings::default();
        let of = |number| tunings.of(run(number), &Volumes::new()).0;
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
        let tunings = Tunings::default();
        let volumes = Volumes::new();
        let sides = tunings.of(run, &volumes).1;
        assert!(Arc::ptr_eq(&sides, &tunings.of(run, &volumes).1));
        let gone = Arc::downgrade(&sides);
        drop(sides);
        assert!(gone.upgrade().is_none());
    }
}
