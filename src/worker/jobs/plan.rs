//! Plan jobs: divide the comparisons of a run into parts.

use std::io::Read;
use std::num::NonZeroU64;
use std::sync::Arc;

use crate::linkage::encoding::layout::{self, Directory};
use crate::linkage::similarity::plan::{self, LargestBlocks, Plan, Planned};
use crate::model::{Outcome, RunId, Threshold};
use crate::objects::{self, Key, Objects, Staged, keys};
use crate::runtime::compute;
use crate::worker::Error;
use crate::worker::active_jobs::ActiveJob;
use crate::worker::cancellable_io::Cancellable;
use crate::worker::context::JobContext;
use crate::worker::rate::Kind;

/// The target duration of a compare job in seconds, which is about the work that a crash loses.
const PART_SECONDS: f64 = 0.15;
/// The number of parts that are compared concurrently.
const PARTS_AT_ONCE: f64 = 2.0;
/// The minimum number of comparisons in a part: fewer would cost less than recording the part.
const AIM_MIN: u64 = 1_000_000;
/// The maximum number of parts of a run: each is a job in the queue and an object until the run is finished.
const PARTS_MAX: u64 = 100_000;

/// Merges the block directories of all datasets and publishes the plan. If an earlier attempt has published a plan,
/// keeps that plan, which may have other parts because another speed was measured.
pub(super) async fn work(
    context: &JobContext,
    active: &Arc<ActiveJob>,
    run: RunId,
    uploads: &[u32],
    threshold: Threshold,
    comparisons_per_job: Option<u64>,
) -> Result<Outcome, Error> {
    let key = keys::plan(active.job().project, run);
    let indexes = indexes(active, uploads);
    let (objects, active_job) = (context.objects.clone(), Arc::clone(active));
    let task = PlanTask { objects, active: active_job, indexes: indexes.clone(), threshold };
    let largest = if context.objects.exists(&key).await? {
        let read = compute::run_blocking(move || task.largest_blocks()).await;
        read.map_err(|text| Error::panicked(&text))??
    } else {
        let aim = if let Some(aim) = comparisons_per_job {
            aim
        } else {
            let bytes = encoding_bytes(context, &indexes).await?;
            usual_aim(context.rate.per_second(Kind::of(bytes, threshold)))
        };
        let planned =
            compute::run_blocking(move || task.plan(NonZeroU64::new(aim).unwrap_or(NonZeroU64::MIN))).await;
        let (planned, staged) = planned.map_err(|text| Error::panicked(&text))??;
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

fn usual_aim(comparisons_per_second: f64) -> u64 {
    ((comparisons_per_second * PART_SECONDS / PARTS_AT_ONCE) as u64).max(AIM_MIN)
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
    /// Makes a plan with parts of `aim` comparisons, or larger parts if there would be too many.
    fn plan(&self, aim: NonZeroU64) -> Result<(Planned, Staged), Error> {
        let (planned, staged) = self.attempt(aim)?;
        if planned.parts <= PARTS_MAX {
            return Ok((planned, staged));
        }
        drop(staged);
        let larger = planned.comparisons.div_ceil(PARTS_MAX / 2).max(aim.get().saturating_mul(2));
        self.plan(NonZeroU64::new(larger).unwrap_or(NonZeroU64::MAX))
    }

    fn attempt(&self, aim: NonZeroU64) -> Result<(Planned, Staged), Error> {
        let directories = self.directories()?;
        let scratch = Cancellable::new(self.objects.clone(), &self.active);
        let mut plan = Cancellable::new(self.objects.stage()?, &self.active);
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
        assert_eq!(usual_aim(2e9), 150_000_000);
        assert_eq!(usual_aim(1.0), AIM_MIN);
    }
}
