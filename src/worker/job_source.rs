//! Who hands out jobs and hears what became of them: the coordinator of this process, or a stand-in for it.

use async_trait::async_trait;

use crate::coordinator::{Assignment, Coordinator, Error};
use crate::model::Outcome;
use crate::queue::{Claim, Heartbeat, Pulse};

/// Where the hands get their jobs. What the methods promise, [`Coordinator`] says.
#[async_trait]
pub trait JobSource: Send + Sync {
    /// Hands out jobs; waits as long as the claim says while there are none.
    async fn claim(&self, claim: &Claim) -> Result<Vec<Assignment>, Error>;

    /// Extends leases, and says of each job whether it is still wanted.
    async fn heartbeat(&self, beats: &[Heartbeat]) -> Result<Vec<Pulse>, Error>;

    /// Writes down what became of a job, and takes it out of the queue.
    async fn report(&self, assignment: &Assignment, outcome: Outcome) -> Result<(), Error>;

    /// Says that an attempt failed.
    async fn failed(&self, assignment: &Assignment, reason: &str) -> Result<(), Error>;

    /// Takes jobs back untried.
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
