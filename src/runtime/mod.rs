//! What a test replaces: time and chance; and the pool of cores that computes.

pub mod clock;
pub mod compute;
pub mod entropy;
