//! Makes a change of a project.

use std::collections::HashMap;

use super::error::unavailable;
use super::{deleted, ledger, rows};
use crate::metadata::Error;
use crate::metadata::store::{Change, Commit, Runs};
use crate::model::{Contents, Party, ProjectId, ProjectState, Run, RunId};
use crate::system::sqlite;

/// Reads a project, calls `change`, and writes its result.
pub(super) fn update(
    connection: &sqlite::Change<'_>,
    id: ProjectId,
    runs: Runs,
    mut change: Change,
) -> Result<(), Error> {
    let before = rows::load(connection, id, runs)?;
    let Some(Commit { state, outbox, duties }) = change(before.clone()) else { return Ok(()) };
    rows::store(connection, id, before.as_ref(), state.as_ref())?;
    deleted::note(connection, before.as_ref(), state.as_ref())?;
    let mut insert =
        connection.prepare_cached("INSERT INTO outbox (body) VALUES (?1)").map_err(unavailable)?;
    for body in outbox {
        insert.execute([body]).map_err(unavailable)?;
    }
    ledger::add_duties(connection, &duties)?;
    if effaces(before.as_ref(), state.as_ref()) {
        connection.erases();
    }
    Ok(())
}

/// Returns true if a change removes data that must no longer be readable: a seed, keys, a run or a project.
fn effaces(before: Option<&ProjectState>, after: Option<&ProjectState>) -> bool {
    let Some(before) = before else { return false };
    let Some(after) = after else { return true };
    let keys = |party: &Party| match &party.contents {
        Contents::Fetching { keyring, .. } => !keyring.is_empty(),
        _ => false,
    };
    let used = before.parties.iter().zip(&after.parties).any(|(old, new)| keys(old) && old != new);
    let kept: HashMap<RunId, &Run> = after.runs.iter().map(|run| (run.id, run)).collect();
    used || before
        .runs
        .iter()
        .any(|old| kept.get(&old.id).is_none_or(|run| old.seed.is_some() && run.seed.is_none()))
}
