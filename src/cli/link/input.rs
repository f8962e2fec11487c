//! Reads the files to link. Each becomes a matrix on disk, with its block entries in another file.

use std::fs::File;
use std::io::Seek;
use std::path::{Path, PathBuf};

use linkage::encoding::entries::Version;
use linkage::encoding::json::{self, Expected, Received};
use linkage::encoding::{Error, Rejection, Summary, binary, check_comparable};
use linkage::scratch::{Scratch, ScratchFile};

use super::workspace::Workspace;
use crate::cli::Failure;
use crate::cli::exit::OrFail;
use crate::cli::packed;
use crate::cli::progress::Progress;
use crate::cli::table::cannot_read;
use crate::objects::{Blob, Staged};
use crate::telemetry::chain;

/// The maximum number of records a file may have.
const RECORDS_MAX: u32 = u32::MAX - 1;

/// One party's file, checked and decoded.
pub(super) struct Input {
    /// The file, for messages.
    pub(super) path: PathBuf,
    /// A summary of the content.
    pub(super) summary: Summary,
    /// The encodings of the party, row after row.
    pub(super) matrix: Blob,
    /// The block entries of the party, in the order of the file.
    pub(super) entries: Box<dyn ScratchFile>,
}

/// Reads the files at `paths`. Files whose names end in `.bin` have rows of `encoding_bytes`. Checks that all files have
/// encodings of one size that can be compared, and that either all or none have blocks.
pub(super) fn read(
    paths: &[PathBuf],
    encoding_bytes: Option<u32>,
    workspace: &Workspace,
    progress: &mut Progress,
) -> Result<Vec<Input>, Failure> {
    let mut inputs: Vec<Input> = Vec::with_capacity(paths.len());
    for (party, path) in paths.iter().enumerate() {
        progress.show(&format!("reading {}", path.display()), 0.0);
        let input = Reading { party, path, workspace }.read(encoding_bytes)?;
        match inputs.first() {
            None => check_size(&input)?,
            Some(first) => check_likeness(first, &input)?,
        }
        inputs.push(input);
    }
    Ok(inputs)
}

/// A file about to be read.
struct Reading<'a> {
    party: usize,
    path: &'a Path,
    workspace: &'a Workspace,
}

impl Reading<'_> {
    fn read(&self, encoding_bytes: Option<u32>) -> Result<Input, Failure> {
        if !packed::holds_rows(self.path) {
            return self.read_json();
        }
        match encoding_bytes {
            Some(bytes) => self.read_binary(bytes),
            None => Err(Failure::Usage(format!(
                "{}: give the size of an encoding in this file with --encoding-bytes",
                self.path.display()
            ))),
        }
    }

    fn read_json(&self) -> Result<Input, Failure> {
        match self.try_json(false)? {
            // The file turned out to have blocks.
            Err(Error::Rejected(Rejection::BlocksUnwanted { .. })) => self.try_json(true)?,
            read => read,
        }
        .map_err(|error| self.explain(&error))
    }

    fn try_json(&self, uses_blocking: bool) -> Result<Result<Input, Error>, Failure> {
        let expected = Expected { uses_blocking, records_max: RECORDS_MAX };
        let mut matrix = self.workspace.stage();
        let mut entries = self.workspace.file().or_fail()?;
        let received =
            match json::upload(self.open()?, expected, &mut matrix, &mut entries, Version::Numbered) {
                Ok(received) => received,
                Err(error) => return Ok(Err(error)),
            };
        let Received::Inline(summary) = received else {
            return Err(self.refuse("names files in an object store; give the encodings themselves"));
        };
        self.finish(summary, matrix, entries).map(Ok)
    }

    fn read_binary(&self, encoding_bytes: u32) -> Result<Input, Failure> {
        let file = self.open()?;
        let bytes = file.metadata().map_err(|error| cannot_read(self.path, &error))?.len();
        let records = bytes / u64::from(encoding_bytes);
        if records == 0 || bytes % u64::from(encoding_bytes) != 0 {
            return Err(
                self.refuse(&format!("has {bytes} bytes, which is not a multiple of {encoding_bytes}"))
            );
        }
        let records = u32::try_from(records)
            .ok()
            .filter(|records| *records <= RECORDS_MAX)
            .ok_or_else(|| self.refuse(&format!("has more than {RECORDS_MAX} records")))?;
        let mut matrix = self.workspace.stage();
        let entries = self.workspace.file().or_fail()?;
        let summary =
            binary::read(file, records, encoding_bytes, &mut matrix).map_err(|error| self.explain(&error))?;
        self.finish(summary, matrix, entries)
    }

    fn finish(
        &self,
        summary: Summary,
        matrix: Staged,
        mut entries: Box<dyn ScratchFile>,
    ) -> Result<Input, Failure> {
        let matrix = self.workspace.matrix(self.party, matrix).or_fail()?;
        entries.rewind().or_fail()?;
        Ok(Input { path: self.path.to_owned(), summary, matrix, entries })
    }

    /// Opens the file, and decompresses it if it is compressed.
    fn open(&self) -> Result<File, Failure> {
        packed::open_with(self.path, || self.workspace.nameless())
    }

    fn explain(&self, error: &Error) -> Failure {
        let is_csv = self.path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
        let hint = if is_csv { "; to link CSVs, give --schema" } else { "" };
        let text = format!("{}: {}{hint}", self.path.display(), chain(error));
        match error {
            Error::Rejected(_) => Failure::Input(text),
            Error::Source(_) | Error::Sink(_) => Failure::Failed(text),
        }
    }

    fn refuse(&self, problem: &str) -> Failure {
        Failure::Input(format!("{}: {problem}", self.path.display()))
    }
}

/// Checks the encoding size as the server does before a run.
pub(super) fn check_size(input: &Input) -> Result<(), Failure> {
    let checked = check_comparable(input.summary.encoding_bytes);
    checked.map_err(|error| Failure::Input(format!("{}: {error}", input.path.display())))
}

/// Checks that two files can be linked with one another.
fn check_likeness(first: &Input, other: &Input) -> Result<(), Failure> {
    let (path, first_path) = (other.path.display(), first.path.display());
    let (bytes, first_bytes) = (other.summary.encoding_bytes, first.summary.encoding_bytes);
    if bytes != first_bytes {
        return Err(Failure::Input(format!(
            "{path}: its encodings have {bytes} bytes, but those of {first_path} have {first_bytes}"
        )));
    }
    if other.summary.has_blocks != first.summary.has_blocks {
        let with = |has_blocks| if has_blocks { "blocks" } else { "no blocks" };
        return Err(Failure::Input(format!(
            "{path}: it has {}, but {first_path} has {}",
            with(other.summary.has_blocks),
            with(first.summary.has_blocks)
        )));
    }
    Ok(())
}
