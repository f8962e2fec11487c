//! `entityd bench similarity`: comparisons per second.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};

use linkage::pairs::PAIRS_BUFFERED;
use linkage::scratch::Memory;
use linkage::similarity::{
    Compared, Costs, Job, Kernel, KernelName, Linear, Rows, Sides, Tile, Tuning, TuningCell, compare,
};
use serde::Serialize;

use super::people::encodings;
use crate::cli::Failure;
use crate::cli::number::whole;
use crate::model::Threshold;
use crate::runtime::clock::Stopwatch;
use crate::runtime::compute::Pool;

/// Compares every record of one set of encodings with every record of another
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Encodings of the left side, row by row [default: generated encodings]
    #[arg(long, value_name = "FILE", requires = "right")]
    left: Option<PathBuf>,
    /// Encodings of the right side
    #[arg(long, value_name = "FILE", requires = "left")]
    right: Option<PathBuf>,
    /// Size of an encoding in bytes
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = whole::<u16>(1..=4096))]
    encoding_bytes: u16,
    /// Number of records to generate on each side
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = whole::<u32>(0..))]
    records: u32,
    /// Minimum score of a candidate pair
    #[arg(long, value_name = "T", default_value = "0.8")]
    threshold: Threshold,
    /// Number of threads that compare; 0 means one for each core
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<usize>(0..))]
    threads: usize,
    /// Comparison kernel: portable, popcnt, avx2, avx512, amx or neon [default: the fastest that runs here]
    #[arg(long, value_name = "NAME", value_parser = crate::cli::context::kernel)]
    kernel: Option<Kernel>,
    /// Number of measurements; the best counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = whole::<u32>(1..))]
    repeat: u32,
    /// Print only a line with one JSON object
    #[arg(long)]
    json: bool,
}

/// The measurements.
#[derive(Debug, Serialize)]
struct Report {
    comparisons_per_second: f64,
    comparisons: u64,
    seconds: f64,
    pairs: u64,
    threshold: f64,
    encoding_bytes: usize,
    threads: usize,
    kernel: KernelName,
    /// The chosen filter before the comparison: none, signatures or projections.
    form: &'static str,
    /// The number of parts of a signature, learnt from a sample; 0 without signatures.
    signature_parts: usize,
    /// The number of components of a projection; 0 without projections.
    components: usize,
    /// The share of pairs whose common bits were counted.
    counted_share: f64,
    /// The rate without a filter, measured with a part of the left side.
    brute_force_per_second: f64,
    /// The measured costs of the inner loops.
    costs: CostsReport,
}

/// The costs of the inner loops, in nanoseconds: each is a fixed part, and a part that grows with the work.
#[derive(Debug, Serialize)]
struct CostsReport {
    /// The time to filter 64 pairs by a signature: fixed, and per part of the signature.
    parts: [f64; 2],
    /// The time to filter 64 pairs by a projection: fixed, and per 64 components.
    steps: Option<[f64; 2]>,
    /// The time to count the common bits of 64 pairs: fixed, and per 512 bits of an encoding.
    lines: [f64; 2],
    /// The time to collect, count and decide a pair that passes the filter: fixed, and per 512 bits.
    survivor: [f64; 2],
}

impl CostsReport {
    fn of(costs: Costs) -> Self {
        let rounded = |cost: Linear| [cost.base, cost.each].map(|cost| (cost * 100.0).round() / 100.0);
        Self {
            parts: rounded(costs.parts),
            steps: costs.steps.map(rounded),
            lines: rounded(costs.lines),
            survivor: rounded(costs.survivor),
        }
    }
}

impl Arguments {
    /// Compares encodings, and prints the rate.
    pub(super) fn run(self) -> Result<(), Failure> {
        let pool = Pool::new(self.threads).map_err(|error| Failure::output(&error))?;
        let (left, right) = self.matrices()?;
        let bytes = usize::from(self.encoding_bytes);
        let rows = |matrix| Rows::all(matrix, bytes).map_err(|error| Failure::Usage(error.to_string()));
        let (left, right) = (rows(&left)?, rows(&right)?);
        let few = left.part(0..left.len().min(BRUTE_FORCE_ROWS));
        let kernel = self.kernel.unwrap_or_default();
        // A server measures them once, in its first large run.
        let costs = kernel.costs();

        let mut best: Option<(f64, Compared, TuningCell)> = None;
        let mut brute_force_per_second = 0_f64;
        for _ in 0..self.repeat {
            let measured =
                pool.install(|| measure(left, right, self.threshold, kernel, TuningCell::new()))?;
            if best.as_ref().is_none_or(|best| measured.0 < best.0) {
                best = Some(measured);
            }
            let counting = TuningCell::holding(Tuning::none());
            let (seconds, compared, _) =
                pool.install(|| measure(few, right, self.threshold, kernel, counting))?;
            brute_force_per_second = brute_force_per_second.max(compared.comparisons as f64 / seconds);
        }
        let (seconds, compared, tuning) = best.expect("it is repeated at least once");
        let tuning = tuning.get().cloned().unwrap_or_else(Tuning::none);
        let comparisons = compared.comparisons;
        let report = Report {
            comparisons_per_second: comparisons as f64 / seconds,
            comparisons,
            seconds,
            pairs: compared.pairs_found,
            threshold: self.threshold.get(),
            encoding_bytes: bytes,
            threads: pool.threads(),
            kernel: kernel.name(),
            form: tuning.form(),
            signature_parts: tuning.parts(),
            components: tuning.components(),
            counted_share: compared.counted as f64 / comparisons.max(1) as f64,
            brute_force_per_second,
            costs: CostsReport::of(costs),
        };
        super::report::print(&report, self.json, &report.sentence())
    }

    fn matrices(&self) -> Result<(Vec<u8>, Vec<u8>), Failure> {
        let bytes = usize::from(self.encoding_bytes);
        match (&self.left, &self.right) {
            (Some(left), Some(right)) => Ok((read(left)?, read(right)?)),
            _ => Ok(encodings(self.records as usize, bytes)),
        }
    }
}

/// The number of rows of the left side that are compared without a filter.
const BRUTE_FORCE_ROWS: usize = 2000;

impl Report {
    fn sifting(&self) -> String {
        match (self.signature_parts, self.components) {
            (0, 0) => "no filter".to_owned(),
            (parts, 0) => format!("{parts} parts"),
            (_, components) => format!("{components} components"),
        }
    }

    fn sentence(&self) -> String {
        format!(
            "{:.0} million comparisons a second at {} ({}, {} threads, {}, {:.3} % counted), {} pairs; \
             {:.0} million by brute force",
            self.comparisons_per_second / 1e6,
            self.threshold,
            self.kernel,
            self.threads,
            self.sifting(),
            100.0 * self.counted_share,
            self.pairs,
            self.brute_force_per_second / 1e6,
        )
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))
}

fn measure(
    left: Rows<'_>,
    right: Rows<'_>,
    threshold: Threshold,
    kernel: Kernel,
    tuning: TuningCell,
) -> Result<(f64, Compared, TuningCell), Failure> {
    let job = Job {
        threshold,
        kernel,
        tuning: &tuning,
        sides: &Sides::default(),
        pairs_max: u64::MAX,
        cancelled: &AtomicBool::new(false),
        compared: &AtomicU64::new(0),
        scratch: &Memory,
        pairs_buffered: PAIRS_BUFFERED,
        written: linkage::pairs::Version::Dense,
    };
    let mut out = tempfile::tempfile().map_err(|error| Failure::output(&error))?;
    let watch = Stopwatch::start();
    let compared = compare(&job, [Ok(Tile { datasets: [0, 1], left, right })], &mut out)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    Ok((watch.seconds(), compared, tuning))
}
