//! `entityd block`: assigns records to blocks. Only records in a common block are compared.

mod input;
mod output;

use std::path::{Path, PathBuf};

use clap::Args;
use encoder::blocking::Statistics;
use encoder::wipe_stack;

use self::input::{Blocked, Source};
use super::destination::Destination;
use super::exit::{Failure, complain};
use super::interrupt::Unfinished;
use super::progress::Progress;
use super::table::TableArguments;
use super::{context, secret};

/// A configuration, for `--help`.
const EXAMPLE: &str = r#"Example, for a CSV with the columns name and born. Records whose names begin with the same three
letters are in a block, and so are those with the same date of birth. Blocks with half of the
records or more are left out.
  {"type": "p-sig", "version": 1, "config": {
    "blocking-features": ["name", "born"],
    "filter": {"type": "ratio", "min": 0, "max": 0.5},
    "blocking-filter": {"type": "bloom filter", "number-hash-functions": 4, "bf-len": 2048},
    "signatureSpecs": [
      [{"type": "characters-at", "config": {"pos": [":3"]}, "feature": "name"}],
      [{"type": "feature-value", "feature": "born"}]]}}"#;

/// Puts the records of a CSV into blocks, so that only records of a block are compared
///
/// The configuration and the blocks are those of blocklib 0.1: P-Sig (with feature-value, characters-at and metaphone) on
/// a CSV, lambda-fold on a CSV or on encodings. Whitespace around values is ignored. The result is JSON with the blocks of
/// each record, numbered from 0, as anonlink-client writes it and as an upload accepts it beside the encodings.
///
/// Block names are hashes of personal data without a key: anyone who can guess a value can check the guess. With
/// --keyed they also depend on a secret. This is incompatible with blocklib: every party must use --keyed.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub(super) struct Arguments {
    /// CSV with a record in each row, or JSON with encodings if the configuration says input-clks; - is standard input
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// Configuration of blocking
    #[arg(long, value_name = "CONFIG.json")]
    config: PathBuf,
    /// Write to this file, which appears when it is complete, instead of standard output
    #[arg(short, long, value_name = "OUT.json")]
    output: Option<PathBuf>,
    /// The first row is a record; the configuration names columns by their numbers, from 0
    #[arg(long)]
    no_header: bool,
    #[command(flatten)]
    table: TableArguments,
    /// Protect block names with a key (HMAC-SHA-256); incompatible with blocklib
    #[arg(long, requires = "secret_file")]
    keyed: bool,
    /// File with the secret that the parties share, for --keyed
    #[arg(long, value_name = "FILE", requires = "keyed")]
    secret_file: Option<PathBuf>,
}

impl Arguments {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let secret = self.secret_file.as_deref().map(secret::read).transpose()?;
        let runtime = context::small_runtime()?;
        let unfinished = Unfinished::watch(&runtime);
        let read: Vec<&Path> = [Some(&self.data), Some(&self.config), self.secret_file.as_ref()]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
            .collect();
        let destination = Destination::open_beside(self.output.as_deref(), &read, unfinished)?;
        let progress = Progress::new();
        let source = Source {
            data: &self.data,
            config: &self.config,
            table: &self.table,
            has_header: !self.no_header,
        };
        let mut blocked = input::block(&source, progress)?;
        wipe_stack();
        let statistics = Statistics::of(&blocked.blocks);
        let is_keyed = secret.is_some();
        if let Some(secret) = secret {
            output::protect(&mut blocked.blocks, &secret);
            drop(secret);
            wipe_stack();
        } else {
            complain(
                "warning: block names are hashes of personal data without a key: anyone who can guess a value can check \
                 the guess; --keyed protects them, if every party uses it",
            );
        }
        let by_record = blocked.blocks.by_record();
        report(&blocked, statistics, by_record.len());
        output::write(&blocked, &by_record, statistics, is_keyed, destination)
    }
}

/// Prints the statistics to standard error.
fn report(blocked: &Blocked, statistics: Statistics, covered: usize) {
    for (number, strategy) in blocked.strategies.iter().enumerate() {
        let Statistics { num_of_blocks, min_size, max_size, avg_size, med_size, std_size, .. } =
            strategy.blocks;
        super::output::note(&format!(
            "strategy {number}: {num_of_blocks} blocks of {min_size} to {max_size} records, mean {avg_size:.2}, \
             median {med_size}, deviation {std_size:.2}; {} records in none, {:.2} % covered",
            strategy.num_filtered_elements,
            strategy.coverage * 100.0
        ));
    }
    let Statistics { num_of_blocks, min_size, max_size, avg_size, med_size, std_size, .. } = statistics;
    super::output::note(&format!(
        "{} records: {num_of_blocks} blocks of {min_size} to {max_size} records, mean {avg_size:.2}, median {med_size}, \
         deviation {std_size:.2}; {:.2} % of the records are in a block",
        blocked.records,
        covered as f64 / blocked.records.max(1) as f64 * 100.0
    ));
}
