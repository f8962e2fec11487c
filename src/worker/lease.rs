//! Claims jobs, executes them, and ends each lease: reports the outcome or a failed attempt, or releases the job.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

use super::Error;
use super::active_jobs::{ActiveJob, ActiveJobGuard, Cause};
use super::concurrency::FreeSlot;
use super::heartbeat::is_wanted;
use super::jobs;
use super::shared::Shared;
use crate::coordinator::{self, Assignment};
use crate::model::{Outcome, Task};
use crate::queue::Claim;
use crate::runtime::clock::Stopwatch;
use crate::runtime::compute::panic_text;
use crate::runtime::outage::OutageTimer;
use crate::telemetry::{chain, metrics};

/// The maximum wait of a claim for a job before it is repeated.
const CLAIM_WAIT: Duration = Duration::from_secs(20);
/// The pause before a failed claim or report is repeated.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// The maximum time for which a full disk uses no attempts of an ingest job, and for which an outcome that cannot be
/// recorded is kept.
const OUTAGE_MAX: Duration = Duration::from_mins(15);
/// The time limit for the answer to a claim once the worker drains.
const CLAIM_GRACE: Duration = Duration::from_millis(100);

/// Claims a job for each free slot, until the worker drains.
pub(super) async fn serve(shared: Arc<Shared>) {
    while let Some(FreeSlot { shares, count, left_out, freed }) = shared.free_slot().await {
        let count = count.min(shared.source.claims_at_once());
        let claim = Claim { queues: shares, count, lease: shared.lease, wait: CLAIM_WAIT, for_guest: false };
        let claimed = tokio::select! {
            claimed = shared.claim(&claim) => claimed,
            // A slot of the queue that was left out is free, and that queue may have a job.
            () = freed, if left_out => continue,
        };
        match claimed {
            Ok(assignments) => shared.start_jobs(assignments).await,
            Err(error) => {
                if let Some(times) = shared.unclaimed.count() {
                    tracing::warn!(times, "cannot claim jobs: {}", chain(&error));
                }
                tokio::select! {
                    () = shared.stop.cancelled() => {}
                    () = tokio::time::sleep(RETRY_DELAY) => {}
                }
            }
        }
    }
}

impl Shared {
    /// Waits for a free slot; returns `None` when the worker drains.
    async fn free_slot(&self) -> Option<FreeSlot<'_>> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            free_slot = self.slot_pool.free_slot() => Some(free_slot),
        }
    }

    /// Claims jobs; returns none when the worker drains. Waits briefly for the answer of a claim in progress, since its
    /// jobs would otherwise wait until their leases expire.
    async fn claim(&self, claim: &Claim) -> Result<Vec<Assignment>, coordinator::Error> {
        let mut answer = std::pin::pin!(self.source.claim(claim));
        tokio::select! {
            answer = &mut answer => answer,
            () = self.stop.cancelled() => {
                tokio::time::timeout(CLAIM_GRACE, answer).await.unwrap_or_else(|_| Ok(Vec::new()))
            }
        }
    }

    /// Starts a task for each job; releases all jobs if the worker drains.
    async fn start_jobs(self: &Arc<Self>, assignments: Vec<Assignment>) {
        if self.stop.is_cancelled() {
            return self.release(&assignments).await;
        }
        for assignment in assignments {
            let Some(permit) = self.slot_pool.take(&assignment.lease.queue) else {
                // The queue may return more jobs than there are slots.
                self.release(&[assignment]).await;
                continue;
            };
            let (shared, active) = (Arc::clone(self), self.context.active_jobs.take(assignment));
            self.tasks.spawn(async move {
                shared.run_job(active).await;
                drop(permit);
            });
        }
    }

    async fn release(&self, assignments: &[Assignment]) {
        if assignments.is_empty() {
            return;
        }
        if let Err(error) = self.source.release(assignments).await {
            tracing::warn!(
                jobs = assignments.len(),
                "cannot release jobs; their leases expire: {}",
                chain(&error)
            );
        }
    }

    async fn run_job(&self, active: ActiveJobGuard) {
        let watch = Stopwatch::start();
        let ended = self.attempt(&active).await;
        let (job, duration_ms) = (&active.lease().job, watch.elapsed().as_millis() as u64);
        metrics::job(active.job().task.kind(), outcome(&ended), watch.seconds());
        match &ended {
            Ok(outcome) => tracing::debug!(job.id = %job, duration_ms, "job done: {outcome:?}"),
            Err(error) => tracing::debug!(job.id = %job, duration_ms, "job not done: {error}"),
        }
        self.report_until_recorded(&active, &ended).await;
        self.source.forget(active.lease());
    }

    async fn attempt(&self, active: &ActiveJobGuard) -> Result<Outcome, Error> {
        // Checked after the job became active: a later purge waits for it, and an earlier one has cancelled it. So no
        // object is created after its purge.
        match is_wanted(&*self.source, active).await {
            Ok(true) => {}
            Ok(false) => return Err(Error::Cancelled),
            Err(error) => return Err(Error::Unreachable(error)),
        }
        let _admitted = self.admission.admit(active).await?;
        active.begin();
        let work = AssertUnwindSafe(jobs::execute(&self.context, active)).catch_unwind().await;
        work.unwrap_or_else(|panic| Err(Error::panicked(&panic_text(panic.as_ref()))))
    }

    /// Reports the outcome of a job. While the outcome cannot be recorded, the job stays active, so that the work need
    /// not be repeated.
    async fn report_until_recorded(&self, active: &ActiveJob, ended: &Result<Outcome, Error>) {
        let outage = OutageTimer::default();
        let mut said = false;
        while let Err(error) = self.report(active, ended).await {
            let (job, waits) =
                (&active.lease().job, error.may_pass() && outage.record_failure() < OUTAGE_MAX);
            if !waits || !said {
                tracing::warn!(job.id = %job, "cannot report the job's outcome; retrying: {}", chain(&error));
            }
            said = true;
            if !waits || self.pause().await {
                // The outcome is dropped: the lease will expire, and another attempt will have the same outcome.
                return;
            }
        }
    }

    /// Waits for [`RETRY_DELAY`]; returns true if the worker drains.
    async fn pause(&self) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => true,
            () = tokio::time::sleep(RETRY_DELAY) => false,
        }
    }

    /// Reports the outcome of a job, if it is needed.
    async fn report(
        &self,
        active: &ActiveJob,
        ended: &Result<Outcome, Error>,
    ) -> Result<(), coordinator::Error> {
        let (assignment, cause) = (&active.assignment, active.cause());
        match (ended, cause) {
            (Ok(outcome), _) => {
                // The outcome of a chore proves nothing about the object store, which most chores do not use.
                if !matches!(active.job().task, Task::Chore { .. }) {
                    self.context.objects.has_answered();
                }
                self.disk_full.record_success();
                self.source.report(assignment, outcome.clone()).await
            }
            // Errors are ignored, since the objects of the job may have been removed.
            (Err(_), Some(Cause::Unwanted | Cause::Expired)) | (Err(Error::Cancelled), None) => Ok(()),
            (Err(_), Some(Cause::Overdue)) => {
                let limit = self.job_deadline.as_secs_f64();
                let reason =
                    format!("it was stopped after {limit:.1} s, the deadline of a job (--job-deadline-ms)");
                self.source.failed(assignment, &reason).await
            }
            (Err(_), Some(Cause::Draining)) => self.source.release(std::slice::from_ref(assignment)).await,
            (Err(error @ Error::Missing(_)), None) => {
                // The objects may have been purged before a heartbeat cancelled the job.
                if is_wanted(&*self.source, active).await? {
                    self.reject(active, error).await
                } else {
                    Ok(())
                }
            }
            (Err(error @ (Error::Rejected(_) | Error::Damaged(_) | Error::DamagedObject(_))), None) => {
                self.reject(active, error).await
            }
            (Err(error @ Error::Unavailable(_)), None) => {
                let outage = self.context.objects.silence().await;
                self.release_during(assignment, error, (outage, self.objects_wait)).await
            }
            // A run may fill the disk until it ends. An accepted upload waits for that.
            (Err(error @ Error::DiskFull(_)), None) if matches!(active.job().task, Task::Ingest { .. }) => {
                self.release_during(assignment, error, (Some(self.disk_full.record_failure()), OUTAGE_MAX))
                    .await
            }
            (Err(Error::Unreachable(_)), None) => {
                self.pause().await;
                self.source.release(std::slice::from_ref(assignment)).await
            }
            (Err(error), None) => self.source.failed(assignment, &error.to_string()).await,
        }
    }

    /// Releases a job without using an attempt, if the outage has lasted for less than `longest`; otherwise reports a
    /// failed attempt.
    async fn release_during(
        &self,
        assignment: &Assignment,
        error: &Error,
        (lasted, longest): (Option<Duration>, Duration),
    ) -> Result<(), coordinator::Error> {
        match lasted {
            Some(lasted) if lasted < longest => {
                let waits_s = lasted.as_secs();
                if let Some(times) = self.waiting.count() {
                    let job = &assignment.lease.id.job;
                    tracing::warn!(job.id = %job, waits_s, times, "job waits for its objects: {error}");
                }
                self.pause().await;
                self.source.release(std::slice::from_ref(assignment)).await
            }
            _ => self.source.failed(assignment, &error.to_string()).await,
        }
    }

    async fn reject(&self, active: &ActiveJob, error: &Error) -> Result<(), coordinator::Error> {
        if !active.job().task.is_awaited() {
            // A purge must be retried, or its objects would not be removed.
            return self.source.failed(&active.assignment, &error.to_string()).await;
        }
        let message = error.to_string();
        self.source.report(&active.assignment, Outcome::Rejected { message }).await
    }
}

/// Returns the metric label for the result of an attempt.
const fn outcome(ended: &Result<Outcome, Error>) -> &'static str {
    match ended {
        Ok(Outcome::Rejected { .. })
        | Err(Error::Rejected(_) | Error::Missing(_) | Error::Damaged(_) | Error::DamagedObject(_)) => {
            "rejected"
        }
        Ok(_) => "done",
        Err(Error::Cancelled) => "cancelled",
        Err(Error::Unavailable(_) | Error::Unreachable(_)) => "waiting",
        Err(Error::DiskFull(_) | Error::Panicked(_) | Error::Failed(_)) => "failed",
    }
}
