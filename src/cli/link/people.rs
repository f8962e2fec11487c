//! Encodes a CSV of people, without the rows that are already linked.

use std::io::{self, Write};
use std::path::Path;

use encoder::csv;
use encoder::schema::Schema;
use encoder::stream::{self, BadRow, Error, Header};
use linkage::encoding::Summary;

use super::input::Input;
use super::workspace::Workspace;
use crate::cli::exit::{Failure, OrFail};
use crate::cli::progress::Progress;
use crate::cli::table::{TableArguments, cannot_read};
use crate::objects::Staged;

/// The parameters of the encoding of tables.
#[derive(Clone, Copy)]
pub(super) struct Encoding<'a> {
    pub(super) schema: &'a Schema,
    pub(super) secret: &'a [u8],
    pub(super) header: Header,
    pub(super) table: &'a TableArguments,
}

/// The encodings of a table.
pub(super) struct Encoded {
    pub(super) input: Input,
    /// The row of the table, from 0, of each encoding.
    pub(super) rows: Vec<u32>,
}

impl Encoding<'_> {
    /// Encodes the rows of the CSV at `path` that are not `taken`; `None` if there are none.
    pub(super) fn encode(
        &self,
        path: &Path,
        taken: &[bool],
        (party, workspace): (usize, &Workspace),
        progress: &mut Progress,
    ) -> Result<Option<Encoded>, Failure> {
        let (mut reader, done) = self.table.open(path)?;
        let encoding_bytes = self.schema.encoding_bytes();
        let task = format!("encoding {}", path.display());
        let mut rows = Rows {
            matrix: workspace.stage(),
            encoding_bytes,
            taken,
            row: 0,
            kept: Vec::new(),
            show: &mut || progress.show(&task, done.share()),
        };
        let encoded = stream::encode(&mut reader, self.header, self.schema, self.secret, &mut rows);
        encoded.map_err(|error| explain(path, &error))?;
        let (matrix, kept) = (rows.matrix, rows.kept);
        let records = u32::try_from(kept.len()).or_fail()?;
        if records == 0 {
            return Ok(None);
        }
        let summary =
            Summary { records, encoding_bytes: encoding_bytes as u32, has_blocks: false, entries: 0 };
        let matrix = workspace.matrix(party, matrix).or_fail()?;
        let entries = Box::new(workspace.nameless().or_fail()?);
        Ok(Some(Encoded { input: Input { path: path.to_owned(), summary, matrix, entries }, rows: kept }))
    }
}

fn explain(path: &Path, error: &Error) -> Failure {
    match error {
        Error::Write(error) => Failure::Failed(format!("cannot write encodings: {error}")),
        Error::Csv(csv::Error::Read(error)) => cannot_read(path, error),
        error => Failure::Input(format!("{}: {error}", path.display())),
    }
}

/// Receives encodings in the order of their rows.
struct Rows<'a> {
    matrix: Staged,
    encoding_bytes: usize,
    taken: &'a [bool],
    row: usize,
    kept: Vec<u32>,
    show: &'a mut dyn FnMut(),
}

impl stream::Sink for Rows<'_> {
    fn encodings(&mut self, rows: &[u8], _read: u64) -> io::Result<()> {
        (self.show)();
        for row in rows.chunks_exact(self.encoding_bytes) {
            if !self.taken.get(self.row).copied().unwrap_or(false) {
                self.matrix.write_all(row)?;
                self.kept.push(u32::try_from(self.row).map_err(io::Error::other)?);
            }
            self.row += 1;
        }
        Ok(())
    }

    fn refused(&mut self, _row: &BadRow) -> io::Result<bool> {
        Ok(false)
    }
}
