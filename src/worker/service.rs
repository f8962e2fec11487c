//! The crew: hands that take jobs from the queues, and the way to send it home.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admission::Admission;
use super::concurrency::{QueueSlots, SlotPool};
use super::context::JobContext;
use super::job_source::JobSource;
use super::shared::Shared;
use super::{cache_sweeper, heartbeat, lease};
use crate::external::ClientFiles;
use crate::linkage::similarity::Kernel;
use crate::model::Task;
use crate::objects::Objects;
use crate::runtime::compute::Pool;
use crate::runtime::outage::OutageTimer;

/// How long jobs get to notice that they are to stop, once the drain has taken its time.
const CANCEL_GRACE: Duration = Duration::from_secs(2);

/// How a crew works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a job may be held without a sign of life before it goes to another worker.
    pub lease: Duration,
    /// How long jobs that are nearly done may take to end when the crew is sent home.
    pub drain_timeout: Duration,
    /// The loops that compare.
    pub kernel: Kernel,
    /// How long a job may be worked on before it is stopped and counts as failed.
    pub job_deadline: Duration,
    /// How long jobs wait for a store of objects that does not answer, before that counts as a failed attempt.
    pub objects_wait: Duration,
    /// How often copies of objects are dropped whose objects are gone.
    pub copies_every: Duration,
    /// The queues that are served.
    pub queue_slots: QueueSlots,
    /// Memory for all jobs together that need much, in bytes.
    pub memory_bytes: u64,
    /// The places of files that uploads name.
    pub client_files: ClientFiles,
    /// Where results are written: its room is looked at before they are.
    pub disk: PathBuf,
}

/// A crew at work.
pub struct Worker {
    shared: Arc<Shared>,
    drain_timeout: Duration,
    /// Goes on beating until the last job is out of hand.
    beating: CancellationToken,
}

impl Worker {
    /// Sets a crew to work on everything that waits, until [`Worker::drain`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(source: impl JobSource + 'static, objects: Objects, pool: Pool, settings: Settings) -> Self {
        let shared = Arc::new(Shared {
            source: Arc::new(source),
            context: Arc::new(JobContext::new(objects, settings.client_files, pool, settings.kernel)),
            slot_pool: SlotPool::new(settings.queue_slots),
            admission: Admission::new(settings.memory_bytes, settings.disk),
            disk_full: OutageTimer::default(),
            lease: settings.lease,
            job_deadline: settings.job_deadline,
            objects_wait: settings.objects_wait,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        shared.tasks.spawn(lease::serve(Arc::clone(&shared)));
        let keeping = Arc::clone(&shared);
        shared.tasks.spawn(async move {
            cache_sweeper::run(&keeping.context, settings.copies_every, &keeping.stop).await
        });
        let beating = CancellationToken::new();
        let (beaten, stop) = (Arc::clone(&shared), beating.clone());
        tokio::spawn(async move {
            let Shared { source, context, lease, job_deadline, .. } = &*beaten;
            heartbeat::run(&**source, &context.active_jobs, *lease, *job_deadline, &stop).await;
        });
        Self { shared, drain_timeout: settings.drain_timeout, beating }
    }

    /// Sends the crew home. No more jobs are taken; comparisons and plans are handed back at once, everything
    /// else when the drain timeout is over. Returns when all jobs are out of hand, or were told to stop and
    /// would not hear of it: those return to the queue with the next start.
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
    }
}

#[cfg(test)]
impl Worker {
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }
}
