//! One part of a plan is compared, and leaves one sorted run of candidate pairs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::linkage::similarity::tile::{Entry, Part, Plan};
use crate::linkage::similarity::{self, Compared, Kernel, Sides, TuningCell};
use crate::model::{Outcome, RunId};
use crate::objects::{self, Blob, Objects, Staged, keys};
use crate::runtime::clock::Stopwatch;
use crate::runtime::failpoint::{Moment, hit};
use crate::telemetry::metrics;
use crate::worker::Error;
use crate::worker::active_jobs::ActiveJob;
use crate::worker::checksummed::ChecksumWriter;
use crate::worker::context::JobContext;
use crate::worker::dataset_cache::OpenDatasets;
use crate::worker::rate::Kind;

/// Pairs of a part that are held in memory, 12 MB of them; the rest goes through temporary files.
const PAIRS_BUFFERED: usize = 1 << 19;

/// Compares on all threads of the pool and publishes the pairs.
pub(super) async fn work(
    context: &JobContext,
    active: &Arc<ActiveJob>,
    run: RunId,
    uploads: &[u32],
    number: u32,
    pairs_max: u64,
) -> Result<Outcome, Error> {
    let project = active.job().project;
    let plan = context.objects.blob(&keys::plan(project, run)).await?;
    let datasets = open(context, active, &plan, number, uploads).await?;
    let (tuning, sides) = context.tuning_cache.of(run, &datasets);
    let kind = kind(&plan)?;
    hit(active.job().task.kind(), Moment::Opened).await;
    let task = Arc::new(CompareTask {
        objects: context.objects.clone(),
        active: Arc::clone(active),
        plan,
        datasets,
        tuning,
        sides,
        number,
        kernel: context.kernel,
        pairs_max,
    });
    let watch = Stopwatch::start();
    context.rate.begin(kind);
    let comparing = Arc::clone(&task);
    let compared = context.pool.run(move || comparing.compare()).await;
    context.rate.end(active.done.load(Ordering::Relaxed));
    let comparisons = active.done.load(Ordering::Relaxed);
    let alone = || comparisons as f64 / watch.seconds();
    metrics::compared(comparisons, context.rate.measured(kind).unwrap_or_else(alone));
    // Before the outcome is looked at, even if that is a panic: it may come of bytes that could not be read.
    task.confirm().await?;
    let (compared, staged) = compared.map_err(|text| Error::panicked(&text))??;
    context.publish(active, [(keys::pairs(project, run, number), staged)]).await?;
    metrics::found(compared.pairs_found);
    Ok(Outcome::Compared { comparisons: compared.comparisons, pairs: compared.pairs_found })
}

async fn open(
    context: &JobContext,
    active: &Arc<ActiveJob>,
    plan: &Blob,
    number: u32,
    uploads: &[u32],
) -> Result<OpenDatasets, Error> {
    let mut named: Vec<u32> =
        part(plan, number)?.entries().flat_map(|entry| [entry.left_dataset, entry.right_dataset]).collect();
    named.sort_unstable();
    named.dedup();
    let mut datasets = OpenDatasets::new();
    for dataset in named {
        let upload =
            uploads.get(dataset as usize).ok_or_else(|| plan.damaged("it names an unknown dataset"))?;
        datasets
            .insert(dataset, context.datasets.dataset(active.job().project, dataset, *upload, active).await?);
    }
    Ok(datasets)
}

/// The part of the plan, checked.
fn part(blob: &Blob, number: u32) -> Result<Part<'_>, Error> {
    let part = Plan::parse(blob).and_then(|plan| plan.part(number.into()));
    let part = part.map_err(|damage| blob.damaged(damage.to_string()))?;
    Ok(part.ok_or_else(|| blob.damaged(format!("it has no part {number}")))?)
}

/// How fast the run can be expected to be.
fn kind(blob: &Blob) -> Result<Kind, Error> {
    let plan = Plan::parse(blob).map_err(|damage| blob.damaged(damage.to_string()))?;
    let encoding_bytes = plan.datasets().next().map_or(0, |dataset| dataset.encoding_bytes);
    Ok(Kind::of(encoding_bytes, plan.threshold()))
}

struct CompareTask {
    objects: Objects,
    active: Arc<ActiveJob>,
    plan: Blob,
    datasets: OpenDatasets,
    tuning: Arc<TuningCell>,
    sides: Arc<Sides>,
    number: u32,
    kernel: Kernel,
    pairs_max: u64,
}

impl CompareTask {
    /// Fails if what was compared may not be what is stored.
    async fn confirm(&self) -> Result<(), objects::Error> {
        self.objects.confirm(&self.plan).await?;
        for dataset in self.datasets.values() {
            dataset.confirm(&self.objects).await?;
        }
        Ok(())
    }

    fn compare(&self) -> Result<(Compared, Staged), Error> {
        let part = part(&self.plan, self.number)?;
        self.active.total.store(part.comparisons(), Ordering::Relaxed);
        let job = similarity::Job {
            threshold: Plan::parse(&self.plan).map_err(|damage| Error::damaged(&damage))?.threshold(),
            kernel: self.kernel,
            tuning: &self.tuning,
            sides: &self.sides,
            pairs_max: self.pairs_max,
            cancelled: self.active.cancelled(),
            compared: &self.active.done,
            scratch: &self.objects,
            pairs_buffered: PAIRS_BUFFERED,
        };
        let mut stored = BTreeMap::new();
        for (number, dataset) in &self.datasets {
            stored.insert(*number, dataset.stored()?);
        }
        let tile = |entry: Entry| entry.tile(&stored[&entry.left_dataset], &stored[&entry.right_dataset]);
        let mut out = ChecksumWriter::new(self.objects.stage()?);
        let compared = similarity::compare(&job, part.entries().map(tile), &mut out)?;
        Ok((compared, out.finish()?))
    }
}
