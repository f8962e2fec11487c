//! The jobs that this worker executes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::coordinator::Assignment;
use crate::model::Job;
use crate::queue::{Heartbeat, LeaseId, Progress};
use crate::runtime::clock::Stopwatch;

/// The cause of a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The outcome is no longer needed, or another worker holds the job.
    Unwanted,
    /// The process is shutting down; another worker will do the job.
    Draining,
    /// The job has exceeded its deadline.
    Overdue,
    /// The source of jobs was unreachable for the length of the lease: another worker may hold the job.
    Expired,
}

/// A job that is being executed.
#[derive(Debug)]
pub(super) struct ActiveJob {
    /// The job, and its lease.
    pub(super) assignment: Assignment,
    cancelled: AtomicBool,
    cause: OnceLock<Cause>,
    /// Measures the time since the job was claimed.
    taken: Stopwatch,
    /// Measures the time since the work began.
    watch: OnceLock<Stopwatch>,
    /// The milliseconds of the work during which the process was paused.
    paused_ms: AtomicU64,
    /// The milliseconds from the claim to the latest answer to a heartbeat.
    heard_ms: AtomicU64,
    /// The number of units of work that are done. Each kind of job has its own unit.
    pub(super) done: AtomicU64,
    /// The total number of units of work.
    pub(super) total: AtomicU64,
}

impl ActiveJob {
    pub(super) fn new(assignment: Assignment) -> Self {
        Self {
            assignment,
            cancelled: AtomicBool::new(false),
            cause: OnceLock::new(),
            taken: Stopwatch::start(),
            watch: OnceLock::new(),
            paused_ms: AtomicU64::new(0),
            heard_ms: AtomicU64::new(0),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
        }
    }

    pub(super) const fn job(&self) -> &Job {
        &self.assignment.job
    }

    pub(super) const fn lease(&self) -> &LeaseId {
        &self.assignment.lease.id
    }

    /// Returns the seconds since the job was claimed.
    pub(super) fn age_seconds(&self) -> f64 {
        self.taken.seconds()
    }

    /// Cancels the job. Only the first cause is recorded.
    pub(super) fn cancel(&self, cause: Cause) {
        let _ = self.cause.set(cause);
        self.cancelled.store(true, Ordering::Release);
    }

    /// Starts to measure the time of the work.
    pub(super) fn begin(&self) {
        let _ = self.watch.set(Stopwatch::start());
    }

    /// Returns the time of the work, without pauses of the process.
    pub(super) fn worked(&self) -> Duration {
        let since = self.watch.get().map_or(Duration::ZERO, |watch| watch.elapsed());
        since.saturating_sub(Duration::from_millis(self.paused_ms.load(Ordering::Relaxed)))
    }

    /// Excludes a pause of the process from the time of the work.
    pub(super) fn was_paused(&self, pause: Duration) {
        self.paused_ms.fetch_add(pause.as_millis() as u64, Ordering::Relaxed);
    }

    /// Records that a heartbeat was answered.
    pub(super) fn was_heard(&self) {
        self.heard_ms.store(self.taken.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Returns the time since the latest answer to a heartbeat, or since the claim.
    pub(super) fn unheard(&self) -> Duration {
        self.taken.elapsed().saturating_sub(Duration::from_millis(self.heard_ms.load(Ordering::Relaxed)))
    }

    /// Returns the flag that the job polls.
    pub(super) const fn cancelled(&self) -> &AtomicBool {
        &self.cancelled
    }

    /// Returns the cause if the job is cancelled.
    pub(super) fn cause(&self) -> Option<Cause> {
        self.cancelled.load(Ordering::Acquire).then(|| self.cause.get().copied()).flatten()
    }

    /// Returns the heartbeat of the job, with its progress.
    pub(super) fn heartbeat(&self) -> Heartbeat {
        let progress =
            Progress { done: self.done.load(Ordering::Relaxed), total: self.total.load(Ordering::Relaxed) };
        Heartbeat { lease: self.lease().clone(), progress }
    }
}

/// All jobs that this worker executes.
#[derive(Debug, Default)]
pub(super) struct ActiveJobs {
    active: Mutex<HashMap<LeaseId, Arc<ActiveJob>>>,
    dropped: Notify,
}

impl ActiveJobs {
    /// Adds a job, until the returned guard is dropped.
    pub(super) fn take(self: &Arc<Self>, assignment: Assignment) -> ActiveJobGuard {
        let active = Arc::new(ActiveJob::new(assignment));
        self.active.lock().insert(active.lease().clone(), Arc::clone(&active));
        ActiveJobGuard { active, active_jobs: Arc::clone(self) }
    }

    /// Adds a job, unless its lease is active already.
    pub(super) fn take_once(self: &Arc<Self>, assignment: Assignment) -> Option<ActiveJobGuard> {
        let active = Arc::new(ActiveJob::new(assignment));
        match self.active.lock().entry(active.lease().clone()) {
            Entry::Occupied(_) => return None,
            Entry::Vacant(free) => _ = free.insert(Arc::clone(&active)),
        }
        Some(ActiveJobGuard { active, active_jobs: Arc::clone(self) })
    }

    /// Returns the active jobs.
    pub(super) fn all(&self) -> Vec<Arc<ActiveJob>> {
        self.active.lock().values().cloned().collect()
    }

    /// Waits until there is no active job for which `these` returns true.
    pub(super) async fn until_none(&self, these: impl Fn(&Job) -> bool) {
        loop {
            // Subscribes before the check, so that a later drop is not missed.
            let mut dropped = std::pin::pin!(self.dropped.notified());
            dropped.as_mut().enable();
            if !self.active.lock().values().any(|active| these(active.job())) {
                return;
            }
            dropped.await;
        }
    }
}

/// Removes the job from the active jobs when it is dropped.
#[derive(Debug)]
pub(super) struct ActiveJobGuard {
    active: Arc<ActiveJob>,
    active_jobs: Arc<ActiveJobs>,
}

impl Deref for ActiveJobGuard {
    type Target = Arc<ActiveJob>;

    fn deref(&self) -> &Arc<ActiveJob> {
        &self.active
    }
}

impl Drop for ActiveJobGuard {
    fn drop(&mut self) {
        self.active_jobs.active.lock().remove(self.active.lease());
        self.active_jobs.dropped.notify_waiters();
    }
}
