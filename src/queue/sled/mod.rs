//! The embedded queue: one process, one directory, sled underneath.
//!
//! Callers change the state in memory. A thread, the committer, writes all pending changes as one batch with one sync,
//! and then answers the callers. Names and payloads stay on the disk, many jobs to a value; memory holds two bytes a job
//! and an index of nine.
//!
//! A new job can be claimed, and is known as a duplicate, only once it is on the disk. Every other change has effect at
//! once and is answered once it is on the disk; if a crash loses it before, it is repeated.

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
