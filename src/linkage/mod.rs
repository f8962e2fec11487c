//! The algorithms: encodings in; candidate pairs, groups and permutations out. Same bytes in, same bytes
//! out: no clock, no chance of its own, no async.

pub mod scratch;
pub mod encoding;
pub mod similarity;
pub mod pairs;
pub mod solver;
pub mod forecast;

#[cfg(test)]
mod fixtures;
