//! The parts that a test replaces or reaches into: time, randomness, the pool of cores that computes, and
//! failpoints. Also how long a dependency has failed, and content codings.

pub mod clock;
pub mod coding;
pub mod compute;
pub mod entropy;
pub mod failpoint;
pub mod outage;
