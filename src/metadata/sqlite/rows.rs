//! Projects, parties and runs as rows.

use std::collections::HashMap;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde::Serialize;
use zeroize::Zeroizing;

use super::error::unavailable;
use crate::metadata::Error;
use crate::metadata::store::{ListedRun, Runs};
use crate::model::run::{Progress, Times};
use crate::model::{
    BitSet, Checksum, Contents, Dataset, Keyring, Party, ProjectId, ProjectState, ResultType, Run, RunId,
    RunState, Seed, Summary, Threshold, TokenHash, Upload,
};
use crate::runtime::clock::Timestamp;

/// Reads a project with its parties and these of its runs.
pub(super) fn load(
    connection: &Connection,
    id: ProjectId,
    runs: Runs,
) -> Result<Option<ProjectState>, Error> {
    let mut select =
        connection.prepare_cached("SELECT * FROM projects WHERE id = ?1").map_err(unavailable)?;
    let found =
        select.query_row([id.as_bytes()], |row| Ok(project(row, id))).optional().map_err(unavailable)?;
    let Some(project) = found.transpose()? else { return Ok(None) };
    Ok(Some(ProjectState {
        parties: select_all(
            connection,
            "SELECT * FROM parties WHERE project = ?1 ORDER BY party",
            &[&id.as_bytes()],
            party,
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
            select_all(connection, one, &[&project, &id.as_bytes()], run)
        }
        Runs::Unended => {
            // The words of the index `runs_unended`.
            let unended = "SELECT * FROM runs WHERE project = ?1
                           AND state IN ('created', 'queued', 'comparing', 'finalizing') ORDER BY sequence";
            select_all(connection, unended, &[&project], run)
        }
        Runs::All => {
            let all = "SELECT * FROM runs WHERE project = ?1 ORDER BY sequence";
            select_all(connection, all, &[&project], run)
        }
    }
}

/// The runs of a project in the order in which they were asked for, with little of each.
pub(super) fn list_runs(connection: &Connection, project: ProjectId) -> Result<Vec<ListedRun>, Error> {
    let list = "SELECT id, added, state FROM runs WHERE project = ?1 ORDER BY sequence";
    select_all(connection, list, &[&project.as_bytes()], |row| {
        Ok(ListedRun {
            id: RunId::from_bytes(get(row, "id")?),
            added: Timestamp::from_micros(get(row, "added")?),
            state: match get::<String>(row, "state")?.as_str() {
                "completed" => RunState::Completed(Summary::default()),
                "failed" => RunState::Failed { message: String::new(), stage: 0 },
                state => unended(state)?,
            },
        })
    })
}

fn unended(state: &str) -> Result<RunState, Error> {
    match state {
        "created" => Ok(RunState::Created),
        "queued" => Ok(RunState::Queued),
        "comparing" => Ok(RunState::Comparing),
        "finalizing" => Ok(RunState::Finalizing),
        _ => Err(damaged("state of a run")),
    }
}

/// Makes the rows of a project, which say `before`, say `after`. Rows that stay the same are not touched.
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
    // The rest of a project's own row is fixed when it is created.
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

fn project(row: &Row<'_>, id: ProjectId) -> Result<ProjectState, Error> {
    Ok(ProjectState {
        id,
        added: Timestamp::from_micros(get(row, "added")?),
        name: get(row, "name")?,
        notes: get(row, "notes")?,
        schema: get(row, "schema")?,
        result_type: ResultType::parse(&get::<String>(row, "result_type")?)
            .ok_or_else(|| damaged("result type of a project"))?,
        uses_blocking: get(row, "uses_blocking")?,
        encoding_bytes: get(row, "encoding_bytes")?,
        result_token: TokenHash::from_bytes(get(row, "result_token")?),
        parties: Vec::new(),
        runs: Vec::new(),
    })
}

/// Plain data as JSON.
fn text(data: &impl Serialize) -> String {
    serde_json::to_string(data).expect("it is plain data")
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
    let (contents, data, message) = match &party.contents {
        Contents::Missing => ("missing", None, None),
        Contents::Fetching { .. } => ("fetching", None, None),
        Contents::Ingesting(Upload { upload, records, encoding_bytes, blocks }) => {
            ("ingesting", Some((*upload, *records, *encoding_bytes, u64::from(*blocks))), None)
        }
        Contents::Ready(Dataset { upload, records, encoding_bytes, blocks }) => {
            ("ready", Some((*upload, *records, *encoding_bytes, *blocks)), None)
        }
        Contents::Failed { message } => ("failed", None, Some(message)),
    };
    let (reference, keyring) = match &party.contents {
        Contents::Fetching { reference, keyring } => {
            (Some(text(reference)), (!keyring.is_empty()).then(|| Zeroizing::new(text(keyring))))
        }
        _ => (None, None),
    };
    upsert
        .execute(named_params! {
            ":project": project.as_bytes(),
            ":party": index,
            ":update_token": party.update_token.as_bytes(),
            ":receipt_token": party.receipt_token.as_ref().map(TokenHash::as_bytes),
            ":uploads": party.uploads,
            ":uploading": party.uploading,
            ":contents": contents,
            ":upload": data.map(|data| data.0),
            ":records": data.map(|data| data.1),
            ":bytes": data.map(|data| data.2),
            ":blocks": data.map(|data| data.3.cast_signed()),
            ":message": message,
            ":reference": reference,
            ":keyring": keyring.as_ref().map(|keyring| keyring.as_str()),
        })
        .map(drop)
        .map_err(unavailable)
}

fn party(row: &Row<'_>) -> Result<Party, Error> {
    let data = || -> Result<(u32, u32, u32, u64), Error> {
        Ok((get(row, "upload")?, get(row, "records")?, get(row, "bytes")?, get_u64(row, "blocks")?))
    };
    let contents = match get::<String>(row, "contents")?.as_str() {
        "missing" => Contents::Missing,
        "fetching" => {
            let reference = serde_json::from_str(&get::<String>(row, "reference")?);
            let keyring = get::<Option<String>>(row, "keyring")?.map(Zeroizing::new);
            let keyring = keyring.map_or_else(|| Ok(Keyring::default()), |text| serde_json::from_str(&text));
            Contents::Fetching {
                reference: reference.map_err(|_| damaged("files of a party"))?,
                keyring: keyring.map_err(|_| damaged("keys of a party"))?,
            }
        }
        "ingesting" => {
            let (upload, records, encoding_bytes, blocks) = data()?;
            Contents::Ingesting(Upload { upload, records, encoding_bytes, blocks: blocks != 0 })
        }
        "ready" => {
            let (upload, records, encoding_bytes, blocks) = data()?;
            Contents::Ready(Dataset { upload, records, encoding_bytes, blocks })
        }
        "failed" => Contents::Failed { message: get(row, "message")? },
        _ => return Err(damaged("contents of a party")),
    };
    Ok(Party {
        update_token: TokenHash::from_bytes(get(row, "update_token")?),
        receipt_token: get::<Option<[u8; 32]>>(row, "receipt_token")?.map(TokenHash::from_bytes),
        uploads: get(row, "uploads")?,
        uploading: get(row, "uploading")?,
        contents,
    })
}

fn store_run(connection: &Connection, project: ProjectId, run: &Run) -> Result<(), Error> {
    let mut upsert = connection
        .prepare_cached(
            "INSERT INTO runs (project, id, name, notes, threshold, added, started, ended, state, stage, message,
                               found_pairs, groups, checksums, parts, applied, comparisons_total, comparisons,
                               pairs, seed, ready, compared, latest, worked, settled, largest_blocks)
             VALUES (:project, :id, :name, :notes, :threshold, :added, :started, :ended, :state, :stage, :message,
                     :found_pairs, :groups, :checksums, :parts, :applied, :comparisons_total, :comparisons,
                     :pairs, :seed, :ready, :compared, :latest, :worked, :settled, :largest_blocks)
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
    let (state, failure, summary) = match &run.state {
        RunState::Created => ("created", None, None),
        RunState::Queued => ("queued", None, None),
        RunState::Comparing => ("comparing", None, None),
        RunState::Finalizing => ("finalizing", None, None),
        RunState::Completed(summary) => ("completed", None, Some(summary)),
        RunState::Failed { message, stage } => ("failed", Some((message, *stage)), None),
    };
    let progress = run.progress.as_ref();
    upsert
        .execute(named_params! {
            ":project": project.as_bytes(),
            ":id": run.id.as_bytes(),
            ":name": run.name,
            ":notes": run.notes,
            ":threshold": run.threshold.get(),
            ":added": run.added.as_micros(),
            ":started": run.started.map(Timestamp::as_micros),
            ":ended": run.ended.map(Timestamp::as_micros),
            ":state": state,
            ":stage": failure.map(|failure| failure.1),
            ":message": failure.map(|failure| failure.0),
            ":found_pairs": summary.map(|summary| summary.pairs.cast_signed()),
            ":groups": summary.map(|summary| summary.groups.cast_signed()),
            ":checksums": summary.and_then(|summary| json_of_some(&summary.checksums)),
            ":parts": progress.map(|progress| progress.parts),
            ":applied": progress.map(|progress| progress.applied.as_bytes()),
            ":comparisons_total": progress.map(|progress| progress.comparisons_total.cast_signed()),
            ":comparisons": progress.map(|progress| progress.comparisons.cast_signed()),
            ":pairs": progress.map(|progress| progress.pairs.cast_signed()),
            ":seed": run.seed.as_ref().map(Seed::reveal),
            ":ready": run.times.ready.map(Timestamp::as_micros),
            ":compared": run.times.compared.map(Timestamp::as_micros),
            ":latest": run.times.latest.map(Timestamp::as_micros),
            ":worked": run.times.worked.as_micros() as i64,
            ":settled": run.settled.map(Timestamp::as_micros),
            ":largest_blocks": progress.and_then(|progress| json_of_some(&progress.largest_blocks)),
        })
        .map(drop)
        .map_err(unavailable)
}

fn run(row: &Row<'_>) -> Result<Run, Error> {
    let state = match get::<String>(row, "state")?.as_str() {
        "completed" => RunState::Completed(Summary {
            pairs: get_u64(row, "found_pairs")?,
            groups: get_u64(row, "groups")?,
            checksums: checksums(row)?,
        }),
        "failed" => RunState::Failed { message: get(row, "message")?, stage: get(row, "stage")? },
        state => unended(state)?,
    };
    Ok(Run {
        id: RunId::from_bytes(get(row, "id")?),
        name: get(row, "name")?,
        notes: get(row, "notes")?,
        threshold: Threshold::new(get(row, "threshold")?).map_err(|_| damaged("threshold of a run"))?,
        added: Timestamp::from_micros(get(row, "added")?),
        started: get_moment(row, "started")?,
        ended: get_moment(row, "ended")?,
        settled: get_moment(row, "settled")?,
        state,
        progress: progress(row)?,
        seed: get::<Option<[u8; 32]>>(row, "seed")?.map(Seed::from_bytes),
        times: Times {
            ready: get_moment(row, "ready")?,
            compared: get_moment(row, "compared")?,
            latest: get_moment(row, "latest")?,
            worked: Duration::from_micros(get_u64(row, "worked")?),
        },
    })
}

/// Encodes a list for storage; `None` if it is empty.
fn json_of_some(list: &[impl Serialize]) -> Option<String> {
    (!list.is_empty()).then(|| text(&list))
}

fn checksums(row: &Row<'_>) -> Result<Vec<Checksum>, Error> {
    let Some(text) = get::<Option<String>>(row, "checksums")? else { return Ok(Vec::new()) };
    serde_json::from_str(&text).map_err(|_| damaged("checksums of a result"))
}

fn largest_blocks(row: &Row<'_>) -> Result<Vec<u64>, Error> {
    let Some(text) = get::<Option<String>>(row, "largest_blocks")? else { return Ok(Vec::new()) };
    serde_json::from_str(&text).map_err(|_| damaged("largest blocks of a run"))
}

fn progress(row: &Row<'_>) -> Result<Option<Progress>, Error> {
    let Some(parts) = get::<Option<u32>>(row, "parts")? else { return Ok(None) };
    Ok(Some(Progress {
        parts,
        applied: BitSet::from_bytes(get(row, "applied")?),
        comparisons_total: get_u64(row, "comparisons_total")?,
        largest_blocks: largest_blocks(row)?,
        comparisons: get_u64(row, "comparisons")?,
        pairs: get_u64(row, "pairs")?,
    }))
}

/// Keeps the rate of a run that has just been completed.
fn store_rate(connection: &Connection, run: &Run) -> Result<(), Error> {
    let (RunState::Completed(_), Some(started), Some(ended)) = (&run.state, run.started, run.ended) else {
        return Ok(());
    };
    if ended < started {
        // The clock was set back meanwhile.
        return Ok(());
    }
    let comparisons = run.progress.as_ref().map_or(0, |progress| progress.comparisons_total);
    let seconds = ended.since(started).as_secs_f64().max(1e-6);
    let rate = (comparisons as f64 / seconds).round() as i64;
    if rate == 0 {
        return Ok(());
    }
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

fn get<T: rusqlite::types::FromSql>(row: &Row<'_>, column: &str) -> Result<T, Error> {
    row.get(column).map_err(unavailable)
}

fn get_u64(row: &Row<'_>, column: &str) -> Result<u64, Error> {
    get::<i64>(row, column).map(i64::cast_unsigned)
}

fn get_moment(row: &Row<'_>, column: &str) -> Result<Option<Timestamp>, Error> {
    Ok(get::<Option<i64>>(row, column)?.map(Timestamp::from_micros))
}

/// The identifier in a column.
pub(super) fn project_id(bytes: Vec<u8>) -> Result<ProjectId, Error> {
    bytes.try_into().map(ProjectId::from_bytes).map_err(|_| damaged("identifier of a project"))
}

fn damaged(what: &str) -> Error {
    Error::Damaged(format!("it does not know the {what}; restore metadata.db from a backup"))
}
