//! The embedded queue: one process, one directory, sled underneath.
//!
//! Callers change the state in memory. The committer thread writes all pending changes as one batch with one sync,
//! and then answers the callers. Names and payloads stay on the disk, with many jobs in one value; memory holds two
//! bytes for each job and nine for the index.
//!
//! A new job can be claimed, and is known as a duplicate, only once it is on the disk. Every other change takes
//! effect at once and is acknowledged once it is on the disk; if a crash loses it before that, the caller repeats it.

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
