//! What a test replaces: time and chance. The pool of cores that computes, and the data directory.
//! Where a crash test reaches in: breakpoints.

pub mod breakpoint;
pub mod clock;
pub mod compute;
pub mod data_dir;
pub mod entropy;
