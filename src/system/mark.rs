//! The marks of a database: files with the count of its commits, and the identity of the data directory.
//!
//! ```text
//! 00000000000000a7 ffffffffffffff58 8c1f0d6f3c0a4b1e9d5c7a2b6e4f8091
//! ```
//!
//! The second number is the complement of the first, which reveals a truncated number. Marks of earlier versions have
//! no identity. A mark is written after the commit is on the disk, and is not synced itself. After a power cut it may
//! be behind the database, and is never ahead.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::system::identity::Identity;
use crate::system::permission::explained;
use crate::system::regular;

/// The size of a mark, in bytes.
const BYTES: u64 = 67;

/// The reason why a mark cannot be used.
pub(crate) enum Unusable {
    /// The mark belongs to another data directory.
    Foreign { path: PathBuf, found: Identity },
    /// The mark cannot be read.
    Unread(io::Error),
}

/// The data directory whose marks are read.
#[derive(Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) identity: Identity,
    /// Another identity whose marks are ignored.
    pub(crate) take_over: Option<Identity>,
}

/// The content of the marks of a database.
pub(crate) struct Reading {
    /// The count of commits; `None` if no mark has it.
    pub(crate) written: Option<u64>,
    /// True if no mark is missing.
    pub(crate) is_whole: bool,
}

impl Reading {
    /// Reads the marks at `paths`. If the last one has an identity, the others must exist, too.
    ///
    /// # Errors
    /// [`Unusable`].
    pub(crate) fn of(paths: &[PathBuf], expected: Expected) -> Result<Self, Unusable> {
        let marks = paths.iter().map(|path| read(path, expected)).collect::<Result<Vec<_>, _>>()?;
        let written = marks.iter().flatten().map(|mark| mark.commits).max();
        let is_whole = match marks.last() {
            Some(Some(Mark { identity: None, .. })) => true,
            _ => marks.iter().all(Option::is_some),
        };
        Ok(Self { written, is_whole })
    }
}

struct Mark {
    commits: u64,
    identity: Option<Identity>,
}

/// Reads a mark; `None` if it is missing or unreadable.
fn read(path: &Path, expected: Expected) -> Result<Option<Mark>, Unusable> {
    let text = match regular::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| Unusable::Unread(named(path, error)))?,
    };
    let mark = parse(&text);
    match mark.as_ref().and_then(|mark| mark.identity) {
        Some(found) if Some(found) == expected.take_over && found != expected.identity => return Ok(None),
        Some(found) if found != expected.identity => {
            return Err(Unusable::Foreign { path: path.to_owned(), found });
        }
        _ => {}
    }
    if mark.is_none() {
        tracing::warn!(path = %path.display(), "rewriting a damaged file: lost commits may not be detected this time");
    }
    Ok(mark)
}

/// Adds the path to an error.
fn named(path: &Path, error: io::Error) -> io::Error {
    match explained(path, error) {
        error if regular::is_no_file(&error) || error.kind() == io::ErrorKind::PermissionDenied => error,
        error => io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display())),
    }
}

fn parse(text: &[u8]) -> Option<Mark> {
    let mut words = std::str::from_utf8(text).ok()?.split_whitespace();
    let mut number = || u64::from_str_radix(words.next()?, 16).ok();
    let (commits, complement) = (number()?, number()?);
    let identity = match words.next() {
        Some(word) => Some(Identity::parse(word)?),
        None => None,
    };
    (complement == !commits).then_some(Mark { commits, identity })
}

/// The marks of an open database. A mark that could not be opened is not updated.
#[derive(Debug)]
pub(crate) struct Marks {
    files: Vec<File>,
    identity: Identity,
}

impl Marks {
    pub(crate) fn open(paths: &[PathBuf], identity: Identity) -> Self {
        Self { files: paths.iter().filter_map(|path| open(path)).collect(), identity }
    }

    /// Writes the count into all marks. A mark that cannot be written is behind, which is harmless.
    pub(crate) fn write(&self, commits: u64) {
        let text = format!("{commits:016x} {:016x} {}\n", !commits, self.identity);
        for file in &self.files {
            let _ = file.write_all_at(text.as_bytes(), 0);
        }
    }
}

fn open(path: &Path) -> Option<File> {
    let mut options = OpenOptions::new();
    let opened = regular::open_with(path, options.write(true).create(true).truncate(false).mode(0o600));
    match opened.and_then(|mark| mark.set_len(BYTES).map(|()| mark)) {
        Ok(mark) => Some(mark),
        Err(error) => {
            let path = path.display();
            tracing::warn!("cannot write {path}: {error}; lost commits may not be detected");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_that_was_cut_is_no_number() {
        let identity = "8c1f0d6f3c0a4b1e9d5c7a2b6e4f8091";
        let text = format!("{:016x} {:016x} {identity}\n", 9, !9_u64);
        assert_eq!(text.len() as u64, BYTES);
        let commits = |text: &str| parse(text.as_bytes()).map(|mark| (mark.commits, mark.identity.is_some()));
        assert_eq!(commits(&text), Some((9, true)));
        assert_eq!(commits(&text[..33]), Some((9, false)));
        for damage in ["", &text[..20], &text[..60], &text.replace('9', "1"), "x y"] {
            assert_eq!(commits(damage), None, "{damage}");
        }
    }
}
