//! Duties, which belong to no project, and recorded attempts of jobs.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::error::unavailable;
use crate::metadata::{Duty, Error};
use crate::model::ProjectId;

pub(super) fn duties(reader: &Connection) -> Result<Vec<Duty>, Error> {
    let mut select = reader.prepare_cached("SELECT name, body FROM duties").map_err(unavailable)?;
    let rows = select.query_map([], |row| Ok(Duty { name: row.get(0)?, body: row.get(1)? }));
    rows.map_err(unavailable)?.map(|row| row.map_err(unavailable)).collect()
}

pub(super) fn add_duties(writer: &Connection, duties: &[Duty]) -> Result<(), Error> {
    let insert = "INSERT INTO duties (name, body) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET body = excluded.body";
    for Duty { name, body } in duties {
        execute(writer, insert, params![name, body])?;
    }
    Ok(())
}

/// Deletes the duty and the recorded attempts of a job that is done.
pub(super) fn settle(writer: &Connection, job: &str) -> Result<(), Error> {
    execute(writer, "DELETE FROM duties WHERE name = ?1", [job])?;
    execute(writer, "DELETE FROM attempts WHERE job = ?1", [job])
}

/// Records the attempts of a job, unless its project is deleted.
pub(super) fn note_attempts(
    writer: &Connection,
    project: ProjectId,
    job: &str,
    attempts: u8,
) -> Result<(), Error> {
    let note = "INSERT INTO attempts (job, project, attempts) SELECT ?1, id, ?3 FROM projects WHERE id = ?2
                ON CONFLICT (job) DO UPDATE SET attempts = max(attempts, excluded.attempts)";
    execute(writer, note, params![job, project.as_bytes(), attempts])
}

pub(super) fn attempts(reader: &Connection) -> Result<HashMap<String, u8>, Error> {
    let mut select = reader.prepare_cached("SELECT job, attempts FROM attempts").map_err(unavailable)?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.map_err(unavailable)?.map(|row| row.map_err(unavailable)).collect()
}

fn execute(writer: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<(), Error> {
    let mut statement = writer.prepare_cached(sql).map_err(unavailable)?;
    statement.execute(values).map(drop).map_err(unavailable)
}
