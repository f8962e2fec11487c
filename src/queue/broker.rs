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

/// The default for [`NewJob::attempts_max`].
const ATTEMPTS_MAX: NonZeroU8 = NonZeroU8::new(3).expect("three is not zero");

/// The maximum time between two calls that counts against leases. A longer gap means that the queue, its machine or
/// all of its workers were stopped, or that the clock was set, so no heartbeat could arrive.
pub const UNSEEN_MAX: Duration = Duration::from_millis(500);

/// The number of expired leases of a job that count as one attempt: the cause may be the worker or the machine.
pub const LAPSES_PER_ATTEMPT: u8 = 3;

/// The maximum size of a job, names included.
pub(super) const JOB_BYTES_MAX: usize = 60 << 10;

/// A job to be enqueued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// The name of the job. Enqueueing a job of the same name before this one is acknowledged does nothing.
    pub job: JobId,
    /// The queue in which the job waits.
    pub queue: QueueName,
    /// The group, the unit of cancellation and fairness: `family/name`, or only a name.
    pub group: Group,
    /// The priority; 0 is the default. In a queue, higher ones go first, but a long wait outweighs a higher priority.
    pub priority: i8,
    /// The job is not handed out before this time.
    pub not_before: Option<Timestamp>,
    /// The number of attempts that were made before the queue was lost and created again.
    pub attempts: u8,
    /// After this many attempts without an ack, the job becomes a dead letter.
    pub attempts_max: NonZeroU8,
    /// The content for the worker.
    pub payload: Bytes,
}

impl NewJob {
    /// Returns a job of default priority that is ready at once and is tried up to three times.
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

    /// Returns the bytes that the job takes in a queue.
    pub(super) fn size_bytes(&self) -> usize {
        let names = self.job.as_str().len() + self.queue.as_str().len() + self.group.as_str().len();
        names + self.payload.len() + 32
    }
}

/// A queue from which a claim may take jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The queue.
    pub queue: QueueName,
    /// The weight of the queue among the queues of the claim that have jobs.
    pub weight: NonZeroU32,
}

/// A request for jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The queues to take jobs from.
    pub queues: Vec<Share>,
    /// The maximum number of jobs handed out.
    pub count: usize,
    /// The length of the leases (the visibility timeout).
    pub lease: Duration,
    /// The maximum wait for the first job.
    pub wait: Duration,
    /// True if the jobs are for a worker on another machine, which continues when this process ends.
    pub for_guest: bool,
}

/// Identifies one lease of a job.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct LeaseId {
    /// The job.
    pub job: JobId,
    /// Distinguishes the lease from others of the same job.
    pub fence: Fence,
}

/// A job that a worker holds until a deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The identity of the lease, for heartbeat, ack, nack and release.
    pub id: LeaseId,
    /// The queue in which the job waited.
    pub queue: QueueName,
    /// The group of the job.
    pub group: Group,
    /// The payload with which the job was enqueued.
    pub payload: Bytes,
    /// The number of the attempt, from 1. An expired lease usually does not count, and the next lease has the same
    /// number.
    pub attempt: u8,
    /// The moment at which the job was enqueued.
    pub enqueued: Timestamp,
    /// The time at which the job became ready: it was enqueued, its delay ended, or it was released.
    pub ready: Timestamp,
    /// The time after which the job goes to another worker unless a heartbeat arrives; later, if the queue is not
    /// called in the meantime.
    pub until: Timestamp,
}

/// A heartbeat for one lease.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Heartbeat {
    /// The lease, which is extended by its original length.
    pub lease: LeaseId,
    /// The progress of the job.
    pub progress: Progress,
}

/// The answer to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Pulse {
    /// Continue; the lease was extended.
    Continue {
        /// The new deadline.
        until: Timestamp,
    },
    /// The job was cancelled: stop.
    Stop,
    /// Another worker holds the job, or the job is done: stop, and do not ack.
    Lost,
}

/// The answer to an ack in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Acked {
    /// The job will not be handed out again.
    Done,
    /// Another worker holds the job now; nothing was changed.
    Lost,
}

/// The next state of a job whose attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Redelivery {
    /// The job is retried.
    Retried {
        /// The time at which the job can be claimed again.
        at: Timestamp,
    },
    /// The job has used its attempts and is a dead letter.
    Dead,
    /// The job was cancelled meanwhile.
    Cancelled,
}

/// A queue that loses no job, hands each to one worker at a time, and starves no group.
///
/// Delivery is at least once. When [`enqueue`](Broker::enqueue), [`ack`](Broker::ack), [`nack`](Broker::nack),
/// [`cancel_group`](Broker::cancel_group) or another change returns `Ok`, it is on stable storage. Leases are kept in
/// memory only: after a restart every leased job is ready again. The attempt that a claim begins is on stable storage
/// before the job has run for 100 ms, and at the latest when [`sync`](Broker::sync) returns.
///
/// Time is an argument: a call happens at `now`, and delays end by comparison with it. All callers in a process use
/// one clock that does not step, [`Clock::steady`](crate::runtime::clock::Clock::steady); a queue that several
/// machines share uses the time of its server instead. A delay that was requested before a restart by a clock that
/// was ahead lasts no longer than requested, counted from the restart.
///
/// The clock of the leases runs only while the queue is called: at most [`UNSEEN_MAX`] of the time between two calls
/// counts, and none if the clock was set back. So no pause of the process or of the machine ends a lease: the worker
/// can send a heartbeat first. A waiting claim calls the queue often enough for the clock to run in full.
///
/// An attempt ends with an ack, a nack, a release, or the end of its lease. A nack counts as an attempt, a release does
/// not. The end of a lease (a *lapse*) does not mean that the job failed, so [`LAPSES_PER_ATTEMPT`] lapses count as one
/// attempt; that limits a job that kills its workers. A restart while a job is leased counts as an attempt. It may also
/// reset the count of lapses.
///
/// Order: queues share by weight. In a queue a higher priority goes first, but every ten seconds of waiting outweigh
/// one level. In a level, families of groups take turns, and so do the groups of a family. In a group the oldest job
/// goes first.
///
/// If the future of a changing call is dropped, the change may or may not happen. Dropping a
/// [`claim`](Broker::claim) releases the jobs that it had taken.
#[async_trait]
pub trait Broker: Send + Sync {
    /// Enqueues jobs atomically, and returns how many were new: a job whose name is waiting, leased or among the dead
    /// letters is skipped.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if a job cannot be stored.
    async fn enqueue(&self, jobs: &[NewJob], now: Timestamp) -> Result<usize, Error>;

    /// Claims up to `claim.count` jobs. While there is none, waits up to `claim.wait`, counted from `now`, and then
    /// returns an empty list. The attempts become durable with the next [`sync`](Broker::sync) or change.
    async fn claim(&self, claim: &Claim, now: Timestamp) -> Result<Vec<Lease>, Error>;

    /// Waits until every change made before the call is on stable storage, the attempts of claims included.
    async fn sync(&self) -> Result<(), Error>;

    /// Extends leases and answers each, in order. A lease that expired, or is from before a restart, is renewed if no
    /// other worker holds its job.
    async fn heartbeat(&self, beats: &[Heartbeat], now: Timestamp) -> Result<Vec<Pulse>, Error>;

    /// Removes finished jobs and answers each, in order. A lease that expired, or is from before a restart, is valid
    /// if no other worker holds its job; an ack may be repeated.
    async fn ack_all(&self, leases: &[LeaseId], now: Timestamp) -> Result<Vec<Acked>, Error>;

    /// Removes one finished job.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if another worker holds the job now.
    async fn ack(&self, lease: &LeaseId, now: Timestamp) -> Result<(), Error> {
        match self.ack_all(std::slice::from_ref(lease), now).await?.first() {
            Some(Acked::Done) => Ok(()),
            Some(Acked::Lost) | None => Err(Error::LeaseLost { job: lease.job.clone() }),
        }
    }

    /// Reports a failed attempt: the job is retried after a backoff, or becomes a dead letter after its last attempt.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if the lease does not hold the job any more.
    async fn nack(&self, lease: &LeaseId, reason: &str, now: Timestamp) -> Result<Redelivery, Error>;

    /// Releases jobs: they are ready again, before all others, and have not used an attempt. Leases that no longer
    /// hold their job are ignored.
    async fn release(&self, leases: &[LeaseId], now: Timestamp) -> Result<(), Error>;

    /// Removes every job of a group, dead letters included; heartbeats for its jobs are answered with a stop.
    async fn cancel_group(&self, group: &Group, now: Timestamp) -> Result<Cancelled, Error>;

    /// Pauses a queue, across restarts, until [`resume`](Broker::resume): none of its jobs is handed out.
    async fn pause(&self, queue: &QueueName, now: Timestamp) -> Result<(), Error>;

    /// Resumes a paused queue.
    async fn resume(&self, queue: &QueueName, now: Timestamp) -> Result<(), Error>;

    /// Returns dead letters in the order in which they were added.
    async fn dead_letters(&self, query: &DeadQuery, now: Timestamp) -> Result<Vec<DeadLetter>, Error>;

    /// Puts dead letters back into their queues with all their attempts; returns their number.
    async fn redrive(&self, jobs: &[JobId], now: Timestamp) -> Result<usize, Error>;

    /// Discards dead letters; returns their number.
    async fn discard(&self, jobs: &[JobId], now: Timestamp) -> Result<usize, Error>;

    /// Returns the job of this name, with its payload, in any state; `None` if it was acknowledged or never enqueued.
    async fn show(&self, job: &JobId, now: Timestamp) -> Result<Option<JobDetail>, Error>;

    /// Returns jobs that wait or are leased, by sequence number, which is about the order in which they were enqueued.
    async fn jobs(&self, query: &JobQuery, now: Timestamp) -> Result<Vec<JobSummary>, Error>;

    /// Returns true if a job of a group waits or is leased. Takes constant time.
    async fn has_jobs(&self, group: &Group, now: Timestamp) -> Result<bool, Error>;

    /// Returns the statistics of every queue that has been used.
    async fn stats(&self, now: Timestamp) -> Result<Stats, Error>;

    /// Returns the number of renewals since the queue was opened. At a renewal, a new store without jobs replaces one
    /// that is damaged or lost; the caller must enqueue its jobs again.
    fn renewals(&self) -> u64 {
        0
    }

    /// Waits until there have been more than `after` renewals. May never return: not every queue notices a renewal by
    /// itself.
    async fn renewed(&self, after: u64) {
        let _ = after;
        std::future::pending::<()>().await;
    }

    /// Describes the server that holds the queue; `None`, if there is none.
    async fn describe(&self) -> Option<String> {
        None
    }

    /// Checks that a server that holds the queue accepts jobs, and is not full for example. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn accepts(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Waits until the queue has failed so that only a restart helps, and returns the reason. Never returns while the
    /// queue works, while a failed store is being reopened, or after a regular close.
    async fn failed(&self) -> Error {
        std::future::pending().await
    }

    /// Rewrites all stored data, so that no names and payloads of removed jobs are left. Changes wait until it is done.
    async fn erase_traces(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Writes all pending changes and stops; later calls fail with [`Error::Closed`]. Attempts of leased jobs count.
    async fn close(&self) -> Result<(), Error>;
}
