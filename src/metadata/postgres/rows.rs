//! Projects, parties and runs as rows.

use std::collections::HashMap;

use tokio_postgres::Row;

use super::statement::{Statement, Value};
use super::text::{escaped, plain};
use crate::metadata::columns::{self, Column, Columns};
use crate::metadata::records::{PartyRecord, RunRecord, Unknown};
use crate::metadata::store::{Error, Runs};
use crate::model::{Party, ProjectId, ProjectState, Run, RunId};

/// The runs that any of several changes needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Needed {
    all: bool,
    unended: bool,
    ones: Vec<RunId>,
}

impl Needed {
    pub(super) fn add(&mut self, runs: Runs) {
        match runs {
            Runs::None => {}
            Runs::One(id) if self.ones.contains(&id) => {}
            Runs::One(id) => self.ones.push(id),
            Runs::Unended => self.unended = true,
            Runs::All => self.all = true,
        }
    }
}

impl From<Runs> for Needed {
    fn from(runs: Runs) -> Self {
        let mut needed = Self::default();
        needed.add(runs);
        needed
    }
}

/// Returns the statements that read a project, its parties and the given runs.
pub(super) fn load(id: ProjectId, runs: &Needed) -> Vec<Statement> {
    let project = || Value::from(id.as_bytes().as_slice());
    let mut statements = vec![
        Statement::new("SELECT * FROM entityd.projects WHERE id = $1", [project()]),
        Statement::new("SELECT * FROM entityd.parties WHERE project = $1 ORDER BY party", [project()]),
    ];
    let ones = || Value::from(runs.ones.iter().map(|run| run.as_bytes().to_vec()).collect::<Vec<_>>());
    let in_order =
        |these: &str| format!("SELECT * FROM entityd.runs WHERE project = $1 {these} ORDER BY sequence");
    // The same condition as in the index `runs_unended`.
    let unended = "state IN ('created', 'queued', 'comparing', 'finalizing')";
    statements.extend(match (runs.all, runs.unended, runs.ones.is_empty()) {
        (true, ..) => Some(Statement::new(in_order(""), [project()])),
        (false, true, true) => Some(Statement::new(in_order(&format!("AND {unended}")), [project()])),
        (false, true, false) => {
            let either = in_order(&format!("AND ({unended} OR id = ANY($2))"));
            Some(Statement::new(either, [project(), ones()]))
        }
        (false, false, false) => Some(Statement::new(in_order("AND id = ANY($2)"), [project(), ones()])),
        (false, false, true) => None,
    });
    statements
}

/// Makes a project from the rows that the statements of [`load`] return.
pub(super) fn loaded(id: ProjectId, rows: &[Vec<Row>]) -> Result<Option<ProjectState>, Error> {
    let [heads, parties, runs @ ..] = rows else { return Ok(None) };
    let Some(head) = heads.first() else { return Ok(None) };
    Ok(Some(ProjectState {
        parties: parties.iter().map(columns::party).collect::<Result<_, _>>()?,
        runs: runs.iter().flatten().map(columns::run).collect::<Result<_, _>>()?,
        ..columns::project(head, id)?
    }))
}

/// Returns the statements that change the rows of a project from `before` to `after`. They write changed rows only.
pub(super) fn store(
    id: ProjectId,
    before: Option<&ProjectState>,
    after: Option<&ProjectState>,
) -> Vec<Statement> {
    let Some(after) = after else {
        let delete = "DELETE FROM entityd.projects WHERE id = $1";
        return vec![Statement::new(delete, [id.as_bytes().as_slice().into()])];
    };
    let mut statements = Vec::new();
    // The other columns of a project never change.
    if before.is_none_or(|before| before.encoding_bytes != after.encoding_bytes) {
        statements.push(store_head(after));
    }
    for (index, party) in (0_u32..).zip(&after.parties) {
        if before.and_then(|before| before.parties.get(index as usize)) != Some(party) {
            statements.push(store_party(id, index, party));
        }
    }
    let old = before.map_or(&[][..], |before| before.runs.as_slice());
    let mut old: HashMap<RunId, &Run> = old.iter().map(|run| (run.id, run)).collect();
    for run in &after.runs {
        if old.remove(&run.id) != Some(run) {
            statements.push(store_run(id, run));
        }
    }
    if !old.is_empty() {
        let gone: Vec<Vec<u8>> = old.keys().map(|run| run.as_bytes().to_vec()).collect();
        statements.push(Statement::new("DELETE FROM entityd.runs WHERE id = ANY($1)", [gone.into()]));
    }
    statements
}

fn store_head(project: &ProjectState) -> Statement {
    let upsert = "INSERT INTO entityd.projects (id, added, name, notes, schema, result_type, uses_blocking,
                                                encoding_bytes, result_token)
                  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
                  ON CONFLICT (id) DO UPDATE SET encoding_bytes = excluded.encoding_bytes";
    let values: [Value; 9] = [
        project.id.as_bytes().as_slice().into(),
        project.added.as_micros().into(),
        escaped(&project.name).as_str().into(),
        escaped(&project.notes).as_str().into(),
        escaped(&project.schema).as_str().into(),
        project.result_type.name().into(),
        project.uses_blocking.into(),
        project.encoding_bytes.map(i64::from).into(),
        project.result_token.as_bytes().as_slice().into(),
    ];
    Statement::new(upsert, values)
}

fn store_party(project: ProjectId, index: u32, party: &Party) -> Statement {
    let upsert = "INSERT INTO entityd.parties (project, party, update_token, receipt_token, uploads, uploading, contents,
                                               upload, records, bytes, blocks, message, reference, keyring, holder)
                  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
                  ON CONFLICT (project, party) DO UPDATE SET update_token = excluded.update_token,
                      receipt_token = excluded.receipt_token, uploads = excluded.uploads,
                      uploading = excluded.uploading, contents = excluded.contents, upload = excluded.upload,
                      records = excluded.records, bytes = excluded.bytes, blocks = excluded.blocks,
                      message = excluded.message, reference = excluded.reference, keyring = excluded.keyring,
                      holder = excluded.holder";
    let record = PartyRecord::from(party);
    let values: [Value; 15] = [
        project.as_bytes().as_slice().into(),
        i64::from(index).into(),
        record.update_token.as_slice().into(),
        record.receipt_token.as_ref().map(<[u8; 32]>::as_slice).into(),
        record.uploads.into(),
        record.uploading.into(),
        record.contents.as_ref().into(),
        record.upload.into(),
        record.records.into(),
        record.bytes.into(),
        record.blocks.into(),
        record.message.as_deref().map(escaped).as_deref().into(),
        record.reference.as_deref().into(),
        record.keyring.as_ref().map(|keyring| keyring.as_str()).into(),
        record.holder.as_deref().into(),
    ];
    Statement::new(upsert, values)
}

fn store_run(project: ProjectId, run: &Run) -> Statement {
    // The other columns of a run never change.
    let upsert = "INSERT INTO entityd.runs (project, id, name, notes, threshold, added, started, ended, settled, state,
                                            stage, message, found_pairs, groups, checksums, parts, applied,
                                            comparisons_total, largest_blocks, comparisons, pairs, seed, ready,
                                            compared, latest, worked, with_scores)
                  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
                          $21, $22, $23, $24, $25, $26, $27)
                  ON CONFLICT (id) DO UPDATE SET started = excluded.started, ended = excluded.ended,
                      settled = excluded.settled, state = excluded.state, stage = excluded.stage,
                      message = excluded.message, found_pairs = excluded.found_pairs, groups = excluded.groups,
                      checksums = excluded.checksums, parts = excluded.parts, applied = excluded.applied,
                      comparisons_total = excluded.comparisons_total, largest_blocks = excluded.largest_blocks,
                      comparisons = excluded.comparisons, pairs = excluded.pairs, seed = excluded.seed,
                      ready = excluded.ready, compared = excluded.compared, latest = excluded.latest,
                      worked = excluded.worked";
    let record = RunRecord::from(run);
    let values: [Value; 27] = [
        project.as_bytes().as_slice().into(),
        record.id.as_slice().into(),
        escaped(&record.name).as_str().into(),
        escaped(&record.notes).as_str().into(),
        record.threshold.into(),
        record.added.into(),
        record.started.into(),
        record.ended.into(),
        record.settled.into(),
        record.state.as_ref().into(),
        record.stage.into(),
        record.message.as_deref().map(escaped).as_deref().into(),
        record.found_pairs.into(),
        record.groups.into(),
        record.checksums.as_deref().into(),
        record.parts.into(),
        record.applied.as_deref().into(),
        record.comparisons_total.into(),
        record.largest_blocks.as_deref().into(),
        record.comparisons.into(),
        record.pairs.into(),
        record.seed.as_ref().map(|seed| seed.as_slice()).into(),
        record.ready.into(),
        record.compared.into(),
        record.latest.into(),
        record.worked.into(),
        record.with_scores.into(),
    ];
    Statement::new(upsert, values)
}

impl Columns for Row {
    fn get<T: Column>(&self, column: &'static str) -> Result<T, Error> {
        self.try_get(column).map_err(|_| Unknown(column).into())
    }

    fn text(&self, column: &'static str) -> Result<Option<String>, Error> {
        Ok(Columns::get::<Option<String>>(self, column)?.map(plain))
    }

    fn holder(&self) -> Result<Option<String>, Error> {
        Columns::get(self, "holder")
    }
}

/// Reads a column.
pub(super) fn get<T: Column>(row: &Row, column: &'static str) -> Result<T, Error> {
    Columns::get(row, column)
}
