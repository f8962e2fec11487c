//! `entityd`: the Anonlink Entity Service in one binary.
//!
//! Each top-level module may import only modules before it in this list (`tests/tidy.rs` checks that).
#![doc = include_str!("ARCHITECTURE.md")]

// Infrastructure, independent of the domain.
pub mod runtime;
pub mod system;
pub mod telemetry;
pub mod edge;
// The algorithms and the encoder, packages of their own, and the domain: no async, no I/O.
pub use linkage;
pub mod model;
pub use encoder;
// Storage.
pub mod metadata;
pub mod objects;
pub mod buckets;
pub mod external;
pub mod queue;
// The state machine of projects and runs.
pub mod coordinator;
// The worker, and the APIs.
pub mod worker;
pub mod http;
pub mod s3;
// The program.
pub mod config;
pub mod app;
pub mod cli;
