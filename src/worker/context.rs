//! What every kind of job works with.

use std::sync::Arc;

use super::Error;
use super::active_jobs::{Hold, Holds};
use super::dataset_cache::Library;
use super::rate::Rate;
use super::tuning_cache::Tunings;
use crate::linkage::similarity::Kernel;
use crate::objects::{ForeignStores, Key, Objects, Staged};
use crate::runtime::breakpoint::{Moment, reach};
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
