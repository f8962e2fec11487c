//! The source of jobs: the coordinator of this process, API nodes on other machines, or a replacement in tests.

use async_trait::async_trait;

use crate::coordinator::{Assignment, Coordinator, Error};
use crate::model::Outcome;
use crate::queue::{Claim, Heartbeat, LeaseId, Pulse};

/// A source of jobs. Methods have the contracts of the methods of [`Coordinator`] with the same names.
#[async_trait]
pub trait JobSource: Send + Sync {
    /// Claims jobs; waits up to the time in the claim if there are none.
    async fn claim(&self, claim: &Claim) -> Result<Vec<Assignment>, Error>;

    /// Extends leases; returns for each job whether the worker must continue.
    async fn heartbeat(&self, beats: &[Heartbeat]) -> Result<Vec<Pulse>, Error>;

    /// Records the outcome of a job and removes it from the queue.
    async fn report(&self, assignment: &Assignment, outcome: Outcome) -> Result<(), Error>;

    /// Reports a failed attempt.
    async fn failed(&self, assignment: &Assignment, reason: &str) -> Result<(), Error>;

    /// Releases jobs without using an attempt.
    async fn release(&self, assignments: &[Assignment]) -> Result<(), Error>;

    /// Returns the maximum number of jobs that one claim may request.
    fn claims_at_once(&self) -> usize {
        1
    }

    /// Returns true if the source can become unreachable. It may then give the jobs of this worker to others, so a
    /// worker that has not reached it for the length of a lease cancels its jobs.
    fn is_remote(&self) -> bool {
        false
    }

    /// Drops all data about a job that this worker has ended.
    fn forget(&self, _lease: &LeaseId) {}

    /// Ends calls in progress, and releases jobs that were claimed and not yet returned. No claim may follow.
    async fn close(&self) {}
}

#[async_trait]
impl JobSource for Coordinator {
    async fn claim(&self, claim: &Claim) -> Result<Vec<Assignment>, Error> {
        Self::claim(self, claim).await
    }

    async fn heartbeat(&self, beats: &[Heartbeat]) -> Result<Vec<Pulse>, Error> {
        Self::heartbeat(self, beats).await
    }

    async fn report(&self, assignment: &Assignment, outcome: Outcome) -> Result<(), Error> {
        Self::report(self, assignment, outcome).await
    }

    async fn failed(&self, assignment: &Assignment, reason: &str) -> Result<(), Error> {
        Self::failed(self, assignment, reason).await
    }

    async fn release(&self, assignments: &[Assignment]) -> Result<(), Error> {
        Self::release(self, assignments).await
    }
}
