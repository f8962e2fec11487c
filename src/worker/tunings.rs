//! What was learnt about the encodings of a run, kept for its other parts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::linkage::similarity::TuningCell;
use crate::model::RunId;

/// Runs that are remembered. One that was forgotten is learnt again, in some milliseconds.
const RUNS_MAX: usize = 64;

/// By run, the latest last.
#[derive(Debug, Default)]
pub(super) struct Tunings(Mutex<VecDeque<(RunId, Arc<TuningCell>)>>);

impl Tunings {
    /// What is known of a run, or a place to learn it.
    pub(super) fn of(&self, run: RunId) -> Arc<TuningCell> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, tuning)) = known.iter().find(|(known, _)| *known == run) {
            return Arc::clone(tuning);
        }
        if known.len() == RUNS_MAX {
            known.pop_front();
        }
        let tuning = Arc::default();
        known.push_back((run, Arc::clone(&tuning)));
        tuning
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_run_share_what_was_learnt_and_old_runs_are_forgotten() {
        let run = |number: usize| RunId::from_bytes([number as u8; 24]);
        let tunings = Tunings::default();
        let first = tunings.of(run(0));
        assert!(Arc::ptr_eq(&first, &tunings.of(run(0))) && !Arc::ptr_eq(&first, &tunings.of(run(1))));
        for number in 0..=RUNS_MAX {
            tunings.of(run(number));
        }
        assert!(!Arc::ptr_eq(&first, &tunings.of(run(0))));
    }
}
