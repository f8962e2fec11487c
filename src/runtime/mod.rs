//! The parts that tests replace or control: time, randomness, the pool of computing threads, and failpoints. Also the
//! timer of outages, content codings, and the tie of a process to its parent.

pub mod clock;
pub mod coding;
pub mod compute;
pub mod entropy;
pub mod failpoint;
pub mod outage;
pub mod parent;
