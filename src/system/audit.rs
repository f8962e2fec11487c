//! The audit log of administrative actions: one JSON object in each line, with the hash of the line before it.
//!
//! A line that is altered, removed or inserted breaks the chain of hashes. Lines that are cut off at the end of the
//! file leave no trace: to detect that, keep the last hash elsewhere.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::runtime::clock::Timestamp;

/// The name of the file in the data directory.
pub const FILE: &str = "audit.log";
/// The hash before the first line.
const BEGIN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// An administrative action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// The time of the response, in UTC.
    pub at: String,
    /// The address of the client.
    pub client: String,
    /// The method and the path of the request.
    pub request: String,
    /// The beginning of the request's body, with names of queues and jobs.
    pub body: String,
    /// The status of the response.
    pub status: u16,
}

/// A line of the record.
#[derive(Serialize, Deserialize)]
struct Line {
    number: u64,
    #[serde(flatten)]
    act: Act,
    previous: String,
    hash: String,
}

/// The content of a line that is hashed.
#[derive(Serialize)]
struct Hashed<'a> {
    number: u64,
    #[serde(flatten)]
    act: &'a Act,
    previous: &'a str,
}

/// An error in reading or writing the record.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written.
    #[error("cannot use {file}")]
    File {
        /// The file.
        file: String,
        /// The cause.
        #[source]
        cause: io::Error,
    },
    /// A line was altered.
    #[error("{file}: line {line} was altered, or a line before it was removed or inserted")]
    Broken {
        /// The file.
        file: String,
        /// The line, counted from 1.
        line: u64,
    },
}

/// The end of the record: the number of lines, and the hash of the last one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct End {
    /// The number of lines.
    pub lines: u64,
    /// The hash of the last line.
    pub hash: String,
}

/// The record that a server writes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Audit(Arc<Mutex<Writer>>);

#[derive(Debug)]
struct Writer {
    path: PathBuf,
    /// The end of the record; `None` until the first action.
    end: Option<End>,
}

impl Audit {
    /// Returns the record in a data directory. The file is created with the first action.
    pub fn of(data_dir: &Path) -> Self {
        Self(Arc::new(Mutex::new(Writer { path: data_dir.join(FILE), end: None })))
    }

    /// Adds an action, which is on the disk when this returns. Blocks. If the chain is already broken, the action
    /// follows the last readable line, and [`verify`] reports the break.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn add(
        &self,
        at: Timestamp,
        client: String,
        request: String,
        body: String,
        status: u16,
    ) -> Result<(), Error> {
        let mut writer = self.0.lock();
        let act = Act { at: format!("{at}Z"), client, request, body, status };
        let path = writer.path.clone();
        let failed = |cause| Error::File { file: path.display().to_string(), cause };
        let end = match writer.end.take() {
            Some(end) => end,
            None => last(&path).map_err(failed)?,
        };
        let number = end.lines + 1;
        let hash = hash(number, &act, &end.hash);
        let line = Line { number, act, previous: end.hash, hash: hash.clone() };
        let mut text = serde_json::to_string(&line).map_err(|error| failed(error.into()))?;
        text.push('\n');
        let mut file =
            OpenOptions::new().append(true).create(true).mode(0o600).open(&path).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_data()).map_err(failed)?;
        writer.end = Some(End { lines: number, hash });
        Ok(())
    }

    /// Returns up to `count` of the latest actions, the latest first. Blocks.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn latest(&self, count: usize) -> Result<Vec<Act>, Error> {
        let path = self.0.lock().path.clone();
        let failed = |cause| Error::File { file: path.display().to_string(), cause };
        let Some(file) = open(&path).map_err(failed)? else { return Ok(Vec::new()) };
        let mut acts = std::collections::VecDeque::new();
        for line in BufReader::new(file).lines() {
            if let Ok(line) = serde_json::from_str::<Line>(&line.map_err(failed)?) {
                if acts.len() == count {
                    acts.pop_front();
                }
                acts.push_back(line.act);
            }
        }
        Ok(acts.into_iter().rev().collect())
    }
}

/// Checks the chain of the record in a data directory, and returns its end.
///
/// # Errors
/// [`Error`], with the first line that is invalid.
pub fn verify(data_dir: &Path) -> Result<End, Error> {
    let path = data_dir.join(FILE);
    let file = path.display().to_string();
    let failed = |cause| Error::File { file: file.clone(), cause };
    let mut end = End { lines: 0, hash: BEGIN.to_owned() };
    let Some(opened) = open(&path).map_err(failed)? else { return Ok(end) };
    for text in BufReader::new(opened).split(b'\n') {
        let number = end.lines + 1;
        let broken = || Error::Broken { file: file.clone(), line: number };
        let line: Line = serde_json::from_slice(&text.map_err(failed)?).map_err(|_| broken())?;
        let is_right = line.number == number
            && line.previous == end.hash
            && line.hash == hash(number, &line.act, &line.previous);
        if !is_right {
            return Err(broken());
        }
        end = End { lines: number, hash: line.hash };
    }
    Ok(end)
}

fn hash(number: u64, act: &Act, previous: &str) -> String {
    // Serializing this type cannot fail.
    let text = serde_json::to_vec(&Hashed { number, act, previous }).unwrap_or_default();
    hex::encode(Sha256::digest(text))
}

/// Opens the file, if it exists.
fn open(path: &Path) -> io::Result<Option<File>> {
    match super::regular::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the end of the readable part of the record.
fn last(path: &Path) -> io::Result<End> {
    let mut end = End { lines: 0, hash: BEGIN.to_owned() };
    let Some(file) = open(path)? else { return Ok(end) };
    for line in BufReader::new(file).lines() {
        if let Ok(Line { number, hash, .. }) = serde_json::from_str(&line?) {
            end = End { lines: number, hash };
        }
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(audit: &Audit, body: &str) {
        let (client, request) = ("127.0.0.1".to_owned(), "POST /admin/queue/pause".to_owned());
        audit.add(Timestamp::from_micros(1), client, request, body.to_owned(), 204).unwrap();
    }

    #[test]
    fn a_line_that_is_altered_removed_or_put_in_is_found() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(verify(folder.path()).unwrap().lines, 0);
        let audit = Audit::of(folder.path());
        ["one", "two"].iter().for_each(|body| added(&audit, body));
        // After a restart the chain continues.
        let audit = Audit::of(folder.path());
        ["three", "\u{202e}\" four\n"].iter().for_each(|body| added(&audit, body));
        assert_eq!(verify(folder.path()).unwrap().lines, 4);
        assert_eq!(audit.latest(2).unwrap()[1].body, "three");

        let path = folder.path().join(FILE);
        let whole = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = whole.lines().collect();
        let wrong_at = |lines: &[&str]| {
            std::fs::write(&path, lines.join("\n") + "\n").unwrap();
            match verify(folder.path()) {
                Err(Error::Broken { line, .. }) => line,
                other => panic!("{other:?}"),
            }
        };
        let altered = lines[1].replace("two", "six");
        assert_eq!(wrong_at(&[lines[0], &altered, lines[2], lines[3]]), 2);
        assert_eq!(wrong_at(&[lines[0], lines[2], lines[3]]), 2);
        assert_eq!(wrong_at(&[lines[0], lines[1], lines[1], lines[2]]), 3);
        assert_eq!(wrong_at(&[lines[0], "nonsense"]), 2);
    }
}
