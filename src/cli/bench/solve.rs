//! `entityd bench solve`: candidate pairs a second.

use serde::Serialize;

use crate::cli::Failure;
use crate::linkage::pairs::{self, Pair};
use crate::linkage::solver::{self, solve};
use crate::runtime::clock::Stopwatch;

/// Solves random candidate pairs
///
/// The pairs are made up as they are solved, so memory is the solver's own.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Candidate pairs
    #[arg(long, value_name = "N", default_value_t = 5_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pairs: u64,
    /// Parties that they are spread over
    #[arg(long, value_name = "P", default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=1024))]
    parties: u32,
    /// Records of each party [default: a twentieth of the pairs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    records: Option<u32>,
    /// Print the JSON line alone
    #[arg(long)]
    json: bool,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    pairs_per_second: f64,
    pairs: u64,
    parties: u32,
    records_per_party: u32,
    seconds: f64,
    groups: u64,
}

impl Arguments {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let twentieth = u32::try_from((self.pairs / 20).max(1)).unwrap_or(u32::MAX);
        let records = self.records.unwrap_or(twentieth);
        let sizes = vec![records; self.parties as usize];
        let watch = Stopwatch::start();
        let solved = solve(&sizes, random_pairs(self.pairs, self.parties, records));
        let groups = solved.map_err(|error| Failure::Input(error.to_string()))?;
        let seconds = watch.seconds();
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
            seconds,
            groups: count,
        };
        let sentence = format!(
            "{:.1} million pairs a second ({} parties of {records} records), {count} groups",
            report.pairs_per_second / 1e6,
            self.parties,
        );
        super::print(&report, self.json, &sentence)
    }
}

/// Pairs of random records with falling scores. Two may be of the same records: rarely enough.
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
