//! The algorithms: from encodings to candidate pairs, groups and permutations. They are deterministic: random numbers
//! come from a seed that the caller passes, and no result depends on the clock, which only measures the cost of loops.

pub mod threshold;
pub mod scratch;
pub mod encoding;
pub mod similarity;
pub mod pairs;
pub mod solver;
pub mod forecast;

#[cfg(test)]
mod fixtures;
