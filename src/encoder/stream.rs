//! Encodes a CSV file. Batch by batch, rows are read, encoded by several threads and written in their order.

use std::io::Read;

use rayon::prelude::*;

use super::buffer::wipe_stack;
use super::csv::{self, Batch, Reader};
use super::record::{RecordEncoder, Refusal};
use super::schema::Schema;

/// The rows of a batch for each thread. Their text and encodings stay in the L2 cache until they are written.
const BATCH_ROWS: usize = 2048;
/// The most rows in a batch.
const BATCH_ROWS_MAX: usize = 16_384;

/// The handling of the first row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// It is a header, which must name the columns as the schema does.
    Check,
    /// It is a header, which is not checked.
    Ignore,
    /// There is no header: the first row is a record.
    None,
}

/// An error that ends the encoding early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not CSV.
    #[error(transparent)]
    Csv(#[from] csv::Error),
    /// The file is empty, without even a header.
    #[error("the file is empty")]
    Empty,
    /// The header does not fit the schema.
    #[error("line {line} (the header): {rule}")]
    Header {
        /// The line of the header.
        line: u64,
        /// The rule that the header breaks.
        rule: String,
    },
    /// A row does not fit the schema.
    #[error("{0}")]
    Row(BadRow),
    /// The encodings cannot be written.
    #[error("{0}")]
    Write(std::io::Error),
}

/// A row that cannot be encoded.
#[derive(Clone, Debug)]
pub struct BadRow {
    /// The number of the row, from 0, as records are numbered. The header is not counted.
    pub row: u64,
    /// The line in which the row begins, from 1. The header is in line 1.
    pub line: u64,
    /// The number of the column, from 1, and its name.
    pub column: Option<(usize, String)>,
    /// The rule that the row breaks.
    pub rule: String,
    /// The value. It is personal data, so the message leaves it out.
    pub value: Option<String>,
}

impl std::fmt::Display for BadRow {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "line {}", self.line)?;
        if let Some((number, name)) = &self.column {
            write!(formatter, ", column {number} ({name})")?;
        }
        write!(formatter, ": {}", self.rule)
    }
}

/// Receives the encodings.
pub trait Sink {
    /// Receives the encodings of the next rows, with the number of rows read so far.
    ///
    /// # Errors
    /// The encodings cannot be written.
    fn encodings(&mut self, rows: &[u8], read: u64) -> std::io::Result<()>;

    /// Receives a rejected row; returns false to stop the encoding.
    ///
    /// # Errors
    /// The report cannot be written.
    fn refused(&mut self, row: &BadRow) -> std::io::Result<bool>;
}

/// Encodes the rows of `reader` on the current thread pool, with one encoder for each thread. Returns the number of
/// rows.
///
/// # Errors
/// [`Error`]; the sink has received the encodings before it.
pub fn encode<R: Read + Send>(
    reader: &mut Reader<R>,
    header: Header,
    schema: &Schema,
    secret: &[u8],
    sink: &mut impl Sink,
) -> Result<u64, Error> {
    let encoded = encode_rows(reader, header, schema, secret, sink);
    rayon::broadcast(|_| wipe_stack());
    encoded
}

fn encode_rows<R: Read + Send>(
    reader: &mut Reader<R>,
    header: Header,
    schema: &Schema,
    secret: &[u8],
    sink: &mut impl Sink,
) -> Result<u64, Error> {
    check_header(reader, header, schema)?;
    let first = RecordEncoder::new(schema, secret);
    let more = (1..rayon::current_num_threads()).map(|_| RecordEncoder::new(schema, secret));
    let mut hands: Vec<Hand> = std::iter::once(first).chain(more).map(Hand::new).collect();
    let (mut batch, mut next) = (Batch::default(), Batch::default());
    let mut rows = 0;
    let batch_rows = (hands.len() * BATCH_ROWS).min(BATCH_ROWS_MAX);
    let mut filled = reader.fill(&mut batch, batch_rows);
    while !batch.is_empty() {
        next.clear();
        let (read, ()) = match filled {
            // Rows that were read before the error are encoded first.
            Err(error) => (Err(error), encode_batch(&mut hands, &batch)),
            Ok(()) => rayon::join(|| reader.fill(&mut next, batch_rows), || encode_batch(&mut hands, &batch)),
        };
        hand_on(&hands, &batch, rows, schema, sink)?;
        rows += batch.len() as u64;
        std::mem::swap(&mut batch, &mut next);
        filled = read;
    }
    filled?;
    Ok(rows)
}

/// One thread's encoder, with its share of the encodings of a batch.
struct Hand {
    encoder: RecordEncoder,
    first: usize,
    encodings: Vec<u8>,
    refused: Vec<(usize, Refusal)>,
}

impl Hand {
    const fn new(encoder: RecordEncoder) -> Self {
        Self { encoder, first: 0, encodings: Vec::new(), refused: Vec::new() }
    }

    fn encode(&mut self, batch: &Batch, rows: std::ops::Range<usize>) {
        self.first = rows.start;
        self.encodings.clear();
        self.refused.clear();
        self.encoder.encode(batch, rows, &mut self.encodings, &mut self.refused);
    }
}

/// Encodes a batch. Each encoder takes a share.
fn encode_batch(hands: &mut [Hand], batch: &Batch) {
    let share = batch.len().div_ceil(hands.len()).max(1);
    hands.par_iter_mut().enumerate().for_each(|(number, hand)| {
        let first = (number * share).min(batch.len());
        hand.encode(batch, first..(first + share).min(batch.len()));
    });
}

/// Passes the encodings of a batch and the rejected rows to the sink.
fn hand_on(
    hands: &[Hand],
    batch: &Batch,
    before: u64,
    schema: &Schema,
    sink: &mut impl Sink,
) -> Result<(), Error> {
    for hand in hands {
        for (at, refusal) in &hand.refused {
            let bad = bad_row(batch, *at, before, refusal, schema);
            if !sink.refused(&bad).map_err(Error::Write)? {
                let good = (at - hand.first) * hand.encoder.encoding_bytes();
                let read = before + *at as u64;
                sink.encodings(&hand.encodings[..good.min(hand.encodings.len())], read)
                    .map_err(Error::Write)?;
                return Err(Error::Row(bad));
            }
        }
        sink.encodings(&hand.encodings, before + batch.len() as u64).map_err(Error::Write)?;
    }
    Ok(())
}

fn bad_row(batch: &Batch, at: usize, before: u64, refusal: &Refusal, schema: &Schema) -> BadRow {
    let row = batch.row(at);
    BadRow {
        row: before + at as u64,
        line: row.line(),
        column: refusal.column.map(|column| (column + 1, schema.features[column].identifier.clone())),
        rule: refusal.rule.clone(),
        value: refusal.column.map(|column| row.field(column).to_owned()),
    }
}

/// Reads the header, and checks it against the schema.
fn check_header<R: Read>(reader: &mut Reader<R>, header: Header, schema: &Schema) -> Result<(), Error> {
    if header == Header::None {
        return Ok(());
    }
    let mut batch = Batch::default();
    reader.fill(&mut batch, 1)?;
    if batch.is_empty() {
        return Err(Error::Empty);
    }
    let row = batch.row(0);
    match header_rule(&row.fields().collect::<Vec<_>>(), schema) {
        Some(rule) if header == Header::Check => Err(Error::Header { line: row.line(), rule }),
        _ => Ok(()),
    }
}

/// The most names of columns in a message.
const NAMES_MAX: usize = 5;

/// Characters that often separate columns, and their names on the command line.
const DELIMITERS: [(char, &str); 4] = [(',', "','"), (';', "';'"), ('\t', "tab"), ('|', "'|'")];

fn counted(columns: usize) -> String {
    if columns == 1 { "there is 1 column".to_owned() } else { format!("there are {columns} columns") }
}

/// Returns the rule of the schema that a header breaks. Without any name of the schema, the row may be a record, and the rule
/// has no text of it.
pub fn header_rule(names: &[&str], schema: &Schema) -> Option<String> {
    let features = &schema.features;
    let differs = names.iter().zip(features).position(|(name, feature)| **name != feature.identifier);
    if differs.is_none() && names.len() == features.len() {
        return None;
    }
    let has = |name: &str| features.iter().any(|feature| feature.identifier == name);
    // A name that differs in case, or by blanks around it, still marks the row as a header.
    let resembles = |name: &str| {
        features.iter().any(|feature| feature.identifier.to_lowercase() == name.trim().to_lowercase())
    };
    if !names.iter().any(|name| resembles(name)) {
        let split = DELIMITERS.iter().find(|(delimiter, _)| {
            names.len() < features.len()
                && names.iter().flat_map(|name| name.split(*delimiter)).any(resembles)
        });
        if let Some((_, name)) = split {
            return Some(format!("the columns are separated by another character: --delimiter {name}"));
        }
        let counts = format!("{}; the schema has {}", counted(names.len()), features.len());
        let counts = if names.len() == features.len() { String::new() } else { format!("{counts}; and ") };
        return Some(format!(
            "{counts}none has a name of the schema: is it a record, without a header above it?"
        ));
    }
    let repeated = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name));
    if let Some((at, name)) = repeated {
        return Some(format!("column {} has the name of an earlier one: {name}", at + 1));
    }
    if names.len() != features.len() {
        let unknown = names.iter().copied().filter(|name| !has(name));
        let absent = features.iter().map(|feature| feature.identifier.as_str());
        let absent = absent.filter(|name| !names.contains(name));
        return Some(format!(
            "{}; the schema has {}{}{}",
            counted(names.len()),
            features.len(),
            listed("; it does not have", unknown),
            listed("; the file lacks", absent)
        ));
    }
    let at = differs?;
    Some(format!(
        "column {} is named {:?}; the schema has {:?} there",
        at + 1,
        names[at],
        features[at].identifier
    ))
}

/// Returns names after an introduction; nothing if there are none.
fn listed<'a>(introduction: &str, names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.map(|name| format!("{name:?}")).collect();
    if names.is_empty() {
        return String::new();
    }
    let more = if names.len() > NAMES_MAX { ", ..." } else { "" };
    format!("{introduction} {}{more}", names[..names.len().min(NAMES_MAX)].join(", "))
}
