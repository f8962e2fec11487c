//! Reports rows that break a rule.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use encoder::stream::BadRow;

use crate::cli::destination::{Destination, cannot_write, is_stdout};
use crate::cli::exit::{Failure, complain};
use crate::cli::interrupt::Unfinished;
use crate::cli::quoting::quoted;

/// The maximum number of rows that are named on standard error.
const SHOWN_MAX: u64 = 10;

/// Counts and records the rows that break a rule.
pub(super) struct Report {
    file: Option<(BufWriter<Destination>, PathBuf)>,
    shows_values: bool,
    count: u64,
}

impl Report {
    /// Opens a report in the file at `path`, or one that names the first rows on standard error.
    pub(super) fn open(
        path: Option<&Path>,
        shows_values: bool,
        unfinished: Unfinished,
    ) -> Result<Self, Failure> {
        let open = |path: &Path| -> Result<_, Failure> {
            let file = if shows_values && !is_stdout(path) {
                Destination::open_private(path, &[], unfinished)?
            } else {
                Destination::open(Some(path), unfinished)?
            };
            let mut file = BufWriter::new(file);
            let end: &[u8] = if shows_values { b",value\n" } else { b"\n" };
            let begun = file.write_all(b"row,line,column,name,rule").and_then(|()| file.write_all(end));
            begun.map_err(|error| cannot_write(path, &error))?;
            Ok((file, path.to_owned()))
        };
        let file = path.map(open).transpose()?;
        Ok(Self { file, shows_values, count: 0 })
    }

    /// Adds a row. `is_skipped` is set if the encoding continues without it.
    pub(super) fn add(&mut self, row: &BadRow, is_skipped: bool) -> io::Result<()> {
        self.count += 1;
        let value = row.value.as_deref().filter(|_| self.shows_values);
        if let Some((file, _)) = &mut self.file {
            return write(file, row, value);
        }
        if is_skipped && self.count <= SHOWN_MAX {
            let value = value.map_or_else(String::new, |value| format!("; it is {value:?}"));
            complain(&format!("left out: {row}{value}"));
        } else if is_skipped && self.count == SHOWN_MAX + 1 {
            complain("more rows are left out; --errors FILE lists them");
        }
        Ok(())
    }

    /// Completes the report, and returns the number of rows in it.
    pub(super) fn finish(self) -> Result<u64, Failure> {
        if let Some((file, path)) = self.file {
            let file = file.into_inner().map_err(io::IntoInnerError::into_error);
            file.map_err(|error| cannot_write(&path, &error))?.finish()?;
        }
        Ok(self.count)
    }
}

fn write(file: &mut impl Write, row: &BadRow, value: Option<&str>) -> io::Result<()> {
    let (number, name) = row.column.as_ref().map_or((String::new(), ""), |(at, name)| (at.to_string(), name));
    write!(file, "{},{},{number},{},{}", row.row, row.line, quoted(name), quoted(&row.rule))?;
    match value {
        Some(value) => writeln!(file, ",{}", quoted(value)),
        None => writeln!(file),
    }
}
