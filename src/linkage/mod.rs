//! The algorithms: from encodings to candidate pairs, groups and permutations. Deterministic: no randomness of their
//! own, no async, and no clock but the one that measures what loops cost, on which no result depends.

pub mod scratch;
pub mod encoding;
pub mod similarity;
pub mod pairs;
pub mod solver;
pub mod forecast;

#[cfg(test)]
mod fixtures;
