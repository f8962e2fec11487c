//! The state that the tasks of a worker share.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::active_jobs::Cause;
use super::admission::Admission;
use super::concurrency::SlotPool;
use super::context::JobContext;
use super::job_source::JobSource;
use crate::model::Task;
use crate::runtime::outage::OutageTimer;
use crate::telemetry::LogThrottle;

/// The state that the tasks of a worker share.
pub(super) struct Shared {
    pub(super) source: Arc<dyn JobSource>,
    pub(super) context: Arc<JobContext>,
    pub(super) slot_pool: Arc<SlotPool>,
    pub(super) admission: Admission,
    /// Measures how long uploads have been waiting for disk space.
    pub(super) disk_full: OutageTimer,
    /// Throttles the warning that no job can be claimed.
    pub(super) unclaimed: LogThrottle,
    /// Throttles the warning that a job waits for its objects.
    pub(super) waiting: LogThrottle,
    pub(super) lease: Duration,
    pub(super) job_deadline: Duration,
    pub(super) objects_wait: Duration,
    /// Once this is cancelled, the worker takes no new jobs.
    pub(super) stop: CancellationToken,
    /// The task that claims jobs, and those of active jobs.
    pub(super) tasks: TaskTracker,
}

impl Shared {
    pub(super) fn cancel(&self, these: impl Fn(&Task) -> bool) {
        for active in self.context.active_jobs.all().iter().filter(|active| these(&active.job().task)) {
            active.cancel(Cause::Draining);
        }
    }
}
