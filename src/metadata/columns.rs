//! Reads the rows of projects, parties and runs. Both databases have the same columns.

use rusqlite::types::FromSql;
use tokio_postgres::types::FromSqlOwned;
use zeroize::Zeroizing;

use super::records::{self, PartyRecord, RunRecord, Unknown};
use super::store::{Error, ListedRun};
use crate::model::{Party, ProjectId, ProjectState, ResultType, Run, RunId, TokenHash};
use crate::runtime::clock::Timestamp;

/// A type to which a column of either database can be converted.
pub(super) trait Column: FromSql + FromSqlOwned {}

impl<T: FromSql + FromSqlOwned> Column for T {}

/// A row of either database.
pub(super) trait Columns {
    /// Reads a column.
    fn get<T: Column>(&self, column: &'static str) -> Result<T, Error>;

    /// Reads a column with a user's text, which may contain any character.
    fn text(&self, column: &'static str) -> Result<Option<String>, Error>;

    /// Reads the node that holds the lock of an upload; `None` in a database that only one node uses.
    fn holder(&self) -> Result<Option<String>, Error> {
        Ok(None)
    }
}

/// Reads a column with a fixed number of bytes.
pub(super) fn fixed<const N: usize>(row: &impl Columns, column: &'static str) -> Result<[u8; N], Error> {
    row.get::<Vec<u8>>(column)?.try_into().map_err(|_| Unknown(column).into())
}

fn fixed_or_none<const N: usize>(row: &impl Columns, column: &'static str) -> Result<Option<[u8; N]>, Error> {
    let bytes = row.get::<Option<Vec<u8>>>(column)?;
    bytes.map(TryInto::try_into).transpose().map_err(|_| Unknown(column).into())
}

fn text(row: &impl Columns, column: &'static str) -> Result<String, Error> {
    row.text(column)?.ok_or_else(|| Unknown(column).into())
}

/// Reads a project without its parties and runs.
pub(super) fn project(row: &impl Columns, id: ProjectId) -> Result<ProjectState, Error> {
    let encoding_bytes = row.get::<Option<i64>>("encoding_bytes")?.map(u32::try_from).transpose();
    Ok(ProjectState {
        id,
        added: Timestamp::from_micros(row.get("added")?),
        name: text(row, "name")?,
        notes: text(row, "notes")?,
        schema: text(row, "schema")?,
        result_type: ResultType::parse(&row.get::<String>("result_type")?)
            .ok_or(Unknown("result type of a project"))?,
        uses_blocking: row.get("uses_blocking")?,
        encoding_bytes: encoding_bytes.map_err(|_| Unknown("size of encodings of a project"))?,
        result_token: TokenHash::from_bytes(fixed(row, "result_token")?),
        parties: Vec::new(),
        runs: Vec::new(),
    })
}

/// Reads a party.
pub(super) fn party(row: &impl Columns) -> Result<Party, Error> {
    let record = PartyRecord {
        update_token: fixed(row, "update_token")?,
        receipt_token: fixed_or_none(row, "receipt_token")?,
        uploads: row.get("uploads")?,
        uploading: row.get("uploading")?,
        holder: row.holder()?,
        contents: row.get::<String>("contents")?.into(),
        upload: row.get("upload")?,
        records: row.get("records")?,
        bytes: row.get("bytes")?,
        blocks: row.get("blocks")?,
        message: row.text("message")?,
        reference: row.get("reference")?,
        keyring: row.get::<Option<String>>("keyring")?.map(Zeroizing::new),
    };
    Ok(record.try_into()?)
}

/// Reads a run.
pub(super) fn run(row: &impl Columns) -> Result<Run, Error> {
    let record = RunRecord {
        id: fixed(row, "id")?,
        name: text(row, "name")?,
        notes: text(row, "notes")?,
        threshold: row.get("threshold")?,
        with_scores: row.get("with_scores")?,
        added: row.get("added")?,
        started: row.get("started")?,
        ended: row.get("ended")?,
        settled: row.get("settled")?,
        state: row.get::<String>("state")?.into(),
        stage: row.get("stage")?,
        message: row.text("message")?,
        found_pairs: row.get("found_pairs")?,
        groups: row.get("groups")?,
        checksums: row.get("checksums")?,
        parts: row.get("parts")?,
        applied: row.get("applied")?,
        comparisons_total: row.get("comparisons_total")?,
        largest_blocks: row.get("largest_blocks")?,
        comparisons: row.get("comparisons")?,
        pairs: row.get("pairs")?,
        seed: fixed_or_none(row, "seed")?.map(Zeroizing::new),
        ready: row.get("ready")?,
        compared: row.get("compared")?,
        latest: row.get("latest")?,
        worked: row.get("worked")?,
    };
    Ok(record.try_into()?)
}

/// Reads the identifiers of a run and its project.
pub(super) fn run_id(row: &impl Columns) -> Result<(ProjectId, RunId), Error> {
    Ok((ProjectId::from_bytes(fixed(row, "project")?), RunId::from_bytes(fixed(row, "id")?)))
}

/// Reads a run for a list: `id`, `added` and `state`.
pub(super) fn listed_run(row: &impl Columns) -> Result<ListedRun, Error> {
    Ok(ListedRun {
        id: RunId::from_bytes(fixed(row, "id")?),
        added: Timestamp::from_micros(row.get("added")?),
        state: records::listed(&row.get::<String>("state")?)?,
    })
}
