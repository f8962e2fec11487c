//! One part of a plan is compared, and leaves one sorted run of candidate pairs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::linkage::similarity::tile::{Entry, Part, Plan};
use crate::linkage::similarity::{self, Compared, Kernel, Sides, TuningCell};
use crate::model::{Outcome, RunId};
use crate::objects::{self, Blob, Objects, Staged, keys};
use crate::runtime::breakpoint::{Moment, reach};
use crate::runtime::clock::Stopwatch;
use crate::telemetry::metrics;
use crate::worker::Error;
use crate::worker::active_jobs::Hold;
use crate::worker::checksummed::Sealing;
use crate::worker::context::Shop;
use crate::worker::dataset_cache::Volumes;
use crate::worker::rate::Kind;

/// Pairs of a part that are held in memory, 12 MB of them; the rest goes through temporary files.
const PAIRS_BUFFERED: usize = 1 << 19;

/// Compares on all threads of the pool and publishes the pairs.
pub(super) async fn work(
    shop: &Shop,
    hold: &Arc<Hold>,
    run: RunId,
    uploads: &[u32],
    number: u32,
    pairs_max: u64,
) -> Result<Outcome, Error> {
    let project = hold.job().project;
    let plan = shop.objects.blob(&keys::plan(project, run)).await?;
    let volumes = open(shop, hold, &plan, number, uploads).await?;
    let (tuning, sides) = shop.tunings.of(run, &volumes);
    let kind = kind(&plan)?;
    reach(hold.job().task.kind(), Moment::Opened).await;
    let desk = Arc::new(Desk {
        objects: shop.objects.clone(),
        hold: Arc::clone(hold),
        plan,
        volumes,
        tuning,
        sides,
        number,
        kernel: shop.kernel,
        pairs_max,
    });
    let watch = Stopwatch::start();
    shop.rate.begin(kind);
    let comparing = Arc::clone(&desk);
    let compared = shop.pool.run(move || comparing.compare()).await;
    shop.rate.end(hold.done.load(Ordering::Relaxed));
    let comparisons = hold.done.load(Ordering::Relaxed);
    let alone = || comparisons as f64 / watch.seconds();
    metrics::compared(comparisons, shop.rate.measured(kind).unwrap_or_else(alone));
    // Before the outcome is looked at, even if that is a panic: it may come of bytes that could not be read.
    desk.confirm().await?;
    let (compared, staged) = compared.map_err(|text| Error::panicked(&text))??;
    shop.publish(hold, [(keys::pairs(project, run, number), staged)]).await?;
    metrics::found(compared.pairs_found);
    Ok(Outcome::Compared { comparisons: compared.comparisons, pairs: compared.pairs_found })
}

async fn open(
    shop: &Shop,
    hold: &Arc<Hold>,
    plan: &Blob,
    number: u32,
    uploads: &[u32],
) -> Result<Volumes, Error> {
    let mut named: Vec<u32> =
        part(plan, number)?.entries().flat_map(|entry| [entry.left_dataset, entry.right_dataset]).collect();
    named.sort_unstable();
    named.dedup();
    let mut volumes = Volumes::new();
    for dataset in named {
        let upload =
            uploads.get(dataset as usize).ok_or_else(|| plan.damaged("it names an unknown dataset"))?;
        volumes.insert(dataset, shop.library.volume(hold.job().project, dataset, *upload, hold).await?);
    }
    Ok(volumes)
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

struct Desk {
    objects: Objects,
    hold: Arc<Hold>,
    plan: Blob,
    volumes: Volumes,
    tuning: Arc<TuningCell>,
    sides: Arc<Sides>,
    number: u32,
    kernel: Kernel,
    pairs_max: u64,
}

impl Desk {
    /// Fails if what was compared may not be what is stored.
    async fn confirm(&self) -> Result<(), objects::Error> {
        self.objects.confirm(&self.plan).await?;
        for volume in self.volumes.values() {
            volume.confirm(&self.objects).await?;
        }
        Ok(())
    }

    fn compare(&self) -> Result<(Compared, Staged), Error> {
        let part = part(&self.plan, self.number)?;
        self.hold.total.store(part.comparisons(), Ordering::Relaxed);
        let job = similarity::Job {
            threshold: Plan::parse(&self.plan).map_err(|damage| Error::damaged(&damage))?.threshold(),
            kernel: self.kernel,
            tuning: &self.tuning,
            sides: &self.sides,
            pairs_max: self.pairs_max,
            cancelled: self.hold.cancelled(),
            compared: &self.hold.done,
            scratch: &self.objects,
            pairs_buffered: PAIRS_BUFFERED,
        };
        let mut stored = BTreeMap::new();
        for (dataset, volume) in &self.volumes {
            stored.insert(*dataset, volume.stored()?);
        }
        let tile = |entry: Entry| entry.tile(&stored[&entry.left_dataset], &stored[&entry.right_dataset]);
        let mut out = Sealing::new(self.objects.stage()?);
        let compared = similarity::compare(&job, part.entries().map(tile), &mut out)?;
        Ok((compared, out.seal()?))
    }
}
