//! Writes a result as CSV or NDJSON, with the ids of records if they are known.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use clap::ValueEnum;
use serde_json::{Value, json};

use super::read::{Element, Kind, Record, Sink};
use crate::cli::destination::Destination;
use crate::cli::exit::Failure;
use crate::cli::own::Own;
use crate::cli::quoting::quoted;

/// The format of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// As returned by the server
    Json,
    /// A line for each record of a group, each pair or each row
    Csv,
    /// A line with a JSON value for each group, pair or row
    Ndjson,
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
}

impl Writer {
    pub(super) fn new(form: Form, ids: BTreeMap<u64, Own>, out: BufWriter<Destination>) -> Self {
        Self { form, ids, out, count: 0, failed: None }
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
        let end = if self.form == Form::Csv { "\r\n" } else { "\n" };
        let written = self.out.write_all(line.as_bytes()).and_then(|()| self.out.write_all(end.as_bytes()));
        written.map_err(|error| {
            let said = error.to_string();
            self.failed = Some(error);
            said
        })
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
            if !has_ids {
                return Ok(format!("{dataset},{number}"));
            }
            let id = writer.id(record)?.unwrap_or_default();
            Ok(format!("{dataset},{number},{}", quoted(&id)))
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
        if self.form != Form::Csv {
            return Ok(());
        }
        self.line(match (kind, has_ids) {
            (Kind::Groups, false) => "group,dataset,record",
            (Kind::Groups, true) => "group,dataset,record,id",
            (Kind::Scores, false) => "dataset_a,record_a,dataset_b,record_b,score",
            (Kind::Scores, true) => "dataset_a,record_a,id_a,dataset_b,record_b,id_b,score",
            (Kind::GroupScores, false) => "group,dataset_a,record_a,dataset_b,record_b,score",
            (Kind::GroupScores, true) => "group,dataset_a,record_a,id_a,dataset_b,record_b,id_b,score",
            (Kind::Mask, _) => "row,match",
            (Kind::Permutation, _) => "row,new_row",
        })
    }

    fn element(&mut self, element: Element) -> Result<(), String> {
        if self.form == Form::Csv { self.csv(&element) } else { self.ndjson(&element) }?;
        self.count += 1;
        Ok(())
    }
}
