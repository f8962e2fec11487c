//! Writes a result as CSV, NDJSON or Arrow, with the ids of records if they are known.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::read::{Element, Record, Sink};
use crate::cli::destination::{Destination, ends_in};
use crate::cli::exit::Failure;
use crate::cli::own::Own;
use crate::cli::result_csv::{self, Kind, columns, names};
use crate::http::arrow::{Table, Value as Cell};

/// The format of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// As returned by the server
    Json,
    /// A line for each record of a group, each pair or each row
    Csv,
    /// A line with a JSON value for each group, pair or row
    Ndjson,
    /// The columns of csv as an Arrow IPC stream
    Arrow,
}

impl Form {
    /// Returns the format that the extension of a file names.
    pub(super) fn of(path: &Path) -> Option<Self> {
        const ENDINGS: [(&str, Form); 6] = [
            ("json", Form::Json),
            ("csv", Form::Csv),
            ("ndjson", Form::Ndjson),
            ("jsonl", Form::Ndjson),
            ("arrow", Form::Arrow),
            ("arrows", Form::Arrow),
        ];
        ENDINGS.into_iter().find(|(ending, _)| ends_in(path, ending)).map(|(_, form)| form)
    }
}

/// Writes the elements of a result.
pub(super) struct Writer {
    pub(super) form: Form,
    /// The ids of records, by dataset.
    pub(super) ids: BTreeMap<u64, Own>,
    pub(super) out: BufWriter<Destination>,
    /// The number of elements so far.
    count: u64,
    failed: Option<io::Error>,
    /// The table of an Arrow stream, after its beginning.
    table: Option<Table>,
    /// Bytes of the table that are not in `out` yet.
    batch: Vec<u8>,
}

impl Writer {
    pub(super) fn new(form: Form, ids: BTreeMap<u64, Own>, out: BufWriter<Destination>) -> Self {
        Self { form, ids, out, count: 0, failed: None, table: None, batch: Vec::new() }
    }

    /// Writes the end of the result.
    pub(super) fn end(mut self) -> Result<BufWriter<Destination>, Failure> {
        if let Some(table) = self.table.take() {
            table.end(&mut self.batch);
            self.write_batch().map_err(|said| self.failure(&said))?;
        }
        Ok(self.out)
    }

    /// Returns the failure of writing a result: the error of the output, if there was one, or else `said`, a message about
    /// the result.
    pub(super) fn failure(&mut self, said: &str) -> Failure {
        match self.failed.take() {
            Some(error) => Failure::output(&error),
            None => Failure::Input(format!("the result: {said}")),
        }
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let written = if self.form == Form::Csv {
            result_csv::write_line(&mut self.out, line)
        } else {
            writeln!(self.out, "{line}")
        };
        written.map_err(|error| self.said(error))
    }

    fn write_batch(&mut self) -> Result<(), String> {
        let written = self.out.write_all(&self.batch);
        self.batch.clear();
        written.map_err(|error| self.said(error))
    }

    /// Keeps an error of the output, and returns its message.
    fn said(&mut self, error: io::Error) -> String {
        let said = error.to_string();
        self.failed = Some(error);
        said
    }

    /// Returns the id of a record; `None` if there are no ids for its dataset.
    fn id(&self, Record(dataset, record): Record) -> Result<Option<String>, String> {
        let Some(own) = self.ids.get(&dataset) else { return Ok(None) };
        let missing = || {
            let rows = own.rows();
            format!(
                "it has record {record} of dataset {dataset}, whose CSV has {rows} rows: is it the right file?"
            )
        };
        own.text(record).ok_or_else(missing)?.map(Some).map_err(|error| error.to_string())
    }

    fn csv(&mut self, element: &Element) -> Result<(), String> {
        let has_ids = !self.ids.is_empty();
        let record = |writer: &Self, record: Record| -> Result<String, String> {
            let Record(dataset, number) = record;
            let id = if has_ids { Some(writer.id(record)?.unwrap_or_default()) } else { None };
            Ok(result_csv::record(dataset, number, id.as_deref()))
        };
        let count = self.count;
        match element {
            Element::Group(records) => records.iter().try_for_each(|one| {
                let line = format!("{count},{}", record(self, *one)?);
                self.line(&line)
            }),
            Element::Score(a, b, score) => {
                let line = format!("{},{},{score:?}", record(self, *a)?, record(self, *b)?);
                self.line(&line)
            }
            Element::GroupScores(pairs) => pairs.iter().try_for_each(|(a, b, score)| {
                let line = format!("{count},{},{},{score:?}", record(self, *a)?, record(self, *b)?);
                self.line(&line)
            }),
            Element::Match(value) | Element::Place(value) => self.line(&format!("{count},{value}")),
        }
    }

    fn arrow(&mut self, element: &Element) -> Result<(), String> {
        let group = Cell::Number(self.count);
        match element {
            Element::Group(records) => records
                .iter()
                .try_for_each(|one| self.cells(std::iter::once(group.clone()).chain(self.record(*one)?))),
            Element::Score(a, b, score) => self.cells(self.pair(*a, *b, *score)?),
            Element::GroupScores(pairs) => pairs.iter().try_for_each(|(a, b, score)| {
                self.cells(std::iter::once(group.clone()).chain(self.pair(*a, *b, *score)?))
            }),
            Element::Match(value) | Element::Place(value) => self.cells([group, Cell::Number(*value)]),
        }
    }

    /// Returns the values of a record in a row.
    fn record(&self, record: Record) -> Result<Vec<Cell>, String> {
        let mut cells = vec![Cell::Number(record.0), Cell::Number(record.1)];
        if !self.ids.is_empty() {
            cells.push(Cell::Text(self.id(record)?));
        }
        Ok(cells)
    }

    /// Returns the values of a pair in a row.
    fn pair(&self, a: Record, b: Record, score: f64) -> Result<Vec<Cell>, String> {
        let mut cells = self.record(a)?;
        cells.append(&mut self.record(b)?);
        cells.push(Cell::Score(score));
        Ok(cells)
    }

    /// Adds a row to the table.
    fn cells(&mut self, cells: impl IntoIterator<Item = Cell>) -> Result<(), String> {
        if let Some(table) = &mut self.table {
            table.row(cells, &mut self.batch).map_err(|misfit| misfit.to_string())?;
        }
        if self.batch.is_empty() { Ok(()) } else { self.write_batch() }
    }

    fn ndjson(&mut self, element: &Element) -> Result<(), String> {
        let has_ids = !self.ids.is_empty();
        let record = |record: &Record| -> Result<Value, String> {
            let Record(dataset, number) = *record;
            if !has_ids {
                return Ok(json!([dataset, number]));
            }
            Ok(json!({ "dataset": dataset, "record": number, "id": self.id(*record)? }))
        };
        let value = match element {
            Element::Group(records) => records.iter().map(record).collect::<Result<Value, _>>()?,
            Element::Score(a, b, score) => json!([record(a)?, record(b)?, score]),
            Element::GroupScores(pairs) => pairs
                .iter()
                .map(|(a, b, score)| Ok(json!([record(a)?, record(b)?, score])))
                .collect::<Result<Value, String>>()?,
            Element::Match(value) | Element::Place(value) => json!(value),
        };
        self.line(&value.to_string())
    }
}

impl Sink for Writer {
    fn begin(&mut self, kind: Kind) -> Result<(), String> {
        let has_ids = !self.ids.is_empty();
        if has_ids && matches!(kind, Kind::Mask | Kind::Permutation) {
            return Err("--id is for groups, scores and the permutation of one party".to_owned());
        }
        match self.form {
            Form::Csv => self.line(&names(kind, has_ids).join(",")),
            Form::Arrow => {
                self.table = Some(Table::begin(&columns(kind, has_ids), &mut self.batch));
                self.write_batch()
            }
            Form::Json | Form::Ndjson => Ok(()),
        }
    }

    fn element(&mut self, element: Element) -> Result<(), String> {
        match self.form {
            Form::Csv => self.csv(&element),
            Form::Arrow => self.arrow(&element),
            Form::Json | Form::Ndjson => self.ndjson(&element),
        }?;
        self.count += 1;
        Ok(())
    }
}
