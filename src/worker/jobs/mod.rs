//! The kinds of jobs, with one file for each kind.

mod comparison;
mod compare;
mod fetch;
mod finalize;
mod ingest;
mod plan;
mod purge;
mod sweep;
mod whole;

use std::sync::Arc;

use crate::model::{Outcome, Task};
use crate::runtime::failpoint::{Moment, hang, hit};
use crate::worker::Error;
use crate::worker::active_jobs::ActiveJob;
use crate::worker::context::JobContext;

/// Executes a job.
pub(super) async fn execute(context: &JobContext, active: &Arc<ActiveJob>) -> Result<Outcome, Error> {
    let project = active.job().project;
    hit(active.job().task.kind(), Moment::Begun).await;
    hang(active.job().task.kind(), || active.cause().is_some()).await;
    match &active.job().task {
        Task::Fetch { party, reference } => fetch::work(context, active, *party, reference).await,
        Task::Ingest { party, upload } => ingest::work(context, active, *party, upload).await,
        Task::Plan { run, uploads, threshold, comparisons_per_job, whole } => {
            let whole = whole.as_ref();
            plan::work(context, active, *run, uploads, *threshold, *comparisons_per_job, whole).await
        }
        Task::Compare { run, uploads, part, pairs_max } => {
            compare::work(context, active, *run, uploads, *part, *pairs_max).await
        }
        Task::Finalize { run, result_type, records, parts, solver_pairs_max, with_scores, .. } => {
            let source = finalize::PairSource::Stored(*parts);
            let pairs = finalize::CandidatePairs { source, solver_max: *solver_pairs_max };
            let result = (*result_type, *with_scores);
            finalize::work(context, active, *run, result, records, pairs).await.map(Outcome::Finalized)
        }
        Task::Chore { chore, .. } => sweep::work(context, active, *chore).await,
        Task::Purge(purge) => purge::work(context, active, project, purge).await,
    }
}
