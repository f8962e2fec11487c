//! The hands: jobs are claimed, done and reported. A job reads objects, makes objects under keys that follow
//! from what it is, and has an outcome; it knows nothing of where the outcome is written down.
//!
//! [`Worker`] is the crew. `lease` takes jobs and brings each to its end, `heartbeat` says that they are still
//! in hand and hears which are not wanted any more; then there is one file for each kind of job.

mod error;
mod active_jobs;
mod admission;
mod cancellable_io;
mod checksummed;
mod concurrency;
mod open_cache;
mod dataset_cache;
mod plan_cache;
mod rate;
mod tuning_cache;
mod context;
mod jobs;
mod cache_sweeper;
mod job_source;
mod heartbeat;
mod shared;
mod lease;
mod service;
#[cfg(test)]
mod tests;

pub use concurrency::QueueSlots;
use error::Error;
pub use job_source::JobSource;
pub use service::{Settings, Worker};
