//! `entityd link`: links files without a server.

mod advice;
mod chart;
mod compare;
mod csv;
mod input;
mod linked;
mod party;
mod people;
mod result;
mod tables;
mod truth;
mod workspace;
mod write;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use self::compare::Comparison;
use linkage::similarity::Kernel;

use self::result::{Format, ResultKind};
use self::workspace::Workspace;
use super::Failure;
use super::columns::counted;
use super::destination::{Destination, differs};
use super::output::note;
use super::progress::Progress;
use super::table::cannot_read;
use crate::cli::number::whole;
use crate::model::Threshold;
use crate::runtime::compute::Pool;

/// Links files of encodings, or CSVs, without a server
///
/// Each file is one party's upload: JSON as for the API (`clks`, `clknblocks`, or `encodings` with or without
/// `blocks`), or, if its name ends in .bin, rows of --encoding-bytes bytes without separators. A file may be compressed
/// with gzip or zstd (.bin.gz, .bin.zst). All files must have encodings of the same size, a multiple of 8 bytes, and
/// either all or none must have blocks. The datasets are numbered in the order of the files, which also decides between
/// equal scores. The result is the same as that of a server. Temporary files go to TMPDIR or /tmp, which should have
/// space for twice the files; if that directory is missing, they go to /var/tmp or the current directory.
///
/// With --schema the files are CSVs. Each is encoded first, and records are numbered from 0 in the order of the rows. The
/// result is a CSV with a line for each linked record (`group`, dataset, record, the id, and its best score), or with
/// --scores for each pair within a group. The command fails if a row breaks a rule of the schema.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A file for each party, at least two; one with --dedupe
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Minimum Dice coefficient of a candidate pair
    #[arg(long, value_name = "T")]
    threshold: Threshold,
    /// Result to write
    #[arg(long, value_enum, default_value = "groups")]
    result: ResultKind,
    /// Show the pairs within each group with their scores: in JSON as the member `scores`, a list for each group
    #[arg(long)]
    scores: bool,
    /// Format of the result [default: that of the extension of FILE, .json or .csv; for any other, json, and csv with
    /// --schema]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write to this file, which appears when it is complete, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Bytes in an encoding of a .bin file
    #[arg(long, value_name = "BYTES", conflicts_with = "schema", value_parser = whole::<u32>(1..=4096))]
    encoding_bytes: Option<u32>,
    /// Maximum number of candidate pairs to find; protects memory and disk
    #[arg(long, value_name = "N", default_value_t = 500_000_000, value_parser = whole::<u64>(0..))]
    pairs_max: u64,
    /// Comparison kernel: portable, popcnt, avx2, avx512, amx or neon [default: the fastest that runs here]
    #[arg(long, value_name = "NAME", value_parser = crate::cli::context::kernel)]
    kernel: Option<Kernel>,
    /// Number of threads that compare; 0 means one for each core
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole::<u16>(0..=1024))]
    threads: u16,
    #[command(flatten)]
    tables: tables::Options,
}

impl Arguments {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let pool = Pool::new(self.threads.into())
            .map_err(|error| Failure::Failed(format!("cannot start threads: {error}")))?;
        let comparison = Comparison {
            threshold: self.threshold,
            kernel: self.kernel.unwrap_or_default(),
            pairs_max: self.pairs_max,
            pool: &pool,
        };
        // A file that is missing would otherwise be noticed after those before it were encoded.
        for path in &self.files {
            fs::metadata(path).map_err(|error| cannot_read(path, &error))?;
        }
        if self.tables.is_given() { self.link_tables(&comparison) } else { self.link_encodings(&comparison) }
    }

    fn destination(&self, workspace: &Workspace) -> Result<Destination, Failure> {
        let read: Vec<&Path> = self.files.iter().map(PathBuf::as_path).chain(self.tables.read()).collect();
        if let Some(chart) = self.tables.chart() {
            differs(chart, &read)?;
        }
        Destination::open_beside(self.output.as_deref(), &read, workspace.unfinished())
    }

    /// Returns the format of the result; `usual` if nothing names one.
    fn format(&self, usual: Format) -> Format {
        self.format.or_else(|| Format::of(self.output.as_deref()?)).unwrap_or(usual)
    }

    fn link_encodings(&self, comparison: &Comparison<'_>) -> Result<(), Failure> {
        self.tables.check_absent()?;
        if self.files.len() < 2 {
            return Err(Failure::Usage("give a file for each party, at least two".to_owned()));
        }
        if self.scores && self.result == ResultKind::Scores {
            return Err(Failure::Usage("--scores is for groups; --result scores has all scores".to_owned()));
        }
        let workspace = Workspace::open()?;
        let mut destination = self.destination(&workspace)?;
        let mut progress = Progress::new();
        let inputs = input::read(&self.files, self.encoding_bytes, &workspace, &mut progress)?;
        let parties = party::index(inputs, &workspace, &mut progress)?;
        let sizes: Vec<u32> = parties.iter().map(party::Party::records).collect();
        let format = self.format(Format::Json);
        if self.scores {
            let pairs = comparison.run_to_file(&parties, &workspace, &mut progress)?;
            progress.finish();
            let groups = linked::solve(&sizes, || Ok(compare::read(&pairs)?));
            let groups = groups.map_err(|error| result::explain(&error))?;
            let output = write::Output { format, with_scores: true, ids: &[], is_cascade: false };
            output.write(&groups, &mut destination).map_err(|error| Failure::output(&error))?;
            return destination.finish();
        }
        let pairs = comparison.run(&parties, &workspace, &mut progress)?;
        progress.finish();
        result::write((self.result, format), &sizes, pairs, &mut destination)?;
        destination.finish()
    }

    fn link_tables(&self, comparison: &Comparison<'_>) -> Result<(), Failure> {
        if self.result == ResultKind::Scores {
            return Err(Failure::Usage(
                "--result scores: with --schema the result is groups, and --scores shows the pairs within them"
                    .to_owned(),
            ));
        }
        let workspace = Workspace::open()?;
        let mut destination = self.destination(&workspace)?;
        let mut progress = Progress::new();
        let linked = self.tables.link(&self.files, comparison, &mut progress)?;
        progress.finish();
        let output = write::Output {
            format: self.format(Format::Csv),
            with_scores: self.scores,
            ids: &linked.ids,
            is_cascade: self.tables.is_cascade(),
        };
        output.write(&linked.groups, &mut destination).map_err(|error| Failure::output(&error))?;
        destination.finish()?;
        if let Some(path) = &self.output {
            let records: usize = linked.groups.iter().map(|group| group.records.len()).sum();
            let verb = if linked.groups.len() == 1 { "is" } else { "are" };
            let groups = counted(linked.groups.len() as u64, "group");
            note(&format!(
                "{groups} with {} {verb} in {}",
                counted(records as u64, "record"),
                path.display()
            ));
        }
        Ok(())
    }
}
