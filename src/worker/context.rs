//! The resources that jobs of every kind share.

use std::sync::Arc;

use linkage::pairs::Version;
use linkage::similarity::Kernel;

use super::Error;
use super::active_jobs::{ActiveJob, ActiveJobs};
use super::dataset_cache::DatasetCache;
use super::plan_cache::PlanCache;
use super::rate::Rate;
use super::tuning_cache::TuningCache;
use crate::external::ClientFiles;
use crate::objects::{Key, Objects, Staged};
use crate::runtime::compute::Pool;
use crate::runtime::failpoint::{Moment, hit};

/// The resources that jobs of every kind share.
#[derive(Debug)]
pub(super) struct JobContext {
    pub(super) objects: Objects,
    pub(super) client_files: ClientFiles,
    pub(super) pool: Pool,
    pub(super) kernel: Kernel,
    pub(super) plans: PlanCache,
    pub(super) datasets: DatasetCache,
    pub(super) rate: Rate,
    pub(super) tuning_cache: TuningCache,
    pub(super) active_jobs: Arc<ActiveJobs>,
    /// The latest version of pair files that every reader of this node's objects knows, unless an assignment names a later one.
    pub(super) pairs: Version,
}

impl JobContext {
    pub(super) fn new(objects: Objects, client_files: ClientFiles, pool: Pool, kernel: Kernel) -> Self {
        let (datasets, rate) = (DatasetCache::new(objects.clone()), Rate::new(kernel, pool.threads()));
        let plans = PlanCache::new(objects.clone());
        let (tuning_cache, active_jobs) = (TuningCache::default(), Arc::default());
        Self {
            objects,
            client_files,
            pool,
            kernel,
            plans,
            datasets,
            rate,
            tuning_cache,
            active_jobs,
            pairs: Version::Plain,
        }
    }

    /// Sets the version of the pair files that jobs write.
    pub(super) fn with_pairs(self, pairs: Version) -> Self {
        Self { pairs, ..self }
    }

    /// Drops cached plans and datasets whose keys match.
    pub(super) fn forget(&self, matches: impl Fn(&Key) -> bool) {
        self.plans.forget(&matches);
        self.datasets.forget(matches);
    }

    /// Publishes the objects that a job has written, unless the job was cancelled.
    pub(super) async fn publish(
        &self,
        active: &ActiveJob,
        made: impl IntoIterator<Item = (Key, Staged)>,
    ) -> Result<(), Error> {
        let kind = active.job().task.kind();
        hit(kind, Moment::Done).await;
        if active.cause().is_some() {
            return Err(Error::Cancelled);
        }
        for (key, staged) in made {
            staged.publish(&key).await?;
        }
        hit(kind, Moment::Published).await;
        Ok(())
    }
}
