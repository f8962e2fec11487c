//! The embedded queue of one process, stored in one directory with sled.
//!
//! Callers change the state in memory. The committer thread writes all pending changes as one batch with one sync,
//! and then answers the callers. Names and payloads are on the disk only, with many jobs in one value. Memory has two
//! bytes for each job, and nine for the index of names.
//!
//! A new job can be claimed only once it is on the disk. Every other change takes effect at once, and is acknowledged
//! once it is on the disk; if a crash loses it before that, the caller repeats it.

mod settings;
mod engine;
mod state;
mod home;
mod quarantine;
mod shared;
mod claim;
mod inspect;
mod recovery;
mod committer;
mod broker;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod tests;

pub use broker::SledBroker;
pub use settings::{OnDamage, Settings};
