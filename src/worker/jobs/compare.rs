//! Compare jobs: compare one part of a plan, and publish its candidate pairs as a sorted run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use linkage::pairs::Version;
use linkage::similarity::plan::Entry;
use linkage::similarity::{self, Compared, Kernel, Sides, TuningCell};

use crate::model::{Outcome, RunId};
use crate::objects::{self, Objects, Staged, keys};
use crate::runtime::clock::Stopwatch;
use crate::runtime::failpoint::{Moment, hit};
use crate::telemetry::metrics;
use crate::worker::Error;
use crate::worker::active_jobs::ActiveJob;
use crate::worker::checksummed::ChecksumWriter;
use crate::worker::context::JobContext;
use crate::worker::dataset_cache::OpenDatasets;
use crate::worker::open_cache::confirm;
use crate::worker::plan_cache::OpenPlan;
use crate::worker::rate::Kind;

/// The maximum number of candidate pairs of a part in memory, which take 12 MB. More are spilled to temporary files.
pub(super) const PAIRS_BUFFERED: usize = 1 << 19;

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
        written: context.pairs.max(active.assignment.pairs),
    });
    let watch = Stopwatch::start();
    context.rate.begin(kind);
    let comparing = Arc::clone(&task);
    let compared = context.pool.run(move || comparing.compare()).await;
    context.rate.end(active.done.load(Ordering::Relaxed));
    let comparisons = active.done.load(Ordering::Relaxed);
    let alone = || comparisons as f64 / watch.seconds();
    metrics::compared(comparisons, context.rate.measured(kind).unwrap_or_else(alone));
    // The first step even after a panic, since unreadable bytes may have caused the panic.
    task.confirm().await?;
    let (compared, staged) = compared.map_err(|text| Error::panicked(&text))??;
    context.publish(active, [(keys::pairs(project, run, number), staged)]).await?;
    metrics::found(compared.pairs_found);
    Ok(Outcome::Compared { comparisons: compared.comparisons, pairs: compared.pairs_found })
}

/// Opens the datasets that the part compares.
async fn open(
    context: &JobContext,
    active: &Arc<ActiveJob>,
    plan: &OpenPlan,
    number: u32,
    uploads: &[u32],
) -> Result<OpenDatasets, Error> {
    let entries = plan.part(number)?.entries();
    let mut indexes: Vec<u32> = entries.flat_map(|entry| [entry.left_dataset, entry.right_dataset]).collect();
    indexes.sort_unstable();
    indexes.dedup();
    let mut datasets = OpenDatasets::new();
    for index in indexes {
        let upload =
            uploads.get(index as usize).ok_or_else(|| plan.damaged("it names an unknown dataset"))?;
        let dataset = context.datasets.dataset(active.job().project, index, *upload, active).await?;
        datasets.insert(index, dataset);
    }
    Ok(datasets)
}

/// Returns the kind of run, which determines the expected speed.
fn kind(plan: &OpenPlan) -> Result<Kind, Error> {
    let plan = plan.plan()?;
    let encoding_bytes = plan.datasets().next().map_or(0, |dataset| dataset.encoding_bytes);
    Ok(Kind::of(encoding_bytes, plan.threshold()))
}

/// The inputs of a comparison.
struct CompareTask {
    objects: Objects,
    active: Arc<ActiveJob>,
    plan: Arc<OpenPlan>,
    datasets: OpenDatasets,
    tuning: Arc<TuningCell>,
    sides: Arc<Sides>,
    number: u32,
    kernel: Kernel,
    pairs_max: u64,
    written: Version,
}

impl CompareTask {
    /// Fails if the bytes that were compared may differ from the stored ones.
    async fn confirm(&self) -> Result<(), objects::Error> {
        confirm(&self.objects, &*self.plan).await?;
        for dataset in self.datasets.values() {
            confirm(&self.objects, &**dataset).await?;
        }
        Ok(())
    }

    fn compare(&self) -> Result<(Compared, Staged), Error> {
        let part = self.plan.part(self.number)?;
        self.active.total.store(part.comparisons(), Ordering::Relaxed);
        let job = similarity::Job {
            threshold: self.plan.plan()?.threshold(),
            kernel: self.kernel,
            tuning: &self.tuning,
            sides: &self.sides,
            pairs_max: self.pairs_max,
            cancelled: self.active.cancelled(),
            compared: &self.active.done,
            scratch: &self.objects,
            pairs_buffered: PAIRS_BUFFERED,
            written: self.written,
        };
        let mut stored = BTreeMap::new();
        for (index, dataset) in &self.datasets {
            stored.insert(*index, dataset.stored()?);
        }
        let tile = |entry: Entry| entry.tile(&stored[&entry.left_dataset], &stored[&entry.right_dataset]);
        let mut out = ChecksumWriter::new(self.objects.stage()?);
        let compared = similarity::compare(&job, part.entries().map(tile), &mut out)?;
        Ok((compared, out.finish()?))
    }
}
