//! What was learnt and made of the encodings of a run, kept for its other parts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::linkage::similarity::{Sides, TuningCell};
use crate::model::RunId;

/// Runs that are remembered. One that was forgotten is learnt again, in some milliseconds.
const RUNS_MAX: usize = 64;

/// By run, the latest last.
#[derive(Debug, Default)]
pub(super) struct Tunings(Mutex<VecDeque<(RunId, Known)>>);

/// What is known of a run. The rows go with the last part in hand: they take memory.
#[derive(Debug, Default)]
struct Known {
    tuning: Arc<TuningCell>,
    sides: Weak<Sides>,
}

impl Tunings {
    /// What is known of a run, or places to keep it.
    pub(super) fn of(&self, run: RunId) -> (Arc<TuningCell>, Arc<Sides>) {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = runs.iter().position(|(known, _)| *known == run).unwrap_or_else(|| {
            if runs.len() == RUNS_MAX {
                runs.pop_front();
            }
            runs.push_back((run, Known::default()));
            runs.len() - 1
        });
        let known = &mut runs[known].1;
        let sides = known.sides.upgrade().unwrap_or_default();
        known.sides = Arc::downgrade(&sides);
        (Arc::clone(&known.tuning), sides)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_run_share_what_was_learnt_and_old_runs_are_forgotten() {
        let run = |number: usize| RunId::from_bytes([number as u8; 24]);
        let tunings = Tunings::default();
        let first = tunings.of(run(0)).0;
        assert!(Arc::ptr_eq(&first, &tunings.of(run(0)).0) && !Arc::ptr_eq(&first, &tunings.of(run(1)).0));
        for number in 0..=RUNS_MAX {
            tunings.of(run(number));
        }
        assert!(!Arc::ptr_eq(&first, &tunings.of(run(0)).0));
    }

    #[test]
    fn rows_are_kept_while_a_part_is_in_hand() {
        let run = RunId::from_bytes([1; 24]);
        let tunings = Tunings::default();
        let sides = tunings.of(run).1;
        assert!(Arc::ptr_eq(&sides, &tunings.of(run).1));
        let gone = Arc::downgrade(&sides);
        drop(sides);
        assert!(gone.upgrade().is_none());
    }
}
