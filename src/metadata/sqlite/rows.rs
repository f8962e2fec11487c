//! Projects, parties and runs as rows.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::error::unavailable;
use crate::metadata::Error;
use crate::metadata::columns::{self, Column, Columns};
use crate::metadata::records::{self, PartyRecord, RunRecord, Unknown};
use crate::metadata::store::{FAILED_AMONG, ListedRun, Runs};
use crate::model::{Party, ProjectId, ProjectState, Run, RunId};

/// Reads a project with its parties and the runs that `runs` selects.
pub(super) fn load(
    connection: &Connection,
    id: ProjectId,
    runs: Runs,
) -> Result<Option<ProjectState>, Error> {
    let mut select =
        connection.prepare_cached("SELECT * FROM projects WHERE id = ?1").map_err(unavailable)?;
    let found = select
        .query_row([id.as_bytes()], |row| Ok(columns::project(row, id)))
        .optional()
        .map_err(unavailable)?;
    let Some(project) = found.transpose()? else { return Ok(None) };
    Ok(Some(ProjectState {
        parties: select_all(
            connection,
            "SELECT * FROM parties WHERE project = ?1 ORDER BY party",
            &[&id.as_bytes()],
            |row| columns::party(row),
        )?,
        runs: load_runs(connection, id, runs)?,
        ..project
    }))
}

fn load_runs(connection: &Connection, id: ProjectId, runs: Runs) -> Result<Vec<Run>, Error> {
    let project = id.as_bytes();
    match runs {
        Runs::None => Ok(Vec::new()),
        Runs::One(id) => {
            let one = "SELECT * FROM runs WHERE id = ?2 AND project = ?1";
            select_all(connection, one, &[&project, &id.as_bytes()], |row| columns::run(row))
        }
        Runs::Unended => {
            // The same condition as in the index `runs_unended`.
            let unended = "SELECT * FROM runs WHERE project = ?1
                           AND state IN ('created', 'queued', 'comparing', 'finalizing') ORDER BY sequence";
            select_all(connection, unended, &[&project], |row| columns::run(row))
        }
        Runs::All => {
            let all = "SELECT * FROM runs WHERE project = ?1 ORDER BY sequence";
            select_all(connection, all, &[&project], |row| columns::run(row))
        }
    }
}

/// Returns the runs of a project in the order of their requests, for a list.
pub(super) fn list_runs(connection: &Connection, project: ProjectId) -> Result<Vec<ListedRun>, Error> {
    let list = "SELECT id, added, state FROM runs WHERE project = ?1 ORDER BY sequence";
    select_all(connection, list, &[&project.as_bytes()], |row| columns::listed_run(row))
}

pub(super) fn list_failed(connection: &Connection, count: u32) -> Result<Vec<(ProjectId, RunId)>, Error> {
    let list = "SELECT project, id FROM runs
                WHERE state = 'failed' AND sequence > (SELECT coalesce(max(sequence), 0) FROM runs) - ?1
                  AND NOT EXISTS (SELECT 1 FROM runs AS later WHERE later.project = runs.project
                                  AND later.sequence > runs.sequence AND later.threshold = runs.threshold)
                ORDER BY sequence DESC LIMIT ?2";
    select_all(connection, list, &[&FAILED_AMONG, &count], |row| columns::run_id(row))
}

/// Changes the rows of a project from `before` to `after`. Writes changed rows only.
pub(super) fn store(
    connection: &Connection,
    id: ProjectId,
    before: Option<&ProjectState>,
    after: Option<&ProjectState>,
) -> Result<(), Error> {
    let Some(after) = after else {
        return execute(connection, "DELETE FROM projects WHERE id = ?1", &[&id.as_bytes()]);
    };
    if before.is_none_or(|before| !same_head(before, after)) {
        store_head(connection, after)?;
    }
    for (index, party) in (0_u32..).zip(&after.parties) {
        if before.and_then(|before| before.parties.get(index as usize)) != Some(party) {
            store_party(connection, id, index, party)?;
        }
    }
    store_runs(connection, id, before.map_or(&[], |before| before.runs.as_slice()), &after.runs)
}

fn store_runs(connection: &Connection, id: ProjectId, before: &[Run], after: &[Run]) -> Result<(), Error> {
    let mut old_ones: HashMap<RunId, &Run> = before.iter().map(|run| (run.id, run)).collect();
    for run in after {
        let old = old_ones.remove(&run.id);
        if old != Some(run) {
            store_run(connection, id, run)?;
        }
        if old.is_none_or(|old| !old.has_ended()) {
            store_rate(connection, run)?;
        }
    }
    for gone in old_ones.keys() {
        execute(connection, "DELETE FROM runs WHERE id = ?1", &[&gone.as_bytes()])?;
    }
    Ok(())
}

fn same_head(before: &ProjectState, after: &ProjectState) -> bool {
    // The other columns of a project never change.
    before.encoding_bytes == after.encoding_bytes
}

fn store_head(connection: &Connection, project: &ProjectState) -> Result<(), Error> {
    let mut upsert = connection
        .prepare_cached(
            "INSERT INTO projects (id, added, name, notes, schema, result_type, uses_blocking, encoding_bytes,
                                   result_token)
             VALUES (:id, :added, :name, :notes, :schema, :result_type, :uses_blocking, :encoding_bytes,
                     :result_token)
             ON CONFLICT (id) DO UPDATE SET encoding_bytes = excluded.encoding_bytes",
        )
        .map_err(unavailable)?;
    upsert
        .execute(named_params! {
            ":id": project.id.as_bytes(),
            ":added": project.added.as_micros(),
            ":name": project.name,
            ":notes": project.notes,
            ":schema": project.schema,
            ":result_type": project.result_type.name(),
            ":uses_blocking": project.uses_blocking,
            ":encoding_bytes": project.encoding_bytes,
            ":result_token": project.result_token.as_bytes(),
        })
        .map(drop)
        .map_err(unavailable)
}

fn store_party(connection: &Connection, project: ProjectId, index: u32, party: &Party) -> Result<(), Error> {
    let mut upsert = connection
        .prepare_cached(
            "REPLACE INTO parties (project, party, update_token, receipt_token, uploads, uploading, contents,
                                   upload, records, bytes, blocks, message, reference, keyring)
             VALUES (:project, :party, :update_token, :receipt_token, :uploads, :uploading, :contents,
                     :upload, :records, :bytes, :blocks, :message, :reference, :keyring)",
        )
        .map_err(unavailable)?;
    let record = PartyRecord::from(party);
    upsert
        .execute(named_params! {
            ":project": project.as_bytes(),
            ":party": index,
            ":update_token": record.update_token,
            ":receipt_token": record.receipt_token,
            ":uploads": record.uploads,
            ":uploading": record.uploading,
            ":contents": record.contents,
            ":upload": record.upload,
            ":records": record.records,
            ":bytes": record.bytes,
            ":blocks": record.blocks,
            ":message": record.message,
            ":reference": record.reference,
            ":keyring": record.keyring.as_ref().map(|keyring| keyring.as_str()),
        })
        .map(drop)
        .map_err(unavailable)
}

fn store_run(connection: &Connection, project: ProjectId, run: &Run) -> Result<(), Error> {
    let mut upsert = connection
        .prepare_cached(
            "INSERT INTO runs (project, id, name, notes, threshold, added, started, ended, state, stage, message,
                               found_pairs, groups, checksums, parts, applied, comparisons_total, comparisons,
                               pairs, seed, ready, compared, latest, worked, settled, largest_blocks, with_scores)
             VALUES (:project, :id, :name, :notes, :threshold, :added, :started, :ended, :state, :stage, :message,
                     :found_pairs, :groups, :checksums, :parts, :applied, :comparisons_total, :comparisons,
                     :pairs, :seed, :ready, :compared, :latest, :worked, :settled, :largest_blocks, :with_scores)
             ON CONFLICT (id) DO UPDATE SET
                 started = excluded.started, ended = excluded.ended, state = excluded.state,
                 stage = excluded.stage, message = excluded.message, found_pairs = excluded.found_pairs,
                 groups = excluded.groups, checksums = excluded.checksums, parts = excluded.parts,
                 applied = excluded.applied,
                 comparisons_total = excluded.comparisons_total, comparisons = excluded.comparisons,
                 pairs = excluded.pairs, seed = excluded.seed, ready = excluded.ready,
                 compared = excluded.compared, latest = excluded.latest, worked = excluded.worked,
                 settled = excluded.settled, largest_blocks = excluded.largest_blocks",
        )
        .map_err(unavailable)?;
    let record = RunRecord::from(run);
    upsert
        .execute(named_params! {
            ":project": project.as_bytes(),
            ":id": record.id,
            ":name": record.name,
            ":notes": record.notes,
            ":threshold": record.threshold,
            ":added": record.added,
            ":started": record.started,
            ":ended": record.ended,
            ":state": record.state,
            ":stage": record.stage,
            ":message": record.message,
            ":found_pairs": record.found_pairs,
            ":groups": record.groups,
            ":checksums": record.checksums,
            ":parts": record.parts,
            ":applied": record.applied,
            ":comparisons_total": record.comparisons_total,
            ":comparisons": record.comparisons,
            ":pairs": record.pairs,
            ":seed": record.seed.as_deref(),
            ":ready": record.ready,
            ":compared": record.compared,
            ":latest": record.latest,
            ":worked": record.worked,
            ":settled": record.settled,
            ":largest_blocks": record.largest_blocks,
            ":with_scores": record.with_scores,
        })
        .map(drop)
        .map_err(unavailable)
}

/// Stores the rate of a run that has just been completed.
fn store_rate(connection: &Connection, run: &Run) -> Result<(), Error> {
    let Some(rate) = records::rate(run) else { return Ok(()) };
    execute(connection, "REPLACE INTO rate (only, comparisons_per_second) VALUES (1, ?1)", &[&rate])
}

fn select_all<T>(
    connection: &Connection,
    sql: &str,
    values: &[&dyn rusqlite::ToSql],
    read: impl Fn(&Row<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let mut select = connection.prepare_cached(sql).map_err(unavailable)?;
    let mut rows = select.query(values).map_err(unavailable)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next().map_err(unavailable)? {
        all.push(read(row)?);
    }
    Ok(all)
}

fn execute(connection: &Connection, sql: &str, values: &[&dyn rusqlite::ToSql]) -> Result<(), Error> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute(values))
        .map(drop)
        .map_err(unavailable)
}

impl Columns for Row<'_> {
    fn get<T: Column>(&self, column: &'static str) -> Result<T, Error> {
        Row::get(self, column).map_err(unavailable)
    }

    fn text(&self, column: &'static str) -> Result<Option<String>, Error> {
        Columns::get(self, column)
    }
}

/// Returns the identifier in a column.
pub(super) fn project_id(bytes: Vec<u8>) -> Result<ProjectId, Error> {
    bytes.try_into().map(ProjectId::from_bytes).map_err(|_| Unknown("identifier of a project").into())
}
