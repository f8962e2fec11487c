//! The source of jobs: the coordinator of this process, or a replacement in tests.

use async_trait::async_trait;

use crate::coordinator::{Assignment, Coordinator, Error};
use crate::model::Outcome;
use crate::queue::{Claim, Heartbeat, Pulse};

/// A source of jobs. The methods promise the same as those of [`Coordinator`].
#[async_trait]
pub trait JobSource: Send + Sync {
    /// Claims jobs; waits for as long as the claim says if there are none.
    async fn claim(&self, claim: &Claim) -> Result<Vec<Assignment>, Error>;

    /// Extends leases; returns for each job whether to continue.
    async fn heartbeat(&self, beats: &[Heartbeat]) -> Result<Vec<Pulse>, Error>;

    /// Records the outcome of a job and removes it from the queue.
    async fn report(&self, assignment: &Assignment, outcome: Outcome) -> Result<(), Error>;

    /// Reports a failed attempt.
    async fn failed(&self, assignment: &Assignment, reason: &str) -> Result<(), Error>;

    /// Releases jobs without using an attempt.
    async fn release(&self, assignments: &[Assignment]) -> Result<(), Error>;
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
