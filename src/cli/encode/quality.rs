//! The report on encodings: popcounts, duplicates, the most frequent ones.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use encoder::schema::Schema;
use encoder::statistics::{Counter, Statistics};
use serde_json::{Value, json};

use crate::cli::columns::counted;
use crate::cli::destination::{Destination, ends_in};
use crate::cli::exit::Failure;
use crate::cli::interrupt::Unfinished;

/// Counts the encodings, and writes a report about them.
pub(super) struct Quality {
    counter: Counter,
    hardening: Vec<String>,
    destination: Destination,
    is_json: bool,
}

impl Quality {
    /// Opens the report at `path`: JSON if it ends in `.json`, text otherwise.
    pub(super) fn open(path: &Path, schema: &Schema, unfinished: Unfinished) -> Result<Self, Failure> {
        let is_json = ends_in(path, "json");
        Ok(Self {
            counter: Counter::new(schema.encoding_bytes()),
            hardening: schema.hardening_in_words(),
            destination: Destination::open(Some(path), unfinished)?,
            is_json,
        })
    }

    pub(super) fn add(&mut self, rows: &[u8]) {
        self.counter.add(rows);
    }

    /// Writes the report.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let statistics = self.counter.statistics();
        let text = if self.is_json {
            format!("{:#}\n", json(&statistics, &self.hardening))
        } else {
            text(&statistics, &self.hardening)
        };
        let mut destination = self.destination;
        destination.write_all(text.as_bytes()).map_err(|error| Failure::output(&error))?;
        destination.finish()
    }
}

fn json(statistics: &Statistics, hardening: &[String]) -> Value {
    let Statistics { encodings, bits, mean, percentiles, empty, distinct, duplicated, most_frequent } =
        statistics;
    let percentiles: Vec<_> = percentiles
        .iter()
        .map(|(percent, popcount)| json!({"percentile": percent, "popcount": popcount}))
        .collect();
    let most_frequent: Vec<_> = most_frequent
        .iter()
        .map(|frequent| json!({"occurrences": frequent.occurrences, "first_encoding": frequent.first}))
        .collect();
    let mut report = json!({
        "encodings": encodings, "bits": bits, "mean_popcount": mean, "popcounts": percentiles, "empty": empty,
        "distinct": distinct, "duplicated": duplicated, "most_frequent": most_frequent,
    });
    if !hardening.is_empty() {
        report["hardening"] = json!(hardening);
    }
    report
}

fn text(statistics: &Statistics, hardening: &[String]) -> String {
    let Statistics { encodings, bits, mean, percentiles, empty, distinct, duplicated, most_frequent } =
        statistics;
    let share = |part: f64, whole: f64| if whole > 0.0 { 100.0 * part / whole } else { 0.0 };
    let mut text = format!("{} of {bits} bits\n", counted(*encodings, "encoding"));
    for line in hardening {
        let _ = writeln!(text, "{line}");
    }
    text.push_str("\npopcounts\n");
    for (percent, popcount) in percentiles {
        let name = match percent {
            0 => "minimum".to_owned(),
            50 => "median".to_owned(),
            100 => "maximum".to_owned(),
            percent => format!("{percent} %"),
        };
        let _ = writeln!(
            text,
            "  {name:<8} {popcount:>6}  {:>5.1} % of the bits",
            share(*popcount as f64, *bits as f64)
        );
    }
    let _ = writeln!(text, "  {:<8} {mean:>6.1}  {:>5.1} % of the bits", "mean", share(*mean, *bits as f64));
    let _ = write!(
        text,
        "\nno bit set        {empty}\ndistinct          {distinct}\nmore than once    {duplicated} ({:.2} %)\n",
        share(*duplicated as f64, *encodings as f64)
    );
    if !most_frequent.is_empty() {
        text.push_str("\nthe most frequent encodings\n  occurrences  first at encoding\n");
    }
    for frequent in most_frequent {
        let _ = writeln!(text, "  {:>11}  {:>17}", frequent.occurrences, frequent.first);
    }
    text
}
