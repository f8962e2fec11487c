//! The jobs that are in hand.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::coordinator::Assignment;
use crate::model::Job;
use crate::queue::{Heartbeat, LeaseId, Progress};
use crate::runtime::clock::Stopwatch;

/// Why a job is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Nobody waits for its outcome, or somebody else works on it.
    Unwanted,
    /// The process is going down; somebody else will do it.
    Draining,
    /// It has taken longer than any job may.
    Overdue,
}

/// A job in hand.
#[derive(Debug)]
pub(super) struct ActiveJob {
    /// The job, and the claim to it.
    pub(super) assignment: Assignment,
    cancelled: AtomicBool,
    cause: OnceLock<Cause>,
    /// Since it was taken.
    taken: Stopwatch,
    /// Runs from the moment at which work began.
    watch: OnceLock<Stopwatch>,
    /// Milliseconds of it in which the process was paused.
    paused_ms: AtomicU64,
    /// Units of work behind it, and in all; what a unit is, the kind of job decides.
    pub(super) done: AtomicU64,
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

    /// Seconds since it was taken.
    pub(super) fn age_seconds(&self) -> f64 {
        self.taken.seconds()
    }

    /// Tells the job to stop. The first cause stands.
    pub(super) fn cancel(&self, cause: Cause) {
        let _ = self.cause.set(cause);
        self.cancelled.store(true, Ordering::Release);
    }

    /// Work begins.
    pub(super) fn begin(&self) {
        let _ = self.watch.set(Stopwatch::start());
    }

    /// How long it has been worked on, pauses of the process left out.
    pub(super) fn worked(&self) -> Duration {
        let since = self.watch.get().map_or(Duration::ZERO, |watch| watch.elapsed());
        since.saturating_sub(Duration::from_millis(self.paused_ms.load(Ordering::Relaxed)))
    }

    /// The process was paused for this long.
    pub(super) fn was_paused(&self, pause: Duration) {
        self.paused_ms.fetch_add(pause.as_millis() as u64, Ordering::Relaxed);
    }

    /// What the job looks at while it works.
    pub(super) const fn cancelled(&self) -> &AtomicBool {
        &self.cancelled
    }

    /// Whether, and why, the job is to stop.
    pub(super) fn cause(&self) -> Option<Cause> {
        self.cancelled.load(Ordering::Acquire).then(|| self.cause.get().copied()).flatten()
    }

    /// The sign that it is still in hand.
    pub(super) fn heartbeat(&self) -> Heartbeat {
        let progress =
            Progress { done: self.done.load(Ordering::Relaxed), total: self.total.load(Ordering::Relaxed) };
        Heartbeat { lease: self.lease().clone(), progress }
    }
}

/// All jobs that are in hand.
#[derive(Debug, Default)]
pub(super) struct ActiveJobs {
    active: Mutex<HashMap<LeaseId, Arc<ActiveJob>>>,
    dropped: Notify,
}

impl ActiveJobs {
    /// Takes a job in hand, until the returned guard is dropped.
    pub(super) fn take(self: &Arc<Self>, assignment: Assignment) -> ActiveJobGuard {
        let active = Arc::new(ActiveJob::new(assignment));
        self.lock().insert(active.lease().clone(), Arc::clone(&active));
        ActiveJobGuard { active, active_jobs: Arc::clone(self) }
    }

    /// The jobs in hand right now.
    pub(super) fn all(&self) -> Vec<Arc<ActiveJob>> {
        self.lock().values().cloned().collect()
    }

    /// Waits until no job in hand is one of `these`.
    pub(super) async fn until_none(&self, these: impl Fn(&Job) -> bool) {
        loop {
            // Asked for before the look, so that no drop after it is missed.
            let mut dropped = std::pin::pin!(self.dropped.notified());
            dropped.as_mut().enable();
            if !self.lock().values().any(|active| these(active.job())) {
                return;
            }
            dropped.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LeaseId, Arc<ActiveJob>>> {
        self.active.lock()
    }
}

/// Keeps a job in hand.
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
        self.active_jobs.lock().remove(self.active.lease());
        self.active_jobs.dropped.notify_waiters();
    }
}
