//! What a test replaces: time and chance. The pool of cores that computes, and the data directory.

pub mod clock;
pub mod compute;
pub mod data_dir;
pub mod entropy;
