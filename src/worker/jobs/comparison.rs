//! The comparison of entries of a plan, in a compare job and in a small run.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use linkage::pairs::Version;
use linkage::similarity::plan::{Entry, Plan};
use linkage::similarity::{self, Compared, Kernel, Sides, TuningCell};

use crate::model::{RunId, Threshold};
use crate::objects::Objects;
use crate::runtime::clock::Stopwatch;
use crate::telemetry::metrics;
use crate::worker::Error;
use crate::worker::active_jobs::ActiveJob;
use crate::worker::context::JobContext;
use crate::worker::dataset_cache::OpenDatasets;
use crate::worker::open_cache::confirm;
use crate::worker::rate::Kind;

/// The maximum number of candidate pairs in memory, which take 12 MB. More are spilled to temporary files.
const PAIRS_BUFFERED: usize = 1 << 19;

/// The run of a comparison, and what it writes.
pub(super) struct Scope<'a> {
    pub(super) run: RunId,
    /// The uploads of all parties of the run.
    pub(super) uploads: &'a [u32],
    /// The maximum number of pairs that may be found.
    pub(super) pairs_max: u64,
    /// The version of the pair file.
    pub(super) written: Version,
}

/// The inputs of a comparison.
pub(super) struct Comparison {
    objects: Objects,
    active: Arc<ActiveJob>,
    datasets: OpenDatasets,
    tuning: Arc<TuningCell>,
    sides: Arc<Sides>,
    kernel: Kernel,
    threshold: Threshold,
    kind: Kind,
    pairs_max: u64,
    written: Version,
}

impl Comparison {
    /// Opens the datasets of the entries, which are some of `plan`. `unknown` makes the error for a dataset that the plan
    /// lacks.
    pub(super) async fn open(
        context: &JobContext,
        active: &Arc<ActiveJob>,
        scope: Scope<'_>,
        plan: &Plan<'_>,
        entries: impl Iterator<Item = Entry>,
        unknown: impl Fn() -> Error,
    ) -> Result<Self, Error> {
        let Scope { run, uploads, pairs_max, written } = scope;
        let encoding_bytes = plan.datasets().next().map_or(0, |dataset| dataset.encoding_bytes);
        let (threshold, kind) = (plan.threshold(), Kind::of(encoding_bytes, plan.threshold()));
        let mut indexes: Vec<u32> =
            entries.flat_map(|entry| [entry.left_dataset, entry.right_dataset]).collect();
        indexes.sort_unstable();
        indexes.dedup();
        let mut datasets = OpenDatasets::new();
        for index in indexes {
            let upload = uploads.get(index as usize).ok_or_else(&unknown)?;
            let dataset = context.datasets.dataset(active.job().project, index, *upload, active).await?;
            datasets.insert(index, dataset);
        }
        let (tuning, sides) = context.tuning_cache.of(run, &datasets);
        let (objects, active, kernel) = (context.objects.clone(), Arc::clone(active), context.kernel);
        Ok(Self { objects, active, datasets, tuning, sides, kernel, threshold, kind, pairs_max, written })
    }

    /// Does the work on the pool, measures its speed, and then confirms the datasets: the outcome is invalid if the bytes
    /// that were compared may differ from the stored ones.
    pub(super) async fn measure<T: Send + 'static>(
        self: Arc<Self>,
        context: &JobContext,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let watch = Stopwatch::start();
        context.rate.begin(self.kind);
        let comparing = Arc::clone(&self);
        let done = context.pool.run(move || work(&comparing)).await;
        let comparisons = self.active.done.load(Ordering::Relaxed);
        context.rate.end(comparisons);
        let alone = || comparisons as f64 / watch.seconds();
        metrics::compared(comparisons, context.rate.measured(self.kind).unwrap_or_else(alone));
        // The first step even after a panic, since unreadable bytes may have caused the panic.
        for dataset in self.datasets.values() {
            confirm(&self.objects, &**dataset).await?;
        }
        done.map_err(|text| Error::panicked(&text))?
    }

    /// Compares the records of the entries, `comparisons` in total, and writes the candidate pairs as a pair file.
    pub(super) fn compare(
        &self,
        entries: impl Iterator<Item = Entry>,
        comparisons: u64,
        out: impl Write,
    ) -> Result<Compared, Error> {
        self.active.total.store(comparisons, Ordering::Relaxed);
        let job = similarity::Job {
            threshold: self.threshold,
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
        Ok(similarity::compare(&job, entries.map(tile), out)?)
    }
}
