//! A durable job queue.
//!
//! [`Broker`] is the contract of a queue of jobs. To the queue the payload of a job is opaque bytes; the coordinator
//! and the worker know its meaning.

mod backoff;
mod broker;
#[cfg(test)]
mod conformance;
mod error;
mod meter;
mod names;
mod report;
#[cfg(test)]
mod simulation;
pub mod redis;
pub mod sled;

pub use backoff::Backoff;
pub use broker::{
    Acked, Broker, Claim, Heartbeat, LAPSES_PER_ATTEMPT, Lease, LeaseId, NewJob, Pulse, Redelivery, Share,
    UNSEEN_MAX,
};
pub use error::{BoxError, Error};
pub use names::{Fence, Group, JobId, QueueName};
pub use report::{
    Cancelled, DeadLetter, DeadQuery, JobDetail, JobEntry, JobQuery, JobState, JobSummary, Phase, Progress,
    QueueStats, Stats,
};
