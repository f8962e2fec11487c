//! A cache of plans that are open for comparison.
//!
//! Parsing a plan takes time in proportion to its parts, and each part is a job. So a process parses a plan once for a
//! run, not once for a job.

use std::sync::Arc;

use linkage::encoding::layout::Damage;
use linkage::similarity::plan::{Part, Plan, PlanHeader};

use super::Error;
use super::open_cache::{Mapped, OpenCache};
use crate::model::{ProjectId, RunId};
use crate::objects::{Blob, Key, Objects, keys};

/// The maximum number of plans in the cache. Few runs are compared at the same time.
const PLANS_MAX: usize = 16;

/// A parsed and checked plan. Its parts are checked when they are used.
#[derive(Debug)]
pub(super) struct OpenPlan {
    header: PlanHeader,
    blob: Blob,
}

impl OpenPlan {
    fn parse(blob: Blob) -> Result<Self, Error> {
        let header = Plan::parse(&blob).map(|plan| *plan.header());
        let header = header.map_err(|damage| damaged(&blob, &damage))?;
        Ok(Self { header, blob })
    }

    /// Returns the plan. Takes constant time.
    pub(super) fn plan(&self) -> Result<Plan<'_>, Error> {
        Plan::reopen(self.header, &self.blob).map_err(|damage| damaged(&self.blob, &damage))
    }

    /// Returns the part with this number, verified.
    pub(super) fn part(&self, number: u32) -> Result<Part<'_>, Error> {
        let part = self.plan()?.part(number.into()).map_err(|damage| damaged(&self.blob, &damage))?;
        part.ok_or_else(|| self.damaged(&format!("it has no part {number}")))
    }

    /// Returns the error to report if the plan contradicts its run.
    pub(super) fn damaged(&self, reason: &str) -> Error {
        self.blob.damaged(reason).into()
    }
}

impl Mapped for OpenPlan {
    fn blobs(&self) -> Vec<&Blob> {
        vec![&self.blob]
    }
}

fn damaged(blob: &Blob, damage: &Damage) -> Error {
    blob.damaged(damage.to_string()).into()
}

/// Caches the plans of runs.
#[derive(Debug)]
pub(super) struct PlanCache {
    objects: Objects,
    open: OpenCache<OpenPlan>,
}

impl PlanCache {
    pub(super) fn new(objects: Objects) -> Self {
        Self { open: OpenCache::new(objects.clone(), PLANS_MAX), objects }
    }

    /// Returns the plan of a run.
    pub(super) async fn plan(&self, project: ProjectId, run: RunId) -> Result<Arc<OpenPlan>, Error> {
        let key = keys::plan(project, run);
        let open = async { OpenPlan::parse(self.objects.blob(&key).await?) };
        self.open.get_or_open(&key, open).await
    }

    /// Drops the plans whose keys match.
    pub(super) fn forget(&self, matches: impl Fn(&Key) -> bool) {
        self.open.forget(matches);
    }
}
