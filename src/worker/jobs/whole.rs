//! Small runs: the job that plans a run also compares all records, in memory, and makes the result. Such a run waits for 11
//! syncs of the disk; one of three jobs, for 29.
//!
//! If anything is wrong with the run or its data, the job leaves it to the jobs that come after a plan: they find the
//! same, and end the run with the reason.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use linkage::pairs::Version;
use linkage::similarity::plan::{Entry, Part, Plan, Planned};
use linkage::similarity::{self, Compared, Kernel, Sides, TuningCell};

use super::compare::PAIRS_BUFFERED;
use super::finalize::{self, CandidatePairs, PairSource};
use crate::model::{ResultType, RunId, Solved, WholeRun};
use crate::objects::{Objects, Staged};
use crate::runtime::clock::Stopwatch;
use crate::runtime::compute;
use crate::runtime::failpoint::{Moment, hang, hit};
use crate::telemetry::metrics;
use crate::worker::Error;
use crate::worker::active_jobs::ActiveJob;
use crate::worker::context::JobContext;
use crate::worker::dataset_cache::OpenDatasets;
use crate::worker::open_cache::confirm;
use crate::worker::rate::Kind;

/// The maximum size of a plan in memory.
const PLAN_BYTES_MAX: u64 = 4 << 20;

/// Brings a run to its result, if the job may and the run is small. Otherwise, and if the run cannot succeed, returns the
/// plan, so that other jobs continue.
pub(super) async fn attempt(
    context: &JobContext,
    active: &Arc<ActiveJob>,
    (run, uploads): (RunId, &[u32]),
    planned: &Planned,
    mut plan: Staged,
    whole: Option<&WholeRun>,
) -> Result<(Staged, Option<Solved>), Error> {
    let Some(whole) = whole.filter(|whole| is_small(context, whole, planned, &plan)) else {
        return Ok((plan, None));
    };
    let read = move || plan.read_back().map(|bytes| (plan, bytes));
    let read = compute::run_blocking(read).await;
    let (plan, bytes) = read.map_err(|text| Error::panicked(&text))??;
    match solve(context, active, (run, uploads), planned, bytes, whole).await {
        Ok(solved) => Ok((plan, Some(solved))),
        Err(
            error @ (Error::Rejected(_) | Error::Missing(_) | Error::Damaged(_) | Error::DamagedObject(_)),
        ) => {
            tracing::info!(run.id = %run, "a small run goes on in several jobs: {error}");
            Ok((plan, None))
        }
        Err(error) => Err(error),
    }
}

fn is_small(context: &JobContext, whole: &WholeRun, planned: &Planned, plan: &Staged) -> bool {
    // Score files are removed with a run only if the run has come to its final job.
    let has_file = whole.result_type == ResultType::SimilarityScores && finalize::makes_score_files(context);
    planned.comparisons <= WholeRun::COMPARISONS_MAX && plan.size() <= PLAN_BYTES_MAX && !has_file
}

/// Compares all records and publishes the result. Takes a bounded amount of memory, less than jobs need admission for.
async fn solve(
    context: &JobContext,
    active: &Arc<ActiveJob>,
    (run, uploads): (RunId, &[u32]),
    planned: &Planned,
    plan: Vec<u8>,
    whole: &WholeRun,
) -> Result<Solved, Error> {
    let comparing = Stopwatch::start();
    let pairs_max = whole.pairs_max.min(WholeRun::PAIRS_MAX);
    let (compared, pairs) = compare(context, active, (run, uploads), plan, pairs_max).await?;
    let comparing = comparing.elapsed();
    let finalizing = Stopwatch::start();
    hit("finalize", Moment::Begun).await;
    hang("finalize", || active.cause().is_some()).await;
    let pairs = CandidatePairs { source: PairSource::Memory(pairs), solver_max: whole.solver_pairs_max };
    let result = (whole.result_type, whole.with_scores);
    let summary = finalize::work(context, active, run, result, &whole.records, pairs).await?;
    metrics::found(compared.pairs_found);
    let micros = |time: Duration| time.as_micros() as u64;
    Ok(Solved {
        comparisons: planned.comparisons,
        largest_blocks: planned.largest.clone().into_comparisons(),
        pairs: compared.pairs_found,
        comparing_us: micros(comparing),
        finalizing_us: micros(finalizing.elapsed()),
        summary,
    })
}

/// Compares the parts of a plan on all threads of the pool. Returns the candidate pairs as a pair file.
async fn compare(
    context: &JobContext,
    active: &Arc<ActiveJob>,
    (run, uploads): (RunId, &[u32]),
    plan: Vec<u8>,
    pairs_max: u64,
) -> Result<(Compared, Vec<u8>), Error> {
    hit("compare", Moment::Begun).await;
    hang("compare", || active.cause().is_some()).await;
    let (datasets, kind) = {
        let plan = Plan::parse(&plan).map_err(Error::damaged)?;
        let encoding_bytes = plan.datasets().next().map_or(0, |dataset| dataset.encoding_bytes);
        (open(context, active, &plan, uploads).await?, Kind::of(encoding_bytes, plan.threshold()))
    };
    let (tuning, sides) = context.tuning_cache.of(run, &datasets);
    hit("compare", Moment::Opened).await;
    let task = Arc::new(WholeTask {
        objects: context.objects.clone(),
        active: Arc::clone(active),
        plan,
        datasets,
        tuning,
        sides,
        kernel: context.kernel,
        pairs_max,
    });
    let watch = Stopwatch::start();
    context.rate.begin(kind);
    let comparing = Arc::clone(&task);
    let compared = context.pool.run(move || comparing.compare()).await;
    let comparisons = active.done.load(Ordering::Relaxed);
    context.rate.end(comparisons);
    let alone = || comparisons as f64 / watch.seconds();
    metrics::compared(comparisons, context.rate.measured(kind).unwrap_or_else(alone));
    // The first step even after a panic, since unreadable bytes may have caused the panic.
    for dataset in task.datasets.values() {
        confirm(&context.objects, &**dataset).await?;
    }
    compared.map_err(|text| Error::panicked(&text))?
}

/// Returns the parts of a plan, each verified.
fn parts<'a>(plan: &Plan<'a>) -> Result<Vec<Part<'a>>, Error> {
    let part = |number| plan.part(number).map_err(Error::damaged);
    (0..plan.parts()).filter_map(|number| part(number).transpose()).collect()
}

/// Opens the datasets that the plan compares.
async fn open(
    context: &JobContext,
    active: &Arc<ActiveJob>,
    plan: &Plan<'_>,
    uploads: &[u32],
) -> Result<OpenDatasets, Error> {
    let entries = parts(plan)?;
    let entries = entries.iter().flat_map(Part::entries);
    let mut indexes: Vec<u32> = entries.flat_map(|entry| [entry.left_dataset, entry.right_dataset]).collect();
    indexes.sort_unstable();
    indexes.dedup();
    let mut datasets = OpenDatasets::new();
    for index in indexes {
        let upload = uploads.get(index as usize).ok_or_else(|| Error::damaged("unknown dataset"))?;
        let dataset = context.datasets.dataset(active.job().project, index, *upload, active).await?;
        datasets.insert(index, dataset);
    }
    Ok(datasets)
}

/// The inputs of a comparison.
struct WholeTask {
    objects: Objects,
    active: Arc<ActiveJob>,
    plan: Vec<u8>,
    datasets: OpenDatasets,
    tuning: Arc<TuningCell>,
    sides: Arc<Sides>,
    kernel: Kernel,
    pairs_max: u64,
}

impl WholeTask {
    fn compare(&self) -> Result<(Compared, Vec<u8>), Error> {
        let plan = Plan::parse(&self.plan).map_err(Error::damaged)?;
        self.active.total.store(plan.comparisons(), Ordering::Relaxed);
        let job = similarity::Job {
            threshold: plan.threshold(),
            kernel: self.kernel,
            tuning: &self.tuning,
            sides: &self.sides,
            pairs_max: self.pairs_max,
            cancelled: self.active.cancelled(),
            compared: &self.active.done,
            scratch: &self.objects,
            pairs_buffered: PAIRS_BUFFERED,
            written: Version::Dense,
        };
        let mut stored = BTreeMap::new();
        for (index, dataset) in &self.datasets {
            stored.insert(*index, dataset.stored()?);
        }
        let tile = |entry: Entry| entry.tile(&stored[&entry.left_dataset], &stored[&entry.right_dataset]);
        let parts = parts(&plan)?;
        let mut pairs = Vec::new();
        let compared = similarity::compare(&job, parts.iter().flat_map(Part::entries).map(tile), &mut pairs)?;
        Ok((compared, pairs))
    }
}
