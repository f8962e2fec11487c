//! The worker: claims jobs from the queues until it drains.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use linkage::pairs::Version;
use linkage::similarity::Kernel;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admission::Admission;
use super::concurrency::{QueueSlots, SlotPool};
use super::context::JobContext;
use super::guests::Guests;
use super::job_source::JobSource;
use super::shared::Shared;
use super::{cache_sweeper, heartbeat, lease};
use crate::external::ClientFiles;
use crate::model::Task;
use crate::objects::Objects;
use crate::runtime::compute::Pool;
use crate::runtime::outage::OutageTimer;
use crate::telemetry::LogThrottle;

/// The time limit for cancelled jobs to end, after the drain timeout.
const CANCEL_GRACE: Duration = Duration::from_secs(2);

/// The settings of a worker.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The length of a lease. Without a heartbeat for this time, a job goes to another worker.
    pub lease: Duration,
    /// The time limit for active jobs to end when the worker drains.
    pub drain_timeout: Duration,
    /// The loops that compare.
    pub kernel: Kernel,
    /// The latest version of pair files that every reader of the objects knows.
    pub pairs: Version,
    /// The maximum run time of a job, after which its attempt fails.
    pub job_deadline: Duration,
    /// The maximum wait for an unavailable object store, after which attempts fail.
    pub objects_wait: Duration,
    /// The interval at which the object cache is swept.
    pub copies_every: Duration,
    /// The queues that are served.
    pub queue_slots: QueueSlots,
    /// The total memory for jobs that need much, in bytes.
    pub memory_bytes: u64,
    /// The stores with files to which uploads refer.
    pub client_files: ClientFiles,
    /// A directory on the disk of the results, whose free space is checked before they are written.
    pub disk: PathBuf,
}

/// A running worker.
pub struct Worker {
    shared: Arc<Shared>,
    drain_timeout: Duration,
    /// Cancelled to stop the heartbeats, after the last job has ended.
    beating: CancellationToken,
}

impl Worker {
    /// Starts a worker, which runs until [`Worker::drain`].
    ///
    /// # Panics
    /// If it is called outside of a tokio runtime.
    pub fn start(source: impl JobSource + 'static, objects: Objects, pool: Pool, settings: Settings) -> Self {
        let shared = Arc::new(Shared {
            source: Arc::new(source),
            context: Arc::new(
                JobContext::new(objects, settings.client_files, pool, settings.kernel)
                    .with_pairs(settings.pairs),
            ),
            slot_pool: SlotPool::new(settings.queue_slots),
            admission: Admission::new(settings.memory_bytes, settings.disk),
            disk_full: OutageTimer::default(),
            unclaimed: LogThrottle::default(),
            waiting: LogThrottle::default(),
            lease: settings.lease,
            job_deadline: settings.job_deadline,
            objects_wait: settings.objects_wait,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        shared.tasks.spawn(lease::serve(Arc::clone(&shared)));
        let keeping = Arc::clone(&shared);
        shared.tasks.spawn(async move {
            cache_sweeper::run(&keeping.context, settings.copies_every, &keeping.stop).await;
        });
        let beating = CancellationToken::new();
        let (beaten, stop) = (Arc::clone(&shared), beating.clone());
        tokio::spawn(async move {
            let Shared { source, context, lease, job_deadline, .. } = &*beaten;
            heartbeat::run(&**source, &context.active_jobs, *lease, *job_deadline, &stop).await;
        });
        Self { shared, drain_timeout: settings.drain_timeout, beating }
    }

    /// Returns the admission of jobs of other workers, for which this process writes objects.
    pub fn guests(&self) -> Guests {
        let (source, active_jobs) =
            (Arc::clone(&self.shared.source), Arc::clone(&self.shared.context.active_jobs));
        Guests { source, active_jobs }
    }

    /// Drains the worker: claims no more jobs, and cancels plan and compare jobs at once and other jobs after the drain
    /// timeout. Returns when all jobs have ended, or [`CANCEL_GRACE`] after the last cancellation. Jobs that have not
    /// ended return to the queue at the next start.
    pub async fn drain(self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.cancel(|task| matches!(task, Task::Plan { .. } | Task::Compare { .. }));
        if tokio::time::timeout(self.drain_timeout, self.shared.tasks.wait()).await.is_err() {
            self.shared.cancel(|_| true);
            if tokio::time::timeout(CANCEL_GRACE, self.shared.tasks.wait()).await.is_err() {
                tracing::warn!(
                    jobs = self.shared.context.active_jobs.all().len(),
                    "jobs are left unfinished; they resume at the next start"
                );
            }
        }
        self.beating.cancel();
        self.shared.source.close().await;
    }
}

#[cfg(test)]
impl Worker {
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }
}
