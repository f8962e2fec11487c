//! `entityd bench solve`: candidate pairs grouped per second.

use std::fs::File;
use std::io::{self, Seek};

use linkage::pairs::{self, Pair, Run, Writer, merge_runs};
use linkage::scratch::{Scratch, ScratchFile};
use linkage::solver::{self, solve};
use serde::Serialize;

use crate::cli::Failure;
use crate::cli::number::whole;
use crate::runtime::clock::Stopwatch;

/// Solves random candidate pairs
///
/// The pairs are generated while they are solved, so the measured memory is that of the solver. With --runs they are
/// written to temporary files first, as by a comparison, and are merged while they are solved.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Number of candidate pairs
    #[arg(long, value_name = "N", default_value_t = 5_000_000, value_parser = whole::<u64>(1..))]
    pairs: u64,
    /// Number of parties among which the pairs are distributed
    #[arg(long, value_name = "P", default_value_t = 2, value_parser = whole::<u32>(2..=1024))]
    parties: u32,
    /// Number of records of each party [default: a twentieth of the pairs]
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1..))]
    records: Option<u32>,
    /// Number of sorted files from which the pairs are merged, with 24 bytes for each pair [default: none]
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1..=10_000))]
    runs: Option<u32>,
    /// Print only a line with one JSON object
    #[arg(long)]
    json: bool,
}

/// The measurements.
#[derive(Debug, Serialize)]
struct Report {
    pairs_per_second: f64,
    pairs: u64,
    parties: u32,
    records_per_party: u32,
    runs: u32,
    seconds: f64,
    groups: u64,
    /// The peak memory; `None` if the system does not report it.
    peak_resident_bytes: Option<u64>,
}

impl Arguments {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let twentieth = u32::try_from((self.pairs / 20).max(1)).unwrap_or(u32::MAX);
        let records = self.records.unwrap_or(twentieth);
        let sizes = vec![records; self.parties as usize];
        let pairs = random_pairs(self.pairs, self.parties, records);
        let (solved, seconds) = match self.runs {
            None => timed(|| solve(&sizes, pairs)),
            Some(count) => {
                let files = written(pairs, count).map_err(|error| Failure::Failed(error.to_string()))?;
                let runs = files.into_iter().map(|file| Ok(Box::new(file) as Run<'static>));
                timed(|| solve(&sizes, merge_runs(runs, &Temporary)?))
            }
        };
        let groups = solved.map_err(|error| Failure::Input(error.to_string()))?;
        let mut count = 0;
        let counted: Result<(), solver::Error> = groups.try_for_each(|_| {
            count += 1;
            Ok(())
        });
        counted.map_err(|error| Failure::Failed(error.to_string()))?;
        let report = Report {
            pairs_per_second: self.pairs as f64 / seconds,
            pairs: self.pairs,
            parties: self.parties,
            records_per_party: records,
            runs: self.runs.unwrap_or(0),
            seconds,
            groups: count,
            peak_resident_bytes: super::report::peak_resident_bytes(),
        };
        let sentence = format!(
            "{:.1} million pairs a second ({} parties of {records} records), {count} groups",
            report.pairs_per_second / 1e6,
            self.parties,
        );
        super::report::print(&report, self.json, &sentence)
    }
}

/// Returns `count` pairs of random records with decreasing scores. Few pairs occur twice.
fn random_pairs(count: u64, parties: u32, records: u32) -> impl Iterator<Item = Result<Pair, pairs::Error>> {
    let mut draw = super::people::Draw::new(1);
    (0..count).map(move |at| {
        let first = draw.below(parties.into()) as u32;
        let second = (first + 1 + draw.below(u64::from(parties) - 1) as u32) % parties;
        let records = [draw.below(records.into()) as u32, draw.below(records.into()) as u32];
        let datasets = [first.min(second), first.max(second)];
        Ok(Pair { score: 1.0 - at as f64 / (2.0 * count as f64), datasets, records })
    })
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let watch = Stopwatch::start();
    let done = work();
    (done, watch.seconds())
}

/// Distributes the pairs at random over `count` files. Each file keeps their order.
fn written(
    pairs: impl Iterator<Item = Result<Pair, pairs::Error>>,
    count: u32,
) -> Result<Vec<File>, pairs::Error> {
    let file = || tempfile::tempfile().map(Writer::new).map_err(pairs::Error::Write);
    let mut writers = (0..count).map(|_| file()).collect::<Result<Vec<_>, _>>()?;
    let mut draw = super::people::Draw::new(2);
    for pair in pairs {
        writers[draw.below(count.into()) as usize].push(&pair?)?;
    }
    let finished = writers.into_iter().map(|writer| {
        let mut file = writer.finish()?.0;
        file.rewind().map_err(pairs::Error::Write)?;
        Ok(file)
    });
    finished.collect()
}

/// Temporary files in the system's directory.
struct Temporary;

impl Scratch for Temporary {
    fn file(&self) -> io::Result<Box<dyn ScratchFile>> {
        Ok(Box::new(tempfile::tempfile()?))
    }
}
