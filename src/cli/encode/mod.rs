//! `entityd encode`: encodes a CSV.

mod quality;
mod report;
mod writer;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use encoder::schema::Schema;
use encoder::stream::{self, BadRow, Error, Header, Sink};
use linkage::encoding::check_comparable;
use zeroize::Zeroizing;

use self::quality::Quality;
use self::report::Report;
use self::writer::{Format, Writer};
use super::columns::counted;
use super::destination::{Destination, differs, is_same, is_stdout};
use super::exit::{Failure, complain};
use super::interrupt::Unfinished;
use super::progress::Progress;
use super::record_blocks::Blocks;
use super::schema_file::read_schema_for_encoding;
use super::table::{Done, TableArguments};
use super::{context, output, secret};
use crate::cli::number::whole;
use crate::runtime::compute::Pool;

/// Encodes the people of a CSV as Bloom filters
///
/// The linkage schema says how each column is encoded, in the order of the columns; `entityd schema --help` has an example. The encodings are bit for
/// bit those of clkhash 0.18.3, for schemas of versions 1, 2 and 3. They are written as JSON for an upload
/// ({"clks": [...]}) or, if OUT ends in .bin, as rows of bytes without separators. If OUT also ends in .gz or .zst, they
/// are compressed. Row N of the CSV becomes encoding N. Memory is bounded, regardless of the size of the file.
///
/// All parties must use the same schema and the same secret. The secret is the text of a file, without the line end
/// after it. Keep it from the server and from everyone else.
///
/// Options against attacks on the encodings are in the schema, since they must be the same for all parties: its member
/// "hardening" can have "salt", "xorFolds", "balance" and "blip". The page Encoding of the documentation describes
/// them; the page Attacks shows their effect on each attack.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// CSV with a record in each row; - is standard input
    #[arg(value_name = "DATA.csv")]
    data: PathBuf,
    /// Linkage schema
    #[arg(long, value_name = "SCHEMA.json")]
    schema: PathBuf,
    /// File with the secret that the parties share; - is standard input
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
    /// Write to this file, which appears when it is complete, instead of standard output
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Format of the encodings [default: bin if OUT ends in .bin, .bin.gz or .bin.zst; json otherwise]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Also write the blocks of each row, as `entityd block` and anonlink-client made them from DATA.csv:
    /// {"clknblocks": [[encoding, block, ...], ...]}, an upload for a project with blocks. Rows are numbered from 0,
    /// including those that are left out
    #[arg(long, value_name = "BLOCKS.json")]
    blocks: Option<PathBuf>,
    /// Kind of the first row: the names of the columns as the schema has them, other names, or a record
    #[arg(long, value_enum, default_value = "check")]
    header: HeaderKind,
    #[command(flatten)]
    table: TableArguments,
    /// Reaction to a row that breaks a rule of the schema: stop, or omit it and continue
    #[arg(long, value_enum, default_value = "stop")]
    on_error: OnError,
    /// Write the rows that break a rule to this CSV: row, line, column, name, rule. Rows are numbered from 0 without the
    /// header, as records are; lines from 1, and the header is line 1
    #[arg(long, value_name = "FILE")]
    errors: Option<PathBuf>,
    /// Write statistics of the encodings to this file: popcounts, duplicates, the most frequent encodings; as JSON if it ends
    /// in .json. Takes about 40 bytes of memory per record
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Accept a schema that encodes fewer than three columns, whose encodings are easy to guess from their frequency
    #[arg(long)]
    few_features: bool,
    /// Show the values that break a rule; they are personal data
    #[arg(long)]
    show_values: bool,
    /// Reject a schema with settings that would be silently ignored
    #[arg(long)]
    strict: bool,
    /// Number of threads that encode; 0 means one for each core
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole::<u16>(0..=1024))]
    threads: u16,
}

/// Returns the warning for a schema whose encodings neither a server nor `entityd link` compares.
pub(super) fn comparison_warning(schema: &Schema) -> Option<String> {
    check_comparable(schema.encoding_bytes() as u32).err().map(|error| error.to_string())
}

/// The minimum number of encoded columns of a schema that needs no flag.
pub(super) const FEATURES_MIN: usize = 3;

/// The kind of the first row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum HeaderKind {
    Check,
    Ignore,
    None,
}

impl From<HeaderKind> for Header {
    fn from(kind: HeaderKind) -> Self {
        match kind {
            HeaderKind::Check => Self::Check,
            HeaderKind::Ignore => Self::Ignore,
            HeaderKind::None => Self::None,
        }
    }
}

/// The reaction to a row that breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnError {
    Stop,
    Skip,
}

impl Arguments {
    pub(super) fn run(&self) -> Result<(), Failure> {
        self.check_outputs()?;
        let schema = read_schema_for_encoding(&self.schema, self.strict)?;
        self.check_features(&schema)?;
        if let Some(warning) = comparison_warning(&schema) {
            complain(&format!("warning: {}: {warning}", self.schema.display()));
        }
        let secret = self.secret()?;
        let blocks = self.blocks.as_deref().map(Blocks::read).transpose()?;
        let pool = Pool::new(self.threads.into())
            .map_err(|error| Failure::Failed(format!("cannot start threads: {error}")))?;
        let runtime = context::runtime()?;
        let unfinished = Unfinished::watch(&runtime);
        let (mut reader, done) = self.table.open(&self.data)?;
        let destination = Destination::open(self.output.as_deref(), unfinished)?;
        let encoding_bytes = schema.encoding_bytes();
        let quality = self.report.as_deref().map(|path| Quality::open(path, &schema, unfinished));
        let mut run = Run {
            data: self.data.clone(),
            writer: Writer::new(destination, self.output.as_deref(), self.format, encoding_bytes, blocks)?,
            quality: quality.transpose()?,
            report: Report::open(self.errors.as_deref(), self.show_values, unfinished)?,
            progress: Progress::beside(self.output.as_deref()),
            task: format!("encoding {}", self.data.display()),
            skips: self.on_error == OnError::Skip,
            done,
        };
        // The first encodings may take a while.
        run.progress.show(&run.task, 0.0);
        let header = self.header.into();
        let encoded = pool.install(|| stream::encode(&mut reader, header, &schema, &secret, &mut run));
        // They are overwritten before anything waits for an output.
        drop((reader, secret));
        run.finish(encoded.map_err(|error| self.explain(&error)), self.blocks.as_deref())
    }

    /// Rejects outputs that would replace an input or each other.
    fn check_outputs(&self) -> Result<(), Failure> {
        let read = [self.data.as_path(), &self.schema, &self.secret_file];
        let read: Vec<&Path> = read.into_iter().chain(self.blocks.as_deref()).collect();
        let outputs = [("--output", &self.output), ("--errors", &self.errors), ("--report", &self.report)];
        let stdout = PathBuf::from("-");
        let mut earlier: Vec<(&str, &PathBuf)> = Vec::new();
        for (flag, output) in outputs {
            let Some(path) = output.as_ref().or((flag == "--output").then_some(&stdout)) else { continue };
            differs(path, &read)?;
            if let Some((other, _)) = earlier.iter().find(|(_, earlier)| is_same(earlier, path)) {
                let what = if is_stdout(path) { "are both standard output" } else { "name the same file" };
                return Err(Failure::Usage(format!("{other} and {flag} {what}; give two files")));
            }
            earlier.push((flag, path));
        }
        Ok(())
    }

    /// Rejects a schema with few encoded columns, unless a flag accepts it.
    fn check_features(&self, schema: &Schema) -> Result<(), Failure> {
        let encoded = schema.features.iter().filter(|feature| feature.hashing.is_some()).count();
        if self.few_features || encoded >= FEATURES_MIN {
            return Ok(());
        }
        Err(Failure::Usage(format!(
            "{}: it encodes {encoded} columns, and with fewer than {FEATURES_MIN} frequent values can be recognised in the encodings; \
             encode more, or accept it with --few-features",
            self.schema.display()
        )))
    }

    fn secret(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        if self.secret_file == Path::new("-") && self.data == Path::new("-") {
            return Err(Failure::Usage(
                "only one of the data and the secret can be standard input".to_owned(),
            ));
        }
        secret::read(&self.secret_file)
    }

    fn explain(&self, error: &Error) -> Failure {
        let path = self.data.display();
        match error {
            Error::Write(error) => Failure::output(error),
            Error::Csv(encoder::csv::Error::Read(error)) => super::table::cannot_read(&self.data, error),
            Error::Row(row) => {
                let value = row.value.as_ref().filter(|_| self.show_values);
                let value = value.map_or_else(String::new, |value| format!("; it is {value:?}"));
                Failure::Input(format!("{path}: {row}{value}"))
            }
            _ => Failure::Input(format!("{path}: {error}")),
        }
    }
}

/// An encoding in progress.
struct Run {
    data: PathBuf,
    writer: Writer,
    quality: Option<Quality>,
    report: Report,
    progress: Progress,
    task: String,
    skips: bool,
    done: Done,
}

impl Run {
    fn finish(self, encoded: Result<u64, Failure>, blocks: Option<&Path>) -> Result<(), Failure> {
        self.progress.finish();
        let skipped = self.report.finish()?;
        let rows = encoded?;
        if let Some(path) = blocks {
            self.writer.check_blocks(path, rows)?;
        }
        if skipped == rows {
            // An upload without any encoding is rejected, and a party uploads once.
            let why =
                if rows == 0 { "the file has no record" } else { "every row breaks a rule of the schema" };
            return Err(Failure::Input(format!("{}: {why}", self.data.display())));
        }
        let (encodings, bytes) = self.writer.finish()?;
        self.quality.map_or(Ok(()), Quality::finish)?;
        let left_out = match skipped {
            0 => String::new(),
            1 => "; 1 row broke a rule and was left out".to_owned(),
            _ => format!("; {skipped} rows broke a rule and were left out"),
        };
        let (encodings, rows) = (counted(encodings, "encoding"), counted(rows, "row"));
        output::note(&format!("{encodings} of {bytes} bytes from {rows}{left_out}"));
        Ok(())
    }
}

impl Sink for Run {
    fn encodings(&mut self, rows: &[u8], _read: u64) -> std::io::Result<()> {
        self.progress.show(&self.task, self.done.share());
        if let Some(quality) = &mut self.quality {
            quality.add(rows);
        }
        self.writer.write(rows)
    }

    fn refused(&mut self, row: &BadRow) -> std::io::Result<bool> {
        self.report.add(row, self.skips)?;
        self.writer.leave_out(row.row);
        Ok(self.skips)
    }
}
