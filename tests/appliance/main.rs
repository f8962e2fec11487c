//! Tests of the real binary over real sockets, with a module per subject.

#![expect(clippy::unwrap_used, reason = "a test helper may panic, like a test")]
#![allow(clippy::disallowed_methods, reason = "a test client may resolve names by itself")]

mod admin;
mod backup;
mod broken_disk;
mod browsers;
mod check;
mod clocks;
mod command_line;
mod comparing;
mod data_dir;
mod damaged_objects;
mod deletion;
mod demo;
mod displaced;
mod failures;
mod fairness;
mod fuzz;
mod identity;
mod kills;
mod limits;
mod link;
mod listening;
mod maintenance;
mod mounts;
mod ops;
mod output;
mod poison;
mod powercut;
mod probes;
mod projects;
mod queue_damage;
mod resources;
mod results;
mod runs;
mod scheduling;
mod secrecy;
mod selftest;
mod spool;
mod stored;
mod support;
mod tls;
mod uploads;
mod wire;
