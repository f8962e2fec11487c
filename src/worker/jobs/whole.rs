//! Small runs: the job that plans a run also compares all records, in memory, and makes the result. Such a run waits for 11
//! syncs of the disk; one of three jobs, for 29.
//!
//! If anything is wrong with the run or its data, the job leaves it to the jobs that come after a plan: they find the
//! same, and end the run with the reason.

use std::sync::Arc;
use std::time::Duration;

use linkage::pairs::Version;
use linkage::similarity::Compared;
use linkage::similarity::plan::{Entry, Part, Plan, Planned};

use super::comparison::{Comparison, Scope};
use super::finalize::{self, CandidatePairs, PairSource};
use crate::model::{ResultType, RunId, Solved, WholeRun};
use crate::objects::Staged;
use crate::runtime::clock::Stopwatch;
use crate::runtime::compute;
use crate::runtime::failpoint::{Moment, hang, hit};
use crate::telemetry::metrics;
use crate::worker::Error;
use crate::worker::active_jobs::ActiveJob;
use crate::worker::context::JobContext;

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
    let (entries, comparisons, comparison) = {
        let plan = Plan::parse(&plan).map_err(Error::damaged)?;
        let entries: Vec<Entry> = parts(&plan)?.iter().flat_map(Part::entries).collect();
        let unknown = || Error::damaged("unknown dataset");
        let scope = Scope { run, uploads, pairs_max, written: Version::Dense };
        let listed = entries.iter().copied();
        let comparison = Comparison::open(context, active, scope, &plan, listed, unknown).await?;
        (entries, plan.comparisons(), Arc::new(comparison))
    };
    drop(plan);
    hit("compare", Moment::Opened).await;
    let compare = move |comparison: &Comparison| {
        let mut pairs = Vec::new();
        let compared = comparison.compare(entries.into_iter(), comparisons, &mut pairs)?;
        Ok((compared, pairs))
    };
    comparison.measure(context, compare).await
}

/// Returns the parts of a plan, each verified.
fn parts<'a>(plan: &Plan<'a>) -> Result<Vec<Part<'a>>, Error> {
    let part = |number| plan.part(number).map_err(Error::damaged);
    (0..plan.parts()).filter_map(|number| part(number).transpose()).collect()
}
