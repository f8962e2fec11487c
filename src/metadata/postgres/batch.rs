//! Combines the waiting changes of one project: they are applied one after the other in memory, and stored in one
//! transaction.

use std::collections::{BTreeMap, HashMap, HashSet};

use tokio::sync::oneshot;

use super::rows::{self, Needed};
use super::statement::Statement;
use crate::metadata::store::{Change, Commit, Error, Runs};
use crate::metadata::{records, tombstones};
use crate::model::{ProjectId, ProjectState, Run, RunId, Tombstone};

/// A change that waits for its transaction.
pub(super) struct Pending {
    pub(super) runs: Runs,
    pub(super) change: Change,
    pub(super) done: oneshot::Sender<Result<(), Error>>,
}

/// Returns the runs that any of the changes needs.
pub(super) fn needed(batch: &[Pending]) -> Needed {
    let mut needed = Needed::default();
    batch.iter().for_each(|pending| needed.add(pending.runs));
    needed
}

/// Applies all changes in order, and returns the statements that store the result; an empty list if nothing changes.
pub(super) fn decide(id: ProjectId, before: Option<&ProjectState>, batch: &mut [Pending]) -> Vec<Statement> {
    let mut decided = Decided { current: before.cloned(), ..Decided::default() };
    for pending in batch {
        decided.apply(pending.runs, &mut pending.change);
    }
    decided.statements(id, before)
}

/// The state after some of the changes.
#[derive(Default)]
struct Decided {
    current: Option<ProjectState>,
    is_changed: bool,
    was_deleted: bool,
    outbox: Vec<String>,
    duties: BTreeMap<String, String>,
    /// The tombstones, each with true if it is late.
    tombstones: HashMap<[u8; 32], bool>,
    rate: Option<i64>,
}

impl Decided {
    fn apply(&mut self, runs: Runs, change: &mut Change) {
        let view = self.current.as_ref().map(|state| visible(state, runs));
        let Some(Commit { state, outbox, duties }) = change(view.clone()) else { return };
        self.is_changed = true;
        self.outbox.extend(outbox);
        self.duties.extend(duties.into_iter().map(|duty| (duty.name, duty.body)));
        let gone = tombstones::of_change(view.as_ref(), state.as_ref());
        self.tombstones.extend(gone.iter().map(|(tombstone, late)| (*Tombstone::as_bytes(tombstone), *late)));
        let ended: HashSet<RunId> =
            view.iter().flat_map(|view| &view.runs).filter(|run| run.has_ended()).map(|run| run.id).collect();
        let new = state.iter().flat_map(|state| &state.runs).filter(|run| !ended.contains(&run.id));
        self.rate = new.filter_map(records::rate).next_back().or(self.rate);
        self.was_deleted |= state.is_none() && self.current.is_some();
        self.current = state.map(|state| merged(self.current.take(), view.as_ref(), state));
    }

    fn statements(self, id: ProjectId, before: Option<&ProjectState>) -> Vec<Statement> {
        if !self.is_changed {
            return Vec::new();
        }
        let mut statements = Vec::new();
        if self.was_deleted {
            statements.extend(rows::store(id, before, None));
        }
        let before = before.filter(|_| !self.was_deleted);
        if let Some(after) = &self.current {
            statements.extend(rows::store(id, before, Some(after)));
        }
        if !self.tombstones.is_empty() {
            statements.push(tombstones_to_add(self.tombstones));
        }
        if let Some(rate) = self.rate {
            let note = "INSERT INTO entityd.rate (comparisons_per_second) VALUES ($1)
                        ON CONFLICT (single) DO UPDATE SET comparisons_per_second = excluded.comparisons_per_second";
            statements.push(Statement::new(note, [rate.into()]));
        }
        if !self.outbox.is_empty() {
            let append = "INSERT INTO entityd.outbox (body)
                          SELECT body FROM unnest($1) WITH ORDINALITY AS new (body, place) ORDER BY place";
            statements.push(Statement::new(append, [self.outbox.into()]));
        }
        if !self.duties.is_empty() {
            let (names, bodies): (Vec<_>, Vec<_>) = self.duties.into_iter().unzip();
            let add = "INSERT INTO entityd.duties (name, body) SELECT * FROM unnest($1, $2)
                       ON CONFLICT (name) DO UPDATE SET body = excluded.body";
            statements.push(Statement::new(add, [names.into(), bodies.into()]));
        }
        statements
    }
}

/// Returns the statement that adds tombstones, each with true if it is late.
pub(super) fn tombstones_to_add(these: impl IntoIterator<Item = ([u8; 32], bool)>) -> Statement {
    let (digests, late): (Vec<_>, Vec<_>) =
        these.into_iter().map(|(digest, late)| (digest.to_vec(), late)).unzip();
    let add = "INSERT INTO entityd.deleted (digest, late) SELECT * FROM unnest($1, $2)
               ON CONFLICT (digest) DO UPDATE SET late = excluded.late";
    Statement::new(add, [digests.into(), late.into()])
}

/// Returns a copy of the project with only the runs that `runs` selects.
fn visible(state: &ProjectState, runs: Runs) -> ProjectState {
    let is_visible = |run: &&Run| match runs {
        Runs::None => false,
        Runs::One(id) => run.id == id,
        Runs::Unended => !run.has_ended(),
        Runs::All => true,
    };
    ProjectState {
        runs: state.runs.iter().filter(is_visible).cloned().collect(),
        id: state.id,
        added: state.added,
        name: state.name.clone(),
        notes: state.notes.clone(),
        schema: state.schema.clone(),
        result_type: state.result_type,
        uses_blocking: state.uses_blocking,
        encoding_bytes: state.encoding_bytes,
        result_token: state.result_token,
        parties: state.parties.clone(),
    }
}

/// Merges the changed project with the runs that the change did not see.
fn merged(
    current: Option<ProjectState>,
    view: Option<&ProjectState>,
    mut changed: ProjectState,
) -> ProjectState {
    let mut new: HashMap<RunId, Run> = HashMap::with_capacity(changed.runs.len());
    let order: Vec<RunId> = changed.runs.iter().map(|run| run.id).collect();
    new.extend(changed.runs.drain(..).map(|run| (run.id, run)));
    let seen: HashSet<RunId> = view.iter().flat_map(|view| &view.runs).map(|run| run.id).collect();
    let unseen_or_kept = |run: Run| match new.remove(&run.id) {
        Some(changed) => Some(changed),
        None => (!seen.contains(&run.id)).then_some(run),
    };
    let mut runs: Vec<Run> =
        current.into_iter().flat_map(|current| current.runs).filter_map(unseen_or_kept).collect();
    runs.extend(order.iter().filter_map(|id| new.remove(id)));
    ProjectState { runs, ..changed }
}
