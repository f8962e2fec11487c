//! Looks up the rows of a party's own CSV. They are held in an unnamed temporary file: they are personal data, and may
//! not fit in memory.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use encoder::csv::{Batch, Error, Row};

use crate::cli::exit::{Failure, OrFail};
use crate::cli::progress::Progress;
use crate::cli::quoting::quoted;
use crate::cli::table::{TableArguments, cannot_read};

/// The number of rows read at a time.
const BATCH_ROWS: usize = 16_384;

/// The options for reading a CSV.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) table: &'a TableArguments,
    pub(super) has_header: bool,
    /// The column whose values are kept; `None` keeps whole rows.
    pub(super) column: Option<&'a str>,
    /// The command-line option that names the column, for messages.
    pub(super) option: &'static str,
}

/// A text for each row: the value of a column, or the whole row as CSV.
pub(super) struct Own {
    texts: File,
    ends: Vec<u64>,
    /// The header row as CSV.
    pub(super) header: Option<String>,
}

impl Own {
    /// Reads the CSV at `path`.
    pub(super) fn read(path: &Path, reading: &Reading<'_>, progress: &mut Progress) -> Result<Self, Failure> {
        let refused = |problem: String| Failure::Input(format!("{}: {problem}", path.display()));
        let (mut reader, done) = reading.table.open(path)?;
        let mut fill = |batch: &mut Batch, rows| {
            batch.clear();
            reader.fill(batch, rows).map_err(|error| match error {
                Error::Read(error) => cannot_read(path, &error),
                broken @ Error::Broken { .. } => refused(broken.to_string()),
            })
        };
        let mut batch = Batch::default();
        let mut header = None;
        if reading.has_header {
            fill(&mut batch, 1)?;
            if batch.is_empty() {
                return Err(refused("the file is empty".to_owned()));
            }
            header = Some(batch.row(0).fields().map(str::to_owned).collect::<Vec<_>>());
        }
        let column = reading.column.map(|name| column(name, header.as_deref())).transpose();
        let column = column.map_err(|problem| refused(format!("{} {problem}", reading.option)))?;
        let mut texts = BufWriter::new(tempfile::tempfile().or_fail()?);
        let (mut ends, mut end) = (Vec::new(), 0);
        let task = format!("reading {}", path.display());
        loop {
            progress.show(&task, done.share());
            fill(&mut batch, BATCH_ROWS)?;
            if batch.is_empty() {
                break;
            }
            for row in (0..batch.len()).map(|at| batch.row(at)) {
                let text = text(row, column).ok_or_else(|| {
                    let (line, columns) = (row.line(), row.len());
                    refused(format!(
                        "line {line}: the row has {columns} columns, and no column with that number"
                    ))
                })?;
                texts.write_all(text.as_bytes()).or_fail()?;
                end += text.len() as u64;
                ends.push(end);
            }
        }
        let texts = texts.into_inner().map_err(io::IntoInnerError::into_error).or_fail()?;
        let header = header.map(|names| line(names.iter().map(String::as_str)));
        Ok(Self { texts, ends, header })
    }

    /// Returns the number of rows.
    pub(super) fn rows(&self) -> u64 {
        self.ends.len() as u64
    }

    /// Returns the text of a row; `None` if there is no such row.
    pub(super) fn text(&self, row: u64) -> Option<io::Result<String>> {
        let row = usize::try_from(row).ok()?;
        let end = *self.ends.get(row)?;
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        let mut text = vec![0; (end - start) as usize];
        let read = self.texts.read_exact_at(&mut text, start);
        Some(read.and_then(|()| String::from_utf8(text).map_err(io::Error::other)))
    }
}

/// Finds a column by its name, or by its number if there is no header.
fn column(name: &str, header: Option<&[String]>) -> Result<usize, String> {
    let Some(header) = header else {
        let number = name.parse().ok().and_then(|number: usize| number.checked_sub(1));
        return number.ok_or_else(|| format!("{name}: without a header give the column's number, from 1"));
    };
    let mut found = header.iter().enumerate().filter(|(_, other)| other.as_str() == name);
    match (found.next(), found.next()) {
        (Some((at, _)), None) => Ok(at),
        (None, _) => Err(format!("{name}: the header has no such column")),
        (Some(_), Some(_)) => Err(format!("{name}: the header has this column more than once")),
    }
}

fn text(row: Row<'_>, column: Option<usize>) -> Option<String> {
    match column {
        Some(at) if at < row.len() => Some(row.field(at).to_owned()),
        Some(_) => None,
        None => Some(line(row.fields())),
    }
}

fn line<'a>(fields: impl Iterator<Item = &'a str>) -> String {
    fields.map(quoted).collect::<Vec<_>>().join(",")
}
