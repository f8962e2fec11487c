//! Reports rows that break a rule.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::cli::exit::{Failure, complain};
use crate::cli::quoting::quoted;
use crate::encoder::stream::BadRow;

/// The maximum number of rows that are named on standard error.
const SHOWN_MAX: u64 = 10;

/// Counts and records the rows that break a rule.
pub(super) struct Report {
    file: Option<(BufWriter<File>, PathBuf)>,
    shows_values: bool,
    count: u64,
}

impl Report {
    /// Opens a report in the file at `path`, or one that names the first rows on standard error.
    pub(super) fn open(path: Option<&Path>, shows_values: bool) -> Result<Self, Failure> {
        let open = |path: &Path| {
            let mut file = BufWriter::new(File::create(path)?);
            file.write_all(b"row,line,column,name,rule")?;
            file.write_all(if shows_values { b",value\n" } else { b"\n" })?;
            Ok((file, path.to_owned()))
        };
        let file = path.map(|path| open(path).map_err(|error| failed(path, &error))).transpose()?;
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
        if let Some((mut file, path)) = self.file {
            file.flush().map_err(|error| failed(&path, &error))?;
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

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot write {}: {error}", path.display()))
}
