//! Determines the tombstones of a change.

use crate::model::{ProjectState, Run, RunState, Tombstone};

/// Returns the tombstones of the deletions and failures in a change, each with true if it is late: an upload was
/// arriving, which may still leave objects until the process ends.
pub(super) fn of_change(
    before: Option<&ProjectState>,
    after: Option<&ProjectState>,
) -> Vec<(Tombstone, bool)> {
    match (before, after) {
        (Some(before), None) => {
            let late = before.parties.iter().any(|party| party.uploading);
            vec![(Tombstone::of_project(before.id), late)]
        }
        (Some(before), Some(after)) => {
            let gone = runs_gone(before, after).chain(uploads_gone(before, after));
            gone.map(|tombstone| (tombstone, false)).collect()
        }
        (None, _) => Vec::new(),
    }
}

fn runs_gone(before: &ProjectState, after: &ProjectState) -> impl Iterator<Item = Tombstone> {
    let has_failed = |state: &RunState| matches!(state, RunState::Failed { .. });
    let is_gone = move |run: &&Run| {
        after.run(run.id).is_none_or(|now| has_failed(&now.state) && !has_failed(&run.state))
    };
    before.runs.iter().filter(is_gone).map(|run| Tombstone::of_run(run.id))
}

fn uploads_gone(before: &ProjectState, after: &ProjectState) -> impl Iterator<Item = Tombstone> {
    (0..).zip(before.parties.iter().zip(&after.parties)).flat_map(move |(index, (then, now))| {
        let gone = then.used().filter(|upload| !now.uses(*upload));
        gone.map(move |upload| Tombstone::of_upload(before.id, index, upload))
    })
}
