//! The embedded queue: one process, one directory, sled underneath.
//!
//! Callers change a book in memory; a committer, a thread of its own, writes what has piled up in one batch
//! with one sync, and then answers all who wait for it. Names and payloads stay on the disk, many jobs to a
//! value; two bytes a job and an index of nine are kept in memory.
//!
//! New jobs are seen by claims, and known as duplicates, only once they are on the disk. Everything else is
//! seen at once and answered once it is on the disk; what was seen but is lost in a crash is done again.

mod aside;
mod away;
mod birth;
mod book;
mod broker;
mod cache;
mod claim;
mod committer;
#[cfg(test)]
mod damage;
mod dead;
mod delays;
mod hands;
mod ids;
mod lanes;
mod journal;
mod layout;
mod leases;
mod open;
mod pack;
mod pieces;
mod residue;
mod segment;
mod shared;
mod show;
mod succession;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod todo;
mod tree;
mod turns;
mod writes;

pub use broker::{OnDamage, Settings, SledBroker};
