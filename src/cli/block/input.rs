//! Reads the records to block.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use encoder::blocking::{self, Blocks, Config, LambdaFold, Method, StrategyStatistics};
use encoder::csv::{self, Batch, Reader};
use serde::Deserialize;

use crate::cli::exit::Failure;
use crate::cli::progress::Progress;
use crate::cli::schema_file::read_text;
use crate::cli::table::{Counted, Done, TableArguments, cannot_read};

/// The number of rows read at a time. They stay in the L2 cache.
const BATCH_ROWS: usize = 2048;

/// The blocks, with statistics about them.
pub(super) struct Blocked {
    pub(super) blocks: Blocks,
    pub(super) strategies: Vec<StrategyStatistics>,
    pub(super) records: usize,
    pub(super) config: Config,
}

/// An upload of encodings.
#[derive(Deserialize)]
struct Encodings {
    clks: Vec<String>,
}

/// The files to read.
pub(super) struct Source<'a> {
    pub(super) data: &'a Path,
    pub(super) config: &'a Path,
    pub(super) table: &'a TableArguments,
    pub(super) has_header: bool,
}

/// Creates the blocks.
pub(super) fn block(source: &Source<'_>, progress: Progress) -> Result<Blocked, Failure> {
    let text = read_text(source.config)?;
    let takes_encodings =
        Config::takes_encodings(&text).map_err(|mistakes| refuse(source.config, &mistakes))?;
    if takes_encodings {
        return block_encodings(source, &text);
    }
    let (reader, done) = source.table.open(source.data)?;
    let mut table =
        Table { reader, done, path: source.data, progress, batch: Batch::default(), rows: 0, columns: None };
    let header = if source.has_header { Some(table.header()?) } else { None };
    let config =
        Config::read(&text, header.as_deref()).map_err(|mistakes| refuse(source.config, &mistakes))?;
    let (blocks, strategies) = match &config.method {
        Method::PSig(settings) => {
            let mut building = settings.begin();
            table.for_each(|row| building.add(row))?;
            building.finish().map_err(|error| table.refuse(&error))?
        }
        Method::LambdaFold(settings) => {
            let mut building = settings.begin();
            table.for_each(|row| building.add(row))?;
            (building.finish().map_err(|error| table.refuse(&error))?, Vec::new())
        }
    };
    table.progress.finish();
    Ok(Blocked { blocks, strategies, records: table.rows as usize, config })
}

fn block_encodings(source: &Source<'_>, text: &str) -> Result<Blocked, Failure> {
    let config = Config::read(text, None).map_err(|mistakes| refuse(source.config, &mistakes))?;
    let Method::LambdaFold(settings) = &config.method else {
        return Err(Failure::Input("only lambda-fold accepts encodings".to_owned()));
    };
    let (blocks, records) = fold(settings, source.data)?;
    Ok(Blocked { blocks, strategies: Vec::new(), records, config })
}

fn fold(settings: &LambdaFold, path: &Path) -> Result<(Blocks, usize), Failure> {
    let file: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(|error| cannot_read(path, &error))?)
    };
    let refused = |problem: &dyn std::fmt::Display| Failure::Input(format!("{}: {problem}", path.display()));
    let encodings: Encodings = serde_json::from_reader(BufReader::new(file)).map_err(|error| {
        // The parser's message may quote an encoding.
        let (line, column) = (error.line(), error.column());
        refused(&format!("line {line}, column {column}: this is not JSON of the form {{\"clks\": [...]}}"))
    })?;
    let mut building = settings.begin();
    for (number, encoding) in encodings.clks.iter().enumerate() {
        let added = building.add_encoding(encoding);
        added.map_err(|error| refused(&format!("encoding {number}: {error}")))?;
    }
    let blocks = building.finish().map_err(|error| refused(&error))?;
    Ok((blocks, encodings.clks.len()))
}

fn refuse(path: &Path, problem: &dyn std::fmt::Display) -> Failure {
    Failure::Input(format!("{}: {problem}", path.display()))
}

/// The rows of a CSV.
struct Table<'a> {
    reader: Reader<Counted>,
    done: Done,
    path: &'a Path,
    progress: Progress,
    batch: Batch,
    rows: u64,
    columns: Option<usize>,
}

impl Table<'_> {
    fn fill(&mut self, rows: usize) -> Result<(), Failure> {
        self.batch.clear();
        self.reader.fill(&mut self.batch, rows).map_err(|error| match error {
            csv::Error::Read(error) => cannot_read(self.path, &error),
            broken @ csv::Error::Broken { .. } => self.refuse(&broken),
        })
    }

    fn header(&mut self) -> Result<Vec<String>, Failure> {
        self.fill(1)?;
        if self.batch.is_empty() {
            return Err(self.refuse(&"the file is empty"));
        }
        let names: Vec<String> = self.batch.row(0).fields().map(ToOwned::to_owned).collect();
        self.columns = Some(names.len());
        Ok(names)
    }

    /// Calls `each` with every row, after trimming the values.
    fn for_each(
        &mut self,
        mut each: impl FnMut(&[&str]) -> Result<(), blocking::Error>,
    ) -> Result<(), Failure> {
        let task = format!("blocking {}", self.path.display());
        loop {
            self.progress.show(&task, self.done.share());
            self.fill(BATCH_ROWS)?;
            if self.batch.is_empty() {
                return Ok(());
            }
            let mut values = Vec::new();
            for at in 0..self.batch.len() {
                let row = self.batch.row(at);
                self.rows += 1;
                let place = |rule: &dyn std::fmt::Display| format!("line {}: {rule}", row.line());
                let columns = *self.columns.get_or_insert(row.len());
                if row.len() != columns {
                    let rule = format!("the row has {} columns; those before have {columns}", row.len());
                    return Err(self.refuse(&place(&rule)));
                }
                values.clear();
                values.extend(row.fields().map(trimmed));
                each(&values).map_err(|error| self.refuse(&place(&error)))?;
            }
        }
    }

    fn refuse(&self, problem: &dyn std::fmt::Display) -> Failure {
        refuse(self.path, problem)
    }
}

/// Removes whitespace at both ends.
fn trimmed(value: &str) -> &str {
    let is_plain = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_graphic);
    let bytes = value.as_bytes();
    if is_plain(bytes.first()) && is_plain(bytes.last()) { value } else { value.trim_matches(is_blank) }
}

/// Returns true for a character that `str.strip` removes in Python.
fn is_blank(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\x1c'..='\x1f')
}
