//! Plan jobs: divide the comparisons of a run into parts.

use std::io::Read;
use std::num::NonZeroU64;
use std::sync::Arc;

use linkage::encoding::layout::{self, Directory};
use linkage::similarity::plan::{self, LargestBlocks, Plan, Planned};

use super::whole;
use crate::model::{Outcome, RunId, Threshold, WholeRun};
use crate::objects::{self, Key, Objects, Staged, keys};
use crate::runtime::compute;
use crate::worker::Error;
use crate::worker::active_jobs::ActiveJob;
use crate::worker::cancellable_io::Cancellable;
use crate::worker::context::JobContext;
use crate::worker::rate::Kind;

/// The target duration of a compare job in seconds, which is about the work that a crash loses.
const PART_SECONDS: f64 = 0.3;
/// The target duration in a run that would otherwise have too few parts for all workers.
const PART_SECONDS_MIN: f64 = 0.15;
/// The longest target duration, in a large fleet: a small part of a lease.
const PART_SECONDS_MAX: f64 = 5.0;
/// The number of compare jobs that all workers together may finish in a second. One API node records several times as
/// many.
const PARTS_PER_SECOND: f64 = 1_000.0;
/// The minimum number of parts that each worker compares one after the other, so that all workers finish at about the
/// same time. It applies to several workers, and to parts that are longer than [`PART_SECONDS_MIN`].
const ROUNDS: f64 = 8.0;
/// The number of parts that are compared concurrently.
const PARTS_AT_ONCE: f64 = 2.0;
/// The minimum number of comparisons in a part: fewer would cost less than recording the part.
const AIM_MIN: u64 = 1_000_000;
/// The maximum number of parts of a run: each is a job in the queue and an object until the run is finished.
const PARTS_MAX: u64 = 100_000;

/// Merges the block directories of all datasets and publishes the plan. If `may_solve` is given and the run is small,
/// brings it to its result instead. If an earlier attempt has published a plan, keeps that plan, which may have other parts
/// because another speed was measured.
pub(super) async fn work(
    context: &JobContext,
    active: &Arc<ActiveJob>,
    run: RunId,
    uploads: &[u32],
    threshold: Threshold,
    comparisons_per_job: Option<u64>,
    may_solve: Option<&WholeRun>,
) -> Result<Outcome, Error> {
    let key = keys::plan(active.job().project, run);
    let indexes = indexes(active, uploads);
    let (objects, active_job) = (context.objects.clone(), Arc::clone(active));
    let task = PlanTask { objects, active: active_job, indexes: indexes.clone(), threshold };
    let largest = if context.objects.exists(&key).await? {
        let read = compute::run_blocking(move || task.largest_blocks()).await;
        read.map_err(|text| Error::panicked(&text))??
    } else {
        let size = if let Some(aim) = comparisons_per_job {
            PartSize::fixed(aim)
        } else {
            let bytes = encoding_bytes(context, &indexes).await?;
            let rate = context.rate.per_second(Kind::of(bytes, threshold));
            PartSize::for_fleet(rate, active.assignment.workers)
        };
        let planned = compute::run_blocking(move || task.plan(size)).await;
        let (planned, staged) = planned.map_err(|text| Error::panicked(&text))??;
        let (staged, solved) =
            whole::attempt(context, active, (run, uploads), &planned, staged, may_solve).await?;
        if let Some(solved) = solved {
            return Ok(Outcome::Solved(solved));
        }
        context.publish(active, [(key.clone(), staged)]).await?;
        planned.largest
    };
    let blob = context.objects.blob(&key).await?;
    let plan = Plan::parse(&blob).map_err(|damage| blob.damaged(damage.to_string()))?;
    let parts = u32::try_from(plan.parts()).map_err(|_| blob.damaged("it has too many parts"))?;
    let comparisons = plan.comparisons();
    context.objects.confirm(&blob).await?;
    Ok(Outcome::Planned { parts, comparisons, largest_blocks: largest.into_comparisons() })
}

/// The number of comparisons in a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PartSize {
    /// The size in a run with parts enough.
    aim: u64,
    /// The size below which parts cost more than they gain.
    aim_min: u64,
    /// The number of parts that are enough for all workers.
    parts_enough: u64,
}

impl PartSize {
    /// Returns the size that the operator has set.
    const fn fixed(aim: u64) -> Self {
        Self { aim, aim_min: aim, parts_enough: 0 }
    }

    /// Returns the size for this number of workers of the same speed. The more workers there are, the longer are the parts:
    /// each part is a job that an API node gives out and records.
    fn for_fleet(comparisons_per_second: f64, workers: usize) -> Self {
        let at_once = PARTS_AT_ONCE * workers as f64;
        let seconds = (at_once / PARTS_PER_SECOND).clamp(PART_SECONDS, PART_SECONDS_MAX);
        let comparisons = |seconds: f64| {
            let aim = (comparisons_per_second * seconds / PARTS_AT_ONCE) as u64;
            aim.max(AIM_MIN)
        };
        let rounds = if workers > 1 { ROUNDS } else { 1.0 };
        let parts_enough = ((rounds * at_once) as u64).min(PARTS_MAX / 2);
        Self { aim: comparisons(seconds), aim_min: comparisons(PART_SECONDS_MIN), parts_enough }
    }

    /// Returns the size for a run that has `planned.comparisons`, if it should have more parts than planned.
    fn smaller(self, planned: &Planned) -> Option<u64> {
        if planned.parts >= self.parts_enough {
            return None;
        }
        let aim = planned.comparisons.div_ceil(self.parts_enough).max(self.aim_min);
        (aim < self.aim && aim < planned.comparisons).then_some(aim)
    }
}

/// Returns the size of the encodings, which is the same in all datasets; 0 if there are none.
async fn encoding_bytes(context: &JobContext, indexes: &[(u32, Key)]) -> Result<u32, Error> {
    let Some((_, index)) = indexes.first().cloned() else { return Ok(0) };
    let objects = context.objects.clone();
    // Reading an object blocks, possibly for long if it comes from another machine.
    let read = compute::run_blocking(move || -> Result<u32, Error> {
        Ok(Directory::open(objects.read(&index)?)?.header().encoding_bytes)
    });
    read.await.map_err(|text| Error::panicked(&text))?
}

/// Returns the number of each upload, and the key of its index.
fn indexes(active: &ActiveJob, uploads: &[u32]) -> Vec<(u32, Key)> {
    let index = |(party, upload): (u32, &u32)| (*upload, keys::index(active.job().project, party, *upload));
    (0..).zip(uploads).map(index).collect()
}

struct PlanTask {
    objects: Objects,
    active: Arc<ActiveJob>,
    indexes: Vec<(u32, Key)>,
    threshold: Threshold,
}

impl PlanTask {
    /// Makes a plan with parts of this size; with smaller ones if there would be too few, and with larger ones if there
    /// would be too many.
    fn plan(&self, size: PartSize) -> Result<(Planned, Staged), Error> {
        let mut aim = size.aim;
        let (mut planned, mut staged) = self.attempt(aim)?;
        if let Some(smaller) = size.smaller(&planned) {
            aim = smaller;
            (planned, staged) = self.attempt(aim)?;
        }
        while planned.parts > PARTS_MAX {
            aim = planned.comparisons.div_ceil(PARTS_MAX / 2).max(aim.saturating_mul(2));
            (planned, staged) = self.attempt(aim)?;
        }
        Ok((planned, staged))
    }

    fn attempt(&self, aim: u64) -> Result<(Planned, Staged), Error> {
        let aim = NonZeroU64::new(aim).unwrap_or(NonZeroU64::MIN);
        let directories = self.directories()?;
        let scratch = Cancellable::new(self.objects.clone(), &self.active);
        let mut plan = Cancellable::new(self.objects.stage(), &self.active);
        let planned = plan::build(directories, self.threshold, aim, &scratch, &mut plan)?;
        Ok((planned, plan.into_inner()))
    }

    /// Returns the largest blocks of a plan that another attempt has published.
    fn largest_blocks(&self) -> Result<LargestBlocks, Error> {
        Ok(plan::largest_blocks(self.directories()?)?)
    }

    fn directories(&self) -> Result<Vec<Directory<impl Read>>, Error> {
        let open = |(upload, key): &(u32, Key)| -> Result<_, Error> {
            let opened = Directory::open(Cancellable::new(self.objects.read(key)?, &self.active));
            let checked = opened.and_then(|directory| {
                directory.header().check_upload(*upload)?;
                Ok(directory)
            });
            checked.map_err(|error| match error {
                layout::Error::Damaged(damage) => {
                    objects::Error::Damaged { key: key.clone(), reason: damage.to_string() }.into()
                }
                error => error.into(),
            })
        };
        self.indexes.iter().map(open).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_takes_the_usual_time_but_is_never_tiny() {
        for workers in [0, 1, 10, 150] {
            assert_eq!(PartSize::for_fleet(2e9, workers).aim, 300_000_000, "{workers}");
        }
        assert_eq!(PartSize::for_fleet(1.0, 1).aim, AIM_MIN);
    }

    #[test]
    fn parts_are_longer_in_a_large_fleet_but_far_shorter_than_a_lease() {
        let seconds = |workers| {
            let size = PartSize::for_fleet(2e9, workers);
            assert_eq!(size.aim_min, 150_000_000);
            PARTS_AT_ONCE * size.aim as f64 / 2e9
        };
        for (workers, expected) in [(200, 0.4), (1_000, 2.0), (2_500, 5.0), (1_000_000, PART_SECONDS_MAX)] {
            assert!((seconds(workers) - expected).abs() < 1e-6, "{workers}");
        }
        for workers in 150..2_500 {
            let finished = PARTS_AT_ONCE * workers as f64 / seconds(workers);
            assert!(
                finished <= PARTS_PER_SECOND * 1.001,
                "{workers} workers finish {finished} parts a second"
            );
        }
    }

    #[test]
    fn a_small_run_has_parts_for_all_workers() {
        let planned = |parts, comparisons| Planned { parts, comparisons, largest: LargestBlocks::default() };
        let size = PartSize::for_fleet(2e9, 1_000);
        assert_eq!((size.aim, size.parts_enough), (2_000_000_000, 16_000));
        assert_eq!(size.smaller(&planned(16_000, 32_000_000_000_000)), None, "there are parts enough");
        assert_eq!(size.smaller(&planned(8_000, 16_000_000_000_000)), Some(1_000_000_000));
        assert_eq!(size.smaller(&planned(50, 100_000_000_000)), Some(size.aim_min), "they are never tiny");
        let size = PartSize::for_fleet(2e9, 10);
        assert_eq!(size.smaller(&planned(1, 1_000)), None);
        assert_eq!(size.smaller(&planned(1, size.aim_min)), None, "one part is the smallest");
        assert_eq!(size.smaller(&planned(1, size.aim_min + 1)), Some(size.aim_min));
        let alone = PartSize::for_fleet(2e9, 1);
        assert_eq!(alone.smaller(&planned(2, 2 * alone.aim)), None, "two parts keep a single worker busy");
        assert_eq!(alone.smaller(&planned(1, alone.aim)), Some(alone.aim_min), "one does not");
        assert_eq!(PartSize::fixed(7).smaller(&planned(1, 7)), None);
    }
}
