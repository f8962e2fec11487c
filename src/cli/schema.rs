//! `entityd schema`: checks, converts and describes linkage schemas.

use std::io::Write;
use std::path::PathBuf;
use std::slice::from_ref;

use clap::{Args, Subcommand};
use encoder::schema::{self, Diagnostic};

use super::describe::{Describe, options};
use super::destination::Destination;
use super::encode::{FEATURES_MIN, comparison_warning};
use super::exit::Failure;
use super::interrupt::Unfinished;
use super::schema_file::read_text;
use super::{context, output};

/// A schema, for `--help`.
const EXAMPLE: &str = r#"Example, for a CSV with the header id,name,born (the columns in their order):
  {
    "version": 3,
    "clkConfig": {"l": 1024, "kdf": {"type": "HKDF"}},
    "features": [
      {"identifier": "id", "ignored": true},
      {"identifier": "name", "format": {"type": "string"}, "hashing": {
        "comparison": {"type": "ngram", "n": 2},
        "strategy": {"bitsPerFeature": 300}}},
      {"identifier": "born", "format": {"type": "date", "format": "%Y-%m-%d"}, "hashing": {
        "comparison": {"type": "ngram", "n": 1, "positional": true},
        "strategy": {"bitsPerFeature": 200},
        "missingValue": {"sentinel": ""}}}
    ]
  }
Encode at least three columns; with only two, as here, `entityd encode` asks for --few-features.
`entityd generate people` writes a larger schema to people/schema.json, with CSVs to try it on."#;

/// Checks, converts and describes linkage schemas
///
/// A linkage schema says how each column of a CSV becomes a part of the encodings. It has the format of clkhash.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(Check),
    Convert(Convert),
    Describe(Describe),
}

/// Lists the mistakes in a schema, with line and column
///
/// Also prints warnings about settings that would be silently ignored, and a note if the schema uses "hardening", which
/// clkhash does not have. Exits with 3 if there is a mistake, or with --strict a warning.
#[derive(Debug, Args)]
struct Check {
    /// Linkage schema; - is standard input
    #[arg(value_name = "SCHEMA.json")]
    schema: PathBuf,
    /// Treat warnings as mistakes
    #[arg(long)]
    strict: bool,
}

/// Converts a schema of version 1 or 2 to version 3
///
/// The converted schema gives the same encodings.
#[derive(Debug, Args)]
struct Convert {
    /// Linkage schema; - is standard input
    #[arg(value_name = "SCHEMA.json")]
    schema: PathBuf,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
}

impl Arguments {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match &self.command {
            Command::Check(command) => command.run(),
            Command::Convert(command) => command.run(),
            Command::Describe(command) => command.run(),
        }
    }
}

impl Check {
    fn run(&self) -> Result<(), Failure> {
        let text = read_text(&self.schema)?;
        let path = self.schema.display();
        let print = |kind: &str, mistakes: &[Diagnostic]| {
            let lines = mistakes.iter().map(|mistake| format!("{path}: {kind}: {mistake}\n"));
            output::print(&lines.collect::<String>())
        };
        let refuse = |count: usize, kind: &str| {
            let plural = if count == 1 { "" } else { "s" };
            Failure::Input(format!("{path}: {count} {kind}{plural}"))
        };
        match schema::read(&text) {
            Err(mistakes) => {
                print("mistake", &mistakes.0)?;
                Err(refuse(mistakes.0.len(), "mistake"))
            }
            Ok(schema) => {
                print("warning", &schema.notes)?;
                let note = schema.hardening.as_ref().map(|hardening| from_ref(&hardening.note));
                print("note", note.unwrap_or_default())?;
                if self.strict && !schema.notes.is_empty() {
                    return Err(refuse(schema.notes.len(), "warning"));
                }
                let (encoded, bits) = (
                    schema.features.iter().filter(|feature| feature.hashing.is_some()).count(),
                    schema.encoding_bits(),
                );
                output::print(&format!(
                    "{path}: a valid schema: {encoded} columns become encodings of {bits} bits\n{}",
                    options(&schema)
                ))?;
                if let Some(warning) = comparison_warning(&schema) {
                    output::print(&format!("{path}: note: {warning}\n"))?;
                }
                if encoded < FEATURES_MIN {
                    output::print(&format!(
                        "{path}: note: with fewer than {FEATURES_MIN} encoded columns, `entityd encode` asks for --few-features\n"
                    ))?;
                }
                Ok(())
            }
        }
    }
}

impl Convert {
    fn run(&self) -> Result<(), Failure> {
        let text = read_text(&self.schema)?;
        let refuse = |mistakes: schema::Diagnostics| {
            let lines = mistakes.0.iter().map(|mistake| format!("{}: {mistake}", self.schema.display()));
            Failure::Input(lines.collect::<Vec<_>>().join("\n"))
        };
        let (_, converted) = schema::parse(&text).map_err(refuse)?;
        let runtime = context::runtime()?;
        let mut destination = Destination::open(self.output.as_deref(), Unfinished::watch(&runtime))?;
        let written = writeln!(destination, "{}", converted.to_json());
        written.map_err(|error| Failure::output(&error))?;
        destination.finish()
    }
}
