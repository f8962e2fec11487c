//! The kinds of job, a file each.

mod compare;
mod fetch;
mod finalize;
mod ingest;
mod plan;
mod purge;
mod sweep;

use std::sync::Arc;

use crate::model::{Outcome, Task};
use crate::runtime::breakpoint::{Moment, hang, reach};
use crate::worker::Error;
use crate::worker::active_jobs::Hold;
use crate::worker::context::Shop;

/// Executes a job.
pub(super) async fn execute(shop: &Shop, hold: &Arc<Hold>) -> Result<Outcome, Error> {
    let project = hold.job().project;
    reach(hold.job().task.kind(), Moment::Begun).await;
    hang(hold.job().task.kind(), || hold.cause().is_some()).await;
    match &hold.job().task {
        Task::Fetch { party, reference } => fetch::work(shop, hold, *party, reference).await,
        Task::Ingest { party, upload } => ingest::work(shop, hold, *party, upload).await,
        Task::Plan { run, uploads, threshold, comparisons_per_job } => {
            plan::work(shop, hold, *run, uploads, *threshold, *comparisons_per_job).await
        }
        Task::Compare { run, uploads, part, pairs_max } => {
            compare::work(shop, hold, *run, uploads, *part, *pairs_max).await
        }
        Task::Finalize { run, result_type, records, parts, solver_pairs_max, .. } => {
            let pairs = finalize::CandidatePairs { parts: *parts, solver_max: *solver_pairs_max };
            finalize::work(shop, hold, *run, *result_type, records, pairs).await
        }
        Task::Chore { chore, .. } => sweep::work(shop, hold, *chore).await,
        Task::Purge(purge) => purge::work(shop, hold, project, purge).await,
    }
}
