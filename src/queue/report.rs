//! Reports on the content of a queue.

use std::collections::BTreeMap;
use std::num::NonZeroU8;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Group, JobId, QueueName};
use crate::runtime::clock::Timestamp;

/// The progress of a job, in units that the job chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The number of units that are done.
    pub done: u64,
    /// The total number of units.
    pub total: u64,
}

/// The effect of the cancellation of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// The number of jobs that waited, or were dead letters.
    pub removed: u64,
    /// The number of jobs that workers hold.
    pub held: u64,
}

/// A job that has used its attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The position of the job among the dead letters: later ones have greater numbers, which are never reused.
    pub sequence: u64,
    /// The job.
    pub job: JobId,
    /// The queue of the job, to which a redrive returns it.
    pub queue: QueueName,
    /// The group of the job.
    pub group: Group,
    /// The number of attempts that were made.
    pub attempts: u8,
    /// The reason for the last failure.
    pub reason: String,
    /// The moment at which the job became a dead letter.
    pub died: Timestamp,
}

/// The dead letters to return.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadQuery {
    /// Only dead letters of this queue.
    pub queue: Option<QueueName>,
    /// Only dead letters of this group.
    pub group: Option<Group>,
    /// Only dead letters with a greater sequence. The next page begins after the last sequence of this one.
    pub after: u64,
    /// The maximum number to return.
    pub count: usize,
    /// True if the answer may come from a replica, which lacks the latest changes of other nodes for a moment.
    pub may_lag: bool,
}

/// The state of a job in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum JobState {
    /// The job can be claimed.
    Ready,
    /// The job is delayed.
    Delayed {
        /// The end of the delay.
        until: Timestamp,
    },
    /// A worker holds the job.
    Leased {
        /// The end of the lease, unless a heartbeat extends it.
        until: Timestamp,
        /// The progress of the job as of the last heartbeat.
        progress: Progress,
    },
}

impl JobState {
    /// Returns the state without its details.
    pub const fn phase(&self) -> Phase {
        match self {
            Self::Ready => Phase::Ready,
            Self::Delayed { .. } => Phase::Delayed,
            Self::Leased { .. } => Phase::Leased,
        }
    }
}

/// The state of a job without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The job can be claimed.
    Ready,
    /// The job is delayed.
    Delayed,
    /// A worker holds the job.
    Leased,
}

/// A living job (ready, delayed or leased), without its payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSummary {
    /// The position of the job in the list: later ones have greater numbers, which are never reused.
    pub sequence: u64,
    /// The job.
    pub job: JobId,
    /// The queue of the job.
    pub queue: QueueName,
    /// The group of the job.
    pub group: Group,
    /// The priority of the job.
    pub priority: i8,
    /// The state of the job.
    #[serde(flatten)]
    pub state: JobState,
    /// The number of attempts that were begun.
    pub attempts: u8,
    /// The moment at which the job was enqueued.
    pub enqueued: Timestamp,
}

/// A job looked up by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobDetail {
    /// The summary of the job.
    pub entry: JobEntry,
    /// The number of attempts after which the job becomes a dead letter.
    pub attempts_max: NonZeroU8,
    /// The content for the worker.
    pub payload: Bytes,
}

/// The summary of a job in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum JobEntry {
    /// The job waits, or is leased.
    Living(JobSummary),
    /// The job has used its attempts.
    Dead(DeadLetter),
}

/// The living jobs to return.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobQuery {
    /// Only jobs of this queue.
    pub queue: Option<QueueName>,
    /// Only jobs of this group.
    pub group: Option<Group>,
    /// Only jobs in this state.
    pub phase: Option<Phase>,
    /// Only jobs with a greater sequence. The next page begins after the last sequence of this one.
    pub after: u64,
    /// The maximum number to return.
    pub count: usize,
    /// True if the answer may come from a replica, which lacks the latest changes of other nodes for a moment.
    pub may_lag: bool,
}

/// The statistics of one queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QueueStats {
    /// The number of ready, delayed and leased jobs.
    pub depth: u64,
    /// The number of jobs that can be claimed.
    pub ready: u64,
    /// The number of delayed jobs.
    pub delayed: u64,
    /// The number of jobs that workers hold.
    pub leased: u64,
    /// The number of jobs that have used their attempts.
    pub dead: u64,
    /// True if the queue is paused.
    pub paused: bool,
    /// The age of the oldest ready job, in milliseconds.
    pub oldest_ms: Option<u64>,
    /// The age of the oldest lease, in milliseconds.
    pub longest_lease_ms: Option<u64>,
    /// The number of jobs enqueued per second, over the last minute.
    pub enqueued_per_second: f64,
    /// The number of jobs acknowledged per second, over the last minute.
    pub acked_per_second: f64,
    /// The number of failed attempts per second, over the last minute.
    pub failed_per_second: f64,
}

/// The statistics of all queues.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// The queues by name.
    pub queues: BTreeMap<QueueName, QueueStats>,
}
