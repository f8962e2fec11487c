//! The hands: jobs are claimed, done and reported. A job reads objects, makes objects under keys that follow
//! from what it is, and has an outcome; it knows nothing of where the outcome is written down.
//!
//! [`Worker`] is the crew. `lease` takes jobs and brings each to its end, `heartbeat` says that they are still
//! in hand and hears which are not wanted any more; then there is one file for each kind of job.

mod budget;
mod chore;
mod compare;
mod copies;
mod desk;
mod error;
mod fetch;
mod finalize;
mod heartbeat;
mod hold;
mod ingest;
mod lease;
mod library;
mod plan;
mod purge;
mod rate;
mod seal;
mod roster;
mod service;
mod shop;
mod tunings;
#[cfg(test)]
mod tests;
mod watched;

pub use desk::Desk;
use error::Error;
pub use roster::Roster;
pub use service::{Settings, Worker};
