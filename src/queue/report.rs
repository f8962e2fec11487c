//! What a queue tells about itself.

use std::collections::BTreeMap;
use std::num::NonZeroU8;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Group, JobId, Progress, QueueName};
use crate::runtime::clock::Timestamp;

/// What cancelling a group did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// Jobs that waited, or were dead.
    pub removed: u64,
    /// Jobs in workers' hands.
    pub held: u64,
}

/// A job that has used its attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its place in the order of deaths: later is greater, and never used again.
    pub sequence: u64,
    /// The job.
    pub job: JobId,
    /// The queue it was in, and is redriven to.
    pub queue: QueueName,
    /// The group it belongs to.
    pub group: Group,
    /// Attempts used.
    pub attempts: u8,
    /// What the last one died of.
    pub reason: String,
    /// When.
    pub died: Timestamp,
}

/// Which dead letters to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadQuery {
    /// Of this queue alone.
    pub queue: Option<QueueName>,
    /// Of this group alone.
    pub group: Option<Group>,
    /// Those with a greater sequence: where the last page ended.
    pub after: u64,
    /// The most to show.
    pub count: usize,
}

/// Where a living job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum JobState {
    /// It can be claimed.
    Ready,
    /// It waits for a moment.
    Delayed {
        /// That moment.
        until: Timestamp,
    },
    /// A worker holds it.
    Leased {
        /// Until then, unless there is a heartbeat.
        until: Timestamp,
        /// How far it said it was.
        progress: Progress,
    },
}

impl JobState {
    /// The state without its circumstances.
    pub const fn phase(&self) -> Phase {
        match self {
            Self::Ready => Phase::Ready,
            Self::Delayed { .. } => Phase::Delayed,
            Self::Leased { .. } => Phase::Leased,
        }
    }
}

/// What a living job is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It can be claimed.
    Ready,
    /// It waits for a moment.
    Delayed,
    /// A worker holds it.
    Leased,
}

/// A living job, without its payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSummary {
    /// Its place in the order of the list: later is greater, and never used again.
    pub sequence: u64,
    /// The job.
    pub job: JobId,
    /// Its queue.
    pub queue: QueueName,
    /// Its group.
    pub group: Group,
    /// Its priority.
    pub priority: i8,
    /// Where it is.
    #[serde(flatten)]
    pub state: JobState,
    /// Attempts begun.
    pub attempts: u8,
    /// When it was enqueued.
    pub enqueued: Timestamp,
}

/// A job looked up by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobDetail {
    /// What a list says of it.
    pub entry: JobEntry,
    /// After so many attempts it dies.
    pub attempts_max: NonZeroU8,
    /// What the worker gets.
    pub payload: Bytes,
}

/// What a list says of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum JobEntry {
    /// It waits, or is held.
    Living(JobSummary),
    /// It has used its attempts.
    Dead(DeadLetter),
}

/// Which living jobs to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobQuery {
    /// Of this queue alone.
    pub queue: Option<QueueName>,
    /// Of this group alone.
    pub group: Option<Group>,
    /// In this state alone.
    pub phase: Option<Phase>,
    /// Those with a greater sequence: where the last page ended.
    pub after: u64,
    /// The most to show.
    pub count: usize,
}

/// One queue in figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QueueStats {
    /// Living jobs: ready, delayed and leased.
    pub depth: u64,
    /// Jobs that can be claimed.
    pub ready: u64,
    /// Jobs that wait for a moment.
    pub delayed: u64,
    /// Jobs in workers' hands.
    pub leased: u64,
    /// Jobs that have used their attempts.
    pub dead: u64,
    /// Whether nothing is handed out.
    pub paused: bool,
    /// How long the oldest ready job has been in the queue, in milliseconds.
    pub oldest_ms: Option<u64>,
    /// How long the job held longest has been held, in milliseconds.
    pub longest_lease_ms: Option<u64>,
    /// Jobs taken in a second, over the last minute.
    pub enqueued_per_second: f64,
    /// Jobs acknowledged in a second, over the last minute.
    pub acked_per_second: f64,
    /// Attempts failed in a second, over the last minute.
    pub failed_per_second: f64,
}

/// All queues in figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// By name.
    pub queues: BTreeMap<QueueName, QueueStats>,
}
