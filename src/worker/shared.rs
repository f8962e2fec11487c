//! The state that the tasks of a worker share.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::active_jobs::Cause;
use super::admission::Budget;
use super::concurrency::Hands;
use super::context::Shop;
use super::job_source::Desk;
use crate::model::Task;
use crate::runtime::outage::Outage;

/// What the hands share.
pub(super) struct Crew {
    pub(super) desk: Arc<dyn Desk>,
    pub(super) shop: Arc<Shop>,
    pub(super) hands: Arc<Hands>,
    pub(super) budget: Budget,
    /// Since when uploads wait for room on the disk.
    pub(super) full: Outage,
    pub(super) lease: Duration,
    pub(super) job_deadline: Duration,
    pub(super) objects_wait: Duration,
    /// No new jobs are taken once it is cancelled.
    pub(super) stop: CancellationToken,
    /// Hands and jobs.
    pub(super) tasks: TaskTracker,
}

impl Crew {
    pub(super) fn cancel(&self, these: impl Fn(&Task) -> bool) {
        for hold in self.shop.holds.all().iter().filter(|hold| these(&hold.job().task)) {
            hold.cancel(Cause::Draining);
        }
    }
}
