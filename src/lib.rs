//! `entityd`: the Anonlink Entity Service in one binary.
//!
//! The rooms, in the order in which they may know each other: a room looks up this list, never down
//! (`tests/tidy.rs` holds it so).
#![doc = include_str!("ARCHITECTURE.md")]

// Plumbing: not one domain word.
pub mod runtime;
pub mod system;
pub mod telemetry;
pub mod edge;
// The nouns and the science: no async, no I/O.
pub mod model;
pub mod linkage;
pub mod encoder;
// Shelves: one trait each, an embedded and a scaled-out form.
pub mod metadata;
pub mod objects;
pub mod buckets;
pub mod external;
pub mod queue;
// The corridor: where a run's story is told.
pub mod coordinator;
// Hands and doors: each translates in, asks, and translates out.
pub mod worker;
pub mod http;
pub mod s3;
// The front step.
pub mod config;
pub mod app;
pub mod cli;
