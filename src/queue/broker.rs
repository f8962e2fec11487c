//! What a queue promises, whatever carries it.

use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Cancelled, DeadLetter, DeadQuery, Error, Fence, Group, JobDetail, JobId, JobQuery, JobSummary, QueueName,
    Stats,
};
use crate::runtime::clock::Timestamp;

/// How often a job is tried unless it says otherwise.
const ATTEMPTS_MAX: NonZeroU8 = NonZeroU8::new(3).expect("three is not zero");

/// Of the time between two calls, so much counts against leases at most: in a longer gap the queue, its machine or all of
/// its workers were stopped, or the clock was set, and no holder could be heard.
pub const UNSEEN_MAX: Duration = Duration::from_millis(500);

/// So many leases on a job that run out count as one attempt: its holder may be at fault, or the machine.
pub const LAPSES_PER_ATTEMPT: u8 = 3;

/// A job to be enqueued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// Its name: enqueueing a name again before it was acknowledged does nothing.
    pub job: JobId,
    /// Where it waits.
    pub queue: QueueName,
    /// What it is cancelled with, and takes turns as; `family/name`, or a name alone.
    pub group: Group,
    /// Higher goes first inside a queue; 0 is usual. Waiting makes up for a lower one.
    pub priority: i8,
    /// It is not handed out before this moment.
    pub not_before: Option<Timestamp>,
    /// Attempts that were begun before, in a queue that is lost.
    pub attempts: u8,
    /// After so many attempts without an ack it goes to the dead letters.
    pub attempts_max: NonZeroU8,
    /// What the worker gets.
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
    /// How long they may be held without a heartbeat (the visibility timeout).
    pub lease: Duration,
    /// How long to wait for the first job.
    pub wait: Duration,
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
    /// What heartbeat, ack, nack and release are told.
    pub id: LeaseId,
    /// Where the job waited.
    pub queue: QueueName,
    /// The group it belongs to.
    pub group: Group,
    /// What it was enqueued with.
    pub payload: Bytes,
    /// Which attempt this is, from 1. It has the number of the one before if only the lease of that ran out.
    pub attempt: u8,
    /// When it was enqueued.
    pub enqueued: Timestamp,
    /// Since when it could be claimed: it was enqueued then, or its delay was over, or it was given back.
    pub ready: Timestamp,
    /// Without a heartbeat the job goes to another worker after this moment; later, if the queue is not called meanwhile.
    pub until: Timestamp,
}

/// How far a job has come, in units of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// Units behind it.
    pub done: u64,
    /// Units in all.
    pub total: u64,
}

/// A sign of life for one lease.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Heartbeat {
    /// The lease to extend, by its own length.
    pub lease: LeaseId,
    /// How far its job has come.
    pub progress: Progress,
}

/// What a heartbeat is answered.
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

/// What an ack in a batch is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Acked {
    /// The job will not be handed out again.
    Done,
    /// Another worker holds it now; nothing was changed.
    Lost,
}

/// What becomes of a job whose attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Redelivery {
    /// It is tried again, not before then.
    Retried {
        /// When its backoff is over.
        at: Timestamp,
    },
    /// It has used its attempts and lies in the dead letters.
    Dead,
    /// It was cancelled meanwhile.
    Cancelled,
}

/// A queue of jobs that loses none, hands each to one worker at a time, and lets nobody starve.
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
/// clock was set back. A pause of the process or of the machine, however long, ends no lease: who holds a job is heard first.
/// While a claim waits, the queue calls itself often enough.
///
/// An attempt ends in an ack, in a nack, which counts, in a release, which does not, or with the lease. A lease that runs
/// out says nothing about the job: [`LAPSES_PER_ATTEMPT`] of them count as one attempt, so that a job that takes its worker
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
    /// is taken up again if nobody else holds its job.
    async fn heartbeat(&self, beats: &[Heartbeat], now: Timestamp) -> Result<Vec<Pulse>, Error>;

    /// Removes finished jobs and answers each, in order. A lease that ran out, or is from before a
    /// restart, will do if nobody else holds its job; an ack may be repeated.
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

    /// Says that an attempt failed: the job backs off, or dies if this was its last attempt.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if the lease does not hold the job any more.
    async fn nack(&self, lease: &LeaseId, reason: &str, now: Timestamp) -> Result<Redelivery, Error>;

    /// Hands jobs back untried: they wait at the front again and have not used an attempt. Leases that do not hold
    /// their job any more are passed over.
    async fn release(&self, leases: &[LeaseId], now: Timestamp) -> Result<(), Error>;

    /// Removes every job of a group, dead letters included; who holds one is told to stop at the next heartbeat.
    async fn cancel_group(&self, group: &Group, now: Timestamp) -> Result<Cancelled, Error>;

    /// Hands out nothing more from a queue, across restarts, until [`resume`](Broker::resume).
    async fn pause(&self, queue: &QueueName, now: Timestamp) -> Result<(), Error>;

    /// Hands out from a paused queue again.
    async fn resume(&self, queue: &QueueName, now: Timestamp) -> Result<(), Error>;

    /// Dead letters in the order in which they died.
    async fn dead_letters(&self, query: &DeadQuery, now: Timestamp) -> Result<Vec<DeadLetter>, Error>;

    /// Puts dead letters back into their queues with all their attempts; says how many there were.
    async fn redrive(&self, jobs: &[JobId], now: Timestamp) -> Result<usize, Error>;

    /// Forgets dead letters; says how many there were.
    async fn discard(&self, jobs: &[JobId], now: Timestamp) -> Result<usize, Error>;

    /// A job by its name, with its payload, wherever it is; nothing, if it was acknowledged or never enqueued.
    async fn show(&self, job: &JobId, now: Timestamp) -> Result<Option<JobDetail>, Error>;

    /// Jobs that wait or are held, in order of their sequence: about that in which they came.
    async fn jobs(&self, query: &JobQuery, now: Timestamp) -> Result<Vec<JobSummary>, Error>;

    /// Whether any job of a group waits or is held. It costs the same however many jobs there are.
    async fn has_jobs(&self, group: &Group, now: Timestamp) -> Result<bool, Error>;

    /// Depth, age and rate of every queue that has been seen.
    async fn stats(&self, now: Timestamp) -> Result<Stats, Error>;

    /// How often the queue was begun anew since it was opened, without the jobs that it held, because what lay on the disk
    /// was damaged. Whoever filled it fills it again.
    fn renewals(&self) -> u64 {
        0
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
