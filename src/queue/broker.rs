//! The contract of a queue.

use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Cancelled, DeadLetter, DeadQuery, Error, Fence, Group, JobDetail, JobId, JobQuery, JobSummary, Progress,
    QueueName, Stats,
};
use crate::runtime::clock::Timestamp;

/// Attempts of a job unless it specifies others.
const ATTEMPTS_MAX: NonZeroU8 = NonZeroU8::new(3).expect("three is not zero");

/// Of the time between two calls, so much counts against leases at most: in a longer gap the queue, its machine or all of
/// its workers were stopped, or the clock was set, and no holder could be heard.
pub const UNSEEN_MAX: Duration = Duration::from_millis(500);

/// So many leases on a job that run out count as one attempt: its holder may be at fault, or the machine.
pub const LAPSES_PER_ATTEMPT: u8 = 3;

/// No job is larger, with its names.
pub(super) const JOB_BYTES_MAX: usize = 60 << 10;

/// A job to be enqueued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// Its name: enqueueing a name again before it was acknowledged does nothing.
    pub job: JobId,
    /// The queue in which it waits.
    pub queue: QueueName,
    /// The unit of cancellation and of fairness: `family/name`, or a name alone.
    pub group: Group,
    /// Higher goes first inside a queue; 0 is usual. Waiting makes up for a lower one.
    pub priority: i8,
    /// It is not handed out before this moment.
    pub not_before: Option<Timestamp>,
    /// Attempts that were made in an earlier queue, which was lost.
    pub attempts: u8,
    /// After so many attempts without an ack it goes to the dead letters.
    pub attempts_max: NonZeroU8,
    /// The content for the worker.
    pub payload: Bytes,
}

impl NewJob {
    /// A job of usual priority, to be handed out at once, tried three times.
    pub fn new(
        job: impl Into<JobId>,
        queue: impl Into<QueueName>,
        group: impl Into<Group>,
        payload: impl Into<Bytes>,
    ) -> Self {
        Self {
            job: job.into(),
            queue: queue.into(),
            group: group.into(),
            priority: 0,
            not_before: None,
            attempts: 0,
            attempts_max: ATTEMPTS_MAX,
            payload: payload.into(),
        }
    }

    /// Returns the room that it takes in a queue.
    pub(super) fn size_bytes(&self) -> usize {
        let names = self.job.as_str().len() + self.queue.as_str().len() + self.group.as_str().len();
        names + self.payload.len() + 32
    }
}

/// A queue that a claim may be served from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The queue.
    pub queue: QueueName,
    /// Its part of what is handed out while the other queues of the claim have work too.
    pub weight: NonZeroU32,
}

/// A wish for work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// From where; a queue that is not named is not touched.
    pub queues: Vec<Share>,
    /// The most jobs handed out.
    pub count: usize,
    /// The length of the leases (the visibility timeout).
    pub lease: Duration,
    /// The wait for the first job.
    pub wait: Duration,
    /// True if the jobs are for a worker on another machine, which goes on when this process ends.
    pub for_guest: bool,
}

/// Names one hold on a job.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct LeaseId {
    /// The job held.
    pub job: JobId,
    /// Which hold on it.
    pub fence: Fence,
}

/// A job in a worker's hands, until a deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The identity for heartbeat, ack, nack and release.
    pub id: LeaseId,
    /// The queue in which the job waited.
    pub queue: QueueName,
    /// The group it belongs to.
    pub group: Group,
    /// The content with which it was enqueued.
    pub payload: Bytes,
    /// Which attempt this is, from 1. It has the number of the one before if only the lease of that ran out.
    pub attempt: u8,
    /// The moment at which it was enqueued.
    pub enqueued: Timestamp,
    /// Since when it could be claimed: it was enqueued then, or its delay was over, or it was given back.
    pub ready: Timestamp,
    /// Without a heartbeat the job goes to another worker after this moment; later, if the queue is not called meanwhile.
    pub until: Timestamp,
}

/// A sign of life for one lease.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Heartbeat {
    /// The lease to extend, by its own length.
    pub lease: LeaseId,
    /// The progress of the job.
    pub progress: Progress,
}

/// The answer to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Pulse {
    /// Go on; the lease now lasts until then.
    Continue {
        /// The new deadline.
        until: Timestamp,
    },
    /// The job was cancelled: stop, its result is not wanted.
    Stop,
    /// Another worker holds the job, or it is done: stop, and do not ack.
    Lost,
}

/// The answer to an ack in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Acked {
    /// The job will not be handed out again.
    Done,
    /// Another worker holds it now; nothing was changed.
    Lost,
}

/// The next state of a job whose attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Redelivery {
    /// It is retried.
    Retried {
        /// The end of its backoff.
        at: Timestamp,
    },
    /// It has used its attempts and lies in the dead letters.
    Dead,
    /// It was cancelled meanwhile.
    Cancelled,
}

/// A queue of jobs that loses none, hands each to one worker at a time, and starves no group.
///
/// Delivery is at least once. What answers `Ok` to [`enqueue`](Broker::enqueue), [`ack`](Broker::ack),
/// [`nack`](Broker::nack), [`cancel_group`](Broker::cancel_group) and the other changes is on stable storage; leases are not,
/// and after a restart every job that was held waits again. The attempt that a claim begins is on stable storage before
/// the job has run for 100 ms, and at once when [`sync`](Broker::sync) returns.
///
/// Time is an argument: a call happens at `now`, and delays end by comparing with it. All callers in a process take it from
/// one clock that does not step, [`Clock::steady`](crate::runtime::clock::Clock::steady); a queue that several machines share
/// takes the time of its server instead. A delay that was asked for by a clock that was ahead, before a restart, lasts no
/// longer than it was asked for, counted from the restart.
///
/// Leases run only while the queue is called: of the time between two calls [`UNSEEN_MAX`] counts at most, and none if the
/// clock was set back. A pause of the process or of the machine, however long, ends no lease: its holder is heard first.
/// While a claim waits, the queue calls itself often enough.
///
/// An attempt ends in an ack, in a nack, which counts, in a release, which does not, or with the lease. A lease that runs
/// out does not mean that the job failed: [`LAPSES_PER_ATTEMPT`] of them count as one attempt, so that a job that takes its worker
/// down ends all the same. A restart while a job is held counts. Lapses may be forgotten by a restart.
///
/// Order: queues share by weight; inside a queue a higher priority goes first, but every ten seconds of
/// waiting outweigh one level; inside a level families of groups take turns, and inside a family its groups; inside a group
/// the oldest job goes first.
///
/// Dropping the future of a changing call leaves open whether the change happens; dropping a
/// [`claim`](Broker::claim) hands back what it had taken.
#[async_trait]
pub trait Broker: Send + Sync {
    /// Takes in jobs, all or none, and says how many were new: a job whose name is waiting, held or
    /// among the dead letters is skipped.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if a job cannot be stored.
    async fn enqueue(&self, jobs: &[NewJob], now: Timestamp) -> Result<usize, Error>;

    /// Hands out up to `claim.count` jobs; waits up to `claim.wait` while there is none. Empty if none
    /// came. `now` is when the wait begins. The attempts become durable with the next [`sync`](Broker::sync) or change.
    async fn claim(&self, claim: &Claim, now: Timestamp) -> Result<Vec<Lease>, Error>;

    /// Waits until every change made before the call is on stable storage, the attempts of claims included.
    async fn sync(&self) -> Result<(), Error>;

    /// Extends leases and answers each, in order. A lease that ran out, or is from before a restart,
    /// is renewed if no other worker holds its job.
    async fn heartbeat(&self, beats: &[Heartbeat], now: Timestamp) -> Result<Vec<Pulse>, Error>;

    /// Removes finished jobs and answers each, in order. A lease that ran out, or is from before a
    /// restart, is valid if no other worker holds its job; an ack may be repeated.
    async fn ack_all(&self, leases: &[LeaseId], now: Timestamp) -> Result<Vec<Acked>, Error>;

    /// Removes one finished job.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if another worker holds it now.
    async fn ack(&self, lease: &LeaseId, now: Timestamp) -> Result<(), Error> {
        match self.ack_all(std::slice::from_ref(lease), now).await?.first() {
            Some(Acked::Done) => Ok(()),
            Some(Acked::Lost) | None => Err(Error::LeaseLost { job: lease.job.clone() }),
        }
    }

    /// Reports a failed attempt: the job backs off, or becomes a dead letter after its last attempt.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if the lease does not hold the job any more.
    async fn nack(&self, lease: &LeaseId, reason: &str, now: Timestamp) -> Result<Redelivery, Error>;

    /// Hands jobs back untried: they wait at the front again and have not used an attempt. Leases that do not hold
    /// their job any more are passed over.
    async fn release(&self, leases: &[LeaseId], now: Timestamp) -> Result<(), Error>;

    /// Removes every job of a group, dead letters included; heartbeats for its jobs are answered with a stop.
    async fn cancel_group(&self, group: &Group, now: Timestamp) -> Result<Cancelled, Error>;

    /// Hands out nothing more from a queue, across restarts, until [`resume`](Broker::resume).
    async fn pause(&self, queue: &QueueName, now: Timestamp) -> Result<(), Error>;

    /// Hands out from a paused queue again.
    async fn resume(&self, queue: &QueueName, now: Timestamp) -> Result<(), Error>;

    /// Returns dead letters in the order in which they were added.
    async fn dead_letters(&self, query: &DeadQuery, now: Timestamp) -> Result<Vec<DeadLetter>, Error>;

    /// Puts dead letters back into their queues with all their attempts; says how many there were.
    async fn redrive(&self, jobs: &[JobId], now: Timestamp) -> Result<usize, Error>;

    /// Discards dead letters; returns their number.
    async fn discard(&self, jobs: &[JobId], now: Timestamp) -> Result<usize, Error>;

    /// A job by its name, with its payload, wherever it is; nothing, if it was acknowledged or never enqueued.
    async fn show(&self, job: &JobId, now: Timestamp) -> Result<Option<JobDetail>, Error>;

    /// Jobs that wait or are held, in order of their sequence: about that in which they came.
    async fn jobs(&self, query: &JobQuery, now: Timestamp) -> Result<Vec<JobSummary>, Error>;

    /// Returns true if a job of a group waits or is held. Takes constant time.
    async fn has_jobs(&self, group: &Group, now: Timestamp) -> Result<bool, Error>;

    /// Returns depth, age and rate of every queue so far.
    async fn stats(&self, now: Timestamp) -> Result<Stats, Error>;

    /// Returns the number of new stores that have replaced damaged or lost ones since the queue was opened, each without the
    /// jobs of the old one. The caller enqueues them again.
    fn renewals(&self) -> u64 {
        0
    }

    /// Waits until there have been more renewals than `after`, if the queue can tell at once.
    async fn renewed(&self, after: u64) {
        let _ = after;
        std::future::pending::<()>().await;
    }

    /// Says in a few words which server the queue is in; nothing, if it is in none.
    async fn describe(&self) -> Option<String> {
        None
    }

    /// Waits until nothing helps but another start, and says why. It never answers while all is well, while a store that
    /// failed is being opened again, nor after a close in good order.
    async fn failed(&self) -> Error {
        std::future::pending().await
    }

    /// Writes everything that it still has anew, so that nothing is left of jobs that are gone: neither names nor payloads.
    /// Changes wait meanwhile.
    async fn erase_traces(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Writes what is not written yet and stops; every later call is refused with [`Error::Closed`].
    /// Jobs still held will have used their attempt.
    async fn close(&self) -> Result<(), Error>;
}
