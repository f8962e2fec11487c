//! Compare jobs: compare one part of a plan, and publish its candidate pairs as a sorted run.

use std::sync::Arc;

use super::comparison::{Comparison, Scope};
use crate::model::{Outcome, RunId};
use crate::objects::keys;
use crate::runtime::failpoint::{Moment, hit};
use crate::telemetry::metrics;
use crate::worker::Error;
use crate::worker::active_jobs::ActiveJob;
use crate::worker::checksummed::ChecksumWriter;
use crate::worker::context::JobContext;
use crate::worker::open_cache::confirm;

/// Compares the part on all threads of the pool and publishes the pairs.
pub(super) async fn work(
    context: &JobContext,
    active: &Arc<ActiveJob>,
    run: RunId,
    uploads: &[u32],
    number: u32,
    pairs_max: u64,
) -> Result<Outcome, Error> {
    let project = active.job().project;
    let plan = context.plans.plan(project, run).await?;
    let entries = plan.part(number)?.entries();
    let unknown = || plan.damaged("it names an unknown dataset");
    let written = context.pairs.max(active.assignment.pairs);
    let scope = Scope { run, uploads, pairs_max, written };
    let comparison = Comparison::open(context, active, scope, &plan.plan()?, entries, unknown).await?;
    let comparison = Arc::new(comparison);
    hit(active.job().task.kind(), Moment::Opened).await;
    let (comparing, objects) = (Arc::clone(&plan), context.objects.clone());
    let compare = move |comparison: &Comparison| {
        let part = comparing.part(number)?;
        let mut out = ChecksumWriter::new(objects.stage());
        let compared = comparison.compare(part.entries(), part.comparisons(), &mut out)?;
        Ok((compared, out.finish()?))
    };
    let compared = comparison.measure(context, compare).await;
    // Before the outcome, and also after a panic: damage to the plan may have caused it.
    confirm(&context.objects, &*plan).await?;
    let (compared, staged) = compared?;
    context.publish(active, [(keys::pairs(project, run, number), staged)]).await?;
    metrics::found(compared.pairs_found);
    Ok(Outcome::Compared { comparisons: compared.comparisons, pairs: compared.pairs_found })
}
