//! `entityd link`: files in, result out, no server.

mod compare;
mod csv;
mod input;
mod party;
mod result;
mod workspace;

use std::path::{Path, PathBuf};

use clap::Args;

use self::compare::Comparison;

use self::result::{Format, ResultKind};
use self::workspace::Workspace;
use super::Failure;
use super::destination::Destination;
use super::progress::Progress;
use crate::linkage::similarity::Kernel;
use crate::model::Threshold;
use crate::runtime::compute::Pool;

/// Links files of encodings without a server
///
/// Each file is one party's upload: JSON as for the API (`clks`, `clknblocks`, or `encodings` with or without
/// `blocks`), or, if its name ends in .bin, rows of --encoding-bytes bytes without anything between them. A
/// file may be compressed with gzip or zstd (.bin.gz, .bin.zst). All files have encodings of the same size, a
/// multiple of 8 bytes, and all have blocks or none has. The order of the files numbers the datasets, and
/// decides between equal scores. The result is the one that a server would return. Temporary files go to
/// TMPDIR, or /tmp, which should have space for twice the files; if that is missing, to /var/tmp or the
/// current directory.
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(super) struct Arguments {
    /// A file for each party, at least two
    #[arg(required = true, num_args = 2.., value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Least Dice coefficient of a candidate pair
    #[arg(long, value_name = "T")]
    threshold: Threshold,
    /// Result to write
    #[arg(long, value_enum, default_value = "groups")]
    result: ResultKind,
    /// Format to write it in
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
    /// Write to this file, which appears when it is complete, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Bytes in an encoding of a .bin file
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=4096))]
    encoding_bytes: Option<u32>,
    /// Most candidate pairs to find; protects memory and disk
    #[arg(long, value_name = "N", default_value_t = 500_000_000)]
    pairs_max: u64,
    /// Comparison kernel: portable, popcnt, avx2, avx512 or neon [default: the fastest that runs here]
    #[arg(long, value_name = "NAME", value_parser = crate::cli::context::kernel)]
    kernel: Option<Kernel>,
    /// Threads that compare; 0 is one for each core
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1024))]
    threads: u16,
}

impl Arguments {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let pool = Pool::new(self.threads.into())
            .map_err(|error| Failure::Failed(format!("cannot start threads: {error}")))?;
        let workspace = Workspace::open()?;
        let read: Vec<&Path> = self.files.iter().map(PathBuf::as_path).collect();
        let mut destination =
            Destination::open_beside(self.output.as_deref(), &read, workspace.unfinished())?;
        let mut progress = Progress::new();
        let inputs = input::read(&self.files, self.encoding_bytes, &workspace, &mut progress)?;
        let parties = party::index(inputs, &workspace, &mut progress)?;
        let sizes: Vec<u32> = parties.iter().map(party::Party::records).collect();
        let comparison = Comparison {
            threshold: self.threshold,
            kernel: self.kernel.unwrap_or_default(),
            pairs_max: self.pairs_max,
            pool: &pool,
        };
        let pairs = comparison.run(&parties, &workspace, &mut progress)?;
        progress.finish();
        result::write((self.result, self.format), &sizes, pairs, &mut destination)?;
        destination.finish()
    }
}
