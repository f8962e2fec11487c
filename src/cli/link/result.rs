//! Turns sorted candidate pairs into the requested result.

use std::io::Write;
use std::path::Path;

use clap::ValueEnum;
use linkage::pairs::{self, Pair};
use linkage::solver;

use super::csv;
use crate::cli::Failure;
use crate::cli::destination::ends_in;
use crate::telemetry::chain;

/// The kind of result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ResultKind {
    /// Groups of records that belong to one person; each record is in at most one group
    Groups,
    /// Every candidate pair with its score, the best first
    Scores,
}

/// The format of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// As returned by the API
    Json,
    /// A line for each record of a group, or for each pair
    Csv,
}

impl Format {
    /// Returns the format that the extension of a file names.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let named = |(ending, format)| ends_in(path, ending).then_some(format);
        [("json", Self::Json), ("csv", Self::Csv)].into_iter().find_map(named)
    }
}

/// Writes the result for datasets of these sizes. `pairs` are sorted, without duplicates.
pub(super) fn write(
    (kind, format): (ResultKind, Format),
    dataset_sizes: &[u32],
    pairs: impl Iterator<Item = Result<Pair, pairs::Error>>,
    out: impl Write,
) -> Result<(), Failure> {
    match kind {
        ResultKind::Groups => {
            let groups = solver::solve(dataset_sizes, pairs).map_err(|error| explain(&error))?;
            let written = match format {
                Format::Json => solver::write_groups(&groups, out),
                Format::Csv => csv::write_groups(&groups, out),
            };
            written.map_err(|error| Failure::output(&error))
        }
        ResultKind::Scores => {
            let written = match format {
                Format::Json => solver::write_scores(pairs, out).map(drop),
                Format::Csv => csv::write_scores(pairs, out),
            };
            written.map_err(|error| explain(&error))
        }
    }
}

/// Converts an error into the failure to report.
pub(super) fn explain(error: &solver::Error) -> Failure {
    match error {
        solver::Error::Pairs(pairs::Error::Write(error)) => Failure::output(error),
        solver::Error::Pairs(pairs::Error::TooMany { .. }) | solver::Error::TooLarge { .. } => {
            Failure::Input(chain(error))
        }
        solver::Error::Pairs(_) | solver::Error::NoSuchRecord { .. } => Failure::because(error),
    }
}
