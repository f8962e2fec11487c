//! The worker claims jobs, executes them and reports their outcomes. A job reads objects and creates objects, whose
//! keys follow from its identity. It does not know where its outcome is recorded.
//!
//! `lease` claims jobs and ends their leases, `heartbeat` extends the leases, and [`jobs`] has a file for each kind of
//! job. A worker on another machine gets its jobs and objects from API nodes ([`remote`]), with the [`protocol`].

mod error;
mod active_jobs;
mod admission;
mod cancellable_io;
mod checksummed;
mod concurrency;
pub mod grants;
mod guests;
mod open_cache;
pub mod older_pairs;
mod opened_ahead;
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
pub mod protocol;
pub mod remote;
#[cfg(test)]
mod tests;

pub use concurrency::{QueueSlots, weight_of};
use error::Error;
pub use guests::{Guest, Guests};
pub use job_source::JobSource;
pub use service::{Settings, Worker};
