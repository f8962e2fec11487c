//! Stores that sometimes fail or answer slowly.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use crate::metadata::Deleted;
use crate::metadata::store::Change;
use crate::metadata::{self, Duty, Listed, ListedRun, Mark, Message, Runs, Status, Store};
use crate::model::{ProjectId, ProjectState, RunId, Tombstone};
use crate::queue::{
    self, Acked, Broker, Cancelled, Claim, DeadLetter, DeadQuery, Group, Heartbeat, JobDetail, JobId,
    JobQuery, JobSummary, Lease, LeaseId, NewJob, Pulse, QueueName, Redelivery, Stats,
};
use crate::runtime::clock::{Clock, Timestamp};
use crate::runtime::entropy::Entropy;

/// One call in this many fails, and one in this many is slow.
const RARELY: u64 = 25;

/// Decides which calls fail.
pub(super) struct Faults {
    pub(super) chance: Entropy,
    pub(super) active: AtomicBool,
    pub(super) clock: Mutex<Clock>,
    /// The highest attempt of each job that was ever claimed, even if the worker did not receive the job.
    pub(super) attempts: Mutex<HashMap<JobId, u8>>,
}

/// The point at which a call fails.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strike {
    Never,
    /// The call was not carried out.
    Before,
    /// The call was carried out, and its answer is lost.
    After,
}

impl Faults {
    pub(super) fn pick(&self, below: u64) -> u64 {
        u64::from_le_bytes(self.chance.bytes()) % below
    }

    fn strike(&self) -> Strike {
        if !self.active.load(Ordering::Relaxed) {
            return Strike::Never;
        }
        if self.pick(RARELY) == 0 {
            let slow = Duration::from_secs(self.pick(100));
            self.clock.lock().expect("no call panics with the clock").advance(slow);
        }
        match self.pick(2 * RARELY) {
            0 => Strike::Before,
            1 => Strike::After,
            _ => Strike::Never,
        }
    }
}

/// Makes a call that may fail.
macro_rules! call {
    ($self:ident, $error:expr, $call:expr) => {{
        let strike = $self.faults.strike();
        if strike == Strike::Before {
            return Err($error);
        }
        let answer = $call.await;
        if strike == Strike::After {
            return Err($error);
        }
        answer
    }};
}

/// A queue that sometimes fails.
pub(super) struct FaultyBroker {
    pub(super) inner: Arc<dyn Broker>,
    pub(super) faults: Arc<Faults>,
}

fn storage() -> queue::Error {
    queue::Error::Storage("simulated failure".into())
}

#[async_trait]
impl Broker for FaultyBroker {
    async fn enqueue(&self, jobs: &[NewJob], now: Timestamp) -> Result<usize, queue::Error> {
        call!(self, storage(), self.inner.enqueue(jobs, now))
    }

    async fn claim(&self, claim: &Claim, now: Timestamp) -> Result<Vec<Lease>, queue::Error> {
        let claimed = async {
            let leases = self.inner.claim(claim, now).await?;
            let mut attempts = self.faults.attempts.lock().expect("no call panics with the attempts");
            for lease in &leases {
                let attempt = attempts.entry(lease.id.job.clone()).or_default();
                *attempt = lease.attempt.max(*attempt);
            }
            Ok(leases)
        };
        call!(self, storage(), claimed)
    }

    async fn sync(&self) -> Result<(), queue::Error> {
        call!(self, storage(), self.inner.sync())
    }

    async fn heartbeat(&self, beats: &[Heartbeat], now: Timestamp) -> Result<Vec<Pulse>, queue::Error> {
        call!(self, storage(), self.inner.heartbeat(beats, now))
    }

    async fn ack_all(&self, leases: &[LeaseId], now: Timestamp) -> Result<Vec<Acked>, queue::Error> {
        call!(self, storage(), self.inner.ack_all(leases, now))
    }

    async fn nack(&self, lease: &LeaseId, reason: &str, now: Timestamp) -> Result<Redelivery, queue::Error> {
        call!(self, storage(), self.inner.nack(lease, reason, now))
    }

    async fn release(&self, leases: &[LeaseId], now: Timestamp) -> Result<(), queue::Error> {
        call!(self, storage(), self.inner.release(leases, now))
    }

    async fn cancel_group(&self, group: &Group, now: Timestamp) -> Result<Cancelled, queue::Error> {
        call!(self, storage(), self.inner.cancel_group(group, now))
    }

    async fn pause(&self, queue: &QueueName, now: Timestamp) -> Result<(), queue::Error> {
        call!(self, storage(), self.inner.pause(queue, now))
    }

    async fn resume(&self, queue: &QueueName, now: Timestamp) -> Result<(), queue::Error> {
        call!(self, storage(), self.inner.resume(queue, now))
    }

    async fn dead_letters(&self, query: &DeadQuery, now: Timestamp) -> Result<Vec<DeadLetter>, queue::Error> {
        call!(self, storage(), self.inner.dead_letters(query, now))
    }

    async fn erase_traces(&self) -> Result<(), queue::Error> {
        call!(self, storage(), self.inner.erase_traces())
    }

    async fn redrive(&self, jobs: &[JobId], now: Timestamp) -> Result<usize, queue::Error> {
        call!(self, storage(), self.inner.redrive(jobs, now))
    }

    async fn discard(&self, jobs: &[JobId], now: Timestamp) -> Result<usize, queue::Error> {
        call!(self, storage(), self.inner.discard(jobs, now))
    }

    async fn show(&self, job: &JobId, now: Timestamp) -> Result<Option<JobDetail>, queue::Error> {
        call!(self, storage(), self.inner.show(job, now))
    }

    async fn jobs(&self, query: &JobQuery, now: Timestamp) -> Result<Vec<JobSummary>, queue::Error> {
        call!(self, storage(), self.inner.jobs(query, now))
    }

    async fn has_jobs(&self, group: &Group, now: Timestamp) -> Result<bool, queue::Error> {
        call!(self, storage(), self.inner.has_jobs(group, now))
    }

    async fn stats(&self, now: Timestamp) -> Result<Stats, queue::Error> {
        call!(self, storage(), self.inner.stats(now))
    }

    fn renewals(&self) -> u64 {
        self.inner.renewals()
    }

    async fn close(&self) -> Result<(), queue::Error> {
        self.inner.close().await
    }
}

/// A metadata store that sometimes fails.
pub(super) struct FaultyStore {
    pub(super) inner: Arc<dyn Store>,
    pub(super) faults: Arc<Faults>,
}

fn unavailable() -> metadata::Error {
    metadata::Error::Unavailable("simulated failure".into())
}

#[async_trait]
impl Store for FaultyStore {
    async fn update(&self, project: ProjectId, runs: Runs, change: Change) -> Result<(), metadata::Error> {
        call!(self, unavailable(), self.inner.update(project, runs, change))
    }

    async fn project(&self, id: ProjectId, runs: Runs) -> Result<Option<ProjectState>, metadata::Error> {
        call!(self, unavailable(), self.inner.project(id, runs))
    }

    async fn runs(&self, project: ProjectId) -> Result<Vec<ListedRun>, metadata::Error> {
        call!(self, unavailable(), self.inner.runs(project))
    }

    async fn projects(&self) -> Result<Vec<Listed>, metadata::Error> {
        call!(self, unavailable(), self.inner.projects())
    }

    async fn unsettled(&self) -> Result<Vec<ProjectId>, metadata::Error> {
        call!(self, unavailable(), self.inner.unsettled())
    }

    async fn failed_runs(&self, count: u32) -> Result<Vec<(ProjectId, RunId)>, metadata::Error> {
        call!(self, unavailable(), self.inner.failed_runs(count))
    }

    async fn settled_before(&self, moment: Timestamp) -> Result<Vec<ProjectId>, metadata::Error> {
        call!(self, unavailable(), self.inner.settled_before(moment))
    }

    async fn mark(&self) -> Result<Option<Mark>, metadata::Error> {
        call!(self, unavailable(), self.inner.mark())
    }

    async fn keep_mark(&self, mark: Mark) -> Result<(), metadata::Error> {
        call!(self, unavailable(), self.inner.keep_mark(mark))
    }

    async fn latest(&self) -> Result<Option<Timestamp>, metadata::Error> {
        call!(self, unavailable(), self.inner.latest())
    }

    async fn status(&self) -> Result<Status, metadata::Error> {
        call!(self, unavailable(), self.inner.status())
    }

    async fn outbox(&self, count: u32) -> Result<Vec<Message>, metadata::Error> {
        call!(self, unavailable(), self.inner.outbox(count))
    }

    async fn duties(&self) -> Result<Vec<Duty>, metadata::Error> {
        call!(self, unavailable(), self.inner.duties())
    }

    async fn settle(&self, job: &str) -> Result<(), metadata::Error> {
        call!(self, unavailable(), self.inner.settle(job))
    }

    async fn note_attempts(
        &self,
        project: ProjectId,
        job: &str,
        attempts: u8,
    ) -> Result<(), metadata::Error> {
        call!(self, unavailable(), self.inner.note_attempts(project, job, attempts))
    }

    async fn attempts(&self) -> Result<HashMap<String, u8>, metadata::Error> {
        call!(self, unavailable(), self.inner.attempts())
    }

    async fn deleted(&self) -> Result<Vec<Deleted>, metadata::Error> {
        call!(self, unavailable(), self.inner.deleted())
    }

    async fn note_deleted(&self, these: Vec<Deleted>) -> Result<(), metadata::Error> {
        call!(self, unavailable(), self.inner.note_deleted(these))
    }

    async fn forget_deleted(&self, these: Vec<Tombstone>, is_over: bool) -> Result<(), metadata::Error> {
        call!(self, unavailable(), self.inner.forget_deleted(these, is_over))
    }

    async fn compact(&self) -> Result<(), metadata::Error> {
        call!(self, unavailable(), self.inner.compact())
    }

    async fn forget(&self, sequence: i64) -> Result<(), metadata::Error> {
        call!(self, unavailable(), self.inner.forget(sequence))
    }
}
