//! The algorithms: from encodings to candidate pairs, groups and permutations. Deterministic: no clock, no randomness
//! of their own, no async.

pub mod scratch;
pub mod encoding;
pub mod similarity;
pub mod pairs;
pub mod solver;
pub mod forecast;

#[cfg(test)]
mod fixtures;
