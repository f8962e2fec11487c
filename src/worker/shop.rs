//! What every kind of job works with.

use std::sync::Arc;

use super::Error;
use super::hold::{Hold, Holds};
use super::library::Library;
use super::rate::Rate;
use super::tunings::Tunings;
use super::{chore, compare, fetch, finalize, ingest, plan, purge};
use crate::linkage::similarity::Kernel;
use crate::model::{Outcome, Task};
use crate::objects::{ForeignStores, Key, Objects, Staged};
use crate::runtime::breakpoint::{Moment, hang, reach};
use crate::runtime::compute::Pool;

/// What every kind of job works with.
#[derive(Debug)]
pub(super) struct Shop {
    pub(super) objects: Objects,
    pub(super) foreign: ForeignStores,
    pub(super) pool: Pool,
    pub(super) kernel: Kernel,
    pub(super) library: Library,
    pub(super) rate: Rate,
    pub(super) tunings: Tunings,
    pub(super) holds: Arc<Holds>,
}

impl Shop {
    pub(super) fn new(objects: Objects, foreign: ForeignStores, pool: Pool, kernel: Kernel) -> Self {
        let (library, rate) = (Library::new(objects.clone()), Rate::new(kernel, pool.threads()));
        let (tunings, holds) = (Tunings::default(), Arc::default());
        Self { objects, foreign, pool, kernel, library, rate, tunings, holds }
    }

    /// Does the job.
    pub(super) async fn work(self: &Arc<Self>, hold: &Arc<Hold>) -> Result<Outcome, Error> {
        let project = hold.job().project;
        reach(hold.job().task.kind(), Moment::Begun).await;
        hang(hold.job().task.kind(), || hold.cause().is_some()).await;
        match &hold.job().task {
            Task::Fetch { party, reference } => fetch::work(self, hold, *party, reference).await,
            Task::Ingest { party, upload } => ingest::work(self, hold, *party, upload).await,
            Task::Plan { run, uploads, threshold, comparisons_per_job } => {
                plan::work(self, hold, *run, uploads, *threshold, *comparisons_per_job).await
            }
            Task::Compare { run, uploads, part, pairs_max } => {
                compare::work(self, hold, *run, uploads, *part, *pairs_max).await
            }
            Task::Finalize { run, result_type, records, parts, solver_pairs_max, .. } => {
                let pairs = finalize::CandidatePairs { parts: *parts, solver_max: *solver_pairs_max };
                finalize::work(self, hold, *run, *result_type, records, pairs).await
            }
            Task::Chore { chore, .. } => chore::work(self, hold, *chore).await,
            Task::Purge(purge) => purge::work(self, hold, project, purge).await,
        }
    }

    /// Makes objects of what a job has written, unless it was told to stop.
    pub(super) async fn publish(
        &self,
        hold: &Hold,
        made: impl IntoIterator<Item = (Key, Staged)>,
    ) -> Result<(), Error> {
        let kind = hold.job().task.kind();
        reach(kind, Moment::Done).await;
        if hold.cause().is_some() {
            return Err(Error::Cancelled);
        }
        for (key, staged) in made {
            staged.publish(&key).await?;
        }
        reach(kind, Moment::Published).await;
        Ok(())
    }
}
