//! Sends heartbeats, which extend the leases of active jobs, and cancels jobs that are obsolete.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::active_jobs::{ActiveJob, ActiveJobs, Cause};
use super::job_source::JobSource;
use crate::coordinator::Error;
use crate::queue::Pulse;
use crate::runtime::clock::{Clock, Stopwatch};
use crate::telemetry::{chain, metrics};

/// The longest pause between checks for obsolete jobs, which must stop within a second.
const EVERY_MAX: Duration = Duration::from_millis(250);

/// The minimum unexpected delay that counts as a pause of the process or its machine.
const PAUSE_MIN: Duration = Duration::from_secs(3);

/// Sends heartbeats for all active jobs, at least three for each lease, until `stop` is cancelled. Cancels a job that
/// has run for longer than `deadline`.
pub(super) async fn run(
    source: &dyn JobSource,
    active_jobs: &ActiveJobs,
    lease: Duration,
    deadline: Duration,
    stop: &CancellationToken,
) {
    let every = EVERY_MAX.min(lease / 3);
    let mut silent = false;
    loop {
        let (watch, began) = (Stopwatch::start(), Clock::system().steady());
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        let active = active_jobs.all();
        // The stopwatches, also those of the jobs, exclude a suspension of the machine.
        discount_pause(&active, watch.elapsed().saturating_sub(every), Clock::system().steady().since(began));
        metrics::oldest_lease(active.iter().map(|active| active.age_seconds()).fold(0.0, f64::max));
        active
            .iter()
            .filter(|active| active.worked() > deadline)
            .for_each(|active| active.cancel(Cause::Overdue));
        match send(source, &active).await {
            Ok(()) => silent = false,
            Err(error) => {
                if source.is_remote() {
                    stop_expired(&active, lease);
                }
                // Only the first failure is logged. The next attempt follows soon.
                if !silent {
                    silent = true;
                    tracing::warn!(
                        jobs = active.len(),
                        "heartbeat failed; leases may expire: {}",
                        chain(&error)
                    );
                }
            }
        }
    }
}

/// Cancels the jobs whose leases may have expired, so that another worker may hold them.
fn stop_expired(active: &[Arc<ActiveJob>], lease: Duration) {
    for active in active.iter().filter(|active| active.unheard() > lease && active.cause().is_none()) {
        tracing::warn!(job.id = %active.lease().job, "the lease has expired; stopping the job");
        active.cancel(Cause::Expired);
    }
}

/// Excludes a pause of the process from the time of the jobs, if `late` is long enough for a pause, and logs it.
fn discount_pause(active: &[Arc<ActiveJob>], late: Duration, lasted: Duration) {
    if late >= PAUSE_MIN {
        active.iter().for_each(|active| active.was_paused(late));
    }
    if lasted >= PAUSE_MIN {
        let (jobs, paused_ms) = (active.len(), lasted.as_millis() as u64);
        tracing::warn!(jobs, paused_ms, "the process or its machine was paused; active jobs continue");
    }
}

async fn send(
    source: &dyn JobSource,
    active: &[impl std::ops::Deref<Target = ActiveJob>],
) -> Result<(), Error> {
    if active.is_empty() {
        return Ok(());
    }
    let beats: Vec<_> = active.iter().map(|active| active.heartbeat()).collect();
    let pulses = source.heartbeat(&beats).await?;
    for (active, pulse) in active.iter().zip(pulses) {
        active.was_heard();
        if matches!(pulse, Pulse::Stop | Pulse::Lost) {
            active.cancel(Cause::Unwanted);
        }
    }
    Ok(())
}

/// Returns true if the outcome of the job is still needed and no other worker holds the job.
pub(super) async fn is_wanted(source: &dyn JobSource, active: &ActiveJob) -> Result<bool, Error> {
    send(source, &[active]).await?;
    Ok(active.cause() != Some(Cause::Unwanted))
}
