//! The embedded queue: one process, one directory, sled underneath.
//!
//! Callers change a book in memory; a committer, a thread of its own, writes what has piled up in one batch
//! with one sync, and then answers all who wait for it. Names and payloads stay on the disk, many jobs to a
//! value; two bytes a job and an index of nine are kept in memory.
//!
//! New jobs are seen by claims, and known as duplicates, only once they are on the disk. Everything else is
//! seen at once and answered once it is on the disk; what was seen but is lost in a crash is done again.

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
